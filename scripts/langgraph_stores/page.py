"""The page about what LangGraph's own stores pass and fail, out of the file of their answers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from onrecord.testing.langgraph_store import CASES, GROUPS, Case, Group
from scripts.langgraph_stores.answers import Answers

PAGE: Final = Path(__file__).parents[2] / "docs/reference/langgraph-stores.md"

_TICK: Final = (
    "All calls of one tick of the loop are one batch: they raise together, and no put is stored."
)
_LOOP: Final = "What it waits for belongs to the loop on which it was made."
_TEXT: Final = "Numbers are compared as text (LangGraph's issue 7684)."

WHY: Final[dict[str, dict[str, str]]] = {
    "InMemoryStore": {
        "what_was_put_is_copied": "The outermost dict is copied; what is in it is shared.",
        "newest_first": "They come in the order in which they were first put.",
        "filter_gt": "One item of another type, and the search raises.",
        "filter_or": "LangGraph's issue 8829.",
        "get_makes_nothing": "LangGraph's issue 8734.",
    },
    "SqliteStore": {
        "created_at_stays": "Within one second nobody sees it.",
        "newest_first": "Times are whole seconds, and ties come as they come.",
        "pages_under_puts": "What is put again gets another place among those of its second.",
        "filter_nested": "LangGraph's issue 8786.",
        "filter_dot": "A dot is taken for a path (LangGraph's issue 7795).",
        "supports_ttl": "`AsyncSqliteStore` says that it has none, so that it is asked no more "
        "about it. `SqliteStore` is.",
        "expired_is_not_got": "`omit_expired` is not heeded (LangGraph's issue 8902).",
        "neighbours_of_object": _TICK,
        "used_elsewhere": _LOOP,
    },
    "PostgresStore": {
        "value_whole_floats": "`jsonb` has no exponents: 1e17 is an integer when it comes back.",
        "pages_are_whole": "What one batch puts has one time, and ties have no order.",
        "filter_nested": "LangGraph's issue 8786.",
        "filter_gt": _TEXT,
        "filter_digits": _TEXT,
        "filter_or": "LangGraph's issue 8829.",
        "get_refreshes": "The time to begin anew is kept in whole minutes, and a part of one is "
        "none. Whole minutes are refreshed.",
        "search_refreshes": "For the same reason.",
        "neighbours_of_object": _TICK,
        "used_elsewhere": _LOOP,
    },
}
"""What the reason alone does not tell."""
_NOT_OFFERED: Final = "\N{EN DASH}"
_NOT_SEEN: Final = "does not show"

_HEAD: Final = """\
# What LangGraph's stores do

LangGraph's `BaseStore` says which methods a store has. What they mean is seldom said, and its
three stores differ. `onrecord.testing.langgraph_store` asks any store {count} questions, by its
sync and its async methods:

    python -m onrecord.testing.langgraph_store mypackage.stores:factory

`factory` gives a store, or a context manager that opens one. What each case writes is below a
root label of its own. `--only async` is for stores that are opened on an event loop, and
`--cases ttl` chooses by name. `BaseStoreContract` is the same for pytest:

    class TestMyStore(BaseStoreContract):
        @pytest.fixture
        def store(self):
            with MyStore("...") as store:
                yield store

LangGraph promises little of what is asked here. Where its stores differ, the case asks for what
loses nothing and surprises nobody, and says what that is. To refuse is right wherever it says so.

Below is what LangGraph's own stores answer, of

{versions}

`SqliteStore` and `PostgresStore` are asked by their sync methods, and `AsyncSqliteStore` and
`AsyncPostgresStore` by the async ones. Where only one kind fails, the table says which. They are
set up with `ttl={{"omit_expired": True, "refresh_on_read": True}}`. A dash stands where a store
says that it has no time to live, and where expired items are returned, what else is asked about
it does not show. `OnrecordStore` fails none: `tests/test_langgraph_store_ours.py`.

This page is written by `python -m scripts.langgraph_stores`, which asks the stores, and a test
asks them again.
"""


def page(versions: dict[str, str], peers: dict[str, Answers]) -> str:
    """The whole page."""
    from_packages = "\n".join(f"- {package} {version}" for package, version in versions.items())
    lines = [_HEAD.format(count=len(CASES), versions=from_packages), "## In numbers", ""]
    lines += _numbers(peers)
    for group in GROUPS:
        lines += ["", f"## {group.title}", "", *_about(group)]
        lines += [f"| what is asked | {' | '.join(peers)} |", "|---" * (len(peers) + 1) + "|"]
        for case in group.cases:
            cells = " | ".join(_cell(case, told) for told in peers.values())
            lines.append(f"| {case.sentence} | {cells} |")
    lines += ["", "## Why", "", "By the names of the cases. `--cases` takes them."]
    for peer, told in peers.items():
        lines += ["", f"### {peer}", "", *_reasons(peer, told)]
    return "\n".join(lines) + "\n"


def _about(group: Group) -> list[str]:
    return [textwrap.fill(group.about, 98), ""] if group.about else []


def _numbers(peers: dict[str, Answers]) -> Iterator[str]:
    yield "| | passes | fails | one kind fails | does not show | not offered |"
    yield "|---|---|---|---|---|---|"
    for peer, told in peers.items():
        cells = [_cell(case, told) for case in CASES]
        failed, not_offered = cells.count("**fails**"), cells.count(_NOT_OFFERED)
        one_kind = len([cell for cell in cells if " fails" in cell])
        hidden = cells.count(_NOT_SEEN)
        passed = len(cells) - failed - one_kind - hidden - not_offered
        yield f"| {peer} | {passed} | {failed} | {one_kind} | {hidden} | {not_offered} |"


def _cell(case: Case, told: Answers) -> str:
    of_case = told.get(case.name, {})
    failed = [kind for kind, (outcome, _) in of_case.items() if outcome == "failed"]
    if len(failed) == len(case.kinds):
        return "**fails**"
    if failed:
        return f"**{failed[0]} fails**"
    if any(outcome == "not seen" for outcome, _ in of_case.values()):
        return _NOT_SEEN
    return _NOT_OFFERED if len(of_case) == len(case.kinds) else "passes"


def _reasons(peer: str, told: Answers) -> Iterator[str]:
    for case in CASES:
        failed: dict[str, list[str]] = {}
        for kind, (outcome, reason) in told.get(case.name, {}).items():
            if outcome == "failed":
                failed.setdefault(reason, []).append(kind)
        if not failed:
            continue
        parts = []
        for reason, kinds in failed.items():
            who = "" if len(kinds) == len(case.kinds) else f"{kinds[0]}: "
            parts.append(f"{who}`` {reason} ``")
        more = WHY[peer].get(case.name, "")
        yield f"- `{case.name}`: {'; '.join(parts)}. {more}".rstrip()
