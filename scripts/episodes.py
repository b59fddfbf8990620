"""How long an episodic memory takes with many episodes: ``python -m scripts.episodes 100000``.

Others may use the machine: these are orders of magnitude.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from onrecord import Message, Store
from onrecord.memory import Episode, EpisodicMemory

BATCH = 3_000


def fill(store: Store, episodes: int) -> None:
    """Store episodes of three types, one a minute up to now."""
    session, now = store.session("episodes", agent="a"), datetime.now(UTC)
    batch: list[Message] = []
    for n in range(episodes):
        at = now - timedelta(minutes=episodes - n)
        match n % 3:
            case 0:
                said = f"question {n} about topic{n % 97}", f"answer {n} word{n % 1009}"
                episode = Episode.conversation("a", *said, created_at=at)
            case 1:
                text = f"sensor {n} reads value{n % 501}"
                episode = Episode.observation("a", text, created_at=at)
            case _:
                done = f"did step {n} on host{n % 31}", f"result {n} ok{n % 7}"
                episode = Episode.action("a", *done, created_at=at)
        batch += episode.messages
        if len(batch) >= BATCH:
            session.append(batch)
            batch = []
    if batch:
        session.append(batch)


def timed(what: str, work: Callable[[], object]) -> None:
    """Do something, and print how long it took."""
    began = time.perf_counter()
    work()
    print(f"{what:34} {(time.perf_counter() - began) * 1_000:10.1f} ms")


def main(episodes: int) -> None:
    """Fill a store in a folder of its own, and use it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(f"sqlite:///{folder}/episodes.db", durability="normal") as store,
    ):
        fill(store, episodes)
        store.index()
        memory = EpisodicMemory(store, agent_id="a")
        month = timedelta(days=30)
        print(f"{episodes:,} episodes in a SQLite file")
        timed("store_episode", lambda: memory.store_episode(Episode.observation("a", "x")))
        timed("get_recent_episodes(10)", lambda: memory.get_recent_episodes(10))
        timed("search_episodes", lambda: memory.search_episodes("question about topic13"))
        timed("the same again", lambda: memory.search_episodes("question about topic13"))
        timed("recent(20)", lambda: memory.recent(20))
        timed("statistics", memory.statistics)
        timed("get_statistics", memory.get_statistics)
        timed("forget(0.3, dry_run=True)", lambda: memory.forget(0.3, dry_run=True))
        timed("forget(0.3)", lambda: memory.forget(0.3))
        timed("consolidate(30 days)", lambda: print(memory.consolidate(month)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
