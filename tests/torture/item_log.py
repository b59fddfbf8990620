"""What workers write down of items: one file a process, complete to its last whole line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

import msgspec

from onrecord import Item

Value: TypeAlias = dict[str, str | int]
"""``{"by": id}`` of a put; a count has its ``n`` beside it; each field of what is merged has the
id of the merge that wrote it."""


class Name(msgspec.Struct, frozen=True, array_like=True):
    """Which item."""

    namespace: str
    key: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.key}"


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One change; several are made together, all or none."""

    name: Name
    how: Literal["put", "merge", "delete"]
    value: Value | None = None
    """What is put or merged."""
    expected: int | None = None


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """An item as somebody was shown it."""

    version: int
    value: Value


class Changing(msgspec.Struct, frozen=True, tag=True):
    """Changes of which nothing is known yet; written before they are made."""

    worker: str
    began: int
    parts: tuple[Part, ...]
    said: str | None = None
    """The text of the message that they are made with."""


class Changed(msgspec.Struct, frozen=True, tag=True):
    """They were acknowledged."""

    worker: str
    began: int
    ended: int
    answers: tuple[Shown | bool | None, ...]
    """The items as stored; of a delete whether it was there; None where nobody was told."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """They failed with an error that says that nothing was written."""

    worker: str
    began: int
    ended: int


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """They failed, and nobody was told whether they were made."""

    worker: str
    began: int
    ended: int


class Got(msgspec.Struct, frozen=True, tag=True):
    """What a reader was given of some items; None where there is none."""

    worker: str
    began: int
    ended: int
    found: tuple[tuple[Name, Shown | None], ...]
    whole: tuple[str, ...] = ()
    """Namespaces of which all there was is in ``found``."""
    together: bool = False
    """Whether all of it is of one moment."""


class Fell(msgspec.Struct, frozen=True, tag=True):
    """The database came back without its newest commits, with exactly these items. Nothing new
    was committed between ``began`` and ``ended``."""

    worker: str
    began: int
    ended: int
    found: tuple[tuple[Name, Shown], ...]


Event: TypeAlias = Changing | Changed | Refused | Unknown | Got | Fell


class ItemLog:
    """One process's part of what happened to items."""

    def __init__(self, path: Path, worker: str | None = None) -> None:
        self.worker = worker or path.stem
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def write(self, event: Event) -> None:
        """With the operating system when this returns, whoever is killed then."""
        line = msgspec.json.encode(event) + b"\n"
        while line:  # a signal may have interrupted it
            line = line[os.write(self._file, line) :]

    def changing(self, parts: Sequence[Part], said: str | None = None) -> UnderWay:
        """Say what is about to be changed. To be called before it is."""
        under_way = UnderWay(self)
        self.write(Changing(self.worker, under_way.began, tuple(parts), said))
        return under_way

    def got(
        self,
        began: int,
        found: Mapping[Name, Item | None],
        *,
        whole: Iterable[str] = (),
        together: bool = False,
    ) -> None:
        """Say what a read, begun at ``time.monotonic_ns()``, has just given."""
        shown = tuple((name, None if i is None else shown_of(i)) for name, i in found.items())
        ended = time.monotonic_ns()
        self.write(Got(self.worker, began, ended, shown, tuple(whole), together))

    def fell(self, began: int, found: Mapping[Name, Item]) -> None:
        """Say what the database, which has fallen back since ``began``, was found to have."""
        shown = tuple((name, shown_of(item)) for name, item in found.items())
        self.write(Fell(self.worker, began, time.monotonic_ns(), shown))

    def close(self) -> None:
        os.close(self._file)

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
    """Changes whose outcome is not known until one of these methods says so."""

    def __init__(self, log: ItemLog) -> None:
        self._log = log
        self.began = time.monotonic_ns()

    def acknowledged(self, answers: Iterable[Item | bool | None]) -> None:
        ended = time.monotonic_ns()
        shown = tuple(shown_of(one) if isinstance(one, Item) else one for one in answers)
        self._log.write(Changed(self._log.worker, self.began, ended, shown))

    def refused(self) -> None:
        self._log.write(Refused(self._log.worker, self.began, time.monotonic_ns()))

    def unknown(self) -> None:
        self._log.write(Unknown(self._log.worker, self.began, time.monotonic_ns()))


def shown_of(item: Item) -> Shown:
    """What the judge wants to know of an item."""
    return Shown(item.version, item.value)


def name_of(item: Item) -> Name:
    """Which item it is."""
    (namespace,) = item.namespace
    return Name(namespace, item.key)


def load_items(paths: Iterable[Path]) -> list[Event]:
    """The events in some logs. What a killed process was just writing is left out."""
    return [
        _DECODER.decode(line)
        for path in sorted(paths)
        for line in path.read_bytes().split(b"\n")[:-1]
    ]


_DECODER: Final = msgspec.json.Decoder(Event)
