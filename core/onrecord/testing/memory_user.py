"""What the contract of the memories stands on: a user of all of them, and an end at any call."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import pytest

from onrecord import Message, Session, Store
from onrecord.flow import arun, run
from onrecord.memory import (
    Analytics,
    Episode,
    EpisodicMemory,
    MemorySystem,
    Preferences,
    RollingSummary,
    WorkingMemory,
)
from onrecord.testing.contract import Contract, Face, texts

Kill: TypeAlias = Callable[[int, Callable[[], object]], bool]
CALL: Final = {"id": "c1", "name": "search", "args": {"city": "Lyon"}}
LONG_AGO: Final = datetime.now(UTC) - timedelta(days=90)
OLD: Final = timedelta(days=30)


class Killed(BaseException):
    """The process is gone: no memory catches that."""


def asking(session: Session, first: int, last: int) -> list[str]:
    """Say turns of two messages, and return what was said: words that no id has in it."""
    said = [text for n in range(first, last + 1) for text in (f"Q{n}", f"A{n}")]
    for question, answer in zip(said[::2], said[1::2], strict=True):
        session.append([("user", question), ("assistant", answer)])
    return said


def summed(previous: str, messages: list[Message]) -> str:
    """A summary that keeps all that was said."""
    return " ".join([*previous.split(), *texts(messages)])


def told(summary: Any) -> list[str]:
    """What a model is shown: the summary's words, and what stands behind it."""
    window = summary.window()
    return [*window.summary.text.split(), *texts(window)]


def seen(memory: EpisodicMemory, *said: str) -> list[str]:
    """Store observations of long ago in one append, and return their ids."""
    stored = [Episode.observation(memory.agent_id, text, created_at=LONG_AGO) for text in said]
    memory._episodes.append([message for episode in stored for message in episode.messages])
    return [episode.id for episode in reversed(memory.get_recent_episodes(len(said)))]


def joined(episodes: list[Episode]) -> str:
    """A summary that says all that its episodes say."""
    return " ".join(episode.content for episode in episodes)


def contents(memory: Any) -> list[str]:
    """What the episodes say, the oldest first."""
    return [episode.content for episode in reversed(memory.get_recent_episodes(1_000))]


def lived(store: Store, user: str) -> None:
    """Put something of a user into every memory."""
    system = MemorySystem(store, agent_id="guide", user=user)
    system.buffer.save_turn("main", {"user": f"Hey, I am {user}. Cool!", "agent": "Hello."})
    system.buffer.save_turn("main", {"user": "Thanks, hey!", "agent": "Goodbye."})
    memory = system.load_session("trip")
    memory.add_message("user", f"A hotel for {user}, hey")
    memory.add_message("assistant", None, tool_call=CALL)
    memory["step"] = user
    system.save_session("trip")
    WorkingMemory(store, user=user)["all"] = user
    system.semantic.remember(f"The train is for {user}.", {"by": user})
    system.episodic.pin(*seen(system.episodic, f"{user} was here"))
    RollingSummary(store.session("main", user=user, agent="guide"), summed, messages=2).read()
    Preferences(store, user).read()
    Analytics(store, tenant="", user=user).summary()


def known(store: Store, user: str, face: Face) -> dict[str, Any]:
    """Everything that the memories know of a user."""
    system = MemorySystem(store, agent_id="guide", user=user)
    memory = face(system).load_session("trip")
    pinned = face(system.episodic).get_statistics().pinned
    session = store.session("main", user=user, agent="guide")
    return {
        "buffer": texts(face(system.buffer).get_history()),
        "at hand": [(one.role, one.content, one.tool_call) for one in memory.messages],
        "keys": (face(memory).all(), face(WorkingMemory(store, user=user)).all()),
        "facts": [(one.content, one.metadata) for one in face(system.semantic).recent()],
        "found": [one.content for one in face(system.semantic).search("train")],
        "events": sorted(map(str, face(system.episodic).recent())),
        "episodes": (contents(face(system.episodic)), pinned),
        "summary": face(RollingSummary(session, summed, messages=2)).kept().text,
        "unfinished": [one.info.key for one in face(system).unfinished()],
        "preferences": face(Preferences(store, user)).read(),
        "analytics": face(Analytics(store, tenant="", user=user)).summary().to_dict(),
    }


class MemoryFixtures(Contract):
    """A store, the same database as somebody else has it open, and a way to end in the middle."""

    @pytest.fixture
    def elsewhere(self, store: Store) -> Store:
        """The same database, as another process has it open; a subclass opens it."""
        return store

    @pytest.fixture
    def kill(self, monkeypatch: pytest.MonkeyPatch) -> Kill:
        """Lets a memory make so many calls of its store, and no more, as a kill does; whether it
        had not come to its end."""

        def kill(most: int, ask: Callable[[], object]) -> bool:
            left = itertools.count(most, -1)

            def live() -> None:
                if not next(left):
                    raise Killed

            def cut(said: Any, perform: Callable[[Any], Any]) -> Any:
                def call(one: Any) -> Any:
                    live()
                    return perform(one)

                return run(said, call)

            async def acut(said: Any, perform: Callable[[Any], Awaitable[Any]]) -> Any:
                async def call(one: Any) -> Any:
                    live()
                    return await perform(one)

                return await arun(said, call)

            with monkeypatch.context() as patch:
                patch.setattr("onrecord.adapters.calls.run", cut)
                patch.setattr("onrecord.adapters.calls.arun", acut)
                try:
                    ask()
                except Killed:
                    return True
            return False

        return kill
