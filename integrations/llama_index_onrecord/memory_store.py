"""The store for LlamaIndex's ``Memory``: a queue of active messages, and an archive.

``Memory`` archives by number: "the oldest n", counted in what it read a moment ago. When another
worker has archived meanwhile these are others, and its messages would be gone from the queue
though nobody has seen them. So what ``Memory`` read is remembered for the task it runs in, until
this writes something else, and "the oldest n" are the oldest n of that.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus

from llama_index_onrecord.messages import from_llama_index, spoken, to_llama_index
from llama_index_onrecord.scope import InScope
from llama_index_onrecord.shown import Shown, read
from onrecord import Cleared, Conflict, Message, Since, Store
from onrecord.adapters.calls import Talk, atalk, call
from onrecord.adapters.stored import id_of, seq_of

ACTIVE, ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED


class OnrecordMemoryStore(InScope, AsyncDBChatStore):
    """Chat histories for ``Memory.from_defaults(chat_store=…)``. A key is a session."""

    # Said again, because type checkers think up another one for each class of pydantic's.
    def __init__(
        self, store: Store | str, tenant: str = "", user: str = "", agent: str = "", **data: Any
    ) -> None:
        """See ``InScope``."""
        super().__init__(store, tenant, user, agent, **data)

    @classmethod
    def class_name(cls) -> str:
        """The name of this class in dumps."""
        return "OnrecordMemoryStore"

    async def get_messages(
        self,
        key: str,
        status: MessageStatus | None = ACTIVE,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[ChatMessage]:
        """Read messages by status, oldest first; None is all of them."""
        return await atalk(self._get(key, status, limit, offset or 0))

    async def count_messages(self, key: str, status: MessageStatus | None = ACTIVE) -> int:
        """Count messages without reading them."""
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
        """Put messages in the place of all those of a status, at once.

        The others stay as they are, in front of the new ones; also those that another worker
        archives in this very moment.
        """
        await atalk(self._set(key, messages, status))

    async def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Take away the active message at a position, and return it."""
        return await atalk(self._delete_at(key, idx))

    async def delete_messages(self, key: str, status: MessageStatus | None = None) -> None:
        """Take away all messages, or all of a status."""
        await atalk(self._clear(key) if status is None else self._set(key, [], status))

    async def delete_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Take away the oldest n active messages, and return them."""
        return await atalk(self._delete_oldest(key, n))

    async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Archive the oldest n active messages, and return those that nobody had archived yet."""
        return await atalk(self._archive_oldest(key, n))

    async def get_keys(self) -> list[str]:
        """List the keys of all sessions in scope that hold messages, in the order of their
        beginning."""
        return await atalk(self._keys())

    # -- what happens then -------------------------------------------------------------------

    def _get(
        self, key: str, status: MessageStatus | None, limit: int | None, offset: int
    ) -> Talk[list[ChatMessage]]:
        session, archived = self.session(key), _archived(status)
        most = None if limit is None else limit + offset
        queue: list[tuple[int, str]] = []

        def noted(message: Message) -> ChatMessage:
            queue.append((seq_of(message), id_of(message)))
            return to_llama_index(message)

        found: list[ChatMessage] = yield from call(
            session.messages, archived=archived, limit=most, into=noted
        )
        if archived is False and most is None:
            read.set(Shown(weakref.ref(session.store), session.name, queue))
        return found[offset:]

    def _add(self, key: str, messages: Sequence[ChatMessage], status: MessageStatus) -> Talk[None]:
        new = list(map(from_llama_index, spoken(messages)))
        read.set(None)
        yield from call(self.session(key).append, new, archived=bool(_archived(status)))

    def _set(self, key: str, messages: Sequence[ChatMessage], status: MessageStatus) -> Talk[None]:
        new = list(map(from_llama_index, spoken(messages)))
        read.set(None)
        # At once, because what another worker archives in this moment has to be kept.
        yield from call(self.session(key).replace, new, archived=_archived(status))

    def _clear(self, key: str) -> Talk[None]:
        read.set(None)
        yield from call(self.session(key).clear)

    def _delete_at(self, key: str, idx: int) -> Talk[ChatMessage | None]:
        if idx < 0:
            return None
        session = self.session(key)
        read.set(None)
        while True:
            version = yield from call(session.version)
            found = yield from call(session.messages, archived=False, limit=idx + 1)
            if len(found) <= idx:
                return None
            with suppress(Conflict):  # gone meanwhile: another stands there now
                seq, since = seq_of(found[idx]), Since(version)
                return to_llama_index((yield from call(session.delete, seq, expected=since)))

    def _delete_oldest(self, key: str, n: int) -> Talk[list[ChatMessage]]:
        session = self.session(key)
        read.set(None)
        gone: list[Message] = []
        while len(gone) < n:
            version = yield from call(session.version)
            left = n - len(gone)
            found = yield from call(session.messages, archived=False, limit=left)
            if not found:
                break
            for message in found:
                with suppress(Conflict):  # somebody else has deleted it, and has it
                    since = Since(version)
                    gone.append((yield from call(session.delete, seq_of(message), expected=since)))
        return list(map(to_llama_index, gone))

    def _archive_oldest(self, key: str, n: int) -> Talk[list[ChatMessage]]:
        if n <= 0:
            return []
        session, queue = self.session(key), read.get()
        after: int | None = None
        before: int | None = None
        limit: int | None = n
        known: set[str] | None = None
        if queue and queue.is_of(session.store) and queue.name == session.name:
            oldest = queue.messages[:n]
            if not oldest:
                return []
            read.set(queue._replace(messages=queue.messages[n:]))  # Memory may go on from there
            after, before, limit = oldest[0][0] - 1, oldest[-1][0] + 1, None
            known = {id_ for _, id_ in oldest}
        while True:
            version = yield from call(session.version)
            found = yield from call(
                session.messages, archived=False, after=after, before=before, limit=limit
            )
            seqs = [seq_of(m) for m in found if known is None or m.id in known]
            with suppress(Cleared):  # others stand in these places now: never read, so they stay
                since = Since(version)
                archived = yield from call(session.archive, seqs, expected=since)
                return list(map(to_llama_index, archived))


def _archived(status: MessageStatus | None) -> bool | None:
    return None if status is None else MessageStatus(status) is ARCHIVED
