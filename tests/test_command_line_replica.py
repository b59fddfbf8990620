"""The command line asks a replica where somebody says that what is old will do."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord import Store
from tests.command_line import run
from tests.servers.postgres import OwnPostgres
from tests.test_replica import behind  # noqa: F401 - a fixture

READING = (
    "sessions",
    "show s",
    "tail s",
    "search two",
    "stats",
    "export -",
    "export - --session s",
    "items facts",
    "items facts places --key city",
    "items --search Lyon",
    "items --namespaces",
    "items --session s",
    "unfinished",
)


@pytest.mark.usefixtures("behind")
def test_only_who_says_so_is_shown_what_is_old(
    own_postgres: OwnPostgres,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    standby: OwnPostgres = request.getfixturevalue("behind")
    env = {"ONRECORD_URL": own_postgres.url, "ONRECORD_REPLICA": standby.url}

    def out(command: str, **named: str) -> str:
        done = run(*command.split(), env=named or env)
        assert (done.code, done.err) == (0, ""), (command, done)
        return done.out

    for command in ("show s", "tail s", "export -", "export - --session s"):
        assert "three" in out(command)
        old = out(f"{command} --stale-ok")
        assert "two" in old, command
        assert "three" not in old, command
    for command in ("items facts", "items facts places --key city"):
        assert "Paris" in out(command)
        assert "Lyon" in out(f"{command} --stale-ok"), command
        assert "Paris" not in out(f"{command} --stale-ok"), command
    assert out("items --namespaces").split() == ["facts", "/", "people", "facts", "/", "places"]
    assert out("items --namespaces --stale-ok").split() == ["facts", "/", "places"]
    assert "Lyon" in out("items --search Lyon --stale-ok")
    assert run("items", "--search", "Lyon", env=env).out == ""
    assert "new" in out("items --session s")
    assert "old" in out("items --session s --stale-ok")
    assert "three" in out("unfinished")
    assert "two" in out("unfinished --stale-ok")
    assert out("sessions").split()[-1] == "3"
    assert out("sessions --stale-ok").split()[-1] == "2"
    assert "messages      3 in" in out("stats")
    assert "messages      2 in" in out("stats --stale-ok")
    assert "#2" in out("search two --stale-ok")
    assert run("search", "three", "--stale-ok", env=env).out == ""
    assert run("search", "three", "--session", "s", "--stale-ok", env=env).out == ""
    assert "\nreplica " in out("health")

    # An option names it as well, and only where it is asked.
    alone = {"ONRECORD_URL": own_postgres.url}
    assert "three" not in out(f"show s --stale-ok --replica {standby.url}", **alone)
    assert "\nreplica " in out(f"health --replica {standby.url}", **alone)
    refused = run("show", "s", "--replica", standby.url, env=alone)
    assert (refused.code, refused.out) == (2, "")
    assert "--stale-ok" in refused.err
    assert run("tail", "s", "-f", "--stale-ok", env=env).code == 2

    # It is read where the primary is away, and nothing else is.
    own_postgres.stop()
    env["ONRECORD_TIMEOUT"] = "0.2"
    assert run("show", "s", env=env).code == 3
    for command in READING:
        done = run(*command.split(), "--stale-ok", env=env)
        assert done.code == 0, (command, done)
        assert "the replica is read all the same" in " ".join(done.err.split())
    own_postgres.start()


def test_a_standby_in_the_place_of_the_store_is_read_and_said(behind: OwnPostgres) -> None:  # noqa: F811
    done = run("show", "s", env={"ONRECORD_URL": behind.url})
    assert (done.code, "two" in done.out, "three" in done.out) == (0, True, False)
    told = " ".join(done.err.split())
    assert "is a standby: reads may lack what was acknowledged last" in told
    assert "and this one as ONRECORD_REPLICA for reads that may be old." in told
    meant = run("show", "s", env={"ONRECORD_URL": f"{behind.url}?target_session_attrs=any"})
    assert (meant.code, meant.out, meant.err) == (0, done.out, "")


def test_where_there_is_none_the_database_answers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store(url) as store:
        store.session("s").append(("user", "two"))
        store.session("s").state.put("plan", "old")
        store.items("facts", "places").put("city", "Lyon")
    for command in READING:
        done = run(*command.split(), "--stale-ok", env={"ONRECORD_URL": url})
        assert (done.code, done.err) == (0, ""), (command, done)
    refused = run("show", "s", "--stale-ok", "--replica", "postgresql://h/d", "--url", url)
    assert refused.code == 2
    assert "is for PostgreSQL" in refused.err
