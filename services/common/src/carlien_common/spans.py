"""Spans: how long each part of a trace took, exported to an OpenTelemetry collector over OTLP/gRPC.

One switch: CARLIEN_TRACES_ENDPOINT (http://host:4317, or https://). Without it nothing of OpenTelemetry is even imported and a call
pays for one comparison. Names and attributes follow the semantic conventions for RPC and messaging.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from carlien_common import tracing
from carlien_common.config import ServiceSettings
from carlien_common.logs import get_logger

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanContext

log = get_logger(__name__)

Kind: TypeAlias = Literal["server", "client", "producer", "consumer"]
Attributes: TypeAlias = Mapping[str, str | int]

FLUSH_S: Final = 5.0
"""How long a stopping service waits for the collector to take what is left."""
MAX_LINKS: Final = 64
"""A batch of 500 records links to that many traces at most."""


class Span:
    """One piece of work. `traceparent` is what its own calls and events carry."""

    __slots__ = ("_inner", "traceparent")

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        context: SpanContext = inner.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, failure: str = "", attributes: Attributes | None = None) -> None:
        """Ends it; a text says what failed."""
        from opentelemetry.trace import Status, StatusCode

        if self._inner.is_recording():
            self._inner.set_attributes(attributes or {})
            if failure:
                self._inner.set_status(Status(StatusCode.ERROR, failure))
        self._inner.end()


class Tracer:
    """Makes spans. At most 2,048 wait for the collector; when it is away, spans are dropped, never calls held up."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace import SpanKind

        self._inner = provider.get_tracer("carlien")
        self._kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER}

    def start(self, name: str, kind: Kind, parent: str | None, attributes: Attributes, links: Iterable[str] = ()) -> Span:
        """A span below `parent` (a traceparent; None or nonsense starts a trace), linked to others that led to it."""
        from opentelemetry.trace import Link

        linked = [Link(_remote(link)) for link in links if tracing.well_formed(link)][:MAX_LINKS]
        return Span(self._inner.start_span(name, _below(parent), self._kinds[kind], dict(attributes), linked))


_tracer: Tracer | None = None


def tracer() -> Tracer | None:
    """None while spans aren't recorded."""
    return _tracer


@contextmanager
def span(name: str, kind: Kind, parent: str | None, attributes: Attributes, links: Iterable[str] = ()) -> Iterator[None]:
    """The block as a span of its own, and its context as the task's. Without a tracer the task still goes on with the parent's trace."""
    if _tracer is None:
        tracing.enter(parent)
        yield
        return
    made = _tracer.start(name, kind, parent, attributes, links)
    tracing.use(made.traceparent)
    failure = ""
    try:
        yield
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        made.end(failure)


@asynccontextmanager
async def exporting(settings: ServiceSettings, service: str) -> AsyncIterator[None]:
    """Records spans inside the block when the settings say so; leaving it exports what is left."""
    global _tracer
    if not settings.traces_endpoint:
        yield
        return
    provider = _provider(settings, service)
    _tracer = Tracer(provider)
    log.info("traces_exported", endpoint=settings.traces_endpoint, sample_ratio=settings.traces_sample_ratio)
    try:
        yield
    finally:
        _tracer = None
        # In a thread: it blocks, and so does a collector that doesn't answer.
        await asyncio.to_thread(provider.force_flush, int(FLUSH_S * 1000))
        await asyncio.to_thread(provider.shutdown)


def _provider(settings: ServiceSettings, service: str) -> TracerProvider:
    # Half a second of imports that a service without traces needn't wait for.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    resource = Resource.create({"service.name": service, "service.namespace": f"carlien.{settings.org}"})
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(settings.traces_sample_ratio)), resource=resource)
    exporter = OTLPSpanExporter(endpoint=settings.traces_endpoint, insecure=settings.traces_endpoint.startswith("http://"), timeout=FLUSH_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    return provider


def _remote(traceparent: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote=True, trace_flags=TraceFlags(int(traceparent[53:], 16))
    )


def _below(parent: str | None) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    if parent is None or not tracing.well_formed(parent):
        return Context()
    return set_span_in_context(NonRecordingSpan(_remote(parent)), Context())
