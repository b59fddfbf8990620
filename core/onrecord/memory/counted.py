"""What a buffer memory holds, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from onrecord.adapters.calls import Talk, call
from onrecord.memory.notebook import fields_of
from onrecord.message import Message
from onrecord.plural import many
from onrecord.session import Session
from onrecord.version import NOTHING, Version

_PAGE: Final = 10_000


@dataclass(frozen=True, slots=True)
class BufferStats:
    """What a memory holds: in the database, in its buffer, and not stored yet."""

    agent_id: str
    session: str
    messages: int
    """All that were said: stored or not."""
    turns: int
    tokens: int
    """As the store's counter counts them."""
    unsaved: int
    """How many of them are not stored yet: what a kill would lose."""
    buffered: int
    """How many ``get_history()`` shows."""
    roles: Mapping[str, int] = field(default_factory=dict)
    """Messages by role, stored or not."""

    def to_dict(self) -> dict[str, Any]:
        """Make a dict of it."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**found, "roles": dict(self.roles)}

    def __str__(self) -> str:
        roles = ", ".join(f"{role} {count:,}" for role, count in self.roles.items())
        return (
            f"{many(self.messages, 'message')} in {many(self.turns, 'turn')}, "
            f"{many(self.tokens, 'token')}"
            f"{f' ({roles})' if roles else ''}; {self.buffered:,} in the buffer, "
            f"{self.unsaved:,} not stored yet"
        )

    def _repr_html_(self) -> str:
        return fields_of("What a buffer holds", self)


class Roles:
    """Counts the messages of a session by role; what was counted is not read again."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: tuple[Version, Counter[str]] = (NOTHING, Counter())

    def counted(self) -> Talk[Counter[str]]:
        """Count. The first time all messages are read, and again after a rewrite."""
        session = self._session
        while True:
            now = yield from call(session.version)
            then, counts = self._known
            if then.epoch != now.epoch or then.head > now.head:
                then, counts = NOTHING, Counter()
            counts = Counter(counts)
            for after in range(then.head, now.head, _PAGE):
                before = min(after + _PAGE, now.head) + 1
                found: list[str] = yield from call(
                    session.messages, after=after, before=before, into=_role
                )
                counts.update(found)
            if (yield from call(session.version)).epoch == now.epoch:
                self._known = (now, counts)
                return Counter(counts)


def _role(message: Message) -> str:
    return message.role
