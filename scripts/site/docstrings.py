"""Shapes docstrings for the site: arguments and fields as lists, each twin with its other.

The docstrings stay as an editor shows them; this is how Griffe reads them to mkdocstrings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import griffe

_ARGUMENT: Final = re.compile(r"^(\w+(?:, \w+)*) {2,}(\S.*)$")


class Docstrings(griffe.Extension):
    """What mkdocstrings asks for by name, in mkdocs.yml."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Shape all that a package has, once it is read as a whole."""
        classes = list(_classes(pkg))
        # Before any of them is changed: a class shows what it inherits as well.
        fields = [(cls, _fields(cls)) for cls in classes]
        for cls, told in fields:
            _tell_twins(cls)
            for function in _own(cls, griffe.Kind.FUNCTION):
                _rewrite(function)
            _rewrite(cls, told)
        for cls in classes:
            for one in _own(cls, griffe.Kind.ATTRIBUTE):
                if not _is_property(one):
                    cls.del_member(one.name)
        for cls in classes:
            # What it has from another class comes behind its own.
            cls.members.update(cls.inherited_members)
        for module in _modules(pkg):
            for one in _own(module, griffe.Kind.FUNCTION):
                _rewrite(one)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for inner in _own(module, griffe.Kind.MODULE):
        yield from _modules(inner)


def _classes(pkg: griffe.Module) -> Iterator[griffe.Class]:
    for module in _modules(pkg):
        yield from _own(module, griffe.Kind.CLASS)


def _own(holder: Any, kind: griffe.Kind) -> list[Any]:
    """The members of a kind that are defined here, and not imported."""
    members = [one for one in holder.members.values() if not one.is_alias]
    return [one for one in members if one.kind is kind]


def _is_property(member: Any) -> bool:
    return "property" in member.labels or "cached" in member.labels


def _tell_twins(cls: griffe.Class) -> None:
    """Leave the twin out whose docstring says no more than that it is like the other."""
    for name in [name for name in cls.members if f"a{name}" in cls.members]:
        one, twin = cls.members[name], cls.members[f"a{name}"]
        if not (one.is_function and twin.is_function and one.docstring and twin.docstring):
            continue
        said = twin.docstring.value
        if said.startswith(f"Like ``{name}``"):
            rest = re.sub(rf"^Like ``{name}``\.?\s*", "", said, count=1)
            one.docstring.value += f"\n\nWith `await`: `a{name}`. {rest}".rstrip()
            cls.del_member(f"a{name}")


def _fields(cls: griffe.Class) -> list[str]:
    found: dict[str, Any] = {**cls.inherited_members, **cls.members}
    told = []
    for name, one in found.items():
        if name.startswith("_") or not one.is_attribute or _is_property(one):
            continue
        # What msgspec checks of it is said in words where it matters.
        kind = re.sub(r"^Annotated\[(.+), Meta\(.*\)\]$", r"\1", str(one.annotation or ""))
        doc = one.docstring.value if one.docstring else ""
        # What is only set in __init__, and what is the same for all objects, needs words to count.
        in_init = "instance-attribute" in one.labels and "class-attribute" not in one.labels
        if not doc and (not kind or kind.startswith("ClassVar") or (in_init and one.value)):
            continue
        head = f"- **`{name}`**" + (f" `{kind}`" if kind else "")
        if one.value is not None and len(str(one.value)) <= 40:
            head += f", by default `{one.value}`"
        told.append(head + ("  \n" + _indented(doc) if doc else ""))
    return told


def _rewrite(one: Any, fields: list[str] | None = None) -> None:
    if one.docstring:
        one.docstring.value = shaped(one.docstring.value)
        if fields:
            one.docstring.value += "\n\n" + "\n".join(fields)


def shaped(text: str) -> str:
    """A docstring as Markdown: columns of arguments as a list, indented code as Python."""
    lines = text.splitlines()
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        argument = _ARGUMENT.match(line)
        before = out[-1] if out else ""
        if argument and (not before.strip() or before.startswith(("- ", "    "))):
            said = [argument[2]]
            while at + 1 < len(lines) and lines[at + 1].startswith("    "):
                at += 1
                said.append(lines[at].strip())
            names = ", ".join(f"**`{name}`**" for name in argument[1].split(", "))
            out += [f"- {names}  ", "    " + " ".join(said)]
        elif line.startswith("    ") and not before.strip():
            code = []
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                code.append(lines[at][4:])
                at += 1
            while code and not code[-1].strip():
                code.pop()
            out += ["```python", *code, "```", ""]
            continue
        else:
            out.append(line)
        at += 1
    return "\n".join(out)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())
