"""Messages to frames, frames to segments, and back. Pure bytes: no I/O, no class imported, no code
run by data."""

from onrecord.codec.compression import Dictionary
from onrecord.codec.frame import (
    CHECKED,
    DAMAGED,
    TOGETHER,
    Compression,
    decode,
    decode_together,
    dictionary_of,
    encode,
    is_plain,
    placeholder,
    raw_length,
    same_content,
    whole,
    with_dictionary,
    without_dictionary,
)
from onrecord.codec.values import pack_value, unpack_value

__all__ = [
    "CHECKED",
    "DAMAGED",
    "TOGETHER",
    "Compression",
    "Dictionary",
    "decode",
    "decode_together",
    "dictionary_of",
    "encode",
    "is_plain",
    "pack_value",
    "placeholder",
    "raw_length",
    "same_content",
    "unpack_value",
    "whole",
    "with_dictionary",
    "without_dictionary",
]
