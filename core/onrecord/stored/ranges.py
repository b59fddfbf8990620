"""Sets of sequences, as the few ranges they mostly are: what of a session is archived."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last of each run, in order, with gaps between them."""

NOWHERE: Final[Ranges] = ()


def with_added(ranges: Ranges, seqs: Iterable[int]) -> Ranges:
    """The same set with more in it."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted([*ranges, *((seq, seq) for seq in seqs)]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def common(ranges: Ranges, others: Ranges) -> Ranges:
    """What is in both sets."""
    return tuple(run for first, last in others for run in spans(ranges, first, last, inside=True))


def without(ranges: Ranges, gone: Ranges) -> Ranges:
    """The same set with less in it."""
    left: list[tuple[int, int]] = []
    for first, last in ranges:
        left.extend(spans(gone, first, last, inside=False))
    return tuple(left)


def cut_after(ranges: Ranges, head: int) -> Ranges:
    """What is left of a set when everything after a place is gone."""
    return tuple((first, min(last, head)) for first, last in ranges if first <= head)


def holds(ranges: Ranges, seq: int) -> bool:
    """Whether a sequence is in a set."""
    n = bisect_right(ranges, seq, key=lambda run: run[0])
    return n > 0 and ranges[n - 1][1] >= seq


def spans(ranges: Ranges, low: int, high: int, *, inside: bool) -> Iterator[tuple[int, int]]:
    """The runs between two places, both counted in, that are in the set or are not."""
    if low > high:
        return
    at = low
    for first, last in ranges:
        if last < low or first > high:
            continue
        if inside:
            yield max(first, low), min(last, high)
        elif at < first:
            yield at, first - 1
        at = max(at, last + 1)
    if not inside and at <= high:
        yield at, high
