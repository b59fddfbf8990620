"""Whether a server will run out of numbers for transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from onrecord.diagnosis import Finding
from onrecord.flow import Flow
from onrecord.flows.maintenance.doctor.rounds import Rounds, finding
from onrecord.ledger.maintenance import ages
from onrecord.ledger.maintenance.ages import Age

LAST: Final = 2_147_000_000
"""So many numbers there are, but for a reserve: then a server takes no writes any more."""
_DANGER: Final = 1_600_000_000
"""From here on PostgreSQL itself freezes as if nothing else mattered (vacuum_failsafe_age)."""
_LATE: Final = 2.0
"""Times the age at which autovacuum begins: by then it has failed, or does not come."""


def wraparound(rounds: Rounds) -> Flow[Iterable[Finding] | None]:
    """Compare the ages of the oldest numbers with those at which something is done, or breaks."""
    found = yield from rounds.look(ages.ages)
    return judged(found) if found else None


def judged(found: Sequence[Age]) -> list[Finding]:
    """What these ages mean."""
    findings = []
    for one in found:
        danger = one.age >= _DANGER
        if not danger and one.age < _LATE * one.limit:
            continue
        ours = (
            f" Of ours {one.table} is the oldest: {one.table_age:,}."
            if one.table is not None and one.table_age >= _LATE * one.limit
            else " It is none of our tables."
        )
        findings.append(
            finding(
                "wraparound",
                "error" if danger else "warning",
                f"The oldest number of {one.counter} that this database keeps is {one.age:,} old, "
                f"and autovacuum should have frozen it at {one.limit:,}. At about {LAST:,} the "
                f"server takes no more writes.{ours}",
                "End what holds old rows back (see the check transactions: old and prepared "
                "transactions, replication slots), then VACUUM FREEZE the oldest tables, as their "
                "owner, and look why autovacuum does not come.",
            )
        )
    return findings
