"""Runs one server for the tests, and sees to it that nothing outlives them.

    python guard.py FOLDER USER COMMAND...

Takes `start` and `stop` on its standard input, one a line, and answers each with a line. When the
input ends, or the process that started us is gone (a kill -9 included), it stops the server and
removes FOLDER. The server is a child of this process, so its id cannot be mistaken for another's.

It is run as a script, outside the test process: keep it to the standard library.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PATIENCE = 20.0  # seconds a server gets to stop by itself


def start(folder: Path, user: str, command: list[str]) -> "subprocess.Popen[bytes]":
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=int(user) if user else None,
            group=os.stat(folder).st_gid if user else None,
            extra_groups=[] if user else None,
        )


def stop(server: "subprocess.Popen[bytes] | None") -> None:
    if server is None or server.poll() is not None:
        return
    server.send_signal(signal.SIGCONT)  # it may have been paused
    server.send_signal(signal.SIGINT)  # PostgreSQL: let no client hold it up; Redis: shut down
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def end_what_it_left(folder: Path) -> None:
    """End what a server started that was killed before it could stop it, as Patroni does with
    PostgreSQL. Nobody else works in this folder. (Only Linux tells.)"""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:  # it is gone, or somebody else's
            continue


def main(folder: Path, user: str, command: list[str]) -> None:
    parent = os.getppid()
    server = None
    # Unbuffered: select() must see every line that has not been read.
    orders = os.fdopen(0, "rb", buffering=0)
    while os.getppid() == parent:
        if server is not None:
            server.poll()  # one that died is not left behind as a zombie
        # A forked child of the tests may hold the other end open, so look at the parent as well.
        if not select.select([orders], [], [], 0.1)[0]:
            continue
        order = orders.readline().strip()
        if order == b"start":
            server = start(folder, user, command)
            answer = str(server.pid)
        elif order == b"stop":
            stop(server)
            answer = "stopped"
        else:
            break
        os.write(1, f"{answer}\n".encode())
    stop(server)
    end_what_it_left(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
