"""Valuation over gRPC: what a car fetches in a forced sale."""

from typing import Final

import grpc

from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2, valuation_service_pb2_grpc, vehicle_pb2
from carlien_common.domain.errors import invalid
from carlien_common.grpc.client import to_domain_error
from carlien_common.wire import date_from_proto, money_from_proto
from carlien_lien_registry.service.ranking import Appraised

TIMEOUT_SECONDS: Final = 5.0


class GrpcAppraiser:
    """Appraiser on the valuation service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Take the channel."""
        self._stub = valuation_service_pb2_grpc.ValuationServiceStub(channel)

    async def appraise(self, vehicle: bytes, currency: str) -> Appraised:
        """Appraise without recording; what valuation refuses is told as it told it."""
        request = valuation_service_pb2.AppraiseRequest(
            vehicle=vehicle_pb2.Vehicle.FromString(vehicle),
            price_types=[appraisal_pb2.PRICE_TYPE_FORCED_SALE],
            currency_code=currency,
        )
        try:
            appraisal = (await self._stub.Appraise(request, timeout=TIMEOUT_SECONDS)).appraisal
        except grpc.aio.AioRpcError as error:
            raise to_domain_error(error) from error
        cutoff = date_from_proto(appraisal.data_cutoff, "data_cutoff") if appraisal.HasField("data_cutoff") else None
        if appraisal.abstained:
            return Appraised({}, appraisal.model_version, cutoff, appraisal.abstain_reason)
        if not appraisal.estimates:
            raise invalid("vehicle", "VALUATION_EMPTY", "Valuation gave no estimate.")
        estimate = appraisal.estimates[0]
        values = {"p10": money_from_proto(estimate.p10, "p10"), "p50": money_from_proto(estimate.p50, "p50")}
        return Appraised(values, appraisal.model_version, cutoff)
