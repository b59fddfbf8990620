"""What append takes, and what becomes of it; how tokens are estimated."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from msgspec.structs import replace

from onrecord import (
    Audio,
    File,
    Image,
    InvalidMessage,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from onrecord.accepting import messages_from
from onrecord.tokens import TokenCounter, estimate, named_counter

PNG = base64.b64encode(b"\x89PNG").decode()


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ("plain", Text("plain")),
        ({"type": "text", "text": "hi", "cache": 1}, Text("hi", {"cache": 1})),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            Image(url="https://x/y.png", extra={"detail": "low"}),
        ),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            Image(b"\x89PNG", media_type="image/png"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png,raw"}},
            Image(url="data:image/png,raw"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
            Audio(b"\x89PNG", media_type="audio/wav"),
        ),
        (
            {
                "type": "file",
                "file": {
                    "file_data": f"data:application/pdf;base64,{PNG}",
                    "filename": "a.pdf",
                },
            },
            File(b"\x89PNG", media_type="application/pdf", name="a.pdf"),
        ),
        (
            {"type": "file", "file": {"file_id": "f-1"}},
            Opaque("openai", "file", {"file": {"file_id": "f-1"}}),
        ),
        ({"type": "future", "x": 1}, Opaque("openai", "future", {"x": 1})),
        (Text("block"), Text("block")),
    ],
)
def test_content_parts(part: Any, block: Any) -> None:
    (message,) = messages_from({"role": "user", "content": [part]})
    assert message.content == (block,)


def test_nothing_a_mapping_says_is_dropped() -> None:
    call = {"id": "c", "name": "f", "args": {"a": 1}, "type": "tool_call", "index": 3}
    (message,) = messages_from({"role": "assistant", "tool_calls": [call]})
    assert message.content == (ToolCall("f", {"a": 1}, "c", {"index": 3}),)
    theirs = {"id": "c", "index": 0, "function": {"name": "f", "arguments": "[1]", "strict": True}}
    (message,) = messages_from({"role": "assistant", "content": None, "tool_calls": [theirs]})
    assert message.content == (ToolCall("f", "[1]", "c", {"index": 0, "strict": True}),)


def test_an_empty_text_is_kept_where_it_is_all_there_is() -> None:
    assert messages_from({"role": "user", "content": ""})[0].content == (Text(""),)
    assert messages_from(("user", ""))[0].content == (Text(""),)
    assert messages_from({"role": "user"})[0].content == ()


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"role": "user", "content": 7}, "content"),
        ({"role": "user", "content": [7]}, "content block"),
        ({"role": "user", "content": [{"no": "type"}]}, "content block"),
        ({"role": "user", "content": [{"type": "text"}]}, "text"),
        (
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "&"}}],
            },
            "base64",
        ),
        ({"role": "assistant", "tool_calls": [{"args": {}}]}, "tool_calls"),
        ({"role": "assistant", "tool_calls": ["f"]}, "tool_calls"),
        ([("user", "fine"), 7], "message 1"),
        ([("user", "fine")] * 10_001, "10,000"),
        (b"bytes", "append"),
    ],
)
def test_what_is_refused(given: Any, word: str) -> None:
    with pytest.raises(InvalidMessage, match=word):
        messages_from(given)


def test_a_message_is_written_as_people_think_of_it() -> None:
    assert Message("user", "hi").content == (Text("hi"),)
    assert Message("user", [Text("a"), Text("b")]).text == "ab"
    assert Message("user", Text("alone")).content == (Text("alone"),)  # type: ignore[arg-type]
    assert repr(Message("user", "hi", metadata={"a": 1})) == (
        "Message(role='user', content='hi', metadata={'a': 1})"
    )
    with pytest.raises(AttributeError):
        Message("user", "hi").role = "assistant"  # type: ignore[misc]


def test_a_turn_begins_where_a_user_speaks() -> None:
    assert Message("user", "hi").opens_turn
    assert not Message("assistant", "hi").opens_turn
    assert not Message("user", [ToolResult("c", "5")]).opens_turn


def test_the_estimate_counts_all_a_model_is_sent() -> None:
    empty = estimate(Message("user", ()))
    assert estimate(Message("user", "four" * 25)) == empty + 25
    assert estimate(Message("assistant", [ToolCall("f" * 40, "x" * 360)])) == empty + 100
    assert estimate(Message("user", [ToolResult("c", "y" * 400)])) == empty + 100
    assert estimate(Message("assistant", [Reasoning("z" * 400)])) == empty + 100
    assert estimate(Message("user", "語" * 4)) == empty + 3
    assert estimate(Message("user", [Image(b"x")])) > empty + 100
    assert estimate(Message("user", [File(b"x")])) > estimate(Message("user", [Image(b"x")]))
    assert estimate(Message("user", [Opaque("f", "n", "x" * 400)])) == empty


def words(message: Message) -> int:
    return len(message.text.split())


def test_a_counter_of_ones_own() -> None:
    assert named_counter(words).name.endswith("test_coerce.words")
    assert named_counter(("w", words))(Message("user", "a b c")) == 3
    for nonsense in (-1, 1.5, None, 2**31):
        with pytest.raises(InvalidMessage, match="token counter"):
            TokenCounter("bad", lambda message, n=nonsense: n)(Message("user"))  # type: ignore[misc]


def test_a_message_reads_like_the_dict_that_others_have_of_it() -> None:
    call = ToolCall("look", {"order": 17}, "c1")
    message = Message("assistant", [Text("One moment."), call], metadata={"ticket": 4}, id="m1")
    assert (message["role"], message["content"]) == ("assistant", "One moment.")
    assert message["tool_calls"] == [{"id": "c1", "name": "look", "args": {"order": 17}}]
    assert dict(message) == {
        "role": "assistant",
        "content": "One moment.",
        "tool_calls": [{"id": "c1", "name": "look", "args": {"order": 17}}],
        "metadata": {"ticket": 4},
    }
    assert messages_from(dict(message)) == [replace(message, id=None)]
    assert dict(Message("user", "Hi")) == {"role": "user", "content": "Hi"}
    assert message["id"] == message.get("id") == "m1"
    assert message.get("name", "nobody") == message.get("nonsense", "nobody") == "nobody"
    assert "metadata" in message
    assert "name" not in message
    picture = Image(url="https://example.com/x.png")
    assert Message("user", [picture, call])["content"] == [picture]
    with pytest.raises(KeyError):
        message["nonsense"]
    untyped: Any = message
    for wrong in (lambda: untyped[0], lambda: list(untyped)):
        with pytest.raises(TypeError, match="by names"):
            wrong()
