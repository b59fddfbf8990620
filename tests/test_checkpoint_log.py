"""The log of checkpoints against a model of it: plain dicts, and what they say is what is read."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onrecord.flows.checkpoints.adding
import onrecord.flows.checkpoints.threads
from onrecord import CheckpointLog, Cleared, Conflict, InvalidName, Misconfigured, Store
from onrecord.checkpoint_log import (
    Item,
    Listing,
    New,
    Same,
    State,
)
from onrecord.flows.checkpoints.threads import erase_threads, verify_thread
from onrecord.flows.checkpoints.writing import RUN
from onrecord.ledger.checkpoints import lists as lists_of_ledger
from onrecord.ledger.database import keys
from onrecord.stored.clock import now
from tests.children import PATIENCE, Child
from tests.servers.postgres import PostgresServer

_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """One database and two processes, as far as what they remember goes."""

    logs: tuple[CheckpointLog, CheckpointLog]


@pytest.fixture(scope="module")
def sqlite_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    url = f"sqlite:///{tmp_path_factory.mktemp('log') / 'log.db'}"
    with Store(url, durability="normal") as one, Store(url, durability="normal") as two:
        yield Place((CheckpointLog(one, user="ada"), CheckpointLog(two, user="ada")))


@pytest.fixture(scope="module")
def postgres_place(postgres: PostgresServer) -> Iterator[Place]:
    with postgres.database("checkpoint_log") as url, Store(url) as one, Store(url) as two:
        yield Place((CheckpointLog(one, user="ada"), CheckpointLog(two, user="ada")))


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def item(text: object) -> Item:
    return ("text", str(text).encode())


BODY = (("json", b"{}"), ("json", b"[]"))


def new_name() -> str:
    return f"thread {next(_numbers)}"


# -- the model -----------------------------------------------------------------------------------


@dataclass
class Checkpoint:
    parent: str | None
    lists: dict[str, list[Item]]
    whole: dict[str, Item]
    writes: dict[tuple[str, int], tuple[str, str, Item]] = field(default_factory=dict)


@dataclass
class Thread:
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)

    @property
    def newest(self) -> str | None:
        return next(reversed(self.checkpoints), None)


def as_model(state: State | None) -> tuple[Any, ...] | None:
    if state is None:
        return None
    lists = {ch: v for ch, v in state.values.items() if isinstance(v, list)}
    whole = {ch: v for ch, v in state.values.items() if not isinstance(v, list)}
    writes = [(w.path, w.task, w.place, w.channel, w.item) for w in state.entry.writes]
    return state.entry.id, state.entry.parent, lists, whole, writes


def expected(thread: Thread, id: str | None) -> tuple[Any, ...] | None:
    checkpoint = thread.checkpoints.get(id or "")
    if checkpoint is None:
        return None
    writes = sorted((p, t, n, c, i) for (t, n), (p, c, i) in checkpoint.writes.items())
    return id, checkpoint.parent, checkpoint.lists, checkpoint.whole, writes


def changed(draw: Callable[[Any], Any], old: list[Item]) -> list[Item]:
    """What a step may do to a list."""
    fresh = [item(next(_numbers)) for _ in range(draw(st.integers(0, 3)))]
    match draw(st.sampled_from(["grow", "grow", "replace", "trim", "reverse", "clear", "insert"])):
        case "grow":
            return [*old, *fresh]
        case "replace" if old:
            at = draw(st.integers(0, len(old) - 1))
            return [*old[:at], item(next(_numbers)), *old[at + 1 :], *fresh]
        case "trim":
            return [*old[draw(st.integers(0, len(old))) :], *fresh]
        case "reverse":
            return [*reversed(old), *fresh]
        case "insert":
            at = draw(st.integers(0, len(old)))
            return [*old[:at], *fresh, *old[at:]]
        case _:
            return fresh


def listing(state: State | None, channel: str, items: list[Item]) -> Listing:
    """Items as a caller gives them who remembers a state, however old it is."""
    if state is None or channel not in state.numbers:
        return Listing(items)
    known = dict(zip(map(tuple, state.values[channel]), state.numbers[channel], strict=True))
    return Listing([known.get(i, i) for i in items], state.epoch, lambda: items)


OPERATIONS = ["put"] * 6 + ["writes", "drop", "delete", "copy", "read", "read"]


@given(data=st.data())
# One database serves all examples: each has threads of its own.
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_the_log_does_what_a_model_of_it_does(place: Place, data: st.DataObject) -> None:
    draw: Callable[[Any], Any] = data.draw
    names = [new_name(), new_name()]
    threads = {name: Thread() for name in names}
    remembered: dict[tuple[int, str], State | None] = {}
    for _ in range(draw(st.integers(5, 25))):
        which = draw(st.integers(0, 1))
        log = place.logs[which]
        name = draw(st.sampled_from(names))
        thread = threads[name]
        ids = list(thread.checkpoints)
        match draw(st.sampled_from(OPERATIONS)):
            case "put":
                # Mostly on the newest; sometimes a fork.
                parent = draw(st.sampled_from([*ids, *[thread.newest] * 5])) if ids else None
                old = thread.checkpoints[parent] if parent else Checkpoint(None, {}, {})
                made = Checkpoint(parent, {}, {})
                values: dict[str, Any] = {}
                state = remembered.get((which, name))
                for channel in ("a", "b"):
                    before = old.lists.get(channel, [])
                    if draw(st.booleans()):
                        made.lists[channel] = items = changed(draw, before)
                        values[channel] = listing(state, channel, items)
                    elif channel in old.lists:
                        made.lists[channel] = before
                        values[channel] = Same(partial(Listing, before))
                if draw(st.booleans()):
                    values["x"] = made.whole["x"] = item(next(_numbers))
                elif "x" in old.whole:
                    made.whole["x"] = old.whole["x"]
                    values["x"] = Same(partial(dict.__getitem__, old.whole, "x"))
                id = f"id {next(_numbers)}"
                log.put(name, "", New(id, parent, BODY, values))
                thread.checkpoints[id] = made
            case "writes" if ids:
                id = draw(st.sampled_from(ids))
                task, path = draw(st.sampled_from(["t1", "t2"])), draw(st.sampled_from("pq"))
                at, value = draw(st.integers(-2, 2)), item(next(_numbers))
                log.put_writes(name, "", id, task, path, [(at, "a", value)])
                if at < 0 or (task, at) not in thread.checkpoints[id].writes:
                    thread.checkpoints[id].writes[task, at] = (path, "a", value)
            case "drop" if ids:
                gone = draw(st.lists(st.sampled_from(ids), unique=True))
                log.drop(name, {"": gone})
                for id in gone:
                    del thread.checkpoints[id]
            case "delete":
                assert log.delete(name) == bool(ids) or not ids
                thread.checkpoints.clear()
            case "copy":
                other = names[1 - names.index(name)]
                if threads[other].checkpoints:
                    if ids:
                        with pytest.raises(Conflict):
                            log.copy(name, other)
                elif ids:
                    log.copy(name, other)
                    threads[other] = Thread(
                        {
                            id: Checkpoint(c.parent, c.lists, c.whole, dict(c.writes))
                            for id, c in thread.checkpoints.items()
                        }
                    )
            case _:
                named = draw(st.sampled_from(ids)) if ids and draw(st.booleans()) else None
                state = remembered[which, name] = log.state(name, "", named)
                assert as_model(state) == expected(thread, named or thread.newest)
    for name, thread in threads.items():
        for log in place.logs:
            page = log.page(name, limit=1000)
            assert [entry.id for entry in page] == [*reversed(thread.checkpoints)]
            for state in log.filled(name, page):
                assert as_model(state) == expected(thread, state.entry.id)


# -- what it costs -------------------------------------------------------------------------------


def grow(log: CheckpointLog, name: str, turns: int) -> list[Item]:
    items: list[Item] = []
    parent = None
    for n in range(turns):
        items.append(item(f"{n} " + "said " * 40))
        id = f"{n:04}"
        log.put(name, "", New(id, parent, BODY, {"a": Listing(list(items))}))
        parent = id
    return items


def rows(log: CheckpointLog, name: str) -> list[tuple[int, int]]:
    """The rows of items of a thread: the number of the last one, and how many."""

    def work(txn: Any) -> list[tuple[int, int]]:
        from onrecord.ledger.checkpoints import threads

        thread = threads.find(txn, log.name(name))
        assert thread is not None
        return [
            (last, count)
            for list_id in lists_of_ledger.lists_of(txn, thread)
            if not list_id.is_log
            for last, count in txn.rows(
                lists_of_ledger._ITEM_ROWS + " ORDER BY number",
                keys.list_span(txn, list_id.key),
            )
        ]

    found: list[tuple[int, int]] = log.store._ledger.read(work)
    return found


def test_a_list_that_grows_is_stored_once_and_in_few_rows(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    items = grow(log, name, 3 * RUN + 10)
    found = rows(log, name)
    assert sum(count for _, count in found) == len(items)
    assert [count for _, count in found[:3]] == [RUN] * 3
    assert len(found) == 3 + 10
    state = other.state(name)
    assert state is not None
    assert state.values["a"] == items
    assert state.entry.row.refs["a"][1:] == [1, len(items)], "one run, however long"
    early = other.state(name, "", "0070")
    assert early is not None
    assert early.values["a"] == items[:71]


def test_reading_is_few_statements_however_long_a_thread_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onrecord.ledger.database.transaction import Transaction

    log, _ = place.logs
    name = new_name()
    items = grow(log, name, 150)
    with Store(log.store._ledger.address.url.render_as_string(hide_password=False)) as fresh:
        cold = CheckpointLog(fresh, user="ada")
        cold.info(name)
        said: list[str] = []
        for method in ("rows", "first", "run"):
            real = getattr(Transaction, method)

            def counted(self: Any, text: str, *a: Any, real: Any = real) -> Any:
                said.append(text)
                return real(self, text, *a)

            monkeypatch.setattr(Transaction, method, counted)
        state = cold.state(name)
        assert state is not None
        assert state.values["a"] == items
        assert len(said) <= 3, said
        said.clear()
        assert cold.state(name) == state
        assert len(said) <= 2, "and the items are remembered"


def test_forks_and_edits_share_what_they_can(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    items = grow(log, name, 20)
    fork = [*items[:10], item("another way")]
    other.put(name, "", New("fork", "0009", BODY, {"a": Listing(fork)}))
    edited = [*fork[:3], item("edited"), *fork[4:], item("and on")]
    log.put(name, "", New("edit", "fork", BODY, {"a": Listing(edited)}))
    assert sum(count for _, count in rows(log, name)) == 23
    for id, values in {"0019": items, "fork": fork, "edit": edited}.items():
        for one in place.logs:
            state = one.state(name, "", id)
            assert state is not None
            assert state.values["a"] == values


def test_pruning_keeps_what_forks_share_and_gives_back_the_rest(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    items = grow(log, name, 20)
    log.put(name, "", New("fork", "0004", BODY, {"a": Listing([*items[:5], item("x")])}))
    other.drop(name, {"": [f"{n:04}" for n in range(20)]})
    state = log.state(name)
    assert state is not None
    assert state.values["a"] == [*items[:5], item("x")]
    assert sum(count for _, count in rows(log, name)) == 6
    log.put(name, "", New("on", "fork", BODY, {"a": Listing([*items[:5], item("y")])}))
    assert other.state(name, "", "on") == log.state(name, "", "on")
    log.drop(name, {"": ["on", "fork"]})
    assert log.state(name) is None


def test_whole_values_are_kept_once_and_outlive_the_checkpoint_that_brought_them(
    place: Place,
) -> None:
    log, other = place.logs
    name = new_name()
    big = ("bytes", b"x" * 1000)
    log.put(name, "", New("1", None, BODY, {"big": big}))

    def never() -> Item:
        raise AssertionError("it is there")

    for n in range(2, 5):
        log.put(name, "", New(str(n), str(n - 1), BODY, {"big": Same(never)}))
    log.drop(name, {"": ["1", "2"]})
    for id in ("3", "4"):
        state = other.state(name, "", id)
        assert state is not None
        assert state.values == {"big": big}
    # The parent is gone, and so the value has to be made.
    log.put(name, "", New("5", "2", BODY, {"big": Same(lambda: big)}))
    assert other.state(name, "", "5") is not None


def test_nobody_refers_to_what_another_process_has_pruned(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    items = grow(log, name, 3)
    big = item("big")
    log.put(name, "", New("end", "0002", BODY, {"a": Listing(items), "big": big}))
    state = log.state(name)
    assert state is not None
    other.drop(name, {"": ["0000", "0001", "0002", "end"]})
    # Continued all the same, by numbers and references that were good a moment ago.
    grown = Listing([*state.numbers["a"], item("new")], state.epoch, lambda: [*items, item("new")])
    log.put(name, "", New("on", "end", BODY, {"a": grown, "big": Same(lambda: big)}))
    for one in place.logs:
        found = one.state(name)
        assert found is not None
        assert found.values == {"a": [*items, item("new")], "big": big}
        assert one._run(verify_thread(one._desk, one.name(name))) == []


# -- rules ---------------------------------------------------------------------------------------


def test_a_checkpoint_put_again_is_what_was_put_last(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    log.put(name, "", New("1", None, BODY, {"a": Listing([item(1)]), "x": item("x")}))
    log.put(name, "", New("2", "1", BODY, {"x": Same(lambda: item("never"))}))
    log.put(name, "", New("1", None, BODY, {"a": Listing([item(2)])}))
    state = other.state(name, "", "1")
    assert state is not None
    assert state.values == {"a": [item(2)]}
    state = other.state(name, "", "2")
    assert state is not None
    assert state.values == {"x": item("x")}


def test_scopes_are_walls(place: Place) -> None:
    log, _ = place.logs
    name = new_name()
    odd = ["", "bob", "ada' --", "ada%", "עדה", "ada:"]
    grow(log, name, 2)
    for user in odd:
        other = CheckpointLog(log.store, user=user)
        assert other.state(name) is None
        assert name not in [info.key for info in other.threads(limit=1000)]
        assert not other.delete(name)
        other.drop(name, {"": ["0001"]})
        with pytest.raises(InvalidName):
            other.state("")
    other = CheckpointLog(log.store, user="ada", tenant="t")
    other.put(name, "", New("1", None, BODY, {}, run="run"))
    assert other.of_runs(["run"]) == [(name, "", "1")]
    assert CheckpointLog(log.store, user="ada", tenant="t", agent="a").of_runs(["run"]) == []
    assert log.state(name) is not None


def test_strange_names_and_ids_come_back(place: Place) -> None:
    log, other = place.logs
    name = new_name() + " '; DROP TABLE onrecord_checkpoints; --"
    ids = ["", "x" * 15, "x" * 14, "\x00", "1EF4F797-8335-6428-8001-8A1503F9B875", "é" * 300]
    ids += ["1ef4f797-8335-6428-8001-8a1503f9b875", "\ud800"]
    spaces = ["", "a|b:c", "\x00"]
    for namespace in spaces:
        for id in ids:
            log.put(
                name, namespace, New(id, None, BODY, {"\x00": item(id.encode("utf-16", "ignore"))})
            )
    assert other.namespaces(name) == sorted(spaces)
    for namespace in spaces:
        assert [e.id for e in other.page(name, namespace)] == ids[::-1]
        for id in ids:
            state = other.state(name, namespace, id)
            assert state is not None
            assert state.entry.id == id
    for namespace, channel in (("\udfff", ""), ("", "\udfff")):
        with pytest.raises(InvalidName, match="surrogate"):
            log.put(name, namespace, New("1", None, BODY, {channel: item(1)}))
        with pytest.raises(InvalidName, match="surrogate"):
            log.put_writes(name, namespace, "1", "task", "", [(0, channel, item(1))])


def test_what_was_deleted_stays_so(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    grow(log, name, 3)
    assert other.delete(name)
    for one in place.logs:
        with pytest.raises(Cleared, match="was deleted"):
            one.put(name, "", New("0003", "0002", BODY, {}))
        with pytest.raises(Cleared):
            one.put_writes(name, "", "0002", "task", "", [(0, "a", item(1))])
        with pytest.raises(Cleared, match="Begin the thread anew"):
            one.put(name, "sub:1", New("s", None, BODY, {}, under=["0002"]))
        with pytest.raises(Cleared):
            one.put(name, "", New("0002", None, BODY, {}))
        assert one.state(name) is None
    # A new conversation of that name is not the old one; its writes may overtake it.
    other.put_writes(name, "", "new", "task", "", [(0, "a", item(1))])
    assert other.state(name) is None
    log.put(name, "", New("new", None, BODY, {}))
    state = other.state(name)
    assert state is not None
    assert len(state.entry.writes) == 1
    with pytest.raises(Cleared):
        log.put(name, "", New("0003", "0002", BODY, {}))


def test_the_second_to_continue_a_checkpoint_is_refused(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    log.put(name, "", New("1", None, BODY, {}), alone=True)
    with pytest.raises(Conflict, match="begun by somebody else"):
        other.put(name, "", New("other 1", None, BODY, {}), alone=True)
    log.put(name, "", New("2", "1", BODY, {}), alone=True)
    with pytest.raises(Conflict, match="1 is followed by 2"):
        other.put(name, "", New("other 2", "1", BODY, {}), alone=True)
    other.put(name, "", New("fork", "1", BODY, {}))
    log.put(name, "", New("3", "2", BODY, {}), alone=True)


def test_threads_are_listed_by_activity_and_metadata(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CheckpointLog(place.logs[0].store, tenant=new_name())
    for n in range(5):
        for step in range(2):
            id, parent = (str(step), str(step - 1) if step else None)
            log.put(f"t{n}", "", New(id, parent, BODY, {}), metadata={"even": n % 2 == 0, "n": n})
    log.update("t3", title="Three", metadata={"even": False, "mine": [1]})
    # Activity is known to the second.
    later = now() + 1_000_000
    monkeypatch.setattr(onrecord.flows.checkpoints.adding, "now", lambda: later)
    log.put("t3", "", New("2", "1", BODY, {}), metadata={"n": 33})
    assert log.threads()[0].key == "t3"
    assert {info.key for info in log.threads(metadata={"even": True})} == {"t0", "t2", "t4"}
    info = log.info("t3")
    assert info is not None
    assert info.title == "Three"
    assert info.metadata == {"even": False, "mine": [1], "n": 33}
    log.update("t3", merge={"mine": None, "more": 1})
    asyncio.run(log.aupdate("t3", merge={"even": True}))
    merged = log.info("t3")
    assert merged is not None
    assert (merged.title, merged.metadata) == (
        "Three",
        {"even": True, "mine": None, "n": 33, "more": 1},
    )
    with pytest.raises(Misconfigured, match="pass one of the two"):
        log.update("t3", metadata={}, merge={"a": 1})
    keys = []
    page = log.threads(limit=2)
    while page:
        keys += [info.key for info in page]
        page = log.threads(limit=2, after=page[-1])
    assert sorted(keys) == ["t0", "t1", "t2", "t3", "t4"]
    log.delete("t3")
    assert log.info("t3") is None
    assert len(log.threads()) == 4
    with pytest.raises(Misconfigured, match="last ThreadInfo"):
        log.threads(after="t3")  # type: ignore[arg-type]


def test_threads_expire_by_their_last_activity(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CheckpointLog(place.logs[0].store, tenant=new_name())
    hour = timedelta(hours=1)
    log.put("quiet", "", New("1", None, BODY, {}), expires_in=hour)
    log.put("busy", "", New("1", None, BODY, {}), expires_in=hour)
    log.put("kept", "", New("1", None, BODY, {}))
    assert log.prune_expired() == []
    ahead = 50 * 60 * 1_000_000
    monkeypatch.setattr(onrecord.flows.checkpoints.adding, "now", lambda: now() + ahead)
    log.put("busy", "", New("2", "1", BODY, {}), expires_in=hour)
    monkeypatch.setattr(onrecord.flows.checkpoints.threads, "now", lambda: now() + 2 * ahead)
    assert log.prune_expired() == ["quiet"]
    assert {info.key for info in log.threads()} == {"busy", "kept"}
    with pytest.raises(Cleared):
        log.put("quiet", "", New("2", "1", BODY, {}))
    with pytest.raises(Misconfigured, match="above zero"):
        log.update("kept", expires_in=timedelta(0))


def spoiled(txn: Any, statement: str) -> None:
    txn.run(statement, {"junk": b"\x01\x00junk"})


def test_verify_finds_what_is_damaged_and_scopes_are_counted_and_erased(place: Place) -> None:
    log = CheckpointLog(place.logs[0].store, tenant=new_name(), user="ada")
    grow(log, "t", 70)
    log.put("t", "", New("x", "0069", BODY, {"x": item("x")}))
    log.put("t", "", New("y", "x", BODY, {"x": Same(lambda: item("never"))}))
    log.put_writes("t", "", "y", "task", "", [(0, "a", item(1))])
    scope = {"tenant": log.tenant, "user": log.user, "agent": log.agent}

    def counts() -> dict[str, int]:
        found = log.store._ledger.read(lambda txn: lists_of_ledger.count_in_scope(txn, **scope))
        return {what: count.rows for what, count in found.items()}

    assert counts() == {"threads": 1, "checkpoints": 72, "items": 70, "writes": 1}
    assert log._run(verify_thread(log._desk, log.name("t"))) == []
    spoil = {
        "UPDATE {checkpoint_items} SET body = :junk WHERE number = 70": "items up to 70",
        "UPDATE {checkpoint_writes} SET body = :junk": "written after y",
        "UPDATE {checkpoints} SET new_values = NULL WHERE new_values IS NOT NULL": "'x' refers to",
        "UPDATE {checkpoints} SET body = :junk WHERE number = 3": "checkpoint 0002",
    }
    if place.logs[0].store._ledger.address.kind == "sqlite":  # where the tables are ours alone
        for n, (statement, problem) in enumerate(spoil.items()):
            with Store("sqlite://") as store:
                alone = CheckpointLog(store)
                grow(alone, "t", 70)
                alone.put("t", "", New("x", "0069", BODY, {"x": item("x")}))
                alone.put_writes("t", "", "y", "task", "", [(0, "a", item(1))])
                assert alone._run(verify_thread(alone._desk, alone.name("t"))) == [], n
                alone.store._ledger.write(partial(spoiled, statement=statement))
                found = alone._run(verify_thread(alone._desk, alone.name("t")))
                assert any(problem in one for one in found), found
    assert log._run(erase_threads(log._desk, **scope)) == 1
    assert counts() == {"threads": 0, "checkpoints": 0, "items": 0, "writes": 0}


def test_a_turn_is_held_by_one(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    with log.turn(name):
        assert log.info(name) is None, "holding it does not begin it"
        here = rf"held by another turn: by process {os.getpid()} on \S+, until 20\d\d-\d\d-\d\d"
        with pytest.raises(Conflict, match=here), other.turn(name, patience=0):
            pass
    with other.turn(name, patience=0):
        pass
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(Misconfigured, match="lease has to be"):
            log.turn(name, lease=wrong)
    with pytest.raises(Misconfigured, match="patience has to be"):
        log.aturn(name, patience=-1)


def test_a_turn_whose_holder_was_killed_is_free_when_its_lease_is_over(place: Place) -> None:
    log, other = place.logs
    name = new_name()

    def dies() -> None:
        with log.turn(name, lease=1.0):
            os.kill(os.getpid(), signal.SIGKILL)

    child = Child(dies)
    os.waitpid(child.pid, 0)
    os.close(child._answer)
    with other.turn(name, patience=60):
        pass


def _until(log: CheckpointLog, name: str) -> str:
    """Until when a thread is held, as those are told who wait for it."""
    with pytest.raises(Conflict) as refused, log.turn(name, patience=0):
        pass
    return str(refused.value).partition("until ")[2][:19]


def test_a_lease_is_renewed_while_its_holder_lives(place: Place) -> None:
    """By a thread, or a task of its loop, which ends with the turn."""
    log, other = place.logs
    name = new_name()
    deadline = time.monotonic() + PATIENCE
    with log.turn(name, lease=3.0):
        first = _until(other, name)
        while _until(other, name) == first:
            assert time.monotonic() < deadline, "nobody renews it"
    for thread in threading.enumerate():
        if thread.name == "onrecord-turn":
            thread.join(PATIENCE)
            assert not thread.is_alive()

    async def held() -> None:
        async with log.aturn(name, lease=3.0):
            first = await asyncio.to_thread(_until, other, name)
            while await asyncio.to_thread(_until, other, name) == first:
                assert time.monotonic() < deadline + PATIENCE, "nobody renews it"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(held())


def test_the_child_of_a_fork_holds_nothing_and_lets_nothing_go(place: Place) -> None:
    log, other = place.logs
    name = new_name()
    turn = log.turn(name)
    with turn:
        Child(lambda: turn.__exit__(None, None, None)).result()
        with pytest.raises(Conflict, match="held by another turn"), other.turn(name, patience=0):
            pass


def test_nothing_of_a_store_is_kept_alive_by_its_log() -> None:
    import weakref

    store = Store("sqlite://")
    CheckpointLog(store).put("t", "", New("1", None, BODY, {}))
    store.close()
    seen = weakref.ref(store)
    del store
    gc.collect()
    assert seen() is None
