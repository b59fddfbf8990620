"""What the tests of learned memories share: random histories, and workers that stop anywhere."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from onrecord import ANY, Conflict, Message, Session, Store

TEXTS = (
    "Could you please help me? I'd appreciate it.",
    "Hey, thanks for the help! That's awesome.",
    "How do I reset my password?",
    "Thank you. The invoice has an error, and the payment does not go through. " * 3,
    "ok",
    "",
)
HAPPENED: tuple[dict[str, Any], ...] = (
    {"onrecord.memory": {"event": "alarm", "as": "text"}},
    {"onrecord.memory": {"episode": "observation", "of": 1}},
)
"""What marks messages of role user that no user said."""
START = datetime(2026, 3, 1, 22, tzinfo=UTC)


def leases_end(store: Store) -> None:
    """All that is handed out was handed out long ago."""
    write(store, "UPDATE {feed_positions} SET due = 1 WHERE due IS NOT NULL")


def write(store: Store, statement: str) -> None:
    store._ledger.write(lambda txn: txn.run(statement, {}))


def everything(store: Store, **scope: Any) -> list[tuple[Any, list[Message]]]:
    """Every session that has messages, with all of them."""
    names: dict[str, Any] = {"tenant": ANY, "user": ANY, "agent": ANY, **scope}
    found = []
    for info in store.sessions(limit=10_000, **names):
        session = store.session(info.key, tenant=info.tenant, user=info.user, agent=info.agent)
        if messages := session.messages():
            found.append((info, messages))
    return found


def said(dice: Random) -> list[Message]:
    """Some messages, with metadata of which not all can be counted."""
    found = []
    for _ in range(dice.randint(1, 4)):
        role = dice.choice(["user", "user", "assistant", "assistant", "system", "tool"])
        metadata: dict[str, Any] = {}
        if dice.random() < 0.5:
            metadata["resolved"] = dice.choice([True, True, False, "yes", 1, None])
        if dice.random() < 0.5:
            metadata["confidence"] = dice.choice([0.5, 0.85, 1, 0, 7, float("nan"), True, "high"])
        if dice.random() < 0.3:
            metadata["ticket_id"] = dice.choice(["T-1", "T-2", 17, "", None, ["T-1"]])
        at = START + timedelta(minutes=dice.randint(0, 60 * 24 * 40))
        native = {} if role != "user" or dice.random() < 0.8 else dice.choice(HAPPENED)
        found.append(
            Message(role, dice.choice(TEXTS), metadata=metadata, native=native, created_at=at)
        )
    return found


def some_session(store: Store, dice: Random) -> Session:
    return store.session(
        dice.choice("abcde"), user=dice.choice(["ada", "bo"]), agent=dice.choice(["", "x"])
    )


def changed(store: Store, dice: Random) -> None:
    """Something happens in a store."""
    session = some_session(store, dice)
    match dice.randrange(14):
        case 0 | 1 | 2 | 3 | 4 | 5:
            session.append(said(dice))
        case 6:
            if session.count():
                session.edit(dice.choice(session.messages()).seq or 1, said(dice)[0])
        case 7:
            if session.count():
                session.delete(dice.choice(session.messages()).seq or 1)
        case 8:
            session.rewind(dice.randint(0, session.head()))
        case 9:
            session.replace(said(dice), after=dice.randint(0, session.head()))
        case 10:
            session.erase(thorough=False)
        case 11:
            with suppress(Conflict):
                session.fork(dice.choice("abcde"))
        case 12:
            session.clear()
        case 13:
            if dice.random() < 0.3:
                store.erase(user=dice.choice(["ada", "bo"]), agent=ANY, thorough=False)


class Worker:
    """Does what a memory does, one call of the store after the other, and may stop anywhere."""

    def __init__(self, work: Callable[[], Generator[Any, Any, Any]]) -> None:
        self._work = work
        self._flow: Generator[Any, Any, Any] | None = None
        self._call: Any = None
        self.calls = 0
        """How many were made."""
        self.answer: Any = None

    def step(self) -> bool:
        """Make one call; whether there is one more. Of the work that is over it begins again."""
        if self._flow is None:
            self._flow = self._work()
            return self._next(lambda flow: next(flow))
        call = self._call
        try:
            answer = call.method(*call.given, **call.settings)
        except Conflict as fault:
            self.calls += 1
            refused = fault
            return self._next(lambda flow: flow.throw(refused))
        self.calls += 1
        return self._next(lambda flow: flow.send(answer))

    def killed(self) -> None:
        """Whatever it was about to do, it does not."""
        self._flow = None

    def _next(self, go_on: Callable[[Any], Any]) -> bool:
        try:
            self._call = go_on(self._flow)
        except StopIteration as end:
            self.answer, self._flow = end.value, None
            return False
        return True


def lived(store: Store, dice: Random, steps: int, workers: list[Worker]) -> None:
    """A random history, while workers learn from it and are killed."""
    for _ in range(steps):
        match dice.randrange(10):
            case 0 | 1 | 2 | 3 | 4 | 5:
                dice.choice(workers).step()
            case 6 if dice.random() < 0.3:
                dice.choice(workers).killed()
            case 7 if dice.random() < 0.3:
                leases_end(store)
            case _:
                changed(store, dice)
    for worker in workers:
        worker.killed()
    leases_end(store)
