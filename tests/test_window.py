"""A window is what a model can be shown: within its limits, and torn nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from onrecord import (
    Conflict,
    Gist,
    Message,
    Misconfigured,
    Store,
    Text,
    ToolCall,
    ToolResult,
    Version,
    Window,
)
from onrecord import window as windows
from onrecord.gist import NO_GIST
from onrecord.tokens import ESTIMATE
from onrecord.window import Cutter, Limits, pair


def numbered(given: Sequence[Message]) -> list[Message]:
    return [replace(m, seq=i, tokens=m.tokens or 10) for i, m in enumerate(given, 1)]


def cut(
    session: Sequence[Message],
    near: int,
    repair: bool = False,
    summary: Gist = NO_GIST,
    **limits: Any,
) -> Window:
    """What the flow in protocol does, over a list."""
    cutter = Cutter(Limits(**limits), ESTIMATE)
    tail = session[max(0, len(session) - near) :]
    at = Version(0, len(session))
    cutter.start(at, tail, session[:1], len(tail) == len(session), summary)
    while wanted := cutter.wanted():
        before = [m for m in session if (m.seq or 0) < cutter.first_seq]
        older = before[max(0, len(before) - wanted) :]
        cutter.add_older(older, len(older) < wanted)
    return cutter.window(repair)


def says(window: Window) -> list[str]:
    return [f"{m.role[0]}{m.seq}" for m in window]


def conversation(pattern: str) -> list[Message]:
    """s system, u user, a assistant, c a call, r its result, d a call never answered,
    o a result nobody asked for, p two calls at once, q and w their results."""
    messages: list[Message] = []
    call = 0
    for letter in pattern:
        match letter:
            case "s" | "u" | "a":
                role = {"s": "system", "u": "user", "a": "assistant"}[letter]
                messages.append(Message(role, letter))
            case "c" | "d":
                call += 1
                messages.append(Message("assistant", [ToolCall("f", {}, f"{letter}{call}")]))
            case "r":
                messages.append(Message("tool", "r", tool_call_id=f"c{call}"))
            case "p":
                call += 1
                calls = [ToolCall("f", {}, f"q{call}"), ToolCall("g", {}, f"w{call}")]
                messages.append(Message("assistant", calls))
            case "q" | "w":
                messages.append(Message("tool", letter, tool_call_id=f"{letter}{call}"))
            case "o":
                messages.append(Message("tool", "o", tool_call_id="nobody"))
    return numbered(messages)


@pytest.mark.parametrize(
    ("pattern", "limits", "expected"),
    [
        ("uaua", {}, "u1 a2 u3 a4"),
        ("uaua", {"messages": 4}, "u1 a2 u3 a4"),
        ("uaua", {"messages": 3}, "u3 a4"),
        ("uaua", {"turns": 1}, "u3 a4"),
        ("uaua", {"tokens": 20}, "u3 a4"),
        ("uaua", {"tokens": 39}, "u3 a4"),
        ("suaua", {"messages": 3}, "s1 u4 a5"),
        ("suaua", {"turns": 1}, "s1 u4 a5"),
        ("suaua", {"tokens": 30}, "s1 u4 a5"),
        ("auaua", {"turns": 2}, "a1 u2 a3 u4 a5"),
        ("auaua", {"messages": 4}, "u2 a3 u4 a5"),
        ("ucra", {"messages": 4}, "u1 a2 t3 a4"),
        # The newest turn is too long: its question, and the newest groups that fit.
        ("ucra", {"messages": 3}, "u1 a4"),
        ("ucracra", {"messages": 4}, "u1 a5 t6 a7"),
        ("ucracra", {"messages": 3}, "u1 a7"),
        ("upqwa", {"messages": 4}, "u1 a5"),
        ("upqw", {"messages": 4}, "u1 a2 t3 t4"),
        ("uu", {"messages": 1}, "u2"),
    ],
)
def test_where_a_window_begins(pattern: str, limits: Any, expected: str) -> None:
    window = cut(conversation(pattern), near=100, **limits)
    assert " ".join(says(window)) == expected
    assert window.fits


@pytest.mark.parametrize(
    ("pattern", "limits", "expected"),
    [
        ("upqw", {"messages": 2}, "u1 a2 t3 t4"),
        ("u", {"tokens": 3}, "u1"),
        ("su", {"messages": 1}, "s1 u2"),
        # A late result ties everything since its call together.
        ("ucuar", {"messages": 2}, "u1 a2 u3 a4 t5"),
    ],
)
def test_the_newest_group_stays_and_the_overrun_is_said(
    pattern: str, limits: Any, expected: str
) -> None:
    window = cut(conversation(pattern), near=100, **limits)
    assert " ".join(says(window)) == expected
    assert not window.fits


def test_dangling_calls_are_reported_and_repaired_only_on_request() -> None:
    session = conversation("udau")
    window = cut(session, near=9)
    assert [call.id for call in window.dangling] == ["d1"]
    assert says(window) == ["u1", "a2", "a3", "u4"]
    mended = cut(session, near=9, repair=True)
    assert says(mended) == ["u1", "a2", "tNone", "a3", "u4"]
    assert mended[2].tool_call_id == "d1"
    assert not pair(mended.messages).dangling


def test_one_of_two_parallel_results_missing_is_mended_after_the_other() -> None:
    mended = cut(conversation("upqu"), near=9, repair=True)
    assert [(m.role, m.tool_call_id) for m in mended][1:4] == [
        ("assistant", None),
        ("tool", "q1"),
        ("tool", "w1"),
    ]


def test_a_result_nobody_asked_for_is_reported_and_left_out_on_request() -> None:
    window = cut(conversation("uoau"), near=9)
    assert [m.seq for m in window.orphans] == [2]
    assert says(cut(conversation("uoau"), near=9, repair=True)) == ["u1", "a3", "u4"]


def test_an_id_used_twice_belongs_to_the_nearest_call() -> None:
    one = [Message("assistant", [ToolCall("f", {}, "x")]), Message("tool", "1", tool_call_id="x")]
    assert pair([*one, *one]).matched == [(0, 1), (2, 3)]


def test_results_among_the_blocks_count_as_results() -> None:
    session = numbered(
        [
            Message("user", "q"),
            Message("assistant", [ToolCall("f", {}, "x")]),
            Message("user", [ToolResult("x", [Text("5")])]),
            Message("assistant", "five"),
        ]
    )
    window = cut(session, near=9, turns=1)
    assert not window.orphans
    assert says(window) == ["u1", "a2", "u3", "a4"]


letters = st.lists(
    st.sampled_from(["u", "a", "ua", "cr", "cra", "pqw", "pwq", "p", "d", "o", "s", "pq"]),
    max_size=25,
).map("".join)
limit = st.none() | st.integers(1, 30)


@given(letters, limit, limit, st.none() | st.integers(1, 200), st.integers(1, 30))
def test_windows_are_never_torn(
    pattern: str, messages: int | None, turns: int | None, tokens: int | None, near: int
) -> None:
    session = conversation(pattern)
    limits: Any = {"messages": messages, "turns": turns, "tokens": tokens}
    window = cut(session, near, **limits)
    chosen = [m.seq for m in window]

    assert chosen == sorted({m.seq or 0 for m in window}), "in order, nothing twice"
    if session:
        assert chosen[-1] == session[-1].seq, "the newest message is always there"
        if session[0].role == "system":
            assert chosen[0] == 1, "a leading system message stays"

    calls = {i: [] for i in range(len(session))}  # type: dict[int, list[int]]
    for call, result in pair(session).matched:
        calls[call].append(result)
    for call, results in calls.items():
        inside = {session[i].seq in chosen for i in (call, *results)}
        assert len(inside) == 1, "a call and its results stay together"

    left_out = [m.seq or 0 for m in session if m.seq not in chosen]
    assert window.fallen == max(left_out, default=0), "whatever comes after it is there"

    if window.fits:
        assert messages is None or len(window) <= messages
        assert tokens is None or window.tokens <= tokens
        assert turns is None or sum(m.role == "user" for m in window) <= turns

    mended = cut(session, near, repair=True, **limits)
    assert not pair(mended.messages).dangling
    assert not pair(mended.messages).orphans


@given(letters, limit, limit, st.none() | st.integers(1, 200), st.integers(1, 30), st.data())
def test_nothing_is_left_out_between_a_summary_and_its_window(
    pattern: str,
    messages: int | None,
    turns: int | None,
    tokens: int | None,
    near: int,
    data: st.DataObject,
) -> None:
    session = conversation(pattern)
    upto = data.draw(st.integers(1, max(1, len(session))))
    limits: Any = {"messages": messages, "turns": turns, "tokens": tokens}
    plain = cut(session, near, **limits)
    page = windows._PAGE
    try:
        windows._PAGE = 2  # type: ignore[misc]
        window = cut(session, near, summary=Gist("…", Version(0, upto)), **limits)
    finally:
        windows._PAGE = page  # type: ignore[misc]
    assert bool(window.summary) == bool(plain.fallen), "where all is there, none is needed"
    if not window.summary:
        assert says(window) == says(plain)
        return
    shown = [m.seq or 0 for m in window]
    assert shown == sorted(set(shown))
    assert window.fallen <= upto, "nothing is left out"
    newest = max((m.seq or 0 for m in session if m.role == "user"), default=0)
    assert shown[-1] == session[-1].seq
    if newest in {m.seq for m in plain}:
        assert newest in shown, "the question stays"
    if plain.fallen <= upto:
        assert set(says(window)) <= set(says(plain)), "limits hold where they can"
    crossed = any(call < upto <= result for call, result in pair(session).matched)
    if newest and not crossed:
        twice = [seq for seq in shown if seq <= min(upto, newest - 1)]
        assert twice in ([], [1] if session[0].role == "system" else []), "nothing is said twice"
    for call, result in pair(session).matched:
        assert (session[call].seq in shown) == (session[result].seq in shown)


def test_a_summary_that_is_far_behind_is_left_out() -> None:
    """Bounded cost: nobody reads a million messages to reach one."""
    session = conversation("ua" * 1_500)
    behind = Gist("…", Version(0, 2))
    window = cut(session, 64, summary=behind, messages=10)
    assert not window.summary
    assert len(window) == 10
    near = Gist("…", Version(0, 2_500))
    window = cut(session, 64, summary=near, messages=10)
    assert window.summary is near
    assert (len(window), window.fits) == (500, False)


@given(letters, limit, limit, st.none() | st.integers(1, 200), st.integers(1, 30))
def test_what_is_at_hand_makes_no_difference(
    pattern: str, messages: int | None, turns: int | None, tokens: int | None, near: int
) -> None:
    session = conversation(pattern)
    limits: Any = {"messages": messages, "turns": turns, "tokens": tokens}
    whole = cut(session, len(session) + 1, **limits)
    page = windows._PAGE
    try:
        windows._PAGE = 2  # type: ignore[misc]
        pieces = cut(session, near, **limits)
    finally:
        windows._PAGE = page  # type: ignore[misc]
    assert says(pieces) == says(whole)
    assert pieces.fits == whole.fits


@given(st.data())
def test_a_window_goes_on_from_the_last_as_if_there_were_none(data: st.DataObject) -> None:
    """However the session was changed since, and whatever the last window's limits were."""
    amounts = {"messages": limit, "turns": limit, "tokens": st.none() | st.integers(1, 200)}
    with Store("sqlite://", tail=data.draw(st.integers(1, 30), "tail")) as store:
        chat = store.session("k")
        last: Window | None = None
        for _ in range(data.draw(st.integers(1, 8), "steps")):
            said = conversation(data.draw(letters, "said"))
            turns = data.draw(st.lists(st.none() | st.integers(0, 9), max_size=5), "turns")
            notes = [{} if n is None else {"turn": f"{n}"} for n in turns] + [{}] * len(said)
            chat.append(
                [
                    replace(m, seq=None, tokens=None, metadata=note)
                    for m, note in zip(said, notes, strict=False)
                ]
            )
            head = chat.info().version.head
            change = data.draw(st.sampled_from(["edit", "delete", "rewind", "clear", "", "", ""]))
            with contextlib.suppress(Conflict):  # it was deleted before
                if change == "edit" and head:
                    chat.edit(data.draw(st.integers(1, head)), ("user", "edited"))
                elif change == "delete" and head:
                    chat.delete(data.draw(st.integers(1, head)))
                elif change == "rewind":
                    chat.rewind(data.draw(st.integers(0, head)))
                elif change == "clear":
                    chat.clear()
            limits: Any = {what: data.draw(amount, what) for what, amount in amounts.items()}
            anew = chat.window(**limits, repair=True)
            on = chat.window(**limits, repair=True, last=last)
            assert on.messages == anew.messages
            assert (on.version, on.tokens, on.fits) == (anew.version, anew.tokens, anew.fits)
            assert (on.dangling, on.orphans) == (anew.dangling, anew.orphans)
            last = on


def test_what_is_at_hand_does_not_change_what_is_shown() -> None:
    """A late answer to a turn that is known from the last window, and would not be read."""
    with Store("sqlite://") as store:
        chat = store.session("k")
        for n in range(75):
            chat.append([Message("user", f"u{n}", id=f"u{n}"), Message("assistant", f"a{n}")])
        wide, last = chat.window(), chat.window(messages=60)
        for n in range(75, 80):
            chat.append([Message("user", f"u{n}", id=f"u{n}"), Message("assistant", f"a{n}")])
        chat.append(Message("assistant", "late", metadata={"turn": "u30"}))
        for given in (last, wide):
            for messages in (5, 60):
                anew = chat.window(messages=messages)
                assert chat.window(messages=messages, last=given).messages == anew.messages


def test_a_window_of_another_session_is_no_help() -> None:
    with Store("sqlite://") as store:
        for key in ("a", "b"):
            store.session(key).append([("user", f"{key}{n}") for n in range(200)])
        other = store.session("a").window()
        assert store.session("b").window(last=other)[0].text == "b0"


def test_a_window_that_still_stands_is_not_made_again() -> None:
    with Store("sqlite://") as store:
        chat, other = store.session("k"), store.session("other")
        for session in (chat, other):
            session.append([("user", f"{n}") for n in range(100)])
        last = chat.window(messages=60)
        assert chat.window(messages=60, last=last) is last
        assert len(chat.window(messages=61, last=last)) == 61
        assert chat.window(messages=60, repair=True, last=last) is not last
        assert other.window(messages=60, last=last)[0].id == other.messages(after=40)[0].id
        fork = chat.fork("fork")
        assert fork.window(messages=60, last=last).messages == tuple(fork.tail(60))
        chat.edit(100, ("user", "edited"))
        assert chat.window(messages=60, last=last)[-1].text == "edited"
        last = chat.window(messages=60)
        chat.clear()
        chat.append([("user", f"again {n}") for n in range(100)])
        assert chat.window(messages=60, last=last)[-1].text == "again 99"


def test_a_window_that_another_counter_cut_is_made_again(tmp_path: Path) -> None:
    with (
        Store(tmp_path / "s.db") as store,
        Store(tmp_path / "s.db", token_counter=("ten", lambda message: 10)) as other,
    ):
        store.session("k").append([("user", f"{n}") for n in range(9)])
        last = store.session("k").window(tokens=45)
        assert last.tokens == 45
        now = other.session("k").window(tokens=45, last=last)
        assert (now.tokens, len(now)) == (40, 4)


@pytest.mark.parametrize("bad", [0, -1, 1.5, "3"])
def test_limits_are_whole_numbers_from_one(bad: Any) -> None:
    with pytest.raises(Misconfigured, match="turns"):
        Limits(turns=bad)


def test_a_long_session_is_read_from_its_end_only(tmp_path: Any) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal") as store:
        chat = store.session("k")
        chat.append(("system", "Be brief."))
        for _ in range(3):
            chat.append([("user", "q"), ("assistant", "a")] * 2_000)
        read = 0

        def count(work: Any) -> Any:
            nonlocal read
            answer = original(work)
            read += len(answer.rows)
            return answer

        original = store._ledger.read
        store._ledger.read = count  # type: ignore[method-assign]
        window = chat.window(turns=3)
        assert says(window)[0] == "s1"
        assert len(window) == 7
        assert window.version == Version(0, 12_001)
        assert read <= 60


@pytest.mark.parametrize("tokens", [1_000_000, 3_000])
def test_what_the_last_window_held_is_not_read_again(tmp_path: Any, tokens: int) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", tail=20) as store:
        chat = store.session("k")
        chat.append([("system", "Be brief."), *[("user", "q"), ("assistant", "a")] * 500])
        window = chat.window(tokens=tokens)
        assert (len(window) == 1_001) == (tokens == 1_000_000)
        original, read = store._ledger.read, 0

        def count(work: Any) -> Any:
            nonlocal read
            answer = original(work)
            read += len(answer.rows)
            return answer

        for n in range(30):
            chat.append(("user", f"{n}"))
            read = 0
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(store._ledger, "read", count)
                window = chat.window(tokens=tokens, last=window)
            assert window.messages == chat.window(tokens=tokens).messages
            assert read <= 22


def test_a_window_trusts_counts_under_its_own_counters_name_only(tmp_path: Any) -> None:
    def ones(message: Message) -> int:
        return 1

    url = f"sqlite:///{tmp_path}/x.db"
    with Store(url) as store:
        store.session("k").append([("user", "a long question, longer than one token")] * 4)
        assert store.session("k").window(tokens=30).tokens <= 30
    with Store(url, token_counter=ones) as store:
        assert store.session("k").tail(1)[0].tokens is None
        assert len(store.session("k").window(tokens=3)) == 3
        store.session("k").append(("user", "five"))
        assert store.session("k").tail(1)[0].tokens == 1


def turn_of(opener: str, message: Message) -> Message:
    return replace(message, metadata={"turn": opener})


def test_two_agents_at_once_do_not_tear_each_others_turns() -> None:
    session = numbered(
        [
            Message("user", "one", id="1"),
            Message("user", "two", id="2"),
            turn_of("1", Message("assistant", [ToolCall("f", {}, "c1")])),
            turn_of("2", Message("assistant", [ToolCall("f", {}, "c2")])),
            turn_of("1", Message("tool", "r", tool_call_id="c1")),
            turn_of("2", Message("tool", "r", tool_call_id="c2")),
            turn_of("2", Message("assistant", "second")),
            turn_of("1", Message("assistant", "first")),
        ]
    )
    assert says(cut(session, 99)) == ["u1", "a3", "t5", "a8", "u2", "a4", "t6", "a7"]
    for near in range(1, 8):
        assert says(cut(session, near, turns=1)) == ["u2", "a4", "t6", "a7"]
    assert cut(session, 99, turns=1).orphans == ()


def test_what_answers_nobody_known_stays_where_it_is() -> None:
    session = numbered(
        [
            Message("user", "one", id="1"),
            turn_of("gone", Message("assistant", "late")),
            turn_of("1", Message("assistant", "first")),
        ]
    )
    assert says(cut(session, 99)) == ["u1", "a3", "a2"]


def test_repaired_results_stand_behind_their_call() -> None:
    session = conversation("uca")
    session = numbered([*session, Message("user", "meanwhile"), *conversation("cr")[1:]])
    assert says(cut(session, 99)) == ["u1", "a2", "a3", "u4", "t5"]
    assert says(cut(session, 99, repair=True)) == ["u1", "a2", "t5", "a3", "u4"]


def test_repair_leaves_a_result_of_several_calls_behind_the_last() -> None:
    session = numbered(
        [
            Message("user", "go"),
            Message("assistant", [ToolCall("f", {}, "a")]),
            Message("assistant", [ToolCall("f", {}, "b"), ToolCall("f", {}, "c")]),
            Message("user", "wait"),
            Message("user", [ToolResult("a"), ToolResult("b")]),
        ]
    )
    window = cut(session, 99, repair=True)
    assert [(m.role[0], m.seq) for m in window] == [
        ("u", 1),
        ("a", 2),
        ("a", 3),
        ("u", 5),
        ("t", None),
        ("u", 4),
    ]


def test_a_chain_of_calls_as_long_as_it_may_be() -> None:
    asks: Message = Message("assistant", [ToolCall("f", {}, "0")])
    chain = [replace(asks, content=(ToolCall("f", {}, str(i + 1)),)) for i in range(5_000)]
    chain = [asks, *(replace(m, role="tool", tool_call_id=str(i)) for i, m in enumerate(chain))]
    assert len(cut(numbered(chain), 99, repair=True, messages=10_000)) == 5_002, (
        "and one for the last"
    )


def test_a_window_of_what_is_held_in_hand() -> None:
    held = [Message("system", "s"), *(Message("user", str(n)) for n in range(9))]
    window = Window.of(held, messages=3)
    assert [m.text for m in window] == ["s", "7", "8"]
    assert Window.of([]).messages == ()
    assert [m.text for m in Window.of(held[1:], tokens=7, token_counter=lambda m: 3)] == ["7", "8"]


def test_a_counter_of_ones_own_counts_each_message_once() -> None:
    counted: list[str] = []

    def count(message: Message) -> int:
        counted.append(message.text)
        return 10

    with Store("sqlite://") as store:
        chat = store.session("k")
        chat.append([("user", str(n)) for n in range(100)])
        window = chat.window(tokens=50, token_counter=count)
    assert [m.text for m in window] == ["95", "96", "97", "98", "99"]
    assert window.tokens == 50
    assert len(counted) == len(set(counted)) <= 10


def test_what_says_nothing_of_its_turn_goes_on_with_the_one_before() -> None:
    session = numbered(
        [
            Message("user", "go", id="1"),
            Message("assistant", [ToolCall("f", {}, "c1")]),
            Message("tool", "r", tool_call_id="c1"),
            turn_of("1", Message("assistant", "the answer")),
            Message("user", "next", id="2"),
        ]
    )
    assert says(cut(session, 99)) == ["u1", "a2", "t3", "a4", "u5"]
