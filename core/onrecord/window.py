"""Choose the messages a model is shown: the newest that fit, with no turn or call torn apart.

A window begins where a turn begins, keeps a leading system message, and never holds a tool
result without its call or leaves behind a result of a call it holds. When the newest turn alone
is too long, its question stays and the newest groups of call and results that fit. The newest
group is always there, even when it alone is over the limit: ``fits`` says so.

Nothing here reads or changes what is stored. The flow in ``flows/sessions/read.py`` brings older
messages for as long as ``Cutter.wanted`` asks for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, overload

import msgspec

from onrecord.arguments import whole_number
from onrecord.blocks import Text, ToolCall, ToolResult
from onrecord.gist import NO_GIST, Gist
from onrecord.message import Message
from onrecord.tokens import ESTIMATE, CountTokens, TokenCounter
from onrecord.version import NOTHING, Version

LOOKBACK: Final = 1_000
"""How many messages beyond the limits are read to find where a turn or a tool call began."""
_PAGE: Final = 64

NO_RESULT: Final = "[No result of this call was recorded.]"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The most a window may hold; None is no limit."""

    messages: int | None = None
    turns: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for what in ("messages", "turns", "tokens"):
            limit = getattr(self, what)
            if limit is not None:
                whole_number(what, limit, 1)


class Reading(NamedTuple):
    """The messages read to find a window, kept so that the next one need not read them again."""

    epoch: int
    messages: Sequence[Message]
    """Without a gap, oldest first."""
    complete: bool
    """Whether there is nothing before it."""

    def goes_on_in(self, version: Version, newest: Sequence[Message]) -> bool:
        """Whether this and a session's newest messages are parts of the same."""
        if self.epoch != version.epoch or not self.messages:
            return False
        last = self.messages[-1]
        # A session that was made anew may stand where the old one stood: other ids, other times.
        return any(message.seq == last.seq and message == last for message in newest)

    def before(self, seq: int, limit: int) -> Sequence[Message]:
        """The messages just before a place, as many as there are and are wanted."""
        return [message for message in self.messages if (message.seq or 0) < seq][-limit:]


NOTHING_READ: Final = Reading(0, (), False)


class Window(Sequence[Message]):
    """Messages to show a model, and what was noticed about them. Reads like a list.

    In the order of the session, but for this: the messages of a turn stand together
    (``together``), and with ``repair`` each result stands behind its call.
    """

    @classmethod
    def of(
        cls,
        conversation: Sequence[Message],
        /,
        *,
        messages: int | None = None,
        turns: int | None = None,
        tokens: int | None = None,
        repair: bool = False,
        token_counter: CountTokens | None = None,
    ) -> Window:
        """Make a window of messages in hand, as ``Session.window`` makes one of a session's."""
        limits = Limits(messages=messages, turns=turns, tokens=tokens)
        cutter = Cutter(limits, ESTIMATE, token_counter)
        cutter.start(NOTHING, conversation, conversation[:1], complete=True)
        return cutter.window(repair)

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        version: Version,
        tokens: int,
        fits: bool,
        dangling: Sequence[ToolCall],
        orphans: Sequence[Message],
        reading: Reading,
        fallen: int = 0,
        summary: Gist = NO_GIST,
    ) -> None:
        self.messages = tuple(messages)
        self.version = version
        """Where the session stood. Pass it as ``expected`` to append what answers this window."""
        self.tokens = tokens
        self.fits = fits
        """False when the newest group of messages alone is over a limit."""
        self.dangling = tuple(dangling)
        """Tool calls whose result never came. Providers refuse these: see ``repair``."""
        self.orphans = tuple(orphans)
        """Tool results whose call is not in the session."""
        self.reading = reading
        """For ``last=`` of the next window."""
        self.fallen = fallen
        """The sequence of the newest message that had no room: whatever comes after it is here.
        0 where all is."""
        self.summary = summary
        """What is kept of what was said before, where that was asked for. Its tokens are not among
        those of the window."""
        self.asked: object = None
        """By what it was read: asked for the same, a session that still stands there has it."""

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Message, ...]: ...
    def __getitem__(self, index: int | slice) -> Message | tuple[Message, ...]:
        return self.messages[index]

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __repr__(self) -> str:
        return (
            f"Window({len(self)} messages, {self.tokens} tokens, version={tuple(self.version)}, "
            f"fits={self.fits}, dangling={len(self.dangling)}, orphans={len(self.orphans)}"
            f"{f', summary of {self.summary.messages} messages' if self.summary else ''})"
        )


class _Pairs(NamedTuple):
    """Tool results and the calls they belong to, by position."""

    matched: list[tuple[int, int]]
    """(call, result), where the result comes later."""
    dangling: list[tuple[int, ToolCall]]
    orphans: list[int]


def pair(messages: Sequence[Message]) -> _Pairs:
    """Match results to calls. An id used twice belongs to the nearest call still open."""
    open_calls: defaultdict[str | None, list[tuple[int, ToolCall]]] = defaultdict(list)
    matched: list[tuple[int, int]] = []
    orphans: list[int] = []
    for i, message in enumerate(messages):
        if _only_text(message):  # nearly all are, and each is looked at several times
            continue
        for answered in _answers(message):
            if calls := open_calls[answered]:
                matched.append((calls.pop()[0], i))
            else:
                orphans.append(i)
        for call in message.tool_calls:
            open_calls[call.id].append((i, call))
    dangling = sorted(
        (found for calls in open_calls.values() for found in calls), key=lambda found: found[0]
    )
    return _Pairs(matched, dangling, orphans)


def _only_text(message: Message) -> bool:
    """Whether a message neither calls a tool nor answers a call, as can be told at a glance."""
    return (
        message.tool_call_id is None
        and message.role != "tool"
        and len(content := message.content) == 1
        and type(content[0]) is Text
    )


def _answers(message: Message) -> Iterator[str | None]:
    """The ids of the calls this message answers."""
    results = [block.tool_call_id for block in message.content if isinstance(block, ToolResult)]
    if message.tool_call_id is not None or (message.role == "tool" and not results):
        yield message.tool_call_id
    yield from results


def together(messages: Sequence[Message]) -> list[Message]:
    """Sort messages so that each stands behind the message that opened its turn.

    Two agents at once on one session append in between each other. Who says in
    ``metadata["turn"]`` the id of the message that a message answers is not torn by that.
    """
    if not any("turn" in message.metadata for message in messages):
        return list(messages)
    turns: dict[object, list[Message]] = {}
    last: object = None
    for i, message in enumerate(messages):
        turn: object = message.metadata.get("turn")
        if not isinstance(turn, str):
            # Who says nothing of it goes on with the turn that stands before.
            turn = (message.id or i) if message.opens_turn else last
        turns.setdefault(turn, []).append(message)
        last = turn
    return [message for turn in turns.values() for message in turn]


class Cutter:
    """Decides where a window begins, asking for older messages until it knows."""

    def __init__(
        self, limits: Limits, counter: TokenCounter, given: CountTokens | None = None
    ) -> None:
        self._limits = limits
        self._counter = counter if given is None else TokenCounter("token_counter", given)
        self._counts: dict[int, int] | None = None if given is None else {}
        """By another counter than the store's: each message once, since it may be a slow one."""
        self._summary = NO_GIST

    def start(
        self,
        version: Version,
        newest: Sequence[Message],
        opening: Sequence[Message],
        complete: bool,
        summary: Gist = NO_GIST,
    ) -> None:
        """Begin with the newest messages and the session's first one, and a summary that the
        window is to go on from."""
        self._summary = summary
        self._version = version
        self._complete = complete
        self._brought = list(newest)
        self._opening = [m for m in opening[:1] if m.role == "system" and not m.tool_calls]
        self._settle()

    @property
    def first_seq(self) -> int:
        """The sequence of the oldest message brought so far."""
        return self._first_seq

    def add_older(self, messages: Sequence[Message], reached_start: bool) -> None:
        """Take the messages just before the oldest so far."""
        self._brought[:0] = messages
        self._complete = self._complete or reached_start
        self._settle()

    def wanted(self) -> int:
        """Say how many older messages are needed to decide; 0 when none are."""
        if self._complete or not self._brought:
            return 0
        page = max(_PAGE, len(self._brought))  # doubling: each message is looked at few times
        if self._reach == 0:
            return page  # everything so far fits: there may be room for more
        if self._reach < LOOKBACK and self._undecided():
            return page
        if self._summary and self._is_torn_off() and len(self._brought) < LOOKBACK:
            return page
        return 0

    def window(self, repair: bool, keep: bool = False) -> Window:
        """Give the messages from the cut on; with ``repair``, what a provider would refuse is
        mended; with ``keep``, what was read is kept for the next window."""
        reading = NOTHING_READ
        if keep:
            reading = Reading(self._version.epoch, self._brought, self._complete)
        chosen, fits = self._choose()
        summary = NO_GIST
        if self._summary and self._joins() and self._fallen(chosen):
            summary = self._summary
            chosen = self._since(summary.version.head, chosen)
            fits = self._fits(chosen)
        messages = [*self._opening, *chosen]
        pairs = pair(messages)
        dangling = [call for _, call in pairs.dangling]
        orphans = [messages[i] for i in pairs.orphans]
        if repair and not _in_place(pairs):
            messages = _repaired(messages, pairs)
        return Window(
            messages,
            version=self._version,
            tokens=sum(map(self._tokens, messages)),
            fits=fits,
            dangling=dangling,
            orphans=orphans,
            reading=reading,
            fallen=self._fallen(chosen),
            summary=summary,
        )

    def _fallen(self, chosen: Sequence[Message]) -> int:
        """The newest place whose message is not chosen, of those that there are."""
        if len(chosen) == len(self._body):
            return 0 if self._complete else self._first_seq - 1
        shown = set(map(id, chosen))
        return max(message.seq or 0 for message in self._body if id(message) not in shown)

    def _joins(self) -> bool:
        """Whether what was brought reaches back to where the summary ends."""
        return self._complete or self._first_seq <= self._summary.version.head + 1

    def _is_torn_off(self) -> bool:
        """Whether older messages are needed to go on from the summary."""
        upto = self._summary.version.head
        return not self._joins() or any(
            (self._body[result].seq or 0) > upto for result in self._pairs.orphans
        )

    def _since(self, seq: int, chosen: Sequence[Message]) -> list[Message]:
        """What comes after a place, whatever the limits: nothing is left out behind a summary, and
        nothing is said twice. But the newest turn is there as without one."""
        body = self._body
        later = (i for i, message in enumerate(body) if (message.seq or 0) > seq)
        first = next(later, len(body))
        question = self._question()
        asked = [] if question is None else [m for m in chosen if m is body[question]]
        if asked and question is not None and len(chosen) >= len(body) - question:
            first = min(first, question)  # the newest turn fits
        whole = (i for i in reversed(range(len(body))) if i <= first and not self._forbidden[i])
        first = next(whole, 0)
        return body[first:] if question is None or first <= question else [*asked, *body[first:]]

    def _settle(self) -> None:
        """Match calls with results, and find how far back the limits reach."""
        brought = self._brought
        self._first_seq = brought[0].seq or 0 if brought else 0
        if self._opening and brought and brought[0].seq == self._opening[0].seq:
            brought = brought[1:]  # it is kept apart, since it stays whatever is cut
            self._complete = True
        self._body = together(brought)
        self._pairs = pair(self._body)
        # No window may begin in (call, result], nor where a turn's question is unknown.
        edges = [0] * (len(self._body) + 1)
        for call, result in self._pairs.matched:
            edges[call + 1] += 1
            edges[result + 1 if result + 1 < len(edges) else -1] -= 1
        self._forbidden = [depth > 0 for depth in accumulate(edges[:-1])]
        self._reach = self._within(self._opening, len(self._body))

    def _within(self, beside: Sequence[Message], end: int) -> int:
        """Find the smallest index from which everything up to ``end`` fits, with what is added."""
        limits = self._limits
        first = 0  # each limit is looked at by itself: most windows have one
        if limits.messages is not None:
            first = max(first, end - max(0, limits.messages - len(beside)))
        if limits.tokens is not None:
            left = limits.tokens - sum(map(self._tokens, beside))
            for i in range(end, first, -1):
                left -= self._tokens(self._body[i - 1])
                if left < 0:
                    first = i
                    break
        if limits.turns is not None:
            turns = limits.turns
            for i in range(end, first, -1):
                turns -= self._body[i - 1].opens_turn
                if turns < 0:
                    first = i
                    break
        return first

    def _undecided(self) -> bool:
        """Whether older messages could still change the choice."""
        question = self._question()
        if question is None:
            return True
        first = self._start()
        if first is None:
            first = question
        return any(result >= first for result in self._pairs.orphans)

    def _start(self) -> int | None:
        """Find where the first turn within reach begins such that nothing is torn."""
        for i in range(self._reach, len(self._body)):
            if not self._forbidden[i] and (self._body[i].opens_turn or (i == 0 and self._complete)):
                return i
        return None

    def _question(self) -> int | None:
        """The message that opened the newest turn."""
        for i in reversed(range(len(self._body))):
            if self._body[i].opens_turn:
                return i
        return None

    def _choose(self) -> tuple[list[Message], bool]:
        if not self._body:
            return [], self._fits([])
        if (start := self._start()) is not None:
            chosen = self._body[start:]
            return chosen, self._fits(chosen)
        # The newest turn alone is too long: its question, and the newest groups that fit.
        question = self._question()
        hangs = [call == question for call, _ in self._pairs.matched]
        if question is not None and (any(hangs) or all(self._forbidden[question + 1 :])):
            # Nothing since can be cut off from the question, or from what came before it.
            whole = [i for i in range(question + 1) if not self._forbidden[i]]
            turns = [i for i in whole if self._body[i].opens_turn]
            start = (turns or whole or [0])[-1]
            chosen = self._body[start:]
            return chosen, self._fits(chosen)
        kept = [] if question is None else [self._body[question]]
        after = -1 if question is None else question
        reach = max(self._within([*self._opening, *kept], len(self._body)), after + 1)
        legal = [i for i in range(after + 1, len(self._body)) if not self._forbidden[i]]
        start = next((i for i in legal if i >= reach), legal[-1] if legal else len(self._body))
        chosen = [*kept, *self._body[start:]]
        return chosen, self._fits(chosen)

    def _fits(self, chosen: Sequence[Message]) -> bool:
        limits = self._limits
        messages = [*self._opening, *chosen]
        return not (
            (limits.messages is not None and len(messages) > limits.messages)
            or (limits.turns is not None and sum(m.opens_turn for m in chosen) > limits.turns)
            or (limits.tokens is not None and sum(map(self._tokens, messages)) > limits.tokens)
        )

    def _tokens(self, message: Message) -> int:
        # None where another counter counted: stored counts are trusted under one name only.
        if self._counts is None:
            return self._counter(message) if message.tokens is None else message.tokens
        if (count := self._counts.get(id(message))) is None:
            count = self._counts[id(message)] = self._counter(message)
        return count


def _in_place(pairs: _Pairs) -> bool:
    """Whether every result stands right behind its call, as it nearly always does."""
    if pairs.dangling or pairs.orphans:
        return False
    behind: dict[int, int] = {}
    for call, result in sorted(pairs.matched):
        if result != behind.get(call, call + 1):
            return False
        behind[call] = result + 1
    return True


def _repaired(messages: Sequence[Message], pairs: _Pairs) -> list[Message]:
    """Copy messages so that results stand right behind their calls, none without the other."""
    called_by = {result: call for call, result in sorted(pairs.matched)}  # the last that it answers
    results: defaultdict[int, list[int]] = defaultdict(list)
    for result, call in sorted(called_by.items()):
        results[call].append(result)
    missing: defaultdict[int, list[ToolCall]] = defaultdict(list)
    for i, call_without in pairs.dangling:
        if call_without.id:  # no result could name one that has none: providers refuse it
            missing[i].append(call_without)
    repaired: list[Message] = []
    answers = {*called_by, *pairs.orphans}
    todo: list[int | Message] = [i for i in reversed(range(len(messages))) if i not in answers]
    while todo:
        match todo.pop():
            case Message() as made_up:
                repaired.append(made_up)
            case i:
                repaired.append(messages[i])
                todo.extend(map(_no_result, reversed(missing[i])))
                todo.extend(reversed(results[i]))
    return repaired


def _no_result(call: ToolCall) -> Message:
    return Message(
        "tool",
        NO_RESULT,
        name=call.name,
        tool_call_id=call.id,
        metadata={"onrecord": "repaired"},
    )
