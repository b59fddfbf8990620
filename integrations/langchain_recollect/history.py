"""A history for ``RunnableWithMessageHistory`` and whatever else takes LangChain's histories.

LangChain has deprecated its base class and takes it away in 2.0; ``middleware`` is what stays.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from langchain_core.chat_history import BaseChatMessageHistory

from langchain_recollect.messages import from_langchain, is_made_up
from langchain_recollect.window import (
    CountsTokens,
    WindowLimits,
    in_langchain,
    window_settings,
)
from recollect import Misconfigured, Since, Version
from recollect.adapting import Talk, atalk, call, talk

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import ConfigurableFieldSpec

    from recollect import Session, Store

log = logging.getLogger("recollect")

T = TypeVar("T")
OnError = Callable[[Exception], object]


class RecollectChatMessageHistory(BaseChatMessageHistory):
    """One conversation as LangChain's chat message history; sync and async on one object.

    Making one does no I/O. ``messages`` is what a model should see: all of the conversation, or
    with ``window`` its newest part, torn nowhere. What is stored stays whole: ``transcript()``.
    """

    def __init__(
        self,
        session_id: str | int | UUID,
        *,
        store: Store,
        tenant: str = "",
        user: str = "",
        agent: str = "",
        window: WindowLimits = None,
        token_counter: CountsTokens | None = None,
        on_error: OnError | None = None,
    ) -> None:
        """
        session_id     which conversation; any text, or a number or UUID
        store          a recollect.Store, made once for the process
        window         at most so many messages, or {"messages": …, "turns": …, "tokens": …}
        token_counter  counts LangChain messages; otherwise the store's own counts hold
        on_error       called with whatever a read or write failed by, before it is raised:
                       LangChain's runnable swallows what its history raises
        """
        if not isinstance(session_id, str | int | UUID) or isinstance(session_id, bool):
            raise Misconfigured(f"session_id has to be text, not {session_id!r:.50}.")
        self.session: Session = store.session(
            str(session_id), tenant=tenant, user=user, agent=agent
        )
        self._window = window_settings(window, token_counter)
        self._windowed = window is not None
        self._on_error = on_error

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """What a model should see. Read anew from the store each time."""
        return self._now(self._shown())

    async def aget_messages(self) -> list[BaseMessage]:
        """Like ``messages``."""
        return await self._awaited(self._shown())

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Make messages durable, all or none."""
        self._now(self._added(messages))

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Like ``add_messages``."""
        await self._awaited(self._added(messages))

    def clear(self) -> None:
        """Take all messages of the conversation away for good."""
        self._now(call(self.session, "clear"))

    async def aclear(self) -> None:
        """Like ``clear``."""
        await self._awaited(call(self.session, "clear"))

    def transcript(self) -> list[BaseMessage]:
        """All that was said, whatever the window."""
        return self._now(self._whole())

    async def atranscript(self) -> list[BaseMessage]:
        """Like ``transcript``."""
        return await self._awaited(self._whole())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session!r})"

    def _shown(self) -> Talk[list[BaseMessage]]:
        if not self._windowed:
            return (yield from self._whole())
        window = yield from call(self.session, "window", **self._window, repair=True)
        return in_langchain(window)

    def _whole(self) -> Talk[list[BaseMessage]]:
        return in_langchain((yield from call(self.session, "messages")))

    def _added(self, messages: Sequence[BaseMessage]) -> Talk[None]:
        said = [from_langchain(message) for message in messages if not is_made_up(message)]
        yield from call(self.session, "append", said)

    def _now(self, said: Talk[T]) -> T:
        try:
            return talk(said)
        except Exception as fault:  # whatever it is, who swallows it is not to hide it
            self._failed(fault)
            raise

    async def _awaited(self, said: Talk[T]) -> T:
        try:
            return await atalk(said)
        except Exception as fault:  # whatever it is, who swallows it is not to hide it
            self._failed(fault)
            raise

    def _failed(self, fault: Exception) -> None:
        if self._on_error is not None:
            self._on_error(fault)


class _Turn(RecollectChatMessageHistory):
    """The history that one call of a runnable reads once and adds to once.

    The runnable hands everything back that it was given and tells old from new by counting what
    the history holds by then, which is wrong when anybody else has said something meanwhile, or
    cleared. So what was read stays as it was read, and what was handed out is not added again.
    """

    _read: list[BaseMessage] | None = None
    _version: Version | None = None

    def _shown(self) -> Talk[list[BaseMessage]]:
        if self._read is None:
            if self._windowed:
                window = yield from call(self.session, "window", **self._window, repair=True)
                self._version, self._read = window.version, in_langchain(window)
            else:
                self._version = yield from call(self.session, "version")
                self._read = yield from self._whole()
        return list(self._read)

    def _added(self, messages: Sequence[BaseMessage]) -> Talk[None]:
        handed_out = {message.id for message in self._read or ()}
        said = [
            from_langchain(message)
            for message in messages
            if message.id is None or message.id not in handed_out
            if not is_made_up(message)
        ]
        expected = None if self._version is None else Since(self._version)
        yield from call(self.session, "append", said, expected=expected)
        self._read = None  # should it live on, it is a new turn

    def _failed(self, fault: Exception) -> None:
        if self._on_error is None:
            log.error("the history of %s failed, and LangChain hides it: %s", self.session, fault)
        super()._failed(fault)


_PARTS: Final = ("session_id", "tenant", "user", "agent")


class Histories:
    """What ``RunnableWithMessageHistory`` takes as ``get_session_history``."""

    def __init__(self, store: Store, keys: Mapping[str, str], settings: dict[str, Any]) -> None:
        unknown = sorted(set(keys.values()) - set(_PARTS))
        if unknown or "session_id" not in keys.values() or len(set(keys.values())) < len(keys):
            raise Misconfigured(
                f"keys= says which key of the config is the session_id, and which the tenant, "
                f'user or agent: {{"conversation_id": "session_id"}}; not {dict(keys)!r}.'
            )
        self._store = store
        self._keys = dict(keys)
        self._settings = settings
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        # The runnable looks at the names of the parameters.
        self.__signature__ = inspect.Signature([inspect.Parameter(key, kind) for key in keys])
        _Turn("never used", store=store, **settings)  # what is wrong is wrong now, not at a call

    def __call__(self, *given: str, **named: str) -> RecollectChatMessageHistory:
        """The history of one call, as the runnable asks for it. No I/O."""
        values = self.__signature__.bind(*given, **named).arguments
        parts: dict[str, Any] = {self._keys[key]: value for key, value in values.items()}
        return _Turn(parts.pop("session_id"), store=self._store, **{**self._settings, **parts})

    @property
    def fields(self) -> list[ConfigurableFieldSpec]:
        """For ``history_factory_config``, where there are other keys than ``session_id``."""
        from langchain_core.runnables import ConfigurableFieldSpec

        return [ConfigurableFieldSpec(id=key, annotation=str) for key in self._keys]


def histories(
    store: Store,
    *,
    keys: Mapping[str, str] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    window: WindowLimits = None,
    token_counter: CountsTokens | None = None,
    on_error: OnError | None = None,
) -> Histories:
    """The histories of a store, for ``RunnableWithMessageHistory(chain, histories(store), …)``.

    ``keys`` says which key of ``config["configurable"]`` is what, where it is not ``session_id``
    alone: ``{"user_id": "user", "conversation_id": "session_id"}``; pass ``.fields`` of the result
    as ``history_factory_config`` then. Without ``on_error`` a failed write is logged as an error.
    """
    settings = {
        "tenant": tenant,
        "user": user,
        "agent": agent,
        "window": window,
        "token_counter": token_counter,
        "on_error": on_error,
    }
    return Histories(store, keys or {"session_id": "session_id"}, settings)
