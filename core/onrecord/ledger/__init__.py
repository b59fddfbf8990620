"""What lives in SQL: the truth. All SQL is here."""

from __future__ import annotations

from os import PathLike
from typing import Any

from onrecord.ledger.database.address import address_of, address_of_engine
from onrecord.ledger.ledger import Ledger, Options
from onrecord.ledger.sqlite import SqliteLedger


def ledger_for(url: str | PathLike[str] | None, engine: Any, options: Options) -> Ledger:
    """The ledger for a URL, or for a caller's own engine. Does no I/O."""
    address = address_of_engine(engine) if url is None else address_of(url)
    if address.kind == "sqlite":
        return SqliteLedger(address, engine, options)
    from onrecord.ledger.postgres import PostgresLedger  # only here is psycopg needed

    return PostgresLedger(address, engine, options)


__all__ = ["Ledger", "Options", "ledger_for"]
