"""Commands that read: sessions and messages."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import typer

from onrecord.cli import options, records, visible
from onrecord.cli.asked import Asked, NotThere, existing, owner, owners, pairs_of, time_of
from onrecord.cli.commands import command
from onrecord.cli.conversation import Conversation, marked, owner_of
from onrecord.cli.helping import Command
from onrecord.cli.output import BOLD, DIM, Column, Output, Raw, Styled, moment
from onrecord.errors import Misconfigured

if TYPE_CHECKING:
    from onrecord.hit import Hit
    from onrecord.message import Message
    from onrecord.session import Session
    from onrecord.version import SessionInfo

PANEL: Final = "Read"
PAGE: Final = 200
"""So many sessions or items are read at a time."""
HELD: Final = 1_000
"""So many messages are held at the most: of more a place is found first, and they are streamed."""
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
    replica: options.Replica = None,
    stale_ok: options.StaleOk = False,
) -> None:
    """List sessions, the one last active first."""
    whose = owners(tenant, user, agent, everyone=everyone)
    wanted = pairs_of("--metadata", metadata)
    table = asked.out.table(_SESSION_COLUMNS)
    with asked.store(replica=replica, stale_ok=stale_ok) as store:
        left, last = limit, None
        while left > 0:
            page = store.sessions(
                **whose, metadata=wanted, limit=min(left, PAGE), after=last, stale_ok=stale_ok
            )
            _write_sessions(asked.out, table, page)
            if len(page) < min(left, PAGE):
                break
            left, last = left - len(page), page[-1]
        if left == limit and not page:
            nothing_found(asked.out, "No sessions", everyone)
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
    replica: options.Replica = None,
    stale_ok: options.StaleOk = False,
) -> None:
    """Show a session's messages, the oldest first."""
    limits = {"since": time_of("--since", since), "until": time_of("--until", until)}
    with asked.store(replica=replica, stale_ok=stale_ok) as store:
        session = store.session(key, **owner(tenant, user, agent))
        info = existing(session, "show", stale_ok=stale_ok)
        if any(limits.values()):
            found = _within(session, after, {**limits, "stale_ok": stale_ok})
        else:
            found = session.scan(after=after, stale_ok=stale_ok)
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
    replica: options.Replica = None,
    stale_ok: options.StaleOk = False,
) -> None:
    """Show a session's newest messages, and those that come."""
    if follow and stale_ok:
        raise Misconfigured("--follow shows what comes as it comes, and --stale-ok what is old.")
    with asked.store(replica=replica, stale_ok=stale_ok) as store:
        session = store.session(key, **owner(tenant, user, agent))
        writer = _Writer(asked.out, full)
        try:
            writer.begin(existing(session, "tail", stale_ok=stale_ok))
        except NotThere as fault:
            if not follow:
                raise
            asked.out.note(f"{fault} It is waited for.")
        if not follow:
            writer.messages(_newest(session, number, stale_ok=stale_ok), 0)
            return
        seen = session.version()
        head = writer.messages(_newest(session, number), seen.head)
        while True:
            time.sleep(every)
            now = session.version()
            if now.epoch != seen.epoch or now.head < head:
                writer.rewritten()
                head = writer.messages(_newest(session, number), now.head)
            elif now.head > head:
                head = writer.messages(session.messages(after=head), now.head)
            seen = now


def _newest(session: Session, number: int, *, stale_ok: bool = False) -> Iterator[Message]:
    """A session's newest messages, the oldest of them first, with no more than a page in hand."""
    if number <= HELD:
        yield from session.tail(number, stale_ok=stale_ok)
        return
    page = session.tail(HELD, stale_ok=stale_ok)
    first = 1
    while page:
        first, number = page[0].seq or 1, number - len(page)
        most = min(number, HELD)
        page = session.messages(before=first, limit=most, stale_ok=stale_ok) if most else []
    yield from session.scan(after=first - 1, stale_ok=stale_ok)


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

    def messages(self, messages: Iterable[Message], head: int) -> int:
        """Write some, and return where they end."""
        for message in messages:
            self.message(message)
            head = max(head, message.seq or 0)
        self._out.flush()
        return head

    def rewritten(self) -> None:
        """Say that what was shown may not be there any more."""
        if self._out.json:
            self._out.record("rewritten", {})
        else:
            self._out.say()
            self._out.say(("── it was rewritten; its newest messages are now:", "yellow"))


# -- search ----------------------------------------------------------------------------------


class _Search(Command):
    """Says how a word is left out to who typed ``-word``, which is taken for an option."""

    def hint(self, said: str) -> str:
        if re.match(r"No such option:? -\w\b", said) is None:
            return ""
        return "A word that is not to be there stands in quotes with the others: 'this -that'."


@command("search", PANEL, kind=_Search)
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
    replica: options.Replica = None,
    stale_ok: options.StaleOk = False,
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
        "stale_ok": stale_ok,
    }
    with asked.store(embedder=embedder, replica=replica, stale_ok=stale_ok) as store:
        if session is not None:
            handle = store.session(session, **owner(tenant, user, agent))
            existing(handle, stale_ok=stale_ok)
            hits = handle.search(query, **limits)
        else:
            whose = owners(tenant, user, agent, everyone=everyone)
            hits = store.search(query, **whose, metadata=pairs_of("--metadata", metadata), **limits)
        for at, hit in enumerate(hits):
            _write_hit(asked.out, hit, at, query, around)
        if not hits:
            nothing_found(asked.out, "Nothing was found", everyone or session is not None)
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


def nothing_found(out: Output, what: str, everyone: bool) -> None:
    """Say that there is nothing, and where else there may be something."""
    if not out.json:
        more = "." if everyone else " under these names. --all looks at everybody's."
        out.note(what + more)
