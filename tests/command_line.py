"""The command line as its users run it: a process of its own, in a pipe or on a terminal.

Starting an interpreter and importing takes a second, so most are forked from the test's process,
which has imported everything: their arguments, environment, signals and files are their own.
"""

from __future__ import annotations

import codecs
import fcntl
import gc
import importlib
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pyte
import pytest

import onrecord.operations  # noqa: F401 - so that no child has to
from onrecord.cli import main

PATIENCE = 60.0

for _module in (
    "onrecord.store",
    "onrecord.cli.app",
    "rich.progress",
    "rich.status",
    "typer._adapters",
):
    with suppress(ImportError):  # the last one is of typer itself, and not of every version
        importlib.import_module(_module)


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


class Running:
    """A command that runs, in pipes."""

    def __init__(
        self,
        *arguments: str | Path,
        given: bytes | None = b"",
        env: Mapping[str, str] | None = None,
        out: tuple[int, int] | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        """``given`` is its input; None leaves that open. ``before`` is called in the child."""
        self._read: dict[int, bytearray] = {}
        into, from_, self._stdin = out or os.pipe(), os.pipe(), os.pipe()
        ends = (self._stdin[0], into[1], from_[1])
        self.pid = _forked(lambda: _be(list(map(str, arguments)), env, ends, before=before))
        os.close(into[1])
        os.close(from_[1])
        self.out, self.err = -1 if out else into[0], from_[0]
        if given is not None:
            if given:
                self.give(given)
            self._end_input()

    def give(self, text: bytes) -> None:
        """Hand it all of a text, and wait until it has read that."""
        left = memoryview(text)
        while left:
            left = left[os.write(self._stdin[1], left[:4096]) :]
        limit = time.monotonic() + PATIENCE
        unread = bytearray(4)
        while fcntl.ioctl(self._stdin[0], termios.FIONREAD, unread) == 0 and any(unread):
            if time.monotonic() > limit:
                pytest.fail("it does not read")
            time.sleep(0.005)

    def _end_input(self) -> None:
        for end in self._stdin:
            os.close(end)
        self._stdin = (-1, -1)

    def wait_for(self, wanted: str, end: int | None = None) -> str:
        """Read until something was written, and return all that was so far."""
        end = self.out if end is None else end
        got = self._read.setdefault(end, bytearray())
        limit = time.monotonic() + PATIENCE
        while wanted.encode() not in got:
            if not select.select([end], [], [], max(limit - time.monotonic(), 0))[0]:
                pytest.fail(f"{wanted!r} did not come after {bytes(got)!r}")
            more = os.read(end, 65536)
            if not more:
                pytest.fail(f"{wanted!r} never came: {bytes(got)!r}, and {self.done()}")
            got += more
        return got.decode()

    def done(self) -> Done:
        """Wait for its end."""
        if self._stdin[0] >= 0:
            self._end_input()
        ends = {end for end in (self.out, self.err) if end >= 0}
        got = {end: self._read.setdefault(end, bytearray()) for end in ends}
        limit = time.monotonic() + PATIENCE
        left = set(ends)
        while left:
            ready, _, _ = select.select(list(left), [], [], max(limit - time.monotonic(), 0))
            if not ready:
                os.kill(self.pid, signal.SIGKILL)
                pytest.fail(f"it hung: {got}")
            for end in ready:
                if more := os.read(end, 65536):
                    got[end] += more
                else:
                    left.discard(end)
                    os.close(end)
        _, status = os.waitpid(self.pid, 0)
        said = {end: bytes(text).decode() for end, text in got.items()}
        code = os.waitstatus_to_exitcode(status)
        return Done(code, said.get(self.out, ""), said.get(self.err, ""))


def run(*arguments: str | Path, **how: Any) -> Done:
    """Run a command in pipes, to its end."""
    return Running(*arguments, **how).done()


class Terminal:
    """A command on a terminal, of which one sees what is on the screen."""

    def __init__(
        self,
        *arguments: str | Path,
        columns: int = 80,
        lines: int = 60,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.raw = bytearray()
        self._screen = pyte.Screen(columns, lines)
        self._screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self._screen)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._end, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        said = {"TERM": "xterm-256color", **(env or {})}
        self.pid = _forked(
            lambda: _be(list(map(str, arguments)), said, (end, end, end), terminal=True)
        )
        os.close(end)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._end, text.encode())

    def answer(self, text: str) -> None:
        """Type something at a question, once it is listened to: whoever reads by readline, which
        pytest has brought along, loses an end of input that came before."""
        limit = time.monotonic() + PATIENCE
        while "readline" in sys.modules and termios.tcgetattr(self._end)[3] & termios.ICANON:
            if time.monotonic() > limit:
                pytest.fail(f"nobody listens:\n{self.screen}")
            os.sched_yield()
        self.type(text)

    def wait_for(self, wanted: str) -> str:
        """Wait until something is on the screen, and return all of it."""
        limit = time.monotonic() + PATIENCE
        while wanted not in self.screen:
            if not self._more(limit):
                pytest.fail(f"{wanted!r} is not on the screen:\n{self.screen}")
        return self.screen

    def done(self) -> Done:
        """Wait for its end; what is on the screen then is its output."""
        limit = time.monotonic() + PATIENCE
        while self._more(limit):
            pass
        os.close(self._end)
        _, status = os.waitpid(self.pid, 0)
        return Done(os.waitstatus_to_exitcode(status), self.screen, "")

    @property
    def screen(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def _more(self, limit: float) -> bool:
        if not select.select([self._end], [], [], max(limit - time.monotonic(), 0))[0]:
            os.kill(self.pid, signal.SIGKILL)
            pytest.fail(f"it hung:\n{self.screen}")
        try:
            more = os.read(self._end, 65536)
        except OSError:  # the other end is closed
            return False
        self.raw += more
        self._stream.feed(self._decode(more))
        return bool(more)


def on_terminal(*arguments: str | Path, **how: Any) -> Done:
    """Run a command on a terminal, to its end."""
    return Terminal(*arguments, **how).done()


def _forked(work: Callable[[], NoReturn]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 and later warn that a fork beside threads may deadlock: see tests/children.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        gc.freeze()  # what the test's process has is not gone through again
        work()
    return pid


def _be(
    arguments: list[str],
    env: Mapping[str, str] | None,
    ends: tuple[int, int, int],
    *,
    terminal: bool = False,
    before: Callable[[], object] | None = None,
) -> NoReturn:
    """In a child: be the command."""
    code = 70
    try:
        if terminal:
            os.setsid()
            fcntl.ioctl(ends[0], termios.TIOCSCTTY, 0)
        for to, end in enumerate(ends):
            os.dup2(end, to)
        os.closerange(3, 256)
        sys.stdin, sys.stdout, sys.stderr = (
            open(to, mode, encoding="utf-8", buffering=-1, closefd=False)  # noqa: SIM115
            for to, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        if terminal:
            for stream in (sys.stdout, sys.stderr):
                stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        for name in ("PYTEST_CURRENT_TEST", "NO_COLOR", "ONRECORD_URL", "ONRECORD_CACHE"):
            os.environ.pop(name, None)
        for name in ("COLUMNS", "LINES", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
            os.environ.pop(name, None)
        os.environ["TZ"] = "UTC"
        time.tzset()
        os.environ.update(env or {})
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        warnings.resetwarnings()
        sys.argv = ["onrecord", *arguments]
        if before is not None:
            before()
        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)
