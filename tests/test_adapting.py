"""What adapters share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_onrecord import (
    OnrecordChatMessageHistory,
    OnrecordMiddleware,
    histories,
    memory_tools,
)
from langchain_onrecord.importers import import_sql
from langgraph_onrecord import OnrecordSaver
from llama_index_onrecord import OnrecordChatStore, OnrecordMemory, OnrecordMemoryStore
from llama_index_onrecord.importers import import_json
from onrecord import CheckpointLog, Message, Misconfigured, Store
from onrecord.adapters import reference
from onrecord.adapters.calls import OnlyContent, call, talk

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
    "importer of tables": lambda store: import_sql(store, "sqlite://"),
    "importer of files": lambda store: import_json(store, "chat.json"),
}


@pytest.mark.parametrize("what", MADE_OF_A_STORE)
def test_what_is_no_store_is_refused_at_once(what: str) -> None:
    make = MADE_OF_A_STORE[what]
    session = Store("sqlite://").session("k")
    for given, name in (
        ("sqlite:///chat.db", "a str"),
        ("postgresql://ada:geheim@host/chats", "a str"),
        (session, "a Session"),
        (None, "a NoneType"),
        (Store, "a type"),
    ):
        with pytest.raises(Misconfigured, match=r"has to be an onrecord\.Store, not a ") as refused:
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
