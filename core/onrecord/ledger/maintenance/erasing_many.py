"""How many sessions go in one transaction, by a statement a table; one alone: ``erasing.py``.

Whoever goes over many waits for nobody while it holds some of them. A session that somebody has
locked, or its state, and one whose row is damaged are left to be taken alone; and all with a state,
where their states have too many items to go together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from onrecord.ledger.database import keys, many
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.stamp import FenceMoved
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.feed import positions
from onrecord.ledger.items import states
from onrecord.ledger.items.states import Held, HeldState
from onrecord.ledger.maintenance import erasing
from onrecord.ledger.maintenance.erasing import AsRead, InArchive
from onrecord.ledger.sessions import archives, sessions
from onrecord.scope import ItemName, Scope, SessionName
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.stored.items import WrittenItem
from onrecord.stored.messages import SessionKey, SessionRow
from onrecord.version import Version

_COLUMNS: Final = f"{sessions.FOUND}, identity, expires_in, about, archived"
_LOCK: Final[dict[Kind, str]] = {
    "sqlite": f"SELECT {_COLUMNS} FROM {{sessions}} WHERE id = :session",
    "postgresql": f"""
        SELECT {_COLUMNS} FROM {{sessions}} WHERE {{many_sessions}}
        ORDER BY id, shard FOR UPDATE SKIP LOCKED""",
}


def _both(of_one: str, of_many: str) -> dict[Kind, str]:
    return {"sqlite": of_one, "postgresql": of_many}


_REMOVE: Final = {
    table: _both(
        of_one,
        f"DELETE FROM {{{table.removeprefix('onrecord_')}}} WHERE {{of_many_sessions}}",
    )
    for table, of_one in erasing.REMOVE_ROWS.items()
} | {"onrecord_sessions": _both(erasing.REMOVE, "DELETE FROM {sessions} WHERE {many_sessions}")}
_REMEMBER: Final[dict[Kind, str]] = {
    "sqlite": erasing.REMEMBER,
    "postgresql": """
        INSERT INTO {erased} (identity, session, epoch, at)
        SELECT e.identity, e.session, e.epoch, :at
        FROM unnest(
            CAST(:identities AS BYTEA[]), CAST(:sessions AS BIGINT[]), CAST(:epochs AS BIGINT[])
        ) AS e (identity, session, epoch)
        ON CONFLICT (identity) DO UPDATE SET
            session = excluded.session, epoch = excluded.epoch, at = excluded.at""",
}
_PAGE: Final = 'SELECT {shard}, id, fence, tenant, "user", agent, key FROM {sessions}'


class Doomed(NamedTuple):
    """A session that is to go."""

    key: SessionKey
    name: SessionName
    fence: int
    """As it was read."""
    only_as: AsRead | None = None
    """It stays where somebody has come back to it since."""


class Gone(NamedTuple):
    """A session that has gone."""

    name: SessionName
    before: Version
    after: Version


class RemovedMany(NamedTuple):
    """What has gone of many sessions."""

    gone: list[Gone]
    counted: Counter[str]
    """How much that was, by table."""
    items: dict[bytes, WrittenItem]
    """What went of their states."""
    left: list[Doomed]
    """Those that are to be taken alone."""
    held_up: bool
    """Whether nobody at all could write meanwhile."""


def page(txn: Transaction, scope: Scope, after: SessionKey, limit: int) -> list[Doomed]:
    """Sessions of a scope by key, beginning after one."""
    conditions, chosen = keys.of_scope(scope)
    between, order, ends = sessions.by_key(txn, after)
    found = txn.rows(
        f"{_PAGE} WHERE {' AND '.join([*conditions, *between])} {order}",
        {**chosen, **ends, "limit": limit},
    )
    return [
        Doomed(
            SessionKey(shard, number),
            SessionName(key=key, tenant=tenant, user=user, agent=agent),
            fence,
        )
        for shard, number, fence, tenant, user, agent, key in found
    ]


def remove(txn: Transaction, doomed: Sequence[Doomed]) -> RemovedMany:
    """Take sessions away, and remember only that something was there.

    FenceMoved, with all of them, where not each was marked as it stands.
    """
    if not txn.can.across_shards:
        return RemovedMany([], Counter(), {}, list(doomed), False)
    txn.begin()
    alone, wanted = _told_apart(txn, doomed)
    locked = _locked(txn, wanted)
    held = states.hold(txn, [wanted[key].name for key in locked])
    alone += [one for key, one in wanted.items() if key not in locked]
    rows: list[tuple[SessionRow, SessionName]] = []
    for key, (row, identity, as_read) in locked.items():
        one = wanted[key]
        name = one.name
        if identity != name.identity or row.damage or _goes_alone(name, held):
            alone.append(one)
        elif _is_as(one.only_as, as_read, held.states.get(name)):
            rows.append((row, name))
    gone_states = [held.states[name] for _, name in rows if name in held.states]
    fences = _fences_of(gone_states, held)
    _refuse_fenced(txn, rows, fences)
    held_up = txn.can.one_moment_transactions
    if not rows:
        return RemovedMany([], Counter(), {}, alone, held_up)
    counted = _removed(txn, [row for row, _ in rows])
    of_states, items = states.remove(txn, gone_states, fences)
    _remember(txn, rows)
    gone = [Gone(name, row.version, Version(row.epoch + 1, 0)) for row, name in rows]
    return RemovedMany(gone, counted + of_states, items, alone, held_up)


def _goes_alone(name: SessionName, held: Held) -> bool:
    """Whether its state keeps a session from going with others."""
    return name in held.busy or (held.fences is None and name in held.states)


def _is_as(only_as: AsRead | None, as_read: AsRead, state: HeldState | None) -> bool:
    """Whether a session is as it was read, and its state where that matters."""
    if only_as is None:
        return True
    found = None if only_as.in_archive is None else as_read.in_archive
    if found is not None and state is not None:
        found = found._replace(state=state.version)
    return only_as == as_read._replace(in_archive=found)


def _fences_of(gone: Sequence[HeldState], held: Held) -> dict[ItemName, int]:
    """The fences of the items that go."""
    names = {one.name for one in gone}
    found = held.fences or {}
    return {item: fence for item, fence in found.items() if item.namespace in names}


def _told_apart(
    txn: Transaction, doomed: Sequence[Doomed]
) -> tuple[list[Doomed], dict[SessionKey, Doomed]]:
    """Those that can only be found by their names, and the others by their keys, in their order."""
    alone: list[Doomed] = []
    wanted: dict[SessionKey, Doomed] = {}
    for one in sorted(doomed, key=lambda one: (one.key.session, one.key.shard)):
        shard = one.name.shard if txn.can.array_parameters else 0
        if keys.is_number(txn, one.key.session) and one.key.shard == shard:
            wanted[one.key] = one
        else:
            alone.append(one)
    return alone, wanted


def _locked(
    txn: Transaction, wanted: Mapping[SessionKey, Doomed]
) -> dict[SessionKey, tuple[SessionRow, bytes, AsRead]]:
    """Those that nobody else has locked, each as it stands, with its identity."""
    locked: dict[SessionKey, tuple[SessionRow, bytes, AsRead]] = {}
    for *columns, identity, expires_in, about, archived in many.rows(txn, _LOCK, list(wanted)):
        row = SessionRow(*columns)
        said = about and bytes(about)
        in_archive = InArchive(0, archives.unpacked(archived))
        as_read = AsRead(row.version, row.last_active, expires_in, said, in_archive)
        locked[row.key] = (row, bytes(identity), as_read)
    return locked


def _refuse_fenced(
    txn: Transaction,
    rows: Sequence[tuple[SessionRow, SessionName]],
    items: Mapping[ItemName, int],
) -> None:
    told = None if txn.stamp is None else txn.stamp.items
    if told is None:
        return  # nobody marks
    fences = {name.identity: row.fence for row, name in rows}
    fences.update({item.identity: fence for item, fence in items.items()})
    if others := {one: fence for one, fence in fences.items() if told.get(one) != fence}:
        raise FenceMoved(others)


def _removed(txn: Transaction, rows: Sequence[SessionRow]) -> Counter[str]:
    gone = [row.key for row in rows]
    return Counter({table: many.change(txn, how, gone) for table, how in _REMOVE.items()})


def _remember(txn: Transaction, rows: Sequence[tuple[SessionRow, SessionName]]) -> None:
    positions.erase_many(txn, [(row.key, row.epoch + 1) for row, _ in rows])
    at, store_id = now() // MICROSECONDS, txn.facts.store_id
    hashed = [name.hashed(store_id) for _, name in rows]
    if txn.can.array_parameters:
        values: dict[str, object] = {
            "identities": hashed,
            "sessions": [row.number for row, _ in rows],
            "epochs": [row.epoch + 1 for row, _ in rows],
            "at": at,
        }
        txn.run(_REMEMBER[txn.kind], values)
        return
    txn.many(
        _REMEMBER[txn.kind],
        [
            {"identity": identity, "session": row.number, "epoch": row.epoch + 1, "at": at}
            for identity, (row, _) in zip(hashed, rows, strict=True)
        ],
    )
