"""An item: what is known, beside what was said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A value under a key, as it stood when it was read. Yours to keep."""

    namespace: tuple[str, ...]
    key: str
    value: Any
    version: int
    """Goes up with each write in the namespace, and never comes back: for ``expected=``."""
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    """From when on it is not there any more; None: it stays."""
    text: str | None = None
    """What it is to be found by, where that is not its value."""
    token: str | None = None
    """A revision that its writer made up."""
