"""What a Redis that is down costs: the first call that meets it, and those after.

    python bench/redis_down.py [--rounds 5]

Needs no Redis: it refuses connections, or takes them and never answers, at an address of its own.
Each number is the median of some stores, each new and on a SQLite file of its own, beside the
same call of a store without a cache. The first write that meets an outage tries to mark, switches
the cache off, and waits until no process believes in it any more: one pause, and no other after it.
A read waits for Redis at the most, and then asks the database. The first call of a store loads the
driver and opens the
database; that is done before. Garbage collection stays on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from onrecord import Session, Store
from onrecord.cache.redis import CALL_TIMEOUT
from onrecord.flows.belief import Patience

URLS = {
    "redis": "redis://127.0.0.1:{port}",
    "cluster": "redis+cluster://127.0.0.1:{port}",
    "sentinel": "redis+sentinel://127.0.0.1:{port}/chats",
}
LATER = 20


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else is given."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.contextmanager
def hanging() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def measured(url: str | None, works: Callable[[Session], object]) -> tuple[float, float]:
    """Seconds of the first call, and of a later one."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"sqlite:///{Path(folder) / 'x.db'}"
        with Store(file) as plain:
            plain.session("k").append([("user", f"message {n}") for n in range(50)])
        with Store(file, cache=url) as store:
            session = store.session("k")
            session.version()  # opens the database, and asks no cache
            began = time.perf_counter()
            works(session)
            first = time.perf_counter() - began
            later = []
            for _ in range(LATER):
                began = time.perf_counter()
                works(session)
                later.append(time.perf_counter() - began)
            return first, statistics.median(later)


def shown(seconds: float) -> str:
    return f"{seconds * 1000:9.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    rounds = parser.parse_args().rounds
    logging.getLogger("onrecord").setLevel(logging.ERROR)  # that it is left alone is known here
    patience = Patience()
    print(f"A call of Redis may take {CALL_TIMEOUT * 1000:g} ms.")
    print(
        f"The first write of an outage tries for {patience.marking:g} s and waits "
        f"{patience.waits:g} s, once a process; those after it do not wait."
    )
    print(f"\n{'':32}{'first call':>12}{'':12}{'later':>12}")
    with asyncio.Runner() as runner:
        works: dict[str, Callable[[Session], object]] = {
            "tail": lambda session: session.tail(20),
            "append": lambda session: session.append(("user", "hello")),
            "atail": lambda session: runner.run(session.atail(20)),
            "aappend": lambda session: runner.run(session.aappend(("user", "hello"))),
        }
        measured("redis://127.0.0.1:1", works["tail"])  # imports
        for name, work in works.items():
            alone = [measured(None, work) for _ in range(rounds)]
            first, later = (statistics.median(column) for column in zip(*alone, strict=True))
            print(f"{name + ', no cache':30}{shown(first)}{'':12}{shown(later)}")
            for how in (refusing, hanging):
                for kind, url in URLS.items():
                    found = []
                    for _ in range(rounds):
                        with how() as port:
                            found.append(measured(url.format(port=port), work))
                    one, other = (statistics.median(c) for c in zip(*found, strict=True))
                    print(
                        f"  {kind + ', ' + how.__name__:28}{shown(one)} {extra(one - first)}"
                        f"{shown(other)} {extra(other - later)}".rstrip()
                    )


def extra(seconds: float) -> str:
    return f"{f'({seconds * 1000 + 0.0:+.1f})':11}"


if __name__ == "__main__":
    main()
