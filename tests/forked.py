"""Processes that begin with what they need imported, by a fork of one that has done nothing else.

    python -m tests.forked SOCKET MODULES...

To start Python and import Onrecord with its drivers takes up to 0.7 seconds of a CPU, and some
tests start dozens of processes: more than half of what torture took. Here one process imports, and
each that is asked for is forked off it: with no store, no connection, no thread and no loop of
another's, and with an end of its own, as if it had been started by itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[1]
LONGEST: Final = 65_536
"""Bytes of an order."""


class Template:
    """The process that imports, as those see it who ask it for others."""

    def __init__(self, *modules: str) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno()), *modules],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the one who started it
            )
        self._answers = self._orders.makefile("rb", buffering=0)
        self._codes: dict[int, int] = {}

    def start(self, function: str, *arguments: object, errors: int | None = None) -> Forked:
        """A new process that calls ``function``, of one of the modules, with these strings.

        ``errors`` is where it writes them: a pipe, if it is not said.
        """
        pipes = [os.pipe(), os.pipe()] + ([os.pipe()] if errors is None else [])
        theirs = [pipes[0][0], *(write for _, write in pipes[1:])]
        ours = [pipes[0][1], *(read for read, _ in pipes[1:])]
        order = json.dumps([function, *map(str, arguments)]).encode()
        assert len(order) < LONGEST
        try:
            given = theirs if errors is None else [*theirs, errors]
            socket.send_fds(self._orders, [order], given)
            pid = self._answer("started")
        finally:
            for end in theirs:
                os.close(end)
        return Forked(self, pid, ours)

    def stopped(self, pid: int) -> None:
        """Wait until a process of its has stopped, or is gone."""
        self._orders.send(json.dumps(["", pid]).encode())
        self._answer("stopped")

    def code(self, pid: int, seconds: float | None) -> int | None:
        """With what a process ended, or None if it has not within so many seconds."""
        until = None if seconds is None else time.monotonic() + seconds
        while pid not in self._codes:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._orders], [], [], left)[0]:
                return None
            self._read()
        return self._codes[pid]

    def close(self) -> None:
        """Those it has started are not ended: they end by themselves, or are killed."""
        self._answers.close()
        self._orders.close()
        self._process.wait()

    def _answer(self, to: str) -> int:
        while True:
            what, pid = self._read()
            if what == to:
                return pid

    def _read(self) -> tuple[str, int]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the process that others are forked off is gone")
        what, pid, *code = json.loads(line)
        if what == "ended":
            (self._codes[pid],) = code
        return what, pid


class Forked:
    """One of those processes, with what Popen has of one."""

    def __init__(self, template: Template, pid: int, ours: Sequence[int]) -> None:
        self.pid = pid
        self.stdin: IO[bytes] = os.fdopen(ours[0], "wb")
        self.stdout: IO[bytes] = os.fdopen(ours[1], "rb")
        self.stderr: IO[bytes] | None = os.fdopen(ours[2], "rb") if len(ours) > 2 else None
        self._template = template

    def poll(self) -> int | None:
        return self._template.code(self.pid, 0)

    def wait(self, seconds: float | None = None) -> int:
        if (code := self._template.code(self.pid, seconds)) is None:
            raise subprocess.TimeoutExpired("a forked process", seconds or 0)
        return code

    def send_signal(self, what: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(self.pid, what)

    def stand_still(self) -> None:
        """Stop it where it is, and wait until it has stopped."""
        if self.poll() is None:
            self.send_signal(signal.SIGSTOP)
            self._template.stopped(self.pid)

    def close(self) -> int:
        """Kill it if it is still there. Its exit code."""
        self.send_signal(signal.SIGKILL)
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                with contextlib.suppress(BrokenPipeError):
                    end.close()
        return self.wait()


def serve(orders: socket.socket) -> list[Any] | None:
    """Fork for each order; in the child return it, and nothing at the end of them."""
    woken, wakes = os.pipe()
    waiting: list[socket.socket | int] = [orders, woken]
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    with orders:
        while True:
            ready, _, _ = select.select(waiting, [], [])
            if woken in ready:
                os.read(woken, LONGEST)
                _tell_of_the_dead(orders)
            if orders not in ready:
                continue
            text, ends, _, _ = socket.recv_fds(orders, LONGEST, 3)
            if not text:
                return None
            function, *arguments = json.loads(text)
            if not function:
                with contextlib.suppress(ChildProcessError):
                    os.waitid(os.P_PID, arguments[0], os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                _tell(orders, "stopped", arguments[0])
                continue
            pid = os.fork()
            if pid == 0:
                break
            for end in ends:
                os.close(end)
            _tell(orders, "started", pid)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, end in enumerate(ends):
        os.dup2(end, number)
    for end in {*ends, woken, wakes}:
        os.close(end)
    return [function, *arguments]


def _tell_of_the_dead(orders: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):  # there are no others
        while (died := os.waitpid(-1, os.WNOHANG))[0]:
            _tell(orders, "ended", died[0], os.waitstatus_to_exitcode(died[1]))


def _tell(orders: socket.socket, *what: object) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked is gone, as is said next
        orders.sendall(json.dumps(what).encode() + b"\n")


def main() -> None:
    number, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    order = serve(socket.socket(fileno=int(number)))
    if order is not None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, closefd=False)  # noqa: SIM115
        function, *arguments = order
        module, _, name = function.partition(":")
        getattr(sys.modules[module], name)(*arguments)


if __name__ == "__main__":
    main()
