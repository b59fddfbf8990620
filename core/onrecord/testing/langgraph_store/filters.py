"""Cases: what a filter means. The same on every database, and never silently nothing."""

from __future__ import annotations

from typing import Any, TypeAlias

from onrecord.testing.langgraph_store.case import Group, Question, expect, expect_same, listed
from onrecord.testing.langgraph_store.subject import Subject

FILTERS = Group(
    "Filters",
    "A filter means the same on every database, and what cannot be answered is refused: an empty "
    "list would be believed.",
)
_Values: TypeAlias = dict[str, dict[str, Any]]


def _finds(values: _Values, filter: dict[str, Any], want: str) -> Question:
    """Ask whether of these values, by their keys, exactly those are found."""

    async def question(ask: Subject) -> None:
        for key, value in values.items():
            await ask.put(ask.ns(), key, value)
        found = sorted(await ask.keys(ask.ns(), filter=filter, limit=100))
        expect(
            found == sorted(want.split()),
            f"{filter} finds {listed(found)}; asked for: {want or 'none'}",
        )

    return question


def _refuses(filter: dict[str, Any], or_finds: str | None = None) -> Question:
    async def question(ask: Subject) -> None:
        for key, value in {"one": {"a": 1}, "two": {"a": 2, "b": 2}, "three": {"b": 3}}.items():
            await ask.put(ask.ns(), key, value)
        try:
            found = sorted(await ask.keys(ask.ns(), filter=filter))
        except Exception:  # any refusal is right
            return
        right = or_finds is not None and found == sorted(or_finds.split())
        expect(right, f"{filter} is taken, and finds {listed(found)}")

    return question


_NUMBERS: _Values = {
    "one": {"a": 1},
    "float": {"a": 1.0},
    "true": {"a": True},
    "text": {"a": "1"},
    "list": {"a": [1]},
    "null": {"a": None},
    "two": {"a": 2},
    "missing": {"b": 1},
}
_MIXED: _Values = {
    "six": {"a": 6},
    "half": {"a": 5.5},
    "four": {"a": 4},
    "text": {"a": "7"},
    "true": {"a": True},
    "list": {"a": [9]},
    "object": {"a": {"b": 9}},
    "null": {"a": None},
    "missing": {"b": 9},
}
_TEXTS: _Values = {
    "b": {"a": "b"},
    "c": {"a": "c"},
    "C": {"a": "C"},
    "é": {"a": "é"},
    "true": {"a": True},
}

for _name, _sentence, _question in (
    (
        "filter_text",
        "Text is equal to the same text.",
        _finds({**_NUMBERS, "case": {"a": "X"}, "x": {"a": "x"}}, {"a": "x"}, "x"),
    ),
    (
        "filter_number",
        '`{"a": 1}` finds 1 and 1.0, and not true or "1".',
        _finds(_NUMBERS, {"a": 1}, "one float"),
    ),
    ("filter_true", '`{"a": True}` finds true alone.', _finds(_NUMBERS, {"a": True}, "true")),
    (
        "filter_null",
        '`{"a": None}` finds null, and not what has no `a`.',
        _finds(_NUMBERS, {"a": None}, "null"),
    ),
    (
        "filter_key",
        "A key of a filter may have hyphens and digits.",
        _finds(
            {"right": {"user-id": 1, "2nd": 1}, "wrong": {"user-id": 2}},
            {"user-id": 1, "2nd": 1},
            "right",
        ),
    ),
    (
        "filter_list",
        "A list is equal to a list of the same, in the same order.",
        _finds(
            {**_NUMBERS, "other": {"a": [1, 2]}, "wrong": {"a": [2, 1]}, "more": {"a": [1, 2, 3]}},
            {"a": [1, 2]},
            "other",
        ),
    ),
    (
        "filter_nested",
        'A filter may be an object: `{"n": {"b": 1}}` looks inside of `n`.',
        _finds(
            {
                "right": {"n": {"b": 1}},
                "wrong": {"n": {"b": 2}},
                "empty": {"n": {}},
                "number": {"n": 1},
                "outside": {"b": 1},
            },
            {"n": {"b": 1}},
            "right",
        ),
    ),
    (
        "filter_dot",
        'A dot in the key of a filter is a dot: `{"a.b": 1}` is no path.',
        _finds({"dot": {"a.b": 1}, "path": {"a": {"b": 1}}}, {"a.b": 1}, "dot"),
    ),
    (
        "filter_all",
        "Of several keys all have to hold, and an empty filter holds for all.",
        _finds({"both": {"a": 1, "b": 2}, "a": {"a": 1}, "b": {"b": 2}}, {"a": 1, "b": 2}, "both"),
    ),
    ("filter_eq", "`$eq` is equality.", _finds(_NUMBERS, {"a": {"$eq": 1}}, "one float")),
    (
        "filter_ne",
        "`$ne` finds what is there and is not equal; not what has no such key.",
        _finds(_NUMBERS, {"a": {"$ne": 1}}, "true text list null two"),
    ),
    (
        "filter_gt",
        "`$gt` and a number: numbers alone are compared.",
        _finds(_MIXED, {"a": {"$gt": 4}}, "six half"),
    ),
    (
        "filter_gte",
        "`$gte` and a number: numbers alone are compared.",
        _finds(_MIXED, {"a": {"$gte": 4}}, "six half four"),
    ),
    (
        "filter_lt",
        "`$lt` and a number: numbers alone are compared.",
        _finds(_MIXED, {"a": {"$lt": 6}}, "half four"),
    ),
    (
        "filter_lte",
        "`$lte` and a number: numbers alone are compared.",
        _finds(_MIXED, {"a": {"$lte": 6}}, "six half four"),
    ),
    (
        "filter_digits",
        "Numbers are compared as numbers: 10 is more than 9, and -1 less than 0.",
        _finds({"ten": {"a": 10}, "nine": {"a": 9}, "minus": {"a": -1}}, {"a": {"$gt": 9}}, "ten"),
    ),
    (
        "filter_text_order",
        "`$gt` and text: text alone is compared, by code points.",
        _finds(_TEXTS, {"a": {"$gt": "b"}}, "c é"),
    ),
    (
        "filter_range",
        "Two operators on one key both have to hold.",
        _finds({f"k{n}": {"a": n} for n in range(6)}, {"a": {"$gt": 1, "$lte": 3}}, "k2 k3"),
    ),
    (
        "filter_in",
        "`$in` finds what is equal to one of a list.",
        _finds(_NUMBERS, {"a": {"$in": [1, "1"]}}, "one float text"),
    ),
    (
        "filter_unknown",
        "An operator that is not known is refused.",
        _refuses({"a": {"$near": 1}}),
    ),
    (
        "filter_or",
        "`$or` beside the keys is answered or refused, never taken for a key.",
        _refuses({"$or": [{"a": 1}, {"b": 3}]}, or_finds="one three"),
    ),
    (
        "filter_and",
        "`$and` beside the keys is answered or refused, never taken for a key.",
        _refuses({"$and": [{"a": 2}, {"b": 2}]}, or_finds="two"),
    ),
):
    FILTERS.add(_name, _sentence, _question)


@FILTERS.case("An unknown operator is refused where there is nothing to compare, too.")
async def filter_unknown_on_nothing(ask: Subject) -> None:
    try:
        await ask.search(ask.ns(), filter={"a": {"$near": 1}})
    except Exception:  # any refusal is right
        return
    expect(False, "it is taken, and finds nothing")


@FILTERS.case("A key with quotes is data: found by it, or refused.")
async def filter_quoted_key(ask: Subject) -> None:
    for key in ("it's", 'so "to" say', "a') OR 1=1 --", "a b", "é", "\\"):
        await ask.put(ask.ns(key.encode().hex()), "right", {key: 1})
        await ask.put(ask.ns(key.encode().hex()), "wrong", {key: 2})
        try:
            found = await ask.keys(ask.ns(key.encode().hex()), filter={key: 1})
        except ValueError:
            continue
        expect_same(found, ["right"], f"{key!r} finds")


@FILTERS.case("A filter comes before limit and offset.")
async def filter_before_limit(ask: Subject) -> None:
    for n in range(30):
        await ask.put(ask.ns(), f"k{n}", {"third": n % 3 == 0, "n": n})
    found = await ask.keys(ask.ns(), filter={"third": True}, limit=10)
    expect_same(len(found), 10, "found with limit=10")
    found += await ask.keys(ask.ns(), filter={"n": {"$gte": 25}}, limit=3, offset=2)
    expect_same(len(found), 13, "found with an offset, too")
