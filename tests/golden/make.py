"""Writes a golden database, to be kept for good, in the format of the present code.

    python -m tests.golden.make 0002 sqlite:///tests/golden/0002.sqlite
    python -m tests.golden.make 0002 postgresql://user@localhost/empty
    python -m tests.golden.make 0003 tests/golden/0003.jsonl

Writes ``<name>.json`` beside it: what was read from it on the day it was made. PostgreSQL is
kept as the output of ``pg_dump --inserts``, without the lines that begin with a backslash. The
last is an export; the first of these was written before there were items, and before a session
said what was spent.
"""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import astuple

from onrecord import (
    ANY,
    Image,
    Message,
    Opaque,
    Reasoning,
    SessionInfo,
    Store,
    ToolCall,
    ToolResult,
    codec,
)

HERE = Path(__file__).parent
THEN = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=UTC)


def fill(store: Store) -> None:
    """A little of everything that a message, a session and a scope can be."""
    everything = store.session("everything", user="ana", tenant="océan", agent="guide")
    everything.append(
        [
            ("system", "Be brief."),
            Message("user", "How warm is it in Lyon?", id="mine-1", created_at=THEN),
            Message("assistant", (ToolCall("weather", {"city": "Lyon", "days": 2}, "c1"),)),
            Message("tool", (ToolResult("c1", "21 °C"),), tool_call_id="c1"),
            Message(
                "assistant",
                "It is 21 °C.",
                usage={"input_tokens": 31, "output_tokens": 7},
                metadata={"turn": "t1", "when": THEN, "pair": (1, 2.5), "big": 2**70},
            ),
            Message("user", (Image(data=bytes(range(256)), media_type="image/png"),)),
            Message("assistant", (Reasoning("It looks like noise."), Opaque("x", "y", {"z": 1}))),
            ("user", "a NUL \x00, half a pair \ud800, and 😀"),
            ("user", "words that come back, " * 60),
        ]
    )
    everything.update(title="Weather in Lyon", metadata={"plan": "pro", "seats": 3})
    edited = store.session("edited", user="ana")
    edited.append([("user", f"word {i}") for i in range(1, 41)])
    edited.edit(3, ("user", "another word"))
    edited.delete(7)
    edited.archive([1, 2, 3, 12])
    edited.rewind(38)
    edited.append(Message("user", "after the rewind", id="mine-2", created_at=THEN))
    cleared = store.session("cleared")
    cleared.append([("user", "gone"), Message("assistant", "too", usage={"prompt_tokens": 5})])
    cleared.clear()
    cleared.state.put("plan", {"since": THEN, "pair": (1, 2.5)}, text="what to do")
    cleared.state.put("half", "half a pair \ud800", ttl=timedelta(days=300_000), token="r1")
    store.session("untouched", tenant="'; DROP TABLE onrecord_sessions; --").update(title="Empty")


def know(store: Store) -> None:
    """A little of everything that an item can be."""
    facts = store.items("facts", "océan", user="ana", agent="guide")
    facts.put("city", {"name": "Lyon", "since": THEN, "pair": (1, 2.5), "big": 2**70})
    facts.put("half", "a NUL \x00, half a pair \ud800, and 😀", text="odd \ud800", token="r1")
    facts.put("lives", [None, True, {"$set": {1, 2}}, b"\x00\xff"], ttl=timedelta(days=300_000))
    facts.put("long", "words that come back, " * 60)
    store.items("'; DROP TABLE onrecord_items; --").put("k", 1)


def told(store: Store) -> list[dict[str, Any]]:
    """Everything there is to be read, as JSON."""
    everything = store.sessions(tenant=ANY, user=ANY, agent=ANY)
    return [_session(store, info) for info in sorted(everything, key=lambda info: info.key)]


def _session(store: Store, info: SessionInfo) -> dict[str, Any]:
    session = store.session(info.key, tenant=info.tenant, user=info.user, agent=info.agent)
    return {
        "name": [info.tenant, info.user, info.agent, info.key],
        "version": list(info.version),
        "counts": [info.messages, info.turns, info.tokens],
        "usage": astuple(info.usage),
        "about": base64.b64encode(
            codec.pack_value([info.title, dict(info.metadata)], "about")
        ).decode(),
        "state": {
            item.key: base64.b64encode(codec.pack_value([item.value, item.text], "x")).decode()
            for item in session.state.list()
        },
        "archived": [message.seq for message in session.messages(archived=True)],
        "messages": [
            {
                "seq": message.seq,
                "id": message.id,
                "tokens": message.tokens,
                "created": None if message.created_at is None else message.created_at.isoformat(),
                "role": message.role,
                "text": message.text.encode("unicode_escape").decode(),
                "content": base64.b64encode(codec.encode(message, "none")[0]).decode(),
            }
            for message in session.messages()
        ],
    }


if __name__ == "__main__":
    name, url = sys.argv[1:]
    if url.endswith(".jsonl"):
        with Store("sqlite://") as golden:
            fill(golden)
            know(golden)
            golden.export(url)
        raise SystemExit
    with Store(url) as golden:
        fill(golden)
        kept = told(golden)
    kind = "postgresql" if url.startswith("postgres") else "sqlite"
    (HERE / f"{name}.{kind}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=True) + "\n")
