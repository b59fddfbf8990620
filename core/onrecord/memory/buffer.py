"""A buffer over a conversation: written some messages at a time, read without the database.

The database is the truth, and other processes write to it. So what is read is compared with the
store's version each time, by its cache where it has one, and only what is new is read; what this
object has added and not stored yet stands behind it.
"""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from time import monotonic
from typing import Any, Final, NamedTuple

from onrecord.adapters.bounded import Bounded
from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.outgoing import outgoing
from onrecord.arguments import check_number, check_range, whole_number
from onrecord.closing import ClosedAtEnd
from onrecord.errors import Misconfigured, OnrecordError, StoreClosed
from onrecord.memory.counted import BufferStats, Roles
from onrecord.memory.doubt import Doubt
from onrecord.memory.history import History, newest, own
from onrecord.memory.notebook import line
from onrecord.memory.opened import close_all, opened
from onrecord.memory.saved_turns import given_out, messages_of, turns_of
from onrecord.memory.saying import check_said
from onrecord.memory.unsaved import Unsaved, store_all
from onrecord.message import Message
from onrecord.plural import many
from onrecord.session import Session
from onrecord.store import Store
from onrecord.window import LOOKBACK, Window, pair

LONGEST_BUFFER: Final = 10_000
_LONGEST_TTL: Final = 10 * 365 * 86_400
_SIZES: Final = (16, 128, 1_024)
"""For how many messages a window is read where fewer are asked for than the buffer holds."""
_ALL_CONTEXTS: Final = 20_000
"""Messages of all sessions together that ``load_context`` keeps at hand."""


class PersistentBufferMemory(ClosedAtEnd):
    """The conversation of one agent: a buffer of the newest messages over a durable store.

    Objects with one ``agent_id``, in any process, share one conversation. May be used from any
    thread and any event loop; every method that does I/O has a twin with ``a`` before its name.
    Making one does no I/O.
    """

    def __init__(
        self,
        store_or_url: Store | str | PathLike[str] | None = None,
        *,
        agent_id: str = "",
        session: str = "main",
        user: str = "",
        tenant: str = "",
        buffer_size: int = 100,
        max_turns: int | None = None,
        auto_persist_interval: int | None = 10,
        ttl: float = 1800,
        cache_ttl_seconds: float | None = None,
        enable_compression: bool = True,
    ) -> None:
        """
        store_or_url   an onrecord.Store, which stays yours to close; or the URL of one, which
                       all memories of the process with that URL share, and the last one closes;
                       by default onrecord.db in this folder
        agent_id       whose conversation it is; without one that of the empty name
        session, user, tenant    which conversation of the agent, and of whom
        buffer_size    how many of the newest messages ``get_history()`` shows
        max_turns      how many turns it shows at most
        auto_persist_interval    store after so many messages; 1 stores each before ``add_message``
                       returns, None stores when you say so. A kill loses what is not stored: at
                       most ``auto_persist_interval - 1`` messages
        ttl            seconds without use after which the buffer is read anew
        cache_ttl_seconds        another name for ``ttl``
        enable_compression       whether what is written is compressed; of a store that you pass
                       it has to be what the store does
        """
        check_number("buffer_size", buffer_size, 1, LONGEST_BUFFER)
        if max_turns is not None:
            check_number("max_turns", max_turns, 1, LONGEST_BUFFER)
        if auto_persist_interval is not None:
            check_number("auto_persist_interval", auto_persist_interval, 1, LONGEST_BUFFER)
        check_range("ttl", ttl, "seconds", 0.01, _LONGEST_TTL)
        if cache_ttl_seconds is not None:
            check_range("cache_ttl_seconds", cache_ttl_seconds, "seconds", 0.01, _LONGEST_TTL)
            ttl = cache_ttl_seconds
        if not isinstance(enable_compression, bool):
            raise Misconfigured("enable_compression has to be True or False.")
        self.agent_id = agent_id
        self.buffer_size = buffer_size
        self.max_turns = max_turns
        self.auto_persist_interval = auto_persist_interval
        self.ttl = ttl
        self.closed = False
        if isinstance(store_or_url, Store):
            self._own, self.store = None, _lent(store_or_url, enable_compression)
        else:
            self._own = opened(store_or_url, enable_compression)
            self.store = self._own.store
        self.session: Session = self.store.session(
            session, tenant=tenant, user=user, agent=agent_id
        )
        self._unsaved = Unsaved(self.session, self._own)
        self._turns = Doubt()
        self._roles = Roles(self.session)
        self._held: dict[int, _Held] = {}
        """What was read last, by for how many messages; they are never handed out."""
        self._used = monotonic()
        self._since_cleared: deque[Message] | None = None
        """What was added since the buffer was cleared; None where it is not cleared. A deque
        needs no lock, which another thread might hold at a fork."""
        self._contexts: Bounded[str, _Context] = Bounded(_ALL_CONTEXTS)

    # -- adding ------------------------------------------------------------------------------

    def add_message(self, role: str, content: Any, **fields: Any) -> Message:
        """Add a message, and return it.

        ``fields`` are those of a mapping that ``append`` takes: name, tool_calls, tool_call_id,
        metadata, usage, id, created_at. Where this is the message after which the buffer is
        stored and that fails, the error is raised and the message is kept: it is stored with the
        next one, and must not be added again.
        """
        return talk(self._added(role, content, fields))

    async def aadd_message(self, role: str, content: Any, **fields: Any) -> Message:
        """Like ``add_message``."""
        return await atalk(self._added(role, content, fields))

    def persist(self) -> int:
        """Store what is not stored yet, and return how many messages that were.

        Where it fails everything is kept, and can be stored later; what is stored twice is there
        once.
        """
        return talk(self._persisted())

    async def apersist(self) -> int:
        """Like ``persist``."""
        return await atalk(self._persisted())

    # -- reading -----------------------------------------------------------------------------

    def get_history(self, limit: int | None = None) -> History:
        """Read the newest messages, oldest first: ``limit`` of them, or what the buffer holds.

        What others have stored is there, and what this object has added. The first read loads by
        itself; after ``clear_buffer`` only what was added since is there, as far as the buffer
        holds it. Never begins between a tool call and its results: then there are some less.
        """
        return talk(self._history(limit))

    async def aget_history(self, limit: int | None = None) -> History:
        """Like ``get_history``."""
        return await atalk(self._history(limit))

    def load_from_db(self) -> int:
        """Read the buffer anew, also after ``clear_buffer``; return how many messages it holds."""
        return talk(self._loaded())

    async def aload_from_db(self) -> int:
        """Like ``load_from_db``."""
        return await atalk(self._loaded())

    def clear_buffer(self) -> None:
        """Empty the buffer: the history reads ``[]`` until it is loaded. The database stays.

        What is not stored yet is stored first. Where that fails the buffer stays as it is.
        """
        talk(self._emptied())

    async def aclear_buffer(self) -> None:
        """Like ``clear_buffer``."""
        await atalk(self._emptied())

    def delete_history(self, session_id: str | None = None) -> None:
        """Take all messages away for good, in the database and in the buffer: of this
        conversation, or of another one of the agent that ``save_turn`` has stored.

        Title and metadata stay: ``memory.session.erase()`` takes them as well. What another
        object has added and not stored yet is not reached.
        """
        talk(self._deleted(session_id))

    async def adelete_history(self, session_id: str | None = None) -> None:
        """Like ``delete_history``."""
        await atalk(self._deleted(session_id))

    # -- turns -------------------------------------------------------------------------------

    def save_turn(self, session_id: str, turn: Mapping[str, Any]) -> list[Message]:
        """Store a turn in a conversation of the agent, at once and as a whole.

        ``{"user": …, "agent": …}``, and where there are any ``"timestamp"``, a datetime or ISO
        8601, and ``"metadata"``, which is stored with the answer. Returns the two messages.

        The same turn again, after an answer that was lost (``Unavailable`` with
        ``outcome_unknown``, or a cancellation), is stored once.
        """
        return talk(self._turn_saved(session_id, turn))

    async def asave_turn(self, session_id: str, turn: Mapping[str, Any]) -> list[Message]:
        """Like ``save_turn``."""
        return await atalk(self._turn_saved(session_id, turn))

    def load_context(self, session_id: str) -> dict[str, Any]:
        """Read the newest turns of a conversation of the agent, as ``save_turn`` takes them.

        ``{"turns": […], "turn_count": n}``: at most ``max_turns`` of them, or as many as there are
        in ``buffer_size`` messages; and how many turns there are at all.
        """
        return talk(self._context(session_id))

    async def aload_context(self, session_id: str) -> dict[str, Any]:
        """Like ``load_context``."""
        return await atalk(self._context(session_id))

    # -- looking after -----------------------------------------------------------------------

    def stats(self) -> BufferStats:
        """Count messages, turns, tokens and roles, and what is not stored yet.

        The first time all messages are read, to see their roles.
        """
        return talk(self._counted())

    async def astats(self) -> BufferStats:
        """Like ``stats``."""
        return await atalk(self._counted())

    def close(self) -> None:
        """Store what is not stored yet, and close the store where it is the memory's own."""
        talk(self._closed())

    async def aclose(self) -> None:
        """Like ``close``."""
        await atalk(self._closed())

    def __str__(self) -> str:
        """What ``get_history()`` shows, as text for a prompt."""
        return str(self.get_history())

    def __repr__(self) -> str:
        unsaved = len(self._unsaved)
        note = f", {unsaved} not stored yet" if unsaved else ""
        return f"{type(self).__name__}({self.session.name} in {self.store!r}{note})"

    def _repr_html_(self) -> str:
        unsaved = len(self._unsaved)
        note = line(f"{unsaved} not stored yet") if unsaved else ""
        try:
            empty = self.session.version().head == 0
        except OnrecordError:  # which the session's own page says
            empty = False
        if empty:
            begin = "" if unsaved else line('Begin with memory.add_message("user", "…").')
            return line(repr(self)) + line("Nothing is stored yet.") + begin + note
        return self.session._repr_html_() + note

    # -- what happens then -------------------------------------------------------------------

    def _added(self, role: str, content: Any, fields: dict[str, Any]) -> Talk[Message]:
        self._check_open()
        called = bool(fields.get("tool_calls")) or fields.get("tool_call_id") is not None
        check_said(role, content, called=called)
        (made,) = outgoing(
            self.store,
            [{"created_at": datetime.now(UTC), **fields, "role": role, "content": content}],
        )
        message = self._unsaved.add(made)
        since = self._since_cleared
        if since is not None and message.id not in {one.id for one in list(since)}:
            since.append(message)
        every = self.auto_persist_interval
        if every is not None and len(self._unsaved) >= every:
            with _kept(self._unsaved):
                stored = yield from self._unsaved.stored(least=every)
            message = next((one for one in stored if one.id == message.id), message)
        return own(message)

    def _persisted(self) -> Talk[int]:
        self._check_open()
        return len((yield from self._unsaved.stored()))

    def _history(self, limit: int | None) -> Talk[History]:
        self._check_open()
        most = self.buffer_size if limit is None else whole_number("limit", limit)
        if most == 0:
            return History()
        if (since := self._since_cleared) is not None:
            messages = list(since)
        else:
            unsaved = self._unsaved.messages()  # first: what is stored meanwhile is in both
            messages = _behind((yield from self._read(most)), unsaved)
        turns = self.max_turns if limit is None else None
        return History(map(own, newest(messages, most, turns)))

    def _read(self, most: int) -> Talk[Sequence[Message]]:
        """Read at least so many of the newest messages, where there are so many."""
        now = monotonic()
        if now - self._used > self.ttl:
            self._held = {}
        self._used, held = now, self._held
        if most <= self.buffer_size:
            most = next((n for n in _SIZES if most <= n < self.buffer_size), self.buffer_size)
        last = held.get(most) or max([*held.values()], key=_length, default=None)
        window = yield from call(
            self.session.window, messages=most, last=None if last is None else last.window
        )
        if last is not None and window is last.window:
            return last.messages
        messages: Sequence[Message] = window.reading.messages
        if not window.reading.complete and _begins_late(messages, most):
            # The window looked no further than where its turn begins, and this may begin before.
            before = messages[0].seq
            older = yield from call(self.session.messages, before=before, limit=LOOKBACK)
            messages = [*older, *messages]
        if most <= self.buffer_size:
            held[most] = _Held(window, messages)
        return messages

    def _loaded(self) -> Talk[int]:
        self._check_open()
        self._since_cleared = None
        self._held = {}
        return len((yield from self._history(None)))

    def _emptied(self) -> Talk[None]:
        self._check_open()
        yield from self._unsaved.stored()
        # Not empty where others add in this moment.
        self._since_cleared = deque(self._unsaved.messages(), maxlen=self.buffer_size)
        self._held = {}

    def _deleted(self, session_id: str | None) -> Talk[None]:
        self._check_open()
        session = self.session if session_id is None else self._named(session_id)
        if session.name != self.session.name:
            yield from call(session.clear)
            return
        yield from self._unsaved.taken_away()
        self._since_cleared = None
        self._held = {}

    def _turn_saved(self, session_id: str, turn: Mapping[str, Any]) -> Talk[list[Message]]:
        self._check_open()
        session = self._named(session_id)
        messages = outgoing(self.store, messages_of(turn))
        append = partial(self._turns.append_once, session, messages)
        if session.name != self.session.name:
            return (yield from append())
        stored = yield from self._unsaved.stored(then=append)
        if (since := self._since_cleared) is not None:
            since.extend(stored[-2:])
        return stored[-2:]

    def _context(self, session_id: str) -> Talk[dict[str, Any]]:
        self._check_open()
        session = self._named(session_id)
        unsaved = self._unsaved.messages() if session.name == self.session.name else []
        kept, now = self._contexts.use(session_id), monotonic()
        if kept is not None and now - kept.used > self.ttl:
            kept = None
        turns = self.max_turns
        window = yield from call(
            session.window,
            messages=self.buffer_size if turns is None else None,
            turns=turns,
            last=None if kept is None else kept.window,
        )
        if kept is not None and kept.window is window:
            kept = kept._replace(used=now)
        else:
            count = (yield from call(session.info)).turns
            kept = _Context(window, turns_of(window.messages), count, now)
        self._contexts.put(session_id, kept, 1 + len(window.reading.messages))
        new = _behind(window.reading.messages, unsaved)[len(window.reading.messages) :]
        said = turns_of([*window.messages, *new]) if new else kept.turns
        return {
            "turns": given_out(said if turns is None else said[-turns:]),
            "turn_count": kept.there + sum(message.opens_turn for message in new),
        }

    def _counted(self) -> Talk[BufferStats]:
        self._check_open()
        unsaved = self._unsaved.messages()
        roles = yield from self._roles.counted()
        info = yield from call(self.session.info)
        shown = yield from self._history(None)
        roles.update(message.role for message in unsaved)
        return BufferStats(
            agent_id=self.agent_id,
            session=self.session.name.key,
            messages=info.messages + len(unsaved),
            turns=info.turns + sum(message.opens_turn for message in unsaved),
            tokens=info.tokens + sum(message.tokens or 0 for message in unsaved),
            unsaved=len(unsaved),
            buffered=len(shown),
            roles=dict(sorted(roles.items())),
        )

    def _closed(self) -> Talk[None]:
        if not self.closed:
            yield from self._unsaved.stored()
            self.closed = True
        if self._own is not None and self._own.let_go():
            yield from call(self.store.close)

    def _named(self, session_id: str) -> Session:
        of = self.session.name
        return self.store.session(session_id, tenant=of.tenant, user=of.user, agent=of.agent)

    def _check_open(self) -> None:
        if self.closed:
            raise StoreClosed("This memory was closed. Make a new one.")
        if self.store.closed:
            raise StoreClosed(
                "The store of this memory was closed. Open a new Store, and make the memory on it. "
                "Close a memory before its store."
            )


@contextmanager
def _kept(unsaved: Unsaved) -> Iterator[None]:
    """Say of a failure that nothing has to be added again."""
    try:
        yield
    except OnrecordError as fault:
        if count := len(unsaved):
            fault.add_note(
                f"{many(count, 'message')} kept in the buffer, and stored with the next one or by "
                f"persist(). Do not add them again."
            )
        raise


def _behind(read: Sequence[Message], unsaved: list[Message]) -> list[Message]:
    """Put what is unsaved behind what was read, once."""
    if not unsaved:
        return list(read)
    known = {message.id for message in read}
    return [*read, *(message for message in unsaved if message.id not in known)]


class _Held(NamedTuple):
    """What was read: a window, and all messages from which a history is cut."""

    window: Window
    messages: Sequence[Message]


class _Context(NamedTuple):
    """The newest turns of a conversation, as they were read."""

    window: Window
    turns: list[dict[str, Any]]
    there: int
    """How many turns there are at all."""
    used: float


def _length(held: _Held) -> int:
    return len(held.messages)


def _begins_late(messages: Sequence[Message], most: int) -> bool:
    """Whether the newest so many have a result whose call may be older than all of these."""
    return any(result >= len(messages) - most for result in pair(messages).orphans)


def _lent(store: Store, compress: bool) -> Store:
    """Check that a store compresses as a memory is told to: it does what it was made with."""
    wanted = "zstd" if compress else "none"
    if store.compression != wanted:
        raise Misconfigured(
            f"enable_compression={compress}, and the store was made with "
            f"compression={store.compression!r}. Make it with compression={wanted!r}, or pass "
            f"enable_compression={not compress}."
        )
    return store


@atexit.register
def _at_exit() -> None:
    store_all()
    close_all()
