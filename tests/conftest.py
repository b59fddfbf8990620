"""Fixtures for real servers, started when a test first asks for one."""

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import psycopg
import pytest
import redis

from onrecord import Store
from onrecord.testing.contract import AsyncFace, Face
from tests.emptied import Kept
from tests.scratch import choose_folder
from tests.servers.binaries import Binaries, External, Missing
from tests.servers.postgres import (
    OwnPostgres,
    PostgresServer,
    find_postgres,
    find_postgres_binaries,
)
from tests.servers.redis import OwnRedis, RedisServer, find_redis, find_redis_binaries

choose_folder()

# Machines are shared and noisy: no example may fail for being slow.
hypothesis.settings.register_profile(
    "onrecord",
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "thorough", parent=hypothesis.settings.get_profile("onrecord"), max_examples=2_000
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "onrecord"))

# Here the wheels of the dev extra carry both servers, so a server that is missing is a mistake.
MUST_RUN = (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and platform.python_implementation() == "CPython"
    and sys.version_info[:2] == (3, 11)
)


def pytest_configure(config: pytest.Config) -> None:
    # Whoever is done first takes over half of what the other has left: one process was seen to
    # wait a minute and a half for the other.
    if config.getoption("dist", "no") == "load":
        config.option.dist = "worksteal"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    # What is collected stays until the end: to look for garbage meanwhile took a fifth of the time.
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    # Seventeen thousand tests stay: no collection and no fork has to go through them.
    gc.collect()
    gc.freeze()


def pytest_report_header() -> list[str]:
    return [
        f"PostgreSQL: {_describe_postgres()}",
        f"Redis: {_describe_redis()}",
        f"SQLite: {sqlite3.sqlite_version}, Python's own; SQLAlchemy {version('sqlalchemy')}",
        f"Files: under {tempfile.gettempdir()}",
    ]


def _describe_postgres() -> str:
    found = find_postgres()
    if isinstance(found, External):
        try:
            return f"{PostgresServer(found.url).version}, from {found.variable}"
        except psycopg.Error:
            return f"the server in {found.variable} cannot be reached"
    return _describe(found)


def _describe_redis() -> str:
    found = find_redis()
    if isinstance(found, External):
        try:
            return f"{RedisServer(found.url).version}, from {found.variable}"
        except redis.RedisError:
            return f"the server in {found.variable} cannot be reached"
    return _describe(found)


def _describe(found: Binaries | Missing) -> str:
    if isinstance(found, Binaries):
        return f"{found.version}, from {found.origin}"
    return f"not found ({found.reason}): these tests {'fail' if MUST_RUN else 'are skipped'}"


def _do_without(server: str, missing: Missing) -> NoReturn:
    reason = f"{server} not found: {missing.reason}"
    if MUST_RUN:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL of this session; take `postgres_url` for a database of one's own."""
    found = find_postgres()
    if isinstance(found, Missing):
        _do_without("PostgreSQL", found)
    server = PostgresServer(found.url) if isinstance(found, External) else OwnPostgres(found)
    try:
        yield server
    finally:
        server.close()


_database_numbers = itertools.count(1)


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, dropped afterwards."""
    with postgres.database(str(next(_database_numbers))) as url:
        yield url


@pytest.fixture(scope="session")
def kept_databases(postgres: PostgresServer) -> Iterator[Kept]:
    with contextlib.closing(Kept(postgres)) as kept:
        yield kept


@pytest.fixture
def kept_postgres_url(kept_databases: Kept) -> Iterator[str]:
    """The URL of a database in which a store has made its tables, and nothing is in them."""
    with kept_databases.lend() as url:
        yield url


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    """A PostgreSQL for one test, which may stop it and start it again."""
    found = find_postgres_binaries()
    if isinstance(found, Missing):
        _do_without("PostgreSQL", found)
    server = OwnPostgres(found)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis of this session."""
    found = find_redis()
    if isinstance(found, Missing):
        _do_without("Redis", found)
    server = RedisServer(found.url) if isinstance(found, External) else OwnRedis(found)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def redis_binaries() -> Binaries:
    """What a test can start a Redis of its own from."""
    found = find_redis_binaries()
    if isinstance(found, Missing):
        _do_without("Redis", found)
    return found


@pytest.fixture
def own_redis(redis_binaries: Binaries) -> Iterator[OwnRedis]:
    """A Redis for one test, which may stop, pause or flush it."""
    server = OwnRedis(redis_binaries)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(autouse=True)
def log_levels_stay() -> Iterator[None]:
    """Who says from which level on is logged says it for one test: others read what is logged."""
    logs = [logging.getLogger(), logging.getLogger("onrecord")]
    before = [log.level for log in logs]
    yield
    after = [log.level for log in logs]
    for log, level in zip(logs, before, strict=True):
        log.setLevel(level)
    assert after == before, "this test leaves the level of a log as it did not find it"


@pytest.fixture(params=["sqlite", "postgresql with redis"])
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Opens a store, and the same one again: on a SQLite file, or on PostgreSQL with Redis."""
    stores: list[Store] = []
    if request.param == "sqlite":
        url, cache = f"sqlite:///{tmp_path / 'store.db'}", None
    else:
        url = request.getfixturevalue("kept_postgres_url")
        cache = request.getfixturevalue("redis_server").url

    def open_store(**settings: Any) -> Store:
        if cache is None:
            settings.setdefault("durability", "normal")
        stores.append(Store(url, **{"cache": cache, **settings}))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Shows a session by its sync methods, or by their twins on one loop."""
    if request.param == "sync":
        yield lambda handle: handle
    else:
        with asyncio.Runner() as runner:
            yield lambda handle: AsyncFace(runner.get_loop(), handle)
