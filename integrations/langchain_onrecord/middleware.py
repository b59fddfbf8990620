"""Memory for agents made by ``create_agent``: what is said is durable as it is said.

The user's turn is stored before the model is called, each answer and each tool's result as it
happens. A crash, an error or a caller who goes away in the middle loses nothing that was said, and
the next call goes on from there. The model is shown a window; the transcript keeps everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NotRequired, TypeAlias
from uuid import UUID, uuid4

from langchain.agents.middleware import AgentMiddleware, AgentState, hook_config
from langchain.agents.middleware.types import ExtendedModelResponse, PrivateStateAttr
from langchain_core.messages import AnyMessage, ToolMessage
from langgraph.config import get_config
from langgraph.types import Command

from langchain_onrecord.messages import from_langchain, to_langchain
from langchain_onrecord.names import Named, check_names, name_of, names_of
from langchain_onrecord.offered import checked
from langchain_onrecord.recall import Recall, Recaller, before_window, recall_settings
from langchain_onrecord.run_progress import (
    RunProgress,
    as_new,
    digest,
    parts_of,
    tool_messages,
)
from langchain_onrecord.run_start import begun
from langchain_onrecord.run_turns import RunTurns, TurnSettings, turn_settings
from langchain_onrecord.run_writer import RunWriter
from langchain_onrecord.summary import Summarised, Summarises, summariser_of
from langchain_onrecord.window import CountsTokens, WindowLimits, window_settings
from onrecord import Misconfigured, Window
from onrecord.adapters.calls import Talk, atalk, talk
from onrecord.adapters.reference import check_store

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest

    from onrecord import Session, Store

Update: TypeAlias = dict[str, Any] | None

DEFAULT_WINDOW: Final = {"tokens": 32_000}


class OnrecordState(AgentState[Any]):
    """An agent's state, and how far it is stored."""

    onrecord: NotRequired[Annotated[RunProgress | None, PrivateStateAttr]]


class OnrecordMiddleware(AgentMiddleware[OnrecordState, Any]):
    """Durable memory for an agent: ``create_agent(…, middleware=[OnrecordMiddleware(store)])``.

    Put it first, so that it stores what the other middleware has made of an answer. It needs no
    checkpointer, and can be used with one. A message that comes again under the same id is not
    said twice: the run goes on where it was, or gives the answer that is there.
    """

    state_schema = OnrecordState

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
        recall: Recall | bool = False,
        summary: Summarises | None = None,
        turn: TurnSettings | bool = False,
    ) -> None:
        """
        store          an onrecord.Store, made once for the process
        session_id     which conversation: a name, or a function of the runtime; otherwise
                       ``config["configurable"]["session_id"]``, or its ``thread_id``
        tenant, user, agent    names, or functions of the runtime
        window         what the model is shown at most: so many messages, or
                       ``{"messages": …, "turns": …, "tokens": …}``; None for everything
        token_counter  counts LangChain messages; otherwise the store's own counts hold
        recall         whether older turns that answer the user go before the window: True, or a
                       Recall that says how many, and of which conversations
        summary        what makes a summary of messages that fall out of the window, to go before
                       it: a chat model, or a function of the summary so far and of messages
        turn           whether runs on one conversation take turns: True, or a TurnSettings that
                       says how long others wait
        """
        super().__init__()
        check_store(store)
        check_names(
            {"session_id": session_id or "", "tenant": tenant, "user": user, "agent": agent}
        )
        self.tools = []
        self._store = store
        self._session_id = session_id
        self._scope: Mapping[str, Named] = {"tenant": tenant, "user": user, "agent": agent}
        self._window = window_settings(window, token_counter)
        self._writer = RunWriter()
        self._turns = RunTurns(store, turn_settings(turn))
        settings = recall_settings(recall, user)
        self._recaller = None if settings is None else Recaller(store, settings)
        summariser = summariser_of(summary, self._window)
        self._summarised = (
            None if summariser is None else Summarised(store, summariser, self._window)
        )

    # -- what LangChain calls ----------------------------------------------------------------

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: OnrecordState, runtime: Any) -> Update:
        """Store what the user says, and show what was said before."""
        with self._turns.begun(self._session(runtime), state.get("onrecord")) as session:
            return talk(self._begun(session, state))

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: OnrecordState, runtime: Any) -> Update:
        """Like ``before_agent``."""
        async with self._turns.abegun(self._session(runtime), state.get("onrecord")) as session:
            return await atalk(self._begun(session, state))

    def after_agent(self, state: OnrecordState, runtime: Any) -> Update:
        """Store what came last."""
        with self._turns.kept(before := state.get("onrecord"), last=True) as session:
            return talk(self._ended(session, state, before))

    async def aafter_agent(self, state: OnrecordState, runtime: Any) -> Update:
        """Like ``after_agent``."""
        async with self._turns.akept(before := state.get("onrecord"), last=True) as session:
            return await atalk(self._ended(session, state, before))

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ExtendedModelResponse[Any]:
        """Store what came since the last answer, and show the model a window that is torn
        nowhere. The state's messages stay as they are."""
        with self._turns.kept(_progress_in(request)) as session:
            progress = talk(self._caught_up(session, request))
            response = handler(talk(self._shown(request, handler, progress)))
            return talk(self._noted(session, request, response, progress))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ExtendedModelResponse[Any]:
        """Like ``wrap_model_call``."""
        async with self._turns.akept(_progress_in(request)) as session:
            progress = await atalk(self._caught_up(session, request))
            response = await handler(await atalk(self._shown(request, handler, progress)))
            return await atalk(self._noted(session, request, response, progress))

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Store a call before it is carried out, and its result at once: what it did, it did."""
        with self._turns.kept(_progress_in(request), several=True) as session:
            progress = talk(self._caught_up(session, request))
            result = handler(request)
            talk(self._answered(session, request, result, progress))
            return result

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Like ``wrap_tool_call``."""
        async with self._turns.akept(_progress_in(request), several=True) as session:
            progress = await atalk(self._caught_up(session, request))
            result = await handler(request)
            await atalk(self._answered(session, request, result, progress))
            return result

    # -- what happens then, written once -----------------------------------------------------

    def _begun(self, session: Session, state: OnrecordState) -> Talk[Update]:
        """Make durable what the state brings, and put what was said before in front of it."""
        messages, before = list(state["messages"]), state.get("onrecord")
        recaller, answer = self._recaller, None
        if recaller is not None:
            resumed = before is not None and before["session"] == parts_of(session)
            answer = yield from recaller.before_it_is_stored(
                session, messages, resumed, self._window
            )
        update = yield from begun(self._writer, session, messages, before, self._window)
        self._turns.keep(session, update["onrecord"])
        if recaller is not None and answer is not None:
            recaller.keep(update["onrecord"], answer)
        return update

    # A node of the graph would be a step, and steps count. So a call is stored where the tool is
    # called, an answer without calls at the end, and whatever else came before the next answer.

    def _caught_up(
        self, session: Session | None, request: ModelRequest[Any] | ToolCallRequest
    ) -> Talk[RunProgress | None]:
        """Make durable what the state holds and the store does not: before the model is called,
        and a call before it is carried out, with what came with it."""
        progress = _progress_in(request)
        if session is None or progress is None:
            return None
        return (yield from self._writer.catch_up(session, progress, request.state["messages"]))

    def _noted(
        self,
        session: Session | None,
        request: ModelRequest[Any],
        response: ModelResponse[Any],
        progress: RunProgress | None,
    ) -> Talk[ExtendedModelResponse[Any]]:
        """Give the response, with a note for the state of how far it is stored."""
        if session is None or progress is None:
            return ExtendedModelResponse(response)
        progress = yield from self._writer.correct(session, progress, request.state["messages"])
        note: Command[Any] = Command(update={"onrecord": progress})
        return ExtendedModelResponse(as_new(response, progress), note)

    def _ended(
        self, session: Session | None, state: OnrecordState, before: RunProgress | None
    ) -> Talk[Update]:
        """Make durable what the run has come to."""
        if session is None or before is None:
            return None
        progress = yield from self._writer.correct(session, before, state["messages"])
        progress = yield from self._writer.catch_up(session, progress, state["messages"])
        self._writer.end(progress)
        if self._recaller is not None:
            self._recaller.forget(progress)
        return None if progress is before else {"onrecord": progress}

    def _answered(
        self,
        session: Session | None,
        request: ToolCallRequest,
        result: Any,
        progress: RunProgress | None,
    ) -> Talk[None]:
        """Make a tool's result durable. What else a Command brings is stored with the state."""
        if session is not None and progress is not None:
            asked = request.tool_call["id"]
            answers = [m for m in tool_messages(result) if m.tool_call_id == asked]
            for message in answers:
                made = f"{progress['run']}{digest(message)}{uuid4().hex[:12]}"
                message.id = message.id or made
            yield from self._writer.say(session, progress, answers)

    def _fitting(self, messages: Sequence[AnyMessage]) -> tuple[list[AnyMessage], Window]:
        """Cut messages to those that fit, with no call without its result."""
        held = [from_langchain(message) for message in messages]
        settings = {"token_counter": self._store.token_counter, **self._window}
        window = Window.of(held, **settings, repair=True)
        theirs = dict(zip(map(id, held), messages, strict=True))
        shown: list[AnyMessage] = [
            theirs[id(message)] if id(message) in theirs else to_langchain(message)  # type: ignore[misc]
            for message in window
        ]
        return shown, window

    def _shown(
        self,
        request: ModelRequest[Any],
        handler: Callable[..., Any],
        progress: RunProgress | None,
    ) -> Talk[ModelRequest[Any]]:
        """Make the request as the model is sent it."""
        shown, window = self._fitting(request.messages)
        summary = None
        if self._summarised is not None and progress is not None:
            summary, left = yield from self._summarised.of(progress, request.messages, window)
            if len(left) < len(request.messages):
                shown, window = self._fitting(left)
        if self._recaller is not None and progress is not None:
            said = request.state["messages"]
            reminder = yield from self._recaller.reminded(progress, said, window)
            shown = shown if reminder is None else before_window(shown, reminder)
        if summary is not None:
            shown = before_window(shown, summary)
        if shown != request.messages:
            request = request.override(messages=shown)
        ours = OnrecordMiddleware
        return checked(request, handler, ours.wrap_tool_call, ours.awrap_tool_call)

    def _session(self, runtime: Any) -> Session:
        """Find the session of a run that begins."""
        scope = names_of(self._scope, runtime)
        if self._session_id is not None:
            return self._store.session(name_of(self._session_id, runtime), **scope)
        configurable = get_config().get("configurable", {})
        key = configurable.get("session_id", configurable.get("thread_id"))
        if key == "" or isinstance(key, bool) or not isinstance(key, str | int | UUID):
            raise Misconfigured(
                "OnrecordMiddleware does not know which conversation this is. Call the agent with "
                '{"configurable": {"session_id": …}} (a thread_id will do), or give the '
                "middleware session_id=."
            )
        return self._store.session(str(key), **scope)


def _progress_in(request: ModelRequest[Any] | ToolCallRequest) -> RunProgress | None:
    """Find how far the run of a request is stored; None outside of a run of ours."""
    state: Any = request.state
    return state.get("onrecord") if isinstance(state, dict) else None
