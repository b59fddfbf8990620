"""Reads a statement for PostgreSQL, and says which of its tables are not held to one shard.

A table whose keys have a shard is asked for by that shard as a value, in the very query that names
it, or is joined there to one that is: the planner carries a value over a join. It does not carry
it into a query inside of another: there Citus asks every shard, as EXPLAIN on it said. A condition
counts where it stands with AND, or in the ON of a join; a row is written with the shard as a value
too. What locks rows, or changes them, without such a value locks many shards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from onrecord import tables

SHARDED: Final = frozenset(
    table.name for table in tables.declared("postgresql").tables.values() if "shard" in table.c
)
VALUES: Final = frozenset({":shard", ":target_shard", ":last_shard"})

_TOKEN: Final = re.compile(
    r"""--[^\n]*|'(?:[^']|'')*'|"(?:[^"]|"")*"|:?\w+|<=|>=|<>|\|\||<<|>>|[^\s]""", re.VERBOSE
)
_CLAUSES: Final = re.compile(
    "select|from|where|set|values|returning|group|order|limit|union|on|using|join|left|right|"
    "inner|cross|outer|full|for|lateral|and|or|as|offset|with|default|overriding"
)

Part: TypeAlias = "str | list[Part]"


class Fault(NamedTuple):
    """A table that is not held to one shard."""

    table: str
    how: str
    changes: bool = False
    """Whether rows are locked or changed there."""


@dataclass
class _Query:
    """One query, without those inside of it."""

    tables: dict[str, str] = field(default_factory=dict)
    """By what they are called in it."""
    held: set[str] = field(default_factory=set)
    """Those that are asked for by a value; the empty name for all that have no other."""
    joined: set[tuple[str, str]] = field(default_factory=set)
    written: dict[str, bool] = field(default_factory=dict)
    """Those that it writes to, and whether by a value."""
    locks: bool = False


def faults(statement: str) -> list[Fault]:
    """What of a statement is not held to one shard, with the reason."""
    found: list[Fault] = []
    for query in _queries(_parsed(statement)):
        held = _carried_over(query)
        for alias, table in query.tables.items():
            if table not in SHARDED:
                continue
            alone = sum(other in SHARDED for other in query.tables.values()) == 1
            if alias in held or (alone and "" in held):
                continue
            joins = any(alias in pair for pair in query.joined)
            how = "by a join" if joins else "by nothing"
            what = "locks or changes rows" if query.locks else "is asked for"
            found.append(Fault(table, f"{what}, its shard named {how}", query.locks))
        found += [
            Fault(table, "is written to, its shard no value", changes=True)
            for table, by_value in query.written.items()
            if not by_value
        ]
    return found


def _parsed(statement: str) -> list[Part]:
    stack: list[list[Part]] = [[]]
    for token in _TOKEN.findall(statement):
        if token.startswith("--"):
            continue
        if token == "(":
            inner: list[Part] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif token == ")":
            stack.pop()
        else:
            stack[-1].append(token if token[0] in "'\":" else token.lower())
    assert len(stack) == 1, statement
    return stack[0]


def _queries(parts: list[Part]) -> Iterator[_Query]:
    """Every query in it, from the outside in."""
    start = 0
    for at, part in enumerate(parts):
        if part == "union":
            yield from _query(parts[start:at])
            start = at + 1
    yield from _query(parts[start:])


def _query(parts: list[Part]) -> Iterator[_Query]:
    query = _Query()
    _read(parts, query)
    if query.tables or query.written:
        yield query
    for part in parts:
        if isinstance(part, list):
            yield from _nested(part)


def _nested(parts: list[Part]) -> Iterator[_Query]:
    """The queries inside of brackets: a query of its own, or a condition with some in it."""
    if parts and parts[0] in ("select", "insert", "update", "delete", "with"):
        yield from _queries(parts)
        return
    for part in parts:
        if isinstance(part, list):
            yield from _nested(part)


def _read(parts: list[Part], query: _Query) -> None:
    for at, part in enumerate(parts):
        before = parts[at - 1] if at else ""
        if isinstance(part, list):
            continue
        if part.startswith("onrecord_") and before == "into":
            if part in SHARDED:
                query.written[part] = _writes_value(parts, at)
        elif part.startswith("onrecord_"):
            query.tables[_alias(parts, at)] = part
            query.locks |= before == "update" or (before == "from" and _deletes(parts, at))
        elif part in ("update", "share") and before in ("for", "key"):
            query.locks = True
    for alias, other in _conditions(parts):
        if other in VALUES:
            query.held.add(alias)
        else:
            query.joined.add((alias, other))


def _deletes(parts: list[Part], at: int) -> bool:
    return at > 1 and parts[at - 2] == "delete"


def _alias(parts: list[Part], at: int) -> str:
    after = at + 1
    if after < len(parts) and parts[after] == "as":
        after += 1
    name = parts[after] if after < len(parts) else ""
    is_name = isinstance(name, str) and re.fullmatch(r"[a-z_]\w*", name)
    return str(name) if is_name and not _CLAUSES.fullmatch(str(name)) else ""


def _carried_over(query: _Query) -> set[str]:
    """Those that are held to a value, also by a join to one that is."""
    held, before = set(query.held), -1
    here = [pair for pair in query.joined if query.tables.keys() >= set(pair)]
    while len(held) != before:
        before = len(held)
        held.update(name for pair in here if held & set(pair) for name in pair)
    return held


def _conditions(parts: list[Part]) -> Iterator[tuple[str, str]]:
    """Whose shard is said here to be what: a value, or that of another."""
    parts = list(_without_cases(parts))
    if "or" in parts:  # then none of them holds by itself; ours stand in brackets
        return
    for at, part in enumerate(parts):
        if part != "shard" or parts[at + 1 : at + 2] != ["="]:
            continue
        alias = parts[at - 2] if at > 1 and parts[at - 1] == "." else ""
        other = parts[at + 2]
        assert isinstance(alias, str)
        yield alias, str(other)


def _without_cases(parts: list[Part]) -> Iterator[Part]:
    depth = 0
    for part in parts:
        depth += (part == "case") - (part == "end")
        if not depth:
            yield part


def _writes_value(parts: list[Part], at: int) -> bool:
    """Whether what is inserted has the shard as a value, at the place of its column."""
    following = parts[at + 1 :]
    if following[:1] == ["as"]:
        following = following[2:]
    columns = following[0]
    assert isinstance(columns, list), "an INSERT names its columns"
    place = [name for name in columns if name != ","].index("shard")
    rest = [part for part in following[1:] if part not in ("overriding", "system", "value")]
    if rest[0] == "values":
        given = rest[1]
        assert isinstance(given, list)
    else:
        assert rest[0] == "select", rest
        given = rest[1 : rest.index("from")]
    return _is_value(_split(given)[place])


def _split(parts: list[Part]) -> list[list[Part]]:
    found: list[list[Part]] = [[]]
    for part in parts:
        if part == ",":
            found.append([])
        else:
            found[-1].append(part)
    return found


def _is_value(expression: list[Part]) -> bool:
    match expression:
        case [str(value)]:
            return value in VALUES
        case ["cast", [str(value), "as", "smallint"]]:
            return value in VALUES
    return False
