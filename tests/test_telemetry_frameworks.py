"""Our spans are children of those that are current where a framework calls us: in the threads and
tasks that it makes for it, too."""

from __future__ import annotations

import asyncio
import time
import warnings
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core._api.deprecation import LangChainDeprecationWarning
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda, RunnableWithMessageHistory
from langchain_core.tools import tool
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms.mock import MockFunctionCallingLLM, MockLLM

from langchain_onrecord import OnrecordMiddleware, histories, memory_tools
from langgraph_onrecord import OnrecordSaver
from llama_index_onrecord import OnrecordMemory
from onrecord import Store
from tests.scripted import Scripted
from tests.shown import Shown, shown
from tests.test_llama_index_memory import pytestmark

__all__ = ["pytestmark", "shown"]

SAID = {"messages": [HumanMessage("Does it rain in Lyon?")]}


def config(key: str) -> Any:
    return {"configurable": {"thread_id": key, "session_id": key}}


def all_below(shown: Shown, name: str) -> None:
    """Assert that all of ours are somewhere below the one span of this name."""
    by_id = {span.context.span_id: span for span in shown.spans if span.context}
    top = shown.of(name).context
    assert top is not None
    assert shown.names
    for span in shown.spans:
        above = span
        while above.parent is not None:
            above = by_id[above.parent.span_id]
        assert above.context is not None
        assert above.context.span_id == top.span_id, f"{span.name} is not below {name}"


def agent_of(store: Store, shown: Shown) -> Any:
    """One that notes something in a tool with a span of its own, and whose answer needs two calls
    of the model."""

    @tool
    def weather(town: str) -> str:
        """Say how it is outside."""
        with shown.tracer.start_as_current_span("tool"):
            store.session("weather").append(("user", town))
        return "rain"

    call = {"name": "weather", "args": {"town": "Lyon"}, "id": "call"}
    middleware: Any = OnrecordMiddleware(store)
    return create_agent(
        Scripted(script=[AIMessage("", tool_calls=[call]), AIMessage("It rains.")]),
        [weather, *memory_tools(store, user="ada")],
        middleware=[middleware],
    )


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_an_agent_of_langchains(way: str, shown: Shown, tmp_path: Any) -> None:
    async def asked() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            agent = agent_of(store, shown)
            with shown.tracer.start_as_current_span("request"):
                match way:
                    case "invoke":
                        agent.invoke(SAID, config("k"))
                    case "stream":
                        list(agent.stream(SAID, config("k")))
                    case "ainvoke":
                        await agent.ainvoke(SAID, config("k"))
                    case _:
                        [one async for one in agent.astream(SAID, config("k"))]

    asyncio.run(asked())
    all_below(shown, "request")
    appended = [s for s in shown.spans if s.name == "onrecord.append"]
    tool_span = shown.of("tool").context
    assert tool_span is not None
    in_tool = [s for s in appended if s.parent and s.parent.span_id == tool_span.span_id]
    assert [dict(s.attributes or {})["gen_ai.conversation.id"] for s in in_tool] == ["weather"]
    assert len(appended) >= 3, "what the user said, and what the agent did, and the tool's"


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_graph_with_a_saver(way: str, shown: Shown, tmp_path: Any) -> None:
    async def asked() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            model = Scripted(script=["It rains."])
            agent: Any = create_agent(model, [], checkpointer=OnrecordSaver(store))
            with shown.tracer.start_as_current_span("request"):
                if way == "invoke":
                    agent.invoke(SAID, config("k"))
                else:
                    await agent.ainvoke(SAID, config("k"))

    asyncio.run(asked())
    all_below(shown, "request")
    assert "onrecord.put_checkpoint" in shown.names


@pytest.mark.parametrize("way", ["invoke", "batch", "ainvoke", "abatch"])
def test_a_chain_with_a_history(way: str, shown: Shown, tmp_path: Any) -> None:
    async def asked() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            model = Scripted(script=["It rains."] * 4)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LangChainDeprecationWarning)
                chain: Any = RunnableWithMessageHistory(
                    RunnableLambda(model.invoke, model.ainvoke), histories(store)
                )
            several = [config(key) for key in ("a", "b", "c")]
            with shown.tracer.start_as_current_span("request"):
                match way:
                    case "invoke":
                        chain.invoke("Well?", config("a"))
                    case "batch":  # in threads of LangChain's own
                        chain.batch(["Well?"] * 3, several)
                    case "ainvoke":
                        await chain.ainvoke("Well?", config("a"))
                    case _:
                        await chain.abatch(["Well?"] * 3, several)

    asyncio.run(asked())
    all_below(shown, "request")
    assert shown.names.count("onrecord.append") == (3 if "batch" in way else 1)


def answered(address: str) -> None:
    """Wait for the answer, which a thread of LlamaIndex's may write after the last word."""
    with Store(address, telemetry=False) as looking:
        while looking.session("k").count() < 2:
            time.sleep(0.01)


@pytest.mark.parametrize("way", ["chat", "stream_chat", "achat", "astream_chat"])
def test_an_engine_of_llama_indexs(way: str, shown: Shown, tmp_path: Any) -> None:
    async def asked() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            memory = OnrecordMemory.from_defaults("k", store)
            engine = SimpleChatEngine.from_defaults(llm=MockLLM(max_tokens=4), memory=memory)
            with shown.tracer.start_as_current_span("request"):
                match way:
                    case "chat":
                        engine.chat("Well?")
                    case "stream_chat":
                        list(engine.stream_chat("Well?").response_gen)
                    case "achat":
                        await engine.achat("Well?")
                    case _:
                        answer = await engine.astream_chat("Well?")
                        [one async for one in answer.async_response_gen()]
            await asyncio.to_thread(answered, store.address)

    asyncio.run(asked())
    all_below(shown, "request")
    assert shown.names.count("onrecord.append") == 2


def test_an_agent_of_llama_indexs(shown: Shown, tmp_path: Any) -> None:
    async def asked() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            memory = OnrecordMemory.from_defaults("k", store)
            answer = ChatMessage(role="assistant", content="It rains.")
            llm = MockFunctionCallingLLM(
                response_generator=lambda *_, **__: answer, is_chat_model=True
            )
            agent = FunctionAgent(name="desk", description="Answers.", tools=[], llm=llm)
            with shown.tracer.start_as_current_span("request"):
                await agent.run(user_msg="Does it rain?", memory=memory)
                await memory.aput(ChatMessage(role="user", content="Thanks."))

    asyncio.run(asked())
    all_below(shown, "request")
    assert "onrecord.append" in shown.names
