"""The order of lists is exact, though an index has only the period; and no list reads the store."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

import psycopg
import pytest

from onrecord import ANY, SessionInfo, Store
from onrecord.flows.sessions import append
from onrecord.ledger.checkpoints import threads
from onrecord.ledger.database.dialect import Dialect
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import description
from onrecord.scope import AnyName, owner_number, shard_of
from onrecord.stored import clock
from onrecord.stored.clock import PERIOD, period_of

Stores = Callable[..., Store]
NAMES: Final = ("", "a", "b")
SECOND: Final = 1_000_000


class Clock:
    """Time as a test wants it: mostly on by less than a period, at times not at all, or back."""

    def __init__(self, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
        self._rng = rng
        self.now = clock.now() // PERIOD * PERIOD
        monkeypatch.setattr(append, "now", lambda: self.now)

    def goes_on(self) -> None:
        steps = (0, 1, SECOND, 60 * SECOND, 300 * SECOND, 3 * PERIOD, -SECOND, -PERIOD)
        self.now += self._rng.choice(steps)


class Model:
    """When each session was last active, by its names; in the order in which they were made."""

    def __init__(self) -> None:
        self.active: dict[tuple[str, str, str, str], int] = {}

    def listed(self, tenant: AnyName, user: AnyName, agent: AnyName) -> list[str]:
        asked = (tenant, user, agent)
        found = [
            (last_active, n, names[3])
            for n, (names, last_active) in enumerate(self.active.items())
            if all(a is ANY or a == b for a, b in zip(asked, names, strict=False))
        ]
        return [key for *_, key in sorted(found, reverse=True)]


def pages(store: Store, limit: int, **scope: Any) -> Iterator[SessionInfo]:
    after = None
    while page := store.sessions(**scope, limit=limit, after=after):
        yield from page
        after = page[-1]


def test_the_order_is_that_of_the_last_activity(
    each_store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whatever scope, page by page, after whatever was appended when."""
    for seed in range(3):
        rng, store, model = random.Random(seed), each_store(), Model()
        time = Clock(rng, monkeypatch)
        for step in range(60):
            tenant, user, agent = f"{rng.choice(NAMES)}{seed}", rng.choice(NAMES), rng.choice(NAMES)
            key = f"{seed}-{step}"
            if rng.random() < 0.6 and model.active:
                tenant, user, agent, key = rng.choice(list(model.active))
            time.goes_on()
            session = store.session(key, tenant=tenant, user=user, agent=agent)
            session.append((rng.choice(("user", "assistant")), "hello"))
            names = (tenant, user, agent, key)
            model.active[names] = max(model.active.get(names, 0), time.now)
        tenants = (*(f"{name}{seed}" for name in NAMES), "nobody")
        for asked in itertools.product(tenants, (*NAMES, ANY), (*NAMES, "nobody", ANY)):
            scope: dict[str, Any] = dict(zip(("tenant", "user", "agent"), asked, strict=True))
            listed = [info.key for info in pages(store, 4, **scope)]
            assert listed == model.listed(**scope), (seed, asked)
        assert store.verify() == []


def test_who_is_written_to_between_two_pages_is_met_once(
    each_store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, store = random.Random(7), each_store()
    time = Clock(rng, monkeypatch)
    for n in range(20):
        time.now += 10 * SECOND
        store.session(f"s{n}").append(("user", "hello"))
    time.now += SECOND
    met: list[str] = []
    quiet = {f"s{n}" for n in range(20)}
    for info in pages(store, 3):
        met.append(info.key)
        if len(met) % 3 == 0:
            time.now += rng.choice((1, PERIOD))
            for key in rng.sample(sorted(quiet), 2):
                store.session(key).append(("user", "again"))
                quiet.discard(key)
    assert len(met) == len(set(met))
    assert quiet <= set(met)


def test_those_of_one_moment_are_met_though_the_last_of_a_page_has_gone(
    each_store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = each_store()
    at = clock.now()
    monkeypatch.setattr(append, "now", lambda: at)
    for n in range(6):
        store.session(f"s{n}").append(("user", "hello"))
    page = store.sessions(limit=2)
    assert [info.key for info in page] == ["s5", "s4"]
    store.session("s4").erase(thorough=False)
    assert {info.key for info in store.sessions(after=page[-1])} >= {"s3", "s2", "s1", "s0"}


def test_an_append_in_the_same_period_moves_no_index(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One a minute, of user and assistant in turn: PostgreSQL counts which rows stay in place."""
    with Store(postgres_url) as store:
        time = Clock(random.Random(1), monkeypatch)
        sessions = [store.session(f"s{n}", user=f"u{n}") for n in range(10)]
        for n in range(40):
            for session in sessions:
                session.append(("user" if n % 2 else "assistant", "hello"))
            time.now += 60 * SECOND
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        updated, hot = connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
            "WHERE relname = 'onrecord_sessions'"
        ).fetchone() or (0, 0)
    assert updated >= 390
    assert hot / updated >= 0.7


# -- no list reads the store ---------------------------------------------------------------------

MANY: Final = 4_000
FEW: Final = 150
"""Rows that a list may visit, and more than any of those below has to."""
_SEED: Final = """
    INSERT INTO {{{table}}} ({shard} identity, owner, {own} created, last_active, active_period,
        tenant, "user", agent, key)
    VALUES ({shard_value} :identity, :owner, {own_values} :at, :at, :period,
        :tenant, :user, :agent, :key)"""
_OWN: Final = {
    "sessions": (
        "epoch, cut_epoch, head, messages, turns, tokens,",
        "0, 0, 0, 0, 0, 0,",
        description.listed,
    ),
    "checkpoint_threads": ("live, epoch,", "1, 0,", threads.listed),
}
SCOPES: Final[dict[str, tuple[AnyName, AnyName, AnyName]]] = {
    "everybody": (ANY, ANY, ANY),
    "a user": ("big", "u7", ""),
    "one of a large tenant who said little": ("big", "once", ""),
    "a user, all agents": ("big", "u7", ANY),
    "a user who is not there": ("big", "nobody", ""),
    "a tenant": ("small", ANY, ANY),
    "a tenant who is not there": ("nobody", ANY, ANY),
    "an agent": (ANY, ANY, "rare"),
    "an agent who is not there": (ANY, ANY, "nobody"),
    "an agent of a large user": ("", "", "rare"),
    "an agent a large user has not": ("", "", "nobody"),
    "an agent a large tenant has not": ("big", ANY, "rare"),
    "a common agent a small tenant has not": ("small", ANY, "helper"),
}


class Asked(NamedTuple):
    statement: str
    values: Mapping[str, Any]


class _Listening:
    """A transaction that says what it is asked; it finds nothing, unless it ``answers``."""

    def __init__(self, txn: Transaction, *, answers: bool = False) -> None:
        self.kind = txn.kind
        self._txn = txn if answers else None
        self.asked: list[Asked] = []

    def rows(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        self.asked.append(Asked(statement, values))
        return [] if self._txn is None else self._txn.rows(statement, values)


def fill(store: Store, table: str) -> None:
    """A tenant with many sessions and one with few, and a user with many and two agents."""
    own, own_values, _ = _OWN[table]
    postgres = store._ledger.dialect.kind == "postgresql"
    rows = []
    for n in range(MANY):
        if n % 2:
            user = "once" if n == 1 else f"u{n % 50}"
            names = ("small" if n % 401 == 0 else "big", user, "")
        else:
            names = ("", "", "rare" if n % 200 == 0 else "helper")
        tenant, user, agent = names
        owner = owner_number(tenant, user)
        at = 1_764_000_000_000_000 + n * 10 * SECOND
        rows.append(
            {
                "identity": n.to_bytes(16, "big"),
                "owner": owner,
                "shard": shard_of(owner),
                "at": at,
                "period": period_of(at),
                "tenant": tenant,
                "user": user,
                "agent": agent,
                "key": f"k{n}",
            }
        )
    seed = _SEED.format(
        table=table,
        shard="shard," if postgres else "",
        shard_value=":shard," if postgres else "",
        own=own,
        own_values=own_values,
    )
    store._ledger.write(lambda txn: txn.many(seed, rows))


def visited(store: Store, asked: Asked) -> float:
    """How many rows a statement visits; on SQLite a fortieth of its steps, which is no less."""
    if store._ledger.file is not None:
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        connection = sqlite3.connect(store._ledger.file)
        connection.set_progress_handler(step, 40)
        connection.execute(Dialect("sqlite").render(asked.statement), asked.values).fetchall()
        connection.close()
        return steps
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {asked.statement}"
    found = store._ledger.read(lambda txn: txn.first(explain, asked.values))
    assert found is not None
    return sum(_read(found[0][0]["Plan"]))


def _read(plan: dict[str, Any]) -> Iterator[float]:
    if "Scan" in plan["Node Type"]:
        removed = plan.get("Rows Removed by Filter", 0) + plan.get(
            "Rows Removed by Index Recheck", 0
        )
        yield plan["Actual Loops"] * (plan["Actual Rows"] + removed)
    for part in plan.get("Plans", ()):
        yield from _read(part)


def test_no_list_by_metadata_reads_the_store(each_store: Stores) -> None:
    """Of one user or of all, of what few have, or nobody: what is asked of the index, and then of
    the sessions that it names."""
    store = each_store()
    fill(store, "sessions")
    for n in range(3):
        store.session(f"s{n}").create(metadata={"topic": "tea", "n": n})
    if store._ledger.file is None:
        store._ledger.write(
            lambda txn: [txn.run(f"ANALYZE {{{t}}}") for t in ("sessions", "pairs")]
        )
    for user in ("", ANY):
        for metadata, there in (({"topic": "tea"}, 3), ({"n": 1}, 1), ({"topic": "rye"}, 0)):

            def look(
                txn: Transaction, user: AnyName = user, metadata: dict[str, Any] = metadata
            ) -> tuple[list[Asked], int]:
                listening = _Listening(txn, answers=True)
                scope: dict[str, Any] = {"tenant": ANY if user is ANY else "", "user": user}
                found = description.listed(
                    cast("Transaction", listening),
                    **scope,
                    agent=ANY,
                    limit=20,
                    after=None,
                    metadata=metadata,
                )
                return listening.asked, len(found)

            asked, found = store._ledger.read(look)
            assert found == there
            assert sum(visited(store, one) for one in asked) <= FEW, metadata


@pytest.mark.parametrize("table", _OWN)
def test_no_list_reads_the_store(each_store: Stores, table: str) -> None:
    """Whatever it is of, and also where there is nothing of it."""
    store = each_store()
    fill(store, table)
    if store._ledger.file is None:
        store._ledger.write(lambda txn: txn.run(f"ANALYZE {{{table}}}"))
    listed = cast("Callable[..., list[Any]]", _OWN[table][2])
    for what, (tenant, user, agent) in SCOPES.items():

        def look(
            txn: Transaction, tenant: AnyName = tenant, user: AnyName = user, agent: AnyName = agent
        ) -> list[Asked]:
            listening = _Listening(txn)
            listed(listening, tenant=tenant, user=user, agent=agent, limit=20, after=None)
            return listening.asked

        [asked] = store._ledger.read(look)
        assert visited(store, asked) <= FEW, (what, asked.statement)
