"""CollateralWatchService: converts in, calls a use case, converts out. Errors are mapped by the interceptor."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from carlien.pricing.v1 import collateral_watch_service_pb2 as pb
from carlien.pricing.v1 import collateral_watch_service_pb2_grpc, events_pb2
from carlien_common.domain.errors import invalid
from carlien_common.grpc.context import current_caller
from carlien_pricing.domain.watch_state import Stage
from carlien_pricing.grpc_api.requests import MAX_ID_LENGTH, choose, identifier, watch_command
from carlien_pricing.messages import STAGES, watch_message
from carlien_pricing.service.watching import Watching

_STAGES: dict[int, Stage] = {number: stage for stage, number in STAGES.items()}

Context = grpc.aio.ServicerContext[Any, Any]


class WatchServicer(collateral_watch_service_pb2_grpc.CollateralWatchServiceServicer):
    """The rpcs of CollateralWatchService."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching

    async def WatchLoan(self, request: pb.WatchLoanRequest, _context: Context) -> pb.WatchLoanResponse:
        return pb.WatchLoanResponse.FromString(await self._watching.watch(watch_command(request), current_caller().org))

    async def GetWatch(self, request: pb.GetWatchRequest, _context: Context) -> pb.GetWatchResponse:
        return pb.GetWatchResponse(watch=watch_message(await self._watching.get(identifier(request.loan_id, "loan_id"))))

    async def ListWatches(self, request: pb.ListWatchesRequest, _context: Context) -> pb.ListWatchesResponse:
        stage = choose(_STAGES, request.stage, "stage") if request.stage else None
        if len(request.page_token) > MAX_ID_LENGTH or not request.page_token.isprintable():
            raise invalid("page_token", "PAGE_TOKEN_INVALID", "the page token must come from an earlier answer")
        watches, token = await self._watching.list(stage, request.page_size, request.page_token)
        return pb.ListWatchesResponse(watches=[watch_message(watch) for watch in watches], next_page_token=token)

    async def StreamWatchEvents(
        self, request: pb.StreamWatchEventsRequest, _context: Context
    ) -> AsyncIterator[pb.StreamWatchEventsResponse]:
        loan_id = identifier(request.loan_id, "loan_id") if request.loan_id else ""
        async for told in self._watching.changes(loan_id, request.resume_token):
            event = events_pb2.WatchEvent.FromString(told.event)
            yield pb.StreamWatchEventsResponse(event=event, resume_token=str(told.place))
