"""The rows of checkpoints, of what they hold, and of what was written towards the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from onrecord.errors import Damaged
from onrecord.ledger.checkpoints.threads import span
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import SessionName
from onrecord.stored.checkpoints import (
    LAST_NUMBER,
    Added,
    CheckpointRow,
    Line,
    Thread,
    strand_name,
    unpack_refs,
)
from onrecord.stored.messages import LAST_ID

_LINE: Final = """
    FROM {checkpoint_threads} t JOIN {checkpoint_strands} s ON s.thread = t.id AND s.name = :line
    {0} WHERE t.identity = :identity AND t.live = 1"""
_FIND_LINE: Final = "SELECT t.id, s.id, t.epoch, s.head" + _LINE.replace("{0}", "")

_ROW: Final = "c.place & 4294967295, c.id, c.parent, c.refs, c.body"
# On PostgreSQL what was written towards a checkpoint comes along: it saves a round trip.
_WITH_WRITES: Final[dict[Kind, str]] = {
    "sqlite": "NULL",
    "postgresql": """(SELECT array_agg(w.body ORDER BY w.number) FROM {checkpoint_writes} w
        WHERE w.strand = s.id AND w.id = c.id)""",
}
_NEWEST_TEXT: Final = """JOIN {checkpoints} c ON c.place = (
        SELECT x.place FROM {checkpoints} x
        WHERE x.place > (s.id << 32) AND x.place < ((s.id + 1) << 32) AND x.id IS NOT NULL
        ORDER BY x.place DESC LIMIT 1)"""
_BY_ID_TEXT: Final = "JOIN {checkpoints} c ON (c.place >> 32) = s.id AND c.id = :id"
_ONE: Final = {
    kind: "SELECT t.id, s.id, t.epoch, s.head, " + _ROW + f", {writes}" + _LINE
    for kind, writes in _WITH_WRITES.items()
}
_NEWEST: Final = {kind: text.replace("{0}", _NEWEST_TEXT) for kind, text in _ONE.items()}
_BY_ID: Final = {kind: text.replace("{0}", _BY_ID_TEXT) for kind, text in _ONE.items()}

_PAGE: Final = f"""
    SELECT {_ROW} FROM {{checkpoints}} c
    WHERE c.place > :low AND c.place < :before AND c.id IS NOT NULL
    ORDER BY c.place DESC LIMIT :limit"""
_IN_PLACES: Final = f"SELECT {_ROW} FROM {{checkpoints}} c WHERE c.place = :place"

_PLACE: Final = """
    SELECT place & 4294967295 FROM {checkpoints} WHERE (place >> 32) = :line AND id = :id"""
_CHILD: Final = """
    SELECT id FROM {checkpoints} WHERE place > :after AND place < :high AND parent = :parent LIMIT 1
    """
_ANY: Final = """
    SELECT id FROM {checkpoints} WHERE place > :low AND place < :high AND id IS NOT NULL LIMIT 1"""

_STRAND: Final = """
    SELECT id, head FROM {checkpoint_strands} WHERE thread = :thread AND name = :name {for_update}
    """
_NEW_STRAND: Final = """
    INSERT INTO {checkpoint_strands} (thread, name, head) VALUES (:thread, :name, 0) RETURNING id"""
_LAST_ITEM: Final = """
    SELECT place & 4294967295 FROM {checkpoint_items} WHERE place > :low AND place < :high
    ORDER BY place DESC LIMIT 1"""

ADD: Final = """
    INSERT INTO {checkpoints} (place, id, parent, run, refs, body, held)
    VALUES (:place, :id, :parent, :run, :refs, :body, :held)"""
_ADD_ITEMS: Final = """
    INSERT INTO {checkpoint_items} (place, items, body) VALUES (:place, :items, :body)"""
MOVE_HEAD: Final = "UPDATE {checkpoint_strands} SET head = :head WHERE id = :line"

# PostgreSQL, one statement and one round trip. The head is what this process saw last: whoever
# added or took away anything since has moved it, and then nothing happens here. The thread's row
# comes first, as everywhere: two that take the same locks in another order would wait for ever.
_ADD_AT_ONCE: Final = """
    WITH {0} moved AS (
        UPDATE {checkpoint_strands} s SET head = s.head + 1 FROM {1} t
        WHERE s.id = :line AND s.head = :head AND t.id = s.thread AND t.epoch = :epoch
        RETURNING s.id, s.head
    ), listed AS (
        INSERT INTO {checkpoint_items} (place, items, body)
        SELECT i.place, i.items, i.body FROM moved, unnest(
            CAST(:places AS BIGINT[]), CAST(:counts AS INTEGER[]), CAST(:bodies AS BYTEA[])
        ) AS i (place, items, body)
    )
    INSERT INTO {checkpoints} (place, id, parent, run, refs, body, held)
    SELECT (moved.id << 32) | moved.head, :id, :parent, :run, :refs, :body, :held FROM moved
    RETURNING place & 4294967295"""
_TOUCHING: Final = """touched AS (
        UPDATE {checkpoint_threads} SET last_active = GREATEST(last_active, :now),
            active_second = GREATEST(active_second, :second)
        WHERE id = :thread RETURNING id, epoch
    ),"""
_AT_ONCE: Final = _ADD_AT_ONCE.replace("{0}", "").replace("{1}", "{checkpoint_threads}")
_AT_ONCE_TOUCHING: Final = _ADD_AT_ONCE.replace("{0}", _TOUCHING).replace("{1}", "touched")

# A thread that was never deleted takes writes without being locked; whoever deletes it takes the
# line away, and waits here for those who write to it.
_WRITE: Final = """
    INSERT INTO {checkpoint_writes} (strand, id, body)
    SELECT s.id, :id, :body
    FROM {checkpoint_threads} t JOIN {checkpoint_strands} s ON s.thread = t.id AND s.name = :line
    WHERE t.identity = :identity AND t.live = 1 AND t.gone IS NULL {0}"""
_WRITE_BESIDE: Final[dict[Kind, str]] = {
    "sqlite": _WRITE.replace("{0}", ""),
    "postgresql": _WRITE.replace("{0}", "FOR KEY SHARE OF s"),
}
_WRITE_TO: Final = """
    INSERT INTO {checkpoint_writes} (strand, id, body) VALUES (:line, :id, :body)"""
_WRITES: Final = """
    SELECT body FROM {checkpoint_writes} WHERE strand = :line AND id = :id ORDER BY number"""
_HELD: Final = "SELECT held FROM {checkpoints} WHERE place = :place"
_ITEMS: Final = """
    SELECT place & 4294967295, items, body FROM {checkpoint_items}
    WHERE place >= :first AND place <= (
        SELECT place FROM {checkpoint_items} WHERE place >= :last AND place < :high
        ORDER BY place LIMIT 1)
    ORDER BY place"""
_FETCH_AT_ONCE: Final = """
    SELECT 0, place, 0, held FROM {checkpoints} WHERE place = ANY(CAST(:places AS BIGINT[]))
    UNION ALL
    SELECT 1, i.place, i.items, i.body
    FROM unnest(CAST(:firsts AS BIGINT[]), CAST(:lasts AS BIGINT[])) AS run (first, last),
    LATERAL (
        SELECT place, items, body FROM {checkpoint_items}
        WHERE place >= run.first AND place <= (
            SELECT place FROM {checkpoint_items}
            WHERE place >= run.last AND place < (((run.last >> 32) + 1) << 32)
            ORDER BY place LIMIT 1)
    ) AS i"""

EMPTY: Final = """
    UPDATE {checkpoints} SET id = NULL, parent = NULL, run = NULL, refs = NULL, body = NULL
    WHERE place = :place"""
DELETE_ITEMS: Final = "DELETE FROM {checkpoint_items} WHERE place = :place"
_ITEMS_BETWEEN: Final = """
    SELECT place & 4294967295, items, body FROM {checkpoint_items}
    WHERE place > :after AND place <= :upto ORDER BY place"""
_LOCK_STRAND: Final = "SELECT thread FROM {checkpoint_strands} WHERE id = :strand {for_update}"


class Fetched(NamedTuple):
    """Frames, as asked for: of checkpoints by their places, of items by the place of the last."""

    held: dict[int, bytes]
    items: list[tuple[int, int, bytes]]
    """(place of the last one, how many, the frame)"""


# -- reading -------------------------------------------------------------------------------------


def find_line(txn: Transaction, name: SessionName, namespace: str) -> Line | None:
    """The checkpoints of a namespace, as a whole."""
    row = txn.first(_FIND_LINE, {"identity": name.identity, "line": strand_name(namespace)})
    return None if row is None else _line(row)


def one(
    txn: Transaction, name: SessionName, namespace: str, id: bytes | None
) -> tuple[CheckpointRow, list[bytes]] | None:
    """A checkpoint and what was written towards the next one; the newest where none is named."""
    values = {"identity": name.identity, "line": strand_name(namespace), "id": id}
    found = txn.first((_NEWEST if id is None else _BY_ID)[txn.kind], values)
    if found is None:
        return None
    *line, number, key, parent, refs, body, writes = found
    row = _row(_line(line), (number, key, parent, refs, body))
    if not txn.can.array_parameters:
        return row, writes_to(txn, row.line.number, row.id)
    return row, [bytes(frame) for frame in writes or ()]


def page(txn: Transaction, line: Line, before: int, limit: int) -> list[CheckpointRow]:
    """The checkpoints of a line just before a number, newest first."""
    rows = txn.rows(
        _PAGE,
        {"low": line.number << 32, "before": line.number << 32 | before, "limit": limit},
    )
    return [_row(line, row) for row in rows]


def writes_to(txn: Transaction, line: int, id: bytes) -> list[bytes]:
    """What was written towards the next of a checkpoint, in the order in which it came."""
    return [bytes(row[0]) for row in txn.rows(_WRITES, {"line": line, "id": id})]


def fetch(txn: Transaction, held: Sequence[int], items: Sequence[tuple[int, int, int]]) -> Fetched:
    """Values by the places of checkpoints that hold them, and (strand, first, last) of items."""
    if txn.can.array_parameters:
        rows = txn.rows(
            _FETCH_AT_ONCE,
            {
                "places": list(held),
                "firsts": [strand << 32 | first for strand, first, _ in items],
                "lasts": [strand << 32 | last for strand, _, last in items],
            },
        )
        return Fetched(
            {row[1]: bytes(row[3]) for row in rows if not row[0] and row[3] is not None},
            [(row[1], row[2], bytes(row[3])) for row in rows if row[0]],
        )
    found: dict[int, bytes] = {}
    for place in held:
        row = txn.first(_HELD, {"place": place})
        if row is not None and row[0] is not None:
            found[place] = row[0]
    frames: list[tuple[int, int, bytes]] = []
    for strand, first, last in items:
        start = strand << 32
        values = {"first": start | first, "last": start | last, "high": (strand + 1) << 32}
        frames += [(start | end, count, body) for end, count, body in txn.rows(_ITEMS, values)]
    return Fetched(found, frames)


def _line(columns: Sequence[int]) -> Line:
    line = Line(*columns)
    if not 0 < line.number <= LAST_ID:
        raise Damaged(f"its line has the number {line.number}, which none was given")
    return line


# -- adding --------------------------------------------------------------------------------------


def lock_line(txn: Transaction, thread: Thread, namespace: str) -> Line:
    """The line of a locked thread, locked; made first where there is none."""
    number, head = lock_strand(txn, thread, strand_name(namespace))
    return Line(thread.number, number, thread.epoch, head)


def lock_strand(txn: Transaction, thread: Thread, name: bytes) -> tuple[int, int]:
    """A strand of a locked thread: its number and its head."""
    values = {"thread": thread.number, "name": name}
    row = txn.first(_STRAND, values)
    if row is not None:
        return row[0], row[1]
    made = txn.first(_NEW_STRAND, values)
    assert made is not None, "RETURNING returns"
    return made[0], 0


def number_of(txn: Transaction, line: Line, id: bytes) -> int | None:
    """A checkpoint's number, by its id."""
    row = txn.first(_PLACE, {"line": line.number, "id": id})
    return None if row is None else int(row[0])


def row_at(txn: Transaction, line: Line, number: int) -> CheckpointRow:
    """The checkpoint with a number."""
    row = txn.first(_IN_PLACES, {"place": line.number << 32 | number})
    assert row is not None, "it was found a moment ago, and the line is locked"
    return _row(line, row)


def child_of(txn: Transaction, line: Line, number: int, id: bytes) -> bytes | None:
    """A checkpoint that continues from one, if there is any. It can only be younger."""
    start = line.number << 32
    values = {"after": start | number, "high": (line.number + 1) << 32, "parent": id}
    row = txn.first(_CHILD, values)
    return None if row is None else bytes(row[0] or b"")


def is_empty(txn: Transaction, line: Line) -> bool:
    """Whether a line has no checkpoint."""
    return line.head == 0 or txn.first(_ANY, span(line.number)) is None


def empty(txn: Transaction, line: Line, number: int) -> None:
    """Let go of a checkpoint; what it holds stays for those that refer to it."""
    txn.run(EMPTY, {"place": line.number << 32 | number})


def last_item(txn: Transaction, strand: int) -> int:
    """The number of the newest item of a strand; 0 for none."""
    row = txn.first(_LAST_ITEM, span(strand))
    return 0 if row is None else int(row[0])


def add(txn: Transaction, line: Line, added: Added, refs: bytes) -> int:
    """Write a checkpoint to a locked line, and return its number."""
    number = line.head + 1
    if number > LAST_NUMBER:  # pragma: no cover - a checkpoint a second, for 136 years
        raise OverflowError("this line of checkpoints is full")
    txn.run(ADD, {"place": line.number << 32 | number, **_written(added, refs)})
    for strand, last, count, body in added.items:
        txn.run(_ADD_ITEMS, {"place": strand << 32 | last, "items": count, "body": body})
    txn.run(MOVE_HEAD, {"line": line.number, "head": number})
    return number


def add_at_once(
    txn: Transaction, line: Line, added: Added, refs: bytes, touch: dict[str, int] | None
) -> int | None:
    """PostgreSQL: check, number and write, in one statement. None where the line has moved."""
    values: dict[str, object] = {
        "line": line.number,
        "head": line.head,
        "epoch": line.epoch,
        "thread": line.thread,
        "places": [strand << 32 | last for strand, last, _, _ in added.items],
        "counts": [count for _, _, count, _ in added.items],
        "bodies": [body for *_, body in added.items],
        **_written(added, refs),
        **(touch or {}),
    }
    try:
        row = txn.first(_AT_ONCE if touch is None else _AT_ONCE_TOUCHING, values)
    except Exception as fault:  # whatever it was, only one thing is of interest here
        diagnosis = getattr(fault, "diag", None)
        if getattr(diagnosis, "constraint_name", None) == "onrecord_checkpoints_by_id":
            return None  # it is there already, and nothing was written
        raise
    return None if row is None else int(row[0])


def write_beside(
    txn: Transaction, name: SessionName, namespace: str, id: bytes, body: bytes
) -> bool:
    """Write towards the next of a checkpoint, where no question has to be asked first."""
    values = {
        "identity": name.identity,
        "line": strand_name(namespace),
        "id": id,
        "body": body,
    }
    return txn.run(_WRITE_BESIDE[txn.kind], values) == 1


def write_to(txn: Transaction, line: Line, id: bytes, body: bytes) -> None:
    """Write towards the next of a checkpoint of a locked line."""
    txn.run(_WRITE_TO, {"line": line.number, "id": id, "body": body})


def merge_items(
    txn: Transaction, strand: int, after: int, upto: int
) -> list[tuple[int, int, bytes]]:
    """The rows of items between two numbers, held until the transaction ends."""
    if txn.first(_LOCK_STRAND, {"strand": strand}) is None:
        return []
    rows = txn.rows(_ITEMS_BETWEEN, {"after": strand << 32 | after, "upto": strand << 32 | upto})
    return [(last, count, bytes(body)) for last, count, body in rows]


def replace_items(
    txn: Transaction, strand: int, old: Iterable[int], last: int, count: int, body: bytes
) -> None:
    """One row in the place of several."""
    for end in old:
        txn.run(DELETE_ITEMS, {"place": strand << 32 | end})
    txn.run(_ADD_ITEMS, {"place": strand << 32 | last, "items": count, "body": body})


def _row(line: Line, found: Sequence[Any]) -> CheckpointRow:
    number, id, parent, refs, body = found
    key, before = bytes(id), None if parent is None else bytes(parent)
    return CheckpointRow(
        line, number, key, before, unpack_refs(bytes(refs), key, before), bytes(body)
    )


def _written(added: Added, refs: bytes) -> dict[str, object]:
    return {
        "id": added.id,
        "parent": added.parent,
        "run": added.run,
        "refs": refs,
        "body": added.body,
        "held": added.held,
    }
