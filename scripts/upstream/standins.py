"""A pytest plugin: our classes in the place of the frameworks' own, in their own suites.

    python -m pytest -p scripts.upstream.standins

What each test came to is written where UPSTREAM_RESULTS says; with UPSTREAM_OURS=1 ours stand in.
Only those tests run that are given a class of which there is one of ours.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

OURS = os.environ.get("UPSTREAM_OURS") == "1"
SUITE = os.environ["UPSTREAM_SUITE"]
RESULTS = Path(os.environ["UPSTREAM_RESULTS"])
_came_to: dict[str, str] = {}
_why: dict[str, str] = {}


# -- LangGraph's checkpointers -------------------------------------------------------------------


def _a_saver(**settings: Any) -> Any:
    from langgraph_onrecord import OnrecordSaver
    from onrecord import Store

    return OnrecordSaver(Store("sqlite://"), **settings)


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
    from onrecord import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/store.db", durability="normal")
        yield OnrecordSaver(store)
        await store.aclose()


_SAVERS: dict[str, Callable[[], Any]] = {
    "_checkpointer_sqlite": _in_memory,
    "_checkpointer_sqlite_aes": _encrypted,
    "_checkpointer_sqlite_aio": _in_a_file,
}


def pytest_plugin_registered(plugin: object) -> None:
    """Put ours in where a conftest names theirs."""
    for name, ours in _SAVERS.items():
        if OURS and SUITE == "pregel" and hasattr(plugin, name):
            setattr(plugin, name, ours)


# -- LangChain's agents, and LlamaIndex's stores -------------------------------------------------


def _remembering(create_agent: Callable[..., Any]) -> Callable[..., Any]:
    """``create_agent`` whose agents all remember, each in a store of its own."""
    from langchain_onrecord import OnrecordMiddleware
    from onrecord import Store

    def which(runtime: Any) -> str:
        from langgraph.config import get_config

        # Without a thread nothing is to be remembered from one call to the next.
        configurable = get_config().get("configurable", {})
        return str(configurable.get("thread_id") or uuid4().hex)

    @functools.wraps(create_agent)
    def made(*args: Any, middleware: Any = (), **settings: Any) -> Any:
        ours = OnrecordMiddleware(Store("sqlite://"), session_id=which, window=None)
        return create_agent(*args, middleware=[ours, *middleware], **settings)

    return made


def _put_in_for_simple_chat_store() -> None:
    """``SimpleChatStore`` without an argument, over a store of ours."""
    import llama_index.core.storage.chat_store as stores

    from llama_index_onrecord import OnrecordChatStore
    from onrecord import Store

    class Simple(OnrecordChatStore):
        def __init__(self, **data: Any) -> None:
            super().__init__(data.pop("store", None) or Store("sqlite://"), **data)

    stores.SimpleChatStore = Simple  # type: ignore[misc,assignment]


def pytest_configure(config: pytest.Config) -> None:
    """Before any test imports it."""
    if OURS and SUITE == "llama-index":
        _put_in_for_simple_chat_store()
    if OURS and SUITE == "agents":
        import langchain.agents
        import langchain.agents.factory

        ours = _remembering(langchain.agents.factory.create_agent)
        langchain.agents.create_agent = ours
        langchain.agents.factory.create_agent = ours


# -- which run, and what they came to ------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are about a class of which there is one of ours."""
    kept = [item for item in items if SUITE != "pregel" or _is_about_sqlite(item)]
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
