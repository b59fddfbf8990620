"""What goes in comes out equal, or is refused before anything is written (I10)."""

from __future__ import annotations

import enum
import math
import uuid
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onrecord import (
    Audio,
    Citation,
    Damaged,
    File,
    Image,
    InvalidMessage,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from onrecord.codec import (
    decode,
    encode,
    envelope,
    frame,
    items,
    pack_value,
    placeholder,
    same_content,
    unpack_value,
)
from onrecord.codec.frame import LARGEST

# Every code point, lone surrogates included: a str may hold them and tool output does.
any_text = st.text(st.characters(codec=None, exclude_categories=()))
zones = st.sampled_from(
    [ZoneInfo("UTC"), ZoneInfo("Europe/Lisbon"), ZoneInfo("America/St_Johns"), UTC]
) | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)


def short(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The same strategy with a short name: hypothesis warns of the pages a failure would print."""

    @st.composite
    def value(draw: st.DrawFn) -> Any:
        return draw(strategy)

    return value()


scalars = short(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | any_text
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=zones)
    | st.times()
    | st.times(timezones=st.just(UTC))
    | st.timedeltas()
)
hashables = short(
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    )
)
plain = short(
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.sets(hashables, max_size=4)
            | st.frozensets(hashables, max_size=4)
            | st.dictionaries(any_text, inner, max_size=4)
            | st.dictionaries(hashables, inner, max_size=4)
        ),
        max_leaves=12,
    )
)
extras = short(st.dictionaries(any_text, plain, max_size=2))
optional_text = st.none() | any_text
media = st.tuples(st.none() | st.binary(), optional_text, optional_text, optional_text, extras)
leaf_blocks = short(
    st.builds(Text, any_text, extras)
    | media.map(lambda m: Image(*m))
    | media.map(lambda m: Audio(*m))
    | media.map(lambda m: Video(*m))
    | media.map(lambda m: File(*m))
    | st.builds(Reasoning, any_text, optional_text | st.binary(), extras)
    | st.builds(ToolCall, any_text, plain, optional_text, extras)
    | st.builds(Citation, any_text, optional_text, extras)
    | st.builds(Refusal, any_text, extras)
    | st.builds(Opaque, any_text, any_text, plain)
)
blocks = short(
    st.recursive(
        leaf_blocks,
        lambda inner: st.builds(
            ToolResult, optional_text, st.lists(inner, max_size=3), st.booleans(), extras
        ),
        max_leaves=4,
    )
)
messages = short(
    st.builds(
        Message,
        any_text.filter(bool),
        any_text | st.lists(blocks, max_size=4),
        optional_text,
        optional_text,
        st.none() | extras,
        extras,
        extras,
    )
)


def exactly(value: Any) -> str:
    """Equal and of the same types all the way down; ``==`` alone says 1 == True == 1.0."""
    return repr(value)


@given(messages, st.sampled_from(["zstd", "none"]))
def test_every_message_round_trips(message: Message, compression: Any) -> None:
    frame, copy = encode(message, compression)
    assert copy == message
    assert decode(frame) == message
    assert exactly(decode(frame)) == exactly(copy)


@given(plain)
def test_every_value_round_trips(value: Any) -> None:
    back = unpack_value(pack_value(value, "value"))
    assert back == value
    if not _holds_a_set(value):  # whose order is nobody's
        assert exactly(back) == exactly(value)


def _holds_a_set(value: Any) -> bool:
    match value:
        case set() | frozenset():
            return True
        case dict():
            return any(_holds_a_set(k) or _holds_a_set(v) for k, v in value.items())
        case list() | tuple():
            return any(map(_holds_a_set, value))
        case _:
            return False


@given(messages)
def test_compression_is_not_content(message: Message) -> None:
    assert same_content(encode(message, "zstd")[0], encode(message, "none")[0])


@given(messages, messages)
def test_same_content_means_equal(one: Message, other: Message) -> None:
    assert same_content(encode(one)[0], encode(other)[0]) == (one == other)


def test_what_the_store_fills_in_is_not_content() -> None:
    bare = Message("user", "x")
    full = Message("user", "x", id="a", created_at=datetime.now(UTC), seq=4, tokens=9)
    assert encode(bare)[0] == encode(full)[0]


@given(messages, st.data())
def test_one_flipped_bit_is_noticed(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encode(message)[0])
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Damaged):
        decode(bytes(frame))


@given(st.binary())
def test_any_bytes_at_all_are_decoded_or_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        decode(data)


@settings(max_examples=60)
@given(st.lists(st.tuples(messages, st.sampled_from(["zstd", "none"]), st.booleans()), min_size=1))
def test_frames_decoded_together_say_what_each_says(given: list[tuple[Message, Any, bool]]) -> None:
    frames = [
        frame.checked(*frame.said_by(stored)) if checked else stored
        for message, compression, checked in given
        for stored in [encode(message, compression)[0]]
    ]
    together = frame.decode_together(frames)
    escaped = any(frame.said_by(one)[0] for one in frames)
    if together is None:
        assert escaped or min(map(len, frames)) < 6, "only what is rare is left to be read singly"
    else:
        assert exactly(together) == exactly([decode(one) for one in frames])


def test_what_cannot_be_read_is_not_decoded_together() -> None:
    plain, packed = (encode(Message("user", "word " * n))[0] for n in (2, 500))
    sealed = frame.checked(*frame.said_by(plain))
    assert frame.decode_together([plain, packed, sealed]) == [
        decode(one) for one in (plain, packed, sealed)
    ]
    body = plain[6:]
    strange = [
        plain.replace(b"word", b"ward"),
        packed[:-1] + b"?",
        plain[:4],
        b"",
        encode(Message("user", "\ud800"))[0],
        envelope.wrap(envelope.MESSAGE, body + b"\xc0"),
        envelope.wrap(envelope.MESSAGE, body[:-1]),
        envelope.wrap(envelope.MESSAGE, b""),
        envelope.wrap(envelope.SEGMENT, body),
        envelope.wrap(envelope.MESSAGE, body, envelope.ENCRYPTED),
    ]
    for one in strange:
        for beside in ([one], [plain, one], [one, plain], [plain, one, sealed]):
            assert frame.decode_together(beside) is None


def test_a_frame_of_a_newer_version_says_so() -> None:
    from zlib import crc32

    body = b"whatever comes next year"
    checksum = crc32(body, 2 << 8).to_bytes(4, "little")
    with pytest.raises(Damaged, match="newer"):
        decode(bytes((2, 0)) + checksum + body)


def test_a_placeholder_says_why_and_keeps_the_bytes() -> None:
    stand_in = placeholder(b"\x01\x00broken", Damaged("its checksum does not match"))
    assert "checksum" in stand_in.text
    assert isinstance(stand_in.content[1], Opaque)
    assert stand_in.content[1].data["frame"] == b"\x01\x00broken"
    encode(stand_in)  # it can be carried elsewhere like any message


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "plain_value"),
    [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Point(1, 2), (1, 2)),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (bytearray(b"x"), b"x"),
    ],
)
def test_subclasses_of_plain_types_come_back_plain_and_equal(value: Any, plain_value: Any) -> None:
    back = unpack_value(pack_value(value, "value"))
    assert back == value
    assert exactly(back) == exactly(plain_value)


def test_text_of_another_class_is_kept_as_text() -> None:
    """LangChain's ``message.text`` is a class of its own, which stands for a string."""

    class Accessor(str):
        def __str__(self) -> str:
            return "another"

    for said in (Text(Accessor("hello")), Text(Accessor("é\ud800"))):
        [read] = decode(encode(Message("user", [said]))[0]).content
        assert isinstance(read, Text)
        assert type(read.text) is str
        assert read.text == said.text


def test_numbers_too_long_to_print_survive() -> None:
    for number in (10**5000, -(10**5000), 2**64, -(2**63) - 1):
        assert unpack_value(pack_value(number, "v")) == number


def test_a_subclass_of_a_message_is_refused_rather_than_cut_down() -> None:
    class Longer(Message, frozen=True, array_like=True, gc=False):
        mood: str = "good"

    with pytest.raises(InvalidMessage, match="Longer"):
        encode(Longer("user", (Text("x"),)))


def test_nan_and_infinity_survive() -> None:
    back = unpack_value(pack_value([math.nan, math.inf, -math.inf, Decimal("NaN"), -0.0], "v"))
    assert math.isnan(back[0])
    assert back[1:3] == [math.inf, -math.inf]
    assert back[3].is_nan()
    assert math.copysign(1, back[4]) == -1


def test_an_ambiguous_hour_keeps_its_side() -> None:
    lisbon = ZoneInfo("Europe/Lisbon")
    for fold in (0, 1):
        moment = datetime(2024, 10, 27, 1, 30, tzinfo=lisbon, fold=fold)
        back = unpack_value(pack_value(moment, "v"))
        assert (back, back.fold, back.utcoffset()) == (moment, fold, moment.utcoffset())


class Weird:
    def __repr__(self) -> str:
        return "weird"


def wrong(value: Any) -> Any:
    """What a type checker would have refused."""
    return value


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (Message("user", "x", metadata={"a": {"b": [1, Weird()]}}), r"metadata\['a'\]\['b'\]\[1\]"),
        (Message("user", [ToolCall("f", {"x": Weird()})]), r"content\[0\].args\['x'\]"),
        (Message("user", [Opaque("f", "n", Weird())]), r"content\[0\].data"),
        (Message("user", [ToolResult("c", [Text("ok"), wrong(3)])]), r"content\[0\].content\[1\]"),
        (Message("user", [Text("ok"), ToolCall(wrong(7))]), r"content\[1\]"),
        (Message("user", "x", usage=wrong([1])), "usage"),
        (Message("user", "x", tool_call_id=wrong(b"x")), "tool_call_id"),
        (Message("user", wrong({"no": "blocks"})), "content"),
        (Message("user", "x", native={"a": time(1, tzinfo=ZoneInfo("Asia/Tokyo"))}), "native"),
    ],
)
def test_what_cannot_be_stored_is_named(message: Any, path: str) -> None:
    with pytest.raises(InvalidMessage, match=path):
        encode(message)


def test_what_is_nested_too_deep_is_refused_and_what_is_not_can_be_read_back() -> None:
    deep: Any = "x"
    for _ in range(99):
        deep = (deep,)
    assert unpack_value(pack_value(deep, "v")) == deep
    with pytest.raises(InvalidMessage, match="nested deeper"):
        pack_value([[deep]], "v")
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidMessage, match="nested deeper"):
        encode(Message("user", "x", metadata={"loop": loop}))


def test_what_is_too_large_is_refused_with_the_limit() -> None:
    with pytest.raises(InvalidMessage, match=f"{LARGEST:,}"):
        encode(Message("user", "x" * (LARGEST + 1)))


def test_long_text_is_compressed_and_short_text_is_not_made_longer() -> None:
    long = Message("user", "the same words again and again " * 100)
    assert len(encode(long, "zstd")[0]) < len(encode(long, "none")[0]) / 5
    short = Message("user", "hi")
    assert encode(short, "zstd") == encode(short, "none")


def test_values_with_a_meaning_beyond_their_bytes() -> None:
    value = {
        "id": uuid.UUID(int=7),
        "day": date(2024, 2, 29),
        "price": Decimal("1.10"),
        "span": timedelta(days=-1, microseconds=5),
        ("a", 1): {2, 3},
        False: "not zero",
    }
    back = unpack_value(pack_value(value, "v"))
    assert exactly(back) == exactly(value)


def test_a_set_is_the_same_bytes_in_whatever_order_it_was_made() -> None:
    one, other = {0, 8}, {8, 0}
    assert list(one) != list(other)
    frames = [
        encode(Message("user", "x", metadata={"set": made, "nan": float("nan")}))[0]
        for made in (one, other)
    ]
    assert frames[0] == frames[1]


def test_the_turn_that_a_message_belongs_to_is_not_what_it_says() -> None:
    plain, noted, other = (
        encode(Message("assistant", "x", metadata=metadata))[0]
        for metadata in ({"a": 1}, {"a": 1, "turn": "t"}, {"a": 2, "turn": "t"})
    )
    assert same_content(plain, noted)
    assert not same_content(plain, other)
    assert not same_content(noted, other)


@pytest.mark.parametrize(
    "head",
    [
        (["json"], [1, 1]),  # fewer kinds than items
        (["json", "json"], [-1, 3]),
        (["json"], [2**40]),
        ("json", [[]]),
        ([[["json"] * 10]], [1]),
    ],
)
def test_items_that_nobody_would_write_are_damaged(head: Any) -> None:
    packed = msgspec.msgpack.encode(head)
    body = len(packed).to_bytes(4, "little") + packed + b"ab"
    frame = bytes((1, 0)) + crc32(body, 1 << 8).to_bytes(4, "little") + body
    with pytest.raises(Damaged):
        items.unpack(frame)
