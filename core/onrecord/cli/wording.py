"""Words of the library for somebody at a shell: methods become commands, and settings variables.

An error says what to do next, ``store.migrate()`` or ``timeout=``; whoever reads it here has no
store, and types ``onrecord migrate``, or sets ONRECORD_TIMEOUT. An error about an argument names
the option that was typed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from onrecord.settings import SETTINGS

_ALIKE: Final = """
    backup compact doctor erase export health index invalidate maintain migrate prune stats train
    verify"""
COMMANDS: Final = {name: name for name in _ALIKE.split()} | {"embed": "index", "import_": "import"}
"""The command that does what a method of a store does."""

_CALL: Final = re.compile(rf"\b(?:store\.)?({'|'.join(COMMANDS)})\(([^()]*)\)((?:\.\w+)*)")
_OPTION: Final = re.compile(r"(\w+)=('[^']*'|[\w.]+)")
_TWICE: Final = re.compile(r"(`onrecord [^`]*`) or \1")
_STORE: Final = re.compile(r"\bStore\(…, (\w+=[^()]*)\)")
_OPENED: Final = re.compile(r",? or open (?:the|a new) store(?: without migrate=False)?")
_SETTING: Final = re.compile(
    rf"(?<![\w.(?&/])({'|'.join(name for name, one in SETTINGS.items() if one.variable)})="
    r"('[^']*'|\"[^\"]*\"|\d[\w.]*|True|False)?(?![\w=])"
)


def in_shell(text: str) -> str:
    """What a text of the library says, for who has a shell."""
    text = _STORE.sub(r"\1", _OPENED.sub("", text))
    text = _TWICE.sub(r"\1", _CALL.sub(_command, text))
    return _SETTING.sub(_variable, text)


def as_typed(text: str, options: Mapping[str, Sequence[str]], typed: Sequence[str]) -> str:
    """An error, with the option that was typed in the place of how the library calls it, or of
    another spelling of the option. ``options`` has the spellings by the names of arguments."""
    for name, spellings in options.items():
        used = next((one for one in spellings if _is_among(one, typed)), None)
        if used is None:
            continue
        called = [rf"{name}(?= has | takes | can )", *map(re.escape, spellings)]
        setting = SETTINGS.get(name)
        if setting is not None and setting.variable is not None:
            called.append(setting.variable)
        text = re.sub(rf"^(?:{'|'.join(called)})(?![\w-])", used, text)
    return text


def _is_among(option: str, typed: Sequence[str]) -> bool:
    if option.startswith("--"):
        return any(one == option or one.startswith(f"{option}=") for one in typed)
    return any(one.startswith(option) for one in typed)


def _command(found: re.Match[str]) -> str:
    options = [
        f" --{name.replace('_', '-')}" + ("" if value == "True" else f" {value}")
        for name, value in _OPTION.findall(found[2])
        # What a command does by itself needs no option.
        if value != "ANY" and (name, value) != ("thorough", "True")
    ]
    return f"`onrecord {COMMANDS[found[1]]}{''.join(options)}`"


def _variable(found: re.Match[str]) -> str:
    variable = SETTINGS[found[1]].variable
    assert variable is not None, "only those are looked for"
    if found[2] is None:
        return variable
    return f"{variable}={found[2].strip(chr(39) + chr(34)).lower()}"
