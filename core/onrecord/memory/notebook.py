"""What a notebook shows of a memory: a line that says what it is, and tables. Every text is
escaped: anybody may have written it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from html import escape
from typing import Any, Final

from onrecord.message import Message

LONGEST: Final = 1_000
"""Characters of a text in a table: what a notebook shows is saved in its file."""
_CELL: Final = "padding:.15em .8em;text-align:"
_TEXT: Final = "left;vertical-align:top;white-space:pre-wrap"


def line(text: str) -> str:
    """One line over or under a table."""
    return f"<div>{escape(text)}</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """A table of texts, or of numbers, whose first column is what they are."""

    def row(cells: Sequence[str], kind: str) -> str:
        inside = "".join(
            f'<{kind} style="{_CELL}{"right" if numbers and n else _TEXT}">'
            f"<bdi>{escape(cut(text))}</bdi></{kind}>"
            for n, text in enumerate(cells)
        )
        return f"<tr>{inside}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table>{row(head, 'th')}{body}</table>"


def said(messages: Iterable[Message]) -> str:
    """A table of messages: who says what."""
    return table(("Who", "What"), (_who_and_what(message) for message in messages))


def fields_of(title: str, value: Any) -> str:
    """A table of what a frozen value has, by the names that it has in code."""
    rows = [(one.name, _in_words(getattr(value, one.name))) for one in fields(value) if one.repr]
    return table((title, ""), rows)


def cut(text: str) -> str:
    """The beginning of a text that is too long for a table."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _who_and_what(message: Message) -> tuple[str, str]:
    who = message.role if message.name is None else f"{message.name} ({message.role})"
    calls = [f"calls {call.name}({call.args})" for call in message.tool_calls]
    return who, "\n".join(filter(None, [message.text, *calls]))


def _in_words(value: Any) -> str:
    match value:
        case bool() | str():
            return str(value)
        case float():
            return f"{value:.2f}"
        case int():
            return f"{value:,}"
        case tuple() | list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key} {_in_words(one)}" for key, one in value.items())
    return str(value)
