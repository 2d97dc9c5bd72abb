"""Broken protobuf and hostile values for every rpc of the running services: no failure of ours, no text from inside."""

import asyncio
import random
import zlib

import grpc
import pytest
from every_rpc import Rpc, certificate, every

from carlien_common.testing import fuzz
from carlien_common.testing.hostile import TIMEOUT_S, call

_REQUESTS = 24
_AT_ONCE = 8
# A stream that opens has accepted its request; nothing more may come.
_OPEN_S = 1.0


@pytest.mark.parametrize("rpc", every(), ids=str)
async def test_rpc(rpc: Rpc) -> None:
    rng = random.Random(zlib.crc32(str(rpc).encode()))
    requests = list(fuzz.requests(rpc.method.input_type, rng, _REQUESTS))
    for begin in range(0, _REQUESTS, _AT_ONCE):
        await asyncio.gather(*(_judge(rpc, request) for request in requests[begin : begin + _AT_ONCE]))


async def _judge(rpc: Rpc, request: bytes) -> None:
    opens = rpc.method.server_streaming
    outcome = await call(rpc.address, certificate("org1", sorted(rpc.roles)[0]), rpc.method, request, _OPEN_S if opens else TIMEOUT_S)
    if outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        assert opens, f"{rpc} hangs on {request.hex()[:400]}"
        return
    try:
        fuzz.judge(outcome)
    except AssertionError as error:
        raise AssertionError(f"{rpc} with {request.hex()[:400]}: {error}") from None
