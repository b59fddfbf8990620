"""The row of a reader: its name, and how far it has looked.

What a row says only saves looking: that a session was looked at, and not what was found. Whether
a reader has finished it stands in ``positions.py``.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import ANY, AnyName, FeedName, Scope
from onrecord.stored.clock import EARLIEST, LATEST, MICROSECONDS
from onrecord.stored.messages import LAST_SEQ

Place = tuple[int, int]
"""Where a session stands among those last active: its second, and its number."""
BEFORE_ALL: Final[Place] = (EARLIEST // MICROSECONDS, 0)
BEHIND_ALL: Final[Place] = (LATEST // MICROSECONDS + 1, 0)
"""What stands before the one or behind the other is damaged, and verify() names it."""

_FOUND: Final = """id, named, second, session, newest, swept_second, swept_session, swept_at"""
_FIND: Final = f"""
    SELECT {_FOUND}, {{clock}} FROM {{feeds}} WHERE identity = :identity"""
# All that are there are found by the time of their last activity, the oldest first.
_CREATE: Final = """
    INSERT INTO {feeds} (
        identity, name, named, tenant, "user", agent,
        second, session, newest, swept_second, swept_session, swept_at
    ) VALUES (
        :identity, :name, 1, :tenant, :user, :agent,
        :second, :session, CAST(:newest AS BIGINT), :second, :session, 0
    ) ON CONFLICT (identity) DO NOTHING"""
_HIGHEST: Final = "SELECT coalesce(max(id), 0) FROM {sessions}"
_NAME: Final = """
    UPDATE {feeds} SET named = 1, tenant = :tenant, "user" = :user, agent = :agent
    WHERE id = :feed AND named = 0"""
_KEEP: Final = """
    UPDATE {feeds} SET
        second = :second, session = :session, newest = :newest,
        swept_second = :swept_second, swept_session = :swept_session, swept_at = :swept_at
    WHERE id = :feed"""
_DROP: Final = "DELETE FROM {feeds} WHERE id = :feed"
# Those within the scope, and those that reach beyond it and name the same. A scope of nothing but
# ANY and empty names says nothing of anybody.
_UNNAME: Final = """
    UPDATE {feeds} SET named = 0, tenant = '', "user" = '', agent = ''
    WHERE named = 1
        AND (coalesce(tenant, '') <> '' OR coalesce("user", '') <> '' OR coalesce(agent, '') <> '')
        AND (CAST(:tenant AS TEXT) IS NULL OR coalesce(tenant, :tenant) = :tenant)
        AND (CAST(:user AS TEXT) IS NULL OR coalesce("user", :user) = :user)
        AND (CAST(:agent AS TEXT) IS NULL OR coalesce(agent, :agent) = :agent)
        AND (tenant = nullif(CAST(:tenant AS TEXT), '') OR "user" = nullif(CAST(:user AS TEXT), '')
            OR agent = nullif(CAST(:agent AS TEXT), '')
            OR (CAST(:tenant AS TEXT) IS NULL OR tenant = :tenant)
            AND (CAST(:user AS TEXT) IS NULL OR "user" = :user)
            AND (CAST(:agent AS TEXT) IS NULL OR agent = :agent))"""
_LISTED: Final = """
    SELECT id, named, name, tenant, "user", agent FROM {feeds}
    WHERE id > :after ORDER BY id LIMIT :limit"""


class Row(NamedTuple):
    """How far a reader has looked, and when that was read."""

    number: int
    named: int
    second: int
    session: int
    newest: int
    swept_second: int
    swept_session: int
    swept_at: int
    now: int
    """By the clock of the database."""

    @property
    def place(self) -> Place:
        """Up to where sessions were looked at, as they were active one after the other."""
        return self.second, self.session

    @property
    def swept(self) -> Place:
        """Up to where the going over all of them has come."""
        return self.swept_second, self.swept_session


class Listed(NamedTuple):
    """A reader in the list of all."""

    number: int
    named: bool
    name: str
    scope: Scope


def find(txn: Transaction, name: FeedName, now: int) -> Row | None:
    """The row of a reader; None where it has never read."""
    row = txn.first(_FIND, {"identity": name.hashed(txn.facts.store_id), "now": now})
    return None if row is None else Row(*row)


def create(txn: Transaction, name: FeedName) -> None:
    """Make a reader's row, where there is none."""
    # Of one that is made meanwhile both ways know: its number is higher, and its time later.
    newest = txn.first(_HIGHEST, {})
    txn.run(
        _CREATE,
        {
            "identity": name.hashed(txn.facts.store_id),
            "name": name.name,
            **names(name.scope),
            "second": BEFORE_ALL[0],
            "session": BEFORE_ALL[1],
            "newest": newest[0] if newest else 0,
        },
    )


def keep(txn: Transaction, row: Row, name: FeedName) -> bool:
    """Say how far a reader has looked, and hold its row to the end of this transaction; False
    where it was forgotten."""
    values = {name: number for name, number in row._asdict().items() if name not in _NOT_KEPT}
    if not txn.run(_KEEP, {**values, "feed": row.number}):
        return False
    if not row.named:  # somebody is there again who had been erased
        txn.run(_NAME, {"feed": row.number, **names(name.scope)})
    return True


_NOT_KEPT: Final = ("number", "named", "now")


def drop(txn: Transaction, number: int) -> bool:
    """Take a reader's row away: from here on nobody adds to its positions."""
    return bool(txn.run(_DROP, {"feed": number}))


def unname(txn: Transaction, scope: Scope) -> int:
    """Forget whose sessions readers read that read those of a scope that was erased: of all in it,
    and of those that reach beyond it where they name the same; how many."""
    return txn.run(_UNNAME, names(scope))


def listed(txn: Transaction, after: int, limit: int) -> list[Listed]:
    """Readers, in the order in which they began."""
    return [
        Listed(number, bool(named), name, Scope(*map(_scope_part, scope)))
        for number, named, name, *scope in txn.rows(_LISTED, {"after": after, "limit": limit})
    ]


def is_number(number: int) -> bool:
    """Whether a reader can have this number: another would reach into another session's rows."""
    return 0 < number <= LAST_SEQ


def names(scope: Scope) -> dict[str, Any]:
    """The names of a scope as values; None for every one."""
    return {part: None if name is ANY else name for part, name in scope._asdict().items()}


def _scope_part(stored: str | None) -> AnyName:
    return ANY if stored is None else stored
