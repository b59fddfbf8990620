"""Appends that lost their answer: what they brought may be stored, and is looked for before it is
stored again. By its ids alone an append of long ago is not recognised (I5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from onrecord.adapters.calls import Talk, call
from onrecord.errors import OnrecordError, Unavailable
from onrecord.message import Message
from onrecord.session import Session

_LOOKED_FOR: Final = 1_000
"""How many of the newest messages are looked at."""


class Doubt:
    """The ids of messages that were to be stored, and no answer came.

    Threads share it without a lock, which one of them might hold at a fork: each change is one
    call of a set.
    """

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: set[str | None] = set()

    def append(self, session: Session, batch: Sequence[Message]) -> Talk[list[Message]]:
        """Append messages that have ids."""
        ids = {message.id for message in batch}
        self._ids.update(ids)  # as long as there is no answer: it may be cut off
        try:
            done = yield from call(session.append, batch)
        except OnrecordError as fault:
            unknown = isinstance(fault, Unavailable) and fault.outcome_unknown
            (self._ids.update if unknown else self._ids.difference_update)(ids)
            raise
        self._ids.difference_update(ids)
        return done

    def stored(self, session: Session) -> Talk[set[str | None]]:
        """Look which of the messages in doubt are stored, and return their ids."""
        if not self._ids:
            return set()
        looked_for = self._ids.copy()
        newest = yield from call(session.tail, _LOOKED_FOR)
        self._ids.difference_update(looked_for)  # once: what is not there is not in doubt any more
        return looked_for.intersection([message.id for message in newest])
