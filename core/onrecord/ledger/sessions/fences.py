"""Fences and lineages: how a late commit is refused, and another past known.

A commit leaves a random lineage in its session's row. It goes through only while the fence is
the one that its mark was told; who settles what a cache holds moves the fence first. Rules 5 to
7 of docs/explanation/cache-protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from onrecord.ledger.database import generation, keys
from onrecord.ledger.database.stamp import ABSENT, FenceMoved, MarkedBefore, Stamp, random
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import unfinished
from onrecord.scope import SessionName

T = TypeVar("T")

_FIND: Final = "SELECT fence FROM {sessions} WHERE {my_shard} identity = :identity"
_SETTLE: Final = "UPDATE {sessions} SET fence = :fence WHERE {my_shard} identity = :identity"
_LEAVE: Final = """
    UPDATE {sessions} SET lineage = :lineage, waits = :waits, maybe_open = CASE
        WHEN CAST(:waits AS SMALLINT) = 1 OR holder IS NOT NULL THEN 1 ELSE 0 END
    WHERE {my_shard} identity = :identity"""


def stamped(
    work: Callable[[Transaction], T], stamp: Stamp, hurried: bool = True
) -> Callable[[Transaction], T]:
    """The work of one commit, under its stamp, and with a deadline where it is hurried. What it
    appends, it stamps itself."""

    def do(txn: Transaction) -> T:
        if stamp.suspension is not None:
            generation.hold(txn, stamp.suspension)
        elif (
            stamp.fence is not None or stamp.items is not None
        ) and txn.connected_at > stamp.marked_at:
            raise MarkedBefore
        txn.stamp = stamp
        if hurried:
            txn.hurry()
        try:
            return work(txn)
        finally:
            txn.stamp = None
            txn.unhurried()  # the works of others may share this transaction

    return do


def rewriting(work: Callable[[Transaction], T], name: SessionName) -> Callable[[Transaction], T]:
    """Work that changes a session in other ways than by an append: stamped when it is done."""

    def do(txn: Transaction) -> T:
        answer = work(txn)
        stamp = txn.stamp
        assert stamp is not None, "commits are stamped"
        found = txn.first(_FIND, keys.of_name(name))
        if found is not None:  # else it was erased, or is not there to be rewritten
            refuse_fenced(txn, name, int(found[0]))
            waits = int(unfinished.newest_waits(txn, name))
            txn.run(_LEAVE, {**keys.of_name(name), "lineage": stamp.lineage, "waits": waits})
        return answer

    return do


def refuse_fenced(txn: Transaction, name: SessionName, fence: int) -> None:
    """Raise where the session's fence is not the one that the mark was told."""
    stamp = txn.stamp
    if stamp is None or stamp.fence is None:
        return
    found = ABSENT if fence == stamp.first else fence  # it was made by this very transaction
    if found != stamp.fence:
        raise FenceMoved({name.identity: found})


def settle(txn: Transaction, name: SessionName) -> bool:
    """Move the fence: who has marked before is refused. Whether there is such a session.

    What is read to fill an entry has to be read in a later transaction: this one waits for a
    commit under way, and a statement that began before its end does not see it.
    """
    return bool(txn.run(_SETTLE, {**keys.of_name(name), "fence": random()}))
