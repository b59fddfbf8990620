"""How old episodes are summed up, and irrelevant ones forgotten.

Both read all messages once, decide, and then change one run at a time, each in one transaction that
is refused where an episode was edited, taken away, used or pinned since it was read. So several
workers may do it at once: each run is changed by one of them, or stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from onrecord.adapters.calls import Talk, call
from onrecord.errors import Conflict
from onrecord.memory.episode import summary_of
from onrecord.memory.episodic_reports import Consolidation, Faded, Forgetting, Summarised
from onrecord.memory.marks import SUMMARY, mark_of, public_id
from onrecord.memory.notes import NOTHING, Note
from onrecord.memory.shelf import Part, Shelf, kept
from onrecord.memory.summarising import Summarise, Summariser, extract

MOST_EPISODES: Final = 1_000
"""That one summary may stand in the place of."""
_MOST_MESSAGES: Final = 5_000
"""Of one transaction."""
_REACH: Final = 256
"""Places of a session from which one transaction takes episodes away: others wait that long."""


def consolidate(
    shelf: Shelf, before: datetime, summarise: Summarise, at_most: int, dry_run: bool
) -> Talk[Consolidation]:
    """Put summaries in the place of runs of episodes that ended before a time."""
    summariser, extractive = Summariser(summarise), summarise is extract
    parts = yield from shelf.parts()
    notes = yield from shelf.notes.all()
    old = [part for part in parts if part.ended < before and part.episode_type != SUMMARY]
    stay = sum(kept(part, notes) for part in old)
    runs = list(_runs(parts, before, notes, at_most))
    if dry_run:
        planned = tuple(_report(shelf, run) for run in runs)
        return Consolidation(True, extractive, planned, (), stay)
    done, skipped = list[Summarised](), list[Summarised]()
    for run in runs:
        summarised = yield from _summarised(shelf, run, notes, summariser)
        if summarised is None:
            skipped.append(_report(shelf, run))
        else:
            done.append(summarised)
    yield from _sweep(shelf, parts, notes)
    return Consolidation(False, extractive, tuple(done), tuple(skipped), stay)


def forget(shelf: Shelf, below: float, dry_run: bool) -> Talk[Forgetting]:
    """Take away the episodes that are less relevant than something."""
    parts = yield from shelf.parts()
    notes = yield from shelf.notes.all()
    now = datetime.now(UTC)
    faded: list[tuple[Part, Faded]] = []
    stay = 0
    for part in parts:
        relevance = shelf.relevance(part, notes.get(part.notes[0], NOTHING), now)
        if relevance < below and kept(part, notes):
            stay += 1
        elif relevance < below:
            at = public_id(part.marks[0], shelf.session.name.key)
            faded.append((part, Faded(at, part.episode_type, relevance, part.ended)))
    if dry_run:
        return Forgetting(True, tuple(one for _, one in faded), (), stay)
    gone, skipped = list[Faded](), list[Faded]()
    for _, near in groupby(faded, lambda pair: pair[0].seqs[0] // _REACH):
        several = list(near)
        if (yield from _taken(shelf, [part for part, _ in several], notes)):
            gone += [one for _, one in several]
            continue
        for part, one in several:  # one of them is another by now
            (gone if (yield from _taken(shelf, [part], notes)) else skipped).append(one)
    yield from _sweep(shelf, parts, notes)
    return Forgetting(False, tuple(gone), tuple(skipped), stay)


def _runs(
    parts: Sequence[Part], before: datetime, notes: Mapping[str, Note], at_most: int
) -> Iterator[list[Part]]:
    """Old episodes right behind each other, so many at the most. A single one stays."""
    run: list[Part] = []
    for part in parts:
        fits = part.ended < before and part.episode_type != SUMMARY and not kept(part, notes)
        messages = sum(len(one.seqs) for one in run) + len(part.seqs)
        if run and (
            not (fits and part.follows) or len(run) == at_most or messages > _MOST_MESSAGES
        ):
            if len(run) > 1:
                yield run
            run = []
        if fits and len(part.seqs) <= _MOST_MESSAGES:
            run.append(part)
    if len(run) > 1:
        yield run


def _summarised(
    shelf: Shelf, run: Sequence[Part], notes: Mapping[str, Note], summariser: Summariser
) -> Talk[Summarised | None]:
    """Sum one run up; None where it is not there any more as it was."""
    read = yield from shelf.read(run)  # before a model is asked: another worker may have been here
    if read is None:
        return None
    episodes = yield from shelf.episodes(read)
    text = yield from call(summariser.ask, episodes)
    report = _report(shelf, run)
    highest = max(part.importance for part in run)
    summary = summary_of(text, len(run), report.since, report.until, highest)
    first = [part.notes[0] for part in run]
    with suppress(Conflict):  # somebody changed one of them: the report says that it was skipped
        stored = yield from call(
            shelf.session.exchange,
            [message for messages in read for message in messages],
            summary,
            items=shelf.notes.unchanged(notes, first),
        )
        assert stored is not None, "something was put in their place"
        shelf.notes.gone(first)
        at = public_id(mark_of(stored), shelf.session.name.key)
        return Summarised(report.episodes, report.since, report.until, text, at)
    return None


def _taken(shelf: Shelf, parts: Sequence[Part], notes: Mapping[str, Note]) -> Talk[bool]:
    """Take episodes away, all or none."""
    read = yield from shelf.read(parts)
    if read is None:
        return False
    first = [part.notes[0] for part in parts]
    going = [message for messages in read for message in messages]
    try:
        yield from call(shelf.session.exchange, going, items=shelf.notes.unchanged(notes, first))
    except Conflict:
        return False
    shelf.notes.gone(first)
    return True


def _sweep(shelf: Shelf, parts: Sequence[Part], notes: Mapping[str, Note]) -> Talk[None]:
    """Take away the notes of episodes that are gone: deleted by others, or with a clear."""
    there = {key for part in parts for key in part.notes}
    upto = parts[-1].seqs[-1] if parts else 0
    gone = [key for key in notes if key not in there and int(key.partition(".")[0]) <= upto]
    if gone:
        yield from shelf.notes.delete(gone)


def _report(shelf: Shelf, run: Sequence[Part]) -> Summarised:
    key = shelf.session.name.key
    ended = [part.ended for part in run]
    ids = tuple(public_id(part.marks[0], key) for part in run)
    return Summarised(ids, min(ended), max(ended))
