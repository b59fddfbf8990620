"""Kinds of block: each is known everywhere, and the type check names a place that forgot one."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import msgspec
import pytest

import onrecord
from onrecord import Block, Message, Text, blocks
from onrecord.codec import frame, lines

ROOT = Path(__file__).parent.parent
KINDS: tuple[type[Any], ...] = get_args(Block)
MOST_OPEN: Final = 2
"""Who asks for one or two kinds wants these and no other."""
NEW_KIND = '''
class Forgotten(Struct, frozen=True, array_like=True, gc=False, tag=999):
    """A kind that nobody thought of."""

    kind: ClassVar[str] = "forgotten"
    text: str = ""
    extra: Extra = {}


Block: TypeAlias = (
    Forgotten
    | Text
'''


def filled(kind: type[Any]) -> Any:
    """A block of a kind, with something in every field that only our own codec can write."""
    hints = get_type_hints(kind)
    odd = {1: ({b"\xff"}, 2.5)}
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        if hint is Any or hint == dict[str, Any]:
            values[field.name] = odd if hint is Any else {"odd": odd}
        elif hint == tuple[Block, ...]:
            values[field.name] = (Text("inside", {"odd": odd}),)
        else:
            values[field.name] = some(hint)
    return kind(**values)


def some(hint: Any) -> Any:
    """A value of a type."""
    for value in ("7", 7, True, b"7", ["7"]):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(value, hint)
    raise AssertionError(f"Say here what could be in a field of type {hint}.")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_is_public_and_comes_back(kind: type[Any]) -> None:
    assert getattr(onrecord, kind.__name__) is kind
    assert kind.__name__ in onrecord.__all__
    block = filled(kind)
    message = Message("assistant", (block, Text("")))
    assert frame.decode(frame.encode(message)[0]) == message
    place = lines.Place(1, message, None, 0)
    assert lines.read(lines.line_of(place)) == place
    assert Message("assistant", block).content == (block,)


def test_no_two_kinds_share_a_name_or_a_tag() -> None:
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
    assert sorted(kind.__struct_config__.tag for kind in KINDS) == list(range(len(KINDS)))


def test_the_type_check_names_every_place_that_forgot_a_kind(tmp_path: Path) -> None:
    """Add a kind and nothing else, as somebody would who forgets the rest."""
    for name in (*telling_kinds_apart(), "core/onrecord/__init__.py"):
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    source = tmp_path / "core/onrecord/blocks.py"
    before = errors_of_mypy(tmp_path)  # not of ours: it is told nothing of other packages
    union = "Block: TypeAlias = (\n    Text\n"
    assert source.read_text().count(union) == 1
    source.write_text(source.read_text().replace(union, NEW_KIND.lstrip()))
    forgotten = [
        line.partition(":")[0]
        for line in errors_of_mypy(tmp_path)
        if line not in before and '"assert_never" has incompatible type "Forgotten"' in line
    ]
    assert sorted(forgotten) == [
        "core/onrecord/blocks.py",  # what it weighs
        "core/onrecord/blocks.py",  # how it looks
        "core/onrecord/memory/wording.py",  # how it is put into words
        "integrations/langchain_onrecord/blocks.py",
        "integrations/llama_index_onrecord/blocks.py",
    ]


def test_nobody_else_tells_all_kinds_apart() -> None:
    """Whoever does has to end in ``assert_never``, and to be in the exercise above."""
    for name in telling_kinds_apart():
        for function in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(function, ast.FunctionDef) and len(kinds_in(function)) > MOST_OPEN:
                assert "assert_never(" in ast.unparse(function), f"{name}: {function.name}"


def telling_kinds_apart() -> list[str]:
    """The files in which a function has cases for more than a few kinds."""
    found = []
    for file in (*ROOT.glob("core/**/*.py"), *ROOT.glob("integrations/**/*.py")):
        text = file.read_text()
        if sum(f"{kind.__name__}(" in text for kind in KINDS) <= MOST_OPEN:
            continue  # no function of it has cases for more
        tree = ast.walk(ast.parse(text))
        if any(len(kinds_in(f)) > MOST_OPEN for f in tree if isinstance(f, ast.FunctionDef)):
            found.append(file.relative_to(ROOT).as_posix())
    return found


def kinds_in(function: ast.AST) -> set[str]:
    """Which kinds a function has cases for."""
    names = {kind.__name__ for kind in KINDS}
    return names & {
        node.cls.id
        for node in ast.walk(function)
        if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name)
    }


def errors_of_mypy(folder: Path) -> list[str]:
    """What mypy says of the files in a folder, knowing nothing outside of it."""
    options = ("--follow-imports=skip", "--no-incremental", "--explicit-package-bases")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--no-error-summary", "."],
        cwd=folder,
        env={"MYPYPATH": "core:integrations", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def test_a_look_is_made_of_every_kind() -> None:
    for kind in KINDS:
        block = filled(kind)
        assert isinstance(blocks.look_of(block), get_args(blocks.Look))
        assert isinstance(blocks.weight_of(block), blocks.Weight)
