"""Where the two databases speak differently, and how statements are written once for both.

A statement is a template. ``:name`` is a parameter, ``{tail}`` a table in the schema of choice,
``{for_update}`` a word of the database's own. ``{t.span}`` is a condition about the keys of a
table called t, which differ: PostgreSQL's have a shard, so that a table can be spread over many
machines; SQLite has one number for a session and a sequence in it, because the rows of such
a table lie together in a fifth less room. It is rendered once per store and then looked up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from onrecord.ledger.database.address import Kind

TABLES: Final = (
    "sessions",
    "tail",
    "segments",
    "runs",
    "embedders",
    "vectors",
    "pairs",
    "dictionaries",
    "erased",
    "namespaces",
    "items",
    "checkpoint_threads",
    "checkpoint_lists",
    "checkpoints",
    "checkpoint_items",
    "checkpoint_writes",
    "feeds",
    "feed_positions",
    "meta",
    "counters",
    "migrations",
)

_WORDS: Final[dict[Kind, dict[str, str]]] = {
    "sqlite": {
        "with_that_id": "",
        "clock": ":now",
        "clock_over": ":now",
        "clock_of_gone": ":now",
        "expires": ":now + :ttl",
        "greatest": "max",
        "least": "min",
        "for_update": "",
        "for_no_key_update": "",
        "for_share": "",
        "for_key_share": "",
        "for_key_share_skip_locked": "",
        "for_key_share_of_l": "",
        "skip_locked_i": "",
        "skip_locked_s": "",
    },
    "postgresql": {
        "with_that_id": "OVERRIDING SYSTEM VALUE",
        "clock": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
        "clock_over": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
        "clock_of_gone": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
        "expires": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) + "
        "CAST(:ttl AS BIGINT)",
        "greatest": "GREATEST",
        "least": "LEAST",
        "for_update": "FOR UPDATE",
        "for_no_key_update": "FOR NO KEY UPDATE",
        "for_share": "FOR SHARE",
        "for_key_share": "FOR KEY SHARE",
        "for_key_share_skip_locked": "FOR KEY SHARE SKIP LOCKED",
        "for_key_share_of_l": "FOR KEY SHARE OF l",
        "skip_locked_i": "FOR UPDATE OF i SKIP LOCKED",
        "skip_locked_s": "FOR NO KEY UPDATE OF s SKIP LOCKED",
    },
}

# Citus calls no function for a row of another node that may answer otherwise there; this one it
# asks once, of its own clock.
_WORDS_OF_CITUS: Final = {
    **{
        name: text.replace("clock_timestamp", "statement_timestamp")
        for name, text in _WORDS["postgresql"].items()
    },
    # Nor that one where a row stands already, or for an answer: there it is the writer's own.
    "clock_over": "excluded.updated",
    "clock_of_gone": "CAST(:now AS BIGINT)",
}


def _among(column: str, numbers: str) -> str:
    """By the numbers the index is found, and by the pairs that a row is nobody else's."""
    shards, those = "CAST(:shards AS SMALLINT[])", f"CAST({numbers} AS BIGINT[])"
    return (
        f"{{t}}{column} = ANY({those}) AND {{t}}shard = ANY({shards}) AND "
        f"({{t}}shard, {{t}}{column}) IN (SELECT * FROM unnest({shards}, {those}))"
    )


# Of the tables with a row for each session or thread: {s.my_shard} stands before a condition that
# finds one of its rows, {shard_key} and {shard_value} where a row is written; {last_shard} is like
# {my_shard}, of the row that a page ended with.
# Of those with rows in an order: {t.span} is from :after, not counted in, up to :upto; {t.at} is
# one row; {t.of s} all rows of what a row called s has the number of; {t.order} their order;
# {t.at_head s} the row of the message at the head of a session called s, {t.at_finished s} at that
# of a position called s.
# Of many sessions, by arrays of shards and numbers: {many_sessions} are their rows, and
# {of_many_sessions} what belongs to them; likewise of many threads, and of many of their lists. On
# PostgreSQL alone.
# Of the positions of feeds: {t.feed_at} is one of :feed, {t.feed_of s} that of a session called s,
# {t.all_feeds_at} those of all feeds in a session.
_KEYS: Final[dict[Kind, dict[str, str]]] = {
    "sqlite": {
        "shard": "0",
        "my_shard": "",
        "shard_key": "",
        "shard_of_key": "",
        "and_shard": "",
        "shard_value": "",
        "last_shard": "",
        "target_shard_value": "",
        "span": "{t}place > (:session << 32) + :after AND {t}place <= (:session << 32) + :upto",
        "at": "{t}place = (:session << 32) + :seq",
        "in_shard_of": "",
        "of": "{t}place > ({s}.id << 32) AND {t}place <= ({s}.id << 32) + 4294967295",
        "order": "{t}place",
        "at_head": "{t}place = ({s}.id << 32) + {s}.head",
        "at_finished": "{t}place = ({s}.session << 32) + {s}.head",
        "feed_at": "{t}place = (:session << 32) + :feed",
        "feed_of": "{t}place = ({s}.id << 32) + :feed",
        "all_feeds_at": "{t}place > (:session << 32) AND {t}place <= (:session << 32) + 4294967295",
        "feed_key": "place",
        "feed_value": "(:session << 32) + :feed",
        "row_key": "place",
        "row_value": "(:session << 32) + :seq",
        "row_copy": "(:target << 32) + seq",
        "list_span": "{t}place > (:list << 32) + :after AND {t}place <= (:list << 32) + :upto",
        "list_at": "{t}place = (:list << 32) + :number",
        "of_list": "{t}place > ({s}.id << 32) AND {t}place <= ({s}.id << 32) + 4294967295",
        "list_order": "{t}place",
        "list_row_key": "place",
        "list_row_value": "(:list << 32) + :number",
        "list_row_copy": "(:target << 32) + number",
    },
    "postgresql": {
        "shard": "{t}shard",
        "my_shard": "{t}shard = :shard AND",
        "shard_key": "shard,",
        "shard_of_key": "{t}shard,",
        "and_shard": ", shard",
        "shard_value": "CAST(:shard AS SMALLINT),",
        "last_shard": "shard = :last_shard AND",
        "target_shard_value": "CAST(:target_shard AS SMALLINT),",
        "span": "{t}shard = :shard AND {t}session = :session AND {t}seq > :after AND "
        "{t}seq <= :upto",
        "at": "{t}shard = :shard AND {t}session = :session AND {t}seq = :seq",
        "in_shard_of": "{t}shard = {s}.shard AND",
        "of": "{t}shard = {s}.shard AND {t}session = {s}.id",
        "order": "{t}seq",
        "many_sessions": _among("id", ":sessions"),
        "of_many_sessions": _among("session", ":sessions"),
        "many_threads": _among("id", ":threads"),
        "of_many_threads": _among("thread", ":threads"),
        "many_lists": _among("id", ":lists"),
        "of_many_lists": _among("list", ":lists"),
        "at_head": "{t}shard = {s}.shard AND {t}session = {s}.id AND {t}seq = {s}.head",
        "at_finished": "{t}shard = {s}.shard AND {t}session = {s}.session AND {t}seq = {s}.head",
        "feed_at": "{t}shard = :shard AND {t}session = :session AND {t}feed = :feed",
        "feed_of": "{t}shard = {s}.shard AND {t}session = {s}.id AND {t}feed = :feed",
        "all_feeds_at": "{t}shard = :shard AND {t}session = :session",
        "feed_key": "shard, session, feed",
        "feed_value": ":shard, :session, :feed",
        "row_key": "shard, session, seq",
        "row_value": ":shard, :session, :seq",
        "row_copy": "CAST(:target_shard AS SMALLINT), CAST(:target AS BIGINT), seq",
        "list_span": "{t}shard = :shard AND {t}list = :list AND {t}number > :after AND "
        "{t}number <= :upto",
        "list_at": "{t}shard = :shard AND {t}list = :list AND {t}number = :number",
        "of_list": "{t}shard = {s}.shard AND {t}list = {s}.id",
        "list_order": "{t}number",
        "list_row_key": "shard, list, number",
        "list_row_value": ":shard, :list, :number",
        "list_row_copy": "CAST(:target_shard AS SMALLINT), CAST(:target AS BIGINT), number",
    },
}


class Capabilities(NamedTuple):
    """What a database can do, for those who need not know which it is."""

    one_statement_writes: bool
    """A lock, a check and an insert in one statement, hence in one round trip."""
    one_moment_transactions: bool
    """Every transaction sees one moment, and nothing is committed beside it."""
    array_parameters: bool
    """A list of numbers is one parameter of a statement, and one value of an answer."""
    across_shards: bool
    """One statement locks rows of many shards, or joins the first of them with what is theirs."""
    pulse: bool
    """A value that moves with every commit can be read without a round trip."""
    last_id: int
    """The highest number of a session: on SQLite a sequence stands behind it, in 64 bits."""


_CAPABILITIES: Final[dict[Kind, Capabilities]] = {
    "sqlite": Capabilities(
        one_statement_writes=False,
        one_moment_transactions=True,
        array_parameters=False,
        across_shards=True,
        pulse=True,
        last_id=2**31 - 1,
    ),
    "postgresql": Capabilities(
        one_statement_writes=True,
        one_moment_transactions=False,
        array_parameters=True,
        across_shards=True,
        pulse=False,
        last_id=2**63 - 1,
    ),
}


class Dialect:
    """Renders statement templates for one database and schema."""

    def __init__(self, kind: Kind, schema: str | None = None) -> None:
        self.kind = kind
        self.can = _CAPABILITIES[kind]
        self.schema = schema
        space = "" if schema is None else f"{quoted(schema)}."
        self._words: dict[str, str] = {
            **_WORDS[kind],
            **{table: f"{space}onrecord_{table}" for table in TABLES},
        }
        self._words["schema"] = "" if schema is None else quoted(schema)
        self._rendered: dict[str, str] = {}

    def know(self, by_citus: bool) -> None:
        """Take into account who spreads the tables.

        What a statement writes to two tables Citus fetches in between, and cannot do at all where
        an answer looks at it: 13 ms, where each of five statements that name a shard takes half of
        one.
        """
        if by_citus:
            self.can = self.can._replace(one_statement_writes=False, across_shards=False)
            self._words.update(_WORDS_OF_CITUS)
            self._rendered = {}

    def render(self, template: str) -> str:
        """The statement as the driver wants it."""
        text = self._rendered.get(template)
        if text is None:
            text = self._rendered[template] = filled(template, self.kind, self._words)
        return text


_PART: Final = re.compile(
    r"""
    (?P<kept>  '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* )
    | \{ (?:(?P<alias>\w+)\.)? (?P<word>\w+) (?:\ (?P<other_alias>\w+))? \}
    | : (?P<name>[A-Za-z_]\w*)
    | (?P<cast> :: )
    | (?P<odd> [{}:'"] )
    | (?P<other> [^{}:'"-]+ | - )
    """,
    re.VERBOSE,
)


def filled(template: str, kind: Kind, words: Mapping[str, str]) -> str:
    """A template with its words and parameters filled in; AssertionError where it cannot be read.

    What is quoted, and comments, stay as they are.
    """
    return "".join([_part(part, template, kind, words) for part in _PART.finditer(template)])


def _part(part: re.Match[str], template: str, kind: Kind, words: Mapping[str, str]) -> str:
    postgres = kind == "postgresql"
    if (name := part["name"]) is not None:
        return f"%({name})s" if postgres else f":{name}"
    if (word := part["word"]) is not None:
        alias = part["alias"]
        if word in _KEYS[kind]:
            table = "" if alias is None else f"{alias}."
            found = _KEYS[kind][word].format(t=table, s=part["other_alias"])
            return filled(found, kind, words)
        if word not in words or alias or part["other_alias"]:
            raise AssertionError(f"{part[0]} is no table and no word, in: {template}")
        found = words[word]
        return filled(found, kind, {}) if word in _WORDS[kind] else _percent(found, postgres)
    if part["cast"] is not None:
        raise AssertionError(
            f"CAST(… AS …) is understood everywhere, and :: is not, in: {template}"
        )
    if part["odd"] is not None:
        raise AssertionError(
            f"A {part['odd']} that belongs to nothing, at {part.start()} in: {template}"
        )
    return _percent(part[0], postgres)


def _percent(text: str, postgres: bool) -> str:
    """As it stands, in a text in which psycopg looks for parameters."""
    return text.replace("%", "%%") if postgres else text


def quoted(name: str) -> str:
    """An SQL identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
