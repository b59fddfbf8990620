"""Filters: which values are wanted, with one meaning on every database.

``{"plan": "pro"}`` wants values that have it, ``{"visits": {"$gte": 3}}`` asks by an operator, and
``{"address.city": "Lyon"}`` looks inside. What is compared has to be of one type, as in JSON: 1 is
1.0, and not True. A key that a value lacks fulfils nothing but ``{"$exists": False}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

from onrecord.errors import Misconfigured, shown


class LiteralFilter(dict[str, Any]):
    """A filter whose keys are what they are: a dot in one looks into nothing."""


Predicate: TypeAlias = Callable[[Any], bool]
_MISSING: Final = object()
_MOST_CHOICES: Final = 1_000_000
_DEEPEST: Final = 200
"""As a value may be, and as much again for operators."""


def predicate_of(given: object) -> Predicate:
    """Turn a filter into a function of a value."""
    _check_depth(given)
    return _predicate(given, dotted=True)


def _check_depth(given: object) -> None:
    """Refuse what is nested deeper than a value may be, and so what holds itself."""
    left: list[tuple[Any, int]] = [(given, 0)]
    seen: dict[int, int] = {}
    while left:
        one, depth = left.pop()
        if not isinstance(one, dict | list | tuple) or seen.get(id(one), -1) >= depth:
            continue  # what is there twice is looked at once
        if depth > _DEEPEST:
            raise Misconfigured(
                f"filter is nested deeper than {_DEEPEST} levels, or holds itself. Ask for a part "
                f"of the value: a key with dots looks inside."
            )
        seen[id(one)] = depth
        inside = one.values() if isinstance(one, dict) else one
        left += [(each, depth + 1) for each in inside if isinstance(each, dict | list | tuple)]


def _predicate(given: object, dotted: bool) -> Predicate:
    if given is None:
        return lambda value: True
    dotted = dotted and not isinstance(given, LiteralFilter)
    if not isinstance(given, Mapping):
        raise Misconfigured(f"filter has to be a mapping or None, not {shown(given)}.")
    parts = [_part(key, wanted, dotted) for key, wanted in given.items()]
    return lambda value: all(part(value) for part in parts)


def _part(key: object, wanted: Any, dotted: bool) -> Predicate:
    if not isinstance(key, str):
        raise Misconfigured(f"The keys of a filter are text, not {shown(key)}.")
    if key in _TOGETHER:
        if not isinstance(wanted, Sequence) or isinstance(wanted, str):
            raise Misconfigured(f"{key} takes a list of filters, not {shown(wanted)}.")
        whole = [_predicate(each, dotted) for each in wanted]
        together = _TOGETHER[key]
        return lambda value: together(part(value) for part in whole)
    if key.startswith("$"):
        raise Misconfigured(_unknown(key, _TOGETHER))
    matches = _match(wanted)
    return lambda value: matches(_looked_up(value, key, dotted))


def _match(wanted: Any) -> Predicate:
    if not isinstance(wanted, Mapping):
        return lambda found: found is not _MISSING and same(found, wanted)
    operators = [key for key in wanted if isinstance(key, str) and key.startswith("$")]
    if not operators:
        inside = {key: _match(value) for key, value in wanted.items()}
        return lambda found: (
            isinstance(found, Mapping)
            and all(matches(found.get(key, _MISSING)) for key, matches in inside.items())
        )
    if len(operators) < len(wanted):
        raise Misconfigured(f"A filter has operators or keys, not both: {shown(wanted)}.")
    parts = [_operator(key, value) for key, value in wanted.items()]
    return lambda found: all(part(found) for part in parts)


def _operator(name: str, wanted: Any) -> Predicate:
    if name == "$exists":
        if not isinstance(wanted, bool):
            raise Misconfigured(f"$exists takes True or False, not {shown(wanted)}.")
        return lambda found: (found is not _MISSING) is wanted
    if name == "$in":
        if not isinstance(wanted, Sequence | set | frozenset) or isinstance(wanted, str):
            raise Misconfigured(f"$in takes a list of values, not {shown(wanted)}.")
        choices = list(islice(wanted, _MOST_CHOICES + 1))
        if len(choices) > _MOST_CHOICES:
            raise Misconfigured(
                f"$in takes {_MOST_CHOICES:,} values at the most. Use $gte and $lt for what lies "
                f"between two of them."
            )
        return lambda found: found is not _MISSING and any(same(found, c) for c in choices)
    compare = _OPERATORS.get(name)
    if compare is None:
        raise Misconfigured(_unknown(name, {**_OPERATORS, "$in": None, "$exists": None}))
    return lambda found: found is not _MISSING and compare(found, wanted)


def same(a: Any, b: Any) -> bool:
    """Compare two values as JSON does: numbers by what they are worth, and True is no number."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Compare what has an order: two numbers, or two of one type."""

    def ordered(found: Any, wanted: Any) -> bool:
        if isinstance(found, bool) or isinstance(wanted, bool):
            return False
        numbers = isinstance(found, int | float) and isinstance(wanted, int | float)
        if not numbers and type(found) is not type(wanted):
            return False
        try:
            return bool(compare(found, wanted))
        except TypeError:  # of one type that has no order
            return False

    return ordered


_TOGETHER: Final[dict[str, Callable[[Any], bool]]] = {"$and": all, "$or": any}
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$eq": same,
    "$ne": lambda found, wanted: not same(found, wanted),
    "$gt": _ordered(lambda a, b: a > b),
    "$gte": _ordered(lambda a, b: a >= b),
    "$lt": _ordered(lambda a, b: a < b),
    "$lte": _ordered(lambda a, b: a <= b),
}


def _looked_up(value: Any, key: str, dotted: bool) -> Any:
    if not isinstance(value, Mapping):
        return _MISSING
    if key in value or not dotted:
        return value.get(key, _MISSING)
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _unknown(name: str, known: Mapping[str, object]) -> str:
    return f"A filter knows no {name}. It knows {', '.join(sorted(known))}."
