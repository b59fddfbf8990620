"""What Redis holds may be anything: a flipped byte, or what somebody crafted. SQL is what counts.

A hit is checked before it is used; what does not hold drops its entry and opens no breaker.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import msgspec
import pytest
import zstandard

from onrecord import Message, Store
from onrecord.cache import redis as hot_redis
from onrecord.cache.packing import unpacked
from onrecord.cache.redis import RedisCache
from onrecord.codec import decode, encode, envelope
from onrecord.errors import Damaged
from onrecord.stored.messages import MessageRow
from onrecord.testing.contract import Face
from tests.servers.redis import RedisServer
from tests.turned import hits

Consistency = Literal["cached", "strict"]
Opened = Callable[..., Store]
MODES = ("cached", "strict")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_redis, "_PATIENCE", 0)


@pytest.fixture
def opened(tmp_path: Path, redis_server: RedisServer) -> Iterator[Opened]:
    stores: list[Store] = []

    def open_one(consistency: Consistency = "cached") -> Store:
        url = f"sqlite:///{tmp_path}/x.db"
        stores.append(
            Store(url, durability="normal", cache=redis_server.url, consistency=consistency)
        )
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def entry_of(store: Store) -> tuple[Any, str]:
    """The client of a store, and the key of the session that these tests are about."""
    cache = store._hot
    assert isinstance(cache, RedisCache)
    identity = store.session("k").name.identity
    return cache._clients.sync(), cache.key_of(identity)


def held(client: Any, key: str) -> list[bytes]:
    found: list[bytes] = client.lrange(key, 0, -1)
    return found


def put(client: Any, key: str, rows: list[bytes]) -> None:
    client.delete(key)
    client.rpush(key, *rows)


@pytest.mark.parametrize("consistency", MODES)
def test_a_flipped_byte_is_never_shown(
    opened: Opened, face: Face, consistency: Consistency
) -> None:
    """Each byte of the header and of every message in turn, read by who has read nothing yet."""
    store = opened(consistency)
    chat = face(store.session("k"))
    expected = chat.append([("user", "one"), {"role": "user", "content": "two", "id": "mine"}])
    hits(store, chat.tail)
    client, key = entry_of(store)
    whole = held(client, key)
    for part, data in enumerate(whole):
        for place in range(len(data)):
            flipped = bytearray(data)
            flipped[place] ^= 1 << place % 8
            rows = [*whole]
            rows[part] = bytes(flipped)
            put(client, key, rows)
            store._hot.empty()
            assert chat.tail(5) == expected, (part, place)
            assert held(client, key) != rows, f"byte {place} of part {part} is believed"
    assert not store._hot.left_alone
    assert hits(store, chat.tail)
    assert chat.tail(5) == expected


def frame_of(body: bytes, flags: int = 0) -> bytes:
    checksum = crc32(body, 1 << 8 | flags)
    return bytes((1, flags)) + checksum.to_bytes(4, "little") + body


def claims_2_to_the_40() -> bytes:
    """A compressed message whose header declares 2^40 bytes: eight bytes of size, one segment."""
    magic = zstandard.ZstdCompressor().compress(b"x" * 500)[:4]
    header = bytes((0b1110_0000,)) + (2**40).to_bytes(8, "little")
    assert zstandard.get_frame_parameters(magic + header + b"\0" * 8).content_size == 2**40
    return frame_of(header + b"\x01\0\0", flags=1)


def nested_deeply() -> bytes:
    """A message with a list in its metadata that is 5,000 lists deep."""
    head = b"\x96" + msgspec.msgpack.encode("user") + b"\x90\xc0\xc0\xc0"
    return frame_of(head + b"\x81\xa1a" + b"\x91" * 5_000 + b"\xc0")


FRAMES = {"2^40 bytes": claims_2_to_the_40, "5,000 deep": nested_deeply}


def in_envelope(row: MessageRow, body: bytes) -> bytes:
    token = b"%x" % row.token
    return token + b" " + envelope.wrap(envelope.CACHED, body, about=token)


def sealed(row: MessageRow) -> bytes:
    """A row with a checksum that fits."""
    return in_envelope(row, msgspec.msgpack.encode(row))


def raw(row: MessageRow, **changes: Any) -> bytes:
    """The same with fields that a Row could not be decoded with."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__} | changes
    return in_envelope(row, msgspec.msgpack.encode(list(fields.values())))


CRAFTED: dict[str, Callable[[MessageRow], bytes]] = {
    "2^40 bytes": lambda row: sealed(msgspec.structs.replace(row, frame=claims_2_to_the_40())),
    "5,000 deep": lambda row: sealed(msgspec.structs.replace(row, frame=nested_deeply())),
    "seq 0": lambda row: raw(row, seq=0),
    "seq 2^63": lambda row: raw(row, seq=2**63),
    "created -2^63": lambda row: raw(row, created=-(2**63)),
    "created 2^63": lambda row: raw(row, created=2**63),
    "tokens -1": lambda row: raw(row, tokens=-1),
    "tokens 2^63": lambda row: raw(row, tokens=2**63),
    "a list for a number": lambda row: raw(row, epoch=[1]),
    "more fields, and deep": lambda row: _with_more(row),
}


def _with_more(row: MessageRow) -> bytes:
    body = msgspec.msgpack.encode(row)
    body = bytes((body[0] + 1,)) + body[1:] + b"\x91" * 5_000 + b"\xc0"
    return in_envelope(row, body)


@pytest.mark.parametrize("consistency", MODES)
@pytest.mark.parametrize("what", CRAFTED)
def test_a_crafted_row_is_never_shown(
    opened: Opened, face: Face, consistency: Consistency, what: str
) -> None:
    store = opened(consistency)
    chat = face(store.session("k"))
    expected = chat.append([("user", "one"), ("user", "two")])
    hits(store, chat.tail)
    client, key = entry_of(store)
    rows = held(client, key)
    row = unpacked(rows[1])
    rows[1] = CRAFTED[what](row)
    reads: list[Callable[[], list[Message]]] = [
        lambda: chat.tail(5),
        lambda: list(chat.window(messages=5)),
    ]
    for read in reads:
        put(client, key, rows)
        store._hot.empty()
        assert read() == expected
        assert held(client, key) != rows
    assert not store._hot.left_alone, "the entry's fault, and no outage"


@pytest.mark.parametrize("what", FRAMES)
def test_a_crafted_frame_is_damaged(what: str) -> None:
    with pytest.raises(Damaged):
        decode(FRAMES[what]())


def test_a_deep_caller_finds_no_damage() -> None:
    """What is nested as deep as it may be is read from a stack that has hardly any room left."""
    value: Any = "x"
    for _ in range(90):
        value = [value]
    frame, content = encode(Message("user", "hi", metadata={"deep": value}))

    def read(depth: int) -> Message:
        return decode(frame) if depth == 0 else read(depth - 1)

    import sys

    used, frame_now = 0, sys._getframe()
    while frame_now is not None:
        used, frame_now = used + 1, frame_now.f_back  # type: ignore[assignment]
    assert read(sys.getrecursionlimit() - used - 70) == content


@pytest.mark.parametrize("what", FRAMES)
def test_a_crafted_frame_in_the_database_is_a_placeholder(
    opened: Opened, tmp_path: Path, face: Face, what: str
) -> None:
    """I10; and it is no entry's fault: the other messages stay in the cache."""
    store = opened()
    chat = face(store.session("k"))
    chat.append([("user", "one"), ("user", "two")])
    store.close()
    frame = FRAMES[what]()
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection, connection:
        connection.execute("UPDATE onrecord_tail SET frame = ? WHERE seq % 2 = 0", (frame,))
    again = opened()
    chat = face(again.session("k"))
    chat.count()  # opens it
    client, key = entry_of(again)
    client.delete(key)
    for _ in range(5):
        first, second = chat.tail(5)
        assert (first.text, second.role) == ("one", "damaged")
        assert [m.role for m in chat.messages()] == ["user", "damaged"]
    assert again._hot.counters.hits
