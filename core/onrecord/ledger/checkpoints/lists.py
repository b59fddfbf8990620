"""Strands as a whole: taken away from, copied, counted, looked through.

All of it is done rarely, with the thread locked, and may take as long as the thread is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from onrecord.ledger.checkpoints.checkpoints import ADD, DELETE_ITEMS, EMPTY, MOVE_HEAD, lock_strand
from onrecord.ledger.checkpoints.threads import drop_strand, span
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import ANY, AnyName, SessionName, owner_number
from onrecord.stored.checkpoints import Line, Thread, namespace_of, pack_refs, unpack_refs

_ALL_REFS: Final = """
    SELECT place & 4294967295, id, parent, refs FROM {checkpoints}
    WHERE place > :low AND place < :high
    ORDER BY place"""
_ALL_ITEMS: Final = """
    SELECT place & 4294967295, items, body FROM {checkpoint_items}
    WHERE place > :low AND place < :high ORDER BY place"""
_DELETE: Final = "DELETE FROM {checkpoints} WHERE place = :place"
_ITEM_ROWS: Final = """
    SELECT place & 4294967295, items FROM {checkpoint_items} WHERE place > :low AND place < :high"""
_KEEP_NUMBERS: Final = """
    UPDATE {checkpoint_strands} SET head = {greatest}(head, :last) WHERE id = :strand"""
_STRANDS: Final = "SELECT id, name, head FROM {checkpoint_strands} WHERE thread = :thread"
_COPY_ITEMS: Final = """
    INSERT INTO {checkpoint_items} (place, items, body)
    SELECT (CAST(:target AS BIGINT) << 32) | (place & 4294967295), items, body
    FROM {checkpoint_items}
    WHERE place > :low AND place < :high"""
_COPY_WRITES: Final = """
    INSERT INTO {checkpoint_writes} (strand, id, body)
    SELECT CAST(:target AS BIGINT), id, body FROM {checkpoint_writes} WHERE strand = :strand
    ORDER BY number"""
_ALL_ROWS: Final = """
    SELECT place & 4294967295, id, parent, run, refs, body, held FROM {checkpoints}
    WHERE place > :low AND place < :high ORDER BY place"""

_OF_RUN: Final = """
    SELECT t.tenant, t."user", t.agent, t.key, s.name, c.id
    FROM {checkpoints} c JOIN {checkpoint_strands} s ON s.id = (c.place >> 32)
    JOIN {checkpoint_threads} t ON t.id = s.thread
    WHERE c.run = :run AND t.owner = :owner AND t.tenant = :tenant AND t."user" = :user
        AND t.agent = :agent"""


_DELETE_WRITES: Final = "DELETE FROM {checkpoint_writes} WHERE strand = :line AND id = :id"
_WRITES_OF_LINE: Final = """
    SELECT id, body FROM {checkpoint_writes} WHERE strand = :line ORDER BY number"""


class Strand(NamedTuple):
    """A strand of a thread, by what it is for."""

    number: int
    namespace: str
    is_line: bool
    name: bytes
    head: int


def strands_of(txn: Transaction, thread: Thread, *, alone: bool = False) -> list[Strand]:
    """All strands of a thread; ``alone`` holds them, so that nothing is added meanwhile: who
    knows a line's head adds to it without locking the thread."""
    found = []
    statement = _STRANDS + " {for_update}" if alone else _STRANDS
    for number, name, head in txn.rows(statement, {"thread": thread.number}):
        namespace, is_line = namespace_of(bytes(name))
        found.append(Strand(number, namespace, is_line, bytes(name), head))
    return found


def drop(txn: Transaction, strands: Sequence[Strand], line: Strand, ids: set[bytes]) -> None:
    """Delete checkpoints of a line, and what no other one refers to.

    The thread is locked alone, so nobody adds a reference meanwhile. Mark and sweep: counts of
    references would have to be right for ever, and this is done rarely.
    """
    rows = txn.rows(_ALL_REFS, span(line.number))
    left = {
        number: unpack_refs(bytes(refs), bytes(id), None if parent is None else bytes(parent))
        for number, id, parent, refs in rows
        if id and id not in ids
    }
    used: set[int] = set()
    items: dict[int, list[int]] = {}
    for refs in left.values():
        for ref in refs.values():
            if len(ref) == 2:
                used.add(ref[0])
            else:
                items.setdefault(ref[0], []).extend(ref[1:])
    for number, id, *_ in rows:
        place = {"place": line.number << 32 | number}
        if id in ids:
            txn.run(_DELETE_WRITES, {"line": line.number, "id": id})
        if number in left:
            continue
        if number not in used:
            txn.run(_DELETE, place)
        elif id is not None:
            txn.run(EMPTY, place)
    of_line = [s for s in strands if s.namespace == line.namespace]
    if not left:
        # What was written towards a checkpoint that is still on its way stays where it is.
        waiting = txn.first(
            "SELECT id FROM {checkpoint_writes} WHERE strand = :line LIMIT 1",
            {"line": line.number},
        )
        for strand in of_line:
            if not (strand.is_line and waiting):
                drop_strand(txn, strand.number)
        return
    for strand in of_line:
        if not strand.is_line:
            _drop_items_outside(txn, strand.number, items.get(strand.number, []))


def _drop_items_outside(txn: Transaction, strand: int, runs: list[int]) -> None:
    spans = sorted(set(zip(runs[::2], runs[1::2], strict=True)))
    rows = txn.rows(_ITEM_ROWS, span(strand))
    if rows:
        # Who is in the middle of reading what goes here must find nothing, not another item.
        txn.run(_KEEP_NUMBERS, {"strand": strand, "last": max(last for last, _ in rows)})
    for last, count in rows:
        first = last - count + 1
        if not any(low <= last and first <= high for low, high in spans):
            txn.run(DELETE_ITEMS, {"place": strand << 32 | last})


def copy(txn: Transaction, source: Thread, target: Thread) -> list[bytes]:
    """Everything of one locked thread into another that has nothing; the checkpoints' ids."""
    ids: list[bytes] = []
    strands = strands_of(txn, source, alone=True)
    numbers = {s.number: lock_strand(txn, target, s.name)[0] for s in strands}
    for strand in strands:
        new = {"target": numbers[strand.number], "strand": strand.number, **span(strand.number)}
        if not strand.is_line:
            txn.run(_COPY_ITEMS, new)
            continue
        rows = []
        for number, id, parent, run, refs, body, held in txn.rows(_ALL_ROWS, new):
            if refs is not None:
                key, before = bytes(id), None if parent is None else bytes(parent)
                moved = {
                    channel: ref if len(ref) == 2 else [numbers[ref[0]], *ref[1:]]
                    for channel, ref in unpack_refs(bytes(refs), key, before).items()
                }
                refs = pack_refs(moved, key, before)
                ids.append(key)
            rows.append(
                {
                    "place": numbers[strand.number] << 32 | number,
                    "id": id,
                    "parent": parent,
                    "run": run,
                    "refs": refs,
                    "body": body,
                    "held": held,
                }
            )
        if rows:
            txn.many(ADD, rows)
        txn.run(_COPY_WRITES, new)
        txn.run(MOVE_HEAD, {"line": numbers[strand.number], "head": strand.head})
    return ids


def of_run(
    txn: Transaction, run: bytes, tenant: str, user: str, agent: str
) -> list[tuple[SessionName, str, bytes]]:
    """The checkpoints that a run has made in a scope: thread, namespace, id."""
    rows = txn.rows(
        _OF_RUN,
        {
            "run": run,
            "owner": owner_number(tenant, user),
            "tenant": tenant,
            "user": user,
            "agent": agent,
        },
    )
    return [
        (
            SessionName(key=key, tenant=tenant, user=user, agent=agent),
            namespace_of(bytes(name))[0],
            bytes(id),
        )
        for tenant, user, agent, key, name, id in rows
        if id is not None
    ]


# -- for the store as a whole --------------------------------------------------------------------

_COUNTED: Final = {
    "threads": "SELECT count(*), 0 FROM {checkpoint_threads} t WHERE t.live = 1 AND {0}",
    "checkpoints": """SELECT count(c.id), coalesce(sum(length(c.body) + length(c.refs)), 0)
            + coalesce(sum(length(c.held)), 0)
        FROM {checkpoint_threads} t JOIN {checkpoint_strands} s ON s.thread = t.id
        JOIN {checkpoints} c ON c.place > (s.id << 32) AND c.place < ((s.id + 1) << 32)
        WHERE {0}""",
    "items": """SELECT coalesce(sum(i.items), 0), coalesce(sum(length(i.body)), 0)
        FROM {checkpoint_threads} t JOIN {checkpoint_strands} s ON s.thread = t.id
        JOIN {checkpoint_items} i ON i.place > (s.id << 32) AND i.place < ((s.id + 1) << 32)
        WHERE {0}""",
    "writes": """SELECT count(*), coalesce(sum(length(w.body)), 0)
        FROM {checkpoint_threads} t JOIN {checkpoint_strands} s ON s.thread = t.id
        JOIN {checkpoint_writes} w ON w.strand = s.id WHERE {0}""",
}


class Count(NamedTuple):
    """How many there are, and how many bytes they hold."""

    rows: int
    bytes: int


def count_in_scope(
    txn: Transaction, *, tenant: AnyName, user: AnyName, agent: AnyName
) -> dict[str, Count]:
    """What a scope has of each table, for ``stats`` and for the receipt of an erasure."""
    where, values = in_scope(tenant, user, agent)
    counts = {}
    for what, statement in _COUNTED.items():
        row = txn.first(statement.replace("{0}", where), values)
        assert row is not None, "an aggregate always answers"
        counts[what] = Count(int(row[0]), int(row[1]))
    return counts


def count_threads(txn: Transaction, *, tenant: AnyName, user: AnyName, agent: AnyName) -> int:
    """How many threads a scope has."""
    where, values = in_scope(tenant, user, agent)
    row = txn.first(_COUNTED["threads"].replace("{0}", where), values)
    assert row is not None, "an aggregate always answers"
    return int(row[0])


def in_scope(tenant: AnyName, user: AnyName, agent: AnyName) -> tuple[str, dict[str, object]]:
    """The condition for the threads of a scope, called t, and its values."""
    conditions = ["1 = 1"]
    values: dict[str, object] = {}
    for part, given in (("tenant", tenant), ("user", user), ("agent", agent)):
        if given is not ANY:
            conditions.append(f't."{part}" = :{part}')
            values[part] = given
    if tenant is not ANY and user is not ANY:
        conditions.append("t.owner = :owner")
        values["owner"] = owner_number(tenant, user)
    return " AND ".join(conditions), values


def every_row(txn: Transaction, line: Line) -> list[tuple[Any, ...]]:
    """(number, id, parent, run, refs, body, held) of a line, for ``verify``."""
    return txn.rows(_ALL_ROWS, span(line.number))


def every_item(txn: Transaction, strand: int) -> list[tuple[int, int, bytes]]:
    """(number of the last one, how many, frame) of each row of items, for ``verify``."""
    rows = txn.rows(_ALL_ITEMS, span(strand))
    return [(last, count, bytes(body)) for last, count, body in rows]


def every_write(txn: Transaction, line: Line) -> list[tuple[bytes, bytes]]:
    """(id, frame) of all that was written towards checkpoints of a line, for ``verify``."""
    rows = txn.rows(_WRITES_OF_LINE, {"line": line.number})
    return [(bytes(id), bytes(body)) for id, body in rows]
