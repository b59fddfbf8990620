"""Where the values of a checkpoint stand, as bytes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from onrecord.codec import envelope
from onrecord.codec.envelope import REFS
from onrecord.stored.checkpoints import Ref, Refs

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Refs).decode


def pack_refs(refs: Mapping[str, Ref], id: bytes, parent: bytes | None) -> bytes:
    """Where the values of a checkpoint stand, under a checksum of that and of its name: one bit
    less in a number would be a shorter conversation, and nobody would notice."""
    return envelope.wrap(REFS, _encode(refs), about=id + (parent or b""))


def unpack_refs(stored: bytes, id: bytes, parent: bytes | None) -> Refs:
    """Where the values of a checkpoint stand; Damaged, if that is not what was written."""
    return _decode(envelope.content(stored, REFS, 0, id + (parent or b"")))
