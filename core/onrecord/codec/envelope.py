"""What every stored frame is in: what it is, how it was made, and whether it is what was written.

    byte 0      what is inside (the high four bits), and the version of this layout (the low)
    byte 1      flags: how the body was made
    bytes 2-5   CRC-32 of what follows, begun with the two bytes above, little-endian
    bytes 6-    the body; with LEARNED, two bytes for the number of a dictionary come before it

These six bytes stay where they are in every version to come, so that what is damaged is told from
what a newer Onrecord wrote. A bit that this version does not know is refused. ENCRYPTED is such a
bit: it is kept for bodies that only who has the key can read, and nothing sets it yet.

Not in here: a value in a column of its own (``pack_value``), because SQL looks into it, and lines
of an export, because people do.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final
from zlib import crc32

from onrecord.codec import compression
from onrecord.codec.compression import Dictionary
from onrecord.errors import Damaged

_VERSION: Final = 1
MESSAGE: Final = 0 << 4 | _VERSION
ITEMS: Final = 1 << 4 | _VERSION
DICTIONARY: Final = 2 << 4 | _VERSION
CACHED: Final = 3 << 4 | _VERSION
"""A row of the cache: what is around a message's frame there."""
REFS: Final = 4 << 4 | _VERSION
"""Where the values of a checkpoint stand."""
SEGMENT: Final = 5 << 4 | _VERSION
VALUE: Final = 6 << 4 | _VERSION
"""A value under a key."""

COMPRESSED: Final = 1
ESCAPED: Final = 2
"""Some string in the body holds half of a surrogate pair."""
LEARNED: Final = 4
"""Compressed with a dictionary of the store."""
ENCRYPTED: Final = 8
"""Kept for later."""

HEADER: Final = 6
_HEADER: Final = Struct("<BBI")
header_with: Final = _HEADER.pack
header_in: Final = _HEADER.unpack_from
NUMBER: Final = 2
"""How many bytes the number of a dictionary takes."""

Dictionaries = Callable[[int], Dictionary | None]
"""Which dictionary has a number; None where it is missing or damaged."""


def wrap(kind: int, body: bytes, flags: int = 0, about: bytes = b"") -> bytes:
    """A body in its envelope. The checksum is of ``about`` as well, which is kept elsewhere."""
    seed = crc32(about, kind << 8 | flags) if about else kind << 8 | flags
    return header_with(kind, flags, crc32(body, seed)) + body


def wrap_compressed(
    kind: int, body: bytes, level: int, dictionary: Dictionary | None = None, flags: int = 0
) -> bytes:
    """The same, compressed where that is smaller."""
    smaller = compression.compress(body, level, dictionary)
    how = COMPRESSED
    if dictionary is not None:
        smaller = dictionary.number.to_bytes(NUMBER, "little") + smaller
        how |= LEARNED
    return wrap(kind, smaller, flags | how) if len(smaller) < len(body) else wrap(kind, body, flags)


def content(stored: bytes, kind: int, knows: int = COMPRESSED, about: bytes = b"") -> bytes:
    """What follows the header; Damaged where this is not what was written, or is none of ours.

    ``knows``: the flags that mean something in what is asked for.
    """
    if len(stored) < HEADER:
        raise Damaged(f"it is cut off after {len(stored)} bytes")
    found, flags, checksum = header_in(stored)
    body, seed = stored[HEADER:], found << 8 | flags
    if crc32(body, crc32(about, seed) if about else seed) != checksum:
        raise Damaged("its checksum does not match")
    if found != kind or flags & ~knows:
        raise Damaged(_strange(stored, kind))
    return body


def _strange(stored: bytes, kind: int) -> str:
    if not is_of(stored, kind):
        return "something else stands in its place"
    return f"it was written by a newer Onrecord (version {stored[0] & 15}, flags {stored[1]})"


def unwrap(
    stored: bytes,
    kind: int,
    knows: int = COMPRESSED,
    dictionary: Dictionaries | None = None,
    most: int = compression.LARGEST,
) -> bytes:
    """The body as it was before it was compressed; Damaged where it cannot be had."""
    body, flags, learned = content(stored, kind, knows), stored[1], None
    if flags & LEARNED:
        number = int.from_bytes(body[:NUMBER], "little")
        learned = None if dictionary is None else dictionary(number)
        if learned is None:
            raise Damaged(f"it needs dictionary {number}, which is missing or damaged")
        body = body[NUMBER:]
    return compression.decompress(body, learned, most) if flags & COMPRESSED else body


def is_of(stored: bytes, kind: int) -> bool:
    """Whether this says that it is of a kind, in whichever version."""
    return stored[:1] != b"" and not (stored[0] ^ kind) >> 4


def dictionary_of(stored: bytes, kind: int) -> int | None:
    """Which dictionary is needed to read this; None where it needs none."""
    if len(stored) > HEADER + NUMBER and stored[0] == kind and stored[1] & LEARNED:
        return int.from_bytes(stored[HEADER : HEADER + NUMBER], "little")
    return None


def body_length(begin: bytes, stored: int) -> int:
    """How long the body is before it is compressed, from the first 32 bytes of as many as are
    stored; Damaged where they do not say."""
    flags = begin[1]
    if not flags & COMPRESSED:
        return stored - HEADER
    return compression.length(begin[HEADER + NUMBER if flags & LEARNED else HEADER :])
