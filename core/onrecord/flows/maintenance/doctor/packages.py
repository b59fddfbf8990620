"""The packages that this process has loaded, against the floors that ours asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Final

from onrecord.diagnosis import Finding
from onrecord.flow import Flow, InThread, do
from onrecord.flows.maintenance.doctor.rounds import finding, numbers

_FLOOR: Final = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*>=\s*([\d.]+)")
_DRIVERS: Final = ("sqlalchemy", "zstandard", "msgspec", "psycopg", "redis")


def packages() -> Flow[Iterable[Finding]]:
    """Compare what is installed with what we ask for."""
    installed = yield from do(InThread(_installed))
    return [
        finding(
            "packages",
            "error",
            f"{name} {version} is loaded, and Onrecord needs {floor} or later.",
            f'Install a later one: pip install --upgrade "{name}>={floor}".',
        )
        for name, version, floor in installed
        if numbers(version) < numbers(floor)
    ]


def _installed() -> list[tuple[str, str, str]]:
    """What is loaded of what is asked for: its name, its version and the floor."""
    try:
        wanted: Sequence[str] = metadata.requires("onrecord") or ()
    except metadata.PackageNotFoundError:  # it is run from a folder: nobody says what it needs
        return []
    found = {}
    for line in wanted:
        named = _FLOOR.match(line)
        if named is not None and named[1] in _DRIVERS and named[1] in sys.modules:
            try:
                found[named[1]] = named[1], metadata.version(named[1]), named[2]
            except metadata.PackageNotFoundError:
                continue
    return list(found.values())
