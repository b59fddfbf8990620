"""How a recall travels: what was found, the whole turns around it, and which of them fit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from onrecord.arguments import check_messages, whole_number
from onrecord.flow import Cold, Flow, do
from onrecord.flows.search.search import Found, search
from onrecord.flows.shared import Desk
from onrecord.ledger.sessions import messages as rows_of
from onrecord.message import Message
from onrecord.ranking import as_said
from onrecord.recall import Passage, Recalled
from onrecord.scope import Scope, SessionName
from onrecord.stored.messages import Snapshot

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_MOST_HITS: Final = 30
_NEARLY: Final = 0.92
"""What answers worse than so much of the best is left out. On every fourth question of ``make
recall`` that leaves 12 messages of 38, and loses 2.4 of 89.0 points; at 0.93 it is 9, and 4.0."""
_LEAST_ROOM: Final = 8
"""Tokens in which no turn has room."""
_USUAL_TURN: Final = 8
_LONGEST_TURN: Final = 64
"""Messages on each side of what was found that are looked at for the ends of its turn, where the
usual do not have them: where thirty turns are found, to read fewer first takes 0.6 of the time."""


class _Turn(NamedTuple):
    """A turn in which something was found, as far as it is not known to the reader."""

    found: Found
    messages: tuple[Message, ...]

    @property
    def place(self) -> tuple[SessionName, int]:
        return self.found.name, self.messages[0].seq or 0


def recall(
    desk: Desk,
    where: Scope | SessionName,
    query: str,
    tokens: int,
    beyond: Sequence[Message] | None,
    min_score: float,
    within: float,
) -> Flow[Recalled]:
    """Older turns that answer a query, whole, in the order they were said, under a budget; none of
    which the reader has a part already."""
    begun = time.monotonic()
    room = tokens = whole_number("tokens", tokens)
    check_messages("beyond", beyond)
    # What is asked may be stored by now: it would answer itself, and best of all.
    known = {message.id: message.seq or 0 for message in beyond or () if message.id is not None}
    query = as_said(query) if isinstance(query, str) else query
    found, complete = yield from search(
        desk,
        where,
        query,
        None,
        None,
        None,
        None,
        _MOST_HITS + len(known),
        min_score,
        None,
        within,
        "auto",
        known,
    )
    found = [hit for hit in found if hit.message.id not in known]
    turns: dict[tuple[SessionName, int], _Turn] = {}
    seen: set[tuple[SessionName, int | None]] = set()
    for hit in found:
        if room < _LEAST_ROOM or hit.score < _NEARLY * found[0].score:
            break
        if (hit.name, hit.message.seq) in seen:
            continue
        if time.monotonic() >= begun + within:
            complete = False
            break
        turn = yield from _turn_of(desk, hit, known)
        seen |= {(hit.name, message.seq) for message in turn.messages}
        cost = _cost(desk, turn)
        if turn.messages and cost <= room:
            turns[turn.place] = turn
            room -= cost
    return Recalled(list(_passages(turns.values())), tokens=tokens - room, complete=complete)


def _turn_of(desk: Desk, hit: Found, known: Mapping[str, int]) -> Flow[_Turn]:
    """All messages of the turn that something was found in, but for those that are known."""
    seq = hit.message.seq or 0
    for most in (_USUAL_TURN, _LONGEST_TURN):
        work = partial(_around, name=hit.name, seq=seq, most=most)
        before, after = yield from do(Cold(work))
        earlier = desk.build.messages(before, before.rows)
        opening = [n for n, message in enumerate(earlier) if message.opens_turn]
        later = desk.build.messages(after, after.rows)
        ending = [n for n, message in enumerate(later) if message.opens_turn]
        if (opening or len(earlier) < most) and (ending or after.version.head <= seq + most):
            break
    turn = earlier[opening[-1] if opening else 0 :] + later[: ending[0] if ending else None]
    # Rewritten since it was found: what is there now is nobody's answer.
    if not any(_same(message, hit.message) for message in turn):
        return _Turn(hit, ())
    return _Turn(hit, tuple([message for message in turn if message.id not in known]))


def _same(message: Message, found: Message) -> bool:
    return message.id == found.id and message == found


def _around(txn: Transaction, name: SessionName, seq: int, most: int) -> tuple[Snapshot, Snapshot]:
    return (
        rows_of.seen(txn, name, before=seq + 1, limit=most, newest=True),
        rows_of.seen(txn, name, after=seq, before=seq + most + 1, limit=most),
    )


def _cost(desk: Desk, turn: _Turn) -> int:
    """How many tokens a turn takes, with the line that says when and where it was said."""
    if not turn.messages:
        return 0
    heading = Message("system", Passage(turn.found.info, turn.messages, 0.0).heading)
    counted = [message.tokens for message in turn.messages]
    return desk.counter(heading) + sum(
        desk.counter(message) if count is None else count
        for message, count in zip(turn.messages, counted, strict=True)
    )


def _passages(turns: Iterable[_Turn]) -> Iterator[Passage]:
    """Turns in the order they were said; those that follow each other as one passage."""
    by_session: dict[SessionName, list[_Turn]] = {}
    for turn in turns:
        by_session.setdefault(turn.found.name, []).append(turn)
    passages: list[Passage] = []
    for few in by_session.values():
        few.sort(key=lambda turn: turn.messages[0].seq or 0)
        for turn in few:
            last = passages[-1] if passages else None
            if last is not None and last.info == turn.found.info and _follow(last, turn):
                score = max(last.score, turn.found.score)
                passages[-1] = Passage(last.info, last.messages + turn.messages, score)
            else:
                passages.append(Passage(turn.found.info, turn.messages, turn.found.score))
    yield from sorted(passages, key=_when)


def _follow(passage: Passage, turn: _Turn) -> bool:
    return (passage.messages[-1].seq or 0) + 1 == turn.messages[0].seq


def _when(passage: Passage) -> tuple[float, str, int]:
    first = passage.messages[0]
    at = 0.0 if first.created_at is None else first.created_at.timestamp()
    return at, passage.info.key, first.seq or 0
