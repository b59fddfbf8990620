"""What a model is shown of a session while blocks are asked, so that nothing is shown twice.

``Memory`` tells its blocks the name of a conversation, and not where it is stored. Our store
notes it for the running task, when it is read and when it archives.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import NamedTuple

from onrecord import Message, Session, Store
from onrecord.scope import SessionName


class Shown(NamedTuple):
    """The messages of a session that the running task has read last, oldest first."""

    store: weakref.ref[Store]
    """Weakly: a context may outlive all that ran in it."""
    name: SessionName
    messages: list[tuple[int, str]]
    """Places and ids. A place alone may hold another message after the session was cleared."""

    @classmethod
    def of(cls, session: Session, messages: Iterable[Message]) -> Shown:
        """Note messages of a session; those that were only made up for a window have no id."""
        said = [(m.seq, m.id) for m in messages if m.seq is not None and m.id is not None]
        return cls(weakref.ref(session.store), session.name, said)

    def is_of(self, store: Store) -> bool:
        """Whether it is of a session of this store."""
        return self.store() is store


read: ContextVar[Shown | None] = ContextVar("read", default=None)
"""What our store for ``Memory`` has read last in the running task, until it writes something."""


def ids(shown: Sequence[tuple[int, str]]) -> list[Message]:
    """Name messages by their ids alone, for what leaves them out."""
    return [Message("user", "", id=id_) for _, id_ in shown]
