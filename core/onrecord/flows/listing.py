"""Lists by what is in somebody's metadata: pages, and of each what has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from onrecord.arguments import mapping, whole_number
from onrecord.codec.about import unpacked
from onrecord.flow import Cold, Flow, do

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_PAGE: Final = 200


class Listed(Protocol):
    """A row of a list."""

    @property
    def about(self) -> bytes | None:
        """Title and metadata."""


D = TypeVar("D", bound=Listed)
P = TypeVar("P")


def listed(
    read: Callable[[Transaction, int, P | None], list[D]],
    place: Callable[[D], P],
    metadata: Mapping[str, Any] | None,
    limit: int,
    after: P | None,
) -> Flow[list[D]]:
    """The first rows that have all of some metadata, read by pages: ``read`` leaves out what it
    can tell to lack it, and ``place`` is what the next page begins behind."""
    metadata = mapping("metadata", metadata)
    limit = whole_number("limit", limit)
    found: list[D] = []
    size = limit  # mostly the database has told them all apart, and this is all
    while len(found) < limit:
        page = yield from do(Cold(partial(_page, read=read, size=size, after=after)))
        found += [row for row in page if not metadata or has_metadata(row, metadata)]
        if len(page) < size:
            break
        after = place(page[-1])
        size = max(limit, _PAGE)
    return found[:limit]


def _page(
    txn: Transaction, read: Callable[[Transaction, int, P | None], list[D]], size: int, after: P
) -> list[D]:
    return read(txn, size, after)


def has_metadata(row: Listed, metadata: Mapping[str, Any]) -> bool:
    known = unpacked(row.about).get("metadata", {})
    return all(key in known and known[key] == value for key, value in metadata.items())
