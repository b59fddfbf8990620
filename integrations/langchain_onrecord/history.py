"""A history for ``RunnableWithMessageHistory`` and whatever else takes LangChain's histories.

LangChain has deprecated its base class and takes it away in 2.0; ``middleware`` is what stays.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from uuid import UUID

from langchain_core.chat_history import BaseChatMessageHistory

from langchain_onrecord.messages import from_langchain, is_made_up, to_langchain
from langchain_onrecord.window import CountsTokens, WindowLimits, in_langchain, window_settings
from onrecord import Cleared, Misconfigured, Since, Version
from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.reference import check_store
from onrecord.arguments import check_function

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import ConfigurableFieldSpec

    from onrecord import Session, Store, Window

log = logging.getLogger("onrecord")

T = TypeVar("T")
Name: TypeAlias = str | int | UUID
OnError: TypeAlias = Callable[[Exception], object]


class OnrecordChatMessageHistory(BaseChatMessageHistory):
    """One conversation as LangChain's chat message history; sync and async on one object.

    Making one does no I/O. ``messages`` is what a model should see: all of the conversation, or
    with ``window`` its newest part, torn nowhere. What is stored stays whole: ``transcript()``.
    """

    def __init__(
        self,
        session_id: Name,
        *,
        store: Store,
        tenant: Name = "",
        user: Name = "",
        agent: Name = "",
        window: WindowLimits = None,
        token_counter: CountsTokens | None = None,
        on_error: OnError | None = None,
    ) -> None:
        """
        session_id     which conversation; text, a number or a UUID, as all parts of its name
        store          an onrecord.Store, made once for the process
        tenant, user, agent    whose it is
        window         at most so many messages, or {"messages": …, "turns": …, "tokens": …}
        token_counter  counts LangChain messages; otherwise the store's own counts hold
        on_error       called with whatever a read or write failed by, before it is raised:
                       LangChain's runnable swallows what its history raises
        """
        super().__init__()
        if on_error is not None:
            check_function("on_error", on_error, "a function of an exception", plain=True)
        check_store(store)
        self.session: Session = store.session(
            _text(session_id), tenant=_text(tenant), user=_text(user), agent=_text(agent)
        )
        self._window = window_settings(window, token_counter)
        self._windowed = window is not None
        self._on_error = on_error

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The messages a model should see. Read anew from the store each time."""
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
        self._now(self._cleared())

    async def aclear(self) -> None:
        """Like ``clear``."""
        await self._awaited(self._cleared())

    def transcript(self) -> list[BaseMessage]:
        """Read all that was said, whatever the window."""
        return self._now(self._whole())

    async def atranscript(self) -> list[BaseMessage]:
        """Like ``transcript``."""
        return await self._awaited(self._whole())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session!r})"

    def _shown(self) -> Talk[list[BaseMessage]]:
        if not self._windowed:
            return (yield from self._whole())
        window = yield from call(self.session.window, **self._window, repair=True)
        return _going_on(window)

    def _whole(self) -> Talk[list[BaseMessage]]:
        said: list[BaseMessage] = yield from call(self.session.messages, into=to_langchain)
        return said

    def _added(self, messages: Sequence[BaseMessage]) -> Talk[None]:
        said = [from_langchain(message) for message in messages if not is_made_up(message)]
        yield from call(self.session.append, said)

    def _cleared(self) -> Talk[None]:
        yield from call(self.session.clear)

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


class _Turn(OnrecordChatMessageHistory):
    """The history that one call of a runnable reads once and adds to once.

    The runnable hands everything back that it was given and tells old from new by counting what
    the history holds by then, which is wrong when anybody else has said something meanwhile, or
    cleared. So what was read stays as it was read, and what was handed out is not added again.
    """

    _read: list[BaseMessage] | None = None
    _version: Version | None = None
    _gone: frozenset[str] = frozenset()

    def _shown(self) -> Talk[list[BaseMessage]]:
        if self._read is None:
            if self._windowed:
                window = yield from call(self.session.window, **self._window, repair=True)
                self._version, self._read = window.version, _going_on(window)
            else:
                self._version = yield from call(self.session.version)
                self._read = yield from self._whole()
        return list(self._read)

    def _added(self, messages: Sequence[BaseMessage]) -> Talk[None]:
        if gone := self._gone.intersection(message.id or "" for message in messages):
            raise Cleared(f"Message {min(gone)!r} was cleared away and is not added again.")
        read = {message.id: message for message in self._read or ()}
        said = [
            from_langchain(message)
            for message in messages
            if not is_made_up(message) and not _is_same(message, read.get(message.id))
        ]
        expected = None if self._version is None else Since(self._version)
        yield from call(self.session.append, said, expected=expected)
        self._read = self._version = None  # should it live on, it is a new turn

    def _cleared(self) -> Talk[None]:
        yield from super()._cleared()
        self._gone |= {message.id for message in self._read or () if message.id is not None}
        self._read = self._version = None

    def _failed(self, fault: Exception) -> None:
        if self._on_error is None:
            log.error("LangChain may hide that %s failed: %s", self.session, fault, exc_info=fault)
        super()._failed(fault)


def _going_on(window: Window) -> list[BaseMessage]:
    """Show what was said, without made-up results at the end: the true ones may come next."""
    shown = in_langchain(window)
    while shown and is_made_up(shown[-1]):
        del shown[-1]
    return shown


def _text(name: Any) -> Any:
    """Turn numbers and UUIDs into text; anything else the store refuses."""
    return str(name) if isinstance(name, int | UUID) and not isinstance(name, bool) else name


def _is_same(message: BaseMessage, read: BaseMessage | None) -> bool:
    return read is not None and from_langchain(message) == from_langchain(read)


_PARTS: Final = ("session_id", "tenant", "user", "agent")


class Histories:
    """A factory that ``RunnableWithMessageHistory`` takes as ``get_session_history``."""

    def __init__(self, store: Store, keys: Mapping[str, str], settings: dict[str, Any]) -> None:
        parts = list(keys.values())
        if (
            "session_id" not in parts
            or not set(parts) <= set(_PARTS)
            or len(set(parts)) < len(parts)
            or not all(key.isidentifier() and not iskeyword(key) for key in keys)
        ):
            raise Misconfigured(
                f"keys= says which key of the config is the session_id, and which the tenant, "
                f'user or agent: {{"conversation_id": "session_id"}}; not {dict(keys)!r}. A key '
                f"has to be a name that Python takes for a parameter."
            )
        if twice := [part for part in parts if settings.get(part)]:
            raise Misconfigured(f"{twice[0]}= is given, and keys= takes it from the config.")
        self._store = store
        self._keys = dict(keys)
        self._settings = settings
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        # The runnable looks at the names of the parameters.
        self.__signature__ = inspect.Signature([inspect.Parameter(key, kind) for key in keys])
        _Turn("never used", store=store, **settings)  # what is wrong is wrong now, not at a call

    def __call__(self, *given: Name, **named: Name) -> OnrecordChatMessageHistory:
        """Make the history of one call, as the runnable asks for it. No I/O."""
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
    tenant: Name = "",
    user: Name = "",
    agent: Name = "",
    window: WindowLimits = None,
    token_counter: CountsTokens | None = None,
    on_error: OnError | None = None,
) -> Histories:
    """Make histories of a store for ``RunnableWithMessageHistory(chain, histories(store), …)``.

    ``keys`` says which key of ``config["configurable"]`` is what, where it is not ``session_id``
    alone: ``{"user_id": "user", "conversation_id": "session_id"}``; pass ``.fields`` of the result
    as ``history_factory_config`` then.

    The runnable adds a turn once its answer is complete: of a call that fails, is cancelled or
    whose stream is left nothing is stored. And it hides a write that fails: ``on_error`` is
    called with it, and where there is none it is logged as an error.
    """
    settings = {
        "tenant": tenant,
        "user": user,
        "agent": agent,
        "window": window,
        "token_counter": token_counter,
        "on_error": on_error,
    }
    return Histories(store, {"session_id": "session_id"} if keys is None else keys, settings)
