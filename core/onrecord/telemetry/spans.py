"""A span for each operation, and what is measured of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from onrecord import __version__
from onrecord.errors import Fenced, Unavailable
from onrecord.telemetry.attributes import bytes_in, count_of, everywhere, names_in
from onrecord.telemetry.instruments import Instruments, instruments_of
from onrecord.telemetry.providers import meter_provider, tracer_provider
from onrecord.telemetry.sources import Source
from onrecord.watching import Observer, Operation, OperationDone, StepTaken

if TYPE_CHECKING:
    from onrecord.stored.changes import Change


class Telemetry(Observer):
    """Shows the operations of one store."""

    in_context: ClassVar[bool] = True

    def __init__(self, source: Source, names: bool) -> None:
        self.source = source
        self._names = names
        self._tracer: tuple[Any, Any] = (None, None)

    def begun(self, operation: Operation) -> Observer:
        """Begin a span, which is the current one until the operation ends."""
        meters = meter_provider()
        instruments = None if meters is None else instruments_of(meters)
        return _Shown(self.source, operation, self._begin(operation), instruments)

    def _begin(self, operation: Operation) -> _Current | None:
        provider = tracer_provider()
        if provider is None:
            return None
        known, tracer = self._tracer
        if known is not provider:
            tracer = provider.get_tracer("onrecord", __version__)
            self._tracer = provider, tracer
        attributes = {**self.source.about, "onrecord.operation": operation.name}
        if self._names:
            attributes.update(names_in(operation.arguments))
        return _Current(tracer, operation.name, attributes)


class _Current:
    """A span, and the context in which it is the current one."""

    def __init__(self, tracer: Any, name: str, attributes: Mapping[str, Any]) -> None:
        from opentelemetry import context, trace

        self._api = context
        self._error = trace.StatusCode.ERROR
        # No ``with`` on it: that would record the error, whose words may quote what was stored.
        self.span = tracer.start_span(
            f"onrecord.{name}", kind=trace.SpanKind.CLIENT, attributes=attributes
        )
        self.began = time.time_ns()
        self._before = context.get_current()
        self._here = trace.set_span_in_context(self.span, self._before)
        context.attach(self._here)

    def end(self, failed: str | None) -> None:
        """End it; what was the current span before is so again."""
        if failed is not None:
            self.span.set_attribute("error.type", failed)
            self.span.set_status(self._error)
        self.span.end()
        # No token: a coroutine that is thrown away ends in another context than it began in.
        if self._api.get_current() is self._here:
            self._api.attach(self._before)


class _Shown(Observer):
    """Follows one operation, and shows it."""

    in_context: ClassVar[bool] = True

    def __init__(
        self,
        source: Source,
        operation: Operation,
        current: _Current | None,
        instruments: Instruments | None,
    ) -> None:
        self._source = source
        self._current = current
        self._instruments = instruments
        self._about = {**source.about, "onrecord.operation": operation.name}
        self._everywhere = everywhere(operation.arguments)
        self._read = self._written = self._added = self._removed = 0
        self._changes = False
        self._unindexed: int | None = None

    def stepped(self, step: StepTaken, answer: Any) -> None:
        """Count what it brought, and how long it took."""
        size = bytes_in(answer)
        if step.kind == "write":
            self._written += size
        else:
            self._read += size
        missing = getattr(answer, "unindexed", None)
        if self._unindexed is None and missing is not None:
            self._unindexed = missing  # what the first step found: later ones caught up
        if self._instruments is not None:
            about = {**self._source.about, "onrecord.step": step.kind}
            if step.failed is not None:
                about["error.type"] = step.failed
            self._instruments.record("onrecord.step.duration", step.seconds, about)
        if self._current is not None and self._current.span.is_recording():
            event: dict[str, Any] = {"onrecord.step.seconds": step.seconds}
            if step.failed is not None:
                event["error.type"] = step.failed
            ended = self._current.began + int((step.after + step.seconds) * 1e9)
            self._current.span.add_event(step.kind, event, ended)

    def changed(self, change: Change) -> None:
        """Count what was added and taken away."""
        self._changes = True
        self._added += sum(last - first + 1 for first, last in change.added)
        self._removed += sum(last - first + 1 for first, last in change.removed)

    def done(self, done: OperationDone) -> None:
        """Measure it, and end its span."""
        if self._everywhere and done.fault is None:
            if done.name == "stats":
                self._source.unindexed = done.answer.unindexed
            elif done.name == "index":
                self._source.unindexed = 0
        if self._instruments is not None:
            self._measure(self._instruments, done)  # while the span is current: an exemplar
        if self._current is not None:
            if self._current.span.is_recording():
                self._current.span.set_attributes(self._counts(done))
            self._current.end(done.failed)

    def _counts(self, done: OperationDone) -> dict[str, Any]:
        found: dict[str, Any] = {"onrecord.steps": len(done.steps)}
        if self._read:
            found["onrecord.bytes.read"] = self._read
        if self._written:
            found["onrecord.bytes.written"] = self._written
        if self._changes:
            found["onrecord.messages.added"] = self._added
            found["onrecord.messages.removed"] = self._removed
        if self._unindexed is not None:
            found["onrecord.search.unindexed"] = self._unindexed
        count = count_of(done.answer)
        if count is not None:
            found["onrecord.count"] = count
        if _is_unknown(done.fault):
            found["onrecord.outcome_unknown"] = True
        return found

    def _measure(self, instruments: Instruments, done: OperationDone) -> None:
        about = self._about if done.failed is None else {**self._about, "error.type": done.failed}
        instruments.record("onrecord.operation.duration", done.seconds, about)
        instruments.add("onrecord.io.read", self._read, self._about)
        instruments.add("onrecord.io.written", self._written, self._about)
        instruments.add("onrecord.messages.added", self._added, self._about)
        if self._unindexed is not None and done.name in ("search", "recall"):
            instruments.record("onrecord.search.unindexed", self._unindexed, self._about)
        for n, step in enumerate(done.steps):
            if step.failed is not None and _goes_on(step, done.steps[n + 1 :]):
                instruments.add("onrecord.retries", 1, {**self._about, "error.type": step.failed})
        if _is_unknown(done.fault):
            instruments.add("onrecord.outcomes.unknown", 1, self._about)
        if isinstance(done.fault, Fenced):
            instruments.add("onrecord.turns.fenced", 1, self._about)


def _goes_on(failed: StepTaken, later: tuple[StepTaken, ...]) -> bool:
    """Whether a step in SQL that failed was tried again."""
    return failed.kind in ("read", "write") and any(step.kind == failed.kind for step in later)


def _is_unknown(fault: BaseException | None) -> bool:
    return isinstance(fault, Unavailable) and fault.outcome_unknown
