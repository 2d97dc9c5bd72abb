"""Spans over a real OTLP/gRPC connection to a collector made here, from a caller through Kafka to a consumer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import echo_service
import grpc
import pytest
import yaml
from echo_service import Echo, ask
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from carlien_common import kafka, outbox, postgres, spans, tracing
from carlien_common.config import ServiceSettings
from carlien_common.grpc.client import channel
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import grpc_server
from carlien_common.kafka import KafkaConsumerLoop, Record
from carlien_common.postgres import Connection

POLICY = Policy.parse(yaml.dump({echo_service.NAME: {rpc: ["originator"] for rpc in echo_service.RPCS}}))
MakeSettings = Callable[..., ServiceSettings]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans in, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.port = 0

    async def Export(  # noqa: N802 - the rpc's name
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            names = [pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"]
            self.spans += [(names[0], span) for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str, kind: "Span.SpanKind.ValueType") -> Span:
        found = [span for _, span in self.spans if span.name == name and span.kind == kind]
        assert len(found) == 1, f"{name}: {[(span.name, span.kind) for _, span in self.spans]}"
        return found[0]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made
    await server.stop(None)


def attributes(span: Span) -> dict[str, str | int]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


def sampled(traceparent: str | None) -> bool:
    assert traceparent is not None
    return bool(int(traceparent[-2:], 16) & 1)


async def test_calls_are_spans_of_one_trace(make_settings: MakeSettings, collector: Collector) -> None:
    settings = make_settings(traces_endpoint=f"http://127.0.0.1:{collector.port}")
    mine = {rpc: ["service"] for rpc in echo_service.RPCS}
    services = [(echo_service.add_to_server, Echo(), echo_service.NAME)]
    async with (
        spans.exporting(settings, "echo"),
        grpc_server(settings, services, policy=Policy.parse(yaml.dump({echo_service.NAME: mine}))) as running,
        channel(settings, f"127.0.0.1:{running.port}") as made,
    ):
        told = (await ask(made, "Unary", "trace"))[0]
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(made, "ServerStream", "kind:UNAVAILABLE")
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(made, "ClientStream", "kind:INVALID")
    assert {service for service, _ in collector.spans} == {"echo"}
    client, server = (collector.named(f"{echo_service.NAME}/Unary", kind) for kind in (Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER))
    assert server.trace_id == client.trace_id
    assert server.parent_span_id == client.span_id
    assert told.startswith(f"00-{server.trace_id.hex()}-{server.span_id.hex()}-")
    assert sampled(told)
    assert attributes(server) == {
        "rpc.system": "grpc",
        "rpc.service": echo_service.NAME,
        "rpc.method": "Unary",
        "rpc.grpc.status_code": 0,
    }
    failed = collector.named(f"{echo_service.NAME}/ServerStream", Span.SPAN_KIND_SERVER)
    assert (failed.status.code, failed.status.message) == (2, "UNAVAILABLE")
    # The caller's mistake isn't the server's failure.
    assert collector.named(f"{echo_service.NAME}/ClientStream", Span.SPAN_KIND_SERVER).status.code == 0
    assert collector.named(f"{echo_service.NAME}/ClientStream", Span.SPAN_KIND_CLIENT).status.code == 2


async def test_the_callers_sampling_is_followed(make_settings: MakeSettings, collector: Collector) -> None:
    settings = make_settings(traces_endpoint=f"http://127.0.0.1:{collector.port}", traces_sample_ratio=0.0)
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with spans.exporting(settings, "echo"):
        with spans.span("asked for", "server", f"00-{trace}-b7ad6b7169203331-01", {}):
            assert sampled(tracing.current_traceparent())
        with spans.span("not asked for", "server", f"00-{trace}-b7ad6b7169203331-00", {}):
            assert not sampled(tracing.current_traceparent())
        with spans.span("ours, at ratio 0", "server", None, {}):
            assert not sampled(tracing.current_traceparent())
    assert [span.name for _, span in collector.spans] == ["asked for"]


async def test_a_collector_that_is_away_holds_nothing_up(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "FLUSH_S", 0.2)
    async with spans.exporting(make_settings(traces_endpoint="http://127.0.0.1:1"), "echo"):
        for number in range(5000):
            with spans.span(str(number), "server", None, {}):
                pass


async def test_off_by_default(make_settings: MakeSettings) -> None:
    async with spans.exporting(make_settings(), "echo"):
        assert spans.tracer() is None


async def test_an_event_carries_the_trace_to_its_consumer(
    make_settings: MakeSettings, collector: Collector, postgres_dsn: str, make_topic: Callable[..., str], unique_group: str
) -> None:
    topic = make_topic("traced")
    await postgres.migrate(postgres_dsn, "carlien_common")
    settings = make_settings(postgres_dsn=postgres_dsn, traces_endpoint=f"http://127.0.0.1:{collector.port}")
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(_: Connection, records: Sequence[Record]) -> None:
        seen.set_result(tracing.current_traceparent() or "")

    async with (
        spans.exporting(settings, "events"),
        postgres.pool(settings) as pool,
        kafka.producer(settings) as producer,
        asyncio.timeout(60),
    ):
        relay = asyncio.create_task(outbox.OutboxRelay(settings, producer).run())
        loop = asyncio.create_task(KafkaConsumerLoop(settings, [topic], unique_group, handler, pool=pool, producer=producer).run())
        with spans.span("change", "server", None, {}):
            async with pool.acquire() as connection, connection.transaction():
                await outbox.append(
                    connection, topic=topic, key="k", event=StringValue(value="x"), ce_type="changed", ce_source="/org1/test", ce_id="1"
                )
        told = await seen
        for task in (relay, loop):
            task.cancel()
        await asyncio.gather(relay, loop, return_exceptions=True)
    change = collector.named("change", Span.SPAN_KIND_SERVER)
    published = collector.named(f"publish {topic}", Span.SPAN_KIND_PRODUCER)
    processed = collector.named(f"process {topic}", Span.SPAN_KIND_CONSUMER)
    assert published.trace_id == processed.trace_id == change.trace_id
    assert published.parent_span_id == processed.parent_span_id == change.span_id
    assert told.startswith(f"00-{processed.trace_id.hex()}-{processed.span_id.hex()}-")
    assert attributes(processed)["messaging.destination.name"] == topic
    assert attributes(published)["messaging.message.id"] == "1"
