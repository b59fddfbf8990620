"""How everything that is stored is looked at, and nothing changed."""

from __future__ import annotations

from functools import partial
from typing import Final

from onrecord.flow import Autocommit, Cold, Flow, do
from onrecord.flows.checkpoints.threads import verify_thread
from onrecord.flows.pace import FIRST, Told
from onrecord.flows.search.checking import index_problems
from onrecord.flows.shared import Desk
from onrecord.ledger.checkpoints import threads
from onrecord.ledger.items.scoped import FIRST as FIRST_NAMESPACE
from onrecord.ledger.maintenance import verifying, verifying_items
from onrecord.ledger.sessions import sessions
from onrecord.reports import OnProgress, Problem
from onrecord.scope import EVERYBODY, SessionName
from onrecord.stored.checkpoints import ThreadPlace

ITEMS_AT_ONCE: Final = 100
"""Items that are read together: a value may have a megabyte."""


def verify(desk: Desk, progress: OnProgress | None) -> Flow[list[Problem]]:
    """Look at every place and every sum in the store; nothing is changed."""
    of = yield from do(Cold(partial(sessions.count, scope=EVERYBODY)))
    problems = yield from do(Autocommit(verifying.of_store))
    after, told = FIRST, Told(progress, of)
    while page := (
        yield from do(Cold(partial(sessions.page, scope=EVERYBODY, after=after, limit=200)))
    ):
        after = page[-1][0]
        for _, name in page:
            problems += yield from do(Cold(partial(verifying.of_session, name=name)))
            problems += yield from do(Cold(partial(index_problems, name=name)))
        told.more(len(page))
    problems += yield from _verified_items()
    return problems + (yield from _verified_threads(desk))


def _verified_items() -> Flow[list[Problem]]:
    problems: list[Problem] = []
    last = FIRST_NAMESPACE
    while page := (yield from do(Cold(partial(verifying_items.namespaces, after=last, limit=200)))):
        last = page[-1].key.namespace
        for found in page:
            problems += found.problems
            after: str | None = ""
            while after is not None:
                work = partial(
                    verifying_items.items,
                    namespace=found.key,
                    name=found.name,
                    after=after,
                    limit=ITEMS_AT_ONCE,
                )
                wrong, after = yield from do(Cold(work))
                problems += wrong
    return problems


def _verified_threads(desk: Desk) -> Flow[list[Problem]]:
    problems: list[Problem] = []
    last: ThreadPlace | None = None
    everybody = EVERYBODY._asdict()
    while page := (
        yield from do(Cold(partial(threads.listed, **everybody, limit=200, after=last)))
    ):
        last = ThreadPlace(page[-1].last_active, page[-1].shard, page[-1].number)
        for found in page:
            name = SessionName(
                key=found.key, tenant=found.tenant, user=found.user, agent=found.agent
            )
            problems += [
                Problem(kind="damaged", where=f"thread {name}", what=what)
                for what in (yield from verify_thread(desk, name))
            ]
    return problems
