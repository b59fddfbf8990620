"""Import lists, whose rows have no name but their place: of Redis, in arrays, in files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from onrecord.adapters.importing.source import Bookmark, Conversation, Page, RowOf, digest

_AT_A_TIME: Final = 1_000


class Counted(Conversation):
    """A list, oldest first. It may lose its beginning: so the rows of the mark are looked for, and
    all that comes after them is new."""

    def __init__(
        self,
        id_: str,
        oldest: Callable[[int, int], list[bytes]],
        row_of: RowOf,
        *,
        canonical: Callable[[bytes], bytes] = bytes,
        loses_its_end: bool = False,
    ) -> None:
        """
        oldest         what stands from one place to before another, counted from the oldest
        canonical      what is the same as long as the row is the same; the ``raw`` of its row
        loses_its_end  whether the newest can be taken back, and something else be said instead
        """
        self.id = id_
        self._oldest = oldest
        self._row_of = row_of
        self._canonical = canonical
        self._loses_its_end = loses_its_end

    def after(self, mark: Bookmark, limit: int) -> Page:
        """Read the next rows; the first ones where those of the bookmark are no longer there."""
        last = mark.last[-mark.read :] if mark.read else ()
        start, base, gone, anew = mark.read, mark.base, 0, False
        found = self._oldest(start - len(last), start + limit + 1)
        same = self._in_common(found, last)
        if same == len(last):
            found = found[same:]
        elif self._loses_its_end and same > 1:  # two at their places are no accident
            gone = len(last) - same
            start, found = start - gone, found[same:]
        else:
            again = self._found_again(mark)
            start, anew = again or 0, again is None
            found = self._oldest(start, start + limit + 1)
            # A list that began anew goes on counting: no number is used twice.
            base = int(mark.row) - start if mark.row.isdecimal() else mark.base
        numbers = range(base + start + 1, base + start + limit + 1)
        rows = [self._row_of(str(n), raw) for n, raw in zip(numbers, found, strict=False)]
        return Page(rows, start + len(rows), len(found) > limit, anew, base, gone)

    def _in_common(self, found: list[bytes], last: tuple[str, ...]) -> int:
        """Count the bookmark's rows that stand where they stood, one after the other."""
        for n, (raw, known) in enumerate(zip(found, last, strict=False)):
            if self._digest(raw) != known:
                return n
        return min(len(found), len(last))

    def _found_again(self, mark: Bookmark) -> int | None:
        """Find where the rows of the bookmark end now, if any are left."""
        digests: list[str] = []
        while len(digests) < mark.read:
            end = min(len(digests) + _AT_A_TIME, mark.read)
            some = self._oldest(len(digests), end)
            if not some:
                break
            digests += map(self._digest, some)
        for end in range(len(digests), 0, -1):
            size = min(len(mark.last), end)
            if tuple(digests[end - size : end]) == mark.last[-size:]:
                return end
        return None

    def _digest(self, raw: bytes) -> str:
        return digest(self._canonical(raw))
