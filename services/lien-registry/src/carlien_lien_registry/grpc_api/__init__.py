"""gRPC in: messages to domain and back, nothing else. Errors are mapped by the common interceptor."""

from typing import Final

from google.protobuf.descriptor import ServiceDescriptor

from carlien.lien.v1 import lien_service_pb2, search_service_pb2, title_service_pb2

SERVICES: Final[tuple[ServiceDescriptor, ...]] = (
    lien_service_pb2.DESCRIPTOR.services_by_name["LienService"],
    title_service_pb2.DESCRIPTOR.services_by_name["TitleService"],
    search_service_pb2.DESCRIPTOR.services_by_name["SearchService"],
)
"""Every service this process answers; policy and tests go through all their rpcs."""
