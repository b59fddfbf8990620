"""Windows, as far as it can be tried elsewhere: what it has not is taken away.

On Windows itself the tests of ``portable.txt`` run, in CI; these here run wherever the suite does.
"""

from __future__ import annotations

import json
import ntpath
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from onrecord import Store
from onrecord.ledger.database import address
from onrecord.ledger.database.address import address_of
from tests.posix import MODULES, WHOLE, missing, unguarded, without_encoding
from tests.servers.redis import RedisServer

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    file for folder in ("core", "integrations") for file in (ROOT / folder).rglob("*.py")
)
PORTABLE = (ROOT / "tests" / "portable.txt").read_text(encoding="utf-8").split()
HELPERS = ("conftest.py", "posix.py", "scratch.py", "servers/process.py")


def test_nothing_of_ours_asks_for_what_windows_has_not() -> None:
    """But where it has asked first which system it is: see ``tests/posix.py``."""
    assert SOURCES
    found = {str(file): unguarded(file.read_text(encoding="utf-8")) for file in SOURCES}
    assert {name: uses for name, uses in found.items() if uses} == {}


def test_no_text_is_read_or_written_as_the_machine_prefers() -> None:
    found = {str(file): without_encoding(file.read_text(encoding="utf-8")) for file in SOURCES}
    assert {name: uses for name, uses in found.items() if uses} == {}


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("import os\nos.fork()", ["line 2: os.fork"]),
        ("import os\nif hasattr(os, 'fork'):\n    os.fork()", []),
        ("import os\nif sys.platform != 'win32':\n    os.fork()", []),
        ("def f():\n    if sys.platform == 'win32':\n        return\n    os.getuid()", []),
        ("def f():\n    if sys.platform == 'win32':\n        print()\n    os.getuid()", ["line 4"]),
        ("import fcntl", ["line 1: fcntl"]),
        ("from signal import SIGKILL, SIGTERM", ["line 1: signal.SIGKILL"]),
        ("import os\nos.getpid(), os.replace, os.O_RDWR, os.fsync", []),
    ],
)
def test_the_reader_sees_what_it_is_there_to_see(text: str, uses: list[str]) -> None:
    found = unguarded(text)
    assert len(found) == len(uses)
    assert all(one.startswith(use) for one, use in zip(found, uses, strict=True))


def test_the_portable_tests_are_there_and_portable() -> None:
    """What CI runs on Windows and macOS."""
    assert sorted(set(PORTABLE)) == PORTABLE
    for name in (*PORTABLE, *(f"tests/{helper}" for helper in HELPERS)):
        text = (ROOT / name).read_text(encoding="utf-8")
        inside = [] if name.endswith("process.py") else unguarded(text)  # of methods, not called
        assert inside == [], name
        assert "tests.children" not in text or name.endswith("test_windows.py"), name


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("sqlite:///C:/data/chat.db", r"C:\data\chat.db"),
        ("sqlite:///C:\\data\\chat.db", r"C:\data\chat.db"),
        ("sqlite:///c:/with%20space/chat.db", r"c:\with space\chat.db"),
        ("sqlite:///D:/a/../chat.db", r"D:\chat.db"),
    ],
)
def test_a_drive_stands_in_a_url(monkeypatch: pytest.MonkeyPatch, given: str, file: str) -> None:
    class Windows:
        environ, PathLike = os.environ, os.PathLike
        fspath, path = staticmethod(os.fspath), ntpath

    monkeypatch.setattr(address, "os", Windows)
    found = address_of(given)
    assert found.url.database == file
    assert address_of(str(found)).url.database == file  # as it is shown


# -- without what Windows has not ------------------------------------------------------------------

WITHOUT = """
import asyncio, importlib, importlib.abc, json, os, sys, warnings
import concurrent.futures, ctypes, decimal, glob, inspect, multiprocessing, pathlib, platform
import mmap, select, signal, socket, sqlite3, subprocess, tempfile, time, uuid, zoneinfo
import urllib.request
import msgspec, zstandard, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite

told = json.loads(sys.argv[1])
for name in told["also"]:  # they are made for the machine they are installed on
    importlib.import_module(name)


class Nowhere(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in told["whole"]:
            raise ModuleNotFoundError(f"there is no {name} on Windows", name=name)


sys.meta_path.insert(0, Nowhere())
for name in told["whole"]:
    sys.modules.pop(name, None)
for module, names in told["missing"].items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
zoneinfo.reset_tzpath(())
os.name, sys.platform = "simulated", "win32"
warnings.simplefilter("error", EncodingWarning)
"""

JOURNEYS = """
from datetime import datetime, timedelta, timezone
from pathlib import Path
from onrecord import Message, Store

FOLDER = Path(told["folder"])
try:
    zoneinfo.ZoneInfo("Europe/Paris")
except zoneinfo.ZoneInfoNotFoundError:
    pass
else:
    raise SystemExit("this machine knows its zones after all")


def journeys(store, name):
    chat = store.session(name, user="zoë")
    chat.append(("user", "Where is my order? Grüße, 你好"))
    chat.append([("assistant", "Which one is it?"), ("user", "A-1017, the books.")])
    assert [m.seq for m in chat.tail(2)] == [2, 3]
    assert len(chat.window(tokens=1000).messages) == 3
    assert store.search("orders", user="zoë")[0].message.seq == 1
    assert "order" in store.recall("Where is the order?", user="zoë").text
    facts = store.items("facts", user="zoë")
    facts.put("city", {"at": "Zürich"})
    assert facts.get("city").value == {"at": "Zürich"}
    chat.update(title="Bücher", metadata={"a": 1})
    chat.edit(2, ("assistant", "Which one?"))
    chat.delete(2)
    assert chat.fork(name + "-too").info().messages == 2
    with chat.turn() as turn:
        turn.append(("user", "Still there?"))
    file = FOLDER / f"{name}.jsonl.zst"
    store.export(file)
    store.export(file)  # over the one that is there
    with Store(f"sqlite:///{FOLDER / (name + '-again.db')}") as other:
        other.import_(file)
        assert other.session(name, user="zoë").info().messages == 3
    store.compact()
    assert store.verify() == []
    store.stats(), store.health(), store.prune(older_than=timedelta(days=1), dry_run=True)
    store.session(name + "-too", user="zoë").clear()


async def too(store, name):
    chat = store.session(name, user="async")
    await chat.aappend(("user", "Hello"))
    await asyncio.gather(*(chat.aappend(("user", str(n))) for n in range(20)))
    assert len(await chat.atail(30)) == 21
    assert (await chat.awindow(messages=3)).messages[-1].seq == 21


for url in told["urls"]:
    with Store(url, cache=told["cache"]) as store:
        journeys(store, "sync")
        asyncio.run(too(store, "async"))
        if url.startswith("sqlite"):
            store.backup(FOLDER / "backup.db")
            try:
                store.backup(FOLDER / "backup.db")
            except Exception as fault:
                assert "is there already" in str(fault), fault
            else:
                raise SystemExit("a backup was written over")
            with Store(FOLDER / "backup.db") as copy:
                assert copy.session("async", user="async").info().messages == 21
    with Store(url, cache=told["cache"]) as store:  # another one, the same database
        assert store.session("sync", user="zoë").tail(1)[0].text == "Still there?"
        store.erase(user="zoë")
        assert not store.sessions(user="zoë")

with Store(FOLDER / "zones.db") as store:
    at = store.items("zones", user="z").get("at").value["value"]
    assert at.utcoffset() == timedelta(hours=2), at
    assert at == datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
print("done")
"""

IMPORTS = """
for name in told["names"]:
    importlib.import_module(name)
print("done")
"""


@pytest.fixture
def zones(tmp_path: Path) -> None:
    """A time in a zone that is known here, and where it is read is not."""
    with Store(tmp_path / "zones.db") as store:
        at = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Paris"))
        store.items("zones", user="z").put("at", {"value": at})


def without(
    script: str, folder: Path, *, also: tuple[str, ...] = (), **told: object
) -> subprocess.CompletedProcess[str]:
    """Run it where names that Windows has not are gone, text is ASCII, and zones are unknown."""
    names = {module: sorted(missing(module) - _USED_BY_OTHERS) for module in MODULES}
    whole = sorted({*WHOLE, "tzdata"} - {"posix"})
    given = {"missing": names, "whole": whole, "also": also, "folder": str(folder), **told}
    plain = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    (file := folder / "without.py").write_text(WITHOUT + script, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", file, json.dumps(given)],
        env=os.environ | plain,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


FRAMEWORKS = (
    *("psycopg", "redis", "langchain.agents", "langchain.agents.middleware", "langgraph.graph"),
    *("langgraph.checkpoint.base", "langgraph.store.base", "llama_index.core.memory"),
    *("llama_index.core.storage.chat_store", "pandas", "numpy", "onnxruntime", "tokenizers"),
    *("typer", "typer.testing", "rich.console", "rich.progress", "rich.table"),
)

# What the event loop of this machine looks up while it runs; that of Windows has its own.
_USED_BY_OTHERS = frozenset({"AF_UNIX", "EPOLLIN", "EPOLLOUT", "KQ_EV_ADD", "KQ_EV_DELETE"})


def test_the_journeys_need_nothing_of_posix(tmp_path: Path, zones: None) -> None:
    done = without(JOURNEYS, tmp_path, urls=[f"sqlite:///{tmp_path / 'a.db'}"], cache=None)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_nor_do_they_with_servers(
    tmp_path: Path, zones: None, kept_postgres_url: str, redis_server: RedisServer
) -> None:
    done = without(
        JOURNEYS,
        tmp_path,
        also=("psycopg", "redis", "redis.asyncio", "redis.cluster", "redis.sentinel"),
        urls=[kept_postgres_url],
        cache=redis_server.url,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    """Also those of the adapters, whose frameworks are there already."""
    names = []
    for file in SOURCES:
        root = ROOT / file.relative_to(ROOT).parts[0]
        parts = file.relative_to(root).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    mains = [name for name in names if name.endswith("__main__")]
    done = without(
        IMPORTS, tmp_path, also=FRAMEWORKS, names=[name for name in names if name not in mains]
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
