"""The command line as its users run it: a process of its own, in a pipe or on a terminal.

Starting an interpreter and importing takes a second, so most are forked from the test's process,
which has imported everything: their arguments, environment, signals and files are their own.
"""

from __future__ import annotations

import codecs
import fcntl
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
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pyte
import pytest

import onrecord.operations  # noqa: F401 - so that no child has to
from onrecord.cli import main

PATIENCE = 60.0


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
        given: bytes | None = None,
        env: Mapping[str, str] | None = None,
        out: int | None = None,
    ) -> None:
        self._read: dict[int, bytearray] = {}
        into, from_ = (os.pipe() if out is None else (-1, out)), os.pipe()
        stdin = os.pipe()
        self.pid = _forked(
            lambda: _exec(list(map(str, arguments)), env, (stdin[0], into[1], from_[1]))
        )
        for end in (stdin[0], into[1], from_[1]):
            os.close(end)
        self.out, self.err = into[0], from_[0]
        os.write(stdin[1], given or b"")
        os.close(stdin[1])

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
        self.pid = _forked(lambda: _exec(list(map(str, arguments)), said, (end, end, end), True))
        os.close(end)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._end, text.encode())

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
        work()
    return pid


def _exec(
    arguments: list[str],
    env: Mapping[str, str] | None,
    ends: tuple[int, int, int],
    terminal: bool = False,
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
        for name in ("PYTEST_CURRENT_TEST", "ONRECORD_URL", "ONRECORD_CACHE", "NO_COLOR"):
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
        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)
