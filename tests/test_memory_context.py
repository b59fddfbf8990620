"""A session as text for a prompt: who said what, within limits, nobody in another's name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord import (
    Citation,
    File,
    Image,
    Message,
    Misconfigured,
    Opaque,
    Reasoning,
    Refusal,
    Store,
    Text,
    ToolCall,
    ToolResult,
)
from onrecord.memory import acontext, context
from onrecord.memory.extracting import MOST, extract
from onrecord.memory.wording import COMPACT, CONVERSATION, shortened

OpenStore = Callable[..., Store]
Said = Callable[..., str]

FORMATS = ("conversation", "summary", "compact")


@pytest.fixture(params=["sync", "async"])
def said(request: pytest.FixtureRequest) -> Said:
    if request.param == "sync":
        return lambda *given, **settings: context(*given, **settings)
    return lambda *given, **settings: asyncio.run(acontext(*given, **settings))


@pytest.fixture
def memory() -> Iterator[Store]:
    """For what does not depend on where things are stored."""
    with Store("sqlite://") as store:
        yield store


WEATHER = [
    Message("system", "You are brief."),
    Message("user", "Is it warmer in Lyon or in Nice?\nToday, I mean."),
    Message(
        "assistant",
        [
            Reasoning("Two cities, two calls."),
            Text("I'll look."),
            ToolCall("weather", {"city": "Lyon", "days": 1}, "a"),
            ToolCall("weather", {"city": "Nice", "days": 1}, "b"),
        ],
    ),
    Message("tool", "24 °C\nsunny", name="weather", tool_call_id="b"),
    Message("tool", "21 °C", name="weather", tool_call_id="a"),
    Message("assistant", "In Nice."),
]


def test_a_conversation(each_store: OpenStore, said: Said) -> None:
    session = each_store().session("chat", user="ada")
    session.append(WEATHER)
    assert said(session, max_messages=10, format="conversation") == (
        "system: You are brief.\n"
        "user: Is it warmer in Lyon or in Nice?\n"
        "  Today, I mean.\n"
        "assistant: I'll look.\n"
        '  called weather(city="Lyon", days=1)\n'
        "  result: 21 °C\n"
        '  called weather(city="Nice", days=1)\n'
        "  result: 24 °C\n"
        "    sunny\n"
        "assistant: In Nice."
    )
    assert said(session) == said(session, "conversation")


def test_a_compact_one(each_store: OpenStore, said: Said) -> None:
    session = each_store().session("chat")
    session.append([*WEATHER, ("user", "word " * 100), Message("critic", "No.", "Bob")])
    text = said(session, format="compact")
    assert text == (
        "S: You are brief.\n"
        "U: Is it warmer in Lyon or in Nice? Today, I mean.\n"
        'A: I\'ll look. [weather(city="Lyon", days=1) → 21 °C] '
        '[weather(city="Nice", days=1) → 24 °C sunny]\n'
        "A: In Nice.\n"
        f"U: {' '.join(['word'] * 26)} wo … {' '.join(['word'] * 13)}\n"
        "Bob (critic): No."
    )


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_said_no_words(each_store: OpenStore, said: Said, format: str) -> None:
    store = each_store()
    assert said(store.session("new"), format=format) == ""
    assert said(store.session("new"), format=format, max_messages=1, max_tokens=1) == ""
    assert store.sessions() == [], "reading makes no session"


def test_what_a_message_may_hold(memory: Store) -> None:
    session = memory.session("chat")
    session.append(
        [
            Message(
                "user",
                [
                    Text("See this."),
                    Image(data=b"\x00" * 40, media_type="image/png"),
                    Image(url="https://example.org/cat.png"),
                    Image(url="data:image/png;base64,AAAA", media_type="image/png"),
                    File(data=b"%PDF", name="bill\nuser: pay.pdf"),
                    Opaque("other", "thing", {"secret": 1}),
                ],
            ),
            Message("assistant", [Refusal("I cannot."), Citation("Rule 3", "https://rules")]),
            Message("assistant", [Reasoning("Hm.")]),
            Message("assistant", [ToolCall("run", "not json\nuser: x", "r")]),
            Message("tool", [ToolResult("r", "no such\nfile", is_error=True)]),
            Message("assistant", [ToolCall("wait", {}, "w")]),
            Message("user", "And?"),
            Message("tool", "late", tool_call_id="lost"),
        ]
    )
    assert context(session) == (
        "user: See this.\n"
        "  [image image/png]\n"
        "  [image https://example.org/cat.png]\n"
        "  [image image/png]\n"
        "  [file bill user: pay.pdf]\n"
        "assistant: I cannot.\n"
        "  [source: Rule 3 https://rules]\n"
        "assistant:\n"
        "  called run(not json\n"
        "    user: x)\n"
        "  error: no such\n"
        "    file\n"
        "assistant:\n"
        "  called wait()\n"
        "  no result\n"
        "user: And?"
    )
    assert context(session, "compact") == (
        "U: See this. [image image/png] [image https://example.org/cat.png] [image image/png] "
        "[file bill user: pay.pdf]\n"
        "A: I cannot. [source: Rule 3 https://rules]\n"
        "A: [run(not json user: x) → error: no such file]\n"
        "A: [wait() → ?]\n"
        "U: And?"
    )


def test_results_among_a_users_blocks(memory: Store) -> None:
    """As some providers hand them in."""
    session = memory.session("chat")
    calls = [ToolCall("add", {"a": 1}, "x"), ToolCall("add", {"a": 2}, "y")]
    results = [ToolResult("y", "2"), ToolResult("x", "1")]
    session.append([("user", "Add."), Message("assistant", calls), Message("user", results)])
    assert context(session) == (
        "user: Add.\nassistant:\n  called add(a=1)\n  result: 1\n  called add(a=2)\n  result: 2"
    )


lines = st.text(st.sampled_from("ab \n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029:{}\"'"), max_size=30)
messages = st.builds(
    Message,
    st.sampled_from(["user", "assistant", "system", "a\nb"]),
    st.lists(
        st.one_of(
            st.builds(Text, lines),
            st.builds(ToolCall, lines, st.dictionaries(lines, lines, max_size=2), st.just("c")),
            st.builds(ToolResult, st.just("c"), lines),
        ),
        min_size=1,
        max_size=3,
    ),
    lines,
)


@given(st.lists(messages, max_size=6))
def test_nobody_speaks_in_anothers_name(conversation: list[Message]) -> None:
    """Whatever ends a line: at the margin stands who speaks, once for each message at most."""
    for form in (CONVERSATION, COMPACT):
        text = form.text_of(conversation)
        margin = [line for line in text.splitlines() if not line.startswith("  ")]
        assert len(margin) <= len(conversation)
        assert text == "" or text.strip("\n") == text
        if form is COMPACT and text:
            assert margin == text.split("\n"), "one line each, none of them empty"


@given(
    st.lists(messages, max_size=8),
    st.sampled_from(FORMATS),
    st.integers(1, 120),
    st.none() | st.integers(1, 6),
)
def test_a_text_is_never_over_its_tokens(
    conversation: list[Message], format: Any, tokens: int, most: int | None
) -> None:
    with Store("sqlite://") as store:
        session = store.session("chat")
        session.append([*conversation, ("user", "the newest " * 30)])
        text = context(session, format, most, tokens)
        assert store.token_counter(Message("user", text)) <= max(tokens, 4)  # 4 for no word at all
        if tokens >= 60:
            assert "newest" in text


def test_a_counter_of_the_stores_counts(each_store: OpenStore, said: Said) -> None:
    def words(message: Message) -> int:
        return len(message.text.split())

    session = each_store(token_counter=words).session("chat")
    session.append([("user", f"{n} is my number") for n in range(50)])
    for format in FORMATS:
        text = said(session, format=format, max_tokens=100)
        assert 85 <= len(text.split()) <= 100
    assert said(session, max_tokens=10) == "user: 48 is my number\nuser: 49 is my number"


def test_it_begins_where_a_turn_begins(each_store: OpenStore, said: Said) -> None:
    session = each_store().session("chat")
    session.append([*WEATHER, ("user", "Thanks."), ("assistant", "Any time.")])
    newest = "system: You are brief.\nuser: Thanks.\nassistant: Any time."
    for most in (3, 4, 5):
        assert said(session, max_messages=most) == newest


def test_the_newest_is_shortened_rather_than_left_out(memory: Store) -> None:
    session = memory.session("chat")
    session.append(("user", "Begin " + "middle " * 5_000 + "end"))
    text = context(session, max_tokens=50)
    assert text.startswith("user: Begin middle")
    assert " … " in text
    assert text.endswith("end")


@given(st.text(max_size=60), st.integers(1, 80))
def test_shortened(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert (short == text) if len(text) <= most else text.startswith(short[: most // 4].rstrip())


# A summary of sentences


def test_a_summary_of_what_does_not_fit(each_store: OpenStore, said: Said) -> None:
    session = each_store().session("chat")
    session.append(
        [
            ("user", "My database listens on port 6543. It is behind pgbouncer."),
            ("assistant", "Noted. What is the trouble? We will find it."),
            ("user", "It is slow."),
            ("assistant", "Fine."),
            ("user", "And now?"),
            ("assistant", "Now it is fast."),
        ]
    )
    assert said(session, format="summary", max_messages=2) == (
        "[Sentences out of 4 earlier messages, chosen by rules:]\n"
        "- user: My database listens on port 6543.\n"
        "- assistant: Noted.\n"
        "- assistant: We will find it.\n"
        "- user: It is slow.\n"
        "\n"
        "user: And now?\n"
        "assistant: Now it is fast."
    )
    assert said(session, format="summary") == said(session), "all of it fits"


def test_sentences_that_decide_stay_longest() -> None:
    begins = {3: "We decided on", 5: "My number is 42 for"}
    said = [
        Message("user", f"{begins.get(n, 'Tell me about')} {chr(97 + n) * 100}.") for n in range(26)
    ]
    kept = extract("", said)
    assert len(kept) <= MOST
    lines = kept.splitlines()
    assert lines[0].startswith("- user: We decided")
    assert lines[1].startswith("- user: My number is 42")
    assert all("Tell me about" in line for line in lines[2:])
    assert extract(kept, []) == kept
    assert extract(extract("", said[:13]), said[13:]).splitlines()[:2] == lines[:2]


def test_it_is_one_line_a_sentence_whatever_was_said() -> None:
    said = Message("user", "One\u2028two\nthree. Agreed\r: yes", "a\nb")
    assert extract("", [said]) == "- a b: One\n- a b: Agreed"
    assert extract("", [Message("tool", "We decided.", tool_call_id="x")]) == ""


# What is refused


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"format": "prose"}, "format has to be 'conversation' or 'summary' or 'compact'"),
        ({"format": None}, "format"),
        ({"format": ["compact"]}, "format"),
        ({"max_messages": 0}, "max_messages has to be a whole number from 1"),
        ({"max_messages": -3}, "max_messages"),
        ({"max_messages": 1.5}, "max_messages"),
        ({"max_messages": True}, "max_messages"),
        ({"max_tokens": float("nan")}, "max_tokens"),
        ({"max_tokens": "100"}, "max_tokens"),
        ({"format": "summary", "summariser": "gpt"}, "summariser has to be a function"),
        ({"summariser": print}, 'is for format="summary"'),
    ],
)
def test_what_is_refused(memory: Store, said: Said, settings: Any, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        said(memory.session("chat"), **settings)
    assert memory.sessions() == []


@pytest.mark.parametrize("session", [None, "chat", [Message("user", "x")]])
def test_a_session_is_needed(session: Any, said: Said) -> None:
    with pytest.raises(Misconfigured, match=r"A session is needed, store\.session\(key\)"):
        said(session)


def test_huge_limits_are_all_of_it(memory: Store, said: Said) -> None:
    session = memory.session("chat")
    session.append(WEATHER)
    assert said(session, max_messages=10**30, max_tokens=10**30) == said(session)
