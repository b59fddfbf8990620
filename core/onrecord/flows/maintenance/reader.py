"""A file of sessions and items, read in pieces that are written one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from onrecord import codec
from onrecord.codec import lines
from onrecord.codec import value as value_codec
from onrecord.codec.lines import End, Item, Line, Place, Session
from onrecord.errors import (
    Damaged,
    InvalidMessage,
    InvalidName,
    InvalidValue,
    Misconfigured,
    OnrecordError,
)
from onrecord.files import Source
from onrecord.ledger.sessions import sealing
from onrecord.message import Message
from onrecord.scope import NamespaceName
from onrecord.usage import Spent, spent_by

_MOST: Final = 1_024
_MOST_BYTES: Final = 4 * 2**20


class ReadMessage(NamedTuple):
    """One place of a session in a file."""

    place: Place
    """Without its content."""
    frame: bytes | None
    line: bytes
    usage: Spent | None = None
    """What it says that it cost."""


class Piece(NamedTuple):
    """Places of a session that follow each other, as many as are written together."""

    session: Session
    places: Sequence[ReadMessage]
    begins: bool
    """Whether they are the first."""
    more: bool
    """Whether others follow."""


class ReadItem(NamedTuple):
    """An item in a file."""

    said: Item
    body: bytes
    """Its value as it would be stored; what was stored, where that can no longer be read."""


class Known(NamedTuple):
    """Items of one namespace that follow each other, as many as are written together."""

    name: NamespaceName
    items: Sequence[ReadItem]


class Reader:
    """Reads a file piece by piece, and refuses it by name where it is not what was exported."""

    def __init__(self, source: Source, compression: codec.Compression) -> None:
        self._source = source
        self._compression = compression
        self._line = 0
        self._session: Session | None = None
        self._seq = 0
        self._sessions = self._messages = self._deleted = self._items = 0
        self._ahead: tuple[Line, bytes] | OnrecordError | None = None

    def begin(self) -> int:
        """How many sessions it says it has; 0 where there is no looking at its end first."""
        last = self._source.ends(self._check_first)
        first = self._source.line() or b""
        self._line = 1
        if last is None:
            self._check_first(first)
            return 0
        try:
            end = lines.read(last)
        except (Damaged, InvalidName):
            end = None
        if not isinstance(end, End):
            raise self._cut_off("Nothing of it was imported.")
        return end.sessions

    def _check_first(self, line: bytes) -> None:
        try:
            known = lines.is_header(line)
        except Damaged as fault:
            raise Misconfigured(f"{self._source.name} cannot be imported: {fault}.") from fault
        if known:
            return
        if (line or self._source.compressed) and lines.header().startswith(line):
            raise self._cut_off("Nothing of it was imported.")
        raise Misconfigured(
            f"{self._source.name} is no file of export(): its first line does not say so. "
            f"What other libraries have stored is brought by their importers."
        )

    def skip(self) -> None:
        """Pass over what is left of the session, read as strictly."""
        while self._session is not None and self._seq < self._session.head:
            self.next()

    def next(self) -> Piece | Known | None:
        """The next piece; None when all of it was read."""
        session = self._session
        begins = session is None or self._seq == session.head
        if begins:
            match self._begun():
                case Session() as begun:
                    session = begun
                case Item() as first:
                    return self._known(first)
                case None:
                    return None
        assert session is not None, "it has just begun"
        places: list[ReadMessage] = []
        size = 0
        while self._seq < session.head and len(places) < _MOST and size < _MOST_BYTES:
            places.append(self._place(session))
            size += len(places[-1].line)
        return Piece(session, places, begins, self._seq < session.head)

    def _begun(self) -> Session | Item | None:
        """The session that begins here, or the item that stands here; None at the end."""
        match self._said()[0]:
            case Session() as session:
                self._check_about(session)
                self._session, self._seq = session, 0
                self._sessions += 1
                return session
            case Item() as item:
                self._session = None
                return item
            case End() as end:
                found = End(self._sessions, self._messages, self._deleted, self._items)
                if end != found:
                    raise self._refused(f"it counts {tuple(end)}, and there were {tuple(found)}")
                if self._source.line() is not None:
                    raise self._refused("something comes after it, and it should be the last")
                return None
            case Place(seq):
                raise self._refused(f"it is message {seq}, and a session was to begin here")

    def _check_about(self, said: Session) -> None:
        if not said.metadata:
            return
        try:  # as it will be stored
            codec.pack_value({"title": said.title, "metadata": dict(said.metadata)}, "session")
        except InvalidMessage as fault:
            raise InvalidMessage(f"{self._source.name}, line {self._line}: {fault}") from fault

    def _known(self, first: Item) -> Known:
        found = [self._item(first)]
        size, keys = len(found[0].body), {first.key}
        while len(found) < _MOST and size < _MOST_BYTES:
            try:
                said, line = self._said()
            except OnrecordError as fault:  # what came before is to be imported first
                self._ahead = fault
                break
            # No store writes a key twice; a file that somebody made may have it, and differ then.
            if not isinstance(said, Item) or said.name != first.name or said.key in keys:
                self._ahead = said, line
                break
            found.append(self._item(said))
            keys.add(said.key)
            size += len(found[-1].body)
        return Known(first.name, found)

    def _item(self, said: Item) -> ReadItem:
        self._items += 1
        if said.damaged is not None:
            return ReadItem(said, said.damaged)
        squeezed = self._compression == "zstd"
        try:
            body = value_codec.encode(
                said.value, said.text, f"value of {said.key!r}", squeezed=squeezed
            )
        except InvalidValue as fault:
            raise InvalidValue(f"{self._source.name}, line {self._line}: {fault}") from fault
        return ReadItem(said, body)

    def _place(self, session: Session) -> ReadMessage:
        said, line = self._said()
        if not isinstance(said, Place) or said.seq != self._seq + 1:
            raise self._refused(f"message {self._seq + 1} of {session.name} should stand here")
        self._seq = said.seq
        content = said.content
        if content is None:
            self._deleted += 1
            return ReadMessage(said, None, line)
        self._messages += 1
        bare, frame = said._replace(content=None), self._frame(content, session)
        return ReadMessage(bare, frame, line, spent_by(content.usage))

    def _frame(self, content: Message, session: Session) -> bytes:
        # What goes into a segment is compressed there, with all the others.
        stays = session.head - self._seq < 2 * sealing.SEGMENT
        try:
            return codec.encode(content, self._compression if stays else "none")[0]
        except InvalidMessage as fault:
            raise InvalidMessage(f"{self._source.name}, line {self._line}: {fault}") from fault

    def _said(self) -> tuple[Line, bytes]:
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, OnrecordError):
            raise ahead
        if ahead is not None:
            return ahead
        line = self._source.line()
        if line is None:
            raise self._cut_off("What came before was imported.")
        self._line += 1
        try:
            return lines.read(line), line
        except Damaged as fault:
            raise self._refused(str(fault)) from fault
        except InvalidName as fault:
            raise InvalidName(f"{self._source.name}, line {self._line}: {fault}") from fault

    def _refused(self, why: str) -> Damaged:
        return Damaged(f"{self._source.name}, line {self._line}: {why}.")

    def _cut_off(self, done: str) -> Damaged:
        return Damaged(
            f"{self._source.name} was cut off: the last line of a whole file says how much there "
            f"was, and is missing. {done} Import the whole file: it goes on from there."
        )
