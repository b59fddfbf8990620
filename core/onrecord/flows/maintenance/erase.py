"""How sessions, threads and items of a scope go for good (I7)."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from onrecord.errors import OnrecordError
from onrecord.flow import Autocommit, Cold, Flow, do
from onrecord.flows.checkpoints.threads import erase_threads
from onrecord.flows.maintenance.prune import MOST_ITEMS
from onrecord.flows.maintenance.remove import AT_ONCE, remove, remove_many
from onrecord.flows.maintenance.train import release_learned
from onrecord.flows.mark import Wrote, commit_items
from onrecord.flows.pace import FIRST, Told
from onrecord.flows.shared import Desk
from onrecord.ledger.checkpoints import lists
from onrecord.ledger.database import generation
from onrecord.ledger.feed import feeds
from onrecord.ledger.items import scoped
from onrecord.ledger.maintenance import erasing, erasing_many, foreseeing, vacuum
from onrecord.ledger.maintenance.foreseeing import CHECKPOINT_TABLES
from onrecord.ledger.maintenance.vacuum import reclaim
from onrecord.ledger.sessions import dictionaries, sessions
from onrecord.reports import OnProgress, Receipt
from onrecord.scope import Scope, SessionName
from onrecord.stored.clock import moment, now

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.ledger.maintenance.foreseeing import Foreseen

_PAGE: Final = 200
_HANDED_OVER: Final = (
    "Nobody can tell whose words are in what was learned from conversations that were handed to "
    "train() (dictionary {}). If some were of this scope, run train() without any, and then "
    "compact(again=True), which drops what was learned before."
)
_STILL_THERE: Final = (
    "What was learned from it (dictionary {}) is still there, because a transaction that began "
    "before is still open and may need it. Erase or compact again when it has ended."
)
_IN_REDIS: Final = (
    "Redis cannot be reached, and the cache is off: what it holds of it is shown to nobody, and "
    "lies there for as long as ttl= says, unless you flush it."
)
_FREE_PAGES: Final = "Free pages may still hold some of it until erase(thorough=True)."


def erase(
    desk: Desk,
    scope: Scope,
    thorough: bool,
    progress: OnProgress | None = None,
    dry_run: bool = False,
) -> Flow[Receipt]:
    """Erase every session, thread and item of a scope, and what was learned from them; or only
    say what that would be."""
    if dry_run:
        foreseen = yield from do(Cold(partial(foreseeing.of_scope, scope=scope)))
        return (yield from _foreseen_receipt(str(scope), foreseen, thorough))
    gone: Counter[str] = Counter()
    of_scope = scope._asdict()
    counted = yield from do(Cold(partial(lists.count_in_scope, **of_scope)))
    yield from erase_threads(desk, **of_scope)
    gone += Counter({CHECKPOINT_TABLES[what]: count.rows for what, count in counted.items()})
    of = 0
    if progress is not None:
        of = yield from do(Cold(partial(sessions.count, scope=scope)))
    after, told = FIRST, Told(progress, of)
    while page := (
        yield from do(Cold(partial(erasing_many.page, scope=scope, after=after, limit=AT_ONCE)))
    ):
        after = page[-1].key
        gone += (yield from remove_many(desk, page)).counted
        told.more(len(page))
    gone += yield from _items_removed(desk, scope)
    yield from do(Cold(partial(feeds.unname, scope=scope), writes=True))
    left = yield from do(Cold(partial(foreseeing.elsewhere, scope=scope)))
    return (yield from _receipt(desk, str(scope), gone, left, thorough))


def erase_session(
    desk: Desk, name: SessionName, thorough: bool, dry_run: bool = False
) -> Flow[Receipt]:
    """Erase one session, or only say what that would be."""
    if dry_run:
        foreseen = yield from do(Cold(partial(foreseeing.of_session, name=name)))
        return (yield from _foreseen_receipt(f"session {name}", foreseen, thorough))
    gone = (yield from remove(desk, name)) or Counter()
    return (yield from _receipt(desk, f"session {name}", gone, 0, thorough))


def _items_removed(desk: Desk, scope: Scope) -> Flow[Counter[str]]:
    """Take away the items of a scope, a few in each transaction; then their namespaces."""
    gone: Counter[str] = Counter()
    after = scoped.FIRST
    while page := (
        yield from do(Cold(partial(scoped.page, scope=scope, after=after, limit=_PAGE)))
    ):
        after = page[-1].namespace
        for namespace in page:
            some: Counter[str] = Counter()
            while "onrecord_namespaces" not in some:
                found = yield from do(
                    Cold(partial(scoped.named, namespace=namespace, limit=MOST_ITEMS))
                )
                work = partial(scoped.remove, namespace=namespace, items=found, now=now())
                some, _ = yield from commit_items(desk, found, work, _gone)
                gone += some
    return gone


def _gone(removed: tuple[Counter[str], Wrote]) -> Wrote:
    return removed[1]


def _receipt(
    desk: Desk, scope: str, gone: Counter[str], left: int, thorough: bool
) -> Flow[Receipt]:
    desk.hearing.forget()
    gone["onrecord_dictionaries"] += yield from release_learned(desk)
    try:
        traces = yield from do(Autocommit(partial(reclaim, how="clean" if thorough else "free")))
    except OnrecordError as fault:  # it has all gone; where it was is not clean yet
        traces = f"{fault} Erase again to clean up."
    if traces is None and not thorough:
        traces = _FREE_PAGES
    if waiting := (yield from do(Cold(erasing.retired))):
        numbers = ", ".join(map(str, waiting))
        traces = " ".join([*([traces] if traces else []), _STILL_THERE.format(numbers)])
    return _told(scope, gone, left, (yield from _with_what_others_hold(traces)))


def _foreseen_receipt(scope: str, foreseen: Foreseen, thorough: bool) -> Flow[Receipt]:
    """The receipt that an erasure would give, as far as it can be known before."""
    kept = yield from do(Cold(partial(_kept_anyhow, thorough=thorough)))
    traces = yield from _with_what_others_hold(kept)
    return _told(scope, foreseen.counted, foreseen.left, traces, dry_run=True)


def _kept_anyhow(txn: Transaction, thorough: bool) -> str | None:
    """Where bytes will stay, whatever else happens."""
    return vacuum.kept_anyhow(txn.kind) if thorough else _FREE_PAGES


def _with_what_others_hold(traces: str | None) -> Flow[str | None]:
    """What lies elsewhere as well: in what was learned, and in a Redis that nobody could tell."""
    learned, state = yield from do(
        Cold(lambda txn: (dictionaries.handed_over(txn), generation.read(txn)))
    )
    found = [traces] if traces else []
    if learned:
        found.append(_HANDED_OVER.format(", ".join(map(str, learned))))
    if not generation.is_on(state):
        found.append(_IN_REDIS)
    return " ".join(found) or None


def _told(
    scope: str, gone: Counter[str], left: int, traces: str | None, dry_run: bool = False
) -> Receipt:
    return Receipt(
        scope=scope,
        at=moment(now()),
        removed={table: count for table, count in sorted(gone.items()) if count},
        left=left,
        traces=traces,
        dry_run=dry_run,
    )
