"""What is stored: what waits to be done for it, and whether it can be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from onrecord.diagnosis import Finding
from onrecord.embedding import same_embedder
from onrecord.errors import OnrecordError
from onrecord.flow import Flow
from onrecord.flows.maintenance.doctor.rounds import Examined, Rounds, finding
from onrecord.flows.search.checking import index_problems
from onrecord.flows.search.meaning import PATIENCE
from onrecord.flows.shared import Desk
from onrecord.ledger.database.faults import TookTooLong
from onrecord.ledger.feed import feeds as feeds_of
from onrecord.ledger.feed import positions
from onrecord.ledger.feed.feeds import Listed
from onrecord.ledger.maintenance import sampling, server, verifying, verifying_items
from onrecord.ledger.search import vectors
from onrecord.ledger.sessions import dictionaries as dictionaries_of
from onrecord.plural import many
from onrecord.ranking import ANALYSER
from onrecord.reports import Problem
from onrecord.stored.clock import MICROSECONDS

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.scope import SessionName

_QUIET: Final = 86_400
"""Seconds without a message, after which a session is quiet."""
_LOOKED_AT: Final = 1_000
"""Sessions of which it is asked what the index and the embedder have seen."""
_OLD_ONES: Final = 20_000
"""Sessions, those that were quiet for longest, that are asked what has become of them."""

_SOME_UNSEALED: Final = 1_000
_MANY_UNSEALED: Final = 100_000
_ENOUGH_TO_LEARN: Final = 5_000
_SOME_EXPIRED: Final = 100
MANY_EXPIRED: Final = 10_000
_SOME_UNINDEXED: Final = 1_000
_MANY_UNINDEXED: Final = 20_000
_FAR_BEHIND: Final = 1_000
_MOST_FEEDS: Final = 50

_NEWEST: Final = 10
_BY_CHANCE: Final = 20
_LARGEST: Final = 2_000
"""Messages of a session that is verified: one of a million would take all of the time."""
_NAMESPACES: Final = 10
_ITEMS: Final = 100
_SHOWN: Final = 3


def sealing(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Look for quiet sessions whose messages are still rows."""
    before = rounds.clock() - _QUIET * MICROSECONDS
    found = yield from rounds.look(partial(sampling.unsealed, before=before, most=_OLD_ONES))
    if found.messages < _SOME_UNSEALED:
        return []
    return [
        finding(
            "sealing",
            "warning" if found.messages >= _MANY_UNSEALED else "note",
            f"{many(found.messages, 'message')} of {many(found.sessions, 'session')} that were "
            f"quiet for a day or longer are rows of their own, and take several times the room "
            f"that they need.",
            "Run compact() every night.",
        )
    ]


def dictionaries(rounds: Rounds, examined: Examined) -> Flow[Iterable[Finding] | None]:
    """Look whether one was trained, where there is enough to learn from."""
    if not examined.compresses:
        return None
    there, messages = yield from rounds.look(partial(sampling.learned, most=_LOOKED_AT))
    if there or messages < _ENOUGH_TO_LEARN:
        return []
    return [
        finding(
            "dictionaries",
            "note",
            "No dictionary was trained, and there are messages enough to learn one from.",
            "Run train() once: it says what it saves. Short messages get much smaller.",
        )
    ]


def expired(rounds: Rounds, desk: Desk) -> Flow[Iterable[Finding]]:
    """Count what has expired and is still there."""
    now, default = rounds.clock(), desk.expires_in
    sessions = yield from rounds.look(
        partial(sampling.expired, now=now, default=default, most=_OLD_ONES)
    )
    items = yield from rounds.look(partial(sampling.expired_items, now=now, most=MANY_EXPIRED))
    found = []
    for count, what in ((sessions, "session"), (items, "item")):
        if count >= _SOME_EXPIRED:
            more = " or more" if count >= (_OLD_ONES if what == "session" else MANY_EXPIRED) else ""
            found.append(
                finding(
                    "expired",
                    "warning" if count >= MANY_EXPIRED else "note",
                    f"{many(count, what)}{more} have expired and are still stored: nothing goes by "
                    f"itself.",
                    "Run prune() every night."
                    + (" prune(dry_run=True) says which." if what == "session" else ""),
                )
            )
    return found


def index(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Count what the index of search has not."""
    found = yield from rounds.look(
        partial(sampling.index_lag, analyser=ANALYSER, most=_LOOKED_AT), share=0.5
    )
    if found.behind < _SOME_UNINDEXED:
        return []
    return [
        finding(
            "index",
            "warning" if found.behind >= _MANY_UNINDEXED else "note",
            f"The index of search has not {many(found.behind, 'message')} of "
            f"{found.messages:,}, in the {many(found.sessions, 'session')} last active. A search "
            f"of these reads them, and takes longer.",
            "Run index() every night, or more often where people search at once.",
        )
    ]


def embedder(rounds: Rounds, desk: Desk) -> Flow[Iterable[Finding] | None]:
    """Ask whether the embedder answers, and count what it has not seen."""
    meaning = desk.meaning
    if meaning is None:
        return None
    known = meaning.known
    try:
        identity = yield from meaning.identity(time.monotonic() + PATIENCE)
    except OnrecordError as fault:
        return [
            finding(
                "embedder",
                "error",
                f"The embedder {known.name} does not answer: {fault}",
                "Search goes by words alone until it does, and nothing is lost.",
            )
        ]
    same = partial(same_embedder, identity)
    number = yield from rounds.look(partial(vectors.number_of, same=same))
    lag = partial(sampling.embedder_lag, embedder=number or 0, most=_LOOKED_AT)
    found = yield from rounds.look(lag, share=0.5)
    if found.behind < _SOME_UNINDEXED:
        return []
    return [
        finding(
            "embedder",
            "warning" if found.behind >= _MANY_UNINDEXED else "note",
            f"The embedder {known.name} has not seen {many(found.behind, 'message')} of "
            f"{found.messages:,}, in the {many(found.sessions, 'session')} last active: these are "
            f"found by their words alone.",
            "Run embed() every night, or more often.",
        )
    ]


def feeds(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Ask how far each reader is behind."""
    listed = yield from rounds.look(partial(feeds_of.listed, after=0, limit=_MOST_FEEDS))
    found = []
    for one in listed:
        behind = yield from rounds.look(_behind(one), share=0.5)
        if behind >= _FAR_BEHIND:
            found.append(
                finding(
                    "feeds",
                    "warning",
                    f"The reader {one.name!r} of a feed is {many(behind, 'session')} behind.",
                    "Bring its worker back, or run more of them. If nobody reads it any more: "
                    "store.feed(…).forget().",
                )
            )
    return found


def _behind(one: Listed) -> Callable[[Transaction], int]:
    if not one.named:
        return partial(positions.erased_behind, feed=one.number)
    return partial(positions.behind, feed=one.number, scope=one.scope)


def damage(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Read a sample of what is stored, and compare it with what it says of itself."""
    found = yield from _whole(rounds)
    unreadable = yield from rounds.look(dictionaries_of.damaged)
    found += [
        Problem(kind="damaged", where=f"dictionary {number}", what=f"{why}.")
        for number, why in unreadable
    ]
    some = partial(sampling.some_sessions, newest=_NEWEST, others=_BY_CHANCE, largest=_LARGEST)
    for name in (yield from rounds.look(some, share=0.5)):
        if rounds.left <= 0:
            break
        found += yield from rounds.look(partial(_of_session, name=name))
    if rounds.left > 0:
        found += yield from rounds.look(_of_items)
    if not found:
        return []
    shown = "; ".join(str(problem).rstrip(".") for problem in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [
        finding(
            "damage",
            "error",
            f"In a sample of what is stored {many(len(found), 'problem')} was found: "
            f"{shown}{more}.",
            "Run verify(), which reads everything and names all of it. Restore a backup, or "
            "export() what can be read. Look whether the disk is failing.",
        )
    ]


def _whole(rounds: Rounds) -> Flow[list[Problem]]:
    """Ask a file's own check; of a large one not the whole answer can be waited for."""
    try:
        wrong = yield from rounds.look(server.damage, share=0.3)
    except TookTooLong:
        return []
    return [] if wrong is None else [Problem(kind="damaged", where="the file", what=wrong)]


def _of_session(txn: Transaction, name: SessionName) -> list[Problem]:
    return verifying.of_session(txn, name) + index_problems(txn, name)


def _of_items(txn: Transaction) -> list[Problem]:
    problems: list[Problem] = []
    for found in verifying_items.namespaces(txn, verifying_items.some_number(txn), _NAMESPACES):
        problems += found.problems
        wrong, _ = verifying_items.items(txn, found.key, found.name, "", _ITEMS)
        problems += wrong
    return problems
