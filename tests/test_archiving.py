"""What goes into an archive goes from the store as it is there, and else it stays."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onrecord import ANY, Misconfigured, Session, Store, Unavailable
from onrecord.files import Aside
from onrecord.ledger.maintenance.due import Due
from onrecord.reports import Progress, Pruning
from tests.test_many_at_once import fill

MANY = 40
OLDER = timedelta(microseconds=1)


@pytest.fixture
def store(each_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("onrecord.flows.maintenance.remove.AT_ONCE", 5)
    monkeypatch.setattr("onrecord.flows.maintenance.prune.AT_ONCE", 5)
    monkeypatch.setattr("onrecord.ledger.maintenance.due.LOOKED_AT", 5)
    return each_store()


def pruned(store: Store, archive: Path, **more: Any) -> Pruning:
    return store.prune(older_than=OLDER, archive_to=archive, **more)


def after_the_archive(do: Callable[[], object]) -> Callable[[Progress], None]:
    """Something is done when the archive is on the disk, and nothing has gone yet."""

    def meanwhile(progress: Progress) -> None:
        if progress.done == 0:
            do()

    return meanwhile


def brought(archive: Path) -> Store:
    other = Store("sqlite://")
    other.import_(archive)
    return other


def left(store: Store) -> list[str]:
    return sorted(info.key for info in store.sessions(tenant=ANY, user=ANY, agent=ANY))


def value(session: Session, key: str) -> object:
    item = session.state.get(key)
    return None if item is None else item.value


def test_a_state_that_was_put_since_keeps_its_session(store: Store, tmp_path: Path) -> None:
    sessions = fill(store, 8)
    for n in (1, 2, 3):
        sessions[n].state.put("mood", f"{n}")

    def meanwhile() -> None:
        sessions[2].state.put("mood", "better")
        sessions[3].state.put("plan", "send it again")
        sessions[5].state.put("mood", "it has one now")

    archive = tmp_path / "archive.jsonl"
    done = pruned(store, archive, progress=after_the_archive(meanwhile))
    assert (done.count, left(store)) == (5, ["s2", "s3", "s5"])
    assert [value(sessions[n], "mood") for n in (2, 5)] == ["better", "it has one now"]
    assert value(sessions[3], "plan") == "send it again"
    assert sessions[5].count() == 2, "what was said in it as well"
    with brought(archive) as other:
        there = [other.session(f"s{n}", tenant="acme", user=f"u{n % 4}") for n in range(8)]
        assert [one.count() for one in there] == [2] * 8
        assert [value(there[n], "mood") for n in (1, 2, 3)] == ["1", "2", "3"]
    assert store.verify() == []
    again = pruned(store, tmp_path / "again.jsonl")
    assert (again.count, left(store)) == (3, [])
    assert store.stats().items == 0


def test_a_state_that_went_since_keeps_its_session(store: Store, tmp_path: Path) -> None:
    sessions = fill(store, 4)
    sessions[1].state.put("mood", "well")
    sessions[2].state.put("mood", "well")
    archive = tmp_path / "archive.jsonl"
    done = pruned(
        store, archive, progress=after_the_archive(lambda: sessions[1].state.delete("mood"))
    )
    assert (done.count, left(store)) == (3, ["s1"])


def test_messages_that_were_archived_since_keep_their_session(store: Store, tmp_path: Path) -> None:
    """That moves no version, and the file says it of each message."""
    sessions = fill(store, 4)
    sessions[1].archive([1])
    sessions[2].archive([1])

    def meanwhile() -> None:
        sessions[2].unarchive([1])
        sessions[3].archive([2])

    done = pruned(store, tmp_path / "archive.jsonl", progress=after_the_archive(meanwhile))
    assert (done.count, left(store)) == (2, ["s2", "s3"])


def test_what_was_not_archived_stays(store: Store, tmp_path: Path) -> None:
    """It is due only since the archive was written."""
    sessions = fill(store, 4)
    late = store.session("late", user="ada")
    late.append(("user", "hello"))
    store.session("new")

    def meanwhile() -> None:
        late.update(expires_in=OLDER)
        sessions[0].erase(thorough=False)

    archive = tmp_path / "archive.jsonl"
    done = store.prune(
        tenant="acme",
        older_than=OLDER,
        archive_to=archive,
        progress=after_the_archive(meanwhile),
    )
    assert (done.count, done.archived_to, left(store)) == (3, str(archive), ["late"])


def test_however_many_go_few_are_held(store: Store, tmp_path: Path) -> None:
    fill(store, MANY)
    held: list[int] = []

    def count(progress: Progress) -> None:
        held.append(sum(isinstance(one, Due) for one in gc.get_objects()))

    archive = tmp_path / "archive.jsonl.zst"
    done = pruned(store, archive, progress=count)
    assert (done.count, len(done.sessions), done.messages) == (MANY, MANY, 2 * MANY)
    assert max(held) <= 10, "a page of them, and those that go together"
    assert not list(tmp_path.glob(".*")), "and nothing is left beside it"
    with brought(archive) as other:
        assert other.stats().sessions == MANY


def test_nothing_due_makes_no_file(store: Store, tmp_path: Path) -> None:
    fill(store, 7)
    archive = tmp_path / "archive.jsonl"
    done = store.prune(older_than=timedelta(days=1), archive_to=archive)
    assert (done.count, done.archived_to, archive.exists()) == (0, None, False)


def test_where_all_came_back_the_archive_is_named(store: Store, tmp_path: Path) -> None:
    (session,) = fill(store, 1)
    archive = tmp_path / "archive.jsonl"
    done = pruned(
        store, archive, progress=after_the_archive(lambda: session.append(("user", "again")))
    )
    assert (done.count, done.archived_to, archive.exists()) == (0, str(archive), True)


def test_two_that_write_one_archive_lose_nothing(
    each_store: Callable[..., Store], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is done while this one still writes: what went is in its file alone."""
    fill(store, 7)
    archive, put = tmp_path / "archive.jsonl", Aside.put
    others: list[Pruning] = []

    def meanwhile(aside: Aside, values: Iterable[Any]) -> None:
        put(aside, values)
        if not others:
            monkeypatch.setattr(Aside, "put", put)
            with each_store() as other:
                others.append(pruned(other, archive))

    monkeypatch.setattr(Aside, "put", meanwhile)
    with pytest.raises(Misconfigured, match="was written by somebody else meanwhile"):
        pruned(store, archive)
    assert (others[0].count, left(store)) == (7, [])
    assert [file.name for file in tmp_path.glob("*archive*")] == ["archive.jsonl"]
    assert not list(tmp_path.glob(".*.part"))
    with brought(archive) as there:
        assert there.stats().sessions == 7


def test_nothing_goes_where_the_disk_is_full(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 7)

    def full(*given: object, **more: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onrecord.files.tempfile.TemporaryFile", full)
    archive = tmp_path / "archive.jsonl"
    with pytest.raises(Unavailable, match="No space left on device"):
        pruned(store, archive)
    assert not archive.exists()
    assert len(left(store)) == 7


def test_a_dry_run_refuses_the_name_that_the_real_one_refuses(tmp_path: Path) -> None:
    with Store("sqlite://") as store:
        store.session("k").append(("user", "one"))
        for dry_run in (True, False):
            with pytest.raises(Misconfigured, match="has to end in"):
                store.prune(older_than=OLDER, archive_to=tmp_path / "a.csv", dry_run=dry_run)
        assert store.session("k").count() == 1
