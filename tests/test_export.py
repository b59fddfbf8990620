"""Sessions leave a store as a file, and come into another one the same, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
import pytest
import zstandard

from onrecord import (
    ANY,
    Damaged,
    Export,
    Image,
    Import,
    InvalidMessage,
    InvalidName,
    InvalidValue,
    Item,
    Message,
    Misconfigured,
    Progress,
    Session,
    Store,
    Text,
    ToolCall,
    ToolResult,
    Unavailable,
    Usage,
    files,
    operations,
)
from onrecord.codec import lines
from onrecord.codec.lines import End, Place
from onrecord.files import Source
from onrecord.flow import Cold, Flow, Step, run
from onrecord.flows.maintenance import reader
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import NamespaceName, SessionName
from onrecord.testing.contract import Face, answered, spent
from tests.test_codec import exactly
from tests.test_crash_points import Tripped, Tripwire

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


class Pair(NamedTuple):
    """Two stores on databases of their own."""

    here: Store
    there: Store


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that 30 messages are a long session, which is brought in several pieces."""
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 4)
    monkeypatch.setattr(reader, "_MOST", 10)


@pytest.fixture
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    with ExitStack() as stores:

        def open_store(kind: str, name: str = "store", **settings: Any) -> Store:
            if kind == "sqlite":
                store = Store(f"sqlite:///{tmp_path / name}.db", durability="normal", **settings)
            else:
                cache = request.getfixturevalue("redis_server").url
                store = Store(request.getfixturevalue("kept_postgres_url"), cache=cache, **settings)
            return stores.enter_context(store)

        yield open_store


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store("sqlite", "here")


@pytest.fixture
def other(open_store: Callable[..., Store]) -> Store:
    return open_store("sqlite", "there")


@pytest.fixture(params=["sqlite to sqlite", "sqlite to postgresql", "postgresql to sqlite"])
def pair(request: pytest.FixtureRequest, open_store: Callable[..., Store]) -> Pair:
    here, there = request.param.split(" to ")
    return Pair(open_store(here, "here"), open_store(there, "there"))


RICH: list[Any] = [
    ("system", "Be kind.\n\x00\u2028 Ünïcödé 👩‍👩‍👧 \ud83d"),
    {"role": "user", "content": "one", "id": "first", "created_at": AT},
    Message(
        "assistant",
        (
            Text("Look:", {"cache": {"ttl": 5}}),
            Image(data=b"\x89PNG\xff", media_type="image/png"),
            ToolCall("add", {"a": 1, "b": [2**70, 0.1, -0.0]}, "call-1"),
            ToolResult("call-1", "3", extra={"$set": 1}),
        ),
        name="Ada",
        usage={"input": 3, "cost": Decimal("0.10")},
        metadata={"when": AT, "pair": (1, {"b", "a"})},
        native={"langchain": {"nested": {1: "one", (2, 3): b"two"}}},
    ),
    Message("tool", "3", tool_call_id="call-1", metadata={"nan": float("nan"), "u": UUID(int=5)}),
]
ODD = [
    "a:b",
    "'; DROP TABLE onrecord_tail; --",
    "%",
    "_",
    '"',
    "\\",
    "\n",
    "\u202eevil",
    "👩‍👩‍👧",
    " ",
]


def long(session: Session, count: int = 30) -> Session:
    """A session with something of everything, most of it sealed."""
    session.append(RICH)
    for n in range(5, count + 1, 2):
        session.append([("user", f"{n} Guten Tag"), ("assistant", f"{n} zu dienen")])
    session.edit(6, ("assistant", "edited"))
    for gone in (2, 9, count - 1):
        session.delete(gone)
    session.archive([1, 2, 3, 11, count])
    session.update(title="Ein Gespräch", metadata={"tags": {"x", "y"}, "since": AT.date()})
    return session


def fill(store: Store) -> None:
    """Sessions of several scopes, long and short, none of them made in the order of its name."""
    long(store.session("long", user="ada"))
    for n, name in enumerate(ODD):
        scope = {"tenant": name, "user": ODD[n - 1], "agent": name}
        store.session(name, **scope).append(("user", name))
    store.session("titled", tenant="acme").update(
        title="nothing said", expires_in=timedelta(days=3)
    )
    cleared = store.session("cleared", user="ada")
    cleared.append(("user", "x"))
    cleared.clear()
    cleared.append([("user", "y"), ("assistant", "z")])
    know(store)


KNOWN = 14 + 1 + 3
"""How many items there are then."""


def know(store: Store) -> None:
    """Items in several scopes, more in one namespace than are brought in one piece."""
    facts = store.items("facts", "old", user="ada")
    facts.put_many({f"k{n:02}": {"n": n, "said": f"{n} Guten Tag" * 9} for n in range(13)})
    facts.put("rich", {"when": AT, "pair": (1, {"b", "a"}), "half \ud83d": [2**70, -0.0, b"x"]},
              text="found by \ud83d", token="revision 1", ttl=timedelta(days=3_000))  # fmt: skip
    facts.merge("k03", {"more": None})
    store.items("facts", user="ada").put("k", 1)
    for name, other in itertools.pairwise(ODD[:4]):
        store.items(name, other, tenant=name, user=other, agent=name).put(name, name)
    gone = store.items("gone", user="ada")
    gone.put("k", 1)
    gone.delete("k")


def exported(store: Store | Session) -> bytes:
    file = io.BytesIO()
    store.export(file)
    return file.getvalue()


def brought(store: Store, content: bytes) -> Import:
    return store.import_(io.BytesIO(content))


def objects(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def said(session: Session) -> list[tuple[int | None, datetime | None, str]]:
    """All that is the same in every store: not the ids that a store made up, nor its counter's."""
    return [
        (m.seq, m.created_at, exactly(Message(m.role, m.content, m.name, m.tool_call_id, m.usage)))
        for m in session.messages()
    ]


# -- there and back ------------------------------------------------------------------------------


def test_export_import_export_is_the_same_bytes(pair: Pair, tmp_path: Path) -> None:
    fill(pair.here)
    file, again = tmp_path / "all.jsonl.zst", tmp_path / "again.jsonl.zst"
    told: list[Progress] = []
    done = pair.here.export(file, progress=told.append)
    sessions = 3 + len(ODD)
    assert done == Export(
        sessions=sessions, messages=39, deleted=3, damaged=0, bytes=done.bytes, items=KNOWN
    )
    assert told == [Progress(n, sessions) for n in range(sessions + 1)]
    told.clear()
    assert pair.there.import_(file, progress=told.append) == Import(
        sessions=sessions, written=sessions, messages=39, items=KNOWN
    )
    assert told == [Progress(n, sessions) for n in range(sessions + 1)]
    pair.there.export(again)
    assert file.read_bytes() == again.read_bytes()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(file.read_bytes()) == exported(
        pair.there
    )
    assert pair.there.verify() == []
    for info in pair.here.sessions(tenant=ANY, user=ANY, agent=ANY, limit=100):
        scope = {"tenant": info.tenant, "user": info.user, "agent": info.agent}
        one, copy = (store.session(info.key, **scope) for store in pair)
        assert said(copy) == said(one)
        assert exactly(copy.info().metadata) == exactly(info.metadata) or info.key == "long"
        for field in ("messages", "turns", "tokens", "title", "last_active", "expires_in"):
            assert getattr(copy.info(), field) == getattr(info, field)
        assert copy.info().created_at == info.created_at
        seqs = [m.seq for m in one.messages(archived=True)]
        assert [m.seq for m in copy.messages(archived=True)] == seqs


def test_importing_twice_changes_nothing(pair: Pair) -> None:
    fill(pair.here)
    content = exported(pair.here)
    brought(pair.there, content)
    session = pair.there.session("long", user="ada")
    before = session.version(), exported(pair.there), repr(session.tail(5))
    count = 3 + len(ODD)
    for store in (pair.there, pair.here):  # also where it came from
        assert brought(store, content) == Import(sessions=count, written=0, messages=0)
    assert (session.version(), exported(pair.there), repr(session.tail(5))) == before
    assert exported(pair.here) == content
    assert session.version().epoch == 0


def test_the_sessions_stand_in_the_order_of_their_names(pair: Pair) -> None:
    names = ["é", "z", "Z", "a", "ab", "a b", "🙂", "\uffff", "Ä", "_", "-"]
    for name in random.Random(5).sample(names, len(names)):
        pair.here.session(name).append(("user", "x"))
        pair.here.session("k", tenant=name).append(("user", "x"))
    found = [
        (line["tenant"], line["key"])
        for line in objects(exported(pair.here))
        if line["type"] == "session"
    ]
    assert found == sorted(found)
    assert len(found) == 2 * len(names)


def test_a_scope_or_a_session_alone(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store)
    store.export(tmp_path / "ada.jsonl", tenant="", user="ada", agent="")
    found = objects((tmp_path / "ada.jsonl").read_bytes())
    assert [line["key"] for line in found if line["type"] == "session"] == ["cleared", "long"]
    session = store.session("long", user="ada")
    assert session.export(tmp_path / "long.jsonl").messages == 27
    assert other.import_(tmp_path / "long.jsonl").sessions == 1
    assert exported(other) == (tmp_path / "long.jsonl").read_bytes() == exported(session)
    assert store.session("nobody").export(tmp_path / "none.jsonl").sessions == 0
    assert other.import_(tmp_path / "none.jsonl").sessions == 0


def test_only_what_was_given_an_id_has_one(store: Store) -> None:
    session = store.session("s")
    session.append([("user", "a"), {"role": "user", "content": "b", "id": "mine"}])
    session.append(("user", "c"))
    session.delete(3)
    lines_ = objects(exported(store))
    assert [line.get("id") for line in lines_ if "seq" in line] == [None, "mine", None]
    text = exported(store).decode()
    for message in session.messages():
        assert message.id is not None
        assert (message.id in text) == (message.id == "mine")


def test_ids_that_stand_twice(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are far apart, an id may be given again (I5): a file has both."""
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 128)
    monkeypatch.setattr(reader, "_MOST", 1_000)  # so that the end of it becomes rows
    session = pair.here.session("s")
    named: list[Any] = [{"role": "user", "content": f"{n}", "id": f"id {n}"} for n in range(9)]
    session.append(named)
    brought(pair.there, exported(pair.here))
    session.append([("user", "and on")] * 190)
    pair.here.compact(quiet_for=0)
    for again in named:
        session.append({**again, "content": "other"})
    for _ in range(2):
        content = exported(pair.here)
        brought(pair.there, content)
        assert exported(pair.there) == content
        assert pair.there.verify() == []
        pair.there.session("s").erase()


def test_what_was_spent_travels_and_counts_once(pair: Pair) -> None:
    session = pair.here.session("s")
    session.append([answered(3), ("user", "q"), answered(4)])
    session.fork("fork")
    session.rewind(2)
    for _ in range(2):
        brought(pair.there, exported(pair.here))
        assert pair.there.session("s").info().usage == spent(3, 4)
        assert pair.there.session("fork").info().usage == Usage()
    session.append(answered(5))
    brought(pair.there, exported(pair.here))
    assert pair.there.session("s").info().usage == spent(3, 4, 5)
    assert exported(pair.there) == exported(pair.here)
    session.clear()  # what was spent is not less for it
    before = exported(pair.there)
    brought(pair.here, before)
    assert session.count() == 3
    assert session.info().usage == spent(3, 4, 5)
    assert pair.here.verify() == pair.there.verify() == []


def without_usage(content: bytes) -> bytes:
    """A file as somebody may write it who has only messages."""
    found = re.sub(rb'(?m)^({"type":"session".*?),"usage":{[^}]*}', rb"\1", content)
    assert found.count(b"\n") == content.count(b"\n")
    return found


def test_a_file_that_does_not_say_what_was_spent_is_summed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MOST", 2)
    session = pair.here.session("s")
    session.append([answered(n) for n in range(1, 8)])
    content = without_usage(exported(pair.here))
    for _ in range(2):
        brought(pair.there, content)
        assert pair.there.session("s").info().usage == spent(*range(1, 8))
    assert exported(pair.there) == exported(pair.here)


@pytest.mark.parametrize(
    "usage",
    ["7", '{"input":7}', '{"requests":-1}', '{"requests":1.5}', '{"requests":true}',
     '{"requests":18014398509481984}', '{"input_tokens":1,"cached_tokens":2}'],
)  # fmt: skip
def test_usage_that_cannot_have_been_is_refused(store: Store, usage: str) -> None:
    session = lines.line_of(lines.Session(SessionName(key="k"), 0, 0, 0, usage=Usage()))
    line = session.replace(b'"usage":{}', f'"usage":{usage}'.encode())
    content = lines.header() + line + lines.line_of(End(1, 0, 0))
    with pytest.raises(Damaged, match="line 2"):
        brought(store, content)
    assert store.sessions() == []


def test_ids_that_stand_twice_side_by_side(store: Store) -> None:
    """No store writes that; a file that somebody made is brought as it is all the same."""
    ids = ["a", "b", "a", "a", "c", "b", None, "c", "d", "d"]
    places = [Place(n, Message("tool", str(n)), name, 0) for n, name in enumerate(ids, 1)]
    content = b"".join(
        (
            lines.header(),
            lines.line_of(lines.Session(SessionName(key="k"), len(ids), 0, 0, usage=Usage())),
            *map(lines.line_of, places),
            lines.line_of(End(1, len(ids), 0)),
        )
    )
    brought(store, content)
    assert exported(store) == content
    assert store.verify() == []


def test_what_counted_the_tokens_is_kept(open_store: Callable[..., Store]) -> None:
    here = open_store("sqlite", "here", token_counter=("letters", lambda m: len(m.text)))
    there = open_store("sqlite", "there")
    here.session("s").append([("user", "four"), ("assistant", "seven..")])
    there.session("t").append(("user", "x"))
    brought(there, exported(here))
    assert exported(there.session("s")) == exported(here)
    assert b'"tokens":7,"counter":"letters"' in exported(there)
    assert there.session("s").info().tokens == 11
    assert [m.tokens for m in there.session("s").messages()] == [None, None]
    same = open_store("sqlite", "there", token_counter=("letters", lambda m: len(m.text)))
    assert [m.tokens for m in same.session("s").messages()] == [4, 7]


def test_what_is_compressed_in_other_ways_is_the_same_file(
    open_store: Callable[..., Store],
) -> None:
    here, plain_ = open_store("sqlite", "here"), open_store("sqlite", "plain", compression="none")
    for n in range(60):
        here.session(f"{n}").append([("user", f"What is the weather like in {n}?" * 9)] * 3)
    content = exported(here)
    assert here.train().dictionary
    here.compact(quiet_for=0, again=True)
    assert exported(here) == content
    brought(plain_, content)
    assert exported(plain_) == content


# -- messages that can no longer be read ---------------------------------------------------------


def test_damaged_messages_travel_with_their_bytes(
    store: Store, other: Store, tmp_path: Path
) -> None:
    long(store.session("s"))
    with sqlite3.connect(tmp_path / "here.db") as db:
        (segment, body) = db.execute(
            "SELECT place, body FROM onrecord_segments ORDER BY place LIMIT 1 OFFSET 1"
        ).fetchone()
        broken = body[:-3] + bytes(3)
        db.execute("UPDATE onrecord_segments SET body = ? WHERE place = ?", (broken, segment))
        (row,) = db.execute("SELECT max(place) FROM onrecord_tail").fetchone()
        db.execute("UPDATE onrecord_tail SET frame = x'010509' WHERE place = ?", (row,))
        db.execute("DELETE FROM onrecord_tail WHERE place = ?", (row - 2,))
    db.close()
    done = store.session("s").export(tmp_path / "s.jsonl")
    assert done.damaged == 4 + 1 + 1  # a segment, a row, and a gap
    found = {line.get("seq"): line for line in objects((tmp_path / "s.jsonl").read_bytes())}
    (raw,) = [b for b in found[30]["content"] if b["type"] == "opaque"]
    assert raw["data"]["frame"] == {"$bytes": "AQUJ"}
    assert "nothing is in its place" in found[28]["content"][0]["text"]
    assert other.import_(tmp_path / "s.jsonl").messages == done.messages
    assert exported(other) == (tmp_path / "s.jsonl").read_bytes()
    assert other.verify() == []  # it is what was written there
    here = {m.seq: m for m in store.session("s").messages()}
    there = {m.seq: m for m in other.session("s").messages()}
    assert there.keys() - here.keys() == {28}
    for seq in (5, 6, 7, 8, 30):
        assert there[seq].role == "damaged"
        assert there[seq].content == here[seq].content
    # And where it came from, it is still what is there.
    assert store.import_(tmp_path / "s.jsonl").written == 0


def test_a_damaged_title_does_not_hide_the_session(
    store: Store, other: Store, tmp_path: Path
) -> None:
    store.session("s").append(("user", "x"))
    with sqlite3.connect(tmp_path / "here.db") as db:
        db.execute("UPDATE onrecord_sessions SET about = x'00c1', archived = x'00c1'")
    db.close()
    content = exported(store)
    brought(other, content)
    assert exported(other) == content
    assert "can no longer be read" in (other.session("s").info().title or "")


# -- interrupted, and again ----------------------------------------------------------------------


def steps_of(flow: Flow[Any], store: Store, count: int | None = None) -> list[Step]:
    """Perform so many steps, or all, then drop the flow."""
    steps: list[Step] = []
    try:
        step = next(flow)
        while count is None or len(steps) < count:
            steps.append(step)
            try:
                answer = store._perform(step)
            except Exception as fault:  # the flow decides what it means
                step = flow.throw(fault)
            else:
                step = flow.send(answer)
    except StopIteration:
        pass
    finally:
        flow.close()
    return steps


def importing(store: Store, content: bytes) -> Flow[Import]:
    return operations.import_(store._desk, io.BytesIO(content), None)


def agrees_with_itself(store: Store, content: bytes) -> None:
    """What is there is a beginning of what comes, for those who read it meanwhile as well."""
    assert store.verify() == []
    whole = objects(content)
    for line in objects(exported(store)):
        if line["type"] in ("message", "deleted", "item"):
            assert line in whole


def test_an_import_that_ends_between_two_steps(pair: Pair) -> None:
    long(pair.here.session("long"), 40)
    pair.here.session("short", user="ada").append(("user", "x"))
    know(pair.here)
    content = exported(pair.here)
    steps = steps_of(importing(pair.there, content), pair.there)
    for count in range(len(steps) + 1):
        pair.there.erase(tenant=ANY, user=ANY, agent=ANY, thorough=False)
        session = pair.there.session("long")
        session.tail(3)  # a cache has it
        steps_of(importing(pair.there, content), pair.there, count)
        agrees_with_itself(pair.there, content)
        assert [m.seq for m in session.tail(50)] == [m.seq for m in session.messages()]
        brought(pair.there, content)
        assert exported(pair.there) == content
        assert [m.seq for m in session.tail(50)] == [m.seq for m in session.messages()]


def test_an_import_that_ends_after_any_of_its_statements(pair: Pair) -> None:
    long(pair.here.session("long"), 26)
    know(pair.here)
    content = exported(pair.here)
    for left in itertools.count():
        wire: list[int] = [left]

        def cut_off(step: Step, wire: list[int] = wire) -> Any:
            if not (isinstance(step, Cold) and step.writes):
                return pair.there._perform(step)
            work = step.work

            def until_then(txn: Transaction) -> Any:
                tripped = Tripwire(txn, wire[0])
                try:
                    return work(tripped)
                finally:
                    wire[0] = tripped.left

            return pair.there._ledger.write(until_then)

        try:
            run(importing(pair.there, content), cut_off)
        except Tripped:
            agrees_with_itself(pair.there, content)
        else:
            break
        if left % 5 == 4:
            pair.there.erase(tenant=ANY, user=ANY, agent=ANY, thorough=False)
    assert left > 10
    brought(pair.there, content)
    assert exported(pair.there) == content


def test_an_import_that_is_killed(store: Store, other: Store, tmp_path: Path) -> None:
    long(store.session("long"), 60)
    store.export(tmp_path / "all.jsonl.zst")
    content = exported(store)
    program = textwrap.dedent(
        """
        import os, signal, sys
        from onrecord import Store
        from onrecord.ledger.sessions import sealing
        from onrecord.flows.maintenance import reader

        sealing.SEGMENT, reader._MOST = 4, 10
        pieces, given = int(sys.argv[3]), reader.Reader.next

        def next_or_never(self):
            global pieces
            pieces -= 1
            if pieces == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return given(self)

        reader.Reader.next = next_or_never
        Store(sys.argv[1]).import_(sys.argv[2])
        """
    )
    for pieces in (3, 5):
        done = subprocess.run(
            [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'there.db'}",
             str(tmp_path / "all.jsonl.zst"), str(pieces)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == -9, done.stderr
        assert other.session("long").head() == 10 * (pieces - 1)
        agrees_with_itself(other, content)
    assert other.import_(tmp_path / "all.jsonl.zst").messages == 19  # one is deleted
    assert exported(other) == content


def test_an_import_whose_answer_is_lost(pair: Pair) -> None:
    know(pair.here)
    long(pair.here.session("long"), 26)
    content = exported(pair.here)
    for performed in (True, False):

        def lost(step: Step, performed: bool = performed) -> Any:
            if isinstance(step, Cold) and step.writes:
                if performed:
                    pair.there._perform(step)
                raise Unavailable("lost", outcome_unknown=True)
            return pair.there._perform(step)

        with pytest.raises(Unavailable, match="lost"):
            run(importing(pair.there, content), lost)
        agrees_with_itself(pair.there, content)
        brought(pair.there, content)
        assert exported(pair.there) == content
        pair.there.erase(tenant=ANY, user=ANY, agent=ANY, thorough=False)


def test_two_imports_at_once(pair: Pair) -> None:
    fill(pair.here)
    content = exported(pair.here)
    for seed in range(4):
        dice = random.Random(seed)
        flows = [importing(pair.there, content) for _ in range(2)]
        waiting: list[tuple[Flow[Import], Any]] = [(flow, None) for flow in flows]
        while waiting:
            flow, answer = waiting.pop(dice.randrange(len(waiting)))
            try:
                refused = isinstance(answer, Exception)
                step = flow.throw(answer) if refused else flow.send(answer)
            except StopIteration:
                continue
            try:
                waiting.append((flow, pair.there._perform(step)))
            except Exception as fault:  # the flow decides what it means
                waiting.append((flow, fault))
        assert exported(pair.there) == content
        assert pair.there.verify() == []
        pair.there.erase(tenant=ANY, user=ANY, agent=ANY, thorough=False)


@pytest.mark.parametrize("how", ["erase", "clear", "rewind"])
def test_a_session_that_is_taken_away_while_it_is_imported_stays_so(pair: Pair, how: str) -> None:
    long(pair.here.session("long"), 40)
    content = exported(pair.here)
    session = pair.there.session("long")

    def meddled(step: Step) -> Any:
        answer = pair.there._perform(step)
        if session.head() == 20:
            session.rewind(5) if how == "rewind" else getattr(session, how)()
        return answer

    (why,) = run(importing(pair.there, content), meddled).differing
    assert "'long' was rewritten here while it was imported" in why
    assert session.head() == (5 if how == "rewind" else 0)  # nothing was brought back (I7)
    assert brought(pair.there, content).written == 1
    assert said(session) == said(pair.here.session("long"))


def warm(session: Session) -> None:
    """Have its tail in the cache: an entry that is new is filled by its second reader."""
    for _ in range(3):
        session.tail(5)


def test_a_cache_is_told(pair: Pair) -> None:
    session = long(pair.here.session("long"), 40)
    copy = pair.there.session("long")
    for seq in (12, 40):
        copy.update(title="It is there")
        warm(copy)
        cut = session.fork(f"fork {seq}", seq)
        content = exported(cut).replace(f'"key":"fork {seq}"'.encode(), b'"key":"long"')
        brought(pair.there, content)
        assert copy.tail(1)[0].seq == seq


def test_who_reads_meanwhile_never_sees_less(pair: Pair) -> None:
    """Through the caches of both stores, after each step (I3)."""
    long(pair.here.session("long"), 40)
    content = exported(pair.here)
    session = pair.there.session("long")
    acknowledged = 0

    def watched(step: Step) -> Any:
        nonlocal acknowledged
        answer = pair.there._perform(step)
        if isinstance(step, Cold) and step.writes:
            acknowledged = session.head()
        assert (session.tail(1) or [Message("none", seq=0)])[-1].seq == acknowledged
        return answer

    run(importing(pair.there, content), watched)
    assert acknowledged == 40


# -- what is there already -----------------------------------------------------------------------


def test_a_session_that_has_grown_goes_on(pair: Pair) -> None:
    session = pair.here.session("s")
    copy = pair.there.session("s")
    for n in (3, 1, 0, 20, 2, 45):
        session.append([("user", f"{n}")] * n if n else ("user", "zero"))
        session.archive([session.head()])
        brought(pair.there, exported(pair.here))
        assert exported(pair.there) == exported(pair.here)
        assert copy.tail(3) == copy.messages()[-3:]
    assert pair.there.verify() == []
    assert copy.version().epoch == 0


def test_a_session_that_is_further_is_left_alone(store: Store, other: Store) -> None:
    long(store.session("s"))
    content = exported(store)
    brought(other, content)
    other.session("s").append(("user", "and on"))
    other.session("s").update(title="Renamed")
    before = exported(other)
    assert brought(other, content).written == 0
    assert exported(other) == before


CHANGES: dict[str, tuple[int, str, Callable[[Session], object]]] = {
    "edited": (5, "says something else", lambda s: s.edit(5, ("user", "changed"))),
    "edited early": (1, "says something else", lambda s: s.edit(1, ("system", "changed"))),
    "deleted": (12, "it was deleted here", lambda s: s.delete(12)),
    "another end": (
        29,
        "it is a deleted one in the file",
        lambda s: (s.rewind(28), s.append([("user", "other"), ("user", "others")])),
    ),
    "another id": (
        30,
        "its id is 'new' here, and None in the file",
        lambda s: (
            s.rewind(28),
            s.append(
                [("user", "x"), {"role": "assistant", "content": "29 zu dienen", "id": "new"}]
            ),
            s.delete(29),
        ),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_session_that_differs_is_left_and_named(pair: Pair, what: str) -> None:
    seq, why, change = CHANGES[what]
    pair.here.session("a first one").append(("user", "x"))
    long(pair.here.session("s", user="ada"))
    pair.here.session("z last", user="zoe").append(("user", "x"))
    content = exported(pair.here)
    session = pair.there.session("s", user="ada")
    brought(pair.there, exported(pair.here.session("s", user="ada")))
    change(session)
    if what == "another id":
        seq, why = 29, "another time"
    before = exported(session), session.version(), repr(session.tail(50))
    report = brought(pair.there, content)
    assert (report.sessions, report.written) == (3, 2)
    (differing,) = report.differing
    assert f"'s', user='ada' differs from 'BytesIO' at message {seq}: " in differing
    assert why in differing
    assert (exported(session), session.version(), repr(session.tail(50))) == before
    assert pair.there.session("a first one").count() == 1  # what came before and after it
    assert pair.there.session("z last", user="zoe").count() == 1


def test_another_id_or_time_is_a_difference(store: Store) -> None:
    store.session("s").append([{"role": "user", "content": "x", "id": "a", "created_at": AT}])
    content = exported(store)
    for old, new, why in (
        (b'"id":"a",', b"", "its id is 'a' here, and None in the file"),
        (b"05.678901Z", b"05.678902Z", "it is of another time"),
        (b'"x"', b'"y"', "it says something else"),
    ):
        (differing,) = brought(store, content.replace(old, new)).differing
        assert why in differing
    # Written in another way, it says the same.
    spaced = b"".join(json.dumps(line).encode() + b"\n" for line in objects(content))
    assert spaced != content
    assert brought(store, spaced).written == 0


def test_a_session_with_a_title_and_no_messages_is_filled(store: Store, other: Store) -> None:
    long(store.session("s"))
    other.session("s").update(title="Mine")
    brought(other, exported(store))
    assert other.session("s").info().title == "Mine"
    assert said(other.session("s")) == said(store.session("s"))


def test_what_was_erased_can_be_brought_back_on_purpose(pair: Pair) -> None:
    session = pair.here.session("s")
    session.append([("user", "x"), ("assistant", "y")])
    given = {m.id for m in session.messages()}
    content = exported(pair.here)
    session.erase()
    assert brought(pair.here, content).messages == 2
    assert exported(pair.here) == content
    # They are new messages: no id that was handed out stands for one of them.
    assert given.isdisjoint({m.id for m in session.messages()})


# -- files ---------------------------------------------------------------------------------------


def test_every_cut_is_noticed_and_changes_nothing(store: Store, other: Store) -> None:
    store.session("a").append([("user", "x"), ("assistant", "y")])
    store.session("b").append(("user", "x"))
    content = exported(store)
    for end in range(len(content) - 1):
        with pytest.raises((Damaged, Misconfigured), match="'BytesIO'"):
            brought(other, content[:end])
    squeezed = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    for end in range(len(squeezed) - 4):  # without its last four, the checksum, all is there
        with pytest.raises((Damaged, Misconfigured), match="'BytesIO'"):
            brought(other, squeezed[:end])
    assert other.sessions() == []
    assert brought(other, content[:-1]).sessions == 2  # an editor took the last newline
    assert exported(other) == content


class Pipe(io.RawIOBase):
    """A file without a way back, that gives and takes little at a time."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.threads: set[int] = set()

    def read(self, size: int = -1) -> bytes:
        self.threads.add(threading.get_ident())
        found, self.content = self.content[: min(size, 7)], self.content[min(size, 7) :]
        return found

    def write(self, data: Any) -> int:
        self.threads.add(threading.get_ident())
        self.content += bytes(data[:1000])
        return len(data[:1000])


def test_a_pipe_that_is_cut_off_is_noticed_at_its_end(store: Store, other: Store) -> None:
    store.session("a").append([("user", "x"), ("assistant", "y")])
    long(store.session("b"))
    content = exported(store)
    cuts = 0
    for end in range(len(lines.header()), len(content) - 1, 211):
        with pytest.raises((Damaged, Misconfigured), match="'Pipe'"):
            other.import_(Pipe(content[:end]))
        cuts += 1
        agrees_with_itself(other, content)
    assert cuts > 10
    assert other.session("b").head() > 0  # what came whole is there
    assert other.import_(Pipe(content)).messages > 0  # and it goes on from there
    assert exported(other) == content


@pytest.mark.parametrize("compressed", [True, False])
def test_files_that_are_open(store: Store, other: Store, tmp_path: Path, compressed: bool) -> None:
    fill(store)
    content = exported(store)
    if compressed:
        content = zstandard.ZstdCompressor().compress(content)
    file = io.BytesIO(b"before" + content)
    file.seek(6)
    assert other.import_(file).sessions == 3 + len(ODD)
    assert not file.closed
    assert other.import_(Pipe(content)).written == 0
    (tmp_path / "named anything").write_bytes(content)
    with open(tmp_path / "named anything", "rb", buffering=0) as raw:
        assert other.import_(raw).written == 0
        assert not raw.closed
    assert other.import_(str(tmp_path / "named anything")).written == 0
    pipe = Pipe()
    store.export(pipe)
    assert pipe.content == exported(store)
    assert not pipe.closed


NOT_EXPORTS: dict[str, bytes] = {
    "empty": b"",
    "text": b"Dear diary,\n",
    "json": b'{"messages": []}\n',
    "json lines": b'{"role": "user"}\n{"role": "assistant"}\n',
    "a list": b"[]\n",
    "binary": bytes(range(256)) * 50,
    "brackets": b"[" * 100_000,
    "a database": b"SQLite format 3\x00" + bytes(4000),
    "compressed text": zstandard.ZstdCompressor().compress(b"Dear diary,\n"),
}


@pytest.mark.parametrize("what", NOT_EXPORTS)
def test_what_is_no_export_is_refused_by_name(store: Store, tmp_path: Path, what: str) -> None:
    (tmp_path / "notes.txt").write_bytes(NOT_EXPORTS[what])
    with pytest.raises(Misconfigured, match=r"notes\.txt' is no file of export\(\)"):
        store.import_(tmp_path / "notes.txt")
    with pytest.raises(Misconfigured, match="is no file of export"):
        store.import_(Pipe(NOT_EXPORTS[what]))


def test_a_compressed_file_that_is_cut_off_says_so(store: Store, other: Store) -> None:
    long(store.session("s"))
    squeezed = zstandard.ZstdCompressor(write_checksum=True).compress(exported(store))
    for end in range(4, len(squeezed) - 4, 97):
        for cut in (io.BytesIO(squeezed[:end]), Pipe(squeezed[:end])):
            with pytest.raises(Damaged, match="was cut off"):
                other.import_(cut)


@pytest.mark.parametrize("after", [b"", lines.header()], ids=["at once", "after a first line"])
@pytest.mark.parametrize("line", [b"\n", b"1\n"], ids=["nothing", "one sign"])
def test_a_small_file_of_countless_lines_is_refused(
    store: Store, after: bytes, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 KB can hold a thousand million of them. Each that is looked at counts."""
    looked = 0
    read = Source.line

    def counted(source: Source) -> bytes | None:
        nonlocal looked
        looked += 1
        return read(source)

    monkeypatch.setattr(Source, "line", counted)
    squeezed = zstandard.ZstdCompressor().compress(after + line * 10_000_000)
    assert len(squeezed) < 65_536
    with pytest.raises((Damaged, Misconfigured)):
        brought(store, squeezed)
    with pytest.raises((Damaged, Misconfigured)):
        store.import_(Pipe(squeezed))  # without a look at its end
    assert looked <= 4
    assert store.sessions() == []


LONG = b"x" * 2**16


@pytest.mark.parametrize("file", [io.BytesIO, Pipe], ids=["a file", "a pipe"])
@pytest.mark.parametrize("squeeze", [bytes, zstandard.compress], ids=["plain", "compressed"])
@pytest.mark.parametrize("where", ["first", "between", "last"])
def test_a_line_longer_than_any_is_refused(
    store: Store,
    other: Store,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    squeeze: Callable[[bytes], bytes],
    file: Callable[[bytes], io.BytesIO | Pipe],
) -> None:
    """And is not read to its end: a small file may hold one that memory has no room for."""
    assert lines.LONGEST == 512 * 2**20
    monkeypatch.setattr(lines, "LONGEST", 2**12)
    monkeypatch.setattr(files, "_BLOCK", 2**10)
    store.session("s").append(("user", "y" * (2**12 - 300)))
    good = exported(store)
    assert other.import_(file(squeeze(good))).messages == 1
    other.session("s").erase()
    head, session, one, end = good.splitlines(keepends=True)
    given = {
        "first": LONG,
        "between": b"".join((head, session, one, LONG, b"\n", end)),
        "last": b"".join((head, session, one, LONG)),
    }[where]
    long = file(squeeze(given))
    with pytest.raises(Damaged, match="has a line of more than 4,096 bytes"):
        other.import_(long)
    if squeeze is bytes:
        left = len(long.content) if isinstance(long, Pipe) else len(given) - long.tell()
        assert left > len(LONG) - 2**13
    # What came before it in a pipe was imported when it came.
    assert bool(other.sessions()) is (file is Pipe and where != "first")


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize("levels", [101, 5_000, 100_000])
def test_what_is_nested_too_deep_inside_a_line_is_refused_where(
    store: Store, other: Store, levels: int
) -> None:
    store.session("s").append(Message("user", "x", metadata={"a": 1}, native={"a": 1}))
    store.session("s").update(metadata={"a": 1})
    store.items("n").put("k", {"a": 1})
    good = exported(store)
    kind: Any = (InvalidMessage, InvalidValue) if levels < 1_000 else Damaged
    why = "nested deeper than 100 levels" if levels < 1_000 else "it cannot be read"
    given = good.splitlines(keepends=True)
    held = [(n, at) for n, line in enumerate(given) for at in _places(line, b'{"a":1}')]
    assert [n for n, _ in held] == [1, 2, 2, 3]
    for n, at in held:
        deep = given[n][:at] + nested(levels) + given[n][at + len(b'{"a":1}') :]
        content = b"".join((*given[:n], deep, *given[n + 1 :]))
        for file in (io.BytesIO(content), io.BytesIO(zstandard.compress(content))):
            with pytest.raises(kind, match=rf"line {n + 1}: .*{why}"):
                other.import_(file)
        assert [info.key for info in other.sessions()] == ["s"] * (n == 3)
        assert other.find_items() == []


def _places(line: bytes, sought: bytes) -> list[int]:
    return [at for at in range(len(line)) if line.startswith(sought, at)]


def test_a_compressed_file_that_is_damaged(store: Store, tmp_path: Path) -> None:
    long(store.session("s"))
    path = tmp_path / "s.jsonl.zst"
    store.export(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    store.session("s").erase(thorough=False)
    with pytest.raises(Damaged, match=r"s\.jsonl\.zst'"):
        store.import_(path)
    assert store.sessions() == []


def refused(store: Store, content: bytes, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        brought(store, content)


def test_a_file_that_does_not_add_up_is_refused_where(store: Store, other: Store) -> None:
    store.session("s").append([("user", "x"), ("assistant", "y"), ("user", "z")])
    head, session, one, two, three, end = exported(store).splitlines(keepends=True)
    newer = head.replace(b'"version":1', b'"version":2')
    refused(other, newer + end, Misconfigured, "of version 2, .* Upgrade onrecord")
    for parts, match in (
        ((head, session, one, three, two, end), "line 4: message 2 of 's' should stand here"),
        ((head, session, one, two, end), "line 5: message 3 of 's' should stand here"),
        ((head, session, one, two, three, three, end), "line 6: it is message 3, and a session"),
        ((head, one, end), "line 2: it is message 1, and a session was to begin"),
        ((head, end), r"line 2: it counts \(1, 3, 0, 0\), and there were \(0, 0, 0, 0\)"),
        ((head, session, one, two, three, end, end), "line 6: something comes after it"),
        ((head, session, b"{}\n", end), "line 3: it has no 'type'"),
        ((head, session, b"\n", end), "line 3: it cannot be read"),
        ((head, head, end), "line 2: it cannot be read: 'header' is no type of line"),
        ((head, session.replace(b'"head":3', b'"head":3,"archived":[[2,9]]'), end), "archived"),
        ((head, session.replace(b'"head":3,', b""), end), "line 2: it has no 'head'"),
    ):
        refused(other, b"".join(parts), Damaged, match)
    bad = session.replace(b'"key":"s"', b'"key":""')
    refused(other, head + bad + end, InvalidName, "line 2: key is empty")
    bad = one.replace(b'"role":"user"', b'"role":5')
    refused(other, head + session + bad + end, InvalidMessage, "line 3: role")
    bad = one.replace(b'"seq":1', b'"seq":1,"id":"\\u0000"')
    refused(other, head + session + bad + end, InvalidName, "line 3: id")


@pytest.mark.parametrize("given", [None, 5, b"bytes.jsonl", io.StringIO(), ["a.jsonl"]])
def test_what_is_no_file_is_refused(store: Store, given: Any) -> None:
    with pytest.raises(Misconfigured, match="open for bytes"):
        store.export(given)
    with pytest.raises(Misconfigured, match="open for bytes"):
        store.import_(given)
    assert store._ledger.facts is None  # before anything was opened


def test_paths_that_cannot_be(store: Store, tmp_path: Path) -> None:
    for name in ("a.json", "a.zst", "a.jsonl.gz", "a"):
        with pytest.raises(Misconfigured, match=r"has to end in \.jsonl"):
            store.export(tmp_path / name)
    with pytest.raises(Misconfigured, match="No such file"):
        store.export(tmp_path / "nowhere" / "a.jsonl")
    with pytest.raises(Misconfigured, match=r"absent\.jsonl' cannot be read: No such file"):
        store.import_(tmp_path / "absent.jsonl")
    with pytest.raises(Misconfigured, match="Is a directory"):
        store.import_(tmp_path)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(Misconfigured, match="cannot be written"):
        store.export(tmp_path / "folder.jsonl")
    assert {p.name for p in tmp_path.iterdir() if "db" not in p.name} == {"folder.jsonl"}


class Full(io.RawIOBase):
    def write(self, data: Any) -> int:
        raise OSError(28, os.strerror(28))


def test_a_disk_that_is_full(store: Store) -> None:
    with pytest.raises(Unavailable, match="'Full' could not be written: No space left"):
        store.export(Full())


def test_a_path_never_holds_half_an_export(store: Store, tmp_path: Path) -> None:
    fill(store)
    target = tmp_path / "all.jsonl"
    target.write_text("what was there")
    sizes: list[int] = []

    def interrupted(told: Progress) -> None:
        parts = list(tmp_path.glob(".onrecord-*.part"))
        sizes.append(len(parts))
        if told.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.export(target, progress=interrupted)
    assert 1 in sizes
    assert target.read_text() == "what was there"
    assert list(tmp_path.glob(".onrecord-*")) == []
    link = tmp_path / "link.jsonl"
    link.symlink_to(target)
    store.export(link)
    assert link.is_symlink()
    assert target.read_bytes() == exported(store)
    assert list(tmp_path.glob(".onrecord-*")) == []


def test_a_file_that_is_there_is_kept_by_who_says_so(
    store: Store, tmp_path: Path, face: Face
) -> None:
    """Also one that came there while the export was being written."""
    fill(store)
    target = tmp_path / "out" / "all.jsonl"
    target.parent.mkdir()
    target.write_text("what was there")
    for handle in (store, store.session("long", user="ada")):
        with pytest.raises(Misconfigured, match=r"already, and is not .* another name, or write"):
            face(handle).export(target, overwrite=False)
    assert target.read_text() == "what was there"
    target.unlink()

    def meddling(told: Progress) -> None:
        target.write_text("somebody else's")

    with pytest.raises(Misconfigured, match=r"by somebody else meanwhile.* another name, or write"):
        face(store).export(target, overwrite=False, progress=meddling)
    assert target.read_text() == "somebody else's"
    face(store).export(target)
    assert target.read_bytes() == exported(store)
    target.unlink()
    face(store).export(target, overwrite=False)
    assert list(target.parent.iterdir()) == [target]


def test_who_writes_meanwhile_is_in_it_or_is_not(pair: Pair) -> None:
    """Each session is as it was at one moment, though it is read piece by piece."""
    session = long(pair.here.session("s"), 40)
    found = exported(session)

    class Meddling(io.BytesIO):
        meddled = False

        def write(self, data: Any) -> int:
            if not self.meddled:
                self.meddled = True
                session.append(("user", "late"))
                session.rewind(4)
                session.append([("user", "other")] * 9)
            return super().write(data)

    file = Meddling()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onrecord.files._BLOCK", 64)
        session.export(file)
    assert file.meddled
    assert file.getvalue() == found


def test_a_connection_that_is_lost_in_the_middle(postgres_url: str) -> None:
    """What was written of the session cannot be taken back out of a stream."""

    class Cutting(io.BytesIO):
        def write(self, data: Any) -> int:
            with psycopg.connect(postgres_url) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            return super().write(data)

    with Store(postgres_url) as store:
        long(store.session("s"), 60)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("onrecord.files._BLOCK", 512)
            with pytest.raises(Unavailable, match="export again"):
                store.export(Cutting())
        assert store.export(io.BytesIO()).sessions == 1


# -- async ---------------------------------------------------------------------------------------


def test_the_async_twins_leave_the_loop_alone(pair: Pair, tmp_path: Path) -> None:
    fill(pair.here)

    async def main() -> None:
        target = Pipe()
        done = await pair.here.aexport(target)
        source = Pipe(target.content)
        assert (await pair.there.aimport_(source)).messages == done.messages
        assert threading.get_ident() not in target.threads | source.threads
        assert target.threads
        assert source.threads
        session = pair.here.session("long", user="ada")
        await session.aexport(tmp_path / "long.jsonl")
        assert (tmp_path / "long.jsonl").read_bytes() == exported(session)

    asyncio.run(main())
    assert exported(pair.there) == exported(pair.here)


def test_an_async_export_that_is_cancelled_leaves_nothing(store: Store, tmp_path: Path) -> None:
    fill(store)

    async def main() -> None:
        began = asyncio.Event()
        task = asyncio.create_task(
            store.aexport(tmp_path / "all.jsonl", progress=lambda told: began.set())
        )
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert list(tmp_path.glob("*.jsonl")) == []
    assert list(tmp_path.glob(".onrecord-*")) == []


def test_an_async_import_that_is_cancelled_can_be_done_again(store: Store, other: Store) -> None:
    fill(store)
    content = exported(store)

    async def main() -> None:
        for sessions in (0, 1, 4):
            tasks: list[asyncio.Task[Import]] = []

            def stop(told: Progress, sessions: int = sessions, tasks: list[Any] = tasks) -> None:
                if told.done == sessions:
                    tasks[0].cancel()

            tasks.append(asyncio.create_task(other.aimport_(io.BytesIO(content), progress=stop)))
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
        await other.aimport_(io.BytesIO(content))

    asyncio.run(main())
    assert exported(other) == content


# -- items ---------------------------------------------------------------------------------------


def all_known(store: Store) -> dict[tuple[str, ...], list[Item]]:
    """The items of ada's, as they are read, without their versions."""
    return {
        parts: [msgspec.structs.replace(item, version=0) for item in found.list()]
        for parts in store.namespaces(user="ada")
        for found in [store.items(*parts, user="ada")]
    }


def test_items_come_as_they_were(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    know(pair.here)
    monkeypatch.setattr(reader, "_MOST", 100)  # of one piece the last written is the newest
    report = brought(pair.there, exported(pair.here))
    assert report == Import(sessions=0, written=0, messages=0, items=KNOWN)
    assert all_known(pair.there) == all_known(pair.here)
    here, there = (store.items("facts", "old", user="ada") for store in pair)
    rich = there.get("rich")
    assert rich is not None
    assert exactly(rich.value["half \ud83d"]) == exactly([2**70, -0.0, b"x"])
    newest = there.list(order="updated", limit=1)[0]
    assert newest.key == here.list(order="updated", limit=1)[0].key == "k03"
    assert there.put("k00", "new").version > newest.version
    assert pair.there.verify() == []


def test_items_stand_behind_the_sessions_in_the_order_of_their_names(pair: Pair) -> None:
    names = ["é", "z", "Z", "a", "ab", "a b", "🙂", "\uffff", "Ä", "_", "-"]
    for name in random.Random(5).sample(names, len(names)):
        pair.here.items(name).put_many({key: 1 for key in names})
        pair.here.items(name, "b").put("k", 1)
        pair.here.items("n", tenant=name).put("k", 1)
    pair.here.session("s").append(("user", "x"))
    found = objects(exported(pair.here))
    assert [line["type"] for line in found[:3]] == ["header", "session", "message"]
    places = [
        (line["tenant"], line["namespace"], line["key"]) for line in found if line["type"] == "item"
    ]
    assert places == sorted(places)
    assert len(places) == len(names) * (len(names) + 2)
    assert found[-1] == {"type": "end", "sessions": 1, "messages": 1, "deleted": 0, "items": 143}


def test_items_of_a_scope(store: Store, other: Store, tmp_path: Path) -> None:
    know(store)
    store.session("s", user="ada").append(("user", "x"))
    assert store.export(tmp_path / "a.jsonl", tenant="", user="ada", agent="").items == 15
    assert other.import_(tmp_path / "a.jsonl").items == 15
    assert all_known(other) == all_known(store)
    assert store.session("s", user="ada").export(tmp_path / "s.jsonl").items == 0


def test_importing_items_twice_changes_nothing(pair: Pair) -> None:
    know(pair.here)
    content = exported(pair.here)
    for store in pair:
        brought(store, content)
        found = store.items("facts", "old", user="ada")
        before = found.list()
        assert brought(store, content) == Import(sessions=0, written=0, messages=0)
        assert found.list() == before
        assert found.put("k00", {}).version > max(item.version for item in before)


def test_an_item_that_differs_is_left_and_named(pair: Pair) -> None:
    know(pair.here)
    content = exported(pair.here)
    facts = pair.there.items("facts", "old", user="ada")
    kept = facts.put("k01", "something else")
    of_another = facts.put("rich", pair.here.items("facts", "old", user="ada").get("rich").value)  # type: ignore[union-attr]
    report = brought(pair.there, content)
    assert report.items == KNOWN - 2
    assert [line.split(" differs")[0] for line in report.differing] == [
        f"Item {key!r} in 'facts'/'old' of user='ada'" for key in ("k01", "rich")
    ]
    assert (facts.get("k01"), facts.get("rich")) == (kept, of_another)
    facts.delete("k01")
    assert brought(pair.there, content).items == 1


def test_who_puts_while_items_are_imported_is_not_written_over(pair: Pair) -> None:
    """Between any two of its steps, also where none of them was there when it looked."""
    know(pair.here)
    content = exported(pair.here)
    steps = len(steps_of(importing(pair.there, content), pair.there))
    facts = pair.there.items("facts", "old", user="ada")
    written = set()
    for count in range(steps):
        pair.there.erase(user=ANY, tenant=ANY, agent=ANY, thorough=False)
        flow = importing(pair.there, content)
        answer: Any = None
        with contextlib.suppress(StopIteration):
            for done in itertools.count():
                step = flow.send(answer)
                if done == count and facts.get("k02") is None:
                    facts.put("k02", "mine")
                    written.add(count)
                answer = pair.there._perform(step)
        found = facts.get("k02")
        assert found is not None
        assert (found.value == "mine") == (count in written)
        assert facts.count() == 14
    assert len(written) > 2


def test_items_that_have_expired_stay_where_they_were(pair: Pair) -> None:
    facts = pair.here.items("facts")
    facts.put_many({"a": 1, "b": 2}, ttl=timedelta(days=1))
    found = exported(pair.here)
    old = found.replace(b'"expires_at":"20', b'"expires_at":"19')
    assert brought(pair.there, old) == Import(sessions=0, written=0, messages=0)
    assert pair.there.namespaces() == []
    assert brought(pair.there, found).items == 2
    assert pair.there.prune(dry_run=True).items == 0
    for store in pair:
        store._ledger.write(lambda txn: txn.run("UPDATE {items} SET expires_at = 5"))
        assert b'"item"' not in exported(store)
    assert brought(pair.there, found).items == 2  # over the rows of those that had expired
    assert facts.count() == 0
    assert pair.there.items("facts").count() == 2


def test_damaged_items_travel_with_their_bytes(store: Store, other: Store) -> None:
    know(store)
    store._ledger.write(
        lambda txn: txn.run("UPDATE {items} SET body = :body WHERE key = 'k05'", {"body": b"\1\5"})
    )
    file = io.BytesIO()
    assert store.export(file).damaged == 1
    content = file.getvalue()
    (line,) = [line for line in objects(content) if "damaged" in line]
    assert line["damaged"] == {"$bytes": "AQU="}
    report = brought(other, content)
    assert report.items == KNOWN - 1
    assert len(report.differing) == 1
    assert "'k05'" in report.differing[0]
    assert "could not be read" in report.differing[0]
    assert other.verify() == []
    assert brought(store, content) == Import(sessions=0, written=0, messages=0)


def test_a_key_that_stands_twice_is_a_difference(store: Store) -> None:
    name = NamespaceName(parts=("facts",))
    said = [lines.Item(name, "k", n, None, None, 5, 5) for n in (1, 1, 2)]
    content = b"".join([lines.header(), *map(lines.line_of, said), lines.line_of(End(0, 0, 0, 3))])
    report = brought(store, content)
    assert (report.items, len(report.differing)) == (1, 1)
    (item,) = store.items("facts").list()
    assert item.value == 1


def test_a_file_without_items_is_as_it_was(store: Store) -> None:
    store.session("s").append(("user", "x"))
    store.items("facts").put("k", 1)
    store.items("facts").clear()
    assert objects(exported(store))[-1] == {
        "type": "end", "sessions": 1, "messages": 1, "deleted": 0,
    }  # fmt: skip


def test_files_of_items_that_do_not_add_up(store: Store, other: Store) -> None:
    store.items("facts").put("k", "v", ttl=timedelta(days=1))
    store.session("s").append([("user", "x"), ("user", "y")])
    head, session, one, two, item, end = exported(store).splitlines(keepends=True)
    for parts, kind, match in (
        ((head, session, one, item, two, end), Damaged, "line 4: message 2 of 's' should stand"),
        ((head, session, one, two, end), Damaged, r"it counts \(1, 2, 0, 1\)"),
        ((head, item.replace(b'"value"', b'"worth"'), end), Damaged, "line 2: it has no 'value'"),
        ((head, item.replace(b'"ttl"', b'"ttk"'), end), Damaged, "without the other"),
        ((head, item.replace(b'["facts"]', b'"facts"'), end), Damaged, "line 2: it cannot be read"),
        ((head, item.replace(b'["facts"]', b"[]"), end), InvalidName, "line 2: A namespace has 1"),
        ((head, item.replace(b'["facts"]', b"[5]"), end), InvalidName, "line 2: a part of a name"),
        ((head, item.replace(b'"key":"k"', b'"key":5'), end), InvalidName, "line 2: key has to be"),
        ((head, item.replace(b'"v"', b'"v","token":"\\u0000"'), end), InvalidName, "2: token"),
        ((head, item.replace(b'"v"', b'"%s"' % (b"v" * 2**20)), end), InvalidValue, "2: value of"),
    ):  # fmt: skip
        refused(other, b"".join(parts), kind, match)
        assert other.namespaces() == []
    brought(other, head + session + one + two + item + end)
    assert exported(other) == exported(store)


def test_what_came_before_a_cut_was_imported(store: Store, other: Store) -> None:
    know(store)
    content = exported(store)
    whole = content.splitlines(keepends=True)
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:
        pipe.write(b"".join(whole[:6]))
    with open(reading, "rb") as cut_off, pytest.raises(Damaged, match="came before was imported"):
        other.import_(cut_off)
    assert exported(other).splitlines(keepends=True)[:-1] == whole[:6]
    brought(other, content)
    assert exported(other) == content


# -- memory --------------------------------------------------------------------------------------


def conversation(count: int) -> Iterator[bytes]:
    yield lines.header()
    yield lines.line_of(lines.Session(SessionName(key="k"), count, 0, 0, usage=Usage()))
    for n in range(1, count + 1):
        message = Message("user", f"{n} " + "what was said " * 20)
        yield lines.line_of(Place(n, message, None, n, 70, "letters", True))
    yield lines.line_of(End(1, count, 0))


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_a_session(
    open_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.files._BLOCK", 2**14)
    peaks: list[dict[str, int]] = []
    for count in (300, 300, 3_000):  # the first one also loads what is loaded once
        store = open_store("sqlite", f"memory {len(peaks)}")
        path = tmp_path / f"{count}.jsonl"
        with open(path, "wb") as file:
            file.writelines(conversation(count))
        peaks.append(
            {
                "import": peak(partial(store.import_, path)),
                "again": peak(partial(store.import_, path)),
                "export": peak(partial(store.export, tmp_path / "again.jsonl")),
                "fork": peak(partial(store.session("k").fork, "fork")),
            }
        )
        assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()
    for what, small_one in peaks[1].items():
        # How much garbage there is when it is looked at differs by that much.
        assert peaks[2][what] < small_one + 300_000 < path.stat().st_size / 2, (what, peaks)


def test_memory_does_not_grow_with_a_namespace(
    open_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.files._BLOCK", 2**14)
    name = NamespaceName(parts=("facts",))
    peaks: list[dict[str, int]] = []
    for count in (300, 300, 3_000):  # the first one also loads what is loaded once
        store = open_store("sqlite", f"memory {len(peaks)}")
        path = tmp_path / f"{count}.jsonl"
        with open(path, "wb") as file:
            file.write(lines.header())
            for n in range(count):
                value = [f"{n} {word}" for word in ("what was known",) * 20]
                file.write(lines.line_of(lines.Item(name, f"{n:05}", value, None, None, n, n)))
            file.write(lines.line_of(End(0, 0, 0, count)))
        peaks.append(
            {
                "import": peak(partial(store.import_, path)),
                "again": peak(partial(store.import_, path)),
                "export": peak(partial(store.export, tmp_path / "again.jsonl")),
                "verify": peak(store.verify),
                "erase": peak(partial(store.erase, user=ANY, agent=ANY, thorough=False)),
            }
        )
        assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()
    for what, small_one in peaks[1].items():
        # An erasure keeps a digest of each, 280,000 bytes; and other threads have theirs.
        assert peaks[2][what] < small_one + 400_000 < path.stat().st_size / 2, (what, peaks)
