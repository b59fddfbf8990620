"""Commands that read: sessions, messages, items, and what waits."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import typer

from onrecord.cli import options, records, visible
from onrecord.cli.asked import Asked, NotThere, existing, owner, owners, pairs_of, span_of, time_of
from onrecord.cli.commands import command
from onrecord.cli.conversation import Conversation, compact, marked, owner_of
from onrecord.cli.output import BOLD, DIM, Column, Output, Raw, Stored, Styled, moment

if TYPE_CHECKING:
    from onrecord.hit import Hit
    from onrecord.item import Item
    from onrecord.message import Message
    from onrecord.session import Session
    from onrecord.store import Store
    from onrecord.unfinished import Unfinished
    from onrecord.version import SessionInfo

PANEL: Final = "Read"
PAGE: Final = 200
"""So many sessions or items are read at a time."""
LONGEST_HIT: Final = 300

Full = Annotated[
    bool,
    typer.Option("--full", help="Results of tools and thoughts in full, not their first lines."),
]


# -- sessions --------------------------------------------------------------------------------


@command("sessions", PANEL)
def sessions(
    asked: Asked,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    everyone: options.All = False,
    metadata: options.Metadata = None,
    limit: options.Limit = 50,
) -> None:
    """List sessions, the one last active first."""
    whose = owners(tenant, user, agent, everyone=everyone)
    wanted = pairs_of("--metadata", metadata)
    table = asked.out.table(_SESSION_COLUMNS)
    with asked.store() as store:
        left, last = limit, None
        while left > 0:
            page = store.sessions(**whose, metadata=wanted, limit=min(left, PAGE), after=last)
            _write_sessions(asked.out, table, page)
            if len(page) < min(left, PAGE):
                break
            left, last = left - len(page), page[-1]
        if left == limit and not page:
            _nothing(asked.out, "No sessions", everyone)
        elif left <= 0 and not asked.out.json:
            asked.out.note(f"The newest {limit:,}: --limit shows more.")


def _write_sessions(out: Output, table: Any, page: list[SessionInfo]) -> None:
    if out.json:
        for info in page:
            out.record("session", records.session(info))
    else:
        table.add(page)
    out.flush()


_SESSION_COLUMNS: Final[list[Column[SessionInfo]]] = [
    Column("KEY", lambda info: visible.line(info.key), cut=True, style=BOLD),
    Column("TENANT", lambda info: visible.line(info.tenant), cut=True),
    Column("USER", lambda info: visible.line(info.user), cut=True),
    Column("AGENT", lambda info: visible.line(info.agent), cut=True),
    Column("LAST ACTIVE", lambda info: moment(info.last_active)),
    Column("MESSAGES", lambda info: f"{info.messages:,}", right=True),
    Column("TITLE", lambda info: visible.hint(info.title or ""), cut=True),
    Column("DAMAGED", lambda info: visible.line(info.damaged or ""), cut=True, style="red"),
]


# -- messages --------------------------------------------------------------------------------


@command("show", PANEL)
def show(
    asked: Asked,
    key: options.Key,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    after: Annotated[
        int, typer.Option("--after", metavar="NUMBER", min=0, help="Only behind this message.")
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", metavar="NUMBER", min=1, help="So many at the most."),
    ] = None,
    since: options.Since = None,
    until: options.Until = None,
    full: Full = False,
) -> None:
    """Show a session's messages, the oldest first."""
    limits = {"since": time_of("--since", since), "until": time_of("--until", until)}
    with asked.store() as store:
        session = store.session(key, **owner(tenant, user, agent))
        info = existing(session)
        if any(limits.values()):
            found = _within(session, after, limits)
        else:
            found = session.scan(after=after)
        writer = _Writer(asked.out, full)
        writer.begin(info)
        for message in islice(found, limit):
            writer.message(message)


def _within(session: Session, after: int, limits: dict[str, Any]) -> Iterator[Message]:
    while page := session.messages(after=after, limit=PAGE, **limits):
        yield from page
        after = page[-1].seq or 0


@command("tail", PANEL, interrupted="")
def tail(
    asked: Asked,
    key: options.Key,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    number: Annotated[
        int, typer.Option("-n", "--limit", metavar="NUMBER", min=0, help="So many messages.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on, as the session grows, until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.05, help="How often to look.")
    ] = 0.5,
    full: Full = False,
) -> None:
    """Show a session's newest messages, and those that come."""
    with asked.store() as store:
        session = store.session(key, **owner(tenant, user, agent))
        writer = _Writer(asked.out, full)
        try:
            writer.begin(existing(session))
        except NotThere:
            if not follow:
                raise
            asked.out.note(f"There is no session {session.name} yet.")
        seen = session.version()
        head = writer.messages(session.tail(number), seen.head)
        while follow:
            time.sleep(every)
            now = session.version()
            if now.epoch != seen.epoch or now.head < head:
                writer.rewritten()
                head = writer.messages(session.tail(number), now.head)
            elif now.head > head:
                head = writer.messages(session.messages(after=head), now.head)
            seen = now


class _Writer:
    """Writes messages, as JSON or to be read."""

    def __init__(self, out: Output, full: bool) -> None:
        self._out = out
        self._readable = Conversation(out, full=full)
        self._count = 0

    def begin(self, info: SessionInfo) -> None:
        """Say which session it is."""
        if not self._out.json:
            self._readable.head(info)

    def message(self, message: Message) -> None:
        """Write one."""
        if self._out.json:
            self._out.line(records.message(message))
        else:
            self._readable.message(message)
        self._count += 1
        if self._count in (1, 10, 100):
            self._out.flush()  # whoever reads sees the first ones at once

    def messages(self, messages: list[Message], head: int) -> int:
        """Write some, and return where they end."""
        for message in messages:
            self.message(message)
        self._out.flush()
        return max(head, messages[-1].seq or 0) if messages else head

    def rewritten(self) -> None:
        """Say that what was shown may not be there any more."""
        if self._out.json:
            self._out.record("rewritten", {})
        else:
            self._out.say()
            self._out.say(("── it was rewritten; its newest messages are now:", "yellow"))


# -- search ----------------------------------------------------------------------------------


@command("search", PANEL)
def search(
    asked: Asked,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORDS...",
            help="As one text: 'lyon -paris \"last week\"' finds lyon without paris, and "
            "what stands between double quotes as it is.",
        ),
    ],
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    everyone: options.All = False,
    session: options.OfSession = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="Only what such a one said. May be repeated."),
    ] = None,
    since: options.Since = None,
    until: options.Until = None,
    metadata: options.Metadata = None,
    limit: options.Limit = 10,
    around: Annotated[
        int,
        typer.Option("--around", metavar="NUMBER", min=0, help="With so many messages beside it."),
    ] = 0,
    within: Annotated[
        float, typer.Option("--within", metavar="SECONDS", min=0.05, help="Time for it.")
    ] = 5.0,
    mode: options.Mode = "auto",
    embedder: options.Embedder = None,
) -> None:
    """Find what was said, the best first."""
    query = " ".join(words)
    limits: dict[str, Any] = {
        "roles": role or None,
        "since": time_of("--since", since),
        "until": time_of("--until", until),
        "limit": limit,
        "within": within,
        "mode": cast(Literal["auto", "text", "meaning", "both"], mode),
    }
    with asked.store(embedder=embedder) as store:
        if session is not None:
            handle = store.session(session, **owner(tenant, user, agent))
            existing(handle)
            hits = handle.search(query, **limits)
        else:
            whose = owners(tenant, user, agent, everyone=everyone)
            hits = store.search(query, **whose, metadata=pairs_of("--metadata", metadata), **limits)
        for at, hit in enumerate(hits):
            _write_hit(asked.out, hit, at, query, around)
        if not hits:
            _nothing(asked.out, "Nothing was found", everyone or session is not None)
        if not hits.complete:
            asked.out.note("There was no time to look at everything: search again, or --within.")


def _write_hit(out: Output, hit: Hit, at: int, query: str, around: int) -> None:
    beside = hit.around(around) if around else [hit.message]
    if out.json:
        info = hit.info
        more = {"around": [Raw(records.message(one)) for one in beside]} if around else {}
        out.record(
            "hit",
            {
                "score": hit.score,
                "tenant": info.tenant,
                "user": info.user,
                "agent": info.agent,
                "key": info.key,
                "message": Raw(records.message(hit.message)),
                **more,
            },
        )
        return
    if at:
        out.say()
    out.say(
        (f"{hit.score:.2f}  ", "green"),
        (visible.line(hit.info.key), BOLD),
        (f" #{hit.message.seq}", DIM),
        *owner_of(hit.info),
        (f" · {moment(hit.message.created_at)}", DIM),
    )
    wanted = [word.lower() for word in re.findall(r"\w+", query) if len(word) > 1]
    for one in beside:
        found = one.seq == hit.message.seq
        said = _excerpt(one, wanted)
        pieces: list[Styled] = list(marked(said, wanted, "bold")) if found else [(said, DIM)]
        out.say((f"{visible.line(one.role)}: ", DIM), *pieces, indent=6 if out.width >= 60 else 2)


def _excerpt(message: Message, words: list[str]) -> str:
    """What was said where the words stand in it, or else at its beginning."""
    from onrecord.blocks import text_of

    text = " ".join((message.text or text_of(message.content)).split())
    low = text.lower()
    first = min((place for word in words if (place := low.find(word)) >= 0), default=0)
    begin = 0 if first < LONGEST_HIT * 2 // 3 else text.rfind(" ", 0, first - LONGEST_HIT // 3) + 1
    start = "…" if begin else ""
    end = "…" if len(text) > begin + LONGEST_HIT else ""
    return visible.line(f"{start}{text[begin : begin + LONGEST_HIT]}{end}")


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
) -> int | None:
    """List what is known: items, the last written first."""
    names = tuple(namespace or ())
    whose = owner(tenant, user, agent)
    wanted = pairs_of("--filter", filter)
    out = asked.out
    with asked.store() as store:
        if namespaces:
            many_ = owners(tenant, user, agent, everyone=everyone)
            for parts in store.namespaces(names, **many_, limit=limit):
                if out.json:
                    out.record("namespace", {"namespace": parts})
                else:
                    out.say(_path(parts))
            return None
        if key is not None or session is not None:
            here = (
                store.session(session, **whose).state if session else store.items(*names, **whose)
            )
            if key is not None:
                return _one_item(out, here.get(key), key)
            _write_items(out, here.list(filter=wanted, limit=limit), limit)
        elif words is not None:
            hits = store.search_items(words, names, **whose, filter=wanted, limit=limit)
            _write_items(out, [hit.item for hit in hits], None, [hit.score for hit in hits])
        else:
            _write_items(out, _all_items(store, names, whose, wanted, limit), limit)
    return None


def _all_items(
    store: Store, names: tuple[str, ...], whose: Any, wanted: Any, limit: int
) -> list[Item]:
    found: list[Item] = []
    while len(found) < limit:
        after = found[-1] if found else None
        most = min(PAGE, limit - len(found))
        page = store.find_items(names, **whose, filter=wanted, after=after, limit=most)
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
) -> None:
    """List sessions that somebody has to go on with: what waits for an answer, or was left."""
    whose = owners(tenant, user, agent, everyone=everyone)
    quiet = span_of("--quiet-for", quiet_for).total_seconds()
    out = asked.out
    with asked.store() as store:
        found = store.unfinished(**whose, quiet_for=quiet, limit=limit)
        if out.json:
            for one in found:
                out.record("unfinished", _unfinished(one))
        elif found:
            out.table(_UNFINISHED_COLUMNS).add(found)
        else:
            _nothing(out, "Nothing waits", everyone)


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


def _nothing(out: Output, what: str, everyone: bool) -> None:
    if not out.json:
        more = "." if everyone else " under these names. --all looks at everybody's."
        out.note(what + more)
