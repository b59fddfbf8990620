"""Checks what several workers saw of one session against what a store has to promise.

Workers write down what they did and what they were told, with the times at which each call began
and ended. Afterwards ``check`` says whether one session with one order could have answered so:

    with Log(folder / "writer-1.jsonl") as log:
        under_way = log.appending(["a", "b"])
        stored = session.append([{"role": "user", "content": "…", "id": "a"}, …])
        under_way.acknowledged([message.seq for message in stored])

    for violation in check(load(folder.glob("*.jsonl"))):
        print(violation)

An id is whatever tells one message from every other: its id, or its text where the store chooses
the ids. What is about to be appended is written down first, so that a process may be killed at
any instant and its file still says what may be there. Times come from ``time.monotonic_ns()``,
which the processes of one machine share; nothing else about the workers is assumed.

It knows nothing of Onrecord but ``Version``, so it can check any store that numbers messages.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import accumulate, pairwise
from typing import Final, Literal, TypeAlias, get_args

from onrecord.testing.events import (
    Appended,
    Attempted,
    Deleted,
    Event,
    Kind,
    Read,
    Refused,
    Rewound,
    Violation,
)
from onrecord.testing.pasts import pasts
from onrecord.version import Version


def check(events: Iterable[Event], *, most: int = 100, shown_for: int = 0) -> list[Violation]:
    """Everything in a history that contradicts the promises; at most so many of each kind.

    All workers' events belong to one session. Their order in ``events`` does not matter. Where
    the database fell back, reads may show what was lost for so many nanoseconds, ``shown_for``,
    and until something new is acknowledged.
    """
    parts = pasts(events, shown_for)
    ids = [{name for event in past for name in _ids_of(event)} for past in parts]
    every = set[str]().union(*ids)
    found: dict[Kind, list[Violation]] = defaultdict(list)
    for past, own in zip(parts, ids, strict=True):
        for violation in _Check(past, most, every - own).violations():
            found[violation.kind].append(violation)
    return [violation for kind in get_args(Kind) for violation in found[kind][:most]]


def _ids_of(event: Event) -> tuple[str, ...]:
    return event.ids if isinstance(event, Attempted | Appended | Refused) else ()


_NEVER: Final = 1 << 200
"""Later than any time."""

_Append: TypeAlias = Attempted | Appended
_Cut: TypeAlias = Rewound | Deleted


class _Known:
    """Messages that have to be there, by id and by sequence number."""

    def __init__(self) -> None:
        self.by_id: dict[str, tuple[int, Event]] = {}
        self._order: list[tuple[int, str]] = []

    def add(self, name: str, seq: int, event: Event) -> None:
        if name not in self.by_id:
            self.by_id[name] = (seq, event)
            if not self._order or self._order[-1] < (seq, name):
                self._order.append((seq, name))  # the usual case
            else:
                insort(self._order, (seq, name))

    def cut(self, cut: _Cut) -> list[str]:
        """Forget what a rewind or a deletion may take away, and say what that is."""
        first = cut.head + 1 if isinstance(cut, Rewound) else cut.seq
        end = len(self._order) if isinstance(cut, Rewound) else self._from(first + 1)
        start = self._from(first)
        names = [name for _, name in self._order[start:end]]
        del self._order[start:end]
        for name in names:
            del self.by_id[name]
        return names

    def newest(self) -> tuple[int, str] | None:
        return self._order[-1] if self._order else None

    def not_in(self, names: set[str], first_seq: int) -> list[tuple[str, int, Event]]:
        """What should be there from a place on and is not."""
        by_id = self.by_id
        start = self._from(first_seq)
        here = sum(1 for name in names if name in by_id and by_id[name][0] >= first_seq)
        if here == len(self._order) - start:
            return []
        return [(name, *by_id[name]) for _, name in self._order[start:] if name not in names]

    def _from(self, seq: int) -> int:
        return bisect_left(self._order, (seq, ""))


class _Cuts:
    """Rewinds and deletions: what may have been taken away, and when."""

    def __init__(self, cuts: Iterable[_Cut]) -> None:
        self.all = sorted(cuts, key=lambda cut: cut.began)
        self._rewinds = _Spans(cut for cut in self.all if isinstance(cut, Rewound))
        deletes: dict[int, list[Deleted]] = defaultdict(list)
        for cut in self.all:
            if isinstance(cut, Deleted):
                deletes[cut.seq].append(cut)
        self._deletes = {seq: _Spans(cuts) for seq, cuts in deletes.items()}

    def may_remove(self, seq: int, since: int, until: int) -> bool:
        """Whether what stood in a place may have been taken away between two moments."""
        return self._rewinds.any_below(seq, since, until) or self.may_delete(seq, since, until)

    def may_delete(self, seq: int, since: int, until: int) -> bool:
        return seq in self._deletes and self._deletes[seq].any_below(_NEVER, since, until)


class _Spans:
    """Cuts by time, so that those that overlap a span are found without looking at all."""

    def __init__(self, cuts: Iterable[_Cut]) -> None:
        found = list(cuts)
        # One whose outcome is unknown may happen at any later time. Apart, because it would
        # otherwise overlap every search.
        known = [cut for cut in found if cut.ended is not None]
        unknown = [cut for cut in found if cut.ended is None]
        self._began = [cut.began for cut in known]
        self._ended = [cut.ended or 0 for cut in known]
        self._heads = [_head(cut) for cut in known]
        self._latest = list(accumulate(self._ended, max))
        self._unknown_began = [cut.began for cut in unknown]
        self._lowest = list(accumulate(map(_head, unknown), min))

    def any_below(self, seq: int, since: int, until: int) -> bool:
        """Whether one of them that leaves less than ``seq`` overlaps the span."""
        unknown = bisect_right(self._unknown_began, until)
        if unknown and self._lowest[unknown - 1] < seq:
            return True
        i = bisect_right(self._began, until) - 1
        while i >= 0 and self._latest[i] >= since:
            if self._ended[i] >= since and self._heads[i] < seq:
                return True
            i -= 1
        return False


def _head(cut: _Cut) -> int:
    return cut.head if isinstance(cut, Rewound) else 0


class _Check:
    """One walk over the history of one past, in the order of time."""

    def __init__(self, final: Sequence[Event], most: int, strangers: Set[str]) -> None:
        self._most = most
        self._strangers = strangers  # ids of other pasts than this one
        self._found: dict[Kind, list[Violation]] = defaultdict(list)
        self._appends: list[_Append] = [e for e in final if isinstance(e, Attempted | Appended)]
        self._refused = {i: e for e in final if isinstance(e, Refused) for i in e.ids}
        self._reads = sorted((e for e in final if isinstance(e, Read)), key=lambda e: e.ended)
        self._cuts = _Cuts(e for e in final if isinstance(e, Rewound | Deleted))
        self._origin = min((event.began for event in final), default=0)
        self._by_id: dict[str, list[_Append]] = {}
        for append in sorted(self._appends, key=lambda append: append.began):
            for name in dict.fromkeys(append.ids):
                self._by_id.setdefault(name, []).append(append)
        # A batch is looked at as one only where each of its ids was only ever brought by it,
        # or by retries of it: otherwise nobody can say what belongs together.
        self._batches: list[_Append] = []
        self._batch: dict[str, tuple[int, int]] = {}  # id: which batch, and where in it
        for appends in list(self._by_id.values()):
            first = appends[0]
            if len(first.ids) > 1 and first.ids[0] not in self._batch and self._is_batch(first.ids):
                self._batch |= {n: (len(self._batches), i) for i, n in enumerate(first.ids)}
                self._batches.append(first)
        self._place: dict[str, tuple[int, Event]] = {}
        # Who has a number, by epoch. Where epochs are unknown (None) a number may be given again
        # after a clear, so nothing is said about it once there was one.
        self._holder: dict[tuple[int | None, int], tuple[str, Event]] = {}
        self._last_begun: dict[str, int] = {}
        for read in self._reads:
            for _, name in read.messages:
                self._last_begun[name] = max(read.began, self._last_begun.get(name, 0))

    def violations(self) -> list[Violation]:
        self._check_acknowledged()
        for read in self._reads:  # by their ends: the first to show a message is the earliest
            self._check_alone(read)
        self._walk()
        return [violation for kind in get_args(Kind) for violation in self._found[kind]]

    def _report(self, kind: Kind, what: str, *events: Event) -> None:
        if len(self._found[kind]) < self._most:
            shown = tuple(dict.fromkeys(events))
            self._found[kind].append(Violation(kind, what, shown, self._origin))

    def _is_batch(self, ids: tuple[str, ...]) -> bool:
        return len(set(ids)) == len(ids) and all(
            append.ids == ids for name in ids for append in self._by_id[name]
        )

    def _may_move(self, name: str) -> bool:
        """Whether an id may stand in two places: cleared, and appended once more."""
        return len(self._by_id[name]) > 1 and bool(self._cuts.all)

    # -- what was acknowledged ---------------------------------------------------------------

    def _check_acknowledged(self) -> None:
        acknowledged = [append for append in self._appends if isinstance(append, Appended)]
        for append in sorted(acknowledged, key=lambda append: append.ended):
            if append.ids[0] in self._batch and not _run_on(append.seqs):
                self._report(
                    "split",
                    f"one append of {append.worker} was given the places {_ends(append.seqs)}, "
                    f"which do not follow one another",
                    append,
                )
            for name, seq in zip(append.ids, append.seqs, strict=True):
                known = self._place.setdefault(name, (seq, append))
                if known[0] != seq and not self._may_move(name):
                    self._report(
                        "misnumbered",
                        f"{name!r} was acknowledged as {known[0]} and as {seq}",
                        known[1],
                        append,
                    )
                self._check_holder(name, seq, None, append)

    def _check_holder(self, name: str, seq: int, epoch: int | None, event: Event) -> None:
        if epoch is None and self._cuts.all:
            return
        holder = self._holder.setdefault((epoch, seq), (name, event))
        if holder[0] != name:
            both = f"{holder[0]!r} and {name!r} both have the number {seq}"
            acknowledged = isinstance(event, Appended)
            self._report("misnumbered" if acknowledged else "reordered", both, holder[1], event)

    # -- what one read says by itself --------------------------------------------------------

    def _check_alone(self, read: Read) -> None:
        self._check_order(read)
        self._check_gaps(read)
        epoch = None if read.version is None else read.version.epoch
        visible: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for seq, name in read.messages:
            appends = self._by_id.get(name)
            if appends is None:
                self._report_unappended(name, read)
                continue
            known = self._place.setdefault(name, (seq, read))
            if read.ended < appends[0].began:
                what = f"{name!r} was read before its append began"
                self._report("invented", what, read, appends[0])
            if known[0] != seq and not self._may_move(name):
                self._report_moved(name, seq, read, known)
            self._check_holder(name, seq, epoch, read)
            if name in self._batch:
                batch, position = self._batch[name]
                visible[batch].append((position, seq))
        for batch, places in visible.items():
            self._check_batch(read, self._batches[batch], places)

    def _report_moved(self, name: str, seq: int, read: Read, known: tuple[int, Event]) -> None:
        before, event = known
        if isinstance(event, Appended):
            what = f"{name!r} was acknowledged as {before} and read as {seq}"
            self._report("misnumbered", what, event, read)
        else:
            what = f"{name!r} was read as {before} and as {seq}"
            self._report("reordered", what, event, read)

    def _report_unappended(self, name: str, read: Read) -> None:
        if name in self._strangers:
            what = f"{name!r} was read where the database, which fell back, does not have it"
            self._report("ghost", what, read)
        elif name in self._refused:
            refused = self._refused[name]
            self._report("invented", f"{name!r} was refused, and read all the same", refused, read)
        else:
            self._report("invented", f"{name!r} was read, and nobody appended it", read)

    def _check_order(self, read: Read) -> None:
        times: dict[str, int] = {}
        before = 0
        for seq, name in read.messages:
            times[name] = times.get(name, 0) + 1
            if times[name] == 2:
                self._report("duplicated", f"{name!r} is more than once in one read", read)
            elif seq <= before:
                self._report(
                    "reordered", f"{name!r} with the number {seq} comes after {before}", read
                )
            before = seq

    def _check_gaps(self, read: Read) -> None:
        there = {seq for seq, _ in read.messages}
        first = 1 if _is_whole(read) else min(there, default=1)
        last = max(there, default=0)
        if read.version is not None and read.tail != 0:
            if last > read.version.head:
                what = f"a message has the number {last}, and the head is {read.version.head}"
                self._report("gap", what, read)
            last = max(last, read.version.head)
        if len(there) == last - first + 1:
            return
        for seq in range(first, last + 1):
            if seq not in there and not self._cuts.may_delete(seq, 0, read.ended):
                what = f"nothing has the number {seq}, and it was not deleted"
                self._report("gap", what, read)
                return

    def _check_batch(self, read: Read, append: _Append, places: list[tuple[int, int]]) -> None:
        starts = {seq - position for position, seq in places}
        if len(starts) > 1:
            self._report(
                "split",
                f"the messages of one append of {append.worker} were read as "
                f"{_ends([seq for _, seq in places])}, which do not follow one another",
                append,
                read,
            )
        elif len(places) < len(append.ids):
            start = starts.pop()
            first = -_NEVER if _is_whole(read) else read.messages[0][0]
            there = {position for position, _ in places}
            for position, name in enumerate(append.ids):
                seq = start + position
                if position in there or seq < first:
                    continue
                if not self._cuts.may_remove(seq, append.began, read.ended):
                    self._report(
                        "split",
                        f"{name!r} is missing where others of its append are",
                        append,
                        read,
                    )
                    return

    # -- what the order of time says ---------------------------------------------------------

    def _walk(self) -> None:
        live = _Known()  # acknowledged, and not taken away since
        seen: dict[int | None, _Known] = defaultdict(_Known)  # by epoch; None where it is unknown
        gone: dict[str, _Cut] = {}
        leaving: dict[_Cut, list[str]] = {}
        newest: tuple[Version, Event] | None = None
        for ends, event in _moments([*self._appends, *self._cuts.all, *self._reads]):
            match ends, event:
                case False, Read():
                    self._check_missing(event, live, "acknowledged")
                    epoch = event.version and event.version.epoch
                    self._check_missing(event, seen[epoch], "read")
                    self._check_resurrected(event, gone)
                    self._check_version(event, newest)
                case False, Appended():
                    self._check_follows(event, live)
                case False, Rewound() | Deleted():
                    leaving[event] = live.cut(event)
                    seen[None].cut(event)
                case True, Appended():
                    for name, seq in zip(event.ids, event.seqs, strict=True):
                        # One that raced with a clear may be gone, and nobody can tell.
                        if not self._cuts.may_remove(seq, event.began, event.ended):
                            live.add(name, seq, event)
                case True, Rewound() | Deleted():
                    for name in leaving.pop(event):
                        if not self._may_return(name, event):
                            gone[name] = event
                    newest = _later(newest, event.version, event)
                case True, Read():
                    epoch = event.version and event.version.epoch
                    known = seen[epoch]
                    for seq, name in event.messages:
                        if name in self._strangers or name in known.by_id:
                            continue
                        if epoch is not None or not self._cuts.may_remove(
                            seq, event.began, event.ended
                        ):
                            known.add(name, seq, event)
                    newest = _later(newest, event.version, event)
                case _:
                    pass  # where an append of unknown outcome began says nothing

    def _check_missing(
        self, read: Read, known: _Known, how: Literal["acknowledged", "read"]
    ) -> None:
        if read.tail == 0:
            return
        names = {name for _, name in read.messages}
        first = 0 if _is_whole(read) else min(seq for seq, _ in read.messages)
        for name, seq, event in known.not_in(names, first):
            if (how == "acknowledged" or read.version is None) and self._cuts.may_remove(
                seq, read.began, read.ended
            ):
                continue  # being taken away at that very time
            if how == "read":
                self._report(
                    "vanished", f"{name!r} was read before, and is not there now", event, read
                )
            elif self._last_begun.get(name, 0) > read.began:
                self._report(
                    "stale",
                    f"{name!r} was acknowledged before this read began, is not in it, and is in "
                    f"a later one",
                    event,
                    read,
                )
            else:
                self._report(
                    "lost",
                    f"{name!r} was acknowledged before this read began, and neither this one "
                    f"nor any later one has it",
                    event,
                    read,
                )

    def _check_resurrected(self, read: Read, gone: Mapping[str, _Cut]) -> None:
        if not gone:
            return
        for _, name in read.messages:
            if name in gone:
                cut = gone[name]
                self._report("resurrected", f"{name!r} was taken away, and is back", cut, read)

    def _check_version(self, read: Read, newest: tuple[Version, Event] | None) -> None:
        if read.version is not None and newest is not None and read.version < newest[0]:
            self._report(
                "stale",
                f"this read is at {tuple(read.version)}, and {tuple(newest[0])} was seen before "
                f"it began",
                newest[1],
                read,
            )

    def _check_follows(self, append: Appended, live: _Known) -> None:
        """What was acknowledged before another append began comes before it."""
        newest = live.newest()
        if newest is None or not append.seqs or min(append.seqs) > newest[0]:
            return
        if any(len(self._by_id[name]) > 1 for name in append.ids):
            return  # a retry is given the place that it had
        if not self._cuts.may_remove(newest[0], append.began, append.ended):
            self._report(
                "reordered",
                f"{newest[1]!r} was acknowledged as {newest[0]} before an append began that was "
                f"given {_ends(append.seqs)}",
                live.by_id[newest[1]][1],
                append,
            )

    def _may_return(self, name: str, cut: _Cut) -> bool:
        """Whether somebody may have appended an id after it was taken away."""
        return any(
            isinstance(append, Attempted) or append.ended >= cut.began
            for append in self._by_id[name]
        )


def _moments(events: Iterable[Event]) -> Iterator[tuple[bool, Event]]:
    """Where events begin and end, in the order of time; at one instant beginnings first.

    So only what ended before another began counts as before it, never what touches it.
    """
    moments: list[tuple[int, bool, int, Event]] = []
    for number, event in enumerate(events):
        moments.append((event.began, False, number, event))
        ended = getattr(event, "ended", None)
        if ended is not None:
            moments.append((ended, True, number, event))
    moments.sort(key=lambda moment: moment[:3])
    for _, ends, _, event in moments:
        yield ends, event


def _later(
    known: tuple[Version, Event] | None, version: Version | None, event: Event
) -> tuple[Version, Event] | None:
    if version is None or (known is not None and version <= known[0]):
        return known
    return version, event


def _is_whole(read: Read) -> bool:
    """Whether a read shows all there was: it asked for all, or for more than there was."""
    return read.tail is None or len(read.messages) < read.tail


def _run_on(seqs: Sequence[int]) -> bool:
    return all(after == before + 1 for before, after in pairwise(seqs))


def _ends(seqs: Sequence[int]) -> str:
    return ", ".join(map(str, seqs))
