"""What sealing costs whoever appends, and what it gives whoever reads.

    .venv/bin/python bench/storage.py

Appends while sealing happens, beside bare ``sqlite3`` doing the same writes; a full read of
10,000 messages beside LangChain's SQLChatMessageHistory; a tail out of a long and a short
session. In turns, the garbage collector on.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from langchain_core.messages import HumanMessage

from onrecord import Store

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.cache import as_new
from bench.foundation import TEXT, Bare, micro

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import SQLChatMessageHistory

MANY = 10_000


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    kept = work()
    taken = time.perf_counter() - start
    del kept
    return taken


def appends(folder: Path, count: int) -> None:
    bare = Bare(folder / "bare.db")
    times: tuple[list[float], list[float]] = ([], [])
    with Store(f"sqlite:///{folder}/ours.db") as store:
        chat = store.session("k")
        chat.append(("user", TEXT))
        bare.append()
        for _ in range(count):
            times[0].append(timed(lambda: chat.append(("user", TEXT))))
            times[1].append(timed(bare.append))
        segments = store.stats().segments
    ours, theirs = (sorted(found) for found in times)
    print(f"{count:,} appends of one message, synchronous FULL; {segments} segments were sealed")
    for what, share in (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        a, b = ours[int(count * share)], theirs[int(count * share)]
        print(f"  {what}: ours {micro(a)}   bare sqlite3 {micro(b)}   ratio {a / b:.2f}")


def reads(folder: Path, rounds: int) -> None:
    peer = SQLChatMessageHistory("many", connection=f"sqlite:///{folder}/peer.db")
    peer.add_messages([HumanMessage(f"{TEXT} {n}") for n in range(MANY)])
    with Store(f"sqlite:///{folder}/reads.db", durability="normal") as store:
        store.session("many").append([("user", f"{TEXT} {n}") for n in range(MANY)])
        store.session("few").append([("user", f"{TEXT} {n}") for n in range(100)])
        store.compact(quiet_for=0)
        many = store.session("many")
        found: dict[str, list[float]] = {"ours": [], "peer": []}
        for _ in range(rounds):
            for name, work in (("ours", many.messages), ("peer", lambda: peer.messages)):
                gc.collect()
                found[name].append(timed(work))
        ours, theirs = (statistics.median(found[name]) for name in ("ours", "peer"))
        print(f"A full read of {MANY:,} sealed messages, as Messages")
        print(f"  ours {ours * 1e3:,.1f} ms   SQLChatMessageHistory {theirs * 1e3:,.1f} ms", end="")
        print(f"   ratio {ours / theirs:.2f}")
        tails: dict[str, list[float]] = {"many": [], "few": []}
        for _ in range(rounds * 20):
            for key in tails:
                # Nothing is read out of the process' own memory.
                tails[key].append(timed(partial(as_new, store, store.session(key))))
        long, short = statistics.median(tails["many"]), statistics.median(tails["few"])
        print(f"A tail of 20, of a session of {MANY:,} and of one of 100, all of it sealed")
        print(f"  {micro(long)}   {micro(short)}   ratio {long / short:.2f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    options.add_argument("--folder", help="where to write (default: a temporary folder)")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        reads(Path(name), 5 if chosen.quick else 15)
        appends(Path(name), 2_000 if chosen.quick else 20_000)


if __name__ == "__main__":
    main()
