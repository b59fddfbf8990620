"""The chat store for ``ChatMemoryBuffer``, chat engines and all that takes ``BaseChatStore``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.storage.chat_store.base import BaseChatStore

from llama_index_onrecord.messages import from_llama_index, spoken, to_llama_index
from llama_index_onrecord.scope import InScope
from onrecord import Conflict, Store
from onrecord.adapters.calls import OnlyContent, Talk, atalk, call, talk
from onrecord.adapters.stored import seq_of


class OnrecordChatStore(InScope, BaseChatStore):
    """Chat histories in an Onrecord store. A key is a session; positions are list positions."""

    # Said again, because type checkers think up another one for each class of pydantic's.
    def __init__(
        self, store: Store | str, tenant: str = "", user: str = "", agent: str = "", **data: Any
    ) -> None:
        """See ``InScope``."""
        super().__init__(store, tenant, user, agent, **data)

    @classmethod
    def class_name(cls) -> str:
        """The name by which LlamaIndex finds this class again."""
        return "OnrecordChatStore"

    # -- sync --------------------------------------------------------------------------------

    def set_messages(self, key: str, messages: list[ChatMessage]) -> None:
        """Put messages in the place of all there are, at once."""
        talk(self._set(key, messages))

    def get_messages(self, key: str, **limits: Any) -> list[ChatMessage]:
        """Read all messages, oldest first; or some, by ``after=``, ``before=`` and ``limit=``."""
        return talk(self._get(key, **limits))

    def add_message(self, key: str, message: ChatMessage, idx: int | None = None) -> None:
        """Append a message; or insert it, as into a list."""
        talk(self._add(key, message, idx))

    def delete_messages(self, key: str) -> list[ChatMessage] | None:
        """Take all messages away, and return them; None where there are none."""
        return talk(self._delete_all(key))

    def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Take away the message at a position, and return it; None where there is none."""
        return talk(self._delete_at(key, idx))

    def delete_last_message(self, key: str) -> ChatMessage | None:
        """Take away the newest message, and return it; None where there is none."""
        return talk(self._delete_last(key))

    def get_keys(self) -> list[str]:
        """List the keys of all sessions in scope that hold messages, in the order of their
        beginning."""
        return talk(self._keys())

    # -- async, under LlamaIndex's names -----------------------------------------------------

    async def aset_messages(self, key: str, messages: list[ChatMessage]) -> None:
        """Like ``set_messages``."""
        await atalk(self._set(key, messages))

    async def aget_messages(self, key: str, **limits: Any) -> list[ChatMessage]:
        """Like ``get_messages``."""
        return await atalk(self._get(key, **limits))

    async def async_add_message(
        self, key: str, message: ChatMessage, idx: int | None = None
    ) -> None:
        """Like ``add_message``."""
        await atalk(self._add(key, message, idx))

    async def adelete_messages(self, key: str) -> list[ChatMessage] | None:
        """Like ``delete_messages``."""
        return await atalk(self._delete_all(key))

    async def adelete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Like ``delete_message``."""
        return await atalk(self._delete_at(key, idx))

    async def adelete_last_message(self, key: str) -> ChatMessage | None:
        """Like ``delete_last_message``."""
        return await atalk(self._delete_last(key))

    async def aget_keys(self) -> list[str]:
        """Like ``get_keys``."""
        return await atalk(self._keys())

    # -- what happens then, written once -----------------------------------------------------

    def _set(self, key: str, messages: Sequence[ChatMessage]) -> Talk[None]:
        yield from call(self.session(key).replace, list(map(from_llama_index, spoken(messages))))

    def _get(
        self,
        key: str,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> Talk[list[ChatMessage]]:
        convert = OnlyContent(to_llama_index)
        messages = self.session(key).messages
        return (yield from call(messages, after=after, before=before, limit=limit, into=convert))

    def _add(self, key: str, message: ChatMessage, idx: int | None) -> Talk[None]:
        session, new = self.session(key), from_llama_index(message)
        if idx is None:
            yield from call(session.append, new)
            return
        while True:
            version = yield from call(session.version)
            messages = yield from call(session.messages)
            rest = messages[idx:]
            if not rest:
                yield from call(session.append, new)
                return
            try:
                yield from call(
                    session.replace, [new, *rest], after=seq_of(rest[0]) - 1, expected=version
                )
            except Conflict:
                continue  # somebody wrote meanwhile: the position may be another
            return

    def _delete_all(self, key: str) -> Talk[list[ChatMessage] | None]:
        session = self.session(key)
        while True:
            version = yield from call(session.version)
            gone = yield from self._get(key)
            if not gone:
                return None
            try:
                yield from call(session.replace, [], expected=version)
            except Conflict:
                continue  # somebody wrote meanwhile, and is to be told what went
            return gone

    def _delete_at(self, key: str, idx: int) -> Talk[ChatMessage | None]:
        if idx < 0:
            return None
        session = self.session(key)
        while True:
            messages = yield from call(session.messages, limit=idx + 1)
            if len(messages) <= idx:
                return None
            try:
                return to_llama_index((yield from call(session.delete, seq_of(messages[idx]))))
            except Conflict:
                continue  # deleted meanwhile: another stands there now

    def _delete_last(self, key: str) -> Talk[ChatMessage | None]:
        session = self.session(key)
        while True:
            last = yield from call(session.tail, 1)
            if not last:
                return None
            try:
                return to_llama_index((yield from call(session.delete, seq_of(last[0]))))
            except Conflict:
                continue
