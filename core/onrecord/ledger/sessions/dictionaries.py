"""The dictionaries of a store: kept in the database, known by number, loaded when first met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from onrecord import codec
from onrecord.codec import Compression, Dictionary, dictionary
from onrecord.errors import Damaged, Misconfigured
from onrecord.ledger.database.bounds import LAST_DICTIONARY
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import sessions
from onrecord.stored.clock import now
from onrecord.stored.messages import SessionKey

_LOAD: Final = "SELECT body FROM {dictionaries} WHERE id = :id"
NEWEST: Final = (
    f"SELECT max(id) FROM {{dictionaries}} WHERE in_use = 1 AND id BETWEEN 1 AND {LAST_DICTIONARY}"
)
_IN_USE: Final = "SELECT id FROM {dictionaries} WHERE id = :id AND in_use = 1"
_LEARNED_AT: Final = "SELECT created FROM {dictionaries} WHERE id = :id"
_ADD: Final = """
    INSERT INTO {dictionaries} (id, in_use, created, sources, body)
    VALUES (:id, 1, :created, :sources, :body)"""
_HIGHEST: Final = f"SELECT coalesce(max(id), 0) FROM {{dictionaries}} WHERE id <= {LAST_DICTIONARY}"
# No number is ever given twice: another process that still knows what it meant would go on
# writing with that, and nobody could read it.
_BEGIN_NUMBERS: Final = """
    INSERT INTO {meta} (name, value) VALUES ('dictionaries', :none) ON CONFLICT (name) DO NOTHING"""
_NUMBERED: Final = "SELECT value FROM {meta} WHERE name = 'dictionaries' {for_update}"
_NUMBER: Final = "UPDATE {meta} SET value = :number WHERE name = 'dictionaries'"
_SOURCES: Final = "SELECT id, sources FROM {dictionaries} WHERE in_use = 1"
_OLDER: Final = """
    SELECT id FROM {dictionaries}
    WHERE in_use = 1 AND id < (SELECT max(id) FROM {dictionaries} WHERE in_use = 1) ORDER BY id"""
_RETIRE: Final = "UPDATE {dictionaries} SET in_use = 0 WHERE id = :id"
_DROP: Final = "DELETE FROM {dictionaries} WHERE id = :id"
_COUNT: Final = "SELECT count(*), coalesce(sum(length(body)), 0) FROM {dictionaries}"
_BODIES: Final = "SELECT id, body FROM {dictionaries} ORDER BY id"


class Dictionaries:
    """What one process knows of a store's dictionaries."""

    def __init__(self, compression: Compression) -> None:
        self.compression = compression
        self._known: dict[int, Dictionary] = {}
        self._current: Dictionary | None = None
        self.missed = 0
        """How often one was asked for that was not there."""

    @property
    def current(self) -> Dictionary | None:
        """What to compress with; None for nothing, as far as is known here."""
        return self._current if self.compression == "zstd" else None

    def get(self, txn: Transaction, number: int) -> Dictionary | None:
        """A dictionary by number; None where it is missing or damaged."""
        if number not in self._known:
            found = txn.first(_LOAD, {"id": number})
            try:
                content = None if found is None else dictionary.unpack(bytes(found[0]))
            except Damaged:
                content = None
            known = None if content is None else Dictionary(number, content)
            if known is None:
                self.missed += 1
                return None  # not remembered: it may be restored
            self._known[number] = known
            if self._current is None or number > self._current.number:
                self._current = known  # another process has learned it; asked about in ``held``
        return self._known[number]

    def learn(self, txn: Transaction, newest: int | None) -> None:
        """Know the newest one, which was asked for when the ledger was opened."""
        if newest is not None:
            self.get(txn, newest)

    def in_use(self, txn: Transaction) -> Dictionary | None:
        """The current one, certain to stay until this transaction ends; None for nothing.

        Of a transaction that writes: who takes one away waits for those that began before it was
        taken out of use (``retire``). So no row is locked, which all who write would share.
        """
        current = self.current
        if current is None or is_in_use(txn, current.number):
            return current
        return self.refreshed(txn)

    def refreshed(self, txn: Transaction) -> Dictionary | None:
        """The newest there is in the database, like ``in_use``."""
        found = txn.first(NEWEST, {})
        number = None if found is None else found[0]
        self._current = None if number is None else self.get(txn, number)
        return self.current

    def forget(self, number: int) -> None:
        """It was dropped."""
        self._known.pop(number, None)
        if self._current is not None and self._current.number == number:
            self._current = None


def is_in_use(txn: Transaction, number: int) -> bool:
    """Whether what needs a dictionary may be written: it is in use, and stays until this
    transaction, which writes, has ended."""
    return txn.first(_IN_USE, {"id": number}) is not None


def add(txn: Transaction, content: bytes, sources: Mapping[SessionKey, int]) -> int | None:
    """Keep a new dictionary, learned from sessions that began at these times; its number.

    None where one of them has been erased since: what it said must not stay in here (I7).
    """
    txn.begin()
    if sessions.created_of(txn, sorted(sources), hold=True) != sources:
        return None
    number = _next_number(txn)
    txn.run(
        _ADD,
        {
            "id": number,
            "created": now(),
            "sources": codec.pack_value([[*key, at] for key, at in sources.items()], "sources"),
            "body": dictionary.pack(content),
        },
    )
    return number


def _next_number(txn: Transaction) -> int:
    """One that no dictionary ever had. Whoever else adds one waits here."""
    txn.run(_BEGIN_NUMBERS, {"none": (0).to_bytes(4, "big")})
    given, highest = txn.first(_NUMBERED, {}), txn.first(_HIGHEST, {})
    assert given is not None, "it was just put there"
    assert highest is not None, "an aggregate always answers"
    number = max(int.from_bytes(given[0], "big"), int(highest[0])) + 1
    if number > LAST_DICTIONARY:
        raise Misconfigured(
            f"This store has had {LAST_DICTIONARY:,} dictionaries, and there are no more numbers "
            f"for them. Export it into another one to train again."
        )
    txn.run(_NUMBER, {"number": number.to_bytes(4, "big")})
    return number


def tainted(txn: Transaction) -> list[int]:
    """Which ones were learned from a session that has been erased since."""
    return [
        int(number)
        for number, packed in txn.rows(_SOURCES, {})
        if (sources := _sources(packed)) is None
        or sessions.created_of(txn, sorted(sources)) != sources
    ]


def retire(txn: Transaction, number: int) -> None:
    """Nobody writes with it any more once this is committed."""
    txn.run(_RETIRE, {"id": number})


def learned_at(txn: Transaction, number: int) -> int:
    """When a dictionary was learned; 0 where it has gone meanwhile."""
    found = txn.first(_LEARNED_AT, {"id": number})
    return 0 if found is None else int(found[0])


def superseded(txn: Transaction) -> list[int]:
    """Those that are in use and are not the newest: nothing new is compressed with them."""
    return [int(number) for (number,) in txn.rows(_OLDER, {})]


def retire_superseded(txn: Transaction) -> None:
    """Nobody writes any more with a dictionary that is not the newest: another was learned."""
    for number in superseded(txn):
        retire(txn, number)


def handed_over(txn: Transaction) -> list[int]:
    """Which ones were learned from conversations that do not stand here: nobody can tell whose."""
    return [int(number) for number, packed in txn.rows(_SOURCES, {}) if _sources(packed) == {}]


def drop(txn: Transaction, number: int) -> None:
    """Take it away; nothing needs it any more."""
    txn.run(_DROP, {"id": number})
    txn.dictionaries.forget(number)


def totals(txn: Transaction) -> tuple[int, int]:
    """How many there are, and how many bytes they take."""
    found = txn.first(_COUNT, {})
    assert found is not None, "an aggregate always answers"
    return int(found[0]), int(found[1])


def damaged(txn: Transaction) -> list[tuple[int, str]]:
    """Those that cannot be read, and why."""
    faults: list[tuple[int, str]] = []
    for number, body in txn.rows(_BODIES, {}):
        try:
            dictionary.unpack(bytes(body))
        except Damaged as fault:
            faults.append((int(number), str(fault)))
    return faults


def without_sources(txn: Transaction) -> list[int]:
    """Those of which it cannot be read what they were learned from."""
    return [int(number) for number, packed in txn.rows(_SOURCES, {}) if _sources(packed) is None]


def _sources(packed: bytes) -> dict[SessionKey, int] | None:
    """None where they cannot be read: what cannot be ruled out has to be assumed."""
    try:
        found: list[list[int]] = codec.unpack_value(bytes(packed))
        sources = {SessionKey(shard, session): at for shard, session, at in found}
    except (Damaged, TypeError, ValueError):
        return None
    numbers = (number for key, at in sources.items() for number in (*key, at))
    return sources if all(type(n) is int and -(2**63) <= n < 2**63 for n in numbers) else None
