"""The house: which way the arrows run, what importing costs, and that sync and async agree."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

import onrecord
from onrecord import Feed, Items, Session, Store
from onrecord.adapters.turns import HeldSession
from onrecord.ledger.ledger import Ledger

CORE = Path(onrecord.__file__).parent
ROOT = CORE.parent.parent

# A room is a folder, or a module that stands in none. Each may import from the floors below it.
FLOORS: list[set[str]] = [
    {
        "tables",
        "errors",
        "flow",
        "health",
        "blocks",
        "closing",
        "migration",
        "plural",
        "processes",
        "usage",
        "version",
        "cache/scripts",
        "ranking",
    },
    {"message"},
    {"files", "filters", "item", "reports", "scope", "tokens", "stored"},
    {"arguments", "change", "gist"},
    {"accepting", "window", "codec", "ledger/database", "settings", "watching"},
    {"cache", "embedding", "ledger/search", "notebook", "ranking", "telemetry"},
    {"diagnosis", "hit", "ledger/sessions", "recall", "unfinished"},
    {"ledger/feed", "ledger/items", "ledger/schema", "ledger/checkpoints", "flows"},
    {"ledger", "ledger/maintenance", "flows/items", "flows/turns"},
    {"flows/sessions", "flows/checkpoints", "flows/feed", "flows/search"},
    {"flows/maintenance", "flows/maintenance/doctor"},
    {"operations"},
    {"feed", "items", "turn"},
    {"session", "store_maintenance"},
    {"store_search"},
    {"store"},
    {"adapters"},
    {"checkpoint_log", "adapters/importing", "memory"},
    {"testing", "testing/langgraph_store"},
    {"cli"},
    {"__main__"},
]


PUBLIC_ROOMS = ("adapters", "memory", "testing")


def modules() -> dict[str, Path]:
    """Every module of the core by its dotted name."""
    found = {}
    for file in CORE.rglob("*.py"):
        parts = file.relative_to(CORE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room_of(module: str, file: Path) -> str:
    """The folder a module stands in, or the module itself where that is the package's own."""
    folder = file.relative_to(CORE).parent.as_posix()
    return module.partition(".")[2] if folder == "." else folder


def imported(file: Path, known: Collection[str]) -> set[str]:
    """What a file imports from onrecord when it runs, not for types alone."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & set(known)
    return found


def test_arrows_run_one_way() -> None:
    floor = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
    known = modules()
    upwards = []
    for module, file in known.items():
        here = room_of(module, file)
        if module == "onrecord" or here == "testing":
            continue
        for target in imported(file, known.keys()):
            there = room_of(target, known[target])
            if there and there != here and floor[there] >= floor[here]:
                upwards.append(f"{module} imports {target}")
    assert not upwards


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module, file) for module, file in modules().items()} - {""}
    assert rooms == set().union(*FLOORS)


def test_no_name_of_before_is_left() -> None:
    """The project had another name, which is somebody else's on the package index."""
    before = "recol" + "lect"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("This is no checkout of git.")
    left = []
    for name in filter(None, listed.stdout.split("\0")):
        file = ROOT / name
        named = before in name.lower()
        if named or (file.is_file() and before.encode() in file.read_bytes().lower()):
            left.append(name)
    assert not left


def test_adapters_know_only_what_is_public() -> None:
    """What has no folder is public, and ``adapters`` is there for them. The memories of the core
    know no more than they do."""
    outside = [*(ROOT / "integrations").rglob("*.py"), *(CORE / "memory").rglob("*.py")]
    for file in outside:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onrecord."):
                first = (node.module or "").split(".")[1]
                public = (CORE / f"{first}.py").is_file() or first in PUBLIC_ROOMS
                assert public, f"{file} reaches into {node.module}"


def test_importing_onrecord_loads_nothing_heavy() -> None:
    program = (
        "import sys, onrecord; onrecord.Message; onrecord.OnrecordError\n"
        "heavy = ['sqlalchemy', 'redis', 'psycopg', 'langchain_core', 'llama_index', 'langgraph']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_core_imports_no_framework() -> None:
    """But for the cases that ask LangGraph's stores; and nothing else imports those."""
    frameworks = {"langchain", "langchain_core", "langgraph", "llama_index"}
    for module, file in modules().items():
        if room_of(module, file) == "testing/langgraph_store":
            continue
        text = file.read_text()
        if not any(word in text for word in ("langchain", "langgraph", "llama_index")):
            continue  # all of those names have one of these in them
        for node in ast.walk(ast.parse(text)):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                assert name.partition(".")[0] not in frameworks, f"{module} imports {name}"
                assert "langgraph_store" not in name, f"{module} imports {name}"


def test_everything_exported_is_there() -> None:
    for name in onrecord.__all__:
        assert getattr(onrecord, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        onrecord.Nonsense  # noqa: B018 - the access is the test
    assert set(onrecord.__all__) <= set(dir(onrecord))


def test_the_memories_list_what_they_export_and_no_module() -> None:
    memories = importlib.import_module("onrecord.memory")
    for name in memories.__all__:
        assert getattr(memories, name) is not None  # which imports the modules
    listed = dir(memories)
    assert [name for name in listed if not name.startswith("__")] == sorted(memories.__all__)
    assert {"__all__", "__doc__", "__path__"} <= set(listed)


WITHOUT_IO = {
    "before_close",
    "feed",
    "items",
    "session",
    "from_env",
    "closed",
    "name",
    "store",
    "address",
    "token_counter",
    "is_here",
    "is_late",
}


@pytest.mark.parametrize("cls", [Store, Session, HeldSession, Items, Feed, Ledger])
def test_every_method_has_its_twin(cls: type) -> None:
    public = {
        name: member
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") and callable(member) and name not in WITHOUT_IO
    }
    if cls is Ledger:
        public = {n: m for n, m in public.items() if n.lstrip("a") in ("read", "write", "migrate")}
    twins = {name for name in public if name.startswith("a") and name[1:] in public}
    for name in public.keys() - twins:
        twin = public.get(f"a{name}")
        assert twin is not None, f"{cls.__name__}.{name} has no a{name}"
        ours, theirs = inspect.signature(public[name]), inspect.signature(twin)
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
        if name == "scan":
            assert inspect.isasyncgenfunction(twin)
            continue
        if twin.__annotations__["return"].startswith("AbstractAsyncContextManager"):
            continue  # it is waited for where it is entered
        assert inspect.iscoroutinefunction(twin), f"{cls.__name__}.a{name} is not async"
        assert ours.return_annotation == theirs.return_annotation, name
        assert f"``{name}``" in (twin.__doc__ or ""), f"a{name} does not say whose twin it is"


def test_a_store_that_is_up_to_date_is_used_without_sqlalchemy(
    tmp_path: Path, postgres_url: str
) -> None:
    """To load it slows the first append, and it is needed for a caller's engine alone."""
    program = (
        "import sys; from onrecord import Store\n"
        "store = Store(sys.argv[1]); store.session('k').append(('user', 'x'))\n"
        "print(len(store.session('k').tail()), 'sqlalchemy' in sys.modules); store.close()"
    )
    for url in (f"sqlite:///{tmp_path / 'x.db'}", postgres_url):
        for stored in (1, 2):
            command = [sys.executable, "-c", program, url]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            assert answer.stdout.split() == [str(stored), "False"]


def test_only_the_ledger_knows_which_database_it_is() -> None:
    """Others ask what it can do: ``txn.can``."""
    for file in CORE.rglob("*.py"):
        room = file.relative_to(CORE).parts[0]
        if room in ("ledger", "adapters") or "kind" not in (text := file.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Compare) and "kind" in ast.unparse(node.left):
                said = ast.unparse(node)
                assert not {"sqlite", "postgresql"} & set(re.findall(r"\w+", said)), (
                    f"{file}: {said}"
                )
