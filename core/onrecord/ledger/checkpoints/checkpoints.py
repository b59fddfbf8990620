"""The rows of checkpoints, of what they hold, and of what was written towards the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from onrecord.codec.refs import unpack_refs
from onrecord.errors import Damaged
from onrecord.ledger.database import keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.faults import checkpoint_is_there
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import SessionName
from onrecord.stored.checkpoints import (
    LAST_NUMBER,
    Added,
    CheckpointRow,
    ListKey,
    NamespaceLog,
    Thread,
    list_name,
)

_FOUND_LOG: Final = "t.id, l.id, t.epoch, l.head, {t.shard}"
_OF_LOG: Final = """
    FROM {checkpoint_threads} t
    JOIN {checkpoint_lists} l ON {l.my_shard} l.thread = t.id AND l.name = :log"""
_LIVE: Final = "WHERE {t.my_shard} t.identity = :identity AND t.live = 1"
_FIND_LOG: Final = f"SELECT {_FOUND_LOG} {_OF_LOG} {_LIVE}"

_ROW: Final = "c.number, c.id, c.parent, c.refs, c.body"
# On PostgreSQL what was written towards a checkpoint comes along: it saves a round trip.
_WITH_WRITES: Final[dict[Kind, str]] = {
    "sqlite": "NULL",
    "postgresql": """(SELECT array_agg(w.body ORDER BY w.number) FROM {checkpoint_writes} w
        WHERE w.shard = :shard AND w.list = l.id AND w.id = c.id)""",
}
_NEWEST_OF_LOG: Final[dict[Kind, str]] = {
    "sqlite": """JOIN {checkpoints} c ON c.place = (
        SELECT x.place FROM {checkpoints} x
        WHERE x.place > (l.id << 32) AND x.place <= (l.id << 32) + 4294967295 AND x.id IS NOT NULL
        ORDER BY x.place DESC LIMIT 1)""",
    "postgresql": """JOIN {checkpoints} c ON c.shard = :shard AND c.list = l.id AND c.number = (
        SELECT x.number FROM {checkpoints} x
        WHERE x.shard = :shard AND x.list = l.id AND x.id IS NOT NULL
        ORDER BY x.number DESC LIMIT 1)""",
}
_BY_ITS_ID: Final[dict[Kind, str]] = {
    "sqlite": "JOIN {checkpoints} c ON c.list = l.id AND c.id = :id",
    "postgresql": "JOIN {checkpoints} c ON c.shard = :shard AND c.list = l.id AND c.id = :id",
}


def _one(kind: Kind, which: dict[Kind, str]) -> str:
    found = f"{_FOUND_LOG}, {_ROW}, {_WITH_WRITES[kind]}"
    return f"SELECT {found} {_OF_LOG} {which[kind]} {_LIVE}"


_NEWEST: Final[dict[Kind, str]] = {
    "sqlite": _one("sqlite", _NEWEST_OF_LOG),
    "postgresql": _one("postgresql", _NEWEST_OF_LOG),
}
_BY_ID: Final[dict[Kind, str]] = {
    "sqlite": _one("sqlite", _BY_ITS_ID),
    "postgresql": _one("postgresql", _BY_ITS_ID),
}

_PAGE: Final = f"""
    SELECT {_ROW} FROM {{checkpoints}} c WHERE {{c.list_span}} AND c.id IS NOT NULL
    ORDER BY {{c.list_order}} DESC LIMIT :limit"""
_NUMBERED: Final = f"SELECT {_ROW} FROM {{checkpoints}} c WHERE {{c.list_at}}"
_NUMBER: Final = """
    SELECT number FROM {checkpoints} WHERE {my_shard} list = :list AND id = :id"""
_CHILD: Final = "SELECT id FROM {checkpoints} WHERE {list_span} AND parent = :parent LIMIT 1"
_ANY: Final = "SELECT id FROM {checkpoints} WHERE {list_span} AND id IS NOT NULL LIMIT 1"

_LIST: Final = """
    SELECT id, head FROM {checkpoint_lists}
    WHERE {my_shard} thread = :thread AND name = :name {for_update}"""
_NEW_LIST: Final = """
    INSERT INTO {checkpoint_lists} ({shard_key} thread, name, head)
    VALUES ({shard_value} :thread, :name, 0) RETURNING id"""
_LAST_ITEM: Final = """
    SELECT number FROM {checkpoint_items} WHERE {list_span} ORDER BY {list_order} DESC LIMIT 1"""

ADD: Final = """
    INSERT INTO {checkpoints} ({list_row_key}, id, parent, run, refs, body, new_values)
    VALUES ({list_row_value}, :id, :parent, :run, :refs, :body, :new_values)"""
_ADD_ITEMS: Final = """
    INSERT INTO {checkpoint_items} ({list_row_key}, items, body)
    VALUES ({list_row_value}, :items, :body)"""
MOVE_HEAD: Final = "UPDATE {checkpoint_lists} SET head = :head WHERE {my_shard} id = :list"

# PostgreSQL, one statement and one round trip. The head is what this process saw last: whoever
# added or took away anything since has moved it, and then nothing happens here. The thread's row
# comes first, as everywhere: two that take the same locks in another order would wait for ever.
_TOUCHED: Final = """touched AS (
        UPDATE {checkpoint_threads} SET last_active = GREATEST(last_active, :now),
            active_period = GREATEST(active_period, :period)
        WHERE {my_shard} id = :thread RETURNING shard, id, epoch
    ),"""


def _at_once(touched: str, threads: str) -> str:
    return f"""
    WITH {touched} moved AS (
        UPDATE {{checkpoint_lists}} l SET head = l.head + 1 FROM {threads} t
        WHERE {{l.my_shard}} l.id = :list AND l.head = :head
            AND {{t.my_shard}} t.id = l.thread AND t.epoch = :epoch
        RETURNING l.id, l.head
    ), listed AS (
        INSERT INTO {{checkpoint_items}} (shard, list, number, items, body)
        SELECT CAST(:shard AS SMALLINT), i.list, i.number, i.items, i.body FROM moved, unnest(
            CAST(:item_lists AS BIGINT[]), CAST(:item_numbers AS BIGINT[]),
            CAST(:counts AS INTEGER[]), CAST(:bodies AS BYTEA[])
        ) AS i (list, number, items, body)
    )
    INSERT INTO {{checkpoints}} (shard, list, number, id, parent, run, refs, body, new_values)
    SELECT CAST(:shard AS SMALLINT), moved.id, moved.head, :id, :parent, :run, :refs, :body,
        :new_values
    FROM moved RETURNING number"""


_AT_ONCE: Final = _at_once("", "{checkpoint_threads}")
_AT_ONCE_TOUCHING: Final = _at_once(_TOUCHED, "touched")

# A thread that was never deleted takes writes without being locked; whoever deletes it takes the
# log away, and waits here for those who write to it.
_WRITE_BESIDE: Final = f"""
    INSERT INTO {{checkpoint_writes}} ({{shard_key}} list, id, body)
    SELECT {{shard_value}} l.id, :id, :body {_OF_LOG} {_LIVE} AND t.deleted_ids IS NULL
    {{for_key_share_of_l}}"""
_WRITE_TO: Final = """
    INSERT INTO {checkpoint_writes} ({shard_key} list, id, body)
    VALUES ({shard_value} :list, :id, :body)"""
_WRITES: Final = """
    SELECT body FROM {checkpoint_writes} WHERE {my_shard} list = :list AND id = :id
    ORDER BY number"""
_NEW_VALUES: Final = "SELECT new_values FROM {checkpoints} WHERE {list_at}"
_ITEMS: Final = """
    SELECT number, items, body FROM {checkpoint_items}
    WHERE place >= (:list << 32) + :first AND place <= (
        SELECT place FROM {checkpoint_items}
        WHERE place >= (:list << 32) + :last AND place <= (:list << 32) + 4294967295
        ORDER BY place LIMIT 1)
    ORDER BY place"""
_FETCH_AT_ONCE: Final = """
    SELECT 0, c.list, c.number, 0, c.new_values
    FROM unnest(CAST(:value_lists AS BIGINT[]), CAST(:value_numbers AS BIGINT[]))
        AS wanted (list, number)
    JOIN {checkpoints} c ON {c.my_shard} c.list = wanted.list AND c.number = wanted.number
    UNION ALL
    SELECT 1, i.list, i.number, i.items, i.body
    FROM unnest(
        CAST(:item_lists AS BIGINT[]), CAST(:firsts AS BIGINT[]), CAST(:lasts AS BIGINT[])
    ) AS run (list, first, last),
    LATERAL (
        SELECT list, number, items, body FROM {checkpoint_items}
        WHERE {my_shard} list = run.list AND number >= run.first AND number <= (
            SELECT number FROM {checkpoint_items}
            WHERE {my_shard} list = run.list AND number >= run.last
            ORDER BY number LIMIT 1)
    ) AS i"""

EMPTY: Final = """
    UPDATE {checkpoints} SET id = NULL, parent = NULL, run = NULL, refs = NULL, body = NULL
    WHERE {list_at}"""
DELETE_ITEMS: Final = "DELETE FROM {checkpoint_items} WHERE {list_at}"
_ITEMS_BETWEEN: Final = """
    SELECT number, items, body FROM {checkpoint_items} WHERE {list_span} ORDER BY {list_order}"""
_LOCK_LIST: Final = """
    SELECT thread FROM {checkpoint_lists} WHERE {my_shard} id = :list {for_update}"""


class Fetched(NamedTuple):
    """Frames, as asked for: of the new values of checkpoints, and of items."""

    values: dict[tuple[int, int], bytes]
    """By list and number."""
    items: list[tuple[int, int, int, bytes]]
    """(list, number of the last one, how many, the frame)"""


# -- reading -------------------------------------------------------------------------------------


def find_log(txn: Transaction, name: SessionName, namespace: str) -> NamespaceLog | None:
    """The checkpoints of a namespace, as a whole."""
    row = txn.first(_FIND_LOG, {**keys.of_name(name), "log": list_name(namespace)})
    return None if row is None else _log_of(txn, row)


def one(
    txn: Transaction, name: SessionName, namespace: str, id: bytes | None
) -> tuple[CheckpointRow, list[bytes]] | None:
    """A checkpoint and what was written towards the next one; the newest where none is named."""
    values = {**keys.of_name(name), "log": list_name(namespace), "id": id}
    found = txn.first((_NEWEST if id is None else _BY_ID)[txn.kind], values)
    if found is None:
        return None
    *namespace_log, number, key, parent, refs, body, writes = found
    row = _row(_log_of(txn, namespace_log), (number, key, parent, refs, body))
    if not txn.can.array_parameters:
        return row, writes_to(txn, row.namespace_log, row.id)
    return row, [bytes(frame) for frame in writes or ()]


def page(
    txn: Transaction, namespace_log: NamespaceLog, before: int, limit: int
) -> list[CheckpointRow]:
    """The checkpoints of a log just before a number, newest first."""
    rows = txn.rows(
        _PAGE, {**keys.list_span(txn, namespace_log.key, 0, before - 1), "limit": limit}
    )
    return [_row(namespace_log, row) for row in rows]


def writes_to(txn: Transaction, namespace_log: NamespaceLog, id: bytes) -> list[bytes]:
    """What was written towards the next of a checkpoint, in the order in which it came."""
    return [
        bytes(row[0]) for row in txn.rows(_WRITES, {**keys.of_list(namespace_log.key), "id": id})
    ]


def fetch(
    txn: Transaction,
    shard: int,
    values: Sequence[tuple[int, int]],
    items: Sequence[tuple[int, int, int]],
) -> Fetched:
    """The new values of checkpoints by (list, number), and items by (list, first, last)."""
    if txn.can.array_parameters:
        rows = txn.rows(
            _FETCH_AT_ONCE,
            {
                "shard": shard,
                "value_lists": [number for number, _ in values],
                "value_numbers": [number for _, number in values],
                "item_lists": [list_id for list_id, _, _ in items],
                "firsts": [first for _, first, _ in items],
                "lasts": [last for _, _, last in items],
            },
        )
        return Fetched(
            {tuple(row[1:3]): bytes(row[4]) for row in rows if not row[0] and row[4] is not None},
            [(*row[1:4], bytes(row[4])) for row in rows if row[0]],
        )
    found: dict[tuple[int, int], bytes] = {}
    for namespace_log, number in values:
        row = txn.first(_NEW_VALUES, keys.list_at(ListKey(shard, namespace_log), number))
        if row is not None and row[0] is not None:
            found[namespace_log, number] = row[0]
    frames: list[tuple[int, int, int, bytes]] = []
    for list_id, first, last in items:
        run = {"list": list_id, "first": first, "last": last}
        frames += [(list_id, end, count, body) for end, count, body in txn.rows(_ITEMS, run)]
    return Fetched(found, frames)


def _log_of(txn: Transaction, columns: Sequence[int]) -> NamespaceLog:
    namespace_log = NamespaceLog(*columns)
    if not keys.is_number(txn, namespace_log.number):
        raise Damaged(f"its log has the number {namespace_log.number}, which none was given")
    return namespace_log


# -- adding --------------------------------------------------------------------------------------


def lock_log(txn: Transaction, thread: Thread, namespace: str) -> NamespaceLog:
    """The log of a locked thread, locked; made first where there is none."""
    number, head = lock_list(txn, thread, list_name(namespace))
    return NamespaceLog(thread.number, number, thread.epoch, head, thread.shard)


def lock_list(txn: Transaction, thread: Thread, name: bytes) -> tuple[int, int]:
    """A list of a locked thread: its number and its head."""
    values = {"shard": thread.shard, "thread": thread.number, "name": name}
    row = txn.first(_LIST, values)
    if row is not None:
        return row[0], row[1]
    made = txn.first(_NEW_LIST, values)
    assert made is not None, "RETURNING returns"
    return made[0], 0


def number_of(txn: Transaction, namespace_log: NamespaceLog, id: bytes) -> int | None:
    """A checkpoint's number, by its id."""
    row = txn.first(_NUMBER, {**keys.of_list(namespace_log.key), "id": id})
    return None if row is None else int(row[0])


def row_at(txn: Transaction, namespace_log: NamespaceLog, number: int) -> CheckpointRow:
    """The checkpoint with a number."""
    row = txn.first(_NUMBERED, keys.list_at(namespace_log.key, number))
    assert row is not None, "it was found a moment ago, and the log is locked"
    return _row(namespace_log, row)


def child_of(txn: Transaction, namespace_log: NamespaceLog, number: int, id: bytes) -> bytes | None:
    """A checkpoint that continues from one, if there is any. It can only be younger."""
    row = txn.first(_CHILD, {**keys.list_span(txn, namespace_log.key, number), "parent": id})
    return None if row is None else bytes(row[0] or b"")


def is_empty(txn: Transaction, namespace_log: NamespaceLog) -> bool:
    """Whether a log has no checkpoint."""
    return (
        namespace_log.head == 0 or txn.first(_ANY, keys.list_span(txn, namespace_log.key)) is None
    )


def empty(txn: Transaction, namespace_log: NamespaceLog, number: int) -> None:
    """Let go of a checkpoint; what it holds stays for those that refer to it."""
    txn.run(EMPTY, keys.list_at(namespace_log.key, number))


def last_item(txn: Transaction, key: ListKey) -> int:
    """The number of the newest item of a list; 0 for none."""
    row = txn.first(_LAST_ITEM, keys.list_span(txn, key))
    return 0 if row is None else int(row[0])


def add(txn: Transaction, namespace_log: NamespaceLog, added: Added, refs: bytes) -> int:
    """Write a checkpoint to a locked log, and return its number."""
    number = namespace_log.head + 1
    if number > LAST_NUMBER:  # pragma: no cover - a checkpoint a second, for 136 years
        raise OverflowError("this log of checkpoints is full")
    txn.run(ADD, {**keys.list_at(namespace_log.key, number), **_written(added, refs)})
    for list_id, last, count, body in added.items:
        _add_items(txn, ListKey(namespace_log.shard, list_id), last, count, body)
    txn.run(MOVE_HEAD, {**keys.of_list(namespace_log.key), "head": number})
    return number


def add_at_once(
    txn: Transaction,
    namespace_log: NamespaceLog,
    added: Added,
    refs: bytes,
    touch: dict[str, int] | None,
) -> int | None:
    """PostgreSQL: check, number and write, in one statement. None where the log has moved."""
    values: dict[str, object] = {
        **keys.of_list(namespace_log.key),
        "head": namespace_log.head,
        "epoch": namespace_log.epoch,
        "thread": namespace_log.thread,
        "item_lists": [list_id for list_id, _, _, _ in added.items],
        "item_numbers": [last for _, last, _, _ in added.items],
        "counts": [count for _, _, count, _ in added.items],
        "bodies": [body for *_, body in added.items],
        **_written(added, refs),
        **(touch or {}),
    }
    try:
        row = txn.first(_AT_ONCE if touch is None else _AT_ONCE_TOUCHING, values)
    except Exception as fault:  # whatever it was, only one thing is of interest here
        if checkpoint_is_there(fault):
            return None  # nothing was written
        raise
    return None if row is None else int(row[0])


def write_beside(
    txn: Transaction, name: SessionName, namespace: str, id: bytes, body: bytes
) -> bool:
    """Write towards the next of a checkpoint, where no question has to be asked first."""
    values = {
        **keys.of_name(name),
        "log": list_name(namespace),
        "id": id,
        "body": body,
    }
    # What Citus inserts from a question, it asks first, and locks nothing.
    return txn.can.across_shards and txn.run(_WRITE_BESIDE, values) == 1


def write_to(txn: Transaction, namespace_log: NamespaceLog, id: bytes, body: bytes) -> None:
    """Write towards the next of a checkpoint of a locked log."""
    txn.run(_WRITE_TO, {**keys.of_list(namespace_log.key), "id": id, "body": body})


def merge_items(
    txn: Transaction, key: ListKey, after: int, upto: int
) -> list[tuple[int, int, bytes]]:
    """The rows of items between two numbers, held until the transaction ends."""
    if txn.first(_LOCK_LIST, keys.of_list(key)) is None:
        return []
    rows = txn.rows(_ITEMS_BETWEEN, keys.list_span(txn, key, after, upto))
    return [(last, count, bytes(body)) for last, count, body in rows]


def replace_items(
    txn: Transaction, key: ListKey, old: Iterable[int], last: int, count: int, body: bytes
) -> None:
    """One row in the place of several."""
    for end in old:
        txn.run(DELETE_ITEMS, keys.list_at(key, end))
    _add_items(txn, key, last, count, body)


def _add_items(txn: Transaction, key: ListKey, last: int, count: int, body: bytes) -> None:
    txn.run(_ADD_ITEMS, {**keys.list_at(key, last), "items": count, "body": body})


def _row(namespace_log: NamespaceLog, found: Sequence[Any]) -> CheckpointRow:
    number, id, parent, refs, body = found
    key, before = bytes(id), None if parent is None else bytes(parent)
    return CheckpointRow(
        namespace_log, number, key, before, unpack_refs(bytes(refs), key, before), bytes(body)
    )


def _written(added: Added, refs: bytes) -> dict[str, object]:
    return {
        "id": added.id,
        "parent": added.parent,
        "run": added.run,
        "refs": refs,
        "body": added.body,
        "new_values": added.held,
    }
