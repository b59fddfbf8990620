"""A memory block over a store: what fell out of a window is found again by what is asked."""

from __future__ import annotations

from typing import Any, Final, Literal

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.memory import BaseMemoryBlock
from pydantic import Field, PrivateAttr

from llama_index_onrecord.messages import from_llama_index, spoken
from llama_index_onrecord.reminder import text_in
from llama_index_onrecord.scope import InScope
from llama_index_onrecord.shown import Shown, ids, read
from onrecord import Store
from onrecord.adapters.calls import atalk
from onrecord.adapters.recalling import Recall, recalled

_SESSION_ID: Final = "session_id"
"""Where blocks are told of which conversation a message is, in its ``additional_kwargs``."""


class OnrecordMemoryBlock(InScope, BaseMemoryBlock[str]):
    """Older turns that answer what is asked: ``memory_blocks=[OnrecordMemoryBlock(store=store)]``.

    Where the conversation is in this very store, by an ``OnrecordMemory`` or a ``Memory`` over
    ``OnrecordMemoryStore``, nothing is stored for it. What a ``Memory`` over another store gives it
    goes to a session of the same name in the block's scope.
    """

    name: str = Field(default="RetrievedMessages", description="The name of the memory block.")
    tokens: int = Field(default=1_000, description="The most tokens of what is recalled.")
    min_score: float | None = Field(
        default=None, description="What is relevant, from 0 to 1. What the store says for None."
    )
    across: Literal["session", "user"] = Field(
        default="session",
        description="Whether to look in this conversation, or in all of the same scope.",
    )
    session_id: str | None = Field(
        default=None,
        description="In which session to keep what is kept nowhere else. The memory's for None.",
    )
    _settings: Recall = PrivateAttr()

    # Said again, because type checkers think up another one for each class of pydantic's.
    def __init__(
        self, store: Store | str, tenant: str = "", user: str = "", agent: str = "", **data: Any
    ) -> None:
        """See ``InScope``."""
        super().__init__(store, tenant, user, agent, **data)
        self._settings = Recall(self.tokens, self.min_score, self.across)

    @classmethod
    def class_name(cls) -> str:
        """The name of this class in dumps."""
        return "OnrecordMemoryBlock"

    def is_over(self, store: Store) -> bool:
        """Whether this block is over a store: what that store has it needs not be given."""
        return self._reference.store is store

    async def _aget(
        self,
        messages: list[ChatMessage] | None = None,
        session_id: str | None = None,
        shown: Shown | None = None,
        **settings: Any,
    ) -> str:
        """Recall what answers the user's newest message, and is not shown anyway."""
        asked = [message for message in messages or () if message.role is MessageRole.USER]
        query = text_in(asked[-1]) if asked else ""
        there = shown or self._there(session_id)
        key = self.session_id or session_id
        if not query.strip() or (there is None and key is None):
            return ""
        if there is None:
            session, beyond = self.session(str(key)), []
        else:
            name = there.name
            scope = {"tenant": name.tenant, "user": name.user, "agent": name.agent}
            session = self._reference.store.session(name.key, **scope)
            beyond = ids(there.messages)
        found = await atalk(recalled(session, self._settings, query, beyond=beyond))
        return "" if found is None else found.text

    async def _aput(self, messages: list[ChatMessage]) -> None:
        """Keep what fell out of a window, unless this store has it."""
        said = [(message, dict(message.additional_kwargs)) for message in spoken(messages)]
        of = {told.pop(_SESSION_ID, None) for _, told in said}
        key = of.pop() if len(of) == 1 else None
        if not said or self._there(key) is not None:
            return
        # Copies: they are the same objects that other blocks are given.
        copies = [message.model_copy(update={"additional_kwargs": told}) for message, told in said]
        await self.session(self.session_id or key or self.name).aappend(
            list(map(from_llama_index, copies))
        )

    def _there(self, session_id: str | None) -> Shown | None:
        """Find the conversation where our store for ``Memory`` has just read it."""
        shown = read.get()
        if shown is None or not shown.is_of(self._reference.store):
            return None
        return shown if shown.name.key == session_id else None
