"""Items: values as a serializer left them, several of them in one frame.

In their envelope is msgpack of (kinds, lengths), its own length before it; then the bytes of all
items. What the bytes of an item mean is the serializer's business: they are kept as they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from onrecord.codec import compression, envelope, values
from onrecord.errors import Damaged, InvalidName

Item: TypeAlias = tuple[str, bytes]
"""What a serializer made of one value: a word for the kind, and the bytes."""

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
    if squeezed and len(body) >= _WORTH_COMPRESSING:
        return envelope.wrap_compressed(envelope.ITEMS, body, level)
    return envelope.wrap(envelope.ITEMS, body)


def unpack(frame: bytes) -> list[Item]:
    """The items of a frame; Damaged, with the reason, when it is not what was written."""
    body = envelope.unwrap(frame, envelope.ITEMS)
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
