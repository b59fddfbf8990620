"""A process that keeps its own loop busy does not take its delay for one of Redis."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from onrecord import Store
from onrecord.cache.within import Within
from tests.servers.redis import RedisServer

TASKS = 64


def test_64_tasks_on_a_busy_loop_keep_the_cache_in_use(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def main(store: Store) -> None:
        await store.amigrate()
        done = False

        async def busy() -> None:
            while not done:
                time.sleep(0.12)  # noqa: ASYNC251 - this is what the test is about
                await asyncio.sleep(0)

        async def talk(n: int) -> None:
            chat = store.session(f"{n}")
            for turn in range(3):
                await chat.aappend(("user", f"{turn}"))
                assert len(await chat.atail(5)) == turn + 1

        hog = asyncio.create_task(busy())
        await asyncio.gather(*map(talk, range(TASKS)))
        done = True
        await hog
        assert store._belief.off is None, "nobody switched the cache off"
        assert not store._hot.left_alone
        # Of three reads each. An answer that waits for ten turns of this loop opens the breaker for
        # a moment, which costs a third of them, and more where the machine is busy as well.
        assert store._hot.counters.hits >= TASKS // 2

    url = f"sqlite:///{tmp_path}/x.db"
    with Store(url, durability="normal", cache=redis_server.url) as store:
        asyncio.run(main(store))


def test_a_limit_does_not_count_the_loops_own_delay() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        loop.call_soon(time.sleep, 0.2)  # the loop is busy, and the timer fires late
        loop.call_later(0.21, answer.set_result, "heard")
        async with Within(0.1) as within:
            assert await answer == "heard"
        assert within.delayed > 0
        with pytest.raises(TimeoutError):
            async with Within(0.01):
                await loop.create_future()

    asyncio.run(main())
