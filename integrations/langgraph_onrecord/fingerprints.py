"""Prints of values: how they looked when they were stored, to see later what has changed.

A node may change a message in place, and nobody is told. So every list is looked at again at
every step; but a serializer takes 20 µs for a message, and its print takes 1 to 2. Of a list
that has only grown, as nearly all do, the print begins with the print of the list before: one
comparison of bytes tells, and nothing old is serialized again.

A print is taken before the value is serialized. Should another thread change the value between
the two, its next print differs, and it is stored once more rather than once too little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import ormsgpack
from langchain_core.messages import BaseMessage

# What is not plain data, or plain data of a class of its own, is refused, not made to look plain:
# a tuple in the place of a list is another value.
_OPTIONS: Final = (
    ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
    | ormsgpack.OPT_NON_STR_KEYS
)
_PLAIN: Final = frozenset({str, int, float, bool, type(None), dict, list})
_names: dict[type, str | None] = {}


class NotPlain(TypeError):
    """A value that has no print."""


class Prints:
    """How the items of a list looked."""

    __slots__ = ("_each", "body", "count")

    def __init__(self, count: int, body: bytes | None, each: list[bytes] | None) -> None:
        self.count = count
        self.body = body
        self._each = each

    @classmethod
    def of(cls, values: Sequence[Any], otherwise: Callable[[Any], bytes]) -> Prints:
        """The prints of a list; ``otherwise`` makes those of what is not plain."""
        try:
            shapes = [_shape(value) for value in values]
            return cls(len(values), _packed_body(shapes), None)
        except (NotPlain, ormsgpack.MsgpackEncodeError):
            return cls(len(values), None, [_print_of(value, otherwise) for value in values])

    @property
    def each(self) -> list[bytes]:
        """One by one."""
        if self._each is None:
            assert self.body is not None, "prints are kept one way or the other"
            shapes = ormsgpack.unpackb(
                b"\xdd" + self.count.to_bytes(4, "big") + self.body,
                option=ormsgpack.OPT_NON_STR_KEYS,
            )
            self._each = [_packed(shape) for shape in shapes]
        return self._each

    @property
    def size(self) -> int:
        """About how many bytes these take."""
        return len(self.body or b"") + sum(map(len, self._each or ()))

    def same_as(self, before: Prints) -> bool:
        """Whether nothing has changed."""
        if self.count != before.count:
            return False
        if self.body is not None and before.body is not None:
            return self.body == before.body
        return self.each == before.each

    def found_in(self, before: Prints) -> list[int | None]:
        """Where each item stood in the list before; None for what is new or changed."""
        if (
            self.body is not None
            and before.body is not None
            and self.count >= before.count
            and self.body.startswith(before.body)
        ):
            return [*range(before.count), *[None] * (self.count - before.count)]
        places: dict[bytes, int] = {}
        for i, print_ in enumerate(before.each):
            places.setdefault(print_, i)
        old = before.each
        return [
            i if i < before.count and old[i] == print_ else places.get(print_)
            for i, print_ in enumerate(self.each)
        ]


def _shape(value: Any) -> tuple[Any, ...] | list[Any]:
    kind = type(value)
    name = _names.get(kind, "")
    if name == "":
        name = _names[kind] = _name(kind)
    if name is None:
        raise NotPlain(kind.__name__)
    if kind in _PLAIN:
        return [name, value]
    return [name, value.__dict__, value.__pydantic_extra__]


def _name(kind: type) -> str | None:
    """What stands for a class whose values are all in their fields; None for any other."""
    if kind in _PLAIN:
        return "plain"
    own = kind.__module__.startswith("langchain_core.messages.")
    return (
        f"{kind.__module__}.{kind.__qualname__}" if own and issubclass(kind, BaseMessage) else None
    )


def _packed_body(shapes: list[Any]) -> bytes:
    packed = ormsgpack.packb(shapes, option=_OPTIONS)
    count = len(shapes)
    return packed[1 if count < 16 else 3 if count < 65536 else 5 :]


def _packed(shape: Any) -> bytes:
    return ormsgpack.packb(shape, option=_OPTIONS)


def _print_of(value: Any, otherwise: Callable[[Any], bytes]) -> bytes:
    try:
        return _packed(_shape(value))
    except (NotPlain, ormsgpack.MsgpackEncodeError):
        return b"\xc1" + otherwise(value)  # no print begins so
