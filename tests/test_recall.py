"""Recall: whole turns that answer, in the order they were said, and nothing where nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onrecord import ANY, Message, Misconfigured, Recalled, Session, Store, ToolCall, ToolResult

FIRST = datetime(2026, 1, 1, 9, tzinfo=UTC)
TURNS = [
    [("user", "My order A-1017 is late, and I leave for Lisbon on Friday."),
     ("assistant", "Parcels to the harbour wait for the storm to pass.")],
    [("user", "Can I have my money back for the ferry ticket?"),
     ("assistant", "Yes: I have refunded 42 euros to your card.")],
    [("user", "Which restaurant did your colleague praise?"),
     ("assistant", "The Blue Heron, near the old mill.")],
]  # fmt: skip
CHAT = [[("user", f"How do I boil noodles, part {n}?"), ("assistant", f"Step {n}: stir the pot.")]
        for n in range(20)]  # fmt: skip


@pytest.fixture
def store(each_store: Callable[..., Store]) -> Store:
    return each_store()


def said(session: Session, turns: list[list[tuple[str, str]]], day: int = 0) -> Session:
    at = FIRST + timedelta(days=day)
    for number, turn in enumerate(turns):
        session.append(
            [
                Message(role, text, created_at=at + timedelta(minutes=2 * number + n))
                for n, (role, text) in enumerate(turn)
            ]
        )
    return session


def seqs(recalled: Recalled) -> list[list[int | None]]:
    return [[message.seq for message in passage.messages] for passage in recalled]


def test_a_whole_turn_comes_back(store: Store) -> None:
    session = said(store.session("support", user="ada"), TURNS + CHAT)
    recalled = session.recall("refund for the ferry", beyond=session.window(turns=3))
    assert {3, 4} <= {message.seq for message in recalled.messages}
    assert len(recalled.messages) <= 6
    assert recalled.complete
    assert 'Said on 2026-01-01 in "support":' in recalled.text
    assert "assistant: Yes: I have refunded 42 euros to your card." in str(recalled)
    assert recalled.messages == [m for passage in recalled for m in passage.messages]
    assert asyncio.run(session.arecall("refund for the ferry")) == session.recall(
        "refund for the ferry"
    )
    assert asyncio.run(store.arecall("refund", user="ada")) == store.recall("refund", user="ada")


def test_nothing_comes_where_nothing_answers(store: Store) -> None:
    session = said(store.session("support", user="ada"), TURNS + CHAT)
    nothing = session.recall("What is the boiling point of tungsten hexafluoride?")
    assert (len(nothing), nothing.tokens, nothing.text, nothing.messages) == (0, 0, "", [])
    assert not nothing
    assert not store.recall("ferry", user="bob")
    assert not session.recall("the of and")
    assert "Nothing relevant" in nothing._repr_html_()


def test_what_the_window_has_is_left_out(store: Store) -> None:
    session = said(store.session("support", user="ada"), TURNS)
    assert not session.recall("ferry ticket refund", beyond=session.window(messages=6))
    assert not session.recall("ferry ticket refund", beyond=session.messages())
    known = session.messages()[:4]
    for query in ("ferry ticket refund", "order Lisbon storm"):
        recalled = session.recall(query, beyond=known, min_score=0)
        assert not {message.id for message in recalled.messages} & {m.id for m in known}


def test_a_question_that_is_stored_by_now_is_not_its_own_answer(store: Store) -> None:
    session = said(store.session("support", user="ada"), TURNS + CHAT)
    asked = "Before I book the hotel in Rome: what became of my refund for the ferry?"
    session.append(("user", asked))
    own, next_best = session.search(asked, limit=2)
    assert own.message.text == asked
    assert next_best.score < 0.9 * own.score
    recalled = session.recall(asked, beyond=session.window(turns=3), min_score=0)
    assert {3, 4} <= {message.seq for message in recalled.messages}


@pytest.mark.parametrize(
    "asked",
    [
        'Where did it say "refund to the moon" for the ferry ticket?',
        "The refund for the ferry ticket:\n-ticket\n-card",
        "“refund” -ticket for the ferry",
        '"-refund" for the ferry ticket',
    ],
)
def test_what_somebody_said_has_no_operators(store: Store, asked: str) -> None:
    session = said(store.session("support", user="ada"), TURNS + CHAT)
    recalled = session.recall(asked, min_score=0)
    assert {3, 4} <= {message.seq for message in recalled.messages}


def test_a_question_that_is_stored_does_not_answer_itself(store: Store) -> None:
    """Nor does it make anything else look relevant: it has every word of itself."""
    session = said(store.session("support", user="ada"), TURNS + CHAT)
    asked = "Which ferry did the quantum physicists of Reykjavik refund?"
    before = session.recall(asked, beyond=session.window(turns=2))
    for given in (None, "an id of one's own"):
        session.append(Message("user", asked, id=given))
        window = session.window(turns=3)
        assert window[-1].text == asked
        assert session.recall(asked, beyond=window) == before or len(before.messages) > 0
        nothing = "Where do quantum physicists of Reykjavik assemble?"
        session.edit(window[-1].seq or 0, Message("user", nothing))
        assert not session.recall(nothing, beyond=session.window(turns=3))
        assert session.recall("refund for the ferry ticket", beyond=session.window(turns=3))
        session.rewind(session.version().head - 1)
    session.append(("user", "Where do quantum physicists of Reykjavik assemble?"))
    query = session.messages()[-1].text
    assert not store.recall(query, user="ada", beyond=session.window(turns=2))


def test_in_the_order_it_was_said_and_neighbours_together(store: Store) -> None:
    session = said(store.session("support", user="ada"), TURNS + CHAT)
    recalled = session.recall("ferry ticket refund, order A-1017 late Lisbon", min_score=0.1)
    assert seqs(recalled)[0][:4] == [1, 2, 3, 4], "two turns, one passage"
    firsts = [passage.messages[0].seq or 0 for passage in recalled]
    assert firsts == sorted(firsts)


def test_across_the_sessions_of_a_user(store: Store) -> None:
    said(store.session("later", user="ada"), [TURNS[1]], day=9)
    said(store.session("early", user="ada"), [TURNS[1]], day=1)
    said(store.session("other", user="bob"), [TURNS[1]], day=5)
    for n in range(3):
        said(store.session(f"chat {n}", user="ada"), CHAT[:5], day=20 + n)
    recalled = store.recall("refund for the ferry ticket", user="ada")
    assert [passage.info.key for passage in recalled][:2] == ["early", "later"]
    assert {passage.info.user for passage in recalled} == {"ada"}
    everybody = store.recall("refund ferry ticket", tenant=ANY, user=ANY, agent=ANY)
    assert {p.info.user for p in everybody} == {"ada", "bob"}


def test_calls_stay_with_their_results(store: Store) -> None:
    session = store.session("agent", user="ada")
    session.append(
        [
            ("user", "How is the weather in Reykjavik?"),
            Message("assistant", [ToolCall("weather_at", '{"city": "Reykjavik"}', "c1")]),
            Message("tool", [ToolResult("c1", "drizzle and fog")], tool_call_id="c1"),
            ("assistant", "Wet."),
        ]
    )
    said(session, CHAT)
    recalled = session.recall("drizzle and fog", beyond=session.window(turns=2))
    assert seqs(recalled)[0][:4] == [1, 2, 3, 4]
    assert "weather_at" in recalled.text


def test_a_long_turn_comes_back_whole(store: Store) -> None:
    session = said(store.session("agent", user="ada"), CHAT[:3])
    working = [("assistant", f"Looking at shelf {n}.") for n in range(30)]
    session.append([("user", "Look for the atlas."), *working, ("assistant", "It is not there.")])
    session.edit(22, ("assistant", "Behind it stands a dictionary of Basque."))
    session.delete(24)
    session.delete(25)
    said(session, CHAT[3:])
    [passage] = session.recall("dictionary of Basque", tokens=5_000, min_score=0.5)
    seqs_of = [message.seq for message in passage.messages if 7 <= (message.seq or 0) <= 38]
    assert seqs_of == [seq for seq in range(7, 39) if seq not in (24, 25)]
    assert len(passage.messages) < 60


def test_never_more_than_fits(store: Store) -> None:
    session = said(store.session("support", user="ada"), TURNS * 5 + CHAT)
    whole = session.recall("ferry ticket refund order Lisbon", tokens=10_000, min_score=0)
    for tokens in (0, 5, 40, 60, 100, 200):
        recalled = session.recall("ferry ticket refund order Lisbon", tokens=tokens, min_score=0)
        assert recalled.tokens <= tokens
        assert {m.seq for m in recalled.messages} <= {m.seq for m in whole.messages}
        turns = {((m.seq or 0) - 1) // 2 for m in recalled.messages}
        assert len(recalled.messages) == 2 * len(turns), "whole turns"
    assert session.recall("ferry", tokens=60)


@pytest.mark.parametrize("how", ["delete", "rewind", "clear", "erase", "edit"])
def test_what_is_gone_is_not_recalled(store: Store, how: str) -> None:
    session = said(store.session("support", user="ada"), TURNS + CHAT)
    session.search("refund")
    match how:
        case "delete":
            session.delete(3)
            session.delete(4)
        case "rewind":
            session.rewind(2)
        case "clear":
            session.clear()
        case "erase":
            session.erase()
        case "edit":
            session.edit(3, ("user", "Nothing."))
            session.edit(4, ("assistant", "Nothing."))
    assert "ferry" not in session.recall("refund for the ferry ticket", min_score=0).text


@pytest.mark.parametrize(
    "wrong", [{"tokens": -1}, {"tokens": "x"}, {"beyond": 3}, {"beyond": ["x"]}, {"query": 3},
              {"min_score": 7}, {"within": 0}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(store: Store, wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        store.session("s").recall(**{"query": "x", **wrong})


def test_how_it_looks(store: Store) -> None:
    session = said(store.session("support <b>", user="ada"), TURNS)
    recalled = session.recall("refund for the ferry ticket")
    assert "'support <b>' #" in repr(recalled)
    assert "support &lt;b&gt;" in recalled._repr_html_()
    assert "42 euros" in recalled._repr_html_()
