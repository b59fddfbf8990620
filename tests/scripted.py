"""A chat model that says what it is told to say: no key, no network."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field, PrivateAttr

Says = AIMessage | str | Exception | Callable[[list[BaseMessage]], "AIMessage | str"]


class Scripted(BaseChatModel):
    """Answers by its script, one line a call; remembers what it was shown."""

    script: list[Any] = Field(default_factory=list)
    shown: list[list[BaseMessage]] = Field(default_factory=list)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **settings: Any) -> Runnable[Any, AIMessage]:
        return self

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        with self._lock:
            self.shown.append(list(messages))
            says: Says = self.script.pop(0) if self.script else "…"
        if isinstance(says, Exception):
            raise says
        if callable(says) and not isinstance(says, AIMessage):
            says = says(messages)
        return AIMessage(says) if isinstance(says, str) else says

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **settings: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **settings: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from _chunks(self._next(messages))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **settings: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(self._next(messages)):
            yield chunk


def _chunks(answer: AIMessage) -> Iterator[ChatGenerationChunk]:
    """Word by word, the tool calls with the last one."""
    words = str(answer.text).split(" ")
    for i, word in enumerate(words):
        last = i == len(words) - 1
        calls: list[Any] = []
        if last:
            calls = [
                {"name": c["name"], "args": _json(c["args"]), "id": c["id"], "index": n}
                for n, c in enumerate(answer.tool_calls)
            ]
        text = word if last else f"{word} "
        yield ChatGenerationChunk(
            message=AIMessageChunk(content=text, tool_call_chunks=calls, id=answer.id)
        )


def _json(value: Any) -> str:
    import json

    return json.dumps(value)
