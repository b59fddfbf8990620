"""Prints every SQL statement of the ledger, to be pasted into a console and explained.

python -m scripts.statements sqlite
python -m scripts.statements postgresql [schema]

Parameters stand as ``:name``. In psql: ``\\set session 7`` and ``\\set fence NULL``; a text keeps
its quotes: ``\\set key '\\'Ana\\''``. In sqlite3: ``.parameter set :session 7``; what is not set
is NULL. Statements are found as constants of a module, and as texts inside a function. What a
function puts together while it runs, as the conditions of a list, is not here.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import onrecord
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.dialect import Dialect

LEDGER: Final = Path(onrecord.__file__).parent / "ledger"
KINDS: Final[tuple[Kind, ...]] = ("sqlite", "postgresql")

_BEGINS: Final = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")

_ONLY: Final[dict[Kind, tuple[str, ...]]] = {
    "sqlite": (
        r"checkpoints/checkpoints _(NEW_VALUES|ITEMS)",  # without array_parameters
        r"sessions/tail \w+\.(session|rows)",  # in one_moment_transactions
        r"schema/migrations applied\(\)",  # its own catalogue
    ),
    "postgresql": (
        r"checkpoints/checkpoints _(AT_ONCE\w*|FETCH_AT_ONCE)",  # one_statement_writes, arrays
        r"items/items _((PUT|DELETE)_AT_ONCE|PUT_ALL)",  # one_statement_writes, arrays
        r"sessions/tail ((_AT_ONCE|_WITH_ITEM)\[.*|\w+\.beside)",  # one_statement_writes, LATERAL
        r"sessions/tail (_SPANS\w*|\w*_OF_MANY)",  # array_parameters, LATERAL
        r"postgres _is_standby\(\)",  # where a server follows another
        r"checkpoints/burying (?!_HEADS)\w+(\[.*)?",  # array_parameters, SKIP LOCKED
        r"maintenance/verifying _(DUE_OF_NONE|NUMBERS_THERE)",  # array_parameters
        r"maintenance/tidying _WANTED",  # its own catalogue
        r"maintenance/horizon \w+",  # where transactions see more than one moment
        r"maintenance/server _(?!CLOCK|VERSION)\w+",  # its own catalogue and settings
        r"schema/migrations (wait_alone|_schema_exists)\(\)",  # its lock, its schemas
        r"schema/distributing .*",  # its partitions, and Citus
        r"schema/migrations (applied\(\) 2|_ELSEWHERE)",  # its own catalogue
        r"maintenance/ages _\w+(\[.*)?",  # its own catalogue and settings
        r"schema/beside (?!_RECORD|_IS_DONE)\S+.*",  # its own catalogue, its locks
    ),
}
"""What is sent to one kind of database alone, and why the other would not understand it."""


class Statement(NamedTuple):
    """A statement, by where it stands."""

    module: str
    name: str
    comment: str
    template: str

    @property
    def place(self) -> str:
        """Under what it is printed."""
        return f"{self.module} {self.name}"


class _Source(NamedTuple):
    """A module as it is written."""

    name: str
    lines: list[str]
    tree: ast.Module
    used: set[str]
    """Names that its functions use: what none of them uses is a part of other statements."""


def statements(kind: Kind) -> Iterator[Statement]:
    """The statements that are sent to one kind of database."""
    sources = [_source(file) for file in sorted(LEDGER.rglob("*.py"))]
    others = [pattern for one in KINDS if one != kind for pattern in _ONLY[one]]
    for source in sources:
        # One with an underscore is its module's own, whatever others call theirs.
        elsewhere = set[str]().union(*(other.used for other in sources))
        for found in [*_constants(source, elsewhere, kind), *_inside_functions(source)]:
            if not any(re.fullmatch(pattern, found.place) for pattern in others):
                yield found


def rendered(template: str, kind: Kind, schema: str | None = None) -> str:
    """A statement with its tables' names, and ``:name`` for each parameter."""
    text = Dialect(kind, schema).render(template)
    if kind == "postgresql":
        text = re.sub(r"%\((\w+)\)s", r":\1", text).replace("%%", "%")
    # Where a function adds the conditions of a scope, all scopes are asked for.
    return re.sub(r"\b(WHERE|AND)$", r"\1 TRUE", text.strip())


def _source(file: Path) -> _Source:
    text = file.read_text("utf-8")
    tree = ast.parse(text)
    used: set[str] = set()
    for node in _functions(tree):
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                used.add(part.id)
            elif isinstance(part, ast.Attribute):
                used.add(part.attr)
    name = file.relative_to(LEDGER).with_suffix("").as_posix()
    return _Source(name, text.splitlines(), tree, used)


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _constants(source: _Source, elsewhere: set[str], kind: Kind) -> Iterator[Statement]:
    dotted = f"onrecord.ledger.{source.name.replace('/', '.')}".removesuffix(".__init__")
    for node in source.tree.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        name = node.target.id
        used = name in (source.used if name.startswith("_") else elsewhere)
        if used and "Final" in ast.unparse(node.annotation):
            value = getattr(import_module(dotted), name)
            for at, text in _texts(value, kind):
                comment = _comment_above(source.lines, node.lineno)
                yield Statement(source.name, name + at, comment, text)


def _texts(value: object, kind: Kind) -> Iterator[tuple[str, str]]:
    """The statements in a constant, and where in it each stands."""
    if isinstance(value, str):
        if _BEGINS.match(value):
            yield "", value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key == kind:
                yield from _texts(one, kind)
            elif key not in KINDS:
                where = ", ".join(map(str, key)) if isinstance(key, tuple) else key
                yield from ((f"[{where}]{at}", text) for at, text in _texts(one, kind))
    elif isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        for n, one in enumerate(value):
            here = f"[{n}]" if names is None else f".{names[n]}"
            yield from ((here + at, text) for at, text in _texts(one, kind))


def _inside_functions(source: _Source) -> Iterator[Statement]:
    for function in _functions(source.tree):
        parts = [node for node in ast.walk(function) if isinstance(node, ast.JoinedStr)]
        of_others = {id(value) for node in parts for value in node.values}
        n = 0
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in of_others
                and _BEGINS.match(node.value)
            ):
                n += 1
                name = f"{function.name}()" if n == 1 else f"{function.name}() {n}"
                comment = _comment_above(source.lines, node.lineno)
                yield Statement(source.name, name, comment, node.value)


def _comment_above(lines: list[str], line: int) -> str:
    """The comment that ends on the line before one."""
    found: list[str] = []
    for text in reversed(lines[: line - 1]):
        if not text.strip().startswith("#"):
            break
        found.insert(0, text.strip().removeprefix("#").strip())
    return "\n".join(found)


def printed(kind: Kind, schema: str | None = None) -> Iterator[str]:
    """What is printed, a statement at a time."""
    for found in statements(kind):
        said = [found.place, *found.comment.splitlines()]
        heading = "\n".join(f"-- {line}" for line in said)
        yield f"{heading}\n{rendered(found.template, kind, schema)};\n"


def main(arguments: list[str]) -> int:
    """Print them."""
    match arguments:
        case ["sqlite"]:
            print("\n".join(printed("sqlite")))
        case ["postgresql"]:
            print("\n".join(printed("postgresql")))
        case ["postgresql", schema]:
            print("\n".join(printed("postgresql", schema)))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
