"""Where the two databases speak differently, and how statements are written once for both.

A statement is a template: ``{tail}`` is a table in the schema of choice, ``{blob}`` a type,
``:name`` a parameter. It is rendered once per store and then looked up.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from onrecord.ledger.database.address import Kind

TABLES: Final = (
    "sessions",
    "tail",
    "segments",
    "dictionaries",
    "erased",
    "checkpoint_threads",
    "checkpoint_strands",
    "checkpoints",
    "checkpoint_items",
    "checkpoint_writes",
    "meta",
    "counters",
    "migrations",
)

_WORDS: Final[dict[Kind, dict[str, str]]] = {
    "sqlite": {
        "blob": "BLOB",
        "key": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "packed": "",
        "with_that_id": "",
        "clock": ":now",
        "greatest": "max",
        "least": "min",
        "for_update": "",
        "for_share": "",
        "for_key_share": "",
        "lateral": "",
    },
    "postgresql": {
        "blob": "BYTEA",
        "key": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        # Room on each page, so that moving a head stays on its page and touches no index.
        "packed": "WITH (fillfactor = 80)",
        "with_that_id": "OVERRIDING SYSTEM VALUE",
        "clock": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
        "greatest": "GREATEST",
        "least": "LEAST",
        "for_update": "FOR UPDATE",
        "for_share": "FOR SHARE",
        "for_key_share": "FOR KEY SHARE",
        "lateral": "LATERAL",
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
    pulse: bool
    """A value that moves with every commit can be read without a round trip."""


_CAPABILITIES: Final[dict[Kind, Capabilities]] = {
    "sqlite": Capabilities(
        one_statement_writes=False, one_moment_transactions=True, array_parameters=False, pulse=True
    ),
    "postgresql": Capabilities(
        one_statement_writes=True, one_moment_transactions=False, array_parameters=True, pulse=False
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
        if kind == "postgresql":
            self._words = {k: v.replace("%", "%%") for k, v in self._words.items()}
        self._rendered: dict[str, str] = {}

    def render(self, template: str) -> str:
        """The statement as the driver wants it."""
        text = self._rendered.get(template)
        if text is None:
            text = template
            if self.kind == "postgresql":
                text = re.sub(r":(\w+)", r"%(\1)s", text)
            text = self._rendered[template] = text.format_map(self._words)
        return text


def quoted(name: str) -> str:
    """An SQL identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
