"""Read messages from what LlamaIndex's chat stores write of them.

They write what ``ChatMessage.model_dump`` makes. LlamaIndex reads all of it back or nothing, and
then no message of that conversation: one block that a newer version wrote is enough, or a picture
whose file has gone. Here such a message is read block by block.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from llama_index.core.base.llms.types import (
    BaseContentBlock,
    ChatMessage,
    ContentBlock,
    MessageRole,
    TextBlock,
)
from msgspec.structs import replace
from pydantic import TypeAdapter

from llama_index_onrecord.blocks import OURS
from llama_index_onrecord.messages import from_llama_index
from onrecord import Message, Opaque
from onrecord.adapters.importing import SourceRow
from onrecord.adapters.importing.rows import first_line, json_in

_BLOCK: Final[TypeAdapter[Any]] = TypeAdapter(ContentBlock)
_NO_MESSAGE: Final = (
    'it is JSON, but not {"role": …, "blocks": […]}, as LlamaIndex writes a message.'
)


def row_of(name: str, raw: bytes) -> SourceRow:
    """Read a row that a ``ChatMessage`` was written to."""
    found = json_in(raw)
    if isinstance(found, str):
        return SourceRow(name, raw, found)
    known = canonical(raw)
    if not _may_be_a_message(found):
        return SourceRow(name, known, _NO_MESSAGE)
    try:
        return SourceRow(name, known, from_llama_index(ChatMessage.model_validate(found)))
    except Exception as fault:  # whatever pydantic and LlamaIndex's validators make of it
        why = f"LlamaIndex refuses it: {first_line(fault)}."
    try:
        return SourceRow(name, known, _read_in_part(found), why)
    except Exception as fault:  # what cannot be stored either
        return SourceRow(name, known, f"it is not a message: {first_line(fault)}.")


def canonical(raw: bytes) -> bytes:
    """Normalize a row: the same for the same message, also after another version of LlamaIndex has
    written it again: new fields begin as null, and PostgreSQL's jsonb has an order of its own."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    return json.dumps(_without_nulls(found), sort_keys=True).encode()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _may_be_a_message(found: Mapping[str, Any]) -> bool:
    said = found.get("blocks", found.get("content", ...))  # older versions have no blocks
    kwargs = found.get("additional_kwargs", {})
    return (
        isinstance(found.get("role"), str)
        and isinstance(said, list | str | None)
        and isinstance(kwargs, dict)
    )


def _read_in_part(found: Mapping[str, Any]) -> Message:
    """Read a message in part; what cannot be read is kept as it stands there."""
    said = found.get("blocks", found.get("content")) or []
    blocks: list[BaseContentBlock] = []
    kept: dict[int, Opaque] = {}
    for block in [{"block_type": "text", "text": said}] if isinstance(said, str) else said:
        try:
            blocks.append(_block_in(block))
        except Exception:  # pydantic and the blocks themselves raise what they like
            kept[len(blocks)] = _as_it_is(block)
            blocks.append(TextBlock(text=""))  # holds its place
    role = found["role"]
    known = role in {each.value for each in MessageRole}
    message = from_llama_index(
        ChatMessage.model_construct(
            role=MessageRole(role) if known else MessageRole.USER,
            additional_kwargs=found.get("additional_kwargs", {}),
            blocks=blocks,
        )
    )
    content = tuple(kept.get(n, block) for n, block in enumerate(message.content))
    return replace(message, role=message.role if known else role, content=content)


def _block_in(found: Any) -> BaseContentBlock:
    """Read a block, also where the file it names has gone."""
    try:
        block: BaseContentBlock = _BLOCK.validate_python(found)
    except ValueError:
        # Those inside it first, and the path aside: pydantic looks for the file.
        fields = {name: _inner(value) for name, value in found.items() if name != "path"}
        block = _BLOCK.validate_python(fields)
        if (path := found.get("path")) is not None:
            block.path = Path(path)  # type: ignore[attr-defined]
    return block


def _inner(value: Any) -> Any:
    if isinstance(value, list):
        return [_inner(inner) for inner in value]
    return _block_in(value) if isinstance(value, dict) and "block_type" in value else value


def _as_it_is(found: Any) -> Opaque:
    if not isinstance(found, dict):
        return Opaque(OURS, "unknown", found)
    fields = dict(found)
    return Opaque(OURS, str(fields.pop("block_type", "unknown")), fields)
