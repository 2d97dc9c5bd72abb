"""ModelService: the model in service and its card."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import grpc

from carlien.valuation.v1 import model_service_pb2 as pb
from carlien.valuation.v1 import model_service_pb2_grpc
from carlien_common.domain.errors import not_found
from carlien_common.wire import date_to_proto, instant_to_proto

Context = grpc.aio.ServicerContext[Any, Any]


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Answers from the card that was checked at start; see `training.store`."""

    def __init__(self, card: dict[str, Any], directory: Path) -> None:
        self._summary = _summary(card)
        self._json = json.dumps(card, ensure_ascii=False)
        self._markdown = (directory / "MODEL.md").read_text(encoding="utf-8")

    async def ListModels(self, _request: pb.ListModelsRequest, _context: Context) -> pb.ListModelsResponse:
        """The one model in service."""
        return pb.ListModelsResponse(models=[self._summary])

    async def GetModelCard(self, request: pb.GetModelCardRequest, _context: Context) -> pb.GetModelCardResponse:
        """Its card."""
        if request.model_version not in {"", self._summary.model_version}:
            raise not_found("MODEL_UNKNOWN", "There is no such model in service.")
        return pb.GetModelCardResponse(model=self._summary, card_markdown=self._markdown, card_json=self._json)


def _summary(card: dict[str, Any]) -> pb.ModelSummary:
    data, scores = card["data"], card["out_of_fold"]
    return pb.ModelSummary(
        model_version=card["model_version"],
        role=pb.MODEL_ROLE_CHAMPION,
        currency_code=card["currency"],
        price_kind=data["price_kind"],
        data_cutoff=date_to_proto(date.fromisoformat(data["cutoff"])),
        trained_at=instant_to_proto(datetime.fromisoformat(card["created_at"])),
        cars=data["rows"],
        synthetic=data["synthetic"],
        mape=scores["mape"] / 100,
        coverage80=scores["coverage80"] / 100,
        baseline_mape=card["depreciation_baseline"]["mape"] / 100,
    )
