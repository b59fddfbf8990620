"""Vectors as bits: one a dimension, its sign. Beside words they find as much as the floats do.

The first dimension is the highest bit of the first byte; what is left of the last byte is zero.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final

from onrecord.errors import Damaged

_FEW: Final = 24
"""Up to so many vectors the standard library is faster than numpy."""

_ONES: Final = int.bit_count
_NUMBER: Final = int.from_bytes


def packed(vector: Sequence[float]) -> bytes:
    """Pack the signs of a vector: a bit is set where its number is above zero."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(vector, numpy.ndarray):
        return bytes(numpy.packbits(vector > 0).tobytes())
    signs = "".join(["1" if number > 0 else "0" for number in vector])
    width = width_of(len(signs))
    return int(signs.ljust(8 * width, "0"), 2).to_bytes(width)


def width_of(dimensions: int) -> int:
    """Count the bytes that a vector of so many dimensions takes."""
    return (dimensions + 7) // 8


def is_finite(vector: Sequence[float]) -> bool:
    """Tell whether each number of a vector is one: neither NaN nor infinite."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(vector, numpy.ndarray):
        return bool(numpy.isfinite(vector).all())
    # A sum is the quickest to ask, and too large a sum of finite numbers is the rare case.
    return math.isfinite(sum(vector)) or all(map(math.isfinite, vector))


def similarity(
    query: bytes, packs: bytes, width: int, *, dimensions: int | None = None
) -> list[float]:
    """Compare a query with vectors packed one behind another: 1 for the same, -1 for the opposite.

    It is one minus twice the share of the dimensions whose signs differ. ``dimensions`` is
    ``8 * width`` unless given.
    """
    dimensions = 8 * width if dimensions is None else dimensions
    if width < 1 or len(query) != width or width_of(dimensions) != width:
        raise ValueError(
            f"a query of {len(query)} bytes, vectors of {width} and {dimensions} dimensions do "
            f"not belong together"
        )
    if len(packs) % width:
        raise Damaged(f"{len(packs)} bytes are no vectors of {width} bytes each.")
    steps = [1 - 2 * distance / dimensions for distance in range(8 * width + 1)]
    numpy = sys.modules.get("numpy")
    if numpy is not None and len(packs) > _FEW * width and hasattr(numpy, "bitwise_count"):
        return _with_numpy(numpy, query, packs, width, steps)
    asked = _NUMBER(query)
    # One by one: a number of all the packs at once takes twice the time, most of it to copy.
    return [
        steps[_ONES(_NUMBER(vector) ^ asked)]
        for (vector,) in struct.iter_unpack(f"{width}s", packs)
    ]


def _with_numpy(
    numpy: Any, query: bytes, packs: bytes, width: int, steps: list[float]
) -> list[float]:
    word = next(size for size in (8, 4, 2, 1) if width % size == 0)
    kind = numpy.dtype(f"u{word}")
    differ = numpy.frombuffer(packs, kind).reshape(-1, width // word) ^ numpy.frombuffer(
        query, kind
    )
    distances = numpy.bitwise_count(differ).sum(axis=1, dtype=numpy.intp)
    similarities: list[float] = numpy.array(steps)[distances].tolist()
    return similarities


def averaged(similarities: Sequence[float], share: float = 0.5) -> list[float]:
    """Add a share of the neighbours' similarities to each: what is said is said over turns.

    The order is that of the conversation. At both ends the neighbour that is missing counts as
    the one that is there itself.
    """
    last = len(similarities) - 1
    whole = 1 + 2 * share
    return [
        (own + share * similarities[max(place - 1, 0)] + share * similarities[min(place + 1, last)])
        / whole
        for place, own in enumerate(similarities)
    ]
