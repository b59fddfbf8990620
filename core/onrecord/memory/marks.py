"""What a message says of itself to the memories, and the id by which one is found again."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from onrecord.adapters.stored import given_id_of, id_of, seq_of
from onrecord.errors import InvalidName, Misconfigured, shown
from onrecord.message import Message
from onrecord.scope import check_name

SUMMARY: Final = "summary"
"""The type of an episode that stands for others."""

_DIGITS: Final = 10


class Place(NamedTuple):
    """Where a message stands, and that it is the very one."""

    session: str
    seq: int
    mark: str
    """Its sequence, and a hash of its id: after a rewind another message has the same sequence."""


def mark_of(message: Message) -> str:
    """Tell a stored message from all others of its session, and a summary from the message whose
    place and id it has: who holds the id of an episode deletes no summary with it."""
    return _mark(message, id_of(message))


def note_key_of(message: Message) -> str:
    """What the note of a stored message is kept under: the same in a fork and in an import of its
    session, where a message that nobody gave an id has another one. Its time stands for it then."""
    given = given_id_of(message)
    return _mark(message, f"{message.created_at}" if given is None else given)


def _mark(message: Message, name: str) -> str:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8)
    if message.marks.get("episode") == SUMMARY:
        digest.update(SUMMARY.encode())
    return f"{seq_of(message)}.{digest.hexdigest()}"


def public_id(mark: str, session: str) -> str:
    """The id that people hold. It says where the message stands, so that one is read alone."""
    return f"{mark}@{session}"


def place_of(given: object) -> Place | None:
    """Read an id; None for a text that is none of ours."""
    if not isinstance(given, str):
        raise Misconfigured(f"An id is a text, as record() and store_episode() return it, not "
                            f"{shown(given)}.")  # fmt: skip
    mark, at, session = given.partition("@")
    seq, dot, digest = mark.partition(".")
    if not (at and dot and digest and seq.isascii() and seq.isdigit() and len(seq) <= _DIGITS):
        return None
    try:
        check_name("session", session)
    except InvalidName:
        return None
    return Place(session, int(seq), mark)
