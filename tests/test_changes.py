"""Every commit says what it changed, and that is what a reader sees changed."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, get_args

import pytest

import onrecord
from onrecord import Message, OnrecordError, Session, Store, Unavailable, Version
from onrecord.flow import Cold
from onrecord.stored.changes import Change, Kind
from onrecord.stored.ranges import Ranges, with_added
from onrecord.testing.contract import AsyncFace, Face
from onrecord.watching import Observer

CORE = Path(onrecord.__file__).parent
KEYS = ["a", "b"]


class Recorder(Observer):
    """Keeps what was changed."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def changed(self, change: Change) -> None:
        self.changes.append(change)

    def taken(self) -> list[Change]:
        """What was changed since the last time."""
        changes, self.changes = self.changes, []
        return changes


class Seen(NamedTuple):
    """All that a reader sees of a session."""

    version: Version
    messages: dict[int, tuple[str | None, str]]
    archived: set[int]


@pytest.fixture(params=["sqlite", "postgresql", "postgresql with redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url, cache = f"sqlite:///{tmp_path / 'x.db'}", None
    if request.param != "sqlite":
        url = request.getfixturevalue("kept_postgres_url")
    if request.param == "postgresql with redis":
        cache = request.getfixturevalue("redis_server").url
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 3)
        with Store(url, cache=cache) as store:
            yield store


@pytest.fixture
def recorder(store: Store) -> Recorder:
    found = Recorder()
    store._observers = (found,)
    return found


@pytest.fixture
def both() -> Iterator[Sequence[Face]]:
    """A session by its sync methods, and by their twins on one loop."""
    with asyncio.Runner() as runner:
        yield (lambda handle: handle), partial(AsyncFace, runner.get_loop())


def read(session: Session) -> Seen:
    return Seen(
        session.version(),
        {m.seq: (m.id, m.text) for m in session.messages() if m.seq is not None},
        {m.seq for m in session.messages(archived=True) if m.seq is not None},
    )


def seqs(ranges: Ranges) -> set[int]:
    return {seq for first, last in ranges for seq in range(first, last + 1)}


def compare(before: Seen, changes: list[Change], after: Seen) -> None:
    """Hold what was said to be changed against what is seen."""
    at, there, archived = before.version, dict(before.messages), set(before.archived)
    for change in changes:
        assert change.before == at, "each begins where the one before ended"
        at = change.after
        for ranges in (change.added, change.removed, change.archived, change.unarchived):
            assert ranges == with_added((), sorted(seqs(ranges))), "in order, and with gaps"
        for seq in seqs(change.removed):
            there.pop(seq, None)
        if change.kind != "edit":
            archived -= seqs(change.removed)
        archived = archived - seqs(change.unarchived) | seqs(change.archived)
        assert seqs(change.unarchived) & before.messages.keys() <= before.archived
        added = seqs(change.added)
        if change.kind == "fork":
            added &= after.messages.keys()
            archived &= after.messages.keys()
        assert not added & there.keys(), "what stands there already is not added"
        there |= {seq: after.messages[seq] for seq in added}
        assert [row.seq for row in change.rows] in ([], sorted(added))
    assert at == after.version
    assert there == after.messages
    assert archived == after.archived
    told = [seq for change in changes for seq in seqs(change.added) | seqs(change.removed)]
    same = {seq for seq, said in before.messages.items() if after.messages.get(seq) == said}
    assert not same & set(told), "what is as it was is not told"


def operations(session: Any, fork: Any, seen: Seen, random: Random, name: str) -> dict[str, Any]:
    """Everything that commits, with arguments that mostly fit."""
    head = seen.version.head
    place = random.choice(sorted(seen.messages)) if seen.messages else 1
    some = sorted(random.sample(sorted(seen.messages), min(len(seen.messages), 3))) or [1]
    said = [("user", f"{name} {n}") for n in range(random.randint(1, 4))]
    known = Message("user", "said again and again", id="known")
    after, which = random.randint(0, head), random.choice([None, None, True, False])
    return {
        "append more": lambda: session.append(said * 3),
        "append": lambda: session.append(said),
        "append archived": lambda: session.append(said, archived=True),
        "append again": lambda: session.append([known, *said]),
        "edit": lambda: session.edit(place, ("user", f"edited {name}")),
        "delete": lambda: session.delete(place),
        "rewind": lambda: session.rewind(after),
        "clear": lambda: session.clear(),
        "pop": lambda: session.pop(random.randint(0, 3)),
        "replace": lambda: session.replace(said, after=after, archived=which),
        "replace by nothing": lambda: session.replace([], after=head),
        "archive": lambda: session.archive(some),
        "unarchive": lambda: session.unarchive([*some, head + 5]),
        "update": lambda: session.update(title=name),
        "expire": lambda: session.update(expires_in=timedelta(days=1)),
        "fork": fork,
        "erase": lambda: session.erase(thorough=False),
    }


NAMES = list(operations(None, None, Seen(Version(0, 0), {}, set()), Random(0), ""))


@pytest.mark.parametrize("seed", range(3))
def test_what_changed_is_what_a_reader_sees_changed(
    store: Store, recorder: Recorder, both: Sequence[Face], seed: int
) -> None:
    """Through the sync methods and their twins in turns."""
    random = Random(seed)
    kinds: set[str] = set()
    done = 0
    # Nobody else writes: what is there before a step is what was read after the last one.
    seen = {key: read(store.session(key)) for key in KEYS}
    for n in range(160):
        key, other = random.sample(KEYS, 2)
        session, beside = store.session(key), store.session(other)
        before, there = seen[key], seen[other]
        face = both[n % 2]
        possible = operations(
            face(session),
            partial(face(beside).fork, key, random.randint(0, there.version.head)),
            before,
            random,
            f"{n}",
        )
        few = ("clear", "erase")
        weights = [0.3 if name in few else 1 for name in NAMES]
        name = random.choices(NAMES, weights)[0] if n > 8 else "append more"
        recorder.taken()
        try:
            possible[name]()
        except OnrecordError:
            failed = True
        else:
            failed = False
        changes = recorder.taken()
        assert not (failed and changes), "what was refused has changed nothing"
        assert {change.name.key for change in changes} <= {key}
        seen[key] = read(session)
        compare(before, changes, seen[key])
        assert read(beside) == there
        kinds |= {change.kind for change in changes}
        done += not failed
    assert done > 80
    assert kinds >= set(get_args(Kind)) - {"import", "erase", "fork", "create"}


def test_sessions_that_come_and_go_as_a_whole(
    store: Store, recorder: Recorder, face: Face, tmp_path: Path
) -> None:
    path = tmp_path / "all.jsonl"
    session, whole = store.session("a"), face(store)
    session.append([("user", f"word {n}") for n in range(20)])
    session.delete(3)
    session.archive([2, 3, 4, 11])
    fork = store.session("b")
    never = read(fork)
    recorder.taken()
    face(session).fork("b", 15)
    changes = recorder.taken()
    assert [change.kind for change in changes] == ["fork"]
    compare(never, changes, read(fork))
    before = read(session)
    face(session).export(path)
    assert recorder.taken() == []
    face(session).erase(thorough=False)
    changes = recorder.taken()
    assert [change.kind for change in changes] == ["erase"]
    gone = read(session)
    compare(before, changes, gone)
    assert changes[0].after == gone.version
    whole.import_(path)
    changes = recorder.taken()
    assert {change.kind for change in changes} == {"import"}
    compare(gone, changes, read(session))
    whole.import_(path)
    assert recorder.taken() == [], "it is all there"
    fork.update(expires_in=timedelta(microseconds=1))
    before = read(fork)
    recorder.taken()
    whole.prune()
    changes = recorder.taken()
    assert [(change.kind, change.name) for change in changes] == [("erase", fork.name)]
    compare(before, changes, read(fork))


def test_what_is_created_is_told_once(store: Store, recorder: Recorder, face: Face) -> None:
    session = store.session("a")
    before = read(session)
    face(session).create(title="A title")
    (change,) = recorder.taken()
    assert change.kind == "create"
    compare(before, [change], read(session))
    with pytest.raises(OnrecordError):
        face(session).create()
    assert recorder.taken() == []


def test_nobody_is_told_of_what_changes_nothing(
    store: Store, recorder: Recorder, face: Face
) -> None:
    session = face(store.session("a"))
    known = Message("user", "hello", id="x")
    session.append(known)
    assert [change.added for change in recorder.taken()] == [((1, 1),)]
    session.append(known)
    session.append([])
    session.archive([7])
    session.unarchive([1])
    session.tail(5)
    store.compact(quiet_for=0)
    assert recorder.taken() == []


def test_an_append_whose_answer_was_lost_is_told_once(
    store: Store, recorder: Recorder, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.session("a")
    session.append(("user", "first"))
    before = read(session)
    recorder.taken()
    perform, aperform, lost = store._perform, store._aperform, iter([True])

    def lose(step: object) -> None:
        if isinstance(step, Cold) and step.writes and next(lost, False):
            raise Unavailable("The answer was lost.", outcome_unknown=True)

    def performed(step: Any) -> Any:
        answer = perform(step)
        lose(step)
        return answer

    async def aperformed(step: Any) -> Any:
        answer = await aperform(step)
        lose(step)
        return answer

    monkeypatch.setattr(store, "_perform", performed)
    monkeypatch.setattr(store, "_aperform", aperformed)
    face(session).append([("user", "second"), ("user", "third")])
    (change,) = recorder.taken()
    assert (change.kind, change.added, change.rows) == ("append", ((2, 3),), ())
    compare(before, [change], read(session))


def test_what_the_cache_is_told_is_made_of_it(
    store: Store, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not store._hot.marks:
        pytest.skip("This cache is told nothing.")
    told: list[Any] = []
    publish = type(store._hot).publish

    def noted(self: Any, identity: bytes, token: str, publication: Any, *given: Any) -> Any:
        told.append(publication)
        return publish(self, identity, token, publication, *given)

    monkeypatch.setattr(type(store._hot), "publish", noted)
    session = store.session("a")
    session.append([("user", "one"), ("user", "two")])
    session.edit(1, ("user", "other"))
    session.rewind(1)
    changes = recorder.taken()
    assert told == [change.publication for change in changes]
    assert [len(publication.rows) for publication in told] == [2, 0, 0]
    assert told[0].lineage


TELL_NOTHING = {
    "flows/maintenance/distribute.py": "only tables that hold nothing are made anew",
    "flows/maintenance/compact.py": "what is sealed says what it said",
    "flows/maintenance/train.py": "what is released says what it said",
    "flows/maintenance/maintain.py": "of maintenance, and of no session",
    "flows/feed": "of readers, and of no session",
    "flows/items": "of items, and of no session",
    "flows/search": "the index follows what was said, and no reader sees it",
    "flows/maintenance/index.py": "the same",
    "flows/maintenance/erase.py": "of readers, and of no session",
    "flows/maintenance/prune.py": "of items, and of who is looked at, and of no session",
    "flows/sessions/append.py _seal": "what is sealed says what it said",
    "flows/leases.py lease_of": "moves the fence, which no reader sees",
    "flows/suspend.py": "of the cache, and of no session",
    "flows/checkpoints": "of threads, which are no sessions",
    "flows/turns": "who holds a session changes nothing that is read of it",
}


def test_every_step_that_writes_says_what_it_changes() -> None:
    silent = set()
    for file in (CORE / "flows").rglob("*.py"):
        tree = ast.parse(file.read_text())
        for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "Cold":
                    said = {keyword.arg for keyword in node.keywords}
                    if "writes" in said and "change_of" not in said:
                        silent.add(f"{file.relative_to(CORE).as_posix()} {function.name}")
    unknown = {place for place in silent if not any(map(place.startswith, TELL_NOTHING))}
    assert not unknown
    assert all(any(place.startswith(known) for place in silent) for known in TELL_NOTHING)
