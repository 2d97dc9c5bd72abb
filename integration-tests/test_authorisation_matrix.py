"""Every cell of rpc x role on the running services. A request that isn't protobuf is judged only after its caller has been."""

import asyncio

import grpc
import pytest
from every_rpc import Rpc, certificate, every

from carlien_common.grpc.policy import ROLES
from carlien_common.testing.hostile import call

_NOT_PROTOBUF = b"\x0a\xff"
_ADMITTED = (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
_REFUSED = (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")
_ANOTHER_ORG = (grpc.StatusCode.PERMISSION_DENIED, "ORG_NOT_ALLOWED")


@pytest.mark.parametrize("rpc", every(), ids=str)
async def test_rpc(rpc: Rpc) -> None:
    callers = [("org1", role) for role in sorted(ROLES)] + [("org2", role) for role in sorted(ROLES)]

    async def outcome(org: str, role: str) -> tuple[grpc.StatusCode, str]:
        ended = await call(rpc.address, certificate(org, role), rpc.method, _NOT_PROTOBUF)
        return ended.code, ended.reason

    outcomes = dict(zip(callers, await asyncio.gather(*(outcome(*caller) for caller in callers)), strict=True))
    expected = {caller: _ANOTHER_ORG if caller[0] != "org1" else _ADMITTED if caller[1] in rpc.roles else _REFUSED for caller in callers}
    assert outcomes == expected
