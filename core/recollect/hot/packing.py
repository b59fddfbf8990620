"""Messages as an entry in Redis holds them: each with the token of its write, and a checksum.

A row is ``token sum packed``. The token stands first and readable, because the scripts compare
it; the sum is of the token and what is packed, because a place that garbles a byte is not to be
believed, and the caller of a hit asks nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import msgspec
from msgspec.structs import replace

from recollect import codec
from recollect.hot.tails import LARGEST_TAIL
from recollect.rows import Row

LARGEST_ROW: Final = 32 * 1024
"""A longer message is left out of the entry, a stub in its place: Redis is not for megabytes."""
_SUM: Final = 8

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


class Garbled(Exception):
    """A row that is not what was written."""


def packed(rows: Sequence[Row]) -> tuple[list[bytes], bool]:
    """Rows as bytes, the newest that fit, and whether these are all."""
    found: list[bytes] = []
    weight = 0
    for row in reversed(rows):
        data = _pack(row)
        weight += len(data)
        if weight > LARGEST_TAIL:
            return found[::-1], False
        found.append(data)
    return found[::-1], True


def unpacked(data: bytes) -> Row:
    """One row; Garbled where it is not what was written."""
    token, _, rest = data.partition(b" ")
    body = rest[_SUM + 1 :]
    try:
        if int(rest[:_SUM], 16) != crc32(body, crc32(token)):
            raise Garbled
        row = _decode(body)
    except (ValueError, msgspec.DecodeError) as fault:
        raise Garbled from fault
    return row


def _pack(row: Row) -> bytes:
    if row.frame is not None and len(row.frame) > LARGEST_ROW:
        row = replace(row, frame=None)  # a stub: who needs it fetches it from SQL
    elif row.frame is not None and row.frame[:1] == codec.CHECKED:
        row = replace(row, frame=codec.whole(row.frame))
    token, body = b"%x" % row.token, _encode(row)
    return b"%b %08x %b" % (token, crc32(body, crc32(token)), body)
