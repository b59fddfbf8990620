"""What adapters share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import langchain_onrecord
import llama_index_onrecord
from langchain_onrecord import (
    OnrecordChatMessageHistory,
    OnrecordMiddleware,
    histories,
    memory_tools,
)
from langchain_onrecord.importers import import_sql
from langgraph_onrecord import OnrecordSaver, OnrecordStore
from langgraph_onrecord.importers import import_threads
from llama_index_onrecord import (
    OnrecordChatStore,
    OnrecordMemory,
    OnrecordMemoryBlock,
    OnrecordMemoryStore,
)
from llama_index_onrecord.importers import import_json
from onrecord import CheckpointLog, Message, Misconfigured, Store
from onrecord.adapters import reference
from onrecord.adapters.calls import OnlyContent, call, talk
from onrecord.memory import (
    Analytics,
    Checkpoints,
    EpisodicMemory,
    MemorySystem,
    PersistentBufferMemory,
    Preferences,
    RollingSummary,
    SemanticMemory,
    WorkingMemory,
    acontext,
    context,
    memory_from,
)

MADE_OF_A_STORE: dict[str, Callable[[Any], object]] = {
    "log": CheckpointLog,
    "saver": OnrecordSaver,
    "middleware": OnrecordMiddleware,
    "history": lambda store: OnrecordChatMessageHistory("k", store=store),
    "histories": histories,
    "memory tools": lambda store: memory_tools(store, user="ada"),
    "chat store": OnrecordChatStore,
    "memory store": OnrecordMemoryStore,
    "memory": lambda store: OnrecordMemory(store=store),
    "memory by default": lambda store: OnrecordMemory.from_defaults("k", store),
    "memory block": OnrecordMemoryBlock,
    "graph store": OnrecordStore,
    "retriever of LangChain": langchain_onrecord.OnrecordRetriever,
    "retriever of LlamaIndex": llama_index_onrecord.OnrecordRetriever,
    "analytics": Analytics,
    "episodic memory": lambda store: EpisodicMemory(store, agent_id="a"),
    "memory system": lambda store: MemorySystem(store, agent_id="a"),
    "buffer": lambda store: PersistentBufferMemory(store, agent_id="a"),
    "preferences": lambda store: Preferences(store, "ada"),
    "semantic memory": SemanticMemory,
    "working memory": WorkingMemory,
    "memory by settings": lambda store: memory_from({"kind": "buffer"}, store=store),
    "importer of tables": lambda store: import_sql(store, "sqlite://"),
    "importer of files": lambda store: import_json(store, "chat.json"),
}
TAKES_BESIDES = {
    "retriever of LangChain": {"a Session"},
    "retriever of LlamaIndex": {"a Session"},
    "buffer": {"a str", "a NoneType"},  # a URL, and the store by default
    "working memory": {"a NoneType"},  # one in memory
    "memory by settings": {"a NoneType"},
}
"""What some take on purpose, and say so."""
MADE_OF_ANOTHER: dict[str, Callable[[Any], object]] = {
    "summary": lambda given: RollingSummary(given, messages=9),
    "context": context,
    "async context": lambda given: asyncio.run(acontext(given)),
    "checkpoints": Checkpoints,
    "importer of threads": lambda given: import_threads(given, "sqlite://"),
}
"""A session, a memory system and a saver."""


@pytest.mark.parametrize("what", MADE_OF_ANOTHER)
def test_an_address_is_not_shown_where_something_else_belongs(what: str) -> None:
    for given in ("postgresql://ada:geheim@host/chats", Store("sqlite://"), None):
        with pytest.raises(Misconfigured, match=f"not a {type(given).__name__}") as refused:
            MADE_OF_ANOTHER[what](given)
        assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("what", MADE_OF_A_STORE)
def test_what_is_no_store_is_refused_at_once(what: str) -> None:
    make, besides = MADE_OF_A_STORE[what], TAKES_BESIDES.get(what, ())
    session = Store("sqlite://").session("k")
    for given, name in (
        ("sqlite:///chat.db", "a str"),
        ("postgresql://ada:geheim@host/chats", "a str"),
        (session, "a Session"),
        (None, "a NoneType"),
        (Store, "a type"),
    ):
        if name in besides:
            continue
        with pytest.raises(Misconfigured, match=r"an onrecord\.Store\b.*, not a ") as refused:
            make(given)
        assert re.search(rf"not {name}\b", str(refused.value))
        assert "geheim" not in str(refused.value)
        assert "geheim" not in str(refused.value.__cause__ or refused.value.__context__)


def test_only_content_is_all_there_is() -> None:
    with Store("sqlite://") as store:
        chat = store.session("k")
        chat.append([("user", "a"), Message("assistant", "b", name="ann", metadata={"k": 1})])
        only = chat.messages(into=OnlyContent(lambda message: message))
        assert only == asyncio.run(chat.amessages(into=OnlyContent(lambda message: message)))
        for bare, whole in zip(only, chat.messages(), strict=True):
            assert (bare.id, bare.seq, bare.created_at, bare.tokens) == (None, None, None, None)
            assert whole.id is not None
            assert (bare.role, bare.content, bare.name, bare.metadata) == (
                whole.role,
                whole.content,
                whole.name,
                whole.metadata,
            )
        assert chat.messages(archived=False, into=OnlyContent(str)) == list(map(str, only))


def test_a_wrong_argument_of_a_call_is_seen_by_the_type_check() -> None:
    """mypy would say that the comment is not needed, if it did not see it."""
    session = Store("sqlite://").session("k")
    with pytest.raises(TypeError, match="nonsense"):
        talk(call(session.window, nonsense=4))  # type: ignore[call-arg]


def test_a_store_that_was_closed_is_not_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_opened", {})
    monkeypatch.delenv("ONRECORD_URL", raising=False)
    with Store(f"sqlite:///{tmp_path / 'x.db'}") as closed:
        closed.session("k").append(("user", "Hi."))
        name = reference.StoreReference(closed).name
    for _ in range(2):
        with reference.StoreReference(name).store as found:
            assert found.session("k").count() == 1
