"""Every LlamaIndex message comes back equal, and means something to other frameworks too (I10)."""

from __future__ import annotations

import copy
import math
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.base.llms.types import (
    AudioBlock,
    BaseContentBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from pydantic import AnyUrl, BaseModel

from langchain_onrecord import from_langchain, to_langchain
from llama_index_onrecord import OnrecordChatStore, from_llama_index, to_llama_index
from onrecord import (
    Audio,
    Block,
    Citation,
    File,
    IdReused,
    Image,
    InvalidMessage,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Store,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from onrecord.codec import decode, encode
from tests.test_codec import any_text, plain
from tests.test_codec import messages as neutral_messages

OpenStore = Callable[[], Store]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) + b"!"
PDF = b"%PDF-1.4\n" + bytes(range(256))
NAN = float("nan")
ODD: dict[str, Any] = {
    "when": datetime(2026, 11, 20, 12, 30, tzinfo=UTC),
    "day": date(2026, 11, 20),
    "long": timedelta(days=3),
    "bytes": b"\x00\xff",
    "price": Decimal("1.10"),
    "uuid": UUID(int=7),
    "tuple": (1, (2, [3])),
    "set": {1, 2},
    "keys": {1: "one", (2, 3): "pair", None: "none"},
    "nan": NAN,
    "infinite": [math.inf, -math.inf],
    "nul": "a\x00b",
    "half": "\ud800 and \udfff",
    "huge": 2**70,
    "nothing": None,
    "empty": [{}, [], "", b""],
}


class Call(BaseModel):
    """Tool calls as a provider's library has them."""

    id: str
    function: dict[str, str]
    type: str = "function"


class Function:
    """Something of a provider's with a dict of its own."""

    def to_dict(self) -> dict[str, Any]:
        return {"name": "find", "args": {"for": "tea"}, "raw": b"\x00"}


OPENAI_CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "find", "arguments": '{"for": "tea", "n":  2}'},
}


def blocks() -> dict[str, BaseContentBlock]:
    """One of each, and each of its ways."""
    place = {"start": 1, "end": 5}
    return {
        "text": TextBlock(text="hello"),
        "text empty": TextBlock(text=""),
        "text odd": TextBlock.model_construct(text="\ud800 \x00 🜁"),
        "image bytes": ImageBlock(image=PNG),
        "image typed": ImageBlock(image=PNG, image_mimetype="image/x-odd", detail="high"),
        "image untyped": ImageBlock(image=b"who knows?"),
        "image type taken away": ImageBlock.model_construct(image=b64encode(PNG)),
        "image base64": ImageBlock(image=b64encode(PNG)),
        "image empty": ImageBlock(image=b""),
        "image no base64": ImageBlock.model_construct(image=b"not base64!"),
        "image url": ImageBlock(url="https://a.example/b.png"),
        "image data url": ImageBlock(url=f"data:image/png;base64,{b64encode(PNG).decode()}"),
        "image url and bytes": ImageBlock(image=PNG, url="https://a.example/b.png"),
        "image nothing": ImageBlock(),
        "audio bytes": AudioBlock(audio=b"RIFF....WAVE", format="wav"),
        "audio mp3": AudioBlock(audio=b"ID3....", format="mp3"),
        "audio mpeg": AudioBlock(audio=b"ID3....", format="mpeg"),
        "audio mime": AudioBlock(audio=b"ID3....", format="audio/wav"),
        "audio url": AudioBlock(url="https://a.example/b.mp3"),
        "audio untyped": AudioBlock(audio=b"noise"),
        "video bytes": VideoBlock(video=b"frames", video_mimetype="video/mp4", fps=3, detail="low"),
        "video url": VideoBlock(url="https://a.example/b.mp4"),
        "document bytes": DocumentBlock(data=PDF, title="Terms"),
        "document untitled": DocumentBlock(data=PDF),
        "document title taken away": DocumentBlock.model_construct(data=b64encode(PDF)),
        "document url": DocumentBlock(url="a relative one.pdf"),
        "document text path": DocumentBlock(path="nowhere/b.pdf"),
        "cache": CachePoint(cache_control=CacheControl(type="ephemeral", ttl="1h")),
        "citable": CitableBlock(
            title="T",
            source="S",
            content=[
                TextBlock(text="words"),
                ImageBlock(image=PNG, url="https://a.example"),
                DocumentBlock(data=PDF),
            ],
        ),
        "citation": CitationBlock(
            cited_content=TextBlock(text="words"),
            source="S",
            title="T",
            additional_location_info=place,
        ),
        "citation of an image": CitationBlock(
            cited_content=ImageBlock(image=PNG),
            source="S",
            title="T",
            additional_location_info=place,
        ),
        "thinking": ThinkingBlock(content="hm", num_tokens=3),
        "thinking nothing": ThinkingBlock(),
        "thinking empty": ThinkingBlock(content=""),
        "thinking signed": ThinkingBlock(content="hm", additional_information={"signature": "s"}),
        "thinking proof": ThinkingBlock(
            content="hm", additional_information={"signature": b"\x00\x01", "id": "r1"}
        ),
        "thinking unsigned": ThinkingBlock(additional_information={"signature": None}),
        "tool call": ToolCallBlock(tool_call_id="c1", tool_name="find", tool_kwargs={"for": "tea"}),
        "tool call text": ToolCallBlock(
            tool_call_id="c1", tool_name="find", tool_kwargs='{"for":  "tea"}'
        ),
        "tool call cut off": ToolCallBlock(tool_name="find", tool_kwargs='{"for": "te'),
        "tool call list": ToolCallBlock(tool_name="find", tool_kwargs="[1]"),
        "tool call odd": ToolCallBlock(tool_name="find", tool_kwargs={"b": b"\x00", "t": (1, 2)}),
        "tool call bare": ToolCallBlock(tool_name="find"),
    }


def chat_messages() -> dict[str, ChatMessage]:
    """Messages of every kind, and with all that ``additional_kwargs`` may hold."""
    return {
        **{f"role {r.value}": ChatMessage(role=r, content="hello") for r in MessageRole},
        "no content": ChatMessage(role="assistant", content=None),
        "all blocks": ChatMessage(role="user", content=[b for b in blocks().values()]),
        "tool": ChatMessage(
            role="tool", content="warm", additional_kwargs={"tool_call_id": "c1", "name": "find"}
        ),
        "name of another type": ChatMessage(
            role="tool", content="x", additional_kwargs={"tool_call_id": 7, "name": ["a"]}
        ),
        "name empty": ChatMessage(content="x", additional_kwargs={"name": "", "tool_call_id": ""}),
        "openai": ChatMessage(role="assistant", additional_kwargs={"tool_calls": [OPENAI_CALL]}),
        "openai, blocks too": ChatMessage(
            role="assistant",
            content=[ToolCallBlock(tool_call_id="c1", tool_name="find", tool_kwargs={"for": "t"})],
            additional_kwargs={"tool_calls": [OPENAI_CALL]},
        ),
        "odd calls": ChatMessage(
            role="assistant",
            additional_kwargs={
                "tool_calls": [None, {}, {"id": [], "function": {"name": "x"}}, {"function": 5}]
            },
        ),
        "odd": ChatMessage(content="x", additional_kwargs=copy.deepcopy(ODD)),
        "keys": ChatMessage.model_construct(content="x", additional_kwargs={1: 2}, blocks=[]),
        "session": ChatMessage(content="x", additional_kwargs={"session_id": "ada"}),
    }


BLOCKS, MESSAGES = sorted(blocks()), sorted(chat_messages())


def exactly(value: Any) -> Any:
    """What a message is, down to the types, a NaN equal to itself."""
    match value:
        case BaseModel():
            return type(value), {k: exactly(v) for k, v in value.__dict__.items()}
        case dict():
            return dict, {exactly(k): exactly(v) for k, v in value.items()}
        case list() | tuple():
            return type(value), tuple(map(exactly, value))
        case float() if value != value:
            return float, "nan"
    return type(value), value


def neutral(message: ChatMessage) -> Message:
    """What other frameworks are given to read."""
    return decode(encode(from_llama_index(message))[0])


def again(message: ChatMessage) -> ChatMessage:
    return to_llama_index(neutral(message))


def one(block: BaseContentBlock) -> Block:
    (found,) = neutral(ChatMessage(role="assistant", content=[block])).content
    return found


@pytest.fixture
def opened(each_store: OpenStore) -> OnrecordChatStore:
    return OnrecordChatStore(store=each_store())


# -- equal on return -----------------------------------------------------------------------------


@pytest.mark.parametrize("which", BLOCKS)
def test_every_block_comes_back_equal(which: str) -> None:
    message = ChatMessage(role="assistant", content=[blocks()[which]])
    back = again(message)
    assert back == message
    assert exactly(back.blocks) == exactly(message.blocks)


@pytest.mark.parametrize("which", MESSAGES)
def test_every_message_comes_back_equal(which: str) -> None:
    message = chat_messages()[which]
    assert exactly(again(message).blocks) == exactly(message.blocks)
    assert exactly(again(message).additional_kwargs) == exactly(message.additional_kwargs)
    assert again(message).role is MessageRole(message.role)


def test_all_of_them_go_through_a_store(opened: OnrecordChatStore, each_store: OpenStore) -> None:
    said = list(chat_messages().values())
    opened.set_messages("ada", said[:3])
    for message in said[3:-1]:
        opened.add_message("ada", message)
    opened.add_message("ada", said[-1])
    for store in (opened, OnrecordChatStore(store=each_store())):
        back = store.get_messages("ada")
        assert list(map(exactly, back)) == [exactly(again(message)) for message in said]
        for message, found in zip(said, back, strict=True):
            assert exactly(found.blocks) == exactly(message.blocks)


@pytest.mark.parametrize("cls", [ImageBlock, AudioBlock, VideoBlock])
def test_media_by_its_path(cls: Any, tmp_path: Path, opened: OnrecordChatStore) -> None:
    file = tmp_path / "b.png"
    file.write_bytes(PNG)
    block = cls(path=file)
    opened.add_message("ada", ChatMessage(content=[block]))
    (back,) = opened.get_messages("ada")
    assert exactly(back.blocks) == exactly([block])
    file.unlink()
    (back,) = opened.get_messages("ada")
    assert exactly(back.blocks) == exactly([block])


def test_documents_by_path_and_by_text(tmp_path: Path) -> None:
    file = tmp_path / "b.pdf"
    file.write_bytes(PDF)
    for path in (file, str(file)):
        message = ChatMessage(content=[DocumentBlock(path=path)])
        assert exactly(again(message).blocks) == exactly(message.blocks)


def test_blocks_inside_blocks_whose_files_have_gone(tmp_path: Path) -> None:
    file = tmp_path / "b.png"
    file.write_bytes(PNG)
    said = [
        CitableBlock(title="T", source="S", content=[ImageBlock(path=file), TextBlock(text="x")]),
        CitableBlock(title="T", source="S", content=[DocumentBlock(path=file)]),
        CitationBlock(
            cited_content=ImageBlock(path=file), source="S", title="T", additional_location_info={}
        ),
    ]
    stored = neutral(ChatMessage(content=list(said)))
    file.unlink()
    assert exactly(to_llama_index(stored).blocks) == exactly(said)


@pytest.mark.parametrize(
    ("cls", "field"),
    [(ImageBlock, "image"), (AudioBlock, "audio"), (VideoBlock, "video"), (DocumentBlock, "data")],
)
def test_an_open_file_is_read_and_left_where_it_was(cls: Any, field: str) -> None:
    file = BytesIO(PNG)
    file.seek(5)
    inside = [cls(**{field: file})]
    if field in ("image", "data"):
        inside.append(CitableBlock(title="T", source="S", content=[cls(**{field: file})]))
    back = again(ChatMessage(content=inside))
    assert file.tell() == 5
    assert getattr(back.blocks[0], field) == b64encode(PNG)
    if field in ("image", "data"):
        citable: Any = back.blocks[1]
        assert getattr(citable.content[0], field) == b64encode(PNG)


def test_providers_objects_become_their_dicts() -> None:
    call = Call(id="c1", function={"name": "find", "arguments": "{}"})
    message = ChatMessage(
        role="assistant",
        additional_kwargs={"tool_calls": [call], "part": Function(), "deep": {"in": (call,)}},
    )
    back = again(message)
    assert back.additional_kwargs == {
        "tool_calls": [call.model_dump()],
        "part": Function().to_dict(),
        "deep": {"in": (call.model_dump(),)},
    }
    assert neutral(message).tool_calls[0].id == "c1"
    assert back == again(back)


json_like: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=5,
)
any_kwargs = st.dictionaries(
    st.sampled_from(["name", "tool_call_id", "tool_calls", "function_call"]) | any_text,
    plain | any_text,
    max_size=3,
).filter(lambda kwargs: "onrecord_id" not in kwargs and not kwargs.get("images"))
any_block: Any = st.one_of(
    st.builds(TextBlock, text=any_text),
    st.builds(
        ImageBlock.model_construct,
        image=st.none() | st.binary() | st.binary().map(b64encode),
        image_mimetype=st.none() | any_text,
        detail=st.none() | any_text,
        url=st.none()
        | st.just(AnyUrl("https://a.example/b"))
        | any_text.filter(_no_url := (lambda text: "://" not in text and ":" not in text)),
        path=st.none() | st.just(Path("a/b.png")),
    ),
    st.builds(ImageBlock, image=st.binary()),
    st.builds(
        AudioBlock.model_construct,
        audio=st.none() | st.binary() | st.binary().map(b64encode),
        format=st.none()
        | st.sampled_from(["mp3", "mpeg", "wave", "x-wav", "audio/wav"])
        | any_text,
    ),
    st.builds(
        DocumentBlock.model_construct,
        data=st.none() | st.binary() | st.binary().map(b64encode),
        title=st.none() | any_text | st.just("input_document"),
        url=st.none() | any_text,
        path=st.none() | any_text | st.just(Path("a/b.pdf")),
        document_mimetype=st.none() | any_text,
    ),
    st.builds(
        ThinkingBlock,
        content=st.none() | any_text,
        num_tokens=st.none() | st.integers(),
        additional_information=st.dictionaries(
            st.just("signature") | any_text, plain | st.binary(), max_size=2
        ),
    ),
    st.builds(
        ToolCallBlock,
        tool_call_id=st.none() | any_text,
        tool_name=any_text,
        tool_kwargs=st.dictionaries(any_text, plain, max_size=3) | any_text,
    ),
    st.builds(
        CitationBlock,
        cited_content=st.builds(TextBlock, text=any_text)
        | st.builds(ImageBlock, image=st.binary(min_size=1)),
        source=any_text,
        title=any_text,
        additional_location_info=st.dictionaries(
            any_text, st.integers(-(2**70), 2**70), max_size=2
        ),
    ),
)


@given(
    st.builds(
        ChatMessage,
        role=st.sampled_from(MessageRole),
        additional_kwargs=any_kwargs,
        blocks=st.lists(any_block, max_size=4),
    )
)
def test_any_message_comes_back_equal(message: ChatMessage) -> None:
    before = copy.deepcopy(message)
    back = again(message)
    assert back == message == before
    assert exactly(again(back)) == exactly(back)


# -- what cannot be stored -----------------------------------------------------------------------


class Raises:
    def to_dict(self) -> Any:
        raise RuntimeError("no")


class Endless:
    def to_dict(self) -> Any:
        return {"more": self}


def unstorable() -> dict[str, Any]:
    closed = BytesIO(PNG)
    loop: dict[str, Any] = {}
    loop["self"] = loop
    said = ChatMessage(role="user", content="x")
    message = {
        "an object": ChatMessage(content="x", additional_kwargs={"a": object()}),
        "a lock": ChatMessage(content="x", additional_kwargs={"a": {"b": [Ellipsis]}}),
        "raises": ChatMessage(content="x", additional_kwargs={"a": Raises()}),
        "endless": ChatMessage(content="x", additional_kwargs={"a": Endless()}),
        "itself": ChatMessage.model_construct(blocks=[], additional_kwargs=loop),
        "a class": ChatMessage(content="x", additional_kwargs={"a": Function}),
        "a closed file": ChatMessage(content=[ImageBlock(image=closed)]),
        "a file of text": ChatMessage(content=[ImageBlock.model_construct(image=StringIO("x"))]),
        "a thought": ChatMessage(
            content=[ThinkingBlock(additional_information={"signature": object()})]
        ),
        "a block": ChatMessage.model_construct(blocks=["x"], additional_kwargs={}),
        "a text": ChatMessage.model_construct(
            blocks=[TextBlock.model_construct(text=5)], additional_kwargs={}
        ),
        "a role": ChatMessage.model_construct(role="nobody", blocks=[], additional_kwargs={}),
        "an id": ChatMessage(content="x", additional_kwargs={"onrecord_id": 5}),
        "an empty id": ChatMessage(content="x", additional_kwargs={"onrecord_id": ""}),
        "no message": "hello",
        "nothing": None,
        "a mapping": said.model_dump(),
    }
    closed.close()
    return message


def test_what_cannot_be_stored_is_refused_before_anything_is_written(
    opened: OnrecordChatStore,
) -> None:
    good = ChatMessage(role="user", content="kept")
    opened.set_messages("ada", [good])
    for name, bad in unstorable().items():
        with pytest.raises(InvalidMessage):
            opened.add_message("ada", bad)
        with pytest.raises(InvalidMessage):
            opened.add_message("ada", bad, idx=0)
        with pytest.raises(InvalidMessage):
            opened.set_messages("ada", [good, bad])
        assert opened.get_messages("ada") == [good], name


# -- what other frameworks read ------------------------------------------------------------------


def test_media_are_their_bytes() -> None:
    assert one(ImageBlock(image=PNG, url="https://a.example/b")) == Image(
        PNG, "https://a.example/b", "image/png"
    )
    assert one(AudioBlock(audio=b"ID3", format="mp3")) == Audio(b"ID3", None, "audio/mp3")
    assert one(VideoBlock(video=b"frames", video_mimetype="video/mp4")) == Video(
        b"frames", None, "video/mp4"
    )
    document = DocumentBlock(data=PDF, title="Terms", document_mimetype="application/pdf")
    assert one(document) == File(PDF, None, "application/pdf", "Terms")
    untitled = one(DocumentBlock(data=PDF))
    assert isinstance(untitled, File)
    assert untitled.name is None


def test_tool_calls_are_blocks_once() -> None:
    wanted = {"for": "tea", "n": 2}
    block = ToolCallBlock(tool_call_id="c1", tool_name="find", tool_kwargs=wanted)
    text = ToolCallBlock(tool_call_id="c1", tool_name="find", tool_kwargs='{"for": "tea", "n": 2}')
    kwargs = {"tool_calls": [OPENAI_CALL]}
    for message in (
        ChatMessage(role="assistant", content=[block]),
        ChatMessage(role="assistant", content=[text]),
        ChatMessage(role="assistant", additional_kwargs=kwargs),
        ChatMessage(role="assistant", content=[block], additional_kwargs=kwargs),
        ChatMessage(
            role="assistant",
            additional_kwargs={
                "tool_calls": [{"id": "c1", "type": "tool_use", "name": "find", "input": wanted}]
            },
        ),
    ):
        (call,) = neutral(message).tool_calls
        assert (call.id, call.name, call.args) == ("c1", "find", wanted)
        langchain = to_langchain(neutral(message))
        assert isinstance(langchain, AIMessage)
        assert [c["args"] for c in langchain.tool_calls] == [wanted]
        assert not langchain.invalid_tool_calls
    assert not neutral(chat_messages()["tool"]).tool_calls


def test_a_call_that_no_block_says_stands_beside_those_that_do() -> None:
    other = {"id": "c2", "function": {"name": "add", "arguments": "not json"}}
    message = ChatMessage(
        role="assistant",
        content=[TextBlock(text="let me see"), blocks()["tool call"]],
        additional_kwargs={"tool_calls": [OPENAI_CALL, other]},
    )
    assert [(c.id, c.args) for c in neutral(message).tool_calls] == [
        ("c1", {"for": "tea"}),
        ("c2", "not json"),
    ]
    assert again(message) == message


def test_results_reasoning_citations_and_roles() -> None:
    tool = neutral(chat_messages()["tool"])
    assert (tool.role, tool.tool_call_id, tool.name, tool.text) == ("tool", "c1", "find", "warm")
    assert one(blocks()["thinking signed"]) == Reasoning("hm", "s")
    proof = one(blocks()["thinking proof"])
    assert isinstance(proof, Reasoning)
    assert proof.signature == b"\x00\x01"
    cited = one(blocks()["citation"])
    assert isinstance(cited, Citation)
    assert (cited.text, cited.source) == ("words", "S")
    roles = {r.value: neutral(ChatMessage(role=r)).role for r in MessageRole}
    assert roles == {
        "system": "system",
        "developer": "system",
        "user": "user",
        "assistant": "assistant",
        "function": "function",
        "tool": "tool",
        "chatbot": "assistant",
        "model": "assistant",
    }


def test_langchain_reads_them() -> None:
    said = [
        ChatMessage(role="system", content="be kind"),
        ChatMessage(role="user", content=[TextBlock(text="see"), ImageBlock(image=PNG)]),
        ChatMessage(role="assistant", content=[blocks()["tool call"]]),
        ChatMessage(role="tool", content="warm", additional_kwargs={"tool_call_id": "c1"}),
    ]
    system, user, call, result = [to_langchain(neutral(message)) for message in said]
    assert isinstance(system, SystemMessage)
    assert isinstance(user, HumanMessage)
    parts: Any = user.content
    assert parts[1]["base64"] == b64encode(PNG).decode()
    assert isinstance(call, AIMessage)
    assert isinstance(result, ToolMessage)
    assert result.tool_call_id == call.tool_calls[0]["id"] == "c1"


# -- what others have written --------------------------------------------------------------------


def test_blocks_that_others_have_written() -> None:
    message = Message(
        "assistant",
        [
            Text("a", {"langchain": ["text", {}]}),
            Image(PNG),
            Image(None, "no address at all", "image/png"),
            Image(),
            Audio(b"ID3", media_type="audio/mpeg"),
            Video(None, "https://a.example/b.mp4"),
            File(PDF, None, None, "b.pdf"),
            Reasoning("hm", b"s"),
            ToolCall("find", {"for": "tea", 1: 2}, "c1"),
            ToolCall("find", "cut o", None),
            ToolCall("find", None, "c3"),
            ToolResult("c0", [Text("b"), Image(PNG, media_type="image/png")]),
            Citation("c", "S"),
            Refusal("no"),
            Opaque("langchain", "x", {}),
        ],
        name="bob",
        metadata={"a": 1},
        usage={"input_tokens": 1},
        native={"langchain": {"x": 1}},
    )
    back = to_llama_index(decode(encode(message)[0]))
    assert back.role is MessageRole.ASSISTANT
    assert back.additional_kwargs == {"name": "bob", "tool_call_id": "c0"}
    assert back.blocks == [
        TextBlock(text="a"),
        ImageBlock(image=PNG),
        ImageBlock.model_construct(url="no address at all", image_mimetype="image/png"),
        ImageBlock(),
        AudioBlock(audio=b"ID3", format="mp3"),
        VideoBlock(url="https://a.example/b.mp4"),
        DocumentBlock(data=PDF, title="b.pdf"),
        ThinkingBlock(content="hm", additional_information={"signature": b"s"}),
        ToolCallBlock.model_construct(
            tool_call_id="c1", tool_name="find", tool_kwargs={"for": "tea", 1: 2}
        ),
        ToolCallBlock(tool_name="find", tool_kwargs="cut o"),
        ToolCallBlock(tool_call_id="c3", tool_name="find", tool_kwargs="None"),
        TextBlock(text="b"),
        ImageBlock(image=PNG),
        TextBlock(text="no"),
    ]


def test_results_that_a_user_hands_in_are_a_tools() -> None:
    back = to_llama_index(Message("user", [ToolResult("c1", "warm")]))
    assert back == ChatMessage(
        role="tool", content="warm", additional_kwargs={"tool_call_id": "c1"}
    )
    both = to_llama_index(Message("user", [ToolResult("c1", "warm"), Text("and?")]))
    assert both.role is MessageRole.USER


def test_roles_that_llama_index_does_not_know() -> None:
    assert to_llama_index(Message("narrator", "once")).role is MessageRole.USER
    assert to_llama_index(Message("damaged", "[…]")).role is MessageRole.USER


def test_messages_of_langchain() -> None:
    calls: Any = [{"name": "find", "args": {"for": "tea"}, "id": "c1", "type": "tool_call"}]
    broken: Any = [
        {"name": "find", "args": "{", "id": "c2", "error": None, "type": "invalid_tool_call"}
    ]
    said = [
        SystemMessage("be kind"),
        HumanMessage(["see", {"type": "image", "base64": b64encode(PNG).decode()}], name="ada"),
        AIMessage(
            [{"type": "thinking", "thinking": "hm", "signature": "s"}, "wait"],
            tool_calls=calls,
            invalid_tool_calls=broken,
            response_metadata={"model": "m"},
        ),
        ToolMessage("warm", tool_call_id="c1", name="find"),
    ]
    system, user, call, result = [
        to_llama_index(decode(encode(from_langchain(message))[0])) for message in said
    ]
    assert system == ChatMessage(role="system", content="be kind")
    assert user == ChatMessage(
        role="user",
        content=[TextBlock(text="see"), ImageBlock(image=PNG)],
        additional_kwargs={"name": "ada"},
    )
    assert call == ChatMessage(
        role="assistant",
        content=[
            ThinkingBlock(content="hm", additional_information={"signature": "s"}),
            TextBlock(text="wait"),
            ToolCallBlock(tool_call_id="c1", tool_name="find", tool_kwargs={"for": "tea"}),
            ToolCallBlock(tool_call_id="c2", tool_name="find", tool_kwargs="{"),
        ],
    )
    assert result == ChatMessage(
        role="tool", content="warm", additional_kwargs={"tool_call_id": "c1", "name": "find"}
    )


def test_a_block_of_a_newer_llama_index_leaves_its_session_readable(
    opened: OnrecordChatStore,
) -> None:
    odd = [
        Opaque("llama_index", "newkind", {"a": 1}),
        Opaque("llama_index", "cache", {"cache_control": 5}),
        Opaque("llama_index", "citable", ["what"]),
        Opaque("llama_index", "citable", {"title": "T"}),
    ]
    opened.session("ada").append([Message("user", "before"), Message("assistant", odd)])
    opened.add_message("ada", ChatMessage(role="user", content="after"))
    before, message, after = opened.get_messages("ada")
    assert (before.content, after.content) == ("before", "after")
    assert [block.block_type for block in message.blocks] == ["text"] * 4
    assert "'newkind'" in str(message.content)


@given(neutral_messages)
def test_any_message_can_be_read(message: Message) -> None:
    back = to_llama_index(message)
    assert all(isinstance(block, BaseContentBlock) for block in back.blocks)
    assert isinstance(back.role, MessageRole)


anything = st.dictionaries(
    st.sampled_from(
        [
            "kwargs",
            "role",
            "more",
            "num_tokens",
            "content",
            "as_text",
            "path",
            "url",
            "image",
            "format",
            "title",
            "data",
        ]
    ),
    plain,
    max_size=4,
)
wild: Any = st.fixed_dictionaries({"llama_index": anything | plain})
wild_block: Any = st.one_of(
    *(
        st.builds(kind, st.none() | st.binary(), st.none() | any_text, extra=wild)
        for kind in (Image, Audio, Video, File)
    ),
    st.builds(Reasoning, any_text, extra=wild),
    st.builds(ToolCall, any_text, plain, extra=wild),
    st.builds(Citation, any_text, any_text, extra=wild),
    st.builds(
        Opaque,
        st.just("llama_index"),
        st.sampled_from(["text", "image", "citation", "citable", "cache", "tool_call", "x"]),
        anything | plain,
    ),
)


@given(st.builds(Message, any_text.filter(bool), st.lists(wild_block, max_size=3), native=wild))
def test_whatever_stands_under_our_name_can_be_read(message: Message) -> None:
    back = to_llama_index(message)
    assert all(isinstance(block, BaseContentBlock) for block in back.blocks)
    assert isinstance(back.role, MessageRole)


# -- whose they are ------------------------------------------------------------------------------


def test_what_is_read_belongs_to_its_reader(opened: OnrecordChatStore) -> None:
    said = ChatMessage(
        role="assistant",
        content=[blocks()["tool call"], blocks()["thinking proof"], blocks()["citable"]],
        additional_kwargs={"deep": {"list": [1]}},
    )
    kept = copy.deepcopy(said)
    opened.add_message("ada", said)
    said.blocks.clear()
    said.additional_kwargs["deep"]["list"].append(2)
    for _ in range(3):
        (mine,) = opened.get_messages("ada")
        assert mine == kept
        call, thought, citable = mine.blocks
        assert isinstance(call, ToolCallBlock)
        assert isinstance(call.tool_kwargs, dict)
        call.tool_kwargs["for"] = "coffee"
        assert isinstance(thought, ThinkingBlock)
        thought.additional_information.clear()
        assert isinstance(citable, CitableBlock)
        citable.content.clear()
        mine.additional_kwargs["deep"]["list"].append(3)
        mine.blocks = [TextBlock(text="changed")]
        mine.role = MessageRole.USER


def test_an_id_makes_a_retry_free(opened: OnrecordChatStore) -> None:
    with_id = ChatMessage(content="once", additional_kwargs={"onrecord_id": "m1", "a": 1})
    without = ChatMessage(content="twice")
    for _ in range(2):
        opened.add_message("ada", with_id)
        opened.add_message("ada", without)
    back = opened.get_messages("ada")
    assert [m.content for m in back] == ["once", "twice", "twice"]
    assert back[0].additional_kwargs == {"a": 1}
    assert with_id.additional_kwargs == {"onrecord_id": "m1", "a": 1}
    other = ChatMessage(content="other", additional_kwargs={"onrecord_id": "m1"})
    with pytest.raises(IdReused):
        opened.add_message("ada", other)
    opened.set_messages("ada", [other, without])
    assert [m.content for m in opened.get_messages("ada")] == ["other", "twice"]
    opened.add_message("ada", other, idx=1)  # inserted again: it is where it is said to be now
    assert [m.content for m in opened.get_messages("ada")].count("other") == 1
