"""How far each reader has finished each session, and what of it is handed out.

Nobody writes here but readers, and who erases. A row is made when a session is first handed out.
It says which version its reader has finished; the session's own row says what there is, and where
the two differ there is something to hand out. A row that is ``due`` is found without comparing:
what is handed out is due when its lease ends, and what has moved on in the meantime at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.feed.feeds import Place, names
from onrecord.ledger.sessions.description import Described
from onrecord.scope import ANY, Scope, owner_number, shard_of
from onrecord.stored.clock import MICROSECONDS, PERIOD, period_of
from onrecord.stored.messages import SessionKey

LONGEST_LEASE: Final = 86_400_000_000
"""Microseconds. What is held for longer was handed out under a clock that was set back since."""

NOWHERE: Final = -1
"""The head that a reader has finished of a session that was erased since."""

# What a new row would have says what the time is: Citus takes no clock where a row stands already.
_CLOCK: Final = "excluded.due - :lease"
_FREE: Final = f"(p.due <= {_CLOCK} OR p.due > {_CLOCK} + {LONGEST_LEASE})"
# Who changes a title leaves another lineage, and no other past: there the newest message decides.
_ANOTHER_PAST: Final = """(p.lineage <> 0 AND p.token <> 0 AND s.lineage <> p.lineage
        AND coalesce((SELECT h.token FROM {tail} h WHERE {h.at_head s}), 0) NOT IN (0, p.token))"""
_MOVED: Final = f"(s.epoch <> p.epoch OR s.head <> p.head OR {_ANOTHER_PAST})"
_DIFFERS: Final = f"""CASE WHEN p.epoch IS NULL THEN s.head > 0
        ELSE p.due IS NULL AND {_MOVED} END"""

# Two, each a part of the index; by a time that was read before, which an index can be asked for.
_DUE: Final = """
    SELECT * FROM (
        SELECT {p.shard}, p.session, p.epoch, p.head, 1 FROM {feed_positions} p
        WHERE p.feed = :feed AND p.due IS NOT NULL AND p.due <= :now ORDER BY p.due LIMIT :limit
    ) due
    UNION ALL SELECT * FROM (
        SELECT {p.shard}, p.session, p.epoch, p.head, 1 FROM {feed_positions} p
        WHERE p.feed = :feed AND p.due IS NOT NULL AND p.due > :never ORDER BY p.due LIMIT :limit
    ) never"""

_OF_SCOPE: Final = """(CAST(:tenant AS TEXT) IS NULL OR s.tenant = :tenant)
        AND (CAST(:user AS TEXT) IS NULL OR s."user" = :user)
        AND (CAST(:agent AS TEXT) IS NULL OR s.agent = :agent)"""


class _Way(NamedTuple):
    """A way over sessions, as statements."""

    whole: str
    end: str
    """Up to where it goes, for who cannot join some rows of all shards with what is theirs."""
    within: str
    """What is found up to there. Who moves on meanwhile is found where it has gone, later."""


def _way(behind: str, stands: str, *order: str) -> _Way:
    """A way over sessions: up to where it goes, beside each that is found on it. ``stands`` is the
    time that a session stands there by. In one statement, so that what comes meanwhile is not
    looked at, and is not said to be."""
    forwards, backwards = ", ".join(order), ", ".join(f"{column} DESC" for column in order)
    columns = ", ".join(stands if column == "stands" else column for column in order)
    upto = ", ".join(f":end_{column}" for column in order)
    found = """s.shard AS shard, s.id AS id, coalesce(p.epoch, 0) AS epoch,
                coalesce(p.head, 0) AS head, CASE WHEN p.epoch IS NULL THEN 0 ELSE 1 END AS known,
                s.stands AS stands"""
    sessions = f"""(
                SELECT {{shard}} AS shard, id, epoch, head, lineage, active_period,
                    {stands} AS stands, tenant, "user", agent
                FROM {{sessions}}"""
    with_positions = f"""s LEFT JOIN {{feed_positions}} p ON {{p.feed_of s}}
            WHERE {_OF_SCOPE} AND {_DIFFERS}
            ORDER BY {", ".join(f"s.{column}" for column in order)} LIMIT :limit"""
    places = f"""SELECT active_period, {stands} AS stands, id FROM {{sessions}} WHERE {behind}
                ORDER BY {forwards} LIMIT :look"""
    whole = f"""
        SELECT e.stands, e.id, f.shard, f.id, f.epoch, f.head, f.known, f.stands
        FROM (
            SELECT stands, id FROM (
                {places}
            ) s ORDER BY {backwards} LIMIT 1
        ) e LEFT JOIN (
            SELECT {found}
            FROM {sessions} WHERE {behind} ORDER BY {forwards} LIMIT :look
            ) {with_positions}
        ) f ON 1 = 1"""
    within = f"""
        SELECT {found}
            FROM {sessions} WHERE {behind} AND ({columns}) <= ({upto})
            ) {with_positions}"""
    return _Way(whole, places, within)


_OF_OWNER: Final = "{my_shard} owner = :owner AND "
# Rounded down before 1970, too, as Python has it.
_SECOND: Final = f"""(last_active - CASE WHEN last_active < 0 THEN {MICROSECONDS - 1} ELSE 0 END)
                    / {MICROSECONDS}"""
# An index has the period alone: within it, by the exact second.
_SINCE: Final = f"active_period >= :period AND ({_SECOND}, id) > (:second, :number)"
_BY_TIME: Final = {
    of_owner: _way(
        (_OF_OWNER if of_owner else "") + _SINCE, _SECOND, "active_period", "stands", "id"
    )
    for of_owner in (False, True)
}
# Who is written to meanwhile only ever comes to stand further on: nobody is passed over.
_IN_TURN: Final = {
    of_owner: _way(
        (_OF_OWNER if of_owner else "") + "(active_period, id) > (:period, :number)",
        "active_period",
        "active_period",
        "id",
    )
    for of_owner in (False, True)
}
_BY_NUMBER: Final = _way("id > :number", "active_period", "id")

_TAKE: Final = f"""
    INSERT INTO {{feed_positions}} AS p (
        {{feed_key}}, epoch, head, lineage, token, gone, due, holder
    ) VALUES (
        {{feed_value}}, 0, 0, 0, 0, 0, {{clock}} + :lease, :holder
    ) ON CONFLICT ({{feed_key}}) DO UPDATE SET
        due = excluded.due, holder = :holder, gone = 0
    WHERE :known = 1 AND p.epoch = :epoch AND p.head = :head AND (p.due IS NULL OR {_FREE})"""
# PostgreSQL without Citus: many at once, which take a tenth of what each by itself does. Locked in
# the order in which all lock them.
_TAKE_NEW: Final[dict[Kind, str]] = {
    "postgresql": """
    INSERT INTO {feed_positions} (
        shard, session, feed, epoch, head, lineage, token, gone, due, holder
    )
    SELECT a.shard, a.session, :feed, 0, 0, 0, 0, 0, {clock} + :lease, :holder
    FROM unnest(CAST(:shards AS SMALLINT[]), CAST(:sessions AS BIGINT[])) AS a (shard, session)
    ORDER BY a.shard, a.session
    ON CONFLICT (shard, session, feed) DO NOTHING"""
}
_TAKE_KNOWN: Final[dict[Kind, str]] = {
    "postgresql": f"""
    WITH locked AS (
        SELECT p.shard, p.session FROM {{feed_positions}} p JOIN unnest(
            CAST(:shards AS SMALLINT[]), CAST(:sessions AS BIGINT[]),
            CAST(:epochs AS BIGINT[]), CAST(:heads AS BIGINT[])
        ) AS a (shard, session, epoch, head)
            ON p.shard = a.shard AND p.session = a.session AND p.epoch = a.epoch
                AND p.head = a.head
        WHERE p.feed = :feed
            AND (p.due IS NULL OR p.due <= {{clock}} OR p.due > {{clock}} + {LONGEST_LEASE})
        ORDER BY p.shard, p.session FOR UPDATE OF p
    )
    UPDATE {{feed_positions}} p SET due = {{clock}} + :lease, holder = :holder, gone = 0
    FROM locked l WHERE p.shard = l.shard AND p.session = l.session AND p.feed = :feed"""
}
_TAKEN_AS: Final = f"""
    SELECT {{p.shard}}, p.session, p.epoch, p.head, p.token,
        coalesce((SELECT t.token FROM {{tail}} t WHERE {{t.at_finished p}}), 0),
        coalesce((SELECT h.token FROM {{tail}} h WHERE {{h.at_head s}}), 0),
        {", ".join(f's."{name}"' for name in Described._fields)}"""
# On PostgreSQL by their keys: what was due before stays in an index until it is vacuumed. By
# LATERAL: where it expects many of them it reads all sessions, 10 ms of 100,000. And in no order:
# without sorting it would go over all sessions to find some in order.
_TAKEN: Final[dict[Kind, str]] = {
    "sqlite": f"""{_TAKEN_AS} FROM {{feed_positions}} p
        LEFT JOIN {{sessions}} s ON s.id = p.session
        WHERE p.feed = :feed AND p.due IS NOT NULL AND p.holder = :holder""",
    "postgresql": f"""{_TAKEN_AS} FROM {{feed_positions}} p
        LEFT JOIN LATERAL (
            SELECT * FROM {{sessions}} s WHERE s.shard = p.shard AND s.id = p.session LIMIT 1
        ) s ON TRUE
        WHERE p.session = ANY(CAST(:sessions AS BIGINT[])) AND p.feed = :feed
            AND p.holder = :holder""",
}

# What has moved on since it was read is due at once: nobody would find it by its time any more.
_FINISH: Final = """
    UPDATE {feed_positions} SET
        epoch = CASE WHEN gone = 1 THEN epoch ELSE :epoch END,
        head = CASE WHEN gone = 1 THEN head ELSE :head END,
        lineage = :lineage, token = :token, holder = NULL,
        due = CASE WHEN gone = 0 AND EXISTS (
            SELECT 1 FROM {sessions} s
            WHERE {s.my_shard} s.id = :session AND s.epoch = :epoch AND s.head = :head
                AND s.lineage = :lineage
        ) THEN NULL ELSE 0 END
    WHERE {feed_at} AND holder = :holder"""
_FINISH_MANY: Final[dict[Kind, str]] = {
    "postgresql": """
    WITH locked AS (
        SELECT p.shard, p.session, d.epoch, d.head, d.lineage, d.token
        FROM {feed_positions} p JOIN unnest(
            CAST(:shards AS SMALLINT[]), CAST(:sessions AS BIGINT[]), CAST(:epochs AS BIGINT[]),
            CAST(:heads AS BIGINT[]), CAST(:lineages AS BIGINT[]), CAST(:tokens AS BIGINT[]),
            CAST(:holders AS BIGINT[])
        ) AS d (shard, session, epoch, head, lineage, token, holder)
            ON p.shard = d.shard AND p.session = d.session AND p.holder = d.holder
        WHERE p.feed = :feed ORDER BY p.shard, p.session FOR UPDATE OF p
    )
    UPDATE {feed_positions} p SET
        epoch = CASE WHEN gone = 1 THEN p.epoch ELSE l.epoch END,
        head = CASE WHEN gone = 1 THEN p.head ELSE l.head END,
        lineage = l.lineage, token = l.token, holder = NULL,
        due = CASE WHEN gone = 0 AND EXISTS (
            SELECT 1 FROM {sessions} s
            WHERE s.shard = l.shard AND s.id = l.session AND s.epoch = l.epoch
                AND s.head = l.head AND s.lineage = l.lineage
        ) THEN NULL ELSE 0 END
    FROM locked l WHERE p.shard = l.shard AND p.session = l.session AND p.feed = :feed"""
}
_FINISH_ERASED: Final = "DELETE FROM {feed_positions} WHERE {feed_at} AND holder = :holder"
# What it had come to goes; the epoch is that of a session that nobody has written to yet.
_ERASE: Final = f"""
    UPDATE {{feed_positions}} SET
        gone = 1, epoch = :epoch, head = {NOWHERE}, lineage = 0, token = 0, due = coalesce(due, 0)
    WHERE {{all_feeds_at}}"""
# Locked in the order in which readers take them, so that no two wait in a ring.
_ERASE_MANY: Final[dict[Kind, str]] = {
    "sqlite": _ERASE,
    "postgresql": f"""
        WITH locked AS (
            SELECT p.shard, p.session, p.feed FROM {{feed_positions}} p WHERE {{p.of_many_sessions}}
            ORDER BY p.shard, p.session, p.feed FOR UPDATE
        )
        UPDATE {{feed_positions}} p SET
            gone = 1, epoch = e.epoch, head = {NOWHERE}, lineage = 0, token = 0,
            due = coalesce(p.due, 0)
        FROM locked l, unnest(
            CAST(:shards AS SMALLINT[]), CAST(:sessions AS BIGINT[]), CAST(:epochs AS BIGINT[])
        ) AS e (shard, session, epoch)
        WHERE p.shard = l.shard AND p.session = l.session AND p.feed = l.feed
            AND e.shard = l.shard AND e.session = l.session""",
}

_TOKEN: Final = "SELECT token FROM {tail} WHERE {at}"

_SOME: Final[dict[Kind, str]] = {
    "sqlite": """
        SELECT 0, session FROM {feed_positions}
        WHERE place > (:after << 32) + 4294967295 AND feed = :feed ORDER BY place LIMIT :limit""",
    "postgresql": """
        SELECT shard, session FROM {feed_positions}
        WHERE session > :after AND feed = :feed ORDER BY session LIMIT :limit""",
}
_DROP: Final = "DELETE FROM {feed_positions} WHERE {feed_at}"
_BEHIND: Final = f"""
    SELECT count(*) FROM {{sessions}} s LEFT JOIN {{feed_positions}} p ON {{p.feed_of s}}
    WHERE {_OF_SCOPE} AND CASE WHEN p.epoch IS NULL THEN s.head > 0 ELSE {_MOVED} END"""
_ERASED: Final = """
    SELECT count(*) FROM {feed_positions} p WHERE p.feed = :feed AND p.due IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM {sessions} s WHERE {s.in_shard_of p} s.id = p.session)"""


class Candidate(NamedTuple):
    """A session of which there may be something to hand out, and what its reader has finished."""

    key: SessionKey
    epoch: int
    head: int
    known: int
    """0 where nothing of it was ever handed out."""


class Taken(NamedTuple):
    """A session that was handed out: how far its reader has finished it, and how it stands now."""

    key: SessionKey
    epoch: int
    head: int
    token: int
    """Of the message at that head when it was finished."""
    token_there: int
    """Of the message that is in that place now; 0 where none is known."""
    token_at_head: int
    """Of its newest message."""
    described: Described | None
    """None where it is not there any more."""


class Finished(NamedTuple):
    """How far a reader has come in a session that was handed out to it."""

    key: SessionKey
    holder: int
    epoch: int
    head: int
    lineage: int
    token: int
    erased: bool = False


def due(txn: Transaction, feed: int, now: int, limit: int) -> list[Candidate]:
    """What is to be handed out again, or has moved on while it was handed out."""
    values = {"feed": feed, "now": now, "never": now + LONGEST_LEASE, "limit": limit}
    return _candidates(txn, txn.rows(_DUE, values)[:limit])


def by_time(
    txn: Transaction,
    feed: int,
    scope: Scope,
    after: Place,
    look: int,
    limit: int,
) -> tuple[list[Candidate], Place | None]:
    """Sessions with something to hand out among those last active after a place, the earliest
    first; and up to where that was looked, None where there was nothing to look at. At most
    ``look`` are looked at."""
    values = {"period": _period(after), "second": after[0], "number": after[1]}
    of_owner = _of_owner(scope, values)
    return _walked(txn, _BY_TIME[of_owner], values, feed, scope, look, limit)


def in_turn(
    txn: Transaction, feed: int, scope: Scope, after: Place, look: int, limit: int
) -> tuple[list[Candidate], Place | None]:
    """The same, of all there are, one period after the other and in each by their numbers: what
    they are looked at in turn by."""
    values = {"period": _period(after), "number": after[1]}
    of_owner = _of_owner(scope, values)
    found, end = _walked(txn, _IN_TURN[of_owner], values, feed, scope, look, limit)
    return found, None if end is None else (end[0] * PERIOD // MICROSECONDS, end[1])


def by_number(
    txn: Transaction, feed: int, scope: Scope, after: int, look: int, limit: int
) -> tuple[list[Candidate], Place | None]:
    """The same among those that were made after the one with a number, the oldest first."""
    return _walked(txn, _BY_NUMBER, {"number": after}, feed, scope, look, limit)


def take(
    txn: Transaction, feed: int, found: Sequence[Candidate], holder: int, lease: int, now: int
) -> None:
    """Hand out to a holder what nobody else was given meanwhile."""
    if _at_once(txn, found):
        for statement, known in ((_TAKE_NEW, 0), (_TAKE_KNOWN, 1)):
            if some := [one for one in found if one.known == known]:
                at_once = {"feed": feed, "holder": holder, "lease": lease, **_arrays(some)}
                txn.run(statement[txn.kind], at_once)
        return
    values = [
        {
            **keys.of_key(one.key),
            "feed": feed,
            "epoch": one.epoch,
            "head": one.head,
            "known": one.known,
            "holder": holder,
            "lease": lease,
            "now": now,
        }
        for one in sorted(found)  # the same order for all who take, so that no two wait in a ring
    ]
    txn.many(_TAKE, values)


def taken(txn: Transaction, feed: int, holder: int, asked: Iterable[Candidate]) -> list[Taken]:
    """What a holder was handed out of what it asked for, in the order of sessions."""
    values: dict[str, Any] = {"feed": feed, "holder": holder, "sessions": None}
    if txn.can.array_parameters:
        values["sessions"] = [one.key.session for one in asked]
    found: list[Taken] = []
    for row in txn.rows(_TAKEN[txn.kind], values):
        shard, session, epoch, head, token, there, at_head, *rest = row
        described = None if rest[0] is None else Described(*rest)
        key = SessionKey(shard, session)
        found.append(Taken(key, epoch, head, token, there, at_head, described))
    return sorted(found, key=lambda one: one.key)


def _at_once(txn: Transaction, some: Sequence[object]) -> bool:
    """Whether several are one statement; one alone names its shard."""
    return len(some) > 1 and txn.can.array_parameters and txn.can.across_shards


def _arrays(some: Sequence[Candidate] | Sequence[Finished]) -> dict[str, Any]:
    """Columns of several: of each field all, under its name with an s."""
    values = {f"{name}s": [getattr(one, name) for one in some] for name in some[0]._fields[1:]}
    return {
        **values,
        "shards": [one.key.shard for one in some],
        "sessions": [one.key.session for one in some],
    }


def token_at(txn: Transaction, key: SessionKey, seq: int) -> int:
    """The token of the message in a place; 0 where none is known."""
    row = txn.first(_TOKEN, keys.at(key, seq)) if seq > 0 else None
    return 0 if row is None else int(row[0])


def finish(txn: Transaction, feed: int, done: Sequence[Finished]) -> int:
    """Make final what a reader has finished; of how much it was still the holder."""
    txn.begin()
    if _at_once(txn, done):
        there = [one for one in done if not one.erased]
        held = txn.run(_FINISH_MANY[txn.kind], {"feed": feed, **_arrays(there)}) if there else 0
        done = [one for one in done if one.erased]
        return held + (_finish_each(txn, feed, done) if done else 0)
    return _finish_each(txn, feed, done)


def _finish_each(txn: Transaction, feed: int, done: Iterable[Finished]) -> int:
    """The same by a statement for each."""
    some = [{**one._asdict(), **keys.of_key(one.key), "feed": feed} for one in sorted(done)]
    held = 0
    for statement, erased in ((_FINISH, False), (_FINISH_ERASED, True)):
        if values := [one for one in some if one["erased"] is erased]:
            held += txn.many(statement, values)
    return held


def erase(txn: Transaction, key: SessionKey, epoch: int) -> None:
    """Note for all readers of a session that it was erased, and in which epoch it would begin
    again: nothing else of it is left."""
    if keys.is_number(txn, key.session):
        txn.run(_ERASE, {**keys.of_key(key), "epoch": epoch})


def erase_many(txn: Transaction, erased: Sequence[tuple[SessionKey, int]]) -> None:
    """The same of many sessions, each with its epoch; none has a damaged number."""
    if txn.can.array_parameters:
        values = {
            "shards": [key.shard for key, _ in erased],
            "sessions": [key.session for key, _ in erased],
            "epochs": [epoch for _, epoch in erased],
        }
        txn.run(_ERASE_MANY[txn.kind], values)
    else:
        values_of_each = [{**keys.of_key(key), "epoch": epoch} for key, epoch in erased]
        txn.many(_ERASE_MANY[txn.kind], values_of_each)


def drop(txn: Transaction, feed: int, after: int, limit: int) -> int | None:
    """Take the positions of a forgotten reader away, some at a time; the last session of these."""
    rows = txn.rows(_SOME[txn.kind], {"feed": feed, "after": after, "limit": limit})
    if not rows:
        return None
    txn.begin()
    txn.many(_DROP, [{"shard": shard, "session": id, "feed": feed} for shard, id in rows])
    return int(rows[-1][1])


def behind(txn: Transaction, feed: int, scope: Scope) -> int:
    """How many sessions of a scope a reader has not finished."""
    found = txn.first(_BEHIND, {**names(scope), "feed": feed})
    return erased_behind(txn, feed) + (0 if found is None else int(found[0]))


def erased_behind(txn: Transaction, feed: int) -> int:
    """Of how many sessions a reader has not been told that they were erased."""
    row = txn.first(_ERASED, {"feed": feed})
    return 0 if row is None else int(row[0])


def _period(place: Place) -> int:
    return period_of(place[0] * MICROSECONDS)


def _of_owner(scope: Scope, values: dict[str, Any]) -> bool:
    """Whether all of a scope have one owner, whose number is added to the values."""
    if scope.tenant is ANY or scope.user is ANY:
        return False
    owner = owner_number(scope.tenant, scope.user)  # the index; the names decide
    values.update(owner=owner, shard=shard_of(owner))
    return True


def _walked(
    txn: Transaction,
    way: _Way,
    values: dict[str, Any],
    feed: int,
    scope: Scope,
    look: int,
    limit: int,
) -> tuple[list[Candidate], Place | None]:
    asked = {**values, **names(scope), "feed": feed, "look": look, "limit": limit}
    if txn.can.across_shards:
        rows = txn.rows(way.whole, asked)
        found = [row[2:] for row in rows if row[3] is not None]
    else:
        rows, found = [], []
        if ends := txn.rows(way.end, asked):
            period, stands, number = ends[-1]
            asked.update(end_active_period=period, end_stands=stands, end_id=number)
            rows, found = [(stands, number)], txn.rows(way.within, asked)
    if not rows:
        return [], None
    # In which order they come out of the join nothing says.
    found.sort(key=_by_number if way is _BY_NUMBER else _by_time)
    stands, number = rows[0][:2] if len(found) < limit else (found[-1][5], found[-1][1])
    return _candidates(txn, found), (stands, max(number, 0))


def _by_number(row: tuple[Any, ...]) -> Any:
    return row[1]


def _by_time(row: tuple[Any, ...]) -> Any:
    return row[5], row[1]


def _candidates(txn: Transaction, rows: Iterable[tuple[Any, ...]]) -> list[Candidate]:
    # By a damaged number another session's rows would be reached.
    return [
        Candidate(SessionKey(*row[:2]), *row[2:5]) for row in rows if keys.is_number(txn, row[1])
    ]
