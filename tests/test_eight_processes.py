"""Several processes at once: one session under eight writers, and an empty database under ten."""

import contextlib
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from onrecord import Store
from onrecord.testing import Appended, Attempted, Read, check, load
from tests.appending import KEY, USER
from tests.forked import Template

PATIENCE = 120.0

WRITERS = 8
BATCHES = 30
KILLED = {1: 4, 4: 12, 6: 20}
"""Which writers are killed, and in which of their batches."""


class Worker:
    """A process of ``tests.appending`` that waits to be told to begin."""

    def __init__(self, template: Template, *arguments: object) -> None:
        self.process = template.start("tests.appending:main", *arguments)

    def ready(self) -> None:
        if self.process.stdout.readline() != b"ready\n":
            pytest.fail(f"a worker did not start:\n{self._errors()}")

    def go(self) -> None:
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def ends(self, code: int = 0) -> None:
        ended = self.process.wait(PATIENCE)
        errors = self._errors()
        assert ended == code, errors
        assert errors == ""

    def _errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    """What they are forked off, which has imported all that they use."""
    with closing(Template("tests.appending", "asyncio", "psycopg", "sqlalchemy")) as template:
        yield template


@contextlib.contextmanager
def workers(template: Template, *all_arguments: tuple[object, ...]) -> Iterator[list[Worker]]:
    """These processes, all of them ready, and none of them left behind."""
    started: list[Worker] = []
    try:
        for arguments in all_arguments:
            started.append(Worker(template, *arguments))
        for worker in started:
            worker.ready()
        yield started
    finally:
        for worker in started:
            worker.process.close()


def append_from_eight(template: Template, url: str, folder: Path) -> None:
    done = folder / "done"
    logs = folder / "logs"
    logs.mkdir()

    def writer(name: str, batches: int, killed_at: int = -1) -> tuple[object, ...]:
        return "write", url, logs / f"{name}.jsonl", batches, killed_at, name

    def reader(name: str) -> tuple[object, ...]:
        return "read", url, logs / f"{name}.jsonl", done, name

    with workers(
        template,
        *(writer(f"w{i}", BATCHES, KILLED.get(i, -1)) for i in range(WRITERS)),
        *(writer(f"heir{i}", BATCHES - killed_at) for i, killed_at in KILLED.items()),
        reader("r1"),
        reader("r2"),
    ) as started:
        writers, heirs = started[:WRITERS], started[WRITERS : WRITERS + len(KILLED)]
        readers = started[-2:]
        for worker in readers + writers:
            worker.go()
        for i, heir in zip(KILLED, heirs, strict=True):
            writers[i].ends(-signal.SIGKILL)
            heir.go()
        for worker in heirs + [worker for i, worker in enumerate(writers) if i not in KILLED]:
            worker.ends()
        done.touch()
        for worker in readers:
            worker.ends()

    events = load(logs.iterdir())
    assert [str(violation) for violation in check(events)] == []

    with Store(url) as store:
        session = store.session(KEY, user=USER)
        final = [(message.seq, message.text) for message in session.messages()]
        info = session.info()
    assert [seq for seq, _ in final] == list(range(1, len(final) + 1))
    assert (info.version, info.messages) == ((0, len(final)), len(final))

    acknowledged = [event for event in events if isinstance(event, Appended)]
    assert len(acknowledged) >= WRITERS * BATCHES - len(KILLED)
    expected = {pair for event in acknowledged for pair in zip(event.seqs, event.ids, strict=True)}
    assert expected <= set(final)
    # What else is there was under way when its writer was killed.
    answered = {(event.worker, event.began) for event in acknowledged}
    unanswered = [
        event
        for event in events
        if isinstance(event, Attempted) and (event.worker, event.began) not in answered
    ]
    assert len(unanswered) <= len(KILLED)
    perhaps = {name for event in unanswered for name in event.ids}
    assert {name for _, name in set(final) - expected} <= perhaps

    reads = [event for event in events if isinstance(event, Read)]
    assert any(read.tail is None for read in reads)
    assert any(read.tail for read in reads)
    for read in reads:
        end = read.messages[-1][0] if read.messages else 0
        assert list(read.messages) == final[end - len(read.messages) : end]


def open_by_ten(template: Template, url: str, schema: str = "") -> None:
    keys = [f"s{i}" for i in range(10)]
    with workers(template, *(("open", url, schema, key) for key in keys)) as started:
        for worker in started:
            worker.go()
        for worker in started:
            worker.ends()
    with Store(url, schema=schema or None) as store:
        assert store.migrate() == []
        assert sorted(info.key for info in store.sessions()) == keys
        assert all(store.session(key).tail()[0].text == f"from {key}" for key in keys)


@pytest.mark.slow
def test_eight_processes_append_to_one_session_in_sqlite(
    template: Template, tmp_path: Path
) -> None:
    append_from_eight(template, f"sqlite:///{tmp_path / 'shared.db'}", tmp_path)


@pytest.mark.slow
def test_eight_processes_append_to_one_session_in_postgres(
    template: Template, postgres_url: str, tmp_path: Path
) -> None:
    append_from_eight(template, postgres_url, tmp_path)


@pytest.mark.slow
def test_eight_processes_append_to_one_session_in_partitions(
    template: Template, postgres_url: str, tmp_path: Path
) -> None:
    with Store(postgres_url) as store:
        store.distribute("partitions", parts=4)
    append_from_eight(template, postgres_url, tmp_path)


@pytest.mark.slow
def test_ten_processes_open_an_empty_sqlite_file(template: Template, tmp_path: Path) -> None:
    open_by_ten(template, f"sqlite:///{tmp_path / 'empty.db'}")


@pytest.mark.slow
@pytest.mark.parametrize("schema", ["", 'a "schema" of 100% its own'])
def test_ten_processes_open_an_empty_postgres(
    template: Template, postgres_url: str, schema: str
) -> None:
    open_by_ten(template, postgres_url, schema)
