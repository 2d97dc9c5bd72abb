"""The error contract on every kind of rpc, from outside."""

from collections.abc import AsyncIterator, Callable

import echo_service
import pytest
import yaml

from carlien_common.config import ServiceSettings
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import grpc_server
from carlien_common.testing import hostile
from carlien_common.testing.pki import Pki

POLICY = Policy.parse(yaml.dump({echo_service.NAME: {rpc: ["originator"] for rpc in echo_service.RPCS}}))
MAX_BYTES = 64 * 1024
CASES = hostile.cases([echo_service.DESCRIPTOR], POLICY, max_message_bytes=MAX_BYTES)


@pytest.fixture(scope="module")
async def address(make_settings: Callable[..., ServiceSettings]) -> AsyncIterator[str]:
    services = [(echo_service.add_to_server, echo_service.Echo(), echo_service.NAME)]
    async with grpc_server(make_settings(grpc_max_message_bytes=MAX_BYTES), services, policy=POLICY) as server:
        yield f"127.0.0.1:{server.port}"


def test_every_mistreatment_of_every_rpc_is_tried() -> None:
    assert len(CASES) == 8 * 5


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_hostile_caller(case: hostile.Case, address: str, pki: Pki) -> None:
    await case.check(address, pki)


async def test_certificate_with_two_identities_has_none(address: str, pki: Pki) -> None:
    both = pki.with_uris("both", "spiffe://carlien/org1/originator", "spiffe://carlien/org1/admin")
    outcome = await hostile.call(address, both, echo_service.DESCRIPTOR.methods_by_name["Unary"], b"")
    assert outcome.reason == "IDENTITY_MISSING"


async def test_a_host_name_that_reads_like_an_identity_is_none(address: str, pki: Pki) -> None:
    spoof = pki.with_uris("spoof", dns_names=("spiffe://carlien/org1/originator",))
    outcome = await hostile.call(address, spoof, echo_service.DESCRIPTOR.methods_by_name["Unary"], b"")
    assert outcome.reason == "IDENTITY_MISSING"


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://other/org1/originator",
        "spiffe://carlien/org1/originator/more",
        "spiffe://carlien/org1",
        "https://carlien/org1/originator",
        "spiffe://carlien/org1/originator?x=1",
        "spiffe://carlien/ORG1/originator",
    ],
)
async def test_identities_of_another_form_are_none(address: str, pki: Pki, uri: str) -> None:
    odd = pki.with_uris(f"odd{abs(hash(uri))}", uri)
    outcome = await hostile.call(address, odd, echo_service.DESCRIPTOR.methods_by_name["Unary"], b"")
    assert outcome.reason == "IDENTITY_MISSING"
