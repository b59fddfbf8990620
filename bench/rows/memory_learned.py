"""What is learned, beside a plain computation that reads every message each time.

Of a user with 20 sessions of 50 messages; and of many customers with a session of four messages
each. The limit is a read of the feed by somebody who learns nothing from it. Who begins from
nothing forgets it all again, and that counts too.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from bench.data import TEXT
from bench.measuring import Contender, Kind, Row, Wanted, Work, timed
from bench.place import Place
from onrecord import ANY, Message, Store
from onrecord.memory.analytics import Analytics
from onrecord.memory.preferences import Preferences
from onrecord.memory.rules import DEFAULT

_SESSIONS: Final = 20
_TURNS: Final = 25
NOTHING: Final = "Onrecord, nothing new"
ONE: Final = "Onrecord, one turn is new"
NAIVE: Final = "all messages, each time"
FEED: Final = "the feed alone"
FIRST: Final = "Onrecord, from nothing"


def _turn(n: int = 1) -> list[Message]:
    about = {"resolved": bool(n % 2), "confidence": 0.85}
    return [Message("user", TEXT), Message("assistant", TEXT, metadata=about)]


def _said(store: Store, **scope: str) -> Work:
    count = itertools.count()
    return lambda: store.session(f"s{next(count) % _SESSIONS}", **scope).append(_turn())


def _of_one_user(store: Store, place: Place, name: str, where: str) -> Row:
    said = _said(store, user="ada")
    for _ in range(_SESSIONS * place.rounds(_TURNS, 5)):
        said()
    preferences = Preferences(store, "ada")

    def after_a_turn() -> object:
        said()
        return preferences.read()

    found = timed(
        place.rounds(15, 5),
        [
            Contender(NOTHING, Kind.OURS, preferences.read),
            Contender(ONE, Kind.OURS, after_a_turn),
            Contender(NAIVE, Kind.SHOWN, lambda: _plainly(store)),
            Contender("append of a turn", Kind.LIMIT, said, ONE),
        ],
        calls=place.rounds(40, 10),
    )
    return Row(
        name=name,
        title=f"The preferences of a user, {where}",
        settings=f"{_SESSIONS} sessions of {2 * _TURNS} messages; the new turn's append counts too",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(text="under 5 ms", ours=NOTHING, beside=(), at_most=5e-3),
            Wanted(text="under 5 ms", ours=ONE, beside=(), at_most=5e-3),
        ),
    )


def _plainly(store: Store) -> Counter[str]:
    """The rules over all that the user said."""
    found: Counter[str] = Counter()
    for info in store.sessions(user="ada", limit=1_000):
        for message in store.session(info.key, user="ada").messages():
            if message.opens_turn:
                for what in ("style", "length", "topics"):
                    found.update(name for name, _ in DEFAULT.say(what, message.text))
    return found


def _of_all(store: Store, place: Place, name: str, where: str) -> Row:
    count = place.rounds(5_000, 500)
    for n in range(count):
        store.session("s", user=f"u{n}").append([*_turn(0), *_turn(1)])
    analytics = Analytics(store)
    customers = itertools.cycle(range(count))

    def after_a_turn() -> object:
        store.session("s", user=f"u{next(customers)}").append(_turn())
        return analytics.summary()

    found = timed(
        place.rounds(15, 5),
        [
            Contender(NOTHING, Kind.OURS, analytics.summary),
            Contender(ONE, Kind.OURS, after_a_turn),
        ],
        calls=place.rounds(40, 10),
    )
    analytics.forget()
    feeds = (store.feed(f"{n}") for n in itertools.count())
    found += timed(
        place.rounds(3, 1),
        [
            Contender(FIRST, Kind.OURS, lambda: (analytics.summary(), analytics.forget())),
            Contender(NAIVE, Kind.SHOWN, lambda: _counted(store)),
            Contender(FEED, Kind.LIMIT, lambda: _followed(next(feeds)), FIRST),
        ],
        settled=True,
    )
    return Row(
        name=name,
        title=f"Analytics of {count:,} customers, {where}",
        settings="a session of 4 messages each; the new turn's append counts too",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(text="under 100 ms", ours=NOTHING, beside=(), at_most=0.1),
            Wanted(text="at most 2 × the feed", ours=FIRST, beside=(FEED,), at_most=2.0),
        ),
    )


def _messages(store: Store) -> Iterator[Message]:
    after: Any = None
    while page := store.sessions(tenant=ANY, user=ANY, agent=ANY, limit=1_000, after=after):
        for info in page:
            yield from store.session(info.key, user=info.user).messages()
        after = page[-1]


def _counted(store: Store) -> Counter[str]:
    found: Counter[str] = Counter()
    for message in _messages(store):
        found["turns"] += message.opens_turn
        found["resolved"] += message.metadata.get("resolved") is True
    return found


def _followed(feed: Any) -> None:
    while changes := feed.read(limit=1_000):
        feed.done(changes)
    feed.forget()


def preferences_sqlite(place: Place) -> Row:
    """The preferences of a user, on a SQLite file."""
    with Store(f"sqlite:///{place.file('learned')}") as store:
        return _of_one_user(store, place, "memory-preferences-sqlite", "a SQLite file")


def preferences_postgres(place: Place) -> Row:
    """The preferences of a user, on PostgreSQL."""
    with Store(place.database()) as store:
        return _of_one_user(store, place, "memory-preferences-postgres", "PostgreSQL")


def analytics_sqlite(place: Place) -> Row:
    """Analytics of many customers, on a SQLite file."""
    with Store(f"sqlite:///{place.file('learned')}", durability="normal") as store:
        return _of_all(store, place, "memory-analytics-sqlite", "a SQLite file")


def analytics_postgres(place: Place) -> Row:
    """Analytics of many customers, on PostgreSQL."""
    with Store(place.database()) as store:
        return _of_all(store, place, "memory-analytics-postgres", "PostgreSQL")
