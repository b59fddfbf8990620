"""A retriever over what was said, for chains and for agents that look things up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from onrecord import Message, Misconfigured, Session, SessionInfo, Store
from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.recalling import RELEVANT
from onrecord.adapters.reference import check_store
from onrecord.arguments import check_range, whole_number
from onrecord.blocks import text_of
from onrecord.errors import shown
from onrecord.scope import AnyName, check_owner


class OnrecordRetriever(BaseRetriever):
    """Finds what was said, as documents: ``OnrecordRetriever(store, user="ada")``.

    Making one does no I/O. Each document is a message, or with ``whole_turns`` some turns that
    follow each other, the best first. Its metadata say where it stands, who said it and when.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    where: Store | Session
    tenant: Any = ""
    user: Any = ""
    agent: Any = ""
    k: int = 4
    min_score: float = RELEVANT
    whole_turns: bool = False
    tokens: int = 1_000

    def __init__(
        self,
        where: Store | Session,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        k: int = 4,
        min_score: float = RELEVANT,
        whole_turns: bool = False,
        tokens: int = 1_000,
        **settings: Any,
    ) -> None:
        """
        where          an onrecord.Store, or one session of it
        tenant, user, agent    whose sessions; ``onrecord.ANY`` for everybody's
        k              how many documents at the most
        min_score      what is relevant, from 0 to 1; 0 for the k best, however bad
        whole_turns    turns in place of messages: the question with its answer, calls with results
        tokens         how many at the most, of all turns together
        settings       LangChain's own: name, tags, metadata
        """
        if isinstance(where, Session):
            if given := [part for part in (tenant, user, agent) if part != ""]:
                raise Misconfigured(f"A session has its scope; {shown(given[0])} is not needed.")
        else:
            check_store(where)
        check_owner(tenant, user, agent)
        whole_number("k", k, 1)
        check_range("min_score", min_score, "a score", 0, 1)
        whole_number("tokens", tokens, 1)
        if not isinstance(whole_turns, bool):
            raise Misconfigured(f"whole_turns has to be True or False, not {shown(whole_turns)}.")
        fields: dict[str, Any] = {
            "where": where,
            "tenant": tenant,
            "user": user,
            "agent": agent,
            "k": k,
            "min_score": min_score,
            "whole_turns": whole_turns,
            "tokens": tokens,
        }
        super().__init__(**fields, **settings)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return talk(self._found(query))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        return await atalk(self._found(query))

    def _found(self, query: str) -> Talk[list[Document]]:
        where = self.where
        scope: dict[str, Any] = {}
        if isinstance(where, Store):
            scope = {"tenant": self.tenant, "user": self.user, "agent": self.agent}
        least = {"min_score": self.min_score, **scope}
        if self.whole_turns:
            recalled = yield from call(where.recall, query, tokens=self.tokens, **least)
            best = sorted(recalled, key=lambda passage: -passage.score)
            return [
                _document(passage.text, passage.info, passage.messages, passage.score)
                for passage in best[: self.k]
            ]
        hits = yield from call(where.search, query, limit=self.k, **least)
        return [
            _document(text_of(hit.message.content), hit.info, (hit.message,), hit.score)
            for hit in hits
        ]


def _document(text: str, info: SessionInfo, messages: Sequence[Message], score: float) -> Document:
    """Make a document of messages that follow each other. Its metadata are what JSON can say."""
    first, last = messages[0], messages[-1]
    metadata: dict[str, Any] = {
        "session_id": info.key,
        "tenant": info.tenant,
        "user": info.user,
        "agent": info.agent,
        "seq": first.seq,
        "last_seq": last.seq,
        "role": first.role,
        "name": first.name,
        "message_id": first.id,
        "created_at": None if first.created_at is None else first.created_at.isoformat(),
        "score": score,
    }
    return Document(text, id=first.id, metadata=metadata)
