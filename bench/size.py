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
import random
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

from recollect import Store

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.servers.binaries import Missing
from tests.servers.postgres import OwnPostgres, find_postgres_binaries

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import SQLChatMessageHistory

DATA = Path(__file__).parents[2] / "shared" / "data" / "conversations.jsonl"
Conversation = Sequence[Mapping[str, Any]]
_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id"}


# The others are empty or hold settings: some 300 KB of pages, however much is said.
HOLDING_MESSAGES = tuple(
    f"recollect_{table}" for table in ("sessions", "tail", "segments", "dictionaries")
)


def conversations() -> tuple[str, list[Conversation]]:
    """Where they come from, and what was said in them."""
    if DATA.exists():
        with DATA.open(encoding="utf-8") as lines:
            found = [json.loads(line)["messages"] for line in lines]
        return "real ones", [
            [{key: said[key] for key in said if key in _KEYS} for said in messages]
            for messages in found
        ]
    return "generated ones", [generated(n) for n in range(870)]


def generated(n: int) -> Conversation:
    """As long as real ones are: most are short, a few are very long."""
    chance = random.Random(n)
    words = [f"{a}{b}" for a in ("deli", "ord", "track", "re", "pay") for b in ("ver", "ing", "ed")]
    length = min(1_200, max(2, int(chance.paretovariate(0.9) * 2)))
    return [
        {
            "role": "assistant" if i % 2 else "user",
            "content": " ".join(chance.choices(words, k=chance.randint(4, 40))),
        }
        for i in range(length)
    ]


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


def relations(url: str, *names: str) -> int:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        size = connection.execute(
            text(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
                "WHERE relkind = 'r' AND relname LIKE ANY (:names)"
            ),
            {"names": list(names)},
        ).scalar()
    engine.dispose()
    return int(size or 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--sqlite", action="store_true", help="without PostgreSQL")
    only_sqlite = options.parse_args().sqlite
    origin, everything = conversations()
    kept = [m for m in everything if "\0" not in json.dumps(m).replace("\\u0000", "\0")]
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
                "    the same with every table there is", relations(url, "recollect_%"), theirs_size
            )


def line(what: str, own: int, theirs: int) -> None:
    print(f"  {what}: {own:,} bytes; SQLChatMessageHistory {theirs:,}; {own / theirs:.1%}")


if __name__ == "__main__":
    main()
