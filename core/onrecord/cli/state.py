"""Commands that say how a store is: how much is in it, how it answers, what bites."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

import typer

from onrecord.cli import options, visible
from onrecord.cli.asked import Asked, owners
from onrecord.cli.commands import FOUND_WRONG, command
from onrecord.cli.output import BOLD, DIM, Output, size
from onrecord.cli.wording import in_shell
from onrecord.diagnosis import SEVERITIES
from onrecord.plural import many

if TYPE_CHECKING:
    from onrecord.diagnosis import Finding
    from onrecord.health import TierHealth
    from onrecord.reports import Stats

PANEL: Final = "Look after"


@command("stats", PANEL)
def stats(
    asked: Asked,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count all of many sessions, however long that takes.")
    ] = False,
    replica: options.Replica = None,
    stale_ok: options.StaleOk = False,
) -> None:
    """Count what there is, and the bytes it takes. Of many sessions that is an estimate.

    Names that are not given mean everybody.
    """
    with asked.store(replica=replica, stale_ok=stale_ok) as store, asked.out.busy("Counting"):
        found = store.stats(**owners(tenant, user, agent), exact=exact, stale_ok=stale_ok)
    out = asked.out
    if out.json:
        out.record("stats", found, saving=found.saving)
        return
    usage, about = found.usage, about_if(found)
    spent = f"{usage.input_tokens:,} in, {usage.output_tokens:,} out, {usage.requests:,} requests"
    within = [many(found.namespaces, "namespace") * bool(found.namespaces)]
    within.append(many(found.states, "state") * bool(found.states))
    items = f"{found.items:,} in {' and '.join(filter(None, within))}"
    unindexed = (
        f"all but {about}{found.unindexed:,} (onrecord index does them)"
        if found.unindexed
        else "all"
    )
    room = f"{about * bool(found.index_bytes)}{size(found.index_bytes)}"
    out.facts(
        [
            ("sessions", f"{about}{found.sessions:,}"),
            ("messages", f"{about}{found.messages:,} in {found.turns:,} turns"),
            ("tokens", f"{about}{found.tokens:,}"),
            ("spent", f"{about}{spent}" if usage.requests else ""),
            ("items", items if found.items else ""),
            ("threads", f"{found.threads:,} of graphs" * bool(found.threads)),
            ("uncompressed", f"{about}{size(found.raw_bytes)}"),
            ("stored", f"{about}{size(found.stored_bytes)}, {found.saving:.0%} less"),
            ("kept as", f"{about}{found.rows:,} rows, {found.segments:,} segments"),
            ("indexed", f"{unindexed}, {room}" if found.messages else ""),
            ("dictionaries", f"{found.dictionaries:,}" * bool(found.dictionaries)),
            ("on the disk", f"{size(found.disk_bytes)}, of the whole store"),
        ]
    )
    if found.estimated:
        out.note("What is about so much is estimated, by a thousand sessions. --exact counts all.")


def about_if(found: Stats) -> str:
    """What stands before a number of sessions or messages that may be an estimate."""
    return "about " if found.estimated else ""


@command("health", PANEL)
def health(asked: Asked, replica: options.Replica = None) -> int:
    """Ask database, replica and cache how they are. The code is 1 where one of them is not well."""
    with asked.store(replica=replica) as store:
        found = store.health()
    out = asked.out
    tiers = [
        ("database", found.database),
        ("replica", found.replica),
        ("cache", found.cache),
        ("embedder", found.embedder),
    ]
    if out.json:
        out.record("health", found, ok=found.ok)
    else:
        for name, tier in tiers:
            if tier is not None:
                _write_tier(out, name, tier)
        if found.cache is None:
            out.say(("cache     ", DIM), "none")
        if found.unindexed:
            behind = f"without {many(found.unindexed, 'message')} of the sessions last active"
            out.say(("index     ", DIM), f"{behind} (onrecord index does them)")
        if found.breaker_open:
            out.say(("The cache is being left alone for a while, after a failure.", "yellow"))
    return 0 if found.ok else FOUND_WRONG


@command("doctor", PANEL)
def doctor(
    asked: Asked,
    within: Annotated[
        float, typer.Option("--within", metavar="SECONDS", min=0.1, help="Time for it.")
    ] = 10.0,
    embedder: options.Embedder = None,
) -> int:
    """Look at what bites, and say what to do. The code is 1 where it is more than a note.

    It changes nothing. docs/how-to/doctor.md lists every check.
    """
    out = asked.out
    # With the settings that others have: whether tables are made by themselves is one, and a
    # doctor makes none.
    with asked.store(makes_tables=True, embedder=embedder) as store, out.busy("Examining"):
        found = store.doctor(within=within)
    if out.json:
        for finding in found.findings:
            out.record("finding", finding)
    else:
        for finding in found.findings:
            _write_finding(out, finding)
        counts = Counter(finding.severity for finding in found.findings)
        said = ", ".join(many(counts[one], one) for one in SEVERITIES if counts[one])
        out.say(f"{many(len(found.checks), 'check')}: ", (said or "nothing found", BOLD))
    return 0 if found.ok else FOUND_WRONG


def _write_finding(out: Output, finding: Finding) -> None:
    colour = _COLOURS[finding.severity]
    out.say((finding.severity, f"bold {colour}".strip()), "  ", (finding.check, BOLD))
    out.say(visible.text(in_shell(finding.what)), indent=2)
    out.say((visible.text(in_shell(finding.advice)), DIM), indent=2)
    out.say()


_COLOURS: Final = {"error": "red", "warning": "yellow", "note": ""}


def _write_tier(out: Output, name: str, tier: TierHealth) -> None:
    took = "" if tier.milliseconds is None else f"  {tier.milliseconds:,.1f} ms"
    out.say(
        (name.ljust(10), DIM),
        ("ok" if tier.ok else "not ok", "bold green" if tier.ok else "bold red"),
        took,
        (f"  {visible.line(tier.where)}", BOLD if not tier.ok else ""),
    )
    if tier.problem:
        out.say((visible.text(in_shell(tier.problem)), "" if tier.ok else "red"), indent=2)
