"""Appends that lost their answer: what they brought may be stored, and is looked for before it is
stored again. By its ids alone an append of long ago is not recognised (I5)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

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
_REMEMBERED_FOR: Final = 600.0
"""Seconds. Who says the same later than that means it."""


class _Batch(NamedTuple):
    """Messages to whose append no answer came."""

    session: SessionName
    messages: list[Message]
    ended: float


class Doubt:
    """The ids of messages that were to be stored, and no answer came.

    Threads share it without a lock, which one of them might hold at a fork: each change is one
    call of a set or of a list.
    """

    __slots__ = ("_batches", "_ids")

    def __init__(self) -> None:
        self._ids: set[str | None] = set()
        self._batches: list[_Batch] = []

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
        no answer came to it, is stored once; what is said while its answer may still come is
        another."""
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
            return [there[one.id] for one in said]
        try:
            return (yield from self.append(session, said))
        finally:  # also where it was cut off
            if not self._ids.isdisjoint([one.id for one in said]):
                self._batches.append(_Batch(session.name, said, time.monotonic()))
                del self._batches[:-_MOST_BATCHES]

    def _said_before(self, name: SessionName, batch: Sequence[Message]) -> list[Message] | None:
        """What was said in the same words and had no answer: taken out, as one retry has it."""
        wanted = [(one.created_at, content_of(one)) for one in batch]
        since = time.monotonic() - _REMEMBERED_FOR
        for one in list(self._batches):
            if one.session != name or one.ended <= since:
                continue
            if [(message.created_at, content_of(message)) for message in one.messages] == wanted:
                with suppress(ValueError):  # another thread was quicker
                    self._batches.remove(one)
                    return one.messages
        return None


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
