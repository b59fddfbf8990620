"""The store for LlamaIndex's ``Memory``: a queue of active messages, and an archive.

``Memory`` archives by number: "the oldest n", counted in what it read a moment ago. When another
worker has archived meanwhile these are others, and its messages would be gone from the queue
though nobody has seen them. So what ``Memory`` read is remembered for the task it runs in, and
"the oldest n" are the oldest n of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus
from pydantic import Field, PrivateAttr

from llama_index_recollect.chat_store import keys_in
from llama_index_recollect.messages import from_llama_index, to_llama_index
from recollect import Conflict, Message, Session, Store
from recollect.adapting import Talk, atalk, call
from recollect.reference import StoreReference

ACTIVE, ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED

_read: ContextVar[tuple[Session, list[int]] | None] = ContextVar("read", default=None)
"""What the running task has read last of a session's queue."""


class RecollectMemoryStore(AsyncDBChatStore):
    """Chat histories for ``Memory.from_defaults(chat_store=…)``. A key is a session."""

    store: str = Field(description="Which store: its address, without a password.")
    tenant: str = Field(default="", description="Whose conversations these are.")
    user: str = Field(default="", description="Whose conversations these are.")
    agent: str = Field(default="", description="Whose conversations these are.")
    _reference: StoreReference = PrivateAttr()

    def __init__(
        self, store: Store | str, tenant: str = "", user: str = "", agent: str = "", **data: Any
    ) -> None:
        """
        store          a recollect.Store, made once for the process; or, in what was dumped, its
                       name: the store is found by it when it is first needed
        tenant, user, agent    the scope of the sessions that keys name
        """
        reference = StoreReference(store)
        data.update(store=reference.name, tenant=tenant, user=user, agent=agent)
        super().__init__(**data)
        self._reference = reference

    @classmethod
    def class_name(cls) -> str:
        """The name of this class in dumps."""
        return "RecollectMemoryStore"

    def session(self, key: str) -> Session:
        """The session that a key names."""
        scope = {"tenant": self.tenant, "user": self.user, "agent": self.agent}
        return self._reference.store.session(key, **scope)

    async def get_messages(
        self,
        key: str,
        status: MessageStatus | None = ACTIVE,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[ChatMessage]:
        """Messages by status, oldest first; None is all of them."""
        return await atalk(self._get(key, status, limit, offset or 0))

    async def count_messages(self, key: str, status: MessageStatus | None = ACTIVE) -> int:
        """How many messages there are, without reading them."""
        return await self.session(key).acount(archived=_archived(status))

    async def add_message(
        self, key: str, message: ChatMessage, status: MessageStatus = ACTIVE
    ) -> None:
        """Append a message."""
        await atalk(self._add(key, [message], status))

    async def add_messages(
        self, key: str, messages: list[ChatMessage], status: MessageStatus = ACTIVE
    ) -> None:
        """Append messages, all or none."""
        await atalk(self._add(key, messages, status))

    async def set_messages(
        self, key: str, messages: list[ChatMessage], status: MessageStatus = ACTIVE
    ) -> None:
        """Put messages in the place of all those of a status; the others stay."""
        await atalk(self._set(key, messages, status))

    async def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Take away the active message at a position, and return it."""
        return await atalk(self._delete_at(key, idx))

    async def delete_messages(self, key: str, status: MessageStatus | None = None) -> None:
        """Take away all messages, or all of a status."""
        if status is None:
            await self.session(key).aclear()
        else:
            await atalk(self._set(key, [], status))

    async def delete_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Take away the oldest n active messages, and return them."""
        return await atalk(self._delete_oldest(key, n))

    async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Archive the oldest n active messages, and return those that nobody had archived yet."""
        return await atalk(self._archive_oldest(key, n))

    async def get_keys(self) -> list[str]:
        """The keys of all sessions in scope that hold messages, the one last active first."""
        return await atalk(keys_in(self._reference.store, self.tenant, self.user, self.agent))

    # -- what happens then -------------------------------------------------------------------

    def _get(
        self, key: str, status: MessageStatus | None, limit: int | None, offset: int
    ) -> Talk[list[ChatMessage]]:
        session = self.session(key)
        most = None if limit is None else limit + offset
        found: list[Message] = yield from call(
            session, "messages", archived=_archived(status), limit=most
        )
        if status is ACTIVE and most is None:
            _read.set((session, [message.seq or 0 for message in found]))
        return [to_llama_index(message) for message in found[offset:]]

    def _add(self, key: str, messages: Sequence[ChatMessage], status: MessageStatus) -> Talk[None]:
        session = self.session(key)
        stored = yield from call(session, "append", [from_llama_index(m) for m in messages])
        if status is ARCHIVED and stored:
            yield from call(session, "archive", [message.seq for message in stored])

    def _set(self, key: str, messages: Sequence[ChatMessage], status: MessageStatus) -> Talk[None]:
        session = self.session(key)
        new = [from_llama_index(message) for message in messages]
        while True:
            version = yield from call(session, "version")
            kept = yield from call(session, "messages", archived=status is not ARCHIVED)
            active = yield from call(session, "messages", archived=False, limit=1)
            try:
                if status is ACTIVE and not (kept and active and active[0].seq < kept[-1].seq):
                    # The archive comes first, as it does when Memory archives: it stays as it is.
                    after = kept[-1].seq if kept else 0
                    yield from call(session, "replace", new, after=after, expected=version)
                else:
                    yield from self._set_around(session, new, kept, status, version)
            except Conflict:
                continue  # somebody wrote meanwhile
            return

    def _set_around(
        self, session: Session, new: list[Message], kept: list[Message], status: Any, version: Any
    ) -> Talk[None]:
        """Archived and active are mixed: all are written again, the archived ones in front."""
        archived, active = (new, kept) if status is ARCHIVED else (kept, new)
        stored = yield from call(session, "replace", [*archived, *active], expected=version)
        yield from call(session, "archive", [m.seq for m in stored[: len(archived)]])

    def _delete_at(self, key: str, idx: int) -> Talk[ChatMessage | None]:
        if idx < 0:
            return None
        session = self.session(key)
        while True:
            found = yield from call(session, "messages", archived=False, limit=idx + 1)
            if len(found) <= idx:
                return None
            try:
                return to_llama_index((yield from call(session, "delete", found[idx].seq)))
            except Conflict:
                continue  # deleted meanwhile: another stands there now

    def _delete_oldest(self, key: str, n: int) -> Talk[list[ChatMessage]]:
        session = self.session(key)
        gone: list[ChatMessage] = []
        for seq in (yield from self._oldest(session, n)):
            try:
                gone.append(to_llama_index((yield from call(session, "delete", seq))))
            except Conflict:
                continue  # somebody else has deleted it
        return gone

    def _archive_oldest(self, key: str, n: int) -> Talk[list[ChatMessage]]:
        session = self.session(key)
        archived = yield from call(session, "archive", (yield from self._oldest(session, n)))
        return [to_llama_index(message) for message in archived]

    def _oldest(self, session: Session, n: int) -> Talk[list[int]]:
        """The sequences of the oldest n of what the task has read, or of what there is."""
        if n <= 0:
            return []
        read = _read.get()
        if read is not None and read[0].name == session.name and read[0].store is session.store:
            _read.set((session, read[1][n:]))  # Memory may go on from there
            return read[1][:n]
        found = yield from call(session, "messages", archived=False, limit=n)
        return [message.seq for message in found]


def _archived(status: MessageStatus | None) -> bool | None:
    return None if status is None else status is ARCHIVED
