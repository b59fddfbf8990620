"""A session's version, its description without messages, and what it has cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import msgspec


class Version(NamedTuple):
    """The state of a session as two numbers: later versions compare greater.

    A version is never used twice, unless the database loses its newest commits, as by a restored
    backup. Even then one that was read is not taken for one of the other past with its numbers.
    """

    epoch: int
    """How often the session was rewritten: cleared, rewound, edited, or a message deleted."""
    head: int
    """The sequence of the newest message, 0 for none."""


class _Told(Version):
    """A version that was read from the database, with the session's lineage at that time."""

    _lineage = 0

    def __repr__(self) -> str:
        return f"Version(epoch={self.epoch}, head={self.head})"


def told(version: Version, lineage: int) -> Version:
    """Add the lineage that was read with a version. It is neither shown nor part of what
    versions are compared by; ``expected`` tells by it one past from another."""
    if not lineage:
        return version
    found = _Told(*version)
    found._lineage = lineage
    return found


def lineage_of(version: Version) -> int:
    """Find the lineage a version was read with; 0 where somebody made it of numbers."""
    return version._lineage if isinstance(version, _Told) else 0


class Since(NamedTuple):
    """A version for ``expected=`` that lets others append, and refuses after a clear or a rewind.
    Which past of the session that was is not compared.

    For whoever holds a turn open and does not mind company: ``append(answer, expected=Since(v))``.
    """

    version: Version


Expected: TypeAlias = Version | Since | int | None
"""Where an append expects its session to be; an int is a head, None is anywhere."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were spent, as messages say it in their ``usage``.

    What was spent stays spent: editing, deleting, rewinding and clearing give nothing back. A
    message that was appended before counts once, and so does one that ``replace`` puts back;
    ``edit`` adds what the message says more than before. A fork begins with none, because what
    its messages cost was paid where they were said.
    """

    input_tokens: int = 0
    """Sent to models, those that came out of a provider's cache among them."""
    output_tokens: int = 0
    """Answered by models."""
    cached_tokens: int = 0
    """How many of the input came out of a provider's cache."""
    requests: int = 0
    """Messages that came with their usage; more where one says that it took several."""


NOT_USED = Usage()
"""Nothing was spent."""


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A session's name, title, counts and times, known without reading its messages."""

    tenant: str
    user: str
    agent: str
    key: str
    version: Version
    messages: int
    """How many messages there are; deleted ones do not count."""
    turns: int
    tokens: int
    """The sum of what the store's token counter gave when each message was appended."""
    title: str | None
    metadata: Mapping[str, Any]
    created_at: datetime | None
    """None for a session that nothing was ever appended to, or where the time is damaged."""
    last_active: datetime | None
    expires_in: timedelta | None = None
    """After how long without a word ``prune()`` may take it; None: after what the store says."""
    damaged: str | None = None
    """Which numbers of its row cannot be what was written; None where all can. Out of range they
    are shown as 0 or None here, and ``store.verify()`` looks closer."""
    usage: Usage = NOT_USED
    """What its messages say that they cost, those that are gone by now too."""
    open: bool = False
    """Whether somebody has to go on: its newest message waits for an answer or a result, or a turn
    holds it, or was left."""


NOTHING = Version(0, 0)
"""The version of a session that nothing was ever written to."""
