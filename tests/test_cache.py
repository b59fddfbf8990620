"""The in-process cache is never stale (I3), and what it hands out is the caller's (I12)."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onrecord import Message, Store
from onrecord.cache import LocalCache, tails
from onrecord.stored.messages import MessageRow, Snapshot
from onrecord.version import Version


class Counted:
    """Counts how often a store asks its database."""

    def __init__(self, store: Store) -> None:
        self.reads = 0
        original = store._ledger.read

        def read(work: Any) -> Any:
            self.reads += 1
            return original(work)

        store._ledger.read = read  # type: ignore[method-assign]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/x.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store(url, durability="normal", tail=5) as store:
        yield store


def test_a_second_read_asks_nobody(store: Store) -> None:
    chat = store.session("k")
    chat.append([("user", str(n)) for n in range(9)])
    first = chat.tail(5)
    asked = Counted(store)
    assert chat.tail(5) == first
    assert [m.text for m in chat.tail(2)] == ["7", "8"]
    assert len(chat.window(messages=3)) == 3
    assert asked.reads <= 1  # the window wants to know how the session begins
    chat.tail(6)
    assert asked.reads >= 1, "more than is kept at hand comes from the database"


def test_another_process_is_noticed(store: Store, url: str) -> None:
    chat = store.session("k")
    chat.append(("user", "one"))
    assert len(chat.tail(5)) == 1
    with Store(url) as elsewhere:  # another connection is all that SQLite sees of a process
        theirs = elsewhere.session("k")
        theirs.append(("user", "two"))
        assert [m.text for m in chat.tail(5)] == ["one", "two"]
        theirs.edit(1, ("user", "ONE"))
        assert [m.text for m in chat.tail(5)] == ["ONE", "two"]
        theirs.delete(2)
        assert [m.text for m in chat.tail(5)] == ["ONE"]
        theirs.clear()
        assert chat.tail(5) == []
        theirs.append(("user", "again"))
        assert [m.text for m in chat.tail(5)] == ["again"]


def test_more_news_than_are_kept_are_not_taken_for_all(store: Store) -> None:
    chat = store.session("k")
    chat.update(title="empty so far")
    assert chat.tail(5) == []
    chat.append([("system", "Be brief."), *[("user", str(n)) for n in range(20)]])
    assert len(chat.tail(5)) == 5
    window = chat.window()
    assert len(window) == 21
    assert window[0].role == "system"


def test_a_database_that_went_back_is_believed(store: Store, url: str, tmp_path: Path) -> None:
    chat = store.session("k")
    chat.append([("user", "kept"), ("user", "lost by the backup")])
    assert len(chat.tail(5)) == 2
    with Store(url) as elsewhere:
        # What restoring an older copy in place does to a row, without the epoch that a rewind adds.
        elsewhere._ledger.write(
            lambda txn: (
                txn.run("UPDATE {sessions} SET head = 1")
                and txn.run("DELETE FROM {tail} WHERE seq = 2")
            )
        )
    assert [m.text for m in chat.tail(5)] == ["kept"]


def test_only_what_is_new_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = store.session("k")
    chat.append([("user", str(n)) for n in range(5)])
    chat.tail(5)
    decoded: list[int] = []
    original = store._ledger.read

    def read(work: Any) -> Any:
        seen = original(lambda txn: _spy(txn, work, decoded))
        return seen

    monkeypatch.setattr(store._ledger, "read", read)
    chat.append(("user", "new"))
    assert [m.text for m in chat.tail(5)] == ["1", "2", "3", "4", "new"]
    assert decoded == [1]


def _spy(txn: Any, work: Any, fetched: list[int]) -> Any:
    rows = txn.rows

    def counted(statement: str, values: Any) -> Any:
        found = rows(statement, values)
        fetched.append(len(found))
        return found

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return counted if name == "rows" else getattr(txn, name)

    return work(Spy())


@pytest.mark.parametrize("seed", range(20))
def test_two_stores_on_one_file_never_differ(url: str, seed: int) -> None:
    """Random operations through two stores; each tail equals an uncached read of everything."""
    dice = random.Random(seed)
    with (
        Store(url, durability="normal", tail=4) as one,
        Store(url, durability="normal", tail=3) as other,
    ):
        for step in range(60):
            chat = dice.choice([one, other]).session(dice.choice("ab"))
            head = chat.head()
            match dice.randrange(6):
                case 0 | 1:
                    chat.append([("user", f"{step}")] * dice.randrange(1, 4))
                case 2 if chat.count():
                    chat.edit(dice.choice(chat.messages()).seq or 0, ("user", f"edited {step}"))
                case 3 if chat.count():
                    chat.delete(dice.choice(chat.messages()).seq or 0)
                case 4 if dice.random() < 0.3:
                    chat.rewind(dice.randrange(head + 1))
                case _:
                    pass
            for reader in (one, other):
                for key in "ab":
                    session = reader.session(key)
                    everything = session.messages()
                    n = dice.randrange(7)
                    assert session.tail(n) == (everything[-n:] if n else [])
                    assert session.count() == len(everything)


def row(seq: int, size: int = 10) -> MessageRow:
    return MessageRow(seq, 0, b"x" * size, None, 0, 1, 1)


class Beating:
    """A ledger whose pulse is what a test says."""

    has_pulse = False

    def __init__(self, *pulses: object) -> None:
        self._pulses = itertools.chain(pulses, itertools.repeat(pulses[-1]))

    def pulse_at_hand(self) -> object | None:
        return next(self._pulses)

    def pulse(self) -> object | None:
        return next(self._pulses)

    async def apulse(self) -> object | None:
        return next(self._pulses)


def test_an_entry_is_as_old_as_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    cache: Any = LocalCache(Beating(1, 2), messages=5)
    lease = cache.look(b"a", None).lease
    # A commit happens between the look and the fill: the pulse has moved to 2.
    cache.fill(b"a", Snapshot(1, Version(0, 1), (row(1),), True), lease)
    glance = cache.look(b"a", None)
    assert not glance.fresh
    assert glance.seen is not None
    cache.fill(b"a", glance.seen, glance.lease)
    assert cache.look(b"a", None).fresh


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    cache: Any = LocalCache(Beating(1), messages=3)
    cache.fill(b"a", Snapshot(1, Version(0, 9), tuple(map(row, range(1, 10))), True), 1)
    seen = cache.look(b"a", None).seen
    assert seen is not None
    assert [r.seq for r in seen.rows] == [7, 8, 9]
    assert not seen.complete, "what was cut off is no longer known to be all"
    cache.fill(b"a", Snapshot(1, Version(0, 9), (row(9, tails.LARGEST_TAIL),), False), 1)
    assert cache.look(b"a", None).seen is None, "one huge message is not worth the others"
    monkeypatch.setattr(tails, "LARGEST_TOTAL", 10_000)
    cache = LocalCache(Beating(1), messages=3)
    for n in range(100):
        cache.fill(str(n).encode(), Snapshot(1, Version(0, 1), (row(1, 700),), True), 1)
    assert sum(cache.look(str(n).encode(), None).seen is not None for n in range(100)) <= 10
    assert cache.look(b"99", None).seen is not None


def test_less_than_is_wanted_is_nothing() -> None:
    cache: Any = LocalCache(Beating(1), messages=5)
    cache.fill(b"a", Snapshot(1, Version(0, 9), (row(8), row(9))), 1)
    assert cache.look(b"a", None, 2).fresh
    assert cache.look(b"a", None, 3).seen is None
    assert cache.look(b"a", None).seen is None, "as many as are kept"
    cache.fill(b"a", Snapshot(1, Version(0, 9), (row(8), row(9)), True), 1)
    assert cache.look(b"a", None).fresh, "there are no more"


def test_a_tail_is_read_and_kept_as_far_as_it_was_asked_for(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'x.db'}") as store:
        chat = store.session("k")
        said = [str(n) for n in range(200)]
        chat.append([("user", text) for text in said])
        counters = store.health().counters
        hits, misses = counters.hits, counters.misses

        def texts(found: Iterable[Message]) -> list[str]:
            return [message.text for message in found]

        for n, hit in ((5, False), (5, True), (3, True), (10, False), (10, True), (5, True)):
            assert texts(chat.tail(n)) == said[-n:]
            hits, misses = hits + hit, misses + (not hit)
            assert (store.health().counters.hits, store.health().counters.misses) == (hits, misses)
        cache: Any = store._hot
        assert cache.look(chat.name.identity, None).seen is None
        assert texts(chat.window()) == said
        assert cache.look(chat.name.identity, None).fresh
        chat.append(("user", "more"))
        assert texts(chat.tail(50)) == [*said[-49:], "more"]


def test_where_nothing_can_be_asked_nothing_is_trusted() -> None:
    cache: Any = LocalCache(Beating(None), messages=3)
    glance = cache.look(b"a", None)
    assert (glance.seen, glance.fresh, glance.lease) == (None, False, None)


def test_a_pulse_that_is_not_at_hand_is_waited_for() -> None:
    class Slow(Beating):
        has_pulse = True

    for exchange in (LocalCache.exchange, lambda *given: asyncio.run(LocalCache.aexchange(*given))):
        cache = LocalCache(Slow(None, 1, None, 1), messages=3)
        lease = exchange(cache, cache.look(b"a", None)).lease
        assert lease == 1
        cache.fill(b"a", Snapshot(1, Version(0, 1), (row(1),), True), lease)
        assert exchange(cache, cache.look(b"a", None)).fresh


def test_a_restored_backup_is_read_after_invalidate(tmp_path: Path) -> None:
    """Another message stands where one stood that this process remembers, at the same version."""
    file, backup = tmp_path / "x.db", tmp_path / "backup.db"
    with Store(f"sqlite:///{file}") as store:
        chat = store.session("k")
        chat.append([("user", "a"), ("user", "b")])
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as copy:
            source.backup(copy)
        chat.append(("user", "lost"))
        assert [message.text for message in chat.tail()] == ["a", "b", "lost"]
        assert [message.text for message in chat.window()] == ["a", "b", "lost"]
        with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(file)) as live:
            source.backup(live)
        with Store(f"sqlite:///{file}") as other:
            other.session("k").append(("user", "new"))
        store.invalidate()
        assert [message.text for message in chat.tail()] == ["a", "b", "new"]
        assert [message.text for message in chat.window()] == ["a", "b", "new"]
