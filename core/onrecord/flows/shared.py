"""What all flows of a store share: how messages are encoded on the way in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from onrecord import codec
from onrecord.arguments import lifetime
from onrecord.cache.tails import Tails
from onrecord.errors import InvalidMessage
from onrecord.flows.building import MessageBuilder
from onrecord.flows.known import Sessions
from onrecord.message import Message
from onrecord.stored.clock import microseconds
from onrecord.stored.messages import Entry
from onrecord.usage import spent_by
from onrecord.version import Version

if TYPE_CHECKING:
    from onrecord.codec import Compression
    from onrecord.flows.belief import Belief
    from onrecord.flows.checkpoints.memory import ThreadMemory
    from onrecord.flows.search.heard import Hearing
    from onrecord.flows.search.meaning import MeaningOf
    from onrecord.ledger.database.transaction import Facts
    from onrecord.tokens import TokenCounter

UNSET: Final[Any] = type("Unset", (), {"__repr__": lambda self: "UNSET"})()
"""Stands for "leave it as it is" where None means "take it away"."""


class Desk:
    """What the flows of one store share: its settings, and what this process knows of it."""

    def __init__(
        self,
        facts: Callable[[], Facts | None],
        compression: Compression,
        counter: TokenCounter,
        cached_messages: int,
        marks: bool,
        keeps: bool,
        compare: float,
        belief: Belief,
        threads: ThreadMemory,
        hearing: Hearing,
        expires_in: timedelta | None = None,
        meaning: MeaningOf | None = None,
    ) -> None:
        self.facts = facts
        self.compression = compression
        self.counter = counter
        self.cached_messages = cached_messages
        self.marks = marks
        self.keeps = keeps
        self.compare = compare
        self.expires_in = lifetime("expires_in", expires_in)
        self.build = MessageBuilder(facts)
        self.known = Sessions()
        self.belief = belief
        self.threads = threads
        self.openings = Tails(messages=1)
        self.meaning = meaning
        self.hearing = hearing
        self.only_read = False
        """Whether it is a replica's: nothing is written there."""
        self.one_writer = False
        """Whether it was seen that one who writes keeps all others from it."""

    def showed(self, found: Iterable[tuple[bytes, Version]], began: int) -> None:
        """Note what a read of the database showed, by identity, where there is a cache that could
        show less afterwards. Of an item that is its version, of a session where it stood."""
        if self.marks:
            for identity, version in found:
                self.known.listed(identity, version, began)

    def forget(self) -> None:
        """Forget what is remembered of sessions."""
        self.openings.forget()
        self.known.forget()
        self.belief.forget()
        self.hearing.forget()
        if self.meaning is not None:
            self.meaning.forget()


def encode(desk: Desk, given: Sequence[Message], at: int) -> tuple[list[Entry], list[Message]]:
    """Turn messages into what is stored of them, and into what was understood of them."""
    entries: list[Entry] = []
    contents: list[Message] = []
    for i, message in enumerate(given):
        try:
            frame, content = codec.encode(message, desk.compression)
        except InvalidMessage as fault:
            if len(given) == 1:
                raise
            raise InvalidMessage(f"message {i}: {fault}") from fault
        created = at if message.created_at is None else microseconds(message.created_at)
        tokens = desk.counter(content)
        usage = None if content.usage is None else spent_by(content.usage)
        entries.append(
            Entry(frame, message.id, created, tokens, content.opens_turn, usage, content.waits)
        )
        contents.append(content)
    return entries, contents
