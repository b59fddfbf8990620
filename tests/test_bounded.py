"""The memory of a process: bounded by weight, whole in many threads, new in a forked child."""

import gc
import os
import re
import threading
import weakref
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import onrecord
from onrecord import Store, processes
from onrecord.cache.bounded import Bounded
from tests.children import Child

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")


def test_the_oldest_goes_first() -> None:
    memory: Bounded[str, int] = Bounded(3)
    for n, key in enumerate("abc"):
        memory.put(key, n)
    assert memory.get("a") == 0
    memory.put("d", 3)
    assert [memory.get(key) for key in "abcd"] == [None, 1, 2, 3], "a look alone keeps nothing"
    assert memory.use("b") == 1
    memory.put("c", 5)
    memory.put("e", 4)
    assert [memory.get(key) for key in "bcde"] == [1, 5, None, 4]
    assert len(memory) == memory.weight == 3


def test_what_is_too_heavy_alone_takes_nothing_else_along() -> None:
    memory: Bounded[str, str] = Bounded(10, largest=5)
    memory.put("a", "x", 4)
    memory.put("b", "y", 5)
    memory.put("a", "z", 6)
    assert memory.get("a") is None, "what was there is outdated"
    assert (memory.get("b"), memory.weight) == ("y", 5)
    unlimited: Bounded[str, str] = Bounded(10)
    unlimited.put("a", "x", 10)
    unlimited.put("b", "y", 11)
    assert (unlimited.get("a"), unlimited.get("b")) == ("x", None)


def test_a_change_sees_the_weight_of_before() -> None:
    memory: Bounded[str, list[int]] = Bounded(10)

    def more(found: list[int] | None, weight: int) -> tuple[list[int], int]:
        return [*(found or ()), weight], weight + 3

    assert [memory.update("a", more) for _ in range(3)] == [[0], [0, 3], [0, 3, 6]]
    assert memory.weight_of("a") == memory.weight == 9
    memory.update("a", more)
    assert (memory.get("a"), memory.weight) == (None, 0), "it has outgrown the memory"
    memory.put("a", [])
    memory.put("b", [], 2)
    memory.drop("b")
    memory.drop("b")
    assert (memory.weight, memory.weight_of("b")) == (1, 0)
    memory.clear()
    assert (len(memory), memory.weight, memory.get("a")) == (0, 0, None)


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "use", "drop"]), st.integers(0, 5), st.integers(0, 12)),
    max_size=40,
)


@given(OPERATIONS, st.integers(0, 20), st.none() | st.integers(0, 20))
def test_it_is_what_a_list_would_be(
    operations: list[tuple[str, int, int]], most: int, largest: int | None
) -> None:
    memory: Bounded[int, object] = Bounded(most, largest)
    model: OrderedDict[int, tuple[object, int]] = OrderedDict()
    for what, key, weight in operations:
        match what:
            case "put":
                value = object()
                memory.put(key, value, weight)
                model.pop(key, None)
                if weight <= (most if largest is None else largest):
                    model[key] = value, weight
                while sum(weight for _, weight in model.values()) > most:
                    model.popitem(last=False)
            case "use":
                assert memory.use(key) is model.get(key, (None,))[0]
                if key in model:
                    model.move_to_end(key)
            case _:
                memory.drop(key)
                model.pop(key, None)
        assert {n: memory.get(n) for n in range(6)} == {
            n: model.get(n, (None,))[0] for n in range(6)
        }
        assert memory.weight == sum(weight for _, weight in model.values())
        assert memory.weight == sum(memory.weight_of(n) for n in range(6))


def test_threads_lose_no_change() -> None:
    memory: Bounded[str, int] = Bounded(1_000)

    def work(seed: int) -> None:
        for n in range(2_000):
            memory.update("sum", lambda found, _: ((found or 0) + 1, 1))
            memory.put(f"{seed} {n % 50}", n, n % 7)
            memory.use(f"{1 - seed} {n % 50}")
            memory.drop(f"{1 - seed} {(n + 25) % 50}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [0, 1, 0, 1]))
    assert memory.get("sum") == 8_000
    assert memory.weight == sum(map(memory.weight_of, list(memory._entries)))
    assert memory._weights.keys() <= memory._entries.keys()


@needs_fork
def test_a_child_waits_for_no_thread_of_its_parent() -> None:
    memory: Bounded[str, int] = Bounded(10)
    memory.put("a", 1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        def change(found: int | None, weight: int) -> tuple[int, int]:
            held.set()
            assert done.wait(60)
            return 2, 1

        memory.update("a", change)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(60)

        def in_child() -> tuple[int | None, int | None, int]:
            before = memory.get("a")
            memory.put("b", 3)
            return before, memory.get("b"), memory.weight

        assert Child(in_child).result() == (None, 3, 1)
    finally:
        done.set()
        thread.join()
    assert memory.get("a") == 2, "the parent has what it had"


@needs_fork
def test_who_is_told_of_a_fork() -> None:
    said: list[str] = []

    class Thing:
        def __init__(self, name: str) -> None:
            self.name = name

        def say(self, what: str) -> None:
            said.append(f"{self.name} {what}")

        def fail(self) -> None:
            raise ValueError("not ready")

    one, other, failing = Thing("one"), Thing("other"), Thing("failing")
    processes.on_fork(failing, before=Thing.fail, in_parent=Thing.fail, in_child=Thing.fail)
    for thing in (one, other):
        processes.on_fork(
            thing,
            before=lambda thing: thing.say("before"),
            in_parent=lambda thing: thing.say("parent"),
            in_child=lambda thing: thing.say("child"),
        )
    child = Child(lambda: list(said)).result()
    assert child == ["one before", "other before", "one child", "other child"]
    assert said == ["one before", "other before", "other parent", "one parent"]


def test_nothing_is_kept_alive_by_being_told() -> None:
    gc.collect()
    told = set(processes._told)
    memory: Bounded[str, int] = Bounded(10)
    store = Store("sqlite://")
    assert len(set(processes._told) - told) > 5
    gone = weakref.ref(memory), weakref.ref(store)
    del memory, store
    gc.collect()
    assert [found() for found in gone] == [None, None]
    assert not set(processes._told) - told


def test_there_is_one_hook() -> None:
    core = Path(onrecord.__file__).parent
    found = [
        file.name
        for folder in (core, core.parent.parent / "integrations")
        for file in folder.rglob("*.py")
        if re.search(r"os\.register_at_fork\(", file.read_text())
    ]
    assert found == ["processes.py"]
