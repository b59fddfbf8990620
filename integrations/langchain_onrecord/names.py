"""Names that are given, or found when an agent runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from onrecord.arguments import check_function

Named: TypeAlias = str | Callable[[Any], str]
"""A name, or a function of LangGraph's runtime that gives one."""


def check_names(named: Mapping[str, Named]) -> None:
    """Refuse what is no name, and gives none."""
    for part, given in named.items():
        if not isinstance(given, str):
            check_function(part, given, "a name or a function that gives one")


def name_of(given: Named, runtime: Any) -> str:
    """Find a name in a run."""
    return given if isinstance(given, str) else given(runtime)


def names_of(named: Mapping[str, Named], runtime: Any) -> dict[str, str]:
    """Find several names in a run."""
    return {part: name_of(given, runtime) for part, given in named.items()}
