"""What a node of a workflow asks a memory: store this, retrieve that, give me context.

Each kind is a thin face over one of the memories here, which it has as ``memory``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.arguments import check_choice, check_number, check_range, check_settings, mapping
from onrecord.closing import ClosedAtEnd
from onrecord.errors import InvalidMessage, Misconfigured
from onrecord.memory.buffer import PersistentBufferMemory
from onrecord.memory.episodic import EpisodicMemory
from onrecord.memory.event import Event
from onrecord.memory.prompting import told_in_words
from onrecord.memory.semantic import Fact, SemanticMemory
from onrecord.memory.wording import in_a_line
from onrecord.memory.working import WorkingMemory
from onrecord.message import Message
from onrecord.store import Store

M = TypeVar("M")

OPERATIONS: Final = ("store", "retrieve", "get_context")
MOST: Final = 10_000
"""Messages or facts that one answer has at the most."""
_FORMATS: Final = ("list", "compact")
_SAID: Final = (
    *("message", "content", "role", "metadata", "name", "tool_calls", "tool_call_id", "usage"),
    *("id", "created_at"),
)


class WorkflowMemory(ClosedAtEnd, ABC, Generic[M]):
    """A memory as a workflow uses it: three calls that take a mapping, and what they answer.

    ``store``, ``retrieve`` and ``get_context`` are to be awaited, as a workflow engine does;
    ``store_sync``, ``retrieve_sync`` and ``get_context_sync`` do the same without a loop. A key
    that a call does not know is refused, and what fails raises.
    """

    kind: ClassVar[str]

    def __init__(self, memory: M, backing: Store, *, owned: bool, operation: str | None) -> None:
        self.memory = memory
        """The memory behind it, with all that it can do."""
        self.operation = operation
        """What ``run`` does."""
        self._backing, self._owned = backing, owned

    async def store(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Keep something, and say under what it is found again."""
        return await atalk(self._stored(_data(data)))

    def store_sync(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Like ``store``, without a loop."""
        return talk(self._stored(_data(data)))

    async def retrieve(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Read what is asked for."""
        return await atalk(self._retrieved(_data(query)))

    def retrieve_sync(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Like ``retrieve``, without a loop."""
        return talk(self._retrieved(_data(query)))

    async def get_context(self, query: Mapping[str, Any] | None = None) -> str:
        """Say for a prompt what is asked for; the empty text where that is nothing."""
        return await atalk(self._told(_data(query)))

    def get_context_sync(self, query: Mapping[str, Any] | None = None) -> str:
        """Like ``get_context``, without a loop."""
        return talk(self._told(_data(query)))

    async def run(self, data: Mapping[str, Any] | None = None) -> Any:
        """Do what the configuration says as its ``operation``."""
        return await atalk(self._ran(_data(data)))

    def run_sync(self, data: Mapping[str, Any] | None = None) -> Any:
        """Like ``run``, without a loop."""
        return talk(self._ran(_data(data)))

    def close(self) -> None:
        """Close the store, where it was made for this memory. One that was given stays open."""
        if self._owned:
            self._backing.close()

    async def aclose(self) -> None:
        """Like ``close``."""
        if self._owned:
            await self._backing.aclose()

    def __str__(self) -> str:
        """What the memory behind it says of itself for a prompt; a line in brackets where that is
        nothing."""
        return str(self.memory) or f"({self.kind}: nothing is kept yet.)"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.memory!r})"

    def _ran(self, data: dict[str, Any]) -> Talk[Any]:
        match self.operation:
            case "store":
                return self._stored(data)
            case "retrieve":
                return self._retrieved(data)
            case "get_context":
                return self._told(data)
        raise Misconfigured(
            f"The configuration names no operation. Add operation= {' or '.join(OPERATIONS)}."
        )

    @abstractmethod
    def _stored(self, data: dict[str, Any]) -> Talk[dict[str, Any]]: ...

    @abstractmethod
    def _retrieved(self, query: dict[str, Any]) -> Talk[dict[str, Any]]: ...

    @abstractmethod
    def _told(self, query: dict[str, Any]) -> Talk[str]: ...


class WorkflowConversation(WorkflowMemory[PersistentBufferMemory]):
    """A conversation: what was said, in its order, the newest within limits."""

    kind = "CONVERSATION_BUFFER"

    def __init__(
        self,
        memory: PersistentBufferMemory,
        backing: Store,
        *,
        owned: bool,
        operation: str | None,
        max_messages: int,
        max_tokens: int | None,
    ) -> None:
        super().__init__(memory, backing, owned=owned, operation=operation)
        self.max_messages, self.max_tokens = max_messages, max_tokens

    def _stored(self, data: dict[str, Any]) -> Talk[dict[str, Any]]:
        check_settings("store", data, _SAID)
        if "content" not in data:
            _need("store", data, "message")
        elif "message" in data:
            raise InvalidMessage("A message has its text as 'message' or as 'content', not both.")
        data = {"role": "user", "content": data.pop("message", None), **data}
        if data["content"] is None and not data.get("tool_calls"):
            raise InvalidMessage("A message without text and without a tool call says nothing.")
        # Not by the buffer: of a write that fails it would keep the message, and whoever runs the
        # node again would say it twice.
        (said,) = yield from call(self.memory.session.append, data)
        return {"id": said.id, "sequence": said.seq, "role": said.role}

    def _retrieved(self, query: dict[str, Any]) -> Talk[dict[str, Any]]:
        check_settings("retrieve", query, ("limit", "max_messages", "max_tokens"))
        messages, tokens = self._limits(query)
        session = self.memory.session
        window = yield from call(session.window, messages=messages, tokens=tokens)
        return {
            "messages": [_as_dict(message) for message in window],
            "count": len(window),
            "tokens": window.tokens,
        }

    def _told(self, query: dict[str, Any]) -> Talk[str]:
        known = ("limit", "max_messages", "max_tokens", "format", "summariser")
        check_settings("get_context", query, known)
        messages, tokens = self._limits(query)
        form = query.get("format", "conversation")
        session, summariser = self.memory.session, query.get("summariser")
        return (yield from told_in_words(session, form, messages, tokens, summariser))

    def _limits(self, query: Mapping[str, Any]) -> tuple[int, int | None]:
        """As many messages and tokens as are asked for, and not more than the memory shows."""
        messages, tokens = self.max_messages, self.max_tokens
        for name in ("limit", "max_messages"):
            if query.get(name) is not None:
                check_number(name, query[name], 1, MOST)
                messages = min(messages, query[name])
        if (wanted := query.get("max_tokens")) is not None:
            check_number("max_tokens", wanted, 1, 10**9)
            tokens = wanted if tokens is None else min(tokens, wanted)
        return messages, tokens


class WorkflowKnowledge(WorkflowMemory[SemanticMemory]):
    """Facts and documents, found by their words and by what they mean."""

    kind = "VECTOR_DATABASE"

    def _stored(self, data: dict[str, Any]) -> Talk[dict[str, Any]]:
        _need("store", data, "content")
        content, about = data.pop("content"), mapping("metadata", data.pop("metadata", None))
        # What stands beside the metadata is told of the document too: document_type and such.
        fact = yield from call(self.memory.remember, content, {**data, **about})
        return {"id": fact.id, "content": fact.content, "metadata": fact.metadata}

    def _retrieved(self, query: dict[str, Any]) -> Talk[dict[str, Any]]:
        check_settings("retrieve", query, ("query", "limit", "similarity_threshold", "id"))
        found: list[tuple[Fact, float | None]]
        if "id" in query:
            fact = yield from call(self.memory.get, query["id"])
            found = [] if fact is None else [(fact, None)]
        elif "query" in query:
            hits = yield from call(self.memory.search, query["query"], *_how(query))
            found = [(hit.fact, hit.score) for hit in hits]
        else:
            facts = yield from call(self.memory.recent, _how(query)[0])
            found = [(fact, None) for fact in facts]
        results = [
            {"id": one.id, "content": one.content, "metadata": one.metadata}
            | ({} if score is None else {"score": score})
            for one, score in found
        ]
        return {"results": results, "count": len(results)}

    def _told(self, query: dict[str, Any]) -> Talk[str]:
        known = ("query", "limit", "similarity_threshold", "format")
        check_settings("get_context", query, known)
        _need("get_context", query, "query")
        form = query.get("format", "detailed")
        return (yield from call(self.memory.context, query["query"], form, *_how(query)))


class WorkflowValues(WorkflowMemory[WorkingMemory]):
    """Values under keys, each for a while."""

    kind = "WORKING_MEMORY"

    def _stored(self, data: dict[str, Any]) -> Talk[dict[str, Any]]:
        check_settings("store", data, ("key", "value", "ttl_seconds"))
        _need("store", data, "key")
        _need("store", data, "value")
        yield from call(self.memory.set, data["key"], data["value"], data.get("ttl_seconds"))
        return {"key": data["key"]}

    def _retrieved(self, query: dict[str, Any]) -> Talk[dict[str, Any]]:
        check_settings("retrieve", query, ("key",))
        if "key" in query:
            value = yield from call(self.memory.get, query["key"], _MISSING)
            there = value is not _MISSING
            return {"key": query["key"], "found": there, "value": value if there else None}
        values = yield from call(self.memory.all)
        return {"values": values, "count": len(values)}

    def _told(self, query: dict[str, Any]) -> Talk[str]:
        check_settings("get_context", query, ("format",))
        form = query.get("format", "list")
        check_choice("format", form, _FORMATS)
        values = yield from call(self.memory.all)
        lines = [in_a_line(f"{key}: {value}") for key, value in values.items()]
        return "; ".join(lines) if form == "compact" else "\n".join(f"- {line}" for line in lines)


class WorkflowEpisodes(WorkflowMemory[EpisodicMemory]):
    """Events: what happened, session by session."""

    kind = "EPISODIC_MEMORY"

    def __init__(
        self,
        memory: EpisodicMemory,
        backing: Store,
        *,
        owned: bool,
        operation: str | None,
        session_id: str,
    ) -> None:
        super().__init__(memory, backing, owned=owned, operation=operation)
        self.session_id = session_id

    def _stored(self, data: dict[str, Any]) -> Talk[dict[str, Any]]:
        check_settings("store", data, ("event_type", "payload", "session_id"))
        _need("store", data, "event_type")
        _need("store", data, "payload")
        session = data.get("session_id", self.session_id)
        event = yield from call(
            self.memory.record, data["event_type"], data["payload"], session_id=session
        )
        return _event(event)

    def _retrieved(self, query: dict[str, Any]) -> Talk[dict[str, Any]]:
        check_settings("retrieve", query, ("query", "session_id", "limit"))
        found = [_event(event) for event in (yield from self._events(query))]
        return {"events": found, "count": len(found)}

    def _told(self, query: dict[str, Any]) -> Talk[str]:
        check_settings("get_context", query, ("query", "session_id", "limit"))
        found = yield from self._events(query)
        return "\n".join(map(_line_of, sorted(found, key=lambda event: event.timestamp)))

    def _events(self, query: Mapping[str, Any]) -> Talk[list[Event]]:
        limit = query.get("limit", 10)
        check_number("limit", limit, 1, MOST)
        if "query" in query:
            return list((yield from call(self.memory.search, query["query"], limit)))
        if "session_id" in query:
            return list((yield from call(self.memory.get_session, query["session_id"])))[-limit:]
        return list((yield from call(self.memory.recent, limit)))


_MISSING: Final = object()


def _data(given: object) -> dict[str, Any]:
    found = mapping("what a memory is asked", given)
    for key in found:
        if not isinstance(key, str):
            raise Misconfigured(f"The keys of what a memory is asked are text, not {key!r:.50}.")
    return found


def _need(what: str, data: Mapping[str, Any], key: str) -> None:
    if key not in data:
        raise Misconfigured(f"{what} needs {key!r}: {{{key!r}: …}}.")


def _how(query: Mapping[str, Any]) -> tuple[int, float | None]:
    """How many facts, and how well they have to answer; None as the memory has it."""
    limit, threshold = query.get("limit", 5), query.get("similarity_threshold")
    check_number("limit", limit, 1, MOST)
    if threshold is not None:
        check_range("similarity_threshold", threshold, "a score", 0, 1)
    return limit, threshold


def _as_dict(message: Message) -> dict[str, Any]:
    when = None if message.created_at is None else message.created_at.isoformat()
    return {"metadata": {}, **dict(message), "id": message.id, "timestamp": when}


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "event_type": event.event_type,
        "payload": event.payload,
        "session_id": event.session_id,
        "timestamp": event.timestamp.isoformat(),
    }


def _line_of(event: Event) -> str:
    payload = event.payload
    said = payload.get("content") if isinstance(payload, dict) else None
    text = said if isinstance(said, str) else str(payload)
    return in_a_line(f"[{event.timestamp:%Y-%m-%d %H:%M}] {event.event_type}: {text}")
