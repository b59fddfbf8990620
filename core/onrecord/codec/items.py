"""Items: values as a serializer left them, several of them in one frame.

    byte 0      version of this layout
    byte 1      COMPRESSED, or nothing
    bytes 2-5   CRC-32 of what follows, begun with the two bytes above
    bytes 6-    msgpack of (kinds, lengths), its own length before it; then the bytes of all items

What the bytes of an item mean is the serializer's business: they are kept as they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias
from zlib import crc32

import msgspec

from onrecord.codec import compression, values
from onrecord.errors import Damaged, InvalidName

Item: TypeAlias = tuple[str, bytes]
"""What a serializer made of one value: a word for the kind, and the bytes."""

VERSION: Final = 1
COMPRESSED: Final = 1
_HEADER: Final = 6
# A checkpoint without its values is some 200 bytes of versions; below, zstd saves nothing.
_WORTH_COMPRESSING: Final = 160

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str | list[str], list[int]]).decode


def pack(items: Sequence[Item], *, squeezed: bool = True, level: int = compression.QUICK) -> bytes:
    """One frame for all of them."""
    kinds: str | list[str] = [kind for kind, _ in items]
    if kinds and kinds.count(kinds[0]) == len(kinds):
        kinds = kinds[0]
    try:
        head = _encode((kinds, [len(content) for _, content in items]))
    except UnicodeEncodeError as fault:
        raise InvalidName(
            f"{kinds!r:.100}, a serializer's word for a kind, has half of a surrogate pair in it, "
            f"which is not text."
        ) from fault
    body = b"".join([len(head).to_bytes(4, "little"), head, *[content for _, content in items]])
    flags = 0
    if squeezed and len(body) >= _WORTH_COMPRESSING:
        smaller = compression.compress(body, level)
        if len(smaller) < len(body):
            flags, body = COMPRESSED, smaller
    return bytes((VERSION, flags)) + _checksum(flags, body) + body


def unpack(frame: bytes) -> list[Item]:
    """The items of a frame; Damaged, with the reason, when it is not what was written."""
    if len(frame) < _HEADER:
        raise Damaged(f"it is cut off after {len(frame)} bytes")
    version, flags = frame[0], frame[1]
    body = frame[_HEADER:]
    if version != VERSION or flags & ~COMPRESSED:
        raise Damaged(f"it was written by a newer Onrecord (frame version {version})")
    if _checksum(flags, body) != frame[2:_HEADER]:
        raise Damaged("its checksum does not match")
    if flags & COMPRESSED:
        body = compression.decompress(body)
    start = 4 + int.from_bytes(body[:4], "little")
    try:
        kinds, lengths = _decode(body[4:start])
    except (*values.UNREADABLE, RecursionError) as fault:
        raise Damaged(f"it cannot be decoded: {fault}") from fault
    if (type(kinds) is list and len(kinds) != len(lengths)) or any(n < 0 for n in lengths):
        raise Damaged(f"it has {len(lengths)} items, and says of others what they are")
    items: list[Item] = []
    for i, length in enumerate(lengths):
        end = start + length
        items.append((kinds if type(kinds) is str else kinds[i], body[start:end]))
        start = end
    if start != len(body):
        raise Damaged(f"it has {len(body)} bytes and speaks of {start}")
    return items


def _checksum(flags: int, body: bytes) -> bytes:
    return crc32(body, VERSION << 8 | flags).to_bytes(4, "little")
