"""A message as a frame, version 1: what the database and the cache hold.

In its envelope is msgpack of the message's content, compressed where that is smaller.

What was in a segment, or was compressed with a dictionary, is a *checked* frame in memory: byte 0
is 0, byte 1 is 0xF0 or 0xF2 (ESCAPED), and the body follows, because its checksum was compared
where it was kept. No stored frame becomes one by one changed byte. Only the database knows
dictionaries; what travels to a cache is made whole again.

The content is the message without ``id``, ``created_at``, ``seq`` and ``tokens``: these stand
in columns of their own, and two frames with the same content say the same (I5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, Final, Literal, TypeAlias
from zlib import crc32

import msgspec
from msgspec.structs import replace

from onrecord.codec import envelope, values
from onrecord.codec.compression import QUICK, Dictionary, compress, decompress
from onrecord.codec.envelope import (
    COMPRESSED,
    ESCAPED,
    HEADER,
    LEARNED,
    MESSAGE,
    NUMBER,
    SEGMENT,
    header_with,
)
from onrecord.errors import Damaged, InvalidMessage
from onrecord.message import Block, Message, Opaque, Text, ToolResult

Compression: TypeAlias = Literal["zstd", "none"]

_FLAGS: Final = COMPRESSED | ESCAPED | LEARNED
DAMAGED: Final = "damaged"
"""The role of what stands in for a message that can no longer be read."""
CHECKED: Final = b"\0"
"""The first byte of a frame in memory whose checksum was compared where it was kept."""

LARGEST: Final = 64 * 2**20
"""The most bytes one message may take, uncompressed."""
# Rows are kept for quick appends and tails; what is old is compressed together, and better.
# At 100 bytes zstd saves a fifth and costs 15 µs to write and 5 µs to read.
_WORTH_COMPRESSING: Final = 400
# With a dictionary 60 bytes are worth it: it knows how messages begin.
_WORTH_LOOKING_UP: Final = 40

_DEFAULTS: Final[tuple[object, ...]] = (
    None,
    (),
    None,
    None,
    None,
    {},
    {},
)  # role to native; a role is always there
_PLAIN: Final = bytes((MESSAGE, 0))
_PLAIN_SEED: Final = MESSAGE << 8
_CHECKED_PLAIN: Final = CHECKED + b"\xf0"
_CHECKED_ESCAPED: Final = CHECKED + bytes((0xF0 | ESCAPED,))
_decode_body = values.decoder_for(Message).decode
_decode_bodies = values.decoder_for(list[Message]).decode
_begin_of = Struct("<HI").unpack_from
"""The two bytes of a frame before its checksum as one number, and the checksum."""
_BEGINS_PLAIN: Final = MESSAGE
_BEGINS_CHECKED: Final = int.from_bytes(_CHECKED_PLAIN, "little")
_BEGINS_COMPRESSED: Final = MESSAGE | COMPRESSED << 8
_ARRAY_OF: Final = b"\xdc"  # msgpack's array; its length follows in two bytes
TOGETHER: Final = 256
"""So many frames are decoded together at the most."""


def encode(message: Message, compression: Compression = "zstd") -> tuple[bytes, Message]:
    """The frame, and the content as it will be read back: a copy that shares nothing.

    Decoding what was just encoded is the check that every field has its type and that the
    frame can be read. A message that cannot be stored raises InvalidMessage, naming the field.
    """
    if type(message) is Message and (text := _plain_text(message)) is not None:
        try:
            body = values.encode_tagged((message.role, message.content))
        except UnicodeEncodeError:
            pass
        else:
            # Most messages are a few words under a role: nothing in them to check or to copy.
            if len(body) < _WORTH_COMPRESSING:
                return envelope.wrap(MESSAGE, body), Message(message.role, (Text(text),))
    flags = 0
    try:
        try:
            body = values.encode_tagged(_content(message))
        except UnicodeEncodeError:
            flags |= ESCAPED
            body = values.encode_tagged(_content(values.map_text(message, values.escape)))
        if len(body) > LARGEST:
            raise InvalidMessage(
                f"The message takes {len(body):,} bytes and the limit is {LARGEST:,}. "
                f"Store large files elsewhere and their address here."
            )
        copy = _read_body(body, flags)
    except values.NotStorable as fault:
        raise InvalidMessage(f"{fault.path} cannot be stored: {fault.why}") from fault
    except (msgspec.ValidationError, TypeError, OverflowError, RecursionError) as fault:
        raise InvalidMessage(_explain(fault)) from fault
    if compression == "zstd" and len(body) >= _WORTH_COMPRESSING:
        smaller = compress(body, QUICK)
        if len(smaller) < len(body):
            flags |= COMPRESSED
            body = smaller
    return envelope.wrap(MESSAGE, body, flags), copy


def decode(frame: bytes) -> Message:
    """The content of a frame; Damaged, with the reason, when it is not what was written.

    The message is new, and nobody else holds any part of it that can be changed.
    """
    if frame[:2] == _PLAIN:  # nearly all: neither compressed nor escaped
        body = frame[HEADER:]
        if crc32(body, _PLAIN_SEED) == int.from_bytes(frame[2:HEADER], "little"):
            try:
                message: Message = _decode_body(body)
            except (*values.UNREADABLE, RecursionError):
                pass  # said in full below
            else:
                return message
    elif frame[:2] == _CHECKED_PLAIN:
        try:
            message = _decode_body(memoryview(frame)[2:])
        except (*values.UNREADABLE, RecursionError):
            pass
        else:
            return message
    try:
        return _read(_payload(frame), frame[1])
    except msgspec.ValidationError as fault:
        raise Damaged(f"it was written by a newer Onrecord: {fault}") from fault


def decode_together(frames: Sequence[bytes]) -> list[Message] | None:
    """The contents of several frames, ``TOGETHER`` at the most, like ``decode``: in two thirds of
    the time. None where one of them cannot be read like that; each by itself then says why."""
    bodies = [_ARRAY_OF, len(frames).to_bytes(2, "big")]
    try:
        for frame in frames:
            begin, checksum = _begin_of(frame)
            if begin == _BEGINS_PLAIN:
                body = frame[HEADER:]
                if crc32(body, _PLAIN_SEED) != checksum:
                    return None
            elif begin == _BEGINS_CHECKED:
                body = frame[2:]
            elif begin == _BEGINS_COMPRESSED:
                body = envelope.unwrap(frame, MESSAGE, COMPRESSED, most=LARGEST)
            else:
                return None
            bodies.append(body)
        messages: list[Message] = _decode_bodies(b"".join(bodies))
    except (*values.UNREADABLE, RecursionError, StructError, Damaged):
        return None
    return messages


def placeholder(frame: bytes, fault: Exception) -> Message:
    """What stands in for a message that can no longer be read. Its bytes are kept (I10)."""
    return Message(
        DAMAGED,
        (
            Text(f"[This message can no longer be read: {fault}]"),
            Opaque("onrecord", "damaged", {"frame": frame, "reason": str(fault)}),
        ),
    )


def same_content(a: bytes, b: bytes) -> bool:
    """Whether two frames say the same, however they were compressed."""
    if a == b:
        return True
    try:
        body_a, body_b = _payload(a), _payload(b)
        if body_a == body_b and a[1] & ESCAPED == b[1] & ESCAPED:
            return True  # also where a NaN inside differs from itself
        return _said(_read(body_a, a[1])) == _said(_read(body_b, b[1]))
    except Damaged:
        return False


def _said(message: Message) -> Message:
    """A message without the note of the turn that it belongs to: where it stands is not what it
    says, and whoever appends it again need not know it."""
    if "turn" not in message.metadata:
        return message
    metadata = {key: value for key, value in message.metadata.items() if key != "turn"}
    return replace(message, metadata=metadata)


def _plain_text(message: Message) -> str | None:
    """The text of a message that is one plain text under a role and nothing else."""
    match message.content:
        case (Text(text, extra),) if not extra and type(text) is str:
            bare = type(message.role) is str and message.role and message.usage is None
            if bare and message.name is message.tool_call_id is None:
                return text if not message.metadata and not message.native else None
    return None


def _content(message: Message) -> tuple[Any, ...]:
    """The content's fields, tagged, without the empty ones at the end."""
    if type(message) is not Message:
        raise InvalidMessage(
            f"A {type(message).__name__} is not a Message, and what it has besides would be lost."
        )
    if not message.role:
        raise values.NotStorable("role", "it is empty. Say who speaks: user, assistant, tool.")
    for name in ("metadata", "native"):
        fields: Any = getattr(message, name)
        if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
            raise values.NotStorable(name, "it has to be a dict whose keys are str.")
    given: list[Any] = [
        message.role,
        _tag_blocks(message.content, "content"),
        message.name,
        message.tool_call_id,
        values.tag(message.usage, "usage"),
        values.tag(message.metadata, "metadata"),
        values.tag(message.native, "native"),
    ]
    while len(given) > 1 and given[-1] == _DEFAULTS[len(given) - 1]:
        given.pop()
    return tuple(given)


def _tag_blocks(blocks: object, path: str) -> tuple[Any, ...]:
    if type(blocks) is not tuple:
        raise values.NotStorable(path, "it has to be text or a list of blocks.")
    return tuple(_tag_block(block, f"{path}[{i}]") for i, block in enumerate(blocks))


def _tag_block(block: Any, path: str) -> Any:
    if type(block) is Text and not block.extra:
        return block
    if not isinstance(block, Block):
        raise values.NotStorable(path, f"a {type(block).__name__} is not a block.")
    fields: list[Any] = [block.__struct_config__.tag]
    for name in block.__struct_fields__:
        value = getattr(block, name)
        inner = f"{path}.{name}"
        if isinstance(block, ToolResult) and name == "content":
            value = _tag_blocks(value, inner)
        elif name in _FREE_FIELDS:
            value = values.tag(value, inner)
        fields.append(value)
    return tuple(fields)


_FREE_FIELDS: Final = frozenset({"extra", "args", "data", "signature"})


def said_by(frame: bytes) -> tuple[int, bytes]:
    """How a frame's body is to be read (ESCAPED or not), and the body, uncompressed."""
    return frame[1] & ESCAPED if len(frame) > 1 else 0, _payload(frame)


def checked(escaped: int, body: bytes) -> bytes:
    """A frame in memory of a body whose checksum was compared."""
    return (_CHECKED_ESCAPED if escaped else _CHECKED_PLAIN) + body


def is_checked(frame: bytes) -> bool:
    """Whether it is one. Not any frame that begins with 0: a damaged row may, and was once sealed
    as if it could be read, which took the other messages of its segment along."""
    return frame[:2] == _CHECKED_PLAIN or frame[:2] == _CHECKED_ESCAPED


def whole(frame: bytes) -> bytes:
    """The same frame with a checksum of its own, for a place that may garble it."""
    return envelope.wrap(MESSAGE, frame[2:], frame[1] & ESCAPED) if is_checked(frame) else frame


def with_dictionary(frame: bytes, dictionary: Dictionary) -> bytes:
    """The frame as the database keeps it: compressed with a dictionary where that is smaller."""
    if len(frame) < _WORTH_LOOKING_UP:
        return frame
    escaped, body = said_by(frame)
    smaller = dictionary.number.to_bytes(NUMBER, "little") + compress(body, QUICK, dictionary)
    if len(smaller) >= len(frame) - HEADER:  # it may be compressed already
        return frame
    return envelope.wrap(MESSAGE, smaller, escaped | COMPRESSED | LEARNED)


def dictionary_of(frame: bytes) -> int | None:
    """Which dictionary a stored frame needs."""
    return envelope.dictionary_of(frame, MESSAGE)


def is_plain(frame: bytes) -> bool:
    """Whether it says of itself that it is not compressed."""
    return frame[:2] == _PLAIN


def raw_length(frame: bytes) -> int | None:
    """How long a compressed frame would be without that; None where it is not compressed, or a
    damaged one does not say."""
    if len(frame) < HEADER or frame[0] != MESSAGE or not frame[1] & COMPRESSED:
        return None
    try:
        found = envelope.body_length(frame, len(frame))
    except Damaged:
        return None
    return HEADER + found if found <= LARGEST else None


def without_dictionary(frame: bytes, dictionary: Dictionary) -> bytes:
    """The frame in memory; the stored bytes as they are where they are damaged."""
    body, flags = frame[HEADER:], frame[1]
    # As ``envelope.content`` has it, whose call costs a tenth more with each row of a tail.
    checksum = crc32(body, _PLAIN_SEED | flags)
    if frame[:HEADER] != header_with(MESSAGE, flags, checksum) or flags & ~_FLAGS:
        return frame
    try:
        return checked(flags & ESCAPED, decompress(body[NUMBER:], dictionary, LARGEST))
    except Damaged:
        return frame


def _fault_of_segment(stored: bytes) -> str:
    try:
        envelope.content(stored, SEGMENT, COMPRESSED | LEARNED)
    except Damaged as fault:
        return str(fault)
    number = envelope.dictionary_of(stored, SEGMENT)
    if number is not None:
        return f"it needs dictionary {number}, which is missing or damaged"
    return "it cannot be decoded"


def _payload(frame: bytes) -> bytes:
    if is_checked(frame):
        return frame[2:]
    if envelope.is_of(frame, SEGMENT):
        raise Damaged(f"the segment it was kept in cannot be read: {_fault_of_segment(frame)}")
    return envelope.unwrap(frame, MESSAGE, _FLAGS, most=LARGEST)


def _read(body: bytes, flags: int) -> Message:
    try:
        return _read_body(body, flags)
    except RecursionError:
        return values.on_a_new_stack(_read_body, body, flags)


def _read_body(body: bytes, flags: int) -> Message:
    try:
        message: Message = _decode_body(body)
        return values.map_text(message, values.unescape) if flags & ESCAPED else message
    except msgspec.ValidationError:
        raise
    except values.UNREADABLE as fault:
        raise Damaged(f"it cannot be decoded: {fault}") from fault


def _explain(fault: Exception) -> str:
    """A decoder's complaint in the words of the message: ``content[0]``, not ``$[1][0]``."""
    text = str(fault)
    found = re.search(r" - at `\$((?:\[\d+\])*)", text)
    if found is None:
        return f"The message cannot be stored: {text}"
    steps = [int(step) for step in re.findall(r"\d+", found[1])]
    name = Message.__struct_fields__[steps[0]] if steps else "message"
    if len(steps) > 1 and name == "content":
        name += f"[{steps[1]}]"
    return f"{name} cannot be stored: {text[: found.start()]}."
