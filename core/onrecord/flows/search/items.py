"""How items are searched: all of a namespace, or of several, are looked at and ranked as messages
are, by words and by meaning. An item stands for itself: it has no neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onrecord.arguments import check_range, whole_number
from onrecord.embedding import similarity
from onrecord.errors import Misconfigured, OnrecordError, shown
from onrecord.filters import predicate_of
from onrecord.flow import Cold, Flow, InThread, Outside, do
from onrecord.flows.items.accepting import item_or_damaged
from onrecord.flows.items.reading import find_items, parts_given
from onrecord.flows.search.meaning import Asked, MeaningOf, number_of
from onrecord.flows.search.search import MOST_UNSEEN, Mode, meant_by
from onrecord.flows.shared import Desk
from onrecord.hit import ItemHit
from onrecord.item import Item
from onrecord.ledger.items import meanings as rows_of
from onrecord.ledger.items.meanings import MeantRow
from onrecord.ranking import Meanings, Query, Run, Said, choose, score, signature
from onrecord.scope import NamespaceName, Scope, path_of, stored_name
from onrecord.stored.clock import microseconds, now

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_PAGE: Final = 1_000
_EMBEDDED_AT_ONCE: Final = 64


class _Known(NamedTuple):
    """An item that may be found."""

    meant: MeantRow
    item: Item
    text: str


def search_items(
    desk: Desk,
    where: NamespaceName | tuple[Scope, object],
    query: object,
    filter: object,
    limit: int,
    skip: int,
    min_score: float,
    mode: Mode,
) -> Flow[list[ItemHit]]:
    """The best items of a namespace, or of all whose names begin so, the best first; without a
    query the last written first, and no score."""
    if query is not None and not isinstance(query, str):
        raise Misconfigured(f"query has to be text or None, not {shown(query)}.")
    limit, skip = whole_number("limit", limit), whole_number("skip", skip)
    check_range("min_score", min_score, "a score", 0, 1)
    wanted = predicate_of(filter)
    scope, begin, exactly = _place(where)
    meant = yield from meant_by(desk, mode, query or "")
    if query is None or not query.strip():
        parts = where.parts if isinstance(where, NamespaceName) else where[1]
        return (yield from _listed(desk, scope, parts, exactly, filter, limit, skip))
    asked = Query.of("" if mode == "meaning" else query)
    known = yield from _all(scope, begin, exactly)
    known = [one for one in known if filter is None or wanted(one.item.value)]
    nearness = None
    if meant is not None:
        yield from _shown(meant.meaning, known)
        if _unseen(known, meant):
            known = yield from _all(scope, begin, exactly)
        known = [one for one in known if filter is None or wanted(one.item.value)]
        nearness = _near(known, meant)
    found: list[ItemHit] = []
    for place, worth in (yield from do(InThread(partial(_ranked, asked, known, nearness)))):
        if worth >= min_score:
            found.append(ItemHit(known[place].item, worth))
    return found[skip : skip + limit]


def embed_items(meaning: MeaningOf, scope: Scope) -> Flow[int]:
    """Show an embedder the items of a scope that it has not seen; how many."""
    number = yield from number_of(meaning, add=True)
    count, after = 0, None
    while page := (yield from do(Cold(partial(_page, scope=scope, begin=b"", exactly=False,
                                              after=after)))):  # fmt: skip
        after = page[-1].meant.path, page[-1].meant.row.key
        new = [one for one in page if not _is_seen(one, number)]
        for n in range(0, len(new), _EMBEDDED_AT_ONCE):
            yield from _made(meaning, number, new[n : n + _EMBEDDED_AT_ONCE])
        count += len(new)
    return count


def text_of(item: Item) -> str:
    """What an item is found by: its text, or all text and numbers in its value."""
    return item.text if item.text is not None else _said_in(item.value)


def _said_in(value: Any) -> str:
    match value:
        case Mapping():
            return "\n".join([_said_in(part) for pair in value.items() for part in pair])
        case list() | tuple() | set() | frozenset():
            return "\n".join(map(_said_in, value))
        case bytes() | None:
            return ""
        case _:
            return str(value)


def _place(where: NamespaceName | tuple[Scope, object]) -> tuple[Scope, bytes, bool]:
    if isinstance(where, NamespaceName):
        return Scope(where.tenant, where.user, where.agent), where.path, True
    scope, prefix = where
    return scope, path_of(parts_given("prefix", prefix)), False


def _listed(
    desk: Desk, scope: Scope, parts: object, exactly: bool, filter: object, limit: int, skip: int
) -> Flow[list[ItemHit]]:
    """What there is without a query: the last written first."""
    found = yield from find_items(desk, scope, parts, filter, None, limit, skip, exactly)
    return [ItemHit(item, None) for item in found if item.damaged is None]


def _all(scope: Scope, begin: bytes, exactly: bool) -> Flow[list[_Known]]:
    """All items in a place, but for those that cannot be read."""
    known: list[_Known] = []
    after: tuple[bytes, str] | None = None
    page = partial(_page, scope=scope, begin=begin, exactly=exactly)
    while found := (yield from do(Cold(partial(page, after=after)))):
        known += [one for one in found if one.item.damaged is None]
        if len(found) < _PAGE:
            break
        after = found[-1].meant.path, found[-1].meant.row.key
    return known


def _page(
    txn: Transaction, scope: Scope, begin: bytes, exactly: bool, after: tuple[bytes, str] | None
) -> list[_Known]:
    tenant, user, agent = scope
    found: list[_Known] = []
    for one in rows_of.page(txn, scope, begin, exactly, after, _PAGE, now()):
        name = stored_name(one.path, str(tenant), str(user), str(agent))
        item = item_or_damaged(name, one.row)
        found.append(_Known(one, item, "" if item.damaged else text_of(item)))
    return found


def _ranked(
    asked: Query, known: Sequence[_Known], nearness: Meanings | None
) -> Sequence[tuple[int, float]]:
    """Items by what they are worth: each is a session of one message to the ranking."""
    said = [
        Said(n, 1, microseconds(one.item.updated_at), "item", "", one.text)
        for n, one in enumerate(known)
    ]
    chosen = choose(asked, [Run(one.session, 0, signature([one])) for one in said], nearness)
    found: list[tuple[int, float]] = []
    for tier in chosen.tiers:
        texts = [said[run.session] for run in tier]
        scored = score(asked, chosen, texts, nearness, tier=tier)
        found += [(one.session, one.score) for one in scored]
    return sorted(found, key=lambda one: -one[1])


def _near(known: Sequence[_Known], asked: Asked) -> Meanings:
    width, nothing = asked.width, bytes(asked.width)
    seen = [
        (n, one.meant.meaning)
        for n, one in enumerate(known)
        if _is_seen(one, asked.meaning.number) and one.meant.meaning not in (None, nothing)
    ]
    seen = [(n, vector) for n, vector in seen if vector is not None and len(vector) == width]
    packs = b"".join(vector for _, vector in seen if vector is not None)
    near = similarity(asked.query, packs, width, dimensions=asked.dimensions)
    return Meanings.of({(n, 1): value for (n, _), value in zip(seen, near, strict=True)})


def _is_seen(one: _Known, embedder: int) -> bool:
    return one.meant.meaning is not None and one.meant.embedder == embedder


def _unseen(known: Sequence[_Known], asked: Asked) -> list[_Known]:
    return [one for one in known if not _is_seen(one, asked.meaning.number)]


def _shown(meaning: MeaningOf, known: Sequence[_Known]) -> Flow[None]:
    """Show an embedder what it has not seen, where that is little."""
    number = meaning.number
    new = [one for one in known if not _is_seen(one, number)]
    if not 0 < len(new) <= MOST_UNSEEN:
        return
    try:
        yield from _made(meaning, (yield from number_of(meaning, add=True)), new)
    except OnrecordError as fault:
        meaning.failed(fault)


def _made(meaning: MeaningOf, number: int, new: Sequence[_Known]) -> Flow[None]:
    texts, known = [one.text for one in new], meaning.known
    bits = yield from do(Outside(partial(known.embed, texts), partial(known.aembed, texts)))
    made = [(one.meant, vector) for one, vector in zip(new, bits, strict=True)]
    yield from do(Cold(partial(rows_of.write, embedder=number, made=made), writes=True))
