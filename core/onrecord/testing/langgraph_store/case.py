"""A case: one question to a store, with the sentence that says what has to be so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeAlias

from onrecord.testing.langgraph_store.subject import KINDS, Kind, Subject, Wrong

Question: TypeAlias = Callable[[Subject], Awaitable[None]]


class Case(NamedTuple):
    """What is asked of a store. ``needs_ttl``: only where it says that it has time to live."""

    name: str
    group: str
    sentence: str
    question: Question
    kinds: tuple[Kind, ...] = KINDS
    needs_ttl: bool = False


class Group:
    """Cases about one subject."""

    def __init__(self, title: str, about: str = "") -> None:
        self.title = title
        self.about = about
        self.cases: list[Case] = []

    def add(
        self, name: str, sentence: str, question: Question, *, kinds: tuple[Kind, ...] = KINDS
    ) -> None:
        """Add a case that has no function of its own."""
        self.cases.append(Case(name, self.title, sentence, question, kinds))

    def case(
        self, sentence: str, *, kinds: tuple[Kind, ...] = KINDS, needs_ttl: bool = False
    ) -> Callable[[Question], Question]:
        """Add the function as a case of its name."""

        def add(question: Question) -> Question:
            name: str = question.__name__
            self.cases.append(Case(name, self.title, sentence, question, kinds, needs_ttl))
            return question

        return add


def expect(right: bool, otherwise: str) -> None:
    """Say what is wrong where something is not right."""
    if not right:
        raise Wrong(otherwise)


def expect_same(got: object, want: object, what: str) -> None:
    """Compare, and say both."""
    if got != want:
        raise Wrong(f"{what}: {got!r}, not {want!r}")


def listed(names: Iterable[object]) -> str:
    """Names for a sentence."""
    return ", ".join(map(str, names)) or "none"
