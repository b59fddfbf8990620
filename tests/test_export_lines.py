"""What a line of an export says, and that it comes back from it the same."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord import Damaged, Message, Store
from onrecord.codec import encode, lines
from onrecord.codec import value as value_codec
from onrecord.codec.lines import Place
from onrecord.scope import NamespaceName, SessionName
from tests.test_codec import messages, plain

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def line_and_back(message: Message) -> tuple[bytes, Message]:
    line = lines.line_of(Place(1, message, None, 0))
    assert line.count(b"\n") == 1
    json.loads(line)  # any reader of JSON takes it
    place = lines.read(line)
    assert isinstance(place, Place)
    assert place.content is not None
    return line, place.content


@given(messages)
def test_every_message_comes_back_from_its_line(message: Message) -> None:
    frame, stored = encode(message, "none")
    line, back = line_and_back(stored)
    assert back == stored
    assert encode(back, "none")[0] == frame  # also of the same types, all the way down
    assert line_and_back(back)[0] == line


@given(plain)
def test_every_value_comes_back_from_a_title_page(value: Any) -> None:
    session = lines.Session(SessionName(key="k"), 0, 0, 0, None, {"value": value})
    back = lines.read(lines.line_of(session))
    assert isinstance(back, lines.Session)
    given, found = (Message("user", metadata={"m": m}) for m in ({"value": value}, back.metadata))
    assert encode(found)[0] == encode(given)[0]


@given(plain, st.none() | st.text())
def test_every_value_comes_back_from_an_item(value: Any, text: str | None) -> None:
    body = value_codec.encode(value, text, "value")
    stored = value_codec.decode(body)
    name = NamespaceName(parts=("a", "b"), user="ada")
    said = lines.Item(name, "k", *stored, None, 0, 1, 2, 3)
    line = lines.line_of(said)
    assert line.count(b"\n") == 1
    back = lines.read(line)
    assert isinstance(back, lines.Item)
    assert lines.line_of(back) == line
    assert back._replace(value=None) == said._replace(value=None)
    assert value_codec.encode(back.value, back.text, "value") == value_codec.encode(
        *stored, "value"
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (NAN, {"$float": "nan"}),
        (-NAN, {"$float": "0xfff8000000000000"}),
        (float("inf"), {"$float": "inf"}),
        (float("-inf"), {"$float": "-inf"}),
        (complex(NAN, -0.0), {"$complex": [{"$float": "nan"}, -0.0]}),
        (Decimal("sNaN12"), {"$decimal": "sNaN12"}),
        (2**53 - 1, 2**53 - 1),
        (-(2**53), {"$int": "-0x20000000000000"}),
        (1.0, 1.0),
        (True, True),
        (b"\xff", {"$bytes": "/w=="}),
        (("a",), {"$tuple": ["a"]}),
        ({"b", "a", "c"}, {"$set": ["a", "b", "c"]}),
        ({"$bytes": "/w=="}, {"$dict": [["$bytes", "/w=="]]}),
        ({"$": 1, "b": 2}, {"$": 1, "b": 2}),
        ({1: 2}, {"$dict": [[1, 2]]}),
        ("\\ud800 \ud800", {"$text": "\\\\ud800 \\ud800"}),
        ({"\udfff": 1}, {"$dict": [[{"$text": "\\udfff"}, 1]]}),
        ("\\ud800", "\\ud800"),
        (AT, {"$datetime": "2026-01-02T03:04:05.678901+00:00"}),
        (UUID(int=1), {"$uuid": "00000000-0000-0000-0000-000000000001"}),
    ],
)
def test_what_json_cannot_say_is_tagged(value: Any, written: Any) -> None:
    frame, message = encode(Message("user", metadata={"value": value}), "none")
    line, back = line_and_back(message)
    assert json.loads(line)["metadata"]["value"] == written
    assert encode(back, "none")[0] == frame


def test_numbers_too_long_to_print() -> None:
    frame, message = encode(Message("user", metadata={"value": -(7**9000)}), "none")
    assert encode(line_and_back(message)[1], "none")[0] == frame


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[1]",
        b'{"type": "message"}',
        b'{"type": "music", "seq": 1}',
        b'{"type": ["message"]}',
        b'{"type":"deleted","seq":1,"created_at":"2026-01-01T00:00:00Z","colour":"red"}',
        b'{"type":"deleted","seq":1,"created_at":"2026-01-01T00:00:00"}',
        b'{"type":"deleted","seq":-1,"created_at":"2026-01-01T00:00:00Z"}',
        b'{"type":"deleted","seq":true,"created_at":"2026-01-01T00:00:00Z"}',
        b'{"type":"end","sessions":1}',
        b"[" * 100_000,
        *(
            b'{"type":"message","seq":1,"role":"user","content":%s,"created_at":'
            b'"2026-01-01T00:00:00Z","tokens":1}' % content
            for content in (
                *(b'"text"', b"null", b'[{"type":"os.system"}]', b"[{}]", b"[1]"),
                b'[{"type":"text","text":"a","colour":"red"}]',
                b'[{"type":"text","text":"a","extra":{"x":{"$object":"os.system"}}}]',
                b'[{"type":"text","text":"a","extra":{"x":{"$bytes":"?"}}}]',
                b'[{"type":"text","text":"a","extra":{"x":{"$set":[[]]}}}]',
                b'[{"type":"text","text":"a","extra":{"x":{"$text":5}}}]',
                b'[{"type":"text","text":"a","extra":{"x":{"$float":[]}}}]',
            )
        ),
    ],
)
def test_a_line_that_says_nothing_known_is_refused(line: bytes) -> None:
    with pytest.raises(Damaged):
        lines.read(line)


@pytest.mark.parametrize("micros", [1, -1, 999_999])
def test_an_offset_below_a_second_stays(micros: int) -> None:
    """Python's own reader takes it for UTC."""
    zone = timezone(timedelta(microseconds=micros))
    said = {"at": datetime(2000, 1, 1, tzinfo=zone), "time": time(1, 2, tzinfo=zone)}
    with Store("sqlite://") as store:
        store.items("x").put("k", said)
        item = store.items("x").get("k")
        assert item is not None
        assert item.value == said
        assert item.value["time"].tzinfo == zone
        content = io.BytesIO()
        store.export(content)
    with Store("sqlite://") as other:
        other.import_(io.BytesIO(content.getvalue()))
        item = other.items("x").get("k")
        assert item is not None
        assert [item.value["at"].utcoffset(), item.value["time"].utcoffset()] == [
            timedelta(microseconds=micros)
        ] * 2
