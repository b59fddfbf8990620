"""What goes by age: asked for first, archived first, and never what somebody came back to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from onrecord import ANY, Misconfigured, Session, Store, operations
from onrecord.flow import Step, run
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import EVERYBODY
from onrecord.stored.clock import PERIOD

OpenStore = Callable[..., Store]
NINETY = timedelta(days=90)


def aged(store: Store, session: Session, by: timedelta) -> None:
    """As if the session had been written to so long ago."""
    moved = by // timedelta(microseconds=1)

    def work(txn: Transaction) -> None:
        txn.run(
            "UPDATE {sessions} SET last_active = last_active - :moved, "
            f"active_period = (last_active - :moved) / {PERIOD} WHERE identity = :identity",
            {"moved": moved, "identity": session.name.identity},
        )

    store._ledger.write(work)


@pytest.fixture
def store(each_store: OpenStore) -> Iterator[Store]:
    with each_store() as opened:
        yield opened


@pytest.fixture
def old_and_new(store: Store) -> tuple[Session, Session]:
    old, new = store.session("old", user="ana"), store.session("new", user="ana")
    for session in (old, new):
        session.append([("user", "hello"), ("assistant", "hello")])
    aged(store, old, timedelta(days=91))
    return old, new


def keys(store: Store) -> set[str]:
    return {info.key for info in store.sessions(tenant=ANY, user=ANY, agent=ANY)}


def test_a_dry_run_says_exactly_what_would_go(
    store: Store, old_and_new: tuple[Session, Session]
) -> None:
    old, _ = old_and_new
    said = store.prune(older_than=NINETY, dry_run=True)
    assert said.dry_run
    assert said.sessions == (old.info(),)
    assert said.messages == 2
    assert keys(store) == {"old", "new"}
    done = store.prune(older_than=NINETY)
    assert not done.dry_run
    assert done.sessions == said.sessions
    assert keys(store) == {"new"}
    assert old.messages() == []
    assert store.prune(older_than=NINETY).sessions == ()


def test_nothing_goes_that_was_not_asked_for(
    store: Store, old_and_new: tuple[Session, Session]
) -> None:
    assert store.prune().sessions == ()
    assert store.prune(older_than=NINETY, user="bob").sessions == ()
    assert store.prune(older_than=NINETY, tenant="acme").sessions == ()
    assert keys(store) == {"old", "new"}
    assert store.prune(older_than=NINETY, user="ana").messages == 2


def test_older_than_may_be_a_moment(store: Store, old_and_new: tuple[Session, Session]) -> None:
    before = datetime.now(UTC) - NINETY
    assert [info.key for info in store.prune(older_than=before, dry_run=True).sessions] == ["old"]


def test_a_session_says_how_long_it_lasts(
    store: Store, old_and_new: tuple[Session, Session]
) -> None:
    old, new = old_and_new
    assert old.info().expires_in is None
    assert old.update(expires_in=timedelta(days=92), title="Kept").expires_in == timedelta(days=92)
    assert store.prune().sessions == ()
    assert old.update(title="Still kept").expires_in == timedelta(days=92)
    old.update(expires_in=timedelta(days=91))
    new.update(expires_in=timedelta(days=91))
    assert [info.title for info in store.prune().sessions] == ["Still kept"]
    assert new.update(expires_in=None).expires_in is None


def test_it_runs_from_the_last_message(store: Store, old_and_new: tuple[Session, Session]) -> None:
    old, _ = old_and_new
    old.update(expires_in=timedelta(days=30))
    old.append(("user", "back again"))
    assert store.prune().sessions == ()


def test_the_store_says_it_for_those_that_say_nothing(each_store: OpenStore) -> None:
    with each_store(expires_in=NINETY) as store:
        for key, own in (("a", None), ("b", timedelta(days=365))):
            session = store.session(key)
            session.append(("user", "hello"))
            session.update(expires_in=own)
            aged(store, session, timedelta(days=91))
        assert [info.key for info in store.prune().sessions] == ["a"]


def test_who_comes_back_meanwhile_stays(store: Store, old_and_new: tuple[Session, Session]) -> None:
    """Found old, then written to, then to be taken: it is not."""
    old, _ = old_and_new
    steps: list[Step] = []

    def perform(step: Step) -> Any:
        answer = store._perform(step)
        if not steps:
            old.append(("user", "wait"))
        steps.append(step)
        return answer

    assert (
        run(operations.prune(store._desk, EVERYBODY, NINETY, None, False), perform).sessions == ()
    )
    assert len(steps) > 1
    assert old.count() == 3


def test_an_archive_is_complete_before_anything_goes(
    store: Store, old_and_new: tuple[Session, Session], tmp_path: Path
) -> None:
    old, _ = old_and_new
    before = old.messages()
    archive = tmp_path / "old.jsonl.zst"
    done = store.prune(older_than=NINETY, archive_to=archive)
    assert done.archived_to == str(archive)
    assert keys(store) == {"new"}
    with Store("sqlite://") as other:
        other.import_(archive)
        again = other.session("old", user="ana").messages()
    assert [(m.role, m.text, m.seq, m.created_at) for m in again] == [
        (m.role, m.text, m.seq, m.created_at) for m in before
    ]


def test_an_archive_is_not_written_over(
    store: Store, old_and_new: tuple[Session, Session], tmp_path: Path
) -> None:
    archive = tmp_path / "last night.jsonl"
    archive.write_text("the only copy")
    with pytest.raises(Misconfigured, match="is there already"):
        store.prune(older_than=NINETY, archive_to=archive)
    assert archive.read_text() == "the only copy"
    assert keys(store) == {"old", "new"}


def test_nothing_goes_where_the_archive_cannot_be_written(
    store: Store, old_and_new: tuple[Session, Session], tmp_path: Path
) -> None:
    with pytest.raises((OSError, Misconfigured), match="no such folder"):
        store.prune(older_than=NINETY, archive_to=tmp_path / "no such folder" / "x.jsonl")
    assert keys(store) == {"old", "new"}


def test_async(each_store: OpenStore) -> None:
    async def main() -> None:
        async with each_store(expires_in=NINETY) as store:
            session = store.session("a")
            await session.aappend(("user", "hello"))
            await session.aupdate(expires_in=timedelta(days=1))
            aged(store, session, timedelta(days=2))
            assert len((await store.aprune(dry_run=True)).sessions) == 1
            assert len((await store.aprune()).sessions) == 1
            assert await session.acount() == 0

    asyncio.run(main())


@pytest.mark.parametrize("given", [90, timedelta(0), datetime(2026, 1, 1), "90 days"])
def test_times_that_cannot_be(given: object) -> None:
    with Store("sqlite://") as store:
        with pytest.raises(Misconfigured, match="older_than"):
            store.prune(older_than=given)  # type: ignore[arg-type]
        if not isinstance(given, datetime):
            with pytest.raises(Misconfigured, match="expires_in"):
                store.session("a").update(expires_in=given)  # type: ignore[arg-type]
