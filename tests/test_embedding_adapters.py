"""The frameworks' embeddings as embedders of ours, with the ones they bring along for tests."""

import asyncio
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings, FakeEmbeddings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MockEmbedding

import langchain_onrecord
import llama_index_onrecord
from onrecord import EmbedderFailed, Misconfigured
from onrecord.embedding import Known, embedder_of, same_embedder
from onrecord.embedding.bits import packed, packed_query


class Split(Embeddings):
    """LangChain's, with questions apart and async methods of its own, which are noted."""

    model = "split-1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append("documents")
        return [[text.count(letter) - 0.5 for letter in "abcdefgh"] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.asked.append("query")
        return [text.count(letter) - 0.25 for letter in "hgfedcba"]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append("later")
        return self.embed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        self.asked.append("later")
        return self.embed_query(text)


class SplitToo(BaseEmbedding):
    """LlamaIndex's, the same."""

    asked: list[str] = []  # noqa: RUF012 - pydantic copies it

    def _get_text_embedding(self, text: str) -> list[float]:
        self.asked.append("documents")
        return Split().embed_documents([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        self.asked.append("documents")
        return Split().embed_documents(texts)

    def _get_query_embedding(self, query: str) -> list[float]:
        self.asked.append("query")
        return Split().embed_query(query)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        self.asked.append("later")
        return self._get_text_embeddings(texts)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        self.asked.append("later")
        return self._get_query_embedding(query)


def known(given: Any) -> Known:
    made = embedder_of(given)
    assert made is not None
    return made


def langchains() -> tuple[Known, list[str]]:
    embeddings = Split()
    return known(langchain_onrecord.embedder(embeddings)), embeddings.asked


def llama_indexs() -> tuple[Known, list[str]]:
    embedding = SplitToo(model_name="split-1")
    return known(llama_index_onrecord.embedder(embedding)), embedding.asked


@pytest.mark.parametrize("make", [langchains, llama_indexs])
def test_texts_and_questions_go_where_they_belong(make: Any) -> None:
    made, asked = make()
    texts = ["abc", "", "hello"]
    full = Split().embed_documents(["abc", "hello"])
    expected = [packed(full[0]), bytes(1), packed(full[1])]
    query = packed_query(Split().embed_query("abc"))
    assert made.name == "split-1"
    assert made.embed(texts) == expected
    assert made.embed_query("abc") == query
    assert asked == ["documents", "query"]
    asked.clear()

    async def later() -> None:
        assert await made.aembed(texts) == expected
        assert await made.aembed_query("abc") == query

    asyncio.run(later())
    assert asked == ["later", "documents", "later", "query"]


def test_langchains_own() -> None:
    made = known(
        langchain_onrecord.embedder(DeterministicFakeEmbedding(size=40), name="fake", dimensions=40)
    )
    assert (made.name, made.dimensions) == ("fake", 40)
    one, other, again = made.embed(["one", "other", "one"])
    assert one == again != other
    assert len(one) == 5
    assert same_embedder(made.identity(), made.identity())
    # Whose numbers are others each time.
    random = known(langchain_onrecord.embedder(FakeEmbeddings(size=400), name="r"))
    assert not same_embedder(
        random.identity(),
        known(langchain_onrecord.embedder(FakeEmbeddings(size=400), name="r")).identity(),
    )


def test_llama_indexs_own() -> None:
    made = known(llama_index_onrecord.embedder(MockEmbedding(embed_dim=12), name="mock"))
    assert made.embed(["one", "other"]) == [b"\xff\xf0"] * 2
    assert made.dimensions == 12


def test_both_frameworks_make_the_same_of_a_model() -> None:
    assert same_embedder(langchains()[0].identity(), llama_indexs()[0].identity())


def test_a_name_is_wanted_where_the_model_has_none() -> None:
    with pytest.raises(Misconfigured, match="FakeEmbeddings does not say which model it asks"):
        langchain_onrecord.embedder(FakeEmbeddings(size=3))
    with pytest.raises(Misconfigured, match="MockEmbedding does not say which model it asks"):
        llama_index_onrecord.embedder(MockEmbedding(embed_dim=3))
    with pytest.raises(Misconfigured, match="name"):
        embedder_of(langchain_onrecord.embedder(FakeEmbeddings(size=3), name=""))


def test_the_other_frameworks_are_refused() -> None:
    wrong: Any = MockEmbedding(embed_dim=3)
    with pytest.raises(Misconfigured, match="takes Embeddings of LangChain, and this is a MockEmb"):
        langchain_onrecord.embedder(wrong, name="x")
    with pytest.raises(Misconfigured, match=r"llama_index_onrecord.embedder\(embedding\)"):
        embedder_of(wrong)
    wrong = FakeEmbeddings(size=3)
    with pytest.raises(Misconfigured, match="takes a BaseEmbedding of LlamaIndex, and this is a F"):
        llama_index_onrecord.embedder(wrong, name="x")
    with pytest.raises(Misconfigured, match=r"langchain_onrecord.embedder\(embeddings, name=…\)"):
        embedder_of(wrong)


def test_what_they_raise_is_an_embedder_that_failed() -> None:
    class Fails(Split):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise ConnectionError("no route")

    with pytest.raises(EmbedderFailed, match="'split-1' failed: ConnectionError: no route"):
        known(langchain_onrecord.embedder(Fails())).embed(["a"])


def test_no_key_is_shown() -> None:
    embeddings = Split()
    embeddings.__dict__["api_key"] = "SECRET"
    assert "SECRET" not in repr(langchain_onrecord.embedder(embeddings))
