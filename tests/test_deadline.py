"""A write as a whole has a deadline, and not only each of its statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from onrecord import Merge, Store, Unavailable
from onrecord.ledger.database import transaction
from onrecord.ledger.database.transaction import Transaction
from onrecord.testing.contract import Face
from tests.one_commit import in_one_commit


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_what_is_much_and_quick_has_waited_for_nobody(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand statements of 20 ms each: none of them waits for anybody, and all take longer
    than the timeout. Four times as long nobody is kept waiting for them."""
    with Store(url, timeout=10) as store:
        merges = [Merge("n", f"{n}", {"n": n}) for n in range(1_000)]
        with slow(monkeypatch, 0.01):
            store.write(merges)
        assert store.items("n").count() == 1_000
        with slow(monkeypatch, 0.04), pytest.raises(Unavailable, match="4 times as long"):
            store.write(merges)


def test_many_rows_of_ones_own_have_waited_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append on SQLite inserts all its messages by one statement, which takes 12 of 10 s."""
    clock = Clock()
    listed = transaction._listed

    def slowly(values: Any) -> Any:
        clock.now += 12
        return listed(values)

    with Store(f"sqlite:///{tmp_path}/x.db", timeout=10) as store:
        chat = store.session("k")
        chat.append(("user", "one"))
        monkeypatch.setattr(transaction, "time", clock)
        monkeypatch.setattr(transaction, "_listed", slowly)
        chat.append([("user", "two"), ("user", "three")])
        assert len(chat.messages()) == 3


@contextmanager
def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    """Each statement takes so long, by the clock of deadlines."""
    clock = Clock()
    first, run = Transaction.first, Transaction.run

    def slow_first(self: Any, *given: Any) -> Any:
        answer = first(self, *given)
        clock.now += seconds
        return answer

    def slow_run(self: Any, *given: Any) -> Any:
        answer = run(self, *given)
        clock.now += seconds
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(transaction, "time", clock)
        patch.setattr(Transaction, "first", slow_first)
        patch.setattr(Transaction, "run", slow_run)
        yield


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/x.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.mark.parametrize("cached", [True, False])
def test_a_clear_whose_statements_wait_each_is_refused(
    url: str,
    redis_server: Any,
    monkeypatch: pytest.MonkeyPatch,
    face: Face,
    cached: bool,
) -> None:
    """Each waits 4.5 of 10 s: none of them too long, and all of them 13.5. Nothing is written."""
    cache = redis_server.url if cached else None
    with Store(url, cache=cache, timeout=10) as store:
        chat = face(store.session("k"))
        chat.append(("user", "one"))
        with slow(monkeypatch, 4.5):
            with pytest.raises(Unavailable, match="together") as refused:
                chat.clear()
            assert not refused.value.outcome_unknown
            assert chat.fork("f", at=1) is not None, "who copies is not hurried"
        assert [m.text for m in chat.tail(5)] == [m.text for m in chat.messages()] == ["one"]
        chat.clear()
        assert chat.tail(5) == chat.messages() == []


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("order", [1, -1])
def test_who_is_hurried_hurries_nobody_in_the_same_commit(
    tmp_path: Path, redis_server: Any, monkeypatch: pytest.MonkeyPatch, cached: bool, order: int
) -> None:
    """A clear and an append are in time, each by itself; a fork between them takes longer than the
    timeout, and what it takes counts against nobody."""
    cache = redis_server.url if cached else None
    with Store(f"sqlite:///{tmp_path}/x.db", cache=cache, timeout=10) as store:
        chat, other, third = (store.session(key) for key in ("k", "other", "third"))
        for one in (chat, other, third):
            one.append(("user", "one"))
        with slow(monkeypatch, 0.8):  # clear 8.8 s, fork 12.8, append 2.4
            calls = [
                chat.clear,
                lambda: other.fork("f", at=1),
                lambda: third.append(("user", "two")),
            ]
            answers = in_one_commit(store, calls[::order])
        assert not [one for one in answers if isinstance(one, Exception)]
        assert chat.tail(5) == chat.messages() == []
        assert [m.text for m in store.session("f").messages()] == ["one"]
        assert [m.text for m in third.tail(5)] == [m.text for m in third.messages()]
        assert len(third.messages()) == 2


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("order", [1, -1])
def test_who_is_too_late_is_refused_alone(
    tmp_path: Path, redis_server: Any, monkeypatch: pytest.MonkeyPatch, cached: bool, order: int
) -> None:
    """A clear that takes longer than the timeout, in one commit with a fork and an append."""
    cache = redis_server.url if cached else None
    with Store(f"sqlite:///{tmp_path}/x.db", cache=cache, timeout=10) as store:
        chat, other, third = (store.session(key) for key in ("k", "other", "third"))
        for one in (chat, other, third):
            one.append(("user", "one"))
        with slow(monkeypatch, 4.5):
            calls = [
                chat.clear,
                lambda: other.fork("f", at=1),
                lambda: third.append(("user", "two")),
            ]
            clear, *done = in_one_commit(store, calls[::order])[::order]
        assert isinstance(clear, Unavailable)
        assert "together" in str(clear)
        assert not clear.outcome_unknown
        assert not [one for one in done if isinstance(one, Exception)]
        assert [m.text for m in chat.tail(5)] == [m.text for m in chat.messages()] == ["one"]
        assert [m.text for m in store.session("f").messages()] == ["one"]
        assert [m.text for m in third.tail(5)] == ["one", "two"]
