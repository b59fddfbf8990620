"""How the tables of an empty store are spread, over partitions or by Citus."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from onrecord.errors import Misconfigured
from onrecord.flow import Autocommit, Cold, Flow, do
from onrecord.ledger.schema.distributing import check_way, require, spread

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_SECONDS: Final = 5.0


def distribute(address: str, way: str, parts: int | None) -> Flow[list[str]]:
    """Spread the tables, in one transaction that may take as long as it takes."""
    if address.startswith("sqlite:"):
        raise Misconfigured(
            f"Only PostgreSQL spreads tables, and this store is {address}: one file. Move it to a "
            f"PostgreSQL that was distributed, by export() and import_()."
        )
    checked = check_way(way, parts)
    yield from do(Autocommit(partial(require, way=checked), seconds_as_it_is=_SECONDS))
    work = partial(spread, way=checked, parts=parts)
    yield from do(Cold(_made, writes=True))
    return (yield from do(Autocommit(work)))


def _made(txn: Transaction) -> None:
    """Nothing: whoever writes makes the tables where there are none."""
