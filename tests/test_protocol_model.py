"""The cache protocol holds in small cases, and no rule of it can be left out.

Larger cases: ``python -m tests.protocol_model``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from tests import protocol_model as model
from tests.protocol_model import AA, CUT, FALLS, TWO, A, Case

HOLDS: Final = {
    "two append": TWO,
    "one appends, one erases, and a first write brings the tail": replace(
        TWO, writers=("A", "E"), warm=True
    ),
    "one appends and erases, requests are late": replace(AA, writers=("AE",), late=True, warm=True),
    "an item is put by two": replace(TWO, writers=("P", "P"), warm=True),
    "an item is put by one, and taken away by another": replace(TWO, writers=("P", "E"), warm=True),
    "Redis is full when it is marked": replace(A, mark_deletes=True),
    "a writer is cut off from Redis": CUT,
    "one is cut off, who erases": replace(CUT, writers=("E",)),
    "somebody calls invalidate()": replace(CUT, cut=(), invalidates=True, warm=True),
    "SQL falls back under a held tail": replace(FALLS, held=True, warm=True),
}

TOO_LARGE: Final = {"W1 generation", "SQL falls back over a RESUME while a writer is cut off"}
"""What takes longer than a few seconds to find; ``python -m tests.protocol_model`` does."""


@pytest.mark.parametrize("case", HOLDS.values(), ids=HOLDS)
def test_a_hit_equals_the_database(case: Case) -> None:
    result = model.explore(case)
    assert not result.bad
    assert result.states > 500


@pytest.mark.parametrize("rule", sorted(model.FAULTS.keys() - TOO_LARGE))
def test_without_this_rule_it_breaks(rule: str) -> None:
    case, bad = model.FAULTS[rule]
    result = model.explore(replace(case, without=frozenset({rule})), trace=True)
    assert result.bad == bad
    assert result.trace[0].startswith("start: ")
    assert len(result.trace) <= 20, "the shortest way is found first"


@pytest.mark.parametrize("rule", sorted(model.SECOND_LINES))
def test_without_a_second_line_nothing_breaks(rule: str) -> None:
    case = replace(model.SECOND_LINES[rule], without=frozenset({rule}))
    assert not model.explore(case).bad


def test_every_rule_is_left_out_somewhere() -> None:
    assert model.RULES.keys() == model.FAULTS.keys() | model.SECOND_LINES.keys()


@pytest.mark.parametrize("what", sorted(model.STAYS.keys() - TOO_LARGE))
def test_what_the_protocol_does_not_prevent(what: str) -> None:
    case, bad = model.STAYS[what]
    assert model.explore(case, trace=True).bad == bad
