"""What is made of what was said has to do: episodes, saved sessions, summaries, what is learned.

A part of ``MemoryContract``, which see.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from onrecord import Message, OnrecordError, Store, Version
from onrecord.memory import (
    Analytics,
    Checkpoints,
    Episode,
    EpisodicMemory,
    MemorySystem,
    Preferences,
    RollingSummary,
)
from onrecord.testing.contract import Face, texts
from onrecord.testing.contract_items import until
from onrecord.testing.contract_state import at_once
from onrecord.testing.memory_user import (
    CALL,
    OLD,
    Kill,
    MemoryFixtures,
    asking,
    contents,
    joined,
    seen,
    summed,
    told,
)


class ToldContract(MemoryFixtures):
    """Episodes, sessions of three tiers, summaries, preferences and analytics."""

    # -- episodic ------------------------------------------------------------------------

    def test_events_come_back_as_they_were(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        memory, there = (
            face(EpisodicMemory(opened, agent_id="a", user="ada")) for opened in (store, elsewhere)
        )
        said = {"content": "Where is my suitcase?", "tool_call": None}
        events = [
            memory.record("session_user", said, "s"),
            memory.record("session_assistant", {"content": None, "tool_call": CALL}, "s"),
            *memory.record_many([("tick", (1, b"x")), ("tock", {1: {"a"}})], "s"),
        ]
        assert there.get_session("s") == events
        assert texts(store.session("s", user="ada", agent="a").messages())[0] == said["content"]
        assert sorted(map(str, there.recent(10))) == sorted(map(str, events))
        assert there.search("suitcase")[0] == events[0]
        with pytest.raises(OnrecordError):
            memory.record_many([("fine", 1), ("bad", object())], "s")
        assert there.delete(events[2].id) is True
        assert memory.delete(events[2].id) is False
        assert memory.get_session("s") == [*events[:2], events[3]]

    def test_an_episode_is_one_and_goes_as_one(
        self, store: Store, elsewhere: Store, face: Face, kill: Kill
    ) -> None:
        memory, there = (face(EpisodicMemory(o, agent_id="a")) for o in (store, elsewhere))
        episode = Episode.conversation("a", "My order is late", "Which order number?")
        id = memory.store_episode(episode)
        assert memory.store_episode(episode) == id, "an answer was lost"
        action = Episode.action("a", "called", "nobody")
        assert not kill(1, lambda: memory.store_episode(action)), "one append"
        found = there.search_episodes("order")[0]
        assert (found.id, found.user_input, found.response) == (
            id, "My order is late", "Which order number?",
        )  # fmt: skip
        assert there.get_statistics().by_type == {"action": 1, "conversation": 1}
        assert there.delete_episode(id) is True
        assert memory.delete_episode(id) is False
        assert memory.get_episode(id) is None
        assert memory.search_episodes("order") == []
        assert contents(memory) == contents(there) == ["called\nresult: nobody"]

    def test_clear_takes_one_session_or_all(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        memory = EpisodicMemory(store, agent_id="a", user="ada")
        other = EpisodicMemory(elsewhere, agent_id="a", user="bob")
        for one in (memory, other):
            one.record("tick", 1, "s")
            one.record("tock", 2, "t")
            one.pin(*seen(one, "boots"))
        assert face(memory).clear("s") == 1
        assert face(memory).get_session("s") == []
        assert len(face(memory).recent()) == 2
        assert face(memory).clear() == 2
        assert (face(memory).recent(), face(memory).search("boots")) == ([], [])
        assert face(memory).get_statistics().pinned == 0
        assert len(face(other).recent()) == 3
        assert store.stats(user="ada", agent="a").items == 0

    def test_what_is_pinned_stays_also_in_a_fork(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        """Of a conversation, whose messages nobody gave an id, and of episodes."""
        chat = store.session("chat", agent="a")
        asking(chat, 1, 1)
        chat.rewind(0)
        asking(chat, 2, 4)
        memory = EpisodicMemory(store, agent_id="a", session="chat")
        seen(memory, "5")
        for episode in memory.get_recent_episodes(3)[::2]:
            assert face(memory).pin(episode.id) is True
        face(chat).fork("fork")
        erased = store.session("was erased", agent="a")
        asking(erased, 1, 1)
        erased.erase(thorough=False)
        face(chat).fork("was erased")
        for key in ("chat", "fork", "was erased"):
            there = face(EpisodicMemory(elsewhere, agent_id="a", session=key))
            assert there.get_statistics().pinned == 2
            planned = there.forget(1.0, dry_run=True)
            assert (len(planned.episodes), planned.kept) == (2, 2)
            assert len(contents(there)) == 4
            assert there.consolidate(OLD, dry_run=True).runs == ()
            assert len(there.forget(1.0).episodes) == 2
            assert contents(there) == ["user: Q3\nassistant: A3", "5"]

    def test_a_consolidation_that_is_cut_off_tells_everything_once(
        self, store: Store, kill: Kill
    ) -> None:
        said = [f"{n}" for n in range(5)]
        for most in itertools.count():
            memory = EpisodicMemory(store, agent_id="a", session=f"{most}")
            memory.pin(seen(memory, *said)[4])
            cut = kill(most, lambda: memory.consolidate(OLD, joined, at_most=2))  # noqa: B023
            again = EpisodicMemory(store, agent_id="a", session=f"{most}")
            assert " ".join(contents(again)).split() == said
            again.consolidate(OLD, joined, at_most=2)
            assert contents(again) == ["0 1", "2 3", "4"]
            if not cut:
                break
        assert most > 4, "there were so many calls"
        assert store.verify() == []

    def test_two_who_consolidate_at_once_tell_everything_once(
        self, store: Store, elsewhere: Store
    ) -> None:
        said = [f"{n}" for n in range(8)]
        memory, other = (EpisodicMemory(o, agent_id="a") for o in (store, elsewhere))
        seen(memory, *said)

        def sum_up(one: EpisodicMemory) -> None:
            one.consolidate(OLD, joined, at_most=2)

        works = [lambda: sum_up(memory), lambda: sum_up(other), lambda: seen(other, "new")]
        assert at_once(*works) == []
        assert " ".join(contents(memory)).split() == [*said, "new"]
        assert store.verify() == []

    @pytest.mark.parametrize("what", ["consolidate", "edit", "pin"])
    def test_what_others_do_while_a_run_is_summed_up_stands(
        self, store: Store, elsewhere: Store, face: Face, what: str
    ) -> None:
        memory, other = (EpisodicMemory(o, agent_id="a") for o in (store, elsewhere))
        ids = seen(memory, "a", "b", "c")

        def late(episodes: list[Episode]) -> str:
            if what == "consolidate":
                other.consolidate(OLD, lambda episodes: f"by another: {joined(episodes)}")
            elif what == "edit":
                elsewhere.session("episodes", agent="a").edit(2, ("user", "corrected"))
            else:
                other.pin(ids[1])
            return joined(episodes)

        done = face(memory).consolidate(OLD, late)
        assert (done.runs, [one.episodes for one in done.skipped]) == ((), [tuple(ids)])
        assert (
            contents(other)
            == {
                "consolidate": ["by another: a b c"],
                "edit": ["a", "user: corrected", "c"],
                "pin": ["a", "b", "c"],
            }[what]
        )

    # -- three tiers ---------------------------------------------------------------------

    def test_a_session_is_saved_and_loaded(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        system = MemorySystem(store, agent_id="guide", user="ada")
        system.working["step"] = 1
        system.working.add_message("user", "A hotel.")
        system.working.add_message("assistant", None, tool_call=CALL)
        assert face(system).save_session("trip") == 2
        assert face(system).save_session("trip") == 0
        assert system.working.unsaved == []
        assert store.session("trip", user="ada", agent="guide").version() == Version(0, 2)
        there = MemorySystem(elsewhere, agent_id="guide", user="ada")
        (left,) = face(there).unfinished()
        assert "A hotel." in left.welcome
        assert [call.id for call in left.dangling] == ["c1"]
        memory = face(there).load_session(left.info.key)
        assert (memory.messages, memory.all()) == (system.working.messages, {"step": 1})
        memory.add_message("tool", "3 hotels", tool_call=CALL)
        memory.add_message("assistant", "Three.")
        checkpoints = face(Checkpoints(there, every_calls=2))
        assert checkpoints.on_tool_executed("trip") is False
        assert checkpoints.on_tool_executed("trip") is True
        assert len(face(system).load_session("trip").messages) == 4
        assert face(system).unfinished() == []
        assert face(system).load_session("never said").messages == []

    def test_a_save_that_is_cut_off_is_made_whole_by_the_next(
        self, store: Store, kill: Kill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onrecord.memory.working._AT_ONCE", 2)
        for most in itertools.count():
            system = MemorySystem(store, agent_id="guide", user=f"{most}")
            keys = {"a": 1, "b": 2}
            for key, value in keys.items():
                system.working[key] = value
            for n in range(3):
                system.working.add_message("user", f"{n}")
            cut = kill(most, lambda: system.save_session("s"))  # noqa: B023
            stored = store.session("s", user=f"{most}", agent="guide").messages()
            assert texts(stored) == [f"{n}" for n in range(len(stored))]
            system.save_session("s")
            memory = MemorySystem(store, agent_id="guide", user=f"{most}").load_session("s")
            assert [one.content for one in memory.messages] == [f"{n}" for n in range(3)]
            assert memory.all() == keys
            assert store.stats(user=f"{most}", agent="guide").items == 2, "none twice"
            if not cut:
                return

    def test_two_who_save_at_once_lose_nothing(self, store: Store, elsewhere: Store) -> None:
        one, other = (MemorySystem(o, agent_id="guide") for o in (store, elsewhere))

        def work(system: MemorySystem, name: str) -> None:
            for n in range(4):
                system.working.add_message("tool", f"{name}{n}")
                system.working[f"{name}{n}"] = n
                system.save_session("s")

        works = [lambda: work(one, "a"), lambda: work(one, "b"), lambda: work(other, "c")]
        assert at_once(*works) == []
        memory = MemorySystem(store, agent_id="guide").load_session("s")
        said = [f"{name}{n}" for name in "abc" for n in range(4)]
        assert sorted(str(one.content) for one in memory.messages) == said
        assert sorted(memory.all()) == said

    # -- summary -------------------------------------------------------------------------

    def test_a_summary_goes_on_elsewhere(self, store: Store, elsewhere: Store, face: Face) -> None:
        given: list[str] = []

        def noted(previous: str, messages: list[Message]) -> str:
            given.extend(texts(messages))
            return summed(previous, messages)

        said: list[str] = []
        for n, opened in enumerate((store, elsewhere, store)):
            session = opened.session("chat")
            said += asking(session, 3 * n + 1, 3 * n + 3)
            assert told(face(RollingSummary(session, noted, messages=4))) == said
        assert given == said[: len(given)], "each once"
        summary = face(RollingSummary(store.session("chat"), noted, messages=4))
        assert (
            summary.kept()
            == face(store.session("chat").fork("fork")).window(messages=4, summary=True).summary
        )
        assert summary.forget() is True
        assert summary.forget() is False
        assert face(RollingSummary(elsewhere.session("chat"), noted)).kept().text == ""

    def test_what_goes_is_not_left_in_a_summary(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        ways: dict[str, Callable[[Any], object]] = {
            "edit": lambda session: session.edit(3, ("user", "q")),
            "delete": lambda session: session.delete(3),
            "rewind": lambda session: session.rewind(2),
            "replace": lambda session: session.replace([("user", "q")], after=2),
            "pop": lambda session: session.pop(8),
            "clear": lambda session: session.clear(),
        }
        for way, take_away in ways.items():
            session, there = store.session(way), elsewhere.session(way)
            said = asking(session, 1, 5)
            summary = face(RollingSummary(session, summed, messages=2))
            assert summary.read().text == " ".join(said[:8])
            assert "Q2" in repr(there.window(messages=2, summary=True).summary)
            take_away(face(session))
            content = io.BytesIO()
            session.export(content)
            assert b"Q2" not in content.getvalue()
            for one in (session, there):
                assert "Q2" not in repr(one.state.list())
                assert "Q2" not in repr(one.window(messages=2, summary=True).summary)
            assert told(summary) == texts(session.messages())

    def test_a_summary_that_is_cut_off_goes_on(
        self, store: Store, kill: Kill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onrecord.memory.summary._AT_ONCE", 20)
        for most in itertools.count():
            session = store.session(f"{most}")
            said = asking(session, 1, 3)
            summary = RollingSummary(session, summed, messages=2)
            cut = kill(most, lambda: told(summary))  # noqa: B023
            kept = summary.kept()
            assert kept.text.split() == said[: kept.version.head]
            assert told(summary) == said
            if not cut:
                break
        assert most > 8, "there were so many calls"

    def test_of_two_who_summarise_at_once_one_wins(self, store: Store, elsewhere: Store) -> None:
        said = asking(store.session("chat"), 1, 6)
        one, other = (
            RollingSummary(opened.session("chat"), summed, messages=2)
            for opened in (store, elsewhere)
        )
        works = [lambda: told(one), lambda: told(other), lambda: told(one)]
        assert at_once(*works) == []
        assert told(one) == told(other) == said

    def test_what_others_do_while_it_is_summarised_stands(
        self, store: Store, elsewhere: Store, face: Face
    ) -> None:
        session, there = store.session("chat"), elsewhere.session("chat")
        said = asking(session, 1, 4)
        late: list[Callable[[], object]] = [
            lambda: there.edit(3, ("user", "q")),
            lambda: RollingSummary(there, lambda *_: "by another", messages=2).read(),
        ]

        def overtaken(previous: str, messages: list[Message]) -> str:
            if late:
                late.pop(0)()
            return summed(previous, messages)

        summary = face(RollingSummary(session, overtaken, messages=2))
        assert told(summary) == ["by", "another", *said[6:]]
        assert "Q2" not in repr([*there.state.list(), *there.messages()])

    # -- learned -------------------------------------------------------------------------

    def test_each_message_is_counted_once(self, store: Store, elsewhere: Store, face: Face) -> None:
        """Whoever reads, and as often as anybody does; as if all were read at once."""
        for n, opened in enumerate((store, elsewhere)):
            asking(opened.session(f"{n}", user="ada"), 1, 2)
            opened.session("0", user="ada").append(("user", "please, my invoice"))
            read = [face(Preferences(o, "ada")).read() for o in (elsewhere, store)]
            sums = [face(Analytics(o)).summary() for o in (elsewhere, store)]
            assert read == [read[0]] * 2
            assert sums == [sums[0]] * 2
            assert (read[0].turns, sums[0].turns, sums[0].sessions) == (3 * n + 3,) * 2 + (n + 1,)
        store.session("1", user="ada").erase(thorough=False)
        store.session("0", user="ada").edit(1, ("user", "please"))
        learned, sums = face(Preferences(elsewhere, "ada")), face(Analytics(elsewhere))
        read, days = learned.read(), sums.by_day()
        assert (read.style, read.topics, read.turns) == ("formal", ("billing",), 4)
        assert sum(day.turns for day in days) == sums.summary().turns == 4
        rows = sorted(map(str, sums.by_session()))
        assert learned.forget()
        assert sums.forget()
        assert (learned.read(), sums.by_day()) == (read, days)
        assert sorted(map(str, sums.by_session())) == rows

    def test_who_is_killed_while_he_learns_counts_nothing_twice(
        self, store: Store, kill: Kill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onrecord.memory.learning.LEASE", 0.01)
        for most in itertools.count():
            session = store.session("s", user=f"{most}")
            memory = Preferences(store, f"{most}")
            session.append([("user", "please")] * 3)
            if most % 2:
                memory.read()
                session.append(("user", "hey"))
            cut = kill(most, memory.read)
            session.append(("user", "please"))
            until(lambda: memory.read().turns >= session.count())  # noqa: B023
            formal = memory.read().of("formal")
            assert formal is not None
            assert formal.words == {"please": 4}
            if not cut:
                break
        assert most > 4, "there were so many calls"

    def test_two_who_learn_at_once_count_nothing_twice(
        self, store: Store, elsewhere: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onrecord.memory.learning.LEASE", 0.01)

        def work(opened: Store, name: str) -> None:
            for n in range(3):
                opened.session(f"{name}{n % 2}", user="ada").append(("user", "please"))
                Preferences(opened, "ada").read()
                Analytics(opened).summary()

        works = [lambda: work(store, "a"), lambda: work(elsewhere, "b")]
        assert at_once(*works) == []
        until(lambda: Preferences(store, "ada").read().turns >= 6)
        until(lambda: Analytics(store).summary().turns >= 6)
        sums = Analytics(store).summary()
        assert (sums.sessions, sums.turns) == (4, 6)
        formal = Preferences(store, "ada").read().of("formal")
        assert formal is not None
        assert formal.count == 6
