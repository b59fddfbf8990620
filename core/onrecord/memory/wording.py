"""Put messages into words for a prompt: who said what, each call with its result.

Two forms. ``conversation`` keeps every word; ``compact`` is one line a message, with long texts
shortened in the middle. In both a line that begins at the margin is of whoever it names: what is
said over several lines is indented, so that no text can speak as somebody else.

Reasoning is left out, and what only its own framework understands: nobody said it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from onrecord.blocks import (
    Block,
    Citation,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from onrecord.message import Message

_LETTERS: Final = {"system": "S", "user": "U", "assistant": "A", "tool": "T"}
_SHORT: Final = 200
"""Characters of a text in the compact form."""
_SHORTER: Final = 80
"""Characters of a call's arguments there, and of a result."""
_GAP: Final = " … "


@dataclass(frozen=True, slots=True)
class Form:
    """How messages are put into words."""

    compact: bool = False
    most: int | None = None
    """Characters of one text at most; None for all of it."""

    def text_of(self, messages: Sequence[Message]) -> str:
        """Put messages into words."""
        return "\n".join(self._lines(messages))

    def _lines(self, messages: Sequence[Message]) -> Iterator[str]:
        for message, results in _with_results(messages):
            yield from self._said(message, results)

    def _said(self, message: Message, results: Sequence[_Result]) -> Iterator[str]:
        left = list(results)
        asides: list[str] = []
        for call in message.tool_calls:
            answer = next((one for one in left if one.of == call.id), None)
            if answer is not None:
                left.remove(answer)
            asides += self._called(call, answer)
        asides += [line for answer in left for line in self._answered(answer)]
        said = self._words(message.content)
        if message.role == "tool" and not said and not asides:
            said = "(nothing)"
        if not said and not asides:
            return
        who = self._who(message)
        if self.compact:
            yield " ".join([f"{who}:", *filter(None, [said]), *asides])
        else:
            yield f"{who}: {indented(said, 2)}".rstrip()
            yield from (f"  {indented(line, 4)}" for line in asides)

    def _who(self, message: Message) -> str:
        role = in_a_line(message.role)
        if self.compact:
            role = _LETTERS.get(role, role)
        return role if not message.name else f"{in_a_line(message.name)} ({role})"

    def _called(self, call: ToolCall, answer: _Result | None) -> list[str]:
        asked = f"{in_a_line(call.name)}({self._short(_arguments(call.args), _SHORTER)})"
        if self.compact:
            result = "?" if answer is None or answer.is_made_up else self._result(answer)
            return [f"[{asked} → {result}]"]
        if answer is None or answer.is_made_up:
            return [f"called {asked}", "no result"]
        return [f"called {asked}", *self._answered(answer)]

    def _answered(self, answer: _Result) -> list[str]:
        if self.compact:
            return [f"[→ {self._result(answer)}]"]
        return [f"{'error' if answer.is_error else 'result'}: {self._result(answer)}"]

    def _result(self, answer: _Result) -> str:
        words = self._words(answer.content, _SHORTER) or "(nothing)"
        return f"error: {words}" if self.compact and answer.is_error else words

    def _words(self, content: Sequence[Block], compact: int = _SHORT) -> str:
        return self._short("\n".join(filter(None, map(_said_in, content))), compact)

    def _short(self, text: str, compact: int) -> str:
        if self.compact:
            text = in_a_line(text)
        limits = [most for most in (self.most, compact if self.compact else None) if most]
        return shortened(text, min(limits)) if limits else text


CONVERSATION: Final = Form()
COMPACT: Final = Form(compact=True)


def shortened(text: str, most: int) -> str:
    """A text in at most so many characters: without its middle, where it is longer."""
    if len(text) <= most:
        return text
    if most <= len(_GAP):
        return text[:most]
    kept = most - len(_GAP)
    head = -(-kept * 2 // 3)
    end = text[len(text) - (kept - head) :].lstrip() if kept > head else ""
    return f"{text[:head].rstrip()}{_GAP}{end}".rstrip()


@dataclass(frozen=True, slots=True)
class _Result:
    """The answer of a tool."""

    of: str | None
    content: Sequence[Block]
    is_error: bool
    is_made_up: bool


def _with_results(messages: Sequence[Message]) -> Iterator[tuple[Message, list[_Result]]]:
    """Each message with the results of its calls, which stand right behind it; a result whose call
    is not there stands for itself."""
    i = 0
    while i < len(messages):
        message = messages[i]
        i += 1
        wanted = {call.id for call in message.tool_calls}
        results: list[_Result] = []
        while i < len(messages) and (found := _results_in(messages[i])):
            if not any(one.of in wanted for one in found) or _said_besides(messages[i]):
                break
            results += found
            i += 1
        if found := _results_in(message):
            content = tuple(block for block in message.content if not isinstance(block, ToolResult))
            if message.role == "tool" and message.tool_call_id is not None:
                yield message, []
                continue
            message = Message(message.role, content, message.name)
            results = [*found, *results]
        yield message, results


def _results_in(message: Message) -> list[_Result]:
    """What a message answers: as the tool, or among its blocks."""
    made_up = message.metadata.get("onrecord") == "repaired"
    blocks = [block for block in message.content if isinstance(block, ToolResult)]
    results = [
        _Result(block.tool_call_id or message.tool_call_id, block.content, block.is_error, made_up)
        for block in blocks
    ]
    if not blocks and message.tool_call_id is not None:
        results.append(_Result(message.tool_call_id, message.content, False, made_up))
    return results


def _said_besides(message: Message) -> bool:
    """Whether a message says more than results."""
    return message.role != "tool" and any(
        not isinstance(block, ToolResult) for block in message.content
    )


def _said_in(block: Block) -> str:
    match block:
        case Text(text) | Refusal(text):
            return text
        case Citation(text, source):
            return f"[source: {' '.join(filter(None, [text, source]))}]"
        case Media():
            return f"[{' '.join(filter(None, [block.kind, _where(block)]))}]"
        case ToolResult(_, content):
            return "\n".join(filter(None, map(_said_in, content)))
        case Reasoning() | ToolCall() | Opaque():
            return ""
    assert_never(block)


def _where(media: Media) -> str:
    """What a picture or a file is called; never its bytes."""
    url = None if media.url is None or media.url.startswith("data:") else media.url
    return in_a_line(media.name or url or media.media_type or "")


def _arguments(args: Any) -> str:
    if not isinstance(args, Mapping):
        return args if isinstance(args, str) else _json(args)
    return ", ".join(f"{name}={_json(value)}" for name, value in args.items())


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, and the like
        return repr(value)


def in_a_line(text: str) -> str:
    """A text without what ends a line: in the lines after it, it could say anything."""
    return " ".join(text.split())


def indented(text: str, by: int = 2) -> str:
    """Indent all lines but the first, whatever ends a line."""
    return f"\n{' ' * by}".join(text.splitlines())
