"""What is passed to a public method: an answer, or an error of our own and nothing written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onrecord import ANY, CheckpointLog, Message, OnrecordError, Store
from onrecord.ledger.database.transaction import Transaction

# They close what the others need, hold a thread, or take values that only an adapter makes.
LEFT_OUT = {"close", "turn", "from_env", "put", "put_writes", "filled", "drop"}


def deep() -> Any:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    return value


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


STRANGE = st.one_of(
    st.sampled_from(
        [
            *(None, True, -1, 0, 1, 2**31, 2**32, 2**63, 2**64, 10**5000, -(2**70)),
            *(0.5, -0.0, float("nan"), float("inf"), 1e300, 1j),
            *("", "x", "a\0b", "\ud800", "user", "x" * 600, b"", b"bytes", "\u202e"),
            *((), [], {}, set(), (1,), [None], [("user", "x")], {"role": "user"}, {1: 2}),
            *(("user", "x"), Message("user", "x"), {"role": "user", "content": "x"}),
            *(timedelta.max, timedelta.min, timedelta(0), datetime.min, datetime.max, object()),
            *(ANY, Unprintable(), range(10**9), int, deep(), {"a": deep()}, {"t": ["x"]}),
        ]
    ),
    st.text(max_size=5),
    st.integers(),
    st.floats(),
)


def methods() -> Iterator[tuple[type, str]]:
    for cls in (Store, type(Store("sqlite://").session("s")), CheckpointLog):
        names = {name for name, _ in inspect.getmembers(cls, inspect.isfunction)}
        for name in sorted(names):
            asynchronous = name.startswith("a") and name[1:] in names
            if not name.startswith("_") and not asynchronous and name not in LEFT_OUT:
                yield cls, name


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
    cls: type, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a strange path would be
    parameters = list(inspect.signature(getattr(cls, name)).parameters.values())[1:]

    @settings(max_examples=12, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        with Store("sqlite://") as store:
            session = store.session("s")
            session.append([("user", "hello"), ("assistant", "hi")])
            on: Any = {Store: store, CheckpointLog: CheckpointLog(store)}.get(cls, session)
            positional, named = [], {}
            for parameter in parameters:
                if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                    positional.append(data.draw(STRANGE, parameter.name))
                elif data.draw(st.booleans(), f"{parameter.name} is given"):
                    named[parameter.name] = data.draw(STRANGE, parameter.name)
            before = content(store)
            call: Callable[..., Any] = getattr(on, name)
            try:
                answer = call(*positional, **named)
                if inspect.isgenerator(answer):
                    list(answer)
                elif isinstance(answer, Store):
                    answer.close()
            except OnrecordError:
                assert content(store) == before, "it was refused, and something was written"

    fuzz()
