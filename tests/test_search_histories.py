"""The index is an accelerator: over random histories a search says what a scan of all messages by
the same ranking says, whatever the index has missed, lost, or says in an older way.

ONRECORD_SEEDS=100 runs 10,000 histories.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest

from onrecord import ANY, Conflict, Message, Store
from onrecord.blocks import text_of
from onrecord.flow import Cold
from onrecord.flows.search import catching_up, search
from onrecord.flows.search import field as fields
from onrecord.ranking import NEIGHBOURS, RUN, Query, Run, Said, choose, score, signature
from onrecord.scope import Scope
from onrecord.stored.clock import microseconds

SEEDS = float(os.environ.get("ONRECORD_SEEDS", "1"))
WORDS = [
    "ferry",
    "lisbon",
    "ticket",
    "refund",
    "harbour",
    "winter",
    "A-1017",
    "paint",
    "sunrise",
    "dog",
    "running",
    "東京",
    "cafés",
]
WORDS += [f"word{n}" for n in range(120)]
SESSIONS = ("one", "two", "other")


def scanned(store: Store, query: str, user: Any = "ada") -> list[tuple[str, int, float]]:
    """What a search has to say: all messages of a scope, read and ranked."""
    everybody = store.sessions(user=user, limit=1_000)
    infos = sorted(everybody, key=lambda info: (info.tenant, info.user, info.agent, info.key))
    said = {
        (number, message.seq or 0): Said(
            number,
            message.seq or 0,
            0 if message.created_at is None else microseconds(message.created_at),
            message.role,
            message.name or "",
            text_of(message.content),
        )
        for number, info in enumerate(infos)
        for message in store.session(info.key, user=info.user).messages()
    }
    by_run: dict[tuple[int, int], list[Said]] = {}
    for one in said.values():
        by_run.setdefault((one.session, (one.seq - 1) // RUN), []).append(one)
    asked = Query.of(query)
    chosen = choose(asked, [Run(*place, signature(few)) for place, few in by_run.items()])
    found: list[tuple[str, int, float]] = []
    for tier in chosen.tiers:
        near = {
            (run.session, seq)
            for run in tier
            for seq in range(
                run.number * RUN + 1 - NEIGHBOURS, (run.number + 1) * RUN + NEIGHBOURS + 1
            )
        }
        texts = [said[place] for place in sorted(near & said.keys())]
        found += [
            (infos[one.session].key, one.seq, one.score)
            for one in score(asked, chosen, texts, tier=tier)
        ]
    return found


def searched(store: Store, query: str, user: Any = "ada") -> list[tuple[str, int, float]]:
    """What it says."""
    hits = store.search(query, user=user, limit=1_000)
    assert hits.complete
    return [(hit.info.key, hit.message.seq or 0, hit.score) for hit in hits]


class History:
    """A store to which things happen at random."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.random = store, Random(seed)
        self.late: list[Callable[[], object]] = []
        """Indexers that have read, and not written yet."""

    def message(self) -> Message:
        words = self.random.choices(WORDS, k=self.random.randint(1, 6))
        role = self.random.choice(["user", "assistant", "tool"])
        name = self.random.choice([None, "Ana", "Bo"])
        return Message(role, " ".join(words), name=name)

    def step(self) -> None:
        random, store = self.random, self.store
        session = store.session(random.choice(SESSIONS), user=random.choice(["ada", "ada", "bob"]))
        head = session.version().head
        match random.randrange(18):
            case 0 | 1 | 2 | 3:
                session.append([self.message() for _ in range(random.randint(1, 20))])
            case 4 | 5:
                self.refused(lambda: session.edit(random.randint(1, head + 1), self.message()))
            case 6 | 7:
                self.refused(lambda: session.delete(random.randint(1, head + 1)))
            case 8:
                session.rewind(random.randint(max(head - 20, 0), head))
            case 9:
                (session.clear if random.random() < 0.5 else session.erase)()
            case 10:
                self.refused(lambda: session.fork("forked"))
            case 16 | 17:
                first = random.randint(1, head + 1)
                self.refused(lambda: session.archive(range(first, min(first + 4, head + 1))))
                after = random.randint(0, head)
                session.replace(
                    [self.message()], after=after, archived=random.choice([True, False, None])
                )
            case 11:
                self.moved(session.name.user)
            case 12:
                store.index(user=ANY, again=random.random() < 0.3)
            case 13:
                self.begin_to_index(session.name.user)
            case 14:
                for write in self.late:
                    write()
                self.late.clear()
            case 15:
                self.lose(
                    random.choice(
                        [
                            "DELETE FROM {runs} WHERE",
                            "UPDATE {runs} SET analyser = 77, terms = :terms WHERE",
                        ]
                    )
                )

    def refused(self, work: Callable[[], object]) -> None:
        """A message that is not there, or a session that is."""
        with suppress(Conflict):
            work()

    def moved(self, user: str) -> None:
        """Exported, erased and brought back; or gone quiet for so long that it is pruned."""
        store, file = self.store, io.BytesIO()
        if self.random.random() < 0.5:
            store.export(file, user=user)
            store.erase(user=user)
            file.seek(0)
            store.import_(file)
        else:
            session = store.session(self.random.choice(SESSIONS), user=user)
            session.update(expires_in=timedelta(microseconds=1))
            store.prune(user=user)

    def begin_to_index(self, user: str) -> None:
        """One who is late, or is killed before it writes."""
        read = partial(fields.of_scope, scope=Scope("", user, ""), metadata={})
        found = self.store._perform(Cold(read))
        gaps = found.gaps
        while gaps:
            work = partial(catching_up._analysed, found=found, gaps=gaps)
            batch = self.store._perform(Cold(work))
            gaps = batch.left
            write = partial(catching_up._write, batch=batch)
            if self.random.random() < 0.7:
                self.late.append(partial(self.store._perform, Cold(write, writes=True)))

    def lose(self, statement: str) -> None:
        """Rows of the index are lost, or were made by an older analyser."""
        where = f"{statement} seq % 32 = {self.random.choice([1, 17])}"
        self.store._perform(Cold(lambda txn: txn.run(where, {"terms": b""}), writes=True))


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_search_says_what_a_scan_says(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, database: str, part: int
) -> None:
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 7)
    url = "sqlite://" if database == "sqlite" else request.getfixturevalue("kept_postgres_url")
    often = 20 if database == "sqlite" else 5
    with Store(url) as store:
        for seed in range(part, max(round(often * SEEDS), 1) * 4, 4):
            # From none to all that is not indexed is read, and not written to the index.
            monkeypatch.setattr(search, "MOST_UNINDEXED", Random(seed).choice([0, 10, 128]))
            monkeypatch.setattr(catching_up, "_AT_ONCE", Random(seed).choice([16, 40, 1_600]))
            history = History(store, seed)
            for _ in range(history.random.randint(4, 24)):
                history.step()
                if history.random.random() < 0.2:
                    compare(store, history.random)
            compare(store, history.random)
            store.erase(tenant=ANY, user=ANY, agent=ANY)


def compare(store: Store, random: Random) -> None:
    query = " ".join(random.choices(WORDS, k=random.randint(1, 3)))
    if random.random() < 0.2:
        query += f' -{random.choice(WORDS)} "{random.choice(WORDS)}"'
    user = random.choice(["ada", "ada", "bob", ANY])
    assert searched(store, query, user) == scanned(store, query, user)
    assert [str(problem) for problem in store.verify()] == []
