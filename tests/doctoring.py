"""What the tests of the doctor share: a clock that is wrong, and findings by check."""

from __future__ import annotations

import asyncio

from onrecord import Diagnosis, Finding, Store, operations
from onrecord.stored.clock import MICROSECONDS, now


def of(diagnosis: Diagnosis, check: str) -> list[Finding]:
    """What one check has found."""
    return [found for found in diagnosis.findings if found.check == check]


def only(diagnosis: Diagnosis, check: str) -> Finding:
    """The one thing that a check has found."""
    (found,) = of(diagnosis, check)
    return found


def worse(diagnosis: Diagnosis) -> list[str]:
    """All that is worse than a note, in words."""
    return [str(found) for found in diagnosis.findings if found.severity != "note"]


def at(store: Store, seconds: float, within: float = 30.0) -> Diagnosis:
    """What the doctor says on a machine whose clock is so many seconds ahead."""

    def clock() -> int:
        return now() + int(seconds * MICROSECONDS)

    return store._run(operations.doctor(store._desk, store._examined(), within, clock))


def both(store: Store) -> Diagnosis:
    """What the doctor says, sync and async: it is the same."""
    # What a server counts may change between the two, as where it cleans up.
    for _ in range(5):
        said, other = store.doctor(), asyncio.run(_later(store))
        if _found(said) == _found(other):
            break
    assert _found(said) == _found(other)
    assert said.checks == other.checks, str(other)
    return said


async def _later(store: Store) -> Diagnosis:
    return await store.adoctor()


def _found(said: Diagnosis) -> set[tuple[str, str]]:
    return {(one.check, one.severity) for one in said.findings}
