"""What share of the answering turns comes back, and how often nothing does where it should not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Final, NamedTuple, Protocol

from scripts.recall.data import Conversation

TURNS: Final = (5, 10, 25, 50)
SESSIONS: Final = (2, 5, 10)


class Found(NamedTuple):
    """A turn that came back."""

    turn: str
    score: float


class Search(Protocol):
    """A conversation that can be asked."""

    def search(self, query: str, limit: int) -> list[Found]:
        """Give the turns that answer, the best first."""


Row = tuple[float, ...]


def recalled(
    conversations: Iterable[Conversation], asked: Mapping[str, Search], least: float = 0.0
) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """Measure recall of turns, and of their sessions, by kind of question; turns below a score
    count as not returned."""
    turns: dict[str, list[Row]] = {"overall": []}
    sessions: dict[str, list[Row]] = {"overall": []}
    for conversation in conversations:
        session_of = {turn.id: turn.session for turn in conversation.turns}
        for question in conversation.questions:
            found = asked[conversation.id].search(question.text, max(TURNS))
            got = [each.turn for each in found if each.score >= least]
            row = _shares(question.evidence, got, TURNS)
            # As far as the turns that were asked for tell: sessions that come late are not seen.
            order = list(dict.fromkeys(session_of[turn] for turn in got))
            # Evidence that names no turn still names its session: D3:99.
            wanted = list({int(turn[1:].split(":")[0]) for turn in question.evidence})
            beside = _shares(wanted, order, SESSIONS)
            for kind in ("overall", question.kind, f"conversation {conversation.id}"):
                turns.setdefault(kind, []).append(row)
                sessions.setdefault(kind, []).append(beside)
    return turns, sessions


def _shares(wanted: Sequence[object], got: Sequence[object], counts: Sequence[int]) -> Row:
    return tuple(sum(each in got[:many] for each in wanted) / len(wanted) for many in counts)


def averages(rows: Sequence[Row]) -> list[float]:
    """Average each column, in per cent."""
    return [100 * fmean(column) for column in zip(*rows, strict=True)]


def of_others(conversations: Sequence[Conversation]) -> dict[str, list[str]]:
    """Ask each conversation what was asked of the others, of its own speakers."""
    asked: dict[str, list[str]] = {}
    for here in conversations:
        asked[here.id] = [
            _renamed(question.text, there.speakers, here.speakers)
            for there in conversations
            if there.id != here.id
            for question in there.questions
        ]
    return asked


def of_nothing(conversations: Iterable[Conversation]) -> dict[str, list[str]]:
    """Ask each conversation about what never came up in it."""
    return {
        here.id: [
            question.format(a=here.speakers[0], b=here.speakers[-1]) for question in NEVER_SAID
        ]
        for here in conversations
    }


def quiet(
    questions: Mapping[str, Sequence[str]], asked: Mapping[str, Search], least: float
) -> float:
    """For what share of the questions nothing reaches a score, in per cent."""
    silent: list[bool] = []
    for conversation, texts in questions.items():
        for text in texts:
            found = asked[conversation].search(text, 10)
            silent.append(all(each.score < least for each in found))
    return 100 * fmean(silent)


def _renamed(text: str, names: Sequence[str], others: Sequence[str]) -> str:
    instead = dict(zip(names, others, strict=False))
    pattern = r"\b(?:" + "|".join(map(re.escape, instead)) + r")\b"
    rename: Callable[[re.Match[str]], str] = lambda match: instead[match[0]]  # noqa: E731
    return re.sub(pattern, rename, text)


NEVER_SAID: Final = """
What did {a} say about the quantum chemistry lecture?
Which visa did {a} apply for at the embassy?
How much did the plumber charge {a} for the boiler?
When does {a}'s library card expire?
What is the password of the staging server?
Which vaccine did {a}'s horse receive?
When did {a} file the patent for the turbine?
What colour is {a}'s submarine?
Who repaired {b}'s chainsaw?
What was the invoice number of the cement delivery?
Which chess opening does {b} prefer?
How many beehives does {a} keep?
What did {b} order from the Ethiopian restaurant?
When is {b}'s flight to Reykjavik?
Which Kubernetes version does the cluster run?
How did the orchestra audition of {a} go?
What interest rate did {a} get on the mortgage?
Where did {b} park the caravan?
What is {a}'s blood type?
Which stocks did {b} sell in January?
When did {a} climb Kilimanjaro?
What did the archaeologist dig up near {b}'s garage?
Who won the cricket match that {b} umpired?
Which telescope did {a} buy to look at Saturn?
What allergy does {b}'s parrot have?
What is the warranty period of the dishwasher?
When did {a} translate the poem into Latin?
How many kilos of cheese did {b} smuggle?
Which tax form did {a} forget to sign?
What did {b} bid at the auction of stamps?
""".strip().splitlines()
