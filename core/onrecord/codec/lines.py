"""Sessions and items as lines of JSON, version 1: see docs/how-to/export.md, which is
written for those who have no Onrecord to read them with.

    {"type": "header", ...}     what this is
    {"type": "session", ...}    a session, and how many places it has; then a line for each place:
    {"type": "message", ...}        a message
    {"type": "deleted", ...}        where one was deleted
    {"type": "item", ...}           an item of its state
    {"type": "item", ...}       an item, with its namespace
    {"type": "end", ...}        how much there was: without it, something is missing

Nothing in it is of one store: no number of a session, no epoch, no id that a store made up, no
version of an item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias, get_args

import msgspec
from msgspec.structs import asdict

from onrecord.blocks import Block
from onrecord.codec.readable import Spell, encoded, readable, value_of
from onrecord.errors import Damaged, InvalidName
from onrecord.message import Message
from onrecord.scope import NamespaceName, SessionName, StateName, check_name
from onrecord.stored.clock import LONGEST_LIFE, microseconds, moment
from onrecord.stored.ranges import Ranges
from onrecord.version import Usage

FORMAT: Final = "onrecord"
VERSION: Final = 1
_MOST_SPENT: Final = 2**53
"""Of a session: so that no sum of several is too large for the database."""
LONGEST: Final = 512 * 2**20
"""No line has more bytes: a message of the largest size, each of its characters escaped."""


class Session(NamedTuple):
    """What is said of a session before its messages."""

    name: SessionName
    head: int
    created: int
    last_active: int
    title: str | None = None
    metadata: Mapping[str, Any] = {}
    expires_in: int | None = None
    """Microseconds, as the times are."""
    archived: Ranges = ()
    usage: Usage | None = None
    """What was spent in it; None where that is what its messages say."""


class Place(NamedTuple):
    """One place of a session."""

    seq: int
    content: Message | None
    """None where a message was deleted."""
    id: str | None
    created: int
    tokens: int = 0
    counter: str | None = None
    opens_turn: bool = False


class Item(NamedTuple):
    """An item, without the version that its store gave it."""

    name: NamespaceName
    key: str
    value: Any
    text: str | None
    token: str | None
    created: int
    updated: int
    expires_at: int | None = None
    ttl: int | None = None
    """Microseconds, as the times are; one of the two is never there without the other."""
    damaged: bytes | None = None
    """What was stored, where that can no longer be read: then there is no value."""


class End(NamedTuple):
    """How much there was."""

    sessions: int
    messages: int
    deleted: int
    items: int = 0


Line: TypeAlias = Session | Place | Item | End


def header() -> bytes:
    """The first line."""
    return encoded(lambda _: {"type": "header", "format": FORMAT, "version": VERSION}) + b"\n"


def is_header(line: bytes) -> bool:
    """Whether a line begins what can be read here; Damaged where only a newer one can."""
    try:
        found = _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return False
    if found.get("version") != VERSION:
        raise Damaged(
            f"it is of version {found.get('version')!r:.20}, and this Onrecord reads version "
            f"{VERSION}. Upgrade onrecord"
        )
    return True


def line_of(said: Line) -> bytes:
    """One line, always the same for the same."""
    match said:
        case Place():
            return encoded(lambda spell: _place(said, spell)) + b"\n"
        case Session():
            return encoded(lambda spell: _session(said, spell)) + b"\n"
        case Item():
            return encoded(lambda spell: _item(said, spell)) + b"\n"
        case End():
            return encoded(lambda _: _end(said)) + b"\n"


def read(line: bytes) -> Line:
    """What a line says; Damaged, with the reason, where it says nothing that is known."""
    try:
        found = _decode(line)
        kind = found.pop("type") if isinstance(found, dict) else None
        build = _KINDS.get(kind) if isinstance(kind, str) else None
        if build is None:
            raise ValueError(f"{kind!r:.50} is no type of line")
        said = build(found)
        if found:
            raise ValueError(f"{next(iter(found))!r:.50} is not known to this version")
        return said
    except InvalidName:
        raise
    except KeyError as fault:
        raise Damaged(f"it has no {fault}") from fault
    except (
        *(msgspec.DecodeError, ValueError, TypeError, ArithmeticError, AttributeError),
        RecursionError,
    ) as fault:
        raise Damaged(f"it cannot be read: {fault}") from fault


_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder().decode


def _session(said: Session, spell: Spell) -> dict[str, Any]:
    name = said.name
    line: dict[str, Any] = {
        "type": "session",
        "tenant": name.tenant,
        "user": name.user,
        "agent": name.agent,
        "key": name.key,
        "head": said.head,
        "created_at": _time(said.created),
        "last_active": _time(said.last_active),
    }
    if said.title is not None:
        line["title"] = readable(said.title, spell)
    if said.metadata:
        line["metadata"] = readable(dict(said.metadata), spell)
    if said.expires_in is not None:
        line["expires_in"] = readable(timedelta(microseconds=said.expires_in), spell)
    if said.archived:
        line["archived"] = said.archived
    if said.usage is not None:  # {} for nothing: its messages may say more, as in a fork
        line["usage"] = {name: n for name, n in asdict(said.usage).items() if n}
    return line


def _session_of(line: dict[str, Any]) -> Session:
    names = {part: _kind(line.pop(part), str) for part in ("tenant", "user", "agent", "key")}
    said = Session(
        SessionName(**names),
        _whole(line.pop("head")),
        _microseconds(line.pop("created_at")),
        _microseconds(line.pop("last_active")),
        _text(value_of(line.pop("title", None))),
        _kind(value_of(line.pop("metadata", {})), dict),
        _span("expires_in", line.pop("expires_in", None)),
        tuple([(_whole(first), _whole(last)) for first, last in line.pop("archived", ())]),
        _usage_of(line.pop("usage")) if "usage" in line else None,
    )
    at = 0
    for first, last in said.archived:
        if not at < first <= last <= said.head:
            raise ValueError("its archived ranges are not in order, or not inside it")
        at = last
    return said


def _usage_of(given: Any) -> Usage:
    counts = _kind(given, dict)
    usage = Usage(**counts)
    in_range = all([type(n) is int and 0 <= n <= _MOST_SPENT for n in counts.values()])
    if not in_range or usage.cached_tokens > usage.input_tokens:
        raise ValueError("its usage is none that can have been")
    return usage


def _place(said: Place, spell: Spell) -> dict[str, Any]:
    content = said.content
    line: dict[str, Any] = {"type": "deleted" if content is None else "message", "seq": said.seq}
    if said.id is not None:
        line["id"] = said.id
    if content is None:
        line["created_at"] = _time(said.created)
        return line
    line["role"] = spell(content.role)
    if content.name is not None:
        line["name"] = spell(content.name)
    if content.tool_call_id is not None:
        line["tool_call_id"] = spell(content.tool_call_id)
    line["content"] = [_block(block, spell) for block in content.content]
    if content.usage is not None:
        line["usage"] = readable(content.usage, spell)
    if content.metadata:
        line["metadata"] = readable(content.metadata, spell)
    if content.native:
        line["native"] = readable(content.native, spell)
    line["created_at"] = _time(said.created)
    line["tokens"] = said.tokens
    if said.counter is not None:
        line["counter"] = said.counter
    if said.opens_turn != content.opens_turn:  # it can no longer be read
        line["opens_turn"] = said.opens_turn
    return line


def _message_of(line: dict[str, Any]) -> Place:
    content = Message(
        value_of(line.pop("role")),
        tuple([_block_of(block) for block in _kind(line.pop("content"), list)]),
        value_of(line.pop("name", None)),
        value_of(line.pop("tool_call_id", None)),
        value_of(line.pop("usage", None)),
        value_of(line.pop("metadata", {})),
        value_of(line.pop("native", {})),
    )
    return Place(
        _whole(line.pop("seq")),
        content,
        _name("id", line.pop("id", None)),
        _microseconds(line.pop("created_at")),
        _whole(line.pop("tokens")),
        _name("counter", line.pop("counter", None)),
        _kind(line.pop("opens_turn", content.opens_turn), bool),
    )


def _deleted_of(line: dict[str, Any]) -> Place:
    given = _name("id", line.pop("id", None))
    return Place(_whole(line.pop("seq")), None, given, _microseconds(line.pop("created_at")))


def _item(said: Item, spell: Spell) -> dict[str, Any]:
    name = said.name
    line: dict[str, Any] = {
        "type": "item",
        "tenant": name.tenant,
        "user": name.user,
        "agent": name.agent,
    }
    if isinstance(name, StateName):
        line["session"] = name.session.key
    else:
        line["namespace"] = name.parts
    line["key"] = said.key
    if said.damaged is None:
        line["value"] = readable(said.value, spell)
    else:
        line["damaged"] = readable(said.damaged, spell)
    if said.text is not None:
        line["text"] = spell(said.text)
    if said.token is not None:
        line["token"] = said.token
    line["created_at"] = _time(said.created)
    line["updated_at"] = _time(said.updated)
    if said.expires_at is not None:
        line["expires_at"] = _time(said.expires_at)
    if said.ttl is not None:
        line["ttl"] = readable(timedelta(microseconds=said.ttl), spell)
    return line


def _item_of(line: dict[str, Any]) -> Item:
    scope = {part: _kind(line.pop(part), str) for part in ("tenant", "user", "agent")}
    if "session" in line:
        name: NamespaceName = StateName.of(SessionName(key=line.pop("session"), **scope))
    else:
        name = NamespaceName(parts=tuple(_kind(line.pop("namespace"), list)), **scope)
    check_name("key", key := line.pop("key"))
    damaged = _kind(value_of(line.pop("damaged")), bytes) if "damaged" in line else None
    expires_at = line.pop("expires_at", None)
    said = Item(
        name,
        key,
        value_of(line.pop("value")) if damaged is None else None,
        _text(value_of(line.pop("text", None))),
        _name("token", line.pop("token", None)),
        _microseconds(line.pop("created_at")),
        _microseconds(line.pop("updated_at")),
        None if expires_at is None else _microseconds(expires_at),
        _span("ttl", line.pop("ttl", None)),
        damaged,
    )
    if (said.expires_at is None) != (said.ttl is None):
        raise ValueError("it has one of expires_at and ttl without the other")
    return said


def _end(said: End) -> dict[str, Any]:
    counts = said._asdict()
    if not said.items:
        del counts["items"]
    return {"type": "end", **counts}


def _end_of(line: dict[str, Any]) -> End:
    sessions, messages, deleted = [
        _whole(line.pop(name)) for name in ("sessions", "messages", "deleted")
    ]
    return End(sessions, messages, deleted, _whole(line.pop("items", 0)))


_KINDS: Final[dict[str, Callable[[dict[str, Any]], Line]]] = {
    "session": _session_of,
    "message": _message_of,
    "deleted": _deleted_of,
    "item": _item_of,
    "end": _end_of,
}


def _block(block: Block, spell: Spell) -> dict[str, Any]:
    line: dict[str, Any] = {"type": block.kind}
    for field, default in _FIELDS[type(block)]:
        value = getattr(block, field)
        if field == "content":
            line[field] = [_block(inner, spell) for inner in value]
        elif type(value) is not type(default) or value != default:
            line[field] = readable(value, spell)
    return line


def _block_of(line: Any) -> Block:
    kind = _kind(line, dict).pop("type")
    cls = _BLOCKS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ValueError(f"{kind!r:.50} is no type of block")
    fields = {name: value_of(value) for name, value in line.items() if name != "content"}
    if "content" in line:
        fields["content"] = tuple([_block_of(block) for block in _kind(line["content"], list)])
    return cls(**fields)


_MISSING: Final = object()
_BLOCKS: Final[dict[str, Callable[..., Block]]] = {cls.kind: cls for cls in get_args(Block)}
_FIELDS: Final[dict[type, list[tuple[str, object]]]] = {
    cls: [
        (
            field.name,
            _MISSING
            if field.required
            else field.default
            if field.default is not msgspec.NODEFAULT
            else field.default_factory(),
        )
        for field in msgspec.structs.fields(cls)
    ]
    for cls in get_args(Block)
}


def _time(stored: int) -> str:
    return moment(stored).isoformat().replace("+00:00", "Z")


def _microseconds(text: Any) -> int:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r:.50} does not say in which time zone it is")
    return microseconds(found)


def _span(what: str, found: Any) -> int | None:
    if found is None:
        return None
    span = _kind(value_of(found), timedelta) // timedelta(microseconds=1)
    if not 0 < span <= LONGEST_LIFE:
        raise ValueError(f"its {what} is not above zero, or longer than 10,000 years")
    return int(span)


def _whole(found: Any) -> int:
    if type(found) is not int or not 0 <= found < 2**32:
        raise ValueError(f"{found!r:.50} is not a whole number from 0 up")
    return found


def _name(what: str, found: Any) -> str | None:
    if found is not None:
        check_name(what, found)
    return found  # type: ignore[no-any-return]


def _text(found: Any) -> str | None:
    return None if found is None else _kind(found, str)


def _kind(found: Any, kind: type) -> Any:
    if type(found) is not kind:
        raise TypeError(f"{found!r:.50} is not what stands there")
    return found
