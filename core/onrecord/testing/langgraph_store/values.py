"""Cases: what a value is after it was stored. Equal, of the same types, or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from onrecord.testing.langgraph_store.case import Group, Question, expect, expect_same
from onrecord.testing.langgraph_store.subject import Subject

VALUES = Group(
    "Values",
    "What JSON can say is kept: it comes back equal and of the same types. What JSON cannot say is "
    "kept or refused before anything is written, and never changed silently.",
)


def same(a: object, b: object) -> bool:
    """Tell whether two values are equal and of the same types, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    if isinstance(a, dict) and isinstance(b, dict):
        keys = {(type(key), key) for key in a}
        return keys == {(type(key), key) for key in b} and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def _kept(value: Mapping[str, object], *, or_refused: bool) -> Question:
    async def question(ask: Subject) -> None:
        before = {"was": "there"}
        await ask.put(ask.ns(), "k", before)
        want: object = value
        try:
            await ask.put(ask.ns(), "k", value)
        except Exception:  # any refusal is right, if nothing was written
            if not or_refused:
                raise
            want = before
        item = await ask.get(ask.ns(), "k")
        hits = await ask.search(ask.ns())
        for found in (item, *hits):
            got = None if found is None else found.value
            expect(same(got, want), f"comes back as {_short(got)}")
        expect_same(len(hits), 1, "items")

    return question


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _deep(levels: int) -> dict[str, object]:
    value: dict[str, object] = {"end": True}
    for _ in range(levels):
        value = {"a": [value]}
    return value


_JSON: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "text": (
        "text of any script, with quotes, newlines and backslashes",
        {"v": "naïve \u202e\U0001f600 e\u0301 \n\t\\ \"'`%_{}"},
    ),
    "empty": ("an empty value", {}),
    "constants": ("null, true, false, empty lists and objects", {"v": [None, True, False, [], {}]}),
    "deep": ("a value of 99 levels", _deep(49)),
    "large": ("a value of 500,000 characters", {"v": "x" * 500_000}),
    "keys": (
        "keys that are empty, dotted, quoted or begin with $",
        {"": 1, "a.b": 2, "$gt": 3, 'it\'s "so"': 4, " ": 5, "a": {"": 6}},
    ),
    "fractions": ("floats, to the last digit", {"v": [0.1, 1 / 3, 5e-324, -1234.5678e-9]}),
    "whole_floats": ("floats without a fraction, as floats", {"v": [1.0, 1e17, 1e22]}),
    "negative_zero": ("-0.0", {"v": -0.0}),
    "integers": ("integers of 64 bits", {"v": [2**53 + 1, 2**63 - 1, -(2**63)]}),
}
_MORE: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "big_integers": ("integers beyond 64 bits", {"v": 2**70}),
    "nul": ("a NUL in text", {"v": "a\x00b"}),
    "surrogate": ("half a surrogate pair in text", {"v": "a\ud800b"}),
    "nan": ("NaN", {"v": float("nan")}),
    "infinity": ("infinity", {"v": [float("inf"), float("-inf")]}),
    "tuple": ("a tuple, as a tuple", {"v": (1, (2,))}),
    "int_keys": ("keys that are integers, beside the same digits as text", {"v": {1: "a", "1": 2}}),
    "datetime": ("a datetime", {"v": datetime(2024, 2, 29, 1, 2, 3, 4, UTC)}),
    "bytes": ("bytes", {"v": b"\x00\xff"}),
    "object": ("an object that nobody can store", {"v": object()}),
}

for _name, (_what, _value) in _JSON.items():
    VALUES.add(f"value_{_name}", f"Kept: {_what}.", _kept(_value, or_refused=False))
for _name, (_what, _value) in _MORE.items():
    VALUES.add(f"value_{_name}", f"Kept or refused: {_what}.", _kept(_value, or_refused=True))


@VALUES.case("To change what was put, afterwards, changes nothing that is stored.")
async def what_was_put_is_copied(ask: Subject) -> None:
    value: dict[str, object] = {"a": [1], "b": {"c": 1}}
    await ask.put(ask.ns(), "k", value)
    value["a"] = "changed"
    value["b"]["c"] = 2  # type: ignore[index]
    item = await ask.get(ask.ns(), "k")
    expect_same(item and item.value, {"a": [1], "b": {"c": 1}}, "stored is now")


@VALUES.case("To change what was read changes nothing that is stored.")
async def what_is_read_is_copied(ask: Subject) -> None:
    await ask.put(ask.ns(), "k", {"a": [1]})
    for found in (await ask.get(ask.ns(), "k"), *await ask.search(ask.ns())):
        assert found is not None
        found.value["a"].append("changed")
        found.value["new"] = 1
    item = await ask.get(ask.ns(), "k")
    expect_same(item and item.value, {"a": [1]}, "stored is now")
