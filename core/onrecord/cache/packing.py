"""Messages and items as an entry in Redis holds them, in an envelope; a message with the token of
its write.

A row is ``token envelope``. The token stands first and readable, because the scripts compare
it; the envelope's checksum is of the token as well, because a place that garbles a byte is not to
be believed, and the caller of a hit asks nobody else. What the database itself cannot read any
more is left out, a stub in its place: so what an entry holds and cannot be read was never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import msgspec
from msgspec.structs import replace

from onrecord import codec
from onrecord.cache.tails import LARGEST_TAIL
from onrecord.codec import envelope
from onrecord.codec import value as item_codec
from onrecord.codec.envelope import CACHED, HEADER, header_with
from onrecord.errors import Damaged
from onrecord.stored.items import ItemRow
from onrecord.stored.messages import MessageRow

LARGEST_ROW: Final = 32 * 1024
"""A longer message is left out of the entry, a stub in its place: Redis is not for megabytes."""

_SEED: Final = CACHED << 8
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MessageRow).decode
_decode_item = msgspec.msgpack.Decoder(ItemRow).decode
_NO_TOKEN: Final = b"0"


class Garbled(Exception):
    """A row that is not what was written."""


def packed(rows: Sequence[MessageRow], read: bool = False) -> tuple[list[bytes], bool]:
    """Rows as bytes, the newest that fit, and whether these are all. ``read``: out of the database,
    where they may be damaged."""
    found: list[bytes] = []
    weight = 0
    for row in reversed(rows):
        data = _pack(replace(row, frame=None) if read and not _is_readable(row) else row)
        weight += len(data)
        if weight > LARGEST_TAIL:
            return found[::-1], False
        found.append(data)
    return found[::-1], True


def unpacked(data: bytes) -> MessageRow:
    """One row; Garbled where it is not what was written."""
    try:
        return _decode(_body(data))
    except (ValueError, msgspec.DecodeError, RecursionError) as fault:
        raise Garbled(f"a message cannot be decoded: {fault}") from fault


def packed_item(row: ItemRow, read: bool = False) -> bytes | None:
    """An item as bytes; None for what is too large for an entry. ``read``: out of the database,
    where it may be damaged."""
    if len(row.body) > LARGEST_ROW:
        return None
    if read:
        try:
            item_codec.decode(row.body)
        except Damaged:
            return None
    return _NO_TOKEN + b" " + envelope.wrap(CACHED, _encode(row), about=_NO_TOKEN)


def unpacked_item(data: bytes) -> ItemRow:
    """An item; Garbled where it is not what was written."""
    try:
        return _decode_item(_body(data))
    except (ValueError, msgspec.DecodeError, RecursionError) as fault:
        raise Garbled(f"an item cannot be decoded: {fault}") from fault


def _body(data: bytes) -> bytes:
    """What is in the envelope; Garbled where it is not what was written."""
    token, _, stored = data.partition(b" ")
    body = stored[HEADER:]
    # As ``envelope.content`` has it, which is asked where this does not hold: a quarter of a
    # microsecond a row, in each read that finds many.
    if stored[:HEADER] != header_with(CACHED, 0, crc32(body, crc32(token, _SEED))):
        try:
            return envelope.content(stored, CACHED, 0, token)
        except Damaged as fault:
            raise Garbled(f"a row is not what was written: {fault}") from fault
    return body


def _is_readable(row: MessageRow) -> bool:
    if row.frame is None:
        return True
    try:
        codec.decode(row.frame)
    except Damaged:
        return False
    return True


def _pack(row: MessageRow) -> bytes:
    if row.frame is not None and len(row.frame) > LARGEST_ROW:
        row = replace(row, frame=None)  # a stub: who needs it fetches it from SQL
    elif row.frame is not None and row.frame[:1] == codec.CHECKED:
        row = replace(row, frame=codec.whole(row.frame))
    token = b"%x" % row.token
    return token + b" " + envelope.wrap(CACHED, _encode(row), about=token)
