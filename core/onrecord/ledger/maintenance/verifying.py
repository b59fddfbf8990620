"""Whether what is in the database is what was written: every place, every sum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from onrecord import codec
from onrecord.codec import segment as sealed
from onrecord.errors import Damaged
from onrecord.ledger.database import bounds, keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import archives, description, dictionaries, pairs, segments, tail
from onrecord.ledger.sessions.segments import Stored
from onrecord.reports import Problem
from onrecord.scope import SessionName
from onrecord.stored.clock import period_of
from onrecord.stored.messages import LAST_SEQ, MessageRow, SessionRow

_PAGE: Final = 500
_OWNED: Final = {
    "tail": ("sessions", "session"),
    "segments": ("sessions", "session"),
    "runs": ("sessions", "session"),
    "vectors": ("sessions", "session"),
    "pairs": ("sessions", "session"),
    "items": ("namespaces", "namespace"),
    "checkpoint_lists": ("checkpoint_threads", "thread"),
    "checkpoints": ("checkpoint_lists", "list"),
    "checkpoint_items": ("checkpoint_lists", "list"),
    "checkpoint_writes": ("checkpoint_lists", "list"),
}
"""Tables whose rows belong to a row of another one, and by which column."""
_STRAY: Final = {
    table: f"""
    SELECT t.{column}, count(*) FROM {{{table}}} t
    WHERE NOT EXISTS (SELECT 1 FROM {{{owners}}} s WHERE {{s.in_shard_of t}} s.id = t.{column})
    GROUP BY 1 ORDER BY 1 LIMIT 100"""
    for table, (owners, column) in _OWNED.items()
}
# Of a session that was erased a position stays until its reader was told, and is due until then;
# nobody else has its number, in whatever shard.
_STRAY_POSITIONS: Final = {
    "feed": """
    SELECT p.feed, count(*) FROM {feed_positions} p
    WHERE NOT EXISTS (SELECT 1 FROM {feeds} f WHERE f.id = p.feed)
    GROUP BY 1 ORDER BY 1 LIMIT 100""",
    "session": """
    SELECT p.session, count(*) FROM {feed_positions} p
    WHERE NOT EXISTS (SELECT 1 FROM {sessions} s WHERE {s.in_shard_of p} s.id = p.session)
        AND p.due IS NULL
    GROUP BY 1 ORDER BY 1 LIMIT 100""",
}
# PostgreSQL. Two, because tables that are spread are joined within a shard and not across.
_DUE_OF_NONE: Final = """
    SELECT p.session, count(*) FROM {feed_positions} p
    WHERE NOT EXISTS (SELECT 1 FROM {sessions} s WHERE {s.in_shard_of p} s.id = p.session)
        AND p.due IS NOT NULL AND p.session > :after
    GROUP BY 1 ORDER BY 1 LIMIT 1000"""
_NUMBERS_THERE: Final = """
    SELECT id FROM {sessions} WHERE id = ANY(CAST(:sessions AS BIGINT[]))"""

# As in scope.shard_of. Threads that were deleted have no owner any more.
_MISPLACED: Final[dict[Kind, dict[str, str]]] = {
    "sqlite": {},
    "postgresql": {
        "sessions": """
            SELECT shard, id FROM {sessions} WHERE shard <> (owner & 32767) LIMIT 100""",
        "namespaces": """
            SELECT shard, id FROM {namespaces} WHERE shard <> (owner & 32767) LIMIT 100""",
        "checkpoint_threads": """
            SELECT shard, id FROM {checkpoint_threads}
            WHERE shard <> (owner & 32767) AND live = 1 LIMIT 100""",
    },
}

_NUMBERS: Final = (*bounds.BOUNDS["sessions"], "owner")
_ROW: Final = f"SELECT {', '.join(_NUMBERS)} FROM {{sessions}} WHERE {{my_shard}} id = :session"
_OPENS: Final = """
    SELECT seq, opens_turn FROM {tail}
    WHERE {span} AND opens_turn NOT IN (0, 1) ORDER BY {order} LIMIT 100"""
_PACKED: Final = """
    SELECT seq, raw, dictionary, frame FROM {tail}
    WHERE {span} AND frame IS NOT NULL ORDER BY {order} LIMIT :limit"""
_COUNTERS: Final = "SELECT id FROM {counters}"


def of_store(txn: Transaction) -> list[Problem]:
    """What is wrong outside any session."""
    problems = [
        Problem(
            kind="damaged",
            where=f"dictionary {number}",
            what=f"{why}. What was compressed with it cannot be read.",
        )
        for number, why in dictionaries.damaged(txn)
    ]
    problems += [
        Problem(
            kind="damaged",
            where=f"dictionary {number}",
            what="what it was learned from cannot be read. The next compact() drops it.",
        )
        for number in dictionaries.without_sources(txn)
    ]
    problems += bounds.problems(txn)
    for table, statement in _MISPLACED[txn.kind].items():
        problems += [
            Problem(
                kind="damaged",
                where=f"onrecord_{table}",
                what=f"shard is {shard} in the row with id {number}, which is not that of its "
                f"owner: it cannot be found by its name.",
            )
            for shard, number in txn.rows(statement, {})
        ]
    strays = [(table, _OWNED[table][1], statement) for table, statement in _STRAY.items()]
    strays += [("feed_positions", *one) for one in _STRAY_POSITIONS.items()]
    for table, owner, statement in strays:
        problems += [_stray(table, owner, *row) for row in txn.rows(statement, {})]
    if txn.can.array_parameters:
        problems += [_stray("feed_positions", "session", *row) for row in _in_another_shard(txn)]
    return problems


def _stray(table: str, owner: str, number: int, count: int) -> Problem:
    what = f"{count} rows belong to {owner} {number}, which is not there."
    return Problem(kind="stray", where=f"onrecord_{table}", what=what)


def _in_another_shard(txn: Transaction) -> Iterator[tuple[int, int]]:
    """Positions that are due, of no session of their shard, but of one of another."""
    after = 0
    while page := txn.rows(_DUE_OF_NONE, {"after": after}):
        after = page[-1][0]
        there = txn.rows(_NUMBERS_THERE, {"sessions": [number for number, _ in page]})
        yield from [(number, count) for number, count in page if (number,) in there]


def of_session(txn: Transaction, name: SessionName) -> list[Problem]:
    """What is wrong with one session."""
    txn.snapshot()
    found = archives.find(txn, name, damaged=True)
    described = description.describe(txn, name)
    if found is None or described is None:
        return []  # it was erased while others were looked at
    session, archived = found
    look = _Look(str(name), {int(number) for (number,) in txn.rows(_COUNTERS, {})})
    look.at_numbers(txn, session, name)
    if not keys.is_number(txn, session.number):
        return look.problems  # nothing can be found by it
    found_by = {(pair, name.owner) for pair in pairs.of_about(described.about)}
    if pairs.there(txn, session.key) != found_by:
        look.problem("damaged", None, None, "it is not listed by what its metadata has: give it "
                     "its metadata again.")  # fmt: skip
    for stored in segments.overlapping(txn, session.key, 0, LAST_SEQ):
        look.at_segment(txn, stored)
    segment_ends = look.seq
    if segment_ends > session.sealed:
        look.is_sealed_up_to(session.sealed, segment_ends)
    for seq, opens in txn.rows(_OPENS, keys.span(txn, session.key)):
        look.problem("damaged", seq, seq, f"its opens_turn is {opens}.")
    for page, (rows, opens_turn) in enumerate(_pages(txn, session)):
        if not page and segment_ends < rows[0].seq <= session.sealed:
            look.is_sealed_up_to(session.sealed, rows[0].seq - 1)
        for row, opens in zip(rows, opens_turn, strict=True):
            look.at_row(txn, row, opens, session.epoch)
    for seq, what in _wrongly_packed(txn, session):
        look.says_otherwise(seq, what)
    look.has_come_to(session.head)
    look.adds_up(described.messages, described.turns, described.tokens, "session's row")
    look.waits_as_said(described.waits)
    if archived and archived[-1][1] > session.head:
        look.problem("count", *archived[-1], "it is archived, and not there.")
    return look.problems


_OF_ROWS: Final = ("created", "epoch", "tokens", "counter")


class _Look:
    """Goes over a session from its beginning, and notes what is not as it should be."""

    def __init__(self, where: str, counters: set[int]) -> None:
        self._counters = counters | {0}
        self.problems: list[Problem] = []
        self._where = where
        self.seq = 0
        self._sums = [0, 0, 0]
        self._unsure = False
        self._waits: bool | None = False
        """Whether the newest message does; None where that cannot be read."""

    def at_numbers(self, txn: Transaction, session: SessionRow, name: SessionName) -> None:
        """Look at what stands in the session's own row."""
        row = txn.first(_ROW, keys.of_session(session))
        assert row is not None, "it is from one moment"
        values = dict(zip(_NUMBERS, row, strict=True))
        wrong = bounds.outside(txn, "sessions", values)
        if values["owner"] != name.owner:
            wrong.append(f"its owner is {values['owner']}, and not that of its names")
        if period_of(values["last_active"]) != values["active_period"]:
            wrong.append(
                f"its last_active is {values['last_active']}, and its active_period "
                f"{values['active_period']}"
            )
        # Sums of what was spent cannot be compared with messages: what is gone was paid for too.
        if values["cached_tokens"] > max(values["input_tokens"], 0):
            wrong.append(
                f"its cached_tokens are {values['cached_tokens']}, of {values['input_tokens']} "
                f"input_tokens"
            )
        if session.cut_epoch > session.epoch:
            wrong.append(f"it was cut in epoch {session.cut_epoch}, and is in {session.epoch}")
        if (session.holder is None) != (values["held_until"] is None):
            held = "nobody holds it" if session.holder is None else "a turn holds it"
            wrong.append(f"its held_until is {values['held_until']}, and {held}")
        if not session.maybe_open and (values["waits"] or session.holder is not None):
            wrong.append("its maybe_open is 0, and it waits or is held: unfinished() misses it")
        for what in wrong:
            self.problem("damaged", None, None, f"{what}.")

    def is_sealed_up_to(self, sealed: int, found: int) -> None:
        """Compare what the session's row says of its segments with what was found."""
        self.problem("count", None, None, f"the session's row says that it is sealed up to "
                     f"{sealed}, and what is there says {found}.")  # fmt: skip

    def at_segment(self, txn: Transaction, stored: Stored) -> None:
        self._follows(stored.first)
        self.seq = max(self.seq, stored.last)
        sums = stored.messages, stored.turns, stored.tokens
        self._add(*sums)
        try:
            segment = segments.unpacked(txn, stored)
        except Damaged as fault:
            self.problem("damaged", stored.first, stored.last, f"their segment: {fault}.")
            self._waits = None
            return
        for row in segment.rows:
            self._can_be_read(row)
        needed = sealed.dictionary_of(stored.body)
        if stored.dictionary != needed:
            self.problem("damaged", stored.first, stored.last, f"the row of their segment says "
                         f"dictionary {stored.dictionary}, and it needs {needed}.")  # fmt: skip
        if stored.raw != (raw := sealed.raw_length(stored.body)):
            self.problem("damaged", stored.first, stored.last, f"the row of their segment says "
                         f"{stored.raw} bytes uncompressed, and it has {raw}.")  # fmt: skip
        if (times := segments.times(segment)) != (stored.created_min, stored.created_max):
            self.problem("damaged", stored.first, stored.last, f"the row of their segment says "
                         f"that they were created from {stored.created_min} to "
                         f"{stored.created_max}, and they were from {times[0]} to "
                         f"{times[1]}.")  # fmt: skip
        if segments.totals(segment) != sums:
            self.problem(
                "count", stored.first, stored.last,
                f"their segment has {segments.totals(segment)} messages, turns and tokens, and "
                f"{sums} stand beside it.",
            )  # fmt: skip

    def at_row(self, txn: Transaction, row: MessageRow, opens_turn: bool, epoch: int) -> None:
        if row.seq <= self.seq:
            self.problem("stray", row.seq, row.seq, "it is in a segment and a row as well.")
            return
        self._follows(row.seq)
        self.seq = row.seq
        self._can_be_read(row)
        wrong = bounds.outside(txn, "tail", {name: getattr(row, name) for name in _OF_ROWS})
        if row.counter not in self._counters:
            wrong.append(f"its counter is {row.counter}, which is not there")
        if row.epoch > epoch:
            wrong.append(f"it was written in epoch {row.epoch}, and the session is in {epoch}")
        for what in wrong:
            self.problem("damaged", row.seq, row.seq, f"{what}.")
        self._add(int(row.frame is not None), int(opens_turn), row.tokens)

    def says_otherwise(self, seq: int, what: str) -> None:
        """Note what a row's columns say of its frame, unless that is damaged itself."""
        if not any(found.first == found.last == seq for found in self.problems):
            self.problem("damaged", seq, seq, what)

    def has_come_to(self, head: int) -> None:
        self._follows(head + 1)
        if self.seq > head:
            self.problem("stray", head + 1, self.seq, f"they stand behind the head, {head}.")

    def adds_up(self, messages: int, turns: int, tokens: int, where: str) -> None:
        for what, said, found in zip(
            ("messages", "turns", "tokens"), (messages, turns, tokens), self._sums, strict=True
        ):
            if said != found and not self._unsure:
                self.problem("count", None, None, f"the {where} says {said} {what}, and "
                             f"{found} are there.")  # fmt: skip

    def waits_as_said(self, said: int) -> None:
        """Compare what the session's row says of the newest message with what it is."""
        if self._unsure or self._waits is None or said not in (0, 1):
            return
        if said != self._waits:
            self.problem("damaged", None, None, f"its waits is {said}, and its newest message "
                         f"says {int(self._waits)}.")  # fmt: skip

    def problem(self, kind: str, first: int | None, last: int | None, what: str) -> None:
        self.problems.append(
            Problem(kind=kind, where=self._where, first=first, last=last, what=what)  # type: ignore[arg-type]
        )

    def _follows(self, seq: int) -> None:
        if seq > self.seq + 1:
            self.problem("gap", self.seq + 1, seq - 1, "nothing is there, not even a deleted one.")
            self._unsure = True  # that sums differ then is no second problem

    def _can_be_read(self, row: MessageRow) -> None:
        if row.frame is not None:
            try:
                self._waits = codec.decode(row.frame).waits
            except Damaged as fault:
                self._waits = None
                self.problem("damaged", row.seq, row.seq, f"{fault}.")

    def _add(self, *bounds: int) -> None:
        self._sums = [a + b for a, b in zip(self._sums, bounds, strict=True)]


def _wrongly_packed(txn: Transaction, session: SessionRow) -> Iterator[tuple[int, str]]:
    """Rows whose columns say something else of their frame than it says itself."""
    after = 0
    values = {**keys.span(txn, session.key), "limit": _PAGE}
    while page := txn.rows(_PACKED, {**values, "after": after}):
        after = page[-1][0]
        for seq, raw, dictionary, frame in page:
            said = (raw, dictionary)
            found = codec.raw_length(frame), codec.dictionary_of(frame)
            for what, says, has in zip(("raw", "dictionary"), said, found, strict=True):
                if says != has:
                    yield seq, f"its {what} is {says}, and its frame says {has}."


def _pages(txn: Transaction, session: SessionRow) -> Iterator[tuple[list[MessageRow], list[bool]]]:
    after = 0
    while page := tail.page(txn, session, after, _PAGE):
        yield [row for row, _ in page], [opens for _, opens in page]
        after = page[-1][0].seq
