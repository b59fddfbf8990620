"""How what is there is counted."""

from __future__ import annotations

from functools import partial

from onrecord.flow import Cold, Flow, do
from onrecord.flows.shared import Desk
from onrecord.ledger.maintenance import counting
from onrecord.reports import Stats
from onrecord.scope import Scope


def stats(desk: Desk, scope: Scope, exact: bool) -> Flow[Stats]:
    """Count what is there."""
    return (yield from do(Cold(partial(counting.stats, scope=scope, exact=exact))))
