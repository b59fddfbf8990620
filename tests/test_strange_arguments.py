"""What is passed to a public method: an answer, or an error of our own and nothing written."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onrecord import ANY, CheckpointLog, Feed, Items, Message, OnrecordError, Store
from onrecord.checkpoint_log import (
    Listing,
    New,
    Same,
)
from onrecord.ledger.database.transaction import Transaction

# It closes what the others need.
LEFT_OUT = {"close", "aclose"}
EXAMPLES, OF_A_TWIN = 12, 5


def deep() -> Any:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    return value


def deep_dict() -> Any:
    value: dict[str, Any] = {}
    for _ in range(5_000):
        value = {"a": value}
    return value


def cycle() -> Any:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


def cyclic_dict() -> Any:
    """A dict that holds itself."""
    value: dict[str, Any] = {"x": 1}
    value["a"] = value
    return value


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Taking:
    """A class where a value or a function belongs; called, it raises nothing of its own."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


STRANGE = st.one_of(
    st.sampled_from(
        [
            *(None, True, -1, 0, 1, 2**31, 2**32, 2**63, 2**64, 10**5000, -(2**70)),
            *(0.5, -0.0, float("nan"), float("inf"), 1e300, 1j),
            *("", "x", "a\0b", "\ud800", "user", "x" * 600, b"", b"bytes", "\u202e"),
            *((), [], {}, set(), (1,), [None], [("user", "x")], {"role": "user"}, {1: 2}),
            *(("user", "x"), Message("user", "x"), {"role": "user", "content": "x"}),
            *(timedelta.max, timedelta.min, timedelta(0), datetime.min, datetime.max, object()),
            *(ANY, Unprintable(), range(10**9), Taking, deep(), {"a": deep()}, {"t": ["x"]}),
            *(deep_dict(), [deep_dict()], cycle(), {"a": cycle()}, cyclic_dict(), [cyclic_dict()]),
        ]
    ),
    st.text(max_size=5),
    st.integers(),
    st.floats(),
)


def or_else(strange: st.SearchStrategy[Any], *usual: Any) -> st.SearchStrategy[Any]:
    """Mostly what is usual: else nothing strange comes behind the first thing that is refused."""
    return st.sampled_from(usual * 3) | strange


ITEM = or_else(STRANGE | st.tuples(STRANGE, STRANGE), ("json", b"{}"))
NUMBERS = st.sampled_from([0, 1, 2, 7, 2**32, 2**64, True])
VALUE = st.one_of(
    ITEM,
    st.builds(
        Listing,
        STRANGE | st.lists(ITEM | NUMBERS, max_size=3),
        epoch=or_else(STRANGE, None, 0),
        whole=or_else(STRANGE, None, lambda: [("json", b"{}")]),
    ),
    st.builds(Same, or_else(STRANGE, lambda: ("json", b"{}"), lambda: None)),
)
TEXT = or_else(STRANGE, "x")
CRAFTED = {
    "thread": or_else(STRANGE, "x"),
    "namespace": or_else(STRANGE, ""),
    "id": or_else(STRANGE, "1", "2"),
    "task": TEXT,
    "path": TEXT,
    "new": STRANGE
    | st.builds(
        New,
        or_else(STRANGE, "1", "2"),
        or_else(STRANGE, None, "1"),
        or_else(STRANGE, [("json", b"{}")]) | st.lists(ITEM, max_size=2),
        STRANGE | st.dictionaries(or_else(st.text(max_size=2), "x", "y"), VALUE, max_size=2),
        run=or_else(STRANGE, None),
        under=or_else(STRANGE, ()),
    ),
    "writes": STRANGE
    | st.lists(
        STRANGE | st.tuples(or_else(STRANGE, 0, -1), or_else(STRANGE, "x"), ITEM), max_size=2
    ),
    "ids": STRANGE | st.dictionaries(st.just("") | st.text(), STRANGE, max_size=2),
    "entries": STRANGE | st.lists(STRANGE, max_size=2),
}
"""By the name of a parameter of the checkpoint log: what only an adapter makes, nearly right."""


def methods() -> Iterator[tuple[type, str]]:
    for cls in (Store, type(Store("sqlite://").session("s")), Items, Feed, CheckpointLog):
        for name, _ in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_") and name not in LEFT_OUT:
                yield cls, name


def is_twin(cls: type, name: str) -> bool:
    return name.startswith("a") and hasattr(cls, name[1:])


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def awaited(call: Callable[[], Any]) -> None:
    """What an async method gives, to its end."""
    answer = call()
    if isinstance(answer, AbstractAsyncContextManager):
        async with answer:
            pass
    elif inspect.isasyncgen(answer):
        async for _ in answer:
            pass
    else:
        await answer


def called(call: Callable[[], Any]) -> None:
    """What a method gives, to its end."""
    answer = call()
    if inspect.isgenerator(answer):
        list(answer)
    elif isinstance(answer, Store):
        answer.close()
    elif isinstance(answer, AbstractContextManager):
        with answer:
            pass


def content(store: Store) -> list[tuple[Any, ...]]:
    """Every row of every table."""

    def work(txn: Transaction) -> list[tuple[Any, ...]]:
        names = txn.rows("SELECT name FROM sqlite_master WHERE name LIKE 'onrecord%'", {})
        tables = [name for (name,) in names if "_by_" not in name]
        return [(name, *row) for name in tables for row in txn.rows(f"SELECT * FROM {name}", {})]

    return store._ledger.read(work)


@pytest.mark.parametrize(
    ("cls", "name"), list(methods()), ids=lambda given: getattr(given, "__name__", given)
)
def test_nothing_comes_out_but_our_own_errors(
    cls: type, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: asyncio.Runner
) -> None:
    monkeypatch.chdir(tmp_path)  # where a strange path would be
    parameters = list(inspect.signature(getattr(cls, name)).parameters.values())[1:]
    twin = is_twin(cls, name)
    crafted = CRAFTED if cls is CheckpointLog else {}

    @settings(max_examples=OF_A_TWIN if twin else EXAMPLES, suppress_health_check=[*HealthCheck])
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        with Store("sqlite://") as store:
            session = store.session("s")
            session.append([("user", "hello"), ("assistant", "hi")])
            log = CheckpointLog(store)
            if cls is CheckpointLog:
                log.put("x", "", New("1", None, [], {"x": Listing([("json", b"{}")])}))
            items = store.items("n")
            items.put_many({"k": {"a": 1}, "other": 2})
            feed = store.feed("f")
            handles = {Store: store, CheckpointLog: log, Items: items, Feed: feed}
            on: Any = handles.get(cls, session)
            positional, named = [], {}
            for parameter in parameters:
                strange = crafted.get(parameter.name, STRANGE)
                if parameter.kind is parameter.VAR_POSITIONAL:
                    positional += data.draw(st.lists(strange, max_size=2), parameter.name)
                elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                    positional.append(data.draw(strange, parameter.name))
                elif data.draw(st.booleans(), f"{parameter.name} is given"):
                    named[parameter.name] = data.draw(strange, parameter.name)
            before = content(store)

            def call() -> Any:
                return getattr(on, name)(*positional, **named)

            try:
                if twin:
                    loop.run(awaited(call))
                else:
                    called(call)
            except OnrecordError:
                assert content(store) == before, "it was refused, and something was written"

    fuzz()
