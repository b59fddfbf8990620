"""How a SQLite database is copied to a file of its own while it is used."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from onrecord.errors import Misconfigured
from onrecord.files import Copy
from onrecord.flow import Autocommit, Flow, InThread, do

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


def backup(address: str, given: object) -> Flow[None]:
    """Write all that is committed to a new file, which has its name when it is on the disk."""
    if not address.startswith("sqlite:"):
        raise Misconfigured(
            f"backup() copies SQLite files, and this store is {address}. Use pg_dump, and after a "
            f"restore run store.invalidate(), so that no cache remembers what is gone."
        )
    if address in ("sqlite://", "sqlite:///:memory:"):
        raise Misconfigured("A database in memory has no file to back up. export() writes one.")
    copy = yield from do(InThread(partial(Copy, given)))
    try:
        yield from do(Autocommit(partial(_copied, part=copy.part)))
        yield from do(InThread(copy.finish))
    except BaseException:  # also a cancellation: nothing is left of what is not whole
        copy.discard()
        raise


def _copied(txn: Transaction, part: str) -> None:
    # Reads one moment of the file and its log; who writes meanwhile does not wait.
    txn.run("VACUUM INTO :part", {"part": part})
