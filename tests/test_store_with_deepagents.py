"""deepagents keeps an agent's files in LangGraph's long-term store: here in ours.

deepagents is not in the lock. It asks for langchain 1.4.7, above the floor that `make test-oldest`
holds the suite to, and one of its own packages asks for an older tenacity than is locked. Where it
was put beside the rest, with ``.venv/bin/pip install "deepagents>=0.7.32"``, these tests run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from langgraph_onrecord import OnrecordStore
from onrecord import Store
from tests.scripted import Scripted

deepagents = pytest.importorskip(
    "deepagents", reason="It is not in the lock: this file says why, and how to run it."
)
backends = pytest.importorskip("deepagents.backends")

OpenStore = Callable[..., Store]


class Files:
    """A backend of deepagents over a store, by its sync methods or by their twins on one loop."""

    def __init__(self, memory: OnrecordStore, runner: asyncio.Runner | None) -> None:
        self._backend = backends.StoreBackend(store=memory, namespace=lambda _: ("files",))
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        if self._runner is None:
            return getattr(self._backend, name)
        method = getattr(self._backend, f"a{name}")
        assert inspect.iscoroutinefunction(method)
        runner = self._runner
        return lambda *given, **more: runner.run(method(*given, **more))


@pytest.fixture(params=["sync", "async"])
def files_of(request: pytest.FixtureRequest) -> Iterator[Callable[[OnrecordStore], Files]]:
    if request.param == "sync":
        yield lambda memory: Files(memory, None)
    else:
        with asyncio.Runner() as runner:
            yield lambda memory: Files(memory, runner)


Over = Callable[[OnrecordStore], Files]


def test_files_are_written_read_edited_and_deleted(each_store: OpenStore, files_of: Over) -> None:
    memory = OnrecordStore(each_store(), user="ada")
    files = files_of(memory)
    assert files.write("/notes/tea.md", "green tea\nno milk\n").error is None
    assert files.write("/notes/plan.md", "1. boil water").error is None
    assert files.read("/notes/tea.md").file_data["content"] == "green tea\nno milk\n"
    assert files.read("/notes/tea.md", offset=1, limit=1).file_data["content"].strip() == "no milk"
    assert files.edit("/notes/tea.md", "green", "black").occurrences == 1
    assert files.edit("/notes/tea.md", "coffee", "tea").error is not None
    assert "not found" in files.read("/notes/none.md").error

    other = files_of(OnrecordStore(each_store(), user="ada"))  # tomorrow
    assert other.read("/notes/tea.md").file_data["content"] == "black tea\nno milk\n"
    assert (
        "not found" in files_of(OnrecordStore(each_store(), user="bob")).read("/notes/tea.md").error
    )

    assert other.delete("/notes").error is None
    assert files.ls("/").entries == []
    assert memory.list_namespaces() == []


def test_ls_grep_and_glob_see_every_file_once(each_store: OpenStore, files_of: Over) -> None:
    """They read a namespace by pages of a hundred; a read that prolongs lives moves none."""
    memory = OnrecordStore(each_store(), ttl={"default_ttl": 60, "refresh_on_read": True})
    files = files_of(memory)
    names = [f"/logs/2026/{n:03}.txt" for n in range(250)]
    files.upload_files([(name, f"line {n}\n".encode()) for n, name in enumerate(names)])
    files.write("/read_100%_me.md", "line of my own")

    assert [found["path"] for found in files.ls("/").entries] == ["/logs/", "/read_100%_me.md"]
    assert [found["path"] for found in files.ls("/logs/2026").entries] == names
    assert sorted(one["path"] for one in files.glob("/logs/**/24?.txt").matches) == names[240:]
    assert {found["path"] for found in files.grep("line").matches} == {*names, "/read_100%_me.md"}
    [found] = files.grep("line 7", path="/logs", glob="007*").matches
    assert (found["path"], found["line"], found["text"]) == (names[7], 1, "line 7")

    assert files.delete("/logs/2026").error is None
    assert [found["path"] for found in files.ls("/").entries] == ["/read_100%_me.md"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x01\xff\xfe", "naïve ☕ 𝄞".encode(), b"a\x00b", b"x" * 700_000],
    ids=["empty", "bytes", "unicode", "nul", "large"],
)
def test_files_come_back_as_they_were(
    each_store: OpenStore, files_of: Over, content: bytes
) -> None:
    files = files_of(OnrecordStore(each_store()))
    path = "/dir with spaces/ü_%_$.bin"
    [put] = files.upload_files([(path, content)])
    assert put.error is None
    [got] = files.download_files([path])
    assert got.content == content


def call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{name}"}])


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_deep_agent_keeps_its_files(each_store: OpenStore, how: str) -> None:
    """Through the tools that it gives to its model, and the store that it was given."""

    def run(store: Store, *steps: AIMessage) -> list[str]:
        agent = deepagents.create_deep_agent(
            model=Scripted(script=[*steps, "Done."]),
            backend=backends.StoreBackend(namespace=lambda _: ("files",)),
            store=OnrecordStore(store, user="ada"),
        )
        said: dict[str, Any] = {"messages": [("user", "go")]}
        ended = asyncio.run(agent.ainvoke(said)) if how == "ainvoke" else agent.invoke(said)
        assert ended["messages"][-1].text == "Done."
        return [one.text for one in ended["messages"] if isinstance(one, ToolMessage)]

    found = run(
        each_store(),
        call("write_file", file_path="/memories/tea.md", content="She likes green tea."),
        call("edit_file", file_path="/memories/tea.md", old_string="green", new_string="black"),
    )
    assert all("tea.md" in one and "rror" not in one for one in found), found
    read, listed, globbed, grepped = run(
        each_store(),
        call("read_file", file_path="/memories/tea.md"),
        call("ls", path="/memories"),
        call("glob", pattern="**/*.md"),
        call("grep", pattern="black tea", output_mode="content"),
    )
    assert "She likes black tea." in read
    assert "/memories/tea.md" in listed
    assert "/memories/tea.md" in globbed
    assert "She likes black tea." in grepped
