"""ValuationService: convert in, appraise, convert out."""

import grpc

from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2, valuation_service_pb2_grpc
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import DomainError, invalid
from carlien_common.grpc.context import current_caller
from carlien_valuation import metrics
from carlien_valuation.adapters.postgres_appraisals import PostgresAppraisals
from carlien_valuation.domain.appraisal import Appraisal
from carlien_valuation.grpc_api.answers import appraisal_message, batch_answer, batch_error
from carlien_valuation.grpc_api.requests import appraise_request, batch_requests
from carlien_valuation.grpc_api.residuals import residual_request, residual_response
from carlien_valuation.service.appraise import Appraising, Request
from carlien_valuation.service.batching import Batcher
from carlien_valuation.service.residual import Residuals


class ValuationServicer(valuation_service_pb2_grpc.ValuationServiceServicer):
    """See the proto."""

    def __init__(
        self,
        appraising: Appraising,
        batcher: Batcher[Request, Appraisal],
        store: PostgresAppraisals,
        residuals: Residuals,
        clock: Clock,
    ) -> None:
        self._appraising = appraising
        self._batcher = batcher
        self._store = store
        self._residuals = residuals
        self._clock = clock

    async def Appraise(
        self, request: valuation_service_pb2.AppraiseRequest, _context: grpc.aio.ServicerContext[object, object]
    ) -> valuation_service_pb2.AppraiseResponse:
        """Value one car; with `record`, once per idempotency key."""
        if request.record and not request.idempotency_key:
            raise invalid("idempotency_key", "IDEMPOTENCY_KEY_MISSING", "A recorded appraisal needs an idempotency key.")
        asked = appraise_request(request, self._clock().date())
        self._appraising.check(asked)
        appraisal = await self._batcher.submit(asked)
        metrics.counted(appraisal)
        message = appraisal_message(appraisal)
        if not request.record:
            return valuation_service_pb2.AppraiseResponse(appraisal=message)
        payload = request.SerializeToString(deterministic=True)
        return await self._store.record(
            current_caller().org, request.idempotency_key, payload, message, appraisal_pb2.APPRAISAL_CAUSE_REQUEST, appraisal.valued_at
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
        answers = iter(await self._batcher.call(sound) if sound else ())
        results = [batch_error(one) if isinstance(one, DomainError) else batch_answer(next(answers)) for one in asked]
        return valuation_service_pb2.BatchAppraiseResponse(results=results)

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
        self._appraising.check(Request(asked.car, (asked.price_type,), asked.valuation_date, asked.currency))
        return residual_response(await self._residuals.forecast(asked))
