"""A rolling summary in LlamaIndex's memory: in the place of what falls out, and never stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import BaseMemoryBlock
from llama_index.core.workflow import Context
from pydantic import Field

from llama_index_onrecord import OnrecordMemory
from onrecord import Message, Misconfigured, Store
from onrecord.memory.reminding import fitting

# LlamaIndex's workflows look at all attributes of an agent, also at those of pydantic's past.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `__fields:pydantic.PydanticDeprecatedSince20",
    "ignore:Accessing the 'model_:pydantic.warnings.PydanticDeprecatedSince211",
)

OpenStore = Callable[[], Store]
Shows = Callable[..., list[ChatMessage]]

HEADING = "[Summary of "
MORE = "and so on " * 4
"""So that twenty messages have room."""


@pytest.fixture(autouse=True)
def _no_loop() -> None:
    """In a thread that has none LlamaIndex makes a loop that nobody closes."""
    asyncio.set_event_loop(None)


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture
def in_memory() -> Iterator[Store]:
    """For what does not depend on where things are stored."""
    with Store("sqlite://") as store:
        yield store


@pytest.fixture(params=["get", "aget"])
def shows(request: pytest.FixtureRequest) -> Shows:
    if request.param == "get":
        return lambda memory, *given: memory.get(*given)
    return lambda memory, *given: asyncio.run(memory.aget(*given))


class Notes:
    """A summariser whose summary is the first words, one behind the other."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.fails = False

    def __call__(self, previous: str, messages: list[Message]) -> str:
        if self.fails:
            raise ConnectionError("the summariser is down")
        self.calls.append([m.text.split()[0] for m in messages])
        return " ".join([*previous.split(), *self.calls[-1]])

    @property
    def seen(self) -> list[str]:
        return [text for texts in self.calls for text in texts]


class Takes(BaseMemoryBlock[str]):
    """A block that is given what falls out, and says nothing of it."""

    name: str = "takes"
    given: list[str] = Field(default_factory=list)

    async def _aget(self, messages: list[ChatMessage] | None = None, **settings: Any) -> str:
        return ""

    async def _aput(self, messages: list[ChatMessage]) -> None:
        self.given += [str(message.content) for message in messages]


def memory_of(store: Store, notes: Any, **fields: Any) -> OnrecordMemory:
    return OnrecordMemory.from_defaults(
        "chat", store, **{"token_limit": 400, "summary": notes, **fields}
    )


def say(memory: OnrecordMemory, n: int) -> None:
    memory.put(ChatMessage(role="user", content=f"q{n} {MORE}"))
    memory.put(ChatMessage(role="assistant", content=f"a{n} {MORE}"))


def said(n: int) -> list[str]:
    return [text for i in range(1, n + 1) for text in (f"q{i}", f"a{i}")]


def summary_in(messages: Sequence[ChatMessage]) -> list[str]:
    return [m.content or "" for m in messages if (m.content or "").startswith(HEADING)]


def told(messages: Sequence[ChatMessage]) -> list[str]:
    """What a model knows, one behind the other."""
    summary = summary_in(messages)
    known = summary[0].split("\n\n")[1].split() if summary else []
    return [*known, *((m.content or "").split()[0] for m in messages if m.content not in summary)]


@pytest.mark.parametrize("blocks", [False, True], ids=["", "blocks"])
def test_it_stands_for_what_falls_out(each_store: OpenStore, shows: Shows, blocks: bool) -> None:
    store, notes = each_store(), Notes()
    more = {"memory_blocks": [Takes()], "token_flush_size": 20} if blocks else {}
    memory = memory_of(store, notes, **more)
    for n in range(1, 41):
        say(memory, n)
        shown = shows(memory)
        if n < 25:  # a longer summary has no room
            assert told(shown) == said(n), "nothing is left out, nothing said twice"
    assert summary_in(shown)
    assert shown[0].role is MessageRole.SYSTEM
    assert told(shown)[-1] == "a40"
    assert notes.seen == said(40)[: len(notes.seen)]
    assert len(notes.calls) < 10
    assert [m.text.split()[0] for m in store.session("chat").messages()] == said(40)
    assert HEADING not in repr(memory.get_all())
    # What was shown is put again by some engines: nobody said it.
    memory.put_messages(shown[:1])
    assert store.session("chat").count() == 80


@pytest.mark.parametrize("recall", [False, True])
def test_all_of_it_is_within_the_limit(in_memory: Store, shows: Shows, recall: bool) -> None:
    def count(message: Message) -> int:
        return len(message.text.split())

    def summarise(previous: str, messages: list[Message]) -> str:
        return "Begin " + "summary " * 500 + "end"

    memory = memory_of(in_memory, summarise, token_limit=100, token_counter=count, recall=recall)
    for n in range(60):
        memory.put(ChatMessage(role="user", content=f"q{n} about noodles and the pot"))
        memory.put(ChatMessage(role="assistant", content="stir it"))
        shown = shows(memory)
        assert sum(len((m.content or "").split()) for m in shown) <= 100
    (summary,) = summary_in(shown)
    assert "Begin summary" in summary
    assert " … " in summary
    assert "end\n\n[End of the summary.]" in summary


@pytest.mark.parametrize("method", ["system", "user"])
def test_it_stands_before_what_is_recalled(in_memory: Store, shows: Shows, method: str) -> None:
    memory = memory_of(in_memory, Notes(), recall=True, insert_method=method, token_limit=400)
    memory.put(ChatMessage(role="system", content="Be brief."))
    memory.put(ChatMessage(role="user", content="My database listens on port 6543."))
    for n in range(40):
        memory.put(ChatMessage(role="user", content=f"How do I boil noodles, part {n}?"))
        memory.put(ChatMessage(role="assistant", content="Stir."))
    first, second, third, *_ = shows(memory, "Which port was my database on?")
    assert first.content == "Be brief."
    assert (second.content or "").startswith(HEADING)
    assert (third.content or "").startswith("[Recalled from earlier")
    assert second.role.value == third.role.value == method


def test_another_worker_goes_on_from_it(each_store: OpenStore, shows: Shows) -> None:
    notes = Notes()
    for n in range(1, 20):
        memory = memory_of(each_store(), notes)
        say(memory, n)
        assert told(shows(memory)) == said(n)
    assert len(notes.seen) == len(set(notes.seen)) > 10


def test_an_llm_is_asked_in_plain_words(in_memory: Store, shows: Shows) -> None:
    asked: list[str] = []

    class Small(MockLLM):
        def complete(self, prompt: str, formatted: bool = False, **more: Any) -> Any:
            asked.append(prompt)
            return super().complete(prompt, formatted, **more)

    memory = memory_of(in_memory, Small(max_tokens=3))
    for n in range(1, 25):
        say(memory, n)
        shown = shows(memory)
    assert asked[0].count("The summary so far:\n(there is none yet)\n") == 1
    assert "user: q1 and so on" in asked[0]
    assert "q1 " not in asked[1]
    (summary,) = summary_in(shown)
    assert "text text text" in summary


def test_a_summariser_that_fails_costs_the_summary_alone(
    store: Store, shows: Shows, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()
    memory = memory_of(store, notes)
    notes.fails = True
    for n in range(1, 16):
        say(memory, n)
    with caplog.at_level(logging.WARNING, "onrecord"):
        shown = shows(memory)
    assert not summary_in(shown)
    assert told(shown)[-1] == "a15"
    (warning,) = [r for r in caplog.records if "summary" in r.message]
    assert "the summariser is down" in warning.message
    notes.fails = False
    assert told(shows(memory)) == said(15)


def test_what_goes_is_gone_for_the_model_too(each_store: OpenStore, shows: Shows) -> None:
    store = each_store()
    memory = memory_of(store, Notes())
    memory.put(ChatMessage(role="user", content="swordfish"))
    for n in range(1, 16):
        say(memory, n)
    assert "swordfish" in repr(shows(memory))
    each_store().session("chat").delete(1)
    assert told(shows(memory)) == said(15)
    memory.set([ChatMessage(role="user", content="anew")])
    assert told(shows(memory)) == ["anew"]


def test_a_chat_engine_and_an_agent(in_memory: Store) -> None:
    notes = Notes()
    memory = memory_of(in_memory, notes)
    shown: list[Sequence[ChatMessage]] = []

    def answer(messages: Sequence[ChatMessage], **settings: Any) -> ChatMessage:
        shown.append(messages)
        return ChatMessage(role="assistant", content=f"a{len(shown)}")

    llm = MockFunctionCallingLLM(response_generator=answer, is_chat_model=True)
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=memory)
    for n in range(1, 16):
        engine.chat(f"q{n} {MORE * 2}")

    async def agent() -> None:
        worker = FunctionAgent(tools=[], llm=llm)
        context = Context(worker)
        for n in range(16, 24):
            await worker.run(f"q{n} {MORE * 2}", ctx=context, memory=memory)

    asyncio.run(agent())
    assert told(shown[-1]) == [*said(22), "q23"]
    texts = [m.text.split()[0] for m in in_memory.session("chat").messages()]
    assert texts == said(23)
    assert notes.seen == said(23)[: len(notes.seen)]


def test_it_is_not_dumped_and_found_again(in_memory: Store) -> None:
    notes = Notes()
    memory = memory_of(in_memory, notes)
    for n in range(1, 16):
        say(memory, n)
    dump = memory.to_dict()
    assert "summary" not in dump
    again = OnrecordMemory.from_dict(dump)
    assert again.summary is notes
    assert told(again.get()) == said(15)
    assert memory.model_copy().summary is notes
    dump["session_id"] = "elsewhere"
    assert OnrecordMemory.from_dict(dump).summary is None
    assert OnrecordMemory.from_dict(dump, summary=notes).summary is notes


def test_without_it_everything_is_as_before(in_memory: Store, shows: Shows) -> None:
    memory = OnrecordMemory.from_defaults("chat", in_memory, token_limit=400)
    for n in range(1, 30):
        say(memory, n)
    shown = shows(memory)
    assert not summary_in(shown)
    assert len(shown) == 26, "no room is kept free"
    assert in_memory.session("chat").state.list() == []


@pytest.mark.parametrize("wrong", ["gpt-5", 7, True, {}])
def test_what_cannot_summarise_is_refused(in_memory: Store, wrong: Any) -> None:
    with pytest.raises(Misconfigured, match="summary has to be an LLM, or a function"):
        memory_of(in_memory, wrong)


def test_a_summary_with_no_room_says_nothing(in_memory: Store) -> None:
    memory = memory_of(in_memory, Notes(), token_limit=80)
    for n in range(1, 30):
        say(memory, n)
    assert not summary_in(memory.get())
    gist = in_memory.session("chat").window(messages=1, summary=True).summary
    assert gist.text.startswith("q1 a1")
    assert fitting(gist, 10, lambda message: len(message.text)) == ""
