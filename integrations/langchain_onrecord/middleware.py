"""Memory for agents made by ``create_agent``: what is said is durable as it is said.

The user's turn is stored before the model is called, each answer and each tool's result as it
happens. A crash, an error or a caller who goes away in the middle loses nothing that was said, and
the next call goes on from there. The model is shown a window; the transcript keeps everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, NotRequired, TypeAlias
from uuid import UUID, uuid4

import msgspec
from langchain.agents.middleware import AgentMiddleware, AgentState, hook_config
from langchain.agents.middleware.types import ExtendedModelResponse, PrivateStateAttr
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.config import get_config
from langgraph.types import Command, Overwrite

from langchain_onrecord.messages import SAID, TURN, from_langchain, to_langchain
from langchain_onrecord.offered import checked
from langchain_onrecord.run_progress import (
    RunProgress,
    Runs,
    as_new,
    asks,
    digest,
    id_in,
    id_of,
    is_answered,
    is_aside,
    is_changed,
    is_left_over,
    is_said,
    latest_step,
    parts_of,
    question_in,
    together,
    tool_messages,
    up_to_answers,
    without,
)
from langchain_onrecord.window import CountsTokens, WindowLimits, in_langchain, window_settings
from onrecord import Cleared, IdReused, Message, Misconfigured, Since, Version, Window
from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.reference import check_store
from onrecord.adapters.stored import id_of as stored_id
from onrecord.adapters.stored import seq_of
from onrecord.arguments import check_function

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest

    from onrecord import Session, Store

Named: TypeAlias = str | Callable[[Any], str]
"""A name, or a function of LangGraph's runtime that gives one."""

Update: TypeAlias = dict[str, Any] | None

LATER: Final = 2**40
"""Behind every message of a session."""

DEFAULT_WINDOW: Final = {"tokens": 32_000}


class OnrecordState(AgentState[Any]):
    """An agent's state, and how far it is stored."""

    onrecord: NotRequired[Annotated[RunProgress | None, PrivateStateAttr]]


_Stored: TypeAlias = "Talk[tuple[str | None, dict[str | None, int]]]"
"""Which turn was the last, and where in the session messages stand, by their ids."""


class _Start(NamedTuple):
    """What a run begins with."""

    version: Version
    shown: list[BaseMessage]
    """What was said in the session before."""
    new: list[BaseMessage]
    """What the state holds besides."""
    known: Iterable[str]
    said: Mapping[str, str]
    """Digests of what was said, of messages that may have been redacted since."""
    turn: str | None = None


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
    ) -> None:
        """
        store          an onrecord.Store, made once for the process
        session_id     which conversation: a name, or a function of the runtime; otherwise
                       config["configurable"]["session_id"], or its "thread_id"
        tenant, user, agent    names, or functions of the runtime
        window         what the model is shown at most: so many messages, or
                       {"messages": …, "turns": …, "tokens": …}; None for everything
        token_counter  counts LangChain messages; otherwise the store's own counts hold
        """
        super().__init__()
        check_store(store)
        named = {"session_id": session_id or "", "tenant": tenant, "user": user, "agent": agent}
        for part, given in named.items():
            if not isinstance(given, str):
                check_function(part, given, "a name or a function that gives one")
        self.tools = []
        self._store = store
        self._session_id = session_id
        self._scope: Mapping[str, Named] = {"tenant": tenant, "user": user, "agent": agent}
        self._window = window_settings(window, token_counter)
        self._runs = Runs()

    # -- what LangChain calls ----------------------------------------------------------------

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: OnrecordState, runtime: Any) -> Update:
        """Store what the user says, and show what was said before."""
        return talk(self._begun(state, self._session(runtime)))

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: OnrecordState, runtime: Any) -> Update:
        """Like ``before_agent``."""
        return await atalk(self._begun(state, self._session(runtime)))

    def after_agent(self, state: OnrecordState, runtime: Any) -> Update:
        """Store what came last."""
        return talk(self._ended(state))

    async def aafter_agent(self, state: OnrecordState, runtime: Any) -> Update:
        """Like ``after_agent``."""
        return await atalk(self._ended(state))

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ExtendedModelResponse[Any]:
        """Store what came since the last answer, and show the model a window that is torn
        nowhere. The state's messages stay as they are."""
        progress = talk(self._told(request))
        response = handler(self._shown(request, handler))
        return talk(self._noted(request, response, progress))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ExtendedModelResponse[Any]:
        """Like ``wrap_model_call``."""
        progress = await atalk(self._told(request))
        response = await handler(self._shown(request, handler))
        return await atalk(self._noted(request, response, progress))

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Store a call before it is carried out, and its result at once: what it did, it did."""
        progress = talk(self._called(request))
        result = handler(request)
        talk(self._answered(request, result, progress))
        return result

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Like ``wrap_tool_call``."""
        progress = await atalk(self._called(request))
        result = await handler(request)
        await atalk(self._answered(request, result, progress))
        return result

    # -- what happens then, written once -----------------------------------------------------

    def _begun(self, state: OnrecordState, session: Session) -> Talk[Update]:
        """Make durable what the state brings, and put what was said before in front of it."""
        messages: list[BaseMessage] = list(state["messages"])
        start = yield from self._start(session, messages, state.get("onrecord"))
        question = question_in(messages)
        said = start.new or [m for m in messages if m is question]
        passing = {m.id for m in without(messages, said)}
        before = question_in(start.shown)
        turn = start.turn or (None if before is None else before.id)
        turn, places = yield from self._brought(session, messages, start, turn, passing)
        head = start.version.head
        fresh = [m for m in start.new if not is_said(m) or places.get(m.id, 0) > head]
        later = messages[messages.index(question) + 1 :] if question is not None else []
        handed_on = not state.get("onrecord") and any(isinstance(m, AIMessage) for m in later)
        if question is not None and not fresh and not handed_on:
            place = places.get(question.id)
            return (yield from self._asked_again(session, start, messages, question, place))
        now = [*start.shown, *fresh]
        if turn is None and (asked := question_in(now)) is not None:
            turn = asked.id
        update = self._progress(session, start.version, [*messages, *now], turn, said=fresh)
        if now != messages:
            # A plain list would be streamed to the caller as if it was said only now.
            update["messages"] = Overwrite(now)
        # What the caller says without asking is for the model. An answer that only was not stored
        # yet is none of that: it ends a turn that was open.
        told = bool(fresh) and (question is None or is_answered(start.shown))
        if question_in(fresh) is None and is_answered(now) and not handed_on and not told:
            update["jump_to"] = "end"
        return update

    def _asked_again(
        self,
        session: Session,
        start: _Start,
        messages: Sequence[BaseMessage],
        question: BaseMessage,
        place: int | None,
    ) -> Talk[Update]:
        """Go on from what came of a message that is there already, or give its answer."""
        version, shown = start.version, start.shown
        if place is not None:
            version = version._replace(head=place)
        if all(m.id != question.id for m in shown):  # it is older than the window reaches
            if place is None:
                raise Cleared(
                    f"Message {question.id!r} was deleted from session {session.name}. "
                    f"To say it again, give it another id.",
                    version,
                )
            since = yield from call(session.messages, after=place - 1)
            shown = in_langchain(Window.of(since))
        until = [m.id for m in shown].index(question.id) + 1
        answer = list(takewhile(lambda m: not asks(m), shown[until:]))
        now = [*shown[:until], *answer]
        update = self._progress(
            session, version, [*messages, *now], question.id, start.known, said=[question]
        )
        if is_answered(now):
            return {**update, "messages": answer, "jump_to": "end"}
        return {**update, "messages": Overwrite(now)}

    def _start(
        self, session: Session, messages: Sequence[BaseMessage], progress: RunProgress | None
    ) -> Talk[_Start]:
        """What was said in the session before this run, and what the state holds besides."""
        if progress is not None and progress["session"] == parts_of(session):
            version: Version = yield from call(session.version)
            if version.epoch == progress["epoch"]:
                return (yield from self._resumed(session, messages, progress, version))
        known = set(progress["known"] if progress else ())
        new = [m for m in messages if m.id not in known]
        if progress is not None:
            # The state is of another session, or of before a rewrite. What its last run had not
            # stored by then goes as well.
            new = list(dropwhile(is_left_over, new))
        window: Window = yield from call(session.window, **self._window)
        shown = in_langchain(window)
        said = {str(m.id): str(m.metadata[SAID]) for m in window if SAID in m.metadata}
        return _Start(window.version, shown, without(new, shown), known, said)

    def _resumed(
        self,
        session: Session,
        messages: Sequence[BaseMessage],
        progress: RunProgress,
        version: Version,
    ) -> Talk[_Start]:
        """The state that a checkpoint brought, perhaps with a summary, and what is newer."""
        known = set(progress["known"])
        newer: list[Message] = yield from call(session.messages, after=progress["head"])
        shown = together(
            [m for m in messages if m.id in known or is_aside(m)],
            [m for m in newer if m.id not in known],
        )
        new = without(messages, shown)
        return _Start(version, shown, new, known, progress["said"], progress["turn"])

    # A node of the graph would be a step, and steps count. So a call is stored where the tool is
    # called, an answer without calls at the end, and whatever else came before the next answer.

    def _told(self, request: ModelRequest[Any]) -> Talk[RunProgress | None]:
        """Make durable what the state holds and the store does not, before the model is called."""
        progress: RunProgress | None = request.state.get("onrecord")  # type: ignore[assignment]
        if progress is None:
            return None
        return (yield from self._caught_up(progress, request.state["messages"]))

    def _noted(
        self, request: ModelRequest[Any], response: ModelResponse[Any], progress: RunProgress | None
    ) -> Talk[ExtendedModelResponse[Any]]:
        """A response that brings into the state how far it is stored."""
        if progress is None:
            return ExtendedModelResponse(response)
        progress = yield from self._corrected(progress, request.state["messages"])
        note: Command[Any] = Command(update={"onrecord": progress})
        return ExtendedModelResponse(as_new(response, progress), note)

    def _ended(self, state: OnrecordState) -> Talk[Update]:
        """Make durable what the run has come to."""
        if (before := state.get("onrecord")) is None:
            return None
        progress = yield from self._corrected(before, state["messages"])
        progress = yield from self._caught_up(progress, state["messages"])
        self._runs.forget(progress["run"])
        return None if progress is before else {"onrecord": progress}

    def _caught_up(
        self, progress: RunProgress, messages: Sequence[BaseMessage]
    ) -> Talk[RunProgress]:
        """Make durable what a state holds and the store does not."""
        known = set(progress["known"])
        new = [m for m in messages if m.id not in known]
        if not new:
            return progress
        # Results are not compared with what is stored: other middleware may have added to them.
        said = [m for m in new if not id_of(m).startswith(progress["run"])]
        turn = progress["turn"]
        if said:
            there = self._runs.stored_in(progress["run"])
            if there is None:
                # The run goes on where it did not begin, and perhaps much later.
                session = self._store.session(**progress["session"])
                since: list[Message] = yield from call(session.messages, after=progress["head"])
                there = self._runs.begin(progress["run"], (m.id for m in since))
            turn = yield from self._said_now(progress, said, there)
            there.update(map(id_of, said))
        ids = [*progress["known"], *map(id_of, new)]
        return {**progress, "known": ids, "turn": turn}

    def _said_now(
        self, progress: RunProgress, said: Sequence[BaseMessage], there: Container[str | None]
    ) -> Talk[str | None]:
        """Append what was said in a run, but for what is there; and say whose turn it is then."""
        turn = progress["turn"]
        for part in up_to_answers(said):
            turn = yield from self._part_said({**progress, "turn": turn}, part, there)
        return turn

    def _part_said(
        self, progress: RunProgress, said: Sequence[BaseMessage], there: Container[str | None]
    ) -> Talk[str | None]:
        """Append what leads to an answer, and the answer, also under an id that was used long ago:
        a cache of answers repeats their ids."""
        last = said[-1]
        is_new = isinstance(last, AIMessage) and last.id not in there
        try:
            turn, places = yield from self._said(progress, said, there)
            repeated = is_new and places.get(last.id, LATER) <= progress["head"]
        except IdReused:
            if not is_new:
                raise
            turn, _ = yield from self._said(progress, said[:-1], there)
            repeated = True
        if repeated:
            anew = last.model_copy(update={"id": id_in(progress["run"], id_of(last))})
            yield from self._said({**progress, "turn": turn}, [anew])
        return turn

    def _corrected(
        self, progress: RunProgress, messages: Sequence[BaseMessage]
    ) -> Talk[RunProgress]:
        """Store what other middleware has made of a message that was stored as it came.

        What was redacted for the model this time would else be shown to it the next time. Only
        of the latest step: what is taken out of the state later stays in the transcript.
        """
        changed = {m.id: m for m in latest_step(messages) if is_changed(m, progress)}
        if not changed:
            return progress
        session = self._store.session(**progress["session"])
        since = max(0, progress["head"] - 1)
        stored: list[Message] = yield from call(session.messages, after=since)
        edits = 0
        for message in stored:
            now = changed.get(message.id)
            if now is not None and digest(to_langchain(message)) != digest(now):
                said = from_langchain(now)
                metadata = {**said.metadata, **message.metadata}
                if original := progress["said"].get(id_of(now)):
                    metadata[SAID] = original  # so that a retry in the first words is known
                said = msgspec.structs.replace(said, metadata=metadata)
                yield from call(session.edit, seq_of(message), said)
                edits += 1
        version: Version = yield from call(session.version)
        if version.epoch != progress["epoch"] + edits:
            return progress  # somebody else has moved it: a clear is still to be noticed
        return {**progress, "epoch": version.epoch}

    def _called(self, request: ToolCallRequest) -> Talk[RunProgress | None]:
        """Make the call durable before it is carried out, and what came with it."""
        state = request.state
        progress: RunProgress | None = state.get("onrecord") if isinstance(state, dict) else None
        if progress is None:
            return None
        return (yield from self._caught_up(progress, state["messages"]))

    def _answered(
        self, request: ToolCallRequest, result: Any, progress: RunProgress | None
    ) -> Talk[None]:
        """Make a tool's result durable. What else a Command brings is stored with the state."""
        if progress is not None:
            asked = request.tool_call["id"]
            answers = [m for m in tool_messages(result) if m.tool_call_id == asked]
            for message in answers:
                made = f"{progress['run']}{digest(message)}{uuid4().hex[:12]}"
                message.id = message.id or made
            yield from self._said(progress, answers)

    def _said(
        self,
        progress: RunProgress,
        messages: Sequence[BaseMessage],
        passing: Container[str | None] = (),
    ) -> _Stored:
        """Append what was said in a run."""
        session = self._store.session(**progress["session"])
        version = Version(progress["epoch"], progress["head"])
        return self._stored(session, messages, version, progress["turn"], passing)

    def _brought(
        self,
        session: Session,
        messages: Sequence[BaseMessage],
        start: _Start,
        turn: str | None,
        passing: set[str | None],
    ) -> _Stored:
        """Append what the caller brings. What is there already in other words is passed over: a
        question that was redacted since, and of what came before it what a web page left out."""
        version, question = start.version, question_in(messages)
        try:
            return (yield from self._stored(session, messages, version, turn, passing))
        except IdReused:
            earlier = messages[: messages.index(question)] if question is not None else []
            if question is not None and start.said.get(id_of(question)) == digest(question):
                passing = {*passing, question.id}
            elif all(m.id in passing for m in earlier):
                raise
            for message in earlier:
                with suppress(IdReused):
                    turn, _ = yield from self._stored(session, [message], version, turn, passing)
                passing = {*passing, message.id}
            return (yield from self._stored(session, messages, version, turn, passing))

    def _stored(
        self,
        session: Session,
        messages: Sequence[BaseMessage],
        version: Version,
        turn: str | None,
        passing: Container[str | None] = (),
    ) -> _Stored:
        """Append messages as parts of their turns, but for those that are passed over."""
        said: list[Message] = []
        for message in messages:
            if not is_said(message):
                continue
            if asking := isinstance(message, HumanMessage):
                turn = id_of(message)
            if id_of(message) in passing:
                continue
            stored = from_langchain(message)
            if turn is not None and not asking:
                metadata = {**stored.metadata, TURN: turn}
                stored = msgspec.structs.replace(stored, metadata=metadata)
            said.append(stored)
        if not said:
            return turn, {}
        # Others may have spoken meanwhile. Who was cleared away comes not back (I7).
        found = yield from call(session.append, said, expected=Since(version))
        return turn, {stored_id(message): seq_of(message) for message in found}

    def _progress(
        self,
        session: Session,
        version: Version,
        messages: Sequence[BaseMessage],
        turn: str | None,
        known: Iterable[str] = (),
        said: Sequence[BaseMessage] = (),
    ) -> dict[str, Any]:
        run = uuid4().hex[:12]
        self._runs.begin(run)
        progress = RunProgress(
            session=parts_of(session),
            epoch=version.epoch,
            head=version.head,
            known=[*dict.fromkeys([*known, *map(id_of, messages)])],
            turn=turn,
            run=run,
            said={id_of(m): digest(m) for m in said if asks(m)},
        )
        return {"onrecord": progress}

    def _fitting(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """The request with as much of its messages as fits, and no call without its result."""
        held = [from_langchain(message) for message in request.messages]
        settings = {"token_counter": self._store.token_counter, **self._window}
        window = Window.of(held, **settings, repair=True)
        theirs = dict(zip(map(id, held), request.messages, strict=True))
        shown: list[AnyMessage] = [
            theirs[id(message)] if id(message) in theirs else to_langchain(message)  # type: ignore[misc]
            for message in window
        ]
        return request if shown == request.messages else request.override(messages=shown)

    def _shown(self, request: ModelRequest[Any], handler: Callable[..., Any]) -> ModelRequest[Any]:
        """The request as the model is to have it."""
        ours = OnrecordMiddleware
        return checked(self._fitting(request), handler, ours.wrap_tool_call, ours.awrap_tool_call)

    def _session(self, runtime: Any) -> Session:
        """The session of a run that begins."""
        scope = {part: _name(given, runtime) for part, given in self._scope.items()}
        if self._session_id is not None:
            return self._store.session(_name(self._session_id, runtime), **scope)
        configurable = get_config().get("configurable", {})
        key = configurable.get("session_id", configurable.get("thread_id"))
        if key == "" or isinstance(key, bool) or not isinstance(key, str | int | UUID):
            raise Misconfigured(
                "OnrecordMiddleware does not know which conversation this is. Call the agent with "
                '{"configurable": {"session_id": …}} (a thread_id will do), or give the '
                "middleware session_id=."
            )
        return self._store.session(str(key), **scope)


def _name(given: Named, runtime: Any) -> str:
    return given if isinstance(given, str) else given(runtime)
