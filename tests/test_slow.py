"""``slow=``: what takes long is logged, with its steps."""

from __future__ import annotations

import asyncio
import logging

import pytest

from onrecord import CheckpointLog, Misconfigured, Session, Store
from onrecord.stored.changes import Change
from onrecord.watching import Observer, OperationDone
from tests.servers.redis import RedisServer


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_every_operation_is_named_with_its_steps(
    postgres_url: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def later(chat: Session) -> None:
        await chat.aappend(("user", "two"))

    with (
        Store(postgres_url, cache=redis_server.url, slow=0) as store,
        caplog.at_level(logging.WARNING, "onrecord"),
    ):
        chat = store.session("k")
        chat.append(("user", "one"))
        asyncio.run(later(chat))
        chat.tail(5)
        chat.version()
        CheckpointLog(store).info("t")
        store.compact()
    said = logged(caplog)
    assert [line.split()[0] for line in said] == [
        *("append", "append", "tail", "version", "describe_thread", "compact"),
    ]
    for line in said[:2]:
        kinds = [step.split()[0] for step in line.split(": ")[1].split(", ")]
        assert kinds[-3:] == ["cache", "write", "cache"], "marked, committed, published"


def test_what_was_quick_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with Store("sqlite://", slow=86_400) as store:
        store.session("k").append(("user", "one"))
    assert logged(caplog) == []


def test_what_failed_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with Store("sqlite://", slow=0) as store:
        store.session("k").append(("user", "one"))
        with pytest.raises(Exception, match="no message 7"):
            store.session("k").delete(7)
    assert "delete took" in logged(caplog)[-1]
    assert " and raised " in logged(caplog)[-1]


def test_an_observer_that_fails_costs_nobody_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Observer):
        def changed(self, change: Change) -> None:
            raise RuntimeError("an observer")

        def done(self, done: OperationDone) -> None:
            raise RuntimeError("an observer")

    with Store("sqlite://") as store:
        store._observers = (Failing(),)
        assert store.session("k").append(("user", "one"))[0].seq == 1
    assert logged(caplog) == ["an observer of the store failed"] * 2


@pytest.mark.parametrize("slow", [-1, "1", True, float("nan")])
def test_a_wrong_limit_is_refused(slow: float) -> None:
    with pytest.raises(Misconfigured, match="slow has to be"):
        Store("sqlite://", slow=slow)


def test_the_environment_names_it(caplog: pytest.LogCaptureFixture) -> None:
    with Store.from_env({"ONRECORD_URL": "sqlite://", "ONRECORD_SLOW": "0"}) as store:
        store.session("k").count()
    assert "count took" in logged(caplog)[0]
