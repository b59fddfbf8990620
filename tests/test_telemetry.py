"""Spans: one for each operation, under the span that was there, with names and never contents."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from onrecord import (
    CheckpointLog,
    EmbedderFailed,
    Fenced,
    IdReused,
    InvalidMessage,
    Message,
    Misconfigured,
    OnrecordError,
    Put,
    Store,
    operations,
)
from onrecord.flow import Cold, do
from onrecord.telemetry import is_on, providers
from onrecord.telemetry.attributes import count_of
from tests.blocking import noted
from tests.shown import Shown, shown
from tests.test_off_the_loop import TABLE, At, fill, letters

__all__ = ["shown"]

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "observe.md"
SECRET = "the launch code is 0000"

OPERATIONS = {
    name.removesuffix("_")
    for name in operations.__all__
    if inspect.isgeneratorfunction(getattr(operations, name))
} | {"migrate", "invalidate"}
"""Those two are no flows: they are about tables that may not be there yet."""


def first_cells(heading: str) -> list[str]:
    """The first column of the table under a heading of the page, without its backquotes."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [cell for row in rows for cell in re.findall(r"`([^`]+)`", row.split("|")[1])]


# -- every operation -----------------------------------------------------------------------------


class Sync:
    """Calls the method that an async one is the twin of."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        twin = getattr(self._of, name[1:], None) if name.startswith("a") else None
        if name == "session":
            return lambda *given, **more: Sync(found(*given, **more))
        if twin is None:
            return Sync(found) if name == "store" else found
        if name == "ascan":
            return lambda: _listed(twin())
        if name == "aturn":
            return lambda *given: _entered(twin(*given))

        async def called(*given: Any, **more: Any) -> Any:
            return twin(*given, **more)

        return called


async def _listed(found: Iterator[Any]) -> AsyncIterator[Any]:
    for one in found:
        yield one


@asynccontextmanager
async def _entered(block: Any) -> AsyncIterator[Any]:
    with block as held:
        yield held


WALKED = ("session", "log", "items", "feed", "long-term store", "store")


async def walk(store: Store, at: At, face: Callable[[Any], Any]) -> None:
    """Call every method of everything that a store has."""
    for of in WALKED:
        make, does, _ = TABLE[of]
        for method, do_it in does.items():
            if method in ("aclose", "abackup"):
                continue
            here = At(f"{of} {method}", at.folder)
            fill(store, here)
            made = make(store, here)
            with suppress(OnrecordError):  # some do what another has made impossible
                await do_it(made if of == "long-term store" else face(made), here)
    with store.session(at.name).turn() as turn:
        turn.append(("user", SECRET))
        turn.renew()
    await store.session(at.name).aappend(("user", SECRET))
    with suppress(Misconfigured):
        await face(store).abackup(at.folder / "copy.db")


@pytest.mark.parametrize(
    ("database", "kind"), [("sqlite", "sync"), ("postgresql and redis", "async")]
)
def test_every_operation_is_a_span(
    database: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path, shown: Shown
) -> None:
    url, cache = f"sqlite:///{tmp_path}/x.db", None
    if database != "sqlite":
        url = request.getfixturevalue("kept_postgres_url")
        cache = request.getfixturevalue("redis_server").url
    at = At("a conversation", tmp_path)
    face: Callable[[Any], Any] = Sync if kind == "sync" else (lambda made: made)
    with Store(url, cache=cache, embedder=("letters", letters)) as store:
        fill(store, at)
        store.session(at.name).export(tmp_path / "exported.jsonl")
        with shown.tracer.start_as_current_span("a request"):
            asyncio.run(walk(store, at, face))
        store.close()
    named = {name.removeprefix("onrecord.") for name in shown.names}
    assert named == OPERATIONS, "as operations.py names them, and all of them"
    assert sorted(first_cells("Spans")) == sorted(OPERATIONS), "and as the page does"
    ours = [span for span in shown.spans if span.name.startswith("onrecord.")]
    began = next(n for n, span in enumerate(ours) if span.parent is not None)
    assert all(span.parent is not None for span in ours[began:])
    request_span = shown.of("a request").context
    assert request_span is not None
    assert {s.parent.span_id for s in ours[began:] if s.parent} == {request_span.span_id}
    for span in ours:
        assert span.kind is SpanKind.CLIENT
        about = dict(span.attributes or {})
        assert about["db.system.name"] == ("sqlite" if database == "sqlite" else "postgresql")
        assert about["onrecord.operation"] == span.name.removeprefix("onrecord.")
        failed = span.status.status_code is StatusCode.ERROR
        assert failed == ("error.type" in about)
        assert span.status.description is None
    shown_keys = {key for span in ours for key in span.attributes or {}}
    documented = set(first_cells("Attributes"))
    assert shown_keys <= documented
    said = shown.said()
    for content in (SECRET, "Hello", "Who am I", "Orders", "Where is order", "xxxx"):
        assert content not in said


def test_each_says_what_it_is_about(shown: Shown) -> None:
    with Store("sqlite://") as store:
        chat = store.session("k", tenant="t", user="ada", agent="helper")
        chat.append([("user", "A parcel."), ("assistant", "Two.")])
        chat.state.put("mood", "good")
        chat.tail(5)
        store.items("facts", "of ada", user="ada").put("k", SECRET)
        store.feed("indexer", user="ada").read()
        CheckpointLog(store, tenant="t").info("thread")
        store.sessions(user="ada")
        store.search("parcel", tenant="t", user="ada", agent="helper")
        with chat.turn():
            pass
    about: dict[str, dict[str, Any]] = {s.name: dict(s.attributes or {}) for s in shown.spans}
    whole = {
        "gen_ai.conversation.id": "k",
        "onrecord.tenant": "t",
        "onrecord.user": "ada",
        "onrecord.agent": "helper",
    }
    appended = about["onrecord.append"]
    assert (
        appended.items()
        >= {
            **whole,
            "onrecord.messages.added": 2,
            "onrecord.messages.removed": 0,
            "onrecord.count": 2,
            "onrecord.steps": 1,
        }.items()
    )
    assert 10 < appended["onrecord.bytes.written"] < 100
    assert about["onrecord.tail"].items() >= {**whole, "onrecord.count": 2}.items()
    assert about["onrecord.tail"]["onrecord.bytes.read"] > 10
    assert about["onrecord.hold"].items() >= whole.items()
    assert (
        about["onrecord.search"].items()
        >= {
            "onrecord.tenant": "t",
            "onrecord.user": "ada",
            "onrecord.agent": "helper",
            "onrecord.count": 2,
            "onrecord.search.unindexed": 2,
        }.items()
    )
    assert about["onrecord.describe_thread"]["gen_ai.conversation.id"] == "thread"
    assert about["onrecord.list_sessions"].items() >= {"onrecord.user": "ada"}.items()
    assert about["onrecord.read_feed"]["onrecord.feed"] == "indexer"
    puts = [dict(s.attributes or {}) for s in shown.spans if s.name == "onrecord.put_item"]
    assert puts[0].items() >= whole.items(), "the state is its session's"
    assert puts[1]["onrecord.namespace"] == "facts/of ada"
    assert "k" not in [puts[1].get(key) for key in puts[1]], "keys are values of their own kind"


def test_it_may_leave_names_out(shown: Shown) -> None:
    with Store("sqlite://", telemetry="nameless") as store:
        chat = store.session("a-key", tenant="a-tenant", user="a-user", agent="an-agent")
        chat.append(("user", SECRET))
        store.items("a-namespace", user="a-user").put("an-item", 1)
        store.feed("a-feed").read()
        with chat.turn():
            pass
    assert len(shown.names) == 5
    for name in ("a-key", "a-tenant", "a-user", "an-agent", "a-namespace", "a-feed", "an-item"):
        assert name not in shown.said()


def test_a_server_is_named_without_its_password(postgres_url: str, shown: Shown) -> None:
    with Store(postgres_url, schema="public") as store:
        store.session("k").count()
        url = store._ledger.address.url
    about = dict(shown.of("onrecord.count").attributes or {})
    assert about["db.namespace"] == f"{url.database}|public"
    assert about.get("server.address") == url.host
    assert about.get("server.port") == url.port
    assert url.password is None or url.password not in shown.said()


def test_of_a_file_only_its_name_is_said(tmp_path: Path, shown: Shown) -> None:
    (tmp_path / "home of ada").mkdir()
    with Store(f"sqlite:///{tmp_path}/home of ada/memory.db") as store:
        store.session("k").append(("user", "x"))
    assert dict(shown.of("onrecord.append").attributes or {})["db.namespace"] == "memory.db"
    assert "home" not in shown.said()


# -- what failed ---------------------------------------------------------------------------------


def test_an_error_is_its_class_alone(shown: Shown) -> None:
    def refusing(message: Message) -> int:
        raise RuntimeError(f"cannot count {message.text!r}")

    def failing(texts: list[str]) -> list[list[float]]:
        raise RuntimeError(f"cannot embed {texts}")

    failed: list[type[Exception]] = []

    def fails(kind: type[Exception], work: Callable[[], object]) -> None:
        with pytest.raises(kind) as raised:
            work()
        failed.append(type(raised.value))

    with Store("sqlite://") as store:
        chat = store.session("k")
        chat.append(Message("user", "One.", id="a"))
        fails(IdReused, lambda: chat.append(Message("user", SECRET, id="a")))
        fails(InvalidMessage, lambda: chat.append(cast(Any, {"role": "user", SECRET: 1})))
        fails(OnrecordError, lambda: chat.delete(7))
        fails(OnrecordError, lambda: store.items("n").put(SECRET * 100, 1))
        fails(Misconfigured, lambda: store.search(SECRET * 5_000))
    with Store("sqlite://", token_counter=("refusing", refusing)) as store:
        fails(InvalidMessage, lambda: store.session("k").append(("user", SECRET)))
    with Store("sqlite://", embedder=("failing", failing)) as store:
        store.session("k").append(("user", SECRET))
        fails(EmbedderFailed, store.embed)
    ended = [dict(s.attributes or {}) for s in shown.spans if s.status.status_code.name == "ERROR"]
    assert [about["error.type"] for about in ended] == [kind.__qualname__ for kind in failed]
    assert SECRET not in shown.said()
    assert not [event.name for span in shown.spans for event in span.events if "exc" in event.name]


def test_a_fenced_turn_is_told(shown: Shown) -> None:
    with Store("sqlite://") as store:
        chat = store.session("k")
        with chat.turn() as first:
            first.end()
            with pytest.raises(Fenced):
                first.append(("user", "late"))
    assert dict(shown.of("onrecord.append").attributes or {})["error.type"] == "Fenced"
    assert shown.value("onrecord.turns.fenced") == 1


def test_the_slow_log_names_the_same_operations_and_steps(
    shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    with Store("sqlite://", slow=0) as store, caplog.at_level(logging.WARNING, "onrecord"):
        chat = store.session("k")
        chat.append(("user", "x"))
        chat.tail(5)
        store.stats()
    logged = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in logged] == [
        name.removeprefix("onrecord.") for name in shown.names
    ]
    for line, span in zip(logged, shown.spans, strict=True):
        steps = [step.split()[0] for step in line.split(": ")[1].split(", ")]
        assert steps == [event.name for event in span.events]
        assert span.start_time is not None
        assert span.end_time is not None
        for event in span.events:
            assert span.start_time <= event.timestamp <= span.end_time + 1_000_000


# -- whose child it is ---------------------------------------------------------------------------

_SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


@pytest.mark.parametrize("way", ["sync", "async", "to_thread", "task", "thread with its context"])
@pytest.mark.parametrize("database", ["sqlite", "memory", "postgresql"])
def test_it_is_the_child_of_the_span_around_it(
    database: str, way: str, request: pytest.FixtureRequest, tmp_path: Path, shown: Shown
) -> None:
    url = {"sqlite": f"sqlite:///{tmp_path}/x.db", "memory": "sqlite://"}.get(database)
    with Store(url or request.getfixturevalue("kept_postgres_url")) as store:
        chat = store.session("k")

        async def asynchronously() -> None:
            match way:
                case "async":
                    await chat.aappend(("user", "x"))
                case "task":
                    await asyncio.create_task(chat.aappend(("user", "x")))
                case _:
                    await asyncio.to_thread(chat.append, ("user", "x"))

        with shown.tracer.start_as_current_span("request") as around:
            if way == "sync":
                chat.append(("user", "x"))
            elif way == "thread with its context":
                context = contextvars.copy_context()
                thread = threading.Thread(target=context.run, args=(chat.append, ("user", "x")))
                thread.start()
                thread.join()
            else:
                asyncio.run(asynchronously())
            assert trace.get_current_span() is around
    assert shown.parents()["onrecord.append"] == {"request"}


@pytest.mark.parametrize("database", ["sqlite", "memory", "postgresql"])
def test_work_in_other_threads_finds_the_span(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, shown: Shown
) -> None:
    """As a driver that is instrumented makes spans in it: its own thread, and a group commit that
    somebody else leads."""
    url = {"sqlite": f"sqlite:///{tmp_path}/x.db", "memory": "sqlite://"}.get(database)
    found: list[tuple[str, str]] = []

    def asking(expected: str, writes: bool) -> Any:
        def ask() -> Any:
            def work(txn: object) -> None:
                current: Any = trace.get_current_span()
                found.append((expected, f"{current.name} {_SEEN.get()}"))

            yield Cold(work, writes=writes)

        return ask()

    async def one(store: Store, number: int, writes: bool) -> None:
        _SEEN.set(f"request {number}")
        await store._arun(asking(f"onrecord.ask request {number}", writes))

    async def many(store: Store) -> None:
        await asyncio.gather(*[one(store, n, n % 2 == 0) for n in range(40)])

    def in_thread(store: Store, number: int) -> None:
        _SEEN.set(f"thread {number}")
        store._run(asking(f"onrecord.ask thread {number}", True))

    with Store(url or request.getfixturevalue("kept_postgres_url")) as store:
        store.session("k").append(("user", "x"))
        asyncio.run(many(store))
        threads = [threading.Thread(target=in_thread, args=(store, n)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 60
    assert all(expected == seen for expected, seen in found), found


def test_tasks_at_once_have_their_own_parents(tmp_path: Path, shown: Shown) -> None:
    async def one(store: Store, n: int) -> None:
        with shown.tracer.start_as_current_span(f"request {n}"):
            await store.session(str(n)).aappend(("user", "x"))
            await store.session(str(n)).atail()

    async def many() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            await asyncio.gather(*[one(store, n) for n in range(30)])

    asyncio.run(many())
    names = {s.context.span_id: s.name for s in shown.spans if s.context}
    for span in shown.spans:
        if span.parent is not None:
            key = (span.attributes or {})["gen_ai.conversation.id"]
            assert names[span.parent.span_id].removeprefix("request ") == key
    assert len(shown.spans) == 90


def test_a_cancelled_operation_ends_and_leaves_its_caller_its_span(shown: Shown) -> None:
    async def cancelled() -> None:
        gate = asyncio.Event()

        async def wait() -> None:
            gate.set()
            await asyncio.Event().wait()

        async with Store("sqlite://") as store:
            with shown.tracer.start_as_current_span("request") as request_span:
                task = asyncio.create_task(store._arun(_outside(wait)))
                await gate.wait()
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                assert trace.get_current_span() is request_span

    asyncio.run(cancelled())
    about = dict(shown.of("onrecord.outside").attributes or {})
    assert about["error.type"] == "CancelledError"


def _outside(ask: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    from onrecord.flow import Outside

    def outside() -> Any:
        yield from do(Outside(lambda: None, ask))

    return outside()


def test_one_that_is_thrown_away_says_nothing(
    shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine may be closed in another context than it began in."""

    async def wait() -> None:
        await asyncio.sleep(3600)

    with Store("sqlite://") as store:
        coroutine = store._arun(_outside(wait))

        async def begin() -> None:
            with suppress(RuntimeError):
                coroutine.send(None)

        asyncio.run(begin())
        coroutine.close()
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert shown.names == ["onrecord.outside"]
    assert not caplog.records


def test_a_span_that_is_not_sampled_is_carried_and_costs_no_attributes() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    with closing(Shown()) as shown:
        shown.tracers = TracerProvider(sampler=ALWAYS_OFF)
        with shown.set_up(meters=False), Store("sqlite://") as store:
            assert store.session("k").append(("user", "x"))[0].seq == 1
        assert not shown.spans


# -- on and off ----------------------------------------------------------------------------------


def test_it_is_off_where_nobody_has_set_it_up() -> None:
    assert not is_on()
    with closing(Shown()) as shown, Store("sqlite://") as store:
        store.session("k").append(("user", "one"))
        with shown.set_up():
            assert is_on()
            store.session("k").append(("user", "two"))
        store.session("k").append(("user", "three"))
        assert shown.names == ["onrecord.append"], "noticed by the next operation"


@pytest.mark.parametrize(("spans", "meters"), [(True, False), (False, True)])
def test_spans_and_metrics_are_each_of_their_own(spans: bool, meters: bool) -> None:
    with closing(Shown()) as shown, shown.set_up(spans=spans, meters=meters):
        with Store("sqlite://") as store:
            store.session("k").append(("user", "one"))
        assert shown.names == (["onrecord.append"] if spans else [])
        assert ("onrecord.operation.duration" in shown.points()) == meters


def test_it_can_be_switched_off(shown: Shown) -> None:
    with Store("sqlite://", telemetry=False) as store:
        store.session("k").append(("user", "one"))
        store.migrate()
    assert not shown.spans
    assert not shown.points()


@pytest.mark.parametrize("given", ["yes", None, 2, "off"])
def test_a_wrong_switch_is_refused(given: Any) -> None:
    with pytest.raises(Misconfigured, match="telemetry has to be true, false or nameless"):
        Store("sqlite://", telemetry=given)


def test_the_environment_may_say_it(shown: Shown) -> None:
    def opened(word: str) -> Store:
        return Store.from_env({"ONRECORD_URL": "sqlite://", "ONRECORD_TELEMETRY": word})

    for word in ("off", "nameless", "on"):
        with opened(word) as store:
            store.session("k", user="ada").count()
    assert [dict(s.attributes or {}).get("onrecord.user") for s in shown.spans] == [None, "ada"]
    with pytest.raises(Misconfigured, match="ONRECORD_TELEMETRY has to be true, false or nameless"):
        opened("loud")


def test_other_variables_are_asked_by_the_function() -> None:
    """Of a version of the API that keeps its providers elsewhere."""
    provider: object = trace.ProxyTracerProvider()
    asking = providers.Asking(lambda: provider)
    assert asking["_TRACER_PROVIDER"] is None
    provider = "a provider"
    assert asking["_TRACER_PROVIDER"] == "a provider"


def run_apart(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_imports_nothing_by_itself() -> None:
    """Nor does the API alone, imported by somebody else, make spans; an SDK that is set up in its
    public way later is noticed."""
    program = """
import sys
from onrecord import Store
store = Store("sqlite://")
store.session("k").append(("user", "one"))
print([name for name in sys.modules if name.startswith("opentelemetry")])
import opentelemetry.trace as trace, opentelemetry.metrics as metrics
store.session("k").append(("user", "two"))
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
store.session("k").append(("user", "three"))
print([span.name for span in exporter.get_finished_spans()])
print(reader.get_metrics_data() is not None)
store.close()
"""
    assert run_apart(program).splitlines() == ["[]", "['onrecord.append']", "True"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_child_after_fork_goes_on_by_itself(where: str, tmp_path: Path) -> None:
    program = """
import os, sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from onrecord import Store

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()

def set_up():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))

if sys.argv[1] == "before":
    set_up()
store = Store("sqlite:///" + sys.argv[2])
store.session("k").append(("user", "parent"))
if os.fork() == 0:
    if sys.argv[1] == "after":
        set_up()
    exporter.clear()
    store.session("k").append(("user", "child"))
    [span] = exporter.get_finished_spans()
    assert span.name == "onrecord.append", span.name
    assert reader.get_metrics_data() is not None
    store.close()
    os._exit(0)
assert os.wait()[1] == 0
store.session("k").append(("user", "parent again"))
print(len(store.session("k").tail()))
store.close()
"""
    assert run_apart(program, where, str(tmp_path / "x.db")).strip() == "3"


# -- the pieces ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "count"),
    [([1, 2], 2), ({"a": 1}, 1), (7, 7), (True, None), (None, None), ("text", None),
     ((object(), [1]), 1), (([1, 2], True), 2), ((), None)],
)  # fmt: skip
def test_what_is_counted(answer: object, count: int | None) -> None:
    assert count_of(answer) == count


def test_a_window_counts_its_messages(shown: Shown) -> None:
    with Store("sqlite://") as store:
        chat = store.session("k")
        chat.append([("user", "one"), ("assistant", "two"), ("user", "three")])
        window = chat.window(messages=2)
        list(chat.scan())
        store.write([Put("n", "a", 1), Put("n", "b", 2)])
    counts = {s.name: dict(s.attributes or {}).get("onrecord.count") for s in shown.spans}
    assert counts["onrecord.window"] == len(window) > 0
    assert counts["onrecord.scan_page"] == 3
    assert counts["onrecord.write_items"] == 2


def test_nothing_of_it_blocks_a_loop(tmp_path: Path) -> None:
    """Not the first operation either, which makes tracers and instruments."""

    async def called() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            await store.session("k").aappend(("user", "x"))
            await store.session("k").atail()

    with closing(Shown()) as shown, shown.set_up(), noted() as blocked:
        asyncio.run(called())
    assert not blocked, blocked[0]
    assert shown.names == ["onrecord.append", "onrecord.tail"]


def test_each_of_several_hosts_is_named() -> None:
    with Store("postgresql://ada:s3cret@one:1,two:2/chats") as store:
        assert store._telemetry is not None
        assert store._telemetry.source.about == {
            "db.system.name": "postgresql",
            "server.address": "one:1,two:2",
            "db.namespace": "chats",
        }
