"""The cache protocol as Lua, one file a script, each begun by ``common.lua``."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name under which Redis remembers it."""

    name: str
    text: str
    sha: str
    looks: bool
    """Whether it only says what is there."""


def script(name: str) -> Script:
    """A script by the name of its file."""
    return _SCRIPTS[name]


def _read() -> dict[str, Script]:
    lua = {
        file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
        for file in files(__name__).iterdir()
        if file.name.endswith(".lua")
    }
    common = lua.pop("common")
    return {name: _script(name, common + text) for name, text in lua.items()}


def _script(name: str, text: str) -> Script:
    sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, looks=name in ("look", "look_item"))


# With the module, and not at their first use: that is on an event loop.
_SCRIPTS: Final = _read()
