"""An embedder as the store knows it: checked, packed as bits, sync and async, and with an identity.

Two embedders' vectors are never compared. Which one made a vector is its identity: its name, its
dimensions, and what it makes of a few sentences, because a name alone outlives the model behind it.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from onrecord.embedding.bits import is_finite, packed, packed_query, width_of
from onrecord.embedding.patience import in_thread
from onrecord.errors import EmbedderFailed, OnrecordError, shown
from onrecord.flow import arun, run

T = TypeVar("T")

Vectors: TypeAlias = Sequence[Sequence[float]]
Ask: TypeAlias = Callable[[Sequence[str]], Vectors | Awaitable[Vectors]]

log = logging.getLogger("onrecord")

BATCH: Final = 32
"""So many texts are embedded at a time."""
LONGEST: Final = 8_000
"""So many characters of a text are embedded: no model reads more, and many refuse it."""

MOST_DIMENSIONS: Final = 65_536

_PROBES: Final = (
    "The cat sat on the mat and looked out of the window.",
    "An invoice over 250 euros has not been paid since March.",
    "How do I reset the password of my account?",
    "Die Reise nach Lyon war schön, aber viel zu kurz.",
)
_NAMED: Final = 8
_PROBED: Final = 64
"""Bytes of the name's and dimensions' digest in an identity, and of each probe at the most."""
_SAME: Final = 8
"""One in so many bits of the probes may differ. The same model on another processor, or called
again over a network, differs in up to one in twenty; another model in every second."""


class Embedder(Protocol):
    """Anything with these. ``embed`` may be async; its vectors are lists of numbers, or arrays.

    What may stand beside them: ``embed_query(text)`` for models that embed a question otherwise,
    ``query_prefix`` and ``document_prefix`` for those that want to be told which one it is, and
    ``aembed`` and ``aembed_query`` where ``embed`` and ``embed_query`` are not async themselves.
    """

    @property
    def name(self) -> str:
        """What it is known by in a store: another model has another name."""

    @property
    def dimensions(self) -> int | None:
        """How many numbers a vector has; None where that is seen from the first."""

    def embed(self, texts: Sequence[str], /) -> Vectors | Awaitable[Vectors]:
        """Make a vector of each text."""


class Known:
    """An embedder that was checked. It does no I/O before it is first asked for a vector."""

    __slots__ = ("_asks", "_background", "_dimensions", "_identity", "_prefixes", "name")

    name: str
    _asks: dict[bool, _Ways]
    _background: bytes
    _dimensions: int | None
    _identity: bytes | None
    _prefixes: dict[bool, str]

    def __init__(
        self,
        name: str,
        dimensions: int | None,
        embed: Ask,
        *,
        aembed: Ask | None = None,
        embed_query: Callable[[str], Any] | None = None,
        aembed_query: Callable[[str], Any] | None = None,
        document_prefix: str = "",
        query_prefix: str = "",
    ) -> None:
        if aembed is None and _is_async(embed):
            aembed = embed
        if embed_query is not None and aembed_query is None and _is_async(embed_query):
            aembed_query = embed_query
        documents = _Ways(embed, aembed)
        queries = documents
        if embed_query is not None:
            queries = _Ways(_one(embed_query), _one(aembed_query) if aembed_query else None)
        put = object.__setattr__
        put(self, "name", name)
        put(self, "_dimensions", dimensions)
        put(self, "_asks", {False: documents, True: queries})
        put(self, "_prefixes", {False: document_prefix, True: query_prefix})
        put(self, "_identity", None)
        put(self, "_background", b"")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed: {name} is what it is")

    def __repr__(self) -> str:
        return f"Known({self.name!r}, dimensions={self.dimensions})"

    @property
    def dimensions(self) -> int | None:
        """How many numbers a vector has; None until the first one, where nobody has said it."""
        return self._dimensions

    @property
    def width(self) -> int | None:
        """How many bytes a packed vector has; None as long as the dimensions are."""
        return None if self.dimensions is None else width_of(self.dimensions)

    @property
    def background(self) -> bytes:
        """Vectors of sentences about nothing in particular, one behind another: how near those are
        to a question says what is near. None before its identity was asked for."""
        return self._background

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Embed texts, in batches, each packed as bits. A blank text is all zeros, and not asked
        for."""
        return self._now(self._embedding(texts, query=False), query=False)

    async def aembed(self, texts: Sequence[str]) -> list[bytes]:
        """Like ``embed``: awaited where the embedder is async, in a thread where it is not."""
        return await self._later(self._embedding(texts, query=False), query=False)

    def embed_query(self, text: str) -> bytes:
        """Embed what is searched for, packed as ``similarity`` takes it; nothing for a blank
        text."""
        return self._now(self._embedding([text], query=True), query=True)[0]

    async def aembed_query(self, text: str) -> bytes:
        """Like ``embed_query``: awaited where the embedder is async, else in a thread."""
        return (await self._later(self._embedding([text], query=True), query=True))[0]

    def identity(self) -> bytes:
        """Say which embedder this is, as ``same_embedder`` compares it. The first call asks it for
        a few vectors."""
        return self._now(self._identifying(), query=False)

    async def aidentity(self) -> bytes:
        """Like ``identity``: awaited where the embedder is async, else in a thread."""
        return await self._later(self._identifying(), query=False)

    def _identifying(self) -> Generator[list[str], Vectors, bytes]:
        found = self._identity
        if found is None:
            probes = yield from self._embedding(_PROBES, query=False)
            if len(set(probes)) == 1:
                log.warning(
                    "the embedder %r gives vectors with the same signs for all texts, so nothing "
                    "is found with it: its numbers have to lie around zero",
                    self.name,
                )
            said = f"{self.name}\0{self.dimensions}".encode("utf-8", "surrogatepass")
            named = hashlib.sha256(said).digest()[:_NAMED]
            found = named + b"".join(probe[:_PROBED] for probe in probes)
            # Two threads may both come here: they find the same.
            object.__setattr__(self, "_background", b"".join(probes))
            object.__setattr__(self, "_identity", found)
        return found

    def _embedding(
        self, texts: Sequence[str], *, query: bool
    ) -> Generator[list[str], Vectors, list[bytes]]:
        """Embed, as a flow of batches: what is yielded is a batch, what comes back its vectors."""
        told = [_cleaned(text) for text in texts]
        # What is as long as its neighbours needs no padding in a model that pads a batch.
        order = sorted(filter(told.__getitem__, range(len(told))), key=lambda at: len(told[at]))
        found: dict[int, bytes] = {}
        for begin, end in pairwise([*range(0, len(order), BATCH), len(order)]):
            places = order[begin:end]
            batch = [self._prefixes[query] + told[place] for place in places]
            try:
                vectors = yield batch
            except OnrecordError:
                raise
            except Exception as fault:  # whatever it is, it is the embedder that failed
                raise EmbedderFailed(f"{self._said()} failed: {_told(fault)}") from fault
            found |= zip(places, self._packed(vectors, places, query=query), strict=True)
        if texts and not query and self.dimensions is None:
            yield from self._embedding(_PROBES[:1], query=False)
        nothing = b"" if query else bytes(self.width or 0)
        return [found.get(place, nothing) for place in range(len(told))]

    def _packed(self, vectors: Vectors, places: list[int], *, query: bool) -> list[bytes]:
        """Check what an embedder made of a batch, and pack it."""
        try:
            rows = list(vectors)
        except TypeError:
            raise EmbedderFailed(
                f"{self._said()} gave a {type(vectors).__name__} where a list of vectors, one for "
                f"each text, was wanted."
            ) from None
        if len(rows) != len(places):
            raise EmbedderFailed(
                f"{self._said()} was given {len(places)} texts and gave {len(rows)} vectors."
            )
        pack = packed_query if query else packed
        return [self._bits(row, place, pack) for row, place in zip(rows, places, strict=True)]

    def _bits(
        self, vector: Sequence[float], place: int, pack: Callable[[Sequence[float]], bytes]
    ) -> bytes:
        try:
            size, right = len(vector), not isinstance(vector, str | bytes | Mapping)
            right = right and is_finite(vector)
            bits = pack(vector) if right else b""
        except (TypeError, ValueError, OverflowError):
            size, right = -1, False
        if size == 0 or not right:
            raise EmbedderFailed(
                f"{self._said()} gave {shown(vector)} for text {place}; it has to be a list of "
                f"numbers, none of them NaN or infinite."
            )
        if self.dimensions is None:
            object.__setattr__(self, "_dimensions", size)
        if size != self.dimensions:
            raise EmbedderFailed(
                f"{self._said()} has {self.dimensions} dimensions and gave {size} for text {place}."
            )
        return bits

    def _said(self) -> str:
        return f"The embedder {self.name!r}"

    def _now(self, flow: Generator[list[str], Vectors, T], *, query: bool) -> T:
        ways = self._asks[query]
        if ways.is_only_async:
            return _waited(self._later(flow, query=query))
        return run(flow, ways.ask)

    async def _later(self, flow: Generator[list[str], Vectors, T], *, query: bool) -> T:
        return await arun(flow, self._asks[query].aask)


class _Ways:
    """How to ask an embedder: from a thread, and from a loop."""

    def __init__(self, ask: Ask, aask: Ask | None) -> None:
        self._ask = ask
        self._aask = aask
        self.is_only_async = aask is ask

    def ask(self, texts: list[str]) -> Any:
        answer = self._ask(texts)
        return _waited(answer) if inspect.isawaitable(answer) else answer

    async def aask(self, texts: list[str]) -> Any:
        if self._aask is None:
            answer: Any = await asyncio.wrap_future(in_thread(partial(self._ask, texts)))
        else:
            answer = self._aask(texts)
        return await answer if inspect.isawaitable(answer) else answer


def same_embedder(one: bytes, other: bytes) -> bool:
    """Tell whether two identities are of the same embedder, so that their vectors compare.

    Name and dimensions are equal then. What it made of the sentences may differ in a few bits: a
    network's model gives other last digits each time, and a processor's too.
    """
    if len(one) != len(other) or one[:_NAMED] != other[:_NAMED]:
        return False
    differ = int.from_bytes(one[_NAMED:]) ^ int.from_bytes(other[_NAMED:])
    return differ.bit_count() * _SAME <= 8 * (len(one) - _NAMED)


def _is_async(ask: object) -> bool:
    return inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(
        getattr(ask, "__call__", None)  # noqa: B004 - of an object whose class has an async one
    )


def _one(ask: Callable[[str], Any]) -> Ask:
    """Ask for one text by a function of one text."""
    if _is_async(ask):

        async def later(texts: Sequence[str]) -> Vectors:
            return [await ask(texts[0])]

        return later

    def now(texts: Sequence[str]) -> Any:
        answer = ask(texts[0])
        return _listed(answer) if inspect.isawaitable(answer) else [answer]

    return now


async def _listed(answer: Awaitable[Any]) -> Vectors:
    return [await answer]


def _waited(answer: Awaitable[T]) -> T:
    """Wait for something async, also where this thread has a loop that is running."""

    async def whole() -> T:
        return await answer

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, whole()).result()


def _cleaned(text: str) -> str:
    """A text as a model may be given it: not without end, and nothing that is no character."""
    text = text[:LONGEST].strip()
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


_SECRET: Final = re.compile(
    r"(?i)(?<=://)[^/@\s]+(?=@)"
    r"|(?<=bearer )\S+"
    r"|(?<=(?:key|ken|ret|ord)[=:])\s*[^\s,;]+"
    r"|\b[a-z]{2,8}[-_][\w*-]{8,}"
    r"|[\w-]{24,}"
)


def without_keys(said: str) -> str:
    """Take out of a text what may be a key or a password."""
    return _SECRET.sub("***", said)


def _told(fault: BaseException) -> str:
    """An error of others as it may be shown."""
    said = without_keys(f"{fault}"[:300])
    return f"{type(fault).__name__}: {said}" if said else type(fault).__name__
