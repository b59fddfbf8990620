"""What the memories over every store have to do, as tests that anybody can run over a database.

Like ``contract.py``: subclass ``MemoryContract`` and give it a fixture ``store``. Where more than
one process may open the database, give it ``elsewhere`` as well: the same one, opened once more.
"""

from __future__ import annotations

import io
import itertools
from datetime import timedelta
from typing import Any, Final

import pytest

from onrecord import ANY, Store
from onrecord.memory import (
    Analytics,
    PersistentBufferMemory,
    SemanticMemory,
    WorkingMemory,
    memory_from,
)
from onrecord.testing.contract import Face, texts
from onrecord.testing.contract_memory_told import ToldContract
from onrecord.testing.contract_state import at_once
from onrecord.testing.memory_refusals import MADE, REFUSED
from onrecord.testing.memory_user import CALL, Kill, known, lived

STRANGE: Final = "%'; DROP TABLE onrecord_items; --"


class MemoryContract(ToldContract):
    """Subclass this and give it a fixture ``store``, and ``elsewhere`` where there can be one."""

    # -- all of them ---------------------------------------------------------------------

    def test_what_is_put_is_there_elsewhere_and_in_an_export(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        lived(store, "ada")
        found = known(elsewhere, "ada", face)
        assert found["buffer"] == ["Hey, I am ada. Cool!", "Hello.", "Thanks, hey!", "Goodbye."]
        assert found["at hand"] == [
            ("user", "A hotel for ada, hey", None),
            ("assistant", None, CALL),
        ]
        assert found["keys"] == ({"step": "ada"}, {"all": "ada"})
        assert found["facts"] == [("The train is for ada.", {"by": "ada"})]
        assert found["found"] == ["The train is for ada."]
        assert len(found["events"]) == 7
        assert found["episodes"] == (["ada was here"], 1)
        assert found["summary"] == "Hey, I am ada. Cool! Hello."
        assert found["unfinished"] == ["trip"]
        assert (found["preferences"].style, found["preferences"].turns) == ("casual", 3)
        assert (found["analytics"]["total_turns"], found["analytics"]["sessions"]) == (3, 3)
        content = io.BytesIO()
        face(store).export(content, user="ada", agent=ANY)
        face(store).erase(user="ada", agent=ANY, thorough=False)
        content.seek(0)
        face(store).import_(content)
        assert known(store, "ada", face) == found

    def test_a_user_is_a_wall_and_is_erased_from_all_of_them(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        for user in ("ada", STRANGE):
            lived(store, user)
        everybody = Analytics(store)
        assert everybody.summary().sessions == 6
        before = known(elsewhere, STRANGE, face)
        assert "ada" in repr(known(elsewhere, "ada", face)), "and in a cache"
        assert "ada" not in repr(before)
        face(store).erase(user="ada", agent=ANY, thorough=False)
        assert known(elsewhere, "ada", face) == known(store, "nobody", face)
        assert known(elsewhere, STRANGE, face) == before
        stats = store.stats(user="ada", agent=ANY)
        assert (stats.sessions, stats.items, stats.messages) == (0, 0, 0)
        assert face(everybody).summary().sessions == 3
        shared = store.find_items(limit=100)
        assert {item.namespace[:2] for item in shared} == {("onrecord", "analytics")}
        assert "ada" not in repr([item.value for item in shared])
        assert store.verify() == []

    @pytest.mark.parametrize("what", REFUSED)
    def test_what_cannot_be_is_refused_and_writes_nothing(
        self, store: Store, face: Face, what: str
    ) -> None:
        make, cases = REFUSED[what]
        memory = face(make(store))
        for case in cases:
            with pytest.raises(case.error, match=case.named):
                case.ask(memory)
        stats = store.stats(tenant=ANY, user=ANY, agent=ANY)
        assert (stats.sessions, stats.items, stats.messages) == (0, 0, 0)

    def test_what_is_made_of_what_cannot_be_is_refused(self, store: Store) -> None:
        for case in MADE:
            with pytest.raises(case.error, match=case.named):
                case.ask(store)
        stats = store.stats(tenant=ANY, user=ANY, agent=ANY)
        assert (stats.sessions, stats.items, stats.messages) == (0, 0, 0)

    # -- working -------------------------------------------------------------------------

    @pytest.mark.parametrize("session_id", [None, "trip"])
    def test_a_key_is_gone_when_its_time_is_over(
        self, store: Store, elsewhere: Store, face: Face, session_id: str | None
    ) -> None:
        memory = face(WorkingMemory(store, session_id=session_id, ttl=60))
        there = face(WorkingMemory(elsewhere, session_id=session_id))
        memory.set("stays", 1)
        memory.set("goes", 2, 1e-6)
        memory.set("goes too", None, timedelta(microseconds=1))
        for one in (there, memory):
            assert one.all() == {"stays": 1}
            assert one.get("goes", "gone") == one.get("goes too", "gone") == "gone"
        assert there.delete("goes") is False
        assert there.cleanup() + memory.cleanup() <= 2
        memory.set("goes", 3)
        assert there.all() == {"goes": 3, "stays": 1}

    def test_keys_go_with_their_session(self, store: Store, face: Face) -> None:
        session = store.session("trip", user="ada")
        memory = face(WorkingMemory(store, session_id="trip", user="ada"))
        session.state.put("plan", "somebody else's")
        memory.set("plan", {"city": "Lyon"})
        face(session).clear()
        face(session).fork("fork")
        fork = face(WorkingMemory(store, session_id="fork", user="ada"))
        fork.set("own", 1)
        assert memory.all() == {"plan": {"city": "Lyon"}}
        assert fork.all() == {"own": 1, "plan": {"city": "Lyon"}}
        assert face(WorkingMemory(store, user="ada")).all() == {}
        face(session).erase(thorough=False)
        assert (memory.all(), memory.get("plan")) == ({}, None)
        assert len(fork.all()) == 2

    def test_two_who_set_keys_at_once_lose_none(self, store: Store, elsewhere: Store) -> None:
        def work(opened: Store, name: str) -> None:
            memory = WorkingMemory(opened, session_id="trip")
            for n in range(8):
                memory.set(f"{name}{n}", n)
                memory.set("both", n)

        assert at_once(lambda: work(store, "a"), lambda: work(elsewhere, "b")) == []
        kept = WorkingMemory(store, session_id="trip").all()
        assert kept == {"both": 7, **{f"{name}{n}": n for name in "ab" for n in range(8)}}

    # -- buffer --------------------------------------------------------------------------

    def test_a_buffer_shows_what_is_stored_and_its_own(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        one, other = (
            face(PersistentBufferMemory(opened, agent_id="a", auto_persist_interval=2))
            for opened in (store, elsewhere)
        )
        first = one.add_message("user", "1", metadata={"n": [1]})
        assert (first.seq, texts(one.get_history()), other.get_history()) == (None, ["1"], [])
        assert one.add_message("user", "2").seq == 2
        assert other.get_history() == one.get_history()
        assert other.get_history()[0].id == first.id
        other.add_message("user", "waits")
        one.add_message("user", "3")
        assert one.persist() == 1
        assert one.persist() == 0
        assert texts(other.get_history()) == ["1", "2", "3", "waits"]
        assert texts(other.get_history(2)) == ["3", "waits"]
        other.clear_buffer()
        assert other.get_history() == []
        assert texts(one.get_history()) == ["1", "2", "3", "waits"]
        assert other.load_from_db() == 4
        store.session("main", agent="a").edit(1, ("user", "edited"))
        assert texts(other.get_history()) == ["edited", "2", "3", "waits"]
        other.add_message("user", "waits again")
        one.delete_history()
        assert one.get_history() == []
        assert texts(other.get_history()) == ["waits again"], "it was not in the database yet"
        other.delete_history()
        assert one.get_history() == other.get_history() == []
        assert one.persist() == other.load_from_db() == 0
        for memory in (one, other):
            memory.close()

    def test_two_who_add_at_once_lose_nothing(self, store: Store, elsewhere: Store) -> None:
        def work(memory: PersistentBufferMemory, name: str) -> None:
            for n in range(10):
                memory.add_message("user", f"{name}{n}")

        one = PersistentBufferMemory(store, agent_id="a", auto_persist_interval=3)
        other = PersistentBufferMemory(elsewhere, agent_id="a", auto_persist_interval=3)
        works = [lambda: work(one, "a"), lambda: work(one, "b"), lambda: work(other, "c")]
        assert at_once(*works) == []
        one.close()
        other.close()
        stored = texts(store.session("main", agent="a").messages())
        assert sorted(stored) == [f"{name}{n}" for name in "abc" for n in range(10)]
        for name in "abc":
            own = [text for text in stored if text.startswith(name)]
            assert own == sorted(own), "in the order in which it was said"

    def test_a_persist_that_is_cut_off_stores_nothing_twice(
        self, store: Store, kill: Kill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onrecord.memory.unsaved.AT_ONCE", 2)
        said = [f"{n}" for n in range(5)]
        for most in itertools.count():
            memory = PersistentBufferMemory(
                store, agent_id="a", session=f"{most}", auto_persist_interval=None
            )
            for text in said:
                memory.add_message("user", text)
            cut = kill(most, memory.persist)
            stored = texts(memory.session.messages())
            assert stored == said[: len(stored)]
            assert texts(memory.get_history()) == said
            memory.close()
            assert texts(memory.session.messages()) == said
            if not cut:
                return

    def test_a_turn_is_there_as_a_whole(
        self, store: Store, elsewhere: Store, face: Face, kill: Kill
    ) -> None:
        desk, there = (
            face(PersistentBufferMemory(opened, agent_id="desk", max_turns=2))
            for opened in (store, elsewhere)
        )
        turns: list[dict[str, Any]] = [
            {
                "user": f"{n}",
                "agent": "Let me help.",
                "timestamp": f"2026-03-0{n}T10:00:00+00:00",
                "metadata": {"confidence": 0.85, "resolved": n == 3},
            }
            for n in range(1, 4)
        ]
        for turn in turns:
            assert not kill(1, lambda: desk.save_turn("alice", turn)), "one append"  # noqa: B023
        assert there.load_context("alice") == {"turns": turns[1:], "turn_count": 3}
        assert there.load_context("bob") == {"turns": [], "turn_count": 0}
        there.delete_history("alice")
        assert desk.load_context("alice") == {"turns": [], "turn_count": 0}

    # -- semantic ------------------------------------------------------------------------

    def test_a_fact_is_known_once(self, store: Store, elsewhere: Store, face: Face) -> None:
        memory, there = (face(SemanticMemory(o, user="ada")) for o in (store, elsewhere))
        fact = memory.remember("Ada travels by train.", {"year": 2025})
        assert there.remember("Ada travels by train.") == fact
        assert there.remember("Ada travels by train.", {"year": 2025}) == fact
        later = there.remember("Ada travels by train.", {"year": 2026, "page": 3})
        assert (later.id, later.created_at) == (fact.id, fact.created_at)
        assert later.metadata == {"year": 2026, "page": 3}
        assert memory.get(fact.id) == later
        assert (memory.count(), there.recent()) == (1, [later])
        assert [hit.fact for hit in memory.search("train")] == [later]
        assert memory.context("train", format="list") == "- Ada travels by train."
        assert memory.forget(fact.id) is True
        assert there.forget(fact.id) is False
        for one in (memory, there):
            assert (one.get(fact.id), one.search("train"), one.count()) == (None, [], 0)
        assert there.remember("Ada travels by train.").metadata == {}

    def test_many_who_say_something_of_one_fact(self, store: Store, elsewhere: Store) -> None:
        def work(opened: Store, name: str) -> None:
            for n in range(6):
                SemanticMemory(opened).remember("It is so.", {f"{name}{n}": n})

        works = [lambda: work(store, "a"), lambda: work(elsewhere, "b"), lambda: work(store, "c")]
        assert at_once(*works) == []
        (fact,) = SemanticMemory(store).recent()
        assert fact.metadata == {f"{name}{n}": n for name in "abc" for n in range(6)}

    # -- a workflow's --------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("kind", "given", "asked", "said"),
        [
            ("CONVERSATION_BUFFER", {"message": "Hello.", "role": "user"}, {}, "user: Hello."),
            ("VECTOR_DATABASE", {"content": "Hello."}, {"query": "Hello"}, "Hello."),
            ("WORKING_MEMORY", {"key": "k", "value": "Hello."}, {}, "- k: Hello."),
            ("EPISODIC_MEMORY", {"event_type": "tick", "payload": "Hello."}, {}, "tick: Hello."),
        ],
    )
    def test_a_workflow_finds_what_it_stored(
        self, store: Store, elsewhere: Store, kind: str, given: Any, asked: Any, said: str
    ) -> None:
        config = {"kind": kind, "user_id": "ada"}
        with memory_from(config, store=store) as memory:
            memory.store_sync(given)
        with memory_from(config, store=elsewhere) as memory:
            assert said in memory.get_context_sync(asked)
            assert "Hello." in repr(memory.retrieve_sync(asked))
        with memory_from({**config, "user_id": "bob"}, store=store) as memory:
            assert memory.get_context_sync(asked) == ""
        stats = store.stats(tenant=ANY, user=ANY, agent=ANY)
        assert stats.messages + stats.items == 1
