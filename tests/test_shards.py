"""What one user does touches one shard: of every statement there is, and of what is really sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
import pytest

from onrecord import ANY, CheckpointLog, Put, Store
from onrecord.checkpoint_log import Listing, New
from onrecord.ledger.database.dialect import Dialect
from scripts.statements import rendered, statements
from tests.emptied import Reused, reused
from tests.sent import recorded
from tests.servers.postgres import PostgresServer
from tests.shards import SHARDED, Fault, faults

ASKS_ALL: Final = {
    # Whoever lists, counts or looks for what is everybody's.
    r"sessions/(description _DESCRIBED|heads _HEADS|unfinished _LIST)": "lists of many users",
    r"sessions/sessions (_NAMES|_BEFORE|count\(\))": "goes over all sessions, by keyset",
    r"sessions/unfinished _FINISHED": "who looks after the store",
    r"sessions/(tail (_SPANS|_(SIZES_)?OF_MANY)|sealing_many _FIND)": "of many sessions at once, "
    "by shards that are values of a list",
    r"sessions/pairs _FIND": "lists of many users, by their metadata",
    r"maintenance/erasing_many _PAGE": "erase() and prune() of many sessions",
    r"items/states _(THERE|FENCES)": "the same, by shards that are values of a list",
    r"checkpoints/burying _NEWEST_OF_MANY": "the same",
    r"checkpoints/threads (_DESCRIBED|_DELETED)": "lists of threads; who looks after the store",
    r"checkpoints/lists _COUNTED\[.*": "stats()",
    r"items/(items _BELOW|namespaces _OF_SCOPE|meanings _BEHIND)": "within a scope",
    r"items/scoped _(PAGE|COUNT)": "the same",
    r"search/runs _(OF_SESSIONS|TOTALS)": "the same",
    r"search/vectors _OF_SESSIONS": "the same",
    r"feed/.*": "a reader of what happens in sessions reads everybody's",
    r"maintenance/(counting|sampling|verifying|verifying_items) .*": "stats(), doctor(), verify()",
    r"maintenance/maintain _TOTAL": "maintain()",
    r"maintenance/erasing _(NEEDING|NEEDED.*)": "an erase takes along what was learned of it",
}
"""Statements that ask more than one shard, and why they may."""

CHANGES_ALL: Final = {
    r"checkpoints/threads _(NEXT_EPOCH_OF_ALL|MOVE_ALL_HEADS)": "invalidate(), after a restore",
    r"items/namespaces _NEXT_VERSION_OF_ALL": "the same",
    r"search/vectors _DROP(_OF_ITEMS)?": "embed(only=True) drops an embedder, which stands alone",
    r"maintenance/erasing_many _(LOCK|REMOVE\[.*)": "erase() and prune(), by shards that are "
    "values of a list; one by one where it cannot be",
    r"items/states _(HOLD|CLEAR|REMOVE)": "the same",
    r"checkpoints/burying _(LOCK_MANY|LISTS_OF_MANY|DELETE_OF_MANY.*|BURY_MANY)": "the same",
    r"feed/positions _(ERASE_MANY|TAKE_NEW|TAKE_KNOWN|FINISH_MANY)": "the same",
    r"sessions/sealing_many _(LOCK|SEAL|CUT)": "compact(), the same",
    r"sessions/unfinished _NOT_ANY_MORE": "some, whoever's they are; one by one where it cannot be",
}
"""Statements that change rows of more than one shard, and why they may."""


def test_every_statement_names_a_shard_or_has_a_reason() -> None:
    asks, changes = set[str](), set[str]()
    known = list(statements("postgresql"))
    assert len(known) > 250
    for one in known:
        found = faults(rendered(one.template, "postgresql"))
        if found:
            (changes if _changes(found) else asks).add(one.place)
    for places, allowed in ((asks, ASKS_ALL), (changes, CHANGES_ALL)):
        assert {place for place in places if not _matched(place, allowed)} == set()
        unused = [pattern for pattern in allowed if not any(map(_whole(pattern), places))]
        assert unused == []


def _changes(found: list[Fault]) -> bool:
    return any(fault.changes for fault in found)


def _matched(place: str, allowed: dict[str, str]) -> bool:
    return any(re.fullmatch(pattern, place) for pattern in allowed)


def _whole(pattern: str) -> Any:
    return re.compile(pattern).fullmatch


FOUND_OUT: Final = {
    "SELECT * FROM onrecord_tail WHERE session = :session": "by nothing",
    "SELECT * FROM onrecord_tail WHERE shard = 7 OR session = :session": "by nothing",
    "SELECT * FROM onrecord_tail t WHERE t.shard = :shard OR t.session = :session": "by nothing",
    "SELECT (SELECT 1 FROM onrecord_tail t WHERE t.shard = s.shard) FROM onrecord_sessions s "
    "WHERE s.shard = :shard": "by a join",
    "SELECT id FROM onrecord_sessions WHERE maybe_open = 1 FOR UPDATE": "locks or changes",
    "UPDATE onrecord_sessions SET head = 0 WHERE id = :id": "locks or changes",
    "DELETE FROM onrecord_items WHERE key IN (SELECT key FROM onrecord_items "
    "WHERE shard = :shard)": "locks or changes",
    "INSERT INTO onrecord_tail (shard, seq) SELECT s.shard, 1 FROM onrecord_sessions s "
    "WHERE s.shard = :shard": "no value",
    "WITH a AS (UPDATE onrecord_sessions SET head = 1 WHERE id = 1 RETURNING id) "
    "INSERT INTO onrecord_tail (shard, seq) SELECT CAST(:shard AS SMALLINT), a.id FROM a": "locks",
}
IN_ORDER: Final = (
    "SELECT 1 FROM onrecord_sessions s JOIN onrecord_tail t ON t.shard = :shard AND t.seq = s.head "
    "WHERE s.shard = :shard",
    "SELECT 1 FROM onrecord_sessions s LEFT JOIN onrecord_tail t ON t.shard = s.shard "
    "WHERE s.shard = :shard",
    "UPDATE onrecord_sessions SET waits = CASE WHEN a OR b THEN 1 END WHERE shard = :shard",
    "INSERT INTO onrecord_tail AS t (seq, shard) VALUES (:seq, CAST(:shard AS SMALLINT)) "
    "ON CONFLICT (seq, shard) DO UPDATE SET seq = excluded.seq",
    "SELECT value FROM onrecord_meta WHERE name = 'cache' FOR UPDATE",
)


@pytest.mark.parametrize("statement", FOUND_OUT)
def test_what_reaches_other_shards_is_found_out(statement: str) -> None:
    (fault,) = faults(statement)
    assert FOUND_OUT[statement] in fault.how


@pytest.mark.parametrize("statement", IN_ORDER)
def test_what_stays_in_one_is_not(statement: str) -> None:
    assert faults(statement) == []


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Reused]:
    with reused(postgres, "shards") as database:
        yield database


def what_one_user_does(store: Store) -> None:
    """All that is asked of a conversation, a thread and items again and again."""
    session = store.session("s", user="ada")
    for n in range(3):
        session.append([("user", f"question {n}"), ("assistant", "answer")] * (1 + 70 * n))
        session.append(("user", "and"), expected=session.version())
        session.append({"role": "user", "content": "with an id", "id": f"id {n}"})
        session.append({"role": "user", "content": "with an id", "id": f"id {n}"})
    session.append([("user", "x")], items=[Put(store.items("notes", user="ada"), "beside", 1)])
    session.tail(20), session.messages(limit=10), session.window(turns=3), session.count()
    session.info(), session.version(), list(session.scan())
    session.search("question"), session.update(title="t")
    session.archive([1, 2])
    session.unarchive([1])
    session.edit(5, ("user", "edited")), session.delete(6), session.rewind(100)
    session.fork("forked", at=50)
    with session.turn() as turn:
        turn.append(("user", "held"))
    session.state.put("k", 1), session.state.get("k"), session.state.delete("k")
    session.clear()
    session.append(("user", "after"))
    session.erase()

    log = CheckpointLog(store, user="ada")
    values: dict[str, Any] = {"messages": Listing([("text", b"a")]), "x": ("text", b"1")}
    put = log.put("t", "", New("1", None, (), values, "run"))
    values["messages"] = Listing([*put.numbers["messages"], ("text", b"b")])
    log.put("t", "", New("2", "1", (), values, "run"))
    log.put_writes("t", "", "2", "task", "", [(0, "x", ("text", b"3"))])
    other = CheckpointLog(store, user="ada")
    other.state("t"), other.state("t", id="1"), other.page("t", limit=5), other.info("t")
    log.copy("t", "copy")
    log.delete("copy")

    items = store.items("notes", user="ada")
    items.put("a", {"x": 1}), items.put_many({"b": 2, "c": 3}), items.get("a")
    items.get_many(["a", "b"]), items.list(), items.count(), items.search("x")
    items.delete("a"), items.delete_many(["b"]), items.put("t", 1, ttl=60), items.clear()
    store.sessions(user="ada"), store.sessions(user="ada", agent=ANY)


@pytest.fixture(scope="module")
def sent(database: Reused) -> dict[str, Mapping[str, object]]:
    """The statements of one user, by their templates, with some of their values."""
    schema = database.partitioned("spread")
    with Store(database.url, schema=schema, pool_size=2) as store, recorded() as found:
        what_one_user_does(store)
    return {one.template: one.values for one in found if _is_dml(one.template)}


def test_what_one_user_does_asks_one_shard_and_changes_no_other(
    sent: dict[str, Mapping[str, object]],
) -> None:
    assert len(sent) > 100
    found = {text: faults(rendered(text, "postgresql")) for text in sent}
    assert {text: wrong for text, wrong in found.items() if wrong} == {}


def test_what_one_user_does_touches_one_partition_of_each_table(
    sent: dict[str, Mapping[str, object]], database: Reused
) -> None:
    dialect = Dialect("postgresql", "spread")
    looked_at = set[str]()
    with psycopg.connect(database.url, autocommit=True) as connection:
        for template, values in sent.items():
            text = dialect.render(template)
            if not any(re.search(rf"\b{name}\b", text) for name in SHARDED):
                continue
            explain = f"EXPLAIN (FORMAT JSON, COSTS OFF) {text}"
            ((plan,),) = connection.execute(explain, values).fetchall()
            names = set(re.findall(r'"Relation Name": "(onrecord_\w+?)_(\d+)"', json.dumps(plan)))
            # One of each table, and the same of all of them: they lie on one machine.
            assert len({part for _, part in names}) <= 1, (template, names)
            looked_at |= {table for table, _ in names}
    assert SHARDED - looked_at == set()


def _is_dml(template: str) -> bool:
    return bool(re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s", template))
