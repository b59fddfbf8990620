"""Older messages are in segments, and nobody can tell: the codec, the seam, and many at once.

The whole session API is played against a plain list, with segments of three messages, so that
every operation meets the seam at every position.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onrecord import (
    ANY,
    Cleared,
    Conflict,
    IdReused,
    Message,
    Misconfigured,
    Session,
    Since,
    Store,
    Unavailable,
    Version,
    operations,
)
from onrecord.codec import Dictionary, compression, decode, encode, same_content
from onrecord.codec.segment import Segment, dictionary_of, pack, unpack
from onrecord.errors import Damaged
from onrecord.flow import Cold, run
from onrecord.ledger.maintenance import erasing
from onrecord.ledger.sessions import (
    dictionaries,
    sealing,
    sessions,
)
from onrecord.ledger.sessions import messages as rows_of
from onrecord.stored.messages import MessageRow
from onrecord.testing import Log, check, load
from onrecord.window import Window
from tests.appending import look, write
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.test_crash_points import outcome

SEGMENT = 3
EXAMPLES = hypothesis.settings().max_examples
any_text = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.fixture(scope="module", autouse=True)
def _tiny_segments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", SEGMENT)
        yield


# -- the codec -----------------------------------------------------------------------------------


def learned(number: int) -> Dictionary:
    """A dictionary of small talk; another one for another number."""
    random = Random(number)
    words = [f"word{random.randrange(200)}" for _ in range(60)]
    samples = [
        " ".join(random.choices(words, k=30)).encode() + bytes((n % 251,)) for n in range(200)
    ]
    content = compression.learn(samples, 4_096)
    assert content is not None
    return Dictionary(number, content)


DICTIONARIES = {number: learned(number) for number in (1, 2, 3)}


def frame_of(text: str, role: str = "user", compression: Any = "zstd") -> bytes:
    return encode(Message(role, text), compression)[0]


messages_as_frames = st.builds(
    frame_of,
    any_text | st.text("ab ", min_size=450, max_size=600),
    st.sampled_from(["user", "assistant", "tool", "\ud800"]),
    st.sampled_from(["zstd", "none"]),
)
damaged_frames = st.binary(max_size=40) | st.builds(
    lambda frame, at, by: (
        frame[: at % len(frame)]
        + bytes((frame[at % len(frame)] ^ by,))
        + frame[at % len(frame) + 1 :]
    ),
    messages_as_frames,
    st.integers(0, 1_000),
    st.integers(1, 255),
)
whole_numbers = st.integers(0, 2**63 - 1)
rows_of_a_segment = st.lists(
    st.tuples(
        st.integers(0, 2**32),
        messages_as_frames | damaged_frames | st.none(),
        st.none() | any_text.filter(lambda text: text.isprintable()),
        st.just(1_700_000_000_000_000) | st.integers(-(2**62), 2**62),
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**15 - 1),
        st.booleans(),
    ),
    min_size=1,
    max_size=9,
)


@given(
    rows_of_a_segment,
    st.integers(1, 2**32 - 10),
    st.sampled_from([None, 1, 6, 17]),
    st.sampled_from([None, 1, 2]),
)
def test_what_is_sealed_comes_out_equal(
    columns: list[tuple[Any, ...]], first: int, level: int | None, number: int | None
) -> None:
    rows = tuple(MessageRow(first + n, *columns[n][:6]) for n in range(len(columns)))
    sealed = Segment(rows, tuple(column[6] for column in columns))
    dictionary = None if number is None else DICTIONARIES[number]
    stored, raw = pack(sealed, level, dictionary)
    assert len(stored) <= raw + 8
    assert dictionary_of(stored) in (None, number)
    found = unpack(stored, first, DICTIONARIES.get)
    assert found.opens_turn == sealed.opens_turn
    for before, after in zip(rows, found.rows, strict=True):
        assert (before.seq, before.epoch, before.id, before.created, before.tokens) == (
            after.seq, after.epoch, after.id, after.created, after.tokens
        )  # fmt: skip
        assert before.counter == after.counter
        if before.frame is None or after.frame is None:
            assert before.frame is after.frame
            continue
        try:
            said = decode(before.frame)
        except Damaged:
            assert after.frame == before.frame, "the very bytes are kept"
            with pytest.raises(Damaged):
                decode(after.frame)
        else:
            assert decode(after.frame) == said
            assert same_content(before.frame, after.frame)
    # And sealed again, as compaction does, it is still the same.
    again = unpack(pack(found, 1, None)[0], first, DICTIONARIES.get)
    assert again == found


@given(rows_of_a_segment, st.sampled_from([None, 6]), st.sampled_from([None, 1]), st.data())
def test_any_changed_byte_of_a_segment_is_noticed(
    columns: list[tuple[Any, ...]], level: int | None, number: int | None, data: st.DataObject
) -> None:
    rows = tuple(MessageRow(1 + n, *columns[n][:6]) for n in range(len(columns)))
    sealed = Segment(rows, tuple(column[6] for column in columns))
    stored, _ = pack(sealed, level, None if number is None else DICTIONARIES[number])
    at = data.draw(st.integers(0, len(stored) - 1))
    changed = bytearray(stored)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        unpack(bytes(changed), 1, DICTIONARIES.get)
    with pytest.raises(Damaged):
        unpack(stored[:at], 1, DICTIONARIES.get)


def test_a_segment_needs_its_own_dictionary() -> None:
    text = " ".join(f"word{n}" for n in range(40))
    rows = tuple(MessageRow(n, 0, frame_of(text), None, n, 1, 1) for n in range(1, 4))
    stored, _ = pack(Segment(rows, (True,) * 3), 6, DICTIONARIES[1])
    assert dictionary_of(stored) == 1
    with pytest.raises(Damaged, match="dictionary 1, which is missing"):
        unpack(stored, 1, lambda _: None)


# -- a plain list as the model -------------------------------------------------------------------


@dataclass
class Model:
    """A session as a list: a place holds a message, or None where it was deleted."""

    places: list[Message | None] = field(default_factory=list)
    archived: set[int] = field(default_factory=set)
    epoch: int = 0
    freed: list[Message] = field(default_factory=list)
    """Messages with ids of their own that were cut off: their ids may be given again."""

    @property
    def head(self) -> int:
        return len(self.places)

    @property
    def messages(self) -> list[Message]:
        return [message for message in self.places if message is not None]

    def at(self, seq: int) -> Message | None:
        return self.places[seq - 1] if 1 <= seq <= self.head else None

    def cut(self, head: int) -> None:
        self.freed += [m for m in self.places[head:] if m is not None and m.id and "." not in m.id]
        del self.places[head:]

    def rewind(self, head: int) -> None:
        self.cut(head)
        self.archived = {seq for seq in self.archived if seq <= head}
        self.epoch += 1

    def replace(self, after: int, archived: bool | None) -> None:
        if archived is None:
            self.rewind(after)
            return
        goes = {
            seq for seq in range(after + 1, self.head + 1) if (seq in self.archived) == archived
        }
        stays = set(range(after + 1, self.head + 1)) - goes
        head = max(stays, default=after)
        self.cut(head)
        for seq in goes:
            if seq <= head:
                if (message := self.at(seq)) is not None and "." not in (message.id or "."):
                    self.freed.append(message)
                self.places[seq - 1] = None
        self.archived = {s for s in self.archived if s <= (after if archived else head)}
        self.epoch += 1

    def chosen(
        self, after: int | None, before: int | None, limit: int | None, archived: bool | None
    ) -> list[Message]:
        found = [
            m
            for m in self.messages
            if (after or 0) < (m.seq or 0)
            and (before is None or (m.seq or 0) < before)
            and (archived is None or (m.seq in self.archived) == archived)
        ]
        if limit is None:
            return found
        if before is not None and after is None:
            return found[max(len(found) - limit, 0) :]
        return found[:limit]


class World:
    """One database and those who have it open: two that compress, one that does not."""

    def __init__(self, open_store: Callable[..., Store]) -> None:
        self.stores = [
            open_store(),
            open_store(),
            open_store(compression="none"),
        ]
        self._numbers = itertools.count()

    def begin(self) -> str:
        """A name nobody had."""
        return f"chat {next(self._numbers)}"


def learn(store: Store, seed: int) -> None:
    """A new dictionary, as ``train()`` would keep one: learning itself takes long."""
    content = DICTIONARIES[1 + seed % 3].content
    store._ledger.write(lambda txn: dictionaries.add(txn, content, {}))
    store._ledger.read(lambda txn: txn.dictionaries.refreshed(txn))


class Play:
    """One example: operations, each on the database and on the list."""

    def __init__(self, world: World, data: st.DataObject) -> None:
        self.world = world
        self.data = data
        self.name = world.begin()
        self.model = Model()
        self.store = world.stores[0]
        self.ids = itertools.count()
        self.created = False

    @property
    def session(self) -> Session:
        return self.store.session(self.name, user="ada")

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(strategy)

    def somewhere(self) -> int:
        """A place, more often one near the seam or an end."""
        return int(self.draw(st.integers(0, self.model.head)))

    def new(self) -> list[dict[str, Any]]:
        count = self.draw(st.sampled_from([1, 1, 2, 3, 4, 7]))
        return [self.one() for _ in range(count)]

    def one(self) -> dict[str, Any]:
        kind = self.draw(st.integers(0, 5))
        text = {
            0: f"word{next(self.ids)}",
            1: f"word{next(self.ids)} " * 60,
            2: "half \ud83d of a pair",
            3: "",
        }.get(kind, f"what was said, number {next(self.ids)}")
        message: dict[str, Any] = {
            "role": self.draw(st.sampled_from(["user", "assistant", "user", "system"])),
            "content": text,
        }
        if kind in (1, 4):
            message["id"] = f"id {self.name} {next(self.ids)}"
        if kind == 5:
            message["metadata"] = {"number": next(self.ids), "odd": b"\x00\xff"}
        return message

    # -- operations ------------------------------------------------------------------------------

    def other_hands(self) -> None:
        self.store = self.draw(st.sampled_from(self.world.stores))

    def append(self) -> None:
        given = self.new()
        archived = self.draw(st.sampled_from([False, False, False, True]))
        expected = self.draw(
            st.sampled_from([None, self.model.head, Version(self.model.epoch, self.model.head),
                             Since(Version(self.model.epoch, 0))])
        )  # fmt: skip
        self.takes(given, self.session.append(given, archived=archived, expected=expected))
        if archived:
            self.model.archived |= set(range(self.model.head - len(given) + 1, self.model.head + 1))

    def takes(self, given: Sequence[dict[str, Any]], stored: Sequence[Message]) -> None:
        assert [m.text for m in stored] == [m["content"] for m in given]
        head = self.model.head
        assert [m.seq for m in stored] == list(range(head + 1, head + 1 + len(given)))
        self.model.places += stored
        self.created = True

    def retry(self) -> None:
        """Of what was said lately: by ids of one's own, or by those that were handed out."""
        again = [m for m in self.model.messages[-40:] if self.draw(st.booleans())][-4:]
        if not again:
            return
        new = self.draw(st.sampled_from([[], [self.one()]]))
        stored = self.session.append([*again, *new])
        assert stored[: len(again)] == again
        self.takes(new, stored[len(again) :])

    def retry_what_was_deleted(self) -> None:
        gone = [seq for seq in range(1, self.model.head + 1) if self.model.at(seq) is None]
        if not gone:
            return
        prefix = self.session.append(("user", "to see the prefix"))
        self.model.places += prefix
        start = (prefix[0].id or "").split(".")[0]
        late = Message("user", "late", id=f"{start}.{self.model.epoch}.{gone[0]}")
        with pytest.raises(Cleared):
            self.session.append(late)

    def give_an_id_again(self) -> None:
        if not self.model.freed:
            return
        late = self.model.freed.pop()
        if any(late.id == m.id for m in self.model.messages):
            return
        again = {"role": "user", "content": "another", "id": late.id}
        self.takes([again], self.session.append(again))

    def edit(self) -> None:
        seq = self.somewhere()
        given = self.one()
        given.pop("id", None)
        before = self.model.at(seq)
        if before is None:
            with pytest.raises(Conflict):
                self.session.edit(seq, given)
            return
        edited = self.session.edit(seq, given)
        assert (edited.seq, edited.id, edited.created_at) == (seq, before.id, before.created_at)
        assert edited.text == given["content"]
        self.model.places[seq - 1] = edited
        self.model.epoch += 1

    def delete(self) -> None:
        seq = self.somewhere()
        before = self.model.at(seq)
        if before is None:
            with pytest.raises(Conflict):
                self.session.delete(seq)
            return
        assert self.session.delete(seq) == before
        self.model.places[seq - 1] = None
        self.model.epoch += 1

    def rewind(self) -> None:
        seq = self.somewhere()
        version = self.session.rewind(seq)
        if self.created:
            self.model.rewind(seq)
        assert version == (self.model.epoch, self.model.head)

    def clear(self) -> None:
        self.session.clear()
        if self.created:
            self.model.rewind(0)

    def replace(self) -> None:
        after = self.somewhere()
        archived = self.draw(st.sampled_from([None, True, False]))
        given = self.new()
        stored = self.session.replace(given, after=after, archived=archived)
        self.model.replace(after, archived)
        self.takes(given, stored)
        if archived:
            self.model.archived |= set(range(self.model.head - len(given) + 1, self.model.head + 1))

    def archive(self) -> None:
        seqs = self.draw(st.sets(st.integers(1, self.model.head + 2), max_size=6))
        new = [
            message
            for seq in sorted(seqs - self.model.archived)
            if (message := self.model.at(seq)) is not None
        ]
        assert self.session.archive(seqs) == new
        self.model.archived |= {message.seq or 0 for message in new}

    def unarchive(self) -> None:
        seqs = self.draw(st.sets(st.integers(1, self.model.head + 2), max_size=6))
        self.session.unarchive(seqs)
        self.model.archived -= seqs

    def compact(self) -> None:
        self.store.compact(quiet_for=0)
        assert self.store.stats().rows == 0

    def compact_again(self) -> None:
        self.store.compact(quiet_for=0, again=True)

    def train(self) -> None:
        if self.store is not self.world.stores[2]:
            learn(self.store, next(self.ids))

    def erase(self) -> None:
        receipt = self.session.erase(thorough=False)
        assert bool(receipt.removed) == self.created
        if self.created:
            self.model = Model(epoch=self.model.epoch + 1)
            self.created = False

    # -- reads -----------------------------------------------------------------------------------

    def agrees(self) -> None:
        """What is cheap, after every operation: through the next one's hands as well."""
        model = self.model
        for store in self.world.stores[:2]:
            session = store.session(self.name, user="ada")
            assert session.tail(4) == model.messages[-4:]
            assert session.version() == (model.epoch, model.head)
        assert self.session.messages() == model.messages

    def reads(self) -> None:
        """One read of each kind, somewhere."""
        model, session = self.model, self.session
        after = self.draw(st.none() | st.integers(0, model.head + 1))
        before = self.draw(st.none() | st.integers(0, model.head + 2))
        limit = self.draw(st.none() | st.integers(0, model.head + 1))
        for archived in (None, True, False):
            found = session.messages(after=after, before=before, limit=limit, archived=archived)
            assert found == model.chosen(after, before, limit, archived)
            assert session.count(archived=archived) == len(model.chosen(None, None, None, archived))
        n = self.draw(st.integers(0, model.head + 1))
        assert session.tail(n) == model.messages[max(len(model.messages) - n, 0) :]
        assert list(session.scan(after=n)) == model.chosen(n, None, None, None)
        limits = {self.draw(st.sampled_from(["messages", "turns", "tokens"])): n + 1}
        assert list(session.window(**limits)) == list(Window.of(model.messages, **limits))

    def all_counts(self) -> None:
        info, messages = self.session.info(), self.model.messages
        assert info.messages == len(messages)
        assert info.turns == sum(message.opens_turn for message in messages)
        assert info.tokens == sum(message.tokens or 0 for message in messages)
        assert info.version == (self.model.epoch, self.model.head)

    def every_range(self) -> None:
        """At every position, in the end."""
        head = self.model.head
        for seq in range(head + 2):
            found = self.session.messages(after=seq, limit=2)
            assert found == self.model.chosen(seq, None, 2, None)
            found = self.session.messages(before=seq, limit=2)
            assert found == self.model.chosen(None, seq, 2, None)


WRITES = (
    [Play.append] * 6
    + [Play.compact] * 3
    + [Play.retry, Play.edit, Play.delete, Play.rewind, Play.replace, Play.archive] * 2
    + [
        Play.clear, Play.unarchive, Play.compact_again, Play.train, Play.erase, Play.other_hands,
        Play.give_an_id_again, Play.retry_what_was_deleted,
    ]
)  # fmt: skip


def play(world: World, data: st.DataObject) -> None:
    if world.stores[0].stats().sessions:  # an example that failed leaves what it had
        world.stores[0].erase(tenant=ANY, user=ANY, agent=ANY, thorough=False)
    example = Play(world, data)
    for operation in data.draw(st.lists(st.sampled_from(WRITES), min_size=1, max_size=14)):
        hypothesis.note(operation.__name__)
        operation(example)
        example.agrees()
    example.reads()
    example.all_counts()
    example.every_range()
    assert [str(problem) for problem in world.stores[0].verify()] == []
    receipt = world.stores[1].erase(tenant=ANY, user=ANY, agent=ANY, thorough=False)
    assert receipt.removed.get("onrecord_sessions", 0) == example.created
    assert world.stores[0].stats().messages == 0


BACKENDS = ["sqlite", "sqlite cached", "sqlite strict", "postgres", "postgres cached"]


@pytest.fixture(scope="module", params=BACKENDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    kind, _, caching = request.param.partition(" ")
    options: dict[str, Any] = {"durability": "normal"} if kind == "sqlite" else {"pool_size": 2}
    if caching:
        redis: RedisServer = request.getfixturevalue("redis_server")
        options |= {"cache": redis.url, "consistency": caching}
    with ExitStack() as later:
        if kind == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('segments') / 'x.db'}"
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            url = later.enter_context(server.database(f"segments_{caching or 'plain'}"))

        def open_store(**more: Any) -> Store:
            return later.enter_context(Store(url, **options, **more))

        yield World(open_store)


@settings(max_examples=max(EXAMPLES // 4, 5))
@given(st.data())
def test_a_session_is_a_list_on_both_sides_of_the_seam(world: World, data: st.DataObject) -> None:
    play(world, data)


def test_as_many_ids_are_known_as_was_promised(each_store: Callable[[], Store]) -> None:
    """Any of the newest 64, in however many segments, also deleted ones (I5)."""
    store = each_store()
    session = store.session("chat")
    said = [Message("user", str(n), id=f"id {n}") for n in range(70)]
    for n in range(0, 70, 5):
        session.append(said[n : n + 5])
    session.delete(30)
    for _ in range(2):
        stored = {message.id: message for message in session.messages()}
        for message in said[6:]:
            if message.id == "id 29":
                with pytest.raises(Cleared):
                    session.append(message)
            else:
                assert session.append(message) == [stored[message.id]]
        with pytest.raises(IdReused):
            session.append(Message("user", "another", id="id 6"))
        store.compact(quiet_for=0)
    assert session.count() == 69


def test_an_append_that_is_said_again_is_found_whole(each_store: Callable[[], Store]) -> None:
    """However long it was, and however much of it has been sealed since."""
    store = each_store()
    session = store.session("chat")
    session.append(("user", "before"))
    said = [Message("user", str(n), id=f"id {n}") for n in range(300)]
    stored = session.append(said)
    session.append([("user", "after")] * 40)
    for _ in range(2):
        assert session.append(said) == stored
        changed = [Message("user", "another", id="id 0"), *said[1:]]
        with pytest.raises(IdReused):
            session.append(changed)
        store.compact(quiet_for=0)
    more = session.append([*said, Message("user", "300", id="id 300")])
    assert more[:-1] == stored
    assert session.count() == 342


def test_ids_that_were_handed_out_are_known_for_good(each_store: Callable[[], Store]) -> None:
    session = each_store().session("chat")
    for n in range(0, 90, 5):
        session.append([("user", str(n + i)) for i in range(5)])
    session.delete(4)
    read = session.messages()
    assert session.append(read) == read
    assert [m.seq for m in session.append([*read[10:20], ("user", "new")])][-1] == 91


# -- answers that are lost while it is sealed ----------------------------------------------------


@pytest.mark.parametrize("what", ["unnamed", "named", "half named"])
@pytest.mark.parametrize("performed", [True, False], ids=["performed", "not performed"])
@pytest.mark.parametrize("sealed", ["all of it", "a part of it", "compacted"])
def test_an_answer_that_is_lost_while_it_is_sealed(
    each_store: Callable[[], Store], performed: bool, sealed: str, what: str
) -> None:
    """Once, or the admission that nobody knows; and then a retry with ids is once."""
    store, other = each_store(), each_store()
    session, others = (one.session("chat") for one in (store, other))
    session.append([("user", "one"), ("assistant", "two")])
    batch: list[Any] = [
        {"role": "user", "content": f"new {n}"}
        | ({"id": f"id {n}"} if what == "named" or (what == "half named" and n) else {})
        for n in range(3)
    ]

    def meanwhile() -> None:
        if sealed == "compacted":
            other.compact(quiet_for=0)
        else:
            others.append(
                [("user", f"other {n}") for n in range(4 if sealed == "all of it" else 2)]
            )

    flow = operations.append(session._desk, session.name, batch, None)
    answer = outcome(flow, store, performed=performed, meanwhile=meanwhile)
    texts = [message.text for message in others.messages()]
    new = [text for text in texts if text.startswith("new")]
    if isinstance(answer, Exception):
        assert isinstance(answer, Unavailable)
        assert answer.outcome_unknown
        assert new == ([message["content"] for message in batch] if performed else [])
    else:
        assert [message.text for message in answer] == new == [m["content"] for m in batch]
        assert [m for m in others.messages() if m.text.startswith("new")] == answer
    if what == "named":
        again = session.append(batch)
        assert [m for m in others.messages() if m.text.startswith("new")] == again
        assert len(again) == 3
    assert [str(problem) for problem in store.verify()] == []


def test_an_append_that_ends_before_it_seals(each_store: Callable[[], Store]) -> None:
    """A process that dies between the two leaves a longer tail, and the next one seals it."""

    class Killed(BaseException):
        pass

    def perform(step: Any) -> Any:
        if isinstance(step, Cold) and getattr(step.work, "func", None) is sealing.seal_oldest:
            raise Killed
        return store._perform(step)

    store, other = each_store(), each_store()
    killed = 0
    session = store.session("chat")
    for n in range(7):
        flow = operations.append(
            session._desk, session.name, [("user", f"{n}.{i}") for i in range(4)], None
        )
        try:
            run(flow, perform)
        except Killed:
            killed += 1
        found = other.session("chat").messages()
        assert len(found) == 4 * (n + 1)
        assert session.messages() == found
    assert killed
    assert store.stats().segments == 0
    session.append(("user", "the next one"))
    assert store.stats().segments == 8
    assert store.stats().rows == 5
    assert [m.seq for m in other.session("chat").messages()] == list(range(1, 30))
    assert [str(problem) for problem in store.verify()] == []


# -- many at once --------------------------------------------------------------------------------


def test_many_append_while_it_is_sealed_and_trained(
    each_store: Callable[[], Store], tmp_path: Path
) -> None:
    """Three writers, two readers, and one who compacts, learns and compacts again."""
    failures: list[BaseException] = []
    done = threading.Event()

    def guarded(work: Callable[[Store], None]) -> threading.Thread:
        def run() -> None:
            try:
                work(each_store())
            except BaseException as fault:
                failures.append(fault)

        return threading.Thread(target=run)

    def writer(name: str) -> Callable[[Store], None]:
        def work(store: Store) -> None:
            with Log(tmp_path / f"{name}.jsonl") as log:
                write(store.session("shared", user="ada"), log, 15, -1, Random(name))

        return work

    def reader(name: str) -> Callable[[Store], None]:
        def work(store: Store) -> None:
            with Log(tmp_path / f"{name}.jsonl") as log:
                random = Random(name)
                while not done.is_set():
                    look(store.session("shared", user="ada"), log, random)

        return work

    def keeper(store: Store) -> None:
        number = 0
        while not done.is_set():
            number += 1
            if number % 3 == 0:
                learn(store, number)
            store.compact(quiet_for=0, again=number % 4 == 0)

    writers = [guarded(writer(f"w{n}")) for n in range(3)]
    others = [guarded(reader("r1")), guarded(reader("r2")), guarded(keeper)]
    for thread in others + writers:
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    for thread in others:
        thread.join(60)
        assert not thread.is_alive()
    assert failures == []
    assert [str(violation) for violation in check(load(tmp_path.glob("*.jsonl")))] == []
    store = each_store()
    assert [str(problem) for problem in store.verify()] == []
    messages = store.session("shared", user="ada").messages()
    assert [m.seq for m in messages] == list(range(1, len(messages) + 1))


class Interrupted:
    """A transaction in which something happens after one of its statements."""

    def __init__(self, txn: Any, after: int, meanwhile: Callable[[], object]) -> None:
        self._txn = txn
        self._left = after
        self._meanwhile = meanwhile

    def __getattr__(self, what: str) -> Any:
        return getattr(self._txn, what)

    def rows(self, *given: Any) -> Any:
        return self._counted(self._txn.rows(*given))

    def first(self, *given: Any) -> Any:
        return self._counted(self._txn.first(*given))

    def _counted(self, answer: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self._meanwhile()
        return answer


def _sealed(session: Session) -> None:
    def seal(txn: Any) -> None:
        locked = sessions.lock(txn, session.name)
        assert locked is not None
        sealing.seal_all(txn, locked)

    session.store._ledger.write(seal)


def _said_more(session: Session) -> None:
    session.append([("user", f"more {n}") for n in range(5)])


def _rewound(session: Session) -> None:
    session.rewind(4)
    session.append([("user", f"instead {n}") for n in range(9)])


def _erased(session: Session) -> None:
    session.store._ledger.write(lambda txn: erasing.remove(txn, session.name))
    session.append([("user", f"anew {n}") for n in range(9)])


@pytest.mark.parametrize(
    "meanwhile", [_sealed, _said_more, _rewound, _erased, lambda session: session.delete(2)],
    ids=["sealed", "said more", "rewound", "erased", "deleted"],
)  # fmt: skip
def test_what_happens_between_two_statements_of_a_reader(
    postgres_url: str, meanwhile: Callable[[Session], object]
) -> None:
    """PostgreSQL, where each statement sees another moment: one state or the other, no mixture."""
    bounds: list[dict[str, Any]] = [
        {},
        {"limit": 5},
        {"limit": 11},
        {"limit": 7, "newest": True},
        {"limit": 4, "newest": True},
        {"after": 3, "limit": 8},
        {"after": 5, "before": 12},
        {"before": 13, "limit": 6, "newest": True},
    ]
    with Store(postgres_url, pool_size=2) as store, Store(postgres_url, pool_size=2) as other:

        def read(name: Any, bound: dict[str, Any], after: int, happens: Any) -> list[Message]:
            seen = store._ledger.read(
                lambda txn: rows_of.seen(Interrupted(txn, after, happens), name, **bound)  # type: ignore[arg-type]
            )
            return store._desk.build.messages(seen, seen.rows)

        for number, bound in enumerate(bounds):
            for after in (1, 2, 3):
                session = other.session(f"chat {number} {after}")
                session.append([("user", str(n)) for n in range(11)])
                session.append([("user", str(n)) for n in range(11, 14)])
                before = read(session.name, bound, 0, None)
                found = read(session.name, bound, after, lambda s=session: meanwhile(s))
                then = read(session.name, bound, 0, None)
                assert found in (before, then)
                assert [m.seq for m in found] == sorted({m.seq or 0 for m in found})


@pytest.mark.parametrize("archived", [True, False])
def test_what_happens_between_two_statements_of_a_count(postgres_url: str, archived: bool) -> None:
    with Store(postgres_url, pool_size=2) as store, Store(postgres_url, pool_size=2) as other:
        for after in range(1, 8):
            for meanwhile in (_sealed, _rewound):
                session = other.session(f"chat {after} {meanwhile.__name__}")
                session.append([("user", str(n)) for n in range(11)])
                session.append([("user", str(n)) for n in range(11, 14)])
                session.archive([2, 3, 9, 10, 13])
                before = session.count(archived=archived)
                step = next(operations.count(store._desk, session.name, archived))
                assert isinstance(step, Cold)
                work = step.work
                found, _ = store._ledger.read(
                    lambda txn, work=work, after=after, change=meanwhile, s=session: work(  # type: ignore[misc]
                        Interrupted(txn, after, lambda: change(s))
                    )
                )
                assert found in (before, session.count(archived=archived))


# -- settings, dictionaries, numbers -------------------------------------------------------------


def small_talk(name: str, count: int) -> list[tuple[str, str]]:
    """What one says, in words that all have in common."""
    random = Random(name)
    words = [f"word{n}" for n in range(150)]
    return [
        ("user" if n % 2 else "assistant", f"{name}: {' '.join(random.choices(words, k=15))}")
        for n in range(count)
    ]


def test_compression_is_a_choice_that_may_change(world: World) -> None:
    zstd, _, plain = world.stores
    key = world.begin()
    texts: list[str] = []
    for n, store in enumerate([plain, zstd, plain, zstd]):
        session = store.session(key)
        said = small_talk(f"part {n}", 9)
        texts += [text for _, text in said]
        session.append(said)
        store.compact(quiet_for=0)
    for store in world.stores:
        assert [m.text for m in store.session(key).messages()] == texts
    sizes = []
    for store in (plain, zstd):
        store.compact(quiet_for=0, again=True)
        sizes.append(store.stats().stored_bytes)
        assert [m.text for m in zstd.session(key).messages()] == texts
    assert sizes[1] < 0.8 * sizes[0]
    assert plain.stats().messages == len(texts)
    with pytest.raises(Misconfigured, match="zstd"):
        plain.train()
    zstd.session(key).erase(thorough=False)


def test_what_is_learned_saves_room_and_what_was_known_stays_readable(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with (
        Store(url, durability="normal") as store,
        Store(url, durability="normal") as other,
    ):
        _learned_twice(store, other)


def _learned_twice(store: Store, other: Store) -> None:
    keys = [f"s{n}" for n in range(54)]
    for key in keys:
        store.session(key).append(small_talk(key, 4))
    before = {key: store.session(key).messages() for key in keys}
    store.compact(quiet_for=0)
    begun = store.stats()
    first = store.train()
    assert first.dictionary is not None
    assert first.bytes_after < first.bytes_before
    assert first.messages == 4 * len(keys)
    for key in keys[:20]:  # some with the first, some with the second, some with none
        store.session(key).append(small_talk(f"more {key}", 3))
        before[key] = store.session(key).messages()
    store.compact(quiet_for=0)
    second = store.train()
    assert second.dictionary == first.dictionary + 1
    for key in keys[10:40]:
        other.session(key).append(small_talk(f"and more {key}", 3))
        before[key] = other.session(key).messages()
    assert store.stats().dictionaries == 2
    for one in (store, other):
        assert {key: one.session(key).messages() for key in keys} == before
    store.compact(quiet_for=0, again=True)
    ended = store.stats()
    assert ended.saving > begun.saving
    for one in (store, other):
        assert {key: one.session(key).messages() for key in keys} == before
    assert [str(problem) for problem in store.verify()] == []
    store.erase(user="", thorough=False)
    assert other.stats().dictionaries == 0


def test_two_who_learn_at_once(each_store: Callable[[], Store]) -> None:
    stores = [each_store(), each_store()]
    sample = [small_talk(f"sample {n}", 2) for n in range(50)]
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda store=store: found.append(store.train(sample)))
        for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(training.dictionary for training in found) == [1, 2]
    for n, store in enumerate(stores):
        store.session(f"s{n}").append(small_talk(f"s{n}", 8))
    fresh = each_store()
    for n, store in enumerate(stores):
        assert fresh.session(f"s{n}").messages() == store.session(f"s{n}").messages()
    assert [str(problem) for problem in fresh.verify()] == []


def test_the_numbers_add_up(each_store: Callable[[], Store]) -> None:
    store = each_store()
    for user in ("ada", "bob"):
        for key in ("one", "two"):
            session = store.session(key, user=user)
            session.append(small_talk(f"{user} {key}", 8))
            session.append(("user", "x" * 2_000))
            session.delete(2)
    whole = store.stats()
    parts = [store.stats(user=user) for user in ("ada", "bob")]
    for name in ("sessions", "messages", "turns", "tokens", "rows", "raw_bytes", "stored_bytes",
                 "segments"):  # fmt: skip
        assert getattr(whole, name) == sum(getattr(part, name) for part in parts), name
    infos = store.sessions(user=ANY)
    assert (whole.sessions, whole.messages) == (4, sum(info.messages for info in infos))
    assert (whole.turns, whole.tokens) == (
        sum(info.turns for info in infos),
        sum(info.tokens for info in infos),
    )
    assert store.stats(user="nobody").messages == store.stats(user="nobody").raw_bytes == 0
    assert whole.raw_bytes > whole.stored_bytes > 0
    assert whole.disk_bytes > whole.stored_bytes
    raw = whole.raw_bytes
    store.compact(quiet_for=0)
    sealed = store.stats()
    assert sealed.rows == 0
    assert sealed.messages == whole.messages
    assert 0.5 * raw < sealed.raw_bytes < 1.2 * raw
    assert 0 < sealed.saving < 1
