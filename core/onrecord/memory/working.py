"""Working memory: values under keys with a time to live, and the messages that are at hand."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from uuid import uuid4

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.reference import check_store
from onrecord.arguments import time_to_live
from onrecord.closing import ClosedAtEnd
from onrecord.errors import Damaged, InvalidName, Misconfigured, OnrecordError
from onrecord.item import Delete, Put
from onrecord.memory.doubt import Doubt
from onrecord.memory.gate import Gate
from onrecord.memory.notebook import line, said, table
from onrecord.memory.wording import CONVERSATION
from onrecord.memory.working_message import WorkingMessage, working_message
from onrecord.plural import many
from onrecord.processes import on_fork
from onrecord.scope import LONGEST_NAME, check_name
from onrecord.store import Store

if TYPE_CHECKING:
    from onrecord.item import Item, ItemChange, Life
    from onrecord.session import Session

T = TypeVar("T")

NAMESPACE: Final = "working"
PREFIX: Final = "working/"
"""What keys begin with in the state of a session, which may hold things of others."""

_PAGE: Final = 500
_SHOWN: Final = 20
"""Keys that a notebook shows."""
_AT_ONCE: Final = 1_000
"""Messages of one append, or changes of one write: it holds a lock while it writes them."""


class WorkingMemory(ClosedAtEnd):
    """What an agent works with: values under keys, each for a while, and the messages at hand.

    The keys are items of the store: every process sees them, until they expire by the clock of the
    database. With a ``session_id`` they are in that session's state, and go with it; without one
    they are shared by all of the scope. The messages are in this process only, until
    ``MemorySystem.save_session`` stores them: a kill loses what was not saved.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        session_id: str | None = None,
        ttl: Life = 3600,
        tenant: str = "",
        user: str = "",
        agent: str = "",
    ) -> None:
        """
        store       an onrecord.Store; None for one in memory, which goes with this object
        session_id  the session whose working memory it is; None for that of the whole scope
        ttl         seconds, or a timedelta, that a key lives which says nothing else; None for good
        tenant, user, agent    whose it is
        """
        time_to_live("ttl", ttl)
        if store is None:
            self.store = Store("sqlite://")
            self._closing: weakref.finalize[Any, Any] | None
            self._closing = weakref.finalize(self, self.store.close)
        else:
            check_store(store)
            self.store, self._closing = store, None
        self.ttl = ttl
        self._scope = {"tenant": tenant, "user": user, "agent": agent}
        self._messages: list[WorkingMessage] = []
        self._saved = 0
        self._doubt = Doubt()
        self._is_draft = self._has_keys = False
        self._replaced = False
        """Whether a MemorySystem has another in its place, and would never save this one."""
        self._gate: Gate
        """Of a draft: who changes keys, or moves all of them."""
        self.session: Session | None = None
        """The session whose messages these are; None while nobody has said so."""
        self._items = self.store.items(NAMESPACE, **self._scope)
        self._prefix = ""
        if session_id is not None:
            check_name("session_id", session_id)
            self._settle(self.store.session(session_id, **self._scope))

    # -- keys --------------------------------------------------------------------------------------

    def set(self, key: str, value: Any, ttl_seconds: Life = None) -> None:
        """Put a value under a key, for ``ttl_seconds``; None for as long as the memory's ``ttl``.

        A value is what JSON can say, and dates, bytes and such: anything else is InvalidValue.
        """
        talk(self._alone(self._put(key, value, ttl_seconds)))

    async def aset(self, key: str, value: Any, ttl_seconds: Life = None) -> None:
        """Like ``set``."""
        await atalk(self._alone(self._put(key, value, ttl_seconds)))

    def get(self, key: str, default: Any = None) -> Any:
        """Read a value; the default where there is none, or it has expired."""
        return talk(self._got(key, default))

    async def aget(self, key: str, default: Any = None) -> Any:
        """Like ``get``."""
        return await atalk(self._got(key, default))

    def all(self) -> dict[str, Any]:
        """Read all keys with their values, in the order of the keys."""
        return talk(self._all())

    async def aall(self) -> dict[str, Any]:
        """Like ``all``."""
        return await atalk(self._all())

    def delete(self, key: str) -> bool:
        """Take a key away; whether it was there."""
        return talk(self._alone(self._deleted(key)))

    async def adelete(self, key: str) -> bool:
        """Like ``delete``."""
        return await atalk(self._alone(self._deleted(key)))

    def cleanup(self) -> int:
        """Take the rows away of what has expired, which nobody sees any more; how many that was.

        Nobody has to: later writes take such rows away, some at a time, and ``store.prune()`` all.
        """
        return talk(call(self._items.sweep))

    async def acleanup(self) -> int:
        """Like ``cleanup``."""
        return await atalk(call(self._items.sweep))

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: str) -> bool:
        return self.get(key, _MISSING) is not _MISSING

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())

    def __bool__(self) -> bool:
        """There is a memory, whatever is in it: ``if memory`` asks no database."""
        return True

    # -- messages ----------------------------------------------------------------------------------

    @property
    def messages(self) -> list[WorkingMessage]:
        """The messages at hand, in the order in which they were said."""
        return list(self._messages)

    @property
    def unsaved(self) -> list[WorkingMessage]:
        """Those of them that are in this process only: what a kill loses."""
        return self._messages[self._saved :]

    def add_message(self, role: str, content: Any, tool_call: Any = None) -> WorkingMessage:
        """Add a message to those at hand. Nothing is stored; what could not be is refused now.

        ``content`` is text, or blocks as ``append`` takes them. ``tool_call`` is a mapping,
        ``{"id": …, "name": …, "args": {…}}`` or in a provider's shape; with the role ``tool`` it
        names the call that is answered. Refused where another memory is at hand instead of this
        one: nothing would ever save the message.
        """
        self._check_in_place()
        added = working_message(self.store, role, content, tool_call)
        self._messages.append(added)
        return added

    # -- the store in memory -----------------------------------------------------------------------

    def close(self) -> None:
        """Close the store, if this made it: one in memory. A store that was given stays open."""
        if self._closing is not None:
            self._closing()

    async def aclose(self) -> None:
        """Like ``close``."""
        if self._closing is not None and self._closing.detach():
            await self.store.aclose()

    def __str__(self) -> str:
        """The messages at hand, a line each, as they can stand in a prompt; a line in brackets
        where there are none, which says whose memory it is."""
        return CONVERSATION.text_of([one.message for one in self._messages]) or (
            f"(Working memory of {self._whose()}: no messages at hand.)"
        )

    def _repr_html_(self) -> str:
        try:
            keys = talk(self._shown())
        except OnrecordError as fault:  # a failed read never looks like an empty memory
            keys = line(f"The keys could not be read: {fault}")
        at_hand = said(one.message for one in self._messages) if self._messages else ""
        return f"{line(repr(self))}{keys}{at_hand}"

    def __repr__(self) -> str:
        count = f"{many(len(self._messages), 'message')} at hand, {len(self.unsaved)} not saved"
        return f"WorkingMemory({self._whose()} in {self.store!r}, ttl={self.ttl}, {count})"

    def _whose(self) -> str:
        if self.session is not None:
            return f"session {self.session.name}"
        names = [f"{part}={name!r}" for part, name in self._scope.items() if name]
        place = "no session yet" if self._is_draft else "the whole scope"
        return ", ".join([place, *names])

    # -- written once ------------------------------------------------------------------------------

    def _put(self, key: str, value: Any, ttl: Life) -> Talk[None]:
        if self._is_draft:
            self._check_in_place()  # nobody finds the keys of a draft
        ttl = self.ttl if ttl is None else ttl
        time_to_live("ttl_seconds", ttl)
        yield from call(self._items.put, self._key(key), value, ttl=ttl)
        self._has_keys = True

    def _got(self, key: str, default: Any) -> Talk[Any]:
        item = yield from call(self._items.get, self._key(key))
        return default if item is None else item.value

    def _deleted(self, key: str) -> Talk[bool]:
        return (yield from call(self._items.delete, self._key(key)))

    def _all(self) -> Talk[dict[str, Any]]:
        found = yield from self._listed()
        return {item.key.removeprefix(self._prefix): item.value for item in found}

    def _listed(self) -> Talk[list[Item]]:
        found: list[Item] = []
        after: Item | None = None
        while True:
            page = yield from call(self._items.list, prefix=self._prefix, after=after, limit=_PAGE)
            for item in page:
                if item.damaged is not None:
                    raise Damaged(item.damaged)
            found += page
            if len(page) < _PAGE:
                return found
            after = page[-1]

    def _shown(self) -> Talk[str]:
        """The first keys and their values as a notebook shows them."""
        found = yield from call(self._items.list, prefix=self._prefix, limit=_SHOWN + 1)
        if not found:
            return line('No keys. Begin with memory["step"] = "…".')
        rows = [
            (
                item.key.removeprefix(self._prefix),
                repr(item.value) if item.damaged is None else f"damaged: {item.damaged}",
                "" if item.expires_at is None else f"{item.expires_at:%Y-%m-%d %H:%M:%S}",
            )
            for item in found[:_SHOWN]
        ]
        more = line("… and more.") if len(found) > _SHOWN else ""
        return table(("Key", "Value", "Expires (UTC)"), rows) + more

    def _key(self, key: str) -> str:
        check_name("key", key)
        if len(key) + len(self._prefix) > LONGEST_NAME:
            raise InvalidName(
                f"key has {len(key)} characters; {LONGEST_NAME - len(self._prefix)} are allowed "
                f"in a session's working memory. Shorten it, or use a hash of it."
            )
        return self._prefix + key

    def _check_in_place(self) -> None:
        if self._replaced:
            raise Misconfigured(
                "This working memory is not at hand any more: load_session(…) or working = … has "
                "put another in its place, and save_session(…) would not store what is added "
                "here. Use system.working, or what load_session(…) has returned; or put this one "
                "back: system.working = memory."
            )

    def _settle(self, session: Session) -> None:
        self.session, self._items, self._prefix = session, session.state, PREFIX

    # -- for MemorySystem --------------------------------------------------------------------------

    @classmethod
    def _draft(cls, store: Store, *, ttl: Life, tenant: str, user: str, agent: str) -> Self:
        """A memory of a session that has no name yet. Its keys are in a place of its own, where
        nobody else meets them, until it has one."""
        made = cls(store, ttl=ttl, tenant=tenant, user=user, agent=agent)
        made._items = store.items(NAMESPACE, f"draft-{uuid4().hex}", **made._scope)
        made._prefix, made._is_draft = PREFIX, True
        made._begin()
        on_fork(made, in_child=WorkingMemory._begin)
        return made

    def _begin(self) -> None:
        self._gate = Gate()

    def _alone(self, work: Talk[T]) -> Talk[T]:
        """Do something with keys while nobody moves them to a session: what came to a draft that
        was moved already would be lost."""
        if not self._is_draft:
            return (yield from work)
        entered = yield from call(self._gate.enter)
        try:
            return (yield from work)
        finally:
            if entered:
                self._gate.leave()

    def _restore(self, said: list[WorkingMessage]) -> None:
        """Begin with what a session has."""
        self._messages, self._saved = said, len(said)

    def _save(self, session: Session) -> Talk[int]:
        """Store what is new in a session, which is this memory's from then on; how many that was.

        What failed half-way is looked for, said again by the same ids, and stands there once.
        """
        if self._is_draft:
            yield from self._alone(self._move_to(session))
        self.session = session
        first = self._saved  # read once: another thread may be saving the same
        new = self._messages[first:]
        there = yield from self._doubt.stored(session, [one.message for one in new])
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            if said := [one.message for one in some if one.message.id not in there]:
                yield from self._doubt.append(session, said)
            self._saved = max(self._saved, first + start + len(some))
        return len(new)

    def _move_to(self, session: Session) -> Talk[None]:
        """Take the keys of a draft along, each at once and for as long as it had left."""
        if not self._is_draft:
            return  # somebody else has, since
        changes: list[ItemChange] = []
        now = datetime.now(UTC)
        for item in (yield from self._listed()):
            left = None if item.expires_at is None else item.expires_at - now
            if left is None or left > timedelta(0):
                put = Put(session.state, item.key, item.value, ttl=left)
                changes += [put, Delete(self._items, item.key)]
        for start in range(0, len(changes), _AT_ONCE):
            yield from call(self.store.write, changes[start : start + _AT_ONCE], **self._scope)
        self._settle(session)
        self._is_draft = False


_MISSING: Final = object()
