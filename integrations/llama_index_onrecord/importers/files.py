"""Conversations in a file: what ``SimpleChatStore.persist`` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from llama_index_onrecord.importers.rows import canonical, row_of
from onrecord import Misconfigured
from onrecord.adapters.importing import Conversation, Source, Unread, printable
from onrecord.adapters.importing.lists import Counted


class JsonFile(Source):
    """Conversations in one file, which is read when they are asked for, once and whole."""

    # Not the file's: a copy of it somewhere else holds the same conversations.
    name = "json"
    label = "json"

    def __init__(self, path: str | os.PathLike[str], wanted: list[str] | None) -> None:
        if not isinstance(path, str | os.PathLike):
            raise Misconfigured(
                f"source has to be the path of a file, not a {type(path).__name__}. What a chat "
                f"store has in memory is brought by set_messages() of OnrecordChatStore."
            )
        self._path = Path(path)
        self._wanted = wanted
        self._read = False

    def conversations(self) -> Sequence[Conversation | Unread]:
        """Read all of them, as they stand in the file."""
        if self._read:
            return []
        self._read = True
        found = self._found()
        wanted = list(found) if self._wanted is None else self._wanted
        return [self._named(id_, found.get(id_)) for id_ in wanted]

    def _found(self) -> dict[str, Any]:
        where = self._path.absolute()
        try:
            text = self._path.read_bytes().decode("utf-8-sig")
        except OSError as fault:
            raise Misconfigured(
                f"{where} cannot be read: {fault.strerror or fault}. Check the path: it is the "
                f"one that persist() was given."
            ) from fault
        except UnicodeDecodeError as fault:
            raise Misconfigured(
                f"{where} is not UTF-8, so it is not a file of SimpleChatStore."
            ) from fault
        if not text.strip():
            raise Misconfigured(
                f"{where} is empty. SimpleChatStore.persist() empties its file before it fails, "
                f"as it does with pydantic 2.14 and llama-index-core 0.14.25. Take an older copy."
            )
        try:
            found = json.loads(text)
            found = json.loads(found) if isinstance(found, str) else found  # as it once was
        except (ValueError, RecursionError) as fault:
            raise Misconfigured(
                f"{where} is not JSON, or was cut off: {fault}. persist() writes over its file, "
                f"so a crash leaves half of it. Take an older copy."
            ) from fault
        kept = found.get("store") if isinstance(found, dict) else None
        if not isinstance(kept, dict):
            raise Misconfigured(
                f'{where} is JSON, but not {{"store": {{…}}}}, as SimpleChatStore.persist() '
                f"writes it."
            )
        return kept

    def _named(self, id_: str, messages: Any) -> Conversation | Unread:
        if not isinstance(messages, list):
            what = "has no messages of it" if messages is None else "has no list there"
            return Unread(printable(id_), None, f"{self._path.name} {what}.")
        oldest = partial(_oldest, messages)
        return Counted(id_, oldest, row_of, canonical=canonical, loses_its_end=True)


def _oldest(messages: list[Any], start: int, end: int) -> list[bytes]:
    return [json.dumps(message).encode() for message in messages[start:end]]
