"""Turns: one holder of a session at a time, and who holds it no longer writes nothing."""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from onrecord import (
    CheckpointLog,
    Conflict,
    Fenced,
    Message,
    Misconfigured,
    Put,
    Session,
    Store,
    TurnTaken,
    Unavailable,
    operations,
)
from onrecord.checkpoint_log import New
from onrecord.turn import SHORTEST, Holder, Turn
from tests.children import PATIENCE, Child, together

Stores = Callable[..., Store]


@pytest.fixture
def session(each_store: Stores) -> Session:
    return each_store().session("s", user="ada")


def lapsed(session: Session) -> Turn:
    """A turn that nobody renews, and whose lease is over as soon as somebody asks."""
    holder = Holder("sessions", session.name, wait=0, lease=SHORTEST)
    holder.take(session._run)
    return Turn(Session(session.store, session.name), holder)


def test_what_a_turn_appends_is_there(session: Session) -> None:
    with session.turn() as turn:
        stored = turn.append([("user", "Where is it?")])
        assert stored == session.messages()
        assert turn.append(stored) == stored, "appended again, it is there once"
        turn.append(("assistant", "There."), expected=session.version())
        with pytest.raises(Conflict, match="was expected"):
            turn.append(("assistant", "There."), expected=1)
    assert [message.text for message in session.messages()] == ["Where is it?", "There."]


def test_what_is_written_beside_an_append_is_fenced(session: Session) -> None:
    [said] = session.append(("user", "Where is it?"))
    with session.turn() as turn:
        held = turn.session
        for write in rewrites(held, said):
            write()
        assert session.messages() == []
    session.append(("user", "Where is it?"))
    before, there = session.info(), session.messages()
    for write in (lambda: held.append(("user", "late")), *rewrites(held, there[0])):
        with pytest.raises(Fenced, match="Nothing was written"):
            write()
    assert (session.info(), session.messages()) == (before, there)
    assert held.tail(5) == there, "it may read"
    assert session.edit(there[-1].seq or 0, ("user", "Mine.")).text == "Mine."


def rewrites(held: Session, said: Message) -> list[Callable[[], object]]:
    """All that a session writes but for an append; the last leaves nothing."""
    late = ("user", "late")
    return [
        lambda: held.edit(said.seq or 0, late),
        lambda: asyncio.run(held.aedit(said.seq or 0, late)),
        lambda: held.archive([said.seq or 0]),
        lambda: held.unarchive([said.seq or 0]),
        lambda: held.update(title="late"),
        lambda: held.exchange(held.tail(1), [late]),
        lambda: held.replace([late, late, late]),
        lambda: held.delete(held.head()),
        lambda: held.pop(),
        lambda: held.rewind(0),
        lambda: held.clear(),
        lambda: asyncio.run(held.aclear()),
    ]


def test_items_go_with_what_a_turn_appends(session: Session) -> None:
    facts = session.store.items("facts", user="ada")
    with session.turn() as turn:
        turn.append(("user", "I live in Lyon."), items=[Put(facts, "city", "Lyon")])
    with pytest.raises(Fenced):
        turn.append(("user", "No, in Nice."), items=[Put(facts, "city", "Nice")])
    found = facts.get("city")
    assert found is not None
    assert found.value == "Lyon"
    assert session.count() == 1


def test_a_session_is_held_by_one(session: Session) -> None:
    before = datetime.now(UTC)
    with session.turn():
        with pytest.raises(TurnTaken, match="is held by another turn") as taken, session.turn():
            pass
        assert f"process {os.getpid()} on " in taken.value.who
        assert taken.value.until is not None
        assert taken.value.until > before
        copy = pickle.loads(pickle.dumps(taken.value))
        assert isinstance(copy, TurnTaken)
        assert str(copy) == str(taken.value)
        session.append(("user", "Whoever takes no turn appends as ever."))
        with session.store.session("other", user="ada").turn():
            pass
    with session.turn():
        pass


def test_a_turn_that_is_over_writes_nothing(session: Session) -> None:
    with session.turn() as turn:
        turn.append(("user", "Hello"))
    version = session.version()
    for late in (("assistant", "late"), Message("user", "late", id="m-1")):
        with pytest.raises(Fenced, match="Nothing was written") as fenced:
            turn.append(late)
        assert fenced.value.version == version
    assert not turn.renew()
    assert session.version() == version


def test_who_was_overtaken_writes_nothing(session: Session) -> None:
    first = lapsed(session)
    first.append(("user", "one"))
    with session.turn(wait=PATIENCE) as second:
        said = session.messages()
        for late in (("assistant", "late"), Message("assistant", "late", id="m-1"), said[0]):
            with pytest.raises(Fenced):
                first.append(late)
        assert session.messages() == said
        first.end()  # ends nothing of the second's
        second.append(("assistant", "two"))
    assert [message.text for message in session.messages()] == ["one", "two"]


def test_who_was_late_and_overtaken_by_nobody_goes_on(session: Session) -> None:
    turn = lapsed(session)
    turn.append(("user", "one"))
    while not session.store.unfinished(user="ada"):
        pass  # till the lease is over, by the clock of the database
    turn.append(("assistant", "two"))
    assert turn.renew()
    assert session.count() == 2
    turn.end()
    assert session.store.unfinished(user="ada") == []


def test_a_turn_ends_with_its_session(session: Session) -> None:
    with session.turn() as turn:
        turn.append(("user", "one"))
        session.erase(thorough=False)
        with pytest.raises(Fenced):
            turn.append(("assistant", "two"))
    assert session.store.sessions(user="ada") == []


def test_clearing_a_session_does_not_end_its_turn(session: Session) -> None:
    with session.turn() as turn:
        turn.append(("user", "one"))
        session.clear()
        turn.append(("user", "two"))
    assert [message.text for message in session.messages()] == ["two"]


def test_the_child_of_a_fork_holds_nothing(session: Session) -> None:
    with session.turn() as turn:

        def child() -> list[str]:
            with pytest.raises(Fenced, match="forked"):
                turn.append(("user", "late"))
            with pytest.raises(Fenced, match="forked"):
                turn.session.edit(1, ("user", "late"))
            assert turn.session.head() == 1, "it may read"
            turn.end()
            with pytest.raises(TurnTaken), session.turn():
                pass
            return [message.text for message in session.messages()]

        turn.append(("user", "one"))
        assert Child(child).result() == ["one"]
        turn.append(("assistant", "two"))


def test_async(session: Session) -> None:
    async def talked() -> None:
        async with session.aturn() as turn:
            await turn.aappend(("user", "one"))
            assert await turn.arenew()
            with pytest.raises(TurnTaken):
                async with session.aturn():
                    pass
            await turn.aend()
            with pytest.raises(Fenced):
                await turn.aappend(("user", "two"))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await session.store.aclose()

    asyncio.run(talked())


def test_a_loop_that_is_dead_lets_its_turn_lapse(session: Session) -> None:
    loop = asyncio.new_event_loop()
    turn = session.aturn(lease=0.05)
    held: Any = loop.run_until_complete(turn.__aenter__())
    loop.run_until_complete(held.aappend(("user", "one")))
    with session.turn(wait=PATIENCE) as second:  # the loop stands still: nothing renews
        with pytest.raises(Fenced):
            loop.run_until_complete(held.aappend(("user", "two")))
        second.append(("assistant", "two"))

    async def end() -> None:
        await turn.__aexit__(None, None, None)
        await session.store.aclose()

    loop.run_until_complete(end())
    loop.close()


def test_who_is_cancelled_or_interrupted_as_it_takes_hold_holds_nothing(session: Session) -> None:
    """The transaction was under way, and is committed for all that."""

    async def cancelled() -> None:
        holder = Holder("sessions", session.name, wait=0, lease=60)

        async def arun(flow: Any) -> Any:
            answer = await session._arun(flow)
            taking.cancel()
            await asyncio.sleep(0)
            return answer

        taking = asyncio.ensure_future(holder.atake(arun))
        with pytest.raises(asyncio.CancelledError):
            await taking
        async with session.aturn():
            pass

    asyncio.run(cancelled())

    asked: list[Any] = []

    def run(flow: Any) -> None:
        asked.append(session._run(flow))
        if len(asked) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Holder("sessions", session.name, wait=0, lease=60).take(run)
    with session.turn():
        pass


def test_a_lost_answer_leaves_nothing_held(session: Session) -> None:
    """Whose answer is lost asks again: the holder is the same."""
    holder = Holder("sessions", session.name, wait=0, lease=60)
    for flow in (operations.hold(holder.lease), operations.let_go(holder.lease)):
        lost = iter([True])

        def losing(flow: Any = flow, lost: Any = lost) -> Any:
            step = next(flow)
            while True:
                try:
                    answer = session._run(one_step(step))
                    if next(lost, False):
                        step = flow.throw(Unavailable("Gone.", outcome_unknown=True))
                    else:
                        step = flow.send(answer)
                except StopIteration as end:
                    return end.value

        assert losing() is None
    with session.turn():
        pass


def one_step(step: Any) -> Any:
    return (yield step)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan, "soon", True])
def test_what_no_turn_can_be(session: Session, wrong: Any) -> None:
    with pytest.raises(Misconfigured, match="lease has to be"):
        session.turn(lease=wrong)
    if wrong not in (0.0, True):
        with pytest.raises(Misconfigured, match="wait has to be"):
            session.aturn(wait=wrong)


@pytest.fixture(params=["sqlite", "sqlite with redis", "postgresql", "postgresql with redis"])
def address(request: pytest.FixtureRequest, tmp_path: Any) -> tuple[str, str | None]:
    url = f"sqlite:///{tmp_path}/turns.db"
    if request.param.startswith("postgresql"):
        url = request.getfixturevalue("kept_postgres_url")
    cache = None
    if request.param.endswith("redis"):
        cache = request.getfixturevalue("redis_server").url
    return url, cache


def test_a_holder_that_stood_still_is_refused_when_it_wakes(
    address: tuple[str, str | None],
) -> None:
    """Stopped in the middle of its turn, taken over, and woken up."""
    url, cache = address
    told, tell = os.pipe()
    wake, waker = os.pipe()

    def stands_still() -> tuple[str, list[str]]:
        with Store(url, cache=cache) as store:
            session = store.session("s")
            with session.turn(lease=0.3) as turn:
                turn.append(("user", "before"))
                os.write(tell, b"1")
                os.read(wake, 1)
                try:
                    turn.append(("assistant", "too late"))
                except Fenced as fault:
                    return type(fault).__name__, [one.text for one in session.messages()]
        return "nothing", []

    child = Child(stands_still)
    os.read(told, 1)
    os.kill(child.pid, signal.SIGSTOP)
    with Store(url, cache=cache) as store:
        session = store.session("s")
        with session.turn(wait=PATIENCE) as turn:
            turn.append(("assistant", "after"))
            os.kill(child.pid, signal.SIGCONT)
            os.write(waker, b"1")
            assert child.result() == ("Fenced", ["before", "after"])
            turn.append(("user", "and on"))
        assert [one.text for one in session.messages()] == ["before", "after", "and on"]
    for end in (told, tell, wake, waker):
        os.close(end)


def test_turns_of_several_processes_do_not_mix(address: tuple[str, str | None]) -> None:
    """Each reads where the session stands, and adds three messages by three appends."""
    url, cache = address
    turns = 5

    def talks(n: int, wait: Callable[[], object]) -> None:
        with Store(url, cache=cache) as store:
            session = store.session("s")
            session.version()
            wait()
            for _ in range(turns):
                with session.turn(wait=PATIENCE) as turn:
                    head = session.head()
                    for part in ("a", "b", "c"):
                        [said] = turn.append(("user", f"{n} {part}"))
                        head += 1
                        assert said.seq == head

    together(talks, 3)
    with Store(url, cache=cache) as store:
        said = [message.text.split() for message in store.session("s").messages()]
    assert len(said) == 3 * turns * 3
    for i in range(0, len(said), 3):
        assert [part for _, part in said[i : i + 3]] == ["a", "b", "c"]
        assert len({n for n, _ in said[i : i + 3]}) == 1


def test_what_a_saver_writes_in_a_turn_is_fenced_too(each_store: Stores) -> None:
    log = CheckpointLog(each_store())
    body = [("json", b"{}")]
    log.put("t", "", New("1", None, body, {}))
    first = Holder("checkpoint_threads", log.name("t"), wait=0, lease=SHORTEST)
    first.take(log._run)  # and nobody renews it
    with operations.under(log._desk, first.lease):
        log.put("t", "", New("2", "1", body, {}))
        second = Holder("checkpoint_threads", log.name("t"), wait=PATIENCE, lease=60)
        second.take(log._run)
        with pytest.raises(Fenced, match="Thread 't'"):
            log.put("t", "", New("3", "2", body, {}))
        with pytest.raises(Fenced):
            log.put_writes("t", "", "2", "task", "", [(0, "c", ("json", b"1"))])
        with pytest.raises(Fenced):
            log.update("t", title="Mine")
        with pytest.raises(Fenced):
            log.drop("t", {"": ["2"]})
        with pytest.raises(Fenced):
            log.delete("t")
        assert log.entry("t", "", "3") is None
    found = log.entry("t", "")
    assert found is not None
    assert found.id == "2"
    log.put("t", "", New("4", "2", body, {}))  # who takes no turn writes as ever
    assert log.delete("t")
    with log.turn("t"):
        log.put("t", "", New("5", None, body, {}))
        log.drop("t", {"": ["4"]})
        assert log.delete("t")  # which ends the turn
