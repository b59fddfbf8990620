"""Every LangChain message comes back equal, and means something to other frameworks too (I10)."""

from __future__ import annotations

import copy
import enum
import itertools
import math
import re
import sys
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
    message_chunk_to_message,
)
from langchain_core.messages.content import (
    create_audio_block,
    create_citation,
    create_file_block,
    create_image_block,
    create_non_standard_block,
    create_plaintext_block,
    create_reasoning_block,
    create_text_block,
    create_tool_call,
    create_video_block,
)

from langchain_onrecord import blocks as blocks_module
from langchain_onrecord import from_langchain, to_langchain
from langchain_onrecord import messages as messages_module
from langchain_onrecord.blocks import block_of, part_of
from onrecord import (
    Audio,
    Block,
    Citation,
    File,
    Image,
    InvalidMessage,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Session,
    Store,
    Text,
    ToolCall,
    ToolResult,
    Video,
    Window,
)
from onrecord.codec import decode, encode, placeholder
from tests.test_codec import any_text, plain, short
from tests.test_codec import messages as neutral_messages

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) + b"!"
B64 = b64encode(PNG).decode()
DATA_URL = f"data:image/png;base64,{B64}"
NAN = float("nan")
ODD = {
    "when": datetime(2026, 11, 20, 12, 30, tzinfo=UTC),
    "day": date(2026, 11, 20),
    "long": timedelta(days=3),
    "bytes": b"\x00\xff",
    "price": Decimal("1.10"),
    "uuid": UUID(int=7),
    "tuple": (1, (2, [3])),
    "set": {1, 2},
    "frozen": frozenset({"a"}),
    "keys": {1: "one", (2, 3): "pair", None: "none", False: "no"},
    "nan": NAN,
    "infinite": [math.inf, -math.inf, -0.0],
    "nul": "a\x00b",
    "half": "\ud800 and \udfff",
    "mark": "\x10d800",
    "huge": 2**200,
    "nothing": None,
    "empty": [{}, [], "", b""],
}
USAGE: Any = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_token_details": {"audio": 1, "cache_read": 2, "flex": 3},
    "output_token_details": {"reasoning": 4},
}
CALLS: Any = [
    {"name": "find", "args": {"for": "tea", "n": 2}, "id": "c1", "type": "tool_call"},
    {"name": "add", "args": {}, "id": "c2", "type": "tool_call"},
]


def use(call: Any, **more: Any) -> dict[str, Any]:
    """A tool call as Anthropic has it among the parts."""
    return {
        "type": "tool_use",
        "id": call["id"],
        "name": call["name"],
        "input": copy.deepcopy(call["args"]),
        **more,
    }


PARTS: dict[str, Any] = {
    "text": {"type": "text", "text": "hello"},
    "text made": create_text_block("hello", index=0, cache="x"),
    "text annotated": create_text_block(
        "hello",
        annotations=[
            create_citation(url="https://a", title="A", start_index=0, end_index=3, cited_text="x"),
            {"type": "non_standard_annotation", "value": {"a": 1}},
        ],
    ),
    "text cached": {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}},
    "text cited": {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
    "text empty": {"type": "text", "text": ""},
    "text none": {"type": "text", "text": None},
    "text absent": {"type": "text"},
    "text of another message": {"type": "text", "text": AIMessage("hello").text},
    "text of another message, more": {"type": "text", "text": AIMessage("hi").text, "id": "1"},
    "str": "hello",
    "str empty": "",
    "str half": "\ud83d",
    "reasoning": create_reasoning_block("because"),
    "reasoning bare": {"type": "reasoning", "reasoning": "because"},
    "reasoning signed": {"type": "reasoning", "reasoning": "b", "extras": {"signature": "s"}},
    "reasoning proof": {"type": "reasoning", "reasoning": "b", "extras": {"signature": b"\x01"}},
    "reasoning odd": {"type": "reasoning", "reasoning": "b", "extras": {"signature": 5}},
    "reasoning extras": {"type": "reasoning", "reasoning": "b", "extras": {}},
    "reasoning summary": {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "because"}],
        "encrypted_content": "xyz",
    },
    "thinking": {"type": "thinking", "thinking": "hm", "signature": "sig==", "index": 0},
    "thinking unsigned": {"type": "thinking", "thinking": ""},
    "redacted": {"type": "redacted_thinking", "data": "Eo8="},
    "bedrock": {
        "type": "reasoning_content",
        "reasoning_content": {"text": "hm", "signature": "s"},
    },
    "bedrock bare": {"type": "reasoning_content", "reasoning_content": {"text": "hm"}},
    "bedrock image": {"image": {"format": "png", "source": {"bytes": PNG}}},
    "image url": create_image_block(url="https://a/b.png", mime_type="image/png"),
    "image url bare": {"type": "image", "url": "https://a/b.png"},
    "image url no mime": {"type": "image", "url": "https://a/b.png", "mime_type": None},
    "image base64": create_image_block(base64=B64, mime_type="image/png", index=1, detail="high"),
    "image base64 bare": {"type": "image", "base64": B64, "mime_type": "image/png"},
    "image base64 untyped": {"type": "image", "base64": B64},
    "image base64 named": {
        "type": "image",
        "base64": B64,
        "mime_type": "image/png",
        "extras": {"filename": "cat.png", "detail": "low"},
    },
    "image file": create_image_block(file_id="file-1"),
    "image both": {"type": "image", "base64": B64, "url": "https://a", "mime_type": "image/png"},
    "image data url": {"type": "image", "url": DATA_URL},
    "image nothing": {"type": "image"},
    "audio url": create_audio_block(url="https://a/b.mp3"),
    "audio base64": create_audio_block(base64=B64, mime_type="audio/wav"),
    "audio file": create_audio_block(file_id="file-2"),
    "video url": create_video_block(url="https://a/b.mp4"),
    "video base64": create_video_block(base64=B64, mime_type="video/mp4"),
    "video file": create_video_block(file_id="file-3"),
    "file url": create_file_block(url="https://a/b.pdf"),
    "file base64": create_file_block(base64=B64, mime_type="application/pdf", filename="b.pdf"),
    "file file": create_file_block(file_id="file-4"),
    "plain text": create_plaintext_block("words", title="T", context="C"),
    "plain text half": {"type": "text-plain", "text": "\ud800", "mime_type": "text/plain"},
    "plain text url": create_plaintext_block(url="https://a/b.txt"),
    "plain text base64": create_plaintext_block(base64=b64encode(b"words").decode()),
    "plain text file": create_plaintext_block(file_id="file-5"),
    "tool call": create_tool_call("find", {"for": "tea"}, id="elsewhere"),
    "tool call index": create_tool_call("find", {"for": "tea"}, index=0, x=1),
    "tool call invalid": {
        "type": "invalid_tool_call",
        "id": "c",
        "name": "find",
        "args": "{",
        "error": "cut off",
    },
    "tool call chunk": {
        "type": "tool_call_chunk",
        "id": "c",
        "name": "find",
        "args": "{",
        "index": 0,
    },
    "server call": {"type": "server_tool_call", "id": "s", "name": "web", "args": {"q": "tea"}},
    "server call chunk": {"type": "server_tool_call_chunk", "id": "s", "args": '{"q"', "index": 1},
    "server result": {
        "type": "server_tool_result",
        "tool_call_id": "s",
        "status": "success",
        "output": [{"url": "https://a"}],
    },
    "non standard": create_non_standard_block({"anything": [1, {"b": 2}]}),
    "openai image": {"type": "image_url", "image_url": {"url": "https://a", "detail": "high"}},
    "openai image data": {"type": "image_url", "image_url": {"url": DATA_URL}},
    "openai image str": {"type": "image_url", "image_url": "https://a"},
    "openai image str data": {"type": "image_url", "image_url": DATA_URL},
    "openai audio": {"type": "input_audio", "input_audio": {"data": B64, "format": "wav"}},
    "openai file": {"type": "file", "file": {"filename": "b.pdf", "file_data": DATA_URL}},
    "openai file id": {"type": "file", "file": {"file_id": "file-6"}},
    "openai refusal": {"type": "refusal", "refusal": "no"},
    "openai function call": {
        "type": "function_call",
        "name": "find",
        "arguments": '{"for": "tea"}',
        "call_id": "c1",
        "id": "fc_1",
    },
    "anthropic image": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": B64},
    },
    "anthropic image url": {"type": "image", "source": {"type": "url", "url": "https://a"}},
    "anthropic image file": {"type": "image", "source": {"type": "file", "file_id": "f"}},
    "anthropic document": {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": B64},
        "title": "T",
        "citations": {"enabled": True},
    },
    "anthropic document url": {"type": "document", "source": {"type": "url", "url": "https://a"}},
    # Four letters that would be base64 as well.
    "anthropic document text": {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "word"},
    },
    "anthropic document content": {
        "type": "document",
        "source": {"type": "content", "content": [{"type": "text", "text": "a"}]},
    },
    "anthropic use": {"type": "tool_use", "id": "elsewhere", "name": "find", "input": {"a": 1}},
    "anthropic use partial": {
        "type": "tool_use",
        "id": "elsewhere",
        "name": "find",
        "input": {},
        "partial_json": '{"a": 1}',
    },
    "anthropic use text": {"type": "tool_use", "id": "x", "name": "find", "input": '{"a"'},
    "anthropic use bare": {"type": "tool_use"},
    "anthropic use odd": {"type": "tool_use", "id": ["x"], "name": 5, "input": None},
    "use of nothing known": {"type": "used", "id": "x", "name": "f", None: {}},
    "anthropic result": {"type": "tool_result", "tool_use_id": "c1", "content": "42"},
    "anthropic result parts": {
        "type": "tool_result",
        "tool_use_id": "c1",
        "content": [
            {"type": "text", "text": "42"},
            {"type": "image", "source": {"type": "base64", "media_type": "a/b", "data": B64}},
        ],
        "is_error": True,
        "cache_control": {"type": "ephemeral"},
    },
    "anthropic result bare": {"type": "tool_result", "tool_use_id": "c1"},
    "anthropic result empty": {"type": "tool_result", "tool_use_id": "c1", "content": []},
    "anthropic result none": {"type": "tool_result", "tool_use_id": "c1", "content": None},
    "anthropic result fine": {"type": "tool_result", "tool_use_id": "c", "is_error": False},
    "anthropic result odd": {"type": "tool_result", "tool_use_id": "c1", "content": [1, None]},
    "anthropic result nameless": {"type": "tool_result", "content": "42"},
    "anthropic search": {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
    "google media": {"type": "media", "mime_type": "image/png", "data": B64},
    "google media bytes": {"type": "media", "mime_type": "video/mp4", "data": PNG},
    "google media uri": {"type": "media", "mime_type": "audio/mpeg", "file_uri": "gs://a/b"},
    "google media file": {"type": "media", "mime_type": "text/csv", "data": B64},
    "google media untyped": {"type": "media", "data": B64},
    "google code": {"type": "executable_code", "executable_code": "1 + 1", "language": "python"},
    "v0 url": {"type": "image", "source_type": "url", "url": "https://a", "mime_type": "image/png"},
    "v0 base64": {"type": "image", "source_type": "base64", "data": B64, "mime_type": "image/png"},
    "v0 audio": {"type": "audio", "source_type": "base64", "data": B64, "mime_type": "audio/wav"},
    "v0 text": {"type": "file", "source_type": "text", "text": "word", "mime_type": "text/plain"},
    "v0 id": {"type": "file", "source_type": "id", "id": "file-7"},
    "base64 unpadded": {"type": "image", "base64": B64.rstrip("="), "mime_type": "image/png"},
    "base64 lines": {"type": "image", "base64": f"{B64[:76]}\n{B64[76:]}", "mime_type": "i/p"},
    "base64 urlsafe": {"type": "image", "base64": urlsafe_b64encode(b"\xff" * 9).decode()},
    "base64 loose bits": {"type": "image", "base64": "AB==", "mime_type": "image/png"},
    "base64 empty": {"type": "image", "base64": "", "mime_type": "image/png"},
    "base64 not": {"type": "image", "base64": "not base64!", "mime_type": "image/png"},
    "base64 no text": {"type": "image", "base64": 5, "mime_type": ["image/png"]},
    "base64 half": {"type": "image", "base64": "\ud800", "mime_type": "image/png"},
    "data url untyped": {"type": "image_url", "image_url": {"url": f"data:;base64,{B64}"}},
    "data url params": {"type": "image_url", "image_url": f"data:a/b;charset=x;base64,{B64}"},
    "data url percent": {"type": "image_url", "image_url": {"url": "data:text/plain,a%20b"}},
    "data url cut off": {"type": "image_url", "image_url": {"url": "data:image/png;base64"}},
    "data url shouted": {"type": "image_url", "image_url": {"url": f"DATA:a/b;BASE64,{B64}"}},
    "data url spaced": {"type": "image_url", "image_url": {"url": f"data:a/b;base64, {B64}"}},
    "image url none": {"type": "image_url", "image_url": None},
    "image url nested": {"type": "image_url", "image_url": {"url": {"url": "https://a"}}},
    "cache point": {"cachePoint": {"type": "default"}},
    "unknown": {"type": "made up", "deep": {"b": [1, {"c": None}]}},
    "type of no text": {"type": 5, "a": 1},
    "type of a list": {"type": ["text"], "text": "a"},
    "empty": {},
    "keys of no text": {1: 2, (3, 4): b"5", "type": "text", "text": "a"},
    "what JSON cannot say": {"type": "text", "text": "a", "extras": ODD},
}

MESSAGES: dict[str, BaseMessage] = {
    "human": HumanMessage("hello"),
    "human named": HumanMessage("hello", name="ann", id="h1"),
    "human name empty": HumanMessage("hello", name=""),
    "human empty": HumanMessage(""),
    "human no parts": HumanMessage([]),
    "human id empty": HumanMessage("hello", id=""),
    "human half": HumanMessage("\ud800\x00\x10 😀", name="\udfff"),
    "human text of another": HumanMessage(AIMessage("hello").text),
    "human extra": HumanMessage("hello", colour="red", deep={"a": ODD}),
    "human extras of known names": HumanMessage("a", text="b", name_="e", role="c", type_="d"),
    "human metadata": HumanMessage("a", additional_kwargs={"metadata": {"lang": "pt", "odd": ODD}}),
    "human metadata and more": HumanMessage(
        "a", additional_kwargs={"metadata": {"lang": "pt"}, "x": 1}
    ),
    "human metadata empty": HumanMessage("a", additional_kwargs={"metadata": {}}),
    "human metadata no dict": HumanMessage("a", additional_kwargs={"metadata": ["a"]}),
    "human metadata keys": HumanMessage("a", additional_kwargs={"metadata": {1: 2}}),
    "human metadata turn": HumanMessage("a", additional_kwargs={"metadata": {"turn": "b"}}),
    "human kwargs": HumanMessage("a", additional_kwargs={1: 2, "odd": ODD}),
    "ai": AIMessage("hello", id="run-1"),
    "ai empty": AIMessage(""),
    "ai no parts": AIMessage([]),
    "ai no parts but calls": AIMessage([], tool_calls=CALLS),
    "ai calls": AIMessage("", tool_calls=CALLS),
    "ai says and calls": AIMessage("wait", tool_calls=CALLS),
    "ai says in parts and calls": AIMessage([{"type": "text", "text": "w"}], tool_calls=CALLS),
    "ai calls among parts": AIMessage(
        [{"type": "text", "text": "wait"}, use(CALLS[0]), use(CALLS[1], cache_control={"a": 1})],
        tool_calls=CALLS,
    ),
    "ai calls in another order": AIMessage([use(CALLS[1]), use(CALLS[0])], tool_calls=CALLS),
    "ai some calls among parts": AIMessage(["wait", use(CALLS[1])], tool_calls=CALLS),
    "ai calls among parts alone": AIMessage([use(CALLS[0])]),
    "ai calls that differ": AIMessage(
        [{**use(CALLS[0]), "input": {}, "partial_json": "{"}], tool_calls=CALLS
    ),
    "ai one call among parts twice": AIMessage([use(CALLS[0])] * 2, tool_calls=CALLS),
    "ai calls in content blocks": AIMessage(
        content_blocks=[create_text_block("wait"), create_tool_call("find", {"a": 1}, id="c1")]
    ),
    "ai one id twice": AIMessage(
        [use(CALLS[0]), use({**CALLS[0], "args": {"b": 1}})],
        tool_calls=[CALLS[0], {**CALLS[0], "args": {"b": 1}}],
    ),
    "ai one call twice": AIMessage([use(CALLS[0])] * 2, tool_calls=[CALLS[0]] * 2),
    "ai calls without ids": AIMessage(
        [{"type": "tool_use", "id": None, "name": "a", "input": {}}, {"type": "tool_use"}],
        tool_calls=[{"name": "a", "args": {}, "id": None}, {"name": "a", "args": {}, "id": None}],
    ),
    "ai call without id in its part": AIMessage(
        [{"type": "tool_use", "name": "a", "input": {}}],
        tool_calls=[{"name": "a", "args": {}, "id": None}],
    ),
    "ai call with odd arguments": AIMessage(
        "", tool_calls=[{"name": "", "args": {"odd": ODD}, "id": ""}]
    ),
    "ai openai": AIMessage(
        "",
        additional_kwargs={
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "find", "arguments": '{"for": "tea"}'},
                },
                {
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "find", "arguments": '{"for'},
                },
            ],
            "refusal": None,
        },
        response_metadata={
            "model_name": "gpt",
            "token_usage": {"prompt_tokens": 1},
            "logprobs": None,
        },
    ),
    "ai openai parts": AIMessage(
        [PARTS["reasoning summary"], PARTS["openai function call"]],
        tool_calls=[{"name": "find", "args": {"for": "tea"}, "id": "c1"}],
    ),
    "ai invalid": AIMessage(
        "",
        tool_calls=CALLS[:1],
        invalid_tool_calls=[
            {"name": "find", "args": "{", "id": "c3", "error": None},
            {"name": "find", "args": "{", "id": "c4", "error": "cut off"},
            {"name": None, "args": None, "id": None, "error": None},
            {"name": "", "args": "", "id": "", "error": ""},
        ],
    ),
    "ai usage": AIMessage("hello", usage_metadata=USAGE),
    "ai usage of nothing": AIMessage(
        "a", usage_metadata={"input_tokens": 0, "output_tokens": 0, "total_tokens": 9}
    ),
    "ai usage and more": AIMessage("a", usage_metadata={**USAGE, "cost": 0.1, "tier": "x"}),
    "ai response": AIMessage("a", response_metadata={1: 2, "odd": ODD, "model_provider": "x"}),
    "ai all": AIMessage(
        [
            *(PARTS[name] for name in ("thinking", "text cached", "openai image data")),
            use(CALLS[0]),
        ],
        id="run-2",
        name="bot",
        tool_calls=CALLS,
        usage_metadata=USAGE,
        response_metadata={"model_name": "claude"},
        additional_kwargs={"metadata": {"a": 1}, "b": [2]},
        extra_field=(1, 2),
    ),
    "system": SystemMessage("Be brief.", id="s1"),
    "system parts": SystemMessage([PARTS["text cached"]]),
    "system developer": SystemMessage("a", additional_kwargs={"__openai_role__": "developer"}),
    "tool": ToolMessage("42", tool_call_id="c1", name="find", id="t1"),
    "tool empty": ToolMessage("", tool_call_id=""),
    "tool failed": ToolMessage("no", tool_call_id="c1", status="error"),
    "tool artifact": ToolMessage("42", tool_call_id="c1", artifact=ODD),
    "tool artifact false": ToolMessage("42", tool_call_id="c1", artifact=0),
    "tool artifact tuple": ToolMessage("42", tool_call_id="c1", artifact=("a", b"b", NAN)),
    "tool parts": ToolMessage([PARTS["text"], PARTS["anthropic image"], "more"], tool_call_id="c1"),
    "tool of results": ToolMessage([PARTS["anthropic result"]], tool_call_id="c1"),
    "tool all": ToolMessage(
        "a",
        tool_call_id="c1",
        artifact={"a": 1},
        status="error",
        name="n",
        id="t2",
        additional_kwargs={"a": 1},
        response_metadata={"b": 2},
        more=3,
    ),
    "human results": HumanMessage([PARTS["anthropic result"], PARTS["anthropic result parts"]]),
    "chat": ChatMessage(content="hello", role="developer", id="x1"),
    "chat role empty": ChatMessage(content="hello", role=""),
    "chat role known": ChatMessage(content="hello", role="user"),
    "chat role chat": ChatMessage(content="hello", role="chat"),
    "chat role damaged": ChatMessage(content="hello", role="damaged"),
    "chat role tool": ChatMessage(content=[PARTS["text"]], role="tool", name="n"),
    "function": FunctionMessage(content="42", name="find", id="f1"),
    "function nameless": FunctionMessage(content="42", name=""),
    "remove": RemoveMessage(id="h1"),
    "remove all": RemoveMessage(id="__remove_all__", additional_kwargs={"a": 1}),
    **{f"human [{name}]": HumanMessage([part]) for name, part in PARTS.items()},
    **{f"ai [{name}]": AIMessage(["a", part, "b"]) for name, part in PARTS.items()},
    **{f"tool [{name}]": ToolMessage([part], tool_call_id="c") for name, part in PARTS.items()},
    "human everything": HumanMessage(list(PARTS.values())),
    "ai everything": AIMessage(
        list(PARTS.values()), tool_calls=[*CALLS, {"name": "find", "args": {}, "id": "elsewhere"}]
    ),
}


class Answer(AIMessage):
    """What an application makes of AIMessage."""

    score: float = 0.5
    sources: tuple[str, ...] = ()
    _private: int = 1


class AnswerChunk(AIMessageChunk):
    score: float = 0.5


class Note(BaseMessage):
    """A message of no class of langchain-core's."""

    type: str = "note"
    importance: int = 1


CHUNKS: dict[str, BaseMessage] = {
    "human": HumanMessageChunk(content="hello", id="h"),
    "ai": AIMessageChunk(content="hello", id="run-1", usage_metadata=USAGE, chunk_position="last"),
    "ai calls": AIMessageChunk(
        content=[{"type": "text", "text": "a"}, use(CALLS[0])],
        tool_call_chunks=[
            {"name": "find", "args": '{"for": "tea", "n": 2}', "id": "c1", "index": 0},
            {"name": "find", "args": "{,", "id": "c2", "index": 1},
        ],
    ),
    "ai added": AIMessageChunk(content="a", response_metadata={"model_name": "x"})
    + AIMessageChunk(
        content="b", tool_call_chunks=[{"name": "f", "args": '{"a"', "id": "c", "index": 0}]
    )
    + AIMessageChunk(
        content="", tool_call_chunks=[{"name": None, "args": ":1}", "id": None, "index": 0}]
    ),
    "ai extra": AIMessageChunk(content="a", extra_field=1, deep=ODD),  # type: ignore[call-arg]
    "system": SystemMessageChunk(content="a", name="n"),
    "tool": ToolMessageChunk(content="a", tool_call_id="c", artifact={"a": 1}, status="error"),
    "chat": ChatMessageChunk(content="a", role="critic"),
    "function": FunctionMessageChunk(content="a", name="find"),
}
SUBCLASSES: dict[str, tuple[BaseMessage, type[BaseMessage]]] = {
    "answer": (Answer(content="hello", score=0.9, sources=("a",), id="a1"), AIMessage),
    "answer in parts": (Answer(content=[PARTS["openai image data"]], tool_calls=CALLS), AIMessage),
    "answer chunk": (AnswerChunk(content="hello", score=0.1), AIMessage),
    "note": (Note(content="hello", importance=5), HumanMessage),
}


# -- comparing -----------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """Equal and of the same types all the way down, where a NaN is itself."""
    if isinstance(a, str) and isinstance(b, str):
        return str.__eq__(a, b)  # the text of another message is a str and more
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def fields(message: BaseMessage) -> dict[str, Any]:
    return {**message.__dict__, **(message.model_extra or {})}


def assert_back(read: BaseMessage, given: BaseMessage) -> None:
    """What was read is what was given, but for an id that the store had to make."""
    assert type(read) is type(given)
    ours, theirs = fields(read), fields(given)
    if not given.id:
        assert isinstance(read, RemoveMessage) or ours.pop("id")
        theirs.pop("id")
    different = [name for name in {**ours, **theirs} if not same(ours.get(name), theirs.get(name))]
    assert not different, f"{read!r} is not {given!r} in {different}"
    assert ours.keys() == theirs.keys()


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """One for all: to make its tables took most of what a test took."""
    with Store("sqlite://") as store:
        yield store


_numbers = itertools.count()


@pytest.fixture
def session(store: Store) -> Session:
    """One that nobody else has."""
    return store.session(f"conversation {next(_numbers)}")


def through(session: Session, *messages: BaseMessage) -> list[BaseMessage]:
    """Messages as they come back."""
    session.append([from_langchain(message) for message in messages])
    return [to_langchain(message) for message in session.messages()]


def neutral(message: BaseMessage) -> Message:
    """What other frameworks are given to read."""
    return decode(encode(from_langchain(message))[0])


def left(message: BaseMessage) -> dict[str, Any]:
    """What is kept besides the neutral fields."""
    kept: dict[str, Any] = from_langchain(message).native.get("langchain", {})
    return kept


# -- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_comes_back_equal(session: Session, name: str) -> None:
    given = MESSAGES[name]
    (read,) = through(session, given)
    assert_back(read, given)
    if given.id and "nan" not in repr(given):
        assert read == given


@pytest.mark.parametrize("name", CHUNKS)
def test_a_chunk_comes_back_as_the_message_it_is_part_of(session: Session, name: str) -> None:
    chunk = CHUNKS[name]
    full = message_chunk_to_message(chunk)
    whole = type(full)(**full.__dict__, **(chunk.model_extra or {}))  # LangChain drops the extras
    (read,) = through(session, chunk)
    assert_back(read, whole)
    assert not type(read).__name__.endswith("Chunk")


@pytest.mark.parametrize("name", SUBCLASSES)
def test_a_subclass_comes_back_as_what_it_is_one_of(session: Session, name: str) -> None:
    given, cls = SUBCLASSES[name]
    (read,) = through(session, given)
    assert type(read) is cls
    theirs = fields(given)
    for chunks_only in ("tool_call_chunks", "chunk_position"):
        theirs.pop(chunks_only, None)
    expected = {**theirs, "type": cls.model_fields["type"].default, "id": given.id or read.id}
    assert same(fields(read), expected)
    assert read.model_extra


def test_everything_at_once_in_every_store(each_store: Callable[[], Store]) -> None:
    given = {name: copy.deepcopy(message) for name, message in MESSAGES.items()}
    for i, message in enumerate(given.values()):
        if not isinstance(message, RemoveMessage):
            message.id = f"m{i}"
    each_store().session("s").append([from_langchain(message) for message in given.values()])
    session = each_store().session("s")
    for read in (session.messages(), [*session.tail(len(given))]):
        for stored, message in zip(read, given.values(), strict=True):
            assert_back(to_langchain(stored), message)
    said_again = [from_langchain(to_langchain(stored)) for stored in session.messages()]
    session.append([message for message in said_again if message.id is not None])
    assert session.count() == len(given)


def test_the_text_of_a_message_is_taken_for_text(session: Session) -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    text = AIMessage("hello").text
    assert type(text) is not str
    changed = HumanMessage("")
    changed.content = text  # which LangChain does not look at
    listed = HumanMessage("")
    listed.content = [text, {"type": Colour.RED, "text": text}, {"type": "text", "text": text}]
    result = {"type": "tool_result", "tool_use_id": text, "content": text}
    called = AIMessage([{"type": "tool_use", "id": text, "name": text, "input": {text: text}}])
    for message in (changed, listed, HumanMessage([result]), called):
        read = through(session, message)[-1]
        assert read.content == message.content


def test_what_was_changed_after_validation_comes_back_too(session: Session) -> None:
    emptied = AIMessage("", additional_kwargs=MESSAGES["ai openai"].additional_kwargs)
    assert emptied.tool_calls
    emptied.tool_calls = []  # LangChain would find them again in additional_kwargs
    longer = AIMessage("a", tool_calls=CALLS)
    longer.tool_calls.append({"name": "new", "args": {}, "id": "c9"})
    odd: Any = {"name": "new", "args": {}, "more": 1}
    longer.tool_calls.append(odd)
    spent = AIMessage("a", usage_metadata=USAGE)
    spent.usage_metadata = {"input_tokens": 1}  # type: ignore[assignment]
    for message in (emptied, longer, spent):
        assert_back(through(session, message)[-1], message)


def test_ids_and_what_may_not_be_one(session: Session) -> None:
    read = through(session, HumanMessage("a"), HumanMessage("b", id=""), HumanMessage("c", id="7"))
    ids = [message.id for message in read]
    assert all(ids)
    assert len(set(ids)) == 3
    assert ids[2] == "7"
    for refused in ("x" * 513, "a\x00b", "\ud800"):
        with pytest.raises(InvalidMessage, match="id"):
            session.append([from_langchain(HumanMessage("d", id=refused))])
    assert session.count() == 3


def test_a_removal_is_kept_with_the_id_of_what_is_to_go(session: Session) -> None:
    human, removal = through(session, HumanMessage("a", id="h"), RemoveMessage(id="h"))
    assert (human.id, removal.id) == ("h", "h")
    assert session.messages()[1].id not in (None, "h")


# -- what cannot be stored -----------------------------------------------------------------------


class Array:
    """Compares like numpy's and pandas' do."""

    def __eq__(self, other: object) -> Any:
        return [self is other, self is other]

    def __ne__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


REFUSED: dict[str, Callable[[], Any]] = {
    "object": object,
    "lock": threading.Lock,  # which cannot be copied
    "array": Array,
    "function": lambda: print,
    "iterator": lambda: iter(range(3)),
    "class": lambda: AIMessage,
    "message": lambda: AIMessage("a"),
    "nested": lambda: nested(200),
    "endless": endless,
}
PLACES: dict[str, Callable[[Any], BaseMessage]] = {
    "artifact": lambda value: ToolMessage("a", tool_call_id="c", artifact=value),
    "additional_kwargs": lambda value: HumanMessage("a", additional_kwargs={"x": value}),
    "metadata": lambda value: HumanMessage("a", additional_kwargs={"metadata": {"x": value}}),
    "response_metadata": lambda value: AIMessage("a", response_metadata={"x": value}),
    "my_field": lambda value: AIMessage("a", my_field=value),
    "args": lambda value: AIMessage(
        "", tool_calls=[{"name": "f", "args": {"x": value}, "id": "1"}]
    ),
    r"content\[1\]": lambda value: HumanMessage(["a", {"type": "text", "text": "b", "x": value}]),
    r"content\[0\]": lambda value: HumanMessage([{"type": "made up", "x": value}]),
    r"content\[0\].extra": lambda value: HumanMessage(
        [{"type": "image", "source": {"type": "url", "url": "https://a", "x": value}}]
    ),
    r"content\[0\]\.content\[0\]": lambda value: HumanMessage(
        [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "x": value}]}]
    ),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("where", PLACES)
def test_what_cannot_be_stored_is_refused_by_name(session: Session, where: str, what: str) -> None:
    message = PLACES[where](REFUSED[what]())
    with pytest.raises(InvalidMessage, match=where):
        session.append([from_langchain(HumanMessage("before")), from_langchain(message)])
    assert session.count() == 0


# -- for other frameworks ------------------------------------------------------------------------

NEUTRAL: dict[str, Block] = {
    "text": Text("hello"),
    "reasoning bare": Reasoning("because"),
    "reasoning signed": Reasoning("b", "s"),
    "reasoning proof": Reasoning("b", b"\x01"),
    "thinking": Reasoning("hm", "sig=="),
    "bedrock": Reasoning("hm", "s"),
    "image url": Image(url="https://a/b.png", media_type="image/png"),
    "image url no mime": Image(url="https://a/b.png"),
    "image base64": Image(PNG, media_type="image/png"),
    "image base64 bare": Image(PNG, media_type="image/png"),
    "image base64 untyped": Image(PNG),
    "image base64 named": Image(PNG, media_type="image/png", name="cat.png"),
    "image data url": Image(PNG, media_type="image/png"),
    "audio url": Audio(url="https://a/b.mp3"),
    "audio base64": Audio(PNG, media_type="audio/wav"),
    "video base64": Video(PNG, media_type="video/mp4"),
    "file base64": File(PNG, media_type="application/pdf", name="b.pdf"),
    "plain text": File(b"words", media_type="text/plain", name="T"),
    "plain text base64": File(b"words", media_type="text/plain"),
    "plain text url": File(url="https://a/b.txt", media_type="text/plain"),
    "openai image": Image(url="https://a"),
    "openai image data": Image(PNG, media_type="image/png"),
    "openai image str": Image(url="https://a"),
    "openai image str data": Image(PNG, media_type="image/png"),
    "openai audio": Audio(PNG, media_type="audio/wav"),
    "openai file": File(PNG, media_type="image/png", name="b.pdf"),
    "openai refusal": Refusal("no"),
    "anthropic image": Image(PNG, media_type="image/png"),
    "anthropic image url": Image(url="https://a"),
    "anthropic document": File(PNG, media_type="application/pdf", name="T"),
    "anthropic document text": File(b"word", media_type="text/plain"),
    "anthropic result": ToolResult("c1", "42"),
    "anthropic result bare": ToolResult("c1"),
    "google media": Image(PNG, media_type="image/png"),
    "google media bytes": Video(PNG, media_type="video/mp4"),
    "google media uri": Audio(url="gs://a/b", media_type="audio/mpeg"),
    "google media file": File(PNG, media_type="text/csv"),
    "v0 url": Image(url="https://a", media_type="image/png"),
    "v0 base64": Image(PNG, media_type="image/png"),
    "v0 audio": Audio(PNG, media_type="audio/wav"),
    "v0 text": File(b"word", media_type="text/plain"),
    "data url untyped": Image(PNG, media_type=""),
    # What is not read stays whole, and its own framework's.
    "image file": Opaque("langchain", "image", PARTS["image file"]),
    "redacted": Opaque("langchain", "redacted_thinking", PARTS["redacted"]),
    "base64 unpadded": Opaque("langchain", "image", PARTS["base64 unpadded"]),
    "base64 loose bits": Opaque("langchain", "image", PARTS["base64 loose bits"]),
    "server call": Opaque("langchain", "server_tool_call", PARTS["server call"]),
    "empty": Opaque("langchain", "", {}),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_part_means_the_same_to_other_frameworks(name: str) -> None:
    (block,) = neutral(HumanMessage([PARTS[name]])).content
    if not isinstance(block, Opaque):
        block = msgspec.structs.replace(block, extra={})
    assert block == NEUTRAL[name]


READ_BY_ALL = [name for name, block in NEUTRAL.items() if getattr(block, "data", b"") == PNG]


@pytest.mark.parametrize("name", READ_BY_ALL)
def test_bytes_are_stored_as_bytes(name: str) -> None:
    frame, _ = encode(from_langchain(HumanMessage([PARTS[name]])), "none")
    assert PNG in frame
    assert B64[:40].encode() not in frame


def test_text_is_text_whatever_it_came_in() -> None:
    assert neutral(HumanMessage("hello")) == Message("user", "hello")
    assert neutral(HumanMessage(["a", PARTS["text"], PARTS["text cached"]])).text == "ahellohello"
    assert neutral(SystemMessage("a")).role == "system"
    assert neutral(ChatMessage(content="a", role="critic")).role == "critic"
    assert neutral(HumanMessage([PARTS["text"]])).text == "hello"
    assert neutral(HumanMessage("a", name="ann")).name == "ann"


@pytest.mark.parametrize("name", [name for name in MESSAGES if name.startswith("ai")])
def test_a_tool_call_is_there_once(name: str) -> None:
    given = MESSAGES[name]
    assert isinstance(given, AIMessage)
    calls = [call for call in neutral(given).tool_calls if isinstance(call.args, dict)]
    among_parts = [
        call for call in calls if call.extra and call.extra["langchain"][0] == "part"
    ]  # which LangChain has not noticed
    noticed = [call for call in calls if call not in among_parts]
    key = str  # in any order
    assert sorted(((c.id, c.name, repr(c.args)) for c in noticed), key=key) == sorted(
        ((c["id"], c["name"], repr(c["args"])) for c in given.tool_calls), key=key
    )
    known = {c["id"] for c in (*given.tool_calls, *given.invalid_tool_calls)}
    assert not known & {c.id for c in among_parts}


def test_calls_and_results_find_each_other() -> None:
    asks = AIMessage([PARTS["text"], use(CALLS[0])])  # and LangChain has not noticed
    answers = HumanMessage([PARTS["anthropic result"]])
    assert neutral(asks).tool_calls[0].id == "c1"
    assert not neutral(answers).opens_turn
    window = Window.of([neutral(m) for m in (HumanMessage("q"), asks, answers)], repair=True)
    assert [message.role for message in window] == ["user", "assistant", "user"]
    assert not window.dangling
    assert not window.orphans
    assert neutral(ToolMessage("42", tool_call_id="c1", name="find")) == Message(
        "tool", "42", name="find", tool_call_id="c1"
    )


def test_what_could_not_be_parsed_is_a_call_with_text() -> None:
    call = neutral(AIMessage("", invalid_tool_calls=[{**CALLS[0], "args": "{", "error": None}]))
    assert call.tool_calls == (ToolCall("find", "{", "c1"),)


def test_usage_and_metadata_are_everybodys() -> None:
    message = neutral(MESSAGES["ai all"])
    assert message.usage == USAGE
    assert message.metadata == {"a": 1}
    assert message.native == {
        "langchain": {
            "additional_kwargs": {"b": [2]},
            "response_metadata": {"model_name": "claude"},
            "extra_field": (1, 2),
        }
    }


TWICE = {
    "ai no parts": {"content"},
    "ai no parts but calls": {"content"},
    "human no parts": {"content"},
}
"""What no rule says, and is kept as it is besides."""


@pytest.mark.parametrize("name", MESSAGES)
def test_nothing_else_is_there_twice(name: str) -> None:
    kept = left(MESSAGES[name])
    said = {"content", "tool_calls", "invalid_tool_calls", "usage_metadata", "name", "tool_call_id"}
    expected = TWICE.get(name, set())
    assert kept.keys() & said == expected
    metadata = from_langchain(MESSAGES[name]).metadata
    assert not metadata or "metadata" not in kept.get("additional_kwargs", {})


# -- from other frameworks -----------------------------------------------------------------------

FOREIGN: dict[str, tuple[Message, BaseMessage]] = {
    "user": (Message("user", "hello", name="ann"), HumanMessage("hello", name="ann")),
    "assistant": (Message("assistant", "hello"), AIMessage("hello")),
    "system": (Message("system", "hello"), SystemMessage("hello")),
    "function": (Message("function", "hello"), FunctionMessage(content="hello", name="")),
    "unknown role": (Message("critic", "hello"), ChatMessage(content="hello", role="critic")),
    "remove": (Message("remove", "hello"), ChatMessage(content="hello", role="remove")),
    "nothing": (Message("user"), HumanMessage("")),
    "text with extra": (Message("user", [Text("a", {"openai": {"b": 1}})]), HumanMessage("a")),
    "texts": (
        Message("user", [Text("a"), Text("b")]),
        HumanMessage([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ),
    "media": (
        Message(
            "user",
            [
                Image(PNG),
                Image(b"?"),
                Image(url="https://a", media_type="image/png"),
                Audio(b"RIFF....WAVE"),
                Video(b"v", media_type="video/mp4"),
                File(b"%PDF-", name="b.pdf"),
                File(name="b.pdf"),
            ],
        ),
        HumanMessage(
            [
                {"type": "image", "base64": B64, "mime_type": "image/png"},
                {"type": "image", "base64": "Pw==", "mime_type": "application/octet-stream"},
                {"type": "image", "url": "https://a", "mime_type": "image/png"},
                {"type": "audio", "base64": "UklGRi4uLi5XQVZF", "mime_type": "audio/wav"},
                {"type": "video", "base64": "dg==", "mime_type": "video/mp4"},
                {
                    "type": "file",
                    "base64": "JVBERi0=",
                    "mime_type": "application/pdf",
                    "extras": {"filename": "b.pdf"},
                },
            ]
        ),
    ),
    "reasoning": (
        Message("assistant", [Reasoning("hm", "sig"), Text("a")]),
        AIMessage(
            [
                {"type": "reasoning", "reasoning": "hm", "extras": {"signature": "sig"}},
                {"type": "text", "text": "a"},
            ]
        ),
    ),
    "calls": (
        Message("assistant", [Text("a"), ToolCall("f", {"x": 1}, "1", {"openai": 5})]),
        AIMessage("a", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}]),
    ),
    "odd calls": (
        Message(
            "assistant",
            [ToolCall("f", "{"), ToolCall("f", None), ToolCall("f", [1]), ToolCall("f", {1: 2})],
        ),
        AIMessage(
            "",
            tool_calls=[{"name": "f", "args": {"1": 2}, "id": None}],
            invalid_tool_calls=[
                {"name": "f", "args": args, "id": None, "error": None}
                for args in ("{", None, "[1]")
            ],
        ),
    ),
    "tool": (
        Message("tool", "42", name="f", tool_call_id="1"),
        ToolMessage("42", name="f", tool_call_id="1"),
    ),
    "tool nameless": (Message("tool", "42"), ToolMessage("42", tool_call_id="")),
    "tool result": (
        Message("tool", [ToolResult("1", "42", is_error=True)]),
        ToolMessage("42", tool_call_id="1", status="error"),
    ),
    "results": (
        Message("user", [ToolResult("1", "42"), ToolResult("2", [Image(b"?")], True)]),
        HumanMessage(
            [
                {
                    "type": "tool_result",
                    "tool_use_id": "1",
                    "content": [{"type": "text", "text": "42"}],
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "2",
                    "content": [
                        {"type": "image", "base64": "Pw==", "mime_type": "application/octet-stream"}
                    ],
                    "is_error": True,
                },
            ]
        ),
    ),
    "citations": (
        Message("assistant", [Citation("x"), Text("a"), Citation("b", "https://a"), Citation()]),
        AIMessage(
            [
                {
                    "type": "text",
                    "text": "a",
                    "annotations": [
                        {"type": "citation", "url": "https://a", "cited_text": "b"},
                        {"type": "citation"},
                    ],
                }
            ]
        ),
    ),
    "refusal": (
        Message("assistant", [Refusal("no")]),
        AIMessage([{"type": "text", "text": "no"}]),
    ),
    "opaque": (
        Message("user", [Text("a"), Opaque("llama_index", "video", {"x": 1})]),
        HumanMessage("a"),
    ),
    "opaque alone": (Message("user", [Opaque("llama_index", "video", {"x": 1})]), HumanMessage("")),
    "metadata": (
        Message("user", "a", metadata={"lang": "pt", "turn": "m1"}),
        HumanMessage("a", additional_kwargs={"metadata": {"lang": "pt"}}),
    ),
    "turn": (Message("assistant", "a", metadata={"turn": "m1"}), AIMessage("a")),
    "native": (Message("user", "a", native={"llama_index": {"x": 1}}), HumanMessage("a")),
    "usage": (
        Message("assistant", "a", usage={"input_tokens": 3, "cost": 0.5}),
        AIMessage(
            "a",
            usage_metadata={"input_tokens": 3, "output_tokens": 0, "total_tokens": 3, "cost": 0.5},
        ),
    ),
    "odd usage": (
        Message(
            "assistant",
            "a",
            usage={"input_tokens": None, "output_tokens": 2, "input_token_details": "many"},
        ),
        AIMessage("a", usage_metadata={"input_tokens": 0, "output_tokens": 2, "total_tokens": 2}),
    ),
    "usage of a user": (Message("user", "a", usage={"input_tokens": 3}), HumanMessage("a")),
    "shapes of a later version": (
        Message(
            "user",
            [
                Text("a", {"langchain": ["text.v9", {"x": 1}]}),
                Image(url="https://a", extra={"langchain": "?"}),
                Image(url="https://a", extra={"langchain": ["refusal", {}]}),
                Opaque("langchain", "?", 5),
                ToolCall("f", {}, "1", {"langchain": {"x": 1}}),
            ],
        ),
        HumanMessage(
            [
                {"type": "text", "text": "a"},
                {"type": "image", "url": "https://a"},
                {"type": "image", "url": "https://a"},
            ]
        ),
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_others_wrote_is_a_langchain_message(session: Session, name: str) -> None:
    given, expected = FOREIGN[name]
    (stored,) = session.append(given)
    read = to_langchain(stored)
    assert_back(read, expected)
    assert read.id == stored.id
    assert read.content_blocks is not None  # LangChain can read it
    assert type(read)(**read.__dict__) == read
    assert read.pretty_repr()


def test_what_cannot_be_read_any_more_is_shown_as_such() -> None:
    frame, _ = encode(Message("assistant", "hello"))
    read = to_langchain(placeholder(frame, ValueError("torn")))
    assert type(read) is HumanMessage
    assert "can no longer be read: torn" in read.text


@given(neutral_messages)
def test_whatever_others_write_is_a_langchain_message(message: Message) -> None:
    read = to_langchain(message)
    assert type(read)(**read.__dict__)
    assert isinstance(from_langchain(read), Message)


def test_no_class_is_imported_that_data_names(session: Session) -> None:
    known = set(sys.modules)
    for name in ("antigravity.Message", "Answer", "AIMessageChunk", ["list"]):
        session.append(Message("user", "a", native={"langchain": {"type": name}}))
    read = [to_langchain(message) for message in session.messages()]
    assert [type(message) for message in read] == [HumanMessage] * 4
    assert [message.type for message in read] == ["human"] * 4
    assert set(sys.modules) == known


# -- said again ----------------------------------------------------------------------------------


def test_saying_again_what_was_read_is_saying_it_once(session: Session) -> None:
    all_of_them = [*MESSAGES.values(), *CHUNKS.values(), *(m for m, _ in SUBCLASSES.values())]
    given = [copy.deepcopy(message) for message in all_of_them]
    for i, message in enumerate(given):
        message.id = f"m{i}"
    given = [message for message in given if not isinstance(message, RemoveMessage)]
    read = through(session, *given)
    stored = session.messages()
    for again in ([from_langchain(message) for message in read], [*map(from_langchain, given)]):
        assert repr(session.append(again)) == repr(session.messages())
        assert session.count() == len(given)
        for said, before in zip(again, stored, strict=True):
            assert encode(said)[0] == encode(before)[0], "not the same bytes"


# -- yours to keep -------------------------------------------------------------------------------


def spoil(value: Any) -> None:
    """Change everything inside that can be changed."""
    match value:
        case BaseMessage():
            spoil(value.__dict__)
            spoil(value.model_extra)
        case dict():
            for inner in list(value.values()):
                spoil(inner)
            value["spoilt"] = True
        case list():
            for inner in value:
                spoil(inner)
            value.append("spoilt")
        case tuple():
            for inner in value:
                spoil(inner)
        case set():
            value.add("spoilt")
        case msgspec.Struct():
            for name in value.__struct_fields__:
                spoil(getattr(value, name))


@pytest.mark.parametrize("name", MESSAGES)
def test_converting_changes_nothing_that_was_given(name: str) -> None:
    given = copy.deepcopy(MESSAGES[name])
    made = from_langchain(given)
    assert same(fields(given), fields(MESSAGES[name]))
    before = copy.deepcopy(made)
    to_langchain(made)
    to_langchain(made)
    assert repr(made) == repr(before)


def test_citing_changes_nothing_that_was_given() -> None:
    odd = {"type": "text", "text": "a", "annotations": None}
    made = Message("assistant", [Text("b"), Opaque("langchain", "text", odd), Citation("c")])
    assert to_langchain(made).content == [
        {"type": "text", "text": "b"},
        {"type": "text", "text": "a", "annotations": [{"type": "citation", "cited_text": "c"}]},
    ]
    assert odd == {"type": "text", "text": "a", "annotations": None}


@pytest.mark.parametrize("name", MESSAGES)
def test_changing_what_was_read_changes_nothing_stored(session: Session, name: str) -> None:
    given = copy.deepcopy(MESSAGES[name])
    appended = session.append([from_langchain(given)])
    spoil(given)
    spoil(to_langchain(appended[0]))
    for stored in (session.messages()[0], session.tail(1)[0], session.window()[0]):
        spoil(to_langchain(stored))
        spoil(stored)
    assert_back(to_langchain(session.messages()[0]), MESSAGES[name])


# -- whatever there may be -----------------------------------------------------------------------

# No NaN: beside a set, which comes back in another order, the store takes it for another one.
anything = plain
known_parts = st.sampled_from([p for p in PARTS.values() if "nan" not in repr(p)])
words = (
    st.sampled_from(["", "a", "word", "https://a", "\ud800", "image/png", "c1", "c2"]) | any_text
)
base64 = st.binary(max_size=12).map(lambda data: b64encode(data).decode())
encoded = st.one_of(
    base64,
    base64.map(lambda text: text.rstrip("=")),
    base64.map(lambda text: f"data:image/png;base64,{text}"),
    base64.map(lambda text: f"data:;base64,{text}"),
    words,
    st.text("AB+/=- \n", max_size=8),
)
tags = st.sampled_from(
    sorted(
        {
            part["type"]
            for part in PARTS.values()
            if isinstance(part, dict) and isinstance(part.get("type"), str)
        }
    )
)
KEYS = re.findall(
    r"\w+",
    """annotations args base64 cache_control content data extras file file_data file_id file_uri
    filename format id image_url index input input_audio is_error media_type mime_type name
    reasoning reasoning_content refusal signature source source_type status summary text thinking
    title tool_use_id type url""",
)
held = st.one_of(
    encoded,
    anything,
    tags | st.sampled_from(["base64", "url", "text"]),
    st.dictionaries(
        st.sampled_from(KEYS), encoded | st.sampled_from(["base64", "url", "text"]), max_size=4
    ),
    st.booleans(),
)


@st.composite
def odd_parts(draw: st.DrawFn) -> Any:
    """A part that is nearly in some shape."""
    known = draw(st.dictionaries(st.sampled_from(KEYS), held, max_size=5))
    return {"type": draw(tags), **draw(short(keyed)), **known}


@st.composite
def changed_parts(draw: st.DrawFn) -> Any:
    """A known part with something changed, taken away or put beside it."""
    part = copy.deepcopy(draw(known_parts))
    if isinstance(part, dict):
        part |= draw(st.dictionaries(st.sampled_from(KEYS), held, max_size=1))
        shorter = draw(st.booleans())
        if part and shorter:
            del part[draw(st.sampled_from(sorted(part, key=repr)))]
        holders = [key for key, value in part.items() if isinstance(value, dict)]
        if holders:
            part[draw(st.sampled_from(holders))] |= draw(
                st.dictionaries(st.sampled_from(KEYS), held, max_size=1)
            )
    return part


parts = st.one_of(words, known_parts.map(copy.deepcopy), odd_parts(), changed_parts())
results = st.builds(
    lambda content, more: {"type": "tool_result", "tool_use_id": "c1", "content": content, **more},
    words | st.lists(parts, max_size=3),
    st.dictionaries(st.sampled_from(["is_error", "cache_control", "x"]), held, max_size=2),
)
contents = words | st.lists(parts | results, max_size=4)
call_ids = st.sampled_from(["c1", "c2", None, ""])
calls = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["find", "add", ""]) | any_text,
            "args": st.dictionaries(any_text, anything, max_size=2),
            "id": call_ids,
        }
    ),
    max_size=3,
)
invalid_calls = st.lists(
    st.fixed_dictionaries(
        {"name": st.none() | words, "args": st.none() | words, "id": call_ids, "error": st.none()}
    ),
    max_size=2,
)
keyed = st.dictionaries(any_text | st.integers(), anything, max_size=2)
metadata = st.dictionaries(
    st.sampled_from(["metadata", "tool_calls", "lc_source"]),
    keyed | anything | st.just({"turn": "m"}),
    max_size=2,
)
counts = st.integers(0, 2**70)
usages = st.fixed_dictionaries(
    {"input_tokens": counts, "output_tokens": counts, "total_tokens": counts},
    optional={
        "input_token_details": st.fixed_dictionaries({}, optional={"audio": counts, "x": anything}),
        "output_token_details": st.fixed_dictionaries({}, optional={"reasoning": counts}),
        "cost": anything,
    },
)


@st.composite
def said_among_parts(draw: st.DrawFn) -> dict[str, Any]:
    """Calls, and parts that repeat some of them as providers do, in some order."""
    made = draw(calls)
    shapes = {"tool_use": "input", "tool_call": "args"}
    repeated: list[Any] = []
    for call in draw(st.permutations(made)):
        tag = draw(st.sampled_from(["tool_use", "tool_call", ""]))
        if tag:
            part = {"type": tag, "id": call["id"], "name": call["name"]}
            part[shapes[tag]] = copy.deepcopy(call["args"])
            repeated.append({**part, **draw(st.dictionaries(st.just("index"), held))})
    mixed = draw(st.permutations([*repeated, *draw(st.lists(parts, max_size=2))]))
    return {"content": draw(st.just(list(mixed)) | words), "tool_calls": made}


@st.composite
def langchain_messages(draw: st.DrawFn) -> BaseMessage:
    """A message as LangChain would take it from anybody."""
    given: dict[str, Any] = {
        "content": draw(contents),
        "name": draw(st.none() | words),
        "id": draw(st.none() | st.just("") | st.uuids().map(str)),
        "additional_kwargs": {**draw(keyed), **draw(metadata)},
        "response_metadata": draw(keyed),
        **draw(st.dictionaries(st.sampled_from(["colour", "text", "class"]), anything, max_size=2)),
    }
    match draw(st.sampled_from(["human", "ai", "ai", "ai", "system", "tool", "chat", "function"])):
        case "human":
            return HumanMessage(**given)
        case "ai":
            given |= draw(said_among_parts() | st.just({"tool_calls": []}))
            given["invalid_tool_calls"] = draw(invalid_calls)
            given["usage_metadata"] = draw(st.none() | usages)
            cls = draw(st.sampled_from([AIMessage, AIMessage, Answer]))
            made: BaseMessage = cls(**given)
            return made
        case "system":
            return SystemMessage(**given)
        case "tool":
            artifact, status = draw(anything), draw(st.sampled_from(["success", "error"]))
            return ToolMessage(**given, tool_call_id=draw(words), artifact=artifact, status=status)
        case "chat":
            return ChatMessage(**given, role=draw(words | st.sampled_from(["user", "tool"])))
    return FunctionMessage(**{**given, "name": draw(words)})


some_messages = short(langchain_messages())


@given(parts | results)
@example({"type": "document", "source": {"type": "text", "media_type": "a/b", "data": "word"}})
def test_every_part_comes_back_equal(part: Any) -> None:
    before = copy.deepcopy(part)
    block = block_of(part)
    assert same(part_of(block), before)
    assert same(part, before)


@given(st.lists(some_messages, min_size=1, max_size=4))
def test_whatever_was_said_comes_back_equal(given: list[BaseMessage]) -> None:
    before = copy.deepcopy(given)
    with Store("sqlite://") as store:
        session = store.session("s")
        read = through(session, *given)
        for message, was in zip(read, before, strict=True):
            if isinstance(was, Answer):
                assert type(message) is AIMessage
                assert same({**fields(was), "id": was.id or message.id}, fields(message))
            else:
                assert_back(message, was)
        session.append([from_langchain(message) for message in read])
        assert session.count() == len(given)
    assert all(same(fields(a), fields(b)) for a, b in zip(given, before, strict=True))


# -- that the guards guard -----------------------------------------------------------------------


class Anything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "name", ["base64 loose bits", "image base64 untyped", "openai image data", "anthropic image"]
)
def test_without_the_look_back_parts_would_change(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    part = PARTS[name]
    assert part_of(block_of(part)) == part
    monkeypatch.setattr(blocks_module, "part_of", lambda block: Anything())
    block = block_of(part)
    monkeypatch.undo()
    assert part_of(block) != part


@pytest.mark.parametrize(
    "name",
    ["human no parts", "ai response", "human extra", "tool artifact", "remove"],
)
def test_without_what_is_kept_besides_messages_would_change(
    monkeypatch: pytest.MonkeyPatch, session: Session, name: str
) -> None:
    monkeypatch.setattr(messages_module, "_fields", lambda message: ())
    (read,) = through(session, MESSAGES[name])
    with pytest.raises(AssertionError):
        assert_back(read, MESSAGES[name])


def test_documents_in_an_artifact_are_kept() -> None:
    from langchain_core.documents import Document

    found = [Document(page_content="a page", metadata={"score": 0.5}, id="d1"), Document("b")]
    message = ToolMessage("2 pages", tool_call_id="c", artifact={"docs": found, "more": (1, found)})
    with Store("sqlite://") as store:
        store.session("k").append(from_langchain(message))
        [again] = store.session("k").messages(into=to_langchain)
    assert isinstance(again, ToolMessage)
    assert again.artifact == message.artifact
    assert message.artifact["docs"] is found, "the caller's is as it was"


def test_a_document_of_a_class_of_ones_own_is_refused() -> None:
    from langchain_core.documents import Document

    class Mine(Document):
        """Reading imports no class."""

    message = ToolMessage("x", tool_call_id="c", artifact=[Mine(page_content="a")])
    with Store("sqlite://") as store, pytest.raises(InvalidMessage, match="artifact"):
        store.session("k").append(from_langchain(message))
