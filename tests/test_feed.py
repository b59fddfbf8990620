"""Feeds: nothing is missed, nothing comes again after it was done, and nobody pays who reads none.

ONRECORD_SEEDS=100 runs 10,000 histories.
"""

from __future__ import annotations

import io
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from onrecord import (
    ANY,
    Change,
    Conflict,
    Feed,
    FeedInfo,
    InvalidName,
    Misconfigured,
    Put,
    Session,
    Store,
    Version,
)
from onrecord.flow import Cold, run
from onrecord.flows.feed import looking, reading
from onrecord.stored.clock import PERIOD, period_of
from onrecord.testing.contract import Face
from tests.children import Child, together

SEEDS = float(os.environ.get("ONRECORD_SEEDS", "1"))
HOUR = 3_600 * 1_000_000
YEAR = 365 * 24 * HOUR

OpenStore = Callable[..., Store]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of this machine, to be set: microseconds beside what it is."""
    clock = SimpleNamespace(off=0)
    clock.time_ns = lambda: time.time_ns() + clock.off * 1_000
    monkeypatch.setattr("onrecord.stored.clock.time", clock)
    return clock


def write(store: Store, statement: str, **values: object) -> None:
    store._ledger.write(lambda txn: txn.run(statement, values))


def leases_end(store: Store) -> None:
    """All that is handed out was handed out long ago."""
    write(store, "UPDATE {feed_positions} SET due = 1 WHERE due IS NOT NULL")


def time_to_sweep(store: Store) -> None:
    write(store, "UPDATE {feeds} SET swept_at = 0")


def aged(store: Store, session: Session, seconds: int) -> None:
    """As if the last write to a session had been made under a clock so far behind."""
    write(
        store,
        "UPDATE {sessions} SET last_active = last_active - :micros, "
        f"active_period = (last_active - :micros) / {PERIOD} WHERE identity = :identity",
        micros=seconds * 1_000_000,
        identity=session.name.identity,
    )


def swept(feed: Feed) -> list[Change]:
    """What is found while all sessions are gone over; each is held."""
    found: list[Change] = []
    for _ in range(len(feed.store.sessions(tenant=ANY, user=ANY, agent=ANY, limit=10_000)) + 2):
        time_to_sweep(feed.store)
        found += feed.read()
    return found


def told(change: Change) -> tuple[str, list[str]]:
    return change.kind, [message.text for message in change.messages]


def say(session: Session, *texts: str) -> None:
    session.append([("user", text) for text in texts])


def cleared_and_said_again(session: Session) -> None:
    session.clear()
    say(session, "one", "two")


# What a reader is told


def test_what_was_said_comes_once(store: Store, face: Face) -> None:
    say(store.session("a", user="ada"), "one", "two")
    feed = face(store.feed("reader"))
    (change,) = feed.read()
    assert told(change) == ("appended", ["one", "two"])
    assert (change.then, change.now) == (Version(0, 0), Version(0, 2))
    assert change.session is not None
    assert (change.session.key, change.session.user) == ("a", "ada")
    assert change.messages == store.session("a", user="ada").messages()
    assert feed.done(change)
    assert feed.read() == []
    assert not feed.done(change)

    say(store.session("a", user="ada"), "three")
    (change,) = feed.read()
    assert told(change) == ("appended", ["three"])
    assert (change.then, change.now) == (Version(0, 2), Version(0, 3))


def test_what_is_held_comes_to_nobody_else(store: Store, face: Face) -> None:
    say(store.session("a"), "one")
    feed, other = face(store.feed("reader")), face(store.feed("another"))
    (held,) = feed.read()
    say(store.session("a"), "two")
    assert feed.read() == []
    assert [told(change) for change in other.read()] == [("appended", ["one", "two"])]
    assert feed.done(held)
    (change,) = feed.read()
    assert told(change) == ("appended", ["two"])


def test_what_was_left_comes_again(store: Store, face: Face) -> None:
    say(store.session("a"), "one")
    feed = face(store.feed("reader"))
    (left,) = feed.read()
    say(store.session("a"), "two")
    leases_end(store)
    (change,) = feed.read()
    assert told(change) == ("appended", ["one", "two"])
    assert not feed.done(left), "it has gone to another"
    assert feed.read() == []
    assert feed.done(change)
    assert feed.read() == []


def test_what_was_made_of_a_change_is_there_once(store: Store, face: Face) -> None:
    say(store.session("a", user="ada"), "one")
    feed, made = face(store.feed("reader", user="ada")), store.items("made", user="ada")
    (change,) = feed.read()
    assert feed.done(change, writes=[Put("made", "a", 1), Put(made, "b", 2)])
    assert {item.key: item.value for item in made.list()} == {"a": 1, "b": 2}
    assert made.get("a") == made.list()[0], "the cache was told"
    assert feed.read() == []

    say(store.session("a", user="ada"), "two")
    (left,) = feed.read()
    leases_end(store)
    (change,) = feed.read()
    assert not feed.done(left, writes=[Put("made", "a", "of one who is late")])
    assert not feed.done([change, left], writes=[Put("made", "a", "of one of two")])
    assert made.list()[0].value == 1
    with pytest.raises(Conflict):
        feed.done(change, writes=[Put("made", "a", "unseen", expected=0)])
    leases_end(store)
    (change,) = feed.read()
    assert told(change) == ("appended", ["two"]), "nor was it final"
    assert feed.done(change, writes=[Put("made", "a", 3)])
    value = made.get("a")
    assert value is not None
    assert value.value == 3
    assert feed.read() == []


def test_what_is_made_of_everybody_is_nobodys(store: Store) -> None:
    say(store.session("a", tenant="t", user="ada"), "one")
    feed = store.feed("reader", tenant="t")
    assert feed.done(feed.read(), writes=[Put("made", "a", 1)])
    assert [item.value for item in store.items("made", tenant="t").list()] == [1]


def test_an_erasure_is_made_final_with_what_is_written(store: Store) -> None:
    session, feed = store.session("a"), store.feed("reader")
    say(session, "one")
    say(store.session("b"), "one")
    feed.done(feed.read())
    session.erase()
    say(store.session("b"), "two")
    say(store.session("c"), "three")
    changes = feed.read()
    assert [change.kind for change in changes] == ["erased", "appended", "appended"]
    assert feed.done(changes, writes=[Put("made", "a", 1)])
    assert feed.read() == []


@pytest.mark.parametrize("writes", [(), [Put("made", "a", 1)]], ids=["alone", "with an item"])
def test_a_change_that_is_given_twice_is_one(store: Store, writes: list[Put]) -> None:
    say(store.session("a"), "one")
    feed = store.feed("reader")
    (change,) = feed.read()
    assert feed.done([change, change], writes=writes)
    assert feed.read() == []
    assert store.items("made").count() == len(writes)


def test_who_was_late_and_alone_is_done(store: Store) -> None:
    say(store.session("a"), "one")
    feed = store.feed("reader")
    (change,) = feed.read()
    leases_end(store)
    assert feed.done(change)
    assert feed.read() == []


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda s: s.edit(1, ("user", "uno")),
        lambda s: s.delete(1),
        lambda s: s.rewind(1),
        lambda s: s.clear(),
        lambda s: s.replace([("user", "other")]),
        lambda s: s.pop(),
        cleared_and_said_again,
    ],
)
def test_what_was_rewritten_comes_from_the_beginning(
    store: Store, rewrite: Callable[[Session], object]
) -> None:
    session, feed = store.session("a"), store.feed("reader")
    say(session, "one", "two")
    feed.done(feed.read())
    rewrite(session)
    (change,) = feed.read()
    assert told(change) == ("rewritten", [message.text for message in session.messages()])
    assert (change.then, change.now) == (Version(0, 2), session.version())
    assert feed.done(change)
    assert feed.read() == []


def test_what_was_never_there_for_a_reader_is_not_told(store: Store) -> None:
    session, feed = store.session("a"), store.feed("reader")
    session.create(title="Orders")
    say(session, "one")
    session.clear()
    assert feed.read() == []
    say(session, "two")
    assert [told(change) for change in feed.read()] == [("appended", ["two"])]


def test_nothing_of_a_title_and_what_is_archived_or_sealed(store: Store) -> None:
    session, feed = store.session("a"), store.feed("reader")
    say(session, *map(str, range(9)))
    feed.done(feed.read())
    session.update(title="Orders")
    session.archive([1])
    session.state.put("k", 1)
    store.compact(quiet_for=0)
    session.update(title="Refunds")
    assert swept(feed) == []
    assert feed.behind() == 0
    say(session, "new")
    assert [told(change) for change in feed.read()] == [("appended", ["new"])]


def test_many_messages_come_in_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MESSAGES", 4)
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 3)
    session, feed = store.session("a"), store.feed("reader")
    say(session, *map(str, range(10)))
    session.delete(3)
    found: list[Change] = []
    while some := feed.read():
        found += some
        feed.done(some)
    assert [len(change.messages) for change in found] == [4, 4, 1]
    assert [m for change in found for m in change.messages] == session.messages()
    assert [change.now for change in found] == [Version(1, 5), Version(1, 9), Version(1, 10)]
    assert found[0].session is not None
    assert found[0].session.version == Version(1, 10)


def test_an_erased_session_is_told_by_its_number_alone(store: Store, face: Face) -> None:
    session, feed = store.session("secret", user="ada"), face(store.feed("reader"))
    say(session, "one")
    (before,) = feed.read()
    feed.done(before)
    store.erase(user="ada")
    assert [info.behind for info in store.feeds()] == [1]
    (change,) = feed.read()
    assert (change.kind, change.number, change.session) == ("erased", before.number, None)
    assert (change.messages, change.now) == ([], Version(1, 0))
    assert "secret" not in repr(change)
    assert feed.done(change)
    assert feed.read() == []
    assert store._ledger.read(lambda txn: txn.rows("SELECT * FROM {feed_positions}", {})) == []
    assert [info.behind for info in store.feeds()] == [0]


def test_erased_while_it_is_held(store: Store) -> None:
    session, feed = store.session("a"), store.feed("reader")
    say(session, "one")
    (held,) = feed.read()
    session.erase()
    assert feed.read() == []
    assert feed.done(held)
    (change,) = feed.read()
    assert (change.kind, change.number) == ("erased", held.number)
    feed.done(change)
    assert swept(feed) == []


def test_erased_and_its_reader_dead(store: Store) -> None:
    session, feed = store.session("a"), store.feed("reader")
    say(session, "one")
    (held,) = feed.read()
    session.erase()
    leases_end(store)
    (change,) = feed.read()
    assert (change.kind, change.number) == ("erased", held.number)


def test_one_that_came_back_is_rewritten(store: Store) -> None:
    session, feed = store.session("a"), store.feed("reader")
    say(session, "one")
    (before,) = feed.read()
    feed.done(before)
    session.erase()
    say(session, "two")
    (change,) = feed.read()
    assert told(change) == ("rewritten", ["two"])
    assert change.number == before.number
    feed.done(change)
    assert swept(feed) == []


def test_one_that_was_erased_before_it_was_read_is_not_told(store: Store) -> None:
    session, feed = store.session("a"), store.feed("reader")
    say(session, "one")
    steps: list[Any] = []

    def perform(step: Any) -> Any:
        steps.append(step)
        if isinstance(step, Cold) and not step.writes and len(steps) > 3:
            session.erase()  # handed out, and not read yet
        return store._perform(step)

    assert run(reading.read_feed(store._desk, feed.name, 10, 60.0), perform) == []
    assert swept(feed) == []
    assert store._ledger.read(lambda txn: txn.rows("SELECT * FROM {feed_positions}", {})) == []


def test_forks_and_imports_come_at_the_next_read(store: Store, tmp_path: Path) -> None:
    """Also of what was said long before the last read."""
    with Store("sqlite://") as elsewhere:
        say(elsewhere.session("a"), "one")
        aged(elsewhere, elsewhere.session("a"), 86_400 * 100)
        elsewhere.session("a").export(tmp_path / "a.jsonl")
    feed = store.feed("reader")
    say(store.session("read"), "hello")
    feed.done(feed.read())
    store.import_(tmp_path / "a.jsonl")
    (change,) = feed.read()
    assert told(change) == ("appended", ["one"])
    feed.done(change)
    store.session("a").fork("b")
    assert [told(change) for change in feed.read()] == [("appended", ["one"])]


# Whose sessions


def test_scopes_are_walls(store: Store) -> None:
    names = ["%", "a:b", "'; DROP TABLE onrecord_feeds", '"', "ü", "\U0001f600", "שלום"]
    for name in names:
        say(store.session("k", user=name, tenant=name), name)
    for name in names:
        feed = store.feed("reader", user=name, tenant=name)
        assert [told(change) for change in feed.read()] == [("appended", [name])]
        assert [told(change) for change in store.feed(name, user=name).read()] == [
            ("appended", [name])
        ]
        assert feed.read() == []
        assert store.feed(name, user="").read() == []
    assert len(store.feed("reader").read()) == len(names)
    assert len(store.feeds(limit=1_000)) == 3 * len(names) + 1


def test_one_among_many_others_is_found_by_one_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small(monkeypatch)
    for n in range(20):
        session = store.session(f"{n}", tenant="its own" if n == 19 else "")
        say(session, "hello")
        aged(store, session, 10_000 - 100 * n)
    feed = store.feed("reader", tenant="its own")
    assert [told(change) for change in feed.read()] == [("appended", ["hello"])]


def test_one_name_for_two_scopes_is_two_readers(store: Store) -> None:
    say(store.session("k", user="ada"), "hello")
    both = [store.feed("reader", user="ada"), store.feed("reader")]
    for feed in both:
        assert feed.done(feed.read())
    (change,) = store.feed("third").read()
    with pytest.raises(Misconfigured, match="another feed"):
        both[0].done(change)


def test_nothing_of_a_scope_that_was_erased_is_left(store: Store) -> None:
    say(store.session("k", user="ada"), "hello")
    feed = store.feed("reader", user="ada")
    feed.done(feed.read())
    store.feed("reader", user="bo").read()
    store.erase(user="ada")
    kept = store._ledger.read(lambda txn: txn.rows("SELECT * FROM {feeds}", {}))
    assert "ada" not in str(kept)
    assert "bo" in str(kept)
    first, _ = store.feeds()
    assert (first.user, first.behind) == (None, 1)
    (change,) = feed.read()
    assert change.kind == "erased"
    feed.done(change)
    say(store.session("k", user="ada"), "again")
    assert [told(change) for change in feed.read()] == [("appended", ["again"])]
    assert [info.user for info in store.feeds()] == ["ada", "bo"]


def test_readers_are_listed_and_forgotten(store: Store, face: Face) -> None:
    say(store.session("a"), "one")
    say(store.session("b"), "two")
    one, two = face(store.feed("one")), face(store.feed("two", user="nobody"))
    assert one.behind() == 2
    assert face(store).feeds() == []
    one.done(one.read(limit=1))
    two.read()
    listed = face(store).feeds()
    assert [(info.name, info.user, info.behind) for info in listed] == [
        ("one", ANY, 1),
        ("two", "nobody", 0),
    ]
    assert face(store).feeds(after=listed[0], limit=1) == listed[1:]
    assert one.behind() == 1
    assert one.forget()
    assert not one.forget()
    assert [info.name for info in store.feeds()] == ["two"]
    assert store._ledger.read(lambda txn: txn.rows("SELECT * FROM {feed_positions}", {})) == []
    assert len(one.read()) == 2


def test_who_forgets_may_be_killed_and_somebody_else_reads(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", 2)
    for key in "abcde":
        say(store.session(key), "one")
    feed, writes = store.feed("reader"), 0
    while True:
        feed.done(feed.read())
        left = writes

        def perform(step: Any) -> Any:
            nonlocal left
            if isinstance(step, Cold) and step.writes:
                if not left:
                    raise KeyboardInterrupt
                left -= 1
                if left == 1:
                    feed.read()
            return store._perform(step)

        with suppress(KeyboardInterrupt):
            assert run(reading.forget_feed(feed.name), perform)
            break
        assert store.verify() == [], "whatever is left, somebody can forget it"
        writes += 1
    assert store.verify() == []
    assert writes > 3
    assert store.feeds() == []


def test_who_was_forgotten_hands_nothing_out(store: Store) -> None:
    say(store.session("a"), "one")
    feed = store.feed("reader")
    assert store.feed("other").read()

    def perform(step: Any) -> Any:
        if isinstance(step, Cold) and step.writes and store.feeds()[-1].name == "reader":
            feed.forget()
        return store._perform(step)

    flow = reading.read_feed(store._desk, feed.name, 10, 60.0)
    with suppress(Exception):
        run(flow, perform)
    problems = [found for found in store.verify() if found.kind == "stray"]
    assert problems == []


def test_what_cannot_be() -> None:
    with Store("sqlite://") as store:
        for name in ("", "\x00", "x" * 513, 7, None):
            with pytest.raises(InvalidName):
                store.feed(name)  # type: ignore[arg-type]
        with pytest.raises(InvalidName):
            store.feed("x", user=7)  # type: ignore[arg-type]
        feed = store.feed("x")
        for limit in (0, -1, 1_001, 1.5, True, "1"):
            with pytest.raises(Misconfigured, match="limit"):
                feed.read(limit)  # type: ignore[arg-type]
        for lease in (0, -1, 86_401, "1", None, True):
            with pytest.raises(Misconfigured, match="lease"):
                feed.read(lease=lease)  # type: ignore[arg-type]
        for given in (None, 7, "x", [7]):
            with pytest.raises(Misconfigured, match="done"):
                feed.done(given)  # type: ignore[arg-type]
        with pytest.raises(Misconfigured, match="after"):
            store.feeds(after="x")  # type: ignore[arg-type]
        assert feed.done([])
        with pytest.raises(Misconfigured, match="writes items with changes"):
            feed.done([], writes=[Put("made", "a", 1)])
        with pytest.raises(Misconfigured, match="Put, Merge, Delete"):
            feed.done([], writes=7)  # type: ignore[arg-type]
        assert store.feeds() == []
        assert isinstance(FeedInfo("x", ANY, ANY, ANY, 0, 1), FeedInfo)


# Nothing is missed


def test_a_commit_later_than_the_margin_is_found_in_turn(store: Store) -> None:
    """And none is looked for among all at each read."""
    session, feed = store.session("a"), store.feed("reader")
    say(session, "one")
    feed.done(feed.read())
    say(session, "two")
    aged(store, session, 86_400)
    write(store, "UPDATE {feeds} SET second = second + :n", n=looking.MARGIN)
    assert feed.read() == []
    time_to_sweep(store)
    assert [told(change) for change in feed.read()] == [("appended", ["two"])]


def test_what_was_written_twice_in_one_period(store: Store) -> None:
    """The index tells two times in the same period not apart, and the reader does."""
    chats, feed = [store.session(key) for key in "abc"], store.feed("reader")
    began = (time.time_ns() // 1_000 - 86_400_000_000) // PERIOD * PERIOD

    def say_at(session: Session, text: str, seconds: int) -> None:
        say(session, text)
        at = began + seconds * 1_000_000
        change = "UPDATE {sessions} SET last_active = :at, active_period = :period"
        write(store, f"{change} WHERE identity = :identity", at=at, period=period_of(at),
              identity=session.name.identity)  # fmt: skip

    for chat in chats:
        say_at(chat, "one", 10)
    first = feed.read()
    assert len(first) == 3
    feed.done(first)
    for seconds, text in ((20, "two"), (500, "three")):
        say_at(chats[0], text, seconds)
        (change,) = feed.read()
        assert told(change) == ("appended", [text])
        feed.done(change)
    assert feed.read() == []


@pytest.mark.parametrize("late", [0, looking.MARGIN - 5])
def test_a_commit_that_ends_late_with_an_early_time(
    postgres_url: str, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made before others that were read, and ends after it."""
    with Store(postgres_url) as store, psycopg.connect(postgres_url) as writer:
        slow, quick, feed = store.session("slow"), store.session("quick"), store.feed("reader")
        say(slow, "one")
        feed.done(feed.read())
        begun = time.time_ns() // 1_000 - late * 1_000_000
        writer.execute(
            "UPDATE onrecord_sessions SET head = head + 1, messages = messages + 1, "
            "lineage = 7, last_active = %s, active_period = %s WHERE key = 'slow'",
            [begun, period_of(begun)],
        )
        writer.execute(
            "INSERT INTO onrecord_tail (session, seq, created, token, epoch, tokens, counter, "
            "opens_turn, frame, shard) SELECT session, 2, %s, 7, epoch, tokens, counter, "
            "opens_turn, frame, shard FROM onrecord_tail",
            [begun],
        )
        say(quick, "hello")
        (change,) = feed.read()
        assert change.session is not None
        assert change.session.key == "quick", "nobody waits for the other"
        feed.done(change)
        assert feed.read() == []
        writer.commit()
        (change,) = feed.read()
        assert told(change) == ("appended", ["one"])
        assert change.now == Version(0, 2)


def test_a_clock_that_stood_a_year_ahead(store: Store, clock: SimpleNamespace) -> None:
    session, feed = store.session("a"), store.feed("reader")
    clock.off = YEAR
    say(session, "one")
    (change,) = feed.read()
    clock.off = 0
    assert feed.done(change)
    for n in range(3):
        other = store.session(f"after {n}")
        say(other, "hello")
        (change,) = feed.read()
        assert told(change) == ("appended", ["hello"])
        assert feed.done(change)
        say(other, "again")
        (change,) = feed.read()
        assert told(change) == ("appended", ["again"])
        assert feed.done(change)


def test_a_lease_of_a_clock_that_was_set_back_is_over(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db") as store:
        feed = store.feed("reader")
        clock.off = YEAR
        say(store.session("a"), "one")
        (held,) = feed.read()
        clock.off = 0
        (change,) = feed.read()
        assert told(change) == told(held)


def test_what_is_said_under_a_clock_that_was_set_back(store: Store, clock: SimpleNamespace) -> None:
    feed = store.feed("reader")
    say(store.session("old"), "one")
    feed.done(feed.read())
    clock.off = -YEAR
    say(store.session("old"), "two")
    say(store.session("new"), "one")
    found = swept(feed)
    assert sorted(map(told, found)) == [("appended", ["one"]), ("appended", ["two"])]


def test_a_session_made_under_a_clock_far_behind_comes_at_the_next_read(store: Store) -> None:
    feed = store.feed("reader")
    say(store.session("a"), "hello")
    feed.done(feed.read())
    say(store.session("b"), "one")
    aged(store, store.session("b"), 86_400 * 100)
    assert [told(change) for change in feed.read()] == [("appended", ["one"])]


def test_what_is_sealed_between_two_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 3)
    session, feed = store.session("a"), store.feed("reader")
    say(session, "0")
    feed.done(feed.read())
    said = [str(n) for n in range(1, 20)]
    for text in said:
        say(session, text)
    store.compact(quiet_for=0)
    assert [told(change) for change in feed.read()] == [("appended", said)]


def test_another_past_with_the_same_numbers(store: Store) -> None:
    """What a reader was given is lost by the database, and others come to its numbers."""
    session, feed = store.session("a"), store.feed("reader")
    say(session, "one")
    (change,) = feed.read()
    before = store._ledger.read(lambda txn: txn.rows("SELECT * FROM {tail}", {}))
    assert before
    write(store, "UPDATE {sessions} SET lineage = lineage + 1")
    write(store, "UPDATE {tail} SET token = token + 1")
    aged(store, session, 86_400)
    assert feed.done(change)
    (change,) = feed.read()
    assert told(change) == ("rewritten", ["one"])
    feed.done(change)
    assert swept(feed) == []
    write(store, "UPDATE {tail} SET token = token + 1")
    say(session, "two")
    assert [told(change) for change in feed.read()] == [("rewritten", ["one", "two"])]


def test_one_that_cannot_be_read_holds_nobody_up(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for key in "abc":
        say(store.session(key), key)
    write(store, "UPDATE {sessions} SET key = '' WHERE key = 'b'")
    feed = store.feed("reader")
    found = feed.read()
    assert sorted(map(told, found)) == [("appended", ["a"]), ("appended", ["c"])]
    assert "cannot be handed out" in caplog.text
    feed.done(found)
    assert feed.read() == []


# Several workers


def test_of_two_who_find_the_same_one_is_given_it(store: Store) -> None:
    feed = store.feed("reader")
    assert feed.read() == []
    for key in "abc":
        say(store.session(key), key)
    quicker: list[Change] = []

    def perform(step: Any) -> Any:
        if isinstance(step, Cold) and step.writes and not quicker:
            quicker.extend(feed.read(limit=2))
        return store._perform(step)

    given = run(reading.read_feed(store._desk, feed.name, 10, 60.0), perform)
    assert (len(quicker), len(given)) == (2, 1)
    assert feed.done([*quicker, *given])
    for key in "abc":
        say(store.session(key), "again")
    quicker.clear()
    given = run(reading.read_feed(store._desk, feed.name, 10, 60.0), perform)
    assert (len(quicker), len(given)) == (2, 1)
    assert feed.done([*quicker, *given])


def test_two_processes_share_the_work(each_store: OpenStore) -> None:
    """Each change goes to one of them, in the order of its session."""
    with each_store() as store:
        address, cache = _place(store)
        for n in range(40):
            say(store.session(f"s{n}"), "first")

    def work(number: int, meet: Callable[[], object]) -> list[tuple[int, Version, Version]]:
        found: list[tuple[int, Version, Version]] = []
        with Store(address, cache=cache) as store:
            feed = store.feed("reader")
            meet()
            idle = 0
            while idle < 50:
                changes = feed.read(limit=5)
                idle = 0 if changes else idle + 1
                for change in changes:
                    found.append((change.number, change.then, change.now))
                    if change.now.head < 4:
                        assert change.session is not None
                        say(store.session(change.session.key), "next")
                    assert feed.done(change)
        return found

    both = together(work)
    everything = [one for found in both for one in found]
    assert len(everything) == len(set(everything))
    assert all(both), "both had some"
    by_session: dict[int, list[tuple[Version, Version]]] = {}
    for number, then, now in sorted(everything, key=lambda one: one[1:]):
        by_session.setdefault(number, []).append((then, now))
    assert len(by_session) == 40
    for steps in by_session.values():
        assert steps[0][0] == Version(0, 0)
        assert steps[-1][1] == Version(0, 4)
        assert all(one[1] == other[0] for one, other in itertools.pairwise(steps))


def test_a_worker_that_is_killed_between_read_and_done(each_store: OpenStore) -> None:
    with each_store() as store:
        address, cache = _place(store)
        say(store.session("a"), "one")

    def die() -> None:
        with Store(address, cache=cache) as store:
            assert store.feed("reader").read(lease=0.2)
            os.kill(os.getpid(), signal.SIGKILL)

    child = Child(die)
    os.waitpid(child.pid, 0)
    with each_store() as store:
        feed, found = store.feed("reader"), list[Change]()
        until = time.monotonic() + 60
        while not found and time.monotonic() < until:
            found = feed.read()
        assert [told(change) for change in found] == [("appended", ["one"])]


def test_a_row_that_a_writer_holds_holds_no_reader_up(postgres_url: str) -> None:
    with Store(postgres_url, timeout=1.0) as store, psycopg.connect(postgres_url) as writer:
        say(store.session("a"), "one")
        feed = store.feed("reader")
        writer.execute("SELECT 1 FROM onrecord_sessions FOR UPDATE")
        (change,) = feed.read()
        assert feed.done(change)
        assert feed.read() == []


def test_an_append_writes_nothing_for_a_feed(store: Store) -> None:
    feed = store.feed("reader")
    say(store.session("a"), "one")
    feed.done(feed.read())
    tables = ("feeds", "feed_positions")
    rows = [partial(_rows, table=table) for table in tables]
    before = [store._ledger.read(look) for look in rows]
    say(store.session("a"), "two")
    say(store.session("b"), "three")
    assert [store._ledger.read(look) for look in rows] == before


def test_a_read_of_nothing_writes_nothing(store: Store) -> None:
    feed = store.feed("reader")
    say(store.session("a"), "one")
    feed.done(feed.read())
    feed.read()
    steps: list[Cold[Any]] = []

    def perform(step: Any) -> Any:
        steps.append(step)
        return store._perform(step)

    assert run(reading.read_feed(store._desk, feed.name, 10, 60.0), perform) == []
    assert [step.writes for step in steps] == [False]


def test_only_what_is_final_waits_for_the_disk(store: Store) -> None:
    """What is handed out may be lost with the machine's power, and is handed out again."""
    say(store.session("a"), "one")
    feed = store.feed("reader")
    feed.read()
    leases_end(store)
    commits: list[bool] = []

    def perform(step: Any) -> Any:
        if isinstance(step, Cold) and step.writes:
            commits.append(step.durable)
        return store._perform(step)

    changes = run(reading.read_feed(store._desk, feed.name, 10, 60.0), perform)
    assert commits == [False]
    writes = [Put("made", "a", 1)]
    for more, waits in (([], True), ([[], False], False), ([writes], True)):
        assert run(reading.finish_changes(store._desk, feed.name, changes, *more), perform)
        assert commits.pop() is waits
        say(store.session("a"), "more")
        changes = feed.read()
    assert run(reading.finish_changes(store._desk, feed.name, changes, writes, False), perform)
    assert commits == [False, store._desk.marks], "Redis would know more than a database without it"


def test_what_others_made_is_passed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of one user does not look at all that others make at each of its reads."""
    monkeypatch.setattr(looking, "PASSED", 3)
    feed = store.feed("reader", tenant="", user="ada")
    say(store.session("a", user="ada"), "one")
    feed.done(feed.read())
    feed.read()

    def writes() -> list[bool]:
        steps: list[Cold[Any]] = []

        def perform(step: Any) -> Any:
            steps.append(step)
            return store._perform(step)

        assert run(reading.read_feed(store._desk, feed.name, 10, 60.0), perform) == []
        return [step.writes for step in steps]

    for n in range(2):
        say(store.session(f"{n}", user="bo"), "hello")
    assert writes() == [False]
    say(store.session("2", user="bo"), "hello")
    assert writes() == [False, True]
    assert writes() == [False]
    say(store.session("b", user="ada"), "two")
    assert [told(change) for change in feed.read()] == [("appended", ["two"])]


def _rows(txn: Any, table: str) -> list[Any]:
    found: list[Any] = txn.rows(f"SELECT * FROM {{{table}}}", {})
    return found


def _place(store: Store) -> tuple[str, Any]:
    url = store._ledger.address.url.render_as_string(hide_password=False)
    where = store._hot.where
    return url, where


# Random histories against a model


class Reader:
    """Keeps a copy of what a feed says, as the page on feeds says one does."""

    def __init__(self) -> None:
        self.copy: dict[int, tuple[Version, list[tuple[int | None, str]]]] = {}

    def apply(self, change: Change) -> None:
        version, there = self.copy.get(change.number, (Version(0, 0), []))
        said = [(message.seq, message.text) for message in change.messages]
        if change.now < version or (change.now == version and change.kind == "appended"):
            return  # of another worker, whose lease is over
        if change.kind == "appended":
            assert change.then <= version or not version.head, "nothing was left out"
            if version.head:
                assert change.now.epoch == version.epoch
                said = there + [one for one in said if (one[0] or 0) > version.head]
        self.copy[change.number] = change.now, said


def changed(store: Store, dice: Random, number: int) -> None:
    session = store.session(dice.choice("abcde"), user=dice.choice(["ada", "bo"]))
    match dice.randrange(14):
        case 0 | 1 | 2 | 3 | 4:
            say(session, *[f"{number}.{n}" for n in range(dice.randint(1, 4))])
        case 5:
            if session.count():
                session.edit(dice.choice(session.messages()).seq or 1, ("user", f"e{number}"))
        case 6:
            if session.count():
                session.delete(dice.choice(session.messages()).seq or 1)
        case 7:
            session.rewind(dice.randint(0, session.head()))
        case 8:
            session.replace([("user", f"r{number}")], after=dice.randint(0, session.head()))
        case 9:
            session.erase(thorough=False)
        case 10:
            with suppress(Conflict):
                session.fork(dice.choice("abcde"))
        case 11:
            moved = io.BytesIO()
            session.export(moved)
            if dice.random() < 0.5:
                session.erase(thorough=False)
            moved.seek(0)
            with suppress(Conflict):
                store.import_(moved)
        case 12:
            store.compact(quiet_for=0)
        case 13:
            session.update(title=f"t{number}")


def lived(store: Store, dice: Random, steps: int, clock: SimpleNamespace | None) -> None:
    feeds = [store.feed("all"), store.feed("ada's", user="ada", tenant="")]
    readers = [Reader(), Reader()]
    held: list[tuple[int, Change]] = []
    for number in range(steps):
        match dice.randrange(10):
            case 0 | 1:
                which = dice.randrange(2)
                held += [(which, c) for c in feeds[which].read(dice.randint(1, 4))]
            case 2 | 3 if held:
                which, change = held.pop(dice.randrange(len(held)))
                readers[which].apply(change)
                if dice.random() < 0.8:  # else it was killed before it was done
                    feeds[which].done(change)
            case 4 if dice.random() < 0.3:
                held.clear()
                leases_end(store)
            case 5 if dice.random() < 0.3:
                key, user = dice.choice("abcde"), dice.choice(["ada", "bo"])
                aged(store, store.session(key, user=user), dice.choice([5, 100, 10**6]))
            case 6 if clock is not None and dice.random() < 0.3:
                clock.off = dice.choice([0, YEAR, -YEAR, HOUR, -HOUR])
            case 7 if dice.random() < 0.3:
                time_to_sweep(store)
            case _:
                changed(store, dice, number)
    for which, change in held:
        readers[which].apply(change)
        feeds[which].done(change)
    for feed, reader in zip(feeds, readers, strict=True):
        leases_end(store)
        quiet = 0
        while quiet < 8:  # ten sessions, three at a time, and once around
            time_to_sweep(store)
            some = feed.read(dice.randint(1, 10))
            quiet = 0 if some else quiet + 1
            for change in some:
                reader.apply(change)
                assert feed.done(change)
        assert feed.behind() == 0
        found = [one for one in reader.copy.values() if one[1]]
        assert sorted(found) == sorted(there(store, feed))


def there(store: Store, feed: Feed) -> Iterator[tuple[Version, list[tuple[int | None, str]]]]:
    for info in store.sessions(user=feed.name.user, limit=100):
        messages = store.session(info.key, user=info.user).messages()
        if messages:
            yield info.version, [(message.seq, message.text) for message in messages]


@pytest.mark.parametrize("seed", range(max(1, int(100 * SEEDS))))
def test_histories(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace
) -> None:
    _small(monkeypatch)
    with Store("sqlite://") as store:
        lived(store, Random(seed), 60, clock)


@pytest.mark.parametrize("seed", range(max(1, int(4 * SEEDS))))
def test_histories_on_postgresql(
    seed: int, kept_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small(monkeypatch)
    with Store(kept_postgres_url) as store:
        lived(store, Random(seed), 40, None)


def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound is met."""
    monkeypatch.setattr(looking, "LOOK", 3)
    monkeypatch.setattr(looking, "SWEEP", 3)
    monkeypatch.setattr(reading, "MESSAGES", 3)
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 3)
