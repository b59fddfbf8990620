"""What is called before a store is closed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from onrecord import Misconfigured, Store
from onrecord.testing.contract import Face


class Outbox:
    """Something that holds words back."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name

    def flush(self) -> None:
        self.store.session("said").append(("user", self.name))

    async def aflush(self) -> None:
        await self.store.session("said").aappend(("user", f"{self.name}, awaited"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/x.db"


def said(url: str) -> list[str]:
    with Store(url) as store:
        return [message.text for message in store.session("said").messages()]


def test_it_is_called_while_the_store_is_open_and_once(url: str, face: Face) -> None:
    store = Store(url)
    one, two = Outbox(store, "1"), Outbox(store, "2")
    for box in (one, two):
        store.before_close(box.flush, box.aflush)
    gone = Outbox(store, "gone")
    store.before_close(gone.flush, gone.aflush)
    del gone
    for _ in range(2):
        face(store).close()
    assert [text.removesuffix(", awaited") for text in said(url)] == ["1", "2"]


def test_a_loop_awaits_the_twin_and_calls_what_has_none_in_a_thread(url: str) -> None:
    async def work() -> None:
        async with Store(url) as store:
            box = Outbox(store, "1")
            store.before_close(box.flush, box.aflush)
            store.before_close(lambda: box.flush())

    asyncio.run(work())
    assert said(url) == ["1, awaited", "1"]


def test_one_that_fails_stops_no_other(
    url: str, face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(url)
    box = Outbox(store, "1")

    def fails() -> None:
        raise ValueError("first")

    def fails_too() -> None:
        raise ValueError("second")

    store.before_close(fails)
    store.before_close(fails_too)
    store.before_close(box.flush)
    with caplog.at_level(logging.ERROR, "onrecord"), pytest.raises(ValueError, match="first"):
        face(store).close()
    assert store.closed
    assert "second" in caplog.text
    assert said(url) == ["1"]


@pytest.mark.parametrize("given", [(None,), ("flush",), (print, "aflush")])
def test_what_cannot_be_called_is_refused(given: Any) -> None:
    with Store("sqlite://") as store, pytest.raises(Misconfigured, match="has to be"):
        store.before_close(*given)
