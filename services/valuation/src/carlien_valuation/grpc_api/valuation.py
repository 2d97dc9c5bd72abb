"""ValuationService: convert in, appraise, convert out."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import grpc

from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2, valuation_service_pb2_grpc
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import DomainError, invalid
from carlien_common.grpc.context import current_caller
from carlien_valuation import metrics
from carlien_valuation.domain.appraisal import Appraisal
from carlien_valuation.grpc_api.answers import appraisal_message, batch_response, fill_appraisal
from carlien_valuation.grpc_api.requests import appraise_request, batch_requests
from carlien_valuation.grpc_api.residuals import residual_request, residual_response
from carlien_valuation.grpc_api.revaluations import outcome, position_of, revaluation_response
from carlien_valuation.grpc_api.streams import gathered
from carlien_valuation.service.appraise import Appraising, Request
from carlien_valuation.service.batching import Batcher
from carlien_valuation.service.residual import Residuals
from carlien_valuation.service.revalue import Position, Refused, Revaluation, Revaluing
from carlien_valuation.service.vehicle_files import VehicleFiles

REVALUE_BATCH = 256
"""Positions of a stream gathered before they are valued."""


class AppraisalStore(Protocol):
    """Keeps recorded appraisals and emits them."""

    async def record(
        self,
        org: str,
        key: str,
        request: bytes,
        asked: Request,
        appraisal: appraisal_pb2.Appraisal,
        cause: appraisal_pb2.AppraisalCause.ValueType,
        valued_at: datetime,
    ) -> valuation_service_pb2.AppraiseResponse:
        """Store the answer with the car it is of and emit, once per key; sets the id, or answers what the first call with this key got."""
        ...


class ValuationServicer(valuation_service_pb2_grpc.ValuationServiceServicer):
    """See the proto."""

    def __init__(
        self,
        appraising: Appraising,
        batcher: Batcher[Request, Appraisal],
        store: AppraisalStore,
        residuals: Residuals,
        revaluing: Revaluing,
        files: VehicleFiles,
        clock: Clock,
    ) -> None:
        self._appraising = appraising
        self._batcher = batcher
        self._store = store
        self._residuals = residuals
        self._revaluing = revaluing
        self._files = files
        self._clock = clock

    async def Appraise(
        self, request: valuation_service_pb2.AppraiseRequest, _context: grpc.aio.ServicerContext[object, object]
    ) -> valuation_service_pb2.AppraiseResponse:
        """Value one car; with `record`, once per idempotency key."""
        if request.record and not request.idempotency_key:
            raise invalid("idempotency_key", "IDEMPOTENCY_KEY_MISSING", "A recorded appraisal needs an idempotency key.")
        asked = appraise_request(request, self._clock().date())
        self._appraising.check(asked)
        (informed,) = await self._files.informed([asked])
        appraisal = self._files.told(informed, await self._batcher.submit(informed.request))
        metrics.counted(appraisal)
        if not request.record:
            response = valuation_service_pb2.AppraiseResponse()
            fill_appraisal(response.appraisal, appraisal)
            return response
        message = appraisal_message(appraisal)
        payload = request.SerializeToString(deterministic=True)
        cause = appraisal_pb2.APPRAISAL_CAUSE_REQUEST
        return await self._store.record(
            current_caller().org, request.idempotency_key, payload, informed.request, message, cause, appraisal.valued_at
        )

    async def BatchAppraise(
        self, request: valuation_service_pb2.BatchAppraiseRequest, _context: grpc.aio.ServicerContext[object, object]
    ) -> valuation_service_pb2.BatchAppraiseResponse:
        """Value many cars at once."""
        asked = batch_requests(request, self._clock().date())
        for one in asked:
            if isinstance(one, Request):
                self._appraising.check_common(one)
                break
        asked = [self._checked(one) for one in asked]
        sound = [one for one in asked if isinstance(one, Request)]
        informed = await self._files.informed(sound)
        appraisals = await self._batcher.call([one.request for one in informed])
        answers = iter([self._files.told(one, appraisal) for one, appraisal in zip(informed, appraisals, strict=True)])
        return batch_response(one if isinstance(one, DomainError) else next(answers) for one in asked)

    def _checked(self, one: Request | DomainError) -> Request | DomainError:
        if isinstance(one, Request):
            try:
                self._appraising.check(one)
            except DomainError as error:
                return error
        return one

    async def ForecastResidual(
        self, request: valuation_service_pb2.ForecastResidualRequest, _context: grpc.aio.ServicerContext[object, object]
    ) -> valuation_service_pb2.ForecastResidualResponse:
        """Value one car month by month ahead."""
        asked = residual_request(request, self._clock().date())
        now = Request(asked.car, (asked.price_type,), asked.valuation_date, asked.currency, pack=asked.pack)
        self._appraising.check(now)
        (informed,) = await self._files.informed([now])
        forecast = await self._residuals.forecast(replace(asked, car=informed.request.car, pack=informed.request.pack))
        forecast = replace(forecast, now=self._files.told(informed, forecast.now))
        metrics.RESIDUALS.labels("valued" if forecast.points else "abstained").inc()
        return residual_response(forecast)

    async def RevaluePortfolio(
        self,
        requests: AsyncIterator[valuation_service_pb2.RevaluePortfolioRequest],
        _context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[valuation_service_pb2.RevaluePortfolioResponse]:
        """Re-mark a book: what has arrived meanwhile is valued together, answers keep the order."""
        async with aclosing(gathered(requests, REVALUE_BATCH)) as batches:
            async for batch in batches:
                today = self._clock().date()
                positions = [position_of(message, today) for message in batch]
                sound = [position for position in positions if isinstance(position, Position)]
                answers: Iterator[Revaluation | Refused] = iter(await self._batcher.turns(self._revaluing.revalue, sound))
                for position in positions:
                    answer = position if isinstance(position, Refused) else next(answers)
                    metrics.REVALUATIONS.labels(outcome(answer)).inc()
                    yield revaluation_response(answer)
