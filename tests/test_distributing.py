"""Tables that were made in one piece are spread, while nothing is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from onrecord import Misconfigured, Store
from tests.command_line import run
from tests.servers.postgres import PostgresServer
from tests.shards import SHARDED

SCHEMA = 'a "spread" %s'


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database("distributing") as url:
        yield url


def shape(url: str) -> dict[str, tuple[int, frozenset[str]]]:
    """Of each table of a store how many partitions it has, and what it is indexed by."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT c.relname, (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid), "
            "(SELECT array_agg(regexp_replace(pg_get_indexdef(indexrelid), '.* USING ', '')) "
            "FROM pg_index WHERE indrelid = c.oid) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname = %s AND relkind IN ('r', 'p') AND NOT relispartition",
            (SCHEMA,),
        ).fetchall()
    return {name: (parts, frozenset(indexes)) for name, parts, indexes in found}


def test_empty_tables_are_spread_again_and_again_and_full_ones_never(url: str) -> None:
    with Store(url, schema=SCHEMA, pool_size=1) as store:
        store.migrate()
        before = shape(url)
        assert {f"onrecord_{name}" for name in store.distribute(parts=2)} == SHARDED
        assert store.distribute(parts=2) == []
        assert len(store.distribute(parts=3)) == len(SHARDED)
        after = shape(url)
        assert {name: parts for name, (parts, _) in after.items()} == {
            name: 3 if name in SHARDED else 0 for name in before
        }
        assert {name: by for name, (_, by) in after.items()} == {
            name: by for name, (_, by) in before.items()
        }
        assert _options(url) == {"fillfactor=80", "toast_tuple_target=8160"}
        ids = [store.session(f"s{n}").append(("user", "hi"))[0].seq for n in range(3)]
        assert ids == [1, 1, 1]
        assert store.distribute(parts=3) == []  # as they are
        with pytest.raises(Misconfigured, match=r"over 3 partitions.*say 3. Nothing was changed"):
            store.distribute(parts=2)
        assert shape(url) == after
        assert len(store.sessions()) == 3
        assert store.verify() == []


def test_tables_with_rows_are_left_as_they_are(url: str) -> None:
    with Store(url, schema="full") as store:
        store.session("s").append(("user", "hi"))
        with pytest.raises(Misconfigured, match=r"has rows.*Nothing was changed.*Export the store"):
            store.distribute(parts=2)
        assert len(store.sessions()) == 1


def test_no_number_is_given_out_again(url: str) -> None:
    with Store(url, schema="erased") as store:
        store.session("s").append(("user", "hi"))
        store.session("s").erase(thorough=False)
        with pytest.raises(Misconfigured, match=r"were erased here.*Nothing was changed"):
            store.distribute(parts=2)


def _options(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT unnest(reloptions) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname = %s AND relispartition",
            (SCHEMA,),
        ).fetchall()
    return {option for (option,) in found}


def test_what_cannot_be_is_refused_before_anything_is_made(url: str, tmp_path: Path) -> None:
    with Store(url, schema="nowhere") as store:
        for way, parts, told in (
            ("sideways", 4, "distributed by partitions or citus, not by 'sideways'"),
            ("partitions", 0, "from 1 to 128, not 0"),
            ("partitions", 129, "from 1 to 128, not 129"),
            ("partitions", True, "from 1 to 128, not True"),
        ):
            with pytest.raises(Misconfigured, match=re.escape(told)):
                store.distribute(way, parts=parts)
    with psycopg.connect(url) as connection:
        query = "SELECT 1 FROM pg_namespace WHERE nspname = 'nowhere'"
        assert connection.execute(query).fetchone() is None
    file = tmp_path / "store.db"
    with Store(f"sqlite:///{file}") as store, pytest.raises(Misconfigured, match="one file"):
        store.distribute()
    assert not file.exists()


def test_without_citus_its_installation_is_named(url: str) -> None:
    with (
        Store(url, schema="without") as store,
        pytest.raises(Misconfigured, match=r"no Citus.*shared_preload_libraries.*CREATE EXTENSION"),
    ):
        store.distribute("citus")
    with psycopg.connect(url) as connection:
        query = "SELECT 1 FROM pg_namespace WHERE nspname = 'without'"
        assert connection.execute(query).fetchone() is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--parts", "4"], "--parts says over how many --distribute spreads"),
        (["--distribute", "partitions", "--dry-run"], "and nothing of --distribute"),
    ],
)
def test_options_that_say_nothing_together_are_refused(
    given: list[str], told: str, tmp_path: Path
) -> None:
    done = run("migrate", "--url", f"sqlite:///{tmp_path}/x.db", *given)
    assert done.code == 2
    assert told in " ".join(done.err.split())


def test_the_command_says_what_it_did(postgres: PostgresServer) -> None:
    with postgres.database("by command") as url:
        first = run("migrate", "--url", url, "--distribute", "partitions", "--parts", "2")
        assert first.code == 0, first.err
        assert "0001 tables" in first.out
        assert "14 tables spread, over partitions: " in first.out
        again = run("migrate", "--url", url, "--distribute", "partitions", "--parts", "2")
        assert "All tables are spread already: " in again.out
        same = run("migrate", "--url", url, "--distribute", "partitions")
        assert "All tables are spread already: " in same.out
        with Store(url) as store:
            store.session("s").append(("user", "hello"))
        fewer = run("migrate", "--url", url, "--distribute", "partitions", "--parts", "4")
        assert fewer.code == 2
        assert "Leave parts out, or say 2" in fewer.err
        other = run("migrate", "--url", url, "--distribute", "sideways")
        assert other.code == 2
        assert "partitions or citus" in other.err
