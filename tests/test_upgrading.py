"""Two versions over one database: this one is of yesterday, and with a step more of tomorrow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from onrecord import Misconfigured, SchemaTooNew, Store
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema import migrations
from onrecord.ledger.schema.steps import STEPS, TableStep
from tests.page_blocks import shown
from tests.servers.process import environment
from tests.test_deploying import Roles, roles, yaml

__all__ = ["roles"]  # a fixture

STEP = "0002 moods"
LINES = 8  # more than it takes until a statement is prepared
PATIENCE = 60

YESTERDAY = """
import sys
from onrecord import Store
with Store(sys.argv[1], durability=sys.argv[2], timeout=30) as store:
    chat = store.session("s", user="ada")
    for line in sys.stdin:
        for n in range(8):
            chat.append(("user", f"{line.strip()} {n}"))
            assert chat.tail()[-1].text == f"{line.strip()} {n}"
        store.items("facts").put("said", line.strip())
        assert store.search(line.strip(), user="ada")
        chat.edit(1, ("user", "edited " + line.strip()))
        store.compact(quiet_for=0)
        assert [info.key for info in store.sessions(user="ada")] == ["s"]
        assert store.verify() == []
        print(chat.count(), flush=True)
"""


def _step(txn: Transaction, kind: str) -> None:
    schema = "" if txn.schema is None else f"{txn.schema}."
    txn.run("ALTER TABLE {sessions} ADD COLUMN mood BIGINT DEFAULT 7 NOT NULL")
    txn.run(f"CREATE TABLE {schema}onrecord_moods (id BIGINT NOT NULL PRIMARY KEY)")


@contextmanager
def tomorrow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            migrations, "STEPS", (*STEPS, TableStep(STEP, _step, "adds moods", ("sessions",)))
        )
        yield


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a.db'}"
    made: str = request.getfixturevalue("postgres_url")
    return made


def test_what_runs_goes_on_beside_tomorrow(url: str) -> None:
    durability = "normal" if url.startswith("sqlite") else "full"
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", YESTERDAY, url, durability],
        env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdin is not None
    assert running.stdout is not None
    try:
        running.stdin.write("apples\n")
        running.stdin.flush()
        assert running.stdout.readline() == f"{LINES}\n", running.communicate()
        with tomorrow(), Store(url) as store:
            assert store.migrate() == [STEP]
            chat = store.session("s", user="ada")
            chat.append(("assistant", "of tomorrow"))
            running.stdin.write("pears\n")
            running.stdin.flush()
            assert running.stdout.readline() == f"{2 * LINES + 1}\n"
            assert [message.text for message in chat.tail(2)] == ["pears 6", "pears 7"]
            assert chat.messages()[0].text == "edited pears"
            assert [item.value for item in store.items("facts").list()] == ["pears"]
            assert store.verify() == []
        out, problems = running.communicate(timeout=PATIENCE)
        assert (out, problems, running.returncode) == ("", "", 0)
    finally:
        running.kill()
        running.communicate()
    # What starts now is of today, and does not know the step.
    with Store(url) as late:
        with pytest.raises(SchemaTooNew, match=f"newer Onrecord.*{STEP}.*nothing was touched"):
            late.session("s", user="ada").append(("user", "too late"))
        with pytest.raises(SchemaTooNew):
            late.migrate()
        problem = late.health().database.problem
        assert "Upgrade onrecord" in (problem or "")
    with tomorrow(), Store(url) as store:
        assert store.session("s", user="ada").count() == 2 * LINES + 1


def test_tomorrow_does_not_migrate_where_it_is_not_to(url: str) -> None:
    with Store(url) as store:
        store.session("s").append(("user", "x"))
    with tomorrow(), Store(url, migrate=False) as store:
        for _ in range(2):
            with pytest.raises(Misconfigured, match=f"not been migrated: '{STEP}' is missing"):
                store.session("s").append(("user", "too early"))
        assert not store.health().database.ok
        assert store.migrate() == [STEP]  # whoever asks for it by name
        store.session("s").append(("user", "y"))
    with tomorrow(), Store(url, migrate=False) as store:
        assert [message.text for message in store.session("s").tail()] == ["x", "y"]


def test_tables_of_a_later_step_need_no_new_grants(roles: Roles) -> None:
    with roles.open(roles.owner) as owner:
        owner.migrate()
    with tomorrow():
        with roles.open(roles.app) as app, pytest.raises(Misconfigured, match="permission denied"):
            app.session("s").append(("user", "x"))
        with roles.open(roles.app) as app, pytest.raises(Misconfigured, match="owner's role"):
            app.migrate()
        with roles.open(roles.owner) as owner:
            assert owner.migrate() == [STEP]
        with roles.open(roles.app) as app:
            assert app.migrate() == []
            app.session("s").append(("user", "x"))
    with psycopg.connect(roles.app, autocommit=True) as connection:
        connection.execute("INSERT INTO onrecord.onrecord_moods VALUES (1)")
        assert connection.execute("SELECT mood FROM onrecord.onrecord_sessions").fetchall() == [
            (7,)
        ]


def test_the_job_of_the_page_migrates_with_the_owner_s_secret() -> None:
    [job] = [yaml.safe_load(block) for block in shown("upgrade.md", "yaml")]
    [deployed] = [block for block in shown("deploy.md", "yaml") if "CronJob" in block]
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["onrecord", "migrate"]
    [secret] = container["envFrom"]
    assert secret["secretRef"]["name"] in deployed
