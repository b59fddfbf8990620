"""Asks a store every case, and tells what came of it. Needs no pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

from onrecord.testing.langgraph_store.case import Case
from onrecord.testing.langgraph_store.cases import CASES
from onrecord.testing.langgraph_store.subject import (
    KINDS,
    Kind,
    NotSeen,
    Opener,
    Subject,
    ask,
    said,
)

Factory: TypeAlias = Callable[[], Opener]
"""Gives a store, or a context manager (async too) that opens one. Called for each case."""

Outcome: TypeAlias = Literal["passed", "failed", "not offered", "not seen"]


class Result(NamedTuple):
    """What came of a case: the reason is one line, empty where it passed."""

    case: Case
    kind: Kind
    outcome: Outcome
    reason: str


class _NotOffered(Exception):
    """The store says that it has no time to live."""


def report(
    factory: Factory, *, kinds: Sequence[Kind] = KINDS, cases: Iterable[Case] | None = None
) -> list[Result]:
    """Ask every case in each kind. ``kinds=("async",)`` for what is opened on an event loop."""
    chosen = CASES if cases is None else cases
    return [asked(factory(), case, kind) for case in chosen for kind in kinds if kind in case.kinds]


def asked(opener: Opener, case: Case, kind: Kind) -> Result:
    """Ask one case, and close the store."""
    root = ""

    async def question(subject: Subject) -> None:
        nonlocal root
        root = subject.root
        if case.needs_ttl and not subject.store.supports_ttl:
            raise _NotOffered
        await case.question(subject)

    try:
        ask(opener, kind, question)
    except _NotOffered:
        return Result(case, kind, "not offered", "supports_ttl is False")
    except NotSeen as hidden:
        return Result(case, kind, "not seen", said(hidden))
    except Exception as fault:  # whatever a store raises is what is reported
        reason = said(fault)
        return Result(case, kind, "failed", reason.replace(root, "root") if root else reason)
    return Result(case, kind, "passed", "")


def table(results: Sequence[Result]) -> str:
    """A line for each case, and one for each reason why it failed."""
    lines: list[str] = []
    group = ""
    width = max((len(result.case.name) for result in results), default=0)
    for case in dict.fromkeys(result.case for result in results):
        if case.group != group:
            group = case.group
            lines += ["", group]
        of_case = [result for result in results if result.case == case]
        bad = [result for result in of_case if result.outcome == "failed"]
        outcome = "FAILED" if bad else of_case[0].outcome
        lines.append(f"  {case.name:{width}}  {outcome}")
        if bad:
            lines.append(f"    {case.sentence}")
        for reason in dict.fromkeys(result.reason for result in bad):
            who = [result.kind for result in bad if result.reason == reason]
            lines.append(f"    {' and '.join(who)}: {reason}")
    counted = {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in get_args(Outcome)
    }
    ends = ", ".join(f"{count} {outcome}" for outcome, count in counted.items())
    return "\n".join([*lines[1:], "", ends])
