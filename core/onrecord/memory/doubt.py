"""Appends that lost their answer: what they brought may be stored, and is looked for before it is
stored again. By its ids alone an append of long ago is not recognised (I5)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from onrecord.adapters.calls import Talk, call
from onrecord.adapters.stored import seq_of
from onrecord.errors import OnrecordError, Unavailable
from onrecord.message import Message
from onrecord.scope import SessionName
from onrecord.session import Session

_PAGE: Final = 1_000
"""Messages that are looked at at once, from the newest back: mostly these are enough."""
_MOST_BATCHES: Final = 1_000
"""Batches without ids of their own that are remembered; nobody says the oldest again."""


class Doubt:
    """The ids of messages that were to be stored, and no answer came.

    Threads share it without a lock, which one of them might hold at a fork: each change is one
    call of a set, or a list put in the place of another.
    """

    __slots__ = ("_batches", "_ids")

    def __init__(self) -> None:
        self._ids: set[str | None] = set()
        self._batches: list[tuple[SessionName, list[Message]]] = []

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

    def stored(
        self, session: Session, wanted: Sequence[Message]
    ) -> Talk[dict[str | None, Message]]:
        """Look which of some messages are in doubt, and stored; return these by their ids. However
        much was said since: back to the first message, where they are not found before."""
        looked_for = self._ids.intersection([message.id for message in wanted])
        found: dict[str | None, Message] = {}
        if not looked_for:
            return found
        page = yield from call(session.tail, _PAGE)
        while page:
            found.update((one.id, one) for one in page if one.id in looked_for)
            if len(found) == len(looked_for):
                break
            page = yield from call(session.messages, before=seq_of(page[0]), limit=_PAGE)
        self._ids.difference_update(looked_for)  # once: what is not there is not in doubt any more
        return found

    def append_once(self, session: Session, batch: Sequence[Message]) -> Talk[list[Message]]:
        """Append messages, of which those that have no id are given one. The same said again, when
        no answer came to it, is stored once."""
        said = self._said_before(session.name, batch)
        if said is None:
            beginning = secrets.token_hex(6)
            said = [
                one if one.id is not None else replace(one, id=f"{beginning}-{number}")
                for number, one in enumerate(batch, 1)
            ]
            there = {}
        else:
            there = yield from self.stored(session, said)
        if len(there) == len(said):
            self._forget(said)
            return [there[one.id] for one in said]
        self._batches = [*self._batches[1 - _MOST_BATCHES :], (session.name, said)]
        try:
            return (yield from self.append(session, said))
        finally:
            if self._ids.isdisjoint([one.id for one in said]):
                self._forget(said)

    def _said_before(self, name: SessionName, batch: Sequence[Message]) -> list[Message] | None:
        wanted = [(one.created_at, content_of(one)) for one in batch]
        for there, said in self._batches:
            if there == name and [(one.created_at, content_of(one)) for one in said] == wanted:
                return said
        return None

    def _forget(self, said: list[Message]) -> None:
        self._batches = [one for one in self._batches if one[1] is not said]


def content_of(message: Message) -> tuple[Any, ...]:
    """What a message says, without what the store fills in."""
    return (
        message.role,
        message.content,
        message.name,
        message.tool_call_id,
        message.usage,
        message.metadata,
        message.native,
    )
