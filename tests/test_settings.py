"""URLs as people write them, engines that people lend, and settings that cannot be."""

from __future__ import annotations

import logging
import os
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import StaticPool, create_engine, text

from onrecord import Conflict, Message, Misconfigured, Opaque, Store, Unavailable, Version
from onrecord.ledger.database.address import address_of
from onrecord.ledger.schema.steps import STEPS
from onrecord.tokens import estimate


@pytest.mark.parametrize(
    ("given", "driver", "shown"),
    [
        ("postgresql://u:pw@h:1/d", "postgresql+psycopg", "postgresql://u:***@h:1/d"),
        ("postgres://u:pw@h/d", "postgresql+psycopg", "postgresql://u:***@h/d"),
        ("postgresql+asyncpg://u@h/d", "postgresql+psycopg", "postgresql://u@h/d"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg", "postgresql://u@h/d"),
        ("postgresql://h/d?user=u&password=pw", "postgresql+psycopg", "postgresql://h/d"),
        ("postgresql://u:pw@h:1,i:2/d", "postgresql+psycopg", "postgresql://u:***@h:1,i:2/d"),
        ("postgresql://u@[::1]:1,h/d", "postgresql+psycopg", "postgresql://u@[::1]:1,h/d"),
        ("postgresql://u@/d?host=h:1&host=i:2", "postgresql+psycopg", "postgresql://u@h:1,i:2/d"),
        ("postgresql://u@/d?host=h,i&port=1,2", "postgresql+psycopg", "postgresql://u@h:1,i:2/d"),
        ("postgresql://u@/d?host=h,i&port=1", "postgresql+psycopg", "postgresql://u@h:1,i:1/d"),
        ("postgresql://u@/d?host=h,i", "postgresql+psycopg", "postgresql://u@h,i/d"),
        ("sqlite://", "sqlite+pysqlite", "sqlite://"),
        ("sqlite+aiosqlite:////tmp/x.db", "sqlite+pysqlite", "sqlite:////tmp/x.db"),
    ],
)
def test_urls_as_people_write_them(given: str, driver: str | None, shown: str) -> None:
    address = address_of(given)
    assert str(address) == shown
    assert driver is None or address.url.drivername == driver


def test_asyncpgs_name_for_sslmode_is_understood() -> None:
    assert address_of("postgresql+asyncpg://h/d?ssl=require").url.query == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("chat.db", "sqlite:///chat.db"),
        ("mysql://u:secret@h/d", "SQLite or PostgreSQL"),
        ("postgresql+madeup://u:secret@h/d", "Leave it out"),
        ("postgresql://u:secret@h:port/d", "percent-encoded"),
        ("host=localhost password=secret", "as a URL"),
        ("postgresql:///user:secret@h/d", "two slashes"),
        ("postgresql://u@h/password=secret", "two slashes"),
        ("postgresql://u:secret@/d?host=a,b,c&port=1,2", "3 hosts and 2 ports"),
        ("postgresql://u:secret@a:1,b:x/d", "percent-encoded"),
        ("postgresql://u:secret@a,/d", "percent-encoded"),
        ("sqlite://onrecord.db", "sqlite:///onrecord.db for a file"),
        ("sqlite://user:secret@onrecord.db", "three are needed"),
        ("sqlite://folder/secret.db", "three are needed"),
    ],
)
def test_urls_that_cannot_be_are_refused_with_advice(given: str, advice: str) -> None:
    with pytest.raises(Misconfigured, match=advice) as caught:
        Store(given)
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None or "secret" not in repr(caught.value.__cause__)


@pytest.mark.parametrize("given", ["postgresql://", "postgresql:///", "postgresql://u:secret@/"])
def test_a_url_that_names_no_database_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq would look for a server by itself, and find one that is perhaps somebody else's."""
    names = ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE")
    for variable in names:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(Misconfigured, match="neither a host nor a database") as caught:
        Store(given)
    assert "secret" not in str(caught.value)
    for named in ("postgresql:///d", "postgresql://h", "postgresql://?service=s"):
        Store(named).close()
    for variable in names:
        with monkeypatch.context() as environment:
            environment.setenv(variable, "somebody said so")
            Store(given).close()


def test_a_relative_file_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with Store("sqlite:///x.db") as store:
        os.chdir("elsewhere")
        store.session("k").append(("user", "x"))
        assert len(store.session("k").messages()) == 1
    assert (tmp_path / "x.db").exists()


def test_the_default_is_a_file_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store() as store:
        store.session("k").append(("user", "x"))
    assert (tmp_path / "onrecord.db").exists()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"durability": "maximum"}, "durability"),
        ({"compression": "gzip"}, "compression"),
        ({"tail": -1}, "tail"),
        ({"pool_size": 0}, "pool_size"),
        ({"timeout": 0}, "timeout"),
        ({"token_counter": lambda message: 1}, "name"),
        ({"token_counter": partial(estimate)}, "name"),
        ({"token_counter": "gpt-4o"}, "name"),
        ({"schema": "s"}, "schema"),
        ({"schema": ""}, "schema"),
        ({"schema": "é" * 32}, "63 bytes"),
        ({"timeout": 0.001}, "timeout"),
        ({"tail": 0}, "tail"),
        ({"token_counter": ("a\x00b", estimate)}, "NUL"),
        ({"engine": object()}, "not both"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        Store("sqlite://", **settings)


def test_from_env(tmp_path: Path) -> None:
    environ = {
        "ONRECORD_URL": f"sqlite:///{tmp_path}/env.db",
        "ONRECORD_TIMEOUT": "2.5",
        "ONRECORD_POOL_SIZE": "3",
        "ONRECORD_DURABILITY": "normal",
    }
    with Store.from_env(environ) as store:
        assert "env.db" in repr(store)
        assert store._ledger.options.timeout == 2.5
    with Store.from_env(environ, url="sqlite://") as store:
        assert repr(store) == "Store('sqlite://')"
    with pytest.raises(Misconfigured, match="ONRECORD_TIMEOUT"):
        Store.from_env({"ONRECORD_TIMEOUT": "soon"})


def test_a_lent_engine_is_used_and_left_as_it_was(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    with Store(engine=engine) as store:
        chat = store.session("k")
        chat.append(("user", "x"))
        assert len(chat.tail(3)) == len(chat.messages()) == 1
    with engine.connect() as connection:  # still open, and still in its own transactions
        connection.execute(text("UPDATE onrecord_sessions SET messages = 99"))
        connection.rollback()
        count = connection.execute(text("SELECT messages FROM onrecord_sessions")).scalar()
    assert count == 1
    engine.dispose()


def test_a_lent_postgres_engine_is_left_as_it_was(postgres_url: str) -> None:
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with Store(engine=engine) as store:
        store.session("k").append([("user", "x"), ("assistant", "y")])
        assert len(store.session("k").messages()) == 2
    with engine.connect() as connection:
        connection.execute(text("UPDATE onrecord_sessions SET messages = 99"))
        connection.rollback()
        count = connection.execute(text("SELECT messages FROM onrecord_sessions")).scalar()
    assert count == 2
    engine.dispose()


def test_a_store_on_a_lent_postgres_engine_is_looked_after(
    postgres_url: str, tmp_path: Path
) -> None:
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with Store(engine=engine) as store:
        store.session("k", user="ada").append([("user", "x"), ("assistant", "y")])
        assert store.compact(quiet_for=0).problem is None
        assert store.verify() == []
        assert store.export(tmp_path / "all.jsonl").messages == 2
        assert store.erase(user="ada").removed["onrecord_sessions"] == 1
        with engine.connect() as connection:
            assert connection.execute(text("SHOW statement_timeout")).scalar() == "0"
    engine.dispose()


def test_lent_engines_in_memory() -> None:
    with pytest.raises(Misconfigured, match="StaticPool"):
        Store(engine=create_engine("sqlite://"))
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    with Store(engine=engine) as store:
        store.session("k").append(("user", "x"))
        assert store.session("k").count() == 1
    engine.dispose()


def test_engines_that_cannot_be() -> None:
    class AsyncEngine:
        sync_engine = object()

    with pytest.raises(Misconfigured, match="sync_engine"):
        Store(engine=AsyncEngine())  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="SQLAlchemy Engine"):
        Store(engine="sqlite://")  # type: ignore[arg-type]


def test_a_store_that_must_not_migrate_says_what_to_run(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with (
        Store(url, migrate=False) as store,
        pytest.raises(Misconfigured, match=r"store\.migrate\(\)"),
    ):
        store.session("k").tail(1)
    with Store(url) as store:
        assert store.migrate() == [step.name for step in STEPS]
        assert store.migrate() == []
    with Store(url, migrate=False) as store:
        assert store.session("k").tail(1) == []


def test_errors_can_be_sent_between_processes() -> None:
    conflict = Conflict("moved on", Version(1, 2))
    again = pickle.loads(pickle.dumps(conflict))
    assert (str(again), again.version) == ("moved on", Version(1, 2))
    unavailable = pickle.loads(pickle.dumps(Unavailable("gone", outcome_unknown=True)))
    assert unavailable.outcome_unknown


def test_onrecord_is_quiet_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "onrecord"),
        Store(f"sqlite:///{tmp_path}/x.db") as store,
    ):
        store.session("k").append(("user", "a secret"))
    assert capsys.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records] == [
        f"database migrated: {step.name}" for step in STEPS
    ]


def test_a_message_that_can_no_longer_be_read_does_not_take_the_others_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    with Store(engine=engine) as store:
        chat = store.session("k")
        chat.append([("user", "before"), ("user", "broken"), ("user", "after")])
        with engine.begin() as connection:
            frame = connection.execute(
                text("SELECT frame FROM onrecord_tail WHERE seq = 2")
            ).scalar()
            assert isinstance(frame, bytes)
            damaged = frame[:-1] + bytes([frame[-1] ^ 1])
            connection.execute(
                text("UPDATE onrecord_tail SET frame = :f WHERE seq = 2"),
                {"f": damaged},
            )
        for _ in range(3):
            before, stand_in, after = chat.messages()
        assert (before.text, after.text) == ("before", "after")
        assert (stand_in.role, stand_in.seq) == ("damaged", 2)
        assert "checksum" in stand_in.text
        kept = stand_in.content[1]
        assert isinstance(kept, Opaque)
        assert kept.data["frame"] == damaged
    engine.dispose()
    assert len(caplog.records) == 1, "said once"


def test_both_levels_of_durability_reach_sqlite(tmp_path: Path) -> None:
    for level, number in (("full", 2), ("normal", 1)):
        with Store(f"sqlite:///{tmp_path}/{level}.db", durability=level) as store:  # type: ignore[arg-type]
            store.migrate()
            writing = store._ledger._writing  # type: ignore[attr-defined]
            assert writing.cursor.execute("PRAGMA synchronous").fetchone() == (number,)
            assert writing.cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_old_content_stays_readable_when_compression_changes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    long = "the same words again and again " * 50
    for compression in ("zstd", "none", "zstd"):
        with Store(url, compression=compression) as store:
            store.session("k").append(Message("user", long, id=None))
    with Store(url) as store:
        assert [m.text for m in store.session("k").messages()] == [long] * 3
