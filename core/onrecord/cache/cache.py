"""The calls that flows make of a cache, and the answers they understand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from onrecord.cache.server import CacheServer
from onrecord.health import Counters
from onrecord.stored.items import SeenItem, WrittenItem
from onrecord.stored.messages import Publication, Snapshot

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class CacheUnavailable(Exception):
    """The cache could not be asked. The protocol goes on without it; nobody else sees this."""

    def __init__(self, why: str, took: float = 0.0) -> None:
        super().__init__(why)
        self.took = took
        """For how many seconds it was waited for, this process' own delays not counted."""


class Settle(Enum):
    """Whether the fence has to be moved before an entry may be filled."""

    NOT_NEEDED = 0
    DUE = 1
    """It has to be moved: marks are in the entry, or it knows no fence."""
    LATER = 2
    """So it has, but its writers are given some more time, or somebody else does it now."""


class Glance(Struct, Generic[T], frozen=True):
    """The answer of a look: a session, or an item, as the cache knows it at one moment."""

    seen: T | None
    """What it holds: of a session the newest messages, up to the seen version."""
    fresh: bool
    """Whether that is known to be all that was acknowledged."""
    lease: object | None
    """What to bring along when filling; None where filling would be wrong."""
    settle: Settle = Settle.NOT_NEEDED
    damaged: bool = False
    """Whether what it holds is not what was written."""
    hit: bool = False
    """Whether there is nothing to be filled in, if SQL says the same; ``fresh`` is so as well."""


NOTHING_FOUND: Final[Glance[Any]] = Glance(None, False, None)


class Marked(NamedTuple):
    """The answer to a writer's mark."""

    fence: int | None
    """The fence, as the entry knows it; None where it knows none."""
    lease: bytes
    """What to bring along when publishing all there is."""
    believed: bytes | None
    """The generation that the writer believed in; None where it believed in none."""


class Later(Generic[T_co]):
    """An answer for which a round trip is still to be made."""

    __slots__ = ()


Answer: TypeAlias = T | Later[T]
"""The answer, or for a cache that is elsewhere what ``exchange`` or ``aexchange`` makes it of."""


class CacheCalls(Protocol):
    """Calls that a flow may make in a ``Hot`` step. Each is one round trip at the most."""

    @abstractmethod
    def look(
        self, identity: bytes, on: bytes | None, wanted: int | None = None
    ) -> Answer[Glance[Snapshot]]:
        """A Glance at a session, by somebody who believes in a generation. ``wanted``: how many
        of the newest are needed at the least; None for as many as are kept."""

    @abstractmethod
    def fill(self, identity: bytes, seen: Snapshot, lease: object) -> Answer[None]:
        """Bring what SQL said, under a lease that was taken before SQL was asked."""

    @abstractmethod
    def remember(self, identity: bytes, seen: Snapshot) -> Answer[None]:
        """Note what SQL said to a reader that was given no lease."""

    @abstractmethod
    def look_item(self, identity: bytes, on: bytes | None) -> Answer[Glance[SeenItem]]:
        """A Glance at an item, by somebody who believes in a generation."""

    @abstractmethod
    def fill_item(self, identity: bytes, seen: SeenItem, lease: object) -> Answer[None]:
        """Bring what SQL said of an item, under a lease that was taken before SQL was asked."""

    @abstractmethod
    def mark(
        self, identity: bytes, token: str, believed: bytes | None, *, attempt: int, whatever: bool
    ) -> Answer[Marked]:
        """A writer is about to commit. ``whatever``: also while it is left alone."""

    @abstractmethod
    def publish(
        self,
        identity: bytes,
        token: str,
        publication: Publication,
        marked: Marked,
        whole: int | None,
    ) -> Answer[int | None]:
        """A writer has committed. ``whole`` is the session's fence, where what was published is
        all that the session has."""

    @abstractmethod
    def publish_item(
        self, identity: bytes, token: str, wrote: WrittenItem, marked: Marked
    ) -> Answer[int | None]:
        """A writer has committed an item, or that it is not there any more."""

    @abstractmethod
    def lift(self, identity: bytes, token: str) -> Answer[int | None]:
        """A writer has rolled back."""

    @abstractmethod
    def together(self, answers: Sequence[Answer[T]]) -> Answer[list[T]]:
        """Several calls in one round trip."""

    @abstractmethod
    def ping(self) -> Answer[bool]:
        """Whether it is there."""

    @abstractmethod
    def servers(self) -> Answer[list[CacheServer]]:
        """What each of its servers says of itself; none where it is in this process."""

    @abstractmethod
    def discard(self, identity: bytes) -> Answer[int | None]:
        """Throw an entry away that is not what was written."""

    @abstractmethod
    def drop(self, identity: bytes) -> Answer[None]:
        """Forget what this process holds of what was erased."""

    @abstractmethod
    def compared(self, agree: bool) -> Answer[None]:
        """A hit was compared with the database."""

    @property
    def left_alone(self) -> bool:
        """Whether it is not asked for now, because it failed."""
        return False

    @property
    def blind(self) -> bool:
        """Whether nobody could tell that another server answers than before."""
        return False


class Cache(CacheCalls, ABC):
    """Keeps the tails of sessions, and items, close at hand."""

    messages: int
    """How many of a session's newest messages it keeps."""
    where: str | None
    """Its address as it may be shown; None for a cache that is in this process."""
    counters: Counters
    marks: bool
    """Whether writers have to mark an entry before they commit, and publish after."""

    @abstractmethod
    def exchange(self, answer: Answer[T]) -> T:
        """Make the round trip that a call asked for, if it is one."""

    @abstractmethod
    async def aexchange(self, answer: Answer[T]) -> T:
        """Like ``exchange``, on the running loop."""

    @abstractmethod
    def forget(self) -> None:
        """In a child after fork: drop what belongs to the parent."""

    @abstractmethod
    def empty(self) -> None:
        """Forget all that this process holds."""

    def compared(self, agree: bool) -> None:
        """A hit was compared with the database."""
        self.counters.checked += 1
        self.counters.disagreed += not agree

    @abstractmethod
    def close(self) -> None:
        """Close what is ours."""

    async def aclose(self) -> None:
        """Like ``close``."""
        self.close()
