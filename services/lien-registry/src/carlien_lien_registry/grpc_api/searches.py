"""SearchService."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from carlien.lien.v1 import certificate_pb2, search_service_pb2_grpc
from carlien.lien.v1 import search_service_pb2 as pb
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import invalid
from carlien_lien_registry.grpc_api.converting import search_request
from carlien_lien_registry.service.searching import Searches

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE: Final = pb.DESCRIPTOR.services_by_name["SearchService"]

_MAX_NUMBER_LENGTH: Final = 64

Verifier = Callable[[certificate_pb2.SearchCertificate], Awaitable[list[str]]]


class SearchServicer(search_service_pb2_grpc.SearchServiceServicer):
    """Converts and calls."""

    def __init__(self, searches: Searches, verify: Verifier, clock: Clock) -> None:
        self._searches = searches
        self._verify = verify
        self._clock = clock

    async def SearchLiens(self, request: pb.SearchLiensRequest, _context: Context) -> pb.SearchLiensResponse:
        certificate = await self._searches.search(search_request(request, self._clock()))
        return pb.SearchLiensResponse(certificate=certificate_pb2.SearchCertificate.FromString(certificate))

    async def GetCertificate(self, request: pb.GetCertificateRequest, _context: Context) -> pb.GetCertificateResponse:
        number = request.certificate_number
        if not 0 < len(number) <= _MAX_NUMBER_LENGTH or "\0" in number:
            raise invalid("certificate_number", "CERTIFICATE_NUMBER", "Name the certificate.")
        certificate = await self._searches.certificate(number)
        return pb.GetCertificateResponse(certificate=certificate_pb2.SearchCertificate.FromString(certificate))

    async def VerifyCertificate(
        self,
        request: pb.VerifyCertificateRequest,
        _context: Context,
    ) -> pb.VerifyCertificateResponse:
        if not request.HasField("certificate"):
            raise invalid("certificate", "FIELD_MISSING", "certificate is required.")
        failures = await self._verify(request.certificate)
        return pb.VerifyCertificateResponse(valid=not failures, failures=failures)
