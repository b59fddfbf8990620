"""A conversation as a person reads it in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final

from onrecord.blocks import (
    Aside,
    Block,
    Data,
    Media,
    Remark,
    Speech,
    ToolCall,
    ToolResult,
    look_of,
)
from onrecord.cli import visible
from onrecord.cli.output import BOLD, DIM, Output, Styled, size
from onrecord.message import Message
from onrecord.plural import many
from onrecord.version import SessionInfo

COLOURS: Final = {
    "user": "bold cyan",
    "assistant": "bold green",
    "tool": "bold yellow",
    "system": "bold magenta",
}
FEW_LINES: Final = 8
"""Of what was not said but handed over: results, thoughts, data."""
INDENT: Final = 4


class Conversation:
    """Writes messages below each other, and the day where another one begins."""

    def __init__(self, out: Output, *, full: bool) -> None:
        self._out = out
        self._full = full
        self._day: date | None = None
        self._indent = INDENT if out.width >= 60 else 2

    def head(self, info: SessionInfo) -> None:
        """Say which conversation it is."""
        self._out.say((visible.line(info.key), BOLD), *owner_of(info))
        if info.title:
            self._out.say(visible.line(info.title))
        counts = (many(info.messages, "message"), many(info.turns, "turn"), tokens(info))
        self._out.say((" · ".join(counts), DIM))

    def message(self, said: Message) -> None:
        """Write one message."""
        at = None if said.created_at is None else said.created_at.astimezone()
        if at is not None and at.date() != self._day:
            self._day = at.date()
            self._out.say()
            self._out.say((f"── {at:%A, %d %B %Y}", DIM))
        self._out.say()
        name = "" if said.name is None else f" {visible.line(said.name)}"
        when = "" if at is None else f"  {at:%H:%M}"
        role = visible.line(said.role)
        self._out.say(
            (f"#{said.seq} ", DIM), (role + name, COLOURS.get(said.role, BOLD)), (when, DIM)
        )
        for block in said.content:
            self._block(block, said.role == "tool")

    def _block(self, block: Block, handed: bool) -> None:
        match look_of(block):
            case Speech(text):
                self._text(text, ("← ", "yellow") if handed else None, few=handed)
            case Remark(label, text, source):
                beside = f" ({source})" if source else ""
                self._text(text + beside, (f"{label}: ", DIM))
            case Aside(label, text):
                self._text(text, (f"{label}: ", DIM), few=True, style=DIM)
            case Data(name, value, framework):
                owner = "" if framework is None else f" of {framework}"
                self._text(compact(value), (f"{name}{owner}: ", DIM), few=True, style=DIM)
            case ToolCall(name, args):
                self._text(f"{name}({arguments(args)})", ("→ ", "green"))
            case ToolResult(_, content, is_error):
                for inner in content or ():
                    self._block(inner, True)
                if is_error:
                    self._text("The tool reported an error.", None, style="red")
            case Media() as media:
                self._text(described(media), ("▪ ", DIM))

    def _text(
        self, text: str, before: tuple[str, str] | None, *, few: bool = False, style: str = ""
    ) -> None:
        shown = visible.text(text)
        lines = shown.split("\n")
        left = len(lines) - FEW_LINES
        if few and not self._full and left > 1:
            shown = "\n".join(lines[:FEW_LINES])
        pieces: list[Styled] = [] if before is None else [(visible.line(before[0]), before[1])]
        self._out.say(*pieces, (shown, style), indent=self._indent)
        if few and not self._full and left > 1:
            more = many(left, "more line")
            self._out.say((f"… {more}: --full shows them", DIM), indent=self._indent)


def owner_of(info: SessionInfo) -> list[Styled]:
    """Whose a session is, behind its key."""
    parts = (("tenant", info.tenant), ("user", info.user), ("agent", info.agent))
    return [(f" · {part} {visible.line(name)}", DIM) for part, name in parts if name]


def tokens(info: SessionInfo) -> str:
    """What a conversation weighs."""
    return many(info.tokens, "token")


def described(media: Media) -> str:
    """What can be said of a picture, a sound, a film or a document."""
    told = [media.kind, media.name or "", media.media_type or ""]
    if media.url is not None:
        told.append(media.url if len(media.url) <= 200 else f"{media.url[:200]}…")
    if media.data is not None:
        told.append(size(len(media.data)))
    return " · ".join(filter(None, told))


def arguments(args: object) -> str:
    """What a tool was called with, as in a call."""
    if isinstance(args, str):
        return args
    if isinstance(args, Mapping):
        return ", ".join(f"{name}={compact(value)}" for name, value in args.items())
    return compact(args)


def compact(value: object) -> str:
    """A value on one line; what JSON cannot say in Python's words."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_word)
    except (TypeError, ValueError, RecursionError):
        return f"({type(value).__name__} that cannot be shown)"


def _word(value: object) -> object:
    match value:
        case bytes():
            return f"({size(len(value))})"
        case set() | frozenset():
            return list(value)
    return str(value)


def marked(text: str, words: list[str], style: str) -> Iterator[Styled]:
    """A text with the words in it that were searched for."""
    low = text.lower()
    at = 0
    while at < len(text):
        found = [(low.find(word, at), len(word)) for word in words]
        begin, length = min((one for one in found if one[0] >= 0), default=(-1, 0))
        if begin < 0 or len(low) != len(text):
            yield text[at:]
            return
        yield text[at:begin]
        yield text[begin : begin + length], style
        at = begin + length
