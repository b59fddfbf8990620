"""For those who test a store of their own, or ours: a contract, and what workers saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onrecord.testing.events import (
    Appended,
    Attempted,
    Deleted,
    Event,
    Fell,
    Read,
    Refused,
    Rewound,
    Violation,
)
from onrecord.testing.history import check
from onrecord.testing.log import Log, load

if TYPE_CHECKING:
    from onrecord.testing.contract import StoreContract

__all__ = [
    "Appended",
    "Attempted",
    "Deleted",
    "Event",
    "Fell",
    "Log",
    "Read",
    "Refused",
    "Rewound",
    "StoreContract",
    "Violation",
    "check",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "StoreContract":  # needs pytest, which workers do not
        from onrecord.testing.contract import StoreContract

        return StoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
