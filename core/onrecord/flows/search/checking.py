"""Whether the index says of a session what its messages say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onrecord.flows.search import field
from onrecord.ledger.search import runs
from onrecord.ledger.search.runs import PLACES
from onrecord.ledger.sessions import heads
from onrecord.ranking import ANALYSER, signature
from onrecord.reports import Problem
from onrecord.scope import SessionName

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


def index_problems(txn: Transaction, name: SessionName) -> list[Problem]:
    """Rows of the index that say something else than the messages in their places. What an older
    analyser has made is no problem: it is not used."""
    txn.snapshot()
    problems: list[Problem] = []
    for head in heads.of_name(txn, name):
        for row in runs.of_session(txn, head.key):
            last = row.seq + PLACES - 1
            wrong = row.seq % PLACES != 1 or not row.seq <= row.upto <= min(
                last, head.described.head
            )
            if not wrong and row.analyser == ANALYSER:
                here = field.read(txn, 0, head, row.seq, row.upto)
                wrong = signature(here.said) != row.terms
            if wrong:
                problems.append(
                    Problem(
                        kind="damaged",
                        where=str(name),
                        first=row.seq,
                        last=last,
                        what="the index says something else than the messages. Run "
                        "index(again=True): it is made anew from them.",
                    )
                )
    return problems
