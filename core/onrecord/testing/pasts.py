"""A history where the database fell back, taken apart: one history for each of its pasts.

What was lost is lost from then on, so that each past is checked by itself. A read belongs to
the newest past that it can have seen, that has all of its messages, and in which no later read
is at an older version. It can have seen an old one only while that may be shown: it began before
the fall was over, or before anything new was acknowledged and within a bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise, zip_longest

from onrecord.testing.events import (
    Appended,
    Attempted,
    Deleted,
    Event,
    Fell,
    Read,
    Refused,
    Rewound,
)


def pasts(events: Iterable[Event], shown_for: int) -> list[list[Event]]:
    """The events of each past, the oldest first: one more than the database fell back.

    What was lost may be shown for so many nanoseconds from the beginning of the fall.
    """
    rest = outcomes(events)
    falls = sorted((e for e in rest if isinstance(e, Fell)), key=lambda fall: fall.ended)
    rest = [event for event in rest if not isinstance(event, Fell)]
    found: list[list[Event]] = []
    overs = [following.ended for _, following in pairwise(falls)]
    for fall, over in zip_longest(falls, overs):
        old, rest = _parted(rest, fall, over, shown_for)
        found.append(old)
    return [*found, rest]


def outcomes(events: Iterable[Event]) -> list[Event]:
    """Each change once, with the last that is known of it."""
    final: dict[object, Event] = {}
    for event in events:
        if isinstance(event, Read | Appended | Refused | Fell) and event.ended < event.began:
            raise ValueError(f"this ended before it began: {event}")
        key: object
        match event:
            case Read() | Fell():
                key = len(final), "read"
            case Rewound():
                key = event.worker, event.began, "rewind", event.head
            case Deleted():
                key = event.worker, event.began, "delete", event.seq
            case Attempted() | Appended() | Refused():
                key = event.worker, event.began, "append", event.ids
                if not event.ids:
                    continue
                if isinstance(event, Appended) and len(event.ids) != len(event.seqs):
                    raise ValueError(f"each id needs its sequence number: {event}")
        known = final.get(key)
        if known is None or isinstance(known, Attempted) or getattr(known, "ended", 0) is None:
            final[key] = event
    return list(final.values())


def _parted(
    events: list[Event], fall: Fell, over: int | None, shown_for: int
) -> tuple[list[Event], list[Event]]:
    """What belongs to the past that ended with a fall, and what to those after it.

    The next past is over at the next fall, if there is one: what ends later says nothing of it.
    """
    old: list[Event] = []
    new: list[Event] = []
    reads: list[Read] = []
    unsure: list[Appended | Attempted] = []
    kept = {name: seq for seq, name in fall.messages}
    cut = [event for event in events if isinstance(event, Rewound | Deleted)]
    for event in events:
        if isinstance(event, Read):
            reads.append(event)
        elif event.began >= fall.ended:
            new.append(event)
        elif isinstance(event, Appended | Attempted):
            _part_append(event, fall, kept, cut, old, new, unsure)
        elif getattr(event, "ended", None) is not None and event.ended <= fall.ended:  # type: ignore[operator]
            old.append(event)
            if isinstance(event, Deleted) and event.seq < max(kept.values(), default=0):
                new.append(replace(event, ended=None, version=None))  # its place is empty still
        else:  # on which side of the fall it happened nobody can tell
            unknown = replace(event, ended=None) if isinstance(event, Rewound | Deleted) else event
            old.append(unknown)
            new.append(unknown)
    until = _shown_until(new, fall, shown_for)
    there = _ids(new)
    may_be_there = there | _ids(unsure)
    seen: set[str] = set()  # in the old past
    for read in reads:
        shown = {name for _, name in read.messages}
        if read.ended <= fall.ended or (read.began < until and not shown <= may_be_there):
            seen |= shown
    known = [e for e in new if isinstance(e, Appended) and (over is None or e.ended <= over)]
    answers = [read for read in reads if over is None or read.ended <= over]
    cuts = [event.began for event in new if isinstance(event, Rewound | Deleted)]
    for append in unsure:
        if not seen.isdisjoint(append.ids) or _is_not_there(append, known, answers, cuts, until):
            old.append(append)
        else:
            attempt = Attempted(append.worker, append.began, append.ids)
            old.append(attempt)
            new.append(attempt)
            there.update(append.ids)

    def is_old(read: Read) -> bool:
        return read.ended <= fall.ended or (
            read.began < until and not _may_be_of(read, kept, there, new)
        )

    since = [read for read in answers if read.version is not None and not is_old(read)]
    for read in reads:
        is_earlier = is_old(read) or (read.began < until and _went_back(read, since))
        (old if is_earlier else new).append(read)
    new.append(Read(fall.worker, fall.ended, fall.ended, fall.messages))
    return old, new


def _part_append(
    append: Appended | Attempted,
    fall: Fell,
    kept: dict[str, int],
    cut: list[Rewound | Deleted],
    old: list[Event],
    new: list[Event],
    unsure: list[Appended | Attempted],
) -> None:
    here = [name for name in append.ids if name in kept]
    if len(here) == len(append.ids):
        known = append.seqs if isinstance(append, Appended) else tuple(kept[n] for n in here)
        old.append(append)
        new.append(Appended(append.worker, fall.began, fall.ended, append.ids, known))
    elif isinstance(append, Appended) and append.ended <= fall.ended and (cut or not here):
        old.append(append)
        # Of one that was rewound in part, some may be left.
        new += _left_of(here, append, fall, kept)
    elif here and _was_cut(append, fall, kept, cut):
        rest = tuple([name for name in append.ids if name not in kept])
        old.append(Attempted(append.worker, append.began, append.ids))
        new += _left_of(here, append, fall, kept)
        new.append(Attempted(append.worker, append.began, rest))
    elif here:  # half of one, which the look itself will show
        attempt = Attempted(append.worker, append.began, append.ids)
        old.append(attempt)
        new.append(attempt)
    else:
        unsure.append(append)


def _left_of(
    here: list[str], append: Appended | Attempted, fall: Fell, kept: dict[str, int]
) -> list[Event]:
    return [Appended(append.worker, fall.began, fall.ended, (n,), (kept[n],)) for n in here]


def _was_cut(
    append: Appended | Attempted,
    fall: Fell,
    kept: dict[str, int],
    cut: list[Rewound | Deleted],
) -> bool:
    """Whether all that is missing of an append may have been taken away before the fall."""
    at, first = next((n, kept[name]) for n, name in enumerate(append.ids) if name in kept)
    return all(
        name in kept
        or any(
            event.began <= fall.ended
            and (seq > event.head if isinstance(event, Rewound) else seq == event.seq)
            for event in cut
        )
        for seq, name in enumerate(append.ids, first - at)
    )


def _shown_until(new: list[Event], fall: Fell, shown_for: int) -> int:
    """Until when a read may begin that shows what was lost."""
    answered = [
        event.ended
        for event in new
        if isinstance(event, Appended | Rewound | Deleted)
        and event.began >= fall.ended
        and event.ended is not None
    ]
    return max(fall.ended, min([*answered, fall.began + shown_for]))


def _may_be_of(read: Read, kept: dict[str, int], there: set[str], new: list[Event]) -> bool:
    """Whether what a read shows can be the new past: nothing else, and all that was kept."""
    shown = {name for _, name in read.messages}
    if not shown <= there:
        return False
    whole = read.tail is None or len(read.messages) < read.tail
    first = 0 if whole else min((seq for seq, _ in read.messages), default=0)
    return all(name in shown for name, seq in kept.items() if seq >= first) or any(
        isinstance(event, Rewound | Deleted) and event.began <= read.ended for event in new
    )


def _went_back(read: Read, since: list[Read]) -> bool:
    """Whether a later read of the new past is at an older version."""
    version = read.version
    return version is not None and any(
        later.began >= read.ended and later.version is not None and later.version < version
        for later in since
    )


def _ids(events: Iterable[Event]) -> set[str]:
    return {name for e in events if isinstance(e, Appended | Attempted) for name in e.ids}


def _is_not_there(
    append: Appended | Attempted,
    known: list[Appended],
    answers: list[Read],
    cuts: list[int],
    until: int,
) -> bool:
    """Whether what was acknowledged after a fall cannot have been committed after it.

    Its places were given to others, or it is not where it has to be, and nothing was taken away.
    """
    if isinstance(append, Attempted):
        return False
    first, ended = min(append.seqs), append.ended
    given_again = any(
        event.began >= ended
        and min(event.seqs) <= first
        and not any(cut <= event.ended for cut in cuts)
        for event in known
    )
    return given_again or any(
        read.began >= max(until, ended)
        and (read.tail is None or len(read.messages) < read.tail or read.messages[0][0] <= first)
        and append.ids[0] not in {name for _, name in read.messages}
        and not any(cut <= read.ended for cut in cuts)
        for read in answers
    )
