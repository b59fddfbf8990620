"""One conversation, written and read through LangChain, LlamaIndex and the core alone."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from llama_index.core.base.llms.types import (
    ChatMessage,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from langchain_onrecord import OnrecordChatMessageHistory, from_langchain, to_langchain
from llama_index_onrecord import OnrecordChatStore, from_llama_index, to_llama_index
from onrecord import Image, Message, Reasoning, Session, Store, Text, ToolCall

DATA = Path(__file__).parents[2] / "shared" / "data" / "conversations.jsonl"


class Said(NamedTuple):
    """What everybody has to see of a message."""

    role: str
    text: str = ""
    calls: tuple[tuple[str | None, str, str], ...] = ()
    """(id, name, arguments as JSON)"""
    answers: str | None = None
    images: tuple[bytes | str, ...] = ()
    reasoning: str = ""


def arguments(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# -- in each framework's own words ---------------------------------------------------------------


def as_langchain(said: Said) -> BaseMessage:
    parts: list[str | dict[str, Any]] = []
    if said.reasoning:
        parts.append({"type": "reasoning", "reasoning": said.reasoning})
    if said.text:
        parts.append({"type": "text", "text": said.text})
    for image in said.images:
        url = image if isinstance(image, str) else f"data:image/png;base64,{_base64(image)}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    content: Any = said.text if not said.images and not said.reasoning else parts
    match said.role:
        case "user":
            return HumanMessage(content)
        case "system":
            return SystemMessage(content)
        case "tool":
            return ToolMessage(content, tool_call_id=said.answers or "")
    calls = [{"id": i, "name": n, "args": json.loads(a)} for i, n, a in said.calls]
    return AIMessage(content, tool_calls=calls)


def of_langchain(message: BaseMessage) -> Said:
    parts = [message.content] if isinstance(message.content, str) else message.content
    dicts: list[dict[str, Any]] = [p for p in parts if isinstance(p, dict)]
    texts = [p for p in parts if isinstance(p, str)]
    images: list[bytes | str] = []
    for part in dicts:
        if part["type"] == "image_url":
            url = part["image_url"]["url"]
            images.append(b64decode(url.partition(",")[2]) if url.startswith("data:") else url)
        elif part["type"] == "image":
            images.append(part["url"] if "url" in part else b64decode(part["base64"]))
    return Said(
        {"human": "user", "ai": "assistant"}.get(message.type, message.type),
        "".join([*texts, *(p["text"] for p in dicts if p["type"] == "text")]),
        tuple(
            (c["id"], c["name"], arguments(c["args"])) for c in getattr(message, "tool_calls", ())
        ),
        message.tool_call_id if isinstance(message, ToolMessage) else None,
        tuple(images),
        "".join(p["reasoning"] for p in dicts if p["type"] == "reasoning"),
    )


def as_llama_index(said: Said) -> ChatMessage:
    blocks: list[Any] = []
    if said.reasoning:
        blocks.append(ThinkingBlock(content=said.reasoning))
    if said.text:
        blocks.append(TextBlock(text=said.text))
    for image in said.images:
        if isinstance(image, str):
            blocks.append(ImageBlock(url=image))
        else:  # as LlamaIndex keeps them: it takes what looks like base64 for base64
            blocks.append(ImageBlock(image=b64encode(image), image_mimetype="image/png"))
    for id_, name, args in said.calls:
        kwargs = json.loads(args)
        blocks.append(ToolCallBlock(tool_call_id=id_, tool_name=name, tool_kwargs=kwargs))
    more = {} if said.answers is None else {"tool_call_id": said.answers}
    return ChatMessage(role=said.role, blocks=blocks, additional_kwargs=more)


def of_llama_index(message: ChatMessage) -> Said:
    calls: list[tuple[str | None, str, str]] = []
    images: list[bytes | str] = []
    texts, thoughts = "", ""
    for block in message.blocks:
        match block:
            case TextBlock():
                texts += block.text
            case ThinkingBlock():
                thoughts += block.content or ""
            case ToolCallBlock():
                args = arguments(block.tool_kwargs)
                calls.append((block.tool_call_id, block.tool_name, args))
            case ImageBlock(image=bytes() as data):
                images.append(b64decode(data))
            case ImageBlock():
                images.append(str(block.url))
    answers = message.additional_kwargs.get("tool_call_id")
    return Said(message.role.value, texts, tuple(calls), answers, tuple(images), thoughts)


def as_core(said: Said) -> Message:
    content: list[Any] = []
    if said.reasoning:
        content.append(Reasoning(said.reasoning))
    if said.text:
        content.append(Text(said.text))
    for image in said.images:
        content.append(
            Image(url=image) if isinstance(image, str) else Image(image, media_type="image/png")
        )
    content.extend(ToolCall(n, json.loads(a), i) for i, n, a in said.calls)
    return Message(said.role, content, tool_call_id=said.answers)


def of_core(message: Message) -> Said:
    found = message.content
    return Said(
        message.role,
        message.text,
        tuple((c.id, c.name, arguments(c.args)) for c in message.tool_calls),
        message.tool_call_id,
        tuple((b.data or b.url or "") for b in found if isinstance(b, Image)),
        "".join(b.text for b in found if isinstance(b, Reasoning)),
    )


class Framework(NamedTuple):
    """How a conversation is written and read through one of them."""

    write: Callable[[Said], Message]
    own: Callable[[Said], Any]
    read: Callable[[Message], Any]
    seen: Callable[[Any], Said]


FRAMEWORKS = {
    "langchain": Framework(
        lambda said: from_langchain(as_langchain(said)), as_langchain, to_langchain, of_langchain
    ),
    "llama_index": Framework(
        lambda said: from_llama_index(as_llama_index(said)),
        as_llama_index,
        to_llama_index,
        of_llama_index,
    ),
    "core": Framework(as_core, as_core, lambda message: message, of_core),
}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


# -- generated conversations ---------------------------------------------------------------------

words = st.text(min_size=1, max_size=30)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9)
args_of_calls = st.dictionaries(st.text(max_size=9), scalars | st.lists(scalars, max_size=3))
pictures = st.binary(min_size=1, max_size=30) | st.just("https://example.org/picture.png")


@st.composite
def turns(draw: st.DrawFn) -> list[Said]:
    """A question, perhaps with pictures; rounds of parallel calls; results, some missing."""
    images = tuple(draw(st.lists(pictures, max_size=2)))
    said = [Said("user", draw(words), images=images)]
    for round_ in range(draw(st.integers(0, 2))):
        ids = [
            f"call-{draw(st.integers(0, 10**6))}-{round_}-{n}"
            for n in range(draw(st.integers(1, 3)))
        ]
        calls = tuple(
            (i, draw(st.sampled_from(["find", "send"])), arguments(draw(args_of_calls)))
            for i in ids
        )
        said.append(
            Said("assistant", draw(st.just("") | words), calls, reasoning=draw(st.just("") | words))
        )
        said.extend(Said("tool", draw(words), answers=i) for i in ids if draw(st.integers(0, 4)))
    return [*said, Said("assistant", draw(words))]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Store("sqlite://", durability="normal") as store:
        yield store


@pytest.mark.parametrize("writer", FRAMEWORKS)
@given(conversation=st.lists(turns(), min_size=1, max_size=2))
def test_what_one_wrote_the_others_read(
    store: Store, writer: str, conversation: list[list[Said]]
) -> None:
    said = [one for turn in conversation for one in turn]
    written = FRAMEWORKS[writer]
    chat = store.session("generated", user=writer)
    chat.clear()
    stored = chat.append([written.write(one) for one in said])
    messages = chat.messages()
    for reader, read in FRAMEWORKS.items():
        assert [read.seen(read.read(message)) for message in messages] == said, reader
    # And for its own framework it is what it was.
    for one, message in zip(said, stored, strict=True):
        assert _without_id(written.read(message)) == _without_id(written.own(one))


def _without_id(message: Any) -> Any:
    match message:
        case BaseMessage():
            return message.model_copy(update={"id": None})
        case Message():
            return of_core(message)
    return message


# -- one conversation through all of them ----------------------------------------------------------


def test_a_conversation_is_continued_by_everybody(each_store: Callable[[], Store]) -> None:
    store = each_store()
    picture = b"\x89PNG\r\n\x1a\n0123"
    langchain = OnrecordChatMessageHistory("c", store=store, user="ada")
    llama = OnrecordChatStore(store=store, user="ada")
    core: Session = store.session("c", user="ada")

    asked = as_langchain(Said("user", "What is this?", images=(picture,)))
    called = as_langchain(Said("assistant", "", (("1", "look", '{"closely": true}'),)))
    langchain.add_messages([asked, called])
    assert [of_llama_index(m) for m in llama.get_messages("c")] == [
        of_langchain(asked),
        of_langchain(called),
    ]

    llama.add_message("c", as_llama_index(Said("tool", "A parcel.", answers="1")))
    llama.add_message("c", as_llama_index(Said("assistant", "A parcel.", reasoning="It looks so.")))
    core.append(("user", "Whose?"))
    window = core.window(turns=2, repair=True)
    assert not window.dangling
    assert not window.orphans

    langchain.add_ai_message("Yours.")
    seen = [of_langchain(m) for m in langchain.messages]
    assert seen == [of_llama_index(m) for m in llama.get_messages("c")]
    assert seen == [of_core(m) for m in core.messages()]
    assert [(s.role, s.text) for s in seen] == [
        ("user", "What is this?"),
        ("assistant", ""),
        ("tool", "A parcel."),
        ("assistant", "A parcel."),
        ("user", "Whose?"),
        ("assistant", "Yours."),
    ]
    # Each finds its own as it left it, and what was read is not appended twice.
    assert _without_id(langchain.messages[0]) == asked
    assert _without_id(langchain.messages[1]) == called
    assert core.append(core.messages()) == core.messages()
    assert core.count() == 6


def test_what_has_no_counterpart_comes_back_intact(store: Store) -> None:
    chat = store.session("own things")
    odd = AIMessage(
        [{"type": "server_tool_call", "id": "s", "name": "search", "args": {"q": 1}}],
        additional_kwargs={"refusal": None},
        response_metadata={"model": "x"},
    )
    stored = chat.append(from_langchain(odd))[0]
    assert of_llama_index(to_llama_index(stored)) == Said("assistant")
    assert _without_id(to_langchain(chat.messages()[0])) == odd


# -- real conversations ----------------------------------------------------------------------------


def real(most: int) -> list[list[Said]]:
    with DATA.open(encoding="utf-8") as lines:
        found = [json.loads(line) for line, _ in zip(lines, range(most), strict=False)]
    return [[_said_in(m) for m in conversation["messages"]] for conversation in found]


def _said_in(message: dict[str, Any]) -> Said:
    calls = tuple(
        (c["id"], c["name"], arguments(c["args"])) for c in message.get("tool_calls") or ()
    )
    return Said(message["role"], message["content"], calls, message.get("tool_call_id"))


@pytest.mark.skipif(not DATA.exists(), reason="the data is not part of the project")
@pytest.mark.parametrize("writer", FRAMEWORKS)
def test_real_conversations_through_every_pair(store: Store, writer: str) -> None:
    conversations: Sequence[list[Said]] = real(1000)
    assert conversations
    written = FRAMEWORKS[writer]
    for number, said in enumerate(conversations):
        chat = store.session(f"real {number}", user=writer)
        chat.append([written.write(one) for one in said])
        messages = chat.messages()
        for reader, read in FRAMEWORKS.items():
            assert [read.seen(read.read(message)) for message in messages] == said, reader
