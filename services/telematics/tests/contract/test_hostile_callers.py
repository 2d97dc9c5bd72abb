"""What a hostile or careless caller gets from every rpc."""

from typing import Any

import pytest

from carlien.telematics.v1 import data_consent_service_pb2, device_service_pb2, geofence_service_pb2, telematics_service_pb2
from carlien_common.grpc.policy import Policy
from carlien_common.testing import hostile
from carlien_common.testing.pki import Pki
from carlien_telematics.testing.service import Service

SERVICES = [
    telematics_service_pb2.DESCRIPTOR.services_by_name["TelematicsService"],
    device_service_pb2.DESCRIPTOR.services_by_name["DeviceService"],
    data_consent_service_pb2.DESCRIPTOR.services_by_name["DataConsentService"],
    geofence_service_pb2.DESCRIPTOR.services_by_name["GeofenceService"],
]
POLICY = Policy.load("carlien_telematics")


@pytest.mark.parametrize("case", hostile.cases(SERVICES, POLICY), ids=str)
async def test_hostile_caller(case: Any, service: Service, pki: Pki) -> None:
    await case.check(f"127.0.0.1:{service.running.grpc_port}", pki)


def test_every_rpc_has_a_line_in_the_policy() -> None:
    assert POLICY.unlisted(SERVICES) == []
    assert POLICY.unknown(SERVICES) == []
