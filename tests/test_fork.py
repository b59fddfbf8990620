"""A fork is the beginning of a session again, and from there on a session of its own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from onrecord import ANY, Conflict, InvalidName, Message, Misconfigured, Session, Store, operations
from onrecord.flow import Cold, Flow, Step, run
from onrecord.ledger.database.transaction import Transaction
from tests.test_crash_points import Tripped, Tripwire
from tests.test_export import exported, long, warm

LENGTH = 22


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that 22 messages are several segments and a tail."""
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 4)


@pytest.fixture
def store(each_store: Callable[[], Store]) -> Store:
    return each_store()


@pytest.fixture
def session(store: Store) -> Session:
    return long(store.session("long", tenant="acme", user="ada", agent="a"), LENGTH)


def as_said(session: Session, upto: int) -> list[str]:
    """The messages up to a place, but for the ids that were made up."""
    given = {"first"}
    return [
        repr((m.seq, m.created_at, m.tokens, m.role, m.content, m.native, m.metadata, m.usage,
              m.id if m.id in given else None))
        for m in session.messages()
        if (m.seq or 0) <= upto
    ]  # fmt: skip


def ids(session: Session) -> set[str]:
    return {m.id or "" for m in session.messages()} - {"first"}


def is_the_beginning_of(fork: Session, session: Session, at: int) -> None:
    assert as_said(fork, at) == as_said(session, at)
    assert fork.head() == at
    info, there = fork.info(), session.info()
    assert (info.title, repr(info.metadata)) == (there.title, repr(there.metadata))
    assert info.expires_in == there.expires_in
    messages = fork.messages()
    assert info.messages == len(messages) == fork.count()
    assert info.turns == sum(m.opens_turn for m in messages)
    assert info.tokens == sum(m.tokens or 0 for m in messages)
    archived = [m.seq for m in session.messages(archived=True) if (m.seq or 0) <= at]
    assert [m.seq for m in fork.messages(archived=True)] == archived
    assert fork.tail(50) == messages[-50:] or repr(fork.tail(50)) == repr(messages[-50:])
    assert ids(fork).isdisjoint(ids(session))


def test_forked_at_every_place(store: Store, session: Session) -> None:
    before = exported(session)
    for at in range(LENGTH + 1):
        fork = session.fork(f"fork {at}", at)
        assert fork.name.tenant == "acme"
        assert (fork.name.user, fork.name.agent) == ("ada", "a")
        is_the_beginning_of(fork, session, at)
        # From here on they go their own ways.
        (said,) = fork.append(("user", "on"))
        assert said.seq == at + 1
        if at:
            fork.edit(1, ("system", "edited"))
    assert exported(session) == before
    assert store.verify() == []
    assert [m.text for m in session.fork("whole").messages()] == [
        m.text for m in session.messages()
    ]
    assert session.info().version.head == LENGTH
    session.erase(thorough=False)
    assert store.session("fork 9", tenant="acme", user="ada", agent="a").count() == 8
    assert store.verify() == []


def test_sealed_segments_are_copied_as_they_are(store: Store, session: Session) -> None:
    store.compact(quiet_for=0)
    before = store.stats()
    fork = session.fork("fork")
    after = store.stats()
    assert after.segments == 2 * before.segments
    assert after.stored_bytes == 2 * before.stored_bytes
    is_the_beginning_of(fork, session, LENGTH)
    assert [m.created_at for m in fork.messages()] == [m.created_at for m in session.messages()]


def test_a_fork_of_a_fork(store: Store, session: Session) -> None:
    one = session.fork("one", 15)
    one.append([("user", "x")] * 6)
    one.rewind(17)
    two = one.fork("two", 16)
    is_the_beginning_of(two, one, 16)
    assert ids(one).isdisjoint(ids(two))
    assert store.verify() == []


def test_what_was_given_an_id_keeps_it(session: Session) -> None:
    fork = session.fork("fork", 6)
    again: Any = {"role": "user", "content": "six and a half", "id": "new"}
    (stored,) = fork.append(again)
    assert fork.append(again)[0] == stored  # a retry is free in it as well (I5)
    assert session.append(again)[0].seq == LENGTH + 1


def test_a_key_that_has_messages_is_refused(store: Store, session: Session) -> None:
    taken = store.session("taken", tenant="acme", user="ada", agent="a")
    taken.append(("user", "mine"))
    for key in ("taken", "long"):
        version = store.session(key, tenant="acme", user="ada", agent="a").version()
        with pytest.raises(Conflict, match=f"{key!r}.* has messages already") as caught:
            session.fork(key, 3)
        assert caught.value.version == version
    assert [m.text for m in taken.messages()] == ["mine"]
    assert taken.info().title is None
    # Under the same key in another scope stands another session.
    store.session("elsewhere", user="bob").append(("user", "x"))
    assert session.fork("elsewhere", 3).count() == 2


def test_a_place_that_is_not_there_is_refused(store: Store, session: Session) -> None:
    with pytest.raises(Conflict, match=f"cannot be forked at message 23: its newest is {LENGTH}"):
        session.fork("fork", LENGTH + 1)
    for at in (-1, "3", 2.0, True):
        with pytest.raises(Misconfigured, match="at has to be a whole number"):
            session.fork("fork", at)  # type: ignore[arg-type]
    with pytest.raises(InvalidName):
        session.fork("")
    assert [info.key for info in store.sessions(tenant=ANY, user=ANY, agent=ANY)] == ["long"]


def test_a_session_that_nothing_was_said_in(store: Store) -> None:
    assert store.session("nobody").fork("fork").messages() == []
    with pytest.raises(Conflict, match="its newest is 0"):
        store.session("nobody").fork("fork", 1)
    store.session("titled").update(title="T")
    assert store.session("titled").fork("fork").info().title == "T"


@pytest.mark.parametrize("how", ["clear", "erase"])
def test_ids_that_were_handed_out_are_never_another_messages(
    store: Store, session: Session, how: str
) -> None:
    """Ids are made of epochs and places: a key that was used before had some of them."""
    used = store.session("used", tenant="acme", user="ada", agent="a")
    handed_out: set[str] = set()
    for _ in range(session.version().epoch + 2):
        used.append([("user", "x")] * LENGTH)
        handed_out |= ids(used)
        getattr(used, how)()
        fork = session.fork("used", 17)
        is_the_beginning_of(fork, session, 17)
        assert handed_out.isdisjoint(ids(fork))
        handed_out |= ids(fork)
        fork.clear()
    assert store.verify() == []


def test_a_fork_goes_through_all_epochs_of_its_source(store: Store, session: Session) -> None:
    """What it writes later has no id that a message it was copied with has."""
    session.append([("user", "late")] * 20)
    store.compact(quiet_for=0)
    fork = session.fork("fork")
    seen = ids(fork)
    for _ in range(session.version().epoch + 2):
        fork.rewind(5)
        fork.append([("user", "x")] * LENGTH)
        new = {m.id or "" for m in fork.messages(after=5)}
        assert seen.isdisjoint(new)
        seen |= ids(fork)


def test_the_cache_of_a_key_knows_of_the_fork(each_store: Callable[[], Store]) -> None:
    store, other = each_store(), each_store()
    session = long(store.session("long"), LENGTH)
    readers = [s.session("fork") for s in (store, other)]
    readers[0].update(title="It is there")
    for reader in readers:
        warm(reader)
    session.fork("fork", 20)
    for reader in readers:
        assert [m.seq for m in reader.tail(2)] == [19, 20]
        assert reader.window(messages=100).messages[0].seq == 1


def known(session: Session) -> dict[str, Any]:
    return {item.key: item.value for item in session.state.list()}


def forking(session: Session) -> Flow[Any]:
    return operations.fork(session._desk, session.name, "fork", 18)


def _after(flow: Flow[Any], store: Store, step: Step) -> Step:
    """The next step, as whoever runs a flow has it: a refusal is told to the flow."""
    try:
        answer = store._perform(step)
    except Exception as fault:
        return flow.throw(fault)
    return flow.send(answer)


def test_a_fork_is_there_whole_or_not_at_all(store: Store, session: Session) -> None:
    fork = store.session("fork", tenant="acme", user="ada", agent="a")
    session.state.put_many({"plan": 1, "step": 2})

    def is_whole() -> bool:
        assert store.verify() == []
        assert known(fork) == (known(session) if fork.head() else {})
        if fork.head() == 0:
            assert fork.messages() == fork.tail(5) == []
            assert len(store.sessions(tenant=ANY, user=ANY, agent=ANY)) == 1
            return False
        is_the_beginning_of(fork, session, 18)
        return True

    # Between two of its steps.
    done: list[bool] = []
    for count in range(10):
        fork.tail(5)
        flow = forking(session)
        steps: list[Step] = []
        try:
            step = next(flow)
            while len(steps) < count:
                steps.append(step)
                step = _after(flow, store, step)
        except StopIteration:
            break
        finally:
            flow.close()
        written = any(isinstance(step, Cold) and step.writes for step in steps)
        assert is_whole() == written
        done.append(written)
        fork.erase(thorough=False)
    assert False in done
    is_whole()
    fork.erase(thorough=False)
    # After any of its statements.
    for left in range(100):

        def cut_off(step: Step, left: int = left) -> Any:
            if not isinstance(step, Cold):
                return store._perform(step)
            work: Callable[[Transaction], Any] = step.work
            return store._ledger.write(lambda txn: work(Tripwire(txn, left)))

        try:
            run(forking(session), cut_off)
        except Tripped:
            assert not is_whole()
        else:
            break
    assert left > 5
    assert is_whole()


def test_two_that_fork_into_each_other(store: Store) -> None:
    """They lock both sessions in one order, or they would wait for each other."""
    one, two = (store.session(key) for key in ("one", "two"))
    for session in (one, two):
        session.append([("user", session.name.key)] * 10)
    refused: list[Conflict] = []
    meeting = threading.Barrier(2, timeout=60)

    def fork(session: Session, key: str) -> None:
        meeting.wait()
        for _ in range(20):
            try:
                session.fork(key)
            except Conflict as fault:
                refused.append(fault)

    threads = [threading.Thread(target=fork, args=pair) for pair in ((one, "two"), (two, "one"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refused) == 40


def test_the_async_twin(store: Store, session: Session) -> None:
    async def main() -> Session:
        return await session.afork("fork", at=7)

    is_the_beginning_of(asyncio.run(main()), session, 7)


# -- dictionaries and damage ---------------------------------------------------------------------


class Database:
    """The database of a store, behind its back."""

    def __init__(self, store: Store) -> None:
        self._url = store._ledger.address.url

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        if self._url.drivername.startswith("sqlite"):
            with sqlite3.connect(str(self._url.database)) as db:
                found = db.execute(statement, values).fetchall()
            db.close()
            return found
        url = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement.replace("?", "%s"), values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def trained(store: Store) -> Session:
    """A session whose segments and rows need a dictionary."""
    for n in range(60):
        store.session(f"{n}").append(("user", f"What is the weather like in city number {n}?" * 9))
    assert store.train().dictionary == 1
    for n in range(60):
        store.session(f"{n}").erase(thorough=False)
    assert store.train([[("user", f"What is the weather in {n}? " * 9)] * 2 for n in range(60)])
    session = store.session("long")
    session.append(
        [("user", f"What is the weather like in city number {n}?" * 9) for n in range(20)]
    )
    store.compact(quiet_for=0, again=True)
    session.append(
        [("user", f"What is the weather like in city number {n}?" * 9) for n in (20, 21)]
    )
    return session


def needed(store: Store) -> set[int | None]:
    return {number for (number,) in Database(store).run("SELECT dictionary FROM onrecord_segments")}


def test_the_numbers_of_dictionaries_are_kept(store: Store, trained: Session) -> None:
    (number,) = needed(store)
    assert number is not None
    fork = trained.fork("fork", 18)
    assert needed(store) == {number}
    assert as_said(fork, 18) == as_said(trained, 18)
    assert as_said(trained.fork("whole"), 22) == as_said(trained, 22)
    assert store.verify() == []


def test_a_dictionary_on_its_way_out_is_not_copied(
    each_store: Callable[[], Store], store: Store, trained: Session
) -> None:
    """Who rewrites what needs it would not find the fork, and drop it."""
    (number,) = needed(store)
    Database(store).run("UPDATE onrecord_dictionaries SET in_use = 0")
    for at_work in (store, each_store()):
        session = at_work.session("long")
        fork = session.fork(f"fork of {id(at_work)}", 21)
        assert as_said(fork, 21) == as_said(session, 21)
    found = Database(store).run("SELECT session, dictionary FROM onrecord_segments")
    assert {session for session, used in found if used == number} == {found[0][0]}
    store.compact(quiet_for=0)  # drops it
    assert Database(store).run("SELECT id FROM onrecord_dictionaries") == []
    assert as_said(fork, 21) == as_said(each_store().session("long"), 21)
    assert each_store().verify() == []


def test_what_is_damaged_is_copied_with_its_bytes(each_store: Callable[[], Store]) -> None:
    store = each_store()
    session = store.session("long")
    session.append([("user", f"{n}") for n in range(1, 21)])
    store.compact(quiet_for=0)
    session.append([("user", "21"), ("user", "22")])
    database = Database(store)
    (seq, body) = database.run(
        "SELECT seq, body FROM onrecord_segments ORDER BY seq LIMIT 1 OFFSET 1"
    )[0]
    broken = bytes(body)[:-3] + bytes(3)
    database.run("UPDATE onrecord_segments SET body = ? WHERE seq = ?", broken, seq)
    database.run("UPDATE onrecord_tail SET frame = ? WHERE seq = 22", b"\x01\x05x")
    used = store.session("used")
    used.append(("user", "x"))
    used.clear()
    store = each_store()
    session = store.session("long")
    for at in (6, 8, 10, 22):
        for fork in (session.fork(f"fork {at}", at), session.fork("used", at)):
            found: list[Message] = fork.messages()
            there = [m for m in session.messages() if (m.seq or 0) <= at]
            assert [(m.role, m.content) for m in found] == [(m.role, m.content) for m in there]
            assert {m.seq for m in found if m.role == "damaged"} == {5, 6, 7, 8, 22} & set(
                range(at + 1)
            )
            fork.clear()


def test_a_long_session_is_forked_without_being_read(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'long.db'}", durability="normal") as store:
        session = store.session("long")
        session.append([("user", f"{n}") for n in range(600)])
        store.compact(quiet_for=0)
        statements = 0

        def counted(step: Step) -> Any:
            nonlocal statements
            if not isinstance(step, Cold):
                return store._perform(step)

            def work(txn: Transaction) -> Any:
                nonlocal statements
                wire = Tripwire(txn, 1_000)
                answer = step.work(wire)
                statements = 1_000 - wire.left
                return answer

            return store._ledger.write(work)

        run(operations.fork(session._desk, session.name, "fork", 599), counted)
        assert store.session("fork").count() == 599
        assert statements < 40  # of 150 segments
