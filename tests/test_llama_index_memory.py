"""OnrecordMemory: what models see, what blocks are given, and that nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import (
    ChatMessage,
    ContentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms.mock import MockFunctionCallingLLM, MockLLM
from llama_index.core.memory import BaseMemory, BaseMemoryBlock, InsertMethod, StaticMemoryBlock
from llama_index.core.workflow import Context, JsonPickleSerializer, JsonSerializer
from pydantic import Field

from llama_index_onrecord import block_feeder
from llama_index_onrecord.block_feeder import log_of
from llama_index_onrecord.memory import OnrecordMemory
from llama_index_onrecord.messages import to_llama_index
from onrecord import Misconfigured, Session, Store
from onrecord.ledger.database.transaction import Transaction
from tests.children import Child, together

# LlamaIndex's workflows look at all attributes of an agent, also at those of pydantic's past.
pytestmark = [
    pytest.mark.filterwarnings(rf"ignore:The `{name}` attribute is deprecated")
    for name in ("__fields__", "__fields_set__", "model_fields", "model_computed_fields")
] + [pytest.mark.filterwarnings("ignore:Accessing the 'model_(computed_)?fields' attribute")]

OpenStore = Callable[[], Store]
TRIES = int(10 * float(os.environ.get("ONRECORD_SEEDS", "1")))
"""How often two processes are let loose on a session."""


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture
def in_memory() -> Iterator[Store]:
    """For what does not depend on where things are stored."""
    with Store("sqlite://") as store:
        yield store


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage(role="assistant", content=text)


def system(text: str) -> ChatMessage:
    return ChatMessage(role="system", content=text)


def calls(*ids: str, name: str = "add", **args: Any) -> ChatMessage:
    blocks: list[ContentBlock] = [
        ToolCallBlock(tool_call_id=i, tool_name=name, tool_kwargs=args or {"a": 1, "b": 2})
        for i in ids
    ]
    return ChatMessage(role="assistant", blocks=blocks)


def result(call: str, text: str = "3") -> ChatMessage:
    return ChatMessage(role="tool", content=text, additional_kwargs={"tool_call_id": call})


def turns(first: int, end: int) -> Iterator[ChatMessage]:
    """Turns of 2 x 10 tokens, by the estimate of the store."""
    for i in range(first, end):
        yield user(f"q{i} ".ljust(24, "x"))
        yield assistant(f"a{i} ".ljust(24, "x"))


def said(messages: Sequence[ChatMessage]) -> list[str]:
    """The first word of each."""
    return [(message.content or message.role.value).split()[0] for message in messages]


def pairs(first: int, end: int) -> list[str]:
    return [f"{who}{i}" for i in range(first, end) for who in "qa"]


class Keeper(BaseMemoryBlock[str]):
    """Keeps what it is given, and fails when it is told to."""

    name: str = "keeper"
    batches: list[list[ChatMessage]] = Field(default_factory=list)
    faults: list[BaseException] = Field(default_factory=list)
    heard: list[list[ChatMessage]] = Field(default_factory=list)
    takes: float = 0.0
    begun: Callable[[], object] = list

    async def _aget(self, messages: list[ChatMessage] | None = None, **settings: Any) -> str:
        self.heard.append(messages or [])
        return f"{len(self.words)} remembered" if self.batches else ""

    async def _aput(self, messages: list[ChatMessage]) -> None:
        self.begun()
        await asyncio.sleep(self.takes)
        if self.faults:
            raise self.faults.pop(0)
        self.batches.append(messages)

    @property
    def words(self) -> list[str]:
        return [word for batch in self.batches for word in said(batch)]


def small(
    store: Store, *blocks: BaseMemoryBlock[Any], session: str = "chat", **fields: Any
) -> OnrecordMemory:
    """Room for 5 turns where there are blocks. Of these 3 fall out when there is one more."""
    settings = {"token_limit": 200, "chat_history_token_ratio": 0.5, "token_flush_size": 40}
    return OnrecordMemory.from_defaults(
        session, store, memory_blocks=list(blocks), **{**settings, **fields}
    )


# -- windows ---------------------------------------------------------------------------------


def test_a_window_of_what_was_said(store: Store) -> None:
    memory = small(store, token_limit=100)
    memory.put(system("Be nice."))
    memory.put_messages(list(turns(0, 20)))
    assert said(memory.get()) == ["Be", *pairs(16, 20)]
    assert said(asyncio.run(memory.aget())) == ["Be", *pairs(16, 20)]
    assert said(memory.get_all()) == ["Be", *pairs(0, 20)]
    assert said(asyncio.run(memory.aget_all())) == ["Be", *pairs(0, 20)]
    assert said(memory.get(initial_token_count=40)) == ["Be", *pairs(18, 20)]


def test_tool_calls_are_never_torn_from_their_results(in_memory: Store) -> None:
    memory = small(in_memory, token_limit=70)
    rounds = [
        [user(f"q{i}"), calls(f"c{i}", f"d{i}"), result(f"c{i}"), result(f"d{i}"), assistant("a")]
        for i in range(12)
    ]
    for messages in rounds:
        memory.put_messages(messages)
        shown = memory.get()
        assert shown[0].role is MessageRole.USER
        asked = [b.tool_call_id for m in shown for b in m.blocks if isinstance(b, ToolCallBlock)]
        answered = [m.additional_kwargs["tool_call_id"] for m in shown if m.role == "tool"]
        assert asked == answered
    assert len(shown) < 60


def test_a_call_that_was_never_answered_is_answered_in_what_is_shown(in_memory: Store) -> None:
    memory = small(in_memory)
    memory.put_messages([user("q"), calls("c"), user("again")])
    assert [m.role.value for m in memory.get()] == ["user", "assistant", "tool", "user"]
    assert len(memory.get_all()) == 3


def test_pictures_reasoning_and_tool_calls_count(in_memory: Store) -> None:
    memory = small(in_memory, token_limit=300)
    thought = ThinkingBlock(content="t" * 400)
    memory.put_messages([user("q1"), ChatMessage(role="assistant", blocks=[thought])])
    memory.put_messages([user("q2"), calls("c", a="x" * 600), result("c"), assistant("a2")])
    assert [m.content for m in memory.get() if m.role == "user"] == ["q1", "q2"]
    picture: list[ContentBlock] = [TextBlock(text="q3"), ImageBlock(image=b"\x89PNG")]
    memory.put(ChatMessage(role="user", blocks=picture))
    assert [m.content for m in memory.get() if m.role == "user"] == ["q3"]


def test_another_counter(in_memory: Store) -> None:
    memory = small(in_memory, token_limit=5, token_counter=lambda message: 1)
    memory.put_messages(list(turns(0, 20)))
    assert said(memory.get()) == pairs(18, 20)


def test_what_is_shown_is_the_callers_own(in_memory: Store) -> None:
    memory = small(in_memory)
    memory.put(user("hello"))
    shown = memory.get()[0]
    shown.blocks[0].text = "changed"  # type: ignore[union-attr]
    shown.additional_kwargs["more"] = True
    assert memory.get()[0].content == "hello"
    assert memory.get_all()[0].additional_kwargs == {}


def test_set_and_reset(store: Store) -> None:
    memory = small(store)
    memory.put_messages(list(turns(0, 3)))
    memory.set([user("other")])
    assert said(memory.get_all()) == ["other"]
    asyncio.run(memory.aset([user("third")]))
    assert said(memory.get()) == ["third"]
    memory.reset()
    assert memory.get() == memory.get_all() == []
    memory.put(user("new"))
    asyncio.run(memory.areset())
    assert memory.get_all() == []


def test_messages_are_appended_at_once(in_memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    appended: list[int] = []
    append = Session.append

    def counted(self: Session, messages: Any, **settings: Any) -> Any:
        appended.append(len(messages))
        return append(self, messages, **settings)

    monkeypatch.setattr(Session, "append", counted)
    small(in_memory).put_messages(list(turns(0, 10)))
    assert appended == [20]


def test_a_beginning_is_said_once(in_memory: Store) -> None:
    for _ in range(2):
        memory = small(in_memory, chat_history=[system("Be nice."), user("hi")])
        memory.put(assistant("hello"))
    assert said(memory.get_all()) == ["Be", "hi", "hello", "hello"]
    assert said(small(in_memory, chat_history=[]).get_all()) == ["Be", "hi", "hello", "hello"]


def test_scopes_are_walls(in_memory: Store) -> None:
    small(in_memory, user="ada").put(user("mine"))
    assert small(in_memory).get_all() == small(in_memory, user="bob").get_all() == []
    assert said(small(in_memory, user="ada").get_all()) == ["mine"]


def test_each_memory_without_a_name_is_a_conversation_of_its_own(in_memory: Store) -> None:
    one, other = (OnrecordMemory.from_defaults(store=in_memory) for _ in range(2))
    one.put(user("hi"))
    assert other.get_all() == []


def test_wrong_settings(in_memory: Store) -> None:
    with pytest.raises(Misconfigured, match="store="):
        OnrecordMemory.from_defaults("chat")
    with pytest.raises(Misconfigured, match="names of their own"):
        small(in_memory, Keeper(), Keeper())
    with pytest.raises(Misconfigured, match="token_limit"):
        small(in_memory, token_limit=0)
    with pytest.raises(Misconfigured, match="chat_history_token_ratio"):
        small(in_memory, chat_history_token_ratio=0)
    with pytest.raises(Misconfigured, match="feed_timeout"):
        small(in_memory, feed_timeout=0)


# -- cost ------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How much the database was asked for: statements, and rows that came back."""
    asked = {"statements": 0, "rows": 0}

    def count(method: Callable[..., Any], size: Callable[[Any], int]) -> Callable[..., Any]:
        def counted(*given: Any) -> Any:
            found = method(*given)
            asked["statements"] += 1
            asked["rows"] += size(found)
            return found

        return counted

    monkeypatch.setattr(Transaction, "first", count(Transaction.first, lambda row: row is not None))
    monkeypatch.setattr(Transaction, "rows", count(Transaction.rows, len))
    monkeypatch.setattr(Transaction, "run", count(Transaction.run, lambda _: 0))
    return asked


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("tail", [1, 64], ids=["all from SQL", "cached"])
def test_the_cost_does_not_grow(asked: dict[str, int], blocks: bool, tail: int) -> None:
    with Store("sqlite://", tail=tail) as store:
        kept = [Keeper()] if blocks else []
        memory = small(store, *kept)
        # In large batches: thousands of small ones take half a minute, and leave the same behind.
        filling = small(store, *kept, token_flush_size=5_000)
        costs: list[tuple[int, int]] = []
        total = 0
        for length in (200, 5_000):
            said = list(turns(total // 2, length // 2 - 10))
            for start in range(0, len(said), 500):
                filling.put_messages(said[start : start + 500])
            # As many single puts as make it overflow several times.
            for message in turns(length // 2 - 10, length // 2):
                memory.put(message)
            total = length
            assert store.session("chat").count() == length
            memory.get()  # the session's opening is read once and kept
            asked.update(statements=0, rows=0)
            for message in turns(length // 2, length // 2 + 4):
                memory.put(message)
                memory.get()
            total += 8
            costs.append((asked["statements"], asked["rows"]))
        assert costs[0] == costs[1]


def test_without_blocks_a_get_is_one_window(
    in_memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = small(in_memory)
    memory.put_messages(list(turns(0, 10)))
    steps: list[Any] = []
    perform = Store._perform

    def counted(self: Store, step: Any) -> Any:
        steps.append(step)
        return perform(self, step)

    monkeypatch.setattr(Store, "_perform", counted)
    memory.get()
    of_get = len(steps)
    in_memory.session("chat").window(tokens=200, repair=True)
    assert of_get == len(steps) - of_get


# -- what blocks are given -------------------------------------------------------------------


def test_blocks_are_given_each_message_once(store: Store) -> None:
    one, other = Keeper(name="one"), Keeper(name="other")
    memory = small(store, one, other)
    memory.put(system("Be nice."))
    for message in turns(0, 20):
        memory.put(message)
    active = [m.text.split()[0] for m in memory.session.messages(archived=False)]
    assert one.words == other.words
    assert ["Be", *one.words, *active[1:]] == ["Be", *pairs(0, 20)]
    assert active[0] == "Be", "the system message stays"
    assert [len(batch) for batch in one.batches] == [6] * 6, "three turns at once"
    assert log_of(memory.session).count() == 0
    assert [info.key for info in store.sessions()] == ["chat"], "the log is not among them"
    assert said(memory.get_all()) == ["Be", *pairs(0, 20)]


def test_many_at_once_come_in_batches(in_memory: Store) -> None:
    keeper = Keeper()
    memory = small(in_memory, keeper)
    memory.put_messages(list(turns(0, 700)))
    assert keeper.words == pairs(0, 697)
    assert {len(batch) for batch in keeper.batches} <= {4, 6}


def test_a_turn_is_not_torn_apart(in_memory: Store) -> None:
    keeper = Keeper()
    memory = small(in_memory, keeper)
    for i in range(10):
        memory.put(user(f"q{i}"))
        for j in range(6):
            memory.put_messages([calls(f"c{i}.{j}"), result(f"c{i}.{j}")])
        memory.put(assistant(f"a{i}"))
    assert len(keeper.batches) > 5
    for batch in keeper.batches:
        assert said(batch)[0].startswith("q")
        assert said(batch)[-1].startswith("a")


def test_blocks_get_copies(in_memory: Store) -> None:
    one, other = Keeper(name="one"), Keeper(name="other")
    memory = small(in_memory, one, other, user="ada")
    memory.put_messages(
        [ChatMessage(role="user", content="q", additional_kwargs={"deep": [1]}), *turns(0, 10)]
    )
    first, twin = one.batches[0][0], other.batches[0][0]
    first.additional_kwargs["deep"].append(2)
    assert twin.additional_kwargs["deep"] == [1]
    assert json.loads(first.additional_kwargs["session_id"]) == ["", "ada", "", "chat"]
    assert memory.get_all()[0].additional_kwargs == {"deep": [1]}


def test_conversations_have_names_of_their_own_for_blocks(in_memory: Store) -> None:
    names = {
        small(in_memory, **scope)._name_for_blocks
        for scope in ({}, {"user": "a"}, {"tenant": "a"}, {"user": "a", "agent": "b"})
    }
    tricky = OnrecordMemory(store=in_memory, session_id='["", "a", "", "chat"]')
    assert len({*names, tricky._name_for_blocks}) == 5
    assert "chat" in names


def test_a_block_that_wants_nothing_is_given_nothing(in_memory: Store) -> None:
    keeper = Keeper(accept_short_term_memory=False)
    memory = small(in_memory, keeper)
    memory.put_messages(list(turns(0, 20)))
    assert keeper.batches == []
    assert memory.session.count(archived=True) == 0
    assert said(memory.get()) == pairs(15, 20)


def test_a_block_that_fails_is_given_the_same_again(store: Store) -> None:
    good, bad = Keeper(name="good"), Keeper(name="bad", faults=[RuntimeError("no"), OSError("!")])
    memory = small(store, good, bad)
    raised = []
    for message in turns(0, 20):
        try:
            memory.put(message)
        except (RuntimeError, OSError) as fault:
            raised.append(str(fault))
        assert said(memory.get_all())[-1] == said([message])[0], "the message is durable"
    assert raised == ["no", "!"]
    assert good.words == bad.words == pairs(0, 15)
    assert log_of(memory.session).count() == 0


def test_several_blocks_that_fail(in_memory: Store) -> None:
    blocks = [Keeper(name=name, faults=[ValueError(name)]) for name in "abc"]
    memory = small(in_memory, *blocks[:2], Keeper(name="d"))
    with pytest.raises(ExceptionGroup) as raised:
        memory.put_messages(list(turns(0, 8)))
    assert [str(fault) for fault in raised.value.exceptions] == ["a", "b"]
    memory.put(user("q8"))
    assert blocks[0].words == blocks[1].words == pairs(0, 5)


def test_a_block_that_takes_too_long_has_failed(in_memory: Store) -> None:
    slow = Keeper(takes=60)
    memory = small(in_memory, slow, feed_timeout=0.05)
    with pytest.raises(TimeoutError):
        memory.put_messages(list(turns(0, 8)))
    slow.takes = 0
    patient = small(in_memory, slow)
    patient.put(user("q8"))
    assert slow.words == pairs(0, 5)


def test_a_cancelled_put_is_made_up_for(in_memory: Store) -> None:
    keeper = Keeper(takes=60)

    async def cancelled() -> None:
        begun = asyncio.Event()
        keeper.begun = begun.set
        memory = small(in_memory, keeper, feed_timeout=0.2)
        put = asyncio.create_task(memory.aput_messages(list(turns(0, 8))))
        await begun.wait()
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put

    asyncio.run(cancelled())
    keeper.takes = 0
    memory = small(in_memory, keeper)
    assert said(memory.get_all()) == pairs(0, 8)
    time.sleep(0.4)
    memory.put(user("q8"))
    assert keeper.words == pairs(0, 5)


def test_messages_that_were_taken_away_are_not_fed(in_memory: Store) -> None:
    keeper = Keeper(faults=[OSError("down")])
    memory = small(in_memory, keeper)
    with pytest.raises(OSError, match="down"):
        memory.put_messages(list(turns(0, 8)))
    memory.session.delete(1)
    memory.put(user("q8"))
    assert keeper.words == pairs(0, 5)[1:]


def test_after_a_clear_the_new_messages_are_fed(in_memory: Store) -> None:
    keeper = Keeper(faults=[OSError("down")])
    memory = small(in_memory, keeper, on_reset="clear")
    with pytest.raises(OSError, match="down"):
        memory.put_messages(list(turns(0, 8)))
    memory.reset()
    memory.put_messages(list(turns(100, 108)))
    assert keeper.words == pairs(100, 105), "and not the old ones, which are gone"
    memory.set(list(turns(200, 208)))
    memory.put(user("q208"))
    assert keeper.words == [*pairs(100, 105), *pairs(200, 206)]


def test_a_batch_that_was_not_archived_yet_archives_nothing_new(
    in_memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker died between the two, and then the conversation was cleared."""
    keeper = Keeper()
    memory = small(in_memory, keeper, on_reset="clear")

    async def dies(self: Any, batch: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(block_feeder.Feeder, "_archive", dies)
        with pytest.raises(KeyboardInterrupt):
            memory.put_messages(list(turns(0, 8)))
    assert log_of(memory.session).count() == 2
    memory.reset()
    memory.put_messages(list(turns(100, 103)))
    assert memory.session.count(archived=True) == 0
    assert keeper.batches == []
    assert log_of(memory.session).count() == 0


def test_a_batch_that_was_not_archived_yet_is_archived_by_another(
    in_memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper()
    memory = small(in_memory, keeper)

    async def dies(self: Any, batch: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(block_feeder.Feeder, "_archive", dies)
        with pytest.raises(KeyboardInterrupt):
            memory.put_messages(list(turns(0, 8)))
    memory.put(user("q8"))
    assert keeper.words == pairs(0, 6)


def test_a_memory_without_blocks_leaves_messages_for_one_with_them(in_memory: Store) -> None:
    keeper = Keeper()
    small(in_memory).put_messages(list(turns(0, 20)))
    assert keeper.batches == []
    small(in_memory, keeper).put(user("q20"))
    assert keeper.words == pairs(0, 18)


@pytest.mark.parametrize("attempt", range(10))
def test_two_workers(each_store: OpenStore, attempt: int) -> None:
    kept: list[str] = []

    class Shared(Keeper):
        async def _aput(self, messages: list[ChatMessage]) -> None:
            await asyncio.sleep(0.001)
            kept.extend(f"{self.name} {word}" for word in said(messages))

    start = threading.Barrier(2)
    faults: list[BaseException] = []

    def work(who: str, store: Store) -> None:
        memory = small(store, Shared(name="one"), Shared(name="other"))
        start.wait()
        try:
            for i in range(12):
                memory.put_messages(
                    [user(f"{who}q{i} ".ljust(24, "x")), assistant(f"{who}a{i} ".ljust(24, "x"))]
                )
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(w, each_store())) for w in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    session = each_store().session("chat")
    everything = [message.text.split()[0] for message in session.messages()]
    archived = [message.text.split()[0] for message in session.messages(archived=True)]
    assert len(everything) == len(set(everything)) == 48
    assert 30 <= len(archived) <= 42, "the queue is neither emptied nor left as it was"
    for name in ("one", "other"):
        assert [word.split()[1] for word in kept if word.startswith(f"{name} ")] == archived


class Filed(BaseMemoryBlock[str]):
    """Keeps the first words of what it is given in a file."""

    name: str = "filed"
    path: Path
    dies: bool = False

    async def _aget(self, messages: list[ChatMessage] | None = None, **settings: Any) -> str:
        return self.path.read_text()

    async def _aput(self, messages: list[ChatMessage]) -> None:
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        with self.path.open("a") as file:
            file.write("".join(f"{word}\n" for word in said(messages)))


def test_two_processes(each_store: OpenStore, tmp_path: Path) -> None:
    """Ten sessions, two workers on each; a hundred, with a hundred of OnrecordMemoryStore's:

    ONRECORD_SEEDS=10 python -m pytest -k two_processes tests/test_llama_index_*.py
    """

    def block(attempt: int, name: str) -> Filed:
        return Filed(name=name, path=tmp_path / f"{attempt} {name}")

    def work(who: int, meet: Callable[[], object]) -> int:
        counts: list[int] = []
        with each_store() as store:
            for n in range(TRIES):
                memory = small(store, block(n, "one"), block(n, "other"), session=f"try {n}")
                meet()
                for i in range(100 * who, 100 * who + 8):
                    memory.put_messages(list(turns(i, i + 1)))
                    counts.append(memory.session.count(archived=False))
        return min(counts)

    store = each_store()
    store.session("makes the tables").count()
    least = together(work, patience=60 * (1 + TRIES / 10))
    assert min(least) > 0, "the queue is never emptied"
    for n in range(TRIES):
        session = store.session(f"try {n}")
        everything = said(session.messages(into=to_llama_index))
        archived = said(session.messages(archived=True, into=to_llama_index))
        assert sorted(everything) == sorted(pairs(0, 8) + pairs(100, 108)), "each once, none lost"
        assert 6 <= 32 - len(archived) <= 18, "the queue is neither emptied nor left as it was"
        for name in ("one", "other"):
            assert block(n, name).path.read_text().split() == archived, "each once, in order"


def test_a_worker_that_dies_while_it_feeds(each_store: OpenStore, tmp_path: Path) -> None:
    path = tmp_path / "block"

    def work() -> None:
        with each_store() as store:
            block = Filed(path=path, dies=True)
            small(store, Keeper(), block, feed_timeout=1.0).put_messages(list(turns(0, 8)))

    child = Child(work)
    _, status = os.waitpid(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    began = time.time()
    memory = small(each_store(), Filed(path=path))
    assert said(memory.get_all()) == pairs(0, 8)
    memory.put(user("q8"))
    if time.time() < began + 1:
        assert not path.exists(), "the claim holds for twice the timeout"
    time.sleep(2)
    memory.put(assistant("a8"))
    assert path.read_text().split() == pairs(0, 5)


ADA: list[ContentBlock] = [TextBlock(text="She is Ada.")]


# -- what blocks say -------------------------------------------------------------------------


def test_what_blocks_say_stands_in_the_system_message(store: Store) -> None:
    keeper = Keeper()
    memory = small(store, keeper, StaticMemoryBlock(name="facts", static_content=ADA))
    memory.put(system("Be nice."))
    for message in turns(0, 20):
        memory.put(message)
    shown = memory.get("And now?")
    assert shown[0].role is MessageRole.SYSTEM
    words = shown[0].content or ""
    assert "<facts>" in words
    assert "She is Ada." in words
    assert f"{len(keeper.words)} remembered" in words
    assert words.endswith("Be nice.")
    assert [*keeper.words, *said(shown[1:])] == pairs(0, 20), "nothing is missing, nothing twice"
    assert said(keeper.heard[-1])[-1] == "And"
    memory.get(user("Hm?"))
    assert said(keeper.heard[-1])[-1] == "Hm?"
    assert memory.get_all()[0].content == "Be nice."
    assert shown == memory.get("And now?")


def test_what_blocks_say_in_the_users_message(in_memory: Store) -> None:
    block = StaticMemoryBlock(name="facts", static_content=ADA)
    memory = small(in_memory, block, insert_method=InsertMethod.USER)
    assert [m.role.value for m in memory.get()] == ["user"]
    memory.put_messages([user("q0"), assistant("a0"), user("q1"), assistant("a1")])
    shown = memory.get()
    assert [m.content for m in shown][:2] == ["q0", "a0"]
    assert "She is Ada." in (shown[2].content or "")
    assert (shown[2].content or "").endswith("q1")


def test_what_blocks_say_without_a_system_message(in_memory: Store) -> None:
    block = StaticMemoryBlock(name="facts", static_content=ADA)
    memory = small(in_memory, block, memory_blocks_template="{{ memory_blocks[0][0] }}!")
    memory.put(user("q0"))
    assert [(m.role.value, m.content) for m in memory.get()] == [
        ("system", "facts!"),
        ("user", "q0"),
    ]


class Says(BaseMemoryBlock[Any]):
    """Says always the same, and gives way by one word."""

    name: str = "says"
    what: Any = None

    async def _aget(self, messages: list[ChatMessage] | None = None, **settings: Any) -> Any:
        return self.what

    async def _aput(self, messages: list[ChatMessage]) -> None:
        pass

    async def atruncate(self, content: Any, tokens_to_truncate: int) -> Any:
        return content[: -4 * tokens_to_truncate] or None if isinstance(content, str) else None


def test_messages_of_blocks_go_in_front(in_memory: Store) -> None:
    example = [system("Once:"), user("eg"), assistant("ok")]
    memory = small(in_memory, Says(what=example), Says(name="b", what="B"), Says(name="c"))
    memory.put(user("q0"))
    for _ in range(2):
        assert [m.role.value for m in memory.get()] == ["system", "user", "assistant", "user"]
        assert (memory.get()[0].content or "").count("B") == 1
    assert example[0].content == "Once:", "what is the block's stays as it is"


def test_blocks_that_say_too_much_give_way(in_memory: Store) -> None:
    def shown(*blocks: BaseMemoryBlock[Any]) -> str:
        memory = small(in_memory, *blocks)
        return " ".join(m.content or "" for m in memory.get())

    small(in_memory).put(user("q0"))
    first = Says(name="first", what="f" * 400, priority=1)
    second = Says(name="second", what="s" * 400, priority=2)
    never = Says(name="never", what="n" * 400)
    words = shown(never, first, second)
    assert "n" * 400 in words
    assert "fff" not in words
    assert 300 <= words.count("s") <= 400
    assert "f" * 400 in shown(first)
    assert "mm" not in shown(never, second, Says(name="m", what=[user("m" * 900)], priority=1))
    both = shown(never, Says(name="x", what="x" * 900))
    assert both.count("x") >= 900, "a block of priority 0 is never shortened"


def test_a_block_that_says_nonsense(in_memory: Store) -> None:
    with pytest.raises(Misconfigured, match="'says' gave a int"):
        small(in_memory, Says(what=3)).get()


# -- sync, async, threads, loops -------------------------------------------------------------


def test_sync_calls_from_everywhere(store: Store) -> None:
    keeper = Keeper()
    memory = small(store, keeper)
    messages = list(turns(0, 20))

    async def inside(some: Sequence[ChatMessage]) -> None:
        for message in some:
            memory.put(message)
            memory.get()

    async def properly(some: Sequence[ChatMessage]) -> None:
        for message in some:
            await memory.aput(message)
            await memory.aget()

    for message in messages[:10]:
        memory.put(message)
        memory.get()
    asyncio.run(inside(messages[10:20]))
    thread = threading.Thread(target=memory.put_messages, args=(messages[20:30],))
    thread.start()
    thread.join()
    asyncio.run(properly(messages[30:35]))
    asyncio.run(properly(messages[35:]))
    assert keeper.words == pairs(0, 15)


def test_a_loop_that_is_not_running_stays_as_it_is(in_memory: Store) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        small(in_memory, Keeper()).put_messages(list(turns(0, 8)))
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


# -- agents and chat engines -----------------------------------------------------------------


def scripted(*answers: ChatMessage) -> MockFunctionCallingLLM:
    """A model that gives these answers, and notes what it was shown."""
    left = list(answers)

    def answer(messages: Sequence[ChatMessage], **settings: Any) -> ChatMessage:
        SHOWN.append([m.model_copy(deep=True) for m in messages])
        return left.pop(0)

    return MockFunctionCallingLLM(response_generator=answer, is_chat_model=True)


SHOWN: list[list[ChatMessage]] = []


@pytest.fixture(autouse=True)
def forget_what_models_were_shown() -> None:
    SHOWN.clear()


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent(llm: MockFunctionCallingLLM, kind: str = "FunctionAgent") -> Any:
    one = FunctionAgent(name="adder", description="Adds.", tools=[add], llm=llm)
    return one if kind == "FunctionAgent" else AgentWorkflow(agents=[one])


async def asked_of(agent: Any, text: str, **settings: Any) -> str:
    return str(await agent.run(user_msg=text, **settings))


def shapes(messages: Sequence[ChatMessage]) -> list[str]:
    return [f"{m.role.value}: {m.content or ''}" for m in messages]


@pytest.mark.parametrize("kind", ["FunctionAgent", "AgentWorkflow"])
def test_an_agent_with_tool_rounds(store: Store, kind: str) -> None:
    llm = scripted(calls("c1"), calls("c2", "c3"), assistant("It is 3."), assistant("Still 3."))
    memory = small(store, token_limit=10_000)
    what = agent(llm, kind)

    async def both() -> None:
        assert await asked_of(what, "1 + 2?", memory=memory) == "It is 3."
        again = small(store, token_limit=10_000)
        assert await asked_of(what, "Sure?", memory=again) == "Still 3."

    asyncio.run(both())
    told = ["user: 1 + 2?", "assistant: ", "tool: 3", "assistant: ", "tool: 3", "tool: 3"]
    assert shapes(memory.get_all()) == [
        *told,
        "assistant: It is 3.",
        "user: Sure?",
        "assistant: Still 3.",
    ]
    assert shapes(SHOWN[-1]) == [*told, "assistant: It is 3.", "user: Sure?"]
    asked = [b.tool_call_id for m in SHOWN[-1] for b in m.blocks if isinstance(b, ToolCallBlock)]
    assert asked == ["c1", "c2", "c3"]


@pytest.mark.parametrize("kind", ["FunctionAgent", "AgentWorkflow"])
def test_an_agent_with_blocks(in_memory: Store, kind: str) -> None:
    keeper = Keeper()
    answers = [
        answer for i in range(12) for answer in (calls(f"c{i}"), assistant(f"a{i} ".ljust(24, "x")))
    ]
    what = agent(scripted(*answers), kind)

    async def several() -> None:
        for i in range(12):
            memory = small(in_memory, keeper)
            await asked_of(what, f"q{i} ".ljust(24, "x"), memory=memory)

    asyncio.run(several())
    session = in_memory.session("chat")
    assert session.count() == 48
    roles = [m.role for m in session.messages(archived=True)]
    assert [m.role.value for batch in keeper.batches for m in batch] == roles
    assert len(roles) % 4 == 0
    assert len(roles) >= 24
    for shown in SHOWN:
        assert len(shown) <= 15
    assert "remembered" in (SHOWN[-1][0].content or "")


@pytest.mark.parametrize("kind", ["FunctionAgent", "AgentWorkflow"])
def test_memory_passed_once_and_the_same_context_twice(in_memory: Store, kind: str) -> None:
    memory = small(in_memory)
    what = agent(scripted(assistant("one"), assistant("two")), kind)

    async def twice() -> None:
        ctx: Any = Context(what)
        await asked_of(what, "first", memory=memory, ctx=ctx)
        await asked_of(what, "second", ctx=ctx)

    asyncio.run(twice())
    assert said(memory.get_all()) == ["first", "one", "second", "two"]
    assert said(SHOWN[-1]) == ["first", "one", "second"]


@pytest.mark.parametrize("kind", ["FunctionAgent", "AgentWorkflow"])
@pytest.mark.parametrize("serializer", [JsonSerializer, JsonPickleSerializer])
def test_a_restored_context(store: Store, serializer: Any, kind: str) -> None:
    memory = small(store, Keeper())
    what = agent(scripted(assistant("one"), assistant("two")), kind)

    async def twice() -> str:
        ctx: Any = Context(what)
        await asked_of(what, "first", memory=memory, ctx=ctx)
        dumped = json.dumps(ctx.to_dict(serializer=serializer()))
        restored: Any = Context.from_dict(what, json.loads(dumped), serializer=serializer())
        await asked_of(what, "second", ctx=restored)
        return dumped

    dumped = asyncio.run(twice())
    assert "OnrecordMemory" in dumped
    assert said(memory.get_all()) == ["first", "one", "second", "two"]
    assert said(SHOWN[-1]) == ["first", "one", "second"]


def test_the_state_of_a_workflow_is_not_stored(in_memory: Store) -> None:
    memory = small(in_memory)
    one = FunctionAgent(name="one", tools=[], llm=scripted(assistant("hi")), initial_state={"n": 1})
    asyncio.run(asked_of(one, "hello", memory=memory))
    assert "Current state" in (SHOWN[-1][-1].content or "")
    assert said(memory.get_all()) == ["hello", "hi"]


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("method", ["chat", "achat", "stream_chat", "astream_chat"])
def test_chat_engines(store: Store, method: str, blocks: bool) -> None:
    keeper = Keeper()
    memory = small(store, *([keeper] if blocks else []), token_limit=300)
    engine = SimpleChatEngine.from_defaults(llm=MockLLM(max_tokens=4), memory=memory)

    async def awaited(text: str) -> None:
        if method == "achat":
            await engine.achat(text)
            return
        answer = await engine.astream_chat(text)
        async for _ in answer.async_response_gen():
            pass

    for i in range(8):
        text = f"q{i} ".ljust(100, "x")
        if method == "chat":
            engine.chat(text)
        elif method == "stream_chat":
            answer = engine.stream_chat(text)
            for _ in answer.response_gen:
                pass
        else:
            asyncio.run(awaited(text))
    roles = [m.role.value for m in memory.get_all()]
    assert roles == ["user", "assistant"] * 8
    assert engine.chat_history == memory.get_all()
    assert len(memory.get()) < 16
    if blocks:
        archived = [m.text.split()[0] for m in memory.session.messages(archived=True)]
        assert keeper.words == archived
        assert archived
    engine.reset()
    assert memory.get_all() == []


# -- dumps -----------------------------------------------------------------------------------


def test_dumps(store: Store) -> None:
    memory = small(
        store, Keeper(), user="ada", insert_method="user", memory_blocks_template="{#!#}"
    )
    memory.put(user("hello"))
    dumps = [memory.to_dict(), json.loads(memory.to_json()), memory.model_dump(mode="json")]
    for dump in dumps:
        assert dump["class_name"] == "OnrecordMemory"
        assert "hello" not in str(dump)
        assert "memory_blocks" not in dump
        again = OnrecordMemory.from_dict(dump)
        assert said(again.get_all()) == ["hello"]
        assert again.insert_method is InsertMethod.USER
        assert again.memory_blocks_template.template_str == "{#!#}"
        assert again.token_flush_size == 40
        assert again.session.store is store
        with_blocks = OnrecordMemory.from_dict(dump, memory_blocks=[Keeper()])
        assert len(with_blocks.memory_blocks) == 1
    default = OnrecordMemory.from_dict(OnrecordMemory(store=store).to_dict())
    assert "<memory>" in default.memory_blocks_template.template_str
    assert issubclass(OnrecordMemory, BaseMemory)


def test_pickles_and_copies(store: Store) -> None:
    memory = small(store, Keeper())
    memory.put(user("hello"))
    for again in (pickle.loads(pickle.dumps(memory)), copy.deepcopy(memory), copy.copy(memory)):
        again.put(user("more"))
        assert again.session.name == memory.session.name
        assert [block.name for block in again.memory_blocks] == ["keeper"]
    assert said(memory.get_all()) == ["hello", "more", "more", "more"]


def test_no_password_in_any_dump(postgres_url: str) -> None:
    from sqlalchemy.engine import make_url

    url = make_url(postgres_url).set(password="s3cret-word")
    with Store(url.render_as_string(hide_password=False)) as store:
        memory = small(store, Keeper())
        for dump in (
            memory.to_json(),
            repr(memory),
            str(memory.to_dict()),
            repr(pickle.dumps(memory)),
            JsonSerializer().serialize(memory),
            JsonPickleSerializer().serialize(memory),
        ):
            assert "s3cret-word" not in dump
