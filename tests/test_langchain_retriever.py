"""The retriever: in chains, in agents, and by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnablePassthrough
from langchain_core.tools import create_retriever_tool

from langchain_onrecord import OnrecordMiddleware, OnrecordRetriever
from onrecord import ANY, InvalidName, Message, Misconfigured, Store, ToolCall, ToolResult
from tests.scripted import Scripted

ASKED = "Which port is the database on?"


@pytest.fixture(params=["invoke", "ainvoke"])
def find(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """What something that can be invoked gives."""

    def call(asked: Any, given: Any, config: Any = None) -> Any:
        if request.param == "invoke":
            return asked.invoke(given, config)
        return asyncio.run(asked.ainvoke(given, config))

    return call


def filled(store: Store) -> Store:
    for user, port in (("ada", 6543), ("bob", 7777)):
        monday = store.session("monday", user=user, agent="clerk")
        monday.append(
            [
                ("user", "How do I boil noodles?"),
                ("assistant", "Stir them."),
                Message("user", f"My database listens on port {port}.", name=user),
                Message("assistant", [ToolCall("ping", {"port": port}, "c1")]),
                Message("tool", [ToolResult("c1", "pong")], tool_call_id="c1"),
                ("assistant", "It answers."),
            ]
        )
        tuesday = store.session("tuesday", user=user, agent="clerk")
        tuesday.append([("user", "Is the database large?"), ("assistant", "It has 40 tables.")])
    return store


@pytest.fixture
def store(each_store: Callable[[], Store]) -> Store:
    return filled(each_store())


@pytest.fixture
def memory() -> Iterator[Store]:
    with Store("sqlite://") as store:
        yield filled(store)


def test_documents_say_where_they_stand(store: Store, find: Callable[..., Any]) -> None:
    retriever = OnrecordRetriever(store, user="ada", agent="clerk", k=2)
    best, *others = find(retriever, ASKED)
    said = store.session("monday", user="ada", agent="clerk").messages()[2]
    assert best.page_content == "My database listens on port 6543."
    assert best.id == said.id
    assert said.created_at is not None
    score = best.metadata.pop("score")
    assert best.metadata == {
        "session_id": "monday",
        "tenant": "",
        "user": "ada",
        "agent": "clerk",
        "seq": 3,
        "last_seq": 3,
        "role": "user",
        "name": "ada",
        "message_id": said.id,
        "created_at": said.created_at.isoformat(),
    }
    assert datetime.fromisoformat(best.metadata["created_at"]) == said.created_at
    assert 0.37 < score <= 1
    assert len(others) == 1
    assert others[0].metadata["score"] <= score
    assert json.loads(json.dumps(best.metadata)) == best.metadata


def test_scopes_are_walls(store: Store, find: Callable[..., Any]) -> None:
    assert find(OnrecordRetriever(store, user="ada"), ASKED) == [], "another agent's"
    assert find(OnrecordRetriever(store, agent="clerk"), ASKED) == []
    bobs = find(OnrecordRetriever(store, user="bob", agent="clerk"), ASKED)
    assert {d.metadata["user"] for d in bobs} == {"bob"}
    everybodys = find(OnrecordRetriever(store, user=ANY, agent=ANY, k=10), ASKED)
    assert {d.metadata["user"] for d in everybodys} == {"ada", "bob"}
    one = OnrecordRetriever(store.session("tuesday", user="ada", agent="clerk"), min_score=0)
    assert {d.metadata["session_id"] for d in find(one, ASKED)} == {"tuesday"}


def test_nothing_where_nothing_is_relevant(memory: Store, find: Callable[..., Any]) -> None:
    retriever = OnrecordRetriever(memory, user="ada", agent="clerk")
    assert find(retriever, "Translate tungsten hexafluoride into Portuguese") == []
    assert find(retriever, "") == []
    assert find(OnrecordRetriever(memory, user="ada", agent="clerk", min_score=1), ASKED) == []


def test_whole_turns(store: Store, find: Callable[..., Any]) -> None:
    retriever = OnrecordRetriever(store, user="ada", agent="clerk", k=1, whole_turns=True)
    [turn] = find(retriever, ASKED)
    assert turn.page_content.startswith("Said on ")
    assert "ada (user): My database listens on port 6543." in turn.page_content
    assert "pong" in turn.page_content
    assert "assistant: It answers." in turn.page_content
    # The turn before it may stand beside it: then the two are one document.
    assert turn.metadata["seq"] in (1, 3)
    assert turn.metadata["last_seq"] == 6
    assert turn.metadata["session_id"] == "monday"
    several = OnrecordRetriever(store, user=ANY, agent=ANY, whole_turns=True, min_score=0.1)
    scores = [document.metadata["score"] for document in find(several, ASKED)]
    assert len(scores) > 1
    assert scores == sorted(scores, reverse=True)
    session = store.session("monday", user="ada", agent="clerk")
    assert find(OnrecordRetriever(session, whole_turns=True, tokens=5), ASKED) == []


def test_in_a_chain(memory: Store, find: Callable[..., Any]) -> None:
    def text_of(documents: list[Document]) -> str:
        return "\n".join(document.page_content for document in documents)

    model = Scripted(script=["6543"])
    prompt = ChatPromptTemplate.from_template("Said before:\n{before}\n\nQuestion: {question}")
    retriever = OnrecordRetriever(memory, user="ada", agent="clerk")
    chain: Any = (
        {"before": retriever | text_of, "question": RunnablePassthrough()}
        | prompt
        | model
        | StrOutputParser()
    )
    assert find(chain, ASKED) == "6543"
    assert "port 6543" in str(model.shown[-1][0].text)
    assert "7777" not in str(model.shown[-1][0].text)


def test_whose_it_is_can_come_from_the_config(memory: Store, find: Callable[..., Any]) -> None:
    retriever = OnrecordRetriever(memory, agent="clerk").configurable_fields(
        user=ConfigurableField(id="user_id"), k=ConfigurableField(id="k")
    )
    for who, port in (("ada", "6543"), ("bob", "7777")):
        [found] = find(retriever, ASKED, {"configurable": {"user_id": who, "k": 1}})
        assert port in found.page_content
    assert find(retriever, ASKED) == []
    with pytest.raises(Misconfigured, match="k has to be"):
        find(retriever, ASKED, {"configurable": {"k": 0}})


def test_in_an_agent(memory: Store, find: Callable[..., Any]) -> None:
    retriever = OnrecordRetriever(memory, user="ada", agent="clerk", k=1)
    searching: Any = create_retriever_tool(retriever, "conversations", "What was said before.")
    call = {"name": "conversations", "args": {"query": ASKED}, "id": "c1"}
    model = Scripted(script=[AIMessage("", tool_calls=[call]), "6543"])
    remembering: Any = OnrecordMiddleware(memory, session_id="today", user="ada")
    agent: Any = create_agent(model, [searching], middleware=[remembering])
    result = find(agent, {"messages": [("user", "Where was it?")]})["messages"]
    assert "port 6543" in result[-2].text
    assert memory.session("today", user="ada").count() == 4


def test_langchain_s_own_settings_are_taken(memory: Store, find: Callable[..., Any]) -> None:
    retriever = OnrecordRetriever(memory, user="ada", name="past", tags=["memory"])
    assert (retriever.name, retriever.tags) == ("past", ["memory"])
    assert "OnrecordRetriever" in repr(retriever)


def test_many_questions_at_once(memory: Store) -> None:
    retriever = OnrecordRetriever(memory, user="ada", agent="clerk", k=1)
    assert [len(found) for found in retriever.batch([ASKED, "noodles", ""])] == [1, 1, 0]
    assert [len(found) for found in asyncio.run(retriever.abatch([ASKED, ""]))] == [1, 0]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"k": 0}, "k has to be"),
        ({"k": "4"}, "k has to be"),
        ({"min_score": 1.5}, "min_score"),
        ({"tokens": -1}, "tokens"),
        ({"whole_turns": "yes"}, "whole_turns"),
    ],
)
def test_what_cannot_be_is_refused(memory: Store, wrong: Any, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        OnrecordRetriever(memory, **wrong)


def test_what_is_no_store_is_refused_and_not_shown(memory: Store) -> None:
    given: Any
    for given in ("postgresql://ada:secret@host/db", None, memory.items("facts")):
        with pytest.raises(Misconfigured, match=r"onrecord\.Store") as refused:
            OnrecordRetriever(given)
        assert "secret" not in str(refused.value)
    with pytest.raises(Misconfigured, match="A session has its scope"):
        OnrecordRetriever(memory.session("monday"), user="ada")
    with pytest.raises(InvalidName):
        OnrecordRetriever(memory, user=None)  # type: ignore[arg-type]
