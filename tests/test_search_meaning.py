"""Search by meaning: vectors come and go with what was said, and whoever makes them may fail."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from threading import Event
from typing import Any, Literal

import pytest

from onrecord import ANY, Hit, Hits, Misconfigured, Session, Store
from onrecord.flow import Cold
from onrecord.flows.search import field, meaning
from onrecord.flows.search import search as searching
from onrecord.ledger.database.transaction import Transaction

OpenStore = Callable[..., Store]
SAME = {"blicket": "animal", "daxon": "animal", "wuggle": "animal", "tovey": "vehicle",
        "gorpel": "vehicle", "feppin": "food", "zavver": "food", "nixle": "house",
        "pilkin": "house"}  # fmt: skip
DIMENSIONS = 96
MODES: tuple[Literal["auto", "both", "meaning"], ...] = ("auto", "both", "meaning")


class Meant:
    """An embedder that knows which words mean the same: others mean themselves."""

    name, dimensions = "meant", DIMENSIONS

    def __init__(self, seed: str = "") -> None:
        self.seed = seed
        self.shown: list[str] = []
        self.fails = False
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens once, while it embeds messages."""

    def embed(self, texts: Sequence[str], /) -> list[list[float]]:
        if self.fails:
            raise OSError("the model is out")
        self.shown += texts
        if len(texts) > 8:
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            meanwhile()
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        words = [SAME.get(word, word) for word in text.lower().replace("?", "").split()]
        vectors = [Random(self.seed + word) for word in words]
        return [sum(r.gauss(0, 1) for r in vectors) for _ in range(DIMENSIONS)]


class Later:
    """The same, only async."""

    name, dimensions = "later", DIMENSIONS

    async def embed(self, texts: Sequence[str], /) -> list[list[float]]:
        await asyncio.sleep(0)
        return Meant().embed(texts)


@pytest.fixture
def meant() -> Meant:
    return Meant()


@pytest.fixture
def store(each_store: OpenStore, meant: Meant) -> Store:
    return each_store(embedder=meant)


def talk(session: Session, more: int = 6) -> Session:
    session.append(
        [("user", "the daxon barks"), ("assistant", "gorpel"), ("user", "zavver please")]
    )
    session.append([("user", f"filling {n} words of no use") for n in range(more)])
    return session


def places(hits: Sequence[Hit]) -> list[tuple[str, int | None]]:
    return [(hit.info.key, hit.message.seq) for hit in hits]


def test_what_means_the_same_is_found(store: Store) -> None:
    session = talk(store.session("s", user="ada"))
    assert session.search("wuggle", mode="text") == []
    for mode in MODES:
        hits = session.search("wuggle", mode=mode)
        assert hits.complete
        assert places(hits)[0] == ("s", 1)
    assert places(session.search("tovey", mode="meaning"))[0] == ("s", 2)
    assert places(asyncio.run(session.asearch("feppin")))[0] == ("s", 3)
    assert session.search("", mode="meaning") == []
    assert "daxon" in session.recall("wuggle", min_score=0).text


def test_an_async_embedder_serves_both(each_store: OpenStore) -> None:
    store = each_store(embedder=Later())
    session = talk(store.session("s", user="ada"))
    assert places(session.search("wuggle"))[0] == ("s", 1)
    assert places(asyncio.run(session.asearch("tovey")))[0] == ("s", 2)
    talk(session)

    async def shown() -> int:
        return (await store.aembed()).messages

    assert asyncio.run(shown()) == 9


def test_what_it_has_seen_it_is_not_shown_again(store: Store, meant: Meant) -> None:
    talk(store.session("s", user="ada"), 37)
    hits = store.search("wuggle", user="ada", limit=5)
    assert not hits.complete, "too many to be shown by who searches"
    told: list[tuple[int, int]] = []
    report = store.embed(progress=told.append)
    assert (report.sessions, report.messages, told[-1]) == (1, 40, (1, 1))
    assert places(store.search("wuggle", user="ada"))[0] == ("s", 1)
    shown = len(meant.shown)
    assert store.embed().messages == 0
    hits = store.search("wuggle", user="ada")
    assert hits.complete
    assert len(meant.shown) == shown + 1, "the query alone"
    store.session("s", user="ada").append(("user", "a blicket"))
    assert places(store.search("wuggle", user="ada"))[0][1] in (1, 41)
    assert len(meant.shown) == shown + 3, "the new one, and another query"


@pytest.mark.parametrize("how", ["edit", "delete", "rewind", "clear", "erase", "replace"])
def test_what_is_gone_means_nothing(store: Store, how: str) -> None:
    session = store.session("s", user="ada")
    session.append([("user", "gorpel"), ("user", "the daxon barks"), ("user", "zavver")])
    store.embed()
    assert places(session.search("wuggle", mode="meaning"))[0] == ("s", 2)
    match how:
        case "edit":
            session.edit(2, ("user", "pilkin"))
        case "delete":
            session.delete(2)
        case "rewind":
            session.rewind(1)
        case "clear":
            session.clear()
        case "erase":
            session.erase()
        case "replace":
            session.replace([("user", "pilkin")], after=1)
    found = store.search("wuggle", user="ada", mode="meaning")
    assert "daxon" not in " ".join(hit.message.text for hit in found)
    assert store.verify() == []
    if how == "erase":
        assert counted(store, "vectors") == 0


def test_an_embedder_that_fails_leaves_words(
    store: Store, meant: Meant, caplog: pytest.LogCaptureFixture
) -> None:
    session = talk(store.session("s", user="ada"))
    assert store.health().embedder is not None
    meant.fails = True
    hits = session.search("daxon")
    assert places(hits)[0] == ("s", 1)
    assert not hits.complete
    session.search("daxon")
    assert caplog.text.count("words alone") == 1
    health = store.health().embedder
    assert health is not None
    assert not health.ok
    assert "the model is out" in (health.problem or "")
    assert store.health().ok, "nothing is lost"
    with pytest.raises(Exception, match="the model is out"):
        store.embed()
    meant.fails = False
    assert session.search("wuggle").complete
    health = asyncio.run(store.ahealth()).embedder
    assert health is not None
    assert health.ok


def test_two_embedders_stand_side_by_side(each_store: OpenStore) -> None:
    before, after = each_store(embedder=Meant()), each_store(embedder=Meant("other"))
    for store in (before, after):
        assert store.session("s").search("x", mode="meaning") == []
    talk(before.session("s", user="ada"))
    assert before.embed().messages == 9
    assert after.embed().messages == 9, "it sees everything anew"
    for store in (before, after):
        assert places(store.search("wuggle", user="ada"))[0] == ("s", 1)
    assert counted(before, "embedders") == 2
    assert after.embed(only=True).forgotten == 1
    assert counted(before, "embedders") == counted(before, "vectors") == 1
    assert before.search("wuggle", user="ada").complete, "it begins anew"


def test_vectors_stay_within_their_room(store: Store) -> None:
    session = store.session("s", user="ada")
    session.append([("user", f"word{n} more{n}") for n in range(64)])
    store.embed()
    assert counted(store, "vectors", "sum(length(body))") == 64 * DIMENSIONS // 8


def test_a_question_that_is_stored_is_not_near_itself(store: Store) -> None:
    """What a reader has is as if it had never been said, whole runs of vectors too."""
    session = store.session("s", user="ada")
    session.append([("user", f"filling {n} words of no use") for n in range(31)])
    session.append(("user", "the wuggle barks"))
    store.embed()
    known = session.messages()[-1]
    assert store._desk.meaning is not None
    asked = store._run(meaning.asked_of(store._desk.meaning, "daxon", math.inf))
    assert asked is not None

    def nearest(txn: Transaction, left_out: dict[str, int]) -> set[tuple[int, int]]:
        found = field.without(txn, field.of_sessions(txn, [session.name]), left_out)
        return set(meaning.near(txn, found, session.name, asked)[0].nearness)

    for left_out, there in ({}, True), ({known.id or "": 32}, False):
        places = store._perform(Cold(partial(nearest, left_out=left_out)))
        assert ((0, 32) in places) is there
        assert (0, 31) in places


def test_nobody_elses_vectors_count(store: Store) -> None:
    talk(store.session("s", user="ada"))
    before = store.search("wuggle", user="ada")
    for n in range(5):
        talk(store.session(f"{n}", user="bob"))
    store.embed()
    assert store.search("wuggle", user="ada") == before
    found = store.search("wuggle", tenant=ANY, user=ANY, agent=ANY)
    assert {hit.info.user for hit in found} == {"ada", "bob"}


def test_a_late_indexer_writes_no_vector_of_what_was_rewritten(store: Store, meant: Meant) -> None:
    session = talk(store.session("s", user="ada"))
    meant.meanwhile = lambda: session.edit(1, ("user", "pilkin"))
    assert store.embed().messages == 9
    assert counted(store, "vectors") == 0
    found = session.search("wuggle", mode="meaning")
    assert "daxon" not in " ".join(hit.message.text for hit in found)
    assert places(session.search("nixle", mode="meaning"))[0] == ("s", 1)


@pytest.mark.parametrize("mode", ["words", None, 3, "meaning", "both"])
def test_a_mode_that_cannot_be(each_store: OpenStore, mode: Any) -> None:
    with pytest.raises(Misconfigured):
        each_store().search("x", mode=mode)
    with pytest.raises(Misconfigured, match="embedder"):
        each_store().embed()


def test_damaged_vectors_cost_nobody_their_words(store: Store) -> None:
    session = talk(store.session("s", user="ada"))
    store.embed()
    work = partial_run("UPDATE {vectors} SET body = :body", body=b"\1\2\3")
    store._perform(Cold(work, writes=True))
    assert places(session.search("daxon"))[0] == ("s", 1)


def partial_run(statement: str, **values: object) -> Callable[[Transaction], int]:
    return lambda txn: txn.run(statement, values)


def counted(store: Store, table: str, what: str = "count(*)") -> int:
    row = store._perform(Cold(lambda txn: txn.first(f"SELECT {what} FROM {{{table}}}", {})))
    return int(row[0])


def problem(store: Store) -> str:
    health = store.health().embedder
    assert health is not None
    return health.problem or ""


class Hanging(Meant):
    """Answers nobody while its gate is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Event()
        self.gate.set()
        self.asked = 0

    def embed(self, texts: Sequence[str], /) -> list[list[float]]:
        self.asked += 1
        self.gate.wait()
        return super().embed(texts)

    def comes_back(self) -> None:
        self.gate.set()
        for thread in threading.enumerate():
            if thread.name == "onrecord embedder":
                thread.join()


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_embedder_that_hangs_costs_one_wait(
    each_store: OpenStore, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_TO_FIND", 0.995)
    hanging = Hanging()
    store = each_store(embedder=hanging)
    talk(store.session("s"))
    store.embed()

    loop = asyncio.new_event_loop()

    def search() -> Hits:
        if way == "sync":
            return store.search("zavver", within=20)
        return loop.run_until_complete(store.asearch("zavver", within=20))

    assert search().complete
    hanging.gate.clear()
    try:
        asked = hanging.asked
        hits = search()
        assert hits[0].message.text == "zavver please"
        assert not hits.complete
        assert "has not answered for" in problem(store)
        assert not search().complete
        assert hanging.asked == asked + 1  # nobody asks it again
        assert "has not come back" in problem(store)
    finally:
        hanging.comes_back()
    while not search().complete:
        assert "has not come back" in problem(store)  # the loop has not heard of it yet
    assert not problem(store)
    loop.close()


def test_an_async_embedder_that_hangs_costs_one_wait(
    each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_TO_FIND", 0.995)
    gates: list[asyncio.Event] = []

    class HangingLater(Later):
        async def embed(self, texts: Sequence[str], /) -> list[list[float]]:
            if gates:
                await gates[0].wait()
            return Meant().embed(texts)

    store = each_store(embedder=HangingLater())
    talk(store.session("s"))
    store.embed()

    async def hang() -> None:
        gates.append(asyncio.Event())
        assert not (await store.asearch("zavver", within=20)).complete
        assert "has not answered for" in problem(store)
        assert not (await store.asearch("zavver", within=20)).complete
        assert "has not come back" in problem(store)

    asyncio.run(hang())  # whose end cuts it off
    gates.clear()
    assert asyncio.run(store.asearch("zavver")).complete
    assert store.search("zavver").complete
