"""What a store sends to its database: every statement that a test makes it run, with its values."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple
from unittest import mock

from onrecord import Store
from onrecord.ledger.database.transaction import Transaction
from scripts.statements import rendered, statements
from tests.shards import Fault, faults

MAY: Final = {
    "ORDER BY i.expires_at LIMIT :limit": "prune() of items, whoever's have expired; "
    "one by one where it cannot be",
}
"""What is put together while it runs and changes rows of many shards, by a part, and why it may."""


class Sent(NamedTuple):
    """A statement, as a template of ``Dialect``, and one set of its values."""

    template: str
    values: Mapping[str, object]


@contextlib.contextmanager
def recorded() -> Iterator[list[Sent]]:
    """Everything that is sent inside, by every store of this process."""
    found: list[Sent] = []

    def noted(method: Any) -> Any:
        def wrapper(self: Transaction, statement: str, values: Any = None) -> Any:
            if isinstance(values, Mapping) or values is None:
                found.append(Sent(statement, dict(values or {})))
            else:
                values = list(values)
                found.extend(Sent(statement, dict(one)) for one in values)
            return method(self, statement, values)

        return wrapper

    with contextlib.ExitStack() as stack:
        for name in ("first", "rows", "run", "many"):
            method = noted(getattr(Transaction, name))
            stack.enter_context(mock.patch.object(Transaction, name, method))
        yield found


def changes_across_shards(store: Store) -> list[str]:
    """What this store has put together and sent so far that changes or locks rows of many shards,
    for no reason that is known."""
    sent = list(store._ledger.dialect._rendered)
    return [
        text
        for text in sent
        if any(fault.changes for fault in _of_ours(text)) and not any(map(text.count, MAY))
    ]


@cache
def _known() -> frozenset[str]:
    return frozenset(one.template for one in statements("postgresql"))


@cache
def _of_ours(template: str) -> list[Fault]:
    if template in _known() or not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s", template):
        return []
    return faults(rendered(template, "postgresql"))
