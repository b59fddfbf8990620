"""zstd, with and without a dictionary that was learned from a store's own messages."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import zstandard

from onrecord.errors import Damaged

QUICK: Final = 3
"""The level at which single messages are compressed: 2 µs each."""
STEADY: Final = 6
"""The level at which an append seals: a twelfth smaller than QUICK with a dictionary, 4 µs a
message, and nobody notices once in 128 appends."""
THOROUGH: Final = 17
"""The level at which maintenance seals: a twenty-fifth smaller again, 18 µs a message. 19 would
take 40 for hardly anything."""

SLOWEST: Final = 19
"""The level at which a dictionary itself is kept."""

LARGEST: Final = 2**34
"""What claims to be longer than this was never written: 256 of the largest messages together."""

_FORMAT: Final = zstandard.FORMAT_ZSTD1_MAGICLESS
_MOST_KEPT: Final = 16


class Dictionary:
    """What texts of one kind have in common, known by its number in its store."""

    __slots__ = ("__weakref__", "content", "number", "trained")

    def __init__(self, number: int, content: bytes) -> None:
        self.number = number
        self.content = content
        self.trained = zstandard.ZstdCompressionDict(content)


def compress(body: bytes, level: int, dictionary: Dictionary | None = None) -> bytes:
    """The same in fewer bytes, where it can be said in fewer."""
    return _tools.compressor(level, dictionary).compress(body)


def decompress(body: bytes, dictionary: Dictionary | None = None, most: int = LARGEST) -> bytes:
    """What was compressed; Damaged where it is not that any more, or says that it is longer."""
    claimed = length(body)
    if claimed > most:
        raise Damaged(f"it says that it has {claimed:,} bytes, and the limit is {most:,}")
    try:
        return _tools.decompressor(dictionary).decompress(body)
    except (zstandard.ZstdError, MemoryError) as fault:
        raise Damaged(f"it cannot be decompressed: {fault}") from fault


def length(begin: bytes) -> int:
    """How long something will be when it is decompressed, from its first 18 bytes."""
    try:
        return int(zstandard.get_frame_parameters(begin, format=_FORMAT).content_size)
    except zstandard.ZstdError as fault:
        raise Damaged(f"it does not begin as what was compressed: {fault}") from fault


def learn(samples: Sequence[bytes], size: int) -> bytes | None:
    """What so many texts have in common, in at most so many bytes; None where that is nothing."""
    try:
        return zstandard.train_dictionary(size, list(samples), level=THOROUGH).as_bytes()
    except zstandard.ZstdError:  # too few, too short, or nothing in common: zstd does not say which
        return None


class _Tools(threading.local):
    """Compressors and decompressors of one thread: zstandard's are not safe to share."""

    def __init__(self) -> None:
        self._compressors: dict[tuple[int, Dictionary | None], zstandard.ZstdCompressor] = {}
        self._decompressors: dict[Dictionary | None, zstandard.ZstdDecompressor] = {}

    def compressor(self, level: int, dictionary: Dictionary | None) -> zstandard.ZstdCompressor:
        found = self._compressors.get((level, dictionary))
        if found is None:
            if len(self._compressors) >= _MOST_KEPT:
                self._compressors.clear()
            # No magic number, no second checksum, no second name of the dictionary: four bytes
            # each, on a message of a hundred.
            parameters = zstandard.ZstdCompressionParameters.from_level(
                level,
                format=_FORMAT,
                write_content_size=True,
                write_checksum=False,
                write_dict_id=False,
            )
            found = self._compressors[level, dictionary] = zstandard.ZstdCompressor(
                compression_params=parameters,
                dict_data=None if dictionary is None else dictionary.trained,
            )
        return found

    def decompressor(self, dictionary: Dictionary | None) -> zstandard.ZstdDecompressor:
        found = self._decompressors.get(dictionary)
        if found is None:
            if len(self._decompressors) >= _MOST_KEPT:
                self._decompressors.clear()
            found = self._decompressors[dictionary] = zstandard.ZstdDecompressor(
                dict_data=None if dictionary is None else dictionary.trained, format=_FORMAT
            )
        return found


_tools = _Tools()
