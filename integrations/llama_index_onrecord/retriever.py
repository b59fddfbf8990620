"""A retriever over what was said, for query engines, chat engines and agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from onrecord import Hit, Session, Store
from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.recalling import RELEVANT
from onrecord.adapters.reference import check_store
from onrecord.adapters.stored import id_of
from onrecord.arguments import check_range, texts, whole_number
from onrecord.blocks import text_of
from onrecord.errors import Misconfigured, shown
from onrecord.scope import AnyName, check_owner

_FOR_MACHINES: Final = ["seq", "score", "tenant", "agent"]
"""What of a node's metadata is no use to a model that reads it."""


class OnrecordRetriever(BaseRetriever):
    """Finds what was said, a node a message: ``OnrecordRetriever(store, user="ada")``.

    A node's metadata say in which session it was said, where in it, by whom, when, and how well it
    answers.
    """

    def __init__(
        self,
        where: Store | Session,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        similarity_top_k: int = 4,
        min_score: float = RELEVANT,
        roles: Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        """
        where             an onrecord.Store, or one session of it
        tenant, user, agent    whose sessions; ``onrecord.ANY`` for everybody's
        similarity_top_k  how many messages at the most
        min_score         what is relevant, from 0 to 1; 0 for the best there are, however bad
        roles, since, until, metadata    as in ``Store.search``
        """
        of_store = {"tenant": tenant, "user": user, "agent": agent}
        given: dict[str, Any] = {"roles": texts("roles", roles), "since": since, "until": until}
        if isinstance(where, Session):
            named = [part for part, name in of_store.items() if name != ""]
            if metadata is not None:
                named.append("metadata")
            if named:
                raise Misconfigured(
                    f"{named[0]} is for a store, OnrecordRetriever(store, {named[0]}=…): a session "
                    f"has a scope and metadata of its own."
                )
        else:
            check_store(where)
            check_owner(tenant, user, agent)
            given.update(of_store, metadata=metadata)
        whole_number("similarity_top_k", similarity_top_k, 1)
        check_range("min_score", min_score, "a score", 0, 1)
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        self._where = where
        self._given = {**given, "limit": similarity_top_k, "min_score": min_score}

    def __repr__(self) -> str:
        return f"OnrecordRetriever({shown(self._where)})"

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return talk(self._found(query_bundle.query_str))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await atalk(self._found(query_bundle.query_str))

    def _found(self, query: str) -> Talk[list[NodeWithScore]]:
        hits = yield from call(self._where.search, query, **self._given)
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]


def _node(hit: Hit) -> TextNode:
    message, info = hit.message, hit.info
    at = message.created_at
    whose = {"tenant": info.tenant, "user": info.user, "agent": info.agent}
    metadata = {
        "session": info.key,
        "seq": message.seq,
        "role": message.role,
        "created_at": None if at is None else at.isoformat(),
        "score": round(hit.score, 4),
        **{part: name for part, name in whose.items() if name},
    }
    return TextNode(
        # An id of a message may be another one's in another session.
        id_=f"{hit.session.name.identity.hex()}:{id_of(message)}",
        text=text_of(message.content),
        metadata=metadata,
        excluded_embed_metadata_keys=list(metadata),
        excluded_llm_metadata_keys=_FOR_MACHINES,
    )
