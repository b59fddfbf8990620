"""The house: which way the arrows run, what importing costs, and that sync and async agree."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import onrecord
from onrecord import Session, Store
from onrecord.ledger.ledger import Ledger

CORE = Path(onrecord.__file__).parent
ROOT = CORE.parent.parent

# Each layer may import from itself and from those before it.
LAYERS = [
    {"errors", "clock", "health", "version", "scope", "message", "reports", "py"},
    {"codec", "coerce", "files", "flow", "ids", "ranges", "rows", "tokens", "strands", "chain"},
    {"ledger", "hot"},
    {"assembly", "window"},
    {"protocol"},
    {
        "session",
        "store",
        "checkpoints",
        "display",
        "adapting",
        "bringing",
        "reference",
        "upkeep",
        "turns",
    },
    {"testing"},
]


def imported(file: Path) -> set[str]:
    """What a file imports from onrecord when it runs, not for types alone."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            top, *rest = node.module.split(".")
            if top == "onrecord":
                found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("onrecord.")}
    return found


def test_arrows_run_one_way() -> None:
    level = {module: n for n, layer in enumerate(LAYERS) for module in layer}
    backwards = []
    for file in CORE.rglob("*.py"):
        module = file.relative_to(CORE).parts[0].removesuffix(".py")
        if module == "__init__" or module == "testing":
            continue
        for target in imported(file):
            if target in level and level[target] > level[module]:
                backwards.append(f"{file.relative_to(CORE)} imports {target}")
    # The objects people hold know each other: a store makes sessions, both are displayed.
    assert not backwards


def test_every_module_of_the_core_has_a_layer() -> None:
    known = set().union(*LAYERS)
    modules = {p.name.removesuffix(".py") for p in CORE.iterdir() if not p.name.startswith("_")}
    assert {m for m in modules if not m.endswith(".typed")} <= known


def test_adapters_know_only_what_onrecord_exports() -> None:
    for file in (ROOT / "integrations").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onrecord."):
                allowed = {f"onrecord.{name}" for name in FOR_ADAPTERS}
                assert node.module in allowed, f"{file} reaches into {node.module}"


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


def test_everything_exported_is_there() -> None:
    for name in onrecord.__all__:
        assert getattr(onrecord, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        onrecord.Nonsense  # noqa: B018 - the access is the test
    assert set(onrecord.__all__) <= set(dir(onrecord))


FOR_ADAPTERS = (
    *("testing", "adapting", "reference", "tokens", "checkpoints"),
    *("bringing", "bringing.engines", "bringing.lists", "bringing.redis", "bringing.rows"),
    *("bringing.table", "bringing.tables"),
)
WITHOUT_IO = {"session", "from_env", "name", "store", "address", "token_counter"}


@pytest.mark.parametrize("cls", [Store, Session, Ledger])
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
        assert inspect.iscoroutinefunction(twin), f"{cls.__name__}.a{name} is not async"
        assert ours.return_annotation == theirs.return_annotation, name
        assert f"``{name}``" in (twin.__doc__ or ""), f"a{name} does not say whose twin it is"
