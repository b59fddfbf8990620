"""A server process of our own, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if sys.platform != "win32":  # where no server is started, and the tests that need none still run
    import pwd

GUARD = Path(__file__).with_name("guard.py")


def server_user() -> pwd.struct_passwd | None:
    """Whom servers run as: `nobody` when we are root (PostgreSQL refuses root), else ourselves."""
    if sys.platform == "win32":
        return None
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def run_as(user: pwd.struct_passwd | None, command: Sequence[str | Path], *, cwd: Path) -> str:
    """Run a short command to its end and return what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(),
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        raise OSError(f"{command[0]} failed ({done.returncode}): {done.stdout.strip()}")
    return done.stdout


def environment() -> dict[str, str]:
    """Ours, without what would send PostgreSQL's programs to somebody else's server."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return mine | {"LC_ALL": "C"}


def new_folder(user: pwd.struct_passwd | None) -> Path:
    """A temporary folder that belongs to the server's user, and that this user can reach."""
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    place = next((place for place in places if user is None or _open_to_all(Path(place))), None)
    folder = Path(tempfile.mkdtemp(prefix="onrecord-test-", dir=place)).resolve()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def _open_to_all(folder: Path) -> bool:
    folder = folder.resolve()
    return all(f.is_dir() and f.stat().st_mode & 0o001 for f in (folder, *folder.parents))


def free_port() -> int:
    """A free port on 127.0.0.1, below those that systems give to outgoing connections.

    So that nobody takes it while a test has the server stopped, not even a client that, trying to
    reconnect to it, would otherwise now and then end up connected to itself.
    """
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """A server under its guard, which stops it and removes its folder however the tests end."""

    def __init__(
        self, command: Sequence[str | Path], folder: Path, user: pwd.struct_passwd | None
    ) -> None:
        self.folder = folder
        self._pid: int | None = None
        self._guard = subprocess.Popen(
            [sys.executable, "-I", GUARD, folder, str(user.pw_uid) if user else "", *command],
            cwd="/",
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests; they tell the guard
        )

    @property
    def pid(self) -> int:
        if self._pid is None:
            raise RuntimeError("the server has not been started, or has been stopped")
        return self._pid

    @property
    def alive(self) -> bool:
        return self._pid is not None and process_exists(self._pid)

    def start(self) -> None:
        if not self.alive:
            self._pid = int(self._order("start"))

    def stop(self) -> None:
        self._order("stop")
        self._pid = None

    def kill(self, how: signal.Signals | None = None) -> None:
        """End it without ceremony, and wait until it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL if how is None else how)
        wait_until_gone(pid)
        self._pid = None

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self._guard.communicate(timeout=60)
        self._pid = None
        # What we made there as root, and a guard that was killed, are seen to here.
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        try:
            return (self.folder / "log").read_text(errors="replace")[-4000:]
        except FileNotFoundError:
            return "(no log)"

    def _order(self, order: str) -> str:
        stdin, stdout = self._guard.stdin, self._guard.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{order}\n".encode())
        stdin.flush()
        answer = stdout.readline().decode().strip()
        if not answer:
            raise RuntimeError(f"the guard could not {order} the server\n{self.log()}")
        return answer


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while process_exists(pid):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} is still there after {seconds} s")
        time.sleep(0.02)
