"""The server, the interceptor and the client against each other, over real sockets with mTLS."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import echo_service
import grpc
import pytest
import yaml
from echo_service import Echo, ask, start
from prometheus_client import REGISTRY

from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.grpc import context as call_context
from carlien_common.grpc import errors
from carlien_common.grpc.client import channel, service_config, to_domain_error
from carlien_common.grpc.context import Caller
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import GrpcServer, grpc_server
from carlien_common.health import Health
from carlien_common.testing import hostile
from carlien_common.testing.pki import Pki

RPCS = echo_service.RPCS
POLICY = Policy.parse(yaml.dump({echo_service.NAME: {rpc: ["originator"] for rpc in echo_service.RPCS}}))
MakeSettings = Callable[..., ServiceSettings]


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
def caller_settings(make_settings: MakeSettings, pki: Pki) -> ServiceSettings:
    mine = pki.certificate("org1", "originator")
    return make_settings(tls_cert_file=mine.certificate, tls_key_file=mine.key)


@pytest.fixture
async def server(make_settings: MakeSettings, echo: Echo) -> AsyncIterator[GrpcServer]:
    settings = make_settings(grpc_default_deadline_s=1.0, stop_grace_s=0.2, reflection=True)
    async with grpc_server(settings, [(echo_service.add_to_server, echo, echo_service.NAME)], policy=POLICY) as running:
        yield running


@pytest.fixture
async def connected(caller_settings: ServiceSettings, server: GrpcServer) -> AsyncIterator[grpc.aio.Channel]:
    async with channel(caller_settings, f"127.0.0.1:{server.port}") as made:
        yield made


def handled(rpc: str, code: str) -> float:
    values = [
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "grpc_server_handled"
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["grpc_method"] == rpc and sample.labels["grpc_code"] == code
    ]
    return sum(values)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.01)


async def fails(connected: grpc.aio.Channel, rpc: str, text: str, **options: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(connected, rpc, text, **options)
    return caught.value


@pytest.mark.parametrize("rpc", RPCS)
async def test_answers_pass(connected: grpc.aio.Channel, rpc: str) -> None:
    assert (await ask(connected, rpc, "hello"))[-1] == "hello"
    assert (await ask(connected, rpc, "caller"))[-1] == "org1/originator"


@pytest.mark.parametrize(("rpc", "kind"), list(itertools.product(RPCS, ErrorKind)))
async def test_each_kind_has_its_status_and_comes_back_whole(connected: grpc.aio.Channel, rpc: str, kind: ErrorKind) -> None:
    code = errors.STATUS[kind]
    before = handled(rpc, code.name)
    error = await fails(connected, rpc, f"kind:{kind.name}")
    assert error.code() is code
    unpacked = to_domain_error(error)
    assert (unpacked.kind, unpacked.reason, unpacked.message) == (kind, f"REASON_{kind.name}", "told to")
    await until(lambda: handled(rpc, code.name) == before + 1)


async def test_all_bad_fields_reach_the_caller(connected: grpc.aio.Channel) -> None:
    unpacked = to_domain_error(await fails(connected, "Unary", "fields"))
    assert [(each.field, each.reason) for each in unpacked.violations] == [("a", "A_BAD"), ("b.c", "C_BAD")]


async def test_metadata_reaches_the_caller(connected: grpc.aio.Channel) -> None:
    unpacked = to_domain_error(await fails(connected, "Unary", "metadata:R-1"))
    assert unpacked.metadata == {"registration_number": "R-1"}


@pytest.mark.parametrize("rpc", RPCS)
async def test_an_unexpected_exception_tells_nothing_but_a_correlation_id(
    connected: grpc.aio.Channel, rpc: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    before = handled(rpc, "INTERNAL")
    error = await fails(connected, rpc, "secret:hunter2")
    assert error.code() is grpc.StatusCode.INTERNAL
    trailing = b"".join(value for _, value in error.trailing_metadata() or () if isinstance(value, bytes))
    assert "hunter2" not in error.debug_error_string()
    assert b"hunter2" not in trailing
    assert b"correlation_id" in trailing
    await until(lambda: handled(rpc, "INTERNAL") == before + 1)


@pytest.mark.parametrize("rpc", RPCS)
async def test_an_abort_by_the_handler_is_counted_as_what_it_is(connected: grpc.aio.Channel, rpc: str) -> None:
    before = handled(rpc, "OUT_OF_RANGE")
    error = await fails(connected, rpc, "abort:OUT_OF_RANGE")
    assert error.code() is grpc.StatusCode.OUT_OF_RANGE
    await until(lambda: handled(rpc, "OUT_OF_RANGE") == before + 1)


async def test_a_set_code_is_counted_as_what_it_is(connected: grpc.aio.Channel) -> None:
    before = handled("Unary", "DATA_LOSS")
    assert (await fails(connected, "Unary", "set_code:DATA_LOSS")).code() is grpc.StatusCode.DATA_LOSS
    await until(lambda: handled("Unary", "DATA_LOSS") == before + 1)


async def test_a_timeout_of_something_below_is_unavailable(connected: grpc.aio.Channel) -> None:
    assert (await fails(connected, "Unary", "timeout_error")).code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("rpc", RPCS)
async def test_a_passed_deadline_cancels_the_handler_and_is_counted(connected: grpc.aio.Channel, echo: Echo, rpc: str) -> None:
    await ask(connected, rpc, "warm up")
    before = handled(rpc, "DEADLINE_EXCEEDED")
    error = await fails(connected, rpc, "hang", timeout=1.5)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(20):
        await echo.cancelled.wait()
    await until(lambda: handled(rpc, "DEADLINE_EXCEEDED") == before + 1)


@pytest.mark.parametrize("rpc", RPCS)
async def test_a_caller_that_leaves_cancels_the_handler_and_is_counted(connected: grpc.aio.Channel, echo: Echo, rpc: str) -> None:
    before = handled(rpc, "CANCELLED")
    call = start(connected, rpc, "hang")
    async with asyncio.timeout(20):
        await echo.started.wait()
        call.cancel()
        await echo.cancelled.wait()
    await until(lambda: handled(rpc, "CANCELLED") == before + 1)


async def test_a_call_without_a_deadline_gets_one(server: GrpcServer, pki: Pki, echo: Echo) -> None:
    async with hostile.channel(f"127.0.0.1:{server.port}", pki.certificate("org1", "originator")) as bare:
        remaining = float((await ask(bare, "Unary", "deadline", timeout=None))[0])
        assert 0 < remaining <= 1.0
        error = await fails(bare, "Unary", "hang", timeout=None)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert echo.cancelled.is_set()


async def test_the_rest_of_our_callers_deadline_is_handed_on(connected: grpc.aio.Channel) -> None:
    async def inside() -> float:
        call_context.enter(Caller("org1", "originator", ""), 3.0)
        return float((await ask(connected, "Unary", "deadline", timeout=15))[0])

    assert 0 < await asyncio.create_task(inside()) <= 3.1  # grpc-timeout is rounded up on the wire
    assert 4.0 < float((await ask(connected, "Unary", "deadline", timeout=15))[0]) < 16.0


@pytest.mark.parametrize("rpc", RPCS)
async def test_the_trace_goes_on(server: GrpcServer, pki: Pki, rpc: str) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with hostile.channel(f"127.0.0.1:{server.port}", pki.certificate("org1", "originator")) as bare:
        metadata = (("traceparent", f"00-{trace}-b7ad6b7169203331-01"),)
        got = (await ask(bare, rpc, "trace", metadata=metadata))[-1]
        assert got.split("-")[1] == trace
        assert got.split("-")[2] != "b7ad6b7169203331"
        for nonsense in ("", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "zz", "00-xyz"):
            fresh = (await ask(bare, rpc, "trace", metadata=(("traceparent", nonsense),)))[-1]
            assert len(fresh) == 55
            assert trace not in fresh


async def test_an_answer_that_is_too_large_is_refused(connected: grpc.aio.Channel) -> None:
    assert (await fails(connected, "Unary", f"big:{5 * 1024 * 1024}")).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unknown_rpc_is_unimplemented(connected: grpc.aio.Channel) -> None:
    before = handled("unknown", "UNIMPLEMENTED")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connected.unary_unary("/carlien.test.v1.EchoService/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert handled("unknown", "UNIMPLEMENTED") == before + 1


async def test_too_many_calls_at_once_are_refused(make_settings: MakeSettings, caller_settings: ServiceSettings) -> None:
    settings = make_settings(grpc_max_concurrent_rpcs=2, stop_grace_s=0.1)
    echo = Echo()
    async with (
        grpc_server(settings, [(echo_service.add_to_server, echo, echo_service.NAME)], policy=POLICY) as running,
        channel(caller_settings, f"127.0.0.1:{running.port}") as made,
    ):
        calls = [asyncio.create_task(ask(made, "Unary", "hang", timeout=3)) for _ in range(8)]
        codes = [
            result.code() for result in await asyncio.gather(*calls, return_exceptions=True) if isinstance(result, grpc.aio.AioRpcError)
        ]
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 5
    assert grpc.StatusCode.DEADLINE_EXCEEDED in codes


async def test_a_caller_that_calls_too_often_is_refused_and_others_are_not(make_settings: MakeSettings, pki: Pki) -> None:
    policy = Policy.parse(yaml.dump({echo_service.NAME: {"Unary": ["originator", "analyst"]}}))
    services = [(echo_service.add_to_server, Echo(), echo_service.NAME)]
    # So slow that no call comes back within the test.
    async with grpc_server(make_settings(grpc_max_calls_per_second=0.001), services, policy=policy) as running:
        address = f"127.0.0.1:{running.port}"
        async with (
            hostile.channel(address, pki.certificate("org1", "originator")) as busy,
            hostile.channel(address, pki.certificate("org1", "analyst")) as other,
        ):
            assert await ask(busy, "Unary", "one") == ["one"]
            refused = to_domain_error(await fails(busy, "Unary", "two"))
            assert (refused.kind, refused.reason) == (ErrorKind.EXHAUSTED, "RATE_LIMITED")
            assert int(refused.metadata["retry_after_ms"]) > 0
            assert await ask(other, "Unary", "one") == ["one"]
            # Health is asked by probes, which aren't callers.
            await hostile.assert_serving(address, pki)


async def test_old_connections_are_renewed_without_a_failed_call(make_settings: MakeSettings, caller_settings: ServiceSettings) -> None:
    settings = make_settings(grpc_max_connection_age_s=0.2)
    peers: set[str] = set()

    async def call(request: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        return request

    def add(_: Any, server: Any) -> None:
        handlers = {"Unary": grpc.unary_unary_rpc_method_handler(call)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(echo_service.NAME, handlers),))

    rpcs = [f"{echo_service.NAME}/Unary"]
    async with (
        grpc_server(settings, [(add, None, echo_service.NAME)], policy=POLICY) as running,
        channel(caller_settings, f"127.0.0.1:{running.port}", idempotent=rpcs) as made,
    ):
        unary = made.unary_unary(f"/{echo_service.NAME}/Unary")
        async with asyncio.timeout(20):
            while len(peers) < 3:
                assert await unary(b"x", timeout=5) == b"x"


async def test_plaintext_has_no_identity_and_no_limits(make_settings: MakeSettings) -> None:
    settings = make_settings(grpc_insecure=True)
    async with (
        grpc_server(settings, [(echo_service.add_to_server, Echo(), echo_service.NAME)]) as running,
        channel(settings, f"127.0.0.1:{running.port}") as made,
    ):
        assert await ask(made, "Unary", "caller") == ["org1/insecure"]


async def test_tls_without_a_policy_is_refused(make_settings: MakeSettings) -> None:
    with pytest.raises(ValueError, match="policy"):
        async with grpc_server(make_settings(), []):
            pass


async def test_a_port_that_is_taken_is_an_error(make_settings: MakeSettings, server: GrpcServer) -> None:
    with pytest.raises(RuntimeError, match="bind"):
        async with grpc_server(make_settings(grpc_port=server.port), [], policy=POLICY):
            pass


async def test_health_follows_readiness(make_settings: MakeSettings, pki: Pki) -> None:
    health = Health()
    up = True

    async def check() -> None:
        if not up:
            raise ConnectionError

    health.add("database", check)
    services = [(echo_service.add_to_server, Echo(), echo_service.NAME)]
    async with grpc_server(make_settings(), services, policy=POLICY, health=health) as running:
        address = f"127.0.0.1:{running.port}"
        for accepting, is_up, serving in ((False, True, False), (True, True, True), (True, False, False), (True, True, True)):
            up = is_up
            health.accepting = accepting
            await health.refresh()
            if serving:
                await hostile.assert_serving(address, pki)
            else:
                with pytest.raises(AssertionError):
                    await hostile.assert_serving(address, pki)


async def test_reflection_lists_the_services(server: GrpcServer, pki: Pki) -> None:
    from grpc_reflection.v1alpha import reflection_pb2

    request = reflection_pb2.ServerReflectionRequest(list_services="*").SerializeToString()
    async with hostile.channel(f"127.0.0.1:{server.port}", pki.certificate("org1", "analyst")) as bare:
        call = bare.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(iter([request]), timeout=20)
        answer = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
    assert echo_service.NAME in [service.name for service in answer.list_services_response.service]


class _Flaky:
    """Fails as often as told, then works."""

    def __init__(self, failures: int, code: grpc.StatusCode) -> None:
        self.left, self.code, self.calls = failures, code, 0

    def add(self, servicer: Any, server: Any) -> None:
        async def call(request: bytes, context: Any) -> bytes:
            self.calls += 1
            if self.left:
                self.left -= 1
                await context.abort(self.code, "not yet")
            return request

        handlers = {"Unary": grpc.unary_unary_rpc_method_handler(call)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(echo_service.NAME, handlers),))


@pytest.mark.parametrize(
    ("code", "idempotent", "works", "calls"),
    [
        (grpc.StatusCode.UNAVAILABLE, True, True, 3),
        (grpc.StatusCode.UNAVAILABLE, False, False, 1),
        (grpc.StatusCode.ABORTED, True, False, 1),
    ],
)
async def test_only_unavailable_idempotent_calls_are_repeated(
    make_settings: MakeSettings, caller_settings: ServiceSettings, code: grpc.StatusCode, idempotent: bool, works: bool, calls: int
) -> None:
    flaky = _Flaky(2, code)
    rpcs = [f"{echo_service.NAME}/Unary"] if idempotent else []
    async with (
        grpc_server(make_settings(), [(flaky.add, None, echo_service.NAME)], policy=POLICY) as running,
        channel(caller_settings, f"127.0.0.1:{running.port}", idempotent=rpcs) as made,
    ):
        call = made.unary_unary(f"/{echo_service.NAME}/Unary")
        if works:
            assert await call(b"x", timeout=20) == b"x"
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"x", timeout=20)
            assert caught.value.code() is code
    assert flaky.calls == calls


def test_no_idempotent_rpc_no_retries() -> None:
    assert "methodConfig" not in service_config([])


async def test_a_service_that_is_away_is_unavailable(caller_settings: ServiceSettings) -> None:
    async with channel(caller_settings, "127.0.0.1:1") as made:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(made, "Unary", "hello", timeout=5)
    assert to_domain_error(caught.value).kind is ErrorKind.UNAVAILABLE


async def test_client_calls_are_counted(connected: grpc.aio.Channel) -> None:
    def count() -> float:
        labels = {"grpc_type": "unary", "grpc_service": echo_service.NAME, "grpc_method": "Unary", "grpc_code": "ABORTED"}
        return REGISTRY.get_sample_value("grpc_client_handled_total", labels) or 0.0

    before = count()
    await fails(connected, "Unary", "kind:CONFLICT")
    await until(lambda: count() == before + 1)


def test_details_stay_small_enough_for_a_header() -> None:
    many = DomainError(ErrorKind.INVALID, "MANY", "m" * 5000, [v for n in range(1000) for v in _violation(n)])
    assert len(errors.trailers(grpc.StatusCode.INVALID_ARGUMENT, many)[0][1]) < 8000


def _violation(number: int) -> tuple[Any, ...]:
    from carlien_common.domain.errors import invalid

    return invalid(f"rows[{number}].vin", "VIN_LENGTH", "d" * 1000).violations
