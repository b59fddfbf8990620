"""Logs of what workers did, one file a process, of use also when the process was killed."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, get_args

from onrecord.testing.events import (
    Appended,
    Attempted,
    Deleted,
    Event,
    Fell,
    Read,
    Refused,
    Rewound,
)
from onrecord.version import Version


class Log:
    """One process's part of a history: a file of JSON lines, complete to its last whole line."""

    def __init__(self, path: str | os.PathLike[str], worker: str | None = None) -> None:
        self.path = Path(path)
        self.worker = worker or self.path.stem
        # A file of its own for each process, also for one that takes a dead one's place: a line
        # that was torn can then only be the last one.
        self._file: int | None = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | _O_BINARY, 0o666
        )
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        """Append one event. It is with the operating system when this returns."""
        line = json.dumps(_packed(event), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._file is None:
                raise ValueError(f"the log {self.path} is closed")
            while line:  # a signal may have interrupted it
                line = line[os.write(self._file, line) :]

    def appending(self, ids: Sequence[str]) -> UnderWay:
        """Say what is about to be appended. To be called before the append."""
        under_way = UnderWay(self, tuple(ids))
        self.write(Attempted(self.worker, under_way.began, under_way.ids))
        return under_way

    def read(
        self,
        began: int,
        messages: Iterable[tuple[int | None, str | None]],
        *,
        tail: int | None = None,
        version: Version | None = None,
    ) -> None:
        """Say what a read, begun at ``time.monotonic_ns()``, has just given."""
        ended = time.monotonic_ns()
        self.write(Read(self.worker, began, ended, _given(messages), tail, version))

    def fell(self, began: int, messages: Iterable[tuple[int | None, str | None]]) -> None:
        """Say what the database, which has fallen back since ``began``, was found to have.

        To be called before anybody can write to it again.
        """
        given = _given(messages)
        self.write(Fell(self.worker, began, time.monotonic_ns(), given))

    def rewinding(self, head: int) -> UnderWay:
        """Say that everything after ``head`` is about to be taken away; 0 for a clear."""
        under_way = UnderWay(self, (), head=head)
        self.write(Rewound(self.worker, under_way.began, None, head))
        return under_way

    def deleting(self, seq: int) -> UnderWay:
        """Say that one message is about to be taken away."""
        under_way = UnderWay(self, (), seq=seq)
        self.write(Deleted(self.worker, under_way.began, None, seq))
        return under_way

    def close(self) -> None:
        """Close the file; it can be read by ``load`` at any time."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class UnderWay:
    """A change whose outcome is not known until one of these methods says so."""

    def __init__(
        self, log: Log, ids: tuple[str, ...], head: int | None = None, seq: int | None = None
    ) -> None:
        self.ids = ids
        self._log = log
        self._head = head
        self._seq = seq
        self.began = time.monotonic_ns()

    def acknowledged(self, seqs: Iterable[int | None]) -> None:
        """The append returned."""
        ended = time.monotonic_ns()
        places = tuple(_known(seq) for seq in seqs)
        self._log.write(Appended(self._log.worker, self.began, ended, self.ids, places))

    def refused(self) -> None:
        """The append raised an error that says nothing was written."""
        self._log.write(Refused(self._log.worker, self.began, time.monotonic_ns(), self.ids))

    def done(self, version: Version | None = None) -> None:
        """The rewind or the deletion returned."""
        ended, worker = time.monotonic_ns(), self._log.worker
        if self._head is not None:
            self._log.write(Rewound(worker, self.began, ended, self._head, version))
        elif self._seq is not None:
            self._log.write(Deleted(worker, self.began, ended, self._seq, version))
        else:
            raise ValueError("an append is acknowledged with its sequence numbers")


def load(paths: Iterable[str | os.PathLike[str]]) -> list[Event]:
    """The events in some logs. What a killed process was just writing is left out."""
    events: list[Event] = []
    for path in sorted(map(Path, paths)):
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):  # after the last newline: torn, or nothing
            try:
                events.append(_unpacked(json.loads(line)))
            except (ValueError, KeyError, TypeError) as fault:
                raise ValueError(f"{path}, line {number} is not an event: {fault}") from fault
    return events


_O_BINARY: Final = getattr(os, "O_BINARY", 0)  # or Windows writes another end of a line
_KINDS: Final[Mapping[str, type[Any]]] = {kind.__name__.lower(): kind for kind in get_args(Event)}


def _packed(event: Event) -> dict[str, Any]:
    values = ((name, getattr(event, name)) for name in event.__dataclass_fields__)
    return {"event": type(event).__name__.lower(), **{n: v for n, v in values if v is not None}}


def _unpacked(given: dict[str, Any]) -> Event:
    kind = _KINDS[given.pop("event")]
    for name in ("ids", "seqs"):
        if name in given:
            given[name] = tuple(given[name])
    if "messages" in given:
        given["messages"] = tuple((int(seq), str(name)) for seq, name in given["messages"])
    if "version" in given:
        given["version"] = Version(*given["version"])
    if kind in (Rewound, Deleted):
        given.setdefault("ended", None)
    event: Event = kind(**given)
    return event


def _given(
    messages: Iterable[tuple[int | None, str | None]],
) -> tuple[tuple[int, str], ...]:
    return tuple((_known(seq), _known(name)) for seq, name in messages)


def _known(value: Any) -> Any:
    if value is None:
        raise ValueError("a stored message has a seq and an id")
    return value
