"""For those who test a store of their own, or ours: what workers saw, and whether it can be."""

from recollect.testing.history import (
    Appended,
    Attempted,
    Deleted,
    Event,
    Log,
    Read,
    Refused,
    Rewound,
    Violation,
    check,
    load,
)

__all__ = [
    "Appended",
    "Attempted",
    "Deleted",
    "Event",
    "Log",
    "Read",
    "Refused",
    "Rewound",
    "Violation",
    "check",
    "load",
]
