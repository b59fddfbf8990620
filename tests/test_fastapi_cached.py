"""The FastAPI example with Redis in front: two workers, and one of them killed in mid-append."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.servers.process import wait_until_gone
from tests.servers.redis import RedisServer
from tests.test_fastapi import SERVED, Traffic, running

WORKERS = 2
TAIL = 20

CACHED = f"""
{SERVED}
@app.middleware("http")
async def say_how_often_the_cache_answered(request, call_next):
    response = await call_next(request)
    response.headers["x-hits"] = str(request.app.state.store._hot.counters.hits)
    return response
"""


class Reader:
    """Reads tails all the while, and knows what has to be in them."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.reads = 0
        self.hits: dict[int, int] = {}
        """Of each worker, how often its cache has answered."""

    async def run(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self.look()

    async def look(self) -> None:
        for key in self.traffic.KEYS:
            # All of this was acknowledged before the request is made.
            acknowledged = dict(self.traffic.acknowledged[key])
            try:
                answer = await self.traffic.client.get(
                    f"/users/ada/chats/{key}/messages?limit={TAIL}"
                )
            except httpx.TransportError:  # its worker was killed
                continue
            assert answer.status_code == 200, answer.text
            seqs = {message["id"]: message["seq"] for message in answer.json()}
            head = max(seqs.values(), default=0)
            assert list(seqs.values()) == list(range(head - len(seqs) + 1, head + 1))
            assert len(seqs) == min(head, TAIL)
            for name, seq in acknowledged.items():
                if seq > head - TAIL:
                    assert seqs.get(name) == seq, f"{name} was acknowledged, and is not served"
            self.reads += 1
            self.hits[int(answer.headers["x-pid"])] = int(answer.headers["x-hits"])


@pytest.mark.slow
def test_what_a_killed_worker_acknowledged_is_served_by_the_other(
    postgres_url: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    async def main(address: str) -> None:
        traffic = Traffic(address)
        reader = Reader(traffic)
        done = asyncio.Event()
        async with traffic.client, asyncio.TaskGroup() as group:
            for _ in range(2_000):  # until both are there: one alone would take all
                await reader.look()
                if len(reader.hits) == WORKERS:
                    break
            talking = group.create_task(traffic.run())
            reading = group.create_task(reader.run(done))
            await traffic.enough.wait()
            assert not talking.done()
            assert len(reader.hits) == WORKERS
            victim = next(iter(traffic.pids))
            os.kill(victim, signal.SIGKILL)
            await talking
            done.set()
            await reading
            await traffic.check(readers=1, never=victim)
            await asyncio.to_thread(wait_until_gone, victim)
            # Its successor as well, and out of the cache as soon as its marks are settled.
            before = dict(reader.hits)
            for _ in range(2_000):
                await reader.look()
                hot = {pid for pid, hits in reader.hits.items() if hits > before.get(pid, 0)}
                if len(hot - {victim}) == WORKERS:
                    break
            assert len(hot - {victim}) == WORKERS

    settings = {"ONRECORD_CACHE": redis_server.url, "ONRECORD_REVALIDATE": "1"}
    with running(
        postgres_url, tmp_path, workers=WORKERS, served=CACHED, settings=settings
    ) as server:
        asyncio.run(main(server.address))
