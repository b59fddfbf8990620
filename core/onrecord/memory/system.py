"""A memory in three tiers over one store: what is at hand, what happened, and what is known."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.reference import check_store
from onrecord.arguments import time_to_live, whole_number
from onrecord.errors import Misconfigured, shown
from onrecord.memory.buffer import PersistentBufferMemory
from onrecord.memory.episodic import EpisodicMemory
from onrecord.memory.notebook import line
from onrecord.memory.semantic import SemanticMemory
from onrecord.memory.working import WorkingMemory
from onrecord.memory.working_message import WorkingMessage
from onrecord.plural import many
from onrecord.scope import check_name, check_owner
from onrecord.unfinished import WELCOME, Unfinished

if TYPE_CHECKING:
    from onrecord.item import Life
    from onrecord.message import Message
    from onrecord.scope import SessionName
    from onrecord.session import Session
    from onrecord.store import Store


class MemorySystem:
    """The memories of one agent, of one user where one is named, over one store.

    ``working`` is what is at hand: the messages of one conversation until ``save_session`` stores
    them, and its keys. ``episodic`` and ``buffer`` read and write the stored conversations,
    ``semantic`` keeps facts. Making one does no I/O and costs little: make one for each
    conversation that goes on at the same time.
    """

    def __init__(
        self, store: Store, *, agent_id: str, user: str = "", tenant: str = "", ttl: Life = 3600
    ) -> None:
        """
        store         an onrecord.Store
        agent_id      whose memories these are
        user, tenant  of whom, where an agent serves several
        ttl           how long a key of the working memory lives which says nothing else
        """
        check_store(store)
        check_name("agent_id", agent_id)
        check_owner(tenant, user, agent_id)
        time_to_live("ttl", ttl)
        self.store = store
        self.agent_id, self.user, self.tenant = agent_id, user, tenant
        self._scope: dict[str, Any] = {"tenant": tenant, "user": user, "agent": agent_id}
        self._ttl = ttl
        self._open: weakref.WeakValueDictionary[str, WorkingMemory] = weakref.WeakValueDictionary()
        self._working = WorkingMemory._draft(store, ttl=ttl, **self._scope)

    @property
    def working(self) -> WorkingMemory:
        """What is at hand: of no session yet, or of the one that was saved or loaded last."""
        return self._working

    @working.setter
    def working(self, memory: WorkingMemory) -> None:
        if not isinstance(memory, WorkingMemory):
            raise Misconfigured(f"working has to be a WorkingMemory, not {shown(memory)}.")
        if memory is not self._working:
            self._put_aside()
            self._take(memory)

    @cached_property
    def episodic(self) -> EpisodicMemory:
        """What happened, session by session: among it the messages that were saved."""
        return EpisodicMemory(
            self.store, agent_id=self.agent_id, user=self.user, tenant=self.tenant
        )

    @cached_property
    def semantic(self) -> SemanticMemory:
        """What is known."""
        return SemanticMemory(self.store, **self._scope)

    @cached_property
    def buffer(self) -> PersistentBufferMemory:
        """The agent's conversation as a buffer that persists."""
        return PersistentBufferMemory(
            self.store,
            agent_id=self.agent_id,
            user=self.user,
            tenant=self.tenant,
            enable_compression=self.store.compression == "zstd",
        )

    def save_session(self, session_id: str) -> int:
        """Store the messages at hand that are new in a session; how many that was.

        The working memory is that session's from then on, and its keys are in the session's state.
        Saving again stores only what was said since, also where an answer was lost.
        """
        return talk(self._saved(session_id))

    async def asave_session(self, session_id: str) -> int:
        """Like ``save_session``."""
        return await atalk(self._saved(session_id))

    def load_session(self, session_id: str, max_messages: int | None = None) -> WorkingMemory:
        """Read a session into a working memory, which is at hand from then on: ``working``.

        With ``max_messages`` its newest ones, cut where no turn and no call is torn. An unknown
        session is empty. Refused while the messages at hand are not saved. What was at hand before
        takes no more messages, unless it is another session's, which is still saved by its name.
        """
        return talk(self._loaded(session_id, max_messages))

    async def aload_session(
        self, session_id: str, max_messages: int | None = None
    ) -> WorkingMemory:
        """Like ``load_session``."""
        return await atalk(self._loaded(session_id, max_messages))

    def unfinished(
        self,
        *,
        quiet_for: float = 0.0,
        limit: int = 50,
        after: Unfinished | None = None,
        welcome: str = WELCOME,
    ) -> list[Unfinished]:
        """List the sessions of this agent and user that somebody has to go on with, the one last
        active first: see ``Store.unfinished``. ``one.welcome`` greets who comes back, and
        ``load_session(one.info.key)`` goes on."""
        return talk(self._unfinished(quiet_for, limit, after, welcome))

    async def aunfinished(
        self,
        *,
        quiet_for: float = 0.0,
        limit: int = 50,
        after: Unfinished | None = None,
        welcome: str = WELCOME,
    ) -> list[Unfinished]:
        """Like ``unfinished``."""
        return await atalk(self._unfinished(quiet_for, limit, after, welcome))

    def memory_of(self, session_id: str) -> WorkingMemory:
        """Say which working memory ``save_session`` stores: the one that the session was loaded
        into or saved from, else what is at hand. Refused where that is another session's."""
        session = self._session(session_id)
        there = self._open.get(session_id)
        if there is not None:
            return there
        at_hand = self._working.session
        if at_hand is not None and at_hand.name != session.name:
            raise Misconfigured(
                f"What is at hand is of session {at_hand.name}, and nothing of it is stored in "
                f"{session_id!r}. load_session({session_id!r}) first; to go on with a copy, "
                f"store.session(…).fork({session_id!r})."
            )
        return self._working

    def __str__(self) -> str:
        """The messages at hand, a line each, as they can stand in a prompt; a line in brackets
        where there are none."""
        return str(self._working)

    def _repr_html_(self) -> str:
        return line(repr(self)) + self._working._repr_html_()

    def __repr__(self) -> str:
        names = {"user": self.user, "tenant": self.tenant}
        whose = "".join(f", {part}={name!r}" for part, name in names.items() if name)
        return f"MemorySystem({self.store!r}, agent_id={self.agent_id!r}{whose})"

    # -- written once ------------------------------------------------------------------------------

    def _saved(self, session_id: str) -> Talk[int]:
        memory = self.memory_of(session_id)
        self._open[session_id] = memory
        return (yield from memory._save(self._session(session_id)))

    def _loaded(self, session_id: str, max_messages: int | None) -> Talk[WorkingMemory]:
        session = self._session(session_id)
        if max_messages is not None:
            whole_number("max_messages", max_messages, 1)
        self._put_aside(session_id)
        said: Sequence[Message]
        if max_messages is None:
            said = yield from call(session.messages)
        else:
            said = yield from call(session.window, messages=max_messages)
        memory = WorkingMemory(self.store, session_id=session_id, ttl=self._ttl, **self._scope)
        # Other events of the session were not said, and are in ``episodic``.
        spoken = [message for message in said if message.was_said]
        memory._restore([WorkingMessage(message) for message in spoken])
        self._put_aside(session_id)  # again: somebody may have spoken meanwhile
        self._take(memory)
        return memory

    def _unfinished(
        self, quiet_for: float, limit: int, after: Unfinished | None, welcome: str
    ) -> Talk[list[Unfinished]]:
        more: dict[str, Any] = {"quiet_for": quiet_for, "limit": limit, "after": after}
        return call(self.store.unfinished, **self._scope, **more, welcome=welcome)

    def _session(self, session_id: str) -> Session:
        check_name("session_id", session_id)
        return self.store.session(session_id, **self._scope)

    def _take(self, memory: WorkingMemory) -> None:
        """Put a memory at hand. What nobody could save any more takes no more messages."""
        before, self._working = self._working, memory
        there = None
        if memory.session is not None and memory.session.name == self._name_of(memory.session):
            there = self._open.get(memory.session.name.key)
            self._open[memory.session.name.key] = memory
        for other in (before, there):
            if other is not None and not self._saves(other):
                other._replaced = True
        memory._replaced = False

    def _saves(self, memory: WorkingMemory) -> bool:
        """Whether ``save_session`` with the session's name stores this memory."""
        session = memory.session
        return memory is self._working or (
            session is not None
            and session.name == self._name_of(session)
            and self._open.get(session.name.key) is memory
        )

    def _name_of(self, session: Session) -> SessionName:
        """The name of the session with that key here."""
        return self._session(session.name.key).name

    def _put_aside(self, session_id: str | None = None) -> None:
        """Refuse to drop messages that nobody has stored, and keys that nobody would find: at
        hand, and of a session that is loaded again."""
        memory = self._working
        again = None if session_id is None else self._open.get(session_id)
        if again is not None and again.unsaved:
            memory = again
        if memory.unsaved:
            of = "no session yet" if memory.session is None else f"session {memory.session.name}"
            left = f"{many(len(memory.unsaved), 'message')} at hand, of {of}: not saved"
        elif memory._is_draft and memory._has_keys:
            left = "The keys at hand are of no session yet"
        else:
            return
        raise Misconfigured(
            f"{left}. save_session(…) first; or make another MemorySystem for another conversation."
        )
