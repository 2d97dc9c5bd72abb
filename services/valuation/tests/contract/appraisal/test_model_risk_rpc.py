"""Realised sales reported, the model judged by them, and what ModelService says of it, on the real service."""

import asyncio
import csv
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import numpy as np
import pytest
import yaml
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money

from carlien.valuation.v1 import (
    appraisal_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    valuation_service_pb2,
    vehicle_pb2,
    vehicle_record_pb2,
    vehicle_record_service_pb2,
    vehicle_record_service_pb2_grpc,
)
from carlien_common.domain.vin import check_digit
from carlien_common.grpc.client import to_domain_error
from carlien_common.grpc.credentials import CertificateFiles, channel_credentials
from carlien_common.testing.pki import Pki
from carlien_valuation import metrics
from carlien_valuation.adapters.postgres_outcomes import import_all, outcomes_between
from carlien_valuation.adapters.postgres_reports import PostgresReports, store_report
from carlien_valuation.calibration.canonical import canonical, sha256
from carlien_valuation.calibration.judge import JudgedSales
from carlien_valuation.calibration.report import Subject, calibration_report
from carlien_valuation.cli import main
from carlien_valuation.domain.calibration import Judged
from carlien_valuation.simulation.market import HEADER, MAPPING, simulate

WHOLESALE = appraisal_pb2.PRICE_TYPE_WHOLESALE
SOLD = Date(year=2026, month=7, day=1)


def vin(number: int) -> str:
    text = f"LSVNV2182E2{number:06d}"
    return text[:8] + check_digit(text) + text[9:]


def amount(money: Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / 10**9


@pytest.fixture
async def risk(service: Any, pki: Pki) -> AsyncIterator[grpc.aio.Channel]:
    """The service, as model-risk calls it."""
    mine = pki.certificate("org1", "model-risk")
    credentials = channel_credentials(CertificateFiles(mine.certificate, mine.key, mine.authorities))
    async with grpc.aio.secure_channel(service.address, credentials) as channel:
        yield channel


@pytest.fixture
async def database(service: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(service.dsn)
    yield connection
    await connection.close()


def report(number: int, units: int = 60_000, **changes: Any) -> vehicle_record_service_pb2.ReportOutcomeRequest:
    base: dict[str, Any] = {
        "vin": vin(number), "price": Money(currency_code="CNY", units=units), "price_type": WHOLESALE, "sold_on": SOLD,
        "source": "Auction A", "reference": f"lot {number}",
    }  # fmt: skip
    outcome = vehicle_record_pb2.Outcome(**{**base, **changes})
    return vehicle_record_service_pb2.ReportOutcomeRequest(outcome=outcome, idempotency_key=str(uuid.uuid4()))


async def appraised(service: Any, number: int) -> appraisal_pb2.Appraisal:
    car = vehicle_pb2.Vehicle(
        vin=vin(number), make="大众", model="朗逸", trim="2018款 1.6L 自动舒适版", odometer_km=80_000,
        first_registration=Date(year=2019, month=3, day=15), fuel_type=vehicle_pb2.FUEL_TYPE_PETROL,
    )  # fmt: skip
    request = valuation_service_pb2.AppraiseRequest(vehicle=car, price_types=[WHOLESALE], record=True, idempotency_key=str(uuid.uuid4()))
    answer: appraisal_pb2.Appraisal = (await service.valuation.Appraise(request)).appraisal
    return answer


async def refusal(call: Any) -> tuple[grpc.StatusCode, set[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    error = to_domain_error(raised.value)
    return raised.value.code(), {violation.field for violation in error.violations} or {error.reason}


async def test_a_sale_is_stored_once_and_linked_with_the_appraisal_in_force(service: Any, risk: grpc.aio.Channel, database: Any) -> None:
    stub = vehicle_record_service_pb2_grpc.VehicleRecordServiceStub(risk)
    await appraised(service, 1)
    appraisal = await appraised(service, 1)
    asked = report(1, odometer_km=81_000)
    first = (await stub.ReportOutcome(asked)).outcome
    again = await asyncio.gather(*(stub.ReportOutcome(asked) for _ in range(4)))
    assert {answer.outcome.outcome_id for answer in again} == {first.outcome_id}
    assert first.appraisal_id == appraisal.appraisal_id
    estimate = appraisal.estimates[0]
    assert first.error == pytest.approx(float(amount(estimate.p50)) / 60_000 - 1)
    assert first.within_interval == (amount(estimate.p10) <= 60_000 <= amount(estimate.p90))
    # Another call about the same sale is the same sale; with another price it is a contradiction.
    assert (await stub.ReportOutcome(report(1))).outcome.outcome_id == first.outcome_id
    assert await refusal(stub.ReportOutcome(report(1, units=61_000))) == (grpc.StatusCode.ALREADY_EXISTS, {"OUTCOME_DIFFERS"})
    (held,) = [one for one in await outcomes_between(database, date(2026, 7, 1), date(2026, 7, 1)) if one.vin == vin(1)]
    assert held.car is not None
    assert (held.car.make, held.car.odometer_km, held.answered is not None) == ("大众", 81_000, True)


async def test_a_car_that_was_never_appraised_is_stored_without_a_link(risk: grpc.aio.Channel) -> None:
    stub = vehicle_record_service_pb2_grpc.VehicleRecordServiceStub(risk)
    outcome = (await stub.ReportOutcome(report(2))).outcome
    assert outcome.appraisal_id == ""
    assert not outcome.HasField("error")


async def test_an_import_again_changes_nothing_and_contradictions_are_named(risk: grpc.aio.Channel, database: Any) -> None:
    stub = vehicle_record_service_pb2_grpc.VehicleRecordServiceStub(risk)
    await stub.ReportOutcome(report(3))
    (held,) = [one for one in await outcomes_between(database, date(2026, 7, 1), date(2026, 7, 1)) if one.vin == vin(3)]
    new = replace(held, reference="lot 3b")
    now = datetime(2026, 7, 2, tzinfo=UTC)
    assert (await import_all(database, [held, new], now)).stored == 1
    done = await import_all(database, [held, new, replace(new, price=new.price + new.price)], now)
    assert (done.stored, done.known, done.conflicting) == (0, 2, ("lot 3b",))


async def test_every_bad_field_of_a_sale_is_named(risk: grpc.aio.Channel) -> None:
    stub = vehicle_record_service_pb2_grpc.VehicleRecordServiceStub(risk)
    bad = report(4, vin="x", price=Money(currency_code="CNY", units=-1), price_type=0, sold_on=Date(year=2030, month=1, day=1), source="")
    bad.idempotency_key = ""
    code, fields = await refusal(stub.ReportOutcome(bad))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert fields == {"idempotency_key", "outcome.vin", "outcome.price", "outcome.price_type", "outcome.sold_on", "outcome.source"}


async def test_champion_challenger_and_residual_methods_are_listed(service: Any, database: Any) -> None:
    champion, challenger = (await service.models.ListModels(model_service_pb2.ListModelsRequest())).models
    assert (champion.role, champion.currency_code, champion.synthetic) == (model_service_pb2.MODEL_ROLE_CHAMPION, "CNY", True)
    assert 0 < champion.mape < champion.baseline_mape
    assert (challenger.role, challenger.calibration_report_sha256) == (model_service_pb2.MODEL_ROLE_CHALLENGER, "c" * 64)
    assert challenger.model_version == f"{champion.model_version}+ccccccccc"
    scores = {"mape": 2.2, "coverage80": 80.0, "pinball": 0.7}
    document = {
        "overall": [
            {"horizon_months": 6, "origins": 3, "methods": {"blend": scores, "market_trend": {**scores, "mape": 2.4}, "champion": scores}}
        ],
        "results": [{"horizon_months": 6, "champion": name} for name in ("blend", "blend", "market_trend")],
    }
    digest = await store_report(database, "residual", "", document, datetime(2026, 7, 1, tzinfo=UTC))
    answer = await service.models.ListModels(model_service_pb2.ListModelsRequest())
    assert answer.residual_report_sha256 == digest
    assert [(one.name, one.role, round(one.chosen_share, 2)) for one in answer.residual_methods] == [
        ("blend", model_service_pb2.MODEL_ROLE_CHAMPION, 0.67), ("market_trend", model_service_pb2.MODEL_ROLE_CHALLENGER, 0.33),
    ]  # fmt: skip


async def test_a_models_card_is_shown_by_version(service: Any) -> None:
    models = (await service.models.ListModels(model_service_pb2.ListModelsRequest())).models
    card = await service.models.GetModelCard(model_service_pb2.GetModelCardRequest())
    assert card.model == models[0]
    assert card.card_markdown.startswith(f"# Appraisal model {models[0].model_version}")
    other = await service.models.GetModelCard(model_service_pb2.GetModelCardRequest(model_version=models[1].model_version))
    assert other.model == models[1]
    assert "## Recalibrated" in other.card_markdown
    asked = model_service_pb2.GetModelCardRequest(model_version="other")
    assert await refusal(service.models.GetModelCard(asked)) == (grpc.StatusCode.NOT_FOUND, {"MODEL_UNKNOWN"})


async def test_a_calibration_report_is_served_by_its_hash_word_for_word(risk: grpc.aio.Channel, database: Any) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(risk)
    asked = model_service_pb2.GetCalibrationReportRequest
    assert await refusal(stub.GetCalibrationReport(asked())) == (grpc.StatusCode.NOT_FOUND, {"REPORT_UNKNOWN"})
    assert await refusal(stub.GetCalibrationReport(asked(report_sha256="zz"))) == (grpc.StatusCode.INVALID_ARGUMENT, {"report_sha256"})
    empty = np.zeros(0)
    subject = Subject("m1", date(2026, 6, 30), JudgedSales((), Judged(empty, empty, empty, empty), Counter()), {})
    period = (date(2026, 7, 1), date(2026, 9, 30))
    now = datetime(2026, 10, 1, tzinfo=UTC)
    document = calibration_report(subject, [], [], period, now=now, basis="")
    digest = await store_report(database, "calibration", "m1", document, now)
    assert await store_report(database, "calibration", "m1", document, now) == digest
    found = (await stub.GetCalibrationReport(asked(report_sha256=digest))).report
    assert (found.model_version, found.verdict, found.sales) == ("m1", "KEEP", 0)
    assert found.light == model_service_pb2.TRAFFIC_LIGHT_UNSPECIFIED
    assert sha256(found.report_json) == digest
    assert found.report_json == canonical(document)
    assert await refusal(stub.GetCalibrationReport(asked(model_version="m2"))) == (grpc.StatusCode.NOT_FOUND, {"REPORT_UNKNOWN"})


async def test_the_gauges_show_the_latest_report_of_the_model(database: Any) -> None:
    document = {
        "lights": {"outside": "YELLOW"}, "light": "YELLOW", "drift": {"make": {"psi": 0.3}}, "sales": 120,
        "measures": {"coverage80": 0.75, "bias": 0.02, "mape": 0.09},
        "challengers": [
            {"model_version": "m10", "champion": {"mape": 0.09}, "challenger": {"mape": 0.08}},
            {"model_version": "m11", "champion": {}, "challenger": {}},
        ],
    }  # fmt: skip
    digest = await store_report(database, "calibration", "m9", document, datetime(2026, 10, 2, tzinfo=UTC))
    shown: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    watching = asyncio.create_task(PostgresReports(database).watch("m9", shown.set_result))
    async with asyncio.timeout(20):
        stored = await shown
    watching.cancel()
    assert stored.sha256 == digest
    metrics.show_calibration(stored)
    assert metrics.CALIBRATION_LIGHT.labels("overall")._value.get() == 2
    assert metrics.CALIBRATION_COVERAGE._value.get() == 0.75
    assert metrics.DRIFT.labels("make")._value.get() == 0.3
    (shown_gain,) = metrics.CHALLENGER_GAIN.collect()[0].samples
    assert (shown_gain.labels["model_version"], round(shown_gain.value, 4)) == ("m10", 0.01)


async def test_sales_of_a_file_judge_the_model_and_the_report_is_served(
    service: Any, risk: grpc.aio.Channel, model_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quarter's two commands, as a person types them."""
    sold, mapping, report = tmp_path / "sales.csv", tmp_path / "sales.yaml", tmp_path / "r.json"
    with sold.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(simulate(500, 21, date(2026, 9, 30)))
    section = {"source": "Auction B", "price_type": "DEALER_RETAIL", "reference": "listing"}
    mapping.write_text(yaml.safe_dump({**yaml.safe_load(MAPPING), "outcomes": section}, allow_unicode=True), encoding="utf-8")
    monkeypatch.setenv("CARLIEN_POSTGRES_DSN", service.dsn)
    importing = ["outcomes", "import", str(sold), "--mapping", str(mapping)]
    assert await asyncio.to_thread(main, importing) == 0
    assert await asyncio.to_thread(main, importing) == 0
    calibrating = ["calibrate", "--model", str(model_directory), "--from", "2026-07-02", "--to", "2026-09-30", "--report", str(report)]
    assert await asyncio.to_thread(main, calibrating) in {0, 1}
    written = json.loads(report.read_text())
    assert 30 < written["sales"] < 100
    stub = model_service_pb2_grpc.ModelServiceStub(risk)
    asked = model_service_pb2.GetCalibrationReportRequest(model_version=written["model_version"])
    served = (await stub.GetCalibrationReport(asked)).report
    assert json.loads(served.report_json) == written
    assert (served.sales, served.report_sha256) == (written["sales"], sha256(canonical(written)))
