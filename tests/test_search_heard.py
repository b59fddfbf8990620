"""What a process remembers of messages it has taken apart: of their bytes, bounded, and gone with
what is erased."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onrecord import Message, Store, codec
from onrecord.errors import Damaged
from onrecord.flows.search.heard import Hearing


@pytest.fixture
def store(each_store: Callable[..., Store]) -> Store:
    return each_store()


def frame_of(text: str) -> bytes:
    return codec.encode(Message("user", text), "none")[0]


def test_of_too_many_the_oldest_are_forgotten() -> None:
    hearing = Hearing(most=20_000)
    frames = [frame_of(f"message {n} of many") for n in range(100)]
    heard = [hearing.hear(frame).text for frame in frames]
    assert heard == [f"message {n} of many" for n in range(100)]
    assert 5 < len(hearing) < 40
    assert hearing.hear(frames[0]).text == "message 0 of many"


def test_nothing_is_remembered_of_what_nobody_can_read() -> None:
    hearing = Hearing()
    with pytest.raises(Damaged):
        hearing.hear(b"\x00broken")
    assert len(hearing) == 0


def test_it_is_forgotten_with_what_is_erased(store: Store) -> None:
    session = store.session("support", user="ada")
    session.append([("user", "the ferry to Lisbon"), ("assistant", "leaves at nine")])
    assert session.search("ferry")
    assert len(store._desk.hearing)
    session.erase()
    assert not len(store._desk.hearing)


def test_places_in_segments_and_behind_them_are_read_alike(store: Store) -> None:
    session = store.session("long", user="ada")
    said = [("user", f"word{n % 7} and place{n}") for n in range(150)]
    session.append(said)
    before = [(h.message.seq, h.score) for h in store.search("word3 place140", user="ada")]
    store.compact(quiet_for=0)
    assert [(h.message.seq, h.score) for h in store.search("word3 place140", user="ada")] == before
    session.append(("user", "word3 at the end"))
    found = store.search("word3 end", user="ada", limit=5)
    assert found[0].message.seq == 151
