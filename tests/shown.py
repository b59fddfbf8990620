"""What stores show to OpenTelemetry, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once


class Shown:
    """An SDK of one's own, set up as the one of this process."""

    def __init__(self) -> None:
        self.tracers = TracerProvider()
        self.exporter = InMemorySpanExporter()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("a test")

    @contextmanager
    def set_up(self, *, spans: bool = True, meters: bool = True) -> Iterator[None]:
        """Set it up. The API lets nobody take it back, so this is done behind it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trace, "_TRACER_PROVIDER", self.tracers if spans else None)
            patch.setattr(metrics._internal, "_METER_PROVIDER", self.meters if meters else None)
            yield

    def close(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()

    @property
    def spans(self) -> list[ReadableSpan]:
        """All that have ended, in that order."""
        return list(self.exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        """Of ours."""
        return [span.name for span in self.spans if span.name.startswith("onrecord.")]

    def of(self, name: str) -> ReadableSpan:
        """The only span of a name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def parents(self) -> dict[str, set[str | None]]:
        """Whose children the spans of each name are, by name; None where they have no parent."""
        by_id = {span.context.span_id: span.name for span in self.spans if span.context}
        found: dict[str, set[str | None]] = {}
        for span in self.spans:
            parent = None if span.parent is None else by_id.get(span.parent.span_id, "unknown")
            found.setdefault(span.name, set()).add(parent)
        return found

    def points(self) -> dict[str, list[Any]]:
        """The points of every metric of ours, by its name."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            if scope.scope.name == "onrecord"
            for metric in scope.metrics
        }

    def value(self, name: str, **attributes: Any) -> float:
        """The sum of a counter's or a level's points that have these attributes."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return sum(
            float(point.value)
            for point in self.points().get(name, [])
            if wanted.items() <= dict(point.attributes).items()
        )

    def said(self) -> str:
        """Every value that was shown, in one text."""
        shown: list[object] = []
        for span in self.spans:
            shown += [span.name, span.status.description, dict(span.attributes or {})]
            shown += [(event.name, dict(event.attributes or {})) for event in span.events]
        for name, points in self.points().items():
            shown += [(name, dict(point.attributes)) for point in points]
        return "\n".join(map(repr, shown))


@contextmanager
def nobody_set_up() -> Iterator[None]:
    """A process in which nobody has set OpenTelemetry up yet, and nobody has afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", None)
        patch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
        patch.setattr(metrics._internal, "_METER_PROVIDER", None)
        patch.setattr(metrics._internal, "_METER_PROVIDER_SET_ONCE", Once())
        yield


@pytest.fixture
def shown() -> Iterator[Shown]:
    """An SDK that was set up before the test begins."""
    with closing(Shown()) as shown, shown.set_up():
        yield shown
