"""The envelope that every stored frame is in: what it costs, what it notices, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord import Damaged, Message, codec
from onrecord.cache.packing import Garbled, packed, unpacked
from onrecord.codec import Dictionary, compression, dictionary, envelope, items, segment
from onrecord.codec.refs import pack_refs, unpack_refs
from onrecord.codec.segment import Segment
from onrecord.stored.messages import MessageRow

TEXTS = [f"This is message {n}, and it says what the others say, {n * 7}." for n in range(400)]
CONTENT = compression.learn([text.encode() for text in TEXTS], 4_096) or b""
LEARNED = Dictionary(3, CONTENT)


def row(frame: bytes) -> MessageRow:
    return MessageRow(1, 0, frame, None, 1_700_000_000_000_000, 3, 1, 0xABC)


FRAME = codec.encode(Message("user", "hello"))[0]
LONG = Message("user", "words that come back, " * 60)


def _segment(with_dictionary: Dictionary | None) -> bytes:
    rows = tuple(codec.encode(Message("user", text))[0] for text in TEXTS[:20])
    whole = Segment(tuple(map(row, rows)), (True,) * len(rows))
    return segment.pack(whole, compression.QUICK, with_dictionary)[0]


def _read_segment(stored: bytes) -> object:
    return segment.unpack(stored, 1, {3: LEARNED}.get)


def _read_learned(stored: bytes) -> object:
    if codec.dictionary_of(stored) is not None:  # the only ones of which a dictionary is asked
        stored = codec.without_dictionary(stored, LEARNED)
    return codec.decode(stored)


class Format(NamedTuple):
    """One of the things that are stored."""

    kind: int
    stored: bytes
    read: Callable[[bytes], object]


FORMATS = {
    "a message": Format(envelope.MESSAGE, FRAME, codec.decode),
    "a long message": Format(envelope.MESSAGE, codec.encode(LONG)[0], codec.decode),
    "a message with half a pair": Format(
        envelope.MESSAGE, codec.encode(Message("user", "\ud800"))[0], codec.decode
    ),
    "a learned message": Format(
        envelope.MESSAGE,
        codec.with_dictionary(codec.encode(Message("user", TEXTS[7]))[0], LEARNED),
        _read_learned,
    ),
    "a segment": Format(envelope.SEGMENT, _segment(None), _read_segment),
    "a learned segment": Format(envelope.SEGMENT, _segment(LEARNED), _read_segment),
    "items": Format(envelope.ITEMS, items.pack([("json", b"{}"), ("bin", b"12")]), items.unpack),
    "many items": Format(
        envelope.ITEMS, items.pack([("json", text.encode()) for text in TEXTS]), items.unpack
    ),
    "a dictionary": Format(envelope.DICTIONARY, dictionary.pack(CONTENT), dictionary.unpack),
    "where values stand": Format(
        envelope.REFS,
        pack_refs({"messages": [1, 1, 5], "mode": [3, 0]}, b"id", b"parent"),
        lambda stored: unpack_refs(stored, b"id", b"parent"),
    ),
    "a row of the cache": Format(
        envelope.CACHED,
        packed([row(FRAME)])[0][0].partition(b" ")[2],
        lambda stored: unpacked(b"abc " + stored),
    ),
}


@pytest.fixture(params=FORMATS)
def made(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


def test_each_is_read_back_out_of_one_header(made: Format) -> None:
    made.read(made.stored)
    assert made.stored[0] == made.kind
    assert not made.stored[1] & ~(envelope.COMPRESSED | envelope.ESCAPED | envelope.LEARNED)


def test_no_two_kinds_look_alike() -> None:
    kinds = {made.kind for made in FORMATS.values()}
    assert len({kind >> 4 for kind in kinds}) == len(kinds) == 6
    for made in FORMATS.values():
        for other in FORMATS.values():
            if other.kind != made.kind:
                with pytest.raises((Damaged, Garbled)):
                    made.read(other.stored)


def test_every_flipped_bit_is_noticed(made: Format) -> None:
    for place in range(min(len(made.stored), 400)):
        for bit in range(8):
            flipped = bytearray(made.stored)
            flipped[place] ^= 1 << bit
            with pytest.raises((Damaged, Garbled)):
                made.read(bytes(flipped))
    for end in range(min(len(made.stored), 400)):
        with pytest.raises((Damaged, Garbled)):
            made.read(made.stored[:end])


@pytest.mark.parametrize("flag", [envelope.ENCRYPTED, 16, 32, 64, 128])
def test_a_flag_that_is_not_known_was_set_by_a_newer_version(made: Format, flag: int) -> None:
    newer = resealed(made.stored, made.stored[0], made.stored[1] | flag, made.kind)
    with pytest.raises((Damaged, Garbled), match="newer Onrecord"):
        made.read(newer)


def test_a_version_that_is_not_known_is_a_newer_one(made: Format) -> None:
    newer = resealed(made.stored, made.kind + 1, made.stored[1], made.kind)
    with pytest.raises((Damaged, Garbled), match="newer Onrecord"):
        made.read(newer)


def resealed(stored: bytes, first: int, flags: int, kind: int) -> bytes:
    about = {envelope.CACHED: b"abc", envelope.REFS: b"idparent"}.get(kind, b"")
    return envelope.wrap(first, stored[envelope.HEADER :], flags, about)


def test_what_is_kept_beside_it_is_under_its_checksum() -> None:
    (stored,), _ = packed([row(FRAME)])
    token, _, sealed = stored.partition(b" ")
    assert unpacked(stored) == row(FRAME)
    with pytest.raises(Garbled):
        unpacked(b"abd " + sealed)
    assert token == b"abc"


@given(st.binary(max_size=300), st.integers(0, 3))
def test_what_goes_in_comes_out(body: bytes, how: int) -> None:
    kind = envelope.ITEMS
    used = LEARNED if how == 3 else None
    if how == 0:
        stored = envelope.wrap(kind, body)
        assert len(stored) == len(body) + envelope.HEADER
    else:
        stored = envelope.wrap_compressed(kind, body, compression.QUICK, used)
    assert len(stored) <= len(body) + envelope.HEADER
    known = envelope.COMPRESSED | envelope.LEARNED
    assert envelope.unwrap(stored, kind, known, {3: LEARNED}.get) == body
    assert envelope.body_length(stored[:32], len(stored)) == len(body)
    assert envelope.dictionary_of(stored, kind) == (3 if stored[1] & envelope.LEARNED else None)


def test_a_frame_says_what_it_needs_and_how_long_it_was() -> None:
    plain, long = FRAME, codec.encode(LONG)[0]
    learned = FORMATS["a learned message"].stored
    assert codec.dictionary_of(plain) is codec.dictionary_of(long) is None
    assert codec.dictionary_of(learned) == 3
    for frame in (plain, long, learned):
        content = (
            codec.decode(codec.without_dictionary(frame, LEARNED))
            if (frame is learned)
            else codec.decode(frame)
        )
        uncompressed = codec.encode(content, "none")[0]
        assert codec.raw_length(frame) == (None if frame is plain else len(uncompressed))
    for damaged in (b"", b"\x01\x01abc", b"\x01\x01" + bytes(8)):
        assert codec.raw_length(damaged) is None, "it does not say"


def test_a_segment_in_the_place_of_a_message_says_so() -> None:
    with pytest.raises(Damaged, match=r"segment it was kept in.*needs dictionary 3"):
        codec.decode(FORMATS["a learned segment"].stored)
    with pytest.raises(Damaged, match=r"segment it was kept in.*checksum"):
        codec.decode(FORMATS["a segment"].stored + b"x")
