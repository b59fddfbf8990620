"""Checks what several workers saw of items against what a store has to promise.

An item is a register with versions, and the versions of a namespace only grow. So a read that
began after somebody was told of a version, by a write of his own or by a read, shows that one or
a later one, or nothing if a delete can have come after it.

Where the database fell back, history is taken apart into pasts. One begins with what the database
was found to have, each item written while it was down. A read belongs to the newest past that it
can have seen. It can have seen an earlier one until something new of that item was acknowledged,
and within a bound: ``shown_for``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from tests.torture.item_log import (
    Changed,
    Changing,
    Event,
    Fell,
    Got,
    Name,
    Part,
    Refused,
    Shown,
    Unknown,
    Value,
)
from tests.torture.items import COUNTS, SAID

Kind: TypeAlias = Literal[
    "items lost",
    "items stale",
    "items split",
    "lost updates",
    "items invented",
    "items misnumbered",
    "item ghosts",
]
"""What can be wrong.

items lost         acknowledged, and neither there nor written over, then and ever after
items stale        older than what somebody was told before the read began, or deleted before it
items split        a part of what was written together, or a message, without the rest
lost updates       written where something else than expected was, or over what was merged; a count
                   that is not the number of those who counted
items invented     never written, refused, or read before anybody began to write it
items misnumbered  two items or values with one version, one with two, or a later one with a lower;
                   also where the first was lost when the database fell back
item ghosts        lost when the database fell back, and shown longer than may be
"""
KINDS: Final = get_args(Kind)


class Wrong(NamedTuple):
    """Something that no correct store would have answered."""

    kind: Kind
    what: str


class Said(NamedTuple):
    """A message that was shown to somebody."""

    text: str
    began: int
    ended: int


@dataclass(eq=False)
class _Write:
    """Changes that were made together, all or none, with the last that is known of them."""

    worker: str
    began: int
    parts: tuple[Part, ...]
    said: str | None
    ended: float = math.inf
    """When its end was known; never, of one whose process was killed."""
    outcome: Literal["acknowledged", "refused", "unknown"] = "unknown"
    answers: tuple[Shown | bool | None, ...] = ()

    def __str__(self) -> str:
        parts = ", ".join(
            f"{part.how} {part.name} {part.value or ''}".strip() for part in self.parts
        )
        return f"{self.worker}, who was to {parts}"


def check_items(
    events: Iterable[Event], *, said: Iterable[Said] = (), shown_for: int = 0
) -> list[Wrong]:
    """Everything in a history that contradicts the promises.

    ``said`` are the messages that were read. Where the database fell back, reads may show what was
    lost for so many nanoseconds, ``shown_for``.
    """
    return _Check(list(events), list(said), shown_for).wrong()


def lost_in_falls(events: Sequence[Event]) -> int:
    """How many changes were acknowledged, and lost by the database itself."""
    falls = sorted((e for e in events if isinstance(e, Fell)), key=lambda fall: fall.ended)
    lost, since, writes = 0, -math.inf, _writes(events)
    for fall in falls:
        newest: dict[str, int] = defaultdict(int)
        for name, shown in fall.found:
            newest[name.namespace] = max(newest[name.namespace], shown.version)
        for write in writes:
            if write.outcome == "acknowledged" and since <= write.began < write.ended <= fall.ended:
                lost += sum(
                    isinstance(answer, Shown) and answer.version > newest[part.name.namespace]
                    for part, answer in zip(write.parts, write.answers, strict=True)
                )
        since = fall.ended
    return lost


def _writes(events: Iterable[Event]) -> list[_Write]:
    found: dict[tuple[str, int], _Write] = {}
    ends: list[Changed | Refused | Unknown] = []
    for event in events:
        match event:
            case Changing():
                key = event.worker, event.began
                found[key] = _Write(event.worker, event.began, event.parts, event.said)
            case Changed() | Refused() | Unknown():
                ends.append(event)
            case _:
                pass
    for end in ends:
        write = found[end.worker, end.began]
        write.ended = end.ended
        if isinstance(end, Changed):
            write.outcome, write.answers = "acknowledged", end.answers
        elif isinstance(end, Refused):
            write.outcome = "refused"
    return list(found.values())


def ids_in(value: Value) -> Iterator[str]:
    """The writes that a value comes from."""
    return (one for one in value.values() if isinstance(one, str))


class _Told(NamedTuple):
    """What somebody was told of an item, between two moments."""

    began: int
    ended: float
    shown: Shown | None
    who: str
    how: Literal["read", "expected", "wrote", "deleted", "kept", "together"] = "read"


class _Change(NamedTuple):
    """A part of what was written, in one past."""

    part: Part
    write: _Write
    certain: bool
    """Whether it was acknowledged in this past."""
    answer: Shown | bool | None

    @property
    def may_delete(self) -> bool:
        """Whether the item may have gone by it."""
        return self.part.how == "delete" and self.answer is not False

    @property
    def until(self) -> float:
        """Until when it may have happened."""
        return self.write.ended if self.certain else math.inf


@dataclass
class _Past:
    """What happened between two falls of the database."""

    began: float
    """When the database that fell was gone."""
    starts: float
    """When it was found to have what it has."""
    ends: float
    base: dict[Name, Shown]
    changes: dict[Name, list[_Change]] = field(default_factory=lambda: defaultdict(list))
    told: dict[Name, list[_Told]] = field(default_factory=lambda: defaultdict(list))
    ids: dict[Name, dict[str, _Change | None]] = field(default_factory=lambda: defaultdict(dict))
    """Which change of it each id comes from; None of those that were kept."""

    def may_show(self, name: Name, shown: Shown | None, until: float) -> bool:
        """Whether a read that ended then can have been shown this."""
        if shown is None:
            return name not in self.base or any(
                one.may_delete and one.write.began <= until for one in self.changes[name]
            )
        if shown == self.base.get(name):
            return True
        return all(one in self.ids[name] for one in ids_in(shown.value))

    def is_unsure(self, name: Name, shown: Shown | None) -> bool:
        """Whether it comes from what was under way at the fall, or from a delete, and may as well
        be of the past before."""
        if shown is None:
            return name in self.base
        changes = [self.ids[name].get(one) for one in ids_in(shown.value)]
        return any(one is not None and one.write.began < self.starts for one in changes)


class _Check:
    def __init__(self, events: Sequence[Event], said: Sequence[Said], shown_for: int) -> None:
        self._shown_for = shown_for
        self._said = said
        self._found: dict[str, Wrong] = {}
        self._writes = _writes(events)
        self._gots = sorted((e for e in events if isinstance(e, Got)), key=lambda got: got.ended)
        self._falls = sorted((e for e in events if isinstance(e, Fell)), key=lambda one: one.ended)
        starts = [(-math.inf, -math.inf), *((fall.began, fall.ended) for fall in self._falls)]
        ends = [*(fall.ended for fall in self._falls), math.inf]
        bases: list[dict[Name, Shown]] = [{}, *(dict(fall.found) for fall in self._falls)]
        self._pasts = [
            _Past(began, start, end, base)
            for (began, start), end, base in zip(starts, ends, bases, strict=True)
        ]
        self._by_id: dict[str, _Write] = {}
        self._seen_parts: set[tuple[int, _Write]] = set()
        self._untils: dict[tuple[int, Name], float] = {}
        self._holders: dict[tuple[str, int], tuple[Name, _Told]] = {}
        self._origin = min((write.began for write in self._writes), default=0)

    def wrong(self) -> list[Wrong]:
        """All that is."""
        for write in self._writes:
            self._by_id.update((one, write) for p in write.parts for one in ids_in(p.value or {}))
            for past in self._pasts:
                self._place(write, past)
        for number, past in enumerate(self._pasts):
            for name, shown in past.base.items():
                past.told[name].append(
                    _Told(int(past.began), past.starts, shown, "the database", "kept")
                )
                for one in ids_in(shown.value):
                    past.ids[name][one] = None
            self._place_said(past, number)
        for got in self._gots:
            self._place_got(got)
        for past in self._pasts:
            for name in list(past.changes | past.told):
                self._check_item(past, name)
            self._check_versions(past)
        self._check_counts()
        self._check_messages()
        return list(self._found.values())

    def _report(self, kind: Kind, what: str) -> None:
        self._found.setdefault(what, Wrong(kind, what))

    # -- which past something belongs to -----------------------------------------------------

    def _place(self, write: _Write, past: _Past) -> None:
        if write.outcome == "refused" or write.began >= past.ends or write.ended <= past.starts:
            return
        # What was under way at a fall may have happened before it, or after it.
        certain = (
            write.outcome == "acknowledged"
            and past.starts <= write.began
            and write.ended <= past.ends
        )
        answers = write.answers or (None,) * len(write.parts)
        for part, answer in zip(write.parts, answers, strict=True):
            change = _Change(part, write, certain, answer)
            past.changes[part.name].append(change)
            for one in ids_in(part.value or {}):
                past.ids[part.name][one] = change
            if not certain:
                continue
            began, ended, who = write.began, write.ended, str(write)
            told = past.told[part.name]
            if part.how == "delete":
                told.append(_Told(began, ended, None, who, "deleted"))
            elif isinstance(answer, Shown):
                told.append(_Told(began, ended, answer, who, "wrote"))
            elif part.how == "put":
                told.append(_Told(began, ended, Shown(-1, part.value or {}), who, "wrote"))
            if part.expected == 0:
                told.append(_Told(began, ended, None, who, "expected"))
            elif part.expected is not None:
                told.append(_Told(began, ended, Shown(part.expected, {}), who, "expected"))

    def _place_said(self, past: _Past, number: int) -> None:
        """Who has seen a message knows that its items are there."""
        writes = {write.said: write for write in self._writes if write.said is not None}
        since = past.began if number == 0 else max(past.starts, past.began + self._shown_for)
        shown: dict[str, int] = {}
        for one in self._said:
            if one.text in writes and since <= one.began and one.ended <= past.ends:
                shown[one.text] = min(one.ended, shown.get(one.text, one.ended))
        for text, at in shown.items():
            self._all_there(past, writes[text], at, f"{text!r} was read")

    def _all_there(self, past: _Past, write: _Write, at: float, why: str) -> None:
        """A part of it was seen: so all of it was committed by then."""
        if (id(past), write) in self._seen_parts:
            return
        self._seen_parts.add((id(past), write))
        for n, part in enumerate(write.parts):
            changes = past.changes[part.name]
            change = next((one for one in changes if one.write is write), None)
            if change is not None and part.how == "put" and not change.certain:
                answer = write.answers[n] if write.answers else None
                shown = answer if isinstance(answer, Shown) else None
                shown = shown or Shown(-1, part.value or {})
                past.told[part.name].append(_Told(write.began, at, shown, why, "together"))

    def _place_got(self, got: Got) -> None:
        found = dict(got.found)
        for name in {name for past in self._pasts for name in past.changes}:
            if name.namespace in got.whole:
                found.setdefault(name, None)
        for name, shown in found.items():
            past = self._past_of(got, name, shown)
            if past is None:
                self._report_unknown(got, name, shown)
            elif got.began >= self._until(past, name) or not past.is_unsure(name, shown):
                past.told[name].append(_Told(got.began, got.ended, shown, got.worker))
                self._check_known(got, past, name, shown)
        if got.together:
            self._check_together(got)

    def _past_of(self, got: Got, name: Name, shown: Shown | None) -> _Past | None:
        """The newest past that a read can have seen."""
        for number in reversed(range(len(self._pasts))):
            past = self._pasts[number]
            if got.ended < past.began:
                continue
            following = self._pasts[number + 1] if number + 1 < len(self._pasts) else None
            if following is not None and got.began >= self._until(following, name):
                return None
            if past.may_show(name, shown, got.ended):
                return past
        return None

    def _until(self, past: _Past, name: Name) -> float:
        """Until when a read may begin that shows of an item what was lost when a past began."""
        known = self._untils.get((id(past), name))
        if known is not None:
            return known
        answered = [
            one.write.ended
            for one in past.changes[name]
            if one.certain and one.answer is not False and one.write.began >= past.starts
        ]
        until = max(past.starts, min([*answered, past.began + self._shown_for]))
        self._untils[id(past), name] = until
        return until

    def _report_unknown(self, got: Got, name: Name, shown: Shown | None) -> None:
        when = f"{got.worker} ({self._time(got.began)} to {self._time(got.ended)})"
        if shown is None:
            self._report(
                "items lost", f"{when} found no {name}, which was kept when the database fell back"
            )
            return
        writes = [self._by_id.get(one) for one in ids_in(shown.value)]
        what = f"{when} found {name} {shown.value} as {shown.version}"
        if any(write is None for write in writes):
            self._report("items invented", f"{what}, which nobody wrote")
        elif any(write is not None and write.outcome == "refused" for write in writes):
            self._report("items invented", f"{what}, which was refused")
        elif any(write is not None and write.began > got.ended for write in writes):
            self._report("items invented", f"{what}, which nobody had begun to write")
        else:
            self._report("item ghosts", f"{what}, which the database, which fell back, has lost")

    def _check_known(self, got: Got, past: _Past, name: Name, shown: Shown | None) -> None:
        """What a read says by itself."""
        if shown is None or shown == past.base.get(name):
            return
        what = f"{got.worker} ({self._time(got.began)} to {self._time(got.ended)})"
        what += f" found {name} {shown.value} as {shown.version}"
        for one in ids_in(shown.value):
            change = past.ids[name][one]
            if change is None:
                continue
            if change.write.began > got.ended:
                self._report("items invented", f"{what}, which nobody had begun to write")
            if change.part.how == "put" and change.part.value != shown.value:
                self._report("items invented", f"{what}, and {change.part.value} was written")
            self._all_there(past, change.write, got.ended, f"{name} was found to have {one!r}")

    def _check_together(self, got: Got) -> None:
        """Of what was put together all is shown in one read, or something newer."""
        shown = dict(got.found)
        for one in [one for one in shown.values() if one is not None]:
            for name, version in self._with(one).items():
                other = shown.get(name)
                if name in shown and (other is None or other.version < version):
                    there = "nothing" if other is None else f"{other.value} as {other.version}"
                    self._report(
                        "items split",
                        f"{got.worker} ({self._time(got.began)}) found {one.value} as "
                        f"{one.version}, and of {name}, which was put with it, {there}",
                    )

    def _with(self, shown: Shown) -> dict[Name, int]:
        """The versions of what was put together with this: they follow one another."""
        found: dict[Name, int] = {}
        for one in ids_in(shown.value):
            write = self._by_id.get(one)
            if write is None or len({part.name.namespace for part in write.parts}) > 1:
                continue
            for part, answer in zip(write.parts, write.answers, strict=False):
                if isinstance(answer, Shown):
                    found[part.name] = answer.version
            if shown.version not in found.values():  # of another past: nothing is known of it
                return {}
        return found

    # -- what the order of time says ---------------------------------------------------------

    def _check_item(self, past: _Past, name: Name) -> None:
        """Walk over what was told of an item in one past, in the order of time."""
        told = self._numbered(past, name)
        moments = sorted(
            [(one.began, 0, n) for n, one in enumerate(told)]
            + [(one.ended, 1, n) for n, one in enumerate(told) if one.ended < math.inf]
        )
        deletes = [one for one in past.changes[name] if one.may_delete]
        later = self._later(told)
        top: _Told | None = None  # the newest
        there: _Told | None = None  # the last one known to have been there, by its beginning
        gone: _Told | None = None  # who was told that it, or a version, was there no more
        below = -1  # that version
        before: dict[int, _Told | None] = {}  # the newest when each began
        for _, is_end, n in moments:
            one = told[n]
            if not is_end:
                before[n] = top
                self._check_told(name, one, top, (below, gone), there, deletes, later)
                continue
            version = _version(one)
            if version < 0 and _version(before[n]) > below:
                below, gone = _version(before[n]), one
            if version > _version(top):
                top = one
            if one.shown is not None and (there is None or one.began > there.began):
                there = one
        self._check_values(past, name, told)
        self._check_merged(past, name, told)

    def _numbered(self, past: _Past, name: Name) -> list[_Told]:
        """What was told, with versions that others were told of the same value."""
        told = past.told[name]
        known = {
            one: each.shown.version
            for each in told
            if each.shown is not None and each.shown.version >= 0
            for one in ids_in(each.shown.value)
            if "by" in each.shown.value
        }
        return [
            one
            if one.shown is None or one.shown.version >= 0
            else one._replace(
                shown=Shown(known.get(str(one.shown.value.get("by")), -1), one.shown.value)
            )
            for one in told
        ]

    def _later(self, told: Sequence[_Told]) -> tuple[list[int], list[int]]:
        """When reads of items began that were there, and the newest version from there on."""
        reads = sorted(
            (one.began, one.shown.version)
            for one in told
            if one.shown is not None and one.how in ("read", "expected")
        )
        newest, versions = -1, []
        for _, version in reversed(reads):
            newest = max(newest, version)
            versions.append(newest)
        return [began for began, _ in reads], versions[::-1]

    def _check_told(
        self,
        name: Name,
        one: _Told,
        top: _Told | None,
        below: tuple[int, _Told | None],
        there: _Told | None,
        deletes: Sequence[_Change],
        later: tuple[list[int], list[int]],
    ) -> None:
        """Whether something can have been told, after all that others were told before."""
        newest, version, (least, gone) = _version(top), _version(one), below
        if one.how in ("kept", "together"):
            return
        if one.shown is None:
            if there is None or any(
                each.write.began <= one.ended and each.until >= there.began for each in deletes
            ):
                return
            what = f"{name}: {self._told(one)}, after {self._told(there)}"
            self._report(self._kind(one, there, max(newest, 0), later), what)
        elif version < 0 or one.how == "wrote":
            return  # of what was written all of a namespace is compared
        elif top is not None and version < newest:
            what = f"{name}: {self._told(one)}, after {self._told(top)}"
            self._report(self._kind(one, top, newest, later), what)
        elif gone is not None and version <= least:
            kind: Kind = "items split" if gone.how == "together" else "items stale"
            kind = "lost updates" if one.how == "expected" else kind
            self._report(kind, f"{name}: {self._told(one)}, after {self._told(gone)}")

    def _kind(
        self, one: _Told, before: _Told, version: int, later: tuple[list[int], list[int]]
    ) -> Kind:
        if one.how == "expected":
            return "lost updates"
        if before.how == "together":
            return "items split"
        at = bisect_left(later[0], one.began + 1)
        comes = at < len(later[0]) and later[1][at] >= version
        return "items stale" if comes else "items lost"

    def _check_values(self, past: _Past, name: Name, told: Sequence[_Told]) -> None:
        """One version has one value, what was put one version, and nothing stood between what was
        expected and its put."""
        values: dict[int, _Told] = {}
        puts: dict[object, _Told] = {}
        for one in told:
            if one.shown is None or one.shown.version < 0 or one.how == "expected":
                continue
            known = values.setdefault(one.shown.version, one)
            first = puts.setdefault(one.shown.value.get("by", id(one)), one)
            if _value(known) != _value(one) or _version(first) != _version(one):
                known = known if _value(known) != _value(one) else first
                self._report(
                    "items misnumbered", f"{name}: {self._told(known)}, and {self._told(one)}"
                )
        versions = sorted(values)
        for change in past.changes[name]:
            expected, answer = change.part.expected, change.answer
            if not change.certain or not expected or not isinstance(answer, Shown):
                continue
            before = versions[bisect_left(versions, answer.version) - 1]
            if expected < before < answer.version:
                self._report(
                    "lost updates",
                    f"{name}: {change.write} expected {expected}, and was given "
                    f"{answer.version}, and there was {self._told(values[before])}",
                )

    def _check_merged(self, past: _Past, name: Name, told: Sequence[_Told]) -> None:
        """Every field is there, as it was merged last."""
        merges: list[tuple[int, str, str | int, _Change]] = [
            (one.answer.version, key, merged, one)
            for one in past.changes[name]
            if one.part.how == "merge" and one.certain and isinstance(one.answer, Shown)
            for key, merged in (one.part.value or {}).items()
        ]
        if not merges:
            return
        number = {merged: version for version, _, merged, _ in merges}
        base = past.base.get(name)
        if base is not None:
            number.update((one, base.version) for one in ids_in(base.value))
        fields: dict[str, list[tuple[int, _Write]]] = defaultdict(list)
        for version, key, _, one in sorted(merges, key=lambda merge: merge[0]):
            fields[key].append((version, one.write))
        for told_one in told:
            if told_one.shown is None or told_one.shown.version < 0:
                continue
            for key, versions in fields.items():
                n = bisect_left(versions, told_one.shown.version + 1, key=lambda known: known[0])
                if n == 0:
                    continue
                version, write = versions[n - 1]
                value = told_one.shown.value.get(key)
                if value is None or number.get(value, version) < version:
                    self._report("lost updates", f"{name}: {self._told(told_one)}, after {write}")

    # -- what concerns several items ---------------------------------------------------------

    def _check_versions(self, past: _Past) -> None:
        """No two items or values of a namespace have one version, in whatever past; and what is
        written later a higher one."""
        wrote: dict[str, list[_Told]] = defaultdict(list)
        for name, told in past.told.items():
            for one in told:
                if one.shown is None or one.shown.version < 0 or one.how == "expected":
                    continue
                number = name.namespace, one.shown.version
                holder = self._holders.setdefault(number, (name, one))
                if holder[0] != name or _value(holder[1]) != _value(one):
                    self._report(
                        "items misnumbered",
                        f"{holder[0]}: {self._told(holder[1])}, and {name}: {self._told(one)}",
                    )
                wrote[name.namespace].append(one)
        for namespace, told in wrote.items():
            by_end = sorted(told, key=lambda one: one.ended)
            newest: _Told | None = None
            n = 0
            for one in sorted(told, key=lambda one: one.began):
                while by_end[n].ended < one.began:
                    if newest is None or _version(by_end[n]) > _version(newest):
                        newest = by_end[n]
                    n += 1
                if one.how == "wrote" and newest is not None and _version(newest) >= _version(one):
                    self._report(
                        "items misnumbered",
                        f"{namespace}: {self._told(one)}, after {self._told(newest)}",
                    )

    def _check_counts(self) -> None:
        """A count is the number of those who counted; of each two versions the later is higher."""
        for number, past in enumerate(self._pasts):
            for name in COUNTS:
                shown = {_version(one): one for one in past.told[name] if "n" in _value(one)}
                known = [one for version, one in sorted(shown.items()) if version >= 0]
                for before, after in pairwise(known):
                    if int(_value(before)["n"]) >= int(_value(after)["n"]):
                        self._report(
                            "lost updates",
                            f"{name}: {self._told(before)}, and then {self._told(after)}",
                        )
                if number == len(self._pasts) - 1:
                    self._check_count(past, name)

    def _check_count(self, past: _Past, name: Name) -> None:
        last = next((g for g in reversed(self._gots) if name.namespace in g.whole), None)
        if last is None:
            return
        shown = dict(last.found).get(name)
        found = 0 if shown is None else int(shown.value["n"])
        began = past.base.get(name)
        began_at = 0 if began is None else int(began.value["n"])
        kept = set(ids_in(began.value)) if began is not None else set()
        sure = sum(one.certain for one in past.changes[name])
        unsure = sum(
            not one.certain and kept.isdisjoint(ids_in(one.part.value or {}))
            for one in past.changes[name]
        )
        if not began_at + sure <= found <= began_at + sure + unsure:
            self._report(
                "lost updates",
                f"{name} is {found}. It was {began_at}, {sure} counted on, and of {unsure} more "
                f"nobody knows",
            )

    def _check_messages(self) -> None:
        """A message and its item are both there, or neither, whenever nobody was writing."""
        writes = {write.said: write for write in self._writes if write.said is not None}
        looks: list[tuple[int, set[str]]] = [
            (fall.began, {name.key for name, _ in fall.found if name.namespace == SAID})
            for fall in self._falls
        ]
        for began, items in looks:
            texts = {one.text for one in self._said if one.began == began}
            self._compare(texts & writes.keys(), items, items)
        whole = [got for got in self._gots if SAID in got.whole]
        if len(whole) >= 2:  # messages are read between two looks at the items
            first, last = whole[-2], whole[-1]
            between = {
                one.text
                for one in self._said
                if one.began >= first.ended and one.ended <= last.began and one.text in writes
            }
            self._compare(between, _keys(first), _keys(last))

    def _compare(self, texts: set[str], before: set[str], after: set[str]) -> None:
        for text in sorted(texts - after):
            self._report("items split", f"the message {text!r} is there, and its item is not")
        for text in sorted(before - texts):
            self._report("items split", f"the item of {text!r} is there, and its message is not")

    # -- how it is said ----------------------------------------------------------------------

    def _told(self, one: _Told) -> str:
        what = "nothing there"
        if one.shown is not None:
            version = "some version" if one.shown.version < 0 else str(one.shown.version)
            what = f"{one.shown.value or 'something'} as {version}"
        did = {
            "read": "found",
            "expected": "expected",
            "wrote": "wrote",
            "deleted": "deleted, leaving",
            "kept": "kept",
            "together": "shows",
        }[one.how]
        return f"{one.who} ({self._time(one.began)} to {self._time(one.ended)}) {did} {what}"

    def _time(self, at: float) -> str:
        return f"{(at - self._origin) / 1e6:.3f} ms"


def _version(one: _Told | None) -> int:
    return -1 if one is None or one.shown is None else one.shown.version


def _value(one: _Told) -> Mapping[str, str | int]:
    return {} if one.shown is None else one.shown.value


def _keys(got: Got) -> set[str]:
    return {name.key for name, shown in got.found if name.namespace == SAID and shown is not None}
