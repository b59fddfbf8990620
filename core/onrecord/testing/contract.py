"""What every store has to do, as tests anybody can run over a database of theirs.

    from onrecord.testing import StoreContract

    class TestMyDatabase(StoreContract):
        @pytest.fixture
        def store(self):
            with Store("postgresql://...", schema="scratch") as store:
                yield store

Each test runs twice: through the sync methods, and through their twins on an event loop. The
store has to be empty at the start of each. Needs pytest.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeAlias

import pytest

from onrecord import (
    ANY,
    Cleared,
    Conflict,
    IdReused,
    Image,
    InvalidMessage,
    InvalidName,
    Message,
    Misconfigured,
    Opaque,
    Since,
    Store,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    Version,
)

Face: TypeAlias = Callable[[Any], Any]

STRANGE_NAMES = (
    "a:b:c",
    "a%b_c",
    "'; DROP TABLE onrecord_sessions; --",
    '"quoted"',
    "{braces}",
    "back\\slash",
    "line\nbreak",
    "\u202eright to left\u200f",
    "\N{FAMILY}\ufe0f",
    " ",
    "x" * 512,
)


NEVER_IN_UTC = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5)))


SPENT: list[tuple[dict[str, Any], Usage]] = [
    (
        {"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cache_read": 4}},
        Usage(input_tokens=9, output_tokens=2, cached_tokens=4, requests=1),
    ),
    (
        {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
        Usage(input_tokens=9, output_tokens=2, cached_tokens=4, requests=1),
    ),
    (
        {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        },
        Usage(input_tokens=9, output_tokens=2, cached_tokens=4, requests=1),
    ),
    (
        {
            "input_tokens": 3,
            "output_tokens": 2,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 2,
        },
        Usage(input_tokens=9, output_tokens=2, cached_tokens=4, requests=1),
    ),
    (
        {"input_tokens": 9, "output_tokens": 2, "cache_read_tokens": 4, "requests": 3},
        Usage(input_tokens=9, output_tokens=2, cached_tokens=4, requests=3),
    ),
    ({"output_tokens": 2}, Usage(output_tokens=2, requests=1)),
    ({"input_tokens": 3, "cached_tokens": 9}, Usage(input_tokens=3, cached_tokens=3, requests=1)),
    (
        {"input_tokens": 2**80, "output_tokens": 2**80, "requests": 2**80},
        Usage(input_tokens=2**31 - 1, output_tokens=2**31 - 1, requests=2**31 - 1),
    ),
    ({"input_tokens": -1, "output_tokens": True, "requests": "3"}, Usage()),
    ({"input_tokens": 1.5, "prompt_tokens": None, "prompt_tokens_details": 7}, Usage()),
    ({"words": 12}, Usage()),
    ({}, Usage()),
]
"""What messages say that they cost, and what is understood of it."""


def answered(n: int, **more: Any) -> Message:
    """An answer that cost n, and a tenth of that."""
    return Message(
        "assistant", f"answer {n}", usage={"input_tokens": 10 * n, "output_tokens": n}, **more
    )


def spent(*ns: int) -> Usage:
    """What such answers cost together."""
    return Usage(input_tokens=10 * sum(ns), output_tokens=sum(ns), requests=len(ns))


class AsyncFace:
    """Shows the a-prefixed methods of a store or session as if they were sync."""

    def __init__(self, loop: asyncio.AbstractEventLoop, handle: Any) -> None:
        self._loop = loop
        self._handle = handle

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._handle, f"a{name}")

        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "scan":
                return iter(self._loop.run_until_complete(_listed(method(*args, **kwargs))))
            return self._loop.run_until_complete(method(*args, **kwargs))

        return call


async def _listed(items: Any) -> list[Any]:
    return [item async for item in items]


def texts(messages: Sequence[Message]) -> list[str]:
    """What was said, in order."""
    return [message.text for message in messages]


def seqs(messages: Sequence[Message]) -> list[int | None]:
    """Where it was said."""
    return [message.seq for message in messages]


def day(n: int) -> datetime:
    """A time that messages are given here."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n)


class Contract:
    """Needs a fixture ``store``, and shows what it opens in sync and in async."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """An open, empty store; a subclass says which."""
        pytest.fail("a contract needs a fixture named store")

    @pytest.fixture(params=["sync", "async"])
    def face(self, request: pytest.FixtureRequest) -> Iterator[Face]:
        """Shows a handle by its sync methods or by their twins."""
        if request.param == "sync":
            yield lambda handle: handle
        else:
            with asyncio.Runner() as runner:
                yield lambda handle: AsyncFace(runner.get_loop(), handle)


class StoreContract(Contract):
    """Subclass this and give it a fixture ``store``."""

    @pytest.fixture
    def chat(self, store: Store, face: Face) -> Any:
        """A session nobody has written to."""
        return face(store.session("chat", user="ada"))

    # -- appending and reading ---------------------------------------------------------------

    def test_an_unknown_session_reads_as_empty(self, chat: Any) -> None:
        assert chat.messages() == []
        assert chat.tail(5) == []
        assert list(chat.window(turns=3)) == []
        assert list(chat.scan()) == []
        assert chat.version() == Version(0, 0)
        assert chat.count() == chat.head() == 0
        assert chat.info().created_at is None

    def test_messages_come_back_in_order_with_gapless_places(self, chat: Any) -> None:
        chat.append(("user", "one"))
        chat.append([("assistant", "two"), ("user", "three")])
        assert texts(chat.messages()) == ["one", "two", "three"]
        assert seqs(chat.messages()) == [1, 2, 3]
        assert chat.version() == Version(0, 3)
        assert chat.count() == chat.head() == 3

    def test_append_returns_what_is_stored(self, chat: Any) -> None:
        before = datetime.now(UTC) - timedelta(milliseconds=1)
        (stored,) = chat.append(Message("user", "hello"))
        assert stored == chat.messages()[0]
        assert stored.seq == 1
        assert stored.id
        assert stored.tokens
        assert before <= stored.created_at <= datetime.now(UTC)

    def test_all_that_append_takes(self, chat: Any) -> None:
        chat.append(Message("system", "Be kind."))
        chat.append(("user", "pair"))
        chat.append({"role": "user", "content": "mapping"})
        chat.append([("user", "list"), {"role": "user", "content": [Text("of all")]}])
        chat.append(message for message in [("user", "generator")])
        assert chat.append([]) == []
        assert texts(chat.messages()) == [
            "Be kind.",
            "pair",
            "mapping",
            "list",
            "of all",
            "generator",
        ]

    def test_tool_calls_in_both_shapes(self, chat: Any) -> None:
        ours = {"id": "c1", "name": "find", "args": {"q": "x"}}
        theirs = {"id": "c2", "type": "function"}
        theirs["function"] = {"name": "find", "arguments": '{"q": "x"}'}  # type: ignore[assignment]
        broken = {"id": "c3", "function": {"name": "find", "arguments": '{"q": '}}
        chat.append({"role": "assistant", "content": "", "tool_calls": [ours, theirs, broken]})
        (stored,) = chat.messages()
        assert [(c.id, c.name, c.args) for c in stored.tool_calls] == [
            ("c1", "find", {"q": "x"}),
            ("c2", "find", {"q": "x"}),
            ("c3", "find", '{"q": '),
        ]
        assert stored.text == ""

    def test_what_goes_in_comes_out_equal(self, chat: Any) -> None:
        message = Message(
            "assistant",
            (
                Text("naïve \x00 \ud800 text", {"cache": True}),
                Image(b"\x89PNG", media_type="image/png"),
                ToolCall("add", {"a": 1, "b": (2, {3})}, "call-1"),
                ToolResult("call-1", "5", is_error=False),
                Opaque("other", "odd", {1: [float("inf"), 2**70]}),
            ),
            name="helper",
            usage={"input_tokens": 3},
            metadata={"when": datetime(2024, 2, 29, 1, 2, 3, 4, UTC), "raw": b"\xff"},
            native={"framework": {"type": "x"}},
        )
        chat.append(message)
        (stored,) = chat.messages()
        for field in ("role", "content", "name", "usage", "metadata", "native"):
            assert getattr(stored, field) == getattr(message, field), field

    def test_a_message_of_its_own_for_every_caller(self, chat: Any) -> None:
        given = {"tags": ["a"]}
        (stored,) = chat.append(Message("user", "x", metadata=given))
        given["tags"].append("changed by the writer")
        stored.metadata["tags"].append("changed by who appended")
        chat.tail(1)[0].metadata["tags"].append("changed by a reader")
        assert chat.tail(1)[0].metadata == chat.messages()[0].metadata == {"tags": ["a"]}

    def test_a_time_that_was_given_is_kept_to_the_microsecond(self, chat: Any) -> None:
        when = datetime(1999, 12, 31, 23, 59, 59, 999_999, timezone(timedelta(hours=-3)))
        chat.append(Message("user", "old", created_at=when))
        chat.append(("user", "new"))
        assert chat.messages()[0].created_at == when
        assert texts(chat.messages()) == ["old", "new"]  # no clock takes part in the order

    def test_ranges(self, chat: Any) -> None:
        chat.append([("user", str(n)) for n in range(1, 11)])
        assert seqs(chat.messages(limit=3)) == [1, 2, 3]
        assert seqs(chat.messages(after=4, limit=3)) == [5, 6, 7]
        assert seqs(chat.messages(before=4)) == [1, 2, 3]
        assert seqs(chat.messages(before=8, limit=2)) == [6, 7]
        assert seqs(chat.messages(after=2, before=8, limit=2)) == [3, 4]
        assert seqs(chat.messages(after=10)) == []
        assert seqs(chat.messages(limit=0)) == []
        assert seqs(chat.messages(before=0)) == []

    def test_messages_by_time_whatever_order_times_are_in(self, chat: Any) -> None:
        days = [5, 1, 9, 3, 3, 7, 2, 8, 4, 6]
        chat.append([Message("user", f"m{n}", created_at=day(at)) for n, at in enumerate(days, 1)])
        chat.delete(5)
        chat.archive([1, 3, 4])
        for bounds in ({}, {"after": 2}, {"before": 8}, {"limit": 3}, {"before": 9, "limit": 2},
                       {"archived": True}, {"archived": False, "limit": 2}, {"limit": 0},
                       {"after": 2, "before": 8, "archived": False, "limit": 2}):  # fmt: skip
            limit = bounds.pop("limit", None)
            choosing = chat.messages(**bounds)
            for since, until in ((None, 4), (3, None), (3, 8), (4, 4), (8, 3), (0, 99), (7, 8)):
                expected = [
                    message
                    for message in choosing
                    if (since is None or message.created_at >= day(since))
                    and (until is None or message.created_at < day(until))
                ]
                if limit is not None and "before" in bounds and "after" not in bounds:
                    expected = expected[max(0, len(expected) - limit) :]
                elif limit is not None:
                    expected = expected[:limit]
                found = chat.messages(
                    since=None if since is None else day(since),
                    until=None if until is None else day(until),
                    limit=limit,
                    **bounds,
                )
                assert found == expected, (bounds, limit, since, until)
        assert chat.messages(since=day(8), into=lambda message: message.text) == ["m3", "m8"]

    def test_a_time_is_kept_apart_from_its_neighbours(self, chat: Any, store: Store) -> None:
        tick, there = timedelta(microseconds=1), timezone(timedelta(hours=-7))
        assert chat.messages(since=day(1)) == []
        assert store.sessions(user="ada") == []
        chat.append([Message("user", f"m{n}", created_at=day(1) + tick * n) for n in range(4)])
        when = (day(1) + tick).astimezone(there)
        assert texts(chat.messages(since=when, until=when + 2 * tick)) == ["m1", "m2"]
        assert texts(chat.messages(since=NEVER_IN_UTC)) == []
        assert len(chat.messages(until=NEVER_IN_UTC)) == 4
        for bad in (datetime(2026, 1, 1), "yesterday", 3, timedelta(1)):
            with pytest.raises(Misconfigured, match="since"):
                chat.messages(since=bad)
            with pytest.raises(Misconfigured, match="until"):
                chat.messages(until=bad)

    @pytest.mark.parametrize("n", [0, 1, 3, 49, 50, 51, 59, 60, 61, 1000])
    def test_tails_of_any_length(self, chat: Any, n: int) -> None:
        chat.append([("user", str(i)) for i in range(1, 61)])
        expected = list(range(1, 61))[60 - min(n, 60) :]
        assert seqs(chat.tail(n)) == expected
        assert seqs(chat.tail(n)) == expected  # and again, now that it is at hand

    def test_a_scan_reads_page_by_page(
        self, chat: Any, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onrecord.session.PAGE", 4)
        chat.append([("user", str(n)) for n in range(10)])
        assert texts(list(chat.scan())) == [str(n) for n in range(10)]
        assert seqs(list(chat.scan(after=7))) == [8, 9, 10]
        store.session("chat", user="ada").delete(5)
        assert seqs(list(chat.scan())) == [1, 2, 3, 4, 6, 7, 8, 9, 10]

    def test_a_scan_notices_a_rewrite(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("onrecord.session.PAGE", 2)
        chat = store.session("chat", user="ada")
        chat.append([("user", str(n)) for n in range(6)])
        scan = chat.scan()
        next(scan)
        chat.clear()
        with pytest.raises(Conflict, match="rewritten"):
            list(scan)

    # -- retries -----------------------------------------------------------------------------

    def test_a_retry_with_the_same_id_is_free(self, chat: Any) -> None:
        message = Message("user", "once", id="m-1", metadata={"a": 1, "b": 2})
        (first,) = chat.append(message)
        chat.append(("assistant", "yes"))
        again = Message("user", "once", id="m-1", metadata={"b": 2, "a": 1})
        assert chat.append(again) == [first]
        assert chat.append([again, again]) == [first, first]
        assert chat.count() == 2

    def test_a_retry_may_bring_something_new(self, chat: Any) -> None:
        old = Message("user", "old", id="old")
        chat.append(old)
        stored = chat.append([old, ("assistant", "new"), Message("user", "also new", id="n")])
        assert seqs(stored) == [1, 2, 3]
        assert texts(chat.messages()) == ["old", "new", "also new"]

    def test_the_same_id_twice_in_one_batch_is_one_message(self, chat: Any) -> None:
        stored = chat.append([Message("user", "x", id="i"), Message("user", "x", id="i")])
        assert seqs(stored) == [1, 1]
        assert chat.count() == 1

    def test_an_id_reused_refuses_the_whole_batch(self, chat: Any) -> None:
        chat.append(Message("user", "first", id="m-1"))
        with pytest.raises(IdReused, match="m-1"):
            chat.append([("user", "not this either"), Message("user", "second", id="m-1")])
        with pytest.raises(IdReused, match="batch"):
            chat.append([Message("user", "a", id="m-2"), Message("user", "b", id="m-2")])
        assert texts(chat.messages()) == ["first"]

    def test_what_was_read_is_recognised_by_its_own_id(self, chat: Any) -> None:
        chat.append([("user", "a"), ("assistant", "b")])
        read = chat.messages()
        assert chat.append([*read, ("user", "c")])[2].seq == 3
        assert texts(chat.messages()) == ["a", "b", "c"]

    def test_ids_never_come_twice(self, chat: Any) -> None:
        ids = set()
        for _ in range(3):
            ids |= {message.id for message in chat.append([("user", "a"), ("user", "b")])}
            chat.rewind(1)
        assert len(ids) == 6

    def test_nan_does_not_make_a_retry_look_different(self, chat: Any) -> None:
        message = Message("user", "x", id="nan", metadata={"score": float("nan")})
        chat.append(message)
        chat.append(message)
        assert chat.count() == 1

    # -- versions ----------------------------------------------------------------------------

    def test_expected_lets_one_writer_win(self, chat: Any) -> None:
        version = chat.version()
        chat.append(("user", "first"), expected=version)
        with pytest.raises(Conflict) as caught:
            chat.append(("user", "second"), expected=version)
        assert caught.value.version == Version(0, 1)
        assert not isinstance(caught.value, Cleared)
        chat.append(("user", "third"), expected=1)
        with pytest.raises(Conflict):
            chat.append(("user", "fourth"), expected=1)
        assert texts(chat.messages()) == ["first", "third"]

    def test_a_failed_expectation_makes_no_session(self, chat: Any, store: Store) -> None:
        with pytest.raises(Conflict):
            chat.append(("user", "x"), expected=Version(0, 3))
        assert store.sessions(user="ada") == []

    def test_a_retry_is_free_whatever_is_expected(self, chat: Any) -> None:
        message = Message("user", "x", id="m")
        (stored,) = chat.append(message, expected=Version(0, 0))
        assert chat.append(message, expected=Version(0, 0)) == [stored]

    def test_a_turn_held_open_over_a_clear_brings_nothing_back(self, chat: Any) -> None:
        chat.append([("user", "a"), ("assistant", "b")])
        version, read = chat.version(), chat.messages()
        chat.clear()
        assert chat.append(read, expected=version) == []
        with pytest.raises(Cleared) as caught:
            chat.append([*read, ("user", "new")], expected=version)
        assert caught.value.version == Version(1, 0)
        with pytest.raises(Cleared):
            chat.append(read)
        assert chat.messages() == []
        chat.append([*read, ("user", "new")], expected=chat.version())
        assert texts(chat.messages()) == ["new"]

    def test_since_minds_a_clear_and_nothing_else(self, chat: Any) -> None:
        chat.append(("user", "a"))
        version, read = chat.version(), chat.messages()
        chat.append(("user", "somebody else's"))
        chat.edit(1, ("user", "b"))
        chat.append(("user", "mine"), expected=Since(version))
        assert texts(chat.messages()) == ["b", "somebody else's", "mine"]
        chat.rewind(1)
        with pytest.raises(Cleared) as caught:
            chat.append(("user", "late"), expected=Since(version))
        assert caught.value.version == chat.version()
        assert chat.append(chat.messages(), expected=Since(version)) == chat.messages()
        chat.clear()
        assert chat.append(read, expected=Since(version)) == []
        assert chat.messages() == []
        chat.append(("user", "new"), expected=Since(chat.version()))
        assert texts(chat.messages()) == ["new"]

    def test_an_edit_is_a_conflict_and_not_a_clear(self, chat: Any) -> None:
        chat.append(("user", "a"))
        version = chat.version()
        chat.edit(1, ("user", "b"))
        with pytest.raises(Conflict) as caught:
            chat.append(("user", "c"), expected=version)
        assert not isinstance(caught.value, Cleared)

    # -- rewriting ---------------------------------------------------------------------------

    def test_replace_is_a_rewind_and_an_append_at_once(self, chat: Any) -> None:
        chat.append(
            [("user", "a"), ("assistant", "b"), {"role": "user", "content": "c", "id": "x"}]
        )
        read = chat.messages()
        stored = chat.replace([("user", "new"), *read[1:]], after=1)
        assert texts(chat.messages()) == ["a", "new", "b", "c"]
        assert chat.messages()[1:] == stored == chat.tail(3)
        assert [m.seq for m in stored] == [2, 3, 4]
        assert stored[1].id != read[1].id, "it is another message that says the same"
        assert stored[2].id == "x"
        assert (chat.count(), chat.info().turns, chat.version()) == (4, 3, Version(1, 4))
        assert chat.replace([]) == []
        assert chat.messages() == []
        assert chat.version() == Version(2, 0)

    def test_replace_minds_what_is_expected(self, chat: Any, store: Store) -> None:
        assert texts(chat.replace(("user", "first"), expected=Version(0, 0))) == ["first"]
        with pytest.raises(Conflict):
            chat.replace(("user", "second"), expected=Version(0, 0))
        with pytest.raises(Conflict, match="newest is 1"):
            chat.replace(("user", "second"), after=7)
        with pytest.raises(InvalidMessage):
            chat.replace("just text")
        assert texts(chat.messages()) == ["first"]

    def test_messages_into_something_else(self, chat: Any) -> None:
        chat.append([("user", str(n)) for n in range(5)])
        assert chat.messages(into=lambda m: m.text) == ["0", "1", "2", "3", "4"]
        assert chat.messages(after=1, limit=2, into=lambda m: m.seq) == [2, 3]

    def test_archived_messages_are_out_of_the_way_and_kept(self, chat: Any) -> None:
        chat.append([("user", str(n)) for n in range(1, 10)])
        version = chat.version()
        assert texts(chat.archive([1, 2, 5, 77])) == ["1", "2", "5"]
        assert texts(chat.archive([2, 3])) == ["3"], "each is given to one"
        assert chat.archive([1]) == []
        assert texts(chat.messages(archived=False)) == ["4", "6", "7", "8", "9"]
        assert texts(chat.messages(archived=True)) == ["1", "2", "3", "5"]
        assert texts(chat.messages(archived=False, limit=2)) == ["4", "6"]
        assert texts(chat.messages(archived=False, after=4, limit=2)) == ["6", "7"]
        assert texts(chat.messages(archived=True, before=5, limit=2)) == ["2", "3"]
        assert chat.messages(archived=True, into=lambda m: m.seq) == [1, 2, 3, 5]
        assert (chat.count(), chat.count(archived=True), chat.count(archived=False)) == (9, 4, 5)
        assert len(chat.messages()) == len(chat.tail(50)) == 9
        assert chat.version() == version
        chat.unarchive([2, 9])
        assert texts(chat.messages(archived=True)) == ["1", "3", "5"]
        chat.delete(3)
        assert (chat.count(archived=True), chat.count(archived=False)) == (2, 6)
        chat.rewind(4)
        assert texts(chat.messages(archived=True)) == ["1"]
        chat.append(("user", "5 again"))
        assert texts(chat.messages(archived=False)) == ["2", "4", "5 again"]
        chat.clear()
        chat.append(("user", "new"))
        assert chat.messages(archived=True) == []
        assert texts(chat.messages(archived=False)) == ["new"]

    def test_appended_as_archived(self, chat: Any) -> None:
        stored = chat.append([("user", "1"), {"role": "user", "content": "2", "id": "x"}])
        chat.append([("user", "3"), ("assistant", "4")], archived=True)
        chat.append(("user", "5"))
        chat.append(("user", "6"), archived=True, expected=chat.version())
        assert seqs(chat.messages(archived=True)) == [3, 4, 6]
        assert seqs(chat.messages(archived=False)) == [1, 2, 5]
        assert texts(chat.messages()) == texts(chat.tail(6)) == list("123456")
        assert chat.version() == Version(0, 6)
        # What is there already stays as it is.
        again = chat.append(
            [{"role": "user", "content": "2", "id": "x"}, ("user", "7")], archived=True
        )
        assert (again[0], again[1].seq) == (stored[1], 7)
        assert seqs(chat.messages(archived=True)) == [3, 4, 6, 7]
        named = {"role": "user", "content": "8", "id": "y"}
        assert chat.append(named, archived=True) == chat.append(named, archived=True)
        assert (chat.count(archived=True), chat.info().turns) == (5, 7)
        with pytest.raises(Conflict):
            chat.append(("user", "9"), archived=True, expected=3)
        with pytest.raises(IdReused):
            chat.append([("user", "9"), {"role": "user", "content": "9", "id": "y"}], archived=True)
        assert chat.count() == 8

    def test_only_active_messages_are_replaced(self, chat: Any) -> None:
        chat.append([("user", str(n)) for n in range(1, 8)])
        chat.archive([1, 2, 5])
        kept = chat.messages(archived=True)
        stored = chat.replace([("user", "new"), ("assistant", "too")], archived=False)
        assert chat.messages(archived=True) == kept, "in their places, with their ids"
        assert chat.messages(archived=False) == stored == chat.messages(after=5)
        assert seqs(chat.messages()) == seqs(chat.tail(9)) == [1, 2, 5, 6, 7]
        assert texts(stored) == ["new", "too"]
        assert chat.version() == Version(1, 7)
        for n in range(3):  # and again: no place is left empty behind the last archived one
            chat.replace([("user", "again")] * 5, archived=False)
            assert (chat.version(), chat.count()) == (Version(2 + n, 10), 8)
        assert chat.replace([], archived=False) == []
        assert chat.messages() == kept
        assert chat.version() == Version(5, 5)
        chat.archive([4])
        assert chat.messages(archived=True) == kept, "an empty place holds nothing to archive"
        self.check_counts(chat)

    def test_only_archived_messages_are_replaced(self, chat: Any) -> None:
        chat.append([("user", str(n)) for n in range(1, 8)])
        chat.archive([1, 2, 5, 7])
        kept = chat.messages(archived=False)
        stored = chat.replace([("user", "new"), ("assistant", "too")], archived=True)
        assert chat.messages(archived=False) == kept
        assert chat.messages(archived=True) == stored
        assert seqs(chat.messages()) == [3, 4, 6, 7, 8]
        assert chat.version() == Version(1, 8)
        chat.append(("user", "active"))
        assert texts(chat.messages(archived=False)) == ["3", "4", "6", "active"]
        chat.replace([], archived=True)
        assert chat.messages(archived=True) == []
        assert seqs(chat.messages()) == [3, 4, 6, 9]
        self.check_counts(chat)

    @pytest.mark.parametrize("archived", [None, False, True])
    def test_a_part_is_replaced_after_a_place(self, chat: Any, archived: bool | None) -> None:
        chat.append([("user", str(n)) for n in range(1, 9)])
        chat.archive([1, 4, 5, 8])
        chat.replace(("assistant", "new"), after=4, archived=archived, expected=Version(0, 8))
        stays = {None: [], False: ["5", "8"], True: ["6", "7"]}[archived]
        assert texts(chat.messages()) == ["1", "2", "3", "4", *stays, "new"]
        there = {None: ["1", "4"], False: ["1", "4", "5", "8"], True: ["1", "4", "new"]}[archived]
        assert texts(chat.messages(archived=True)) == there
        assert chat.version().epoch == 1
        with pytest.raises(Cleared):
            chat.replace(("user", "late"), archived=archived, expected=Version(0, 8))
        self.check_counts(chat)

    @pytest.mark.parametrize("archived", [False, True])
    def test_ids_of_what_is_replaced_may_be_given_again(self, chat: Any, archived: bool) -> None:
        """As after a clear; and an id that stays still stands for one message."""
        chat.append(Message("user", "goes", id="g"), archived=archived)
        chat.append(Message("user", "stays", id="s"), archived=not archived)
        goes, stays = chat.messages()
        again, kept = chat.replace([goes, stays], archived=archived)
        assert (again.text, again.id, again.seq) == ("goes", "g", 3)
        assert kept == stays, "what stays is returned as it is"
        (other,) = chat.replace(Message("user", "other", id="g"), archived=archived)
        assert chat.messages(archived=archived) == [other]
        assert chat.messages(archived=not archived) == [stays]
        with pytest.raises(IdReused):
            chat.replace(Message("user", "not it", id="s"), archived=archived)
        self.check_counts(chat)

    def test_replacing_what_nobody_wrote(self, chat: Any) -> None:
        assert texts(chat.replace(("user", "a"), archived=True)) == ["a"]
        assert texts(chat.replace(("user", "b"), archived=False)) == ["b"]
        assert texts(chat.messages(archived=True)) == ["a"]
        assert seqs(chat.messages()) == [1, 2]

    def test_what_was_replaced_does_not_come_back(self, chat: Any) -> None:
        chat.append([("user", str(n)) for n in range(1, 5)])
        chat.archive([3])
        version, read = chat.version(), chat.messages()
        chat.replace(("user", "new"), archived=False)
        with pytest.raises(Cleared):
            chat.append(read)
        with pytest.raises(Cleared):
            chat.append(("user", "late"), expected=Since(version))
        assert chat.append(read, expected=version) == [read[2]]
        assert texts(chat.messages()) == ["3", "new"]

    def test_a_place_that_was_rewritten_is_not_mistaken(self, chat: Any) -> None:
        """Who read a message, and deletes or archives it, means that one."""
        chat.append([("user", str(n)) for n in range(1, 4)])
        version = chat.version()
        chat.append(("user", "somebody else's"))
        assert texts(chat.archive([1], expected=Since(version))) == ["1"]
        assert chat.delete(2, expected=Since(version)).text == "2"
        with pytest.raises(Conflict) as caught:
            chat.archive([3], expected=version)
        assert not isinstance(caught.value, Cleared)
        with pytest.raises(Conflict):
            chat.delete(3, expected=version)
        chat.replace([("user", "a"), ("user", "b"), ("user", "c")])
        with pytest.raises(Cleared):
            chat.archive([1], expected=Since(version))
        with pytest.raises(Cleared):
            chat.delete(1, expected=Since(version))
        assert texts(chat.messages(archived=False)) == ["a", "b", "c"]
        with pytest.raises(Misconfigured, match="expected"):
            chat.archive([1], expected="1")
        with pytest.raises(Misconfigured, match="expected"):
            chat.delete(1, expected="1")

    def test_only_some_are_replaced_by_one_while_another_archives(self, store: Store) -> None:
        """Each message is archived, or replaced, and never both or neither."""
        chat = store.session("chat")
        given: list[str] = []

        def archive() -> None:
            while "last" not in given:
                given.extend(texts(chat.archive(range(1, 200))))

        chat.append(("user", "first"))
        thread = threading.Thread(target=archive, daemon=True)
        thread.start()
        sets = [str(n) for n in range(20)]
        try:
            for text in sets:
                chat.replace(("user", text), archived=False)
        finally:
            chat.append(("user", "last"))
            thread.join()
        assert texts(chat.messages(archived=True)) == given
        assert chat.messages(archived=False) == []
        assert given == [text for text in ("first", *sets, "last") if text in given]

    @staticmethod
    def check_counts(chat: Any) -> None:
        """What a session says of itself is what it holds."""
        info, messages = chat.info(), chat.messages()
        assert info.messages == len(messages) == chat.count()
        assert len(messages) == chat.count(archived=True) + chat.count(archived=False)
        assert info.turns == sum(message.role == "user" for message in messages)
        assert info.tokens == sum(message.tokens for message in messages)

    def test_an_unknown_session_has_nothing_archived(self, chat: Any) -> None:
        assert chat.archive([1]) == chat.archive([1], expected=Version(0, 0)) == []
        with pytest.raises(Conflict):
            chat.archive([1], expected=Version(0, 1))
        chat.unarchive([1])
        assert chat.messages(archived=True) == chat.messages(archived=False) == []
        assert chat.count(archived=False) == 0

    def test_edit_keeps_place_id_and_time(self, chat: Any) -> None:
        (first, _) = chat.append([("user", "teh"), ("assistant", "?")])
        edited = chat.edit(1, ("user", "the"))
        assert (edited.seq, edited.id, edited.created_at) == (1, first.id, first.created_at)
        assert texts(chat.tail(5)) == texts(chat.messages()) == ["the", "?"]
        assert chat.version() == Version(1, 2)

    def test_delete_leaves_an_empty_place(self, chat: Any) -> None:
        chat.append([("user", "a"), ("user", "b"), ("user", "c")])
        assert chat.delete(2).text == "b"
        assert seqs(chat.messages()) == seqs(chat.tail(5)) == [1, 3]
        assert chat.version() == Version(1, 3)
        assert chat.count() == 2
        assert chat.append(("user", "d"))[0].seq == 4
        with pytest.raises(Conflict, match="deleted"):
            chat.delete(2)
        with pytest.raises(Conflict, match="no message 9"):
            chat.edit(9, ("user", "x"))

    def test_what_was_deleted_does_not_come_back_by_a_retry(self, chat: Any) -> None:
        message = Message("user", "gone", id="g")
        chat.append([message, ("user", "b")])
        read = chat.messages()
        chat.delete(1)
        chat.delete(2)
        with pytest.raises(Cleared):
            chat.append(message)
        with pytest.raises(Cleared):
            chat.append(read[1])
        assert chat.count() == 0

    def test_rewind(self, chat: Any) -> None:
        chat.append([("user", str(n)) for n in range(1, 6)])
        assert chat.rewind(2) == Version(1, 2)
        assert texts(chat.tail(9)) == ["1", "2"]
        assert chat.append(("user", "again"))[0].seq == 3
        assert texts(chat.messages()) == ["1", "2", "again"]
        with pytest.raises(Conflict):
            chat.rewind(9)

    def test_pop_takes_the_newest_and_returns_them(self, chat: Any) -> None:
        stored = chat.append([("user", f"m{i}") for i in range(1, 11)])
        assert chat.pop() == stored[9:]
        assert chat.version() == Version(1, 9)
        assert chat.pop(3) == stored[6:9]
        assert (chat.version(), texts(chat.tail(1))) == (Version(2, 6), ["m6"])
        assert seqs(chat.append(("user", "other"))) == [7]
        assert texts(chat.pop(100)) == ["m1", "m2", "m3", "m4", "m5", "m6", "other"]
        info = chat.info()
        assert (info.version, info.messages, info.turns, info.tokens) == (Version(3, 0), 0, 0, 0)
        assert chat.tail(3) == []

    def test_pop_of_nothing_writes_nothing(self, chat: Any, store: Store) -> None:
        assert chat.pop() == chat.pop(7) == []
        assert store.sessions(user="ada") == []
        chat.append([("user", "one"), ("user", "two")])
        before = chat.info()
        assert chat.pop(0) == []
        assert chat.info() == before
        chat.clear()
        before = chat.info()
        assert chat.pop() == []
        assert chat.info() == before

    def test_pop_leaves_deleted_places_and_counts_archived_messages(self, chat: Any) -> None:
        chat.append([("user", f"m{i}") for i in range(1, 9)])
        chat.archive([1, 2, 7])
        chat.delete(8)
        chat.delete(6)
        assert seqs(chat.pop(2)) == [5, 7]
        assert seqs(chat.messages()) == [1, 2, 3, 4]
        assert chat.head() == 4
        assert chat.info().messages == 4
        assert seqs(chat.messages(archived=True)) == [1, 2]
        chat.append(("user", "new"))
        assert seqs(chat.messages(archived=False)) == [3, 4, 5]

    def test_pop_minds_what_is_expected(self, chat: Any) -> None:
        chat.append([("user", "one"), ("user", "two")])
        version = chat.version()
        chat.append(("user", "three"))
        with pytest.raises(Conflict):
            chat.pop(expected=version)
        with pytest.raises(Conflict):
            chat.pop(expected=2)
        assert texts(chat.pop(expected=Since(version))) == ["three"]
        with pytest.raises(Cleared):
            chat.pop(expected=Since(version))
        with pytest.raises(Conflict):
            chat.pop(99, expected=7)
        assert texts(chat.pop(expected=2)) == ["two"]
        assert texts(chat.messages()) == ["one"]

    def test_what_was_popped_does_not_come_back(self, chat: Any) -> None:
        chat.append([("user", "one"), ("user", "two")])
        version = chat.version()
        (popped,) = chat.pop()
        with pytest.raises(Cleared):
            chat.append(popped)
        with pytest.raises(Cleared):
            chat.append(("user", "answer"), expected=version)
        assert texts(chat.tail(9)) == ["one"]

    def test_two_poppers_are_given_other_messages(self, store: Store) -> None:
        def popping() -> None:
            start.wait()
            mine = store.session("chat")
            while got := mine.pop(2):
                popped.extend(texts(got))

        said = [f"m{i}" for i in range(24)]
        store.session("chat").append([("user", text) for text in said])
        start, popped = threading.Barrier(3), list[str]()
        threads = [threading.Thread(target=popping) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(popped) == sorted(said)
        assert store.session("chat").count() == 0

    def test_clear_keeps_the_session_and_its_title(self, chat: Any) -> None:
        chat.append(("user", "a"))
        chat.update(title="Order 42", metadata={"ticket": 42})
        assert chat.clear() == Version(1, 0)
        assert chat.messages() == chat.tail(5) == []
        info = chat.info()
        assert (info.title, info.metadata, info.messages) == ("Order 42", {"ticket": 42}, 0)
        assert (info.turns, info.tokens) == (0, 0)

    def test_clearing_what_is_not_there_is_nothing(self, chat: Any, store: Store) -> None:
        assert chat.clear() == Version(0, 0)
        assert store.sessions(user="ada") == []

    def test_counts_follow_every_rewrite(self, chat: Any) -> None:
        chat.append([("user", "q" * n) for n in range(1, 9)])
        chat.append([("assistant", "a")])
        chat.edit(3, ("assistant", "not a question"))
        chat.delete(1)
        chat.rewind(6)
        chat.edit(2, ("user", "longer than before"))
        info, messages = chat.info(), chat.messages()
        assert info.messages == len(messages) == 5
        assert info.turns == sum(message.role == "user" for message in messages)
        assert info.tokens == sum(message.tokens for message in messages)

    # -- what was spent ----------------------------------------------------------------------

    @pytest.mark.parametrize(("said", "usage"), SPENT)
    def test_usage_is_what_a_message_says(
        self, chat: Any, said: dict[str, Any], usage: Usage
    ) -> None:
        (stored,) = chat.append(Message("assistant", "a", usage=said))
        assert stored.usage == said
        assert chat.info().usage == usage

    def test_usage_is_summed_by_each_append(self, chat: Any, store: Store, face: Face) -> None:
        assert chat.info().usage == Usage()
        chat.append([("user", "q"), answered(3), ("user", "q"), answered(4)])
        chat.append(("user", "q"))
        version = chat.version()
        chat.append(answered(5), expected=version)
        chat.append([answered(6), answered(7)], archived=True)
        whole = spent(3, 4, 5, 6, 7)
        assert chat.info().usage == whole
        (listed,) = face(store).sessions(user="ada")
        assert listed.usage == whole
        face(store.session("other", user="ada")).append(answered(8))
        face(store.session("chat", user="eve")).append(answered(9))
        assert face(store).stats(user="ada").usage == spent(3, 4, 5, 6, 7, 8)
        assert face(store).verify() == []

    def test_usage_of_what_is_said_again_counts_once(self, chat: Any) -> None:
        chat.append([answered(3, id="a"), answered(3, id="a")])
        for _ in range(2):
            chat.append([answered(3, id="a"), answered(4, id="b")])
        with pytest.raises(IdReused):
            chat.append([answered(9), answered(9, id="a")])
        with pytest.raises(Conflict):
            chat.append(answered(9), expected=7)
        assert chat.info().usage == spent(3, 4)

    def test_what_was_spent_stays_spent(self, chat: Any) -> None:
        chat.append([answered(n) for n in range(1, 8)])
        whole = chat.info().usage
        chat.delete(2)
        chat.pop()
        chat.rewind(3)
        assert chat.info().usage == whole
        chat.append(answered(8))
        assert chat.clear().head == 0
        assert chat.info().usage == spent(*range(1, 9))

    def test_an_edit_adds_what_is_said_more(self, chat: Any) -> None:
        chat.append([("assistant", "…"), answered(5), ("user", "q")])
        chat.edit(1, answered(3))  # its usage came at the end of a stream
        assert chat.info().usage == spent(3, 5)
        chat.edit(2, answered(5))
        chat.edit(2, ("assistant", "shorter"))
        chat.edit(3, ("user", "another"))
        assert chat.info().usage == spent(3, 5)
        chat.edit(1, answered(4))
        assert chat.info().usage == Usage(input_tokens=90, output_tokens=9, requests=2)

    def test_an_edit_never_makes_more_of_the_input_cached_than_there_is(
        self, chat: Any, store: Store, face: Face
    ) -> None:
        chat.append(("assistant", "a"))
        for _ in range(3):
            for cached in (0, 10):
                said = {"input_tokens": 10, "output_tokens": 1, "cached_tokens": cached}
                chat.edit(1, Message("assistant", "a", usage=said))
        assert chat.info().usage == Usage(
            input_tokens=10, output_tokens=1, cached_tokens=10, requests=1
        )
        assert face(store).verify() == []

    def test_what_is_put_back_is_not_paid_again(self, chat: Any) -> None:
        chat.append([("user", "q"), answered(3), ("user", "q"), answered(4)])
        chat.replace(chat.messages())
        assert chat.info().usage == spent(3, 4)
        chat.replace([answered(4), answered(4), answered(5)], after=3)
        assert chat.info().usage == spent(3, 4, 4, 5)
        chat.archive([2])
        chat.replace([answered(3), answered(4)], archived=True)
        assert chat.info().usage == spent(3, 4, 4, 5, 4)
        chat.replace([answered(4), answered(3)], archived=False)
        assert chat.info().usage == spent(3, 4, 4, 5, 4, 3)

    def test_a_fork_has_spent_nothing_and_an_erased_session_neither(
        self, chat: Any, store: Store, face: Face
    ) -> None:
        chat.append([answered(3), answered(4)])
        fork = face(store.session("fork", user="ada"))
        chat.fork("fork")
        assert fork.count() == 2
        assert fork.info().usage == Usage()
        fork.append(answered(5))
        assert face(store).stats(user="ada").usage == spent(3, 4, 5)
        chat.erase()
        assert chat.info().usage == Usage()
        chat.append(answered(6))
        assert face(store).stats(user="ada").usage == spent(5, 6)

    @pytest.mark.parametrize("reach", [2**32 + 1, 2 * 2**32 + 1, -(2**40), -1])
    def test_no_number_reaches_into_another_session(
        self, store: Store, face: Face, reach: int
    ) -> None:
        chats = [face(store.session(key)) for key in "abc"]
        for chat in chats:
            chat.append([("user", "one"), ("user", "two")])
        with pytest.raises((Misconfigured, Conflict)):
            chats[1].delete(reach)
        with pytest.raises((Misconfigured, Conflict)):
            chats[1].edit(reach, ("user", "mine now"))
        if reach < 0:
            with pytest.raises(Misconfigured):
                list(chats[1].scan(after=reach))
        prefix = chats[1].messages()[0].id.partition(".")[0]
        chats[1].append(Message("user", "guessed", id=f"{prefix}.0.{2**32 + abs(reach)}"))
        assert [texts(chat.messages()) for chat in chats] == [
            ["one", "two"],
            ["one", "two", "guessed"],
            ["one", "two"],
        ]

    @pytest.mark.parametrize("bad", ["1", -1, 1.5, True, (1,), (0, -1), [0, 1]])
    def test_what_cannot_be_expected(self, chat: Any, bad: Any) -> None:
        with pytest.raises(Misconfigured, match="expected"):
            chat.append(("user", "x"), expected=bad)
        assert chat.append(("user", "x"), expected=(0, 0))[0].seq == 1

    # -- created, and existing ---------------------------------------------------------------

    def test_a_session_is_created_before_anything_is_said(self, chat: Any, store: Store) -> None:
        info = chat.create(title="Plans", metadata={"n": 1}, expires_in=timedelta(days=1))
        assert (info.key, info.user, info.version, info.messages) == ("chat", "ada", (0, 0), 0)
        assert (info.title, info.metadata, info.expires_in) == (
            "Plans",
            {"n": 1},
            timedelta(days=1),
        )
        assert info.created_at is not None
        assert chat.info() == info
        assert store.sessions(user="ada") == [info]
        assert chat.messages() == chat.tail(3) == []
        chat.append(("user", "hello"))
        assert texts(chat.tail(3)) == ["hello"]
        assert chat.info().title == "Plans"

    def test_what_is_there_is_not_created_again(self, chat: Any, store: Store) -> None:
        assert chat.create().metadata == {}
        before = chat.info()
        with pytest.raises(Conflict, match="chat") as refused:
            chat.create(title="Another")
        assert refused.value.version == (0, 0)
        assert chat.info() == before
        chat.append(("user", "hello"))
        chat.clear()
        with pytest.raises(Conflict) as refused:
            chat.create(metadata={"n": 1})
        assert refused.value.version == (1, 0)
        assert (chat.info().title, chat.info().metadata) == (None, {})
        assert len(store.sessions(user="ada")) == 1

    def test_what_an_append_has_made_is_not_created(self, chat: Any) -> None:
        chat.append(("user", "hello"))
        with pytest.raises(Conflict):
            chat.create()
        assert texts(chat.messages()) == ["hello"]

    def test_one_of_several_creates_it(self, store: Store) -> None:
        def creating(n: int) -> None:
            start.wait()
            try:
                store.session("chat").create(title=str(n))
            except Conflict:
                return
            made.append(str(n))

        start, made = threading.Barrier(4), list[str]()
        threads = [threading.Thread(target=creating, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [store.session("chat").info().title]

    def test_what_was_erased_is_created_again(self, chat: Any) -> None:
        chat.append(("user", "hello"))
        chat.erase(thorough=False)
        with pytest.raises(Conflict, match="no session"):
            chat.append(("user", "hello"), existing=True)
        info = chat.create(title="Again")
        assert (info.title, info.messages, info.version.head) == ("Again", 0, 0)
        assert info.version.epoch > 0
        (stored,) = chat.append(("user", "hello"), existing=True)
        assert stored.seq == 1

    def test_only_an_existing_session_is_appended_to(self, chat: Any, store: Store) -> None:
        for given in (("user", "x"), [("user", "x"), ("user", "y")], Message("user", "x", id="x")):
            with pytest.raises(Conflict, match="chat"):
                chat.append(given, existing=True)
            with pytest.raises(Conflict, match="chat"):
                chat.append(given, existing=True, archived=True)
        assert chat.append([], existing=True) == []
        assert chat.info().created_at is None
        assert store.sessions(user="ada") == []
        chat.create()
        chat.append(("user", "one"), existing=True)
        chat.append([("user", "two"), ("user", "three")], existing=True, expected=1)
        chat.append(("user", "four"), existing=True, archived=True)
        with pytest.raises(Conflict):
            chat.append(("user", "five"), existing=True, expected=1)
        chat.clear()
        chat.append(("user", "six"), existing=True)
        assert texts(chat.messages()) == ["six"]

    def test_a_created_session_is_not_unmade_by_a_late_retry(self, chat: Any, store: Store) -> None:
        (late,) = chat.append(("user", "hello"))
        chat.erase(thorough=False)
        chat.create()
        with pytest.raises(Cleared):
            chat.append(late)
        assert chat.append(late, expected=Since(Version(9, 9))) == []
        assert len(store.sessions(user="ada")) == 1

    # -- sessions and scopes -----------------------------------------------------------------

    def test_update_changes_only_what_is_named(self, chat: Any) -> None:
        info = chat.update(title="A title \x00 \ud83d", metadata={"n": (1, 2)})
        assert (info.title, info.metadata) == ("A title \x00 \ud83d", {"n": (1, 2)})
        assert chat.update(metadata={"m": 1}).title == "A title \x00 \ud83d"
        assert chat.update(title=None).metadata == {"m": 1}
        assert chat.info().title is None

    def test_update_merges_metadata(self, chat: Any) -> None:
        assert chat.update(merge={"a": 1}).metadata == {"a": 1}  # makes it, as all of update does
        chat.update(title="A title", metadata={"a": 1, "b": {"c": 2}})
        info = chat.update(merge={"b": None, "d": (1, 2)})
        assert (info.title, info.metadata) == ("A title", {"a": 1, "b": None, "d": (1, 2)})
        assert chat.update(merge={}, title="Another").metadata == info.metadata
        assert chat.info() == chat.update()

    @pytest.mark.parametrize("given", [None, [("a", 1)], "a", {"a": object()}])
    def test_update_refuses_what_cannot_be_merged(self, chat: Any, given: Any) -> None:
        with pytest.raises((Misconfigured, InvalidMessage)):
            chat.update(merge=given)
        with pytest.raises(Misconfigured, match="pass one of the two"):
            chat.update(merge={"a": 1}, metadata={"b": 2})
        assert chat.info().created_at is None

    def test_all_who_merge_different_keys_win(self, store: Store) -> None:
        chat = store.session("chat", user="ada")

        def merge(n: int) -> None:
            for i in range(5):
                chat.update(merge={f"{n}-{i}": i})

        threads = [threading.Thread(target=merge, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert chat.info().metadata == {f"{n}-{i}": i for n in range(4) for i in range(5)}

    def test_update_says_what_it_expects(self, chat: Any) -> None:
        chat.append(("user", "one"))
        chat.update(metadata={"a": 1}, expected=Version(0, 1))
        version = chat.version()
        chat.append(("user", "two"))
        with pytest.raises(Conflict) as refused:
            chat.update(merge={"a": 2}, expected=version)
        assert refused.value.version == Version(0, 2)
        assert refused.value.info == chat.info()
        chat.update(merge={"b": 2}, expected=Since(version))
        chat.update(merge={"c": 3}, expected=2)
        chat.clear()
        with pytest.raises(Cleared) as cleared:
            chat.update(title="Gone", expected=Since(version))
        assert cleared.value.info == chat.info()
        assert (chat.info().title, chat.info().metadata) == (None, {"a": 1, "b": 2, "c": 3})
        with pytest.raises(Misconfigured):
            chat.update(title="x", expected="now")

    def test_update_expects_what_was_read(self, chat: Any) -> None:
        nothing = chat.info()
        first = chat.update(metadata={"plan": "free"}, expected=nothing)
        with pytest.raises(Conflict) as refused:
            chat.update(metadata={"plan": "team"}, expected=nothing)
        assert refused.value.info == first
        chat.append(("user", "what is said does not matter to it"))
        chat.update(metadata={"plan": "pro"}, expected=first)
        for changed in ({"title": "Other"}, {"expires_in": timedelta(days=1)}, {"merge": {"x": 1}}):
            read = chat.info()
            chat.update(**changed)
            with pytest.raises(Conflict):
                chat.update(title="late", expected=read)
        assert chat.info().title == "Other"

    def test_an_update_that_is_refused_makes_no_session(self, chat: Any, store: Store) -> None:
        with pytest.raises(Conflict):
            chat.update(title="A title", expected=3)
        assert store.sessions(user="ada") == []

    @pytest.mark.parametrize("name", STRANGE_NAMES)
    def test_strange_names_are_names(self, store: Store, face: Face, name: str) -> None:
        scopes: list[dict[str, Any]] = [
            {"key": name},
            {"key": "k", "tenant": name},
            {"key": "k", "user": name},
            {"key": "k", "agent": name},
        ]
        for i, scope in enumerate(scopes):
            face(store.session(**scope)).append(("user", str(i)))
        for i, scope in enumerate(scopes):
            assert texts(face(store.session(**scope)).messages()) == [str(i)]
            (info,) = store.sessions(**{k: v for k, v in scope.items() if k != "key"})
            assert info.key == scope["key"]
        assert len(face(store).sessions(tenant=ANY, user=ANY, agent=ANY)) == 4

    def test_scopes_are_walls(self, store: Store, face: Face) -> None:
        names = [("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ("", "ab", "c"), ("", "", "")]
        for tenant, user, agent in names:
            session = face(store.session("k", tenant=tenant, user=user, agent=agent))
            session.append(("user", f"{tenant}|{user}|{agent}"))
        for tenant, user, agent in names:
            session = face(store.session("k", tenant=tenant, user=user, agent=agent))
            assert texts(session.messages()) == [f"{tenant}|{user}|{agent}"]
            (info,) = face(store).sessions(tenant=tenant, user=user, agent=agent)
            assert (info.tenant, info.user, info.agent) == (tenant, user, agent)

    def test_sessions_are_listed_by_last_activity(self, store: Store, face: Face) -> None:
        for n in range(7):
            face(store.session(f"s{n}", user="ada")).append(("user", "x"))
        face(store.session("other", user="bob")).append(("user", "x"))
        face(store.session("s2", user="ada")).append(("user", "y"))
        listed: list[str] = []
        after = None
        while page := face(store).sessions(user="ada", limit=3, after=after):
            listed += [info.key for info in page]
            after = page[-1]
        assert listed == ["s2", "s6", "s5", "s4", "s3", "s1", "s0"]
        everybody = face(store).sessions(tenant=ANY, user=ANY, agent=ANY)
        assert [info.key for info in everybody][:2] == ["s2", "other"]

    def test_any_is_not_a_name(self, store: Store) -> None:
        with pytest.raises(InvalidName):
            store.session("k", tenant=ANY)  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", ["", "x" * 513, "a\x00b", "\ud800", 7, None])
    def test_bad_names_are_refused(self, store: Store, bad: Any) -> None:
        with pytest.raises(InvalidName, match="key"):
            store.session(bad)
        if bad != "":
            with pytest.raises(InvalidName, match="user"):
                store.session("k", user=bad)
            with pytest.raises(InvalidName, match="agent"):
                store.sessions(agent=bad)

    # -- what cannot be stored ---------------------------------------------------------------

    @pytest.mark.parametrize(
        ("message", "field"),
        [
            (Message(""), "role"),
            (Message(7), "role"),  # type: ignore[arg-type]
            (Message("user", 7), "content"),  # type: ignore[arg-type]
            (Message("user", ["text"]), r"content\[0\]"),  # type: ignore[list-item]
            (Message("user", [Text(7)]), r"content\[0\]"),  # type: ignore[arg-type]
            (Message("user", "x", metadata={"a": [object()]}), r"metadata\['a'\]\[0\]"),
            (Message("user", "x", name=7), "name"),  # type: ignore[arg-type]
            (Message("user", "x", id=""), "id"),
            (Message("user", "x", id="a\x00"), "id"),
            (Message("user", "x", created_at=datetime(2024, 1, 1)), "created_at"),
            (Message("user", "x", created_at=NEVER_IN_UTC), "created_at"),
            ({"role": "user", "contents": "typo"}, "contents"),
            ({"content": "no role"}, "role"),
            ("just text", "append"),
            (None, "append"),
            ([["user", "a list, not a pair"]], "list"),
        ],
    )
    def test_what_cannot_be_stored_is_refused_by_name(
        self, chat: Any, message: Any, field: str
    ) -> None:
        with pytest.raises(InvalidMessage, match=field):
            chat.append(message)
        if not isinstance(message, str | list) and message is not None:
            with pytest.raises(InvalidMessage):
                chat.append([("user", "fine"), message])
        assert chat.messages() == []

    @pytest.mark.parametrize("bad", [-1, 1.5, "3", True])
    def test_numbers_that_are_none(self, chat: Any, bad: Any) -> None:
        with pytest.raises(Misconfigured):
            chat.tail(bad)
        with pytest.raises(Misconfigured):
            chat.messages(limit=bad)
        with pytest.raises(Misconfigured):
            chat.messages(before=bad)
        with pytest.raises(Misconfigured):
            chat.rewind(bad)
        with pytest.raises(Misconfigured):
            chat.pop(bad)
