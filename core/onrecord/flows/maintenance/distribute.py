"""How the tables of an empty store are spread, over partitions or by Citus."""

from __future__ import annotations

from functools import partial

from onrecord.errors import Misconfigured
from onrecord.flow import Autocommit, Flow, do
from onrecord.ledger.schema.distributing import check_way, spread


def distribute(address: str, way: str, parts: int) -> Flow[list[str]]:
    """Check what is asked for at once; then spread the tables, in one transaction that may take as
    long as it takes."""
    if address.startswith("sqlite:"):
        raise Misconfigured(
            f"Only PostgreSQL spreads tables, and this store is {address}: one file. Move it to a "
            f"PostgreSQL that was distributed, by export() and import_()."
        )
    return do(Autocommit(partial(spread, way=check_way(way, parts), parts=parts)))
