"""A value of an item as bytes, with the text it is to be found by."""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

from onrecord.codec import envelope, values
from onrecord.codec.compression import QUICK
from onrecord.codec.envelope import COMPRESSED, ESCAPED, HEADER, header_with
from onrecord.errors import Damaged, InvalidValue

LARGEST: Final = 2**20
"""The most bytes a value may take, uncompressed."""
_WORTH_COMPRESSING: Final = 400


def encode(value: object, text: str | None, name: str, *, squeezed: bool = True) -> bytes:
    """Encode a value; what cannot be stored is refused, named from ``name`` on."""
    flags = 0
    try:
        try:
            body = values.encode_tagged((values.tag(value, name), text))
        except UnicodeEncodeError:
            flags = ESCAPED
            whole = values.map_text((value, text), values.escape)
            body = values.encode_tagged((values.tag(whole[0], name), whole[1]))
    except values.NotStorable as fault:
        raise InvalidValue(f"{fault.path} cannot be stored: {fault.why}") from fault
    except (TypeError, OverflowError, RecursionError) as fault:
        raise InvalidValue(f"{name} cannot be stored: {fault}") from fault
    if len(body) > LARGEST:
        raise InvalidValue(
            f"{name} takes {len(body):,} bytes and the limit is {LARGEST:,}. Store large files "
            f"elsewhere and their address here."
        )
    if squeezed and len(body) >= _WORTH_COMPRESSING:
        return envelope.wrap_compressed(envelope.VALUE, body, QUICK, flags=flags)
    return envelope.wrap(envelope.VALUE, body, flags)


def decode(stored: bytes) -> tuple[Any, str | None]:
    """Decode a value and its text; Damaged where this is not what was written."""
    body = stored[HEADER:]
    # As ``envelope.unwrap`` has it, which is asked where this does not hold: not compressed.
    if stored[:HEADER] != header_with(envelope.VALUE, 0, crc32(body, envelope.VALUE << 8)):
        body = envelope.unwrap(stored, envelope.VALUE, COMPRESSED | ESCAPED, most=4 * LARGEST)
    try:
        return _decoded(body, stored[1])
    except RecursionError:
        return values.on_a_new_stack(_decoded, body, stored[1])


def _decoded(body: bytes, flags: int) -> tuple[Any, str | None]:
    try:
        found = _decode(body)
        value, text = values.map_text(found, values.unescape) if flags & ESCAPED else found
    except (*values.UNREADABLE, TypeError, ValueError) as fault:
        raise Damaged(f"it cannot be decoded: {fault}") from fault
    return value, text


_decode = values.decoder_for(tuple[Any, str | None]).decode
