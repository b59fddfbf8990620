"""A rolling summary: each message is summarised once, and nothing is left out or left behind."""

from __future__ import annotations

import asyncio
import inspect
import io
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord import (
    Conflict,
    Gist,
    InvalidValue,
    Message,
    Misconfigured,
    Session,
    Store,
    ToolCall,
    Version,
    Window,
)
from onrecord.flows.sessions import read
from onrecord.gist import EXTRACT, GIST, NO_GIST
from onrecord.memory import RollingSummary, acontext, context
from onrecord.testing.contract import Face
from tests.children import Child

OpenStore = Callable[..., Store]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture
def memory() -> Iterator[Store]:
    """For what does not depend on where things are stored."""
    with Store("sqlite://") as store:
        yield store


ROLES = ("user", "assistant")


class Notes:
    """A summariser that notes what it was given: the summary is the texts, one behind the other."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Message]]] = []
        self.before: Callable[[], object] = lambda: None
        """Done in the middle of the next call."""

    def __call__(self, previous: str, messages: list[Message]) -> str:
        self.calls.append((previous, messages))
        before, self.before = self.before, lambda: None
        before()
        return " ".join([*previous.split(), *(message.text for message in messages)])

    @property
    def seen(self) -> list[str]:
        return [message.text for _, messages in self.calls for message in messages]


def say(session: Session, begin: int, end: int) -> None:
    """Turns of two messages: q1 a1 q2 a2 …"""
    for n in range(begin, end + 1):
        session.append([("user", f"q{n}"), ("assistant", f"a{n}")])


def said(begin: int, end: int) -> list[str]:
    return [text for n in range(begin, end + 1) for text in (f"q{n}", f"a{n}")]


def together(window: Window) -> list[str]:
    """What a model is told, each thing once: the summary's, and then the window's."""
    known = window.summary.text.split()
    return [*known, *(message.text for message in window if message.text not in known)]


# Each message once, and nothing left out


@pytest.mark.parametrize("keep", [0, 0.5, 1])
@pytest.mark.parametrize("limits", [{"messages": 6}, {"turns": 3}, {"tokens": 31}, {"tokens": 1}])
def test_each_message_is_summarised_once_and_nothing_is_left_out(
    memory: Store, limits: Any, keep: float
) -> None:
    session, notes = memory.session("chat"), Notes()
    summary = RollingSummary(session, notes, **limits, keep=keep)
    for n in range(1, 25):
        say(session, n, n)
        window = summary.window()
        assert together(window) == said(1, n)
        assert notes.seen == said(1, n)[: len(notes.seen)]
        assert len(window) <= len(session.window(**limits))
        told = [*window.summary.text.split(), *(m.text for m in window)]
        assert told == said(1, n) or limits == {"tokens": 1}, "and nothing is said twice"
        assert window.summary == summary.kept() == summary.read()
        if window.summary:
            assert window.summary.messages == window.summary.version.head == len(notes.seen)
    assert len(notes.seen) > 30
    if limits == {"messages": 6}:
        assert len(notes.calls) == {0: 7, 0.5: 7, 1: 21}[keep]


def test_it_is_made_only_where_something_fell_out(store: Store, face: Face) -> None:
    session, notes = store.session("chat"), Notes()
    summary = face(RollingSummary(session, notes, messages=6))
    assert summary.read() == NO_GIST
    assert not summary.read()
    assert store.sessions() == []
    say(session, 1, 3)
    window = summary.window()
    assert (len(window), window.summary, notes.calls) == (6, NO_GIST, [])
    say(session, 4, 4)
    window = summary.window()
    assert window.summary == Gist("q1 a1 q2 a2 q3 a3", Version(0, 6), 6, extractive=False)
    assert [m.text for m in window] == said(4, 4), "the window goes on where the summary ends"
    assert str(window.summary) == "q1 a1 q2 a2 q3 a3"
    assert len(notes.calls) == 1
    say(session, 5, 6)
    assert summary.window().summary == window.summary
    say(session, 7, 7)
    assert summary.window().summary.text.split() == said(1, 6)
    assert [previous for previous, _ in notes.calls] == ["", "q1 a1 q2 a2 q3 a3"]


def test_it_goes_on_in_another_process(each_store: OpenStore) -> None:
    notes = Notes()
    for n in range(1, 20):
        with each_store() as store:
            session = store.session("chat")
            say(session, n, n)
            assert together(RollingSummary(session, notes, messages=4).window()) == said(1, n)
    assert notes.seen == said(1, len(notes.seen) // 2)


def test_a_long_past_is_summarised_in_whole_turns_of_so_many_tokens(memory: Store) -> None:
    session, notes = memory.session("chat"), Notes()
    session.append(
        [
            (role, f"{role[0]}{n} {'word' * 100}")
            for n in range(400)
            for role in ("user", "assistant", "assistant")
        ]
    )
    session.append([("user", "huge " * 20_000), ("assistant", "small"), ("user", "now?")])
    RollingSummary(session, notes, messages=1).read()
    assert len(notes.seen) == 1_202
    assert len(notes.calls) > 10
    for i, (_, messages) in enumerate(notes.calls):
        assert messages[0].opens_turn or i == len(notes.calls) - 1
        assert len(messages) <= 200
        tokens = sum(message.tokens or 0 for message in messages)
        assert tokens <= 8_000 or messages[0].text.startswith("huge")


def test_a_call_and_its_results_are_summarised_together(memory: Store) -> None:
    session = memory.session("chat")
    notes = Notes()
    summary = RollingSummary(session, notes, messages=5)
    for n in range(20):
        call = Message("assistant", [ToolCall("look", {"n": n}, f"c{n}")])
        result = Message("tool", f"r{n}", tool_call_id=f"c{n}")
        session.append([("user", f"q{n}"), call, result, ("assistant", f"a{n}")])
        window = summary.window()
        assert not window.orphans
        assert not window.dangling
    for _, messages in notes.calls:
        calls = {call.id for message in messages for call in message.tool_calls}
        assert calls == {m.tool_call_id for m in messages if m.tool_call_id}


def test_a_turn_too_long_for_its_window_loses_nothing(memory: Store) -> None:
    session, notes = memory.session("chat"), Notes()
    summary = RollingSummary(session, notes, messages=6)
    session.append(("user", "q"))
    for n in range(30):
        call = Message("assistant", [ToolCall("look", {}, f"c{n}")])
        session.append([call, Message("tool", f"r{n}", tool_call_id=f"c{n}")])
        window = summary.window()
        assert window[0].text == "q"
        told = {m.text for m in window} | set(window.summary.text.split())
        assert {f"r{i}" for i in range(n + 1)} <= told
    results = [text for text in notes.seen if text.startswith("r")]
    assert results == [f"r{n}" for n in range(len(results))]


def test_a_leading_system_message_stays_and_is_not_summarised(store: Store, face: Face) -> None:
    session, notes = store.session("chat"), Notes()
    session.append(("system", "be brief"))
    say(session, 1, 10)
    window = face(RollingSummary(session, notes, messages=5)).window()
    assert window[0].text == "be brief"
    assert "be brief" not in notes.seen
    assert together(window)[-20:] == said(3, 10)[-4:] or notes.seen == said(1, 9)


def test_empty_places_are_passed_over(memory: Store) -> None:
    session, notes = memory.session("chat"), Notes()
    say(session, 1, 10)
    for seq in (1, 2, 7, 8, 13):
        session.delete(seq)
    window = RollingSummary(session, notes, messages=4).window()
    assert together(window) == [m.text for m in session.messages()]


# What is gone is gone


SECRET = "swordfish"
GOING: dict[str, Callable[[Session], object]] = {
    "edit": lambda session: session.edit(3, ("user", "hidden")),
    "delete": lambda session: session.delete(3),
    "clear": lambda session: session.clear(),
    "rewind": lambda session: session.rewind(2),
    "replace": lambda session: session.replace([("user", "q")], after=2),
    "pop": lambda session: session.pop(22),
}


def with_secret(session: Session) -> None:
    say(session, 1, 1)
    session.append([("user", SECRET), ("assistant", "ok")])
    say(session, 3, 12)


def keeps_nothing_of_it(*stores: Store) -> None:
    for store in stores:
        session = store.session("chat")
        assert SECRET not in repr([*session.messages(), *session.state.list()])
        assert SECRET not in repr(session.window(messages=6, summary=True).summary)
        out = io.BytesIO()
        session.export(out)
        assert SECRET.encode() not in out.getvalue()


@pytest.mark.parametrize("how", GOING)
def test_what_goes_while_it_is_summarised_is_not_kept_either(
    each_store: OpenStore, face: Face, how: str
) -> None:
    store = each_store()
    session, notes = store.session("chat"), Notes()
    with_secret(session)
    notes.before = lambda: GOING[how](session)
    window = face(RollingSummary(session, notes, messages=6)).window()
    assert SECRET in notes.calls[0][1][2].text
    keeps_nothing_of_it(store, each_store())
    assert together(window) == [message.text for message in session.messages()]
    assert SECRET not in repr(window)


def test_what_goes_behind_it_leaves_it(store: Store, face: Face) -> None:
    """To answer again is no reason to summarise all again."""
    session, notes = store.session("chat"), Notes()
    say(session, 1, 20)
    summary = face(RollingSummary(session, notes, messages=6))
    calls = len(notes.calls) if summary.window() else 0
    for _ in range(5):
        session.pop(1)
        session.append(("assistant", "a20"))
        session.edit(40, ("assistant", "again"))
        assert summary.window().summary
    assert len(notes.calls) == calls == 1


def test_an_erased_session_takes_it_along(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        session = store.session("chat", user="ada")
        with_secret(session)
        RollingSummary(session, Notes(), messages=2).read()
        store.erase(user="ada")
    assert all(SECRET.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_erased_while_it_is_summarised(store: Store, face: Face) -> None:
    session, notes = store.session("chat"), Notes()
    with_secret(session)
    notes.before = lambda: session.erase(thorough=False)
    assert face(RollingSummary(session, notes, messages=2)).read() == NO_GIST
    assert store.sessions() == [], "no late writer brings it back"


def test_a_fork_goes_on_from_it_and_an_import_has_it(each_store: OpenStore, face: Face) -> None:
    store = each_store()
    session, notes = store.session("chat"), Notes()
    say(session, 1, 10)
    session.edit(1, ("user", "q1"))
    kept = RollingSummary(session, notes, messages=6).read()
    assert kept.version == Version(1, 18)
    for at, goes_on in ((20, True), (18, True), (17, False)):
        fork = session.fork(f"at {at}", at)
        forked = face(RollingSummary(fork, Notes(), messages=6))
        assert (forked.kept() == kept) is goes_on
        say(fork, 11, 30)
        assert together(forked.window())[-4:] == said(29, 30)
        assert together(forked.window())[:9] == said(1, 5)[:9]
    out = io.BytesIO()
    session.export(out)
    with Store("sqlite://") as other:
        other.import_(io.BytesIO(out.getvalue()))
        there = other.session("chat")
        assert RollingSummary(there, notes, messages=6).kept() == kept
        assert there.window(messages=2, summary=True).summary == kept
        say(there, 11, 11)
        there.edit(2, ("assistant", "x"))
        assert there.window(messages=2, summary=True).summary == NO_GIST


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["say", "say", "say", "call", "edit", "delete", "rewind", "pop", "replace", "fork"]
            ),
            st.integers(0, 40),
            st.sampled_from([{"messages": 4}, {"turns": 2}, {"tokens": 40}, {"messages": 9}]),
        ),
        max_size=40,
    )
)
def test_whatever_happens_all_that_is_there_is_told_and_nothing_else(history: Any) -> None:
    texts = (f"w{n}" for n in itertools.count())
    with Store("sqlite://") as store:
        session = store.session("chat")
        for step, (what, n, limits) in enumerate(history):
            said = session.messages(into=lambda m: m.seq or 0)
            some = said[n % len(said)] if said else 0
            match what:
                case "say":
                    session.append([("user", next(texts)), ("assistant", next(texts))][: 1 + n % 2])
                case "call":
                    call = Message("assistant", [ToolCall("f", {}, f"c{step}")])
                    result = Message("tool", next(texts), tool_call_id=f"c{step}")
                    session.append([call, result])
                case "edit" if some:
                    session.edit(some, ("user", next(texts)))
                case "delete" if some:
                    session.delete(some)
                case "rewind" if some:
                    session.rewind(some)
                case "pop":
                    session.pop(n % 4)
                case "replace" if some:
                    session.replace([("user", next(texts))], after=some)
                case "fork" if some:
                    session = session.fork(f"fork {step}", at=some)
            window = RollingSummary(session, Notes(), **limits).window(repair=True)
            there = {m.text for m in session.messages() if m.text}
            told = set(window.summary.text.split()) | {m.text for m in window if m.seq and m.text}
            orphans = {m.text for m in Window.of(session.messages()).orphans}
            assert there - orphans <= told <= there


# Several at once, and what breaks off


def test_who_says_something_meanwhile_changes_nothing(store: Store, face: Face) -> None:
    session, notes = store.session("chat"), Notes()
    say(session, 1, 10)
    notes.before = lambda: say(session, 11, 12)
    summary = face(RollingSummary(session, notes, messages=6))
    assert together(summary.window()) == said(1, 12)
    assert notes.seen == said(1, len(notes.seen) // 2), "nobody asks twice for that"


def test_of_two_at_once_one_wins(each_store: OpenStore, face: Face) -> None:
    store, other = each_store(), each_store()
    session, notes, winner = store.session("chat"), Notes(), Notes()
    say(session, 1, 10)
    theirs: list[Gist] = []

    def they_come_first() -> None:
        def summarise(*given: Any) -> str:
            return f"won {winner(*given)}"

        summary = RollingSummary(other.session("chat"), summarise, messages=2)
        theirs.append(summary.read())

    notes.before = they_come_first
    window = face(RollingSummary(session, notes, messages=10)).window()
    assert [window.summary] == theirs
    assert window.summary.text.startswith("won q1")
    assert (len(notes.calls), len(winner.calls)) == (1, 1)
    assert len(notes.seen) < len(winner.seen), "and has not gone as far"
    assert together(window)[1:] == said(1, 10)


def test_of_many_at_once_one_wins(store: Store) -> None:
    session = store.session("chat")
    say(session, 1, 30)
    ready = threading.Barrier(4)
    found: list[Window] = []

    def work() -> None:
        notes = Notes()
        notes.before = lambda: ready.wait(20)
        found.append(RollingSummary(session, notes, messages=6).window())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert {window.summary for window in found} == {found[0].summary}
    assert all(together(window) == said(1, 30) for window in found)


def test_a_kill_loses_the_call_that_was_under_way(each_store: OpenStore) -> None:
    store = each_store()
    session = store.session("chat")
    session.append([(role, "w" * 2_000) for _ in range(40) for role in ("user", "assistant")])

    def work() -> None:
        notes = Notes()

        def summarise(previous: str, messages: list[Message]) -> str:
            if len(notes.calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            notes(previous, messages)
            return f"{previous} {len(messages)}"

        RollingSummary(session, summarise, messages=2).read()

    child = Child(work)
    _, status = os.waitpid(child.pid, 0)
    os.close(child._answer)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    notes = Notes()
    kept = RollingSummary(session, notes, messages=2).kept()
    assert len(kept.text.split()) == 3
    assert kept.messages == sum(map(int, kept.text.split())) == kept.version.head
    window = RollingSummary(session, notes, messages=2).window()
    assert notes.calls[0][0] == kept.text
    assert notes.calls[0][1][0].seq == kept.version.head + 1
    assert window.fallen <= window.summary.version.head


# A summariser that fails


class Down(Exception):
    pass


def test_what_a_summariser_raises_is_raised(store: Store, face: Face) -> None:
    session, notes = store.session("chat"), Notes()
    say(session, 1, 10)

    def down() -> None:
        raise Down

    summary = face(RollingSummary(session, notes, messages=6))
    for ask in (summary.read, summary.window):
        notes.before = down
        with pytest.raises(Down):
            ask()
    assert session.state.list() == []
    notes.calls.clear()
    assert together(summary.window()) == said(1, 10)
    kept = summary.kept()
    say(session, 11, 20)
    notes.before = down
    with pytest.raises(Down):
        context(session, "summary", max_messages=6, summariser=notes)
    assert summary.kept() == kept


@pytest.mark.parametrize("answer", [None, "", " \n", 7, b"text", ["text"]])
def test_what_is_no_summary_is_not_kept(store: Store, face: Face, answer: Any) -> None:
    session = store.session("chat")
    say(session, 1, 10)
    kept = RollingSummary(session, Notes(), messages=6).read()
    say(session, 11, 20)
    with pytest.raises(Misconfigured, match="has to give the new summary as text"):
        face(RollingSummary(session, lambda *given: answer, messages=6)).read()
    assert RollingSummary(session, Notes(), messages=6).kept() == kept


def test_a_summary_too_large_to_keep(store: Store, face: Face) -> None:
    session = store.session("chat")
    say(session, 1, 10)
    with pytest.raises(InvalidValue):
        face(RollingSummary(session, lambda *given: os.urandom(10**6).hex(), messages=6)).read()
    assert session.state.list() == []


def test_an_async_summariser(store: Store) -> None:
    notes = Notes()
    loops = []

    async def summarise(previous: str, messages: list[Message]) -> str:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return notes(previous, messages)

    class Agent:
        async def __call__(self, previous: str, messages: list[Message]) -> str:
            return await summarise(previous, messages)

    both: list[Callable[[str, list[Message]], Any]] = [summarise, Agent()]
    for n, one in enumerate(both):
        session = store.session(str(n))
        say(session, 1, 10)
        summary = RollingSummary(session, one, messages=6)
        with pytest.raises(Misconfigured, match="summariser is async: use the async methods"):
            summary.read()
        assert together(asyncio.run(summary.awindow())) == said(1, 10)
    assert len(loops) == 2


def test_a_plain_summariser_does_not_hold_up_the_loop(store: Store) -> None:
    session = store.session("chat")
    say(session, 1, 10)
    threads = []

    def summarise(previous: str, messages: list[Message]) -> str:
        threads.append(threading.get_ident())
        return "text"

    asyncio.run(RollingSummary(session, summarise, messages=6).aread())
    assert threads != [threading.get_ident()]


# Without a summariser


def test_without_a_summariser_it_says_that_it_is_extractive(store: Store, face: Face) -> None:
    session = store.session("chat")
    say(session, 1, 10)
    asked = RollingSummary(session, Notes(), messages=6)
    summary = RollingSummary(session, messages=6)
    assert summary.extractive
    assert not asked.extractive
    assert repr(summary) == "RollingSummary('chat', messages=6, extractive)"
    window = face(summary).window()
    assert window.summary.extractive
    assert window.summary.text.splitlines() == [f"- user: q{n}" for n in range(1, 10)]
    assert asked.kept() == NO_GIST, "neither takes the place of the other"
    assert not asked.read().extractive
    assert face(summary).kept() == window.summary
    assert {item.key for item in session.state.list()} == {GIST, EXTRACT}
    session.delete(1)
    assert session.state.list() == []


def test_nothing_worth_extracting_is_looked_for_once(memory: Store) -> None:
    session = memory.session("chat")
    session.append([("assistant", f"a{n}") for n in range(30)])
    window = RollingSummary(session, messages=6).window()
    assert window.summary.text == ""
    assert window.summary.messages == 24 + 3
    assert context(session, "summary", max_messages=6) == context(session, max_messages=3)


# As people hold it


def test_a_gist_is_shown_in_short() -> None:
    gist = Gist("One\ntwo " * 40, Version(1, 9), 8, extractive=True)
    assert str(gist) == gist.text
    assert len(repr(gist)) < 140
    assert repr(gist).startswith("Gist('One two One")
    assert repr(gist).endswith("…', 8 messages up to (1, 9), extractive)")
    assert repr(NO_GIST) == "Gist()"


def test_every_method_has_its_twin() -> None:
    public = {n: m for n, m in inspect.getmembers(RollingSummary, callable) if n[0] != "_"}
    names = {name for name in public if f"a{name}" in public}
    assert (
        names
        == {"read", "window", "kept", "upto", "forget"}
        == set(public) - {f"a{name}" for name in names}
    )
    pairs = [(public[name], public[f"a{name}"]) for name in names]
    for ours, theirs in [*pairs, (context, acontext)]:
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert theirs.__doc__ == f"Like ``{ours.__name__}``."


# In the core's window


def test_a_window_of_the_core_shows_what_is_kept_and_asks_nobody(store: Store, face: Face) -> None:
    session, notes = store.session("chat"), Notes()
    say(session, 1, 10)
    shown = face(session)
    assert shown.window(messages=6, summary=True).summary == NO_GIST
    kept = RollingSummary(session, notes, messages=6).read()
    window = shown.window(messages=6, summary=True)
    assert window.summary == kept
    assert window.version == session.version()
    assert shown.window(messages=6).summary == NO_GIST
    assert shown.window(messages=6, summary="extractive").summary == NO_GIST
    assert shown.window(summary=True).summary == NO_GIST, "all of it is there"
    say(session, 11, 20)
    window = shown.window(messages=6, summary=True)
    assert together(window) == said(1, 20), "what lies between is shown"
    assert not window.fits
    assert "summary of 18 messages" in repr(window)
    last = shown.window(messages=6, summary=True, last=window)
    assert last.messages == window.messages
    assert len(notes.calls) == 1


@pytest.mark.parametrize("way", ["cleared", "said more", "summed up to its end"])
def test_a_window_and_its_summary_are_of_one_time(
    each_store: OpenStore, face: Face, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The two are read one after the other: much may happen between."""
    store, other = each_store(), each_store()
    session = store.session("chat")
    say(session, 1, 10)
    RollingSummary(session, Notes(), messages=6).read()
    gist, happens = read._gist, [True]
    end = 11 if way == "summed up to its end" else 30

    def later(*given: Any) -> Any:
        if happens and happens.pop():
            there = other.session("chat")
            if way == "cleared":
                there.clear()
            say(there, 11, end)
            limit = {"turns": 1} if way == "summed up to its end" else {"messages": 6}
            assert RollingSummary(there, Notes(), keep=1.0, **limit).read()  # type: ignore[arg-type]
        return (yield from gist(*given))

    monkeypatch.setattr(read, "_gist", later)
    window = face(session).window(messages=6, summary=True)
    assert not happens
    assert window.version == session.version()
    assert window.summary.version.head <= window.version.head
    assert together(window) == said(11 if way == "cleared" else 1, end)


@pytest.mark.parametrize("wrong", [None, 1, "yes", lambda *given: "text"])
def test_a_summary_is_asked_for_by_true(memory: Store, wrong: Any) -> None:
    with pytest.raises(Misconfigured, match="summary has to be True, False or 'extractive'"):
        memory.session("chat").window(summary=wrong)


@pytest.mark.parametrize("value", ["text", {"text": 1}, {"text": "x", "version": "y"}, None, []])
def test_what_somebody_else_put_there_is_no_summary(memory: Store, value: Any) -> None:
    session = memory.session("chat")
    say(session, 1, 10)
    session.state.put(GIST, value)
    assert session.window(messages=2, summary=True).summary == NO_GIST
    assert together(RollingSummary(session, Notes(), messages=6).window()) == said(1, 10)


# What is refused


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"messages": 0}, "messages has to be a whole number from 1"),
        ({"tokens": -1}, "tokens"),
        ({"turns": 1.5}, "turns"),
        ({"keep": 1.5}, "keep has to be a share from 0 to 1"),
        ({"keep": float("nan")}, "keep"),
        ({"keep": "half"}, "keep"),
        ({"summariser": "gpt"}, "summariser has to be a function"),
    ],
)
def test_what_is_refused(memory: Store, settings: Any, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        RollingSummary(memory.session("chat"), **settings)


@pytest.mark.parametrize("session", [None, "chat", 7])
def test_a_session_is_needed(session: Any) -> None:
    with pytest.raises(Misconfigured, match="A session is needed"):
        RollingSummary(session)


def test_a_place_is_a_number(memory: Store, face: Face) -> None:
    session, notes = memory.session("chat"), Notes()
    say(session, 1, 10)
    summary = face(RollingSummary(session, notes, messages=6))
    for wrong in (-1, None, "3", 1.5):
        with pytest.raises(Misconfigured, match="seq has to be a whole number"):
            summary.upto(wrong)
    assert summary.upto(0) == NO_GIST
    assert summary.upto(10**30).text.split() == said(1, 10)


def test_a_session_that_is_rewritten_all_the_time(memory: Store) -> None:
    session = memory.session("chat")
    say(session, 1, 10)

    def summarise(previous: str, messages: list[Message]) -> str:
        session.edit(1, ("user", "q1"))
        return "text"

    with pytest.raises(Conflict, match="20 times while it was summarised"):
        RollingSummary(session, summarise, messages=6).read()
    assert session.state.list() == []
