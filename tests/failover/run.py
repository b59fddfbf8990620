"""One scenario: what stands, who works with it, and what came of it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from onrecord import Store
from onrecord.testing import Appended, Event, Log, Read, load
from tests.failover.caches import WatchedCaches
from tests.failover.cluster import Cluster
from tests.failover.primaries import Primaries
from tests.forked import Template
from tests.torture import Verdict, read_all
from tests.torture.item_log import ItemLog
from tests.torture.nemesis import note_what_is_left
from tests.torture.process import Process
from tests.torture.settings import SHARED, TURNED, Consistency
from tests.torture.verdict import Judge

WORK: Final = "tests.failover.worker:work"
ROLES: Final = ("write", "write", "write", "rewrite", "read", "read")
LONGEST: Final = 3
"""How many times its timeout a call may take: a server is looked for, is there and does not answer,
and what it did is looked up. In strict synchronous mode a new primary answers no write until a
standby follows it."""
LONGER: Final = 3.0
"""Seconds that a call may take beyond that: a machine may be busy, and a statement that was sent is
waited for a second longer."""


class Fault(NamedTuple):
    """An error that a user saw."""

    what: str
    unknown: bool
    at: int
    seconds: float


@dataclass
class Outcome:
    """What came of one run of one scenario."""

    scenario: str
    verdict: Verdict
    faults: list[Fault] = field(default_factory=list)
    appends_down: float = 0.0
    reads_down: float = 0.0
    longest: float = 0.0
    """The call that took longest, in seconds, whatever came of it."""
    acknowledged: int = 0
    missing: int = 0
    """How many of these, in sessions of which nothing is taken away, are not there at the end."""
    without_primary: float | None = None
    """Seconds from the old primary's last answer to the new one's first; less than 0 where two
    said at once that they are the primary."""
    believed: float | None = None
    """For how many seconds one that thawed said that it is the primary still."""

    @property
    def refused(self) -> int:
        return sum(not fault.unknown for fault in self.faults)

    @property
    def unknown(self) -> int:
        return sum(fault.unknown for fault in self.faults)


class Run:
    """Workers over a cluster and its caches."""

    def __init__(
        self,
        cluster: Cluster,
        caches: WatchedCaches,
        *,
        seed: int,
        seconds: float,
        timeout: float,
        consistency: Consistency = "cached",
        url: str | None = None,
    ) -> None:
        self.cluster, self.caches = cluster, caches
        self.seconds, self.timeout = seconds, timeout
        self._consistency: Consistency = consistency
        self.deeds: list[tuple[float, str]] = []
        self.wrong: list[str] = []
        self.falls: list[int] = []
        self.stood_still = 0.0
        """For how many seconds nobody could work, because we had it so."""
        self.thawed: int | None = None
        """When a frozen primary went on."""
        self._url = url or cluster.url
        self._seed = seed
        self.folder = Path(tempfile.mkdtemp(prefix="onrecord-failover-"))
        (self.folder / "items").mkdir()
        for key in SHARED:
            (self.folder / "logs" / key.encode().hex()).mkdir(parents=True)
        self._item_log = ItemLog(self.folder / "items" / "nemesis.jsonl")
        self._logs: dict[str, Log] = {}
        self._template = Template("tests.failover.worker")
        self._workers: list[Process] = []
        self._primaries = Primaries(cluster.addresses)
        self._origin = self._acted = time.monotonic_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._workers:
            process.kill()
        self._template.close()
        for log in self._logs.values():
            log.close()
        self._item_log.close()
        self._primaries.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def perform(self, act: Callable[[Run], None]) -> None:
        """Let everybody work, do it, and let them work on."""
        with Store(self.cluster.url, timeout=30) as store:
            store.migrate()
        for number in range(1, len(ROLES) + 1):
            self._workers.append(
                Process(self._template, self.folder, number, "tests.failover.worker:work")
            )
        for process, role in zip(self._workers, ROLES, strict=True):
            process.begin(
                {
                    "role": role,
                    "seed": f"{self._seed} {process.name}",
                    "folder": str(self.folder),
                    "url": self._url,
                    "cache": self.caches.url,
                    "consistency": self._consistency,
                    "timeout": self.timeout,
                    "plant": None,
                }
            )
        self._origin = time.monotonic_ns()
        self.watch(self.seconds)
        self._acted = time.monotonic_ns()
        act(self)
        self.watch(self.seconds)
        for process in self._workers:
            process.stop()
        for process in self._workers:
            self._end(process)
        read_all(self.folder, self.cluster.url, self.caches.url, self._consistency)

    def watch(self, seconds: float) -> None:
        """Let them work for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            outputs = {process.output: process for process in self._workers}
            for output in wait(list(outputs), left):
                process = outputs[output]  # type: ignore[index]
                self._workers.remove(process)
                self._end(process)

    def did(self, what: str) -> None:
        """Note what is done."""
        self.deeds.append(((time.monotonic_ns() - self._origin) / 1e9, what))

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Nobody works meanwhile; at the end it is noted what the database still has."""
        for process in self._workers:
            process.stand_still()
        fell = time.monotonic_ns()
        yield
        self.stood_still = (time.monotonic_ns() - fell) / 1e9
        note_what_is_left(self.folder, self.cluster.url, self._logs, self._item_log, fell)
        self.falls.append(time.monotonic_ns())
        for process in self._workers:
            process.send(signal.SIGCONT)

    def judge(self, scenario: str) -> Outcome:
        """Read what was written down, and judge it."""
        verdict = Verdict(self._seed, self.seconds, self._consistency, deeds=self.deeds)
        verdict.violations += self.wrong
        Judge(self.folder, verdict, self.falls).judge()
        outcome = Outcome(scenario, verdict)
        outcome.without_primary = self._primaries.seconds_without()
        if self.thawed is not None:
            outcome.believed = self._primaries.seconds_after(self.thawed)
        appended, read = [], []
        for folder in (self.folder / "logs").iterdir():
            events = load(folder.iterdir())
            if bytes.fromhex(folder.name).decode() in (*SHARED, TURNED):
                outcome.missing += missing(events)
            for event in events:
                if isinstance(event, Appended):
                    appended.append(event.ended)
                    outcome.acknowledged += len(event.ids)
                elif isinstance(event, Read) and not event.worker.startswith("the last"):
                    read.append(event.ended)
        outcome.appends_down = self._gap(appended)
        outcome.reads_down = self._gap(read)
        if not any(ended > self._acted for ended in appended):
            verdict.violations.append("nothing was acknowledged any more: it means nothing")
        if not self._primaries.seen:
            verdict.violations.append("no primary was seen: nothing is known of two at once")
        self._read_notes(outcome)
        return outcome

    def keep(self, outcome: Outcome, folder: Path) -> None:
        """Copy what was written down."""
        shutil.copytree(self.folder, folder)
        for node in self.cluster.nodes:
            (folder / f"{node.name}.log").write_text(node.log())
        faults = "\n".join(f"{(f.at - self._origin) / 1e9:.2f} {f}" for f in outcome.faults)
        (folder / "verdict").write_text(f"{outcome.verdict}\n{faults}\n")

    def _gap(self, ends: list[int]) -> float:
        """The longest time in which nothing ended, from shortly before the deed on."""
        ends = sorted(ends)
        return max((b - a for a, b in pairwise(ends) if b > self._acted), default=0) / 1e9

    def _read_notes(self, outcome: Outcome) -> None:
        for path in self.folder.glob("*.notes"):
            for line in path.read_bytes().split(b"\n")[:-1]:
                note: dict[str, Any] = json.loads(line)
                if "fault" in note:
                    fault = Fault(note["fault"], note["unknown"], note["at"], note["seconds"])
                    outcome.faults.append(fault)
                outcome.longest = max(outcome.longest, note.get("took", 0), note.get("seconds", 0))

    def _end(self, process: Process) -> None:
        if code := process.ended():
            said = process.errors.read_text(errors="replace")[-4000:]
            self.wrong.append(f"{process.name} ended by itself with {code}:\n{said}")


def missing(events: Sequence[Event]) -> int:
    """How many acknowledged messages the last read of the whole session does not have."""
    acknowledged = {name for event in events if isinstance(event, Appended) for name in event.ids}
    reads = [event for event in events if isinstance(event, Read) and event.tail is None]
    last = max(reads, key=lambda read: read.began, default=None)
    return len(acknowledged - {name for _, name in last.messages}) if last else 0
