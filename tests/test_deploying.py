"""What docs/how-to/deploy.md says is so: grants, users, certificates, secrets, zones, manifests."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from onrecord import CheckpointLog, Compaction, Message, Misconfigured, OnrecordError, Store
from onrecord.checkpoint_log import Listing, New
from tests.page_blocks import shown
from tests.servers.binaries import Binaries
from tests.servers.certificates import OPENSSL, Certificates, make_certificates
from tests.servers.pgbouncer import _SETTINGS as POOLER
from tests.servers.postgres import OwnPostgres, PostgresServer
from tests.servers.process import environment, free_port, new_folder, server_user
from tests.servers.redis import OwnRedis, RedisServer
from tests.test_fastapi import example

__all__ = ["example"]  # a fixture

PAGE = "deploy.md"

yaml = pytest.importorskip("yaml")  # LangChain brings it


# -- PostgreSQL's grants ---------------------------------------------------------------------


class Roles(NamedTuple):
    """A database made as the page says, seen by both roles and by the administrator."""

    owner: str
    app: str
    administrator: str

    def open(self, url: str, **settings: Any) -> Store:
        return Store(url, schema="onrecord", pool_size=3, **settings)


@pytest.fixture
def roles(postgres: PostgresServer) -> Iterator[Roles]:
    """What the page's SQL makes; roles are the whole server's, so theirs have other names here."""
    names = {name: f"{name}_{secrets.token_hex(4)}" for name in ("onrecord_owner", "onrecord_app")}
    as_administrator, as_owner = (
        re.sub(r"\b(onrecord_(?:owner|app))\b", lambda found: names[found[1]], block)
        for block in shown(PAGE, "sql")
    )
    with psycopg.connect(postgres.url, autocommit=True) as session, contextlib.ExitStack() as stack:
        [(may,)] = session.execute(
            "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        ).fetchall()
        if not may:
            pytest.skip("the role of this PostgreSQL may not make others")
        # The server's own way to make a database has a name that it drops.
        made = postgres.create_database("granted")
        stack.callback(lambda: [session.execute(f"DROP ROLE {name}") for name in names.values()])
        stack.callback(postgres.drop_database, "granted")
        database = make_url(made).database or ""
        for statement in filter(str.strip, as_administrator.split(";")):
            if "CREATE DATABASE" in statement:
                statement = f"ALTER DATABASE chats OWNER TO {names['onrecord_owner']}"
            # Superusers are members of everything.
            if "TO CURRENT_USER" not in statement:
                session.execute(re.sub(r"\bchats\b", database, statement).encode())
        url = make_url(made)
        owner, app = (
            url.set(username=names[f"onrecord_{who}"], password=f"change-me-{who}")
            .render_as_string(hide_password=False)
            for who in ("owner", "app")
        )  # fmt: skip
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(as_owner.encode())
        yield Roles(owner, app, made)


def everything(store: Store) -> None:
    """All that an app does with a store."""
    chat = store.session("s", user="ada")
    chat.append([("user", f"The {n}th train to Lyon is late.") for n in range(300)])  # seals
    chat.edit(2, ("user", "edited"))
    chat.delete(3)
    chat.archive([4])
    chat.rewind(299)
    chat.update(title="Trains", metadata={"plan": "pro"})
    assert chat.window(tokens=1_000).messages
    assert [m.seq for m in chat.tail(2)] == [298, 299]
    assert sum(1 for _ in chat.scan()) == 298
    assert store.search("trains Lyon", user="ada")
    assert store.recall("which train is late", user="ada") is not None
    assert [info.key for info in store.sessions(user="ada")] == ["s"]
    assert store.unfinished(user="ada")
    with chat.turn():
        chat.append(("assistant", "I see."))
    chat.fork("fork")
    facts = store.items("facts", user="ada")
    facts.put("city", {"name": "Lyon"}, text="lives in Lyon")
    facts.put("soon", 1, ttl=timedelta(microseconds=1))
    assert facts.search("Lyon")
    assert store.namespaces(user="ada") == [("facts",)]
    facts.delete("city")
    chat.state.put("plan", "x")
    feed = store.feed("copy", user="ada")
    for change in feed.read():
        feed.done(change)
    log = CheckpointLog(store, user="ada")
    log.put("t", "", New("1", None, (), {"messages": Listing([("text", b"a")])}, "run"))
    log.put_writes("t", "", "1", "task", "", [(0, "messages", ("text", b"b"))])
    log.copy("t", "copy")
    log.delete("t")
    lines = io.BytesIO()
    store.export(lines, user="ada")
    lines.seek(0)
    store.import_(lines)
    store.train([[("user", f"words that come back {n}")] for n in range(60)])
    store.index()
    store.session("old", user="bob").append(("user", "x"))
    store.session("old", user="bob").update(expires_in=timedelta(microseconds=1))
    assert [pruned.key for pruned in store.prune().sessions] == ["old"]
    store.stats()
    store.invalidate()
    assert store.health().ok
    assert store.verify() == []
    assert store.erase(user="ada").removed["onrecord_sessions"] == 2


def test_the_app_s_role_does_all_an_app_does_and_no_more(
    roles: Roles, redis_server: RedisServer
) -> None:
    with roles.open(roles.app) as early, pytest.raises(Misconfigured) as refused:
        early.session("s").append(("user", "too early"))
    assert "permission denied for schema onrecord" in str(refused.value)
    assert "with the owner's role" in str(refused.value)
    with roles.open(roles.owner) as owner:
        assert owner.migrate()
    with roles.open(roles.app, cache=redis_server.url) as store:
        assert store.migrate() == []  # as the example does at its start: there is nothing to do
        everything(store)
    with psycopg.connect(roles.app, autocommit=True) as connection:
        for statement in (
            "CREATE TABLE onrecord.t (n int)",
            "DROP TABLE onrecord.onrecord_tail",
            "TRUNCATE onrecord.onrecord_tail",
            "ALTER TABLE onrecord.onrecord_tail ADD COLUMN n int",
            "CREATE SCHEMA mine",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_compact_says_what_the_app_s_role_may_not_clean_up(roles: Roles) -> None:
    def sealed(url: str, key: str, again: bool) -> Compaction:
        with roles.open(url) as store:
            store.session(key).append([("user", f"{n}") for n in range(20)])
            return store.compact(quiet_for=0, again=again)

    with roles.open(roles.owner) as owner:
        owner.migrate()
    for again in (False, True):
        report = sealed(roles.app, "s", again)
        assert report.sessions == 1
        # In the server's words, which change with its versions.
        assert re.search("permission denied|owner can vacuum", report.problem or ""), report
        assert "needs the role that owns them" in (report.problem or "")
    assert sealed(roles.owner, "t", again=True).problem is None
    for url in roles.app, roles.owner:  # either may look after it; the tables are the owner's
        with roles.open(url) as store:
            assert store.maintain().ok
    with roles.open(roles.app) as store:
        receipt = store.session("s").erase()
        assert "needs the role that owns them" in (receipt.traces or "")
        assert "writes every table anew" in (receipt.traces or "")


def test_a_transaction_of_another_role_is_waited_for(roles: Roles) -> None:
    """Who may not see what others ask still sees that they read."""
    with roles.open(roles.owner) as owner:
        owner.migrate()
        owner.session("s").append(("user", "x"))
    with psycopg.connect(roles.app) as reader, roles.open(roles.owner) as owner:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1 FROM onrecord.onrecord_tail")
        receipt = owner.session("s").erase()
    assert "is still open and may read them" in (receipt.traces or "")


# -- Redis' user -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def module_redis(redis_binaries: Binaries) -> Iterator[OwnRedis]:
    server = OwnRedis(redis_binaries)
    yield server
    server.close()


def acl() -> list[str]:
    [line] = shown(PAGE, "text", "ACL SETUSER")
    return line.split()


def test_the_redis_user_is_allowed_what_a_store_needs(
    module_redis: OwnRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(module_redis.url) as administrator:
        administrator.execute_command(*acl())
        url = f"redis://onrecord:change-me-redis@127.0.0.1:{module_redis.port}/1"
        with Store(f"sqlite:///{tmp_path / 'a.db'}", cache=url, ttl=60) as store:
            chat = store.session("s", user="ada")
            for n in range(60):  # more than are kept
                chat.append(("user", f"{n}"))
            chat.tail(20)
            chat.edit(60, ("user", "edited"))
            chat.tail(20)
            store.items("facts").put("k", 1)
            assert [item.value for item in store.items("facts").list()] == [1]
            assert store.items("facts").get("k") is not None
            assert asyncio.run(atail(store)) == "edited"
            store.invalidate()
            chat.tail(20)
            chat.clear()
            health = store.health()
            assert health.ok, health
            assert health.counters.hits > 0
            assert health.counters.degraded_reads == 0
            assert store.session("s", user="ada").count() == 0
        with redis.Redis.from_url(url) as other:
            for refused in (
                ["KEYS", "*"],
                ["GET", "onrecord:x"],
                ["FLUSHALL"],
                ["CONFIG", "GET", "*"],
            ):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    other.execute_command(*refused)
            with pytest.raises(redis.exceptions.NoPermissionError):
                other.lindex("somebody's", 0)
        assert administrator.acl_log()  # what was refused above
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def atail(store: Store) -> str:
    return (await store.session("s", user="ada").atail(1))[0].text


# The page says when the last two are; without EVAL nothing brings the scripts to a new server.
_NOT_ALWAYS = {"+eval", "+select", "+ping"}


@pytest.mark.parametrize(
    "command", [part for part in acl() if part.startswith("+") and part not in _NOT_ALWAYS]
)
def test_each_of_its_commands_is_needed(module_redis: OwnRedis, command: str) -> None:
    name = f"without-{command[1:]}"
    words = [f"{name}" if word == "onrecord" else word for word in acl() if word != command]
    with redis.Redis.from_url(module_redis.url) as administrator:
        administrator.execute_command(*words)
    url = f"redis://{name}:change-me-redis@127.0.0.1:{module_redis.port}/0"
    with Store("sqlite://", cache=url) as store:
        store.migrate()
        cache = store.health().cache
        assert cache is not None
        assert not cache.ok
        assert "change-me-redis" not in str(cache)


def test_every_key_has_a_time_to_live(module_redis: OwnRedis, tmp_path: Path) -> None:
    """So that each of Redis' policies may evict it, also one that looks at these only."""
    with redis.Redis.from_url(module_redis.url) as client:
        client.flushall()
        with Store(f"sqlite:///{tmp_path / 'a.db'}", cache=module_redis.url) as store:
            store.session("s").append(("user", "x"))
            store.session("s").tail()
            store.session("t").tail()
            store.items("facts").put("k", 1)
            store.health()
        keys = client.keys()
        assert keys
        assert all(client.ttl(key) > 0 for key in keys)


# -- certificates ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    if OPENSSL is None:
        pytest.skip("no openssl on PATH")
    folder = new_folder(server_user())
    yield make_certificates(folder)
    shutil.rmtree(folder)


def test_postgresql_is_trusted_by_its_certificate_and_name(
    own_postgres: OwnPostgres, certificates: Certificates
) -> None:
    with psycopg.connect(own_postgres.url, autocommit=True) as connection:
        for name, value in {
            "ssl_cert_file": certificates.certificate,
            "ssl_key_file": certificates.key,
            "ssl": "on",
        }.items():
            try:
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
            except psycopg.errors.InvalidParameterValue:
                pytest.skip("this PostgreSQL was built without TLS")
    own_postgres.restart()
    at = make_url(own_postgres.url)

    def open_at(host: str, ca: Path, mode: str = "verify-full") -> Store:
        url = at.set(host=host).update_query_dict({"sslmode": mode, "sslrootcert": str(ca)})
        return Store(url.render_as_string(hide_password=False))

    with open_at("localhost", certificates.ca) as store:
        store.session("s").append(("user", "in secret"))
        [(encrypted,)] = store._ledger.read(
            lambda txn: txn.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", {})
        )
        assert encrypted is True
    refused = {
        "verify failed": open_at("localhost", certificates.other_ca),
        "does not match host name": open_at("127.0.0.1", certificates.ca),
        "root certificate file": open_at("localhost", certificates.ca / "nowhere"),
    }
    for reason, store in refused.items():
        with store, pytest.raises(Misconfigured, match="certificate that is not trusted") as caught:
            store.session("s").tail()
        assert reason in str(caught.value)
        assert "sslrootcert=" in str(caught.value)
        assert str(at.password) not in str(caught.value)


def test_redis_is_trusted_by_its_certificate(
    redis_binaries: Binaries, certificates: Certificates, tmp_path: Path
) -> None:
    port = free_port()
    try:
        server = OwnRedis(
            redis_binaries,
            tls_port=str(port),
            tls_cert_file=str(certificates.certificate),
            tls_key_file=str(certificates.key),
            tls_ca_cert_file=str(certificates.ca),
            tls_auth_clients="no",
        )
    except RuntimeError as fault:
        if "tls" not in str(fault).lower():
            raise
        pytest.skip("this Redis was built without TLS")
    with contextlib.closing(server):
        good = f"rediss://localhost:{port}/0?ssl_ca_certs={certificates.ca}&ssl_check_hostname=true"
        with Store(f"sqlite:///{tmp_path / 'a.db'}", cache=good) as store:
            store.session("s", user="ada").append(("user", "in secret"))
            assert store.session("s", user="ada").tail()[0].text == "in secret"
            assert asyncio.run(atail(store)) == "in secret"
            assert store.health().ok
            assert store.health().counters.hits >= 1
        wrong = {
            "verify failed": good.replace(str(certificates.ca), str(certificates.other_ca)),
            "127.0.0.1": good.replace("localhost", "127.0.0.1"),
        }
        for reason, url in wrong.items():
            with Store(f"sqlite:///{tmp_path / 'a.db'}", cache=url) as store:
                cache = store.health().cache
                assert cache is not None
                assert not cache.ok
                assert reason in (cache.problem or "")
                assert "certificate" in (cache.problem or "")
                assert store.session("s", user="ada").count() == 1  # and it works without


# -- secrets ---------------------------------------------------------------------------------


def test_passwords_are_in_no_log_error_or_health(
    postgres_url: str,
    module_redis: OwnRedis,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Right ones and wrong ones, in the URL, its options, the environment and libpq's file."""
    caplog.set_level(logging.DEBUG)
    with redis.Redis.from_url(module_redis.url) as administrator:
        administrator.execute_command(*acl())
    at = make_url(postgres_url)
    right, wrong = at.password or "", f"wrong-{secrets.token_hex(8)}"
    pgpass = tmp_path / "pgpass"
    pgpass.write_text(f"{at.host}:{at.port}:*:{at.username}:{right}\n")
    pgpass.chmod(0o600)
    bare = at._replace(password=None)
    caches = [
        f"redis://onrecord:change-me-redis@127.0.0.1:{module_redis.port}/0",
        f"redis://onrecord:{wrong}@127.0.0.1:{module_redis.port}/0",
        f"redis://onrecord:{wrong}@127.0.0.1:{free_port()}/0",
    ]
    urls = [
        (at, True),
        (bare.update_query_dict({"passfile": str(pgpass)}), True),
        (bare.update_query_dict({"password": right}), True),
        (at.set(password=wrong), False),
        (bare.update_query_dict({"password": wrong}), False),
        (at.set(password=wrong, port=free_port()), False),
        (at.set(password=wrong).update_query_dict({"nonsense": wrong}), False),
    ]
    said: list[str] = []
    for (url, opens), cache in zip(urls, caches * 3, strict=False):
        monkeypatch.setenv("ONRECORD_URL", url.render_as_string(hide_password=False))
        monkeypatch.setenv("ONRECORD_CACHE", cache)
        with Store.from_env(slow=0.0, timeout=2) as store:
            said += [repr(store), store.address, store._repr_html_() if opens else ""]
            if opens and cache == caches[0]:
                store.session("s").append(("user", "x"))
            elif opens:
                store.session("s").tail()  # to write without a cache takes three seconds
            else:
                with pytest.raises(OnrecordError) as caught:
                    store.session("s").append(("user", "x"))
                said += [str(caught.value), repr(caught.value), str(caught.value.__cause__)]
            said.append(repr(store.health()))
    told = "\n".join([*said, caplog.text])
    assert "append took" in caplog.text
    assert at.host is not None
    assert at.host in told
    for secret in (right, wrong, "change-me-redis"):
        assert secret
        assert secret not in told


# -- time zones ------------------------------------------------------------------------------

TELLS = """
import json, sys, time
from onrecord import Store
time.tzset()
told = []
for url in sys.argv[2:]:
    with Store(url) as store:
        chat = store.session("s", user="ada")
        if sys.argv[1] == "say":
            chat.append(("user", "Which day is it?"))
            store.items("facts").put("k", 1)
        told.append([chat.tail()[0].created_at.isoformat(), chat.info().last_active.isoformat(),
                     store.items("facts").get("k").updated_at.isoformat()])
print(json.dumps([time.strftime("%z"), told]))
"""


def test_processes_of_all_zones_see_the_same_times(postgres_url: str, tmp_path: Path) -> None:
    database = make_url(postgres_url).database
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            f"ALTER DATABASE \"{database}\" SET timezone = 'Asia/Kathmandu'".encode()
        )
    urls = [postgres_url, f"sqlite:///{tmp_path / 'a.db'}"]

    def process(zone: str, does: str) -> tuple[str, list[list[str]]]:
        ran = subprocess.run(
            [sys.executable, "-c", TELLS, does, *urls],
            env={**environment(), "TZ": zone, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        offset, told = json.loads(ran.stdout)
        return offset, told

    before = datetime.now(UTC)
    # As POSIX writes them, so that no list of zones is needed: 14 hours before UTC, and 9 after.
    offset, east = process("EAST-14", "say")
    other_offset, west = process("WEST9", "look")
    assert (offset, other_offset) == ("+1400", "-0900")
    assert east == west
    for when in (when for times in east for when in times):
        assert when.endswith("+00:00")
        assert before <= datetime.fromisoformat(when) <= datetime.now(UTC)
    with Store(postgres_url) as store:
        later = datetime.now(UTC)
        chat = store.session("s", user="ada")
        assert chat.append(Message("user", "a time of one's own", created_at=later))
        assert chat.messages(since=later)[0].created_at == later
        with pytest.raises(Misconfigured, match="time zone"):
            chat.messages(since=later.replace(tzinfo=None))


# -- what is to be copied --------------------------------------------------------------------


def test_the_manifests_fit_the_app(example: Any) -> None:
    documents = [d for block in shown(PAGE, "yaml") for d in yaml.safe_load_all(block)]
    by_kind = {document["kind"]: document["spec"] for document in documents}
    pod = by_kind["Deployment"]["template"]["spec"]
    [app] = pod["containers"]
    routes = {getattr(route, "path", None) for route in example.app.routes}
    for probe in ("livenessProbe", "readinessProbe"):
        assert app[probe]["httpGet"]["path"] in routes
        assert app[probe]["timeoutSeconds"] > example.READY_WITHIN
    [graceful] = [part for part in app["command"] if "graceful" in part]
    [_, pause] = app["lifecycle"]["preStop"]["exec"]["command"]
    assert int(graceful.partition("=")[2]) + int(pause) < pod["terminationGracePeriodSeconds"]
    [job] = by_kind["CronJob"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    [crontab] = shown(PAGE, "text", "onrecord maintain")
    assert job["command"][:2] == ["onrecord", "maintain"]
    assert " ".join(job["command"]) in crontab
    assert by_kind["CronJob"]["schedule"] == " ".join(crontab.split()[:5])


def test_the_file_of_settings_is_one_that_a_store_reads(tmp_path: Path) -> None:
    [settings] = shown(PAGE, "toml")
    (tmp_path / "owner.toml").write_text(settings)
    with Store.from_env({"ONRECORD_CONFIG": str(tmp_path / "owner.toml")}) as store:
        assert store.address == "postgresql://onrecord_owner@db.internal/chats"
        assert "rediss://onrecord:***@cache.internal" in repr(store)


def test_the_pooler_of_the_page_is_the_pooler_of_the_tests() -> None:
    [page] = shown(PAGE, "ini", "pgbouncer")
    for line in ("pool_mode = transaction", "auth_type = scram-sha-256", "query_wait_timeout = 5"):
        assert line in page
        assert line in POOLER
