"""Files of lines, written whole or not at all, and read line by line; compressed or not.

Files are read and written in threads, and closed by whoever drives the flow: a lock keeps the
two apart, so that what is cut off never closes a file under a thread that is using it.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from os import PathLike
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import zstandard

from onrecord.errors import Damaged, Misconfigured, Unavailable, shown


class Writes(Protocol):
    """A file that is open for bytes to be written to it."""

    def write(self, data: Any, /) -> Any: ...


class Reads(Protocol):
    """A file that is open for bytes to be read from it."""

    def read(self, size: int, /) -> Any: ...


Into: TypeAlias = str | PathLike[str] | Writes
From: TypeAlias = str | PathLike[str] | Reads

_BLOCK: Final = 2**20
_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_LEVEL: Final = 6
_LARGEST_WINDOW: Final = 128 * 2**20
"""The memory that a file may ask for to be decompressed: what zstd makes at its strongest."""


def path_of(given: object) -> str:
    """A path as text, refused where no file can have it."""
    if not isinstance(given, str | PathLike):
        raise Misconfigured(f"A path is needed, not {shown(given)}.")
    path = os.fsdecode(given)
    try:
        possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise Misconfigured(f"{path!r:.100} holds a character that no path can have.")
    return path


def is_there(path: str) -> bool:
    """Whether there is a file; Misconfigured where none can have that name."""
    with _Explained(repr(path), "used"):
        try:
            os.stat(path)
        except FileNotFoundError:
            return False
    return True


class Target:
    """A file to be written. A path holds all of it or what it held before, never a part."""

    def __init__(self, given: Into, ending: str = ".jsonl", *, anew: str | None = None) -> None:
        """``anew`` writes over nothing, not over what comes there meanwhile either, and says what
        to do where something is there."""
        self._anew = anew
        self._path: str | None = None
        self._file: Any = None
        self._compressed = False
        if isinstance(given, str | PathLike):
            path = path_of(given)
            self.name = repr(path)
            self._compressed = path.endswith(f"{ending}.zst")
            if not self._compressed and not path.endswith(ending):
                raise Misconfigured(
                    f"{self.name} has to end in {ending}, or in {ending}.zst to be compressed."
                )
            self._path = path
        elif callable(getattr(given, "write", None)) and not isinstance(given, io.TextIOBase):
            self._file = given
            self.name = repr(getattr(given, "name", None) or type(given).__name__)
        else:
            raise Misconfigured(
                f"A path is needed, or a file that is open for bytes (mode 'wb'), not "
                f"{shown(given)}."
            )
        self.bytes = 0
        """How many were written, before they were compressed."""
        self._lock = threading.Lock()
        self._over = False
        self._part: str | None = None
        self._waiting = bytearray()
        self._squeeze: Any = None

    def open(self) -> None:
        """Make the file, under another name beside the one it will have."""
        with self._lock, _Explained(self.name, "written"):
            if self._path is not None and not self._over:
                self._path = os.path.realpath(self._path)  # whatever folder is current later
                # Whether it can have this name, before all is written.
                if is_there(self._path) and self._anew is not None:
                    raise Misconfigured(
                        f"{self.name} is there already, and is not written over. {self._anew}"
                    )
                folder = os.path.dirname(self._path)
                part = os.path.join(folder, f".onrecord-{secrets.token_hex(8)}.part")
                self._file = open(part, "xb")  # noqa: SIM115 - closed by finish or discard
                self._part = part
            if self._compressed:
                self._squeeze = zstandard.ZstdCompressor(
                    level=_LEVEL, write_checksum=True, write_content_size=False
                ).compressobj()

    def write(self, data: bytes) -> None:
        """Add to it."""
        with self._lock, _Explained(self.name, "written"):
            if self._over:
                raise Unavailable(f"{self.name} is not written any more.")
            self.bytes += len(data)
            self._waiting += data
            if len(self._waiting) >= _BLOCK:
                # Blocks of one size, whoever writes how much at a time: what comes out of the
                # compressor is the same for the same content then.
                whole = len(self._waiting) - len(self._waiting) % _BLOCK
                for start in range(0, whole, _BLOCK):
                    self._put(bytes(self._waiting[start : start + _BLOCK]))
                del self._waiting[:whole]

    def finish(self) -> None:
        """Give it its name, once all of it is on the disk."""
        with self._lock, _Explained(self.name, "written"):
            if self._over:
                raise Unavailable(f"{self.name} is not written any more.")
            self._put(bytes(self._waiting))
            self._waiting.clear()
            if self._squeeze is not None:
                self._write(self._squeeze.flush())
            if hasattr(self._file, "flush"):
                self._file.flush()
            if self._part is not None and self._path is not None:
                os.fsync(self._file.fileno())
                self._file.close()
                if self._anew is None:
                    os.replace(self._part, self._path)
                else:
                    self._take_name(self._part, self._path)
                self._part = None
                _sync_folder(os.path.dirname(self._path))
            self._over = True

    def _take_name(self, part: str, path: str) -> None:
        try:
            _name_anew(part, path)
        except FileExistsError:
            raise Misconfigured(
                f"{self.name} was written by somebody else meanwhile, and is not written over. "
                f"Nothing was done. {self._anew}"
            ) from None

    def discard(self) -> None:
        """Leave nothing behind, if it was not finished. A file that was lent stays open."""
        self._over = True  # first: who is about to write stops
        _off_the_loop(self._discard)

    def _discard(self) -> None:
        with self._lock:
            if self._part is not None:
                with suppress(OSError):  # what it could not write, it may fail to close
                    self._file.close()
                with suppress(OSError):
                    os.unlink(self._part)
                self._part = None

    def _put(self, data: bytes) -> None:
        self._write(data if self._squeeze is None else self._squeeze.compress(data))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:  # a file that is open without a buffer may take a part
            taken = self._file.write(left)
            left = left[len(left) if taken is None else taken :]


class Aside:
    """Values that are put aside on the disk, as many as there are, and come back in their order:
    in a file without a name, which nobody else finds and which is gone with the process."""

    def __init__(self, beside: object) -> None:
        """``beside`` is a path: in its folder there has to be room."""
        self._beside = path_of(beside)
        self._file: Any = None
        self.count = 0
        """How many were put there."""

    def put(self, values: Iterable[Any]) -> None:
        """Put some aside: what msgpack can say."""
        with _Explained(f"A file beside {self._beside!r}", "written"):
            if self._file is None:
                folder = os.path.dirname(os.path.realpath(self._beside))
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
            for value in values:
                said = msgspec.msgpack.encode(value)
                self._file.write(len(said).to_bytes(8, "big") + said)
                self.count += 1

    def begin(self) -> None:
        """Begin to take them back."""
        if self._file is not None:
            with _Explained(f"A file beside {self._beside!r}", "written"):
                self._file.seek(0)

    def take(self, most: int) -> list[Any]:
        """Take the next ones back; none where that were all."""
        found: list[Any] = []
        with _Explained(f"A file beside {self._beside!r}", "read"):
            while len(found) < most and self._file is not None and (size := self._file.read(8)):
                said = self._file.read(int.from_bytes(size, "big"))
                found.append(msgspec.msgpack.decode(said))
        return found

    def close(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            with suppress(OSError):  # what it could not write, it may fail to close
                _off_the_loop(self._file.close)


class Copy:
    """A new file that somebody else writes: under a name beside its own until it is whole."""

    def __init__(self, given: object) -> None:
        self._path = os.path.realpath(path_of(given))
        self.name = repr(self._path)
        self._refuse_another()
        folder = os.path.dirname(self._path)
        if not os.path.isdir(folder):
            raise Misconfigured(f"{self.name} cannot be written: its folder is not there.")
        self.part = os.path.join(folder, f".onrecord-{secrets.token_hex(8)}.part")

    def finish(self) -> None:
        """Give it its name, once all of it is on the disk. Nothing is written over."""
        with _Explained(self.name, "written"):
            handle = os.open(self.part, os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            try:
                _name_anew(self.part, self._path)
            except FileExistsError:
                self._refuse_another()
                raise
            _sync_folder(os.path.dirname(self._path))

    def discard(self) -> None:
        """Leave nothing behind."""
        _off_the_loop(self._discard)

    def _discard(self) -> None:
        with suppress(OSError):
            os.unlink(self.part)

    def _refuse_another(self) -> None:
        if is_there(self._path):
            raise Misconfigured(
                f"{self.name} is there already, and is not written over. Give each backup a name "
                f"of its own, with the date in it for example."
            )


def _name_anew(part: str, path: str) -> None:
    """Give a file its name; FileExistsError where another has it."""
    if sys.platform == "win32":
        os.rename(part, path)
        return
    try:
        os.link(part, path)  # a rename takes another's place
    except FileExistsError:
        raise
    except OSError:  # where files have one name each, as on many a stick: nearly as good
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.rename(part, path)
    else:
        os.unlink(part)


class Source:
    """A file to be read, from where it stands."""

    def __init__(self, given: From, longest: int) -> None:
        self._path: str | None = None
        self._file: Any = None
        if isinstance(given, str | PathLike):
            self._path = path_of(given)
            self.name = repr(self._path)
        elif callable(getattr(given, "read", None)) and not isinstance(given, io.TextIOBase):
            self._file = given
            self.name = repr(getattr(given, "name", None) or type(given).__name__)
        else:
            raise Misconfigured(
                f"A path is needed, or a file that is open for bytes (mode 'rb'), not "
                f"{shown(given)}."
            )
        self._longest = longest
        self.compressed = False
        """Known once its beginning was read."""
        self._lock = threading.Lock()
        self._over = False
        self._lines: Iterator[bytes] | None = None

    def ends(self, begins: Callable[[bytes], object]) -> bytes | None:
        """Its last line, from a first look at all of it; None where there would be no way back to
        where it begins, as for a pipe. ``begins`` is given the first line, and may refuse it."""
        with self._lock, _Explained(self.name, "read"):
            if self._path is not None:
                if not os.path.isfile(self._path):
                    return None
                with open(self._path, "rb") as file:
                    return self._last(file, begins)
            if not (callable(can := getattr(self._file, "seekable", None)) and can()):
                return None
            start = self._file.tell()
            last = self._last(self._file, begins)
            self._file.seek(start)
            return last

    def _last(self, file: Any, begins: Callable[[bytes], object]) -> bytes:
        # Without looking at each line: 64 KB can be made that hold a thousand million of them.
        blocks = self._blocks(file)
        begun = b""
        while b"\n" not in begun and (block := next(blocks, b"")):
            begun += block
            self._check_length(len(begun))
        first, _, rest = begun.partition(b"\n")
        begins(first)
        last, length = [first], 0
        for block in chain((rest,), blocks):
            if self._over:
                break
            if not block:
                continue
            if last and last[-1].endswith(b"\n"):
                last, length = [], 0
            at = block.rfind(b"\n", 0, len(block) - 1) + 1  # one at its end may end the last line
            if at or block is rest:
                last, length = [], 0
            last.append(block[at:])
            length += len(block) - at
            self._check_length(length)
        return b"".join(last).removesuffix(b"\n")

    def line(self) -> bytes | None:
        """The next line, without its end; None when there is none."""
        with self._lock, _Explained(self.name, "read"):
            if self._over:
                raise Unavailable(f"{self.name} is not read any more.")
            if self._lines is None:
                if self._path is not None:
                    self._file = open(self._path, "rb")  # noqa: SIM115 - closed by close
                self._lines = self._split(self._blocks(self._file))
            return next(self._lines, None)

    def close(self) -> None:
        """Close what was opened here. A file that was lent stays open."""
        closed = self._over and self._file is None
        self._over = True  # first: who is looking at all of it stops
        if not closed:
            _off_the_loop(self._close)

    def _close(self) -> None:
        with self._lock:
            if self._path is not None and self._file is not None:
                self._file.close()
                self._file = None

    def _split(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        begun: list[bytes] = []
        length = 0
        for block in blocks:
            first, *more = block.split(b"\n")
            begun.append(first)
            length += len(first)
            for following in more:
                yield b"".join(begun)
                begun, length = [following], len(following)
            self._check_length(length)
        if length:
            yield b"".join(begun)

    def _check_length(self, length: int) -> None:
        if length > self._longest:
            raise Damaged(f"{self.name} has a line of more than {self._longest:,} bytes.")

    def _blocks(self, file: Any) -> Iterator[bytes]:
        """What a file holds, decompressed where it has to be."""
        head = b""
        while len(head) < len(_MAGIC) and (more := file.read(len(_MAGIC) - len(head))):
            head += more
        self.compressed = head == _MAGIC
        if not self.compressed:
            yield head
            while block := file.read(_BLOCK):
                yield block
            return
        source: Any = _After(head, file)
        with zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(
            source, read_across_frames=True, closefd=False
        ) as reader:
            while block := reader.read(_BLOCK):
                yield block


def _off_the_loop(work: Callable[[], None]) -> None:
    """Do it now; or, where an event loop runs in this thread, in another one: the file's lock is
    held by whoever still writes to it, and a flow that was cancelled cannot wait for anything."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
    else:
        threading.Thread(target=work, name="onrecord file").start()


class _Explained:
    """What went wrong with a file, in our words."""

    def __init__(self, name: str, what: str) -> None:
        self._name = name
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        match fault:
            case FileNotFoundError() | PermissionError() | IsADirectoryError() | FileExistsError():
                raise Misconfigured(
                    f"{self._name} cannot be {self._what}: {fault.strerror}. Check its path, and "
                    f"what this user may do there."
                ) from fault
            case OSError(errno=errno.ENAMETOOLONG | errno.ELOOP | errno.ENOTDIR | errno.EINVAL):
                raise Misconfigured(
                    f"{self._name:.100} cannot be {self._what}: {fault.strerror}. Choose another "
                    f"path."
                ) from fault
            case zstandard.ZstdError():
                raise Damaged(
                    f"{self._name} is compressed and damaged: {fault}. Take another copy."
                ) from fault
            case OSError():
                raise Unavailable(
                    f"{self._name} could not be {self._what}: {fault.strerror or fault}. Check "
                    f"the disk, and do it again."
                ) from fault


class _After:
    """A file again, whose beginning was read already."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head = head
        self._file = file

    def read(self, size: int) -> bytes:
        head, self._head = self._head, b""
        found: bytes = head or self._file.read(size)
        return found


def _sync_folder(folder: str) -> None:
    """So that the new name is on the disk as well."""
    if sys.platform != "win32":  # where a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
