"""Memory for agents made by ``create_agent``: what is said is durable as it is said.

The user's turn is stored before the model is called, each answer and each tool's result as it
happens. A crash, an error or a caller who goes away in the middle loses nothing that was said, and
the next call goes on from there. The model is shown a window; the transcript keeps everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, NotRequired, TypeAlias
from uuid import UUID, uuid4

import msgspec
from langchain.agents.middleware import AgentMiddleware, AgentState, hook_config
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.config import get_config
from langgraph.types import Command, Overwrite
from typing_extensions import TypedDict

from langchain_recollect.messages import SAID, TURN, from_langchain, is_made_up, to_langchain
from langchain_recollect.window import CountsTokens, WindowLimits, in_langchain, window_settings
from recollect import Cleared, IdReused, Message, Misconfigured, Since, Version, Window
from recollect.adapting import Talk, atalk, call, talk

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest

    from recollect import Session, Store

Named: TypeAlias = str | Callable[[Any], str]
"""A name, or a function of LangGraph's runtime that gives one."""

Update: TypeAlias = dict[str, Any] | None

LATER: Final = 2**40
"""Behind every message of a session."""
_DIGITS: Final = 8
"""How many of them a digest has."""

DEFAULT_WINDOW: Final = {"tokens": 32_000}


class Progress(TypedDict):
    """How far a run's messages are stored; kept in the state of the run, where checkpoints
    keep it as well."""

    session: dict[str, str]
    """The parts of the session's name, as they were when the run began."""
    epoch: int
    head: int
    """Up to where the state shows what is in the session."""
    known: list[str]
    """The ids of the messages the run began with, and of those that are stored since."""
    turn: str | None
    """The id of the message that opened the turn."""
    run: str
    """What the ids of the tool results begin with that the run has stored."""
    said: dict[str, str]
    """What the user said in this run, by id: a digest of it, to see whether others change it."""


class RecollectState(AgentState[Any]):
    """An agent's state, and how far it is stored."""

    recollect: NotRequired[Annotated[Progress | None, PrivateStateAttr]]


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


class RecollectMiddleware(AgentMiddleware[RecollectState, Any]):
    """Durable memory for an agent: ``create_agent(…, middleware=[RecollectMiddleware(store)])``.

    Put it first, so that it stores what the other middleware has made of an answer. It needs no
    checkpointer, and can be used with one. A message that comes again under the same id is not
    said twice: the run goes on where it was, or gives the answer that is there.
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
        for given in (tenant, user, agent, session_id or ""):
            if not isinstance(given, str) and not callable(given):
                raise Misconfigured(f"{given!r} is neither a name nor a function that gives one.")
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
        return talk(self._caught_up(state))

    async def abefore_model(self, state: RecollectState, runtime: Any) -> Update:
        """Like ``before_model``."""
        return await atalk(self._caught_up(state))

    def after_model(self, state: RecollectState, runtime: Any) -> Update:
        """Store what the model answered."""
        return talk(self._caught_up(state))

    async def aafter_model(self, state: RecollectState, runtime: Any) -> Update:
        """Like ``after_model``."""
        return await atalk(self._caught_up(state))

    def after_agent(self, state: RecollectState, runtime: Any) -> Update:
        """Store what came last."""
        return talk(self._caught_up(state))

    async def aafter_agent(self, state: RecollectState, runtime: Any) -> Update:
        """Like ``after_agent``."""
        return await atalk(self._caught_up(state))

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Show the model a window that is torn nowhere. The state stays as it is."""
        return _as_new(handler(self._fitting(request)), request)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Like ``wrap_model_call``."""
        return _as_new(await handler(self._fitting(request)), request)

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
        """Make durable what the state brings, and put what was said before in front of it."""
        messages: list[BaseMessage] = list(state["messages"])
        start = yield from self._start(session, messages, state.get("recollect"))
        question = _question(messages)
        said = start.new or [m for m in messages if m is question]
        passing = {m.id for m in _without(messages, said)}
        before = _question(start.shown)
        turn = start.turn or (None if before is None else before.id)
        turn, places = yield from self._brought(session, messages, start, turn, passing)
        head = start.version.head
        fresh = [m for m in start.new if not _is_said(m) or places.get(m.id, 0) > head]
        later = messages[messages.index(question) + 1 :] if question is not None else []
        handed_on = not state.get("recollect") and any(isinstance(m, AIMessage) for m in later)
        if question is not None and not fresh and not handed_on:
            place = places.get(question.id)
            return (yield from self._asked_again(session, start, messages, question, place))
        now = [*start.shown, *fresh]
        if turn is None and (asked := _question(now)) is not None:
            turn = asked.id
        update = self._progress(session, start.version, [*messages, *now], turn, said=fresh)
        if now != messages:
            # A plain list would be streamed to the caller as if it was said only now.
            update["messages"] = Overwrite(now)
        if _question(fresh) is None and _is_answered(now) and not handed_on:
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
            since = yield from call(session, "messages", after=place - 1)
            shown = in_langchain(Window.of(since))
        until = [m.id for m in shown].index(question.id) + 1
        answer = list(takewhile(lambda m: not _asks(m), shown[until:]))
        now = [*shown[:until], *answer]
        update = self._progress(
            session, version, [*messages, *now], question.id, start.known, said=[question]
        )
        if _is_answered(now):
            return {**update, "messages": answer, "jump_to": "end"}
        return {**update, "messages": Overwrite(now)}

    def _start(
        self, session: Session, messages: Sequence[BaseMessage], progress: Progress | None
    ) -> Talk[_Start]:
        """What was said in the session before this run, and what the state holds besides."""
        if progress is not None and progress["session"] == _parts(session):
            version: Version = yield from call(session, "version")
            if version.epoch == progress["epoch"]:
                return (yield from self._resumed(session, messages, progress, version))
        known = set(progress["known"] if progress else ())
        new = [m for m in messages if m.id not in known]
        if progress is not None:
            # The state is of another session, or of before a rewrite. What its last run had not
            # stored by then goes as well.
            new = list(dropwhile(_is_left_over, new))
        window: Window = yield from call(session, "window", **self._window)
        shown = in_langchain(window)
        said = {str(m.id): str(m.metadata[SAID]) for m in window if SAID in m.metadata}
        return _Start(window.version, shown, _without(new, shown), known, said)

    def _resumed(
        self,
        session: Session,
        messages: Sequence[BaseMessage],
        progress: Progress,
        version: Version,
    ) -> Talk[_Start]:
        """The state that a checkpoint brought, perhaps with a summary, and what is newer."""
        known = set(progress["known"])
        newer: list[Message] = yield from call(session, "messages", after=progress["head"])
        shown = _together(
            [m for m in messages if m.id in known or _is_aside(m)],
            [m for m in newer if m.id not in known],
        )
        new = _without(messages, shown)
        return _Start(version, shown, new, known, progress["said"], progress["turn"])

    def _caught_up(self, state: RecollectState) -> Talk[Update]:
        """Make durable what the state holds and the store does not."""
        progress = state.get("recollect")
        if progress is None:
            return None
        before, progress = progress, (yield from self._corrected(progress, state["messages"]))
        known = set(progress["known"])
        new = [m for m in state["messages"] if m.id not in known]
        if not new:
            return None if progress is before else {"recollect": progress}
        # Results are not compared with what is stored: other middleware may have added to them.
        said = [m for m in new if not _id(m).startswith(progress["run"])]
        turn = yield from self._said_now(progress, said)
        ids = [*progress["known"], *map(_id, new)]
        return {"recollect": {**progress, "known": ids, "turn": turn}}

    def _said_now(self, progress: Progress, said: Sequence[BaseMessage]) -> Talk[str | None]:
        """Append what was said in a run, also under an id that was used long ago: a cache of
        answers repeats their ids."""
        answers = [m for m in said if isinstance(m, AIMessage)]
        try:
            turn, places = yield from self._said(progress, said)
            repeated = [m for m in answers if places.get(m.id, LATER) <= progress["head"]]
        except IdReused:
            if not answers:
                raise
            turn, _ = yield from self._said(progress, [m for m in said if m not in answers])
            repeated = answers
        anew = [m.model_copy(update={"id": str(uuid4())}) for m in repeated]
        yield from self._said({**progress, "turn": turn}, anew)
        return turn

    def _corrected(self, progress: Progress, messages: Sequence[BaseMessage]) -> Talk[Progress]:
        """Store what other middleware has made of a message that was stored as it came.

        What was redacted for the model this time would else be shown to it the next time. Only
        of the latest step: what is taken out of the state later stays in the transcript.
        """
        changed = {m.id: m for m in _latest(messages) if _is_changed(m, progress)}
        if not changed:
            return progress
        session = self._store.session(**progress["session"])
        since = max(0, progress["head"] - 1)
        stored: list[Message] = yield from call(session, "messages", after=since)
        edits = 0
        for message in stored:
            now = changed.get(message.id)
            if now is not None and _digest(to_langchain(message)) != _digest(now):
                said = from_langchain(now)
                metadata = {**said.metadata, **message.metadata}
                if original := progress["said"].get(_id(now)):
                    metadata[SAID] = original  # so that a retry in the first words is known
                said = msgspec.structs.replace(said, metadata=metadata)
                yield from call(session, "edit", message.seq, said)
                edits += 1
        version: Version = yield from call(session, "version")
        if version.epoch != progress["epoch"] + edits:
            return progress  # somebody else has moved it: a clear is still to be noticed
        return {**progress, "epoch": version.epoch}

    def _answered(self, request: ToolCallRequest, result: Any) -> Talk[None]:
        """Make a tool's result durable. What else a Command brings is stored with the state."""
        progress = request.state.get("recollect") if isinstance(request.state, dict) else None
        if progress is not None:
            asked = request.tool_call["id"]
            answers = [m for m in _tool_messages(result) if m.tool_call_id == asked]
            for message in answers:
                made = f"{progress['run']}{_digest(message)}{uuid4().hex[:12]}"
                message.id = message.id or made
            # Who jumps to the tools leaves out the hook that would have stored the call.
            known = set(progress["known"])
            calls = [
                m
                for m in request.state["messages"]
                if m.id not in known and not _id(m).startswith(progress["run"])
            ]
            yield from self._said(progress, [*calls, *answers])

    def _said(self, progress: Progress, messages: Sequence[BaseMessage]) -> _Stored:
        """Append what was said in a run."""
        session = self._store.session(**progress["session"])
        version = Version(progress["epoch"], progress["head"])
        return self._stored(session, messages, version, progress["turn"])

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
        version, question = start.version, _question(messages)
        try:
            return (yield from self._stored(session, messages, version, turn, passing))
        except IdReused:
            earlier = messages[: messages.index(question)] if question is not None else []
            if question is not None and start.said.get(_id(question)) == _digest(question):
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
            if not _is_said(message):
                continue
            if asks := isinstance(message, HumanMessage):
                turn = _id(message)
            if _id(message) in passing:
                continue
            stored = from_langchain(message)
            if turn is not None and not asks:
                metadata = {**stored.metadata, TURN: turn}
                stored = msgspec.structs.replace(stored, metadata=metadata)
            said.append(stored)
        if not said:
            return turn, {}
        # Others may have spoken meanwhile. Who was cleared away comes not back (I7).
        found = yield from call(session, "append", said, expected=Since(version))
        return turn, {message.id: message.seq for message in found}

    def _progress(
        self,
        session: Session,
        version: Version,
        messages: Sequence[BaseMessage],
        turn: str | None,
        known: Iterable[str] = (),
        said: Sequence[BaseMessage] = (),
    ) -> dict[str, Any]:
        progress = Progress(
            session=_parts(session),
            epoch=version.epoch,
            head=version.head,
            known=[*dict.fromkeys([*known, *map(_id, messages)])],
            turn=turn,
            run=uuid4().hex[:12],
            said={_id(m): _digest(m) for m in said if _asks(m)},
        )
        return {"recollect": progress}

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

    def _session(self, runtime: Any) -> Session:
        """The session of a run that begins."""
        scope = {part: _name(given, runtime) for part, given in self._scope.items()}
        if self._session_id is not None:
            return self._store.session(_name(self._session_id, runtime), **scope)
        configurable = get_config().get("configurable", {})
        key = configurable.get("session_id", configurable.get("thread_id"))
        if key == "" or isinstance(key, bool) or not isinstance(key, str | int | UUID):
            raise Misconfigured(
                "RecollectMiddleware does not know which conversation this is. Call the agent with "
                '{"configurable": {"session_id": …}} (a thread_id will do), or give the '
                "middleware session_id=."
            )
        return self._store.session(str(key), **scope)


def _name(given: Named, runtime: Any) -> str:
    return given if isinstance(given, str) else given(runtime)


def _parts(session: Session) -> dict[str, str]:
    return msgspec.structs.asdict(session.name)


def _id(message: BaseMessage) -> str:
    """A message's id. One that has none is given one: saying it again is saying it once."""
    if not message.id:
        message.id = str(uuid4())
    return message.id


def _as_new(response: ModelResponse[Any], request: ModelRequest[Any]) -> ModelResponse[Any]:
    """A response whose answers have ids of their own: LangChain's cache repeats them, and a
    second answer under one id takes the place of the first."""
    progress: Progress | None = request.state.get("recollect")  # type: ignore[assignment]
    known = set(progress["known"]) if progress is not None else set()
    if not any(m.id in known for m in response.result):
        return response
    result = [
        m.model_copy(update={"id": str(uuid4())}) if m.id in known else m for m in response.result
    ]
    return replace(response, result=result)


def _latest(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """What came since the last answer but one."""
    end = len(messages)
    while end and isinstance(messages[end - 1], AIMessage):
        end -= 1
    begin = end
    while begin and not isinstance(messages[begin - 1], AIMessage):
        begin -= 1
    return list(messages[begin:end])


def _digest(message: BaseMessage) -> str:
    said = repr(message.content).encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=4).hexdigest()


def _is_changed(message: BaseMessage, progress: Progress) -> bool:
    """Whether a message that was stored in this run says something else by now."""
    before = progress["said"].get(_id(message))
    if before is None and _id(message).startswith(progress["run"]):
        before = _id(message).removeprefix(progress["run"])[:_DIGITS]
    return before is not None and before != _digest(message)


def _is_aside(message: BaseMessage) -> bool:
    """Whether a message was not said by anybody: a summary that stands for others."""
    return message.additional_kwargs.get("lc_source") == "summarization"


def _is_said(message: BaseMessage) -> bool:
    return not is_made_up(message) and not _is_aside(message)


def _is_left_over(message: BaseMessage) -> bool:
    """Whether a message comes from a run, and not from who called the agent."""
    return isinstance(message, AIMessage | ToolMessage) or _is_aside(message)


def _asks(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) and not _is_aside(message)


def _question(messages: Sequence[BaseMessage]) -> BaseMessage | None:
    """What the user said last."""
    return next(filter(_asks, reversed(messages)), None)


def _is_answered(messages: Sequence[BaseMessage]) -> bool:
    return bool(messages) and isinstance(messages[-1], AIMessage) and not messages[-1].tool_calls


def _without(messages: Sequence[BaseMessage], others: Sequence[BaseMessage]) -> list[BaseMessage]:
    there = {message.id for message in others}
    return [message for message in messages if message.id not in there]


def _together(held: Sequence[BaseMessage], newer: Sequence[Message]) -> list[BaseMessage]:
    """What is held, and what is newer: the end of a turn behind its beginning."""
    turns: dict[str | None, list[BaseMessage]] = {}
    turn: str | None = None
    for message in held:
        turn = message.id if _asks(message) else turn
        turns.setdefault(turn, []).append(message)
    for said in newer:
        answers = said.metadata.get(TURN)
        if isinstance(answers, str):
            turn = answers
        elif said.opens_turn or turn is None:
            turn = said.id
        turns.setdefault(turn, []).append(to_langchain(said))
    return [message for turn in turns.values() for message in turn]


def _tool_messages(result: Any) -> Iterator[ToolMessage]:
    """The tool messages in what a tool gave."""
    match result:
        case ToolMessage():
            yield result
        case Command(update={"messages": list(messages)}) | list(messages):
            for message in messages:
                yield from _tool_messages(message)
