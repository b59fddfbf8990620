"""Ranges are sets of sequences."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from onrecord.stored.ranges import (
    Ranges,
    common,
    cut_after,
    spans,
    with_added,
    without,
)

Seqs = st.sets(st.integers(1, 40))


def members(ranges: Ranges) -> set[int]:
    return {seq for first, last in ranges for seq in range(first, last + 1)}


@given(Seqs, Seqs, st.integers(0, 45), st.integers(0, 45))
def test_they_behave_like_sets(some: set[int], more: set[int], low: int, high: int) -> None:
    ranges = with_added((), some)
    assert members(ranges) == some
    assert members(with_added(ranges, more)) == some | more
    assert members(without(ranges, with_added((), more))) == some - more
    assert common(ranges, with_added((), more)) == with_added((), some & more)
    assert members(cut_after(ranges, high)) == {seq for seq in some if seq <= high}
    between = set(range(low, high + 1))
    assert members(tuple(spans(ranges, low, high, inside=True))) == some & between
    assert members(tuple(spans(ranges, low, high, inside=False))) == between - some
    for inside in (True, False):
        assert all(first <= last for first, last in spans(ranges, low, high, inside=inside))
    for one, other in pairwise(ranges):
        assert one[1] + 1 < other[0], "with a gap between them"
