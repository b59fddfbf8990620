"""What a sceptic has found in checkpoints: each test is a bug that there was."""

from __future__ import annotations

import operator
import os
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_onrecord import OnrecordSaver, import_threads
from onrecord import CheckpointLog, Cleared, Conflict, Damaged, Store
from onrecord.checkpoint_log import (
    Item,
    Listing,
    New,
    Same,
    State,
)
from onrecord.flows.checkpoints.threads import verify_thread

Opener = Callable[[], Store]


def item(text: object) -> Item:
    return "text", str(text).encode()


def add(log: CheckpointLog, id: str, *items: object, thread: str = "t") -> None:
    """One more checkpoint after the newest, whose list has some more items."""
    state = log.state(thread)
    old = [] if state is None else state.numbers["list"]
    listing = Listing([*old, *map(item, items)], None if state is None else state.epoch)
    parent = None if state is None else state.entry.id
    log.put(thread, "", New(id, parent, [item("body")], {"list": listing}))


def _extended(state: Any, writes: Any) -> Any:
    return [*state, *(note for written in writes for note in written)]


def _items(given: list[str]) -> list[Item]:
    return [item(text) for text in given]


def texts(state: State | None) -> list[str]:
    values: Any = [] if state is None else state.values["list"]
    return [content.decode() for _, content in values]


def listed(log: CheckpointLog, thread: str = "t", id: str | None = None) -> list[str]:
    return texts(log.state(thread, "", id))


def problems(log: CheckpointLog, thread: str = "t") -> list[str]:
    return log._run(verify_thread(log._desk, log.name(thread)))


def config(name: str = "t", **more: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": name}, **more}  # type: ignore[typeddict-item]


def chat(saver: BaseCheckpointSaver[Any]) -> Any:
    def bot(state: MessagesState) -> Any:
        return {"messages": [AIMessage(f"re: {state['messages'][-1].content}")]}

    builder = StateGraph(MessagesState)
    builder.add_node("bot", bot)
    builder.add_edge(START, "bot")
    return builder.compile(checkpointer=saver)


class Counting(TypedDict):
    n: int
    seen: list[int]


def counter(saver: BaseCheckpointSaver[Any]) -> Any:
    def count(state: Counting) -> Any:
        return {"n": state["n"] + 1, "seen": [*state["seen"], state["n"]]}

    builder = StateGraph(Counting)
    builder.add_node("one", count)
    builder.add_node("two", count)
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    return builder.compile(checkpointer=saver)


def test_the_copy_of_a_checkpoint_has_its_values(each_store: Opener) -> None:
    # LangGraph puts it beside the original, under the same parent, and says that nothing is new.
    def copies(saver: BaseCheckpointSaver[Any]) -> list[Any]:
        graph = counter(saver)
        graph.invoke({"n": 0, "seen": []}, config())
        made = [
            graph.get_state(graph.update_state(state.config, None, as_node="__copy__"))
            for state in [*graph.get_state_history(config())]
        ]
        return [(state.values, state.next) for state in made]

    assert copies(OnrecordSaver(each_store())) == copies(InMemorySaver())


def test_a_thread_that_was_pruned_in_the_middle_grows_on(each_store: Opener) -> None:
    # Rows were merged over the gap, and all items before it were called by wrong numbers.
    log = CheckpointLog(each_store())
    for i in range(10):
        add(log, f"{i}", i)
    state = log.state("t")
    assert state is not None
    numbers: list[Any] = [*state.numbers["list"]]
    numbers[2] = item("edited")
    log.put("t", "", New("edit", "9", [item("body")], {"list": Listing(numbers, state.epoch)}))
    log.drop("t", {"": [f"{i}" for i in range(10)]})
    for i in range(10, 150):
        add(log, f"{i}", i)
    wanted = ["0", "1", "edited", *(str(i) for i in range(3, 150))]
    assert listed(log) == wanted
    assert listed(CheckpointLog(each_store())) == wanted
    assert problems(log) == []


def test_who_reads_what_is_being_deleted_never_gets_another_item(each_store: Opener) -> None:
    # The numbers of items that were dropped were given to others.
    one, other = CheckpointLog(each_store()), CheckpointLog(each_store())
    add(one, "1", "first")
    add(one, "2", "secret")
    entry = other.entry("t")  # a reader between two steps
    assert entry is not None
    one.drop("t", {"": ["2"]})
    add(one, "3", "another")
    assert other.filled("t", [entry]) == []
    assert listed(other) == ["first", "another"]


def test_a_checkpoint_put_again_is_known_as_it_is_now_to_other_processes(
    each_store: Opener,
) -> None:
    one, other = CheckpointLog(each_store()), CheckpointLog(each_store())
    one.put("t", "", New("1", None, [item("body")], {"value": item("old")}))
    other.state("t")
    one.put("t", "", New("1", None, [item("body")], {"value": item("new")}))
    same = Same(lambda: item("not this"))
    other.put("t", "", New("2", "1", [item("body")], {"value": same}))
    state = other.state("t")
    assert state is not None
    assert state.values == {"value": item("new")}


def test_a_thread_brought_over_can_be_forked_anywhere(each_store: Opener, tmp_path: Path) -> None:
    # Its versions were text, and those of a channel that was new in it were numbers.
    path = tmp_path / "theirs.sqlite"
    with SqliteSaver.from_conn_string(str(path)) as theirs:
        _play_deltas(theirs)
        saver = OnrecordSaver(each_store())
        import_threads(saver, f"sqlite:///{path}")
        ours = _fork_everywhere(saver)
        assert len(ours) > 5
        assert ours == _fork_everywhere(theirs)


class Deltas(TypedDict, total=False):
    n: Annotated[int, operator.add]
    notes: Annotated[list[int], DeltaChannel(_extended, list, snapshot_frequency=2)]


def _deltas(saver: BaseCheckpointSaver[Any]) -> Any:
    def count(state: Deltas) -> Any:
        n = state["n"]
        return {"n": 1, "notes": [n]} if n > 1 else {"n": 1}

    builder = StateGraph(Deltas)
    builder.add_node("count", count)
    builder.add_edge(START, "count")
    return builder.compile(checkpointer=saver)


def _play_deltas(saver: BaseCheckpointSaver[Any]) -> None:
    graph = _deltas(saver)
    for _ in range(4):
        graph.invoke({"n": 0}, config())


def _fork_everywhere(saver: BaseCheckpointSaver[Any]) -> list[Any]:
    graph = _deltas(saver)
    forks = [
        graph.update_state(state.config, {"n": 100}, as_node="count")
        for state in [*graph.get_state_history(config())]
    ]
    return [graph.get_state(fork).values for fork in forks]


def test_a_thread_begun_again_has_its_metadata_again(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    about = config(metadata={"topic": "tea"})
    graph.invoke({"messages": [HumanMessage("hello")]}, about)
    saver.delete_thread("t")
    graph.invoke({"messages": [HumanMessage("hello")]}, about)
    (info,) = saver.threads(metadata={"topic": "tea"})
    assert info.created_at
    assert info.last_active
    assert info.created_at <= info.last_active


def test_a_thread_may_be_told_later_when_it_expires(each_store: Opener) -> None:
    store = each_store()
    graph = counter(OnrecordSaver(store))
    for _ in range(2):
        graph.invoke({"n": 0, "seen": []}, config())
    saver = OnrecordSaver(store, expires_in=timedelta(days=1))
    counter(saver).invoke({"n": 0, "seen": []}, config())
    info = saver.log.info("t")
    assert info is not None
    assert info.expires_in == timedelta(days=1)


def test_a_copy_made_again_goes_on(each_store: Opener) -> None:
    # Its checkpoints have the ids of those that were deleted, and every turn was taken for late.
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    graph.invoke({"messages": [HumanMessage("hello")]}, config())
    saver.copy_thread("t", "copy")
    late = graph.get_state(config("copy")).config
    saver.delete_thread("copy")
    with pytest.raises(Cleared):
        graph.update_state(late, {"messages": [AIMessage("late")]})
    saver.copy_thread("t", "copy")
    graph.invoke({"messages": [HumanMessage("again")]}, config("copy"))
    assert len(graph.get_state(config("copy")).values["messages"]) == 4


def test_a_bit_that_flips_in_what_a_checkpoint_refers_to_is_noticed(each_store: Opener) -> None:
    # Frames were checked, and the numbers of items were not: a shorter list came back.
    log = CheckpointLog(each_store())
    for i in range(1, 4):
        add(log, f"{i}", i)
    add(log, "x", 1, thread="other")

    def rows(txn: Any) -> list[Any]:
        found: list[Any] = txn.rows(
            "SELECT list, number, id, parent, refs FROM {checkpoints} WHERE parent IS NOT NULL", {}
        )
        return [(row[:2], *map(bytes, row[2:])) for row in found]

    rng = random.Random(7)
    for (line, number), *kept in log.store._ledger.read(rows):
        for column, was in zip(("id", "parent", "refs"), kept, strict=True):
            at = rng.randrange(len(was))
            bad = was[:at] + bytes((was[at] ^ 0x80,)) + was[at + 1 :]
            statement = f"UPDATE {{checkpoints}} SET {column} = :value WHERE {{list_at}}"
            for value in (bad, was):
                where = {"shard": log.name("t").shard, "list": line, "number": number}
                log.store._ledger.write(
                    partial(_run, statement=statement, values={"value": value, **where})
                )
                fresh = CheckpointLog(each_store())
                if value is was:
                    assert len(fresh.page("t")) == 3
                    continue
                with pytest.raises(Damaged, match="thread 't' cannot be read"):
                    fresh.page("t")
                assert problems(fresh) != []
                assert listed(fresh, "other") == ["1"]


def test_a_count_of_items_that_flips_is_said(each_store: Opener) -> None:
    log = CheckpointLog(each_store())
    add(log, "1", "first", "second")
    log.store._ledger.write(lambda txn: txn.run("UPDATE {checkpoint_items} SET items = 3"))
    with pytest.raises(Damaged, match="Values of checkpoint 1 of thread 't' cannot be read"):
        CheckpointLog(each_store()).state("t")


def _run(txn: Any, statement: str, values: dict[str, Any]) -> None:
    txn.run(statement, values)


def test_who_cannot_read_a_checkpoint_is_told_what_it_continued(each_store: Opener) -> None:
    log = CheckpointLog(each_store())
    add(log, "1", "first")
    add(log, "2", "second")
    log.store._ledger.write(
        lambda txn: txn.run("UPDATE {checkpoints} SET body = refs WHERE parent IS NOT NULL")
    )
    with pytest.raises(Damaged, match="continue from an earlier checkpoint: it continued 1"):
        log.state("t")
    assert listed(log, id="1") == ["first"]


def test_a_store_that_was_restored_and_invalidated_is_read_as_it_is(tmp_path: Path) -> None:
    # Items were remembered by numbers that came again after the backup.
    path = tmp_path / "store.db"
    with Store(f"sqlite:///{path}") as store, sqlite3.connect(tmp_path / "backup.db") as backup:
        log = CheckpointLog(store)
        add(log, "1", "kept")
        with sqlite3.connect(path) as source:
            source.backup(backup)
        source.close()
        add(log, "2", "lost")
        assert listed(log) == ["kept", "lost"]
        with sqlite3.connect(path) as target:
            backup.backup(target)
        target.close()
        with Store(f"sqlite:///{path}") as another:
            another.invalidate()
            other = CheckpointLog(another)
            add(other, "3", "found")
            assert listed(log) == ["kept", "found"]
            add(log, "4", "more")
            assert listed(other) == ["kept", "found", "more"]
    backup.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_waits_for_no_thread_of_its_parent(tmp_path: Path) -> None:
    # A lock that another thread held at the fork was held in the child for ever.
    saver = OnrecordSaver(Store(f"sqlite:///{tmp_path / 'store.db'}"))
    graph = chat(saver)
    graph.invoke({"messages": [HumanMessage("hello")]}, config())
    memory = saver.log._desk.threads
    memories: list[Any] = [
        *(memory.items._items, memory.values._items, memory.seen, memory.bases, memory.labels),
        saver._memory._known,
    ]
    locks = [memory._lock for memory in memories]
    for lock in locks:
        lock.acquire()
    child = os.fork()
    if child == 0:
        # Nothing of the test runner may run on in here, whatever happens.
        try:
            graph.invoke({"messages": [HumanMessage("from a child")]}, config())
            os._exit(0)
        finally:
            os._exit(1)
    for lock in locks:
        lock.release()
    ended, status = 0, 0
    deadline = time.monotonic() + 60
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not ended:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert (bool(ended), status) == (True, 0)
    assert len(graph.get_state(config()).values["messages"]) == 4
    saver.log.store.close()


def test_copied_pruned_and_deleted_while_many_write(each_store: Opener) -> None:
    # On PostgreSQL a copy took the head before and the rows after another's checkpoint, and no
    # checkpoint could be added to it ever again.
    logs = [CheckpointLog(each_store()) for _ in range(2)]
    truth: dict[str, list[str]] = {}
    names = ["a", "b", "c"]

    def read(log: CheckpointLog, name: str) -> Any:
        state = log.state(name)
        if state is not None:
            assert truth[state.entry.id] == texts(state)
        return state

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for n in range(60):
            log, name, chance = rng.choice(logs), rng.choice(names), rng.random()
            try:
                if chance < 0.65:
                    state, id = read(log, name), f"{seed}.{n}"
                    old = [] if state is None else truth[state.entry.id]
                    numbers = [] if state is None else [*state.numbers["list"]]
                    kept = rng.randrange(len(old) + 1) if chance < 0.1 else len(old)
                    new = [f"{id}.{i}" for i in range(rng.choice((1, 1, 9)))]
                    truth[id] = [*old[:kept], *new]
                    listing = Listing(
                        [*numbers[:kept], *map(item, new)],
                        None if state is None else state.epoch,
                        partial(_items, truth[id]),
                    )
                    parent = None if state is None else state.entry.id
                    log.put(name, "", New(id, parent, [item(id)], {"list": listing}))
                elif chance < 0.8:
                    read(log, name)
                elif chance < 0.9:
                    log.drop(name, {"": [e.id for e in log.page(name) if rng.random() < 0.6]})
                else:
                    target = rng.choice(names)
                    log.delete(target)
                    log.copy(name, target)
            except (Conflict, Cleared):
                pass  # refused, and said so

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    for name in names:
        assert problems(logs[0], name) == []
        if logs[0].entry(name) is not None:
            add(logs[0], f"last of {name}", "last", thread=name)
