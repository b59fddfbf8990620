"""The cache protocol as Lua, one file a script, each begun by ``common.lua``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name under which Redis remembers it."""

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """A script by the name of its file."""
    here = files(__name__)
    text = (here / "common.lua").read_text() + (here / f"{name}.lua").read_text()
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())
