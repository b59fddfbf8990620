"""For those who test a store of their own, or ours: contracts, and what workers saw."""

from __future__ import annotations

from importlib import import_module
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
    from onrecord.testing.contract_items import ItemsContract
    from onrecord.testing.contract_memory import MemoryContract
    from onrecord.testing.contract_state import StateContract

__all__ = [
    "Appended",
    "Attempted",
    "Deleted",
    "Event",
    "Fell",
    "ItemsContract",
    "Log",
    "MemoryContract",
    "Read",
    "Refused",
    "Rewound",
    "StateContract",
    "StoreContract",
    "Violation",
    "check",
    "load",
]


_CONTRACTS = {
    "ItemsContract": "contract_items",
    "MemoryContract": "contract_memory",
    "StateContract": "contract_state",
    "StoreContract": "contract",
}
"""They need pytest, which workers do not."""


def __getattr__(name: str) -> Any:
    if name not in _CONTRACTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_CONTRACTS[name]}"), name)
