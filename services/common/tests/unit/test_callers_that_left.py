"""A caller may be gone when it is to be told how its call ended: that is no failure of the service."""

import logging
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from prometheus_client import REGISTRY

from carlien_common.domain.errors import precondition
from carlien_common.grpc.interceptor import Access, CallInterceptor

SERVICE = "carlien.test.v1.LeftService"


class Gone:
    """What grpc.aio's context does when the connection has been lost."""

    def __init__(self, remaining_s: float) -> None:
        self._remaining_s = remaining_s
        self._code: grpc.StatusCode | None = None

    def time_remaining(self) -> float:
        return self._remaining_s

    def code(self) -> grpc.StatusCode | None:
        return self._code

    async def abort(self, code: grpc.StatusCode, *_: Any) -> None:
        assert self._code is None, "aborted twice"
        self._code = code
        raise grpc.aio.InternalError("Failed to send")


class Details:
    invocation_metadata: tuple[tuple[str, str], ...] = ()

    def __init__(self, method: str) -> None:
        self.method = method


def handled(rpc: str, code: str) -> float:
    labels = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": rpc, "grpc_code": code}
    return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0


async def _refuses(_: Empty, __: Any) -> Empty:
    raise precondition("TAKEN", "taken")


async def _writes(_: Empty, __: Any) -> Empty:
    raise grpc.aio.InternalError("Failed to write")


@pytest.mark.parametrize(
    ("rpc", "behaviour", "remaining_s", "code"),
    [
        ("Late", _refuses, 0.0, "DEADLINE_EXCEEDED"),
        ("Refused", _refuses, 9.0, "FAILED_PRECONDITION"),
        ("Writing", _writes, 9.0, "CANCELLED"),
    ],
)
async def test_it_ends_quietly(rpc: str, behaviour: Any, remaining_s: float, code: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    interceptor = CallInterceptor(Access("org1", None), 30.0)
    handler = grpc.unary_unary_rpc_method_handler(behaviour, Empty.FromString, Empty.SerializeToString)
    interceptor.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {rpc: handler}),))
    wrapped: Any = interceptor.service(Details(f"/{SERVICE}/{rpc}"))
    with pytest.raises(grpc.aio.AbortError):
        await wrapped.unary_unary(b"", Gone(remaining_s))
    assert handled(rpc, code) == 1
    assert handled(rpc, "INTERNAL") == 0
    assert not caplog.records
