"""Importers: histories written by LangChain's own packages, brought into a store."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import redis.asyncio
import sqlalchemy
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_to_dict,
)
from redis.cluster import RedisCluster
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from langchain_onrecord import importers, to_langchain
from langchain_onrecord.importers import (
    Imported,
    ImportProgress,
    aimport_postgres,
    aimport_redis,
    aimport_sql,
    import_postgres,
    import_redis,
    import_sql,
)
from onrecord import (
    ANY,
    Conflict,
    InvalidName,
    Misconfigured,
    OnrecordError,
    Session,
    Store,
    Unavailable,
)
from onrecord.adapters.importing import BATCH, KEY
from tests.servers.binaries import Binaries
from tests.servers.redis import OwnCluster, OwnRedis, RedisServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the package says that it is being sunset
    from langchain_community.chat_message_histories import (
        RedisChatMessageHistory,
        SQLChatMessageHistory,
    )
    from langchain_postgres import PostgresChatMessageHistory

OpenStore = Callable[[], Store]

ADA, BO, CY = (str(uuid.UUID(int=n)) for n in (1, 2, 3))  # langchain-postgres takes only UUIDs


class Old:
    """An old history: how it is written, and how it is imported."""

    def __init__(
        self,
        history: Callable[[str], BaseChatMessageHistory],
        bring: Callable[..., Imported],
        abring: Callable[..., Any],
    ) -> None:
        self.history = history
        self.bring = bring
        self.abring = abring

    def add(self, key: str, *messages: BaseMessage | str) -> None:
        self.history(key).add_messages(
            [HumanMessage(m) if isinstance(m, str) else m for m in messages]
        )


def sync_url(url: str) -> sqlalchemy.URL:
    return make_url(url).set(drivername="postgresql+psycopg")


@pytest.fixture
def sqlite_old(tmp_path: Path) -> Iterator[Old]:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url)
    SQLChatMessageHistory("first", connection=engine)  # makes the table
    yield Old(
        lambda key: SQLChatMessageHistory(key, connection=engine),
        lambda store, **settings: import_sql(store, url, **settings),
        lambda store, **settings: aimport_sql(store, url, **settings),
    )
    engine.dispose()


@pytest.fixture
def sql_on_postgres_old(postgres_url: str) -> Iterator[Old]:
    engine = create_engine(sync_url(postgres_url))
    SQLChatMessageHistory("first", connection=engine)
    url = postgres_url.replace("postgresql://", "postgresql+asyncpg://")  # as many have it
    yield Old(
        lambda key: SQLChatMessageHistory(key, connection=engine),
        lambda store, **settings: import_sql(store, url, **settings),
        lambda store, **settings: aimport_sql(store, url, **settings),
    )
    engine.dispose()


@pytest.fixture
def postgres_old(postgres_url: str) -> Iterator[Old]:
    with psycopg.connect(postgres_url) as connection:
        PostgresChatMessageHistory.create_tables(connection, "chats")
        yield Old(
            lambda key: PostgresChatMessageHistory("chats", key, sync_connection=connection),
            lambda store, **settings: import_postgres(
                store, postgres_url, **{"table": "chats", **settings}
            ),
            lambda store, **settings: aimport_postgres(
                store, postgres_url, **{"table": "chats", **settings}
            ),
        )


@pytest.fixture
def prefix(redis_server: RedisServer) -> Iterator[str]:
    """A prefix that nobody else uses, full of what means something to SCAN."""
    own = f"old[{uuid.uuid4().hex}]*?^:"
    yield own
    with redis.Redis.from_url(redis_server.url) as client:
        for key in client.scan_iter(count=10_000):
            if key.startswith(own.encode()):
                client.delete(key)


@pytest.fixture
def redis_old(redis_server: RedisServer, prefix: str) -> Iterator[Old]:
    opened: list[Any] = []

    def history(key: str) -> BaseChatMessageHistory:
        made = RedisChatMessageHistory(key, redis_server.url, prefix)
        opened.append(made.redis_client)
        return made

    yield Old(
        history,
        lambda store, **settings: import_redis(
            store, redis_server.url, **{"key_prefix": prefix, **settings}
        ),
        lambda store, **settings: aimport_redis(
            store, redis_server.url, **{"key_prefix": prefix, **settings}
        ),
    )
    for client in opened:
        client.close()


@pytest.fixture(params=["sqlite", "sql_on_postgres", "postgres", "redis"])
def old(request: pytest.FixtureRequest) -> Old:
    found: Old = request.getfixturevalue(f"{request.param}_old")
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.db", durability="normal") as store:
        yield store


def texts(session: Session) -> list[str]:
    return [message.text for message in session.messages()]


def without_ids(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    return [message.model_copy(update={"id": None}) for message in messages]


def counts(brought: Imported) -> tuple[int, int, int]:
    return brought.sessions, brought.messages, brought.already_there


CALL = {"name": "find_order", "args": {"number": "A-1017", "deep": {"list": [1, None, 2.5]}}}
EVERY_KIND: list[BaseMessage] = [
    SystemMessage("You are the help desk of a bookshop."),
    HumanMessage("Where is my order? 🚚 مرحبا ‮ \n\t\\ \" ' % é 漢字", id="human-1"),
    AIMessage(
        "Let me look.",
        id="run-1",
        tool_calls=[{**CALL, "id": "call-1"}, {**CALL, "id": "call-2"}],
        invalid_tool_calls=[
            {
                "name": "x",
                "args": "{not json",
                "id": "call-3",
                "error": "cut off",
                "type": "invalid_tool_call",
            }
        ],
        usage_metadata={
            "input_tokens": 7,
            "output_tokens": 5,
            "total_tokens": 12,
            "input_token_details": {"cache_read": 3},
        },
        response_metadata={"model_name": "m", "finish_reason": "tool_calls"},
        additional_kwargs={"refusal": None},
    ),
    ToolMessage('{"held": true}', tool_call_id="call-1", name="find_order", artifact={"a": [1]}),
    ToolMessage("no such order", tool_call_id="call-2", status="error"),
    HumanMessage(
        [
            "What is this?",
            {"type": "text", "text": "A picture:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            {"type": "image", "source_type": "url", "url": "https://example.com/a.png"},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            {"type": "file", "base64": "JVBERg==", "mime_type": "application/pdf"},
        ],
        name="ada",
        additional_kwargs={"metadata": {"channel": "web"}},
    ),
    AIMessage(
        [
            {"type": "thinking", "thinking": "A receipt.", "signature": "c2ln"},
            {"type": "text", "text": "A receipt.", "citations": [{"cited_text": "x"}]},
            {"type": "tool_use", "id": "call-4", "name": "find_order", "input": {"number": "1"}},
        ],
        id="msg_01",
        tool_calls=[{"name": "find_order", "args": {"number": "1"}, "id": "call-4"}],
    ),
    AIMessage(""),
    ChatMessage(content="From somebody else.", role="moderator"),
    FunctionMessage(content="42", name="f"),
]


# -- what arrives ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "async"])
def test_every_kind_of_message_comes_back_as_its_history_gave_it(
    old: Old, way: str, each_store: OpenStore
) -> None:
    old.add(ADA, *EVERY_KIND)
    old.add(BO, "Hello")
    store = each_store()
    if way == "sync":
        brought = old.bring(store, user="ada")
    else:
        brought = asyncio.run(old.abring(store, user="ada"))
    assert counts(brought) == (2, len(EVERY_KIND) + 1, 0)
    assert not brought.unread
    assert not brought.behind

    session = each_store().session(ADA, user="ada")
    stored = session.messages()
    assert [m.seq for m in stored] == list(range(1, len(EVERY_KIND) + 1))
    before, after = old.history(ADA).messages, [to_langchain(m) for m in stored]
    assert without_ids(after) == without_ids(before)
    assert [type(m) for m in after] == [type(m) for m in before]
    for given, kept in zip(before, after, strict=True):
        assert kept.id == given.id if given.id else kept.id
    assert texts(store.session(BO, user="ada")) == ["Hello"]
    assert texts(store.session(BO)) == []


def test_a_chunk_becomes_the_message_it_is_part_of(sqlite_old: Old, store: Store) -> None:
    """As RunnableWithMessageHistory stores the answers of a model that streams."""
    sqlite_old.add(ADA, AIMessageChunk(content="Hello", id="run-1"))
    sqlite_old.bring(store)
    assert [to_langchain(m) for m in store.session(ADA).messages()] == [
        AIMessage("Hello", id="run-1")
    ]


def test_what_langchain_wrote_years_ago_is_read(
    sqlite_old: Old, store: Store, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "old.db") as connection:
        for type_, content in (("human", "Hello"), ("ai", "Hi")):
            data = {
                "content": content,
                "additional_kwargs": {},
                "example": False,
                "is_chunk": False,
            }
            connection.execute(
                "INSERT INTO message_store (session_id, message) VALUES (?, ?)",
                (ADA, json.dumps({"type": type_, "data": data})),
            )
    connection.close()
    assert sqlite_old.bring(store).unread == ()
    assert [(m.role, m.text) for m in store.session(ADA).messages()] == [
        ("user", "Hello"),
        ("assistant", "Hi"),
    ]


def test_times_are_kept_where_there_are_any(
    postgres_old: Old, postgres_url: str, store: Store
) -> None:
    postgres_old.add(ADA, "one", "two", "three")
    at = datetime(2023, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE chats SET created_at = %s WHERE id = 1", (at,))
        connection.execute("UPDATE chats SET created_at = 'infinity' WHERE id = 2")
    began = datetime.now(UTC)
    assert postgres_old.bring(store).messages == 3
    one, two, three = store.session(ADA).messages()
    assert one.created_at == at
    assert two.created_at is not None
    assert three.created_at is not None
    assert three.created_at <= began <= two.created_at + timedelta(seconds=1)


@pytest.mark.parametrize("old", ["sqlite", "postgres", "redis"], indirect=True)
def test_ten_thousand_messages(old: Old, store: Store) -> None:
    said = [f"message {n}" for n in range(10_000)]
    for start in range(0, len(said), 2_500):
        old.add(ADA, *said[start : start + 2_500])
    calls: list[ImportProgress] = []
    assert counts(old.bring(store, progress=calls.append)) == (1, 10_000, 0)
    assert texts(store.session(ADA)) == said
    assert len(calls) == 10_000 / BATCH
    assert calls[2] == ImportProgress(ADA, 1, 3 * BATCH)
    assert counts(old.bring(store)) == (1, 0, 10_000)


@pytest.mark.parametrize("old", ["sqlite", "redis"], indirect=True)
def test_memory_holds_a_batch_and_not_the_source(old: Old, store: Store) -> None:
    large = "x" * 20_000
    for n in range(60):
        old.add(str(uuid.UUID(int=n)), *[f"{n} {i} {large}" for i in range(25)])
    tracemalloc.start()
    try:
        assert old.bring(store).messages == 1_500
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000  # of 30 MB


HOSTILE = [
    "O'Brien\"; DROP TABLE message_store; --",
    "%_*?[a-z]^\\",
    "user:1:chat:2",
    " ",
    "‮مرحبا 🚚",
    "NULL",
    "x" * 512,
    "../../etc/passwd",
    "a\nb\r\tc",
]


@pytest.mark.parametrize("old", ["sqlite", "sql_on_postgres", "redis"], indirect=True)
def test_strange_session_ids(old: Old, each_store: OpenStore) -> None:
    for key in HOSTILE:
        old.add(key, f"for {key}")
    old.add("y" * 513, "too long to be a name here")
    store = each_store()
    brought = old.bring(store, tenant="t'%:")
    assert counts(brought) == (len(HOSTILE), len(HOSTILE), 0)
    for key in HOSTILE:
        assert texts(store.session(key, tenant="t'%:")) == [f"for {key}"]
    [unread] = brought.unread
    assert (unread.session, unread.row) == ("y" * 513, None)
    assert "513 characters" in unread.reason
    for key in HOSTILE:
        assert counts(old.bring(store, tenant="t'%:", session_ids=[key])) == (1, 0, 1)


@pytest.mark.parametrize("old", ["sqlite", "redis"], indirect=True)
def test_session_ids_that_are_no_names_are_reported(
    old: Old, store: Store, tmp_path: Path, redis_server: RedisServer, prefix: str
) -> None:
    for key in ("", "nul\x00", "fine"):
        old.add(key, "hello")
    wrong = b"\xff\xfe"
    one = json.dumps(message_to_dict(HumanMessage("hello")))
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush(prefix.encode() + wrong, one)
        client.set(f"{prefix}not a list", "x")
    with sqlite3.connect(tmp_path / "old.db") as connection:
        for value in (None, wrong):
            connection.execute("CREATE TABLE IF NOT EXISTS message_store (id, session_id, message)")
            text = "CAST(? AS TEXT)"
            connection.execute(
                f"INSERT INTO message_store (session_id, message) VALUES ({text}, ?)", (value, one)
            )
    connection.close()
    brought = old.bring(store)
    assert brought.messages == 1
    assert texts(store.session("fine")) == ["hello"]
    reported = {unread.session for unread in brought.unread}
    assert {"", "nul\x00"} < reported
    assert any("xff" in str(session) for session in reported) or any(
        "udcff" in str(session) for session in reported
    )
    for unread in brought.unread:
        str(unread).encode()  # can be printed
    again = old.bring(store)
    assert counts(again) == (1, 0, 1)
    assert set(again.unread) == set(brought.unread)


def test_rows_of_no_session_are_reported(sqlite_old: Old, store: Store, tmp_path: Path) -> None:
    sqlite_old.add(ADA, "hello")
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("INSERT INTO message_store (session_id, message) VALUES (NULL, '{}')")
    connection.close()
    brought = sqlite_old.bring(store)
    assert [str(unread) for unread in brought.unread] == [
        "row 2 of no session: its session_id is NULL."
    ]
    assert brought.messages == 1


# -- where it goes -----------------------------------------------------------------------------


def test_into_a_scope_that_the_session_id_tells(old: Old, store: Store) -> None:
    old.add(ADA, "of Ada")
    old.add(BO, "of Bo")

    def scope(key: str) -> dict[str, str]:
        return {"user": key[-1], "session_id": f"chat {key[-1]}"}

    assert old.bring(store, tenant="shop", user="?", scope=scope).messages == 2
    assert texts(store.session("chat 1", tenant="shop", user="1")) == ["of Ada"]
    assert texts(store.session("chat 2", tenant="shop", user="2")) == ["of Bo"]
    assert len(store.sessions(tenant=ANY, user=ANY, agent=ANY)) == 2
    assert counts(old.bring(store, tenant="shop", scope=scope)) == (2, 0, 2)


def test_two_conversations_into_one(old: Old, store: Store) -> None:
    old.add(ADA, "hello", "one")
    old.add(BO, "hello", "two")
    for _ in range(2):
        old.bring(store, scope=lambda key: {"session_id": "both"})
    assert len(store.session("both").info().metadata[KEY]) == 2
    assert sorted(texts(store.session("both"))) == ["hello", "hello", "one", "two"]


def test_a_scope_that_cannot_be(old: Old, store: Store) -> None:
    old.add(ADA, "hello")
    old.add(BO, "hello")
    with pytest.raises(InvalidName, match="user"):
        old.bring(store, user="\x00")
    with pytest.raises(Misconfigured, match=r"scope has to return a mapping.*'room'"):
        old.bring(store, scope=lambda key: {"room": "1"})
    with pytest.raises(Misconfigured, match="None"):
        old.bring(store, scope=lambda key: None)
    brought = old.bring(store, scope=lambda key: {"user": "\x00" if key == ADA else "bo"})
    assert [unread.session for unread in brought.unread] == [ADA]
    assert texts(store.session(BO, user="bo")) == ["hello"]


def test_only_some_conversations(old: Old, store: Store) -> None:
    for key in (ADA, BO, CY):
        old.add(key, f"of {key}")
    nobody = str(uuid.UUID(int=99))
    brought = old.bring(store, session_ids=iter([CY, uuid.UUID(ADA), CY, nobody, "\x00", "?"]))
    assert counts(brought) == (2, 2, 0)
    assert {unread.session for unread in brought.unread} == {nobody, "\x00", "?"}
    assert {info.key for info in store.sessions()} == {ADA, CY}
    with pytest.raises(Misconfigured, match=r"session_ids has to be a list: session_ids=\['abc'\]"):
        old.bring(store, session_ids="abc")
    assert counts(old.bring(store, session_ids=[])) == (0, 0, 0)


@pytest.mark.parametrize("old", ["sqlite", "sql_on_postgres", "postgres"], indirect=True)
def test_sessions_are_listed_as_they_were_last_spoken_in(old: Old, store: Store) -> None:
    keys = [str(uuid.UUID(int=n)) for n in range(130)]
    random.shuffle(keys)
    for key in keys:
        old.add(key, "hello")
    for key in (last := random.sample(keys, 20)):
        old.add(key, "again")
    assert counts(old.bring(store)) == (130, 150, 0)
    order = [key for key in keys if key not in last] + last
    assert [info.key for info in store.sessions(limit=300)] == order[::-1]


def test_nothing_to_bring(old: Old, store: Store) -> None:
    assert counts(old.bring(store)) == (0, 0, 0)
    [unread] = old.bring(store, session_ids=[ADA]).unread
    assert unread.session == ADA
    assert store.sessions(tenant=ANY, user=ANY, agent=ANY) == []


# -- again -------------------------------------------------------------------------------------


def test_again_changes_nothing_and_later_brings_what_is_new(
    old: Old, each_store: OpenStore
) -> None:
    said = [f"{n}" for n in range(120)]
    old.add(ADA, *said)
    store = each_store()
    session = store.session(ADA)
    assert counts(old.bring(store)) == (1, 120, 0)
    before = session.info()
    for way in (old.bring, lambda store: asyncio.run(old.abring(store))):
        assert counts(way(store)) == (1, 0, 120)
        assert session.info() == before
    old.add(ADA, "new", AIMessage("newer", id="run-9"))
    old.add(BO, "other")
    brought = old.bring(each_store())
    assert counts(brought) == (2, 3, 120)
    assert brought.behind == ()
    assert texts(session) == [*said, "new", "newer"]
    assert session.tail(1)[0].id == "run-9"


def test_a_session_that_went_on_here(old: Old, store: Store) -> None:
    old.add(ADA, "1", "2")
    old.bring(store)
    session = store.session(ADA)
    session.append([("user", f"here {n}") for n in range(200)])
    brought = old.bring(store)
    assert counts(brought) == (1, 0, 2)
    assert brought.behind == ()
    old.add(ADA, "3")
    brought = old.bring(store)
    assert counts(brought) == (1, 1, 2)
    assert brought.behind == (ADA,)
    assert texts(session) == ["1", "2", *(f"here {n}" for n in range(200)), "3"]


def test_a_session_that_was_there_first(old: Old, store: Store) -> None:
    store.session(ADA).append(("user", "here"))
    old.add(ADA, "1", "2")
    brought = old.bring(store)
    assert counts(brought) == (1, 2, 0)
    assert brought.behind == (ADA,)
    assert texts(store.session(ADA)) == ["here", "1", "2"]


def test_other_metadata_stays_and_a_lost_mark_brings_nothing_twice(old: Old, store: Store) -> None:
    copies = [AIMessage("a", id="same"), HumanMessage("b"), AIMessage("a", id="same")]
    old.add(ADA, *copies, *[f"{n}" for n in range(100)])
    session = store.session(ADA)
    session.update(title="T", metadata={"ticket": 4711, KEY: "nonsense"})
    assert counts(old.bring(store)) == (1, 103, 0)
    info = session.info()
    assert (info.title, info.metadata["ticket"]) == ("T", 4711)
    whole = texts(session)
    for metadata in ({"ticket": 1}, None, {KEY: {"x": 1}}, {KEY: 5}):
        session.update(metadata=metadata)
        assert counts(old.bring(store)) == (1, 0, 103)
        assert texts(session) == whole
    mark = dict(session.info().metadata)
    [name] = mark[KEY]
    damaged: list[dict[str, Any]] = [
        {"read": -3},
        {"row": []},
        {"read": 103, "row": "103"},
        {"read": 9**9},
    ]
    for wrong in damaged:
        session.update(metadata={KEY: {name: wrong}})
        assert counts(old.bring(store)) == (1, 0, 103)


def test_the_same_id_twice_is_two_messages(old: Old, store: Store) -> None:
    """RunnableWithMessageHistory hands a message in again when a client repeats its request."""
    question = HumanMessage("Where is it?", id="q")
    said: list[BaseMessage] = [question, AIMessage("Here.", id="a")]
    said += [HumanMessage(f"{n}") for n in range(200)]
    said += [question, AIMessage("There.", id="a"), question, HumanMessage("!", id="x" * 600)]
    old.add(ADA, *said[:150])
    old.bring(store)
    old.add(ADA, *said[150:])
    old.bring(store)
    session = store.session(ADA)
    stored = session.messages()
    assert [m.text for m in stored] == [m.text for m in said]
    assert [m.id for m in stored[:2]] == ["q", "a"]
    ids = [m.id or "" for m in stored]
    assert len(set(ids)) == len(ids)
    assert not {"q", "a"} & set(ids[2:])
    assert counts(old.bring(store)) == (1, 0, len(said))


def test_an_id_that_stands_for_something_else_here(old: Old, store: Store) -> None:
    """Nothing raises IdReused. A message of this id is here, so it is not brought."""
    store.session(ADA).append({"role": "user", "content": "mine", "id": "x"})
    old.add(ADA, HumanMessage("theirs", id="x"), "more")
    assert counts(old.bring(store)) == (1, 1, 1)
    assert texts(store.session(ADA)) == ["mine", "more"]


def test_two_imports_at_once(old: Old, each_store: OpenStore) -> None:
    said: list[BaseMessage] = [
        HumanMessage(f"{n}", id="same" if n % 9 else None) for n in range(700)
    ]
    old.add(ADA, *said)
    store = each_store()
    together = threading.Barrier(3)

    def bring() -> None:
        together.wait()
        found.append(old.bring(store))

    found: list[Imported] = []
    threads = [threading.Thread(target=bring) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts(store.session(ADA)) == [m.text for m in said]
    assert all(brought.messages + brought.already_there == 700 for brought in found)
    assert counts(old.bring(store)) == (1, 0, 700)


def test_others_speak_while_it_is_brought(old: Old, store: Store) -> None:
    said = [f"{n}" for n in range(120)]
    old.add(ADA, *said)
    old.add(BO, "hello")
    session = store.session(ADA)

    def speak(progress: ImportProgress) -> None:
        if progress == ImportProgress(ADA, 1, 50):
            session.append([("user", f"here {n}") for n in range(100)])

    brought = old.bring(store, session_ids=[ADA], progress=speak)
    assert counts(brought) == (1, 120, 0)
    assert brought.behind == (ADA,)
    assert texts(session) == [*said[:50], *(f"here {n}" for n in range(100)), *said[50:]]


def test_another_import_overtakes(old: Old, store: Store) -> None:
    said = [f"{n}" for n in range(330)]
    old.add(ADA, *said)
    other: list[Imported] = []

    def overtake(progress: ImportProgress) -> None:
        if not other:
            other.append(old.bring(store))

    brought = old.bring(store, progress=overtake)
    # The batch that both were about to append is counted by both, if it has not been sealed.
    assert counts(brought) in ((1, 100, 230), (1, 50, 280))
    assert counts(other[0]) == (1, 280, 50)
    assert not brought.behind
    assert texts(store.session(ADA)) == said
    assert counts(old.bring(store)) == (1, 0, 330)


def test_another_import_overtakes_one_that_is_killed_then(old: Old, store: Store) -> None:
    said: list[BaseMessage] = [HumanMessage(f"{n}", id=f"id {n}") for n in range(330)]
    old.add(ADA, *said)

    batches: list[ImportProgress] = []

    def overtake(progress: ImportProgress) -> None:
        batches.append(progress)
        if len(batches) == 1:
            old.bring(store)
        if len(batches) == 4:
            raise Killed

    with pytest.raises(Killed):
        old.bring(store, progress=overtake)
    assert counts(old.bring(store)) == (1, 0, 330)
    assert [m.id for m in store.session(ADA).messages()] == [m.id for m in said]


def test_somebody_uses_an_id_while_it_is_brought(old: Old, store: Store) -> None:
    old.add(ADA, *[HumanMessage(f"{n}", id=f"id {n}") for n in range(70)])
    session = store.session(ADA)

    def speak(progress: ImportProgress) -> None:
        if progress.messages == 50:
            session.append({"role": "user", "content": "mine", "id": "id 60"})

    assert old.bring(store, progress=speak).messages == 70
    assert texts(session) == [
        *(f"{n}" for n in range(50)),
        "mine",
        *(f"{n}" for n in range(50, 70)),
    ]
    assert counts(old.bring(store)) == (1, 0, 70)


def test_a_session_that_is_written_to_without_a_pause(
    sqlite_old: Old, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_old.add(ADA, "hello")
    append = Session.append

    def never_first(session: Session, *given: Any, **settings: Any) -> Any:
        append(session, ("user", "here"))
        return append(session, *given, **settings)

    monkeypatch.setattr(Session, "append", never_first)
    with pytest.raises(Conflict, match="without a pause"):
        sqlite_old.bring(store)
    monkeypatch.undo()
    assert sqlite_old.bring(store).behind == (ADA,)
    assert texts(store.session(ADA))[-1] == "hello"


# -- killed in the middle ----------------------------------------------------------------------


class Killed(BaseException):
    """Not an Exception: nothing between here and the test may handle it."""


@pytest.mark.parametrize("way", ["sync", "async"])
def test_killed_at_any_batch(old: Old, way: str, each_store: OpenStore) -> None:
    said = [f"{n}" for n in range(330)]
    old.add(ADA, *said)
    store = each_store()
    session = store.session(ADA)

    def bring(progress: Callable[[ImportProgress], object]) -> Imported:
        if way == "sync":
            return old.bring(store, progress=progress)
        found: Imported = asyncio.run(old.abring(store, progress=progress))
        return found

    def die(progress: ImportProgress) -> None:
        raise Killed

    for batches in range(1, 7):
        with pytest.raises(Killed):
            bring(die)
        assert texts(session) == said[: batches * BATCH]
    brought = bring(lambda progress: None)
    assert counts(brought) == (1, 30, 300)
    assert texts(session) == said


class Dying:
    """Dies at the nth call of a session, before it or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = -1
        self._after = False
        for name in ("info", "messages", "append", "update"):
            monkeypatch.setattr(Session, name, self._dying(getattr(Session, name)))

    def at(self, n: int, after: bool) -> None:
        self._left, self._after = n, after

    def _dying(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **settings: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            answer = method(*given, **settings)
            if self._left == 0:
                raise Killed
            return answer

        return called


@pytest.mark.parametrize("meanwhile", ["nothing", "much"])
@pytest.mark.parametrize("old", ["sqlite", "redis"], indirect=True)
def test_killed_at_any_point(
    old: Old, meanwhile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the session has gone on for longer than an append remembers ids."""
    said: list[BaseMessage] = [
        HumanMessage(f"{n}", id=None if n % 3 else f"id {n % 7}") for n in range(70)
    ]
    old.add(ADA, *said)
    old.add(BO, "the end")
    dying = Dying(monkeypatch)
    for n in itertools.count(1):
        for after in (False, True):
            with Store(tmp_path / f"{n}{after}.db", durability="normal") as store:
                session = store.session(ADA)
                dying.at(n, after)
                try:
                    old.bring(store)
                    killed = False
                except Killed:
                    killed = True
                dying.at(-1, False)
                here = [f"here {i}" for i in range(150 if killed and meanwhile == "much" else 0)]
                if here:
                    session.append([("user", text) for text in here])
                brought = old.bring(store)
                assert brought.messages + brought.already_there == 71
                found = texts(session)
                assert [text for text in found if text not in here] == [m.text for m in said]
                assert [text for text in found if text in here] == here
                assert len({m.id for m in session.messages()}) == len(found)
                ours = [i for i, text in enumerate(found) if text not in here]
                after_theirs = bool(here) and any(i >= 150 for i in ours) and brought.messages > 1
                assert (ADA in brought.behind) == after_theirs
                assert texts(store.session(BO)) == ["the end"]
                assert counts(old.bring(store)) == (2, 0, 71)
        if not killed:
            break
    assert n > 12


@pytest.mark.parametrize("more", [(), ("!",)])
def test_a_copy_of_what_a_killed_run_left_unmarked(
    old: Old, more: tuple[str, ...], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = HumanMessage("Where is it?", id="q")
    old.add(ADA, question, "?")
    dying = Dying(monkeypatch)
    dying.at(4, True)  # a batch was appended, and not marked
    with pytest.raises(Killed):
        old.bring(store)
    dying.at(-1, False)
    old.add(ADA, *more)
    brought = old.bring(store)
    assert counts(brought) == (1, len(more), 2)
    assert not brought.behind
    old.add(ADA, question)
    assert old.bring(store).messages == 1
    assert texts(store.session(ADA)) == ["Where is it?", "?", *more, "Where is it?"]


PROGRAM = """
import os, signal, sys
from langchain_onrecord.importers import import_sql
from onrecord import Store
store = Store(sys.argv[1], durability="normal")
left = int(sys.argv[3])
def progress(_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
print(import_sql(store, sys.argv[2], progress=progress).messages)
"""


def test_kill_9(sqlite_old: Old, tmp_path: Path) -> None:
    said = [f"{n}" for n in range(500)]
    sqlite_old.add(ADA, *said)
    urls = [f"sqlite:///{tmp_path / name}" for name in ("store.db", "old.db")]
    for batches in (1, 4, 100):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, *urls, str(batches)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == (0 if batches == 100 else -signal.SIGKILL), done.stderr
    assert done.stdout == "250\n"
    with Store(urls[0]) as store:
        assert texts(store.session(ADA)) == said


def test_cancelled(old: Old, store: Store) -> None:
    said = [f"{n}" for n in range(500)]
    old.add(ADA, *said)

    async def cancelled() -> None:
        def cancel(_: ImportProgress) -> None:
            task.cancel()

        task: asyncio.Task[Imported] = asyncio.create_task(old.abring(store, progress=cancel))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert 0 < store.session(ADA).count() < 500
    assert old.bring(store).messages > 0
    assert texts(store.session(ADA)) == said


def test_what_was_cleared_here_is_not_brought_again(
    old: Old, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [f"{n}" for n in range(120)]
    old.add(ADA, *said)
    session = store.session(ADA)
    dying = Dying(monkeypatch)

    old.bring(store)
    session.delete(3)
    session.rewind(50)
    session.clear()
    assert counts(old.bring(store)) == (1, 0, 120)
    old.add(ADA, "new")
    assert counts(old.bring(store)) == (1, 1, 120)
    assert texts(session) == ["new"]

    old.add(ADA, *said)
    dying.at(6, True)  # a batch was appended, and not marked
    with pytest.raises(Killed):
        old.bring(store)
    dying.at(-1, False)
    assert session.count() == 51
    session.clear()
    brought = old.bring(store)
    assert session.count() == brought.messages == 0
    [unread] = brought.unread
    assert (unread.session, unread.row) == (ADA, None)
    assert "cleared or rewound" in unread.reason
    assert "120 more messages" in unread.reason
    assert old.bring(store).unread == ()

    session.update(metadata=None)
    assert old.bring(store).messages == 241  # whoever wants it all takes the mark away


@pytest.mark.parametrize("old", ["sqlite", "redis"], indirect=True)
def test_what_was_cleared_here_stays_away_when_the_source_is_read_from_its_start(
    old: Old, store: Store, tmp_path: Path, redis_server: RedisServer, prefix: str
) -> None:
    old.add(ADA, "1", "2")
    damage(tmp_path, redis_server, prefix, "{")
    old.add(ADA, "3")
    assert (brought := old.bring(store)).messages == 3
    store.session(ADA).clear()
    again = old.bring(store)
    assert counts(again) == (1, 0, 0)
    assert again.unread[0] == brought.unread[0]
    assert "3 more messages were left out" in again.unread[1].reason
    old.add(ADA, "new")
    assert counts(old.bring(store)) == (1, 1, 0)
    assert texts(store.session(ADA)) == ["new"]


def damage(tmp_path: Path, redis_server: RedisServer, prefix: str, raw: str | bytes) -> None:
    """Add a row that no history wrote."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush(f"{prefix}{ADA}", raw)
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.execute("CREATE TABLE IF NOT EXISTS message_store (id, session_id, message)")
    connection.execute(
        "INSERT INTO message_store (session_id, message) VALUES (?, CAST(? AS TEXT))", (ADA, raw)
    )
    connection.commit()
    connection.close()


def test_what_was_deleted_here_is_not_brought_again(
    old: Old, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.add(ADA, *[f"{n}" for n in range(120)])
    session = store.session(ADA)
    dying = Dying(monkeypatch)
    dying.at(4, True)  # a batch was appended, and not marked
    with pytest.raises(Killed):
        old.bring(store)
    dying.at(-1, False)
    session.delete(7)
    session.edit(8, ("user", "seven, edited"))
    brought = old.bring(store)
    [unread] = brought.unread
    assert (unread.row, unread.reason) == ("7", "the message of its id was deleted here.")
    assert counts(brought) == (1, 70, 49)
    assert old.bring(store).unread == ()
    assert texts(session) == [
        *(f"{n}" for n in range(6)),
        "seven, edited",
        *(f"{n}" for n in range(8, 120)),
    ]


# -- sources that change -----------------------------------------------------------------------


def test_a_source_that_began_anew(old: Old, store: Store) -> None:
    """SQLite gives row ids again, and a list counts from its beginning."""
    old.add(ADA, "hello", "hi", "bye")
    old.bring(store)
    old.history(ADA).clear()
    assert old.bring(store).messages == 0
    old.add(ADA, "good morning", "good day")
    assert counts(old.bring(store)) == (1, 2, 0)
    old.add(ADA, "good evening")
    assert counts(old.bring(store))[1] == 1
    assert texts(store.session(ADA)) == [
        *("hello", "hi", "bye"),
        *("good morning", "good day", "good evening"),
    ]
    assert counts(old.bring(store))[1] == 0
    old.history(ADA).clear()
    old.add(ADA, "as", "many", "again")
    assert counts(old.bring(store))[1] == 3
    assert texts(store.session(ADA))[6:] == ["as", "many", "again"]


def test_a_list_that_lost_its_beginning(
    redis_old: Old, store: Store, redis_server: RedisServer, prefix: str
) -> None:
    said = ["ok" if n % 3 else f"{n}" for n in range(100)]
    redis_old.add(ADA, *said)
    redis_old.bring(store)
    with redis.Redis.from_url(redis_server.url) as client:
        for kept in (60, 21, 5, 3):
            redis_old.add(ADA, f"new {kept}", "ok")
            said += [f"new {kept}", "ok"]
            client.ltrim(f"{prefix}{ADA}", 0, kept - 1)
            assert redis_old.bring(store).messages == 2
            assert texts(store.session(ADA)) == said
        redis_old.add(ADA, "a", "b", "c", "d")
        client.ltrim(f"{prefix}{ADA}", 0, 2)  # what nobody brought is gone
        assert redis_old.bring(store).messages == 3
    assert texts(store.session(ADA)) == [*said, "b", "c", "d"]


def test_a_row_that_was_committed_late(postgres_old: Old, postgres_url: str, store: Store) -> None:
    """A serial number is taken before the commit, so an older one may appear after a newer."""
    with psycopg.connect(postgres_url) as late:
        history = PostgresChatMessageHistory("chats", ADA, sync_connection=late)
        late.execute(
            "INSERT INTO chats (session_id, message) VALUES (%s, %s)",
            (ADA, json.dumps(message_to_dict(HumanMessage("late")))),
        )
        postgres_old.add(ADA, "one", AIMessage("two", id="run-2"))
        assert counts(postgres_old.bring(store)) == (1, 2, 0)
        late.commit()
        del history
    assert counts(postgres_old.bring(store)) == (1, 1, 2)
    assert texts(store.session(ADA)) == ["one", "two", "late"]
    assert counts(postgres_old.bring(store)) == (1, 0, 3)


def test_a_source_that_is_written_to_meanwhile(
    old: Old, store: Store, request: pytest.FixtureRequest
) -> None:
    """It is not held up, not even SQLite, and the import comes to an end."""
    old.add(ADA, *[f"{n}" for n in range(300)])

    def speak(progress: ImportProgress) -> None:
        old.add(ADA, f"new {progress.messages}")
        old.add(BO, "hello")

    brought = old.bring(store, progress=speak)
    if "redis" not in request.node.name:  # which names keys in any order, new ones or not
        assert counts(brought) == (1, 300, 0)
    old.bring(store)
    assert texts(store.session(ADA))[:300] == [f"{n}" for n in range(300)]
    for key in (ADA, BO):
        assert texts(store.session(key)) == [m.text for m in old.history(key).messages]


def test_a_source_that_is_cleared_meanwhile(old: Old, store: Store) -> None:
    old.add(ADA, *[f"{n}" for n in range(300)])

    def clear(progress: ImportProgress) -> None:
        if progress.messages == 100:
            old.history(ADA).clear()
            old.add(ADA, "after")

    brought = old.bring(store, progress=clear)
    assert brought.unread == ()
    assert texts(store.session(ADA))[:100] == [f"{n}" for n in range(100)]
    old.bring(store)
    assert texts(store.session(ADA))[100:] == ["after"]


def test_a_list_that_keeps_changing(redis_old: Old, store: Store) -> None:
    redis_old.add(ADA, *[f"{n}" for n in range(120)])

    def change(progress: ImportProgress) -> None:
        redis_old.history(ADA).clear()
        redis_old.add(ADA, *[f"{progress.messages} {n}" for n in range(120)])

    [unread] = redis_old.bring(store, progress=change).unread
    assert str(unread) == f"session '{ADA}': it kept changing while it was read. Import it again."


def test_scan_names_a_key_twice(
    redis_old: Old, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may when the keys grow meanwhile."""
    keys = [str(uuid.UUID(int=n)) for n in range(120)]
    for key in keys:
        redis_old.add(key, "hello")
    scan_iter = redis.Redis.scan_iter

    def often(*given: Any, **settings: Any) -> Iterator[Any]:
        found = list(scan_iter(*given, **settings))
        return iter(found * 3)

    monkeypatch.setattr(redis.Redis, "scan_iter", often)
    assert counts(redis_old.bring(store)) == (120, 120, 0)


# -- rows that cannot be read ------------------------------------------------------------------

DAMAGED: list[tuple[str | bytes, str]] = [
    ("{not json", "not JSON"),
    ('{"type": "human", "data": {"content": "cut o', "cut off"),
    ("", "empty"),
    ("[1, 2]", "as LangChain writes a message"),
    ('"text"', "as LangChain writes a message"),
    ('{"type": "human"}', "as LangChain writes a message"),
    ('{"data": {}}', "'type'"),
    ('{"type": "martian", "data": {"content": "x"}}', "unexpected message type: martian"),
    ('{"type": "human", "data": {"content": 5}}', "content"),
    ('{"type": "tool", "data": {"content": "x"}}', "tool_call_id"),
    ("[" * 100_000, "JSON"),
    (
        '{"type": "human", "data": {"content": "x", "additional_kwargs": {"n": '
        + "9" * 5000
        + "}}}",
        "JSON",
    ),
    (b'{"type": "human", "data": {"content": "\xff"}}', "UTF-8"),
]


@pytest.mark.parametrize("old", ["sqlite", "redis"], indirect=True)
def test_a_damaged_row_is_named_and_the_others_are_brought(
    old: Old, store: Store, tmp_path: Path, redis_server: RedisServer, prefix: str
) -> None:
    whole = []
    for n, (raw, _) in enumerate(DAMAGED):
        old.add(ADA, text := f"{n}")
        whole.append(text)
        damage(tmp_path, redis_server, prefix, raw)
    connection = sqlite3.connect(tmp_path / "old.db")
    client = redis.Redis.from_url(redis_server.url)
    try:
        old.add(ADA, "the end")
        brought = old.bring(store)
        assert texts(store.session(ADA)) == [*whole, "the end"]
        assert counts(brought) == (1, len(DAMAGED) + 1, 0)
        assert [unread.row for unread in brought.unread] == [
            str(2 * n + 2) for n in range(len(DAMAGED))
        ]
        for unread, (_, why) in zip(brought.unread, DAMAGED, strict=True):
            assert unread.session == ADA
            assert why in unread.reason
            assert len(unread.reason) < 300

        again = old.bring(store)
        assert again.unread == brought.unread  # named each time, as long as they are there
        assert counts(again) == (1, 0, len(DAMAGED) + 1)

        good = json.dumps(message_to_dict(HumanMessage("repaired")))
        connection.execute("UPDATE message_store SET message = ? WHERE id = 2", (good,))
        connection.commit()
        client.lset(f"{prefix}{ADA}", -2, good)
        repaired = old.bring(store)
        assert counts(repaired) == (1, 1, len(DAMAGED) + 1)
        assert repaired.behind == (ADA,)
        assert texts(store.session(ADA)) == [*whole, "the end", "repaired"]
        assert repaired.unread == brought.unread[1:]
    finally:
        connection.close()
        client.close()


def test_json_in_postgres_that_is_no_message(
    postgres_old: Old, postgres_url: str, store: Store
) -> None:
    postgres_old.add(ADA, "one")
    with psycopg.connect(postgres_url) as connection:
        for raw in ('{"a": 1}', "null", "5"):
            connection.execute(
                "INSERT INTO chats (session_id, message) VALUES (%s, %s)", (ADA, raw)
            )
    postgres_old.add(ADA, "two")
    brought = postgres_old.bring(store)
    assert [unread.row for unread in brought.unread] == ["2", "3", "4"]
    assert str(brought.unread[0]).startswith(f"row 2 of session '{ADA}': it is JSON, but not")
    assert texts(store.session(ADA)) == ["one", "two"]


def test_a_message_that_cannot_be_stored(
    sqlite_old: Old, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.codec.frame.LARGEST", 10_000)
    sqlite_old.add(ADA, "one", "x" * 20_000, "two")
    brought = sqlite_old.bring(store)
    assert [(unread.row, unread.reason[:17]) for unread in brought.unread] == [
        ("2", "The message takes")
    ]
    assert texts(store.session(ADA)) == ["one", "two"]


# -- sources that cannot be read ---------------------------------------------------------------

SECRET = "s3cr:et"


def secretless(error: BaseException) -> str:
    """What an error says, its causes included, which must not hold the password."""
    told = "".join(traceback.format_exception(error))
    for secret in (SECRET, SECRET.replace(":", "%3A"), "s3cr"):
        assert secret not in told
    return str(error)


def test_a_wrong_table_or_column(sqlite_old: Old, store: Store) -> None:
    for settings, found in (
        ({"table": "messages"}, "has no table 'messages'. Its tables are: message_store"),
        ({"table": "x'; DROP TABLE message_store"}, "has no table"),
        ({"message_column": "body"}, "has no column 'body'"),
        ({"session_id_column": "chat"}, "It has: id, session_id, message"),
        ({"id_column": "nr"}, "has no column 'nr'"),
    ):
        with pytest.raises(Misconfigured) as error:
            sqlite_old.bring(store, **settings)
        assert found in str(error.value)
    assert store.sessions() == []


def test_a_wrong_column_first_and_then_the_right_one(sqlite_old: Old, store: Store) -> None:
    sqlite_old.add(ADA, "one", "two")
    assert len(sqlite_old.bring(store, message_column="session_id").unread) == 2
    assert counts(sqlite_old.bring(store)) == (1, 2, 0)


def test_columns_and_tables_of_other_names(tmp_path: Path, store: Store) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute('CREATE TABLE "my ""chats" (nr INTEGER PRIMARY KEY, "a b", body JSON)')
        for text in ("one", "two"):
            one = json.dumps(message_to_dict(HumanMessage(text)))
            connection.execute('INSERT INTO "my ""chats" ("a b", body) VALUES (?, ?)', ("s", one))
    connection.close()
    settings: dict[str, Any] = {
        "table": 'my "chats',
        "id_column": "nr",
        "session_id_column": "a b",
        "message_column": "body",
    }
    for source in (tmp_path / "other.db", f"sqlite+aiosqlite:///{tmp_path / 'other.db'}"):
        import_sql(store, source, **settings)
    assert texts(store.session("s")) == ["one", "two"]
    assert str(store.session("s").tail(1)[0].id).startswith("my__chats-2-")


def test_a_table_in_another_schema(postgres_url: str, store: Store) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA elsewhere")
        connection.execute("SET search_path TO elsewhere")
        PostgresChatMessageHistory.create_tables(connection, "chats")
        PostgresChatMessageHistory("chats", ADA, sync_connection=connection).add_messages(
            [HumanMessage("hello")]
        )
    with pytest.raises(Misconfigured, match="schema="):
        import_postgres(store, postgres_url, table="chats")
    assert import_postgres(store, postgres_url, table="chats", schema="elsewhere").messages == 1
    assert import_sql(store, postgres_url, table="chats", schema="elsewhere").messages == 0


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, store: Store) -> None:
    missing = tmp_path / "missing.db"
    for source in (f"sqlite:///{missing}", missing, f"sqlite+aiosqlite:///{missing}"):
        with pytest.raises(Misconfigured, match=r"no file .*missing\.db"):
            import_sql(store, source)
    assert not missing.exists()
    with pytest.raises(Misconfigured, match="in memory"):
        import_sql(store, "sqlite://")
    (tmp_path / "text.db").write_text("This is not a database, but it is long enough to look.")
    with pytest.raises(Misconfigured, match="not a database"):
        import_sql(store, tmp_path / "text.db")
    with pytest.raises(Misconfigured, match="cannot be opened"):
        import_sql(store, tmp_path)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (f"postgresql://ada:{SECRET}@x@127.0.0.1:1/d", "cannot be read"),
        (f"postgresql://ada:{SECRET}@127.0.0.1:port/d", "cannot be read"),
        (f"postgresql://ada:{SECRET.replace(':', '%3A')}@127.0.0.1:1/d", "cannot be read now"),
        (f"host=127.0.0.1 password={SECRET}", "cannot be read"),
        (f"oracle9://ada:{SECRET.replace(':', '%3A')}@h/d", "knows no database"),
        (f"mysql+pymysql://ada:{SECRET.replace(':', '%3A')}@h/d", "driver that is not installed"),
        (f"mysql+aiomysql://ada:{SECRET.replace(':', '%3A')}@h/d", "pymysql"),
        (5, "not a int"),
    ],
)
def test_a_source_that_is_no_database(source: Any, found: str, store: Store) -> None:
    with pytest.raises((Misconfigured, Unavailable), match=found) as error:
        import_sql(store, source)
    secretless(error.value)


def test_sources_of_the_wrong_kind(
    tmp_path: Path, store: Store, postgres_url: str, sqlite_old: Old
) -> None:
    with pytest.raises(Misconfigured, match=r"AsyncEngine.*URL"):
        import_sql(store, create_async_engine(sync_url(postgres_url)))  # type: ignore[arg-type]
    with (
        psycopg.connect(postgres_url) as connection,
        pytest.raises(Misconfigured, match="connection of psycopg"),
    ):
        import_postgres(store, connection, table="chats")  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="For SQLChatMessageHistory use import_sql"):
        import_postgres(store, f"sqlite:///{tmp_path / 'old.db'}", table="chats")
    with pytest.raises(Misconfigured, match="asyncio client"):
        import_redis(store, redis.asyncio.Redis())
    with pytest.raises(Misconfigured, match="redis:// URL"):
        import_redis(store, None)
    for url in (f"http://ada:{SECRET}@h", f"redis://ada:{SECRET}@h:port/0"):
        with pytest.raises(Misconfigured, match="cannot be read") as error:
            import_redis(store, url)
        secretless(error.value)


def test_no_access_to_a_table(postgres_old: Old, postgres_url: str, store: Store) -> None:
    postgres_old.add(ADA, "hello")
    role = f"reader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
        try:
            url = make_url(postgres_url).set(username=role, password=SECRET)
            with pytest.raises(Misconfigured, match="Grant it SELECT") as error:
                import_postgres(store, url, table="chats")
            secretless(error.value)
            owner.execute(f"GRANT SELECT ON chats TO {role}")
            assert import_postgres(store, url, table="chats").messages == 1

            with pytest.raises(Misconfigured, match="user and the password") as error:
                import_postgres(store, url.set(password=f"{SECRET}x"), table="chats")
            secretless(error.value)
        finally:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


def test_redis_with_passwords_and_rights(own_redis: OwnRedis, store: Store) -> None:
    """Reading takes SCAN, TYPE and LRANGE, and nothing else; KEYS is never used."""
    for key in (ADA, BO):
        history = RedisChatMessageHistory(key, own_redis.url)
        history.add_messages([HumanMessage(f"{n}") for n in range(70)])
        history.redis_client.close()
    rights = ["+scan", "+type", "+lrange", "+auth", "+hello", "+client", "+select", "+ping"]
    with redis.Redis.from_url(own_redis.url) as admin:
        admin.execute_command(
            *("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~message_store:*", *rights)
        )
        admin.execute_command("ACL", "SETUSER", "nobody", "on", f">{SECRET}", "~x", "+auth")
        place = f"127.0.0.1:{own_redis.port}/0"
        secret = SECRET.replace(":", "%3A")
        admin.config_resetstat()
        reader = f"redis://reader:{secret}@{place}"
        assert import_redis(store, reader).messages == 140
        assert counts(import_redis(store, reader, session_ids=[ADA])) == (1, 0, 70)
        used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
        assert {"scan", "lrange", "type"} <= used
        assert "keys" not in used
        for user, password in (("reader", "x"), ("nobody", secret), ("", "")):
            who = f"{user}:{password}@" if user else ""
            if not user:
                admin.execute_command("ACL", "SETUSER", "default", ">admin")
                admin.execute_command("AUTH", "default", "admin")
            with pytest.raises(Misconfigured, match="does not let this user read") as error:
                import_redis(store, f"redis://{who}{place}")
            secretless(error.value)
    own_redis.kill()
    with pytest.raises(Unavailable, match="import again when it answers") as gone:
        import_redis(store, reader)
    secretless(gone.value)


def test_one_node_of_a_cluster_is_not_the_source(redis_binaries: Binaries, store: Store) -> None:
    cluster = OwnCluster(redis_binaries)
    try:
        url = cluster.url.replace("redis+cluster", "redis")
        with closing(RedisCluster.from_url(url)) as client:
            one = json.dumps(message_to_dict(HumanMessage("hello")))
            for n in range(30):
                client.lpush(f"message_store:{n}", one)
            with pytest.raises(Misconfigured, match="one node of a cluster"):
                import_redis(store, url)
            assert counts(import_redis(store, client)) == (30, 30, 0)
            assert counts(import_redis(store, client, session_ids=["7"])) == (1, 0, 1)
    finally:
        cluster.close()


def test_a_source_that_goes_away_in_the_middle(own_redis: OwnRedis, store: Store) -> None:
    history = RedisChatMessageHistory(ADA, own_redis.url)
    history.add_messages([HumanMessage(f"{n}") for n in range(200)])
    history.redis_client.close()
    with pytest.raises(Unavailable, match="What was brought so far is kept"):
        import_redis(store, own_redis.url, progress=lambda _: own_redis.kill())
    assert texts(store.session(ADA)) == [f"{n}" for n in range(50)]


def test_a_store_that_fails(sqlite_old: Old, store: Store) -> None:
    sqlite_old.add(ADA, "hello")
    store.close()
    with pytest.raises(OnrecordError, match="closed"):
        sqlite_old.bring(store)


# -- the source stays as it was ----------------------------------------------------------------


def test_a_sqlite_source_is_only_read(sqlite_old: Old, store: Store, tmp_path: Path) -> None:
    sqlite_old.add(ADA, *[f"{n}" for n in range(100)])
    file = tmp_path / "old.db"
    before = file.read_bytes()
    files = sorted(tmp_path.iterdir())
    sqlite_old.bring(store)
    assert file.read_bytes() == before
    assert {f for f in sorted(tmp_path.iterdir()) if f not in files} <= {
        tmp_path / f"store.db{end}" for end in ("", "-wal", "-shm")
    }


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_lent_engine_is_read_only_for_as_long_as_it_is_lent(
    kind: str, request: pytest.FixtureRequest, store: Store, tmp_path: Path
) -> None:
    old: Old = request.getfixturevalue(f"{kind}_old")
    old.add(ADA, *[f"{n}" for n in range(60)])
    if kind == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path / 'old.db'}", pool_size=1, max_overflow=0)
    else:
        url = sync_url(request.getfixturevalue("postgres_url"))
        engine = create_engine(url, pool_size=1, max_overflow=0)
    seen: set[str] = set()

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.add(statement.split()[0])
        if statement.startswith("SELECT") and "chats" in statement and kind == "postgres":
            assert cursor.connection.read_only
        if statement.startswith("SELECT") and kind == "sqlite":
            assert cursor.connection.execute("PRAGMA query_only").fetchone() == (1,)

    try:
        table = "message_store" if kind == "sqlite" else "chats"
        for _ in range(2):
            import_sql(store, engine, table=table)
        assert seen <= {"SELECT", "PRAGMA"}
        with engine.begin() as connection:  # not closed, and it can write again
            connection.execute(sqlalchemy.text(f"UPDATE {table} SET session_id = session_id"))
            if kind == "sqlite":
                assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 0
                driver: Any = connection.connection.driver_connection
                assert driver.text_factory is str
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    finally:
        engine.dispose()


def test_a_lent_client_is_not_closed(
    redis_old: Old, redis_server: RedisServer, prefix: str, store: Store
) -> None:
    redis_old.add(ADA, "hello", "é")
    for settings in ({}, {"decode_responses": True}):
        with redis.Redis.from_url(redis_server.url, **settings) as client:
            assert import_redis(store, client, key_prefix=prefix).already_there in (0, 2)
            assert client.ping()
            client.lpush(f"{prefix}{BO}", b"\xff")
            if settings:
                with pytest.raises(Misconfigured, match="decode_responses"):
                    import_redis(store, client, key_prefix=prefix)
            client.delete(f"{prefix}{BO}")
    assert texts(store.session(ADA)) == ["hello", "é"]


def test_expiry_of_a_list_is_left_alone(
    redis_old: Old, redis_server: RedisServer, prefix: str, store: Store
) -> None:
    redis_old.add(ADA, "hello")
    with redis.Redis.from_url(redis_server.url) as client:
        client.expire(f"{prefix}{ADA}", 1_000)
        redis_old.bring(store)
        assert 990 < client.ttl(f"{prefix}{ADA}") <= 1_000


def test_an_engine_in_memory(store: Store) -> None:
    engine = create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    try:
        SQLChatMessageHistory(ADA, connection=engine).add_message(HumanMessage("hello"))
        assert import_sql(store, engine).messages == 1
    finally:
        engine.dispose()


def test_a_store_in_the_file_of_the_old_history(sqlite_old: Old, tmp_path: Path) -> None:
    sqlite_old.add(ADA, *[f"{n}" for n in range(120)])
    with Store(tmp_path / "old.db") as store:
        assert sqlite_old.bring(store).messages == 120
        assert texts(store.session(ADA)) == [f"{n}" for n in range(120)]


def test_a_large_table_without_an_index(sqlite_old: Old, store: Store, tmp_path: Path) -> None:
    """SQLChatMessageHistory makes none: looking up one session at a time would scan each time."""
    one = json.dumps(message_to_dict(HumanMessage("hello")))
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executemany(
            "INSERT INTO message_store (session_id, message) VALUES (?, ?)",
            ((f"s{n % 2_000}", one) for n in range(60_000)),
        )
    connection.close()
    scans = 0
    engine: Engine = create_engine(f"sqlite:///{tmp_path / 'old.db'}")

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal scans
        scans += "session_id" in statement and "id IN" not in statement

    began = time.monotonic()
    try:
        brought = import_sql(store, engine, session_ids=[f"s{n}" for n in range(50)])
        assert counts(brought) == (50, 1_500, 0)
        assert scans < 10
        with pytest.raises(Killed):
            import_sql(store, engine, progress=_die_at(100))
    finally:
        engine.dispose()
    assert time.monotonic() - began < 60


def _die_at(sessions: int) -> Callable[[ImportProgress], None]:
    def progress(at: ImportProgress) -> None:
        if at.sessions >= sessions:
            raise Killed

    return progress


@pytest.mark.parametrize("name", ["import_sql", "import_postgres", "import_redis"])
def test_twins_are_alike(name: str) -> None:
    ours, theirs = getattr(importers, name), getattr(importers, f"a{name}")
    assert inspect.iscoroutinefunction(theirs)
    assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    assert f"``{name}``" in (theirs.__doc__ or "")
