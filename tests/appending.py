"""Processes for the tests that need several: writers and readers of one session.

    write URL LOG BATCHES KILLED_AT SEED
    read URL LOG DONE SEED
    open URL SCHEMA KEY

They are forked off one that has imported this module, see ``tests.forked``. Each says "ready" and
waits for a line, so that all of them begin together. A writer that is to be killed kills itself,
somewhere in an append: no other process could choose the moment so well. A reader goes on until the
file DONE exists.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from onrecord import Message, Session, Store
from onrecord.testing import Log

KEY, USER = "shared", "ada"
PATIENCE = 60.0
"""Seconds to wait for a lock: longer than any queue of writers, however slow the machine is."""


def batch_of(random: Random, worker: str, number: int) -> tuple[list[str], list[dict[str, Any]]]:
    """One to five messages, told apart by their text; half of the batches bring ids."""
    texts = [f"{worker}.{number}.{i}" for i in range(random.randint(1, 5))]
    with_ids = random.random() < 0.5
    return texts, [
        {"role": "user", "content": text, **({"id": text} if with_ids else {})} for text in texts
    ]


def write(session: Session, log: Log, batches: int, killed_at: int, random: Random) -> None:
    for number in range(batches):
        texts, messages = batch_of(random, log.worker, number)
        under_way = log.appending(texts)
        if number == killed_at:
            die_within(random.random() * 0.003)
        if random.random() < 0.5:
            stored = session.append(messages)
        else:
            stored = asyncio.run(session.aappend(messages))
        under_way.acknowledged([message.seq for message in stored])
        assert [message.text for message in stored] == texts
        if number == killed_at:
            signal.pause()


def die_within(seconds: float) -> None:
    killer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    killer.daemon = True
    killer.start()


def read(session: Session, log: Log, done: Path, random: Random) -> None:
    while not done.exists():
        look(session, log, random)


def look(session: Session, log: Log, random: Random) -> None:
    """One read of some kind."""
    n = random.choice((None, 1, 5, 20, 50, 200))
    how = random.choice(("sync", "async", "window"))
    began = time.monotonic_ns()
    if n is None:
        found = asyncio.run(session.amessages()) if how == "async" else session.messages()
        log.read(began, pairs(found))
    elif how == "window":
        # Every message is a user's and opens a turn, so a window is a tail.
        window = session.window(messages=n)
        log.read(began, pairs(window), tail=n, version=window.version)
    else:
        found = asyncio.run(session.atail(n)) if how == "async" else session.tail(n)
        log.read(began, pairs(found), tail=n)


def pairs(messages: Sequence[Message]) -> list[tuple[int | None, str]]:
    return [(message.seq, message.text) for message in messages]


def wait_for_the_others() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main(*arguments: str) -> None:
    """One of them."""
    match arguments:
        case ["write", url, path, batches, killed_at, seed]:
            with Log(path) as log, Store(url, timeout=PATIENCE) as store:
                wait_for_the_others()
                session = store.session(KEY, user=USER)
                write(session, log, int(batches), int(killed_at), Random(seed))
        case ["read", url, path, done, seed]:
            with Log(path) as log, Store(url, timeout=PATIENCE) as store:
                wait_for_the_others()
                read(store.session(KEY, user=USER), log, Path(done), Random(seed))
        case ["open", url, schema, key]:
            with Store(url, schema=schema or None, timeout=PATIENCE) as store:
                wait_for_the_others()
                (stored,) = store.session(key).append(("user", f"from {key}"))
                assert stored.seq == 1
        case _:
            raise SystemExit(__doc__)
