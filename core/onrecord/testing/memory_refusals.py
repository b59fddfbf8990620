"""What no memory takes, by which error it says so, and what that names: asked of an open memory, or
of the store where the memory cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from onrecord import InvalidMessage, InvalidName, InvalidValue, Misconfigured, OnrecordError, Store
from onrecord.memory import (
    Analytics,
    EpisodicMemory,
    MemorySystem,
    PersistentBufferMemory,
    Preferences,
    RollingSummary,
    SemanticMemory,
    WorkingMemory,
    memory_from,
)


class Refused(NamedTuple):
    """Something that is asked, and cannot be."""

    ask: Callable[[Any], object]
    error: type[OnrecordError]
    named: str | None
    """What the error says, among other things; None for anything."""


NO_OWNERS: Final[tuple[Any, ...]] = (5, None, b"k", "x" * 513, "a\0b", "\ud800")
NO_NAMES: Final[tuple[Any, ...]] = (*NO_OWNERS, "")
NO_NUMBERS: Final[tuple[Any, ...]] = (-1, 1.5, "3", True, float("nan"))
NO_LIVES: Final[tuple[Any, ...]] = (*(0, -1, float("nan"), float("inf"), "1h", True, timedelta(0)),)
NO_SHARES: Final[tuple[Any, ...]] = (-0.1, 1.1, float("nan"), "0.3")
NAIVE: Final = datetime(2026, 1, 1)
ITSELF: Final[list[Any]] = []
ITSELF.append(ITSELF)


def _each(
    given: Sequence[Any],
    ask: Callable[[Any, Any], object],
    error: type[OnrecordError],
    named: str | None = None,
) -> list[Refused]:
    def asked(one: Any) -> Callable[[Any], object]:
        return lambda memory: ask(memory, one)

    return [Refused(asked(one), error, named) for one in given]


_KEYS: Final = [
    *_each(NO_NAMES, lambda memory, key: memory.set(key, 1), InvalidName, "key"),
    *_each(NO_NAMES, lambda memory, key: memory.get(key), InvalidName, "key"),
    *_each(NO_NAMES, lambda memory, key: memory.delete(key), InvalidName, "key"),
    *_each(
        (object(), {"deep": [object()]}, ITSELF, "x" * 2_000_000),
        lambda memory, value: memory.set("k", value),
        InvalidValue,
        "k'",
    ),
    *_each(NO_LIVES, lambda memory, ttl: memory.set("k", 1, ttl), Misconfigured, "ttl_seconds"),
]

_BUFFER: Final = [
    *_each(
        ("", 7, "Where is my order?", "x" * 65),
        lambda memory, role: memory.add_message(role, "user"),
        InvalidMessage,
    ),
    *_each(
        (None, 7, object(), [object()]),
        lambda memory, content: memory.add_message("user", content),
        InvalidMessage,
    ),
    *_each(
        (
            *({"metadata": {"a": object()}}, {"metadata": [1]}, {"metadata": {"a": ITSELF}}),
            *({"id": ""}, {"id": "a\0b"}, {"created_at": "yesterday"}, {"created_at": NAIVE}),
            *({"tool_calls": ["f"]}, {"nonsense": 1}, {"seq": 1}),
        ),
        lambda memory, fields: memory.add_message("user", "x", **fields),
        InvalidMessage,
    ),
    *_each(NO_NUMBERS, lambda memory, n: memory.get_history(n), Misconfigured, "limit"),
    *_each(
        (
            *(None, [], "text", {}, {"user": "u"}, {"agent": "a"}, {"user": "u", "agent": None}),
            *({"user": 7, "agent": "a"}, {"user": "u", "agent": "a", "confidence": 1}),
            *[
                {"user": "u", "agent": "a", key: given}
                for key, given in (
                    ("metadata", [1]),
                    ("metadata", {"x": object()}),
                    ("timestamp", "yesterday"),
                    ("timestamp", 7),
                    ("timestamp", "0001-01-01T00:00:00+14:00"),
                )
            ],
        ),
        lambda memory, turn: memory.save_turn("s", turn),
        InvalidMessage,
    ),
    *_each(
        NO_NAMES,
        lambda memory, key: memory.save_turn(key, {"user": "u", "agent": "a"}),
        InvalidName,
    ),
    *_each(NO_NAMES, lambda memory, key: memory.load_context(key), InvalidName),
    *_each((5, "", "a\0b"), lambda memory, key: memory.delete_history(key), InvalidName),
]

_EPISODIC: Final = [
    *_each(("", "a\nb", None, "x" * 513), lambda m, kind: m.record(kind, {}, "s"), Misconfigured),
    *_each(NO_NAMES, lambda memory, key: memory.record("x", {}, key), InvalidName),
    *_each((NAIVE, "now"), lambda m, at: m.record("x", 1, "s", timestamp=at), Misconfigured),
    *_each((object(), [object()]), lambda m, payload: m.record("x", payload, "s"), InvalidMessage),
    *_each(("x", [7], None), lambda m, events: m.record_many(events, "s"), Misconfigured),
    *_each(NO_NAMES, lambda memory, key: memory.get_session(key), InvalidName),
    *_each(NO_NUMBERS, lambda memory, n: memory.recent(n), Misconfigured, "limit"),
    *_each(NO_NUMBERS, lambda memory, n: memory.get_recent_episodes(n), Misconfigured, "limit"),
    *_each(NO_NUMBERS, lambda memory, n: memory.search("x", n), Misconfigured, "limit"),
    *_each(NO_NUMBERS, lambda memory, n: memory.search_episodes("x", n), Misconfigured, "limit"),
    *_each((7, None), lambda memory, text: memory.search(text), Misconfigured),
    *_each((7, None), lambda memory, text: memory.search_episodes(text), Misconfigured),
    *_each((float("nan"), "1"), lambda m, score: m.search("x", min_score=score), Misconfigured),
    *_each((7, None, b"1.a@episodes"), lambda memory, id: memory.get_episode(id), Misconfigured),
    *_each((7, None), lambda memory, id: memory.delete_episode(id), Misconfigured),
    *_each((7, None), lambda memory, id: memory.delete(id), Misconfigured),
    *_each((7, None), lambda memory, id: memory.pin(id), Misconfigured),
    *_each(("", None, 7), lambda memory, key: memory.clear(key), InvalidName),
    *_each(("a text", {"content": "x"}), lambda m, one: m.store_episode(one), Misconfigured),
    *_each(
        (30, NAIVE, timedelta(days=-1), timedelta(microseconds=-1)),
        lambda memory, old: memory.consolidate(old),
        Misconfigured,
        "older_than",
    ),
    *_each((1, 10**9), lambda m, n: m.consolidate(timedelta(1), at_most=n), Misconfigured),
    *_each(("a model",), lambda m, one: m.consolidate(timedelta(1), one), Misconfigured),
    *_each(("yes", 1), lambda m, dry: m.consolidate(timedelta(1), dry_run=dry), Misconfigured),
    *_each(NO_SHARES, lambda memory, below: memory.forget(below), Misconfigured, "below"),
    *_each(("yes", 1), lambda memory, dry: memory.forget(0.3, dry_run=dry), Misconfigured),
]

_SEMANTIC: Final = [
    *_each(
        (None, 5, b"x", "", " \n", ["x"]),
        lambda memory, content: memory.remember(content),
        InvalidValue,
        "content",
    ),
    *_each(("x" * 2_000_000,), lambda memory, content: memory.remember(content), InvalidValue),
    *_each(([1], "x"), lambda m, about: m.remember("x", about), Misconfigured, "metadata"),
    *_each(({"a": object()}, {"a": ITSELF}), lambda m, one: m.remember("x", one), InvalidValue),
    *_each((5, "x" * 100_001), lambda memory, query: memory.search(query), Misconfigured),
    *_each(NO_NUMBERS, lambda memory, n: memory.search("x", n), Misconfigured, "limit"),
    *_each(NO_NUMBERS, lambda memory, n: memory.recent(n), Misconfigured, "limit"),
    *_each(NO_SHARES, lambda m, one: m.search("x", threshold=one), Misconfigured, "threshold"),
    *_each(("json", None), lambda memory, one: memory.context("x", one), Misconfigured, "format"),
    *_each(NO_NAMES, lambda memory, id: memory.get(id), InvalidName, "id"),
    *_each(NO_NAMES, lambda memory, id: memory.forget(id), InvalidName, "id"),
]

_SYSTEM: Final = [
    *_each(NO_NAMES, lambda memory, key: memory.save_session(key), InvalidName, "session_id"),
    *_each(NO_NAMES, lambda memory, key: memory.load_session(key), InvalidName, "session_id"),
    *_each((0, *NO_NUMBERS), lambda m, n: m.load_session("s", n), Misconfigured, "max_messages"),
    *_each(NO_NUMBERS, lambda memory, n: memory.unfinished(limit=n), Misconfigured, "limit"),
    *_each((-1, "1"), lambda memory, quiet: memory.unfinished(quiet_for=quiet), Misconfigured),
]


def _summary(session: Any, **settings: Any) -> RollingSummary:
    return RollingSummary(session, **settings)


MADE: Final = [
    *_each(
        (WorkingMemory, PersistentBufferMemory, SemanticMemory, Analytics),
        lambda store, memory: memory(7),
        Misconfigured,
    ),
    *_each(NO_OWNERS, lambda store, name: WorkingMemory(store, user=name), InvalidName, "user"),
    *_each(("", 5, "a\0b"), lambda s, key: WorkingMemory(s, session_id=key), InvalidName),
    *_each(NO_LIVES, lambda store, ttl: WorkingMemory(store, ttl=ttl), Misconfigured, "ttl"),
    *_each(NO_NAMES, lambda store, key: PersistentBufferMemory(store, session=key), InvalidName),
    *_each(NO_NAMES, lambda store, name: EpisodicMemory(store, agent_id=name), InvalidName),
    *_each(NO_NAMES, lambda store, name: MemorySystem(store, agent_id=name), InvalidName),
    *_each(NO_LIVES, lambda store, ttl: MemorySystem(store, agent_id="a", ttl=ttl), Misconfigured),
    *_each(NO_NAMES, lambda store, name: SemanticMemory(store, namespace=name), InvalidName),
    *_each(NO_NAMES, lambda store, name: Preferences(store, name), InvalidName, "user"),
    *_each((0, "3"), lambda store, n: Preferences(store, "ada", turns=n), Misconfigured, "turns"),
    *_each(("x",), lambda s, one: Preferences(s, "ada", rules=one), Misconfigured, "rules"),
    *_each(NO_OWNERS, lambda store, name: Analytics(store, user=name), InvalidName, "user"),
    *_each((5, None, "s"), lambda store, session: _summary(session), Misconfigured, "session"),
    *_each((0, "3"), lambda s, n: _summary(s.session("s"), messages=n), Misconfigured),
    *_each(NO_SHARES, lambda s, one: _summary(s.session("s"), keep=one), Misconfigured, "keep"),
    *_each(("x",), lambda s, one: _summary(s.session("s"), summariser=one), Misconfigured),
    *_each(
        ({}, {"kind": "NOTHING"}, {"kind": "WORKING_MEMORY", "ttl": 1}),
        lambda store, config: memory_from(config, store=store),
        Misconfigured,
    ),
]
"""Asked of a store: memories that cannot be made."""


def _buffer(store: Store) -> PersistentBufferMemory:
    return PersistentBufferMemory(store, agent_id="a", auto_persist_interval=2)


REFUSED: Final[dict[str, tuple[Callable[[Store], Any], list[Refused]]]] = {
    "keys": (lambda store: WorkingMemory(store), _KEYS),
    "keys of a session": (lambda store: WorkingMemory(store, session_id="s"), _KEYS),
    "buffer": (_buffer, _BUFFER),
    "episodic": (lambda store: EpisodicMemory(store, agent_id="a"), _EPISODIC),
    "semantic": (lambda store: SemanticMemory(store), _SEMANTIC),
    "system": (lambda store: MemorySystem(store, agent_id="a"), _SYSTEM),
}
"""How each memory is made, and what it is asked, in sync and in async."""
