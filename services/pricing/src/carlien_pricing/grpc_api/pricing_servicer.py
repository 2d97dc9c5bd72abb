"""PricingService: converts in, calls a use case, converts out. Errors are mapped by the interceptor."""

from typing import Any

import grpc

from carlien.pricing.v1 import pricing_service_pb2 as pb
from carlien.pricing.v1 import pricing_service_pb2_grpc
from carlien_common.domain.errors import invalid
from carlien_common.grpc.context import current_caller
from carlien_pricing.domain.cost import AnnualisedCost, simple_to_irr
from carlien_pricing.domain.legality import rate_caps
from carlien_pricing.grpc_api.requests import identifier, lender_type, optional_date, quote_command
from carlien_pricing.messages import cap_message, cell_message, quote_message
from carlien_pricing.service.quoting import Quoting

_HIGHEST_RATE = 100.0

Context = grpc.aio.ServicerContext[Any, Any]


class PricingServicer(pricing_service_pb2_grpc.PricingServiceServicer):
    """The rpcs of PricingService."""

    def __init__(self, quoting: Quoting) -> None:
        self._quoting = quoting

    async def Quote(self, request: pb.QuoteRequest, _context: Context) -> pb.QuoteResponse:
        command = quote_command(request, self._quoting.today())
        return pb.QuoteResponse.FromString(await self._quoting.quote(command, current_caller().org))

    async def GetQuote(self, request: pb.GetQuoteRequest, _context: Context) -> pb.GetQuoteResponse:
        record = await self._quoting.get(identifier(request.quote_id, "quote_id"), current_caller().org)
        return pb.GetQuoteResponse(quote=quote_message(record))

    async def AcceptQuote(self, request: pb.AcceptQuoteRequest, _context: Context) -> pb.AcceptQuoteResponse:
        quote_id = identifier(request.quote_id, "quote_id")
        key = identifier(request.idempotency_key, "idempotency_key")
        payload = request.SerializeToString(deterministic=True)
        return pb.AcceptQuoteResponse.FromString(await self._quoting.accept(quote_id, key, payload, current_caller().org))

    async def CheckRateCap(self, request: pb.CheckRateCapRequest, _context: Context) -> pb.CheckRateCapResponse:
        on = optional_date(request, "date", self._quoting.today())
        caps = rate_caps(self._quoting.policies().law, lender_type(request.lender_type), on, _cost(request))
        return pb.CheckRateCapResponse(
            allowed=all(cap.kept for cap in caps),
            caps=[cap_message(cap) for cap in caps],
            explanations=[cap.explanation for cap in caps],
        )

    async def GetRiskMatrix(self, request: pb.GetRiskMatrixRequest, _context: Context) -> pb.GetRiskMatrixResponse:
        matrix = self._quoting.policies().matrix_on(optional_date(request, "date", self._quoting.today()))
        return pb.GetRiskMatrixResponse(version=matrix.version, cells=[cell_message(cell) for cell in matrix])


def _cost(request: pb.CheckRateCapRequest) -> AnnualisedCost | None:
    """What is checked. A rate given alone is taken with monthly payments to find the other."""
    for name in ("annual_rate_irr", "annual_rate_simple"):
        if request.HasField(name) and not 0 <= getattr(request, name) <= _HIGHEST_RATE:
            raise invalid(name, "RATE_OUT_OF_RANGE", "the rate is a fraction a year, not negative and at most 100")
    if request.HasField("annual_rate_irr"):
        monthly = (1 + request.annual_rate_irr) ** (1 / 12) - 1
        simple = request.annual_rate_simple if request.HasField("annual_rate_simple") else 12 * monthly
        return AnnualisedCost(monthly, request.annual_rate_irr, simple)
    if request.HasField("annual_rate_simple"):
        simple = request.annual_rate_simple
        return AnnualisedCost(simple / 12, simple_to_irr(simple), simple)
    return None
