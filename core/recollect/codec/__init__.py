"""Messages to frames and back. Pure bytes: no I/O, no class imported, no code run by data."""

from recollect.codec.frame import Compression, decode, encode, placeholder, same_content
from recollect.codec.values import pack_value, unpack_value

__all__ = [
    "Compression",
    "decode",
    "encode",
    "pack_value",
    "placeholder",
    "same_content",
    "unpack_value",
]
