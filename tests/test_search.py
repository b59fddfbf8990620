"""Search: what was said is found, on both databases alike, and nobody else's words count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from onrecord import ANY, Hit, Hits, Message, Misconfigured, Session, Store, Unavailable
from onrecord.flow import Cold
from onrecord.flows.search import search as flow
from onrecord.ledger.database.transaction import Transaction

OpenStore = Callable[..., Store]
FIRST = datetime(2026, 1, 1, 9, tzinfo=UTC)
TALK = [
    ("user", "My order A-1017 has not arrived, and I leave for Lisbon on Friday."),
    ("assistant", "I am sorry. Parcels to the harbour are late because of the storm."),
    ("user", "Can I have a refund for the ferry ticket instead?"),
    ("assistant", "Yes: I have refunded 42 euros to your card."),
    ("user", "Thanks! What about the dog's ticket?"),
]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def talk(session: Session, said: list[tuple[str, str]] = TALK) -> Session:
    session.append(
        [
            Message(role, text, created_at=FIRST + timedelta(minutes=n))
            for n, (role, text) in enumerate(said)
        ]
    )
    return session


def texts(hits: list[Hit]) -> list[str]:
    return [hit.message.text for hit in hits]


def places(hits: list[Hit]) -> list[tuple[str, int | None]]:
    return [(hit.info.key, hit.message.seq) for hit in hits]


def test_what_was_said_is_found(store: Store) -> None:
    session = talk(store.session("support", user="ada"))
    hits = store.search("refund of the ferry", user="ada")
    assert hits.complete
    assert sorted(hit.message.seq or 0 for hit in hits[:2]) == [3, 4], "the question, its answer"
    (best,) = [hit for hit in hits if hit.message.seq == 3]
    assert best.message == session.messages()[2]
    assert best.info == session.info()
    assert best.session.name == session.name
    assert 0 < best.score <= 1
    assert [m.seq for m in best.around(1)] == [2, 3, 4]
    assert asyncio.run(best.aaround(1)) == best.around(1)
    assert texts(session.search("A-1017"))[0] == TALK[0][1]
    assert [hit.score for hit in hits] == sorted([hit.score for hit in hits], reverse=True)


def test_async_says_the_same(store: Store) -> None:
    session = talk(store.session("support", user="ada"))

    async def ask() -> tuple[Hits, Hits]:
        return await store.asearch("ferry", user="ada"), await session.asearch("ferry")

    there, here = asyncio.run(ask())
    assert there == store.search("ferry", user="ada") == here == session.search("ferry")


def test_at_once_and_with_an_index_the_same(store: Store) -> None:
    """What was acknowledged is found, indexed or not; and what was indexed is whole."""
    for n in range(30):
        talk(store.session(f"s{n}", user="ada"))
    before = store.search("refund", user="ada", limit=100)
    assert store.stats().unindexed == 0, "so much is indexed by who searches"
    report = store.index()
    assert (report.sessions, report.places) == (0, 0)
    assert store.search("refund", user="ada", limit=100) == before
    assert len(before) > 30
    store.session("s7", user="ada").append(("user", "a second refund"))
    assert ("s7", 6) in places(store.search("second refund", user="ada"))
    assert store.stats().unindexed == 6 - 5
    told: list[tuple[int, int]] = []
    assert store.index(progress=told.append).sessions == 1
    assert told[-1] == (1, 1)
    assert asyncio.run(store.aindex(user="ada", again=True)).sessions == 30
    assert store.verify() == []


def test_pages_follow_each_other(store: Store) -> None:
    for n in range(25):
        talk(store.session(f"s{n}", user="ada"))
    whole = store.search("refund ticket", user="ada", limit=1_000)
    assert len(whole) > 60
    found: list[Hit] = []
    last: Hit | None = None
    while page := store.search("refund ticket", user="ada", limit=7, after=last):
        found += page
        last = page[-1]
    assert found == whole


@pytest.mark.parametrize(
    "how", ["edit", "delete", "rewind", "clear", "erase", "replace", "archived"]
)
@pytest.mark.parametrize("indexed", [True, False])
def test_what_is_gone_is_not_found(store: Store, how: str, indexed: bool) -> None:
    session = talk(store.session("support", user="ada"))
    session.append([("user", f"filling number {n}") for n in range(40)])
    if indexed:
        store.index()
    assert store.search("storm harbour", user="ada", min_score=0.1)
    match how:
        case "edit":
            session.edit(2, ("assistant", "Something else."))
        case "delete":
            session.delete(2)
        case "rewind":
            session.rewind(1)
        case "clear":
            session.clear()
        case "erase":
            session.erase()
        case "replace":
            session.replace([("user", "new")], after=1)
        case "archived":
            session.archive([2])
            session.replace([("user", "new")], archived=True)
    assert store.search("storm harbour", user="ada") == []
    assert store.verify() == []


def test_what_is_archived_is_found(store: Store) -> None:
    session = talk(store.session("support", user="ada"))
    session.archive([2])
    assert places(store.search("storm", user="ada"))[0] == ("support", 2)


def test_nobody_elses_words_count(store: Store) -> None:
    """Neither are they found, nor do they make a word common (I6)."""
    talk(store.session("support", user="ada"))
    before = store.search("refund ferry storm", user="ada")
    for user in ("bob", "ad", "ada2"):
        for n in range(20):
            talk(store.session(f"{n}", user=user), [("user", "refund ferry storm " * 3)] * 20)
    talk(store.session("support", user="ada", agent="other"))
    talk(store.session("support", user="ada", tenant="other"))
    assert store.search("refund ferry storm", user="ada") == before
    store.index()
    assert store.search("refund ferry storm", user="ada") == before
    everybody = store.search("refund ferry storm", tenant=ANY, user=ANY, agent=ANY, limit=10_000)
    assert {hit.info.user for hit in everybody} == {"ada", "bob", "ad", "ada2"}
    assert store.search("refund") == []


@pytest.mark.parametrize("name", ["a-b", 'a"b', "a'b", "a%b", "a_b", "a:b", "a*b", "ünï", "a\\b"])
def test_names_are_only_names(store: Store, name: str) -> None:
    talk(store.session(name, user=name, agent=name))
    talk(store.session("a b", user="a b", agent="a b"))
    assert {h.info.key for h in store.search("refund", user=name, agent=name)} == {name}


@pytest.mark.parametrize(
    "query",
    ['"', '""', "-", "--", '"unfinished', "a OR b", "NEAR(a b)", "x* ^y", "%", "_", ":", "';--",
     "(", "\x00", "\ud800", "the of and", "", "   ", "?" * 5_000, "word " * 20_000],
)  # fmt: skip
def test_queries_are_only_data(store: Store, query: str) -> None:
    talk(store.session("support", user="ada"))
    assert store.search(query, user="ada").complete


def test_phrases_and_words_that_must_not_be_there(store: Store) -> None:
    session = talk(store.session("support", user="ada"))
    assert [hit.message.seq for hit in session.search('"ferry ticket"')] == [3]
    assert "ferry" in " ".join(texts(session.search("ticket")))
    assert "ferry" not in " ".join(texts(session.search("ticket -ferry")))
    assert session.search('"ticket ferry"') == []


def test_what_is_asked_for_alone(store: Store) -> None:
    session = talk(store.session("support", user="ada"))
    session.update(metadata={"kind": "order"})
    talk(store.session("other", user="ada"))
    assert {h.message.role for h in session.search("ticket refund", roles=["assistant"])} == {
        "assistant"
    }
    noon = FIRST + timedelta(minutes=3)
    assert {hit.message.seq for hit in session.search("ticket", since=noon)} == {4, 5}
    assert {hit.message.seq for hit in session.search("ticket", until=noon)} == {2, 3}
    found = store.search("ticket", user="ada", metadata={"kind": "order"})
    assert {hit.info.key for hit in found} == {"support"}
    assert store.search("ticket", user="ada", limit=0) == []
    assert session.search("ticket", min_score=1.0) == []


def test_calls_and_results_are_found(store: Store) -> None:
    from onrecord import ToolCall, ToolResult

    session = store.session("agent", user="ada")
    session.append(
        [
            ("user", "How is it there?"),
            Message("assistant", [ToolCall("weather_at", '{"city": "Reykjavik"}')]),
            Message("tool", [ToolResult("call_1", "drizzle and fog")], tool_call_id="call_1"),
        ]
    )
    assert places(session.search("weather_at"))[0] == ("agent", 2)
    assert places(session.search("reykjavik"))[0] == ("agent", 2)
    assert places(session.search("drizzle"))[0] == ("agent", 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"query": 7}, {"query": None}, {"limit": -1}, {"limit": "x"}, {"roles": "user"},
        {"since": "2026"}, {"since": datetime(2026, 1, 1)}, {"min_score": 2}, {"min_score": "x"},
        {"after": "s"}, {"within": 0}, {"metadata": 3}, {"query": "x" * 200_000},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(store: Store, wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        store.search(**{"query": "x", **wrong})


def test_both_databases_say_the_same(
    tmp_path: Path, kept_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same hits with the same scores in the same order, ties too."""
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 5)
    found = []
    for url in (f"sqlite:///{tmp_path}/x.db", kept_postgres_url):
        with Store(url) as store:
            if url == kept_postgres_url:
                store.session("nobody").append(("user", "so that numbers differ"))
            for n in (3, 1, 2):
                for _ in range(n):
                    talk(store.session(f"s{n}", user="ada"))
            hits = store.search("refund ticket A-1017", user="ada", limit=100)
            found.append(
                [(*place, hit.score) for place, hit in zip(places(hits), hits, strict=True)]
            )
    assert found[0] == found[1]
    assert len(found[0]) > 15


def test_who_has_no_time_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        talk(store.session(f"s{n}", user="ada"))
    clock = iter([0.0, *[10.0] * 100])
    monkeypatch.setattr(flow, "MOST_UNINDEXED", 0)
    monkeypatch.setattr("onrecord.flows.search.search.time.monotonic", lambda: next(clock))
    hits = store.search("refund", user="ada", within=1)
    assert not hits.complete
    assert hits == []


def test_what_cannot_be_written_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A standby, or a disk that is full: it takes longer, and finds the same."""
    talk(store.session("support", user="ada"))
    monkeypatch.setattr(flow, "MOST_UNINDEXED", 0)

    def refused(txn: Any, batch: Any) -> None:
        raise Unavailable("this database can only be read")

    monkeypatch.setattr("onrecord.flows.search.catching_up._write", refused)
    hits = store.search("storm", user="ada")
    assert hits.complete
    assert places(hits)[0] == ("support", 2)
    assert "can only be read" in caplog.text


def test_a_damaged_message_costs_nobody_else(store: Store) -> None:
    session = talk(store.session("support", user="ada"))
    broken = "UPDATE {tail} SET frame = :frame WHERE seq = 2"
    store._perform(Cold(lambda txn: txn.run(broken, {"frame": b"\x00broken"}), writes=True))
    assert {3, 4, 5} <= {hit.message.seq for hit in session.search("refund ferry storm")}


def test_a_damaged_index_is_named_and_made_anew(store: Store) -> None:
    talk(store.session("support", user="ada"))
    store.index()
    for change in ("terms = :terms", "upto = 99", "upto = 0"):
        broken = f"UPDATE {{runs}} SET {change}"
        work = partial(Transaction.run, statement=broken, values={"terms": b"\1\2"})
        store._perform(Cold(work, writes=True))
        (problem,) = store.verify()
        assert (problem.first, problem.last) == (1, 16)
        assert "index(again=True)" in problem.what
        store.index(again=True)
        assert store.verify() == []
        assert places(store.search("storm", user="ada"))[0] == ("support", 2)


def test_a_late_indexer_does_not_write_what_was_rewritten(
    kept_postgres_url: str,
) -> None:
    """On PostgreSQL one who has looked at the epoch waits for nobody, and who rewrites waits."""
    with Store(kept_postgres_url, timeout=0.3) as store:
        session = talk(store.session("support", user="ada"))
        with psycopg.connect(kept_postgres_url) as indexer:
            indexer.execute("SELECT epoch FROM onrecord_sessions FOR KEY SHARE")
            session.append(("user", "an append waits for no indexer"))
            with pytest.raises(Unavailable):
                session.delete(1)
        session.delete(1)


def test_how_hits_look(store: Store) -> None:
    talk(store.session("support <b>", user="ada"))
    shown = store.search("refund ticket", user="ada")
    assert "#3, user: 'Can I have a refund for the ferry ticket instead?'" in repr(shown)
    page = shown._repr_html_()
    assert "support &lt;b&gt;" in page
    assert "Can I have a refund" in page
    assert "no time" in Hits(shown, complete=False)._repr_html_()
    assert "Nothing was found" in Hits()._repr_html_()
