"""Which names of the standard library Windows has not, as its type stubs in mypy know them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import mypy

STUBS: Final = Path(mypy.__file__).parent / "typeshed" / "stdlib"
MODULES: Final = ("mmap", "os", "select", "signal", "socket", "time")
"""Modules that are everywhere, with names that are not."""
WHOLE: Final = frozenset(
    ("curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios")
) | {"tty"}
"""Modules that are not there at all."""
_ELSEWHERE: Final = (
    "sys.platform != 'win32'",
    "sys.platform == 'linux'",
    "sys.platform == 'darwin'",
)


@cache
def missing(module: str) -> frozenset[str]:
    """Names of a module that are there on another system, and on Windows not."""
    file = STUBS / f"{module}.pyi"
    if not file.exists():
        file = STUBS / module / "__init__.pyi"
    there: set[str] = set()
    elsewhere: set[str] = set()
    _sort(ast.parse(file.read_text(encoding="utf-8")).body, there, elsewhere)
    return frozenset(elsewhere - there)


def _sort(body: list[ast.stmt], there: set[str], elsewhere: set[str]) -> None:
    for one in body:
        if isinstance(one, ast.If):
            test = ast.unparse(one.test)
            left_out = any(words in test for words in _ELSEWHERE)
            _sort(one.body, elsewhere if left_out else there, elsewhere)
            _sort(one.orelse, elsewhere if test == "sys.platform == 'win32'" else there, elsewhere)
        else:
            there.update(_named(one))


def _named(one: ast.stmt) -> Iterator[str]:
    match one:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (name.asname or name.name for name in names)


def unguarded(text: str) -> list[str]:
    """Uses of such names in a module, where nothing asks first which system it is.

    To ask is an ``if`` around it, or one before it that leaves, which names ``sys.platform``,
    ``os.name``, or ``hasattr``.
    """
    tree = ast.parse(text)
    used = [(node, name) for node in ast.walk(tree) for name in _used(node)]
    if not used:
        return []
    parents = {inner: outer for outer in ast.walk(tree) for inner in ast.iter_child_nodes(outer)}
    return [
        f"line {getattr(node, 'lineno', 0)}: {name}"
        for node, name in used
        if not _is_guarded(node, parents)
    ]


def _used(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in MODULES:
            if name in missing(module):
                yield f"{module}.{name}"
        case ast.ImportFrom(module=str(module), names=names):
            if module in WHOLE:
                yield module
            elif module in MODULES:
                yield from (f"{module}.{n.name}" for n in names if n.name in missing(module))
        case ast.Import(names=names):
            yield from (name.name for name in names if name.name in WHOLE)
        case ast.Call(
            func=ast.Attribute(attr="add_signal_handler" | "open_unix_connection" as name)
        ):
            yield name


def _is_guarded(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    while (outer := parents.get(node)) is not None:
        if isinstance(outer, ast.If | ast.IfExp) and node is not outer.test and _asks(outer.test):
            return True
        for body in (getattr(outer, "body", None), getattr(outer, "orelse", None)):
            if isinstance(body, list) and node in body:
                before = body[: body.index(node)]
                if any(
                    isinstance(one, ast.If) and _asks(one.test) and _ends(one) for one in before
                ):
                    return True
        node = outer
    return False


def _asks(test: ast.expr) -> bool:
    words = ast.unparse(test)
    return any(asked in words for asked in ("sys.platform", "os.name", "hasattr("))


def _ends(one: ast.If) -> bool:
    return isinstance(one.body[-1], ast.Return | ast.Raise | ast.Continue)


def without_encoding(text: str) -> list[str]:
    """Files that are opened for text in whatever encoding the machine prefers."""
    if not any(name in text for name in ("open", "read_text", "write_text")):
        return []
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        named = {one.arg: one.value for one in node.keywords}
        match node.func:
            case ast.Name(id="open"):
                mode = named.get("mode", node.args[1] if len(node.args) > 1 else None)
                is_text = not (isinstance(mode, ast.Constant) and "b" in str(mode.value))
            case ast.Attribute(attr="read_text"):
                is_text = not node.args
            case ast.Attribute(attr="write_text"):
                is_text = len(node.args) < 2
            case _:
                is_text = False
        if is_text and "encoding" not in named:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found
