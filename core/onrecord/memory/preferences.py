"""Learn how a user writes, and about what: formal or casual, brief or detailed, which topics.

    preferences = Preferences(store, "ada")
    learned = preferences.read()
    learned.style, learned.length, learned.topics
    learned.prompt                                  # a sentence for a system prompt

Learned is from what the user said, and from nobody else's words; each message is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from onrecord.adapters.calls import Talk, atalk, talk
from onrecord.arguments import check_number
from onrecord.errors import Misconfigured, shown
from onrecord.memory.learning import Learner, Numbers, add
from onrecord.memory.notebook import fields_of, table
from onrecord.memory.rules import DEFAULT, Rules
from onrecord.message import Message
from onrecord.scope import ANY, AnyName, check_name
from onrecord.store import Store

Kind: TypeAlias = Literal["style", "length", "topics"]
UNDECIDED: Final = "undecided"
MEDIUM: Final = "medium"
DECISIVE: Final = 2
"""Words that make a style: one alone may be a slip."""
MOST_NAMES: Final = 300
"""Names and words of one session that are told apart; a rule that returns more says too much."""
_KINDS: Final[tuple[Kind, ...]] = ("style", "length", "topics")
_TURNS: Final = "turns"
_BETWEEN: Final = "\x1f"
"""Between the parts of a name: what rules return is printable."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why something was learned."""

    kind: Kind
    value: str
    """What messages say: ``"formal"``, ``"brief"``, ``"billing"``."""
    messages: int
    """How many of them."""
    words: Mapping[str, int]
    """By which words, and how often; most first."""

    @property
    def count(self) -> int:
        """How often it was said, in all messages."""
        return sum(self.words.values())

    def __str__(self) -> str:
        words = ", ".join(f"{word} ({count:,})" for word, count in self.words.items())
        return f"{self.value}: {words}"


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of a user. As text it is a sentence for a system prompt, or nothing."""

    style: str = UNDECIDED
    """``formal``, ``casual``, or ``undecided``."""
    length: str = UNDECIDED
    """How long the user's messages are: ``brief``, ``medium`` or ``detailed``; or ``undecided``."""
    topics: tuple[str, ...] = ()
    """What the user talks about, most common first."""
    turns: int = 0
    """How often the user spoke."""
    evidence: tuple[Evidence, ...] = field(default=(), repr=False)
    """What speaks for each, also for what was not decided."""

    def of(self, value: str) -> Evidence | None:
        """Return what speaks for a style, a length or a topic; None where nothing does."""
        return next((one for one in self.evidence if one.value == value), None)

    @property
    def prompt(self) -> str:
        """A sentence for a system prompt; "" where nothing is known."""
        ways = [_STYLES.get(self.style, ""), _LENGTHS.get(self.length, "")]
        said = [way for way in ways if way]
        if self.style not in (*_STYLES, UNDECIDED):
            said.append(f"in a style that is {self.style}")
        if self.length not in (*_LENGTHS, MEDIUM, UNDECIDED):
            said.append(f"in a length that is {self.length}")
        sentences = [f"The user writes {_and(said)}: answer in the same way."] if said else []
        if self.topics:
            sentences.append(f"The user has often asked about {_and(self.topics[:5])}.")
        return " ".join(sentences)

    def to_dict(self) -> dict[str, Any]:
        """Return it under the names that support agents use."""
        return {
            "communication_style": self.style,
            "response_length": self.length,
            "common_topics": list(self.topics),
        }

    def __str__(self) -> str:
        return self.prompt

    def _repr_html_(self) -> str:
        why = [(one.kind, one.value, str(one.messages), str(one)) for one in self.evidence]
        return fields_of("What was learned", self) + (
            table(("Kind", "Value", "Messages", "Why"), why) if why else ""
        )


class Preferences:
    """Learns the preferences of one user. Holds nothing: what was learned is in items of the user's
    own scope, and goes with the user."""

    def __init__(
        self,
        store: Store,
        user: str,
        *,
        tenant: str = "",
        agent: AnyName = ANY,
        rules: Rules = DEFAULT,
        turns: int = 3,
    ) -> None:
        """
        store    where the user's sessions are
        user     whose words are read
        agent    with whom the user speaks; every agent, where it is left out
        rules    what a message says of who wrote it; see ``Rules``
        turns    how often the user has to have spoken before anything is said
        """
        check_name("user", user)
        if tenant is ANY:  # type: ignore[comparison-overlap]  # whoever does not check types
            raise Misconfigured("A user is one tenant's: tenant cannot be ANY for Preferences.")
        if not isinstance(rules, Rules):
            raise Misconfigured(f"rules has to be a Rules, not {shown(rules)}.")
        check_number("turns", turns, 1, 10**9)
        what = ["preferences", rules.name]
        self._learner = Learner(store, _Manners(rules), what, tenant, user, agent)
        self._turns = turns
        self.rules = rules

    @property
    def store(self) -> Store:
        """The store whose sessions are read."""
        return self._learner.store

    @property
    def user(self) -> str:
        """Whose preferences these are."""
        return str(self._learner.scope.user)

    def read(self) -> Learned:
        """Learn from what is new, and return what is known."""
        return talk(self._read())

    async def aread(self) -> Learned:
        """Like ``read``."""
        return await atalk(self._read())

    def forget(self) -> bool:
        """Take away what was learned; whether there was any. Whoever reads next learns it anew from
        the conversations that are there."""
        return talk(self._learner.forget())

    async def aforget(self) -> bool:
        """Like ``forget``."""
        return await atalk(self._learner.forget())

    def __str__(self) -> str:
        return str(self.read())

    def __repr__(self) -> str:
        return f"Preferences({self._learner.scope} in {self.store!r})"

    def _read(self) -> Talk[Learned]:
        numbers = yield from self._learner.total()
        turns = numbers.get(_TURNS, [0])[0]
        if turns < self._turns:
            return Learned(turns=turns)
        evidence = _evidence(numbers)
        return Learned(
            style=_leading(_of(evidence, "style"), UNDECIDED, DECISIVE),
            length=_leading(_of(evidence, "length"), MEDIUM, 1),
            topics=tuple(one.value for one in _of(evidence, "topics")),
            turns=turns,
            evidence=evidence,
        )


class _Manners:
    """What is counted of each message."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def begin(self) -> Any:
        """Nothing has to be known of earlier messages."""
        return None

    def hear(self, going: Any, numbers: Numbers, messages: Iterable[Message], salt: bytes) -> Any:
        """Count what messages of the user say; others' are passed over."""
        for message in messages:
            if message.opens_turn and message.was_said:
                self._hear(numbers, message)
        return going

    def _hear(self, numbers: Numbers, message: Message) -> None:
        add(numbers.setdefault(_TURNS, []), [1])
        text = message.text
        if not text.strip():
            return
        for kind in _KINDS:
            found = self.rules.say(kind, text)
            for value in dict.fromkeys(value for value, _ in found):
                self._count(numbers, _BETWEEN.join((kind, value)))
            for value, word in found:
                self._count(numbers, _BETWEEN.join((kind, value, word)))

    def places(self, name: str) -> Iterable[tuple[str, str]]:
        """All is summed up in one place."""
        return (("", name),)

    def _count(self, numbers: Numbers, name: str) -> None:
        if name in numbers or len(numbers) < MOST_NAMES:
            add(numbers.setdefault(name, []), [1])


def _evidence(numbers: Numbers) -> tuple[Evidence, ...]:
    messages: dict[tuple[str, str], int] = {}
    words: dict[tuple[str, str], dict[str, int]] = {}
    for name, row in numbers.items():
        match name.split(_BETWEEN):
            case [kind, value]:
                messages[kind, value] = row[0]
            case [kind, value, word]:
                words.setdefault((kind, value), {})[word] = row[0]
    found = [
        Evidence(kind, value, count, _most_first(words.get((kind, value), {})))
        for kind in _KINDS
        for (of, value), count in messages.items()
        if of == kind
    ]
    return tuple(sorted(found, key=lambda one: (_KINDS.index(one.kind), *_rank(one))))


def _rank(one: Evidence) -> tuple[int, int, str]:
    # A style shows in each word; a length and a topic in each message, however often it is named.
    most = (one.count, one.messages) if one.kind == "style" else (one.messages, one.count)
    return -most[0], -most[1], one.value


def _of(evidence: Sequence[Evidence], kind: Kind) -> list[Evidence]:
    return [one for one in evidence if one.kind == kind]


def _leading(found: Sequence[Evidence], otherwise: str, least: int) -> str:
    """What leads; something else where nothing does, or by less than that."""
    if not found:
        return UNDECIDED
    first, *others = [-_rank(one)[0] for one in found]
    return found[0].value if first >= least and first not in others else otherwise


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _and(some: Sequence[str]) -> str:
    *first, last = some
    return f"{', '.join(first)} and {last}" if first else last


_STYLES: Final = {"formal": "formally", "casual": "casually"}
_LENGTHS: Final = {"brief": "briefly", "detailed": "in detail"}
