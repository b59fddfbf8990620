"""Older messages as a segment, version 1: sealed together, compressed together, never changed.

In its envelope is msgpack of the columns below. Columns of equal values are one value. What was
said goes in as it would go into a frame, without the frame's header; a frame that cannot be read
goes in as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from onrecord.codec import envelope, values
from onrecord.codec.compression import Dictionary
from onrecord.codec.envelope import COMPRESSED, LEARNED, SEGMENT
from onrecord.codec.frame import checked, is_checked, said_by
from onrecord.errors import Damaged
from onrecord.stored.messages import MessageRow

_EMPTY: Final = b"\xc0"  # msgpack's nil: a message that was deleted


class Segment(NamedTuple):
    """Messages side by side, and which of them open a turn."""

    rows: tuple[MessageRow, ...]
    opens_turn: tuple[bool, ...]


class _Columns(Struct, array_like=True, gc=False):
    epochs: list[int] | int
    created: list[int] | int
    """The first time, and then the distances."""
    tokens: list[int]
    counter: list[int] | int
    opens_turn: bytes
    ids: list[str | None] | None
    said: list[Raw]
    """An array as in a frame, nil for a deleted message, or bytes for a frame as it was."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode
_decode_bytes = msgspec.msgpack.Decoder(bytes).decode
_decode_any = msgspec.msgpack.Decoder(Raw).decode


def pack(segment: Segment, level: int | None, dictionary: Dictionary | None) -> tuple[bytes, int]:
    """A segment's bytes, and how many they were uncompressed; without a level they stay so."""
    rows = segment.rows
    times = [row.created for row in rows]
    columns = _Columns(
        epochs=_one_if_equal([row.epoch for row in rows]),
        created=times[0]
        if len(set(times)) == 1
        else [times[0], *(later - earlier for earlier, later in pairwise(times))],
        tokens=[row.tokens for row in rows],
        counter=_one_if_equal([row.counter for row in rows]),
        opens_turn=_mask(segment.opens_turn),
        ids=[row.id for row in rows] if any(row.id is not None for row in rows) else None,
        said=[Raw(_said(row.frame)) for row in rows],
    )
    body = _encode(columns)
    if level is None:
        return envelope.wrap(SEGMENT, body), len(body)
    return envelope.wrap_compressed(SEGMENT, body, level, dictionary), len(body)


def unpack(stored: bytes, first: int, dictionary: Callable[[int], Dictionary | None]) -> Segment:
    """The messages of a segment that begins with a place; Damaged where it is not what was written.

    Reading a segment asks for its dictionary by number.
    """
    columns = _columns(stored, dictionary)
    count = len(columns.said)
    epochs, counter = _spread(columns.epochs, count), _spread(columns.counter, count)
    created = columns.created
    times = [created] * count if isinstance(created, int) else list(accumulate(created))
    ids = columns.ids or [None] * count
    if not count == len(epochs) == len(counter) == len(times) == len(ids) == len(columns.tokens):
        raise Damaged("its columns are not of one length")
    rows = tuple(
        map(MessageRow, range(first, first + count), epochs, map(_frame, columns.said), ids, times,
            columns.tokens, counter)
    )  # fmt: skip
    return Segment(rows, _flags(columns.opens_turn, count))


def unreadable(stored: bytes, first: int, last: int, epoch: int) -> Segment:
    """What stands in for a segment that cannot be read: its bytes, in the place of each message."""
    rows = tuple(MessageRow(seq, epoch, stored, None, 0, 0, 0) for seq in range(first, last + 1))
    return Segment(rows, (False,) * len(rows))


def raw_length(stored: bytes) -> int:
    """How many bytes a segment that can be read is when it is not compressed."""
    return envelope.body_length(stored, len(stored))


def dictionary_of(stored: bytes) -> int | None:
    """Which dictionary a segment needs."""
    return envelope.dictionary_of(stored, SEGMENT)


def _columns(stored: bytes, dictionary: Callable[[int], Dictionary | None]) -> _Columns:
    body = envelope.unwrap(stored, SEGMENT, COMPRESSED | LEARNED, dictionary)
    try:
        return _decode(body)
    except (*values.UNREADABLE, RecursionError) as fault:
        raise Damaged(f"it cannot be decoded: {fault}") from fault


def _said(frame: bytes | None) -> bytes:
    if frame is None:
        return _EMPTY
    try:
        escaped, body = said_by(frame)
    except Damaged:
        return _encode(frame)
    if escaped or not _is_array(body) or (is_checked(frame) and not _is_whole(body)):
        # The last two are no message: a damaged row that looks like a checked frame.
        return _encode(frame if is_checked(frame) else checked(escaped, body))
    return body


def _frame(said: Raw) -> bytes | None:
    body = bytes(said)
    if _is_array(body):
        return checked(0, body)
    return None if body == _EMPTY else _decode_bytes(said)


def _is_array(body: bytes) -> bool:
    return body[:1] >= b"\x90" and (body[0] < 0xA0 or body[0] in (0xDC, 0xDD))


def _is_whole(body: bytes) -> bool:
    try:
        _decode_any(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _one_if_equal(numbers: Sequence[int]) -> list[int] | int:
    return numbers[0] if len(set(numbers)) == 1 else list(numbers)


def _spread(numbers: list[int] | int, count: int) -> list[int]:
    return [numbers] * count if isinstance(numbers, int) else numbers


def _mask(flags: Sequence[bool]) -> bytes:
    bits = sum(1 << i for i, flag in enumerate(flags) if flag)
    return bits.to_bytes((len(flags) + 7) // 8, "little")


def _flags(mask: bytes, count: int) -> tuple[bool, ...]:
    bits: Any = int.from_bytes(mask, "little")
    return tuple([bool(bits >> i & 1) for i in range(count)])
