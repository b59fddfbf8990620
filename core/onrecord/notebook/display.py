"""What a notebook shows of a session, of a store and of items.

Everything here may have been written by anyone: users, models, tools, web pages that tools read.
So markup is made by ``_tag`` alone, which escapes every text that is not markup already, and no
text ever decides about a tag, an attribute's name, a style or an address to load. Names stand in
``<bdi>`` and texts in elements of their own, so that a right-to-left override ends with them.

Styles are inline and inherit the notebook's colours; tints are transparent, for light and dark.
Nothing is loaded: no script, no style sheet, no picture that is not in the message itself.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, assert_never

from onrecord.blocks import (
    Aside,
    Block,
    Data,
    Image,
    Media,
    Remark,
    Speech,
    Text,
    ToolCall,
    ToolResult,
    look_of,
)
from onrecord.errors import OnrecordError
from onrecord.message import Message
from onrecord.scope import ANY, NamespaceName
from onrecord.window import pair

if TYPE_CHECKING:
    from onrecord.hit import Hit, Hits
    from onrecord.item import Item
    from onrecord.items import Items
    from onrecord.recall import Recalled
    from onrecord.session import Session
    from onrecord.store import Store
    from onrecord.version import SessionInfo

MOST_MESSAGES: Final = 50
MOST_SESSIONS: Final = 20
MOST_ITEMS: Final = 20
LONGEST_TEXT: Final = 20_000
"""A longer text is cut: what a notebook shows is also saved in its file."""
LARGEST_IMAGE: Final = 512 * 1024
LARGEST_IMAGES: Final = 4 * 1024 * 1024
"""All images of one display together."""
SHOWN_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Pictures made of pixels: nothing that a browser would run or follow."""

_PREVIEW: Final = 90
_LONGEST_HIT: Final = 400


def session_html(session: Session) -> str:
    """A readable conversation: its newest messages, what is long or technical folded."""
    try:
        info = session.info()
        messages = session.tail(MOST_MESSAGES)
    except OnrecordError as fault:
        return _failure("This conversation could not be read.", fault)
    earlier = info.messages - len(messages)
    rows = list(_Conversation(messages, complete=earlier <= 0).rows())
    if earlier > 0:
        rows.insert(0, _tag("div", f"… {_many(earlier, 'earlier message')}", style=_NOTE))
    if not messages:
        rows = [
            _tag("div", 'No messages yet. Begin with session.append(("user", "…")).', style=_NOTE)
        ]
    return _page(
        _tag("div", _name(_title(info)), style=_TITLE),
        _tag("div", _joined([*_scope(info), *_counts(info), "times in UTC"]), style=_MUTED),
        _tag("div", _tag("div", *rows), style=_SCROLL),
    )


def store_html(store: Store) -> str:
    """Where the store is, and the sessions last active in it."""
    try:
        # Some more than are shown: what adapters keep for themselves is nobody's conversation.
        most = 2 * MOST_SESSIONS + 1
        everything = store.sessions(tenant=ANY, user=ANY, agent=ANY, limit=most)
        found = [info for info in everything if not info.agent.startswith("onrecord.")]
    except OnrecordError as fault:
        return _failure(f"{store._ledger.address} could not be read.", fault)
    title = _tag("div", "Onrecord store", style=_TITLE)
    address = _tag("div", _tag("bdi", str(store._ledger.address)), style=_MUTED)
    if not found:
        begin = 'store.session("support-42", user="ada").append(("user", "My order is late."))'
        return _page(
            title,
            address,
            _tag("div", "No conversation is stored here yet. Begin with:", style=_NOTE),
            _tag("pre", begin, style=_CODE),
        )
    columns = ("Conversation", "Scope", "Messages", "Turns", "Last active (UTC)")
    rows = [_session_row(info) for info in found[:MOST_SESSIONS]]
    more = "" if len(found) <= MOST_SESSIONS else "… and more that were last active before these."
    return _page(
        title,
        address,
        _tag(
            "table",
            _tag("thead", _tag("tr", *(_tag("th", c, style=_HEAD_CELL) for c in columns))),
            _tag("tbody", *rows),
            style=_TABLE,
        ),
        _tag("div", more, style=_NOTE) if more else "",
    )


def items_html(items: Items) -> str:
    """The first items of a namespace by their keys, what is long of a value folded."""
    try:
        found = items.list(limit=MOST_ITEMS)
        count = len(found) if len(found) < MOST_ITEMS else items.count()
    except OnrecordError as fault:
        return _failure("These items could not be read.", fault)
    of = items.name
    about = [*_scope(of), _many(count, "item"), "times in UTC"]
    heading = [
        _tag("div", _tag("bdi", " / ".join(map(_shortened, of.parts))), style=_TITLE),
        _tag("div", _joined(about), style=_MUTED),
    ]
    if not found:
        begin = 'items.put("city", {"name": "Lyon"})'
        return _page(
            *heading,
            _tag("div", "Nothing is kept here yet. Begin with:", style=_NOTE),
            _tag("pre", begin, style=_CODE),
        )
    expiring = any(item.expires_at is not None for item in found)
    columns = ["Key", "Value", "Version", "Written", *(["Expires"] if expiring else [])]
    more = count - len(found)
    return _page(
        *heading,
        _tag(
            "table",
            _tag("thead", _tag("tr", *(_tag("th", c, style=_HEAD_CELL) for c in columns))),
            _tag("tbody", *(_item_row(item, expiring) for item in found)),
            style=_TABLE,
        ),
        _tag("div", f"… and {_many(more, 'more item')} behind these.", style=_NOTE)
        if more > 0
        else "",
    )


def _item_row(item: Item, expiring: bool) -> Markup:
    value = f"{_VALUE};{_DAMAGE}" if item.damaged is not None else _VALUE
    cells = [
        _tag("td", _tag("b", _name(item.key)), style=_KEY),
        _tag("td", _value(item), style=value),
        _tag("td", _tag("span", str(item.version), style=_MUTED), style=_FIXED),  # to be copied
        _tag("td", _moment(item.updated_at), style=_FIXED, title=f"made {item.created_at}"),
    ]
    if expiring:
        expires = "" if item.expires_at is None else _moment(item.expires_at)
        cells.append(_tag("td", expires, style=_FIXED))
    return _tag("tr", *cells, style="background:transparent")


def _value(item: Item) -> Markup:
    if item.damaged is not None:
        return _tag("span", "damaged: ", _name(item.damaged))
    line = _json(item.value)
    if len(line) <= _PREVIEW:
        return _tag("bdi", line, style=_INLINE)
    return _folded([_hint(line)], _code(_pretty(item.value)))


def hits_html(hits: Hits) -> str:
    """What was found, the best first: who said it, where and when, and how well it answers."""
    if not hits:
        return _page(_tag("div", "Nothing was found.", style=_NOTE))
    columns = ("Score", "Said", "Conversation", "When (UTC)")
    note = "" if hits.complete else "There was no time to look at everything. Search again."
    return _page(
        _tag("div", _many(len(hits), "hit"), style=_TITLE),
        _tag(
            "table",
            _tag("thead", _tag("tr", *(_tag("th", c, style=_HEAD_CELL) for c in columns))),
            _tag("tbody", *map(_hit_row, hits)),
            style=_TABLE,
        ),
        _tag("div", note, style=_WARNING) if note else "",
    )


def recalled_html(recalled: Recalled) -> str:
    """What was recalled, as it was said, passage by passage."""
    if not recalled:
        return _page(_tag("div", "Nothing relevant was said.", style=_NOTE))
    passages: list[Markup] = []
    for passage in recalled:
        rows = _Conversation(passage.messages, complete=False).rows()
        where = [_name(_title(passage.info)), *_scope(passage.info), f"score {passage.score:.2f}"]
        passages += [_tag("div", _joined(where), style=_DAY), _tag("div", *rows)]
    said = f"{_many(len(recalled.messages), 'message')}, {_many(recalled.tokens, 'token')}"
    return _page(_tag("div", "Recalled", style=_TITLE), _tag("div", said, style=_MUTED), *passages)


def _hit_row(hit: Hit) -> Markup:
    message, text = hit.message, hit.message.text
    who = _tag("b", _name(message.name or message.role))
    said = _text(text) if len(text) <= _LONGEST_HIT else _folded([_hint(text)], _text(text))
    where = [_name(_title(hit.info)), _tag("span", f" #{message.seq}", style=_MUTED)]
    when = "" if message.created_at is None else _moment(message.created_at)
    cells = [
        _tag("td", f"{hit.score:.2f}", style=_NUMBER),
        _tag("td", who, said, style=_VALUE),
        _tag("td", *where, style=_CELL),
        _tag("td", when, style=_FIXED),
    ]
    return _tag("tr", *cells, style="background:transparent")


class _Conversation:
    """Some messages of a session on their way to markup."""

    def __init__(self, messages: Sequence[Message], complete: bool) -> None:
        self._messages = messages
        self._complete = complete
        """Whether these are all there are, so that a call that is not here is nowhere."""
        self._calls = {call.id: call for message in messages for call in message.tool_calls}
        self._dangling = {id(call) for _, call in pair(messages).dangling}
        self._images_left = LARGEST_IMAGES

    def rows(self) -> Iterator[Markup]:
        """A row a message, and a line wherever a new day begins."""
        day = ""
        for message in self._messages:
            if message.created_at is not None and _day(message.created_at) != day:
                day = _day(message.created_at)
                yield _tag("div", day, style=_DAY)
            yield self._row(message)

    def _row(self, message: Message) -> Markup:
        colour = _ROLE_COLOURS.get(message.role, "inherit")
        damaged = message.role == "damaged"
        name = [_tag("div", _name(message.name), style=_MUTED)] if message.name else []
        place = [] if message.seq is None else [f"#{message.seq}"]
        time = [] if message.created_at is None else [_utc(message.created_at).strftime("%H:%M")]
        return _tag(
            "div",
            _tag("div", _tag("b", _name(message.role), style=f"color:{colour}"), *name, style=_WHO),
            _tag("div", *self._said(message), style=_SAID),
            _tag("div", _joined([*place, *time]), style=_WHEN, title=f"id {message.id}"),
            style=_ROW + (_DAMAGE if damaged else ""),
        )

    def _said(self, message: Message) -> Iterator[str]:
        blocks = [part for block in message.content for part in self._block(block)]
        if message.role == "tool" or message.tool_call_id is not None:
            yield self._result(message.tool_call_id, message.content, blocks, message.name)
        else:
            yield from blocks
        if not message.content:
            yield _tag("span", "(empty)", style=_MUTED)
        # "turn" is what keeps turns together where two agents speak at once: no one's data.
        if metadata := {key: value for key, value in message.metadata.items() if key != "turn"}:
            yield _folded(["metadata"], _code(_pretty(metadata)))

    def _block(self, block: Block) -> Iterator[str]:
        match look_of(block):
            case Speech(text):
                yield _text(text)
            case Aside(label, text):
                title = [f"{label} ", _hint(text)] if text else [f"{label}, not shown by the model"]
                yield _folded(title, _text(text))
            case Remark(label, text, source, muted):
                where = [" (", _name(source), ")"] if source else []
                style = _TEXT + (_MUTED if muted else "")
                yield _tag("div", f"{label}: ", _name(text), *where, style=style, dir="auto")
            case Data(name, value, framework):
                whose = [] if framework is None else [" of ", _name(framework)]
                yield _folded([_name(name), *whose], _code(_pretty(value)))
            case ToolCall() as call:
                yield self._call(call)
            case ToolResult(call_id, content) as result:
                inner = [part for item in content for part in self._block(item)]
                yield self._result(call_id, content, inner, None, result.is_error)
            case Image() as image:
                yield self._image(image)
            case Media() as medium:
                yield _medium(medium)
            case other:
                assert_never(other)

    def _call(self, call: ToolCall) -> str:
        args = call.args if isinstance(call.args, str) else _compact(call.args)
        waiting = [_tag("span", " no result", style=_WARNING)] if id(call) in self._dangling else []
        return _folded(
            ["calls ", _tag("b", _name(call.name)), " ", _hint(args), *waiting],
            _code(call.args if isinstance(call.args, str) else _pretty(call.args)),
            _tag("div", "call ", _name(call.id), style=_MUTED) if call.id else "",
        )

    def _result(
        self,
        call_id: str | None,
        content: Sequence[Block],
        parts: Sequence[str],
        name: str | None,
        failed: bool = False,
    ) -> str:
        call = self._calls.get(call_id)
        of: list[str]
        if call is not None:
            of = [_tag("b", _name(call.name))]
        else:
            why = "whose call is not in this session" if self._complete else "called earlier"
            of = [_tag("b", _name(name)) if name else "a tool", f" ({why})"]
        text = "".join(block.text for block in content if isinstance(block, Text))
        return _folded(
            [
                _tag("span", "failed: ", style=_WARNING) if failed else "result of ",
                *of,
                " ",
                _hint(text),
            ],
            *parts,
            _tag("div", "call ", _name(call_id), style=_MUTED) if call_id else "",
        )

    def _image(self, image: Image) -> str:
        kind = (image.media_type or "").lower()
        data = image.data
        if data is None or kind not in SHOWN_IMAGES or len(data) > LARGEST_IMAGE:
            return _medium(image)
        if len(data) > self._images_left:
            return _medium(image)
        self._images_left -= len(data)
        return _tag(
            "img",
            src=f"data:{kind};base64,{b64encode(data).decode()}",
            alt=image.name or "image",
            style=_IMAGE,
        )


def _medium(block: Media) -> Markup:
    """What cannot or shall not be shown, described. An address is text: nothing is loaded."""
    about: list[str] = [block.kind]
    about += [_name(part) for part in (block.name, block.media_type) if part]
    about += [_size(len(block.data))] if block.data is not None else []
    about += [_name(_shortened(block.url, 300))] if block.url else []
    return _tag("div", _joined(about), style=_MEDIUM)


def _moment(moment: datetime) -> str:
    return _utc(moment).strftime("%Y-%m-%d %H:%M")


def _session_row(info: SessionInfo) -> str:
    title = [_tag("b", _name(_title(info)))]
    if info.title:
        title.append(_tag("div", _name(info.key), style=_MUTED))
    active = "" if info.last_active is None else _moment(info.last_active)
    cells = [
        _tag("td", *title, style=_CELL),
        _tag("td", _joined(_scope(info)), style=_CELL),
        _tag("td", f"{info.messages:,}", style=_NUMBER),
        _tag("td", f"{info.turns:,}", style=_NUMBER),
        _tag("td", active, style=_CELL),
    ]
    return _tag("tr", *cells, style="background:transparent")


def _title(info: SessionInfo) -> str:
    return info.title or info.key


def _scope(info: SessionInfo | NamespaceName) -> list[str]:
    parts = {"tenant": info.tenant, "user": info.user, "agent": info.agent}
    return [Markup(f"{part} {_name(name)}") for part, name in parts.items() if name]


def _counts(info: SessionInfo) -> list[str]:
    key = [Markup(f"key {_name(info.key)}")] if info.title else []
    return [*key, _many(info.messages, "message"), _many(info.turns, "turn")]


def _failure(what: str, fault: OnrecordError) -> str:
    """A failed read never looks like an empty history (I8)."""
    return _page(
        _tag(
            "div",
            _tag("div", what, style=_TITLE),
            _tag("div", _tag("b", type(fault).__name__), ": ", _name(str(fault))),
            style=_FAILURE,
            role="alert",
        )
    )


# -- texts -----------------------------------------------------------------------------------


def _text(text: str) -> Markup:
    """What was said, with its line breaks."""
    return _tag("div", _shortened(text), style=_TEXT, dir="auto")


def _code(text: str) -> Markup:
    return _tag("pre", _shortened(text), style=_CODE, dir="ltr")


def _name(text: str) -> Markup:
    """A short text among ours. Whatever direction it sets ends with it."""
    return _tag("bdi", _shortened(text))


def _hint(text: str) -> Markup:
    """The beginning of a text, on one line."""
    start = " ".join(text[: 4 * _PREVIEW].split())
    return _tag("bdi", _cut(start, len(text) > 4 * _PREVIEW), style=_MUTED)


def _cut(text: str, more: bool) -> str:
    return f"{text[:_PREVIEW]}…" if more or len(text) > _PREVIEW else text


def _shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n… {_many(len(text) - longest, 'more character')}"


def _pretty(value: object) -> str:
    return _json(value, indent=2)


def _compact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_json(item)}" for key, item in value.items())
    return _json(value)


def _json(value: object, indent: int | None = None) -> str:
    """JSON as people read it; what JSON cannot say in words that cannot fail."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return f"({type(value).__name__} that cannot be shown as JSON)"


def _plain(value: object) -> object:
    match value:
        case bytes():
            return f"({_size(len(value))} of bytes)"
        case AbstractSet():
            return list(value)
        case _:
            return str(value)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1024:,.0f} KiB"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _day(moment: datetime) -> str:
    return _utc(moment).strftime("%A, %d %B %Y")


# -- markup ----------------------------------------------------------------------------------


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def _tag(name: str, *content: str, **attributes: str) -> Markup:
    """An element. Content that is not markup, and every attribute's value, is escaped."""
    given = "".join(f' {key}="{_escaped(value)}"' for key, value in attributes.items())
    if name == "img":
        return Markup(f"<{name}{given}>")
    inside = "".join(item if isinstance(item, Markup) else _escaped(item) for item in content)
    return Markup(f"<{name}{given}>{inside}</{name}>")


def _joined(items: Iterable[str]) -> Markup:
    """Items on one line, with dots between them."""
    return Markup(" · ".join(i if isinstance(i, Markup) else _escaped(i) for i in items))


def _folded(summary: Sequence[str], *content: str) -> Markup:
    return _tag(
        "details",
        _tag("summary", *summary, style=_SUMMARY),
        _tag("div", *content, style=_FOLD),
        style=_DETAILS,
    )


def _page(*content: str) -> str:
    return str(_tag("div", *content, style=_PAGE))


def _escaped(text: str) -> str:
    """Text that means nothing but itself, in content and in a double-quoted attribute."""
    return html.escape(_UNSHOWABLE.sub(_visible, text.replace("\r\n", "\n")), quote=True)


# Control characters but tab and line feed, and what UTF-8 cannot carry.
_UNSHOWABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


_LINE: Final = "1px solid rgba(127,127,127,.25)"
_PAGE: Final = (
    "color:inherit;background:transparent;font-size:14px;line-height:1.5;max-width:60em;"
    f"padding:.6em .9em;border:{_LINE};border-radius:8px;text-align:left"
)
_TITLE: Final = "font-size:1.15em;font-weight:600;overflow-wrap:anywhere"
_MUTED: Final = "opacity:.65;font-size:.88em;overflow-wrap:anywhere;"
_NOTE: Final = "opacity:.65;padding:.6em 0 .2em"
_DAY: Final = "opacity:.65;font-size:.88em;padding:1em 0 .2em"
_ROW: Final = f"display:flex;gap:1em;padding:.5em .2em;border-top:{_LINE};"
_DAMAGE: Final = "background:rgba(220,60,60,.12);"
_WHO: Final = "flex:0 0 6em;overflow-wrap:anywhere;min-width:0"
_WHEN: Final = "flex:none;font-variant-numeric:tabular-nums;opacity:.65;font-size:.88em"
# Reversed, a box that scrolls begins at its end: where the newest messages are.
_SCROLL: Final = (
    "display:flex;flex-direction:column-reverse;max-height:44em;overflow:auto;margin-top:.4em"
)
_SAID: Final = "flex:1 1 0;min-width:0"
_TEXT: Final = (
    "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;text-align:start;"
)
_CODE: Final = (
    "white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,monospace;"
    "font-size:.92em;line-height:1.4;margin:.2em 0;padding:.5em .7em;border:0;border-radius:5px;"
    "color:inherit;background:rgba(127,127,127,.12);max-height:24em;overflow:auto"
)
_INLINE: Final = (
    "white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,monospace;font-size:.92em"
)
_DETAILS: Final = "margin:.15em 0"
_SUMMARY: Final = "cursor:pointer;overflow-wrap:anywhere;"
_FOLD: Final = f"margin:.2em 0 .4em .3em;padding-left:.9em;border-left:{_LINE}"
_MEDIUM: Final = (
    "overflow-wrap:anywhere;padding:.3em .6em;margin:.2em 0;border-radius:5px;"
    "background:rgba(127,127,127,.12)"
)
_IMAGE: Final = "display:block;max-width:100%;max-height:20em;margin:.3em 0;border-radius:5px"
_WARNING: Final = "color:#d9534f;font-weight:600"
_FAILURE: Final = (
    "padding:.6em .9em;border-left:4px solid #d9534f;border-radius:4px;"
    "background:rgba(220,60,60,.12);overflow-wrap:anywhere"
)
_TABLE: Final = "border-collapse:collapse;margin:.8em 0 .2em;font-size:1em;width:100%;border:0"
_HEAD_CELL: Final = (
    "text-align:left;font-weight:600;padding:.3em 1em .3em 0;opacity:.65;background:transparent;"
    "border:0;vertical-align:bottom"
)
_CELL: Final = (
    f"text-align:left;vertical-align:top;padding:.4em 1em .4em 0;border:0;border-top:{_LINE};"
    "overflow-wrap:anywhere;max-width:24em;white-space:normal"
)
_NUMBER: Final = f"{_CELL};font-variant-numeric:tabular-nums"
_KEY: Final = f"{_CELL};min-width:7em"
_VALUE: Final = f"{_CELL};max-width:36em"
_FIXED: Final = f"{_NUMBER};white-space:nowrap"
# Legible on white and on near black.
_ROLE_COLOURS: Final = {
    "user": "#3b82f6",
    "assistant": "#12a37f",
    "tool": "#c2780c",
    "system": "#8b80f9",
    "damaged": "#d9534f",
}
