"""Commands that say what is known, and what waits: items, and sessions to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from onrecord.cli import options, records, visible
from onrecord.cli.asked import Asked, NotThere, existing, owner, owners, pairs_of, span_of
from onrecord.cli.commands import command
from onrecord.cli.conversation import compact
from onrecord.cli.output import BOLD, Column, Output, Stored, moment
from onrecord.cli.reading import PAGE, PANEL, nothing_found
from onrecord.errors import Misconfigured

if TYPE_CHECKING:
    from onrecord.item import Item
    from onrecord.items import Items
    from onrecord.session import Session
    from onrecord.store import Store
    from onrecord.unfinished import Unfinished


# -- items -----------------------------------------------------------------------------------


@command("items", PANEL)
def items(
    asked: Asked,
    namespace: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAMESPACE...]", help="The names with which it begins."),
    ] = None,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    everyone: Annotated[
        bool,
        typer.Option(
            "--all",
            help="With --namespaces: of everybody who is not named.",
            rich_help_panel=options.WHOSE,
        ),
    ] = False,
    namespaces: Annotated[
        bool, typer.Option("--namespaces", help="The namespaces instead of what is in them.")
    ] = False,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="One item, with its whole value.")
    ] = None,
    words: Annotated[
        str | None, typer.Option("--search", metavar="WORDS", help="Find them by what they say.")
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="NAME=VALUE", help="Only whose value says so. May be repeated."
        ),
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="KEY", help="The state of this session.")
    ] = None,
    limit: options.Limit = 50,
    replica: options.Replica = None,
    stale_ok: options.StaleOk = False,
) -> int | None:
    """List what is known: items, the last written first."""
    if everyone and not namespaces:
        raise Misconfigured("--all goes with --namespaces: items are those of one owner.")
    if session is not None and (namespace or namespaces or words is not None):
        raise Misconfigured(
            "--session is for the state of one session, which has no namespaces, and is listed or "
            "asked for a --key. Leave out NAMESPACE, --namespaces and --search."
        )
    names = tuple(namespace or ())
    whose = owner(tenant, user, agent)
    wanted = pairs_of("--filter", filter)
    out = asked.out
    with asked.store(replica=replica, stale_ok=stale_ok) as store:
        if namespaces:
            many_ = owners(tenant, user, agent, everyone=everyone)
            for parts in store.namespaces(names, **many_, limit=limit, stale_ok=stale_ok):
                if out.json:
                    out.record("namespace", {"namespace": parts})
                else:
                    out.say(_path(parts))
            return None
        if key is not None or session is not None:
            here = (
                _state_of(store.session(session, **whose), stale_ok)
                if session is not None
                else store.items(*names, **whose)
            )
            if key is not None:
                return _one_item(out, here.get(key, stale_ok=stale_ok), key)
            found = here.list(filter=wanted, limit=limit, stale_ok=stale_ok)
            _write_items(out, found, limit)
        elif words is not None:
            hits = store.search_items(
                words, names, **whose, filter=wanted, limit=limit, stale_ok=stale_ok
            )
            _write_items(out, [hit.item for hit in hits], None, [hit.score for hit in hits])
        else:
            found = _all_items(store, names, whose, wanted, limit, stale_ok)
            _write_items(out, found, limit)
    return None


def _state_of(session: Session, stale_ok: bool) -> Items:
    """What a session keeps beside its messages; NotThere where there is no session."""
    existing(session, stale_ok=stale_ok)
    return session.state


def _all_items(
    store: Store, names: tuple[str, ...], whose: Any, wanted: Any, limit: int, stale_ok: bool
) -> list[Item]:
    found: list[Item] = []
    while len(found) < limit:
        after = found[-1] if found else None
        most = min(PAGE, limit - len(found))
        page = store.find_items(
            names, **whose, filter=wanted, after=after, limit=most, stale_ok=stale_ok
        )
        found += page
        if len(page) < most:
            break
    return found


def _write_items(
    out: Output, found: list[Item], limit: int | None, scores: list[float | None] | None = None
) -> None:
    if out.json:
        for at, item in enumerate(found):
            more = {} if scores is None else {"score": scores[at]}
            out.record("item", records.item(item), **more)
        return
    out.table(_ITEM_COLUMNS).add(found)
    if not found:
        out.note("No items here. --namespaces lists where there are some.")
    elif limit is not None and len(found) >= limit:
        out.note(f"The first {limit:,}: --limit shows more.")


def _one_item(out: Output, item: Item | None, key: str) -> int | None:
    if item is None:
        raise NotThere(f"There is no item {key!r} here. Without --key all are listed.")
    if out.json:
        out.record("item", records.item(item))
        return None
    import json

    out.facts(
        [
            ("key", visible.line(item.key)),
            ("in", _path(item.namespace)),
            ("version", str(item.version)),
            ("written", moment(item.updated_at)),
            ("expires", moment(item.expires_at)),
            ("found by", visible.hint(item.text or "")),
            ("damaged", visible.line(item.damaged or "")),
        ]
    )
    out.say()
    value = item.value
    try:
        shown = json.dumps(value, ensure_ascii=False, indent=2)
    except (TypeError, ValueError):
        shown = compact(value)
    out.say(value if isinstance(value, str) and not value else visible.text(shown))
    return None


def _path(parts: tuple[str, ...]) -> str:
    if len(parts) == 2 and not parts[0]:
        return f"state of {visible.line(parts[1])}"
    return " / ".join(map(visible.line, parts))


_ITEM_COLUMNS: Final[list[Column[Item]]] = [
    Column("KEY", lambda item: visible.line(item.key), cut=True, style=BOLD),
    Column("NAMESPACE", lambda item: _path(item.namespace), cut=True),
    Column("WRITTEN", lambda item: moment(item.updated_at)),
    Column("EXPIRES", lambda item: moment(item.expires_at)),
    Column("VALUE", lambda item: visible.hint(compact(item.value)), cut=True),
    Column("DAMAGED", lambda item: visible.line(item.damaged or ""), cut=True, style="red"),
]


# -- what waits ------------------------------------------------------------------------------


@command("unfinished", PANEL)
def unfinished(
    asked: Asked,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    everyone: options.All = False,
    quiet_for: Annotated[
        str,
        typer.Option(
            "--quiet-for", metavar="TIME", help="Nobody wrote to it for so long: 30s, 10m, 2h."
        ),
    ] = "0s",
    limit: options.Limit = 50,
    replica: options.Replica = None,
    stale_ok: options.StaleOk = False,
) -> None:
    """List sessions that somebody has to go on with: what waits for an answer, or was left."""
    whose = owners(tenant, user, agent, everyone=everyone)
    quiet = span_of("--quiet-for", quiet_for).total_seconds()
    out = asked.out
    with asked.store(replica=replica, stale_ok=stale_ok) as store:
        found = store.unfinished(**whose, quiet_for=quiet, limit=limit, stale_ok=stale_ok)
        if out.json:
            for one in found:
                out.record("unfinished", _unfinished(one))
        elif found:
            out.table(_UNFINISHED_COLUMNS).add(found)
        else:
            nothing_found(out, "Nothing waits", everyone)


def _unfinished(one: Unfinished) -> dict[str, Any]:
    info = one.info
    return {
        "tenant": info.tenant,
        "user": info.user,
        "agent": info.agent,
        "key": info.key,
        "since": one.since,
        "said": one.said,
        "left": one.left,
        "dangling": [
            {"id": call.id, "name": call.name, "args": Stored(call.args)} for call in one.dangling
        ],
        "messages": info.messages,
    }


def _waits_for(one: Unfinished) -> str:
    if one.left:
        return "left"
    if one.dangling:
        return visible.hint(", ".join(call.name for call in one.dangling))
    return "an answer"


_UNFINISHED_COLUMNS: Final[list[Column[Unfinished]]] = [
    Column("KEY", lambda one: visible.line(one.info.key), cut=True, style=BOLD),
    Column("TENANT", lambda one: visible.line(one.info.tenant), cut=True),
    Column("USER", lambda one: visible.line(one.info.user), cut=True),
    Column("AGENT", lambda one: visible.line(one.info.agent), cut=True),
    Column("SINCE", lambda one: moment(one.since)),
    Column("WAITS FOR", _waits_for, cut=True),
    Column("SAID LAST", lambda one: visible.hint(one.said), cut=True),
]
