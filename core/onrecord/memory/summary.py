"""A rolling summary of what no longer fits into a window: made once for each message.

    summary = RollingSummary(session, summarise, messages=40)
    window = summary.window()
    prompt = [window.summary.text, *window]

``summarise(previous, messages)`` is given the summary so far and the messages that have no room any
more, and gives the new summary. It is kept in the session's ``state``, with the place up to which
it goes: whoever asks next, in another process too, goes on from there. It goes with any message
that it was made from, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.arguments import check_function, check_range, whole_number
from onrecord.errors import Conflict, Misconfigured, shown
from onrecord.gist import EXTRACT, GIST, Gist, Kind, gist_in
from onrecord.item import Item, Put
from onrecord.memory.asked import Asked, text_in
from onrecord.memory.extracting import extract
from onrecord.message import Message
from onrecord.session import Session
from onrecord.tokens import CountTokens
from onrecord.version import Version
from onrecord.window import Limits, Window

__all__ = ["Gist", "RollingSummary", "Summariser"]

Summariser: TypeAlias = "Callable[[str, list[Message]], str | Awaitable[str]]"
"""Is given the summary so far, empty at first, and the messages that are to go into it."""

KEPT: Final = 20
"""Messages that stay as they are where no limit is given."""
_AT_ONCE: Final = 8_000
"""Tokens of messages that a summariser is given at once; a single message may have more."""
_PAGE: Final = 200
_MOST_ATTEMPTS: Final = 20


class RollingSummary:
    """The summary of one session. Holds no connection and nothing that was said."""

    __slots__ = ("_ask", "_limits", "_shorter", "_token_counter", "extractive", "session")

    def __init__(
        self,
        session: Session,
        summariser: Summariser | None = None,
        *,
        messages: int | None = None,
        turns: int | None = None,
        tokens: int | None = None,
        keep: float = 0.5,
        token_counter: CountTokens | None = None,
    ) -> None:
        """
        session        whose older messages are summarised
        summariser     a function of the summary so far and a list of messages, async or not; in
                       async methods one that is not runs in a thread, and of an object that can
                       be called either way ``acall`` is awaited. Without one sentences are chosen:
                       ``extractive``
        messages, turns, tokens    what a window holds at most, as of ``session.window``; 20
                       messages where none is given
        keep           how much of that stays out of the summary when it is made: the smaller, the
                       more rarely the summariser is called
        token_counter  counts instead of the store's own
        """
        check_session(session)
        if summariser is not None:
            check_summariser(summariser)
        check_range("keep", keep, "a share", 0, 1)
        if messages is None and turns is None and tokens is None:
            messages = KEPT
        limits = Limits(messages=messages, turns=turns, tokens=tokens)
        self.session = session
        self.extractive = summariser is None
        """Whether it is made without a model, by choosing sentences. It is kept apart then."""
        self._ask = Asked(
            extract if summariser is None else summariser,
            "The summariser is async: use the async methods, or give a plain function.",
            quick=summariser is None,
        )
        self._limits = _as_settings(limits, 1)
        self._shorter = _as_settings(limits, keep)
        self._token_counter = token_counter

    def read(self) -> Gist:
        """Bring the summary up to date where something fell out of the window, and give it.

        What the summariser raises is raised here; what it had made before is kept.
        """
        return talk(self._read())

    async def aread(self) -> Gist:
        """Like ``read``."""
        return await atalk(self._read())

    def window(self, *, repair: bool = False) -> Window:
        """Read a window with an up-to-date ``summary`` of all that is not in it."""
        return talk(self._window(repair))

    async def awindow(self, *, repair: bool = False) -> Window:
        """Like ``window``."""
        return await atalk(self._window(repair))

    def kept(self) -> Gist:
        """Read the summary as it is kept, without asking for another."""
        return talk(self._kept())

    async def akept(self) -> Gist:
        """Like ``kept``."""
        return await atalk(self._kept())

    def upto(self, seq: int) -> Gist:
        """Bring the summary up to date so that it goes up to a message at least, and give it."""
        return talk(self._upto(seq))

    async def aupto(self, seq: int) -> Gist:
        """Like ``upto``."""
        return await atalk(self._upto(seq))

    def forget(self) -> bool:
        """Take the summary away, to be made anew when it is asked for; whether there was one."""
        return talk(self._forgotten())

    async def aforget(self) -> bool:
        """Like ``forget``."""
        return await atalk(self._forgotten())

    def __repr__(self) -> str:
        limits = ", ".join(f"{name}={limit}" for name, limit in self._limits.items())
        extractive = ", extractive" if self.extractive else ""
        return f"RollingSummary({self.session.name}, {limits}{extractive})"

    # -- written once ------------------------------------------------------------------------

    @property
    def _key(self) -> str:
        return EXTRACT if self.extractive else GIST

    def _kept(self) -> Talk[Gist]:
        return gist_in((yield from self._item()))

    def _item(self) -> Talk[Item | None]:
        return call(self.session.state.get, self._key)

    def _forgotten(self) -> Talk[bool]:
        return call(self.session.state.delete, self._key)

    def _read(self) -> Talk[Gist]:
        window = yield from self._cut(self._limits)
        return (yield from self._upto(window.fallen))

    def _window(self, repair: bool) -> Talk[Window]:
        for _ in range(_MOST_ATTEMPTS):
            kind: Kind = "extractive" if self.extractive else True
            window = yield from self._cut(self._limits, repair=repair, summary=kind)
            plain = yield from self._plain(window)
            if plain.fallen <= window.summary.version.head:
                return window
            yield from self._upto(plain.fallen)
        raise Conflict(
            f"Session {self.session.name} was rewritten {_MOST_ATTEMPTS} times while it was "
            f"summarised.",
            window.version,
        )

    def _plain(self, window: Window) -> Talk[Window]:
        """The same without a summary, which may have made it longer than its limits."""
        if window.fits:
            return window
        return (yield from self._cut(self._limits))

    def _cut(self, limits: dict[str, Any], **more: Any) -> Talk[Window]:
        return call(self.session.window, **limits, token_counter=self._token_counter, **more)

    def _upto(self, seq: int) -> Talk[Gist]:
        """Summarise what came since, up to a message at least; and a few more, so that it is not
        to be done again for the next message."""
        seq = whole_number("seq", seq)
        goal = 0
        known = yield from self._kept()
        if known.version.head >= seq:
            return known
        for _ in range(_MOST_ATTEMPTS):
            version: Version = yield from call(self.session.version)
            item = yield from self._item()
            known = gist_in(item)
            if known.version.head >= min(seq, version.head):
                return known
            if not goal:
                shorter = yield from self._cut(self._shorter)
                goal = max(shorter.fallen, seq)
            if (yield from self._gone_on(_Place(version, item, known), min(goal, version.head))):
                return (yield from self._kept())
        raise Conflict(
            f"Session {self.session.name} was rewritten, or summarised by others, "
            f"{_MOST_ATTEMPTS} times while it was summarised. Try again.",
            version,
        )

    def _gone_on(self, place: _Place, goal: int) -> Talk[bool]:
        """Go on from what is kept, a batch at a time, each of which is kept at once. False where
        somebody else has changed what it was made of or from."""
        first = yield from call(self.session.messages, limit=1)
        opening = {m.seq for m in first if m.role == "system" and not m.tool_calls}
        while place.known.version.head < goal:
            after = place.known.version.head
            page = yield from call(self.session.messages, after=after, before=goal + 1, limit=_PAGE)
            batch = _batch(page)
            is_last = len(batch) == len(page) < _PAGE
            upto = goal if is_last else (batch[-1].seq or 0)
            new = [message for message in batch if message.seq not in opening]
            text = place.known.text
            if new:
                text = _text_in((yield from call(self._ask.ask, text, new)), self.extractive)
            gist = Gist(
                text,
                Version(place.version.epoch, upto),
                place.known.messages + len(new),
                self.extractive,
            )
            kept = yield from self._keep(place, gist)
            if kept is None:
                return False
            place = kept
        return True

    def _keep(self, place: _Place, gist: Gist) -> Talk[_Place | None]:
        """Keep a summary where the session was not rewritten since its messages were read, and
        nobody else has kept another."""
        session, version = self.session, place.version
        expected = 0 if place.item is None else place.item
        put = Put(
            session.state, self._key, gist.value, expected=expected, token=str(gist.version.head)
        )
        for _ in range(_MOST_ATTEMPTS):
            try:
                yield from call(session.append, [], expected=version, items=[put])
            except Conflict as fault:
                if fault.version is None or fault.version.epoch != version.epoch:
                    return None
                version = fault.version  # somebody has said something: that changes nothing
                continue
            item = yield from self._item()
            known = gist_in(item)
            return None if known != gist else _Place(version, item, known)
        return None


class _Place(NamedTuple):
    """Where a session stands, and its summary."""

    version: Version
    item: Item | None
    known: Gist


def check_session(session: object) -> None:
    """Refuse what is no session. It is not shown: an address may hold a password."""
    if not isinstance(session, Session):
        raise Misconfigured(
            f"A session is needed, store.session(key), not a {type(session).__name__}."
        )


def check_summariser(given: object) -> None:
    """Refuse what cannot summarise."""
    check_function("summariser", given, "a function of the summary so far and a list of Messages")


def _text_in(answer: object, extractive: bool) -> str:
    """Refuse what is no summary: to keep it would be to forget what was said."""
    return text_in(
        answer,
        f"A summariser has to give the new summary as text, and this one gave {shown(answer)}. "
        f"What was kept before stays.",
        may_be_empty=extractive,
    )


def _batch(page: Sequence[Message]) -> Sequence[Message]:
    """The first messages of a page that may be summarised at once: whole turns, if one fits."""
    left, end = _AT_ONCE, 0
    while end < len(page) and (not end or left >= (page[end].tokens or 0)):
        left -= page[end].tokens or 0
        end += 1
    if end == len(page) < _PAGE:
        return page
    turns = (i for i in range(end if end < len(page) else end - 1, 0, -1) if page[i].opens_turn)
    return page[: next(turns, end)]


def _as_settings(limits: Limits, share: float) -> dict[str, Any]:
    given = {"messages": limits.messages, "turns": limits.turns, "tokens": limits.tokens}
    return {name: max(1, int(limit * share)) for name, limit in given.items() if limit is not None}
