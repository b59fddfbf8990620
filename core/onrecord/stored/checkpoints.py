"""What a checkpoint is made of, as it is stored: values that ledger and protocol share.

A thread of a graph has *lists* of things that are numbered as they come: one, its *log*, for
the checkpoints of each namespace, and one for the items of each list-valued channel in it. A list
at some moment is a few runs of item numbers: one run, 1 to n, for a list that has only grown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from onrecord.errors import InvalidName, shown

NUMBER_BITS: Final = 32
LAST_NUMBER: Final = 2**NUMBER_BITS - 1

Runs: TypeAlias = list[int]
"""First and last of each run, one after the other: [1, 5, 9, 9] is 1 to 5, and 9."""
Ref: TypeAlias = list[int]
"""Where a channel's value stands: [checkpoint, which of its values], or [list, *runs]."""
Refs: TypeAlias = dict[str, Ref]


def is_listing(ref: Ref) -> bool:
    """Whether a reference is to a list, item by item."""
    return len(ref) != 2


def runs_of(numbers: Iterable[int]) -> Runs:
    """Numbers, in any order, as the runs they make."""
    runs: Runs = []
    for number in numbers:
        if runs and number == runs[-1] + 1:
            runs[-1] = number
        else:
            runs += (number, number)
    return runs


def numbers_of(runs: Sequence[int]) -> list[int]:
    """The numbers of some runs, in their order."""
    numbers: list[int] = []
    for i in range(0, len(runs), 2):
        numbers.extend(range(runs[i], runs[i + 1] + 1))
    return numbers


def list_name(namespace: str, channel: str | None = None) -> bytes:
    """What a list is found by in its thread. msgpack writes lengths: no two names meet."""
    check_text(namespace, channel or "")
    return msgspec.msgpack.encode((namespace,) if channel is None else (namespace, channel))


def check_text(*names: str) -> None:
    """Refuse namespaces, channels and tasks that are not text, before any I/O."""
    for name in names:
        _check_str(name)
    try:
        "".join(names).encode()
    except UnicodeEncodeError as fault:
        raise InvalidName(
            f"{''.join(names)!r:.100} contains half of a surrogate pair, which is not text."
        ) from fault


def _check_str(given: object) -> None:
    if not isinstance(given, str):
        raise InvalidName(
            f"Namespaces, channels, tasks, runs and ids of checkpoints are str, not {shown(given)}."
        )


def namespace_of(name: bytes) -> tuple[str, bool]:
    """The namespace a list belongs to, and whether it is its log of checkpoints."""
    parts = msgspec.msgpack.decode(name, type=list[str])
    return parts[0], len(parts) == 1


def id_key(given: str) -> bytes:
    """A checkpoint's id as it is stored: 16 bytes for what looks like a UUID."""
    _check_str(given)
    try:
        uuid = UUID(given)
    except ValueError:
        pass
    else:
        if str(uuid) == given:
            return uuid.bytes
    text = b"=" + given.encode("utf-8", "surrogatepass")
    return text + b"\xff" if len(text) == 16 else text  # no text is as long as a UUID


def id_of(key: bytes) -> str:
    """The id that was stored."""
    if len(key) == 16:
        return str(UUID(bytes=key))
    try:
        return key[1:].removesuffix(b"\xff").decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return key.hex()  # damaged, and to be named all the same


def mark_of(key: bytes) -> bytes:
    """What remains of a checkpoint's id when its thread is deleted: enough to know it again."""
    return blake2b(key, digest_size=8).digest()


def run_key(run: str) -> bytes:
    """What the checkpoints of one run are found by."""
    _check_str(run)
    return blake2b(run.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class ListKey(NamedTuple):
    """What the rows of a list are found by."""

    shard: int
    list: int


class Thread(NamedTuple):
    """A thread as the database keeps it, locked or not."""

    number: int
    epoch: int
    live: bool
    """False for one that was deleted and not begun again."""
    last_active: int
    expires_in: int | None
    about: bytes | None
    deleted_ids: bytes | None
    shard: int = 0


class ThreadPlace(NamedTuple):
    """Where a thread stands among others, the one last active first."""

    last_active: int | None
    """None for one whose own time is damaged."""
    shard: int
    number: int


class NamespaceLog(NamedTuple):
    """The checkpoints of one namespace of a thread."""

    thread: int
    number: int
    epoch: int
    head: int
    """The number of the newest checkpoint; 0 for none."""
    shard: int = 0

    @property
    def key(self) -> ListKey:
        return ListKey(self.shard, self.number)


class CheckpointRow(NamedTuple):
    """One checkpoint, without the values of its channels."""

    namespace_log: NamespaceLog
    number: int
    id: bytes
    parent: bytes | None
    refs: Refs
    body: bytes


class Added(NamedTuple):
    """What a new checkpoint adds to the database."""

    id: bytes
    parent: bytes | None
    run: bytes | None
    body: bytes
    refs: Refs
    held: bytes | None
    items: Sequence[tuple[int, int, int, bytes]]
    """Of each list that grew: its id, the number of the last item, how many, and a frame."""
