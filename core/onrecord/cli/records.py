"""What is stored, as the lines of JSON that ``--json`` writes: docs/how-to/command-line.md."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from onrecord.cli.output import Stored

if TYPE_CHECKING:
    from onrecord.item import Item
    from onrecord.message import Message
    from onrecord.version import SessionInfo

_LONG_AGO: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")


def session(info: SessionInfo) -> dict[str, Any]:
    """A session, without its messages."""
    return {
        "tenant": info.tenant,
        "user": info.user,
        "agent": info.agent,
        "key": info.key,
        "title": None if info.title is None else Stored(info.title),
        "metadata": Stored(dict(info.metadata)),
        "messages": info.messages,
        "turns": info.turns,
        "tokens": info.tokens,
        "epoch": info.version.epoch,
        "head": info.version.head,
        "created_at": info.created_at,
        "last_active": info.last_active,
        "expires_in": info.expires_in,
        "usage": info.usage,
        "open": info.open,
        "damaged": info.damaged,
    }


def message(said: Message) -> str:
    """A message, as an export has it, and always with its id."""
    from onrecord.codec import lines
    from onrecord.stored.clock import microseconds

    place = lines.Place(
        said.seq or 0,
        said,
        said.id,
        microseconds(said.created_at or _LONG_AGO),
        said.tokens or 0,
        None,
        said.opens_turn,
    )
    return lines.line_of(place).decode().rstrip("\n")


def item(found: Item) -> dict[str, Any]:
    """An item with its value."""
    return {
        "namespace": found.namespace,
        "key": found.key,
        "value": Stored(found.value),
        "text": found.text,
        "version": found.version,
        "token": found.token,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "expires_at": found.expires_at,
        "damaged": found.damaged,
    }
