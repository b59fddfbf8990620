"""Schemas whose tables are spread by the shard: over partitions, or by Citus."""

from __future__ import annotations

from contextlib import closing

from onrecord import Store

PARTS = 4


def partition(url: str, schema: str) -> None:
    """Make the tables of a schema that is not there yet, spread over partitions."""
    with closing(Store(url, schema=schema, pool_size=1)) as store:
        store.distribute("partitions", parts=PARTS)


def spread_by_citus(url: str, schema: str) -> None:
    """Make them, spread by Citus, which is installed in this database."""
    with closing(Store(url, schema=schema, pool_size=1)) as store:
        store.distribute("citus", parts=PARTS)
