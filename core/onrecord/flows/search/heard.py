"""What this process has taken apart already of what was said.

A message is found by the bytes it was read as, so what is remembered of it is of these bytes and
can never be stale: other bytes are another message, and who has no bytes of it finds nothing.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, NamedTuple

from onrecord import codec
from onrecord.blocks import text_of
from onrecord.ranking import Spoken

MOST_BYTES: Final = 32 * 2**20
"""Of all that is remembered, about: 20,000 messages of 200 letters."""
_LONGEST: Final = 16_384
"""Bytes of a message that is remembered."""


class Heard(NamedTuple):
    """A message as a search looks at it."""

    role: str
    speaker: str
    text: str
    spoken: Spoken


class Hearing:
    """Messages that were taken apart, by their bytes; of too many the oldest are forgotten."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._heard: dict[bytes, Heard] = {}
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._heard)

    def hear(self, frame: bytes) -> Heard:
        """What was said in a message; Damaged where nobody can say."""
        found = self._heard.get(frame)
        if found is None:
            found = heard(frame)
            if len(frame) <= _LONGEST:
                self._keep(frame, found)
        return found

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._heard.clear()
            self._bytes = 0

    def _keep(self, frame: bytes, found: Heard) -> None:
        with self._lock:
            if frame not in self._heard:
                self._heard[frame] = found
                self._bytes += _weight(frame, found)
            while self._bytes > self._most:
                oldest = next(iter(self._heard))
                self._bytes -= _weight(oldest, self._heard.pop(oldest))


def heard(frame: bytes) -> Heard:
    """Take a message apart; Damaged where that cannot be done."""
    message = codec.decode(frame)
    text = text_of(message.content)
    return Heard(message.role, message.name or "", text, Spoken.of(text))


def _weight(frame: bytes, found: Heard) -> int:
    """About how many bytes it takes. Words come again, and are counted where they are kept."""
    return 600 + len(frame) + len(found.text) + 60 * len(found.spoken.terms)
