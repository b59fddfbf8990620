"""What the methods of items take, and what becomes of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from onrecord.arguments import time_to_live
from onrecord.codec import value as codec
from onrecord.errors import Damaged, InvalidValue, Misconfigured, shown
from onrecord.item import Item
from onrecord.scope import NamespaceName, check_name, plain
from onrecord.stored.clock import nearest_moment
from onrecord.stored.items import ItemRow

log = logging.getLogger("onrecord")

MOST_AT_ONCE: Final = 10_000
"""Items of one batch."""


def key_of(given: object) -> str:
    """Check a key."""
    check_name("key", given)
    return given if type(given) is str else plain(cast(str, given))


def keys_of(given: object) -> list[str]:
    """Check several keys; each once, in their order."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise Misconfigured(f"keys have to be a list of them, not {shown(given)}.")
    return list(dict.fromkeys(key_of(key) for key in given))


def pairs_of(given: object) -> list[tuple[str, Any]]:
    """Check values and their keys: a mapping, or pairs; of one key the last counts."""
    if isinstance(given, Mapping):
        given = list(given.items())
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise Misconfigured(
            f"items have to be a mapping, or (key, value) pairs, not {shown(given)}."
        )
    found: dict[str, Any] = {}
    for pair in given:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise Misconfigured(f"An item is a (key, value) pair, not {shown(pair)}.")
        found[key_of(pair[0])] = pair[1]
    if len(found) > MOST_AT_ONCE:
        raise Misconfigured(f"A batch has at most {MOST_AT_ONCE:,} items, and this {len(found):,}.")
    return list(found.items())


def ttl_of(given: object) -> int | None:
    """Check a time to live."""
    return time_to_live("ttl", given)


def expected_of(given: object) -> int | None:
    """Check a version: a number, 0 for "must not be there", or an item for its version."""
    if given is None:
        return None
    if isinstance(given, Item):
        return given.version
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise Misconfigured(
            f"expected has to be an Item, its version, or 0 for none, not {shown(given)}."
        )
    return given


def text_of(what: str, given: object) -> str | None:
    """Check a text."""
    if given is not None and not isinstance(given, str):
        raise Misconfigured(f"{what} has to be text or None, not {shown(given)}.")
    return given


def token_of(what: str, given: object) -> str | None:
    """Check a revision that its writer made up: it stands in a column of its own, as names do."""
    if given is None:
        return None
    found = text_of(what, given)
    check_name(what, found)
    return found


def changes_of(given: object) -> Mapping[str, Any]:
    """Check what is to be merged."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InvalidValue(f"Only a dict whose keys are text can be merged, not {shown(given)}.")
    return given


def merged(there: Item | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Put new top-level keys over those of a value."""
    if there is None:
        return dict(changes)
    if not isinstance(there.value, dict):
        raise InvalidValue(
            f"Item {there.key!r} is a {type(there.value).__name__}, and only a dict can be merged "
            f"into. Put a whole value."
        )
    return {**there.value, **changes}


def item_of(name: NamespaceName, row: ItemRow) -> Item:
    """Make of a row what people hold; Damaged where it is not what was written."""
    try:
        value, text = codec.decode(row.body)
    except Damaged as fault:
        raise Damaged(
            f"Item {row.key!r} in {name} cannot be read: {fault}. Restore a backup, put it again, "
            f"or delete it."
        ) from fault
    return item_with(name, row, value, text)


def item_or_damaged(name: NamespaceName, row: ItemRow) -> Item:
    """Like ``item_of``; of a damaged one what is left, so that it costs no other (I10)."""
    try:
        return item_of(name, row)
    except Damaged as fault:
        log.warning("%s", fault)
        return item_with(name, row, row.body, None, str(fault))


def item_with(
    name: NamespaceName, row: ItemRow, value: Any, text: str | None, damaged: str | None = None
) -> Item:
    """Make of a row, and of what is in it, what people hold."""
    return Item(
        namespace=name.parts,
        key=row.key,
        value=value,
        version=row.version,
        created_at=nearest_moment(row.created),
        updated_at=nearest_moment(row.updated),
        expires_at=None if row.expires_at is None else nearest_moment(row.expires_at),
        text=text,
        token=row.token,
        damaged=damaged,
    )
