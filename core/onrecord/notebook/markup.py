"""Markup for notebooks: elements, texts on their way into them, and how they look.

Markup is made by ``tag`` alone, which escapes every text that is not markup already.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Final

from onrecord.plural import many

LONGEST_TEXT: Final = 20_000
"""A longer text is cut: what a notebook shows is also saved in its file."""
PREVIEW: Final = 90

# -- texts -----------------------------------------------------------------------------------


def paragraph(text: str) -> Markup:
    """What was said, with its line breaks."""
    return tag("div", shortened(text), style=TEXT, dir="auto")


def code(text: str) -> Markup:
    return tag("pre", shortened(text), style=CODE, dir="ltr")


def named(text: str) -> Markup:
    """A short text among ours. Whatever direction it sets ends with it."""
    return tag("bdi", shortened(text))


def hint(text: str) -> Markup:
    """The beginning of a text, on one line."""
    start = " ".join(text[: 4 * PREVIEW].split())
    return tag("bdi", _cut(start, len(text) > 4 * PREVIEW), style=MUTED)


def _cut(text: str, more: bool) -> str:
    return f"{text[:PREVIEW]}…" if more or len(text) > PREVIEW else text


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n… {many(len(text) - longest, 'more character')}"


def pretty(value: object) -> str:
    return as_json(value, indent=2)


def compact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={as_json(item)}" for key, item in value.items())
    return as_json(value)


def as_json(value: object, indent: int | None = None) -> str:
    """JSON as people read it; what JSON cannot say in words that cannot fail."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return f"({type(value).__name__} that cannot be shown as JSON)"


def _plain(value: object) -> object:
    match value:
        case bytes():
            return f"({size(len(value))} of bytes)"
        case AbstractSet():
            return list(value)
        case _:
            return str(value)


def size(count: int) -> str:
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1024:,.0f} KiB"


def moment_of(moment: datetime) -> str:
    return utc(moment).strftime("%Y-%m-%d %H:%M")


def utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def day_of(moment: datetime) -> str:
    return utc(moment).strftime("%A, %d %B %Y")


# -- markup ----------------------------------------------------------------------------------


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str) -> Markup:
    """An element. Content that is not markup, and every attribute's value, is escaped."""
    given = "".join(f' {key}="{_escaped(value)}"' for key, value in attributes.items())
    if name == "img":
        return Markup(f"<{name}{given}>")
    inside = "".join(item if isinstance(item, Markup) else _escaped(item) for item in content)
    return Markup(f"<{name}{given}>{inside}</{name}>")


def joined(items: Iterable[str]) -> Markup:
    """Items on one line, with dots between them."""
    return Markup(" · ".join(i if isinstance(i, Markup) else _escaped(i) for i in items))


def folded(summary: Sequence[str], *content: str) -> Markup:
    return tag(
        "details",
        tag("summary", *summary, style=SUMMARY),
        tag("div", *content, style=FOLD),
        style=DETAILS,
    )


def page(*content: str) -> str:
    return str(tag("div", *content, style=PAGE))


def _escaped(text: str) -> str:
    """Text that means nothing but itself, in content and in a double-quoted attribute."""
    return html.escape(_UNSHOWABLE.sub(_visible, text.replace("\r\n", "\n")), quote=True)


# Control characters but tab and line feed, and what UTF-8 cannot carry.
_UNSHOWABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _visible(found: re.Match[str]) -> str:
    number = ord(found[0])
    return chr(0x2400 + number) if number < 0x20 else "\ufffd"


# -- how it looks ----------------------------------------------------------------------------

_LINE: Final = "1px solid rgba(127,127,127,.25)"
PAGE: Final = (
    "color:inherit;background:transparent;font-size:14px;line-height:1.5;max-width:60em;"
    f"padding:.6em .9em;border:{_LINE};border-radius:8px;text-align:left"
)
TITLE: Final = "font-size:1.15em;font-weight:600;overflow-wrap:anywhere"
MUTED: Final = "opacity:.65;font-size:.88em;overflow-wrap:anywhere;"
NOTE: Final = "opacity:.65;padding:.6em 0 .2em"
DAY: Final = "opacity:.65;font-size:.88em;padding:1em 0 .2em"
ROW: Final = f"display:flex;gap:1em;padding:.5em .2em;border-top:{_LINE};"
DAMAGE: Final = "background:rgba(220,60,60,.12);"
WHO: Final = "flex:0 0 6em;overflow-wrap:anywhere;min-width:0"
WHEN: Final = "flex:none;font-variant-numeric:tabular-nums;opacity:.65;font-size:.88em"
# Reversed, a box that scrolls begins at its end: where the newest messages are.
SCROLL: Final = (
    "display:flex;flex-direction:column-reverse;max-height:44em;overflow:auto;margin-top:.4em"
)
SAID: Final = "flex:1 1 0;min-width:0"
TEXT: Final = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;text-align:start;"
CODE: Final = (
    "white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,monospace;"
    "font-size:.92em;line-height:1.4;margin:.2em 0;padding:.5em .7em;border:0;border-radius:5px;"
    "color:inherit;background:rgba(127,127,127,.12);max-height:24em;overflow:auto"
)
INLINE: Final = (
    "white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,monospace;font-size:.92em"
)
DETAILS: Final = "margin:.15em 0"
SUMMARY: Final = "cursor:pointer;overflow-wrap:anywhere;"
FOLD: Final = f"margin:.2em 0 .4em .3em;padding-left:.9em;border-left:{_LINE}"
MEDIUM: Final = (
    "overflow-wrap:anywhere;padding:.3em .6em;margin:.2em 0;border-radius:5px;"
    "background:rgba(127,127,127,.12)"
)
IMAGE: Final = "display:block;max-width:100%;max-height:20em;margin:.3em 0;border-radius:5px"
WARNING: Final = "color:#d9534f;font-weight:600"
FAILURE: Final = (
    "padding:.6em .9em;border-left:4px solid #d9534f;border-radius:4px;"
    "background:rgba(220,60,60,.12);overflow-wrap:anywhere"
)
TABLE: Final = "border-collapse:collapse;margin:.8em 0 .2em;font-size:1em;width:100%;border:0"
HEAD_CELL: Final = (
    "text-align:left;font-weight:600;padding:.3em 1em .3em 0;opacity:.65;background:transparent;"
    "border:0;vertical-align:bottom"
)
CELL: Final = (
    f"text-align:left;vertical-align:top;padding:.4em 1em .4em 0;border:0;border-top:{_LINE};"
    "overflow-wrap:anywhere;max-width:24em;white-space:normal"
)
NUMBER: Final = f"{CELL};font-variant-numeric:tabular-nums"
KEY: Final = f"{CELL};min-width:7em"
VALUE: Final = f"{CELL};max-width:36em"
FOUND: Final = f"{CELL};max-width:40em;width:70%"
FIXED: Final = f"{NUMBER};white-space:nowrap"
WHERE: Final = "white-space:nowrap;font-variant-numeric:tabular-nums"
BAR_OF: Final = (
    "width:3em;height:4px;margin:.25em 0 0;border-radius:2px;background:rgba(127,127,127,.18)"
)
BAR: Final = "height:4px;border-radius:2px;background:rgba(59,130,246,.75)"
PASSAGE: Final = "margin:.9em 0 .4em;padding-left:.9em;border-left:3px solid rgba(59,130,246,.45)"
# Legible on white and on near black.
ROLE_COLOURS: Final = {
    "user": "#3b82f6",
    "assistant": "#12a37f",
    "tool": "#c2780c",
    "system": "#8b80f9",
    "damaged": "#d9534f",
}
