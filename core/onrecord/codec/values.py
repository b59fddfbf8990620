"""Plain Python values to msgpack and back, equal, including what JSON and msgpack cannot say.

Dictionaries with string keys, lists, strings, bytes, floats, booleans, None and integers of 64
bits are msgpack's own. The rest travels under a tag: an extension type with a code from the
table below. A value that none of them can hold is refused by name before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from onrecord.errors import Damaged, InvalidMessage, shown

T = TypeVar("T")

# A tag is written into every database there is: never reuse one, never change what it means.
TUPLE: Final = 1
SET: Final = 2
FROZENSET: Final = 3
PAIRS: Final = 4  # a dictionary with keys that are not strings
INTEGER: Final = 5  # beyond 64 bits
DECIMAL: Final = 6
UNIQUE_ID: Final = 7
DATETIME: Final = 8
DATE: Final = 9
TIME: Final = 10
TIMEDELTA: Final = 11
COMPLEX: Final = 12

# Python's own limit on recursion is met near 1,000; what can be written must be readable
# from inside a deep call stack too.
DEEPEST: Final = 100

UNREADABLE: Final = (
    msgspec.DecodeError,
    ValueError,
    ArithmeticError,
    TypeError,
    AttributeError,
    LookupError,
    MemoryError,
)
"""What bytes raise that were never written here, from the decoder or from what undoes a tag. Beside
these there is RecursionError: see ``on_a_new_stack``."""

# The first byte of a packed value.
PLAIN: Final = b"\x00"
ESCAPED: Final = b"\x01"  # some string holds half of a surrogate pair


def _exact(value: object) -> str:
    # LangChain's message.text is one: what it says is kept, and not what else it can do.
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


_encoder = msgspec.msgpack.Encoder(enc_hook=_exact)


class NotStorable(Exception):
    """A value that has no place in a stored message; ``path`` says where it is."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why


def pack_value(value: object, name: str) -> bytes:
    """One value as bytes; what cannot be stored is refused, named from ``name`` on."""
    try:
        try:
            return PLAIN + encode_tagged(tag(value, name))
        except UnicodeEncodeError:
            return ESCAPED + encode_tagged(tag(map_text(value, escape), name))
    except NotStorable as fault:
        raise InvalidMessage(f"{fault.path} cannot be stored: {fault.why}") from fault


def unpack_value(data: bytes) -> Any:
    """What ``pack_value`` was given, equal; Damaged where it is not what was packed."""
    try:
        return _unpacked(data)
    except RecursionError:
        return on_a_new_stack(_unpacked, data)


def _unpacked(data: bytes) -> Any:
    try:
        value = _decode(data[1:])
        return map_text(value, unescape) if data[:1] == ESCAPED else value
    except UNREADABLE as fault:
        raise Damaged(f"it cannot be decoded: {fault}") from fault


def on_a_new_stack(read: Callable[..., T], *given: Any) -> T:
    """Read once more in a thread of its own. Damaged where that is not deep enough either.

    Whoever calls from deep inside a stack of his own does not find damage where there is none.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(read, *given).result()
        except RecursionError as fault:
            raise Damaged("it is nested deeper than anything that was written") from fault


def encode_tagged(value: object) -> bytes:
    """msgpack for a value that went through ``tag``. A lone surrogate raises UnicodeEncodeError."""
    return _encoder.encode(value)


_TEXT: Final = frozenset({str})
_PLAIN: Final = frozenset({str, type(None), bool, float, bytes})
"""What ``tag`` leaves as it is, whatever it is."""
_NEVER_CHANGES: Final = _PLAIN | {int}


def tag(value: Any, path: str, depth: int = 0) -> Any:
    """The same value with tags around what msgpack cannot say. Plain values come back as is."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else Ext(INTEGER, _integer_bytes(value))
    if depth >= DEEPEST:
        raise NotStorable(path, f"it is nested deeper than {DEEPEST} levels.")
    if kind is dict:
        return _tag_dict(value, path, depth)
    if kind is list:
        return [tag(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    return _tag_rarer(value, path, depth)


def copied(value: Any) -> Any:
    """A copy of what is plain throughout, which is what a decoder would make of it; None of what
    only a decoder can copy."""
    if type(value) is dict and _NEVER_CHANGES.issuperset(map(type, value.values())):
        return value.copy() if _TEXT.issuperset(map(type, value)) else None
    return None


def _integer_bytes(value: int) -> bytes:
    # Not its digits: Python refuses to print more than 4,300 of them.
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _tag_dict(value: dict[Any, Any], path: str, depth: int) -> Any:
    if _TEXT.issuperset(map(type, value)):
        return {
            key: item if type(item) in _PLAIN else tag(item, f"{path}[{key!r}]", depth + 1)
            for key, item in value.items()
        }
    pairs = [
        [
            tag(key, f"{path} key {shown(key)}", depth + 1),
            tag(item, f"{path}[{shown(key)}]", depth + 1),
        ]
        for key, item in value.items()
    ]
    return Ext(PAIRS, encode_tagged(pairs))


def _tag_rarer(value: Any, path: str, depth: int) -> Any:
    def items(by: Any = None) -> bytes:
        tagged = [tag(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)]
        return encode_tagged(tagged if by is None else sorted(tagged, key=by))

    match value:
        case tuple() if type(value) is tuple:
            return Ext(TUPLE, items())
        case set() if type(value) is set:
            return Ext(SET, items(encode_tagged))  # two equal sets are the same bytes
        case frozenset() if type(value) is frozenset:
            return Ext(FROZENSET, items(encode_tagged))
        case Decimal() if type(value) is Decimal:
            return Ext(DECIMAL, str(value).encode())
        case UUID() if type(value) is UUID:
            return Ext(UNIQUE_ID, value.bytes)
        case complex() if type(value) is complex:
            return Ext(COMPLEX, encode_tagged([value.real, value.imag]))
        case datetime() if type(value) is datetime:
            return _checked(value, Ext(DATETIME, encode_tagged(_datetime_parts(value))), path)
        case date() if type(value) is date:
            return Ext(DATE, value.isoformat().encode())
        case time() if type(value) is time:
            if value.tzinfo is not None and not isinstance(value.tzinfo, timezone):
                raise NotStorable(path, "a time of day with a named zone has no fixed meaning.")
            return Ext(TIME, encode_tagged([value.isoformat(), value.fold]))
        case timedelta() if type(value) is timedelta:
            parts = [value.days, value.seconds, value.microseconds]
            return Ext(TIMEDELTA, encode_tagged(parts))
        case bytearray():
            return bytes(value)
    return _tag_subclass(value, path, depth)


def _tag_subclass(value: Any, path: str, depth: int) -> Any:
    """A subclass of a plain type (an enum of strings, an OrderedDict) is kept as that type.

    What comes back is equal and no more: reading imports no class.
    """
    for plain in _PLAIN_TYPES:
        if isinstance(value, plain):
            # The unbound method, since a subclass may have changed how it converts itself.
            kept = str.__str__(value) if plain is str else plain(value)
            if kept == value or kept != kept:
                return tag(kept, path, depth)
    cls = type(value)
    raise NotStorable(
        path,
        f"it is a {cls.__module__}.{cls.__qualname__}, which has no stored form. "
        f"Pass plain values: str, numbers, bytes, dict, list, tuple, set, datetime, Decimal, UUID.",
    )


_PLAIN_TYPES: Final[tuple[Any, ...]] = (
    str,
    int,
    float,
    bytes,
    dict,
    list,
    tuple,
    set,
    frozenset,
)


def _checked(value: object, packed: Ext, path: str) -> Ext:
    """Time zones are code that others wrote: what does not come back equal is refused."""
    if _untag(packed.code, memoryview(packed.data)) != value:
        raise NotStorable(path, "its time zone cannot be stored. Use a zoneinfo zone or an offset.")
    return packed


def _datetime_parts(value: datetime) -> list[Any]:
    offset = value.utcoffset()
    seconds = None if offset is None else offset / timedelta(seconds=1)
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    return [value.replace(tzinfo=None).isoformat(), value.fold, seconds, zone]


_TINY_OFFSET: Final = re.compile(r"([+-])00:00:00\.(\d{6})$")


def tiny_zone(text: str) -> timezone | None:
    """The zone of a time as written, where its offset is below a second: Python reads it as UTC."""
    found = _TINY_OFFSET.search(text)
    if found is None:
        return None
    return timezone(timedelta(microseconds=int(found[1] + found[2])))


def datetime_from(parts: list[Any]) -> datetime:
    """From its time as written, which of two equal ones, its offset in seconds, and its zone."""
    text, fold, seconds, zone = parts
    bare = datetime.fromisoformat(text).replace(fold=fold)
    if seconds is None:
        return bare
    offset = timedelta(seconds=seconds)
    if zone is not None:
        try:
            named = bare.replace(tzinfo=ZoneInfo(zone))
        except (KeyError, ValueError, OSError):
            pass  # this machine does not know the zone: the offset keeps the instant
        else:
            if named.utcoffset() == offset:
                return named  # else the zone's rules have changed since: the instant counts
    return bare.replace(tzinfo=timezone(offset))


_UNTAG: Final[dict[int, Callable[[Any], Any]]] = {
    TUPLE: lambda data: tuple(_decode(data)),
    SET: lambda data: set(_decode(data)),
    FROZENSET: lambda data: frozenset(_decode(data)),
    PAIRS: lambda data: {key: item for key, item in _decode(data)},
    INTEGER: lambda data: int.from_bytes(data, "big", signed=True),
    DECIMAL: lambda data: Decimal(bytes(data).decode()),
    UNIQUE_ID: lambda data: UUID(bytes=bytes(data)),
    DATETIME: lambda data: datetime_from(_decode(data)),
    DATE: lambda data: date.fromisoformat(bytes(data).decode()),
    TIME: lambda data: _time(*_decode(data)),
    TIMEDELTA: lambda data: timedelta(*_decode(data)),
    COMPLEX: lambda data: complex(*_decode(data)),
}


def _time(text: str, fold: int) -> time:
    found = time.fromisoformat(text).replace(fold=fold)
    return found if (zone := tiny_zone(text)) is None else found.replace(tzinfo=zone)


def _untag(code: int, data: memoryview) -> Any:
    untag = _UNTAG.get(code)
    if untag is None:
        raise ValueError(f"the tag {code} is not known to this version of Onrecord")
    return untag(data)


def decoder_for(shape: Any) -> msgspec.msgpack.Decoder[Any]:
    """A decoder of typed bytes that also undoes the tags."""
    return msgspec.msgpack.Decoder(shape, ext_hook=_untag)


_decode: Final[Callable[[Any], Any]] = decoder_for(Any).decode


def map_text(value: Any, change: Callable[[str], str]) -> Any:
    """A copy with every string inside changed, whatever holds it."""

    def inside(item: Any) -> Any:
        return map_text(item, change)

    match value:
        case str():
            return change(value)
        case dict():
            return {inside(key): inside(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return type(value)(map(inside, value))
        case msgspec.Struct():
            fields = {name: inside(getattr(value, name)) for name in value.__struct_fields__}
            return type(value)(**fields)
        case _:
            return value


def escape(text: str) -> str:
    """Lone surrogates as text that UTF-8 can carry. Only strings that need it pay for it."""
    if text.isascii() and _MARK not in text:
        return text
    return _TO_ESCAPE.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", text)


def unescape(text: str) -> str:
    """What ``escape`` was given."""
    return _ESCAPED_TEXT.sub(lambda found: chr(int(found[1], 16)), text)


_MARK: Final = "\x10"  # "data link escape", which nobody types
_TO_ESCAPE: Final = re.compile(f"[{_MARK}\ud800-\udfff]")
_ESCAPED_TEXT: Final = re.compile(f"{_MARK}([0-9a-f]{{4}})")
