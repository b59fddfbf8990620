"""Maintenance of the index: made ready before anybody searches, or made anew."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from onrecord.errors import Misconfigured
from onrecord.flow import Cold, Flow, do
from onrecord.flows.pace import FIRST, Pace, Told, over_sessions
from onrecord.flows.search import field
from onrecord.flows.search.catching_up import catch_up
from onrecord.flows.search.field import Field, Gap
from onrecord.flows.search.items import embed_items
from onrecord.flows.search.meaning import PATIENCE, MeaningOf, embed, number_of, unseen
from onrecord.flows.shared import Desk
from onrecord.ledger.search import runs, vectors
from onrecord.ledger.sessions import sessions
from onrecord.ranking import ANALYSER
from onrecord.reports import Embedding, Indexing, OnProgress
from onrecord.scope import Scope, SessionName
from onrecord.stored.messages import SessionKey

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_AT_ONCE: Final = 100
"""Sessions."""


def index(scope: Scope, again: bool, progress: OnProgress | None) -> Flow[Indexing]:
    """Index what is not indexed in a scope; with ``again`` all of it anew."""
    if again:
        yield from _dropped(scope)
    count = partial(sessions.count, scope=scope, condition=runs.STALE, analyser=ANALYSER)
    of = yield from do(Cold(count))
    told = Told(progress, of)
    places, _ = yield from index_stale(scope, Pace(hears=told.more))
    return Indexing(sessions=told.done, places=places)


def index_stale(scope: Scope, pace: Pace) -> Flow[tuple[int, bool]]:
    """Index what is not indexed in a scope; how many places that were in the sessions that it came
    to, and whether it came to all of them."""
    places = 0

    def work(found: Sequence[tuple[SessionKey, SessionName]]) -> Flow[bool]:
        nonlocal places
        here = yield from do(Cold(partial(_field, names=[name for _, name in found])))
        if not (yield from catch_up(here, pace.until, some=True)):
            return False
        places += here.unindexed
        pace.heard(len(found))
        return True

    page = partial(
        sessions.page, scope=scope, limit=_AT_ONCE, condition=runs.STALE, analyser=ANALYSER
    )
    whole = yield from over_sessions(pace, page, _AT_ONCE, work)
    return places, whole


def embed_all(desk: Desk, scope: Scope, only: bool, progress: OnProgress | None) -> Flow[Embedding]:
    """Show the embedder what it has not seen of a scope; with ``only`` take away then what others
    have made."""
    meaning = desk.meaning
    if meaning is None:
        raise Misconfigured(
            "This store has no embedder: Store(…, embedder='minilm'), or another that "
            "docs/how-to/embedders.md names."
        )
    number = yield from number_of(meaning, add=True, until=math.inf)
    stale, width = vectors.STALE, meaning.known.width or 0
    count = partial(sessions.count, scope=scope, condition=stale, embedder=number, width=width)
    of = yield from do(Cold(count))
    told = Told(progress, of)
    messages, _ = yield from embed_stale(meaning, scope, Pace(hears=told.more))
    items = yield from embed_items(meaning, scope)
    gone = 0
    if only:
        number = yield from number_of(meaning, add=True, until=math.inf)
        gone = yield from do(Cold(partial(vectors.forget_others, embedder=number), writes=True))
    return Embedding(sessions=told.done, messages=messages, items=items, forgotten=gone)


def embed_stale(meaning: MeaningOf, scope: Scope, pace: Pace) -> Flow[tuple[int, bool]]:
    """Show an embedder the messages of a scope that it has not seen; how many that were, and
    whether it came to all of them."""
    number = yield from number_of(meaning, add=True, until=pace.until + PATIENCE)
    width, messages = meaning.known.width or 0, 0

    def work(found: Sequence[tuple[SessionKey, SessionName]]) -> Flow[bool]:
        nonlocal messages
        names = [name for _, name in found]
        look = partial(_unseen, names=names, embedder=number, width=width)
        here, gaps = yield from do(Cold(look))
        messages += yield from embed(meaning, here, gaps, pace.until, some=True)
        if time.monotonic() >= pace.until:
            return False
        pace.heard(len(found))
        return True

    page = partial(
        sessions.page,
        scope=scope,
        limit=_AT_ONCE,
        condition=vectors.STALE,
        embedder=number,
        width=width,
    )
    whole = yield from over_sessions(pace, page, _AT_ONCE, work)
    return messages, whole


def _unseen(
    txn: Transaction, names: Sequence[SessionName], embedder: int, width: int
) -> tuple[Field, list[Gap]]:
    here = field.of_sessions(txn, names)
    return here, unseen(txn, here, names, embedder, width)


def _dropped(scope: Scope) -> Flow[None]:
    """Take all of a scope's index away, some sessions at a time."""
    after = FIRST
    page = partial(sessions.page, scope=scope, limit=_AT_ONCE)
    while found := (yield from do(Cold(partial(page, after=after)))):
        after = found[-1][0]
        work = partial(_drop, sessions=[key for key, _ in found])
        yield from do(Cold(work, writes=True))


def _drop(txn: Transaction, sessions: Sequence[SessionKey]) -> None:
    txn.begin()
    for key in sessions:
        runs.drop(txn, key)


def _field(txn: Transaction, names: Sequence[SessionName]) -> Field:
    return field.of_sessions(txn, names)
