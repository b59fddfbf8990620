"""What a notebook shows of a session, of a store and of items.

Everything here may have been written by anyone: users, models, tools, web pages that tools read.
So markup is made by ``markup.tag`` alone, which escapes every text that is not markup already, and
no text ever decides about a tag, an attribute's name, a style or an address to load. Names stand
in ``<bdi>`` and texts in elements of their own, so that a right-to-left override ends with them.

Styles are inline and inherit the notebook's colours; tints are transparent, for light and dark.
Nothing is loaded: no script, no style sheet, no picture that is not in the message itself.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
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
from onrecord.notebook.markup import (
    BAR,
    BAR_OF,
    CELL,
    CODE,
    DAMAGE,
    DAY,
    FAILURE,
    FIXED,
    FOUND,
    HEAD_CELL,
    IMAGE,
    INLINE,
    KEY,
    MEDIUM,
    MUTED,
    NOTE,
    NUMBER,
    PASSAGE,
    PREVIEW,
    ROLE_COLOURS,
    ROW,
    SAID,
    SCROLL,
    TABLE,
    TEXT,
    TITLE,
    VALUE,
    WARNING,
    WHEN,
    WHERE,
    WHO,
    Markup,
    as_json,
    code,
    compact,
    day_of,
    folded,
    hint,
    joined,
    moment_of,
    named,
    page,
    paragraph,
    pretty,
    shortened,
    size,
    tag,
    utc,
)
from onrecord.plural import many
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
LARGEST_IMAGE: Final = 512 * 1024
LARGEST_IMAGES: Final = 4 * 1024 * 1024
"""All images of one display together."""
SHOWN_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Pictures made of pixels: nothing that a browser would run or follow."""

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
        rows.insert(0, tag("div", f"… {many(earlier, 'earlier message')}", style=NOTE))
    if not messages:
        rows = [
            tag("div", 'No messages yet. Begin with session.append(("user", "…")).', style=NOTE)
        ]
    return page(
        tag("div", named(_title(info)), style=TITLE),
        tag("div", joined([*_scope(info), *_counts(info), "times in UTC"]), style=MUTED),
        tag("div", tag("div", *rows), style=SCROLL),
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
    title = tag("div", "Onrecord store", style=TITLE)
    address = tag("div", tag("bdi", str(store._ledger.address)), style=MUTED)
    if not found:
        begin = 'store.session("support-42", user="ada").append(("user", "My order is late."))'
        return page(
            title,
            address,
            tag("div", "No conversation is stored here yet. Begin with:", style=NOTE),
            tag("pre", begin, style=CODE),
        )
    columns = ("Conversation", "Scope", "Messages", "Turns", "Last active (UTC)")
    rows = [_session_row(info) for info in found[:MOST_SESSIONS]]
    more = "" if len(found) <= MOST_SESSIONS else "… and more that were last active before these."
    return page(
        title,
        address,
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", c, style=HEAD_CELL) for c in columns))),
            tag("tbody", *rows),
            style=TABLE,
        ),
        tag("div", more, style=NOTE) if more else "",
    )


def items_html(items: Items) -> str:
    """The first items of a namespace by their keys, what is long of a value folded."""
    try:
        found = items.list(limit=MOST_ITEMS)
        count = len(found) if len(found) < MOST_ITEMS else items.count()
    except OnrecordError as fault:
        return _failure("These items could not be read.", fault)
    of = items.name
    about = [*_scope(of), many(count, "item"), "times in UTC"]
    heading = [
        tag("div", tag("bdi", " / ".join(map(shortened, of.parts))), style=TITLE),
        tag("div", joined(about), style=MUTED),
    ]
    if not found:
        begin = 'items.put("city", {"name": "Lyon"})'
        return page(
            *heading,
            tag("div", "Nothing is kept here yet. Begin with:", style=NOTE),
            tag("pre", begin, style=CODE),
        )
    expiring = any(item.expires_at is not None for item in found)
    columns = ["Key", "Value", "Version", "Written", *(["Expires"] if expiring else [])]
    more = count - len(found)
    return page(
        *heading,
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", c, style=HEAD_CELL) for c in columns))),
            tag("tbody", *(_item_row(item, expiring) for item in found)),
            style=TABLE,
        ),
        tag("div", f"… and {many(more, 'more item')} behind these.", style=NOTE)
        if more > 0
        else "",
    )


def _item_row(item: Item, expiring: bool) -> Markup:
    value = f"{VALUE};{DAMAGE}" if item.damaged is not None else VALUE
    cells = [
        tag("td", tag("b", named(item.key)), style=KEY),
        tag("td", _value(item), style=value),
        tag("td", tag("span", str(item.version), style=MUTED), style=FIXED),  # to be copied
        tag("td", moment_of(item.updated_at), style=FIXED, title=f"made {item.created_at}"),
    ]
    if expiring:
        expires = "" if item.expires_at is None else moment_of(item.expires_at)
        cells.append(tag("td", expires, style=FIXED))
    return tag("tr", *cells, style="background:transparent")


def _value(item: Item) -> Markup:
    if item.damaged is not None:
        return tag("span", "damaged: ", named(item.damaged))
    line = as_json(item.value)
    if len(line) <= PREVIEW:
        return tag("bdi", line, style=INLINE)
    return folded([hint(line)], code(pretty(item.value)))


def hits_html(hits: Hits) -> str:
    """What was found, the best first: how well it answers, who said it, where and when."""
    if not hits:
        return page(tag("div", "Nothing was found.", style=NOTE), *_note(hits.complete))
    columns = ("Score", "Said", "Conversation")
    whose = len({_whose(hit.info) for hit in hits}) > 1
    scope = [] if whose else _scope(hits[0].info)
    images = LARGEST_IMAGES // len(hits)
    return page(
        tag("div", many(len(hits), "hit"), style=TITLE),
        tag("div", joined([*scope, "times in UTC"]), style=MUTED),
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", c, style=HEAD_CELL) for c in columns))),
            tag("tbody", *(_hit_row(hit, whose, images) for hit in hits)),
            style=TABLE,
        ),
        *_note(hits.complete),
    )


def recalled_html(recalled: Recalled) -> str:
    """What was recalled, as it was said, passage by passage."""
    if not recalled:
        nothing = tag("div", "Nothing relevant was said.", style=NOTE)
        return page(nothing, *_note(recalled.complete))
    passages: list[Markup] = []
    images = LARGEST_IMAGES // len(recalled)
    for passage in recalled:
        rows = _Conversation(passage.messages, complete=False, images=images).rows()
        about = [*_scope(passage.info), f"score {passage.score:.2f}"]
        heading = [
            tag("b", named(_title(passage.info))),
            tag("span", joined(["", *about]), style=MUTED),
        ]
        passages.append(tag("div", tag("div", *heading), *rows, style=PASSAGE))
    said = f"{many(len(recalled.messages), 'message')}, {many(recalled.tokens, 'token')}"
    return page(
        tag("div", "Recalled", style=TITLE),
        tag("div", joined([said, "times in UTC"]), style=MUTED),
        *passages,
        *_note(recalled.complete),
    )


def _note(complete: bool) -> list[Markup]:
    """A search that saw a part only never looks like one that saw everything."""
    note = "There was no time to look at everything. Search again."
    return [] if complete else [tag("div", note, style=WARNING)]


def _hit_row(hit: Hit, whose: bool, images: int) -> Markup:
    message, info = hit.message, hit.info
    where = [named(_title(info))]
    if whose and (scope := _scope(info)):
        where.append(tag("div", joined(scope), style=MUTED))
    when = [] if message.created_at is None else [moment_of(message.created_at)]
    where.append(tag("div", joined([f"#{message.seq}", *when]), style=f"{MUTED}{WHERE}"))
    cells = [
        tag("td", f"{hit.score:.2f}", _bar(hit.score), style=NUMBER),
        tag("td", *_hit_said(message, images), style=FOUND),
        tag("td", *where, style=CELL),
    ]
    return tag("tr", *cells, style="background:transparent")


def _hit_said(message: Message, images: int) -> Iterator[str]:
    """Who said it, and what: of a long text the beginning, and all of it folded."""
    role = tag("b", named(message.role), style=_colour(message))
    name = [tag("span", " ", named(message.name), style=MUTED)] if message.name else []
    yield tag("div", role, *name)
    said = list(_Conversation([message], complete=False, alone=True, images=images).said(message))
    if len(message.text) <= _LONGEST_HIT or message.role == "tool":
        yield from said  # what a tool gave is folded anyway
    else:
        yield paragraph(f"{message.text[:_LONGEST_HIT].rstrip()}…")
        yield folded(["all of it"], *said)


def _bar(score: float) -> Markup:
    """How well something answers, to be seen at a glance."""
    share = max(0.0, min(score, 1.0))
    return tag("div", tag("div", style=f"{BAR};width:{share:.0%}"), style=BAR_OF)


def _colour(message: Message) -> str:
    return f"color:{ROLE_COLOURS.get(message.role, 'inherit')}"


def _whose(info: SessionInfo) -> tuple[str, str, str]:
    return info.tenant, info.user, info.agent


class _Conversation:
    """Some messages of a session on their way to markup."""

    def __init__(
        self,
        messages: Sequence[Message],
        complete: bool,
        *,
        alone: bool = False,
        images: int = LARGEST_IMAGES,
    ) -> None:
        """
        complete  whether these are all there are, so that a call that is not here is nowhere
        alone     whether it is a message out of its turn: the result of a call is elsewhere
        images    bytes of all images together
        """
        self._messages = messages
        self._complete = complete
        self._calls = {call.id: call for message in messages for call in message.tool_calls}
        dangling = [] if alone else pair(messages).dangling
        self._dangling = {id(call) for _, call in dangling}
        self._images_left = images

    def rows(self) -> Iterator[Markup]:
        """A row a message, and a line wherever a new day begins."""
        day = ""
        for message in self._messages:
            if message.created_at is not None and day_of(message.created_at) != day:
                day = day_of(message.created_at)
                yield tag("div", day, style=DAY)
            yield self._row(message)

    def _row(self, message: Message) -> Markup:
        damaged = message.role == "damaged"
        name = [tag("div", named(message.name), style=MUTED)] if message.name else []
        place = [] if message.seq is None else [f"#{message.seq}"]
        time = [] if message.created_at is None else [utc(message.created_at).strftime("%H:%M")]
        return tag(
            "div",
            tag("div", tag("b", named(message.role), style=_colour(message)), *name, style=WHO),
            tag("div", *self.said(message), style=SAID),
            tag("div", joined([*place, *time]), style=WHEN, title=f"id {message.id}"),
            style=ROW + (DAMAGE if damaged else ""),
        )

    def said(self, message: Message) -> Iterator[str]:
        """What a message says, its parts one after the other."""
        blocks = [part for block in message.content for part in self._block(block)]
        if message.role == "tool" or message.tool_call_id is not None:
            yield self._result(message.tool_call_id, message.content, blocks, message.name)
        else:
            yield from blocks
        if not message.content:
            yield tag("span", "(empty)", style=MUTED)
        # "turn" is what keeps turns together where two agents speak at once: no one's data.
        if metadata := {key: value for key, value in message.metadata.items() if key != "turn"}:
            yield folded(["metadata"], code(pretty(metadata)))

    def _block(self, block: Block) -> Iterator[str]:
        match look_of(block):
            case Speech(text):
                yield paragraph(text)
            case Aside(label, text):
                title = [f"{label} ", hint(text)] if text else [f"{label}, not shown by the model"]
                yield folded(title, paragraph(text))
            case Remark(label, text, source, muted):
                where = [" (", named(source), ")"] if source else []
                style = TEXT + (MUTED if muted else "")
                yield tag("div", f"{label}: ", named(text), *where, style=style, dir="auto")
            case Data(name, value, framework):
                whose = [] if framework is None else [" of ", named(framework)]
                yield folded([named(name), *whose], code(pretty(value)))
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
        args = call.args if isinstance(call.args, str) else compact(call.args)
        waiting = [tag("span", " no result", style=WARNING)] if id(call) in self._dangling else []
        return folded(
            ["calls ", tag("b", named(call.name)), " ", hint(args), *waiting],
            code(call.args if isinstance(call.args, str) else pretty(call.args)),
            tag("div", "call ", named(call.id), style=MUTED) if call.id else "",
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
            of = [tag("b", named(call.name))]
        else:
            why = "whose call is not in this session" if self._complete else "called earlier"
            of = [tag("b", named(name)) if name else "a tool", f" ({why})"]
        text = "".join(block.text for block in content if isinstance(block, Text))
        return folded(
            [
                tag("span", "failed: ", style=WARNING) if failed else "result of ",
                *of,
                " ",
                hint(text),
            ],
            *parts,
            tag("div", "call ", named(call_id), style=MUTED) if call_id else "",
        )

    def _image(self, image: Image) -> str:
        kind = (image.media_type or "").lower()
        data = image.data
        if data is None or kind not in SHOWN_IMAGES or len(data) > LARGEST_IMAGE:
            return _medium(image)
        if len(data) > self._images_left:
            return _medium(image)
        self._images_left -= len(data)
        return tag(
            "img",
            src=f"data:{kind};base64,{b64encode(data).decode()}",
            alt=image.name or "image",
            style=IMAGE,
        )


def _medium(block: Media) -> Markup:
    """What cannot or shall not be shown, described. An address is text: nothing is loaded."""
    about: list[str] = [block.kind]
    about += [named(part) for part in (block.name, block.media_type) if part]
    about += [size(len(block.data))] if block.data is not None else []
    about += [named(shortened(block.url, 300))] if block.url else []
    return tag("div", joined(about), style=MEDIUM)


def _session_row(info: SessionInfo) -> str:
    title = [tag("b", named(_title(info)))]
    if info.title:
        title.append(tag("div", named(info.key), style=MUTED))
    active = "" if info.last_active is None else moment_of(info.last_active)
    cells = [
        tag("td", *title, style=CELL),
        tag("td", joined(_scope(info)), style=CELL),
        tag("td", f"{info.messages:,}", style=NUMBER),
        tag("td", f"{info.turns:,}", style=NUMBER),
        tag("td", active, style=CELL),
    ]
    return tag("tr", *cells, style="background:transparent")


def _title(info: SessionInfo) -> str:
    return info.title or info.key


def _scope(info: SessionInfo | NamespaceName) -> list[str]:
    parts = {"tenant": info.tenant, "user": info.user, "agent": info.agent}
    return [Markup(f"{part} {named(name)}") for part, name in parts.items() if name]


def _counts(info: SessionInfo) -> list[str]:
    key = [Markup(f"key {named(info.key)}")] if info.title else []
    return [*key, many(info.messages, "message"), many(info.turns, "turn")]


def _failure(what: str, fault: OnrecordError) -> str:
    """A failed read never looks like an empty history (I8)."""
    return page(
        tag(
            "div",
            tag("div", what, style=TITLE),
            tag("div", tag("b", type(fault).__name__), ": ", named(str(fault))),
            style=FAILURE,
            role="alert",
        )
    )
