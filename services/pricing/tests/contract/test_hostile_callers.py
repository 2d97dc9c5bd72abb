"""Unknown CA, no identity, another org, a wrong role, oversized, expired, not UTF-8: on every rpc."""

import pytest
from pricing_harness import Service

from carlien.pricing.v1 import collateral_watch_service_pb2, pricing_service_pb2
from carlien_common.grpc.policy import Policy
from carlien_common.testing import hostile
from carlien_common.testing.pki import Pki

SERVICES = [
    pricing_service_pb2.DESCRIPTOR.services_by_name["PricingService"],
    collateral_watch_service_pb2.DESCRIPTOR.services_by_name["CollateralWatchService"],
]
POLICY = Policy.load("carlien_pricing")


def test_every_rpc_has_a_line_in_the_policy() -> None:
    assert POLICY.unlisted(SERVICES) == []
    assert POLICY.unknown(SERVICES) == []


@pytest.mark.parametrize("case", hostile.cases(SERVICES, POLICY), ids=str)
async def test_hostile_caller(case: hostile.Case, service: Service, pki: Pki) -> None:
    await case.check(service.address, pki)
