"""Sessions whose time has come, found by two indexes and without a look at all the others.

The first way goes by activity, up to the latest that anybody who says nothing of his own may have
been active: what was asked for, or what the store has for those that say nothing. The second goes
by what sessions say themselves. Both indexes are a little early, and the row decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.maintenance.erasing import AsRead, InArchive
from onrecord.ledger.maintenance.erasing_many import Doomed
from onrecord.ledger.sessions.description import COLUMNS, DUE, Described
from onrecord.scope import Scope, SessionName
from onrecord.stored.clock import EARLIEST, MICROSECONDS, period_of
from onrecord.stored.messages import SessionKey

LOOKED_AT: Final = 500
"""Sessions that one statement looks at: it is answered in some hundredths of a second, however
few of them are due."""

_OWN_SECOND: Final = "(CAST(active_period AS DOUBLE PRECISION) * 512 + expires_in / 1000000)"
"""When its period began, and how long it lasts after that, as the index has it: see tables.py."""
_WAYS: Final = (
    ("active_period <= :latest", "active_period", ":at"),
    (
        f"expires_in IS NOT NULL AND {_OWN_SECOND} <= :now_second AND active_period > :latest",
        _OWN_SECOND,
        "CAST(:at AS DOUBLE PRECISION)",
    ),
)
_BEGINNING: Final = -(2**63)
_NEVER: Final = EARLIEST - 1
"""Before whatever was last active, also before 1970."""


class Place(NamedTuple):
    """How far somebody has come who looks for what is due."""

    way: int
    at: float
    number: int


FIRST: Final = Place(0, _BEGINNING, _BEGINNING)


class Asked(NamedTuple):
    """What is due."""

    scope: Scope
    before: int | None
    """What nobody wrote to since; None where that makes nothing due."""
    now: int
    default: int | None
    """How long a session lasts that says nothing itself; None for ever."""

    @property
    def latest(self) -> int:
        """The period up to which all are looked at."""
        moments = [_NEVER if self.before is None else self.before]
        moments += [] if self.default is None else [self.now - self.default]
        return period_of(max(moments))

    @property
    def values(self) -> dict[str, object]:
        return {
            "before": _NEVER if self.before is None else self.before,
            "now": self.now,
            "now_second": self.now // MICROSECONDS + 1,
            "default": self.default,
            "latest": self.latest,
        }


class Due(NamedTuple):
    """A session whose time has come."""

    key: SessionKey
    fence: int
    described: Described
    in_archive: InArchive | None = None
    """See ``AsRead``."""

    @classmethod
    def of(
        cls, key: Sequence[Any], fence: int, described: Sequence[Any], in_archive: Sequence[Any]
    ) -> Due:
        """One in an archive, whose parts are plain lists."""
        state, archived = in_archive
        found = InArchive(state, tuple((first, last) for first, last in archived))
        return cls(SessionKey(*key), fence, Described(*described), found)

    @property
    def doomed(self) -> Doomed:
        """What is to go, if nobody comes back to it."""
        tenant, user, agent, key, *_ = self.described
        name = SessionName(key=key, tenant=tenant, user=user, agent=agent)
        as_read = AsRead.of(self.described)._replace(in_archive=self.in_archive)
        return Doomed(self.key, name, self.fence, as_read)


def page(txn: Transaction, asked: Asked, after: Place) -> tuple[list[Due], Place | None]:
    """Some of what is due behind a place, and up to where that is; None where that was all."""
    wanted, column, at = _WAYS[after.way]
    conditions, chosen = keys.of_scope(asked.scope)
    conditions += [wanted, f"{column} >= {at}", f"({column}, id) > ({at}, :number)"]
    rows = txn.rows(
        f"SELECT {column}, {{shard}}, id, fence, CASE WHEN {DUE} THEN 1 ELSE 0 END, {COLUMNS} "
        f"FROM {{sessions}} WHERE {' AND '.join(conditions)} ORDER BY {column}, id LIMIT :limit",
        {
            **chosen,
            **asked.values,
            "at": after.at,
            "number": after.number,
            "limit": LOOKED_AT,
        },
    )
    found = [
        Due(SessionKey(shard, number), fence, Described(*described))
        for _, shard, number, fence, is_due, *described in rows
        if is_due
    ]
    if len(rows) == LOOKED_AT:
        return found, Place(after.way, rows[-1][0], rows[-1][2])
    return found, Place(1, _BEGINNING, _BEGINNING) if after.way == 0 else None


def count(txn: Transaction, asked: Asked) -> int:
    """How many are due."""
    total = 0
    for wanted, _, _ in _WAYS:
        conditions, chosen = keys.of_scope(asked.scope)
        where = " AND ".join([*conditions, wanted, f"({DUE})"])
        row = txn.first(
            f"SELECT count(*) FROM {{sessions}} WHERE {where}", {**chosen, **asked.values}
        )
        assert row is not None, "an aggregate always answers"
        total += int(row[0])
    return total
