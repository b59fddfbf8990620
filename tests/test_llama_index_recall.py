"""Recall in LlamaIndex: what is far back is shown again, to its own user, and never stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ToolCallBlock
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import BaseMemory, BaseMemoryBlock, Memory
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.workflow import Context

from llama_index_onrecord import (
    OnrecordChatStore,
    OnrecordMemory,
    OnrecordMemoryBlock,
    OnrecordMemoryStore,
    OnrecordRetriever,
    Recall,
)
from llama_index_onrecord.messages import Reminder
from onrecord import ANY, Message, Misconfigured, Passage, Session, Store
from onrecord.adapters.recalling import in_words

# LlamaIndex's workflows look at all attributes of an agent, also at those of pydantic's past.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `__fields:pydantic.PydanticDeprecatedSince20",
    "ignore:Accessing the 'model_:pydantic.warnings.PydanticDeprecatedSince211",
)

OpenStore = Callable[[], Store]
ASKED = "What did we say about the refund for the ferry ticket?"
ANSWER = "Yes: I have refunded 42 euros to your card."
FAR_BACK = [
    ("user", "Can I have my money back for the ferry ticket?"),
    ("assistant", ANSWER),
]
NOODLES = [
    (role, text)
    for n in range(30)
    for role, text in (
        ("user", f"How do I boil noodles, part {n}?"),
        ("assistant", f"Step {n}: stir the pot and wait."),
    )
]


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


def long(store: Store, key: str = "chat", **scope: str) -> Session:
    """A conversation too long for a window, whose answer is far back."""
    session = store.session(key, **scope)
    session.append([*FAR_BACK, *NOODLES])
    return session


def small(store: Store, recall: bool | Recall = True, **fields: Any) -> OnrecordMemory:
    """Room for some ten turns."""
    settings = {"token_limit": 300, "recall": recall, **fields}
    return OnrecordMemory.from_defaults("chat", store, **settings)


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def recalled(messages: Sequence[ChatMessage]) -> list[str]:
    """What a model is shown that was recalled."""
    return [m.content or "" for m in messages if "[Recalled from earlier" in (m.content or "")]


class Model:
    """Says what it is told to say, and notes what it was shown."""

    def __init__(self, *says: Any) -> None:
        self.says = list(says)
        self.shown: list[list[ChatMessage]] = []
        self.llm = MockFunctionCallingLLM(response_generator=self.answer, is_chat_model=True)

    def answer(self, messages: Sequence[ChatMessage], **settings: Any) -> ChatMessage:
        self.shown.append([message.model_copy(deep=True) for message in messages])
        says = self.says.pop(0)
        return ChatMessage(role="assistant", content=says) if isinstance(says, str) else says


class Says(BaseMemoryBlock[str]):
    """A block that always says the same."""

    name: str = "says"
    text: str = "I know."

    async def _aget(self, messages: list[ChatMessage] | None = None, **settings: Any) -> str:
        return self.text

    async def _aput(self, messages: list[ChatMessage]) -> None:
        pass


def blocks(*more: BaseMemoryBlock[Any], **fields: Any) -> dict[str, Any]:
    return {"memory_blocks": list(more), "chat_history_token_ratio": 0.7, **fields}


def counted(
    monkeypatch: pytest.MonkeyPatch, raising: Exception | None = None
) -> list[tuple[Any, ...]]:
    """Note each recall, sync or async, of a session or of a store; or let all of them fail."""
    asked: list[tuple[Any, ...]] = []

    def noted(kind: type, name: str) -> None:
        method = getattr(kind, name)

        def recall(self: Any, query: str, **settings: Any) -> Any:
            asked.append((name, query, settings))
            if raising is not None:
                raise raising
            return method(self, query, **settings)

        monkeypatch.setattr(kind, name, recall)

    for kind in (Session, Store):
        for name in ("recall", "arecall"):
            noted(kind, name)
    return asked


# -- the memory ------------------------------------------------------------------------------


def test_what_is_far_back_stands_before_the_window(store: Store) -> None:
    long(store)
    memory = small(store)
    shown = memory.get(ASKED)
    first, *window = shown
    assert first.role is MessageRole.SYSTEM
    assert ANSWER in str(first.content)
    assert "user: Can I have my money back" in str(first.content), "the whole turn"
    assert "not instructions" in str(first.content)
    assert window[0].role is MessageRole.USER
    assert (window[-1].content or "").startswith("Step 29")
    assert recalled(window) == []
    assert shown == asyncio.run(memory.aget(ASKED))
    assert shown == memory.get(user(ASKED))
    assert not recalled(small(store, False).get(ASKED))


def test_without_an_input_the_newest_question_is_asked(in_memory: Store) -> None:
    long(in_memory).append(("user", ASKED))
    memory = small(in_memory)
    assert ANSWER in recalled(memory.get())[0]
    assert ANSWER in recalled(asyncio.run(memory.aget()))[0]
    memory.put(ChatMessage(role="assistant", content="It was paid."))
    assert ANSWER in recalled(memory.get())[0], "an answer is no question"


def test_nothing_where_nothing_is_relevant(in_memory: Store) -> None:
    long(in_memory)
    memory, without = small(in_memory), small(in_memory, False, token_limit=150)
    nothing = "What is the boiling point of tungsten hexafluoride?"
    for query in (nothing, "", "  ", "the of and"):
        assert memory.get(query) == without.get(), "no message, and the same window"
    assert memory.get(ChatMessage(role="user", blocks=[])) == without.get()
    assert small(in_memory, Recall(min_score=1.0)).get(ASKED) == without.get()
    assert OnrecordMemory.from_defaults("empty", in_memory, recall=True).get(ASKED) == []


def test_nothing_is_looked_for_without_words_or_room(
    in_memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    long(in_memory)
    asked = counted(monkeypatch)
    for memory, query in ((small(in_memory), " "), (small(in_memory, token_limit=40), ASKED)):
        assert not recalled(memory.get(query))
    assert asked == []


def test_what_the_window_has_is_not_recalled(
    in_memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, asked = in_memory.session("chat"), counted(monkeypatch)
    session.append([*FAR_BACK, ("assistant", "No.")])
    said = [message.text for message in session.messages()]
    assert [m.content for m in small(in_memory).get(ASKED)] == said
    assert asked == [], "nothing is looked for where all is shown"
    session.delete(3)
    assert [m.content for m in small(in_memory).get(ASKED)] == said[:2]
    assert len(asked) == 1


def test_all_of_it_is_under_the_limit(in_memory: Store) -> None:
    session = long(in_memory)
    for n in range(20):
        session.append([("user", f"The ferry ticket refund, again {n}?"), ("assistant", ANSWER)])
    session.append(NOODLES)

    def words(message: Message) -> int:
        return len(message.text.split())

    for limit in (40, 80, 200, 400, 800):
        for counter in (None, words):
            memory = small(in_memory, Recall(tokens=200), token_limit=limit, token_counter=counter)
            shown = memory.get(ASKED)
            assert memory._tokens(shown) <= limit
            assert bool(recalled(shown)) == (limit > 80) or counter is words
            less = memory.get(ASKED, initial_token_count=limit // 4)
            assert memory._tokens(less) <= limit - limit // 4
    assert sum("again" in line for line in recalled(memory.get(ASKED))[0].splitlines()) > 3


def test_behind_a_system_message_that_leads(in_memory: Store) -> None:
    in_memory.session("chat").append([("system", "Be nice."), *FAR_BACK, *NOODLES])
    first, second, third, *_ = small(in_memory).get(ASKED)
    assert (first.content, third.role) == ("Be nice.", MessageRole.USER)
    assert recalled([second])
    first, second, *rest = small(in_memory, insert_method="user").get(ASKED)
    assert (first.content, second.role) == ("Be nice.", MessageRole.USER)
    assert recalled([second])
    assert (rest[-1].content or "").startswith("Step 29")


def test_it_is_never_stored(store: Store) -> None:
    count = long(store).count()
    memory = small(store)
    shown = memory.get(ASKED)
    assert recalled(shown)
    memory.put(shown[0])
    memory.put_messages(shown[:1])
    asyncio.run(memory.aput_messages([shown[0].model_copy()]))
    assert store.session("chat").count() == count
    memory.put_messages([shown[0], user("new")])
    assert store.session("chat").count() == count + 1
    memory.set(shown)
    assert memory.session.count() == len(shown) - 1
    asyncio.run(memory.aset(shown))
    chats, queue = OnrecordChatStore(store), OnrecordMemoryStore(store)
    chats.set_messages("other", shown)
    asyncio.run(queue.add_messages("other", shown))
    for session in store.sessions():
        messages = store.session(session.key).messages()
        assert not any("Recalled" in message.text for message in messages)


def test_across_the_conversations_of_a_user(store: Store) -> None:
    long(store, "lisbon", user="ada")
    long(store, "madrid", user="bob").append(("user", "A secret of the ferry ticket refund."))
    long(store, "work", user="ada", agent="lawyer")
    store.session("nobody").append(FAR_BACK)
    across = Recall(across="user")
    memory = small(store, across, user="ada")
    memory.put(user("Hello."))
    [words] = recalled(memory.get(ASKED))
    assert 'in "lisbon":' in words
    assert "earlier conversations with this user" in words
    assert not any(other in words for other in ("madrid", "secret", "work", "nobody"))
    assert recalled(asyncio.run(memory.aget(ASKED))) == [words]
    assert not recalled(small(store, user="ada").get(ASKED)), "of this conversation alone"
    assert not recalled(small(store, across, user="carol").get(ASKED))
    with pytest.raises(Misconfigured, match="give user="):
        small(store, across)


def test_a_session_is_a_wall(in_memory: Store) -> None:
    long(in_memory, "chat", user="bob")
    long(in_memory, "other", user="ada")
    memory = small(in_memory, user="ada")
    memory.put_messages([user(text) for _, text in NOODLES])
    assert not recalled(memory.get(ASKED))


@pytest.mark.parametrize("across", ["session", "user"])
def test_a_search_that_fails_costs_the_recall_alone(
    in_memory: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, across: Any
) -> None:
    long(in_memory, user="ada")
    memory = small(in_memory, Recall(across=across), user="ada")
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "onrecord"):
        counted(patched, raising=RuntimeError("no embedding today"))
        for shown in (memory.get(ASKED), asyncio.run(memory.aget(ASKED))):
            assert not recalled(shown)
            assert (shown[-1].content or "").startswith("Step 29")
    assert "no embedding today" in caplog.text
    assert recalled(small(in_memory, user="ada").get(ASKED)), "nothing of it stays"


def test_a_read_that_fails_still_fails(in_memory: Store) -> None:
    """An answer without its history would look like a new conversation."""
    memory = small(in_memory)
    long(in_memory)
    in_memory.close()
    with pytest.raises(Exception, match="closed"):
        memory.get(ASKED)


def test_one_search_a_turn(in_memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    long(in_memory)
    memory, asked = small(in_memory), counted(monkeypatch)
    first = memory.get(ASKED)
    first[0].blocks.clear()  # the caller's own
    assert recalled(memory.get(ASKED)) == recalled(asyncio.run(memory.aget(ASKED))) != []
    assert len(asked) == 1
    memory.put(ChatMessage(role="assistant", content="42 euros."))
    assert recalled(memory.get(ASKED)) != []
    assert len(asked) == 1, "the turn goes on"
    memory.get("How do I boil noodles, part 3?")
    memory.get(ASKED, initial_token_count=20)
    memory.get(ASKED)
    assert len(asked) == 4, "another question, another window"
    memory.put(user("And then?"))
    memory.get(ASKED)
    assert len(asked) == 5, "a new turn"
    in_memory.session("chat").delete(2)  # by another process
    assert not any(ANSWER in words for words in recalled(memory.get(ASKED)))
    assert len(asked) == 6
    in_memory.session("chat").edit(1, ("user", "I like ferries."))
    assert "money back" not in str(memory.get(ASKED))
    memory.session_id = "other"
    assert memory.get(ASKED) == []


def test_what_is_taken_away_is_not_shown_again(in_memory: Store) -> None:
    here = long(in_memory, user="ada")
    elsewhere = long(in_memory, "lisbon", user="bob")
    with_blocks = small(in_memory, user="ada", **blocks(Says()))
    across = small(in_memory, Recall(across="user"), user="bob")
    across.put(user("Hello."))
    for memory, session in ((with_blocks, here), (across, elsewhere)):
        assert recalled(memory.get(ASKED))
        session.delete(1)
        session.delete(2)
        assert not any(ANSWER in words for words in recalled(memory.get(ASKED)))


def test_the_worst_passage_gives_way_first(in_memory: Store) -> None:
    session = in_memory.session("chat")
    session.append(("user", "hello"))
    passages = [
        Passage(session.info(), (Message("user", f"{n} is a word. " * 9),), score)
        for n, score in enumerate((0.5, 0.9, 0.7))
    ]

    def left(tokens: int) -> tuple[str, list[bool]]:
        words = in_words(passages, "session", tokens=tokens, count=len)
        return words, [f"{n} is" in words for n in range(3)]

    words, there = left(5_000)
    assert there == [True, True, True]
    words, there = left(len(words) - 1)
    assert there == [False, True, True]
    words, there = left(len(words) - 1)
    assert there == [False, True, False]
    assert left(len(words) - 1) == ("", [False, False, False])


def test_beside_memory_blocks(in_memory: Store) -> None:
    long(in_memory)
    for priority in (0, 1):
        block = Says(priority=priority, text="word " * 80)
        memory = small(in_memory, token_limit=220, **blocks(block))
        first, *window = memory.get(ASKED)
        assert ANSWER in str(first.content), "a system message with both"
        assert ("word word" in str(first.content)) is (priority == 0)
        assert window[0].role is MessageRole.USER
        assert priority == 0 or memory._tokens([first, *window]) <= 220


def test_settings(in_memory: Store) -> None:
    for wrong in ("yes", 1, {"tokens": 0}, {"token": 5}):
        with pytest.raises(Misconfigured):
            small(in_memory, wrong)  # type: ignore[arg-type]
    for settings in ({"tokens": 0}, {"min_score": 2}, {"across": "all"}):
        with pytest.raises(Misconfigured):
            Recall(**settings)
    assert small(in_memory, False).recall is None
    assert small(in_memory, True).recall == Recall()


def test_a_dump_has_the_settings_and_nothing_that_was_recalled(in_memory: Store) -> None:
    long(in_memory, user="ada")
    memory = small(in_memory, Recall(tokens=500, across="user"), user="ada")
    shown = memory.get(ASKED)
    dumped = memory.to_json()
    assert "ferry" not in dumped
    again = OnrecordMemory.from_json(dumped)
    assert again.recall == memory.recall
    assert again.get(ASKED) == shown
    assert OnrecordMemory.from_dict(small(in_memory, False).to_dict()).recall is None


# -- inside the framework --------------------------------------------------------------------


class Opening(BaseRetriever):
    """Knows one thing."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text="We open at nine."), score=1.0)]


def engines(memory: BaseMemory, model: Model) -> list[Any]:
    retriever = Opening()
    return [
        SimpleChatEngine.from_defaults(llm=model.llm, memory=memory),
        ContextChatEngine.from_defaults(retriever, llm=model.llm, memory=memory),
        CondensePlusContextChatEngine.from_defaults(
            retriever, llm=model.llm, memory=memory, skip_condense=True
        ),
    ]


@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")
@pytest.mark.parametrize("which", range(3), ids=["simple", "context", "condense plus context"])
def test_a_chat_engine_answers_out_of_what_is_far_back(store: Store, which: int) -> None:
    session = long(store)
    count = session.count()
    model = Model("42 euros.", "As I said.")
    engine = engines(small(store), model)[which]
    assert str(engine.chat(ASKED)) == "42 euros."
    assert str(asyncio.run(engine.achat(ASKED))) == "As I said."
    for shown in model.shown:
        [words] = recalled(shown)
        assert ANSWER in words
    said = [message.text for message in session.messages()]
    assert said[count:] == [ASKED, "42 euros.", ASKED, "As I said."]


def call(id_: str) -> ChatMessage:
    block = ToolCallBlock(tool_call_id=id_, tool_name="look", tool_kwargs={})
    return ChatMessage(role="assistant", blocks=[block])


def look() -> str:
    """Looks something up."""
    return "found"


def test_an_agent_answers_out_of_what_is_far_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = long(store)
    count, asked = session.count(), counted(monkeypatch)
    model = Model(call("c1"), call("c2"), "42 euros.", "You are welcome.")
    agent = FunctionAgent(
        llm=model.llm, tools=[look], system_prompt="You work at a desk for ferries."
    )

    async def turns() -> None:
        context: Any = Context(agent)
        await agent.run(ASKED, memory=small(store), ctx=context)
        await agent.run("Thank you!", ctx=context)  # the memory is restored out of the context

    asyncio.run(turns())
    *first, last = model.shown
    for shown in first:
        [words] = recalled(shown)
        assert ANSWER in words
        assert shown[0].content == "You work at a desk for ferries."
    assert not recalled(last)
    assert [query for _, query, _ in asked] == [ASKED, "Thank you!"], "once a turn"
    said = [message.role for message in session.messages()][count:]
    assert said == ["user", *["assistant", "tool"] * 2, "assistant", "user", "assistant"]


# -- the memory block ------------------------------------------------------------------------


def test_a_block_of_our_own_memory(store: Store) -> None:
    block = OnrecordMemoryBlock(store=store)
    assert (block.name, block.priority) == ("RetrievedMessages", 0)
    memory = small(store, False, user="ada", **blocks(block))
    memory.put_messages([ChatMessage(role=role, content=text) for role, text in FAR_BACK])
    memory.put_messages([ChatMessage(role=role, content=text) for role, text in NOODLES])
    for shown in (memory.get(ASKED), asyncio.run(memory.aget(ASKED))):
        first, second, *_ = shown
        assert "<RetrievedMessages>" in str(first.content)
        assert ANSWER in str(first.content)
        assert second.role is MessageRole.USER
    assert memory.get("boiling point of tungsten")[0].role is MessageRole.USER
    assert "Step 29" not in str(memory.get("Step 29: stir")[0].content), "the window has it"
    everything = store.sessions(user=ANY, agent=ANY)
    assert [(info.key, info.messages) for info in everything] == [("chat", 62)], "stored once"
    assert memory.session.count(archived=True) == 0


def test_a_block_gives_way_where_there_is_no_room(in_memory: Store) -> None:
    long(in_memory)
    for priority, there in ((0, True), (1, False)):
        block = OnrecordMemoryBlock(store=in_memory, priority=priority, name="earlier")
        memory = small(in_memory, False, token_limit=40, **blocks(block))
        shown = memory.get(ASKED)
        assert ("<earlier>" in str(shown[0].content)) is there


def test_a_block_of_memory_over_our_store(store: Store) -> None:
    queue = OnrecordMemoryStore(store=store, user="ada")
    block = OnrecordMemoryBlock(store=store)
    memory = Memory.from_defaults(
        "chat",
        chat_store=queue,
        memory_blocks=[block],
        token_limit=200,
        token_flush_size=40,
        tokenizer_fn=str.split,
    )

    async def turns() -> None:
        for role, text in [*FAR_BACK, *NOODLES]:
            await memory.aput(ChatMessage(role=role, content=text))
        assert ANSWER in str((await memory.aget(ASKED))[0].content)
        shown = await memory.aget("How do I boil noodles, part 29? Step 29")
        assert not any("Step 29" in line for line in str(shown[0].content).splitlines()[:-1])

    asyncio.run(turns())
    everything = store.sessions(user=ANY, agent=ANY)
    assert [(i.key, i.user, i.messages) for i in everything] == [("chat", "ada", 62)]
    assert store.session("chat", user="ada").count(archived=True) > 2


def test_an_agent_with_a_memory_and_our_block(in_memory: Store) -> None:
    model = Model(call("c1"), "42 euros.")
    agent = FunctionAgent(llm=model.llm, tools=[look])
    memory = Memory.from_defaults(
        "chat",
        chat_store=OnrecordMemoryStore(store=in_memory),
        memory_blocks=[OnrecordMemoryBlock(store=in_memory)],
        token_limit=200,
        token_flush_size=40,
        tokenizer_fn=str.split,
    )

    async def turn() -> None:
        for role, text in [*FAR_BACK, *NOODLES]:
            await memory.aput(ChatMessage(role=role, content=text))
        await agent.run(ASKED, memory=memory)

    asyncio.run(turn())
    for shown in model.shown:
        assert ANSWER in str(shown[0].content)
    assert [info.messages for info in in_memory.sessions(user=ANY, agent=ANY)] == [66]


def test_a_block_of_memory_over_another_store(store: Store, in_memory: Store) -> None:
    """What it is given is nowhere else in its own."""

    def made(key: str, **fields: Any) -> Memory:
        return Memory.from_defaults(
            key,
            chat_store=OnrecordMemoryStore(store=in_memory),
            memory_blocks=[OnrecordMemoryBlock(store=store, user="ada", **fields)],
            token_limit=200,
            token_flush_size=40,
            tokenizer_fn=str.split,
        )

    async def turns(memory: Memory) -> None:
        for role, text in [*FAR_BACK, *NOODLES]:
            await memory.aput(ChatMessage(role=role, content=text))
        assert ANSWER in str((await memory.aget(ASKED))[0].content)
        active = await memory.aget_all()
        flushed = store.session(key, user="ada").messages()
        kept = [message.text for message in flushed]
        assert all("session_id" not in str(message.native) for message in flushed)
        assert kept + [m.content for m in active][-62 + len(kept) :] == [
            text for _, text in [*FAR_BACK, *NOODLES]
        ]

    key = "chat"
    asyncio.run(turns(made("chat")))
    key = "kept"
    asyncio.run(turns(made("other", session_id="kept")))


def test_what_a_task_has_read_of_another_conversation_says_nothing_of_this(
    in_memory: Store,
) -> None:
    queue, block = OnrecordMemoryStore(store=in_memory), OnrecordMemoryBlock(store=in_memory)

    async def given() -> None:
        await queue.add_message("one", user("hello"))
        await queue.get_messages("one")
        await block.aput([user("for two")], session_id="two")
        await queue.get_messages("two")
        await block.aput([user("it is there")], session_id="two")

    asyncio.run(given())
    assert [m.text for m in in_memory.session("two").messages()] == ["for two"]


def test_blocks_across_the_conversations_of_a_user(in_memory: Store) -> None:
    long(in_memory, "lisbon", user="ada")
    long(in_memory, "madrid", user="bob")
    block = OnrecordMemoryBlock(store=in_memory, across="user", user="ada")
    told = asyncio.run(block.aget([user(ASKED)], session_id="new"))
    assert 'in "lisbon":' in told
    assert "madrid" not in told
    memory = small(in_memory, False, user="bob", **blocks(block))
    assert "lisbon" not in str(memory.get(ASKED)), "the conversation says whose it is"
    with pytest.raises(Misconfigured, match="give user="):
        small(in_memory, False, **blocks(block)).get(ASKED)


def test_a_block_with_nothing_to_say(in_memory: Store) -> None:
    long(in_memory)
    block = OnrecordMemoryBlock(store=in_memory)
    for heard in (None, [], [ChatMessage(role="assistant", content=ASKED)], [user(" ")]):
        assert asyncio.run(block.aget(heard, session_id="chat")) == ""
    assert asyncio.run(block.aget([user(ASKED)])) == "", "of which conversation?"
    assert ANSWER in asyncio.run(block.aget([user(ASKED)], session_id="chat"))
    with pytest.raises(Misconfigured, match="usr"):
        OnrecordMemoryBlock(store=in_memory, usr="ada")
    with pytest.raises(Misconfigured, match="tokens"):
        OnrecordMemoryBlock(store=in_memory, tokens=0)


# -- the retriever ---------------------------------------------------------------------------


def test_a_retriever_in_a_query_engine(store: Store) -> None:
    long(store, user="ada")
    long(store, user="bob")
    model = Model("42 euros.", "42 euros.")
    retriever = OnrecordRetriever(store, user="ada")
    engine = RetrieverQueryEngine.from_args(retriever, llm=model.llm)
    for response in (engine.query(ASKED), asyncio.run(engine.aquery(ASKED))):
        assert str(response) == "42 euros."
        nodes = {node.metadata["seq"]: node for node in response.source_nodes}
        assert {1, 2} <= nodes.keys()
        node = nodes[2]
        assert node.text == ANSWER
        assert node.metadata["session"] == "chat"
        assert node.metadata["role"] == "assistant"
        assert node.metadata["user"] == "ada"
        stored = store.session("chat", user="ada").messages()[1]
        assert node.metadata["created_at"] == stored.created_at.isoformat()  # type: ignore[union-attr]
        assert node.score == pytest.approx(node.metadata["score"], abs=1e-4)
        assert {n.metadata["user"] for n in response.source_nodes} == {"ada"}
    for shown in model.shown:
        assert ANSWER in str(shown[-1].content)
        assert "score" not in str(shown[-1].content)


def test_a_retriever_finds_nothing_where_nothing_answers(in_memory: Store) -> None:
    session = long(in_memory)
    nothing = "What is the boiling point of tungsten hexafluoride?"
    assert OnrecordRetriever(in_memory).retrieve(nothing) == []
    assert OnrecordRetriever(session).retrieve(ASKED) != []
    assert OnrecordRetriever(in_memory, user="bob").retrieve(ASKED) == []
    assert len(OnrecordRetriever(session, min_score=0, similarity_top_k=2).retrieve("noodles")) == 2
    only = OnrecordRetriever(session, roles=["assistant"], min_score=0).retrieve(ASKED)
    assert {node.metadata["role"] for node in only} == {"assistant"}
    lent = OnrecordRetriever(session, roles=iter(["assistant"]), min_score=0)
    assert lent.retrieve(ASKED) == lent.retrieve(ASKED) == only


def test_ids_of_two_sessions_are_two(in_memory: Store) -> None:
    """LlamaIndex drops a node whose id it has seen."""
    for key in ("one", "two"):
        in_memory.session(key).append(Message("user", FAR_BACK[0][1], id="form-1"))
    found = OnrecordRetriever(in_memory).retrieve(FAR_BACK[0][1])
    assert sorted(node.metadata["session"] for node in found) == ["one", "two"]
    assert "form-1" not in found[0].node.get_content(MetadataMode.ALL)


def test_wrong_settings_of_a_retriever(in_memory: Store) -> None:
    session = in_memory.session("chat")
    wrong: list[Callable[[], object]] = [
        lambda: OnrecordRetriever("sqlite://"),  # type: ignore[arg-type]
        lambda: OnrecordRetriever(session, user="ada"),
        lambda: OnrecordRetriever(session, metadata={"a": 1}),
        lambda: OnrecordRetriever(in_memory, similarity_top_k=0),
        lambda: OnrecordRetriever(in_memory, min_score=2),
        lambda: OnrecordRetriever(in_memory, roles="user"),
        lambda: OnrecordRetriever(session, roles=[["user"]]),  # type: ignore[list-item]
    ]
    for make in wrong:
        with pytest.raises(Misconfigured):
            make()
    assert "OnrecordRetriever" in repr(OnrecordRetriever(in_memory))


def test_a_reminder_is_a_message_like_others() -> None:
    reminder = Reminder(role=MessageRole.SYSTEM, blocks=[TextBlock(text="[Recalled]")])
    assert reminder.model_dump() == ChatMessage(**reminder.model_dump()).model_dump()
