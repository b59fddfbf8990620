"""Messages that are not stored yet: in one process, in their order, until a session has them.

Each has an id from the moment it was added, so that to store it twice is to store it once. What
is unsaved is stored at a normal exit, whoever still holds it; a forked child has nothing of it,
because the process that was told the messages stores them.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.errors import IdReused, InvalidMessage, OnrecordError, StoreClosed
from onrecord.memory.doubt import Doubt, content_of
from onrecord.memory.gate import Gate
from onrecord.message import Message
from onrecord.plural import many
from onrecord.processes import on_fork
from onrecord.session import Session

log = logging.getLogger("onrecord")

AT_ONCE: Final = 64
"""Messages in one append: as many as a retry finds again by their ids in any session."""

_having: Final[dict[int, Unsaved]] = {}
"""All that have something: they are kept alive until it is stored, or the process ends."""


class Unsaved:
    """What is not stored yet of one session."""

    def __init__(self, session: Session, holding: object = None) -> None:
        self.session = session
        self._holding = holding
        """What keeps the session's store open until all is stored."""
        self._start()
        session.store.before_close(self.store_before_close, self.astore_before_close)
        on_fork(self, in_child=Unsaved._start)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._gate = Gate()
        self._messages: list[Message] = []
        self._doubt = Doubt()
        # One beginning for all of them costs a segment next to nothing; of its own in each process.
        beginning, numbers = secrets.token_hex(6), itertools.count(1)
        self._ids = (f"{beginning}-{number}" for number in numbers)
        _having.pop(id(self), None)

    def __len__(self) -> int:
        return len(self._messages)

    def messages(self) -> list[Message]:
        """What is unsaved, in its order."""
        with self._lock:
            return list(self._messages)

    def add(self, message: Message) -> Message:
        """Take a message. One whose id is here already, and that says the same, is that one."""
        with self._lock:
            if message.id is None:
                message = replace(message, id=next(self._ids))
            else:
                for there in self._messages:
                    if there.id == message.id:
                        if content_of(there) == content_of(message):
                            return there
                        raise IdReused(
                            f"A message with the id {message.id!r} is not stored yet, and "
                            f"says something else. Give another id, or none."
                        )
            self._messages.append(message)
            _having[id(self)] = self
        _mind_the_end()
        return message

    def stored(
        self, least: int = 1, then: Callable[[], Talk[list[Message]]] | None = None
    ) -> Talk[list[Message]]:
        """Store what is unsaved, where that is so much, and do ``then`` what stores more; return
        the messages as they are stored.

        Only one does this at a time, else what was said later might be stored before.
        """
        entered = yield from call(self._gate.enter)
        try:
            unsaved = self.messages()
            done: list[Message] = []
            if len(unsaved) >= least:
                done = yield from self._store(unsaved)
            if then is not None:
                done += yield from then()
            return done
        finally:
            if entered:
                self._gate.leave()

    def taken_away(self) -> Talk[None]:
        """Take all messages of the session away for good, and what is unsaved."""
        entered = yield from call(self._gate.enter)
        try:
            unsaved = self.messages()
            yield from call(self.session.clear)
            self._drop(unsaved)
        finally:
            if entered:
                self._gate.leave()

    def store_at_exit(self) -> None:
        """Store what is unsaved, or say what is lost: nobody is there to be told by an error."""
        try:
            # Not through the gate: whoever is inside may never go on. Ids keep them from being two.
            talk(self._store(self.messages()))
        except Exception as fault:  # whatever it is: the others have to be stored as well
            lost = f"{many(len(self), 'message')} of {self.session}: never stored. {fault}"
            log.error(lost)
            heard = (*log.handlers, *logging.getLogger().handlers)
            if all(isinstance(handler, logging.NullHandler) for handler in heard):
                sys.stderr.write(f"{lost}\n")  # a loss that nobody would ever hear of

    def store_before_close(self) -> None:
        """Store what is unsaved: the store is about to be closed, and nobody has closed the
        memory."""
        talk(self._stored_before_close())

    async def astore_before_close(self) -> None:
        """Like ``store_before_close``."""
        await atalk(self._stored_before_close())

    def _stored_before_close(self) -> Talk[None]:
        try:
            yield from self.stored()
        except OnrecordError as fault:
            if lost := len(self):
                fault.add_note(
                    f"{many(lost, 'message')} of {self.session} cannot be stored any more: the "
                    f"store is closed now. Close a memory before its store, and where that fails "
                    f"close it again later."
                )
            raise

    def _store(self, unsaved: list[Message]) -> Talk[list[Message]]:
        if unsaved and self.session.store.closed:
            raise StoreClosed(
                f"{many(len(unsaved), 'message')} cannot be stored any more: the store was closed "
                f"first. Close the memory before the store."
            )
        if there := (yield from self._doubt.stored(self.session, unsaved)):
            self._drop([message for message in unsaved if message.id in there])
            unsaved = [message for message in unsaved if message.id not in there]
        done: list[Message] = []
        for first in range(0, len(unsaved), AT_ONCE):
            done += yield from self._append(unsaved[first : first + AT_ONCE])
        return done

    def _append(self, batch: Sequence[Message]) -> Talk[list[Message]]:
        try:
            done = yield from self._doubt.append(self.session, batch)
        except (IdReused, InvalidMessage):
            if len(batch) > 1:
                return (yield from self._one_by_one(batch))
            self._drop(batch)  # it never can be stored, and must not hold up the others
            raise
        self._drop(batch)
        return done

    def _one_by_one(self, batch: Sequence[Message]) -> Talk[list[Message]]:
        """Store those that can be, where one never can: its id is another message's."""
        done: list[Message] = []
        refused: OnrecordError | None = None
        for message in batch:
            try:
                done += yield from self._append([message])
            except (IdReused, InvalidMessage) as fault:
                refused = fault
        if refused is not None:
            raise refused
        return done

    def _drop(self, gone: Sequence[Message]) -> None:
        ids = {message.id for message in gone}
        with self._lock:
            self._messages = [message for message in self._messages if message.id not in ids]
            if not self._messages:
                _having.pop(id(self), None)


def store_all() -> None:
    """Store what is unsaved anywhere in this process, which ends."""
    for unsaved in list(_having.values()):
        unsaved.store_at_exit()


_minded: Final[set[int]] = set()
"""In which processes."""


def _mind_the_end() -> None:
    """Store what is unsaved also where a process ends that multiprocessing has started: such a one
    ends without what ``atexit`` was told."""
    pid = os.getpid()
    if pid not in _minded:
        _minded.add(pid)
        if (theirs := sys.modules.get("multiprocessing.util")) is not None:
            theirs.Finalize(None, store_all, exitpriority=0)
