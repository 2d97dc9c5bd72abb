"""CollateralIndexService: converts in, calls a use case, converts out. Errors are mapped by the interceptor."""

import re
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import grpc

from carlien.valuation.v1 import collateral_index_service_pb2 as pb
from carlien.valuation.v1 import collateral_index_service_pb2_grpc
from carlien_common.domain.errors import invalid
from carlien_valuation.domain.index_publication import IndexKey, Method
from carlien_valuation.index_messages import METHOD_NUMBERS, index_message, month_text
from carlien_valuation.service.index import Indices

Context = grpc.aio.ServicerContext[Any, Any]

MAX_NAME = 200
_METHODS: dict[int, Method] = {0: "hedonic", **{number: method for method, number in METHOD_NUMBERS.items()}}
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


class IndexServicer(collateral_index_service_pb2_grpc.CollateralIndexServiceServicer):
    """The rpcs of CollateralIndexService."""

    def __init__(self, indices: Indices) -> None:
        self._indices = indices

    async def ListSegments(self, request: pb.ListSegmentsRequest, _context: Context) -> pb.ListSegmentsResponse:
        segments = await self._indices.segments(_name(request.region, "region", required=False))
        return pb.ListSegmentsResponse(
            segments=[
                pb.IndexSegment(
                    segment=one.key.segment,
                    region=one.key.region,
                    method=METHOD_NUMBERS[one.key.method],
                    vintages=[month_text(vintage) for vintage in one.vintages],
                )
                for one in segments
            ]
        )

    async def GetIndex(self, request: pb.GetIndexRequest, _context: Context) -> pb.GetIndexResponse:
        if request.method not in _METHODS:
            raise invalid("method", "INDEX_METHOD_UNKNOWN", f"{request.method} is no method of an index.")
        key = IndexKey(_name(request.segment, "segment"), _name(request.region, "region"), _METHODS[request.method])
        publication = await self._indices.get(key, _vintage(request.vintage))
        return pb.GetIndexResponse(index=index_message(publication, await self._indices.nowcast(publication)))

    async def StreamIndex(self, request: pb.StreamIndexRequest, _context: Context) -> AsyncIterator[pb.StreamIndexResponse]:
        segment, region = _name(request.segment, "segment", required=False), _name(request.region, "region", required=False)
        async for publication in self._indices.stream(segment, region):
            yield pb.StreamIndexResponse(index=index_message(publication))


def _name(text: str, field: str, *, required: bool = True) -> str:
    if (required and not text) or len(text) > MAX_NAME or (text and not text.isprintable()):
        raise invalid(
            field, "INDEX_NAME_INVALID", f"{field} must be a printable name of at most {MAX_NAME} characters, as ListSegments shows it."
        )
    return text


def _vintage(text: str) -> date | None:
    if not text:
        return None
    found = _MONTH.fullmatch(text)
    if found is None or found[1] == "0000":
        raise invalid("vintage", "VINTAGE_FORMAT", "A vintage is a month, YYYY-MM.")
    return date(int(found[1]), int(found[2]), 1)
