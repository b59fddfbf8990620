"""Memory for agents made by ``create_agent``: what is said is durable as it is said.

The user's turn is stored before the model is called, each answer and each tool's result as it
happens. A crash, an error or a caller who goes away in the middle loses nothing that was said, and
the next call goes on from there. The model is shown a window; the transcript keeps everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NotRequired, TypeAlias
from uuid import uuid4

import msgspec
from langchain.agents.middleware import AgentMiddleware, AgentState, hook_config
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langgraph.config import get_config
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from typing_extensions import TypedDict

from langchain_recollect.messages import TURN, from_langchain, is_made_up, to_langchain
from langchain_recollect.window import CountsTokens, WindowLimits, in_langchain, window_settings
from recollect import Message, Misconfigured, Since, Version, Window
from recollect.adapting import Talk, atalk, call, talk

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest
    from langgraph.types import Command

    from recollect import Session, Store

Named: TypeAlias = str | Callable[[Any], str]
"""A name, or a function of LangGraph's runtime that gives one."""

Update: TypeAlias = dict[str, Any] | None

DEFAULT_WINDOW: Final = {"tokens": 32_000}


class Progress(TypedDict):
    """How far a run's messages are stored; kept in the state of the run, where checkpoints
    keep it as well."""

    key: str
    epoch: int
    head: int
    """Where the session stood when the run began."""
    known: list[str]
    """The ids of the state's messages that are stored."""
    turn: str | None
    """The id of the message that opened the turn."""


class RecollectState(AgentState[Any]):
    """An agent's state, and how far it is stored."""

    recollect: NotRequired[Annotated[Progress | None, PrivateStateAttr]]


class RecollectMiddleware(AgentMiddleware[RecollectState, Any, Any]):
    """Durable memory for an agent: ``create_agent(…, middleware=[RecollectMiddleware(store)])``.

    Put it first, so that it stores what the other middleware has made of an answer. It needs no
    checkpointer, and can be used with one.
    """

    state_schema = RecollectState

    def __init__(
        self,
        store: Store,
        *,
        session_id: Named | None = None,
        tenant: Named = "",
        user: Named = "",
        agent: Named = "",
        window: WindowLimits = DEFAULT_WINDOW,
        token_counter: CountsTokens | None = None,
    ) -> None:
        """
        store          a recollect.Store, made once for the process
        session_id     which conversation: a name, or a function of the runtime; otherwise
                       config["configurable"]["session_id"], or its "thread_id"
        tenant, user, agent    names, or functions of the runtime
        window         what the model is shown at most: so many messages, or
                       {"messages": …, "turns": …, "tokens": …}; None for everything
        token_counter  counts LangChain messages; otherwise the store's own counts hold
        """
        super().__init__()
        self.tools = []
        self._store = store
        self._session_id = session_id
        self._scope: Mapping[str, Named] = {"tenant": tenant, "user": user, "agent": agent}
        self._window = window_settings(window, token_counter)

    # -- what LangChain calls ----------------------------------------------------------------

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: RecollectState, runtime: Any) -> Update:
        """Store what the user says, and show what was said before."""
        return talk(self._begun(state, self._session(runtime)))

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: RecollectState, runtime: Any) -> Update:
        """Like ``before_agent``."""
        return await atalk(self._begun(state, self._session(runtime)))

    def before_model(self, state: RecollectState, runtime: Any) -> Update:
        """Store what came since the last answer."""
        return talk(self._caught_up(state, self._session(runtime)))

    async def abefore_model(self, state: RecollectState, runtime: Any) -> Update:
        """Like ``before_model``."""
        return await atalk(self._caught_up(state, self._session(runtime)))

    def after_model(self, state: RecollectState, runtime: Any) -> Update:
        """Store what the model answered."""
        return talk(self._caught_up(state, self._session(runtime)))

    async def aafter_model(self, state: RecollectState, runtime: Any) -> Update:
        """Like ``after_model``."""
        return await atalk(self._caught_up(state, self._session(runtime)))

    def after_agent(self, state: RecollectState, runtime: Any) -> Update:
        """Store what came last."""
        return talk(self._caught_up(state, self._session(runtime)))

    async def aafter_agent(self, state: RecollectState, runtime: Any) -> Update:
        """Like ``after_agent``."""
        return await atalk(self._caught_up(state, self._session(runtime)))

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Show the model a window that is torn nowhere. The state stays as it is."""
        return handler(self._fitting(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Like ``wrap_model_call``."""
        return await handler(self._fitting(request))

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Store a tool's result at once: what it did, it did."""
        result = handler(request)
        talk(self._answered(request, result))
        return result

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Like ``wrap_tool_call``."""
        result = await handler(request)
        await atalk(self._answered(request, result))
        return result

    # -- what happens then, written once -----------------------------------------------------

    def _begun(self, state: RecollectState, session: Session) -> Talk[Update]:
        """Make the new messages durable, and put what was said before in front of them."""
        messages = state["messages"]
        progress = state.get("recollect")
        if progress is not None and progress["key"] != str(session.name):
            progress = None
        version, shown = yield from self._before(session, messages, progress)
        known = {*(progress["known"] if progress else ()), *(m.id for m in shown if m.id)}
        new = [m for m in messages if m.id not in known]
        again = [m for m in messages if m.id in known and all(m is not s for s in shown)]
        turn = progress["turn"] if progress else None
        turn = yield from self._stored(session, new or again, version, turn)
        update = self._progress(session, version, [*shown, *new], turn)
        update["messages"] = [RemoveMessage(id=REMOVE_ALL_MESSAGES), *shown, *new]
        if again and not new and _is_answer(shown[-1]):
            update["jump_to"] = "end"  # a retry of what was answered: the answer is what it was
        return update

    def _before(
        self, session: Session, messages: Sequence[BaseMessage], progress: Progress | None
    ) -> Talk[tuple[Version, list[BaseMessage]]]:
        """Where the session stands, and what was said in it before this run."""
        if progress is not None:
            # A checkpoint brought the state: it may hold a summary, and needs only what is new.
            version = yield from call(session, "version")
            if version.epoch == progress["epoch"]:
                newer = yield from call(session, "messages", after=progress["head"])
                mine = [m for m in messages if m.id in progress["known"] or _is_aside(m)]
                there = {m.id for m in messages}
                return version, [*mine, *in_langchain(m for m in newer if m.id not in there)]
        window: Window = yield from call(session, "window", **self._window, repair=True)
        return window.version, in_langchain(window)

    def _caught_up(self, state: RecollectState, session: Session) -> Talk[Update]:
        """Make durable what the state holds and the store does not."""
        progress = state.get("recollect")
        if progress is None:
            return None
        messages = state["messages"]
        known = set(progress["known"])
        new = [m for m in messages if m.id not in known]
        version = Version(progress["epoch"], progress["head"])
        turn = yield from self._stored(session, new, version, progress["turn"])
        return self._progress(session, version, messages, turn) if new else None

    def _answered(self, request: ToolCallRequest, result: ToolMessage | Command[Any]) -> Talk[None]:
        """Make a tool's result durable. What a Command brings is stored with the state."""
        progress = request.state.get("recollect") if isinstance(request.state, dict) else None
        if progress is None or not isinstance(result, ToolMessage):
            return
        session = self._session(request.runtime)
        version = Version(progress["epoch"], progress["head"])
        yield from self._stored(session, [result], version, progress["turn"])

    def _stored(
        self,
        session: Session,
        messages: Sequence[BaseMessage],
        version: Version,
        turn: str | None,
    ) -> Talk[str | None]:
        """Append messages as parts of their turn, and say which turn that is."""
        said: list[Message] = []
        for message in messages:
            if is_made_up(message) or _is_aside(message):
                continue
            if message.id is None:
                message.id = str(uuid4())  # so that saying it again is saying it once
            stored = from_langchain(message)
            if isinstance(message, HumanMessage):
                turn = stored.id
            elif turn is not None:
                metadata = {**stored.metadata, TURN: turn}
                stored = msgspec.structs.replace(stored, metadata=metadata)
            said.append(stored)
        if said:
            # Others may have spoken meanwhile. Who was cleared away comes not back (I7).
            yield from call(session, "append", said, expected=Since(version))
        return turn

    def _progress(
        self,
        session: Session,
        version: Version,
        messages: Sequence[BaseMessage],
        turn: str | None,
    ) -> dict[str, Any]:
        known = [m.id for m in messages if m.id is not None and not _is_aside(m)]
        progress = Progress(
            key=str(session.name), epoch=version.epoch, head=version.head, known=known, turn=turn
        )
        return {"recollect": progress}

    def _fitting(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """The request with as much of its messages as fits, and no call without its result."""
        held = [from_langchain(message) for message in request.messages]
        window = Window.of(held, **self._window, repair=True)
        theirs = dict(zip(map(id, held), request.messages, strict=True))
        shown: list[AnyMessage] = [
            theirs[id(message)] if id(message) in theirs else to_langchain(message)  # type: ignore[misc]
            for message in window
        ]
        return request if shown == request.messages else request.override(messages=shown)

    def _session(self, runtime: Any) -> Session:
        """The session of this run."""
        scope = {part: _name(given, runtime) for part, given in self._scope.items()}
        if self._session_id is not None:
            return self._store.session(_name(self._session_id, runtime), **scope)
        configurable = get_config().get("configurable", {})
        key = configurable.get("session_id") or configurable.get("thread_id")
        if not key:
            raise Misconfigured(
                "RecollectMiddleware does not know which conversation this is. Call the agent with "
                '{"configurable": {"session_id": …}} (a thread_id will do), or give the '
                "middleware session_id=."
            )
        return self._store.session(str(key), **scope)


def _name(given: Named, runtime: Any) -> str:
    return given if isinstance(given, str) else given(runtime)


def _is_aside(message: BaseMessage) -> bool:
    """Whether a message was not said by anybody: a summary that stands for others."""
    return message.additional_kwargs.get("lc_source") == "summarization"


def _is_answer(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage) and not message.tool_calls
