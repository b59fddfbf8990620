"""An item: what is known, beside what was said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from onrecord.items import Items

Life: TypeAlias = timedelta | float | None
"""A time to live: a timedelta or seconds; None to stay."""

DERIVED: Final = "onrecord.derived."
"""How the keys begin of what was made from a session's messages and stands in its ``state``: its
``token`` is the sequence up to which it was. It goes in the very transaction in which one of these
messages is edited or taken away, so that their words are nowhere left."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A value under a key, as it stood when it was read. Yours to keep."""

    namespace: tuple[str, ...]
    """Its names; of a session's state an empty one, and the session's key."""
    key: str
    value: Any
    version: int
    """Goes up with each write in the namespace, and never comes back, not even where the database
    loses its newest commits (unless its clock goes back as well): for ``expected=``."""
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    """From when on it is not there any more; None: it stays."""
    text: str | None = None
    """What it is to be found by, where that is not its value."""
    token: str | None = None
    """A revision that its writer made up."""
    damaged: str | None = None
    """Why it cannot be read, in a list: its value is then the bytes that are left of it."""


class Put(msgspec.Struct, frozen=True):
    """A change: a value under a key, as ``Items.put`` does it.

    A namespace is its names, in the scope of what takes the change, or a handle on it:
    ``Put(session.state, "plan", plan)``.
    """

    namespace: tuple[str, ...] | str | Items
    key: str
    value: Any
    ttl: Life = None
    text: str | None = None
    expected: Item | int | None = None
    token: str | None = None
    expected_token: str | None = None


class Merge(msgspec.Struct, frozen=True):
    """A change: new top-level keys of a dict, as ``Items.merge`` does it."""

    namespace: tuple[str, ...] | str | Items
    key: str
    changes: Mapping[str, Any]
    ttl: Life = None
    expected: Item | int | None = None


class Delete(msgspec.Struct, frozen=True):
    """A change: an item goes, as by ``Items.delete``."""

    namespace: tuple[str, ...] | str | Items
    key: str
    expected: Item | int | None = None


ItemChange: TypeAlias = Put | Merge | Delete
