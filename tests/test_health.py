"""Health says how far the index is behind: at a glance, and in the time that it was given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from onrecord import Store
from tests.children import PATIENCE
from tests.command_line import run


def test_it_says_how_far_the_index_is_behind(each_store: Callable[[], Store]) -> None:
    store = each_store()
    assert store.health(within=PATIENCE).unindexed == 0, "there are no tables"
    one = store.session("one", user="ada")
    one.append([("user", f"hello {n}") for n in range(40)])
    store.session("two").append(("user", "hello"))
    assert store.health(within=PATIENCE).unindexed == 41
    store.index()
    assert store.health(within=PATIENCE).unindexed == 0
    one.append([("user", "and one more"), ("assistant", "yes")])
    for health in (store.health(within=PATIENCE), asyncio.run(store.ahealth(within=PATIENCE))):
        assert (health.unindexed, health.ok) == (2, True)
    assert store.health(within=PATIENCE).unindexed == store.stats().unindexed


def test_it_looks_at_so_many_sessions(
    each_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.flows.maintenance.health.GLANCED_AT", 3)
    store = each_store()
    for n in range(9):
        store.session(f"s{n}").append(("user", "hello"))
    assert store.health(within=PATIENCE).unindexed == 3


def test_it_keeps_nobody_waiting(postgres_url: str) -> None:
    """Somebody holds the index, and the database is well all the same."""
    with Store(postgres_url, timeout=3_600) as store:
        store.session("s").append(("user", "hello"))
        with psycopg.connect(postgres_url) as other:
            other.execute("LOCK TABLE onrecord_runs IN ACCESS EXCLUSIVE MODE")
            for health in (store.health(within=0.3), asyncio.run(store.ahealth(within=0.3))):
                assert (health.ok, health.database.ok, health.unindexed) == (True, True, None)
        assert store.health(within=PATIENCE).unindexed == 1


def test_the_command_line_says_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store(url) as store:
        store.session("s").append(("user", "hello"))
        said = "index     without 1 message of the sessions last active (onrecord index does them)"
        assert said in run("health", "--url", url).out.splitlines()
        assert '"unindexed":1,' in run("health", "--json", "--url", url).out
        store.index()
    assert "index " not in run("health", "--url", url).out
