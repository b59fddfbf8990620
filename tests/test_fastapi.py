"""The FastAPI example: four worker processes over one database, and one of them killed."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Final

import httpx
import pytest

import onrecord
from onrecord import Store
from tests.servers.process import free_port, wait_until_gone

EXAMPLES = Path(__file__).parents[1] / "examples"
CORE = Path(onrecord.__file__).parents[1]  # what is tested here is what is served
WORKERS = 4
PATIENCE = 60.0

# The example itself, and which process answered.
SERVED = """
import os
from fastapi_app import app

@app.middleware("http")
async def say_who(request, call_next):
    response = await call_next(request)
    response.headers["x-pid"] = str(os.getpid())
    return response
"""


class Server:
    """uvicorn with its workers, and what they logged."""

    def __init__(
        self, url: str, folder: Path, workers: int, served: str, settings: Mapping[str, str]
    ) -> None:
        (folder / "served.py").write_text(served)
        self.address = f"http://127.0.0.1:{(port := free_port())}"
        options = [
            "--port",
            str(port),
            "--workers",
            str(workers),
            "--no-access-log",
            "--ws",
            "none",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "uvicorn", "served:app", *options],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(folder), str(EXAMPLES), str(CORE)]),
                "ONRECORD_URL": url,
                "ONRECORD_POOL_SIZE": "5",
                **settings,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._told_to_end = False
        self.log: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self.log.append(line)
                self._changed.notify_all()
        with self._changed:
            self.log.append("")
            self._changed.notify_all()

    def wait_for(self, text: str, times: int) -> None:
        """Wait until the log has said something so often."""

        def seen() -> bool:
            return sum(text in line for line in self.log) >= times or self.log[-1:] == [""]

        with self._changed:
            assert self._changed.wait_for(seen, PATIENCE), "".join(self.log)
        assert self.log[-1] != "", "".join(self.log)

    def terminate(self) -> None:
        """Send SIGTERM, as whoever runs it in production does, and do not wait."""
        self._told_to_end = True
        self._process.terminate()

    def stop(self) -> int:
        """Let the workers finish, see to it that all of them are gone, and say how it ended."""
        try:
            if not self._told_to_end:  # a second one may come when its handler is gone already
                self.terminate()
            return self._process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):  # as it should be: nobody is left
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._reader.join(PATIENCE)
            assert self._process.stderr is not None
            self._process.stderr.close()


@contextmanager
def running(
    url: str,
    folder: Path,
    *,
    workers: int = WORKERS,
    served: str = SERVED,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    server = Server(url, folder, workers, served, settings)
    try:
        server.wait_for("Application startup complete.", workers)
        yield server
    finally:
        ended = server.stop()
    assert ended == 0, "".join(server.log)


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'chats.db'}"
    given: str = request.getfixturevalue("postgres_url")
    return given


class Traffic:
    """Many clients that post to a few conversations and remember what they were told."""

    CLIENTS: Final = 16
    EACH: ClassVar = 12
    KEYS: Final = ("a", "b/messages", "c: % 'ö'")

    def __init__(self, address: str, user: str = "ada") -> None:
        self.user = user
        # A connection a request: so that each may meet another worker.
        self.client = httpx.AsyncClient(
            base_url=address,
            timeout=PATIENCE,
            limits=httpx.Limits(max_keepalive_connections=0, max_connections=24),
        )
        self.sent: dict[str, list[list[str]]] = {key: [] for key in self.KEYS}
        """By conversation, the ids that each client sent, in its order."""
        self.acknowledged: dict[str, dict[str, int]] = {key: {} for key in self.KEYS}
        self.pids: set[int] = set()
        self.enough = asyncio.Event()
        self.retries = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(self.CLIENTS):
                clients.create_task(self._talk(number, self.KEYS[number % len(self.KEYS)]))

    async def _talk(self, number: int, key: str) -> None:
        ids = [f"{number}-{n}" for n in range(self.EACH)]
        self.sent[key].append(ids)
        for name in ids:
            stored = await self._post(key, {"role": "user", "text": f"I am {name}", "id": name})
            assert (stored["id"], stored["text"]) == (name, f"I am {name}")
            self.acknowledged[key][name] = stored["seq"]
            if sum(map(len, self.acknowledged.values())) >= self.CLIENTS * self.EACH // 4:
                self.enough.set()

    async def _post(self, key: str, message: dict[str, str]) -> dict[str, Any]:
        while True:
            try:
                answer = await self.client.post(
                    f"/users/{self.user}/chats/{key}/messages", json=message
                )
            except httpx.TransportError:  # its worker was killed: nobody knows what it had done
                self.retries += 1
                assert self.retries < 1_000
                continue
            assert answer.status_code == 201, answer.text
            self.pids.add(int(answer.headers["x-pid"]))
            stored: dict[str, Any] = answer.json()
            return stored

    async def check(self, readers: int, never: int | None = None) -> None:
        """Every reader is served the same: all that was acknowledged, once, in one order."""
        for key in self.KEYS:
            read: dict[int, list[dict[str, Any]]] = {}
            for _ in range(1_000):
                answer = await self.client.get(f"/users/{self.user}/chats/{key}/messages?limit=200")
                assert answer.status_code == 200, answer.text
                messages = read.setdefault(int(answer.headers["x-pid"]), answer.json())
                assert answer.json() == messages
                if len(read) >= readers:
                    break
            assert len(read) >= readers
            assert never not in read
            assert all(other == messages for other in read.values())
            assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
            seqs = {message["id"]: message["seq"] for message in messages}
            assert len(seqs) == len(messages)
            assert seqs == self.acknowledged[key]
            for ids in self.sent[key]:
                assert [seqs[name] for name in ids] == sorted(seqs[name] for name in ids)
        listed = (await self.client.get(f"/users/{self.user}/chats")).json()
        assert {chat["key"]: chat["messages"] for chat in listed} == {
            key: len(seqs) for key, seqs in self.acknowledged.items()
        }
        assert (await self.client.get("/users/bob/chats")).json() == []


def test_four_workers_serve_one_order_and_then_three_of_them(url: str, tmp_path: Path) -> None:
    """What the fourth acknowledged before it was killed is served by the others."""

    async def together(address: str) -> None:
        traffic = Traffic(address)
        async with traffic.client:
            await traffic.run()
            assert traffic.retries == 0
            assert len(traffic.pids) > 1
            await traffic.check(readers=2)

    async def without_one(address: str) -> None:
        traffic = Traffic(address, user="cy")
        async with traffic.client, asyncio.TaskGroup() as group:
            talking = group.create_task(traffic.run())
            await traffic.enough.wait()
            assert not talking.done()
            victim = next(iter(traffic.pids))
            os.kill(victim, signal.SIGKILL)
            await talking
            await traffic.check(readers=2, never=victim)
            await asyncio.to_thread(wait_until_gone, victim)

    with running(url, tmp_path) as server:
        asyncio.run(together(server.address))
        assert not any('"level": "ERROR"' in line for line in server.log), "".join(server.log)
        assert not any("Traceback" in line for line in server.log), "".join(server.log)
        asyncio.run(without_one(server.address))


# -- errors ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLES / "fastapi_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(
    example: ModuleType, url: str, *requests: tuple[str, str, dict[str, object] | None]
) -> list[httpx.Response]:
    async def main() -> list[httpx.Response]:
        app = example.app
        transport = httpx.ASGITransport(app)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ONRECORD_URL", url)
            patch.setenv("ONRECORD_TIMEOUT", "1")
            # Here it has no process of its own, and would change how everything else is logged.
            patch.setattr(example, "log_as_json", lambda: None)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://test") as client,
            ):
                return [await client.request(m, path, json=body) for m, path, body in requests]

    return asyncio.run(main())


def test_errors_become_answers(example: ModuleType, tmp_path: Path) -> None:
    path = "/users/ada/chats/a/messages"
    hello: dict[str, object] = {"role": "user", "text": "hello", "id": "1"}
    answers = ask(
        example,
        f"sqlite:///{tmp_path / 'a.db'}",
        ("POST", path, hello),
        ("POST", path, hello),  # a retry
        ("POST", path, {**hello, "text": "goodbye"}),
        ("POST", path, {"role": "user", "text": "late", "expected": 0}),
        ("POST", path, {"role": "", "text": "nobody"}),
        ("POST", f"/users/{'x' * 600}/chats/a/messages", hello),
        ("GET", f"{path}?limit=0", None),
        ("GET", path, None),
    )
    assert [a.status_code for a in answers] == [201, 201, 409, 409, 422, 422, 422, 200]
    assert answers[0].json() == answers[1].json()
    errors = ["IdReused", "Conflict", "InvalidMessage", "InvalidName"]
    assert [a.json()["error"] for a in answers[2:6]] == errors
    assert "512" in answers[5].json()["detail"]
    assert [m["text"] for m in answers[-1].json()] == ["hello"]


def test_a_database_that_is_gone_is_503_and_a_wrong_one_stops_the_start(
    example: ModuleType, tmp_path: Path
) -> None:
    nowhere = f"postgresql://me:s3cret@127.0.0.1:{free_port()}/x"
    with pytest.raises(example.Unavailable):
        ask(example, nowhere)

    async def main() -> httpx.Response:
        async with Store(nowhere, timeout=1) as store:
            example.app.dependency_overrides[example.get_store] = lambda: store
            try:
                transport = httpx.ASGITransport(example.app)
                async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                    return await client.get("/users/ada/chats/a/messages")
            finally:
                example.app.dependency_overrides.clear()

    answer = asyncio.run(main())
    assert answer.status_code == 503
    assert answer.json()["error"] == "Unavailable"
    assert "s3cret" not in answer.text
    assert "127.0.0.1" not in answer.text
