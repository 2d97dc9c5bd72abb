"""gRPC in: messages to domain and back, nothing else. Errors are mapped by the common interceptor."""

from typing import Final

from google.protobuf.descriptor import ServiceDescriptor

from carlien.lien.v1 import (
    consent_service_pb2,
    dispute_service_pb2,
    lien_service_pb2,
    reconciliation_service_pb2,
    search_service_pb2,
    title_service_pb2,
)

SERVICES: Final[tuple[ServiceDescriptor, ...]] = (
    lien_service_pb2.DESCRIPTOR.services_by_name["LienService"],
    title_service_pb2.DESCRIPTOR.services_by_name["TitleService"],
    consent_service_pb2.DESCRIPTOR.services_by_name["ConsentService"],
    dispute_service_pb2.DESCRIPTOR.services_by_name["DisputeService"],
    reconciliation_service_pb2.DESCRIPTOR.services_by_name["ReconciliationService"],
    search_service_pb2.DESCRIPTOR.services_by_name["SearchService"],
)
"""Every service this process answers; policy and tests go through all their rpcs."""
