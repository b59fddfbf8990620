"""Semantic memory: what is known, each fact once, found by its words and by what it means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.item_search import ItemSearch
from onrecord.adapters.reference import check_store
from onrecord.arguments import check_choice, check_range, mapping
from onrecord.errors import Conflict, InvalidValue, Misconfigured, shown
from onrecord.memory.wording import in_a_line
from onrecord.scope import Scope, check_name, check_parts

if TYPE_CHECKING:
    from onrecord.item import Item
    from onrecord.store import Store

Format: TypeAlias = Literal["detailed", "compact", "list"]

_FORMATS: Final = ("detailed", "compact", "list")
_BY_WORDS: Final = 0.3
_BY_MEANING: Final = 0.1
"""Of a dozen facts MiniLM finds by it all 15 that are asked for in other words, by 0.3 only 7; and
one of 18 questions that none answers gets one: pytest -s tests/test_memory_semantic.py -k dozen."""
_TRIES: Final = 10
"""How often who else writes the same fact may be quicker, before that is raised."""


@dataclass(frozen=True, slots=True, repr=False)
class Fact:
    """Something that is known. Yours to keep; ``str(fact)`` is what it says."""

    id: str
    """The SHA-256 of its content: the same content is the same fact."""
    content: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    def __str__(self) -> str:
        return self.content

    def __repr__(self) -> str:
        about = f", {self.metadata!r}" if self.metadata else ""
        return f"Fact({self.content!r}{about}, id={self.id!r})"


@dataclass(frozen=True, slots=True, repr=False)
class FactHit:
    """A fact that was found, and how well it answers."""

    fact: Fact
    score: float
    """From 0 to about 1, and not a cosine: how sure it is that anything answers, and how much of
    the query this has. What answers by meaning alone has about 0.1 to 0.5."""

    @property
    def id(self) -> str:
        """The fact's id."""
        return self.fact.id

    @property
    def content(self) -> str:
        """What the fact says."""
        return self.fact.content

    @property
    def metadata(self) -> dict[str, Any]:
        """What the fact carries besides."""
        return self.fact.metadata

    def __str__(self) -> str:
        return self.content

    def __repr__(self) -> str:
        return f"FactHit({self.score:.2f}, {self.content!r}, id={self.id!r})"


class SemanticMemory:
    """What is known in a scope. Facts are items of the store: durable, and shared by all processes.

    A store with an embedder finds them by meaning and by words, one without by words; ``repr``
    says which.
    """

    def __init__(
        self,
        store: Store,
        *,
        namespace: str | tuple[str, ...] = "facts",
        similarity_threshold: float | None = None,
        tenant: str = "",
        user: str = "",
        agent: str = "",
    ) -> None:
        """
        store       an onrecord.Store
        namespace   facts of another one are other facts
        similarity_threshold    what answers worse, from 0 to 1, is not found: not a cosine, but
                    the score of ``items.search``; 0.3 where facts are found by words alone, and
                    0.1 with an embedder, for what has no word of the query scores lower
        tenant, user, agent    whose it is
        """
        check_store(store)
        if similarity_threshold is not None:
            check_range("similarity_threshold", similarity_threshold, "a score", 0, 1)
        parts = namespace if isinstance(namespace, tuple) else (namespace,)
        check_parts(parts)
        self.store = store
        self._items = store.items(*parts, tenant=tenant, user=user, agent=agent)
        self._search = ItemSearch(store, Scope(tenant, user, agent))
        if similarity_threshold is None:
            similarity_threshold = _BY_WORDS if self._search.embedder is None else _BY_MEANING
        self.similarity_threshold = similarity_threshold

    @property
    def finds_by(self) -> str:
        """What facts are found by: ``words``, or ``words and meaning`` with an embedder."""
        return "words" if self._search.embedder is None else "words and meaning"

    def remember(self, content: str, metadata: Mapping[str, Any] | None = None) -> Fact:
        """Remember a fact, and return it as it is known.

        The same content is one fact, however often it is said: then its metadata gets the new keys
        over those that it has, and nothing is written where that changes nothing.
        """
        return talk(self._remembered(content, metadata))

    async def aremember(self, content: str, metadata: Mapping[str, Any] | None = None) -> Fact:
        """Like ``remember``."""
        return await atalk(self._remembered(content, metadata))

    def search(self, query: str, limit: int = 5, threshold: float | None = None) -> list[FactHit]:
        """Find facts that answer a query, the best first; nothing, where nothing is relevant or
        nothing is asked. ``threshold`` instead of the memory's own, from 0 to 1."""
        return talk(self._found(query, limit, threshold))

    async def asearch(
        self, query: str, limit: int = 5, threshold: float | None = None
    ) -> list[FactHit]:
        """Like ``search``."""
        return await atalk(self._found(query, limit, threshold))

    def recent(self, limit: int = 10) -> list[Fact]:
        """Read the facts that were remembered or changed last, the latest first."""
        return talk(self._recent(limit))

    async def arecent(self, limit: int = 10) -> list[Fact]:
        """Like ``recent``."""
        return await atalk(self._recent(limit))

    def get(self, id: str) -> Fact | None:
        """Read a fact by its id; None where there is none. A fact's content is no id, and is
        refused."""
        return talk(self._got(id))

    async def aget(self, id: str) -> Fact | None:
        """Like ``get``."""
        return await atalk(self._got(id))

    def forget(self, id: str) -> bool:
        """Take a fact away for good; whether it was there."""
        return talk(self._forgotten(id))

    async def aforget(self, id: str) -> bool:
        """Like ``forget``."""
        return await atalk(self._forgotten(id))

    def count(self) -> int:
        """Count the facts."""
        return talk(call(self._items.count))

    async def acount(self) -> int:
        """Like ``count``."""
        return await atalk(call(self._items.count))

    def context(
        self,
        query: str,
        format: Format = "detailed",
        limit: int = 5,
        threshold: float | None = None,
    ) -> str:
        """Say for a prompt what is known that answers a query; the empty text where nothing does.

        ``detailed`` is a heading and a numbered fact a line, with score and metadata, ``list`` a
        line for each fact, ``compact`` all in one line.
        """
        return talk(self._told(query, format, limit, threshold))

    async def acontext(
        self,
        query: str,
        format: Format = "detailed",
        limit: int = 5,
        threshold: float | None = None,
    ) -> str:
        """Like ``context``."""
        return await atalk(self._told(query, format, limit, threshold))

    def __str__(self) -> str:
        """The facts that were remembered last, a line each, as they can stand in a prompt."""
        return "\n".join(f"- {in_a_line(fact.content)}" for fact in self.recent(20))

    def _repr_html_(self) -> str:
        facts = "".join(map(_as_html, self.recent(20)))
        return f"<div>{escape(repr(self))}</div><ul>{facts}</ul>"

    def __repr__(self) -> str:
        return (
            f"SemanticMemory({self._items.name} in {self.store!r}, found by {self.finds_by}, "
            f"similarity_threshold={self.similarity_threshold})"
        )

    # -- written once ------------------------------------------------------------------------------

    def _remembered(self, content: str, metadata: Mapping[str, Any] | None) -> Talk[Fact]:
        if not isinstance(content, str) or not content.strip():
            raise InvalidValue(f"content has to be text with words in it, not {shown(content)}.")
        new = mapping("metadata", metadata)
        id = _id_of(content)
        there = yield from call(self._items.get, id)
        for left in reversed(range(_TRIES)):
            known = {} if there is None else _fact(there).metadata
            if there is not None and {**known, **new} == known:
                return _fact(there)
            if there is not None and there.text and isinstance(there.value, dict):
                # What others say of it at the same time is kept: the database merges.
                there = yield from call(self._items.merge, id, new)
                if there.text:
                    return _fact(there)
                known = there.value  # it was forgotten meanwhile, and has no content any more
            try:
                item = yield from call(
                    self._items.put, id, {**known, **new}, text=content, expected=there or 0
                )
                return _fact(item)
            except Conflict as conflict:  # somebody else was quicker: theirs is kept as well
                if not left:
                    raise
                there = conflict.item
        raise AssertionError("the last try returns or raises")

    def _found(self, query: str, limit: int, threshold: float | None) -> Talk[list[FactHit]]:
        if threshold is None:
            threshold = self.similarity_threshold
        else:
            check_range("threshold", threshold, "a score", 0, 1)
        hits = yield from call(self._items.search, query, limit=limit, min_score=threshold)
        # Without a query the last written come, and have no score: nothing was asked.
        return [FactHit(_fact(hit.item), hit.score) for hit in hits if hit.score is not None]

    def _recent(self, limit: int) -> Talk[list[Fact]]:
        items = yield from call(self._items.list, order="updated", limit=limit)
        return [_fact(item) for item in items if item.damaged is None]

    def _forgotten(self, id: str) -> Talk[bool]:
        check_name("id", id)
        gone = yield from call(self._items.delete, id)
        if not gone:
            _check_id(id)
        return gone

    def _got(self, id: str) -> Talk[Fact | None]:
        check_name("id", id)
        item = yield from call(self._items.get, id)
        if item is None:
            _check_id(id)
            return None
        return _fact(item)

    def _told(self, query: str, format: Format, limit: int, threshold: float | None) -> Talk[str]:
        check_choice("format", format, _FORMATS)
        found = yield from self._found(query, limit, threshold)
        return in_words(found, format)


def in_words(found: Sequence[FactHit], format: Format) -> str:
    """Say for a prompt what was found; the empty text where that is nothing."""
    if not found:
        return ""
    match format:
        case "compact":
            return "; ".join(in_a_line(one.content) for one in found)
        case "list":
            return "\n".join(f"- {in_a_line(one.content)}" for one in found)
        case "detailed":
            return "\n".join(_detailed(found))


def _detailed(found: Sequence[FactHit]) -> Iterator[str]:
    yield "What is known about this, the most relevant first:"
    for number, one in enumerate(found, 1):
        about = [f"{key}: {value}" for key, value in one.metadata.items()]
        aside = in_a_line(", ".join([f"relevance {one.score:.2f}", *about]))
        yield f"{number}. {in_a_line(one.content)} ({aside})"


def _as_html(fact: Fact) -> str:
    about = ", ".join(f"{key}: {value}" for key, value in fact.metadata.items())
    return f"<li>{escape(fact.content)} <small>{escape(about)}</small></li>"


def _check_id(id: str) -> None:
    """Refuse a content where an id belongs. Only where nothing is there: what something else has
    put into the namespace has a key of its own making."""
    if any(map(str.isspace, id)):
        raise Misconfigured(
            f"{shown(id)} is no id of a fact, and a fact's content is none. The id is "
            f"remember(…).id, or that of what search(…) has found."
        )


def _id_of(content: str) -> str:
    try:
        return sha256(content.encode()).hexdigest()
    except UnicodeEncodeError:
        # Half of a surrogate pair: no UTF-8, and still a content of its own.
        return sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _fact(item: Item) -> Fact:
    """A fact of an item: its text, and its value as what goes with it. Of one that somebody else
    has put into the namespace the key and the value."""
    match item.value:
        case dict(about) if item.text:
            return Fact(item.key, item.text, about, item.created_at, item.updated_at)
    content = item.text or f"{item.key}: {item.value}"
    return Fact(item.key, content, {}, item.created_at, item.updated_at)
