"""Whether what is in the database is what was written: every place, every sum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recollect import codec
from recollect.errors import Damaged
from recollect.ledger import archive, dictionaries, segments, sessions, tail
from recollect.ledger.segments import Stored
from recollect.ledger.transaction import Transaction
from recollect.reports import Problem
from recollect.rows import Row, SessionRow
from recollect.scope import SessionName

_PAGE: Final = 500
_STRAY: Final = """
    SELECT place >> 32, count(*) FROM {TABLE} t
    WHERE NOT EXISTS (SELECT 1 FROM {sessions} s WHERE s.id = t.place >> 32)
    GROUP BY 1 ORDER BY 1 LIMIT 100"""


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
    for table in ("tail", "segments"):
        problems += [
            Problem(
                kind="stray",
                where=f"recollect_{table}",
                what=f"{count} rows belong to session {number}, which is not there.",
            )
            for number, count in txn.rows(_STRAY.replace("TABLE", table), {})
        ]
    return problems


def of_session(txn: Transaction, name: SessionName) -> list[Problem]:
    """What is wrong with one session."""
    txn.snapshot()
    found = archive.find(txn, name)
    described = sessions.describe(txn, name)
    if found is None or described is None:
        return []  # it was erased while others were looked at
    session, archived = found
    look = _Look(str(name))
    for stored in segments.overlapping(txn, session.number, 0, session.head):
        look.at_segment(txn, stored)
    for rows, opens_turn in _pages(txn, session):
        for row, opens in zip(rows, opens_turn, strict=True):
            look.at_row(row, opens)
    look.has_come_to(session.head)
    look.adds_up(described.messages, described.turns, described.tokens, "session's row")
    if archived and archived[-1][1] > session.head:
        look.problem("count", *archived[-1], "it is archived, and not there.")
    return look.problems


class _Look:
    """Goes over a session from its beginning, and notes what is not as it should be."""

    def __init__(self, where: str) -> None:
        self.problems: list[Problem] = []
        self._where = where
        self._seq = 0
        self._sums = [0, 0, 0]
        self._unsure = False

    def at_segment(self, txn: Transaction, stored: Stored) -> None:
        self._follows(stored.first)
        self._seq = max(self._seq, stored.last)
        sums = stored.messages, stored.turns, stored.tokens
        self._add(*sums)
        try:
            segment = segments.unpacked(txn, stored)
        except Damaged as fault:
            self.problem("damaged", stored.first, stored.last, f"their segment: {fault}.")
            return
        for row in segment.rows:
            self._can_be_read(row)
        if segments.totals(segment) != sums:
            self.problem(
                "count", stored.first, stored.last,
                f"their segment has {segments.totals(segment)} messages, turns and tokens, and "
                f"{sums} stand beside it.",
            )  # fmt: skip

    def at_row(self, row: Row, opens_turn: bool) -> None:
        if row.seq <= self._seq:
            self.problem("stray", row.seq, row.seq, "it is in a segment and a row as well.")
            return
        self._follows(row.seq)
        self._seq = row.seq
        self._can_be_read(row)
        self._add(int(row.frame is not None), int(opens_turn), row.tokens)

    def has_come_to(self, head: int) -> None:
        self._follows(head + 1)
        if self._seq > head:
            self.problem("stray", head + 1, self._seq, f"they stand behind the head, {head}.")

    def adds_up(self, messages: int, turns: int, tokens: int, where: str) -> None:
        for what, said, found in zip(
            ("messages", "turns", "tokens"), (messages, turns, tokens), self._sums, strict=True
        ):
            if said != found and not self._unsure:
                self.problem("count", None, None, f"the {where} says {said} {what}, and "
                             f"{found} are there.")  # fmt: skip

    def problem(self, kind: str, first: int | None, last: int | None, what: str) -> None:
        self.problems.append(
            Problem(kind=kind, where=self._where, first=first, last=last, what=what)  # type: ignore[arg-type]
        )

    def _follows(self, seq: int) -> None:
        if seq > self._seq + 1:
            self.problem("gap", self._seq + 1, seq - 1, "nothing is there, not even a deleted one.")
            self._unsure = True  # that sums differ then is no second problem

    def _can_be_read(self, row: Row) -> None:
        if row.frame is not None:
            try:
                codec.decode(row.frame)
            except Damaged as fault:
                self.problem("damaged", row.seq, row.seq, f"{fault}.")

    def _add(self, *numbers: int) -> None:
        self._sums = [a + b for a, b in zip(self._sums, numbers, strict=True)]


def _pages(txn: Transaction, session: SessionRow) -> Iterator[tuple[list[Row], list[bool]]]:
    after = 0
    while page := tail.page(txn, session, after, _PAGE):
        yield [row for row, _ in page], [opens for _, opens in page]
        after = page[-1][0].seq
