"""LangGraph's long-term store over ours, as agents use it: their own tools, and langmem's."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, dynamic_prompt
from langchain.tools import InjectedStore, ToolRuntime
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.store.base import BaseStore
from pydantic import BaseModel

from langgraph_onrecord import OnrecordStore
from onrecord import InvalidValue, Store
from tests.scripted import Scripted

with warnings.catch_warnings():
    # What langmem stands on takes a name from where LangGraph no longer wants it taken.
    warnings.simplefilter("ignore", DeprecationWarning)
    from langmem import create_manage_memory_tool, create_search_memory_tool

OpenStore = Callable[..., Store]
Ask = Callable[..., list[BaseMessage]]
PATIENCE = 60.0


# -- an agent's own tools: the store is put into an argument, or is the runtime's ------------------


@tool
def remember(key: str, text: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Remember a fact."""
    store.put(("facts",), key, {"text": text})
    return f"kept {key}"


@tool
async def aremember(key: str, text: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Remember a fact."""
    await store.aput(("facts",), key, {"text": text})
    return f"kept {key}"


@tool
def look_up(key: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Look up a fact by its name."""
    assert runtime.store is not None
    found = runtime.store.get(("facts",), key)
    return "unknown" if found is None else str(found.value["text"])


@tool
async def alook_up(key: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Look up a fact by its name."""
    assert runtime.store is not None
    found = await runtime.store.aget(("facts",), key)
    return "unknown" if found is None else str(found.value["text"])


@tool
def recall(query: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Search what is known."""
    assert runtime.store is not None
    return said_of(runtime.store.search(("facts",), query=query, limit=2))


@tool
async def arecall(query: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Search what is known."""
    assert runtime.store is not None
    return said_of(await runtime.store.asearch(("facts",), query=query, limit=2))


def said_of(found: Iterable[Any]) -> str:
    return ", ".join(item.value["text"] for item in found)


TOOLS = {"remember": remember, "look_up": look_up, "recall": recall}
ASYNC_TOOLS = {"remember": aremember, "look_up": alook_up, "recall": arecall}
for name, made_async in ASYNC_TOOLS.items():
    made_async.name = name  # a script calls both by one name


@pytest.fixture(params=["invoke", "ainvoke"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Run a new agent through calls of tools, and give back what it ends with."""
    return asking_by(request.param)


def asking_by(way: str) -> Ask:
    """By an agent's ``invoke``, or by its ``ainvoke``."""

    def run(
        memory: OnrecordStore,
        *steps: Any,
        more: Iterable[Any] = (),
        config: Any = None,
        **settings: Any,
    ) -> list[BaseMessage]:
        """Each step are the calls of one message: (name, arguments)."""
        chosen = TOOLS if way == "invoke" else ASYNC_TOOLS
        model = Scripted(script=[*map(calls, steps), "Done."])
        agent: Any = create_agent(model, [*chosen.values(), *more], store=memory, **settings)
        said = {"messages": [("user", "go")]}
        if way == "invoke":
            ended = agent.invoke(said, config)
        else:
            ended = asyncio.run(agent.ainvoke(said, config))
        found: list[BaseMessage] = ended["messages"]
        assert found[-1].text == "Done."
        return found

    return run


def calls(step: Any) -> Any:
    """One message that calls tools; where it hangs on what was said, what makes one of that."""
    if callable(step):
        return lambda messages: calls(step(messages))
    asked = step if isinstance(step, list) else [step]
    prefix = uuid4().hex
    return AIMessage(
        "",
        tool_calls=[
            {"name": name, "args": arguments, "id": f"{prefix}-{number}"}
            for number, (name, arguments) in enumerate(asked)
        ],
    )


def answers(messages: Iterable[BaseMessage]) -> list[str]:
    return [message.text for message in messages if isinstance(message, ToolMessage)]


def test_an_agent_puts_gets_and_searches(each_store: OpenStore, ask: Ask) -> None:
    memory = OnrecordStore(each_store(), user="ada")
    found = ask(
        memory,
        ("remember", {"key": "city", "text": "She lives in Lyon."}),
        [
            ("remember", {"key": "seat", "text": "A window seat, please."}),
            ("remember", {"key": "tea", "text": "Green tea, never black."}),
        ],
        ("look_up", {"key": "city"}),
        ("look_up", {"key": "shoes"}),
        ("recall", {"query": "window seat"}),
    )
    assert answers(found)[:3] == ["kept city", "kept seat", "kept tea"]
    assert answers(found)[3:5] == ["She lives in Lyon.", "unknown"]
    assert answers(found)[5].startswith("A window seat, please., ")


def test_a_second_agent_knows_it_and_another_user_does_not(each_store: OpenStore, ask: Ask) -> None:
    ask(OnrecordStore(each_store(), user="ada"), ("remember", {"key": "city", "text": "In Lyon."}))
    again = each_store()
    look = ("look_up", {"key": "city"}), ("recall", {"query": "Lyon"})
    assert answers(ask(OnrecordStore(again, user="ada"), *look)) == ["In Lyon.", "In Lyon."]
    assert answers(ask(OnrecordStore(again, user="bob"), *look)) == ["unknown", ""]


def test_what_is_known_is_put_before_the_conversation(each_store: OpenStore, ask: Ask) -> None:
    """As LangChain's own guide has it: a prompt that is made of the store."""
    memory = OnrecordStore(each_store(), user="ada")
    prompts: list[str] = []

    @dynamic_prompt
    def prompt(request: ModelRequest[Any]) -> str:
        store = request.runtime.store
        assert store is not None
        known = said_of(store.search(("facts",)))
        prompts.append(known)
        return f"You know: {known}"

    ask(memory, ("remember", {"key": "city", "text": "In Lyon."}), middleware=[prompt])
    assert prompts == ["", "In Lyon."]


# -- other processes, other threads ----------------------------------------------------------------

ANOTHER = """
import json, sys
from tests.test_store_with_agents import TOOLS, answers, calls
from langchain.agents import create_agent
from langgraph_onrecord import OnrecordStore
from onrecord import Store
from tests.scripted import Scripted

with Store.from_env() as store:
    memory = OnrecordStore(store, user="ada")
    for line in sys.stdin:
        model = Scripted(script=[calls(tuple(json.loads(line))), "Done."])
        agent = create_agent(model, list(TOOLS.values()), store=memory)
        print(answers(agent.invoke({"messages": [("user", "go")]})["messages"])[0], flush=True)
"""


@pytest.fixture
def environment(
    each_store: OpenStore, request: pytest.FixtureRequest, tmp_path: Path
) -> dict[str, str]:
    """What another process finds the same store by."""
    if "sqlite" in request.node.name:
        return {"ONRECORD_URL": f"sqlite:///{tmp_path / 'store.db'}"}
    return {
        "ONRECORD_URL": request.getfixturevalue("kept_postgres_url"),
        "ONRECORD_CACHE": request.getfixturevalue("redis_server").url,
    }


def test_an_agent_of_another_process_knows_it_at_once(
    each_store: OpenStore, environment: dict[str, str]
) -> None:
    """Both live on, and have read what the other then changes: none sees what was before."""
    memory = OnrecordStore(each_store(), user="ada")
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:

        def there(name: str, **arguments: str) -> str:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps([name, arguments]) + "\n")
            child.stdin.flush()
            return child.stdout.readline().rstrip("\n")

        def here(name: str, **arguments: str) -> str:
            return answers(next(ways)(memory, (name, arguments)))[0]

        ways = itertools.cycle([asking_by("invoke"), asking_by("ainvoke")])
        try:
            for round in range(3):
                here("remember", key="city", text=f"Lyon {round}")
                assert there("look_up", key="city") == f"Lyon {round}"
                there("remember", key="city", text=f"Paris {round}")
                assert here("look_up", key="city") == f"Paris {round}"
                assert here("recall", query="paris") == f"Paris {round}"
            child.communicate(timeout=PATIENCE)
            assert child.returncode == 0
        finally:
            child.kill()


def test_agents_of_several_threads_and_loops_share_one(each_store: OpenStore, ask: Ask) -> None:
    memory = OnrecordStore(each_store(), user="ada")

    def one(number: int) -> list[str]:
        key = f"fact-{number}"
        return answers(
            ask(
                memory,
                ("remember", {"key": key, "text": f"It is {number}."}),
                ("look_up", {"key": key}),
            )
        )

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, range(12)))
    assert found == [[f"kept fact-{n}", f"It is {n}."] for n in range(12)]
    assert {item.key for item in memory.search(("facts",), limit=100)} == {
        f"fact-{n}" for n in range(12)
    }


def test_calls_of_one_message_lose_nothing_of_each_other(
    each_store: OpenStore, ask: Ask, request: pytest.FixtureRequest
) -> None:
    """An agent runs them at the same time: in threads, or in one tick of its loop."""
    memory = OnrecordStore(each_store(), user="ada")

    def visited(there: Any) -> dict[str, int]:
        return {"visits": (there or {"visits": 0})["visits"] + 1}

    @tool
    def visit(runtime: ToolRuntime[Any, Any]) -> str:
        """Count a visit."""
        assert isinstance(runtime.store, OnrecordStore)
        runtime.store.update(("counters",), "visits", visited)
        return "counted"

    @tool
    async def avisit(runtime: ToolRuntime[Any, Any]) -> str:
        """Count a visit."""
        assert isinstance(runtime.store, OnrecordStore)
        await runtime.store.aupdate(("counters",), "visits", visited)
        return "counted"

    @tool
    async def keep_an_object(runtime: ToolRuntime[Any, Any]) -> str:
        """Put what no store can keep."""
        assert runtime.store is not None
        try:
            await runtime.store.aput(("facts",), "bad", {"text": object()})
        except InvalidValue:
            return "refused"
        return "kept"

    on_a_loop = "ainvoke" in request.node.name
    more: list[Any] = [avisit, keep_an_object] if on_a_loop else [visit]
    step: list[Any] = [(more[0].name, {})] * 8
    if on_a_loop:
        step[4:4] = [("keep_an_object", {})]
    found = answers(ask(memory, step, more=more))
    assert sorted(found) == sorted(["counted"] * 8 + ["refused"] * on_a_loop)
    there = memory.get(("counters",), "visits")
    assert there is not None
    assert there.value == {"visits": 8}


# -- langmem's tools -------------------------------------------------------------------------------

NAMESPACE = ("memories", "{langgraph_user_id}")


def langmem_tools(**settings: Any) -> list[Any]:
    return [
        create_manage_memory_tool(NAMESPACE, **settings),
        create_search_memory_tool(NAMESPACE, **settings),
    ]


def made(messages: list[BaseMessage]) -> str:
    """The id of the memory that was made first."""
    [found] = re.findall(r"created memory (\S+)", answers(messages)[0])
    return str(found)


def test_langmem_creates_finds_updates_and_deletes(each_store: OpenStore, ask: Ask) -> None:
    memory = OnrecordStore(each_store())
    config = {"configurable": {"langgraph_user_id": "ada"}}
    found = ask(
        memory,
        ("manage_memory", {"content": "She likes green tea."}),
        ("manage_memory", {"content": "She works on engines."}),
        ("search_memory", {"query": "which tea does she like"}),
        lambda said: (
            "manage_memory",
            {"action": "update", "id": made(said), "content": "She now likes black tea."},
        ),
        ("search_memory", {"query": "tea", "limit": 1}),
        lambda said: ("manage_memory", {"action": "delete", "id": made(said)}),
        ("search_memory", {"query": "tea"}),
        more=langmem_tools(),
        config=config,
    )
    said = answers(found)
    assert contents(said[2]) == ["She likes green tea.", "She works on engines."]
    first = json.loads(said[2])[0]
    assert first["namespace"] == ["memories", "ada"]
    assert first["key"] == made(found)
    assert first["score"] > json.loads(said[2])[1]["score"]
    assert said[3] == f"updated memory {made(found)}"
    assert contents(said[4]) == ["She now likes black tea."]
    assert said[5] == f"Deleted memory {made(found)}"
    assert contents(said[6]) == ["She works on engines."]

    again = OnrecordStore(each_store())  # tomorrow; and somebody else
    search = "search_memory", {"query": "engines"}
    found = ask(again, search, more=langmem_tools(), config=config)
    assert contents(answers(found)[0]) == ["She works on engines."]
    other = {"configurable": {"langgraph_user_id": "bob"}}
    assert answers(ask(again, search, more=langmem_tools(), config=other)) == ["[]"]


def contents(said: str) -> list[Any]:
    return [found["value"]["content"] for found in json.loads(said)]


def test_langmem_pages_and_filters(each_store: OpenStore, ask: Ask) -> None:
    memory = OnrecordStore(each_store())
    for n in range(7):
        memory.put(("memories", "ada"), f"m{n}", {"content": f"tea {n}", "odd": n % 2 == 1})
    found = ask(
        memory,
        ("search_memory", {"query": "tea", "limit": 3}),
        ("search_memory", {"query": "tea", "limit": 3, "offset": 3}),
        ("search_memory", {"query": "tea", "filter": {"odd": True}}),
        more=langmem_tools(),
        config={"configurable": {"langgraph_user_id": "ada"}},
    )
    assert list(map(contents, answers(found))) == [
        ["tea 6", "tea 5", "tea 4"],
        ["tea 3", "tea 2", "tea 1"],
        ["tea 5", "tea 3", "tea 1"],
    ]


class Profile(BaseModel):
    """What is remembered of somebody, in a shape."""

    city: str
    likes: list[str] = []


def test_langmem_outside_of_an_agent(each_store: OpenStore) -> None:
    """With the store given to its tools, and what was found as items beside the text."""
    memory = OnrecordStore(each_store())
    manage = create_manage_memory_tool(("memories",), schema=Profile, store=memory)
    search = create_search_memory_tool(
        ("memories",), store=memory, response_format="content_and_artifact"
    )
    manage.invoke({"content": Profile(city="Paris", likes=["tea", "engines"])})

    async def on_a_loop() -> Any:
        await manage.ainvoke({"content": {"city": "Lyon"}})
        call = {"name": "search_memory", "args": {"query": "Lyon"}, "id": "1", "type": "tool_call"}
        return await search.ainvoke(call)

    found = asyncio.run(on_a_loop())
    assert contents(found.content) == [
        {"city": "Lyon", "likes": []},
        {"city": "Paris", "likes": ["tea", "engines"]},
    ]
    assert [item.score > 0 for item in found.artifact] == [True, False]
