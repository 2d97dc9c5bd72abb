"""ModelService: the model in service, its challengers, their cards, and what realised prices said of them."""

import asyncio
import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import grpc

from carlien.valuation.v1 import model_service_pb2 as pb
from carlien.valuation.v1 import model_service_pb2_grpc
from carlien_common.domain.errors import invalid, not_found
from carlien_common.wire import date_to_proto, instant_to_proto
from carlien_valuation.domain.calibration import Light
from carlien_valuation.domain.model_report import Kind, StoredReport

Context = grpc.aio.ServicerContext[Any, Any]

MOST_CHALLENGERS: Final = 50
_HASH: Final = re.compile(r"[0-9a-f]{64}")
LIGHTS: Final = {
    Light.UNTESTED: pb.TRAFFIC_LIGHT_UNSPECIFIED,
    Light.GREEN: pb.TRAFFIC_LIGHT_GREEN,
    Light.YELLOW: pb.TRAFFIC_LIGHT_YELLOW,
    Light.RED: pb.TRAFFIC_LIGHT_RED,
}


class Reports(Protocol):
    """Stored reports."""

    async def find(self, kind: Kind, digest: str = "", model_version: str = "") -> StoredReport | None:
        """By hash and model where given, else the latest."""
        ...


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """The champion's card was checked at start (`training.store`); challengers are listed as their cards say and checked when promoted."""

    def __init__(self, card: dict[str, Any], directory: Path, store: Path | None, reports: Reports) -> None:
        """`directory` of the model in service; `store`: the folder its challengers lie in, None where there is none."""
        self._champion = _summary(card, pb.MODEL_ROLE_CHAMPION)
        self._card, self._directory, self._store, self._reports = card, directory, store, reports

    async def ListModels(self, _request: pb.ListModelsRequest, _context: Context) -> pb.ListModelsResponse:
        """Champion, challengers, residual methods."""
        challengers = await asyncio.to_thread(self._challengers)
        residual = await self._reports.find("residual")
        return pb.ListModelsResponse(
            models=[self._champion, *(summary for summary, _ in challengers.values())],
            residual_methods=_residual_methods(residual.document) if residual else [],
            residual_report_sha256=residual.sha256 if residual else "",
        )

    async def GetModelCard(self, request: pb.GetModelCardRequest, _context: Context) -> pb.GetModelCardResponse:
        """A listed model's card."""
        if request.model_version in {"", self._champion.model_version}:
            return await asyncio.to_thread(_card, self._champion, self._directory, self._card)
        found = (await asyncio.to_thread(self._challengers)).get(request.model_version)
        if found is None:
            raise not_found("MODEL_UNKNOWN", "There is no such model in service or beside it.")
        summary, directory = found
        return await asyncio.to_thread(_card, summary, directory, _read(directory) or {})

    async def GetCalibrationReport(self, request: pb.GetCalibrationReportRequest, _context: Context) -> pb.GetCalibrationReportResponse:
        """A stored report."""
        if request.report_sha256 and not _HASH.fullmatch(request.report_sha256):
            raise invalid("report_sha256", "HASH_INVALID", "A report is named by 64 hexadecimal digits.")
        if "\0" in request.model_version:
            raise invalid("model_version", "TEXT_INVALID", "A model's version has no zero character.")
        found = await self._reports.find("calibration", request.report_sha256, request.model_version)
        if found is None:
            raise not_found("REPORT_UNKNOWN", "No such calibration report is stored.")
        return pb.GetCalibrationReportResponse(report=_report(found))

    def _challengers(self) -> dict[str, tuple[pb.ModelSummary, Path]]:
        if self._store is None:
            return {}
        found: dict[str, tuple[pb.ModelSummary, Path]] = {}
        paths = sorted(path.parent for path in self._store.glob("*/model.json") if path.parent.name[0] != ".")
        for path in paths[:MOST_CHALLENGERS]:
            card = _read(path)
            if card is not None and card["model_version"] != self._champion.model_version and not path.is_symlink():
                found[card["model_version"]] = _summary(card, pb.MODEL_ROLE_CHALLENGER), path
        return found


def _read(directory: Path) -> dict[str, Any] | None:
    """A card that can be shown; None for what is none."""
    try:
        card: dict[str, Any] = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        _summary(card, pb.MODEL_ROLE_CHALLENGER)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return card


def _card(summary: pb.ModelSummary, directory: Path, card: dict[str, Any]) -> pb.GetModelCardResponse:
    markdown = (directory / "MODEL.md").read_text(encoding="utf-8")
    return pb.GetModelCardResponse(model=summary, card_markdown=markdown, card_json=json.dumps(card, ensure_ascii=False))


def _summary(card: dict[str, Any], role: pb.ModelRole.ValueType) -> pb.ModelSummary:
    data, scores = card["data"], card["out_of_fold"]
    return pb.ModelSummary(
        model_version=card["model_version"],
        role=role,
        currency_code=card["currency"],
        price_kind=data["price_kind"],
        data_cutoff=date_to_proto(date.fromisoformat(data["cutoff"])),
        trained_at=instant_to_proto(datetime.fromisoformat(card["created_at"])),
        cars=data["rows"],
        synthetic=data["synthetic"],
        mape=scores["mape"] / 100,
        coverage80=scores["coverage80"] / 100,
        baseline_mape=card["depreciation_baseline"]["mape"] / 100,
        calibration_report_sha256=card.get("calibration", {}).get("report_sha256", ""),
    )


def _residual_methods(report: dict[str, Any]) -> list[pb.ResidualMethod]:
    """From a report of panel-evaluate: per horizon every method, the one most often chosen as champion."""
    methods: list[pb.ResidualMethod] = []
    for overall in report["overall"]:
        horizon = overall["horizon_months"]
        chosen = [result["champion"] for result in report["results"] if result["horizon_months"] == horizon]
        names = sorted((name for name in overall["methods"] if name != "champion"), key=lambda name: overall["methods"][name]["mape"])
        champion = max(names, key=chosen.count, default="")
        for name in names:
            scores = overall["methods"][name]
            methods.append(
                pb.ResidualMethod(
                    name=name,
                    role=pb.MODEL_ROLE_CHAMPION if name == champion else pb.MODEL_ROLE_CHALLENGER,
                    horizon_months=horizon,
                    origins=overall["origins"],
                    mape=scores["mape"] / 100,
                    coverage80=scores["coverage80"] / 100,
                    pinball=scores["pinball"] / 100,
                    chosen_share=chosen.count(name) / max(len(chosen), 1),
                )
            )
    return methods


def _report(stored: StoredReport) -> pb.CalibrationReport:
    report = stored.document
    found = report["measures"] or {"coverage80": 0.0, "bias": 0.0, "mape": 0.0}
    return pb.CalibrationReport(
        report_sha256=stored.sha256,
        model_version=stored.model_version,
        period_start=date_to_proto(date.fromisoformat(report["period"]["first"])),
        period_end=date_to_proto(date.fromisoformat(report["period"]["last"])),
        created_at=instant_to_proto(stored.created_at),
        sales=report["sales"],
        light=LIGHTS[Light(report["light"])],
        coverage80=found["coverage80"],
        bias=found["bias"],
        mape=found["mape"],
        verdict=report["verdict"],
        report_json=stored.body,
    )
