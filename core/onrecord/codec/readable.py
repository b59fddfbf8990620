"""Values as JSON that anybody can read, and back, equal: what a file of sessions is made of.

Text, numbers, booleans, null, lists and objects are JSON's own. The rest travels as an object
with one key that begins with ``$``, from the table below; so does an object that would look like
one of those. Reading imports no class and runs no code named by data.

    {"$text": "..."}      text with lone surrogates as backslash, u, d800; a backslash is doubled
    {"$int": "0x..."}     a whole number beyond 53 bits, which JavaScript would round
    {"$float": "nan"}     nan, inf, -inf; another NaN by the 64 bits of it: "0xfff8000000000000"
    {"$bytes": "..."}     base64
    {"$dict": [[k, v]]}   an object with keys that are not text, or whose only key begins with $
    {"$tuple": [...]}     and $set, $frozenset
    {"$datetime": "..."}  ISO 8601; where there is more to it: ["...", fold, "Europe/Lisbon"]
    {"$date": "..."}      ISO 8601
    {"$time": "..."}      ISO 8601; where there is more to it: ["...", fold]
    {"$timedelta": [days, seconds, microseconds]}
    {"$decimal": "..."}   and $uuid
    {"$complex": [real, imaginary]}
"""

from __future__ import annotations

import math
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from onrecord.codec.values import datetime_from, tiny_zone

Spell: TypeAlias = Callable[[str], Any]
"""How text is written."""

_LARGEST: Final = 2**53 - 1
_DOUBLE: Final = struct.Struct(">d")
_NAN: Final = _DOUBLE.pack(math.nan)
_TO_ESCAPE: Final = re.compile("[\\\\\ud800-\udfff]")
_ESCAPED: Final = re.compile(r"\\(?:\\|u(d[89a-f][0-9a-f]{2}))")

_encode = msgspec.json.Encoder().encode


def encoded(build: Callable[[Spell], Any]) -> bytes:
    """JSON of what is built, given how text is written: what few texts need costs no other one."""
    try:
        return _encode(build(str))
    except UnicodeEncodeError:
        return _encode(build(_spelled))


def readable(value: Any, spell: Spell) -> Any:
    """The same value in JSON's own types."""
    kind = type(value)
    if kind is str:
        return spell(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -_LARGEST <= value <= _LARGEST else {"$int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"$float": _not_finite(value)}
    if kind is list:
        return [readable(item, spell) for item in value]
    if kind is dict:
        return _dict(value, spell)
    return _rarer(value, spell)


def value_of(found: Any) -> Any:
    """What ``readable`` was given. ValueError or its like where it was not given this."""
    kind = type(found)
    if kind is list:
        return [value_of(item) for item in found]
    if kind is not dict:
        return found
    if len(found) == 1:
        (tag,) = found
        if tag[:1] == "$":
            untag = _UNTAG.get(tag)
            if untag is None:
                raise ValueError(f"{tag!r} is not known to this version of Onrecord")
            return untag(found[tag])
    return {key: value_of(item) for key, item in found.items()}


def _dict(value: dict[Any, Any], spell: Spell) -> Any:
    plain = all(type(key) is str and type(spell(key)) is str for key in value)
    if plain and not (len(value) == 1 and next(iter(value))[:1] == "$"):
        return {key: readable(item, spell) for key, item in value.items()}
    pairs = [[readable(key, spell), readable(item, spell)] for key, item in value.items()]
    return {"$dict": pairs}


def _rarer(value: Any, spell: Spell) -> Any:
    match value:
        case bytes():
            return {"$bytes": b64encode(value).decode()}
        case tuple():
            return {"$tuple": [readable(item, spell) for item in value]}
        case set() | frozenset():
            # Two equal sets are the same bytes, in whatever order they are walked through.
            items = sorted((readable(item, _spelled) for item in value), key=_encode)
            return {f"${type(value).__name__}": items}
        case Decimal():
            return {"$decimal": str(value)}
        case UUID():
            return {"$uuid": str(value)}
        case complex():
            return {"$complex": [readable(part, spell) for part in (value.real, value.imag)]}
        case datetime():
            zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
            text = value.isoformat()
            return {"$datetime": [text, value.fold, zone] if zone or value.fold else text}
        case date():
            return {"$date": value.isoformat()}
        case time():
            text = value.isoformat()
            return {"$time": [text, value.fold] if value.fold else text}
        case timedelta():
            return {"$timedelta": [value.days, value.seconds, value.microseconds]}
    raise TypeError(f"a {type(value).__name__} is no value that is read from a frame")


def _not_finite(value: float) -> str:
    bits = _DOUBLE.pack(value)
    # NaN has many forms, and what came from a division has its sign set on most machines.
    return f"0x{bits.hex()}" if value != value and bits != _NAN else str(value)


def _float(text: str) -> float:
    if text.startswith("0x"):
        number: float = _DOUBLE.unpack(bytes.fromhex(text[2:]))[0]
        return number
    return float(text)


def _spelled(text: str) -> Any:
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"$text": _TO_ESCAPE.sub(_escape, text)}
    return text


def _escape(found: re.Match[str]) -> str:
    return r"\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}"


def _text(text: str) -> str:
    return _ESCAPED.sub(lambda found: "\\" if found[1] is None else chr(int(found[1], 16)), text)


def _datetime(found: Any) -> datetime:
    text, fold, zone = (found, 0, None) if isinstance(found, str) else found
    moment = datetime.fromisoformat(text)
    if (tiny := tiny_zone(text)) is not None:
        moment = moment.replace(tzinfo=tiny)
    offset = moment.utcoffset()
    seconds = None if offset is None else offset / timedelta(seconds=1)
    return datetime_from([moment.replace(tzinfo=None).isoformat(), fold, seconds, zone])


def _time(found: Any) -> time:
    text, fold = (found, 0) if isinstance(found, str) else found
    moment = time.fromisoformat(text).replace(fold=fold)
    return moment if (tiny := tiny_zone(text)) is None else moment.replace(tzinfo=tiny)


def _listed(found: Any) -> list[Any]:
    if type(found) is not list:
        raise TypeError(f"a list was expected, not {found!r:.50}")
    return [value_of(item) for item in found]


_UNTAG: Final[dict[str, Callable[[Any], Any]]] = {
    "$text": _text,
    "$int": lambda found: int(found, 16),
    "$float": _float,
    "$bytes": lambda found: b64decode(found, validate=True),
    "$dict": lambda found: {key: item for key, item in _listed(found)},
    "$tuple": lambda found: tuple(_listed(found)),
    "$set": lambda found: set(_listed(found)),
    "$frozenset": lambda found: frozenset(_listed(found)),
    "$decimal": Decimal,
    "$uuid": UUID,
    "$complex": lambda found: complex(*_listed(found)),
    "$datetime": _datetime,
    "$date": date.fromisoformat,
    "$time": _time,
    "$timedelta": lambda found: timedelta(*found),
}
