"""Hash terms to 16 bits: few enough to tell little, and to stand in a row of the index."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=100_000)
def hashed(term: str, key: bytes = b"") -> bytes:
    """Hash a term, with a key where there is one: two bytes, little endian."""
    return blake2b(term.encode("utf-8", "surrogatepass"), digest_size=2, key=key).digest()
