"""The doctor: whatever bites is made to happen here, and has to be found; and nothing else is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from onrecord import (
    Diagnosis,
    EmbedderFailed,
    Finding,
    Misconfigured,
    Store,
    StoreClosed,
)
from onrecord.flows.maintenance.doctor import contents, database
from onrecord.flows.maintenance.doctor.rounds import CHECKS, duration, size
from onrecord.ledger.database.faults import TookTooLong
from onrecord.ledger.maintenance import place
from onrecord.ledger.schema import migrations
from onrecord.ledger.schema.steps import STEPS, TableStep
from onrecord.testing.contract import Face
from tests.children import Child
from tests.doctoring import at, both, of, only, worse
from tests.servers.process import server_user

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "doctor.md"

OF_EVERYBODY = {
    "packages",
    "database",
    "versions",
    "durability",
    "permissions",
    "clock",
    "schema",
    "room",
    "sealing",
    "dictionaries",
    "expired",
    "index",
    "feeds",
    "damage",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with Store(file) as store:
        store.session("a").append([("user", "Where is my parcel?"), ("assistant", "In Lyon.")])
        store.items("known").put("city", "Lyon")
        yield store


def change(file: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute(statement, values).rowcount


# -- one that is well ----------------------------------------------------------------------------


def test_a_healthy_file_has_nothing_worse_than_a_note(store: Store) -> None:
    said = both(store)
    assert said.ok, str(said)
    assert said.worst in (None, "note")
    assert set(said.checks) == OF_EVERYBODY | {"disk", "log"}
    # What the machine of the test has, and no store does anything about.
    assert {found.check for found in said.findings} <= {"versions", "disk"}


def test_a_healthy_store_in_memory() -> None:
    with Store("sqlite://") as store:
        store.session("a").append(("user", "Hello."))
        said = both(store)
    assert said.findings == ()
    assert set(said.checks) == OF_EVERYBODY
    assert str(said) == f"{len(said.checks)} checks: nothing found"


def test_a_healthy_store_with_an_engine_of_the_callers(file: Path) -> None:
    engine = create_engine(f"sqlite:///{file}")
    with Store(engine=engine) as store:
        store.session("a").append(("user", "Hello."))
        said = both(store)
    engine.dispose()
    assert said.ok, str(said)


def test_it_changes_nothing(store: Store, file: Path) -> None:
    store.close()
    before = file.read_bytes()
    with Store(file) as again:
        assert both(again).ok
    assert file.read_bytes() == before


def test_the_log_is_not_folded_back_by_it(store: Store, file: Path) -> None:
    before, log = file.read_bytes(), Path(f"{file}-wal").read_bytes()
    assert log
    assert both(store).ok
    assert (file.read_bytes(), Path(f"{file}-wal").read_bytes()) == (before, log)


# -- how it is asked, and shown ------------------------------------------------------------------


def test_it_is_bounded_in_time(store: Store) -> None:
    """Nothing is begun when the time is over, and what was left out is named."""
    said = at(store, 0, within=0)
    assert said.checks == ()
    (found,) = said.findings
    assert found.severity == "note"
    assert "packages, disk, database" in found.what
    assert "within=60" in found.advice
    with pytest.raises(Misconfigured, match="within"):
        store.doctor(within=0)


def test_a_look_that_takes_too_long_is_given_up(store: Store) -> None:
    def long(txn: Any) -> Any:
        return txn.rows(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000) "
            "SELECT max(i) FROM n",
            {},
        )

    with pytest.raises(TookTooLong):
        store._ledger.look(long, 0.05)
    # The connection is of use to the next one, and not in a hurry any more.
    assert store._ledger.look(lambda txn: txn.first("SELECT 1", {}), 5) == (1,)
    assert both(store).ok


def test_one_that_takes_too_long_is_left_out_and_the_others_are_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*args: Any, **settings: Any) -> Any:
        raise TookTooLong("it did")

    monkeypatch.setattr("onrecord.ledger.maintenance.sampling.index_lag", too_long)
    said = both(store)
    assert said.ok
    assert "index" not in said.checks
    assert "damage" in said.checks
    assert "index." in only(said, "index").what


def test_what_it_cannot_check_is_a_finding(store: Store, file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE onrecord_feeds")
    said = both(store)
    found = only(said, "feeds")
    assert found.severity == "error"
    assert "onrecord_feeds" in found.what
    assert "damage" in said.checks


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StoreClosed):
        store.doctor()


def test_it_is_shown_in_words() -> None:
    bad = Finding(check="disk", severity="error", what="<b>Full</b> " * 12, advice="Make room.")
    small = Finding(check="log", severity="note", what="It is long.", advice="Nothing.")
    said = Diagnosis(findings=(bad, small), checks=("disk", "log"))
    text = str(said)
    assert text.startswith("2 checks: 1 error, 1 note\n\nerror: disk: <b>Full</b>")
    assert text.endswith("note: log: It is long.\n  Nothing.")
    assert max(map(len, text.splitlines())) <= 100
    assert not said.ok
    assert said.worst == "error"
    shown = said._repr_html_()
    assert "<b>Full" not in shown
    assert "&lt;b&gt;Full" in shown


def test_sizes_and_times_are_shown_for_people() -> None:
    assert [size(n) for n in (10, 2_048, 50 * 2**20, 3 * 2**30)] == [
        "10 bytes",
        "2.0 KB",
        "50 MB",
        "3.0 GB",
    ]
    assert [duration(n) for n in (5.25, 45, 600, 8_000, 200_000)] == [
        "5.2 seconds",
        "45 seconds",
        "10 minutes",
        "2 hours",
        "2 days",
    ]


def test_the_page_lists_every_check() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    listed = {cells[0].strip("| `"): cells[1] for cells in rows}
    assert list(listed) == list(CHECKS)
    assert listed == CHECKS


# -- the file and its disk -----------------------------------------------------------------------


def test_an_empty_place_is_left_empty(tmp_path: Path, file: Path) -> None:
    with Store(file) as store:
        said = both(store)
    found = only(said, "schema")
    assert found.severity == "note"
    assert "missing" in found.what
    assert list(tmp_path.iterdir()) == []


def test_an_empty_place_is_an_error_where_nobody_migrates(tmp_path: Path, file: Path) -> None:
    with Store(file, migrate=False) as store:
        found = only(both(store), "schema")
    assert found.severity == "error"
    assert "migrate()" in found.advice
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with Store(tmp_path / "nowhere" / "store.db") as store:
        said = both(store)
    assert "is not there" in only(said, "permissions").what
    assert only(said, "database").severity == "error"
    assert "damage" not in said.checks


def test_a_file_that_is_no_database(file: Path) -> None:
    file.write_bytes(b"This is a letter, and no database at all. " * 100)
    with Store(file) as store:
        found = only(both(store), "database")
    assert found.severity == "error"
    assert "is not a SQLite database" in found.what


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a disk of some size: a file system in memory, where the test may mount one."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / f"disk of {size}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as fault:
            pytest.skip(f"no disk can be made here: {fault}")
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk: Callable[[str], Path]) -> None:
    folder = small_disk("4m")
    with Store(folder / "store.db") as store:
        store.session("a").append(("user", "Hello."))
        (folder / "filler").write_bytes(b"x" * shutil.disk_usage(folder).free)
        assert not shutil.disk_usage(folder).free
        said = both(store)
        (folder / "filler").unlink()  # so that it can be closed
    full = of(said, "disk")
    assert full[0].severity == "error"
    assert "The disk is full: 0 bytes are free" in full[0].what
    assert "disk of 4m" in full[0].what
    assert "is the memory of this machine" in full[1].what
    assert "damage" in said.checks


def test_a_disk_that_is_nearly_full(small_disk: Callable[[str], Path]) -> None:
    folder = small_disk("100m")
    with Store(folder / "store.db") as store:
        store.session("a").append(("user", "Hello."))
        said = both(store)
        assert worse(said) == [str(of(said, "disk")[0])]
        assert "nearly full" in of(said, "disk")[0].what


def test_the_file_system_is_told_by_what_is_mounted() -> None:
    mounts = (
        "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "30 22 0:26 / /srv rw - overlay overlay rw\n"
        r"31 22 0:27 / /srv/our\040chats rw,relatime shared:1 - nfs4 host:/x rw" + "\n"
        "32 22 0:28 / /srv/b rw - tmpfs tmpfs rw\n"
        "not a line of it\n"
    )
    assert place.file_system("/srv/our chats/of today", mounts) == "nfs4"
    assert place.file_system("/srv/our chats", mounts) == "nfs4"
    assert place.file_system("/srv/bees", mounts) == "overlay"
    assert place.file_system("/elsewhere", mounts) == "ext4"
    assert place.file_system("/elsewhere", "") is None


@pytest.mark.parametrize(
    ("kind", "severity"), [("nfs4", "error"), ("fuse.sshfs", "error"), ("overlay", "note")]
)
def test_a_file_system_that_is_not_fit(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, kind: str, severity: str
) -> None:
    """What is mounted is said by this file: no test can mount another machine's disk."""
    mounts = file.with_name("mountinfo")
    mounts.write_text(f"1 0 0:1 / {os.path.realpath(file.parent)} rw - {kind} x rw\n")
    monkeypatch.setattr(place, "_MOUNTS", mounts)
    found = only(both(store), "disk")
    assert found.severity == severity
    assert kind in found.what


def as_somebody_else(work: Callable[[], Diagnosis]) -> Diagnosis:
    """Ask as a user whom permissions bind: root may write everywhere."""
    user = server_user()
    if user is None:
        return work()
    answer: Diagnosis = Child(work, user).result()
    return answer


def reachable(folder: Path) -> None:
    """Skip where somebody else cannot come to a folder at all."""
    if os.geteuid() == 0 and not all(up.stat().st_mode & 0o001 for up in folder.parents):
        pytest.skip(f"{folder} is in a folder of which nobody else sees the inside")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user reaches."""
    from tests.servers.process import new_folder

    folder = new_folder(server_user())
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_folder_that_may_only_be_read(open_folder: Path) -> None:
    file = open_folder / "store.db"
    with Store(file) as store:
        store.session("a").append(("user", "Hello."))
        store.doctor()  # so that nothing has to be imported by who may not read it
    user = server_user()
    if user is not None:
        os.chown(file, user.pw_uid, user.pw_gid)
    open_folder.chmod(0o555)

    def ask() -> Diagnosis:
        with Store(file) as again:
            return again.doctor()

    said = as_somebody_else(ask)
    found = only(said, "permissions")
    assert found.severity == "error"
    assert f"may not write to {open_folder}." in found.what


def test_a_file_that_may_only_be_read(open_folder: Path) -> None:
    file = open_folder / "store.db"
    with Store(file) as store:
        store.session("a").append(("user", "Hello."))
        store.doctor()
    file.chmod(0o444)

    def ask() -> Diagnosis:
        with Store(file) as again:
            return again.doctor()

    said = as_somebody_else(ask)
    assert f"may not write to {file}." in only(said, "permissions").what
    # It can be read all the same, and what is in it was looked at.
    assert "damage" in said.checks
    assert not of(said, "damage")


# -- SQLite --------------------------------------------------------------------------------------


def test_packages_below_their_floors(file: Path, tmp_path: Path) -> None:
    """In a process to which another version of one is installed first."""
    older = tmp_path / "older" / "msgspec-0.18.4.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: msgspec\nVersion: 0.18.4\n")
    program = (
        "import sys; from onrecord import Store\n"
        "with Store(sys.argv[1]) as store: print(store.doctor())"
    )
    environment = {**os.environ, "PYTHONPATH": str(older.parent)}
    command = [sys.executable, "-c", program, f"sqlite:///{file}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "error: packages: msgspec 0.18.4 is loaded, and Onrecord needs 0.18.5" in said.stdout


def test_a_version_of_sqlite_that_is_too_old(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_OLDEST", {"SQLite": ("99.1", "error", "Too old.")})
    found = only(both(store), "versions")
    assert (found.severity, found.advice) == ("error", "Too old.")
    assert sqlite3.sqlite_version in found.what


@pytest.mark.parametrize(
    ("version", "mended"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53), True),
    ],
)
def test_versions_of_sqlite_in_which_a_log_may_do_damage(
    version: tuple[int, ...], mended: bool
) -> None:
    assert database._is_mended(version) is mended


def test_commits_that_a_loss_of_power_takes(file: Path) -> None:
    with Store(file, durability="normal") as store:
        store.session("a").append(("user", "Hello."))
        said = both(store)
    found = only(said, "durability")
    assert found.severity == "note"
    assert "durability='normal'" in found.what
    assert said.ok


def test_a_file_that_is_not_in_wal_mode(store: Store, file: Path) -> None:
    store.close()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    with Store(file) as again:
        assert "not in WAL mode" in only(both(again), "durability").what
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        again.session("a").append(("user", "Hello again."))
        assert not of(both(again), "durability")


def test_a_reader_that_never_ends(file: Path) -> None:
    with Store(file, durability="normal", compression="none") as store:
        chat, noise = store.session("a"), Random(7)
        chat.append(("user", "Hello."))
        with closing(sqlite3.connect(file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM onrecord_tail").fetchall()
            for _ in range(36):
                chat.append(("user", noise.randbytes(250_000).hex()))
            found = only(both(store), "log")
            assert found.severity == "warning"
            assert "not folded back into the file" in found.what
            reader.execute("COMMIT")
        chat.append(("user", "Now it can be folded back."))
        assert not of(both(store), "log")


def test_a_log_that_was_large_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LARGE_LOG", 1_000)
    with Store(file, durability="normal") as store:
        store.session("a").append(("user", "Hello." * 10_000))
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        found = only(both(store), "log")
    assert found.severity == "note"
    assert "compact()" in found.advice


def test_room_that_is_free_inside_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_MUCH_INSIDE", 100_000)
    with Store(file, durability="normal", compression="none") as store:
        store.session("small").append(("user", "Hello."))
        store.session("large").append(("user", "Hello. " * 100_000))
        assert not of(both(store), "room")
        store.session("large").clear()
        found = only(both(store), "room")
        assert found.severity == "note"
        assert "are free inside it" in found.what
        store.compact(quiet_for=0)
        assert not of(both(store), "room")


def test_a_file_that_somebody_has_for_himself(store: Store, file: Path) -> None:
    store.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with Store(file, timeout=0.1) as again:
            said = both(again)
    found = only(said, "database")
    assert found.severity == "error"
    assert "is locked by another process" in found.what
    assert "damage" not in said.checks


def test_a_file_whose_pages_are_damaged(file: Path) -> None:
    with Store(file, durability="normal") as store:
        for n in range(200):
            store.session(f"s{n}").append(("user", f"Hello {n}."))
    with closing(sqlite3.connect(file)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'onrecord_checkpoint_threads_by_owner'"
        ).fetchone()
    with file.open("r+b") as raw:
        raw.seek((page - 1) * 1024)
        raw.write(b"\xff" * 1024)
    with Store(file) as again:
        said = both(again)
    found = only(said, "damage")
    assert found.severity == "error"
    assert "the file" in found.what


# -- the tables ----------------------------------------------------------------------------------


def test_tables_of_a_later_onrecord(store: Store, file: Path) -> None:
    change(file, "INSERT INTO onrecord_migrations VALUES ('9999 later')")
    for one in (store, Store(file)):
        with one:
            said = both(one)
            found = only(said, "schema")
            assert found.severity == "error"
            assert "'9999 later'" in found.what
            assert "Upgrade" in found.advice
            assert "damage" not in said.checks


@pytest.mark.parametrize("migrate", [True, False])
def test_tables_of_an_earlier_onrecord(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, migrate: bool
) -> None:
    store.close()
    walked: list[str] = []
    steps = (*STEPS, TableStep("0002 more", lambda txn, kind: walked.append(kind), ""))
    monkeypatch.setattr(migrations, "STEPS", steps)
    with Store(file, migrate=migrate) as again:
        said = both(again)
        found = only(said, "schema")
        assert found.severity == ("warning" if migrate else "error")
        assert "'0002 more' is missing" in found.what
        assert walked == []  # to ask is not to do
        again.migrate()
        assert walked == ["sqlite"]
        assert not of(both(again), "schema")


def test_tables_that_have_lost_what_the_database_is(store: Store, file: Path) -> None:
    change(file, "DELETE FROM onrecord_meta WHERE name = 'store_id'")
    found = only(both(store), "schema")
    assert found.severity == "error"
    assert "'store_id'" in found.what


# -- what is stored: on both databases -----------------------------------------------------------

OpenStore = Callable[..., Store]


def test_nothing_is_said_of_a_store_that_is_looked_after(each_store: OpenStore, face: Face) -> None:
    store = each_store()
    store.session("a").append([("user", "Where is my parcel?"), ("assistant", "In Lyon.")])
    said: Diagnosis = face(store).doctor()
    assert not [found for found in said.findings if found.check in CONTENTS], str(said)
    assert set(said.checks) >= CONTENTS - {"embedder"}


CONTENTS = {
    "clock",
    "schema",
    "sealing",
    "dictionaries",
    "expired",
    "index",
    "embedder",
    "feeds",
    "damage",
}
A_DAY = 86_400


def test_a_store_that_was_never_compacted(
    each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_SOME_UNSEALED", 200)
    store = each_store()
    for n in range(20):
        store.session(f"s{n}").append([("user", f"Message {n}.") for _ in range(10)])
    assert not of(both(store), "sealing")  # they may go on in a minute
    found = only(at(store, 2 * A_DAY), "sealing")
    assert found.severity == "note"
    assert found.what.startswith("200 messages of 20 sessions")
    monkeypatch.setattr(contents, "_MANY_UNSEALED", 200)
    assert only(at(store, 2 * A_DAY), "sealing").severity == "warning"
    store.compact(quiet_for=0)
    assert not of(at(store, 2 * A_DAY), "sealing")


def test_a_dictionary_that_was_never_trained(
    each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_ENOUGH_TO_LEARN", 400)
    store = each_store()
    for n in range(200):
        store.session(f"s{n}").append(
            [("user", f"Where is order {n}?"), ("assistant", f"Order {n} is on its way to Lyon.")]
        )
    found = only(both(store), "dictionaries")
    assert found.severity == "note"
    assert "train()" in found.advice
    assert not of(both(each_store(compression="none")), "dictionaries")
    assert store.train().dictionary is not None
    assert not of(both(store), "dictionaries")


def test_sessions_and_items_that_have_expired(each_store: OpenStore) -> None:
    store = each_store(expires_in=timedelta(microseconds=1))
    for n in range(100):
        store.session(f"s{n}").append(("user", "Hello."))
    items = store.items("short")
    items.put_many({f"k{n}": n for n in range(100)}, ttl=0.000001)
    said = both(store)
    assert sorted(found.what[:12] for found in of(said, "expired")) == [
        "100 items ha",
        "100 sessions",
    ]
    assert {found.severity for found in of(said, "expired")} == {"note"}
    store.prune()
    assert not of(both(store), "expired")


def test_much_that_has_expired_is_a_warning(
    each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MANY_EXPIRED", 100)
    store = each_store()
    store.items("short").put_many({f"k{n}": n for n in range(120)}, ttl=0.000001)
    found = only(both(store), "expired")
    assert found.severity == "warning"
    assert found.what.startswith("100 items or more")


def test_an_index_that_is_behind(each_store: OpenStore) -> None:
    store = each_store()
    for n in range(2):
        store.session(f"s{n}").append([("user", f"Message {n}.") for n in range(600)])
    store.index()
    assert not of(both(store), "index")
    store.session("new").append([("user", f"Message {n}.") for n in range(1_000)])
    found = only(both(store), "index")
    assert found.severity == "note"
    assert "has not 1,000 messages of 2,200" in found.what
    store.index()
    assert not of(both(store), "index")


def test_an_index_that_is_far_behind_is_a_warning(
    each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_MANY_UNINDEXED", 1_000)
    store = each_store()
    store.session("new").append([("user", f"Message {n}.") for n in range(1_000)])
    assert only(both(store), "index").severity == "warning"


def vectors(texts: Any) -> list[list[float]]:
    return [[1.0 if (hash_of(text) >> bit) & 1 else -1.0 for bit in range(32)] for text in texts]


def hash_of(text: str) -> int:
    return Random(text).getrandbits(32)


def test_an_embedder_that_has_not_seen_everything(
    each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_SOME_UNINDEXED", 100)
    store = each_store(embedder=vectors)
    store.session("a").append([("user", f"Message {n}.") for n in range(100)])
    found = only(both(store), "embedder")
    assert found.severity == "note"
    assert "has not seen 100 messages of 100" in found.what
    store.embed()
    said = both(store)
    assert "embedder" in said.checks
    assert not of(said, "embedder")


def test_an_embedder_that_does_not_answer(each_store: OpenStore) -> None:
    def broken(texts: Any) -> list[list[float]]:
        raise EmbedderFailed("No model is loaded.")

    store = each_store(embedder=broken)
    store.session("a").append(("user", "Hello."))
    found = only(both(store), "embedder")
    assert found.severity == "error"
    assert "No model is loaded" in found.what


def test_a_reader_that_is_far_behind(
    each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_FAR_BEHIND", 20)
    store = each_store()
    feed = store.feed("mails")
    store.session("first").append(("user", "Hello."))
    feed.done(feed.read())
    assert not of(both(store), "feeds")
    for n in range(20):
        store.session(f"s{n}").append(("user", "Hello."))
    found = only(both(store), "feeds")
    assert found.severity == "warning"
    assert "'mails' of a feed is 20 sessions behind" in found.what
    feed.forget()
    assert not of(both(store), "feeds")


def sql(store: Store, statement: str) -> None:
    """Change something behind the store's back."""
    url = store._ledger.address.url
    if store._ledger.file is not None:
        change(Path(store._ledger.file), statement)
        return
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(text) as connection:
        assert connection.execute(statement).rowcount


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE onrecord_tail SET frame = '\\x00' WHERE seq = 1", "message 1"),
        ("UPDATE onrecord_sessions SET messages = 7", "messages"),
        ("UPDATE onrecord_items SET body = '\\x00'", "city"),
        ("UPDATE onrecord_runs SET terms = '\\x00'", "index"),
    ],
)
def test_what_is_damaged(each_store: OpenStore, statement: str, says: str) -> None:
    store = each_store()
    store.session("a").append([("user", "Where is my parcel?"), ("assistant", "In Lyon.")])
    store.items("known").put("city", "Lyon")
    store.index()
    assert not of(both(store), "damage")
    if store._ledger.file is not None:
        statement = statement.replace("'\\x00'", "x'00'")
        statement = statement.replace("seq = 1", "place & 4294967295 = 1")
    sql(store, statement)
    found = only(both(store), "damage")
    assert found.severity == "error"
    assert says in found.what
    assert "verify()" in found.advice


def test_a_dictionary_that_is_damaged(each_store: OpenStore) -> None:
    store = each_store()
    store.session("a").append(("user", "Hello."))
    store.train([("user", f"Where is order {n}?") for n in range(200)])
    body = "x'00'" if store._ledger.file is not None else "'\\x00'"
    sql(store, f"UPDATE onrecord_dictionaries SET body = {body}")
    assert "dictionary 1" in only(both(store), "damage").what


def test_times_that_have_not_come_yet(each_store: OpenStore) -> None:
    store = each_store()
    store.session("a").append(("user", "Hello."))
    sql(
        store,
        "UPDATE onrecord_sessions SET active_period = active_period + 2000, "
        "last_active = last_active + 1024000000000",
    )
    found = only(both(store), "clock")
    assert found.severity == "warning"
    assert "12 days from now" in found.what


def test_a_cache_that_is_switched_off(each_store: OpenStore) -> None:
    store = each_store()
    store.session("a").append(("user", "Hello."))
    if store._hot.where is None:
        pytest.skip("it has none")
    before = both(store)
    assert not [found for found in of(before, "cache") if found.severity != "note"]
    sql(store, "UPDATE onrecord_meta SET value = 'off 0011223344556677' WHERE name = 'cache'")
    found = only(both(store), "cache")
    assert found.severity == "warning"
    assert "switched off" in found.what
