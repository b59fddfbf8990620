"""What is known of episodes beside what they say: how often they were used, and which are pinned.

Items of the session's state: they go with the session, and change no message. Uses wait in this
process until somebody writes anyway, so that no search ever writes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from onrecord.adapters.calls import Talk, call
from onrecord.errors import Conflict, OnrecordError
from onrecord.item import Delete, Item, Merge, Put
from onrecord.processes import on_fork
from onrecord.session import Session

log = logging.getLogger("onrecord")

PREFIX: Final = "episode/"
MOST_WAITING: Final = 10_000
"""Episodes whose uses wait at the most: some 1 MB. Uses of others are not counted until then."""
_WRITTEN_AT: Final = 100
"""Uses from which on a writer takes them along."""
_PAGE: Final = 1_000
_MOST_ATTEMPTS: Final = 5


class Note(NamedTuple):
    """What is known of one episode."""

    uses: int = 0
    pinned: bool = False
    item: Item | None = None
    """What is stored of it; None: nothing."""


NOTHING: Final = Note()


def note_of(item: Item) -> Note:
    """Read an item; what is no number of uses counts as none."""
    value = item.value if isinstance(item.value, Mapping) else {}
    uses = value.get("uses")
    if not isinstance(uses, int) or isinstance(uses, bool) or uses < 0:
        uses = 0
    return Note(uses, value.get("pinned") is True, item)


class Notes:
    """The notes of one session's episodes, by ``note_key_of`` of their first messages."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._start()
        on_fork(self, in_child=Notes._start)

    def _start(self) -> None:
        # A child has no uses of its own yet: those of its parent are its parent's to write.
        self._waiting: dict[str, int] = {}
        self._lock = threading.Lock()

    def used(self, keys: Iterable[str]) -> None:
        """Count a use of each."""
        with self._lock:
            for key in keys:
                if key in self._waiting or len(self._waiting) < MOST_WAITING:
                    self._waiting[key] = self._waiting.get(key, 0) + 1

    @property
    def waiting(self) -> int:
        """How many uses are not written down yet."""
        with self._lock:
            return sum(self._waiting.values())

    def of(self, keys: Iterable[str]) -> Talk[dict[str, Note]]:
        """Read those of some episodes."""
        wanted = {PREFIX + key: key for key in keys}
        if not wanted:
            return {}
        found = yield from call(self._session.state.get_many, list(wanted))
        return self._with_waiting({wanted[key]: note_of(item) for key, item in found.items()})

    def all(self) -> Talk[dict[str, Note]]:
        """Read those of all episodes."""
        notes: dict[str, Note] = {}
        after: Item | None = None
        while True:
            page: list[Item] = yield from call(
                self._session.state.list, prefix=PREFIX, after=after, limit=_PAGE
            )
            notes.update({item.key.removeprefix(PREFIX): note_of(item) for item in page})
            if len(page) < _PAGE:
                return self._with_waiting(notes)
            after = page[-1]

    def pin(self, key: str, pinned: bool) -> Talk[None]:
        """Say whether an episode is kept. Conflict where the session is not there any more."""
        change = Merge(self._session.state, PREFIX + key, {"pinned": pinned})
        yield from call(self._session.append, [], items=[change], existing=True)

    def gone(self, keys: Iterable[str]) -> None:
        """Forget the uses that wait, of episodes that are gone."""
        with self._lock:
            for key in keys:
                self._waiting.pop(key, None)

    def delete(self, keys: Iterable[str]) -> Talk[None]:
        """Take notes away of which nobody knows the episode."""
        items = [PREFIX + key for key in keys]
        for n in range(0, len(items), _PAGE):
            yield from call(self._session.state.delete_many, items[n : n + _PAGE])

    def dropped(self, keys: Iterable[str]) -> list[Delete]:
        """The changes by which notes go with their episodes."""
        return [Delete(self._session.state, PREFIX + key) for key in keys]

    def unchanged(self, notes: Mapping[str, Note], keys: Iterable[str]) -> list[Delete]:
        """The same, refused where one was pinned or used since its note was read."""
        changes: list[Delete] = []
        for key in keys:
            item = notes.get(key, NOTHING).item
            changes.append(
                Delete(self._session.state, PREFIX + key, expected=0 if item is None else item)
            )
        return changes

    def clear(self) -> Talk[None]:
        """Forget all of them."""
        with self._lock:
            self._waiting.clear()
        while page := (yield from call(self._session.state.list, prefix=PREFIX, limit=_PAGE)):
            yield from call(self._session.state.delete_many, [item.key for item in page])

    def take_along(self) -> Talk[None]:
        """Write uses down where many wait. It fails nobody: what cannot be written waits on."""
        if self.waiting < _WRITTEN_AT:
            return
        try:
            yield from self.save()
        except OnrecordError as fault:
            log.warning("uses of episodes of %s wait on: %s", self._session.name, fault)

    def save(self) -> Talk[int]:
        """Write down all uses that wait, and say how many that was."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        saved = 0
        try:
            while taken:
                some = dict(list(taken.items())[:_PAGE])
                yield from self._add(some)
                saved += sum(some.values())
                taken = {key: n for key, n in taken.items() if key not in some}
            return saved
        finally:
            with self._lock:
                for key, n in taken.items():
                    self._waiting[key] = self._waiting.get(key, 0) + n

    def _add(self, uses: Mapping[str, int]) -> Talk[None]:
        """Add to what is stored. Others add at the same time: each write says what it has read."""
        session = self._session
        more = {PREFIX + key: n for key, n in uses.items()}
        for attempt in range(_MOST_ATTEMPTS):
            there = yield from call(session.state.get_many, list(more))
            changes = [_more(session, key, there.get(key), n) for key, n in more.items()]
            try:
                # Not by a write of items alone: it would make a session again that was erased.
                yield from call(session.append, [], items=changes, existing=True)
            except Conflict:
                info = yield from call(session.info)
                if info.created_at is None:
                    return
                if attempt == _MOST_ATTEMPTS - 1:
                    raise
            else:
                return

    def _with_waiting(self, notes: dict[str, Note]) -> dict[str, Note]:
        with self._lock:
            for key, n in self._waiting.items():
                note = notes.get(key, NOTHING)
                notes[key] = note._replace(uses=note.uses + n)
        return notes


def _more(session: Session, key: str, item: Item | None, n: int) -> Put:
    value: dict[str, Any] = {"uses": n}
    if item is not None:
        note = note_of(item)
        value = {"uses": note.uses + n, "pinned": note.pinned}
    return Put(session.state, key, value, expected=0 if item is None else item)
