"""A pytest plugin: our classes in the place of the frameworks' own, in their own suites.

    python -m pytest -p scripts.upstream.standins

What each test came to is written where UPSTREAM_RESULTS says; with UPSTREAM_OURS=1 ours stand in.
Only those tests run that are given a class of which there is one of ours.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scripts.upstream.stores import a_store, a_tenant

OURS = os.environ.get("UPSTREAM_OURS") == "1"
SUITE = os.environ["UPSTREAM_SUITE"]
RESULTS = Path(os.environ["UPSTREAM_RESULTS"])
_came_to: dict[str, str] = {}
_why: dict[str, str] = {}


# -- LangGraph's checkpointers -------------------------------------------------------------------


def _a_saver(**settings: Any) -> Any:
    from langgraph_onrecord import OnrecordSaver

    saver = OnrecordSaver(a_store(), tenant=a_tenant(), **settings)
    saver.setup()  # as they set up theirs: some of the tests are timed
    return saver


@contextmanager
def _in_memory() -> Iterator[Any]:
    saver = _a_saver()
    with saver.log.store:
        yield saver


@contextmanager
def _encrypted() -> Iterator[Any]:
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    saver = _a_saver(serde=EncryptedSerializer.from_pycryptodome_aes(key=b"1234567890123456"))
    with saver.log.store:
        yield saver


@asynccontextmanager
async def _in_a_file() -> AsyncIterator[Any]:
    from langgraph_onrecord import OnrecordSaver

    with tempfile.TemporaryDirectory() as folder:
        store = a_store(f"sqlite:///{folder}/store.db", durability="normal")
        saver = OnrecordSaver(store, tenant=a_tenant())
        await saver.asetup()
        yield saver
        await store.aclose()


_OF_SAVERS = ("pregel", "prebuilt")
_SAVERS: dict[str, Callable[[], Any]] = {
    "_checkpointer_sqlite": _in_memory,
    "_checkpointer_sqlite_aes": _encrypted,
    "_checkpointer_sqlite_aio": _in_a_file,
}


def pytest_plugin_registered(plugin: object) -> None:
    """Put ours in where a conftest names theirs."""
    for name, ours in _SAVERS.items():
        if OURS and SUITE in _OF_SAVERS and hasattr(plugin, name):
            setattr(plugin, name, ours)


# -- LangChain's agents and histories, and LlamaIndex's stores -----------------------------------


def _remembering(create_agent: Callable[..., Any]) -> Callable[..., Any]:
    """``create_agent`` whose agents all remember, each in a store of its own."""
    from langchain_onrecord import OnrecordMiddleware

    def which(runtime: Any) -> str:
        from langgraph.config import get_config

        # Without a thread nothing is to be remembered from one call to the next.
        configurable = get_config().get("configurable", {})
        return str(configurable.get("thread_id") or uuid4().hex)

    @functools.wraps(create_agent)
    def made(*args: Any, middleware: Any = (), **settings: Any) -> Any:
        ours = OnrecordMiddleware(a_store(), tenant=a_tenant(), session_id=which, window=None)
        return create_agent(*args, middleware=[ours, *middleware], **settings)

    return made


def _put_in_for_llama_index() -> None:
    """``SimpleChatStore`` and ``SQLAlchemyChatStore``, each made over a store of its own."""
    from llama_index.core.memory import ChatMemoryBuffer, ChatSummaryMemoryBuffer
    from llama_index.core.storage.chat_store import SimpleChatStore
    from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore

    from llama_index_onrecord import OnrecordChatStore, OnrecordMemoryStore

    class Simple(OnrecordChatStore):
        def __init__(self, store: Any = None, **data: Any) -> None:
            given = {} if store is None else store
            if isinstance(given, dict):  # of messages, as theirs takes them
                store, data = a_store(), {"tenant": a_tenant(), **data}
            super().__init__(store, **data)
            for key, messages in given.items() if isinstance(given, dict) else ():
                self.set_messages(key, messages)

    class Queued(OnrecordMemoryStore):
        def __init__(self, store: Any = None, **data: Any) -> None:
            mine = {name: value for name, value in data.items() if name not in _OF_SQLALCHEMY}
            super().__init__(
                a_store() if store is None else store, **{"tenant": a_tenant(), **mine}
            )

    _put_in("llama_index", SimpleChatStore, Simple)
    _put_in("llama_index", SQLAlchemyChatStore, Queued)
    # What was the default when these were made is in their fields.
    for memory in (ChatMemoryBuffer, ChatSummaryMemoryBuffer):
        memory.model_fields["chat_store"].default_factory = Simple
        memory.model_rebuild(force=True)


_OF_SQLALCHEMY = ("table_name", "async_database_uri", "async_engine", "db_data", "db_schema")


def _put_in(package: str, theirs: type, ours: type) -> None:
    """In every module of a package that has it already; the tests' own come later."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == package:
            for attribute in [a for a, value in vars(module).items() if value is theirs]:
                setattr(module, attribute, ours)


def _put_in_for_histories() -> None:
    """``InMemoryChatMessageHistory``, each a conversation of its own in one store."""
    from langchain_core.chat_history import InMemoryChatMessageHistory

    from langchain_onrecord import OnrecordChatMessageHistory

    store = a_store()

    class InMemory(OnrecordChatMessageHistory):
        def __init__(self, messages: Sequence[Any] = ()) -> None:
            super().__init__(uuid4().hex, store=store)
            if messages:
                self.add_messages(messages)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, InMemory) and self._said() == other._said()

        def _said(self) -> list[Any]:
            # What was given without an id has one of ours in each conversation.
            return [message.model_copy(update={"id": None}) for message in self.messages]

    _put_in("langchain_core", InMemoryChatMessageHistory, InMemory)


def pytest_configure(config: pytest.Config) -> None:
    """Before any test imports it."""
    if OURS and SUITE == "llama-index":
        _put_in_for_llama_index()
    if OURS and SUITE == "histories":
        _put_in_for_histories()
    if OURS and SUITE == "agents":
        import langchain.agents
        import langchain.agents.factory

        ours = _remembering(langchain.agents.factory.create_agent)
        langchain.agents.create_agent = ours
        langchain.agents.factory.create_agent = ours


# -- which run, and what they came to ------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are about a class of which there is one of ours."""
    kept = [item for item in items if SUITE not in _OF_SAVERS or _is_about_sqlite(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _is_about_sqlite(item: pytest.Item) -> bool:
    given = getattr(getattr(item, "callspec", None), "params", {})
    return any("sqlite" in str(given.get(f"{way}_checkpointer")) for way in ("sync", "async"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note it; what fails in any phase has failed."""
    if report.when == "call" or report.failed:
        if _came_to.get(report.nodeid) != "failed":
            _came_to[report.nodeid] = report.outcome
        if report.failed:
            said = str(report.longrepr).strip().splitlines()
            _why[report.nodeid] = next((s for s in said if s.startswith("E ")), said[-1])[:300]


def pytest_sessionfinish() -> None:
    RESULTS.write_text(json.dumps({"came_to": _came_to, "why": _why}, indent=1))
