"""Every point between two steps of every flow: a process may die there, or an answer get lost.

Flows are driven by hand over real databases: so many steps are performed, then the flow is
dropped, as a kill -9 drops it. What happens inside a step is one transaction, and is cut off
after each of its statements.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from onrecord import (
    Conflict,
    Message,
    OnrecordError,
    Put,
    Session,
    SessionInfo,
    Store,
    Unavailable,
    Usage,
    Version,
    operations,
)
from onrecord.flow import Cold, Flow, Step
from onrecord.flows.shared import UNSET
from onrecord.item import DERIVED
from onrecord.ledger.database.transaction import Transaction
from tests.servers.postgres import PostgresServer

USER = "ada"
_numbers = itertools.count()


class Place(NamedTuple):
    """A database with two stores on it: the one that crashes, and the one that looks."""

    store: Store
    other: Store

    def begin(self, key: str) -> Session:
        """A session with something of everything: ids, turns, an edited and a deleted message,
        and what was made from its messages."""
        session = self.store.session(f"{key} {next(_numbers)}", user=USER)
        session.append(("system", "Be kind."))
        session.append([{"role": "user", "content": "one", "id": "first"}, ("assistant", "two")])
        session.append([("user", "three"), {"role": "assistant", "content": "four", "id": "4"}])
        session.append([("user", "five"), ("assistant", "six")])
        session.edit(4, ("user", "three, edited"))
        session.delete(3)
        session.archive([1, 5])
        session.state.put(f"{DERIVED}gist", "six messages", token="6")
        return session

    def look(self, session: Session) -> Session:
        """The same session through the other store."""
        return self.other.session(session.name.key, user=USER)


@pytest.fixture(scope="module")
def sqlite_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    url = f"sqlite:///{tmp_path_factory.mktemp('crash') / 'crash.db'}"
    with Store(url) as store, Store(url) as other:
        yield Place(store, other)


@pytest.fixture(scope="module")
def postgres_place(postgres: PostgresServer) -> Iterator[Place]:
    with postgres.database("crash_points") as url, Store(url) as store, Store(url) as other:
        yield Place(store, other)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    """One for the whole module: each test has sessions of its own, and 150 databases take long."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@dataclass(frozen=True)
class State:
    """All there is to know about a session, but for times and derived ids."""

    version: Version
    messages: tuple[tuple[int, str, str, str | None], ...]
    turns: int
    tokens: int
    title: str | None
    metadata: dict[str, Any]
    archived: tuple[int, ...]
    usage: Usage
    known: dict[str, Any]


def state_of(session: Session) -> State:
    """What a session holds, after checking that it agrees with itself."""
    messages = session.messages()
    info = session.info()
    check(messages, info)
    given = {"first", "4", "new", "new 2"}
    return State(
        info.version,
        tuple((m.seq or 0, m.role, m.text, m.id if m.id in given else None) for m in messages),
        info.turns,
        info.tokens,
        info.title,
        dict(info.metadata),
        tuple(session.messages(archived=True, into=lambda m: m.seq or 0)),
        info.usage,
        {item.key: item.value for item in session.state.list()},
    )


def check(messages: list[Any], info: SessionInfo) -> None:
    seqs = [message.seq for message in messages]
    assert seqs == sorted(set(seqs))
    # Message 3 is deleted by every test's beginning, and nothing else ever is but by "delete",
    # and by who replaces only what is archived, or only what is not.
    assert set(range(1, info.version.head + 1)) - set(seqs) <= {1, 3, 4, 5}
    assert info.messages == len(messages)
    assert info.turns == sum(message.role == "user" for message in messages)
    assert info.tokens == sum(message.tokens for message in messages)


Flows = Callable[[Session], Flow[Any]]

NEW = ("user", "new")
BATCH = [("user", "new"), ("assistant", "new 2"), ("user", "new 3")]
NAMED: Any = {"role": "user", "content": "new", "id": "new"}
NAMED_BATCH: Any = [
    NAMED,
    ("assistant", "unnamed"),
    {"role": "user", "content": "x", "id": "new 2"},
]
RETRY = [{"role": "assistant", "content": "four", "id": "4"}, ("user", "and more")]


def appending(given: Any, expected: Callable[[Session], Version | int] | None = None) -> Flows:
    return lambda session: operations.append(
        session._desk, session.name, given, None if expected is None else expected(session)
    )


APPENDS: dict[str, Flows] = {
    "one": appending(NEW),
    "a batch": appending(BATCH),
    "one with an id": appending(NAMED),
    "a batch with ids": appending(NAMED_BATCH),
    "a batch that is there in part": appending(RETRY),
    "archived": lambda s: operations.append(s._desk, s.name, NAMED_BATCH, None, archived=True),
    "with usage": appending(
        [("user", "new 3"), {**NAMED, "usage": {"input_tokens": 7, "output_tokens": 1}}]
    ),
    "with its state": lambda s: operations.append(
        s._desk, s.name, BATCH, None, items=[Put(s.state, "k", 1), Put("facts", "k", 2)]
    ),
    "existing": lambda s: operations.append(s._desk, s.name, NAMED_BATCH, None, existing=True),
    "expected version": appending(BATCH, lambda session: session.version()),
    "expected head": appending(NAMED_BATCH, lambda session: session.head()),
}
REWRITES: dict[str, Flows] = {
    "edit": lambda s: operations.edit(s._desk, s.name, 2, ("assistant", "edited")),
    "delete": lambda s: operations.delete(s._desk, s.name, 5),
    "rewind": lambda s: operations.rewind(s._desk, s.name, 4),
    "clear": lambda s: operations.rewind(s._desk, s.name, 0),
    "pop": lambda s: operations.pop(s._desk, s.name, 3),
    "replace": lambda s: operations.replace(s._desk, s.name, NAMED_BATCH, 2, None, None),
    "replace active": lambda s: operations.replace(s._desk, s.name, BATCH, 3, False, None),
    "replace archived": lambda s: operations.replace(s._desk, s.name, NAMED_BATCH, 0, True, None),
    "edit usage": lambda s: operations.edit(
        s._desk, s.name, 2, Message("assistant", "edited", usage={"output_tokens": 3})
    ),
    "merge": lambda s: operations.update(s._desk, s.name, UNSET, UNSET, {"a": 1}),
    "update": lambda s: operations.update(s._desk, s.name, "A title", {"a": [1, 2.5, None]}),
}
READS: dict[str, Flows] = {
    "tail": lambda s: operations.tail(s._desk, s.name, 3),
    "long tail": lambda s: operations.tail(s._desk, s.name, 500),
    "messages": lambda s: operations.messages(s._desk, s.name, None, None, None),
    "window": lambda s: operations.window(s._desk, s.name, _limits(), False),
    "info": lambda s: operations.info(s._desk, s.name),
}
WRITES = APPENDS | REWRITES


def _limits() -> Any:
    from onrecord.window import Limits

    return Limits(messages=2)


def perform(store: Store, step: Step) -> Any:
    return store._perform(step)


def steps_of(flow: Flow[Any], store: Store, count: int | None = None) -> tuple[list[Step], Any]:
    """Perform so many steps, or all; then drop the flow. The steps, and the result if it ended."""
    steps: list[Step] = []
    try:
        step = next(flow)
        while count is None or len(steps) < count:
            steps.append(step)
            step = flow.send(perform(store, step))
    except StopIteration as end:
        return steps, end.value
    finally:
        flow.close()
    return steps, None


@pytest.mark.parametrize("what", WRITES | READS)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_crash_between_two_steps(place: Place, what: str, warm: bool) -> None:
    flows = (WRITES | READS)[what]
    whole = place.begin("whole")
    before = state_of(whole)
    steps, _ = steps_of(flows(whole), place.store)
    after = state_of(place.look(whole))
    writes = [isinstance(step, Cold) and step.writes for step in steps]
    assert any(writes) == (what in WRITES)
    for count in range(len(steps) + 1):
        session = place.begin(f"crash {count}")
        if warm:
            session.tail()
        steps_of(flows(session), place.store, count)
        found = state_of(place.look(session))
        assert found == (after if any(writes[:count]) else before)
        # What it left behind misleads neither its own store nor one that is opened now.
        assert state_of(session) == found
        assert [m.seq for m in session.tail(50)] == [seq for seq, *_ in found.messages]
        (stored,) = session.append(("user", "goes on"))
        assert stored.seq == found.version.head + 1
        assert place.look(session).tail(1)[0].text == session.tail(1)[0].text == "goes on"


class Tripped(OnrecordError):
    pass


class Tripwire(Transaction):
    """A transaction that is cut off after so many statements."""

    __slots__ = ("left", "txn")

    def __init__(self, txn: Transaction, left: int) -> None:
        self.txn = txn
        self.left = left

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("txn", "left"):
            object.__setattr__(self, name, value)
        else:
            setattr(self.txn, name, value)

    def __getattribute__(self, name: str) -> Any:
        if name in ("txn", "left"):
            return object.__getattribute__(self, name)
        value = getattr(self.txn, name)
        if name not in ("first", "rows", "run", "many"):
            return value

        def counted(*arguments: Any) -> Any:
            if self.left == 0:
                raise Tripped
            self.left -= 1
            return value(*arguments)

        return counted


@pytest.mark.parametrize("what", WRITES)
def test_a_transaction_that_ends_after_any_of_its_statements(place: Place, what: str) -> None:
    flows = WRITES[what]
    count = 0
    while True:
        session = place.begin(f"statement {count}")
        before = state_of(session)
        flow = flows(session)
        step = next(flow)
        assert isinstance(step, Cold)
        work = step.work

        def cut_off(txn: Transaction, left: int = count, work: Any = work) -> Any:
            return work(Tripwire(txn, left))

        try:
            place.store._ledger.write(cut_off)
        except Tripped:
            flow.close()
            # PostgreSQL commits a lone statement at once; only one that changed nothing may be
            # followed by others.
            assert state_of(place.look(session)) == before
            count += 1
            continue
        flow.close()
        assert state_of(place.look(session)) != before
        break
    assert count >= 1


# -- lost answers --------------------------------------------------------------------------------


LOST = "lost"


def lose(
    flow: Flow[Any],
    store: Store,
    *,
    performed: bool,
    meanwhile: Callable[[], object] = lambda: None,
) -> Any:
    """Drive a flow whose first write step loses its answer, having happened or not."""
    lost = False
    try:
        step = next(flow)
        while True:
            if isinstance(step, Cold) and step.writes and not lost:
                lost = True
                if performed:
                    perform(store, step)
                meanwhile()
                step = flow.throw(Unavailable(LOST, outcome_unknown=True))
                continue
            try:
                answer = perform(store, step)
            except Exception as fault:
                step = flow.throw(fault)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        return end.value


def outcome(
    flow: Flow[Any],
    store: Store,
    *,
    performed: bool,
    meanwhile: Callable[[], object] = lambda: None,
) -> Any:
    """Like ``lose``, with the error in the place of the answer where it ends in one."""
    try:
        return lose(flow, store, performed=performed, meanwhile=meanwhile)
    except (Unavailable, Conflict) as fault:
        return fault


def is_honest(answer: object) -> bool:
    """A known result, a refusal of what was expected, or the admission that nobody knows."""
    return not isinstance(answer, Unavailable) or answer.outcome_unknown


def times(session: Session) -> Counter[str]:
    return Counter(message.text for message in session.messages())


@pytest.mark.parametrize("performed", [True, False], ids=["performed", "not performed"])
@pytest.mark.parametrize("what", APPENDS)
def test_an_append_whose_answer_is_lost_is_there_once(
    place: Place, what: str, performed: bool
) -> None:
    whole = place.begin("whole")
    expected = steps_of(APPENDS[what](whole), place.store)[1]
    session = place.begin("lost")
    stored = lose(APPENDS[what](session), place.store, performed=performed)
    assert state_of(place.look(session)) == state_of(whole)
    assert [(m.seq, m.text) for m in stored] == [(m.seq, m.text) for m in expected]
    there = {m.seq: m for m in place.look(session).messages()}
    assert all(there[message.seq] == message for message in stored)


@pytest.mark.parametrize("performed", [True, False], ids=["performed", "not performed"])
@pytest.mark.parametrize("what", APPENDS)
def test_a_lost_answer_after_which_somebody_else_appends(
    place: Place, what: str, performed: bool
) -> None:
    session = place.begin("lost")
    before = times(session)
    other = place.look(session)

    def others() -> None:
        other.append([("user", "other"), {"role": "user", "content": "named", "id": "other"}])
        other.append(("assistant", "other 2"))

    stored = outcome(APPENDS[what](session), place.store, performed=performed, meanwhile=others)
    if isinstance(stored, Conflict):
        # Nothing was written, and now the session is not where it was expected.
        assert what.startswith("expected")
        assert not performed
        assert stored.version == other.version()
        assert times(other) == before + Counter(["other", "named", "other 2"])
        return
    assert not isinstance(stored, Exception)
    assert not what.startswith("expected") or performed
    found = times(other)
    for message in stored:
        assert found[message.text] == 1
    new = Counter(m.text for m in stored) - before
    assert found == before + Counter(["other", "named", "other 2"]) + new
    state_of(other)
    seqs = [message.seq for message in stored if message.text != "four"]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


@pytest.mark.parametrize("how", ["clear", "rewind", "clear and go on"])
@pytest.mark.parametrize("performed", [True, False], ids=["performed", "not performed"])
@pytest.mark.parametrize("what", APPENDS)
def test_a_lost_answer_after_which_the_session_is_cleared(
    place: Place, what: str, performed: bool, how: str
) -> None:
    session = place.begin("lost")
    other = place.look(session)
    head = session.head()

    def cleared() -> None:
        other.rewind(head if how == "rewind" else 0)
        if how == "clear and go on":
            other.append([("user", "after"), ("user", "after 2")])

    answer = outcome(APPENDS[what](session), place.store, performed=performed, meanwhile=cleared)
    assert is_honest(answer)
    found = times(other)
    state_of(other)
    assert all(n == 1 for n in found.values())
    if performed:
        # What was cleared does not come back (I7).
        assert not found.keys() & {"new", "new 2", "new 3", "unnamed", "x", "and more"}
    if isinstance(answer, Exception):
        assert other.head() == {"clear": 0, "rewind": head, "clear and go on": 2}[how]


@pytest.mark.parametrize("what", ["a batch", "a batch with ids", "expected head"])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_lost_answer_after_which_a_part_is_taken_away(place: Place, what: str, kept: int) -> None:
    """A rewind into the very batch: what it cut off does not come back (I7)."""
    session = place.begin("lost")
    other = place.look(session)
    head = session.head()
    after: list[State] = []

    def rewound() -> None:
        other.rewind(head + kept)
        after.append(state_of(other))

    assert is_honest(
        outcome(APPENDS[what](session), place.store, performed=True, meanwhile=rewound)
    )
    assert [state_of(other)] == after


@pytest.mark.parametrize("what", ["one", "one with an id", "expected version"])
def test_a_lost_answer_after_which_the_message_is_deleted(
    place: Place, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    session = place.begin("lost")
    other = place.look(session)
    after: list[Counter[str]] = []

    def deleted() -> None:
        other.delete(session.head())
        after.append(times(other))

    answer = outcome(APPENDS[what](session), place.store, performed=True, meanwhile=deleted)
    assert is_honest(answer)
    if not isinstance(answer, Exception):
        # If it answers at all, then with what was said, not with a placeholder.
        assert {message.role for message in answer} <= {"user", "assistant"}
    assert [times(other)] == after
    assert not [record for record in caplog.records if "cannot be read" in record.getMessage()]


@pytest.mark.parametrize("performed", [True, False], ids=["performed", "not performed"])
@pytest.mark.parametrize("what", APPENDS)
def test_a_lost_answer_in_a_session_that_was_cleared_long_ago(
    place: Place, what: str, performed: bool
) -> None:
    """An old clear has nothing to do with it: once, or the honest answer that nobody knows."""
    session = place.begin("lost")
    session.clear()
    session.append([("user", "after"), {"role": "assistant", "content": "four", "id": "4"}])
    before = times(session)
    other = place.look(session)
    answer = outcome(APPENDS[what](session), place.store, performed=performed)
    assert is_honest(answer)
    if isinstance(answer, Exception):
        assert not performed
        assert times(other) == before
    else:
        assert all(times(other)[message.text] == 1 for message in answer)
        assert len(times(other)) > len(before)


@pytest.mark.parametrize("performed", [True, False], ids=["performed", "not performed"])
@pytest.mark.parametrize("what", REWRITES)
def test_a_rewrite_whose_answer_is_lost_says_so(place: Place, what: str, performed: bool) -> None:
    whole = place.begin("whole")
    before = state_of(whole)
    steps_of(REWRITES[what](whole), place.store)
    session = place.begin("lost")
    with pytest.raises(Unavailable) as caught:
        lose(REWRITES[what](session), place.store, performed=performed)
    assert caught.value.outcome_unknown
    assert state_of(place.look(session)) == (state_of(whole) if performed else before)


def test_an_append_that_is_lost_long_after_a_clear_is_done_again(place: Place) -> None:
    session = place.begin("lost")
    session.clear()
    session.append(("user", "before"))  # so it was not cleared since
    lose(APPENDS["a batch"](session), place.store, performed=False)
    assert [m.text for m in session.messages()] == ["before", *(text for _, text in BATCH)]


def test_an_answer_that_is_lost_twice_is_said_to_be_unknown(place: Place) -> None:
    session = place.begin("lost")
    for performed in (True, False):
        before = times(session)
        flow = APPENDS["a batch"](session)
        step = next(flow)
        if performed:
            perform(place.store, step)
        again = flow.throw(Unavailable(LOST, outcome_unknown=True))
        assert isinstance(again, Cold)
        assert again.writes
        with pytest.raises(Unavailable, match=LOST) as caught:
            # Even where the second attempt certainly wrote nothing.
            flow.throw(Unavailable("down"))
        assert caught.value.outcome_unknown
        new = Counter(text for _, text in BATCH) if performed else Counter[str]()
        assert times(session) == before + new
        session.rewind(7)


def test_a_refusal_that_is_no_doubt_is_passed_on(place: Place) -> None:
    session = place.begin("refused")
    before = state_of(session)
    flow = APPENDS["a batch"](session)
    next(flow)
    with pytest.raises(Unavailable, match="busy") as caught:
        flow.throw(Unavailable("busy"))
    assert not caught.value.outcome_unknown
    assert state_of(session) == before
