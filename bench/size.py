"""What a store takes on disk, beside LangChain's SQLChatMessageHistory with the same messages.

    .venv/bin/python bench/size.py

Whole files, and whole tables with their indexes (``pg_total_relation_size``). Twice: without a
dictionary, and with one that was learned from one half of the conversations and is tried on the
other. The conversations are ../shared/data/conversations.jsonl where that is there, else they are
generated. PostgreSQL is started for this, from the binaries the tests use.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from sqlalchemy import Engine, create_engine, text

from onrecord import Store

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.data import Conversation, conversations
from tests.servers.binaries import Missing
from tests.servers.postgres import OwnPostgres, find_postgres_binaries

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import SQLChatMessageHistory

# The others are empty or hold settings: some 300 KB of pages, however much is said.
HOLDING_MESSAGES = tuple(
    f"onrecord_{table}" for table in ("sessions", "tail", "segments", "dictionaries")
)


def holds_nul(said: Conversation) -> bool:
    """Whether PostgreSQL would refuse it as text."""
    return "\\u0000" in json.dumps(said)


def as_langchain(said: Mapping[str, Any]) -> BaseMessage:
    content, name = said["content"], said.get("name")
    match said["role"]:
        case "system":
            return SystemMessage(content, name=name)
        case "tool":
            return ToolMessage(content, tool_call_id=said["tool_call_id"], name=name)
        case "assistant":
            return AIMessage(content, tool_calls=said.get("tool_calls") or [], name=name)
        case _:
            return HumanMessage(content, name=name)


def peer(engine: Engine, chosen: Sequence[Conversation]) -> None:
    for n, messages in enumerate(chosen):
        history = SQLChatMessageHistory(f"conversation-{n}", connection=engine)
        # PostgreSQL keeps no NUL in text: what it cannot keep is left out for both.
        history.add_messages([as_langchain(said) for said in messages])
        found = [message.content for message in history.messages]
        assert found == [said["content"] for said in messages], "not what was said"


def ours(url: str, chosen: Sequence[Conversation], sample: Sequence[Conversation]) -> None:
    with Store(url) as store:
        if sample:
            store.train(sample)
        for n, messages in enumerate(chosen):
            store.session(f"conversation-{n}").append(list(messages))
        store.compact(quiet_for=0, again=True)
        assert not store.verify()


@contextmanager
def postgres() -> Iterator[OwnPostgres | None]:
    found = find_postgres_binaries()
    if isinstance(found, Missing):
        yield None
        return
    server = OwnPostgres(found)
    try:
        yield server
    finally:
        server.close()


def relations(url: str, *names: str, schema: str = "%") -> int:
    """Bytes of tables with their indexes, by patterns of their names."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        size = connection.execute(
            text(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
                "WHERE relkind = 'r' AND relname LIKE ANY (:names) "
                "AND relnamespace::regnamespace::text LIKE :schema"
            ),
            {"names": list(names), "schema": schema},
        ).scalar()
    engine.dispose()
    return int(size or 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--sqlite", action="store_true", help="without PostgreSQL")
    only_sqlite = options.parse_args().sqlite
    origin, everything = conversations()
    kept = [said for said in everything if not holds_nul(said)]
    messages = sum(map(len, everything))
    print(f"{len(everything):,} conversations, {messages:,} messages, {origin}")
    cases = (
        ("all of them, no dictionary", everything, kept, False),
        ("one half, with a dictionary learned from the other", everything[1::2], kept[1::2], True),
    )
    with tempfile.TemporaryDirectory() as folder:
        print("SQLite: whole files")
        for what, chosen, _, trained in cases:
            theirs, own = Path(folder) / f"peer{trained}.db", Path(folder) / f"ours{trained}.db"
            engine = create_engine(f"sqlite:///{theirs}")
            peer(engine, chosen)
            engine.dispose()
            ours(f"sqlite:///{own}", chosen, everything[::2] if trained else [])
            line(what, own.stat().st_size, theirs.stat().st_size)
    if only_sqlite:
        return
    with postgres() as server:
        if server is None:
            print("PostgreSQL: no binaries were found")
            return
        print("PostgreSQL: tables and indexes (without conversations that hold a NUL)")
        for what, _, chosen, trained in cases:
            url = server.create_database(f"size_{trained}".lower())
            engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
            peer(engine, chosen)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM FULL message_store"))
            engine.dispose()
            ours(url, chosen, kept[::2] if trained else [])
            theirs_size = relations(url, "message_store")
            line(what, relations(url, *HOLDING_MESSAGES), theirs_size)
            line(
                "    the same with every table there is", relations(url, "onrecord_%"), theirs_size
            )


def line(what: str, own: int, theirs: int) -> None:
    print(f"  {what}: {own:,} bytes; SQLChatMessageHistory {theirs:,}; {own / theirs:.1%}")


if __name__ == "__main__":
    main()
