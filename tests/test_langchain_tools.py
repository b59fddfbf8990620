"""The tools with which an agent remembers, forgets and looks up, called as agents call them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_onrecord import OnrecordMiddleware, memory_tools
from onrecord import InvalidName, Misconfigured, Store
from tests.scripted import Scripted


@dataclass
class Who:
    user: str


Ask = Callable[..., list[ToolMessage]]


@pytest.fixture(params=["invoke", "ainvoke"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """An agent whose model calls a tool, and what the tools have answered."""

    def run(
        tools: list[Any],
        *calls: tuple[str, dict[str, Any]],
        said: str = "Hello.",
        who: str = "",
        middleware: Any = (),
        config: Any = None,
    ) -> list[ToolMessage]:
        script: list[Any] = [
            AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"c{n}"}])
            for n, (name, args) in enumerate(calls)
        ]
        agent: Any = create_agent(
            Scripted(script=[*script, "Done."]), tools, middleware=middleware, context_schema=Who
        )
        given = {"messages": [HumanMessage(said)]}
        if request.param == "invoke":
            result = agent.invoke(given, config, context=Who(who))
        else:
            result = asyncio.run(agent.ainvoke(given, config, context=Who(who)))
        return [m for m in result["messages"] if isinstance(m, ToolMessage)][-len(calls) :]

    return run


@pytest.fixture
def store(each_store: Callable[[], Store]) -> Store:
    return each_store()


@pytest.fixture
def memory() -> Iterator[Store]:
    with Store("sqlite://") as store:
        yield store


def of_runtime(store: Store) -> list[Any]:
    return memory_tools(store, user=lambda runtime: runtime.context.user)


def texts(answers: list[ToolMessage]) -> list[str]:
    return [str(answer.text) for answer in answers]


def test_remember_search_forget(store: Store, ask: Ask) -> None:
    answers = ask(
        memory_tools(store, user="ada"),
        ("remember", {"key": "city", "text": "Lives in Lyon."}),
        ("remember", {"key": " tea ", "text": "Likes tea without milk."}),
        ("remember", {"key": "city", "text": "Lives in Paris."}),
        ("search_memory", {"query": "Where does the user live?"}),
        ("search_memory", {"query": ""}),
        ("forget", {"key": "city"}),
        ("search_memory", {"query": "city"}),
    )
    said = texts(answers)
    assert said[:3] == [
        "Remembered: [city]",
        "Remembered: [tea]",
        "Remembered: [city] in the place of what it was.",
    ]
    assert said[4].splitlines()[0] == "Remembered:"
    assert [line.split("]")[0] for line in said[4].splitlines()[1:]] == ["- [city", "- [tea"]
    assert said[5:] == ["Forgotten: [city]", "Nothing was found."]
    assert {answer.status for answer in answers} == {"success"}
    items = store.items("memories", user="ada")
    assert {item.key: item.value for item in items.list()} == {"tea": "Likes tea without milk."}


def test_the_most_fitting_comes_first(memory: Store, ask: Ask) -> None:
    items = memory.items("memories", user="ada")
    items.put_many({"dog": "The dog is called Rex.", "cat": "The cat is called Tom."})
    items.put_many({f"note {n}": f"Something else, {n}." for n in range(30)})
    [found] = texts(
        ask(memory_tools(memory, user="ada"), ("search_memory", {"query": "name of the dog"}))
    )
    assert found.splitlines()[1].startswith("- [dog] ")
    assert found.endswith(": The dog is called Rex.") or "- [cat]" in found
    [found] = texts(
        ask(
            memory_tools(memory, user="ada"),
            ("search_memory", {"query": "something", "limit": 99}),
        )
    )
    assert len(found.splitlines()) == 21


def test_conversations_are_searched(store: Store, ask: Ask) -> None:
    monday = store.session("monday", user="ada")
    monday.append([("user", "My database listens on port 6543."), ("assistant", "Noted. " * 200)])
    tools = memory_tools(store, user="ada")
    remembering = OnrecordMiddleware(store, user="ada")
    config = {"configurable": {"session_id": "tuesday"}}
    search = ("search_memory", {"query": "Which port is the database on?"})
    first, again = texts(
        ask(
            tools,
            search,
            search,
            said="Which port is my database on?",
            middleware=[remembering],
            config=config,
        )
    )
    place = "- [monday #1] "
    at = monday.messages()[0].created_at
    assert at is not None
    assert f"{place}{at:%Y-%m-%d}, user: My database listens on port 6543." in first
    assert first.startswith("Said in conversations:\n")
    assert "tuesday" not in first, "what is asked now is no answer"
    assert first == again
    assert max(map(len, first.splitlines())) < 600
    # What was found before is not found again as if somebody had said it.
    config = {"configurable": {"session_id": "wednesday"}}
    [later] = texts(ask(tools, search, middleware=[remembering], config=config))
    assert place in later
    assert "tool:" not in later
    assert ", search_memory:" not in later
    shares_a_word = "some database of butterflies that may identify the swallowtail on a balcony"
    [nothing] = texts(ask(tools, ("search_memory", {"query": shares_a_word})))
    assert nothing == "Nothing was found."


def test_nothing_leaks_between_users(store: Store, ask: Ask) -> None:
    tools = of_runtime(store)
    for who, port in (("ada", 6543), ("bob", 7777)):
        store.session("monday", user=who).append(("user", f"The database listens on {port}."))
        ask(tools, ("remember", {"key": "port", "text": f"The database is on {port}."}), who=who)
    for who, own, others in (("ada", "6543", "7777"), ("bob", "7777", "6543")):
        for query in ("Where does the database listen?", ""):
            [found] = texts(ask(tools, ("search_memory", {"query": query}), who=who))
            assert own in found
            assert others not in found
    assert texts(ask(tools, ("forget", {"key": "port"}), who="ada")) == ["Forgotten: [port]"]
    assert store.items("memories", user="bob").get("port") is not None


def test_the_model_cannot_name_a_user(memory: Store, ask: Ask) -> None:
    tools = memory_tools(memory, user="ada", agent="clerk")
    assert [tool.name for tool in tools] == ["search_memory", "remember", "forget"]
    schemas = [convert_to_openai_tool(tool)["function"] for tool in tools]
    assert [list(schema["parameters"]["properties"]) for schema in schemas] == [
        ["query", "limit"],
        ["key", "text"],
        ["key"],
    ]
    for schema in schemas:
        assert len(schema["description"]) > 80
        assert all(p["description"] for p in schema["parameters"]["properties"].values())
        assert "        " not in schema["description"]
    given = {"key": "x", "text": "y", "user": "bob", "runtime": {"context": {"user": "bob"}}}
    ask(tools, ("remember", given))
    assert memory.items("memories", user="ada", agent="clerk").count() == 1
    assert memory.namespaces(user="bob") == []


def test_what_a_model_gets_wrong_it_is_told(memory: Store, ask: Ask) -> None:
    answers = ask(
        memory_tools(memory, user="ada"),
        ("remember", {"key": " ", "text": "x"}),
        ("remember", {"key": "k" * 600, "text": "x"}),
        ("remember", {"key": "long", "text": "x" * (1 << 20)}),
        ("forget", {"key": "nothing"}),
        ("forget", {"key": ""}),
    )
    assert [answer.status for answer in answers] == ["error"] * 5
    assert texts(answers)[0].startswith("Not remembered: ")
    assert "Nothing is remembered as [nothing]" in texts(answers)[3]
    assert memory.items("memories", user="ada").count() == 0
    answers = ask(
        memory_tools(memory, user="ada"),
        ("search_memory", {"query": 'say "x" -y ' * 20_000, "limit": -5}),
        ("search_memory", {"query": "x", "limit": "many"}),
    )
    assert [answer.status for answer in answers] == ["success", "error"]


def test_who_is_nobody_has_no_memory(memory: Store, ask: Ask) -> None:
    memory.items("memories").put("secret", "of somebody else who is nobody")
    tools = of_runtime(memory)
    for call in (
        ("search_memory", {"query": "secret"}),
        ("remember", {"key": "a", "text": "b"}),
        ("forget", {"key": "secret"}),
    ):
        [answer] = ask(tools, call, who="")
        assert answer.status == "error"
        assert "not known who the user is" in answer.text
    assert memory.items("memories").count() == 1
    [found] = texts(ask(memory_tools(memory, user=""), ("search_memory", {"query": "nobody"})))
    assert "somebody else" in found, "where its developer says so"


def test_outside_of_an_agent(memory: Store) -> None:
    search, remember, forget = memory_tools(memory, user="ada")
    assert remember.invoke({"key": "city", "text": "Lyon"}) == "Remembered: [city]"
    assert "Lyon" in asyncio.run(search.ainvoke({"query": "city"}))
    assert asyncio.run(forget.ainvoke({"key": "city"})) == "Forgotten: [city]"


def test_what_cannot_be_is_refused(memory: Store, ask: Ask) -> None:
    tools: Any = memory_tools
    with pytest.raises(Misconfigured, match=r"onrecord\.Store"):
        tools("postgresql://ada:secret@host/db", user="ada")
    with pytest.raises(Misconfigured, match="user has to be a name or a function"):
        tools(memory, user=None)
    with pytest.raises(TypeError, match="user"):
        tools(memory)
    nobody = tools(memory, user=lambda runtime: None)
    with pytest.raises(InvalidName):
        ask(nobody, ("search_memory", {"query": "x"}))


def test_what_is_remembered_is_found_by_its_name_and_in_other_forms(
    memory: Store, ask: Ask
) -> None:
    tools = of_runtime(memory)
    for key, text in (("city", "Lyon"), ("pets", "Two cats, and a parrot that sings.")):
        ask(tools, ("remember", {"key": key, "text": text}), who="ada")
    for n in range(300):
        memory.items("memories", user="ada").put(f"k{n}", f"something else {n}")
    for query, there in (
        ("which city", "[city]"),
        ("cat", "[pets]"),
        ("singing parrots", "[pets]"),
    ):
        [found] = texts(ask(tools, ("search_memory", {"query": query}), who="ada"))
        assert there in found, "among more than it would look through by hand"
