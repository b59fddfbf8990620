"""Importers: conversations that LlamaIndex's own chat stores wrote, brought into a store.

What all importers share (retries, sources that change, scopes, passwords in errors) is tested in
``test_langchain_importers.py``; here is what LlamaIndex's stores have of their own. The tests
whose names begin with ``test_upstream`` say what is wrong in these stores, and is not in ours.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
import redis
import redis.asyncio
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.storage.chat_store import SimpleChatStore
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index.core.storage.chat_store.loading import load_chat_store
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from llama_index.storage.chat_store.redis import RedisChatStore  # type: ignore[import-untyped]
from pydantic_core import PydanticSerializationError
from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import sessionmaker

from llama_index_onrecord import OnrecordChatStore, OnrecordMemoryStore, importers
from llama_index_onrecord.importers import (
    Imported,
    ImportProgress,
    aimport_json,
    aimport_postgres,
    aimport_redis,
    aimport_sql,
    import_json,
    import_postgres,
    import_redis,
    import_sql,
)
from onrecord import InvalidMessage, Misconfigured, Opaque, Session, Store, Text, Unavailable
from onrecord.adapters.importing import KEY
from tests.servers.redis import OwnRedis, RedisServer
from tests.test_langchain_importers import SECRET, Dying, Killed, counts, secretless, sync_url

# Not on Python 3.14: it asks for an asyncpg that has no wheel for it.
PostgresChatStore = pytest.importorskip(
    "llama_index.storage.chat_store.postgres", exc_type=ModuleNotFoundError
).PostgresChatStore

OpenStore = Callable[[], Store]
T = TypeVar("T")

ACTIVE, ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def bot(text: str) -> ChatMessage:
    return ChatMessage(role="assistant", content=text)


def texts(store: Store, key: str = "ada", **scope: str) -> list[str]:
    return [message.text for message in store.session(key, **scope).messages()]


class Old:
    """An old chat store: how it is written, and how it is imported."""

    prefix = ""
    """What its keys begin with here."""
    source: Any
    bring_: Callable[..., Imported]
    abring_: Callable[..., Coroutine[Any, Any, Imported]]
    settings: dict[str, Any]

    def add(self, name: str, *messages: ChatMessage | str) -> None:
        """As the peer adds them."""
        raise NotImplementedError

    def set(self, name: str, messages: Sequence[ChatMessage]) -> None:
        """As the peer puts them in the place of all."""
        raise NotImplementedError

    def pop(self, name: str) -> None:
        """As the peer takes the newest back."""
        raise NotImplementedError

    def raw(self, name: str, text: str) -> None:
        """Add something that is no message of this version, behind the peer's back."""
        raise NotImplementedError

    def get(self, name: str) -> list[ChatMessage]:
        """What the peer returns, archived or not."""
        raise NotImplementedError

    def bring(self, store: Store, **how: Any) -> Imported:
        return type(self).bring_(store, self.source, **{**self.settings, **how})

    async def abring(self, store: Store, **how: Any) -> Imported:
        return await type(self).abring_(store, self.source, **{**self.settings, **how})

    def key(self, name: str) -> str:
        return self.prefix + name

    @staticmethod
    def said(messages: Sequence[ChatMessage | str]) -> list[ChatMessage]:
        return [user(m) if isinstance(m, str) else m for m in messages]


class OldTable(Old):
    """``SQLAlchemyChatStore``."""

    bring_, abring_ = import_sql, aimport_sql

    def __init__(self, url: str, **settings: Any) -> None:
        self.source, self.settings = url, settings

    def call(self, method: str, *given: Any, **named: Any) -> Any:
        async def called() -> Any:
            store = SQLAlchemyChatStore(
                self.settings.get("table", "llama_index_memory"),
                self.source,
                db_schema=self.settings.get("schema"),
            )
            try:
                return await getattr(store, method)(*given, **named)
            finally:
                assert store._async_engine is not None
                await store._async_engine.dispose()

        return run(called())

    def add(self, name: str, *messages: ChatMessage | str) -> None:
        if messages:
            self.call("add_messages", name, self.said(messages))

    def set(self, name: str, messages: Sequence[ChatMessage]) -> None:
        self.call("set_messages", name, list(messages))

    def pop(self, name: str) -> None:
        self.execute(
            "DELETE FROM llama_index_memory WHERE id = (SELECT max(id) FROM "
            f"llama_index_memory WHERE key = '{name}')"
        )

    def raw(self, name: str, text: str) -> None:
        self.call("get_keys")  # makes the table
        quoted = text.replace("'", "''").replace(":", r"\:")
        self.execute(
            "INSERT INTO llama_index_memory (key, timestamp, role, status, data) SELECT "
            f"'{name}', 1 + coalesce(max(timestamp), 0), 'user', 'active', '{quoted}' "
            "FROM llama_index_memory"
        )

    def get(self, name: str) -> list[ChatMessage]:
        return list(self.call("get_messages", name, status=None))

    def archive(self, name: str, n: int) -> None:
        self.call("archive_oldest_messages", name, n)

    def execute(self, statement: str) -> None:
        url = make_url(self.source)
        url = url.set(drivername="sqlite" if "sqlite" in self.source else "postgresql+psycopg")
        engine = create_engine(url)
        try:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text(statement))
        finally:
            engine.dispose()


class OldArrays(Old):
    """``PostgresChatStore``."""

    bring_, abring_ = import_postgres, aimport_postgres

    def __init__(self, url: str, jsonb: bool, table: str = "chatstore") -> None:
        self.source, self.settings = url, {"table": table}
        self.engine = create_engine(sync_url(url))
        # Its async side connects only when it is first used.
        unused: Any = None
        self.peer = PostgresChatStore(sessionmaker(self.engine), unused, table, use_jsonb=jsonb)

    def add(self, name: str, *messages: ChatMessage | str) -> None:
        for message in self.said(messages):
            self.peer.add_message(name, message)

    def set(self, name: str, messages: Sequence[ChatMessage]) -> None:
        self.peer.set_messages(name, list(messages))

    def pop(self, name: str) -> None:
        self.peer.delete_last_message(name)

    def raw(self, name: str, text: str) -> None:
        with psycopg.connect(self.source) as connection:
            kind = connection.execute(
                "SELECT udt_name FROM information_schema.columns WHERE column_name = 'value' "
                "AND table_name = 'chatstore'"
            ).fetchone()
            assert kind is not None
            connection.execute(
                "INSERT INTO chatstore (key, value) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE "
                f"SET value = array_cat(chatstore.value, %s::{kind[0]})",
                (name, [text], [text]),
            )

    def get(self, name: str) -> list[ChatMessage]:
        return list(self.peer.get_messages(name))


class OldLists(Old):
    """``RedisChatStore``."""

    bring_, abring_ = import_redis, aimport_redis

    def __init__(self, url: str) -> None:
        # Full of what means something to SCAN, and nobody else's.
        self.prefix = f"{uuid.uuid4().hex}:"
        self.source, self.settings = url, {"pattern": f"{self.prefix}*"}
        self.client = redis.Redis.from_url(url)
        unused: Any = object()
        self.peer = RedisChatStore(redis_client=self.client, aredis_client=unused)

    def add(self, name: str, *messages: ChatMessage | str) -> None:
        for message in self.said(messages):
            self.peer.add_message(self.key(name), message)

    def set(self, name: str, messages: Sequence[ChatMessage]) -> None:
        self.peer.set_messages(self.key(name), list(messages))

    def pop(self, name: str) -> None:
        self.peer.delete_last_message(self.key(name))

    def raw(self, name: str, text: str) -> None:
        self.client.rpush(self.key(name), text)

    def get(self, name: str) -> list[ChatMessage]:
        return list(self.peer.get_messages(self.key(name)))

    def close(self) -> None:
        for key in self.client.scan_iter(f"{self.prefix}*", count=10_000):
            self.client.delete(key)
        self.client.close()


class OldFile(Old):
    """``SimpleChatStore``."""

    bring_, abring_ = import_json, aimport_json

    def __init__(self, file: Path) -> None:
        self.source, self.settings = file, {}
        self.kept: dict[str, list[Any]] = {}

    def add(self, name: str, *messages: ChatMessage | str) -> None:
        dumped = [message.model_dump(mode="json") for message in self.said(messages)]
        self.kept.setdefault(name, []).extend(dumped)
        self.write()

    def set(self, name: str, messages: Sequence[ChatMessage]) -> None:
        self.kept[name] = []
        self.add(name, *messages)

    def pop(self, name: str) -> None:
        self.kept[name].pop()
        self.write()

    def raw(self, name: str, text: str) -> None:
        self.kept.setdefault(name, []).append(json.loads(text))
        self.write()

    def write(self) -> None:
        """As ``persist`` does where it works: see ``test_a_file_as_persist_writes_it``."""
        whole = {"store": self.kept, "class_name": "SimpleChatStore"}
        self.source.write_text(json.dumps(whole, ensure_ascii=False), "utf-8")

    def get(self, name: str) -> list[ChatMessage]:
        return SimpleChatStore.from_persist_path(str(self.source)).get_messages(name)


@pytest.fixture
def sql_old(tmp_path: Path) -> OldTable:
    old = OldTable(f"sqlite+aiosqlite:///{tmp_path / 'old.db'}")
    old.call("get_keys")
    return old


@pytest.fixture
def sql_on_postgres_old(postgres_url: str) -> OldTable:
    old = OldTable(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    old.call("get_keys")
    return old


@pytest.fixture
def postgres_old(postgres_url: str) -> Iterator[OldArrays]:
    old = OldArrays(postgres_url, jsonb=False)
    yield old
    old.engine.dispose()


@pytest.fixture
def redis_old(redis_server: RedisServer) -> Iterator[OldLists]:
    old = OldLists(redis_server.url)
    yield old
    old.close()


@pytest.fixture
def json_old(tmp_path: Path) -> OldFile:
    old = OldFile(tmp_path / "chat_store.json")
    old.write()
    return old


def opened(which: str, request: pytest.FixtureRequest) -> Iterator[Old]:
    if not which.startswith("postgres "):
        found: Old = request.getfixturevalue(f"{which}_old")
        yield found
        return
    arrays = OldArrays(request.getfixturevalue("postgres_url"), which.endswith("jsonb"))
    yield arrays
    arrays.engine.dispose()


@pytest.fixture(params=["sql", "postgres jsonb", "redis", "json"])
def old(request: pytest.FixtureRequest) -> Iterator[Old]:
    """One of each package."""
    yield from opened(request.param, request)


@pytest.fixture(
    params=["sql", "sql_on_postgres", "postgres json", "postgres jsonb", "redis", "json"]
)
def each_old(request: pytest.FixtureRequest) -> Iterator[Old]:
    """One of each package on each of its databases."""
    yield from opened(request.param, request)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.db", durability="normal") as store:
        yield store


def every_kind(folder: Path) -> list[ChatMessage]:
    """Of each kind one, and in each way that a chat store can write."""
    (picture := folder / "picture.png").write_bytes(PNG)
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"n":  2}'}}
    return [
        ChatMessage(role="system", content="You are the help desk of a bookshop."),
        ChatMessage(role="user", content="Where is it? 🚚 مرحبا ‮ \n\t\\ \" ' % é 漢字 :x"),
        ChatMessage(
            role="assistant",
            blocks=[
                ThinkingBlock(
                    content="An order.", num_tokens=3, additional_information={"signature": "c2ln"}
                ),
                TextBlock(text="Let me look."),
                ToolCallBlock(tool_call_id="c1", tool_name="find", tool_kwargs={"n": 2}),
                ToolCallBlock(tool_call_id="c2", tool_name="find", tool_kwargs='{"n":  2}'),
            ],
            additional_kwargs={
                "tool_calls": [call],
                "refusal": None,
                "deep": {"a": [1, None, 2.5]},
            },
        ),
        ChatMessage(
            role="tool", content="42", additional_kwargs={"tool_call_id": "c1", "name": "find"}
        ),
        ChatMessage(
            role="user",
            blocks=[
                TextBlock(text="What is this?"),
                ImageBlock(image=PNG, detail="high"),
                ImageBlock(url="https://a.example/b.png"),
                ImageBlock(path=picture),
                AudioBlock(audio=b"RIFF....WAVE", format="wav"),
                VideoBlock(video=b"frames", video_mimetype="video/mp4", fps=3),
                DocumentBlock(data=b"%PDF-1.4", title="Terms"),
                DocumentBlock(path="nowhere/b.pdf"),
                CachePoint(cache_control=CacheControl(type="ephemeral", ttl="1h")),
            ],
        ),
        ChatMessage(
            role="assistant",
            blocks=[
                CitableBlock(title="t", source="s", content=[TextBlock(text="cited")]),
                CitationBlock(
                    cited_content=TextBlock(text="cited"),
                    source="s",
                    title="t",
                    additional_location_info={"start": 1},
                ),
            ],
        ),
        ChatMessage(role="assistant", content=""),
        ChatMessage(role="assistant"),
        ChatMessage(role="developer", content="Be brief."),
        ChatMessage(role="chatbot", content="Hello."),
        ChatMessage(role="model", content="Hello.", additional_kwargs={"huge": 2**70}),
        ChatMessage(role="function", content="5"),
    ]


# -- what arrives ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "async"])
def test_every_kind_of_message_comes_back_as_its_store_gave_it(
    each_old: Old, way: str, each_store: OpenStore, tmp_path: Path
) -> None:
    old = each_old
    said = every_kind(tmp_path)
    old.add("ada", *said)
    old.add("bo", "Hello")
    store = each_store()
    brought = old.bring(store, user="u") if way == "sync" else run(old.abring(store, user="u"))
    assert counts(brought) == (2, len(said) + 1, 0)
    assert (brought.unread, brought.behind, brought.incomplete) == ((), (), ())

    chats = OnrecordChatStore(each_store(), user="u")
    assert sorted(chats.get_keys()) == [old.key("ada"), old.key("bo")]
    before, after = old.get("ada"), chats.get_messages(old.key("ada"))
    assert after == before
    assert [m.model_dump() for m in after] == [m.model_dump() for m in before]

    # Nor does it differ from what the store itself would have made of the peer's messages.
    chats.set_messages("again", before)
    ours, theirs = (store.session(key, user="u").messages() for key in (old.key("ada"), "again"))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.role, one.content, one.native) == (other.role, other.content, other.native)
        assert (one.name, one.tool_call_id) == (other.name, other.tool_call_id)
    assert counts(old.bring(store, user="u")) == (2, 0, len(said) + 1)


def test_messages_as_older_versions_wrote_them(each_old: Old, store: Store) -> None:
    old = each_old
    old.raw("ada", '{"role": "user", "content": "hello", "additional_kwargs": {}}')
    old.raw("ada", '{"role": "assistant", "content": null, "additional_kwargs": {"a": 1}}')
    brought = old.bring(store)
    assert counts(brought) == (1, 2, 0)
    assert not brought.incomplete
    assert OnrecordChatStore(store).get_messages(old.key("ada")) == old.get("ada")
    assert texts(store, old.key("ada")) == ["hello", ""]


def test_an_id_that_the_caller_set_is_kept(old: Old, store: Store) -> None:
    """``onrecord_id`` may stand there already: who is about to move prepares for it."""
    old.add("ada", ChatMessage("hello", additional_kwargs={"onrecord_id": "mine"}), "more")
    old.bring(store)
    first, second = store.session(old.key("ada")).messages()
    assert first.id == "mine"
    assert str(second.id).count("-") == 2
    assert counts(old.bring(store)) == (1, 0, 2)


def test_a_long_conversation_in_many_batches(old: Old, store: Store) -> None:
    said = [f"message {n}" for n in range(730)]
    old.set("ada", [user(text) for text in said])
    calls: list[ImportProgress] = []
    assert counts(old.bring(store, progress=calls.append)) == (1, 730, 0)
    assert texts(store, old.key("ada")) == said
    assert [at.messages for at in calls] == [*range(50, 701, 50), 730]
    assert calls[0] == ImportProgress(old.key("ada"), 1, 50)


# -- archived, and in which order --------------------------------------------------------------


@pytest.fixture(params=["sql", "sql_on_postgres"])
def memory_old(request: pytest.FixtureRequest) -> OldTable:
    found: OldTable = request.getfixturevalue(f"{request.param}_old")
    return found


def by_status(old: OldTable, store: Store, name: str = "ada") -> None:
    """Both sides of the queue are what they are in the old store."""
    memories = OnrecordMemoryStore(store)
    for status in (ACTIVE, ARCHIVED, None):
        before = old.call("get_messages", name, status=status)
        assert run(memories.get_messages(name, status)) == before
        assert run(memories.count_messages(name, status)) == len(before)


def test_what_was_archived_is_archived(memory_old: OldTable, each_store: OpenStore) -> None:
    old, store = memory_old, each_store()
    old.add("ada", *[f"{n}" for n in range(120)])
    old.archive("ada", 70)  # in the middle of a batch
    old.add("bo", "hello")
    assert counts(old.bring(store)) == (2, 121, 0)
    by_status(old, store)
    by_status(old, store, "bo")
    assert counts(old.bring(store)) == (2, 0, 121)


def test_what_was_archived_among_the_others(sql_old: OldTable, store: Store) -> None:
    for n in range(20):
        status = ARCHIVED if n % 3 else ACTIVE
        sql_old.call("add_message", "ada", user(f"{n}"), status=status)
    sql_old.bring(store)
    by_status(sql_old, store)


def test_what_was_archived_after_it_was_brought(
    memory_old: OldTable, each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory goes on archiving while the application still runs on the old store."""
    old, store = memory_old, each_store()
    old.add("ada", *[f"{n}" for n in range(130)])
    assert old.bring(store).messages == 130
    old.archive("ada", 60)
    assert counts(old.bring(store)) == (1, 0, 130)
    by_status(old, store)
    old.archive("ada", 10)
    old.add("ada", "new")
    assert counts(old.bring(store)) == (1, 1, 130)
    by_status(old, store)
    # And then there is nothing to be done.
    monkeypatch.delattr(Session, "update")
    monkeypatch.delattr(Session, "archive")
    assert counts(old.bring(store)) == (1, 0, 131)


def test_what_was_archived_after_a_run_was_killed(
    sql_old: OldTable, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql_old.add("ada", *[f"{n}" for n in range(70)])
    dying = Dying(monkeypatch)
    dying.at(4, True)  # a batch was appended, and not marked
    with pytest.raises(Killed):
        sql_old.bring(store)
    dying.at(-1, False)
    sql_old.archive("ada", 33)
    assert counts(sql_old.bring(store)) == (1, 20, 50)
    by_status(sql_old, store)


def test_what_was_archived_here_stays_archived(sql_old: OldTable, store: Store) -> None:
    sql_old.add("ada", *[f"{n}" for n in range(10)])
    sql_old.bring(store)
    store.session("ada").archive([1, 2, 3])
    store.session("ada").append(("user", "here"))
    sql_old.archive("ada", 2)
    sql_old.add("ada", "10")
    assert sql_old.bring(store).messages == 1
    active = store.session("ada").messages(archived=False)
    assert [m.text for m in active] == [*(f"{n}" for n in range(3, 10)), "here", "10"]


def test_archived_messages_and_what_was_deleted_and_cleared_here(
    sql_old: OldTable, store: Store
) -> None:
    sql_old.add("ada", *[f"{n}" for n in range(60)])
    sql_old.bring(store)
    session = store.session("ada")
    session.delete(3)
    sql_old.archive("ada", 5)
    sql_old.add("ada", "60")
    brought = sql_old.bring(store)
    assert counts(brought)[1] == 1
    assert brought.unread == ()
    assert [m.text for m in session.messages(archived=True)] == ["0", "1", "3", "4"]
    session.clear()
    session.append([("user", f"here {n}") for n in range(9)])
    sql_old.archive("ada", 3)
    assert sql_old.bring(store).messages == 0
    assert session.messages(archived=True) == []


def test_a_session_that_is_cleared_while_messages_are_archived(
    sql_old: OldTable, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands there then is not what was archived."""
    sql_old.add("ada", *[f"{n}" for n in range(10)])
    sql_old.bring(store)
    sql_old.archive("ada", 5)
    archive = Session.archive

    def late(session: Session, *given: Any, **named: Any) -> Any:
        session.clear()
        session.append([("user", f"here {n}") for n in range(9)])
        return archive(session, *given, **named)

    monkeypatch.setattr(Session, "archive", late)
    sql_old.bring(store)
    assert store.session("ada").messages(archived=True) == []


@pytest.mark.parametrize("meanwhile", ["nothing", "archived"])
def test_killed_at_any_point_with_an_archive(
    sql_old: OldTable, meanwhile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql_old.add("ada", *[f"{n}" for n in range(70)])
    if meanwhile == "archived":
        with Store(tmp_path / "before.db", durability="normal") as store:
            sql_old.bring(store)
        whole = (tmp_path / "before.db").read_bytes()
    sql_old.archive("ada", 33)
    sql_old.add("ada", "new")
    dying = Dying(monkeypatch)
    monkeypatch.setattr(Session, "archive", dying._dying(Session.archive))
    killed = True
    for n in itertools.count(1):
        for after in (False, True):
            if meanwhile == "archived":
                (tmp_path / f"{n}{after}.db").write_bytes(whole)
            with Store(tmp_path / f"{n}{after}.db", durability="normal") as store:
                dying.at(n, after)
                try:
                    sql_old.bring(store)
                    killed = False
                except Killed:
                    killed = True
                dying.at(-1, False)
                brought = sql_old.bring(store)
                assert brought.messages + brought.already_there == 71
                by_status(sql_old, store)
        if not killed:
            break
    assert n > 8


def test_the_order_is_of_times_and_then_of_ids(memory_old: OldTable, store: Store) -> None:
    """Clocks of two hosts differ: what was inserted last may have been said first."""
    memory_old.add("ada", "c", "a", "b", "d")
    for text, timestamp in (("c", 30), ("a", 10), ("b", 10), ("d", 40)):
        like = "'%' || '\"" + text + "\"' || '%'"
        memory_old.execute(
            f"UPDATE llama_index_memory SET timestamp = {timestamp * 10**17} "
            f"WHERE CAST(data AS TEXT) LIKE {like}"
        )
    memory_old.bring(store)
    assert texts(store) == ["a", "b", "c", "d"] == [m.content for m in memory_old.get("ada")]
    # One more, between those that were brought.
    memory_old.add("ada", "late")
    memory_old.execute(
        f"UPDATE llama_index_memory SET timestamp = {20 * 10**17} WHERE id = "
        "(SELECT max(id) FROM llama_index_memory)"
    )
    assert counts(memory_old.bring(store)) == (1, 1, 4)
    assert texts(store) == ["a", "b", "c", "d", "late"]


def test_times_are_kept(memory_old: OldTable, store: Store) -> None:
    began = datetime.now(UTC)
    memory_old.add("ada", "now", "in seconds")
    seconds = int(began.timestamp()) - 1_000
    memory_old.execute(
        f"UPDATE llama_index_memory SET timestamp = {seconds} WHERE id = "
        "(SELECT max(id) FROM llama_index_memory)"
    )
    memory_old.bring(store)
    first, second = store.session("ada").messages()
    assert first.created_at == datetime.fromtimestamp(seconds, UTC)
    assert second.created_at is not None
    assert began - timedelta(seconds=1) < second.created_at <= datetime.now(UTC)


def test_a_time_that_is_none(sql_old: OldTable, store: Store) -> None:
    sql_old.add("ada", "one", "two")
    sql_old.execute("UPDATE llama_index_memory SET timestamp = 'x' WHERE id = 2")
    assert sql_old.bring(store).messages == 2
    assert texts(store) == ["one", "two"]


# -- messages that LlamaIndex cannot read ------------------------------------------------------


def as_json(role: str = "user", **rest: Any) -> str:
    return json.dumps({"role": role, "additional_kwargs": {}, "blocks": [], **rest})


SHOWN = "[A block of type 'hologram' that cannot be shown here.]"
TEXT: dict[str, Any] = {"block_type": "text", "text": "Look:"}
HOLOGRAM: dict[str, Any] = {"block_type": "hologram", "voxels": [1, 2], "deep": {"a": None}}
POISON = [
    (as_json(blocks=[TEXT, HOLOGRAM]), ["Look:", SHOWN], "blocks.1: Input tag 'hologram'"),
    (as_json(blocks=[{"block_type": "text"}]), ["[A block"], "blocks.0.text.text: Field required"),
    (as_json(blocks=[5, TEXT]), ["[A block", "Look:"], "blocks.0"),
    (as_json("moderator", blocks=[TEXT]), ["Look:"], "role: Input should be 'system'"),
    (as_json(additional_kwargs={"images": [{}]}, blocks=[TEXT]), ["Look:"], "resolve_image"),
    (as_json(blocks=None), [], "blocks: Input should be a valid list"),
]


def test_messages_that_llama_index_refuses_are_brought_and_named(
    each_old: Old, store: Store
) -> None:
    old = each_old
    old.add("ada", "before")
    for raw, _, _ in POISON:
        old.raw("ada", raw)
    old.raw("ada", as_json(blocks=[{**TEXT, "text": "after"}]))
    with pytest.raises((ValueError, AttributeError)):  # the whole conversation is unreadable there
        old.get("ada")
    brought = old.bring(store)
    assert counts(brought) == (1, len(POISON) + 2, 0)
    assert brought.unread == ()
    before, *messages, after = OnrecordChatStore(store).get_messages(old.key("ada"))
    assert (before.content, after.content) == ("before", "after")
    for message, named, (_, shown, why) in zip(messages, brought.incomplete, POISON, strict=True):
        assert named.session == old.key("ada")
        assert why in named.reason
        assert len(str(named)) < 500
        for block, start in zip(message.blocks, shown, strict=True):
            assert isinstance(block, TextBlock)
            assert block.text.startswith(start)
    again = old.bring(store)
    assert (counts(again), again.incomplete) == ((1, 0, len(POISON) + 2), ())


def test_what_cannot_be_read_is_kept_as_it_was(old: Old, store: Store) -> None:
    old.raw("ada", as_json("moderator", blocks=[TEXT, HOLOGRAM], additional_kwargs={"a": 1}))
    old.bring(store)
    [message] = store.session(old.key("ada")).messages()
    assert message.role == "moderator"
    rest = {name: value for name, value in HOLOGRAM.items() if name != "block_type"}
    assert message.content == (Text("Look:"), Opaque("llama_index", "hologram", rest))
    [shown] = OnrecordChatStore(store).get_messages(old.key("ada"))
    assert shown.role is MessageRole.USER
    assert shown.additional_kwargs == {"a": 1}


def test_a_picture_whose_file_has_gone(old: Old, store: Store, tmp_path: Path) -> None:
    (picture := tmp_path / "gone.png").write_bytes(PNG)
    cited = CitableBlock(title="t", source="s", content=[ImageBlock(path=picture, detail="low")])
    said = ChatMessage(
        role="user", blocks=[TextBlock(text="Look:"), ImageBlock(path=picture), cited]
    )
    old.add("ada", "before", said, "after")
    there = old.get("ada")
    picture.unlink()
    with pytest.raises(ValueError, match="Path does not point to a file"):
        old.get("ada")
    brought = old.bring(store)
    assert counts(brought) == (1, 3, 0)
    [incomplete] = brought.incomplete
    assert "blocks.1.image.path: Path does not point to a file" in incomplete.reason
    found = OnrecordChatStore(store).get_messages(old.key("ada"))
    assert [m.content for m in found] == [m.content for m in there]
    assert found[1].blocks[1] == there[1].blocks[1]
    kept: Any = found[1].blocks[2]
    assert (kept.content[0].path, kept.content[0].detail) == (picture, "low")


@pytest.mark.parametrize("kind", ["redis", "json"])
def test_what_is_no_message_is_named_each_time(
    kind: str, store: Store, request: pytest.FixtureRequest
) -> None:
    old: Old = request.getfixturevalue(f"{kind}_old")
    damaged = ['{"a": 1}', "[1, 2]", '"text"', "null", as_json(additional_kwargs=[])]
    damaged += [as_json(blocks=5), json.dumps({"role": 5, "blocks": []})]
    if kind == "redis":
        damaged += [as_json()[:-4], ""]
    for n, raw in enumerate(damaged):
        old.add("ada", f"{n}")
        old.raw("ada", raw)
    brought = old.bring(store)
    assert counts(brought) == (1, len(damaged), 0)
    assert [unread.row for unread in brought.unread] == [
        str(2 * n + 2) for n in range(len(damaged))
    ]
    for unread in brought.unread:
        assert (
            "as LlamaIndex writes a message" in unread.reason
            or "not JSON" in unread.reason
            or ("it is empty" in unread.reason)
        )
    again = old.bring(store)
    assert (again.unread, counts(again)) == (brought.unread, (1, 0, len(damaged)))
    assert texts(store, old.key("ada")) == [f"{n}" for n in range(len(damaged))]


def test_a_message_that_cannot_be_stored(
    json_old: OldFile, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.codec.frame.LARGEST", 10_000)
    json_old.add("ada", "one", "x" * 20_000, "two")
    [unread] = json_old.bring(store).unread
    assert unread.row == "2"
    assert unread.reason.startswith("The message takes")
    assert texts(store) == ["one", "two"]


# -- again -------------------------------------------------------------------------------------


def test_again_changes_nothing_and_later_brings_what_is_new(
    old: Old, each_store: OpenStore
) -> None:
    said = ["ok" if n % 3 else f"{n}" for n in range(120)]
    old.add("ada", *said)
    store = each_store()
    key = old.key("ada")
    assert counts(old.bring(store)) == (1, 120, 0)
    before = store.session(key).info()
    assert counts(run(old.abring(store))) == (1, 0, 120)
    assert store.session(key).info() == before
    old.add("ada", "new", "ok")
    old.add("bo", "other")
    brought = old.bring(each_store())
    assert (counts(brought), brought.behind) == ((2, 3, 120), ())
    assert texts(store, key) == [*said, "new", "ok"]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_killed_at_any_batch(old: Old, way: str, store: Store) -> None:
    said = [f"{n}" for n in range(130)]
    old.set("ada", [user(text) for text in said])

    def die(progress: ImportProgress) -> None:
        raise Killed

    def bring() -> Imported:
        return (
            old.bring(store, progress=die)
            if way == "sync"
            else run(old.abring(store, progress=die))
        )

    for batches in (1, 2):
        with pytest.raises(Killed):
            bring()
        assert texts(store, old.key("ada")) == said[: batches * 50]
    assert counts(old.bring(store)) == (1, 30, 100)
    assert texts(store, old.key("ada")) == said
    store.session(old.key("ada")).update(metadata=None)  # nor without the mark
    assert counts(old.bring(store)) == (1, 0, 130)


def test_the_last_message_is_taken_back_and_said_anew(old: Old, store: Store) -> None:
    """As is done to have an answer made again."""
    old.add("ada", *[f"{n}" for n in range(60)], "bad answer")
    old.bring(store)
    old.pop("ada")
    assert counts(old.bring(store))[1] == 0
    old.add("ada", "good answer", "thanks")
    brought = old.bring(store)
    assert brought.messages == 2
    assert brought.already_there in (60, 61)
    assert texts(store, old.key("ada")) == [
        *(f"{n}" for n in range(60)),
        *("bad answer", "good answer", "thanks"),
    ]
    assert counts(old.bring(store))[1] == 0
    old.pop("ada")
    old.add("ada", "thanks")  # the same again is the same
    assert counts(old.bring(store))[1] == 0


def test_all_is_written_again_for_each_turn(old: Old, store: Store) -> None:
    """As is done by who passes chat_history= to an engine: set_messages with all there was."""
    said = [f"{n}" for n in range(60)]
    old.set("ada", [user(text) for text in said])
    old.bring(store)
    for turn in range(3):
        said += [f"question {turn}", f"answer {turn}"]
        old.set("ada", [user(text) for text in said])
        old.set("bo", [user("so that rows have other ids")])
        brought = old.bring(store)
        assert counts(brought) == (2, 2 + (turn == 0), len(said) - 2 + (turn > 0))
        assert texts(store, old.key("ada")) == said


def test_a_conversation_that_began_anew(old: Old, store: Store) -> None:
    old.add("ada", "hello", "hi", "bye")
    old.bring(store)
    old.set("ada", [])
    assert old.bring(store).messages == 0
    old.add("ada", "good morning", "good day")
    assert old.bring(store).messages == 2
    assert old.bring(store).messages == 0
    old.add("ada", "good evening")
    assert old.bring(store).messages == 1
    assert texts(store, old.key("ada")) == [
        *("hello", "hi", "bye"),
        *("good morning", "good day", "good evening"),
    ]


def test_a_conversation_that_began_anew_with_the_same_words(
    json_old: OldFile, store: Store
) -> None:
    json_old.add("ada", "hello", "hi", "bye")
    json_old.bring(store)
    json_old.set("ada", [user("hello"), user("good day")])
    assert json_old.bring(store).messages == 2
    assert texts(store) == ["hello", "hi", "bye", "hello", "good day"]


def test_what_is_read_twice_is_named_once(sql_old: OldTable, store: Store) -> None:
    """The table changes while it is read, so it is read from its start again."""
    sql_old.raw("ada", POISON[0][0])
    sql_old.add("ada", *[f"{n}" for n in range(70)])

    def change(progress: ImportProgress) -> None:
        sql_old.execute("DELETE FROM llama_index_memory WHERE id = 50")

    brought = sql_old.bring(store, progress=change)
    assert brought.messages == 71
    assert [named.row for named in brought.incomplete] == ["1"]


def test_a_newer_llama_index_writes_more_fields(old: Old, store: Store) -> None:
    """Its next write of the whole conversation does not make other messages of them."""
    blocks = [{"block_type": "text", "text": "hello"}]
    for n in range(3):
        old.raw("ada", as_json(blocks=[{**blocks[0], "text": f"{n}"}]))
    assert old.bring(store).messages == 3
    old.set("ada", [])
    for n in range(3):
        newer = {"text": f"{n}", "annotations": None, "block_type": "text"}
        old.raw("ada", json.dumps({"blocks": [newer], "role": "user", "additional_kwargs": {}}))
    assert counts(old.bring(store)) == (1, 0, 3)


Step = tuple[str, int]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "pop", "delete", "set", "bring"]), st.integers(0, 12)),
        max_size=25,
    )
)
def test_nothing_that_an_import_saw_is_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    old = OldFile(tmp_path_factory.mktemp("old") / "chat_store.json")
    number = itertools.count()
    with Store("sqlite://") as store:
        seen: list[str] = []
        for what, n in [*steps, ("bring", 0)]:
            now = [m["blocks"][0]["text"] for m in old.kept.get("ada", [])]
            if what == "add":
                old.add("ada", *[f"{next(number)}" for _ in range(n)])
            elif what == "pop" and now:
                old.pop("ada")
            elif what == "delete" and now:
                del old.kept["ada"][n % len(now)]
                old.write()
            elif what == "set":
                old.set("ada", [user(f"{next(number)}") for _ in range(n)])
            elif what == "bring":
                old.write()
                old.bring(store)
                seen += [text for text in now if text not in seen]
                there = texts(store)
                assert set(there) == set(seen)
                assert old.bring(store).messages == 0
                assert texts(store) == there
        if {what for what, _ in steps} <= {"add", "bring"}:
            assert there == [f"{n}" for n in range(len(there))]


# -- SQLAlchemyChatStore -----------------------------------------------------------------------


def test_another_table_and_schema(postgres_url: str, store: Store) -> None:
    url = postgres_url.replace("postgresql://", "postgresql+asyncpg://")
    old = OldTable(url, table="my chats", schema="Else where")
    old.add("ada", "hello")
    with pytest.raises(Misconfigured, match=r"no table 'llama_index_memory'.*schema="):
        import_sql(store, url)
    assert old.bring(store).messages == 1
    assert import_sql(store, postgres_url, table="my chats", schema="Else where").messages == 0


def test_sessions_are_listed_as_they_were_last_spoken_in(sql_old: OldTable, store: Store) -> None:
    for key in ("ada", "bo", "cy"):
        sql_old.add(key, "hello")
    sql_old.add("ada", "again")
    sql_old.bring(store)
    assert [info.key for info in store.sessions()] == ["ada", "cy", "bo"]


def test_databases_of_the_wrong_kind(
    tmp_path: Path, store: Store, postgres_url: str, sql_old: OldTable
) -> None:
    with pytest.raises(Misconfigured, match=r"AsyncEngine.*URL"):
        import_sql(store, create_async_engine(sync_url(postgres_url)))  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="in memory"):
        import_sql(store, "sqlite+aiosqlite:///:memory:")
    with pytest.raises(Misconfigured, match="For SQLAlchemyChatStore use import_sql"):
        import_postgres(store, f"sqlite:///{tmp_path / 'old.db'}")
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("CREATE TABLE message_store (id, session_id, message)")
    connection.close()
    with pytest.raises(Misconfigured, match="no column 'key'"):
        import_sql(store, tmp_path / "old.db", table="message_store")
    with pytest.raises(Misconfigured, match=r"no file .*missing\.db"):
        import_sql(store, f"sqlite+aiosqlite:///{tmp_path / 'missing.db'}")
    sql_old.add("ada", "hello")
    assert import_sql(store, tmp_path / "old.db").messages == 1


@pytest.mark.parametrize("kind", ["sql", "postgres jsonb"])
def test_the_source_is_only_read(
    kind: str, store: Store, postgres_url: str, request: pytest.FixtureRequest
) -> None:
    [old] = itertools.islice(opening := opened(kind, request), 1)
    old.add("ada", *[f"{n}" for n in range(60)])
    if "sqlite" in str(old.source):
        engine = create_engine(str(old.source).replace("+aiosqlite", ""))
    else:
        engine = create_engine(sync_url(postgres_url))
    statements: list[str] = []

    @sqlalchemy.event.listens_for(engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement.split()[0])
        if "key" in statement and engine.dialect.name == "postgresql":
            assert cursor.connection.read_only or "pg_catalog" in statement

    try:
        for _ in range(2):
            type(old).bring_(store, engine, **old.settings)
        assert set(statements) <= {"SELECT", "PRAGMA"}
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert texts(store) == [f"{n}" for n in range(60)]
    finally:
        engine.dispose()
        list(opening)


PROGRAM = """
import os, signal, sys
from llama_index_onrecord.importers import import_sql
from onrecord import Store
store = Store(sys.argv[1], durability="normal")
batches = []
def progress(at):
    batches.append(at)
    if len(batches) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
import_sql(store, sys.argv[2], progress=progress)
"""


def test_kill_9(sql_old: OldTable, tmp_path: Path) -> None:
    sql_old.add("ada", *[f"{n}" for n in range(230)])
    sql_old.archive("ada", 130)
    url = f"sqlite:///{tmp_path / 'store.db'}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, url, sql_old.source],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Store(url) as store:
        assert counts(sql_old.bring(store)) == (1, 130, 100)
        by_status(sql_old, store)


# -- PostgresChatStore -------------------------------------------------------------------------


def test_tables_of_other_names_and_of_older_versions(postgres_url: str, store: Store) -> None:
    engine = create_engine(sync_url(postgres_url))
    unused: Any = None
    try:
        peer = PostgresChatStore(sessionmaker(engine), unused, "Chats", "Mine")
        peer.add_message("ada", user("folded"))
        with psycopg.connect(postgres_url) as connection:
            connection.execute("CREATE TABLE data_chatstore (id serial, key varchar, value json[])")
        peer = PostgresChatStore(sessionmaker(engine), unused, "chatstore")
        with psycopg.connect(postgres_url) as connection:
            connection.execute("ALTER TABLE data_chatstore ADD UNIQUE (key)")
        peer.add_message("ada", user("older"))
        assert peer._table_class.__tablename__ == "data_chatstore"
        with pytest.raises(Misconfigured, match="no table 'chats'"):
            import_postgres(store, postgres_url, table="Chats")
        brought = import_postgres(store, postgres_url, table="Chats", schema="Mine", user="1")
        assert counts(brought) == (1, 1, 0)
        for table in ("chatstore", "data_chatstore"):
            import_postgres(store, postgres_url, table=table, user="2")
        assert (texts(store, user="1"), texts(store, user="2")) == (["folded"], ["older"])
    finally:
        engine.dispose()


def test_a_table_without_an_array(sql_on_postgres_old: OldTable, store: Store) -> None:
    with pytest.raises(Misconfigured, match="no column 'value'"):
        import_postgres(store, sql_on_postgres_old.source, table="llama_index_memory")
    sql_on_postgres_old.execute("CREATE TABLE chatstore (id serial, key varchar, value json)")
    with pytest.raises(Misconfigured, match="no array in its column 'value'"):
        import_postgres(store, sql_on_postgres_old.source)


def test_only_some_and_many_conversations(postgres_old: OldArrays, store: Store) -> None:
    postgres_old.add("0", "of 0")
    with psycopg.connect(postgres_old.source) as connection:
        connection.execute(
            "INSERT INTO chatstore (key, value) SELECT n::text, value "
            "FROM generate_series(1, 229) AS n, chatstore WHERE key = '0'"
        )
    odd = ["O'Brien\"; DROP TABLE chatstore; --", "%_*?[a]", "‮مرحبا 🚚", " "]
    for key in odd:
        postgres_old.add(key, f"of {key}")
    brought = postgres_old.bring(store, session_ids=[odd[0], "7", "nobody", "\x00", "7"])
    assert counts(brought) == (2, 2, 0)
    assert [(unread.session, unread.reason) for unread in brought.unread] == [
        ("nobody", "chatstore has no messages of it."),
        ("\x00", "chatstore has no messages of it."),
    ]
    assert counts(postgres_old.bring(store)) == (234, 232, 2)
    for key in odd:
        assert texts(store, key) == [f"of {key}"]


def test_an_array_of_nothing(postgres_old: OldArrays, store: Store) -> None:
    postgres_old.set("empty", [])
    with psycopg.connect(postgres_old.source) as connection:
        connection.execute("INSERT INTO chatstore (key, value) VALUES ('null', NULL)")
        connection.execute("INSERT INTO chatstore (key, value) VALUES ('nulls', '{NULL,NULL}')")
    brought = postgres_old.bring(store)
    assert counts(brought) == (3, 0, 0)
    assert [str(unread) for unread in brought.unread] == [
        "row 1 of session 'nulls': it is empty.",
        "row 2 of session 'nulls': it is empty.",
    ]


def test_a_password_is_not_told(postgres_url: str, store: Store) -> None:
    url = make_url(postgres_url).set(password=SECRET, port=1)
    with pytest.raises(Unavailable) as error:
        import_postgres(store, url)
    secretless(error.value)


# -- RedisChatStore ----------------------------------------------------------------------------


def test_whose_keys_they_are_has_to_be_said(redis_old: OldLists, store: Store) -> None:
    redis_old.add("ada", "hello")
    both = {"pattern": "x*", "session_ids": ["x"]}
    for how in ({}, {"pattern": ""}, both):
        with pytest.raises(Misconfigured, match=r"session_ids=\[.*pattern="):
            import_redis(store, redis_old.source, **how)
    key = redis_old.key("ada")
    assert counts(import_redis(store, redis_old.source, session_ids=[key])) == (1, 1, 0)
    assert counts(import_redis(store, redis_old.source, pattern=f"{key[:-1]}?")) == (1, 0, 1)
    assert counts(import_redis(store, redis_old.source, pattern=f"{key}?")) == (0, 0, 0)


def test_what_is_not_of_llama_index_is_left_alone(redis_old: OldLists, store: Store) -> None:
    redis_old.add("ada", "hello")
    client, key = redis_old.client, redis_old.key
    client.set(key("string"), "x", ex=1_000)
    client.hset(key("hash"), "a", "b")
    client.sadd(key("set"), "a")
    client.zadd(key("sorted"), {"a": 1})
    client.xadd(key("stream"), {"a": "b"})
    client.rpush(key("queue"), *['{"task": "send", "id": 1}'] * 30)
    client.lpush(key("langchain"), '{"type": "human", "data": {"content": "x"}}')
    client.rpush(key("binary"), b"\xff\x00")
    client.rpush(redis_old.prefix.encode() + b"\xff", b"x")
    client.expire(key("ada"), 1_000)
    keys = sorted(client.scan_iter(f"{redis_old.prefix}*", count=1_000))
    before = [(client.dump(name), client.ttl(name) > 0) for name in keys]
    brought = redis_old.bring(store)
    assert counts(brought) == (1, 1, 0)
    assert {str(unread.session).removeprefix(redis_old.prefix) for unread in brought.unread} == {
        *("queue", "langchain", "binary", r"\xff")
    }
    assert [info.key for info in store.sessions()] == [key("ada")]
    assert [(client.dump(name), client.ttl(name) > 0) for name in keys] == before
    asked = [key(name) for name in ("string", "queue", "stream", "nobody")]
    reasons = [
        unread.reason for unread in redis_old.bring(store, pattern=None, session_ids=asked).unread
    ]
    assert "its key is a string and not a list" in reasons[0]
    assert "a list of something else, and was left alone" in reasons[1]
    assert "its key is a stream" in reasons[2]
    assert "there is no such key" in reasons[3]
    assert [info.key for info in store.sessions()] == [key("ada")]


def test_a_conversation_that_begins_with_what_is_no_message(
    redis_old: OldLists, store: Store
) -> None:
    redis_old.raw("ada", "{cut o")
    redis_old.add("ada", "hello")
    brought = redis_old.bring(store)
    assert (counts(brought), len(brought.unread)) == ((1, 1, 0), 1)


def test_reading_takes_scan_type_and_lrange(own_redis: OwnRedis, store: Store) -> None:
    """KEYS, which stops the server for as long as it has keys, is not among them."""
    old = OldLists(own_redis.url)
    for key in ("ada", "bo"):
        old.set(key, [user(f"{n}") for n in range(70)])
    rights = ["+scan", "+type", "+lrange", "+auth", "+hello", "+client", "+select", "+ping"]
    admin: Any = old.client
    admin.execute_command(
        *("ACL", "SETUSER", "reader", "on", f">{SECRET}", f"~{old.prefix}*", *rights)
    )
    place = f"127.0.0.1:{own_redis.port}/0"
    reader = f"redis://reader:{SECRET.replace(':', '%3A')}@{place}"
    assert import_redis(store, reader, pattern=f"{old.prefix}*").messages == 140
    with pytest.raises(Misconfigured, match="does not let this user read") as error:
        import_redis(store, f"redis://reader:x@{place}", pattern="*")
    secretless(error.value)
    old.client.close()
    own_redis.kill()
    with pytest.raises(Unavailable, match="import again when it answers") as gone:
        import_redis(store, reader, pattern="*")
    secretless(gone.value)


# -- SimpleChatStore ---------------------------------------------------------------------------

# What llama-index-core 0.14.25 wrote with pydantic 2.12.5.
PERSISTED = (
    '{"store":{"ada":[{"role":"user","additional_kwargs":{},"blocks":[{"block_type":"text","text":'
    '"Grüße 🚚"}]},{"role":"assistant","additional_kwargs":{"tool_calls":[{"id":"1"}]},"blocks":['
    '{"block_type":"text","text":""}]}],"bo":[]},"class_name":"SimpleChatStore"}'
)


@pytest.mark.parametrize("text", [PERSISTED, json.dumps(PERSISTED), "\ufeff" + PERSISTED])
def test_a_file_as_persist_writes_it(text: str, tmp_path: Path, store: Store) -> None:
    (file := tmp_path / "chat_store.json").write_text(text, "utf-8")
    brought = import_json(store, file, session_ids=["ada", "bo", "nobody"])
    assert counts(brought) == (2, 2, 0)
    assert [str(unread) for unread in brought.unread] == [
        "session 'nobody': chat_store.json has no messages of it."
    ]
    if not text.startswith("\ufeff"):
        peer = SimpleChatStore.from_persist_path(str(file))
        assert OnrecordChatStore(store).get_messages("ada") == peer.get_messages("ada")
    assert counts(import_json(store, str(file))) == (2, 0, 2)


def test_a_copy_of_a_file_is_the_same_source(json_old: OldFile, store: Store) -> None:
    json_old.add("ada", "1", "2")
    json_old.bring(store)
    json_old.add("ada", "3")
    (copy := json_old.source.with_name("backup.json")).write_bytes(json_old.source.read_bytes())
    assert counts(import_json(store, copy)) == (1, 1, 2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is empty. SimpleChatStore.persist"),
        (PERSISTED[:-9], "not JSON, or was cut off"),
        ("[1]", "as SimpleChatStore.persist"),
        ('{"store": 5}', "as SimpleChatStore.persist"),
        ('"text"', "not JSON, or was cut off"),
    ],
)
def test_a_file_that_is_none(text: str, found: str, tmp_path: Path, store: Store) -> None:
    (file := tmp_path / "chat_store.json").write_text(text)
    with pytest.raises(Misconfigured, match=found):
        import_json(store, file)
    assert store.sessions() == []


def test_files_that_cannot_be_read(tmp_path: Path, store: Store) -> None:
    with pytest.raises(Misconfigured, match=r"missing\.json cannot be read"):
        import_json(store, tmp_path / "missing.json")
    with pytest.raises(Misconfigured, match="cannot be read"):
        import_json(store, tmp_path)
    (file := tmp_path / "chat_store.json").write_bytes(b'{"store": "\xff"}')
    with pytest.raises(Misconfigured, match="not UTF-8"):
        import_json(store, file)
    with pytest.raises(Misconfigured, match=r"not a SimpleChatStore.*set_messages"):
        import_json(store, SimpleChatStore())  # type: ignore[arg-type]
    file.write_text('{"store": {"ada": 5, "bo": []}}')
    [unread] = import_json(store, file).unread
    assert str(unread) == "session 'ada': chat_store.json has no list there."


# -- what is shared ----------------------------------------------------------------------------


def test_where_it_goes(old: Old, store: Store) -> None:
    old.add("ada 1", "of Ada")
    old.add("bo 1", "of Bo")

    def scope(key: str) -> dict[str, str]:
        whose, _, number = key.removeprefix(old.prefix).partition(" ")
        return {"user": whose, "session_id": f"chat {number}"}

    assert counts(old.bring(store, tenant="shop", scope=scope)) == (2, 2, 0)
    assert texts(store, "chat 1", tenant="shop", user="ada") == ["of Ada"]
    assert texts(store, "chat 1", tenant="shop", user="bo") == ["of Bo"]
    [name] = store.session("chat 1", tenant="shop", user="bo").info().metadata[KEY]
    assert name.endswith(f"/{old.key('bo 1')}")
    with pytest.raises(TypeError, match="usr"):
        old.bring(store, usr="ada")  # a scope that is misspelt would be no wall


def test_nothing_to_bring(old: Old, store: Store) -> None:
    assert counts(old.bring(store)) == (0, 0, 0)
    assert store.sessions() == []


@pytest.mark.parametrize("name", ["import_sql", "import_postgres", "import_redis", "import_json"])
def test_twins_are_alike(name: str) -> None:
    ours, theirs = getattr(importers, name), getattr(importers, f"a{name}")
    assert inspect.iscoroutinefunction(theirs)
    assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    assert f"``{name}``" in (theirs.__doc__ or "")


def test_messages_of_both_frameworks_in_one_session(
    json_old: OldFile, store: Store, tmp_path: Path
) -> None:
    """LangChain's history and LlamaIndex's of one conversation, each brought twice."""
    from langchain_onrecord import importers as of_langchain

    with sqlite3.connect(tmp_path / "lc.db") as connection:
        connection.execute(
            "CREATE TABLE message_store (id INTEGER PRIMARY KEY, session_id, message)"
        )
        one = json.dumps({"type": "human", "data": {"content": "from LangChain"}})
        connection.execute("INSERT INTO message_store VALUES (1, 'ada', ?)", (one,))
    connection.close()
    json_old.add("ada", "from LlamaIndex")
    for _ in range(2):
        of_langchain.import_sql(store, tmp_path / "lc.db")
        json_old.bring(store)
    assert texts(store) == ["from LangChain", "from LlamaIndex"]


# -- what is wrong in the old stores, and not in ours ------------------------------------------


@pytest.mark.parametrize(("raw", "shown", "why"), POISON)
def test_upstream_one_message_makes_a_conversation_unreadable(
    raw: str, shown: list[str], why: str, json_old: OldFile
) -> None:
    json_old.add("ada", "before")
    json_old.raw("ada", raw)
    with pytest.raises((ValueError, AttributeError), match=r"."):
        json_old.get("ada")


def test_upstream_redis_down_is_a_name_error() -> None:
    with pytest.raises(NameError, match="redis"):
        RedisChatStore("redis://127.0.0.1:1/0")
    with Store("sqlite://", cache="redis://127.0.0.1:1/0") as store:
        chats = OnrecordChatStore(store)
        chats.add_message("ada", user("hello"))
        assert chats.get_messages("ada") == [user("hello")]


def test_upstream_redis_turns_a_conversation_round(redis_old: OldLists, store: Store) -> None:
    redis_old.add("ada", "a", "b", "c", "d")
    redis_old.client.expire(redis_old.key("ada"), 1_000)
    assert not isinstance(redis_old.peer.delete_message(redis_old.key("ada"), 1), ChatMessage)
    assert [m.content for m in redis_old.get("ada")] == ["d", "c", "a"]
    assert redis_old.client.ttl(redis_old.key("ada")) == -1  # it never expires now

    chats = OnrecordChatStore(store)
    chats.set_messages("ada", [user(text) for text in "abcd"])
    assert chats.delete_message("ada", 1) == user("b")
    assert [m.content for m in chats.get_messages("ada")] == ["a", "c", "d"]


def test_upstream_the_keys_of_redis_are_everybodys(redis_old: OldLists, store: Store) -> None:
    redis_old.client.set(redis_old.key("somebody else's"), "x")
    assert redis_old.key("somebody else's") in redis_old.peer.get_keys()
    assert OnrecordChatStore(store).get_keys() == []


def test_upstream_postgres_deletes_in_no_other_schema(postgres_url: str) -> None:
    engine = create_engine(sync_url(postgres_url))
    unused: Any = None
    try:
        peer = PostgresChatStore(sessionmaker(engine), unused, "chats", "elsewhere")
        peer.set_messages("ada", [user("a"), user("b")])
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match="does not exist"):
            peer.delete_message("ada", 0)
    finally:
        engine.dispose()
    with Store(postgres_url, schema="elsewhere") as store:
        chats = OnrecordChatStore(store)
        chats.set_messages("ada", [user("a"), user("b")])
        assert chats.delete_message("ada", 0) == user("a")


def test_upstream_setting_messages_takes_the_archive_along(sql_old: OldTable, store: Store) -> None:
    sql_old.add("ada", "a", "b")
    sql_old.archive("ada", 1)
    sql_old.set("ada", [user("c")])
    assert [m.content for m in sql_old.get("ada")] == ["c"]

    memories = OnrecordMemoryStore(store)
    run(memories.add_message("ada", user("a"), ARCHIVED))
    run(memories.set_messages("ada", [user("c")]))
    found = run(memories.get_messages("ada", status=None))
    assert [m.content for m in found] == ["a", "c"]


def test_upstream_what_cannot_be_written_deletes_what_was_there(
    sql_old: OldTable, store: Store
) -> None:
    wrong = ChatMessage("c", additional_kwargs={"made by a provider": object()})
    sql_old.add("ada", "a", "b")
    with pytest.raises(ValueError, match="serialize"):
        sql_old.set("ada", [user("a"), wrong])
    assert sql_old.get("ada") == []

    memories = OnrecordMemoryStore(store)
    run(memories.add_messages("ada", [user("a"), user("b")]))
    with pytest.raises(InvalidMessage):
        run(memories.set_messages("ada", [user("a"), wrong]))
    assert run(memories.get_messages("ada")) == [user("a"), user("b")]


def test_upstream_no_messages_are_an_error(sql_old: OldTable, store: Store) -> None:
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        sql_old.call("add_messages", "ada", [])
    run(OnrecordMemoryStore(store).add_messages("ada", []))


def test_upstream_a_dump_tells_the_password(postgres_url: str) -> None:
    peer = SQLAlchemyChatStore("t", f"postgresql+asyncpg://ada:{SECRET}@h/d")
    assert SECRET in json.dumps(peer.model_dump())
    url = make_url(postgres_url).set(password=SECRET)
    with Store(url.render_as_string(hide_password=False), migrate=False) as store:
        assert SECRET not in json.dumps(OnrecordMemoryStore(store).model_dump())
        assert SECRET not in json.dumps(OnrecordChatStore(store).model_dump())


def test_upstream_a_context_does_not_find_its_store_again(store: Store) -> None:
    """So an agent's second run with the same Context raises."""
    for name in (RedisChatStore.class_name(), PostgresChatStore.class_name()):
        with pytest.raises(ValueError, match="Invalid ChatStore name"):
            load_chat_store({"class_name": name})
    assert isinstance(load_chat_store(OnrecordChatStore(store).to_dict()), OnrecordChatStore)


def test_upstream_a_failed_persist_has_emptied_its_file(tmp_path: Path, store: Store) -> None:
    """It fails with pydantic 2.14. Where it works, what it wrote is read."""
    file = tmp_path / "chat_store.json"
    peer = SimpleChatStore()
    peer.add_message("ada", user("hello"))
    file.write_text(PERSISTED)
    try:
        peer.persist(str(file))
    except PydanticSerializationError:
        assert file.read_bytes() == b""
        with pytest.raises(Misconfigured, match=r"is empty.*Take an older copy"):
            import_json(store, file)
    else:
        assert counts(import_json(store, file)) == (1, 1, 0)
    # What is in memory can be handed over.
    chats = OnrecordChatStore(store)
    for key in peer.get_keys():
        chats.set_messages(key, peer.get_messages(key))
    assert chats.get_messages("ada") == [user("hello")]
