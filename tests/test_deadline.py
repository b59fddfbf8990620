"""A write as a whole has a deadline, and not only each of its statements."""

from __future__ import annotations

from typing import Any

import pytest

from onrecord import Store, Unavailable
from onrecord.ledger.database import transaction
from onrecord.testing.contract import Face


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("cached", [True, False])
def test_a_clear_whose_statements_wait_each_is_refused(
    postgres_url: str,
    redis_server: Any,
    monkeypatch: pytest.MonkeyPatch,
    face: Face,
    cached: bool,
) -> None:
    """Each waits 4.5 of 10 s: none of them too long, and all of them 13.5. Nothing is written."""
    cache = redis_server.url if cached else None
    with Store(postgres_url, cache=cache, timeout=10) as store:
        chat = face(store.session("k"))
        chat.append(("user", "one"))
        clock = Clock()
        monkeypatch.setattr(transaction, "time", clock)
        first, run = transaction.Transaction.first, transaction.Transaction.run

        def slow_first(self: Any, *given: Any) -> Any:
            answer = first(self, *given)
            clock.now += 4.5
            return answer

        def slow_run(self: Any, *given: Any) -> Any:
            answer = run(self, *given)
            clock.now += 4.5
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(transaction.Transaction, "first", slow_first)
            patch.setattr(transaction.Transaction, "run", slow_run)
            with pytest.raises(Unavailable, match="together") as refused:
                chat.clear()
            assert not refused.value.outcome_unknown
            assert chat.fork("f", at=1) is not None, "who copies is not hurried"
        assert [m.text for m in chat.tail(5)] == [m.text for m in chat.messages()] == ["one"]
        chat.clear()
        assert chat.tail(5) == chat.messages() == []
