"""Everything Onrecord raises on purpose: what went wrong, why, and what to do next.

    OnrecordError
    ├── InvalidMessage      a message that cannot be stored; nothing was written
    ├── InvalidValue        a value of an item that cannot be stored; nothing was written
    ├── InvalidName         a tenant, user, agent or key outside the rules; no I/O was done
    ├── Conflict            the session is not at the version the caller expected
    │   ├── Cleared         ... because it was cleared or rewound meanwhile
    │   ├── Fenced          a turn wrote that holds its session no longer; nothing was written
    │   └── TurnTaken       another turn holds the session
    ├── IdReused            a message id that the session already knows with other content
    ├── Unavailable         the database did not answer, or not in time
    ├── Damaged             stored bytes that are not what was written
    ├── EmbedderFailed      an embedder raised, or what it gave are no vectors
    ├── Misconfigured       a setting, a URL or a permission that has to change first
    │   └── SchemaTooNew    the database was migrated by a newer Onrecord
    └── StoreClosed         the store was used after close()

Each wraps what caused it (``__cause__``), and none ever holds a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from onrecord.item import Item
    from onrecord.version import SessionInfo, Version


class OnrecordError(Exception):
    """The base of every error that Onrecord raises on purpose."""


class InvalidMessage(OnrecordError, ValueError):
    """A message that cannot be stored as it is. Nothing was written."""


class InvalidValue(OnrecordError, ValueError):
    """A value of an item that cannot be stored as it is. Nothing was written."""


class InvalidName(OnrecordError, ValueError):
    """A tenant, user, agent or key outside the rules. No I/O was done."""


class Conflict(OnrecordError):
    """The session is not where the caller expected it; ``version`` is where it is. Of ``update``:
    ``info`` is what is there. Of an item: ``item`` is what is there, None for nothing."""

    # The defaults exist for pickle, which rebuilds an exception from its message alone.
    def __init__(
        self,
        message: str,
        version: Version | None = None,
        item: Item | None = None,
        info: SessionInfo | None = None,
    ) -> None:
        super().__init__(message)
        self.version = version
        self.item = item
        self.info = info


class Cleared(Conflict):
    """The session was cleared or rewound since the caller looked; nothing was appended."""


class Fenced(Conflict):
    """A turn wrote that holds its session, or its thread, no longer. Nothing was written."""


class TurnTaken(Conflict):
    """Another turn holds the session, or the thread: ``who`` does, and ``until`` when, if it does
    not go on. Nothing was written."""

    def __init__(self, message: str, who: str = "", until: datetime | None = None) -> None:
        super().__init__(message)
        self.who = who
        self.until = until


class IdReused(OnrecordError, ValueError):
    """A message id that the session already knows, with other content. Nothing was written."""


class Unavailable(OnrecordError):
    """The database could not be reached, or did not answer in time.

    ``outcome_unknown`` is true when a write may or may not have been committed.
    Appending the same messages again with the same ids is then safe.
    """

    def __init__(self, message: str, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class Damaged(OnrecordError):
    """Stored bytes that are not what was written."""


class EmbedderFailed(OnrecordError):
    """An embedder raised, or what it gave are no vectors. What was said is found by its words."""


class Misconfigured(OnrecordError, ValueError):
    """A setting, a URL or a permission that has to change before this can work."""


class SchemaTooNew(Misconfigured):
    """The database was migrated by a newer Onrecord. Nothing was touched."""


class StoreClosed(OnrecordError):
    """The store was used after ``close()``."""

    def __init__(self, message: str = "This store was closed. Open a new Store.") -> None:
        super().__init__(message)


def shown(value: object, most: int = 50) -> str:
    """A value as an error may show it: its beginning, or its type where it cannot be printed."""
    try:
        return f"{value!r:.{most}}"
    except Exception:  # whatever its own code raises; what is nested too deep, or a long integer
        return f"a {type(value).__name__} that cannot be printed"
