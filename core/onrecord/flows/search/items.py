"""How items are searched: by words and by meaning, ranked as messages are. An item stands for
itself: it is a session of one message to the ranking, and has no neighbours.

All items of the place are looked at, a page at a time, and of each its signature is kept; the best
are then read once more, so that what is handed out is there, as it is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import fsum, sqrt
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onrecord.arguments import check_range, whole_number
from onrecord.codec import value as codec
from onrecord.embedding import similarity
from onrecord.errors import Damaged, InvalidName, Misconfigured, OnrecordError, shown
from onrecord.filters import predicate_of
from onrecord.flow import Cold, Flow, do
from onrecord.flows.items.accepting import item_or_damaged
from onrecord.flows.items.reading import find_items, last_written, note_shown, parts_given
from onrecord.flows.pace import Pace
from onrecord.flows.search.meaning import PATIENCE, Asked, MeaningOf, number_of
from onrecord.flows.search.search import MOST_UNSEEN, Mode, check_mode, check_query, meant_by
from onrecord.flows.shared import Desk
from onrecord.hit import ItemHit
from onrecord.item import Item
from onrecord.ledger.items import items as rows_of
from onrecord.ledger.items import meanings
from onrecord.ledger.items.meanings import MeantRow, Place
from onrecord.ranking import Chosen, Meanings, Query, Run, Said, Sieve, choose, score
from onrecord.scope import ANY, FIRST_PATH, NamespaceName, Scope, check_owner, path_of, stored_name
from onrecord.stored.clock import now
from onrecord.stored.items import ItemRow, NamespaceKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from onrecord.ledger.database.transaction import Transaction

_PAGE: Final = 200
_EMBEDDED_AT_ONCE: Final = 64
_SCORED_AT_ONCE: Final = 192
"""As many items as a tier of messages has: of these the best ones first, then of the next."""


@dataclass(slots=True)
class _Known:
    """An item that may be found: enough of it to choose by, and to find it again."""

    namespace: NamespaceKey
    path: bytes
    key: str
    version: int
    updated: int
    terms: bytes
    meaning: bytes | None
    """The vector of this version, by the embedder that is asked; None where it has not seen it."""

    @property
    def place(self) -> tuple[int, str]:
        return self.namespace.namespace, self.key


class _Search(NamedTuple):
    """What is asked for, and where."""

    place: Place
    query: Query
    sieve: Sieve
    wanted: Callable[[object], bool]
    meant: Asked | None
    min_score: float

    def item(self, path: bytes, row: ItemRow) -> Item | None:
        """An item of a row; None where it is none of those that can be found."""
        item = item_or_damaged(self.name(path), row)
        fits = item.damaged is None and self.wanted(item.value)
        return item if fits and text_of(item.value, item.text).strip() else None

    def text(self, path: bytes, row: ItemRow) -> str:
        """What an item of a row is found by; nothing where it is none of those."""
        try:
            value, text = codec.decode(row.body)
        except Damaged:
            item_or_damaged(self.name(path), row)  # says so in the log
            return ""
        return text_of(value, text) if self.wanted(value) else ""

    def name(self, path: bytes) -> NamespaceName:
        """Of a namespace of the place, by its path."""
        tenant, user, agent = map(str, self.place.scope)
        return stored_name(path, tenant, user, agent)


def search_items(
    desk: Desk,
    where: NamespaceName | tuple[Scope, object],
    query: object,
    filter: object,
    limit: int,
    skip: int,
    min_score: float,
    mode: Mode,
    meaning: MeaningOf | None = None,
    all_of_them: bool = False,
) -> Flow[list[ItemHit]]:
    """The best items of a namespace, or of all whose names begin so, the best first; without a
    query the last written first, and no score.

    By ``meaning`` where one is given, else by the store's embedder. With ``all_of_them`` those that
    have nothing of the query come behind those that have.
    """
    if query is not None and not isinstance(query, str):
        raise Misconfigured(f"query has to be text or None, not {shown(query)}.")
    check_query(query or "")
    limit, skip = whole_number("limit", limit), whole_number("skip", skip)
    check_range("min_score", min_score, "a score", 0, 1)
    predicate = predicate_of(filter)
    place = _place_of(where)
    meaning = meaning or desk.meaning
    check_mode(meaning, mode)
    if query is None or not query.strip():
        return (yield from _listed(desk, where, filter, limit, skip))
    if not limit:
        return []
    until = time.monotonic() + PATIENCE
    meant = yield from meant_by(meaning, mode, query, until)
    asked = Query.of("" if mode == "meaning" else query)
    # A day in a question about what is known is seldom the one on which it was written down.
    asked = asked._replace(days=())
    wanted = predicate if filter is not None else _everything
    search = _Search(place, asked, Sieve(asked), wanted, meant, min_score)
    began = desk.known.begin()
    known = yield from _looked_at(search)
    if meant is not None and not desk.only_read:
        yield from _show(meant.meaning, known, until)
    found = (yield from _found(search, known, limit + skip, all_of_them))[skip:]
    note_shown(desk, ((search.name(path_of(hit.item.namespace)), hit.item) for hit in found), began)
    return found


def embed_items(meaning: MeaningOf, scope: Scope, pace: Pace | None = None) -> Flow[int]:
    """Show an embedder the items of a scope that it has not seen, states too, while there is time;
    how many."""
    pace = pace or Pace()
    until = pace.until + PATIENCE
    number = yield from number_of(meaning, add=True, until=until)
    count, place = 0, Place(scope)
    after: MeantRow | None = None
    while found := (yield from do(Cold(partial(_unseen, place=place, number=number, after=after)))):
        after, new = found
        for n in range(0, len(new), _EMBEDDED_AT_ONCE):
            if not (yield from pace.goes_on()):
                return count
            count += yield from _embedded(meaning, number, new[n : n + _EMBEDDED_AT_ONCE], until)
    return count


def text_of(value: object, text: str | None) -> str:
    """What an item is found by: its text, or all text and numbers in its value."""
    return _said_in(value) if text is None else text


def _said_in(value: Any) -> str:
    """All text and numbers in a value, in its order."""
    said: list[str] = []
    left = [value]
    while left:  # a value may be deeper than a function can call itself
        match left.pop():
            case str() as text:
                said.append(text)
            case Mapping() as pairs:
                left += [part for pair in reversed([*pairs.items()]) for part in reversed(pair)]
            case list() | tuple() as several:
                left += reversed(several)
            case set() | frozenset() as several:  # in an order that every process has
                left += sorted(several, key=str, reverse=True)
            case bytes() | None:
                pass
            case one:
                said.append(str(one))
    return "\n".join(said)


def _everything(value: object) -> bool:
    return True


def _place_of(where: NamespaceName | tuple[Scope, object]) -> Place:
    if isinstance(where, NamespaceName):
        # Nothing lies between a path and the same with one more byte.
        return Place(Scope(where.tenant, where.user, where.agent), where.path, where.path + b"\0")
    scope, prefix = where
    check_owner(*scope)
    if ANY in scope:
        raise InvalidName(
            "Items are searched in one scope: name its tenant, user and agent, or leave them out "
            "where they are empty. ANY is none."
        )
    begin = path_of(parts_given("prefix", prefix))
    return Place(scope, begin or FIRST_PATH, begin[:-1] + b"\1" if begin else b"")


def _listed(
    desk: Desk,
    where: NamespaceName | tuple[Scope, object],
    filter: object,
    limit: int,
    skip: int,
) -> Flow[list[ItemHit]]:
    """What there is without a query: the last written first."""
    if isinstance(where, NamespaceName):
        found = yield from last_written(desk, where, filter, limit, skip)
    else:
        found = yield from find_items(desk, *where, filter, None, limit, skip)
    return [ItemHit(item, None) for item in found if item.damaged is None]


def _looked_at(search: _Search) -> Flow[list[_Known]]:
    """All items of a place that anything can be found by."""
    known: list[_Known] = []
    after: MeantRow | None = None
    while found := (yield from do(Cold(partial(_page, search=search, after=after)))):
        after, those = found
        known += those
    # The numbers of namespaces are another database's own; ties and sums follow this order.
    known.sort(key=lambda one: (one.path, one.key.encode("utf-8", "surrogatepass")))
    return known


def _page(
    txn: Transaction, search: _Search, after: MeantRow | None
) -> tuple[MeantRow, list[_Known]] | None:
    rows = meanings.page(txn, search.place, after, _PAGE, now())
    known: list[_Known] = []
    for one in rows:
        row, text = one.row, search.text(one.path, one.row)
        if text.strip():
            terms, vector = search.sieve.signature(text), _vector(one, search.meant)
            known.append(
                _Known(one.namespace, one.path, row.key, row.version, row.updated, terms, vector)
            )
    return (rows[-1], known) if rows else None


def _vector(one: MeantRow, asked: Asked | None) -> bytes | None:
    if asked is None or one.embedder != asked.meaning.number or one.meaning is None:
        return None
    return one.meaning if len(one.meaning) == asked.width else None


def _said(n: int, updated: int, text: str) -> Said:
    return Said(n, 1, updated, "item", "", text)


# -- what is found -------------------------------------------------------------------------------


def _found(
    search: _Search, known: Sequence[_Known], most: int, all_of_them: bool
) -> Flow[list[ItemHit]]:
    """The best items: of those that promise most the best first, then of the next."""
    near = _near(known, search.meant)
    chosen = choose(search.query, [Run(n, 0, one.terms) for n, one in enumerate(known)], near)
    order = [run for tier in chosen.tiers for run in tier]
    found: list[ItemHit] = []
    left = dict.fromkeys(range(len(known)))
    for at in range(0, len(order), _SCORED_AT_ONCE):
        tier = order[at : at + _SCORED_AT_ONCE]
        work = partial(_scored, search=search, known=known, chosen=chosen, near=near, tier=tier)
        for n, hit in (yield from do(Cold(work))):
            del left[n]
            if hit.score is not None and hit.score >= search.min_score:
                found.append(hit)
        if len(found) >= most:
            return found[:most]
    if all_of_them and not (search.query.phrases or search.query.excluded or search.min_score):
        found += yield from _rest(search, known, list(left), near, most - len(found))
    return found


def _scored(
    txn: Transaction,
    search: _Search,
    known: Sequence[_Known],
    chosen: Chosen,
    near: Meanings | None,
    tier: Sequence[Run],
) -> list[tuple[int, ItemHit]]:
    """Items of a tier by what they are worth as they are now, the best first; of equals the last
    written first."""
    there = _read(txn, search, [(run.session, known[run.session]) for run in tier])
    if near is not None:  # what was put meanwhile means what nobody knows yet
        changed = {(n, 1) for n, item in there.items() if item.version != known[n].version}
        nearness = {at: value for at, value in near.nearness.items() if at not in changed}
        near = near._replace(nearness=nearness) if changed else near
    said = [_said(n, known[n].updated, text_of(item.value, item.text)) for n, item in there.items()]
    scored = score(search.query, chosen, said, near, tier=tier)
    scored.sort(key=lambda one: (-one.score, *_age(known[one.session])))
    return [(one.session, ItemHit(there[one.session], one.score)) for one in scored]


def _rest(
    search: _Search, known: Sequence[_Known], left: list[int], near: Meanings | None, most: int
) -> Flow[list[ItemHit]]:
    """Items that have nothing of the query: the nearest first, then the last written."""
    nearness = {} if near is None else near.nearness
    far = float("-inf")
    left.sort(key=lambda n: (-nearness.get((n, 1), far), *_age(known[n])))
    found: list[ItemHit] = []
    for at in range(0, len(left), _SCORED_AT_ONCE):
        if len(found) >= most:
            break
        some = [(n, known[n]) for n in left[at : at + _SCORED_AT_ONCE]]
        there = yield from do(Cold(partial(_read, search=search, some=some)))
        found += [ItemHit(there[n], 0.0) for n, _ in some if n in there]
    return found[:most]


def _age(one: _Known) -> tuple[int, bytes, int]:
    """The last written first: of one moment, by namespace, and there the later version."""
    return -one.updated, one.path, -one.version


def _read(txn: Transaction, search: _Search, some: Sequence[tuple[int, _Known]]) -> dict[int, Item]:
    """Items as they are now, by their numbers; without those that are not there any more."""
    by_namespace: dict[NamespaceKey, list[_Known]] = {}
    for _, one in some:
        by_namespace.setdefault(one.namespace, []).append(one)
    found: dict[tuple[int, str], Item] = {}
    for namespace, those in by_namespace.items():
        rows = rows_of.find_many(txn, namespace, [one.key for one in those], now())
        for one in those:
            row = rows.get(one.key)
            item = None if row is None else search.item(one.path, row)
            if item is not None:
                found[one.place] = item
    return {n: found[one.place] for n, one in some if one.place in found}


# -- what is meant -------------------------------------------------------------------------------


def _near(known: Sequence[_Known], asked: Asked | None) -> Meanings | None:
    """How near each item is, in standard deviations from what is usual.

    A namespace may have a single item: what is usual is told by sentences about nothing as well.
    """
    if asked is None:
        return None
    nothing = bytes(asked.width)
    seen = [(n, one.meaning) for n, one in enumerate(known) if one.meaning not in (None, nothing)]
    packs = b"".join([vector for _, vector in seen if vector is not None])
    if not packs:
        return Meanings({}, 0.0)
    packs += asked.meaning.known.background
    near = similarity(asked.query, packs, asked.width, dimensions=asked.dimensions)
    usual = fsum(near) / len(near)
    spread = sqrt(fsum([(value - usual) ** 2 for value in near]) / len(near)) or 1.0
    best = (max(near[: len(seen)]) - usual) / (1 - usual) if usual < 1 else 0.0
    nearness = {(n, 1): (value - usual) / spread for (n, _), value in zip(seen, near, strict=False)}
    return Meanings(nearness, max(best, 0.0))


class _Shown(NamedTuple):
    """An item that an embedder is shown."""

    namespace: NamespaceKey
    key: str
    version: int
    text: str


def _show(meaning: MeaningOf, known: Sequence[_Known], until: float) -> Flow[None]:
    """Show an embedder what it has not seen, of much the last written: each search some more."""
    new = sorted([one for one in known if one.meaning is None], key=_age)[:MOST_UNSEEN]
    if not new:
        return
    shown = yield from do(Cold(partial(_texts, new=new)))
    try:
        number = yield from number_of(meaning, add=True, until=until)
        made = yield from meaning.embed([one.text for one in shown], until)
        yield from _written(number, shown, made)
    except OnrecordError as fault:
        meaning.failed(fault)
        return
    of = {one[:3]: vector for one, vector in zip(shown, made, strict=True)}
    for one in new:
        one.meaning = of.get((one.namespace, one.key, one.version))


def _texts(txn: Transaction, new: Sequence[_Known]) -> list[_Shown]:
    """What items are found by that are still of the version that was looked at."""
    found: list[_Shown] = []
    for one in new:
        row = rows_of.find_many(txn, one.namespace, [one.key], now()).get(one.key)
        if row is not None and row.version == one.version:
            found += _shown_of(one.namespace, one.path, row)
    return found


def _unseen(
    txn: Transaction, place: Place, number: int, after: MeantRow | None
) -> tuple[MeantRow, list[_Shown]] | None:
    rows = meanings.page(txn, place, after, _PAGE, now())
    new: list[_Shown] = []
    for one in rows:
        if one.embedder != number or one.meaning is None:
            new += _shown_of(one.namespace, one.path, one.row)
    return (rows[-1], new) if rows else None


def _shown_of(namespace: NamespaceKey, path: bytes, row: ItemRow) -> list[_Shown]:
    item = item_or_damaged(stored_name(path, "", "", ""), row)
    text = "" if item.damaged is not None else text_of(item.value, item.text)
    return [_Shown(namespace, row.key, row.version, text)] if text.strip() else []


def _embedded(meaning: MeaningOf, number: int, shown: Sequence[_Shown], until: float) -> Flow[int]:
    try:
        made = yield from meaning.embed([one.text for one in shown], until)
    except OnrecordError as fault:
        meaning.failed(fault)
        raise
    meaning.answered()
    yield from _written(number, shown, made)
    return len(shown)


def _written(number: int, shown: Sequence[_Shown], made: Sequence[bytes]) -> Flow[None]:
    rows = [(*one[:3], vector) for one, vector in zip(shown, made, strict=True)]
    yield from do(Cold(partial(meanings.write, embedder=number, made=rows), writes=True))
