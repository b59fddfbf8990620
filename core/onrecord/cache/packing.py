"""Messages as an entry in Redis holds them: each with the token of its write, and a checksum.

A row is ``token sum packed``. The token stands first and readable, because the scripts compare
it; the sum is of the token and what is packed, because a place that garbles a byte is not to be
believed, and the caller of a hit asks nobody else. What the database itself cannot read any more is
left out, a stub in its place: so what an entry holds and cannot be read was never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import msgspec
from msgspec.structs import replace

from onrecord import codec
from onrecord.cache.tails import LARGEST_TAIL
from onrecord.errors import Damaged
from onrecord.stored.messages import MessageRow

LARGEST_ROW: Final = 32 * 1024
"""A longer message is left out of the entry, a stub in its place: Redis is not for megabytes."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MessageRow).decode


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
        token, found, body = data.split(b" ", 2)
        if found != b"%08x" % crc32(body, crc32(token)):
            raise Garbled("the checksum of a message does not match")
        row = _decode(body)
    except (ValueError, msgspec.DecodeError, RecursionError) as fault:
        raise Garbled(f"a message cannot be decoded: {fault}") from fault
    return row


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
    token, body = b"%x" % row.token, _encode(row)
    return b"%b %08x %b" % (token, crc32(body, crc32(token)), body)
