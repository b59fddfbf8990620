"""The tables are declared once: what makes them, and the page about them, follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, inspect, select

from onrecord import Store, tables
from scripts.tables import written


@pytest.mark.parametrize("file", written(), ids=lambda file: file.name)
def test_what_is_written_from_them_is_up_to_date(file: Path) -> None:
    assert file.read_text() == written()[file], "run python -m scripts.tables"


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
def test_databases_have_the_columns_that_are_declared(tmp_path: Path, postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'store.db'}", postgres_url):
        with Store(url) as store:
            store.migrate()
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        found = inspect(engine)
        declared = tables.declared("sqlite" if url.startswith("sqlite") else "postgresql")
        assert set(found.get_table_names()) == set(declared.tables) == set(tables.metadata.tables)
        for table in declared.tables.values():
            there = {column["name"]: column for column in found.get_columns(table.name)}
            assert list(there) == [column.name for column in table.columns], table.name
            for column in table.columns:
                assert there[column.name]["nullable"] == column.nullable, column
                kind = column.type.compile(dialect=engine.dialect)
                seen = str(there[column.name]["type"].compile(engine.dialect))
                # Before 2.1 SQLAlchemy sees no collation.
                assert seen in {kind, kind.partition(" COLLATE ")[0]}, column
            names = {index["name"] for index in found.get_indexes(table.name)}
            plain = {i.name for i in table.indexes if len(i.columns) == len(i.expressions)}
            assert plain <= names, table.name
        engine.dispose()


def test_people_ask_them_with_sqlalchemy(each_store: Callable[..., Store]) -> None:
    store = each_store()
    for key, count in (("short", 1), ("long", 3)):
        store.session(key, user="ana").append([("user", "Hi.")] * count)
    t = tables.sessions.c
    wanted = select(t.key, t.messages).where(t.user == "ana").order_by(t.messages.desc())
    url = store._ledger.address.url.render_as_string(hide_password=False)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(wanted).all() == [("long", 3), ("short", 1)]
        joined = select(func.count()).select_from(
            tables.tail.join(tables.sessions, tables.tail.c.session == t.id)
        )
        assert connection.execute(joined).scalar() == 4
        newest = select(func.max(tables.tail.c.seq))
        assert connection.execute(newest).scalar() == 3
    engine.dispose()
