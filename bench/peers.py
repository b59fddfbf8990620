"""The peers, opened as their documentation says, and closed again."""

from __future__ import annotations

import contextlib
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
from agents.extensions.memory import RedisSession, SQLAlchemySession
from agents.memory import SQLiteSession
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import BaseMessage
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from llama_index.storage.chat_store.postgres import (  # type: ignore[import-untyped]
    PostgresChatStore,
)
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from bench.data import TEXT

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import (
        RedisChatMessageHistory,
        SQLChatMessageHistory,
    )
    from langchain_postgres import PostgresChatMessageHistory

ITEM: Final[dict[str, Any]] = {"role": "user", "content": TEXT}
"""A message as OpenAI's sessions take it."""


@contextlib.contextmanager
def langchain_sql(url: str, key: str) -> Iterator[SQLChatMessageHistory]:
    """LangChain's history in any SQL database."""
    engine = create_engine(url)
    yield SQLChatMessageHistory(key, connection=engine)
    engine.dispose()


@contextlib.contextmanager
def langchain_sqls(url: str, count: int) -> Iterator[list[SQLChatMessageHistory]]:
    """The same, several on one engine."""
    engine = create_engine(url)
    yield [SQLChatMessageHistory(f"k{n}", connection=engine) for n in range(count)]
    engine.dispose()


@contextlib.asynccontextmanager
async def llama_sql(url: str) -> AsyncIterator[SQLAlchemyChatStore]:
    """LlamaIndex's store in any SQL database."""
    engine = create_async_engine(url)
    yield SQLAlchemyChatStore("llama_index_memory", async_engine=engine)
    await engine.dispose()


@contextlib.asynccontextmanager
async def openai_sqlite(file: Path, key: str) -> AsyncIterator[Any]:
    """The session of OpenAI's agents in a SQLite file."""
    session = SQLiteSession(key, file)
    yield session
    session.close()


@contextlib.asynccontextmanager
async def openai_sql(url: str, key: str) -> AsyncIterator[Any]:
    """The same in any SQL database."""
    engine = create_async_engine(url)
    yield SQLAlchemySession(key, engine=engine, create_tables=True)
    await engine.dispose()


@contextlib.contextmanager
def langchain_postgres(url: str, count: int, connections: int) -> Iterator[list[Any]]:
    """LangChain's history for PostgreSQL, which is given a connection: several share some."""
    table = "message_store"
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(psycopg.connect(url)) for _ in range(connections)]
        PostgresChatMessageHistory.create_tables(held[0], table)
        yield [
            PostgresChatMessageHistory(
                table, str(uuid.uuid4()), sync_connection=held[n % connections]
            )
            for n in range(count)
        ]


@contextlib.asynccontextmanager
async def llama_postgres(url: str) -> AsyncIterator[Any]:
    """LlamaIndex's store for PostgreSQL."""
    yield PostgresChatStore.from_params(
        connection_string=url.replace("postgresql:", "postgresql+psycopg:"),
        async_connection_string=url.replace("postgresql:", "postgresql+asyncpg:"),
    )


def langchain_in_memory(messages: list[BaseMessage]) -> InMemoryChatMessageHistory:
    """LangChain's history in this process alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return InMemoryChatMessageHistory(messages=messages)


@contextlib.contextmanager
def langchain_redis(url: str, key: str) -> Iterator[Any]:
    """LangChain's history in a Redis as it comes, without modules."""
    history = RedisChatMessageHistory(key, url)
    yield history
    history.redis_client.close()


@contextlib.asynccontextmanager
async def openai_redis(url: str, key: str) -> AsyncIterator[Any]:
    """The session of OpenAI's agents in a Redis."""
    session = RedisSession.from_url(key, url=url)
    yield session
    await session.close()


def items(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Questions and answers as OpenAI's sessions take them, and we."""
    return [
        {"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)
    ]
