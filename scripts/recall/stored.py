"""Ask a store, as people do: what was said is appended and indexed, and then searched."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC

from onrecord import Message, Store
from scripts.recall.data import Conversation
from scripts.recall.measure import Found


class Stored:
    """One conversation in a store: its sessions are those of a user, who is named as it is."""

    def __init__(self, store: Store, conversation: Conversation, took: list[float]) -> None:
        self._store, self._user = store, conversation.id
        self._took = took
        """Where the seconds of each search go."""

    def search(self, query: str, limit: int) -> list[Found]:
        """Give the turns that answer, the best first."""
        began = time.perf_counter()
        hits = self._store.search(query, user=self._user, limit=limit)
        self._took.append(time.perf_counter() - began)
        assert hits.complete, "there was no time to look at everything"
        return [Found(hit.message.id or "", hit.score) for hit in hits]


class Recalled(Stored):
    """The same, asked for what a model is told: whole turns, and nothing where nothing answers."""

    def search(self, query: str, limit: int) -> list[Found]:
        """Give the turns that are recalled, in the order they were said."""
        del limit  # the budget says how many
        recalled = self._store.recall(query, user=self._user)
        return [
            Found(message.id or "", 1.0) for passage in recalled for message in passage.messages
        ]


@contextmanager
def opened(url: str, conversations: Iterable[Conversation], model: bool) -> Iterator[Store]:
    """Open a store that has conversations, indexed, and with the model embedded too."""
    with Store(url, embedder="minilm" if model else None) as store:
        for each in conversations:
            sessions: dict[int, list[Message]] = {}
            for turn in each.turns:
                when = turn.when.replace(tzinfo=UTC)
                message = Message("user", turn.text, name=turn.speaker, id=turn.id, created_at=when)
                sessions.setdefault(turn.session, []).append(message)
            for number, messages in sessions.items():
                # The names of sessions are in order, as the sessions are.
                store.session(f"{number:04}", user=each.id).append(messages)
            store.index(user=each.id)
            if model:
                store.embed(user=each.id)
        yield store
