"""Explicit-state model of one session's cache entry over SQL, with every fault we know of.

Each Redis script and each SQL transaction is ONE step. Breadth first, every interleaving of the
steps of all processes is visited. A crash needs no step: who has crashed is somebody who is never
scheduled again, and every such beginning is visited. What a hit shows must equal what SQL says
at the moment at which Redis answered. The rules are those of docs/explanation/cache-protocol.md;
each can be left out (``Case.without``), which must lead to a fault.

Fences, generations, suspensions and nonces are random in life and only compared: states that
differ in their names alone are one. Time is whole ticks; with R = V = 0 there is no clock at all.
``python -m tests.protocol_model`` runs the larger cases and prints what they visited.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

RULES: Final = {
    "1 mark": "a commit is preceded by a mark",
    "1 believe": "no entry with a mark is believed",
    "2 nonce": "a mark starts a new nonce",
    "2 server": "the nonce is made by the server at each MARK: a duplicate starts another",
    "2 own": "a mark is known by the nonce that MARK answered: a duplicate is another",
    "3 mark": "a publish extends only where its mark stands",
    "3 nonce": "a publish that does not find its mark starts a new nonce",
    "4": "a token that was published or lifted is never marked with again",
    "5 fence": "a commit goes through only under the fence that its mark was told",
    "5 again": "a commit that was refused marks again",
    "6 marks": "a fill over marks settles first",
    "6 no fence": "a fill of an entry without a fence settles first",
    "6 moves": "a settle moves the fence; a locking read is not enough",
    "6 before": "a settle comes before the read",
    "6 random": "a fence is random, not counted",
    "7": "every write leaves a lineage of its own",
    "8": "a publish finds its work done only at exactly its epoch, head and lineage",
    "9": "a fill replaces what is there, also by less",
    "10": "what is newer is joined on only by lineage",
    "10 marks": "nobody goes on from an entry that has marks, or is of another generation",
    "11": "an entry counts as checked no later than its mark",
    "12": "a commit is not repeated on a new connection under its old mark",
    "13": "a process believes `on` from the moment at which it asked",
    "14": "it looks at its clock after Redis has answered",
    "15 entry": "an entry is a hit only in its own generation",
    "15 look": "a fill brings the generation that its reader looked with",
    "16 suspends": "who cannot mark suspends before it commits",
    "16 waits": "who suspends waits before it commits",
    "17 holds": "an unmarked commit holds the suspension in its transaction",
    "17 same": "an unmarked commit holds the suspension that it waited for",
    "18": "to resume brings a new generation",
    "19": "every read of SQL raises what its process knows",
    "20 settle": "a settle that finds no row fills nothing",
    "20 read": "a read that finds no row fills nothing",
    "21 guess": "who was told no fence commits only where there is no row",
    "21 fresh": "a row that is made gets a fence that no row had before",
    "W1 nonce": "a first write brings the tail only under the nonce of its mark",
    "W1 first": "only the write that makes the row brings the tail",
    "W1 mark": "the tail it brings counts as checked when it was marked",
    "W1 generation": "the tail it brings has the generation that was known when it marked",
    "W2 fence": "a put brings its item only where the entry knew a fence, or it made the row",
    "W2 alone": "a put brings its item only where no other mark is left",
    "W2 nonce": "a write of an item that brings nothing starts a new nonce",
}

FRESH: Final = 99
"""A name that nobody has yet: `canonical` gives it its own."""
ABSENT: Final = 0
"""The fence of a session that has no row."""


NOBODY: Final = -1
"""The token of marks that nobody will take away: one stands for all."""


class At:
    """Where a process stands, as plain numbers: they are hashed millions of times."""

    # a writer
    IDLE, MARKED, COMMITTED, ROLLED_BACK, REFUSED, CUT_OFF, LOOKED, DONE = range(8)
    # a reader:
    FREE, SENT, ANSWERED, SETTLES, READS, SETTLES_LATE, FILLS, HEARS = range(10, 18)


class Data(NamedTuple):
    """What a session says: the write that brought each message, and the newest write of all."""

    epoch: int = 0
    rows: tuple[int, ...] = ()
    lineage: int = 0

    @property
    def version(self) -> tuple[int, int]:
        return self.epoch, len(self.rows)


class Sql(NamedTuple):
    data: Data
    fence: int
    on: bool
    """Whether the cache is on, in generation `name`; else it is off, in suspension `name`."""
    name: int


class Mark(NamedTuple):
    token: int
    age: int = 0


class Entry(NamedTuple):
    generation: int
    fence: int
    data: Data | None
    marks: tuple[Mark, ...]
    age: int
    nonce: int


class Publish(NamedTuple):
    epoch: int
    head: int
    lineage: int
    fall: int
    fence: int
    tail: Data | None
    """The whole session, of a write that may bring it (W1)."""
    generation: int


class Writer(NamedTuple):
    at: int = At.IDLE
    nr: int = 0
    token: int = 0
    told: int = 0
    known: int = 0
    """The fence that SQL told this process last."""
    said: bool = False
    """SQL has just said it, in a refusal: it counts for more than the entry's."""
    waited_for: int = 0
    wait: int = 0
    generation: int = 0
    lease: int = 0
    lease_age: int = 0
    publish: Publish | None = None
    knew: bool = False
    """The entry had a fence when it was marked."""


class Reader(NamedTuple):
    at: int = At.FREE
    knows: int = 0
    age: int = 0
    held: Data | None = None
    generation: int = 0
    lease: int = 0
    lease_age: int = 0
    bad: str = ""
    found: Data | None = None
    fence: int = 0
    own: tuple[int, int] | None = None


class Late(NamedTuple):
    """A request that Redis will get late, or never."""

    kind: str
    token: int
    nonce: int = 0
    lease: int = 0
    lease_age: int = 0
    publish: Publish | None = None


class State(NamedTuple):
    sql: Sql
    backup: Sql | None
    """What SQL may fall back to: a lagging standby, a backup."""
    entry: Entry | None
    replica: Entry | None
    """What Redis may fall back to without anybody noticing."""
    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]
    late: Late | None = None
    made: int = 0
    acknowledged: tuple[tuple[int, int], ...] = ()
    fell: int = 0
    lost: tuple[tuple[Data, int], ...] = ()


@dataclass(frozen=True)
class Case:
    """What takes part, and what may happen to it."""

    writers: tuple[str, ...] = ("A", "A")
    """What each writer does in turn: A appends, C clears, E erases; P puts an item, and E takes it
    away. A case has either a session or an item."""
    readers: int = 2
    without: frozenset[str] = frozenset()
    R: int = 0
    """How long a process believes that the cache is on. 0: nobody is ever cut off."""
    V: int = 0
    """`revalidate`."""
    cut: tuple[int, ...] = ()
    """Writers that may be unable to reach Redis."""
    falls: int = 0
    """How often SQL may fall back."""
    loses: str = "all"
    """What SQL loses. `fence`: not the cache's state. `writes`: the fence neither."""
    redis_falls: bool = False
    held: bool = False
    """Readers keep a tail, and take only what is newer."""
    goes_on: bool = False
    """Who asks SQL after a miss takes what the entry holds, and only what is newer."""
    late: bool = False
    """A duplicate of MARK, a PUBLISH and a LIFT may arrive at any later time."""
    fold: int = 0
    """More marks than this become one that nobody owns."""
    mark_deletes: bool = False
    """MARK may find Redis full, and delete the key instead."""
    warm: bool = False
    """The first write brings the whole tail (W1)."""
    others: bool = False
    """Somebody else suspends at any time, and dies."""
    invalidates: bool = False
    """Somebody calls `invalidate()` at any time: `on` in another generation, at once."""
    bounded: bool = False
    """Not that a hit equals SQL, but that it misses nothing older than V and never goes back."""
    most: int = 40_000_000
    """States after which the search is given up."""

    @property
    def of_item(self) -> bool:
        """Whether it is an item that is written: each put is all there is of it (W2)."""
        return any("P" in what for what in self.writers)


def canonical(state: State, revives: bool = False, keeps: bool = False) -> State:
    """Rename what is random in the order in which it is met; leases and marks that died are one."""
    fences: dict[int, int] = {0: 0}
    names: dict[int, int] = {0: 0}
    nonces: dict[int, int] = {0: 0}
    sql, entry, replica, late = state.sql, state.entry, state.replica, state.late
    for one in (entry, replica):
        if one is not None:
            nonces.setdefault(one.nonce, len(nonces))
    if revives and late is not None:
        nonces.setdefault(late.nonce, len(nonces))

    tokens = {w.token for w in state.writers}
    if late is not None:
        tokens.add(late.token)

    def fence(x: int) -> int:
        return fences.setdefault(x, len(fences))

    def name(x: int) -> int:
        return names.setdefault(x, len(names))

    def of_sql(x: Sql) -> Sql:
        return Sql(x.data, fence(x.fence), x.on, name(x.name))

    def of_entry(x: Entry) -> Entry:
        nonce, marks = nonces[x.nonce], x.marks
        if any(mark.token not in tokens for mark in marks):
            orphan = (Mark(NOBODY),)
            marks = orphan + tuple(mark for mark in marks if mark.token in tokens)
        return Entry(name(x.generation), fence(x.fence), x.data, marks, x.age, nonce)

    def of_publish(x: Publish | None, alive: bool) -> Publish | None:
        if x is None:
            return None
        if not alive and x.tail is not None and not keeps:
            return Publish(*x[:4], 0, None, 0)
        return Publish(*x[:4], fence(x.fence), x.tail, name(x.generation))

    def of_writer(w: Writer) -> Writer:
        lease = nonces.get(w.lease, 0)
        age, generation = (w.lease_age if lease else 0), name(w.generation)
        publish = of_publish(w.publish, lease > 0)
        return Writer(
            w.at, w.nr, w.token, fence(w.told), fence(w.known), w.said, name(w.waited_for),
            w.wait, generation, lease, age, publish, w.knew and lease > 0,
        )  # fmt: skip

    def of_reader(r: Reader) -> Reader:
        lease = nonces.get(r.lease, 0)
        if r.lease and not lease:
            return Reader(At.FREE, name(r.knows), r.age, r.held, own=r.own)
        return Reader(
            r.at, name(r.knows), r.age, r.held, name(r.generation), lease, r.lease_age, r.bad,
            r.found, fence(r.fence), r.own,
        )  # fmt: skip

    sql = of_sql(sql)
    entry = None if entry is None else of_entry(entry)
    backup = None if state.backup is None else of_sql(state.backup)
    replica = None if replica is None else of_entry(replica)
    if late is not None:
        lease = nonces.get(late.lease, 0)
        nonce = nonces[late.nonce] if revives else 0
        age = late.lease_age if lease else 0
        late = Late(late.kind, late.token, nonce, lease, age, of_publish(late.publish, lease > 0))
    return State(
        sql, backup, entry, replica, tuple(map(of_writer, state.writers)),
        tuple(map(of_reader, state.readers)), late, *state[7:],
    )  # fmt: skip


def without(marks: tuple[Mark, ...], token: int) -> tuple[Mark, ...]:
    return tuple(mark for mark in marks if mark.token != token)


class Step(NamedTuple):
    who: str
    what: str
    state: State
    """As it comes, with whatever names: `canonical` says which state that is."""
    bad: str


class Steps:
    """All steps that are possible from a state."""

    def __init__(self, case: Case) -> None:
        unknown = case.without - RULES.keys()
        assert not unknown, unknown
        self.case = case
        self.off = case.without
        self.revives, self.keeps = "2 server" in self.off, "W1 nonce" in self.off
        self.state: State
        self.out: list[Step] = []
        self._of_writer = {
            At.IDLE: self._mark,
            At.MARKED: self._commit_marked,
            At.COMMITTED: self._publish,
            At.ROLLED_BACK: self._lift,
            At.REFUSED: self._lift,
            At.CUT_OFF: self._cut_off,
            At.LOOKED: self._commit_unmarked,
        }
        self._of_reader = {
            At.FREE: self._ask,
            At.SENT: self._look,
            At.ANSWERED: self._show,
            At.SETTLES: self._settle,
            At.READS: self._read_sql,
            At.SETTLES_LATE: self._settle_late,
            At.FILLS: self._fill,
            At.HEARS: self._hear,
        }

    def __call__(self, state: State) -> list[Step]:
        self.state, self.out = state, []
        for i, writer in enumerate(state.writers):
            if writer.at != At.DONE:
                self._of_writer[writer.at](i, writer)
        for i, reader in enumerate(state.readers):
            self._reader(i, reader)
        self._late()
        self._faults()
        self._suspensions()
        self._falls()
        if self.case.R or self.case.V:
            self._tick()
        return self.out

    def _emit(self, who: str, what: str, bad: str = "", **changes: Any) -> None:
        self.out.append(Step(who, what, self.state._replace(**changes), bad))

    def canonical(self, state: State) -> State:
        return canonical(state, self.revives, self.keeps)

    def _write(self, i: int, what: str, writer: Writer, **changes: Any) -> None:
        writers = self.state.writers
        changes["writers"] = (*writers[:i], writer, *writers[i + 1 :])
        self._emit(f"W{i + 1}", what, **changes)

    def _read(self, i: int, what: str, reader: Reader, bad: str = "", **changes: Any) -> None:
        readers = self.state.readers
        changes["readers"] = (*readers[:i], reader, *readers[i + 1 :])
        self._emit(f"R{i + 1}", what, bad, **changes)

    # ------------------------------------------------------------------------------ writers

    def _next(self, i: int, w: Writer) -> Writer:
        """The writer when its operation has ended."""
        if w.nr + 1 == len(self.case.writers[i]):
            return Writer(At.DONE)
        return Writer(
            At.IDLE, w.nr + 1, known=w.known, waited_for=w.waited_for, wait=w.wait,
            generation=w.generation,
        )  # fmt: skip

    def _fresh_token(self, i: int) -> int:
        """A token of this writer that is met nowhere: as good as a random one."""
        met = {mark.token for e in (self.state.entry, self.state.replica) if e for mark in e.marks}
        if self.state.late:
            met.add(self.state.late.token)
        return next(token for token in range(1 + 4 * i, 5 + 4 * i) if token not in met)

    def _marked(self, token: int) -> Entry:
        """The entry after MARK."""
        entry = self.state.entry
        if entry is None:
            return Entry(0, 0, None, (Mark(token),), self.case.V, FRESH)
        marks, data = without(entry.marks, token), entry.data
        if self.case.fold and len(marks) >= self.case.fold:
            marks, data = (Mark(NOBODY),), None
        nonce = entry.nonce if "2 nonce" in self.off else FRESH
        marks = tuple(sorted((*marks, Mark(token))))
        return entry._replace(data=data, marks=marks, nonce=nonce)

    def _mark(self, i: int, w: Writer) -> None:
        sql, entry = self.state.sql, self.state.entry
        if self.case.warm and self.case.R and sql.on and w.generation != sql.name:
            # It never forgets it again: more than is allowed, and still safe.
            self._write(i, "learns: on", w._replace(generation=sql.name))
        token = w.token or self._fresh_token(i)  # it has one only where rule 4 is left out
        told = w.known if w.said else (entry.fence if entry else 0) or w.known
        knew = self.case.of_item and entry is not None and entry.fence != ABSENT
        after = w._replace(at=At.MARKED, token=token, told=told, said=False, knew=knew)
        if "1 mark" in self.off:
            self._write(i, "does not mark", after)
            return
        marked = self._marked(token)
        warm = self.case.warm and (not self.case.R or w.generation)
        leased = after._replace(lease=marked.nonce) if warm else after
        self._write(i, "marks", leased, entry=marked)
        if self.case.late and self.state.late is None:
            late = Late("MARK", token, marked.nonce)
            self._write(i, "marks, a duplicate is on its way", leased, entry=marked, late=late)
        if self.case.mark_deletes and entry:
            self._write(i, "marks by deletion", after, entry=None)
        if i in self.case.cut:
            cut = w._replace(at=At.CUT_OFF, token=0, said=False)
            self._write(i, "cannot mark", cut)
            self._write(i, "marks, never hears of it", cut, entry=marked)

    def _committed(self, i: int, w: Writer) -> Iterator[tuple[Sql, Publish, int]]:
        """SQL after the commit, and what is published of it."""
        sql = self.state.sql
        data, made = sql.data, self.state.made + 1
        fences = [sql.fence]
        what = self.case.writers[i][w.nr]
        if what == "A":
            data = Data(data.epoch, (*data.rows, made), made)
        elif what == "P":
            data = Data(data.epoch + 1, (made,), made)
        else:
            data = Data(data.epoch + 1, (), made)
        if what == "E":
            fences = [ABSENT]
        makes = sql.fence == ABSENT
        if makes:
            fences = [FRESH]
            if "21 fresh" in self.off:
                fences += self._fences_met()
        knew = w.knew or "W2 fence" in self.off
        brings = makes or (what == "P" and knew) or "W1 first" in self.off
        tail = data if w.lease and brings and what != "E" else None
        for fence in fences:
            publish = Publish(
                *data.version, made, self.state.fell, fence if tail else 0, tail,
                w.generation if tail else 0,
            )  # fmt: skip
            yield sql._replace(data=data, fence=fence), publish, made

    def _fences_met(self) -> list[int]:
        """Fences that were there before, should one be counted and not random."""
        met = {w.told for w in self.state.writers} | {w.known for w in self.state.writers}
        if self.state.entry:
            met.add(self.state.entry.fence)
        return sorted(met - {ABSENT, self.state.sql.fence})

    def _commit_marked(self, i: int, w: Writer) -> None:
        sql = self.state.sql
        guess_off = "21 guess" in self.off and w.told == ABSENT
        # There is nothing that could have been settled: an item is made whatever was told.
        guess_off |= self.case.writers[i][w.nr] == "P" and sql.fence == ABSENT
        if w.told != sql.fence and "5 fence" not in self.off and not guess_off:
            if "5 again" in self.off:
                self._write(i, "is refused, learns the fence", w._replace(told=sql.fence))
                return
            back = w._replace(at=At.REFUSED, told=0, known=sql.fence, lease=0, lease_age=0)
            self._write(i, "is refused: the fence has moved", back)
            return
        if sql.fence == ABSENT and self.case.writers[i][w.nr] == "E":
            self._write(i, "finds nothing to erase", w._replace(at=At.ROLLED_BACK, known=ABSENT))
            return
        for after, publish, made in self._committed(i, w):
            what = f"commits {publish.epoch}/{publish.head}"
            done = w._replace(at=At.COMMITTED, told=0, known=after.fence, publish=publish)
            if publish.tail is None:
                done = done._replace(lease=0, lease_age=0)
            self._write(i, what, done, sql=after, made=made)
            gone = self._next(i, w)  # it knows what it knew before
            self._write(i, f"{what}, never hears of it", gone, sql=after, made=made)
        rolled = w._replace(at=At.ROLLED_BACK, told=0, lease=0, lease_age=0)
        self._write(i, "rolls back, knows it", rolled)

    def _lift(self, i: int, w: Writer) -> None:
        entry, after = self.state.entry, self._next(i, w)
        if w.at == At.REFUSED:
            after = w._replace(at=At.IDLE, token=0, said=True)
        lifted = entry and entry._replace(marks=without(entry.marks, w.token))
        self._write(i, "lifts its mark", after, entry=lifted)
        self._write(i, "leaves its mark", after)
        if self.case.late and self.state.late is None:
            if "4" in self.off:
                after = w._replace(at=At.IDLE, said=w.at == At.REFUSED)
            self._write(i, "lifts its mark, on its way", after, late=Late("LIFT", w.token))

    def _acknowledged(self, publish: Publish) -> dict[str, Any]:
        """What changes once a write is acknowledged."""
        known, lost = self.state.acknowledged, self.state.lost
        if self.case.bounded:
            known = (max((publish.epoch, publish.head), known[0]), *known[1:])
        if self.state.fell and publish.fall == self.state.fell:
            lost = ()  # the first of the new past: nothing that was lost may be seen any more
        return {"acknowledged": known, "lost": lost}

    def _published(self, late: Late) -> Entry | None:
        """The entry after PUBLISH."""
        entry, publish = self.state.entry, late.publish
        assert publish is not None
        if entry is None:
            return None
        data, version = entry.data, (publish.epoch, publish.head)
        mine = [mark for mark in entry.marks if mark.token == late.token]
        left = entry._replace(marks=without(entry.marks, late.token))
        if data and not self.case.of_item:
            same = data.lineage == publish.lineage or "7" in self.off
            if (data.version == version and same) or ("8" in self.off and data.version >= version):
                return left
        stands = late.lease == entry.nonce or "W1 nonce" in self.off
        if self.case.of_item and "W2 alone" not in self.off:
            stands = stands and bool(mine) and not left.marks
        if publish.tail and stands:
            label = publish.generation
            if "W1 generation" in self.off and self.state.sql.on:
                label = self.state.sql.name
            age = late.lease_age if "W1 mark" not in self.off else 0
            return Entry(label, publish.fence, publish.tail, (), age, entry.nonce)
        ours = mine or "3 mark" in self.off
        if ours and data and publish.head and data.version == (publish.epoch, publish.head - 1):
            age = mine[0].age if mine and "11" not in self.off else 0
            rows = (*data.rows, publish.lineage)
            data = Data(publish.epoch, rows, publish.lineage)
            return left._replace(data=data, age=min(entry.age, age))
        keeps = (mine and not self.case.of_item) or "3 nonce" in self.off
        if mine and "W2 nonce" in self.off:
            keeps = True
        nonce = entry.nonce if keeps else FRESH
        return left._replace(data=None, nonce=nonce)

    def _publish(self, i: int, w: Writer) -> None:
        publish = w.publish
        assert publish is not None
        late = Late("PUBLISH", w.token, 0, w.lease, w.lease_age, publish)
        entry, answered = self._published(late), self._acknowledged(publish)
        after, what = self._next(i, w), f"{publish.epoch}/{publish.head}"
        self._write(i, f"publishes {what}", after, entry=entry, **answered)
        self._write(i, f"publishes {what}, will again", w, entry=entry)
        self._write(i, f"cannot publish {what}", after, **answered)
        if self.case.late and self.state.late is None:
            self._write(i, f"publish {what} is on its way", after, late=late, **answered)

    def _cut_off(self, i: int, w: Writer) -> None:
        sql = self.state.sql
        if "16 suspends" in self.off:
            self._commit_unmarked(i, w)
            return
        knows = w.waited_for
        if sql.on:
            off = sql._replace(on=False, name=FRESH)
            self._write(i, "suspends", w._replace(waited_for=FRESH, wait=self.case.R), sql=off)
        elif knows != sql.name and ("17 same" not in self.off or not knows):
            found = w._replace(waited_for=sql.name, wait=self.case.R)
            self._write(i, "finds it suspended", found)
        holds = not sql.on and (knows == sql.name or "17 same" in self.off)
        if knows and holds and (not w.wait or "16 waits" in self.off):
            if "17 holds" in self.off:
                self._write(i, "looks: suspended", w._replace(at=At.LOOKED))
            else:
                self._commit_unmarked(i, w)
        self._write(i, "tries to mark again", w._replace(at=At.IDLE))

    def _commit_unmarked(self, i: int, w: Writer) -> None:
        if self.state.sql.fence == ABSENT and self.case.writers[i][w.nr] == "E":
            self._write(i, "finds nothing to erase", self._next(i, w))
            return
        for sql, publish, made in self._committed(i, w):
            what = f"commits {publish.epoch}/{publish.head} unmarked"
            answered = self._acknowledged(publish)
            self._write(i, what, self._next(i, w), sql=sql, made=made, **answered)

    # ------------------------------------------------------------------------------ readers

    def _reader(self, i: int, r: Reader) -> None:
        sql = self.state.sql
        if self.case.R and sql.on:
            learns = r.at in (At.FREE, At.SENT, At.ANSWERED, At.FILLS)
            if learns and (r.knows != sql.name or r.age):
                self._read(i, "learns: on", r._replace(knows=sql.name, age=0))
            if "13" in self.off and r.at == At.FREE:
                asked = Reader(At.HEARS, held=r.held, generation=sql.name, own=r.own)
                self._read(i, "asks: on, the answer is on its way", asked)
        self._of_reader[r.at](i, r)
        if self.case.held and r.at == At.FREE:
            self._read_all(i, r)

    def _hear(self, i: int, r: Reader) -> None:
        self._read(i, "hears: on", r._replace(at=At.FREE, knows=r.generation, generation=0))

    def _ask(self, i: int, r: Reader) -> None:
        if not self.case.R:
            self._look(i, r)
        elif r.knows:  # else it asks SQL, which is right by itself
            self._read(i, "sends a look", r._replace(at=At.SENT, generation=r.knows))

    def _show(self, i: int, r: Reader) -> None:
        free = r._replace(at=At.FREE, generation=0, bad="")
        if r.knows == r.generation or "14" in self.off:
            self._read(i, "hit", free, r.bad)
        else:
            self._read(i, "does not believe it", free)

    def _wrong(self, shown: Data, own: tuple[int, int] | None) -> str:
        """Why a hit must not show this."""
        now, state = self.state.sql.data, self.state
        if self.case.bounded:
            if own and shown.version < own:
                return "a process goes back"
            if shown.version < state.acknowledged[-1]:
                return "misses what was acknowledged V ago"
            return ""
        if shown[:2] == now[:2]:
            return ""
        if any(x[:2] == shown[:2] and age < self.case.V for x, age in state.lost):
            return ""
        return "shows what SQL lost" if state.fell else "differs from SQL"

    def _merged(self, held: Data | None, there: Data) -> Data:
        """What a reader that holds a tail makes of what is there."""
        if held is None or held.epoch != there.epoch or len(held.rows) > len(there.rows):
            return there
        n = len(held.rows)
        at_held = there.lineage if n == len(there.rows) else there.rows[n - 1] if n else -1
        if at_held == held.lineage or "10" in self.off or "7" in self.off:
            return Data(there.epoch, held.rows + there.rows[n:], there.lineage)
        return there

    def _look(self, i: int, r: Reader) -> None:
        entry = self.state.entry
        if entry is None:
            at = At.READS if "6 no fence" in self.off else At.SETTLES
            made = Entry(0, 0, None, (), self.case.V, FRESH)
            asks = r._replace(at=at, lease=FRESH, lease_age=0)
            self._read(i, "looks: nothing there", asks, entry=made)
            return
        data = entry.data
        believed = not entry.marks or "1 believe" in self.off
        same = not self.case.R or entry.generation == r.generation or "15 entry" in self.off
        young = not self.case.V or entry.age < self.case.V
        behind = data and r.held and r.held.version > data.version
        if data and believed and same and young and not behind:
            shown = self._merged(r.held, data)
            held = shown if self.case.held else None
            own = data.version if self.case.bounded else None
            bad = self._wrong(shown, r.own)
            if self.case.R:
                sent = r._replace(at=At.ANSWERED, held=held, bad=bad, own=own)
                self._read(i, f"is sent {data.epoch}/{len(data.rows)}", sent)
            else:
                hit = r._replace(at=At.FREE, held=held, own=own)
                self._read(i, f"hit {data.epoch}/{len(data.rows)}", hit, bad)
            return
        settles = (entry.marks and "6 marks" not in self.off) or (
            not entry.fence and "6 no fence" not in self.off
        )
        at = At.SETTLES if settles else At.READS
        alone = not entry.marks and (not self.case.R or entry.generation == r.generation)
        goes_on = self.case.goes_on and (alone or "10 marks" in self.off)
        base = data if goes_on else None
        self._read(i, "miss", r._replace(at=at, lease=entry.nonce, lease_age=0, found=base))

    def _settle(self, i: int, r: Reader) -> None:
        sql = self.state.sql
        reads = r._replace(at=At.READS)
        if sql.fence == ABSENT:
            if "20 settle" in self.off:
                self._read(i, "finds no row to settle, goes on", reads)
            self._read(i, "finds no row", self._free(r))
        elif "6 before" in self.off:
            late = r._replace(at=At.SETTLES_LATE, found=sql.data, fence=sql.fence)
            self._read(i, f"reads {sql.data.epoch}/{len(sql.data.rows)}", late)
        elif "6 moves" in self.off:
            self._read(i, "waits for the row lock", reads)
        else:
            fences = [FRESH]
            if "6 random" in self.off and self.state.fell:
                fences += self._fences_met()
            for fence in fences:
                self._read(i, "moves the fence", reads, sql=sql._replace(fence=fence))

    def _settle_late(self, i: int, r: Reader) -> None:
        sql = self.state.sql._replace(fence=FRESH)
        self._read(i, "moves the fence", r._replace(at=At.FILLS, fence=FRESH), sql=sql)

    def _read_sql(self, i: int, r: Reader) -> None:
        sql = self.state.sql
        if sql.fence == ABSENT and "20 read" not in self.off:
            self._read(i, "finds no row", self._free(r))
            return
        there = self._merged(r.found or r.held, sql.data)
        bad = "" if there.rows == sql.data.rows else "SQL read mixes two pasts"
        found = r._replace(at=At.FILLS, found=there, fence=sql.fence)
        if self.case.held:
            found = found._replace(held=there)
        if self.case.bounded:
            found = found._replace(own=there.version)
        self._read(i, f"reads {there.epoch}/{len(there.rows)}", found, bad)

    def _fill(self, i: int, r: Reader) -> None:
        entry, found = self.state.entry, r.found
        assert found is not None
        after = self._free(r)
        if entry and r.lease == entry.nonce:
            keeps = "9" in self.off and entry.data and entry.data.version >= found.version
            label = r.knows if "15 look" in self.off else r.generation
            data = entry.data if keeps else found
            filled = Entry(label, r.fence, data, (), r.lease_age, entry.nonce)
            self._read(i, f"fills {found.epoch}/{len(found.rows)}", after, entry=filled)
        self._read(i, "fills nothing", after)

    def _read_all(self, i: int, r: Reader) -> None:
        """A cold read of the whole session."""
        data = self.state.sql.data
        held = r.held if "19" in self.off else data
        own = data.version if self.case.bounded else None
        if held != r.held or own != r.own:
            read = r._replace(held=held, own=own)
            self._read(i, f"reads all {data.epoch}/{len(data.rows)}", read)

    def _free(self, r: Reader) -> Reader:
        return Reader(At.FREE, r.knows, r.age, r.held, own=r.own)

    # ------------------------------------------------------------------------------- the rest

    def _late(self) -> None:
        late, entry = self.state.late, self.state.entry
        if late is None:
            return
        after: Entry | None
        if late.kind == "MARK":
            after = self._marked(late.token if "2 own" in self.off else NOBODY)
            if self.revives:
                after = after._replace(nonce=late.nonce)
        elif late.kind == "PUBLISH":
            after = self._published(late)
        else:
            after = entry and entry._replace(marks=without(entry.marks, late.token))
        self._emit("env", f"the late {late.kind} arrives", entry=after, late=None)
        self._emit("env", f"the late {late.kind} never arrives", late=None)

    def _faults(self) -> None:
        entry, replica = self.state.entry, self.state.replica
        if entry:
            self._emit("env", "the key is lost", entry=None)
        if self.case.redis_falls and replica != entry:
            self._emit("env", "the replica catches up", replica=entry)
            self._emit("env", "Redis falls back", entry=replica)

    def _suspensions(self) -> None:
        sql, entry = self.state.sql, self.state.entry
        if not self.case.R:
            return
        if not sql.on:
            self._emit("env", "somebody resumes", sql=sql._replace(on=True, name=FRESH))
            if "18" in self.off and entry and entry.generation:
                old = sql._replace(on=True, name=entry.generation)
                self._emit("env", "somebody resumes as before", sql=old)
        else:
            if self.case.others:
                self._emit("env", "somebody suspends", sql=sql._replace(on=False, name=FRESH))
            if self.case.invalidates:
                self._emit("env", "somebody invalidates", sql=sql._replace(name=FRESH))

    def _falls(self) -> None:
        sql, backup, fell = self.state.sql, self.state.backup, self.state.fell
        if fell >= self.case.falls or backup == sql:
            return
        self._emit("env", "the standby catches up", backup=sql)
        if backup is None:
            return
        after = backup
        if self.case.loses != "all":
            after = after._replace(on=sql.on, name=sql.name)
        if self.case.loses == "writes":
            after = after._replace(fence=sql.fence)
        writers = self.state.writers
        if "12" not in self.off:  # its connection broke: it marks again
            writers = tuple(
                w._replace(at=At.IDLE, token=0, told=0, lease=0, lease_age=0)
                if w.at == At.MARKED
                else w
                for w in writers
            )
        lost = [x for x in self.state.lost if x[0] != sql.data]
        self._emit(
            "env", f"SQL falls back to {after.data.epoch}/{len(after.data.rows)}", sql=after,
            writers=writers, fell=fell + 1, lost=tuple(sorted([*lost, (sql.data, 0)])),
        )  # fmt: skip

    def _tick(self) -> None:
        most = self.case.V

        def entry(x: Entry | None) -> Entry | None:
            if x is None or not most:
                return x
            marks = tuple(Mark(mark.token, min(mark.age + 1, most)) for mark in x.marks)
            return x._replace(marks=marks, age=min(x.age + 1, most))

        def lease(x: Any) -> Any:
            return x._replace(lease_age=min(x.lease_age + 1, most)) if most and x.lease else x

        def reader(r: Reader) -> Reader:
            if r.knows:
                over = r.age + 1 >= self.case.R
                r = r._replace(knows=0, age=0) if over else r._replace(age=r.age + 1)
            return r

        state = self.state
        known = state.acknowledged
        self._emit(
            "env", "tick",
            entry=entry(state.entry), replica=entry(state.replica),
            writers=tuple(lease(w)._replace(wait=max(w.wait - 1, 0)) for w in state.writers),
            readers=tuple(lease(reader(r)) for r in state.readers),
            late=state.late and lease(state.late),
            acknowledged=(known[0], *known[:-1]) if known else known,
            lost=tuple((x, age + 1) for x, age in state.lost if age + 1 < most),
        )  # fmt: skip


# ------------------------------------------------------------------------------- the search


class Packer:
    """A state as one exact integer: every part is numbered, nothing is hashed away."""

    def __init__(self) -> None:
        self.numbers: dict[object, int] = {}

    def __call__(self, state: State, sort: bool) -> int:
        numbers, packed = self.numbers, 0
        parts = [numbers.setdefault(x, len(numbers)) for x in (*state[:4], *state[6:])]
        parts += [numbers.setdefault(x, len(numbers)) for x in state.writers]
        readers = [numbers.setdefault(x, len(numbers)) for x in state.readers]
        for part in (*parts, *(sorted(readers) if sort else readers)):
            packed = packed << 21 | part
        assert len(numbers) < 1 << 21
        return packed


class Result(NamedTuple):
    states: int
    steps: int
    bad: str
    """What was found; empty if nothing, and `stopped` where the search was given up."""
    trace: tuple[str, ...] = ()


def starts(case: Case) -> Iterator[tuple[str, State]]:
    """A session without a row, one that is not cached, and one that is."""
    known = ((0, 0),) * (case.V + 1 if case.bounded else 0)
    writers, readers = (Writer(),) * len(case.writers), (Reader(),) * case.readers
    warm = Entry(1, 1, Data(), (), 0, 1)
    for what, fence, entry in (("absent", ABSENT, None), ("cold", 1, None), ("warm", 1, warm)):
        sql = Sql(Data(), fence, True, 1)
        state = State(sql, None, entry, None, writers, readers, acknowledged=known)
        yield what, canonical(state)


MOST_MET: Final = 200_000
"""Of states as they came: more would take much memory in the larger cases."""


def explore(case: Case, trace: bool = False) -> Result:
    """Visit every state, shortest way first. Without a trace readers are interchangeable."""
    # Nothing here refers to itself, and to look for that among millions takes a quarter longer.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _explored(case, trace)
    finally:
        if collects:
            gc.enable()


def _explored(case: Case, trace: bool) -> Result:
    pack, steps, count = Packer(), Steps(case), 0
    seen: dict[int, tuple[int, str]] = {}  # with a trace: from where, by what
    found: set[int] = set()
    met: set[State] = set()
    """As they came, so that most of those that come again are not renamed again."""
    waiting: deque[tuple[int, State]] = deque()
    for what, state in starts(case):
        key = pack(state, not trace)
        found.add(key)
        seen[key] = (-1, f"start: {what}")
        waiting.append((key, state))
    while waiting:
        before, state = waiting.popleft()
        if len(found) > case.most:
            return Result(len(found), count, "stopped")
        for who, what, after, bad in steps(state):
            count += 1
            if bad:
                way, key = [f"{who} {what}"], before
                while trace and key != -1:
                    key, label = seen[key]
                    way.append(label)
                return Result(len(found), count, bad, tuple(reversed(way)) if trace else ())
            if after in met:
                continue
            if len(met) == MOST_MET:
                met.clear()
            met.add(after)
            after = steps.canonical(after)
            key = pack(after, not trace)
            if key not in found:
                found.add(key)
                if trace:
                    seen[key] = (before, f"{who} {what}")
                waiting.append((key, after))
    return Result(len(found), count, "")


# -------------------------------------------------------------------------------- the cases

A = Case(writers=("A",), readers=1)
AA = Case(writers=("AA",), readers=1)
TWO = Case(readers=1)
CUT = replace(A, R=1, cut=(0,))
FALLS = replace(A, V=1, falls=1)
OLD_REDIS = replace(A, V=1, redis_falls=True)

DIFFERS: Final = "differs from SQL"
GHOST: Final = "shows what SQL lost"

FAULTS: Final = {
    "1 mark": (A, DIFFERS),
    "1 believe": (A, DIFFERS),
    "2 nonce": (A, DIFFERS),
    "2 server": (replace(A, late=True), DIFFERS),
    "2 own": (replace(FALLS, late=True), GHOST),
    "3 mark": (FALLS, GHOST),
    "4": (replace(A, late=True), DIFFERS),
    "5 fence": (A, DIFFERS),
    "5 again": (A, DIFFERS),
    "6 marks": (A, DIFFERS),
    "6 no fence": (A, DIFFERS),
    "6 moves": (A, DIFFERS),
    "6 before": (A, DIFFERS),
    "6 random": (replace(AA, V=1, falls=1), GHOST),
    "7": (replace(AA, V=1, falls=1), GHOST),
    "8": (replace(AA, V=1, falls=1), GHOST),
    "9": (FALLS, GHOST),
    "10": (replace(AA, V=1, falls=1, held=True), "SQL read mixes two pasts"),
    "10 marks": (
        replace(AA, writers=("AAA",), V=1, falls=1, goes_on=True),
        "SQL read mixes two pasts",
    ),
    "11": (FALLS, GHOST),
    "12": (FALLS, GHOST),
    "13": (CUT, DIFFERS),
    "14": (CUT, DIFFERS),
    "15 entry": (CUT, DIFFERS),
    "15 look": (CUT, DIFFERS),
    "16 suspends": (CUT, DIFFERS),
    "16 waits": (CUT, DIFFERS),
    "17 holds": (CUT, DIFFERS),
    "17 same": (replace(CUT, others=True), DIFFERS),
    "18": (CUT, DIFFERS),
    "19": (replace(OLD_REDIS, bounded=True, held=True), "a process goes back"),
    "20 read": (replace(TWO, writers=("E", "A")), DIFFERS),
    "21 guess": (A, DIFFERS),
    "21 fresh": (replace(TWO, writers=("A", "EA")), DIFFERS),
    "W1 nonce": (replace(TWO, warm=True), DIFFERS),
    "W1 first": (replace(TWO, warm=True), DIFFERS),
    "W1 mark": (replace(FALLS, warm=True), GHOST),
    "W1 generation": (replace(TWO, warm=True, R=1, cut=(1,)), DIFFERS),
    "W2 fence": (replace(TWO, writers=("P", "P"), warm=True), DIFFERS),
    "W2 alone": (replace(TWO, writers=("P", "P"), warm=True), DIFFERS),
    "W2 nonce": (replace(TWO, writers=("P", "P"), warm=True), DIFFERS),
}
"""What each rule is needed for: the smallest case that breaks without it, and how it breaks."""

SECOND_LINES: Final = {
    "3 nonce": TWO,
    "20 settle": replace(TWO, writers=("A", "EA")),
}
"""Rules without which nothing broke, and a case that was tried."""

LARGER: Final = {
    "two append, two read": Case(),
    "one appends twice, another once, two read": Case(writers=("AA", "A")),
    "MARK may delete the key (Redis is full)": Case(mark_deletes=True),
    "three append, marks are folded": replace(TWO, writers=("A", "A", "A"), fold=1),
    "one appends, one erases and appends; late requests; W1": replace(
        TWO, writers=("A", "EA"), late=True, warm=True
    ),
    "one may be cut off; W1, invalidate()": replace(CUT, warm=True, invalidates=True),
    "one who may be cut off erases; W1, invalidate()": replace(
        CUT, writers=("E",), warm=True, invalidates=True
    ),
    "an item: two put it, two read": Case(writers=("P", "P"), warm=True),
    "an item: one puts it and takes it away, another puts it": replace(
        TWO, writers=("PE", "P"), warm=True
    ),
    "an item: one puts it, one takes it away and puts it; late requests": replace(
        TWO, writers=("P", "EP"), late=True, warm=True
    ),
    "an item: three put it": replace(TWO, writers=("P", "P", "P"), warm=True),
    "an item: two put it, one takes it away": replace(TWO, writers=("P", "P", "E"), warm=True),
    "an item: two put it, one may be cut off": replace(
        TWO, writers=("P", "P"), R=1, cut=(1,), warm=True
    ),
    "an item: one puts it, one who may be cut off takes it away; invalidate()": replace(
        TWO, writers=("P", "E"), R=1, cut=(1,), warm=True, invalidates=True
    ),
    "an item, SQL falls back: one puts it twice": replace(
        AA, writers=("PP",), V=1, falls=1, warm=True
    ),
    "an item, SQL falls back: one puts it, another too": replace(
        TWO, writers=("P", "P"), V=1, falls=1, warm=True
    ),
    "one appends, one erases and appends; W1": replace(TWO, writers=("A", "EA"), warm=True),
    "two append, one erases; W1": replace(TWO, writers=("A", "A", "E"), warm=True),
    "one appends, a clear, an erase": replace(TWO, writers=("A", "C", "E")),
    "one appends, one who may be cut off erases; W1, invalidate()": replace(
        TWO, writers=("A", "E"), R=1, cut=(1,), warm=True, invalidates=True
    ),
    "two append, one may be cut off; W1, invalidate()": replace(
        TWO, R=1, cut=(1,), warm=True, invalidates=True
    ),
    "one may be cut off, R of two ticks, others suspend, two read; invalidate()": replace(
        CUT, readers=2, R=2, others=True, invalidates=True
    ),
    "one appends, one may be cut off, a tail is held": replace(TWO, R=1, cut=(1,), held=True),
    "SQL falls back: one appends, one erases; a tail is held; W1": replace(
        TWO, writers=("A", "E"), V=1, falls=1, held=True, warm=True
    ),
    "SQL falls back: one appends and erases; late requests; W1": replace(
        AA, writers=("AE",), V=1, falls=1, late=True, warm=True
    ),
    "SQL falls back: one appends twice, another once; reads go on from what is there": replace(
        TWO, writers=("AA", "A"), V=1, falls=1, goes_on=True
    ),
    "SQL falls back: two append, a tail is held": replace(TWO, V=1, falls=1, held=True),
    "SQL falls back, not over a RESUME: one appends and erases, may be cut off; W1": replace(
        CUT, writers=("AE",), V=1, falls=1, loses="fence", warm=True, invalidates=True
    ),
    "Redis falls back unnoticed: nothing older than V is missed": replace(
        OLD_REDIS, writers=("AA",), bounded=True, held=True
    ),
}

STAYS: Final = {
    "Redis falls back unnoticed": (OLD_REDIS, DIFFERS),
    "SQL falls back over a settle, through a pooler that hides it (rule 12 is left out)": (
        replace(FALLS, without=frozenset({"12"})),
        GHOST,
    ),
    "SQL falls back over a RESUME while a writer is cut off": (replace(CUT, V=1, falls=1), GHOST),
}
"""What the protocol does not prevent."""


def main(most: int) -> None:
    def say(what: str, case: Case, trace: bool) -> None:
        began = time.process_time()
        result = explore(replace(case, most=most), trace)
        bad = result.bad or "holds"
        if result.trace:
            bad = f"{bad} in {len(result.trace) - 1} steps"
        elif bad == "stopped":
            bad = f"nothing yet, stopped after {time.process_time() - began:.0f} s"
        sys.stdout.write(f"{what:<84} {result.states:>9,}  {bad}\n")
        if result.trace:
            sys.stdout.write(f"    {'; '.join(result.trace)}\n")
        sys.stdout.flush()

    sys.stdout.write(f"{'case':<84} {'states':>9}  result\n")
    for what, case in LARGER.items():
        say(what, case, False)
    for what, (case, _) in STAYS.items():
        say(f"stays: {what}", case, True)
    for rule, case in SECOND_LINES.items():
        say(f"without {rule}: {RULES[rule]}"[:84], replace(case, without=frozenset({rule})), False)
    for rule, (case, _) in FAULTS.items():
        say(f"without {rule}: {RULES[rule]}"[:84], replace(case, without=frozenset({rule})), True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400_000)
