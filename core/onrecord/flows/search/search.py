"""How a search travels: the field, the runs that promise most, and what was said in them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, TypeAlias, get_args

from onrecord.arguments import (
    check_after,
    check_choice,
    check_range,
    mapping,
    moment,
    texts,
    whole_number,
)
from onrecord.errors import Misconfigured, OnrecordError, shown
from onrecord.flow import Cold, Flow, do
from onrecord.flows.search import field
from onrecord.flows.search.catching_up import catch_up
from onrecord.flows.search.field import Field, Gap
from onrecord.flows.search.heard import Hearing
from onrecord.flows.search.meaning import Asked, MeaningOf, asked_of, embed, near
from onrecord.flows.shared import Desk
from onrecord.hit import Hit
from onrecord.ledger.search.runs import PLACES
from onrecord.ledger.sessions import description
from onrecord.message import Message
from onrecord.ranking import NEIGHBOURS, Chosen, Meanings, Query, Run, Said, Scored, choose, score
from onrecord.scope import Scope, SessionName, check_owner
from onrecord.stored.messages import LAST_SEQ
from onrecord.version import SessionInfo

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.ledger.sessions.heads import Head
    from onrecord.stored.messages import MessageRow

log = logging.getLogger("onrecord")

Mode: TypeAlias = Literal["auto", "text", "meaning", "both"]
"""By words, by meaning, or by both; auto is both where the store has an embedder."""

MOST_UNINDEXED: Final = 128
"""Places that a search reads without writing them to the index: some 5 ms."""
MOST_UNSEEN: Final = 32
"""Messages that an embedder is shown by who searches: less than half a second, of a small model."""
NOTHING_UNINDEXED: Final = -1
"""In its place: what is not indexed is left out, because there is no time."""
_TO_FIND: Final = 0.25
"""Share of the time that is kept from catching up, and from an embedder that hangs: to find
something in what is indexed."""
_LONGEST_QUERY: Final = 100_000


class Wanted(NamedTuple):
    """What is searched for, checked."""

    query: Query
    limit: int
    roles: frozenset[str] | None
    since: int | None
    until: int | None
    min_score: float
    after: Hit | None
    """The last hit of the page before."""

    def takes(self, said: Said) -> bool:
        """Whether a message is one of those that are asked for."""
        return (
            (self.roles is None or said.role in self.roles)
            and (self.since is None or said.created >= self.since)
            and (self.until is None or said.created < self.until)
        )


class Found(NamedTuple):
    """A message that was found."""

    message: Message
    info: SessionInfo
    name: SessionName
    score: float


class Rank(NamedTuple):
    """Where a hit stands among the others of its tier: the smaller comes first."""

    score: float
    created: float
    name: tuple[str, ...]
    seq: int

    @classmethod
    def of(cls, found: Found | Hit) -> Self:
        """The rank of what was found."""
        info, message = found.info, found.message
        at = message.created_at
        created = 0.0 if at is None else -at.timestamp()
        name = (info.tenant, info.user, info.agent, info.key)
        return cls(-found.score, created, name, message.seq or 0)


def wanted(
    query: object,
    roles: object,
    since: datetime | None,
    until: datetime | None,
    limit: object,
    min_score: object,
    after: Hit | None,
) -> Wanted:
    """Check what a search is asked for, before any I/O."""
    if not isinstance(query, str):
        raise Misconfigured(f"query has to be text, not {shown(query)}.")
    check_query(query)
    check_after(after, Hit)
    check_range("min_score", min_score, "a score", 0, 1)
    return Wanted(
        Query.of(query),
        whole_number("limit", limit),
        texts("roles", roles),
        moment("since", since),
        moment("until", until),
        float(min_score),  # type: ignore[arg-type]
        after,
    )


def search(
    desk: Desk,
    where: Scope | SessionName,
    query: str,
    roles: Iterable[str] | None,
    since: datetime | None,
    until: datetime | None,
    metadata: Mapping[str, Any] | None,
    limit: int,
    min_score: float,
    after: Hit | None,
    within: float,
    mode: Mode,
    known: Mapping[str, int] = field.EMPTY,
) -> Flow[tuple[list[Found], bool]]:
    """The best messages of a scope, or of one session, the best first; and whether all that was
    said there was looked at. What is ``known``, ids and their sequences, is as if it had never been
    said.
    """
    asked = wanted(query, roles, since, until, limit, min_score, after)
    if isinstance(where, Scope):
        check_owner(*where)
    check_range("within", within, "seconds", 0.01, 86_400)
    deadline = time.monotonic() + within
    to_find = deadline - within * _TO_FIND
    metadata = mapping("metadata", metadata)
    if not asked.limit or not query.strip():
        return [], True
    meant = yield from meant_by(desk.meaning, mode, query, to_find)
    if asked.query.empty and meant is None:
        return [], True
    look = partial(_field_of, where=where, metadata=metadata, known=known)
    if mode == "meaning":
        asked = asked._replace(query=Query.of(""))
    choice = partial(_chosen, look=look, where=where, query=asked.query, meant=meant)
    began = desk.known.begin()
    here = yield from do(Cold(partial(choice, most=MOST_UNINDEXED)))
    if isinstance(here, Field):
        most = LAST_SEQ
        try:
            if not desk.only_read and (
                not (yield from catch_up(here, to_find)) or time.monotonic() >= deadline
            ):
                most = NOTHING_UNINDEXED  # else what came meanwhile is read
        except OnrecordError as fault:  # a disk that is full, or a database that is only read
            log.warning("the index cannot be written, and messages are read instead: %s", fault)
        here = yield from do(Cold(partial(choice, most=most)))
        assert isinstance(here, _Ready), "no field has so much"
    complete = here.complete and (meant is not None or mode == "text" or desk.meaning is None)
    if here.unseen and desk.meaning is not None:
        seen = False
        if not desk.only_read:  # else an embedder would work for nothing
            again = partial(choice, most=LAST_SEQ)
            here, seen = yield from _shown(desk.meaning, here, again, to_find)
        complete = complete and seen
    page = _Page(asked.limit, asked.after)
    for tier in here.chosen.tiers:
        if time.monotonic() >= deadline:
            return page.hits, False
        work = partial(_scored, here=here, tier=tier, query=asked.query, hearing=desk.hearing)
        for one, said, row, head in (yield from do(Cold(work))):
            if asked.takes(said) and one.score >= asked.min_score:
                desk.showed([(head.name.identity, head.described.version)], began)
                message = desk.build.message(row, head.key.session)
                info = description.info_of(head.described)
                if page.full_with(Found(message, info, head.name, one.score)):
                    return page.hits, complete
    return page.hits, complete


class _Page:
    """The hits behind the last one of the page before; where that has gone meanwhile, or says
    something else, those behind where it stood."""

    def __init__(self, limit: int, after: Hit | None) -> None:
        self._limit, self._after = limit, after
        self._rank = None if after is None else Rank.of(after)
        self._behind: list[Found] = []
        self._passed: list[Found] | None = [] if after is None else None

    @property
    def hits(self) -> list[Found]:
        """What is on the page."""
        return self._behind if self._passed is None else self._passed

    def full_with(self, found: Found) -> bool:
        """Look at the next one, and tell whether the page needs no other."""
        after, rank = self._after, self._rank
        if self._passed is not None:
            self._passed.append(found)
            return len(self._passed) == self._limit
        assert after is not None, "without one, all have passed it"
        assert rank is not None, "it has a rank"
        if found.name == after.session.name and found.message == after.message:
            self._passed = []
        elif len(self._behind) < self._limit and (self._behind or Rank.of(found) > rank):
            self._behind.append(found)
        return False


class _Ready(NamedTuple):
    """A field, and which of its runs are to be read."""

    field: Field
    chosen: Chosen
    complete: bool
    """Whether that takes in all of its messages."""
    meanings: Meanings | None = None
    unseen: Sequence[Gap] = ()
    """What the embedder was not shown yet."""

    @property
    def unindexed(self) -> int:
        """Places that were not in the index."""
        return self.field.unindexed


def _field_of(
    txn: Transaction,
    where: Scope | SessionName,
    metadata: Mapping[str, Any],
    known: Mapping[str, int],
) -> Field:
    if isinstance(where, SessionName):
        found = field.of_sessions(txn, [where])
    else:
        found = field.of_scope(txn, where, metadata)
    return field.without(txn, found, known) if known else found


def check_mode(meaning: MeaningOf | None, mode: object) -> None:
    """Refuse a mode that is none, or needs an embedder where there is none."""
    check_choice("mode", mode, get_args(Mode))
    if meaning is None and mode in ("meaning", "both"):
        raise Misconfigured(
            f"mode={mode!r} needs an embedder: Store(…, embedder='minilm'), or another that "
            f"docs/how-to/embedders.md names."
        )


def meant_by(meaning: MeaningOf | None, mode: Mode, query: str, until: float) -> Flow[Asked | None]:
    """What is asked for by its meaning, where that is asked for and can be."""
    check_mode(meaning, mode)
    if mode == "text" or meaning is None:
        return None
    return (yield from asked_of(meaning, query, until))


def check_query(query: str) -> None:
    """Refuse what nobody would search for."""
    if len(query) > _LONGEST_QUERY:
        raise Misconfigured(
            f"query has {len(query):,} characters; {_LONGEST_QUERY:,} are allowed. Search for the "
            f"part that matters."
        )


def _shown(
    meaning: MeaningOf, here: _Ready, choice: Callable[[Transaction], _Ready | Field], until: float
) -> Flow[tuple[_Ready, bool]]:
    """Show the embedder what it has not seen, where that is little; and whether it has seen all."""
    if sum(gap.last - gap.first + 1 for gap in here.unseen) > MOST_UNSEEN:
        return here, False
    try:
        yield from embed(meaning, here.field, here.unseen, until)
    except OnrecordError:
        return here, False  # it is in the log, and in health()
    again = yield from do(Cold(choice))
    assert isinstance(again, _Ready), "no field has so much"
    return again, True


def _chosen(
    txn: Transaction,
    look: Callable[[Transaction], Field],
    where: Scope | SessionName,
    query: Query,
    meant: Asked | None,
    most: int,
) -> _Ready | Field:
    """The runs to be read; or the field, where so much of it is unindexed that it should be indexed
    first."""
    found = look(txn)
    if most < LAST_SEQ and most != NOTHING_UNINDEXED and found.unindexed > most:
        return found
    meanings, unseen = (None, []) if meant is None else near(txn, found, where, meant)
    if most == NOTHING_UNINDEXED:
        chosen = choose(query, field.indexed_runs(found), meanings)
        return _Ready(found, chosen, not found.gaps, meanings, unseen)
    chosen = choose(query, field.all_runs(txn, found), meanings)
    return _Ready(found, chosen, True, meanings, unseen)


def _scored(
    txn: Transaction, here: _Ready, tier: Sequence[Run], query: Query, hearing: Hearing
) -> list[tuple[Scored, Said, MessageRow, Head]]:
    """The messages of a tier's runs by what they are worth, the best first, and how their sessions
    stand."""
    read = [
        one
        for one in field.spoken(txn, here.field, _spans(tier), hearing)
        if (one[0].session, one[0].seq) not in here.field.left_out
    ]
    rows = {(said.session, said.seq): (said, row, head) for said, row, head in read}
    scored = score(query, here.chosen, [said for said, _, _ in read], here.meanings, tier=tier)
    return [(one, *rows[one.session, one.seq]) for one in scored]


def _spans(tier: Collection[Run]) -> list[tuple[int, int, int]]:
    """Which places are to be read for some runs, with their neighbours; what overlaps, once."""
    spans: list[tuple[int, int, int]] = []
    for run in sorted(tier):
        first = max(run.number * PLACES + 1 - NEIGHBOURS, 1)
        last = (run.number + 1) * PLACES + NEIGHBOURS
        if spans and spans[-1][0] == run.session and first <= spans[-1][2] + 1:
            spans[-1] = (run.session, spans[-1][1], last)
        else:
            spans.append((run.session, first, last))
    return spans
