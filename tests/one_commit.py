"""Calls that SQLite commits together, in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from onrecord import Store
from onrecord.ledger.database.group_commit import GroupCommit
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sqlite import SqliteLedger

_LONG: Final = 20.0


def writer_of(store: Store) -> GroupCommit:
    """Who commits for a store on SQLite that has been used."""
    ledger = store._ledger
    assert isinstance(ledger, SqliteLedger)
    assert ledger._writer is not None
    return ledger._writer


def in_one_commit(
    store: Store,
    calls: Sequence[Callable[[], Any]],
    before: Callable[[], None] = lambda: None,
) -> list[Any]:
    """What calls answer, or raise, that write in this order. ``before`` is called when all of them
    wait, and their transaction has not begun."""
    writer = writer_of(store)
    begin = writer._transaction
    entered, go = threading.Event(), threading.Event()
    answers: list[Any] = [None] * len(calls)

    def hold(txn: Transaction) -> None:
        entered.set()
        assert go.wait(_LONG)

    def call(n: int) -> None:
        try:
            answers[n] = calls[n]()
        except Exception as fault:  # handed to the test
            answers[n] = fault

    def begun(durable: bool) -> Transaction:
        writer._transaction = begin
        before()
        return begin(durable)

    threads = [threading.Thread(target=store._ledger.write, args=(hold,))]
    threads[0].start()
    assert entered.wait(_LONG)
    for n in range(len(calls)):
        threads.append(threading.Thread(target=call, args=(n,)))
        threads[-1].start()
        while len(writer._waiting) <= n and threads[-1].is_alive():
            threading.Event().wait(0.001)
    waiting = len(writer._waiting)
    writer._transaction = begun
    go.set()
    for thread in threads:
        thread.join(_LONG)
        assert not thread.is_alive()
    assert waiting == len(calls), answers
    return answers
