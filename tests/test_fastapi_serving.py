"""The FastAPI example as servers run it: probes, logs for machines, an end that loses nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from onrecord import Store
from tests.servers.process import free_port
from tests.test_fastapi import SERVED, Server, Traffic, example, running

__all__ = ["example"]  # a fixture

WORKERS = 2

# The example itself, with a request that takes as long as the test wants.
HELD = f"""
{SERVED}
import asyncio, pathlib
from fastapi_app import TheStore, log

@app.post("/held/{{name}}")
async def held(name: str, store: TheStore) -> int:
    log.info("holding " + name)
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    [stored] = await store.session("held").aappend(("user", name))
    return stored.seq
"""


def lines(server: Server) -> list[dict[str, Any]]:
    """What the workers logged; the process that starts them speaks uvicorn's plain words."""
    return [json.loads(line) for line in server.log if line.startswith("{")]


# -- the end ---------------------------------------------------------------------------------


class UntilTheEnd(Traffic):
    """Clients that go on until nobody answers any more."""

    EACH = 100_000

    async def _post(self, key: str, message: dict[str, str]) -> dict[str, Any]:
        answer = await self.client.post(f"/users/ada/chats/{key}/messages", json=message)
        assert answer.status_code == 201, answer.text  # no 500, no 503: an answer, or none
        stored: dict[str, Any] = answer.json()
        if sum(map(len, self.acknowledged.values())) >= 100:
            self.enough.set()
        return stored

    async def _talk(self, number: int, key: str) -> None:
        with pytest.raises(httpx.TransportError):
            await super()._talk(number, key)


@pytest.fixture(params=["sqlite", "postgresql with redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'chats.db'}", {}
    cache = request.getfixturevalue("redis_server").url
    return request.getfixturevalue("postgres_url"), {"ONRECORD_CACHE": cache}


def test_sigterm_under_load_finishes_what_is_under_way(
    place: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    """Requests in flight are answered, nothing acknowledged is lost, and it exits with 0."""
    url, settings = place
    traffic: UntilTheEnd

    async def main(server: Server) -> None:
        nonlocal traffic
        traffic = UntilTheEnd(server.address)
        async with traffic.client, asyncio.TaskGroup() as group:
            held = [
                group.create_task(traffic.client.post(f"/held/{n}", timeout=None)) for n in range(4)
            ]
            await asyncio.to_thread(server.wait_for, "holding ", 4)
            talking = group.create_task(traffic.run())
            await traffic.enough.wait()
            server.terminate()
            await asyncio.to_thread(server.wait_for, "Shutting down", WORKERS)
            assert not any(request.done() for request in held)
            (tmp_path / "go").touch()
            answers = [await request for request in held]
            assert [answer.status_code for answer in answers] == [200] * 4
            assert sorted(answer.json() for answer in answers) == [1, 2, 3, 4]
            await talking

    with running(url, tmp_path, workers=WORKERS, served=HELD, settings=settings) as server:
        asyncio.run(main(server))
    # Whoever closes a file of SQLite as the last one takes away what stands beside it.
    assert not (tmp_path / "chats.db-wal").exists()
    said = lines(server)
    # On a busy machine Redis may take too long, and then the database answers; a log line says so.
    slow = ("the cache is left alone for now", "the cache is back")
    odd = [line for line in said if line["level"] != "INFO"]
    assert not [line for line in odd if not line["message"].startswith(slow)]
    assert not any("Traceback" in line for line in server.log)
    assert sum(line["message"] == "Application shutdown complete." for line in said) == WORKERS
    with Store(url, cache=settings.get("ONRECORD_CACHE")) as store:
        assert store.session("held").count() == 4
        for key, acknowledged in traffic.acknowledged.items():
            there = {m.id: m.seq for m in store.session(key, user="ada").scan()}
            assert acknowledged.items() <= there.items()
        assert sum(map(len, traffic.acknowledged.values())) >= 100
        assert store.verify() == []


# -- probes ----------------------------------------------------------------------------------


def probe(example: ModuleType, store: Store, path: str) -> httpx.Response:
    async def main() -> httpx.Response:
        example.app.dependency_overrides[example.get_store] = lambda: store
        try:
            transport = httpx.ASGITransport(example.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                return await client.get(path)
        finally:
            example.app.dependency_overrides.clear()
            await store.aclose()

    return asyncio.run(main())


def test_ready_when_the_database_answers(example: ModuleType, tmp_path: Path) -> None:
    answer = probe(example, Store(f"sqlite:///{tmp_path / 'a.db'}"), "/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_ready_but_degraded_without_the_cache(
    example: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with Store(url) as store:
        store.migrate()
    gone = f"redis://:s3cret@127.0.0.1:{free_port()}/0"
    answer = probe(example, Store(url, cache=gone), "/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "127.0.0.1" not in answer.text
    assert "Check that Redis runs" in caplog.text
    assert "s3cret" not in caplog.text


def test_not_ready_without_the_database(
    example: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "READY_WITHIN", 60)  # the store waits a second for a failover
    nowhere = f"postgresql://me:s3cret@127.0.0.1:{free_port()}/x"
    answer = probe(example, Store(nowhere, timeout=1), "/health/ready")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the database is ill")
    assert "127.0.0.1" not in answer.text
    assert "cannot be reached" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_start_that_fails_says_why_in_one_line(
    example: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONRECORD_URL", f"postgresql://me:s3cret@127.0.0.1:{free_port()}/x")
    monkeypatch.setenv("ONRECORD_TIMEOUT", "1")
    monkeypatch.setattr(example, "log_as_json", lambda: None)  # caplog's handler stays

    async def main() -> None:
        async with example.app.router.lifespan_context(example.app):
            raise AssertionError("it started")

    with pytest.raises(example.Unavailable):
        asyncio.run(main())
    [told] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "cannot be reached" in told.getMessage()
    assert "s3cret" not in told.getMessage()


def refuse(listening: socket.socket) -> None:
    """Answer the client that waits as PostgreSQL does a wrong password, so that it gives up."""
    taken, _ = listening.accept()
    with taken:
        while (asked := taken.recv(1000)) and len(asked) == 8:
            taken.sendall(b"N")  # no encryption
        told = b"SFATAL\0C28P01\0Mpassword authentication failed\0\0"
        taken.sendall(b"E" + struct.pack("!I", len(told) + 4) + told)


def test_a_probe_ends_before_a_database_that_says_nothing(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `live` does not ask it at all."""
    monkeypatch.setattr(example, "READY_WITHIN", 0.2)

    async def main(listening: socket.socket) -> tuple[httpx.Response, httpx.Response]:
        port = listening.getsockname()[1]
        store = Store(f"postgresql://me@127.0.0.1:{port}/x", timeout=3600)
        example.app.dependency_overrides[example.get_store] = lambda: store
        transport = httpx.ASGITransport(example.app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                ready = await client.get("/health/ready")  # an hour before the store gives up
                live = await client.get("/health/live")
        finally:
            example.app.dependency_overrides.clear()
            await asyncio.to_thread(refuse, listening)
            await store.aclose()
        return ready, live

    with socket.create_server(("127.0.0.1", 0)) as listening:
        ready, live = asyncio.run(main(listening))
    assert (ready.status_code, ready.json()["reason"]) == (503, "no answer in time")
    assert (live.status_code, live.json()) == (200, {"status": "alive"})


# -- logs ------------------------------------------------------------------------------------


def test_lines_for_machines_hold_ids_and_no_content(
    example: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was said, by whom and in which conversation stays out, also where something fails."""
    path = "/users/ada-private/chats/private-key/messages"

    async def main() -> list[httpx.Response]:
        app = example.app
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ONRECORD_URL", f"sqlite:///{tmp_path / 'a.db'}")
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://test") as client,
            ):
                told = {"x-request-id": "from-the-proxy.7"}
                said = {"role": "user", "text": "private words", "id": "1"}
                answers = [
                    await client.post(path, json=said, headers=told),
                    await client.post(path, json={**said, "text": "other private words"}),
                    await client.get(path, headers={"x-request-id": 'forged" \x7f'}),
                    await client.get("/health/live"),
                    await client.get("/nowhere/private-path"),
                ]
                patch.setattr(example, "shown", fails)
                answers.append(await client.get(path))
                return answers

    def fails(message: object) -> None:
        raise ValueError(f"a bug that quotes {message}")

    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)  # the client's own lines
    before = logging.root.handlers[:], logging.root.level
    try:
        answers = asyncio.run(main())
    finally:
        logging.root.handlers[:], logging.root.level = before
    assert [a.status_code for a in answers] == [201, 409, 200, 200, 404, 500]
    printed = capsys.readouterr().err
    assert "private" not in printed
    found = [json.loads(line) for line in printed.splitlines()]
    told = [line for line in found if line["message"] == "answered"]
    assert [line["status"] for line in told] == [201, 409, 200, 404, 500]  # no probe that is well
    route = "/users/{user}/chats/{key:path}/messages"
    assert [line["route"] for line in told] == [route, route, route, None, route]
    assert told[0]["request_id"] == answers[0].headers["x-request-id"] == "from-the-proxy.7"
    ids = [line["request_id"] for line in told]
    assert len(set(ids)) == len(ids)
    assert "forged" not in printed
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in found)


def test_a_traceback_is_one_line_without_what_it_quotes(example: ModuleType) -> None:
    said = "private words"
    try:
        raise ValueError(said)
    except ValueError as fault:
        record = logging.LogRecord(
            "x", logging.ERROR, "here", 1, "It failed\nbadly", (), (ValueError, fault, None)
        )
    line = example.JsonLines().format(record)
    assert "\n" not in line
    assert said not in line
    told = json.loads(line)
    assert (told["raised"], told["message"]) == ("ValueError", "It failed\nbadly")
    assert os.path.basename(__file__) in "".join(told["traceback"])
