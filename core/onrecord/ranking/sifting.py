"""Sign texts by what one query looks for, where there is no index: who chooses by it chooses as
by a signature of all that is said in them, and has it in a sixth of the time."""

from __future__ import annotations

from typing import Final

from onrecord.ranking.hashing import hashed
from onrecord.ranking.query import Query
from onrecord.ranking.words import terms_of, words

_MOST_SPELLINGS: Final = 50_000
"""Spellings of which is remembered what they hold: some 10 MB."""


class Sieve:
    """What of the texts of many a query looks for. Each spelling is looked at once."""

    def __init__(self, query: Query, key: bytes = b"") -> None:
        self._key = key
        self._wanted = {hash for _, hash in query.days}
        for term in query.terms:
            self._wanted |= {term.hash, *(related.hash for related in term.related)}
            self._wanted |= {half.hash for two in term.halves for half in two}
            if term.name:
                self._wanted.add(term.name)
        self._found: dict[str, tuple[bytes, ...]] = {}

    def signature(self, text: str) -> bytes:
        """Sign a text: of the hashes that its whole signature has, those that are looked for."""
        if not self._wanted:
            return b""
        known = self._found
        spoken = set(words(text))
        new = spoken.difference(known)
        if new:
            if len(known) > _MOST_SPELLINGS:
                known.clear()
                new = spoken
            for word in new:
                known[word] = self._hashes(word)
        hashes = {hash for word in spoken for hash in known[word]}
        return b"".join(sorted(hashes, key=lambda hash: int.from_bytes(hash, "little")))

    def _hashes(self, word: str) -> tuple[bytes, ...]:
        hashes = [hashed(term, self._key) for term in terms_of(word)]
        return tuple([hash for hash in hashes if hash in self._wanted])
