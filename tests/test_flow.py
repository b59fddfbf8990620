"""A flow is driven to its end, or dropped where it is."""

from __future__ import annotations

import asyncio
from typing import Any, assert_type

import pytest

from onrecord import Store, Unavailable, operations
from onrecord.cache import Glance
from onrecord.flow import Cold, Flow, Hot, arun, do, run
from onrecord.scope import SessionName
from onrecord.stored.messages import Snapshot

NOBODY: Any = None
"""Whom these steps ask."""


def flow(log: list[str]) -> Flow[str]:
    try:
        first = yield from do(Hot[str](lambda hot: "hot"))
        log.append(first)
        try:
            second = yield from do(Cold[str](lambda txn: "cold"))
        except Unavailable:
            second = "recovered"
        log.append(second)
        return second
    finally:
        log.append("closed")


def answer(step: Any) -> Any:
    return step.call(NOBODY) if isinstance(step, Hot) else step.work(NOBODY)


def failing(step: Any) -> Any:
    if isinstance(step, Cold):
        raise Unavailable("gone")
    return answer(step)


def test_both_drivers_do_the_same() -> None:
    async def asynchronously(step: Any) -> Any:
        await asyncio.sleep(0)
        return answer(step)

    async def failing_asynchronously(step: Any) -> Any:
        return failing(step)

    for expected, sync, asyncronous in (
        ("cold", answer, asynchronously),
        ("recovered", failing, failing_asynchronously),
    ):
        one: list[str] = []
        other: list[str] = []
        assert run(flow(one), sync) == expected
        assert asyncio.run(arun(flow(other), asyncronous)) == expected
        assert one == other == ["hot", expected, "closed"]


def test_a_flow_is_never_resumed_after_a_cancellation() -> None:
    log: list[str] = []
    began = asyncio.Event()

    async def never(step: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(arun(flow(log), never))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert log == ["closed"]


def test_an_interrupt_ends_a_flow() -> None:
    log: list[str] = []

    def interrupt(step: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(flow(log), interrupt)
    assert log == ["closed"]


def test_an_append_is_one_step() -> None:
    with Store("sqlite://") as store:
        steps: list[str] = []

        def perform(step: Any) -> Any:
            steps.append(type(step).__name__)
            return store._perform(step)

        desk, name = store._desk, SessionName(key="k")
        run(operations.append(desk, name, ("user", "x"), None), perform)
        assert steps == ["Cold"]
        steps.clear()
        run(operations.tail(desk, name, 5), perform)
        assert steps == ["Hot", "Cold", "Hot"]


def test_what_the_cache_is_asked_is_seen_by_the_type_check() -> None:
    """mypy would say that a comment is not needed, if it did not see what is wrong."""

    def hot() -> Flow[None]:
        glance = yield from do(Hot(lambda cache: cache.look(b"a", None)))
        assert_type(glance, Glance[Snapshot])
        assert_type((yield from do(Hot(lambda cache: cache.ping()))), bool)
        assert_type((yield from do(Hot(lambda cache: cache.left_alone))), bool)
        glance.nonsense  # type: ignore[attr-defined]  # noqa: B018
        yield from do(Hot(lambda cache: cache.nonsense()))  # type: ignore[attr-defined]
        yield from do(Hot(lambda cache: cache.look("a", None)))  # type: ignore[arg-type]
        yield from do(Hot(lambda cache: cache.close()))  # type: ignore[attr-defined]

    with Store("sqlite://") as store, pytest.raises(AttributeError, match="nonsense"):
        run(hot(), store._perform)
