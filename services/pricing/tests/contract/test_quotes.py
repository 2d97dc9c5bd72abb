import asyncio
import os
import sys
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from google.type.date_pb2 import Date
from grpc_status import rpc_status
from pricing_harness import VIN, Service, money, quote_request, vehicle

from carlien.lien.v1 import lien_pb2
from carlien.pricing.v1 import pricing_service_pb2 as pb
from carlien.pricing.v1 import quote_pb2


async def refused(call: Any) -> tuple[grpc.StatusCode, str, set[str]]:
    """Status, ErrorInfo reason, and the fields named."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    reason, fields = "", set()
    for detail in status.details if status else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            assert info.domain == "carlien"
            reason = info.reason
        elif detail.Unpack(bad):
            fields = {violation.field for violation in bad.field_violations}
    return caught.value.code(), reason, fields


class TestQuote:
    async def test_an_offer_with_everything_it_rests_on(self, service: Service) -> None:
        service.neighbours.device_time = datetime.now(UTC) - timedelta(hours=1)
        answer = (await service.pricing.Quote(quote_request())).quote
        assert answer.decision == quote_pb2.DECISION_OFFER
        assert answer.status == quote_pb2.QUOTE_STATUS_OPEN
        assert answer.vin == VIN
        assert answer.appraisal_id.startswith("A-")
        assert answer.ltv_p50 == 0.6
        assert answer.annual_rate_irr > answer.annual_rate_simple > 0
        assert sum(row.principal.units * 10**9 + row.principal.nanos for row in answer.schedule) == 60_000 * 10**9
        assert len(answer.schedule) == 24
        assert answer.rate_cap.rule == "LICENSED_24_PRACTICE"
        assert answer.rate_cap.headroom == pytest.approx(0.24 - answer.annual_rate_irr)
        assert answer.matrix_cell.usage_grade == 1
        assert answer.raroc >= answer.hurdle > 0
        assert answer.expected_loss.units > 0
        assert len(answer.input_hash) == 64
        assert answer.versions.valuation_model == "fake-1"
        assert answer.versions.policies
        assert answer.certificate_number == "C-1"
        assert answer.valued_as == "WHOLESALE"
        stored = (await service.pricing.GetQuote(pb.GetQuoteRequest(quote_id=answer.quote_id))).quote
        assert stored == answer
        (request,) = service.neighbours.appraisal_requests
        assert request.record
        assert request.vehicle == vehicle()
        (forecast,) = service.neighbours.forecast_requests
        assert (forecast.horizon_months, forecast.annual_mileage_km, forecast.vehicle) == (29, 18_000, vehicle())
        assert [reason.code for reason in answer.reasons] == ["MARKET_UNKNOWN"]
        assert (answer.lien_rank, answer.telemetry_trust, answer.versions.engine) == (1, 1.0, "2")
        assert len(answer.loss.cumulative_default_probability) == 24
        assert {step.axis for step in answer.matrix_steps} == {1, 2, 3}
        events = await service.quote_events(lambda found: any(event.quote.quote_id == answer.quote_id for event in found))
        (event,) = [event for event in events if event.quote.quote_id == answer.quote_id]
        assert (event.change, event.quote) == ("quote.made", answer)

    async def test_a_repeat_returns_the_first_answer_and_a_reuse_is_refused(self, service: Service) -> None:
        request = quote_request()
        first, second = await asyncio.gather(service.pricing.Quote(request), service.pricing.Quote(request))
        third = await service.pricing.Quote(request)
        assert first == second == third
        changed = quote_request(idempotency_key=request.idempotency_key, term_months=12)
        assert await refused(service.pricing.Quote(changed)) == (
            grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", set()
        )  # fmt: skip

    async def test_by_a_recorded_appraisal(self, service: Service) -> None:
        appraisal = service.neighbours.appraisal(vin="LSVAU2A35K2100001")
        # The event comes after the question: the service waits for it a moment.
        pending = asyncio.create_task(_quote(service, appraisal_id=appraisal.appraisal_id))
        await service.publish_appraisal(appraisal)
        answer = await pending
        assert answer.vin == "LSVAU2A35K2100001"
        assert answer.appraisal_id == appraisal.appraisal_id
        assert {"USAGE_ASSUMED_COMMERCIAL", "ENERGY_ASSUMED", "VALUE_PATH_ASSUMED"} <= {reason.code for reason in answer.reasons}
        assert service.neighbours.appraisal_requests == []

    async def test_an_appraisal_that_is_not_known(self, service: Service) -> None:
        code, reason, _ = await refused(service.pricing.Quote(quote_request(appraisal_id="A-none")))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "APPRAISAL_NOT_FOUND")

    async def test_a_lien_ahead_declines_with_the_rule(self, service: Service) -> None:
        service.neighbours.liens = [
            lien_pb2.Lien(registration_number="R-7", status=lien_pb2.LIEN_STATUS_ACTIVE, secured_amount=money(20_000)),
            lien_pb2.Lien(registration_number="R-6", status=lien_pb2.LIEN_STATUS_DISCHARGED, secured_amount=money(99_000)),
        ]
        answer = (await service.pricing.Quote(quote_request())).quote
        assert answer.decision == quote_pb2.DECISION_DECLINE
        assert answer.status == quote_pb2.QUOTE_STATUS_DECLINED
        assert answer.ltv_p50 == 0.8
        blocking = {reason.code: reason for reason in answer.reasons if reason.blocking}
        assert blocking["LIEN_AHEAD"].rule == "CIVIL_CODE_414"
        assert "R-7" in blocking["LIEN_AHEAD"].message
        assert answer.counteroffers == []
        refusal = await refused(
            service.pricing.AcceptQuote(pb.AcceptQuoteRequest(quote_id=answer.quote_id, idempotency_key=str(uuid.uuid4())))
        )
        assert refusal[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "QUOTE_DECLINED")

    async def test_an_abstained_appraisal_declines(self, service: Service) -> None:
        service.neighbours.abstain = "UNKNOWN_MODEL"
        answer = (await service.pricing.Quote(quote_request())).quote
        assert "VALUE_ABSTAINED" in {reason.code for reason in answer.reasons if reason.blocking}

    async def test_too_much_is_answered_with_counteroffers(self, service: Service) -> None:
        answer = (await service.pricing.Quote(quote_request(amount=money(95_000)))).quote
        assert answer.decision == quote_pb2.DECISION_DECLINE
        assert answer.counteroffers
        assert max(offer.amount.units for offer in answer.counteroffers) <= 80_000

    @pytest.mark.parametrize(
        ("changes", "reason", "fields"),
        [
            ({"amount": money(0)}, "AMOUNT_NOT_POSITIVE", {"amount"}),
            ({"amount": money(-5)}, "AMOUNT_NOT_POSITIVE", {"amount"}),
            ({"amount": money(5, "XXQ")}, "CURRENCY_UNKNOWN", {"amount.currency_code"}),
            ({"amount": money(1e12)}, "AMOUNT_TOO_LARGE", {"amount"}),
            ({"amount": money(1)}, "AMOUNT_TOO_SMALL", {"amount"}),
            ({"term_months": 0}, "TERM_OUT_OF_RANGE", {"term_months"}),
            ({"term_months": 600}, "TERM_OUT_OF_RANGE", {"term_months"}),
            ({"grace_months": 24}, "GRACE_TOO_LONG", {"grace_months"}),
            ({"balloon": money(70_000)}, "NEVER_AMORTISES", {"balloon"}),
            ({"balloon": money(7, "USD")}, "CURRENCY_MISMATCH", {"balloon"}),
            ({"vehicle": vehicle(vin="LSVAU2A37K2100001")}, "VIN_CHECK_DIGIT", {"vehicle.vin"}),
            ({"vehicle": vehicle(vin="SHORT")}, "VIN_LENGTH", {"vehicle.vin"}),
            ({"lender_type": 0, "product_type": 0}, "FIELD_MISSING", {"lender_type", "product_type"}),
            ({"lender_type": 99}, "ENUM_UNKNOWN", {"lender_type"}),
            ({"quote_date": Date(year=2026, month=2, day=30)}, "DATE_INVALID", {"quote_date"}),
            ({"quote_date": Date(year=2001, month=1, day=1)}, "RULES_NOT_COVERED", {"quote_date"}),
            ({"quote_date": Date(year=9999, month=12, day=31)}, "DATE_OUT_OF_RANGE", {"quote_date"}),
            ({"borrower": quote_pb2.Borrower(probability_of_default=1.5)}, "PROBABILITY_OUT_OF_RANGE", {"borrower.probability_of_default"}),
            ({"fees": [quote_pb2.Fee(kind="GPS", amount=money(0), timing=1)]}, "AMOUNT_NOT_POSITIVE", {"fees[0].amount"}),
            ({"fees": [quote_pb2.Fee(kind="GPS", amount=money(1), timing=0)]}, "FIELD_MISSING", {"fees[0].timing"}),
            ({"fees": [quote_pb2.Fee(kind="GPS", amount=money(60_000), timing=1)]}, "NET_PROCEEDS_NOT_POSITIVE", {"fees"}),
            ({"idempotency_key": ""}, "FIELD_MISSING", {"idempotency_key"}),
            ({"down_payment": money(1)}, "DOWN_PAYMENT_WITHOUT_PURCHASE", {"down_payment"}),
            ({"down_payment": money(-1), "purpose": 2}, "AMOUNT_OUT_OF_RANGE", {"down_payment"}),
            ({"down_payment": money(1, "USD"), "purpose": 2}, "CURRENCY_MISMATCH", {"down_payment"}),
        ],
    )  # fmt: skip
    async def test_bad_input(self, service: Service, changes: dict[str, Any], reason: str, fields: set[str]) -> None:
        refusal = await refused(service.pricing.Quote(quote_request(**changes)))
        assert refusal == (grpc.StatusCode.INVALID_ARGUMENT, reason, fields)


class TestDependencies:
    async def test_what_valuation_refuses_names_our_field(self, service: Service) -> None:
        refusal = await refused(service.pricing.Quote(quote_request(amount=money(60_000, "USD"))))
        assert refusal == (grpc.StatusCode.INVALID_ARGUMENT, "CURRENCY_UNSUPPORTED", {"amount.currency_code"})

    async def test_a_contract_of_tomorrow_rests_on_todays_value(self, service: Service) -> None:
        tomorrow = datetime.now(UTC).date() + timedelta(days=20)
        on = Date(year=tomorrow.year, month=tomorrow.month, day=tomorrow.day)
        answer = (await service.pricing.Quote(quote_request(quote_date=on))).quote
        assert answer.quote_date == on
        today = datetime.now(UTC).date()
        asked = service.neighbours.appraisal_requests[0].valuation_date
        assert (asked.year, asked.month, asked.day) == (today.year, today.month, today.day)

    @pytest.mark.parametrize("how", ["down", "slow"])
    @pytest.mark.parametrize(("name", "reason"), [("valuation", "VALUATION_UNAVAILABLE"), ("lien-registry", "LIEN_REGISTRY_UNAVAILABLE")])
    async def test_no_price_without_a_value_or_a_search(self, service: Service, how: str, name: str, reason: str) -> None:
        setattr(service.neighbours, how, {name})
        request = quote_request()
        assert (await refused(service.pricing.Quote(request)))[:2] == (grpc.StatusCode.UNAVAILABLE, reason)
        setattr(service.neighbours, how, set())
        assert (await service.pricing.Quote(request)).quote.decision == quote_pb2.DECISION_OFFER, "nothing of the failure is kept"

    @pytest.mark.parametrize("how", ["down", "slow"])
    async def test_without_telematics_the_worst_is_assumed(self, service: Service, how: str) -> None:
        service.neighbours.device_time = datetime.now(UTC) - timedelta(days=30)
        known = (await service.pricing.Quote(quote_request())).quote
        setattr(service.neighbours, how, {"telematics"})
        unknown = (await service.pricing.Quote(quote_request())).quote
        assert unknown.matrix_cell.usage_grade == 5
        assert unknown.nominal_rate > known.nominal_rate
        assert "TELEMATICS_UNKNOWN" in {reason.code for reason in unknown.reasons}
        (down,) = unknown.rate_step_downs
        assert down.nominal_rate < unknown.nominal_rate

    @pytest.mark.parametrize("how", ["down", "slow"])
    async def test_without_a_profile_nothing_is_trusted(self, service: Service, how: str) -> None:
        service.neighbours.device_time = datetime.now(UTC)
        trusted = (await service.pricing.Quote(quote_request())).quote
        setattr(service.neighbours, how, {"profile"})
        unknown = (await service.pricing.Quote(quote_request())).quote
        assert "TRUST_UNKNOWN" in {reason.code for reason in unknown.reasons}
        assert not unknown.HasField("telemetry_trust")
        assert unknown.loss.loss_given_default > trusted.loss.loss_given_default
        assert unknown.nominal_rate > trusted.nominal_rate

    async def test_a_profile_that_states_no_trust_is_not_trusted(self, service: Service) -> None:
        service.neighbours.device_time = datetime.now(UTC)
        service.neighbours.trust = None
        answer = (await service.pricing.Quote(quote_request())).quote
        assert "TRUST_UNKNOWN" in {reason.code for reason in answer.reasons}

    async def test_trust_goes_into_what_is_lost(self, service: Service) -> None:
        service.neighbours.device_time = datetime.now(UTC)
        losses = []
        for trust in (1.0, 0.6, 0.1):
            service.neighbours.trust = trust
            answer = (await service.pricing.Quote(quote_request())).quote
            assert answer.telemetry_trust == trust
            losses.append(answer.loss.loss_given_default)
        assert losses == sorted(losses)
        assert losses[0] < losses[-1]

    async def test_a_lien_that_ranks_behind_ours_is_no_obstacle(self, service: Service) -> None:
        service.neighbours.liens = [
            lien_pb2.Lien(registration_number="R-7", status=lien_pb2.LIEN_STATUS_ACTIVE, secured_amount=money(20_000))
        ]
        service.neighbours.ranks = {"": 1, "R-7": 2}
        answer = (await service.pricing.Quote(quote_request())).quote
        assert answer.decision == quote_pb2.DECISION_OFFER
        assert (answer.lien_rank, answer.ltv_p50, answer.prior_claims) == (1, 0.6, money(0))
        service.neighbours.ranks = {"": 2, "R-7": 1}
        answer = (await service.pricing.Quote(quote_request())).quote
        assert "LIEN_AHEAD" in {reason.code for reason in answer.reasons if reason.blocking}
        assert (answer.lien_rank, answer.ltv_p50, answer.prior_claims) == (2, 0.8, money(20_000))

    @pytest.mark.parametrize("how", ["down", "slow"])
    async def test_without_a_rank_everything_registered_is_ahead(self, service: Service, how: str) -> None:
        service.neighbours.liens = [
            lien_pb2.Lien(registration_number="R-7", status=lien_pb2.LIEN_STATUS_ACTIVE, secured_amount=money(20_000)),
            lien_pb2.Lien(registration_number="R-8", status=lien_pb2.LIEN_STATUS_ACTIVE, secured_amount=money(7, "USD")),
        ]
        service.neighbours.ranks = {"": 1, "R-7": 2, "R-8": 3}
        setattr(service.neighbours, how, {"ranks"})
        answer = (await service.pricing.Quote(quote_request())).quote
        assert answer.decision == quote_pb2.DECISION_DECLINE
        assert {"LIEN_AHEAD", "RANK_ASSUMED", "CLAIM_NOT_COUNTED"} <= {reason.code for reason in answer.reasons}
        assert answer.ltv_p50 > 2, "a claim that can't be counted leaves nothing"


class TestAccept:
    async def test_two_at_once_one_wins(self, service: Service) -> None:
        quote = (await service.pricing.Quote(quote_request())).quote
        calls = [
            service.pricing.AcceptQuote(pb.AcceptQuoteRequest(quote_id=quote.quote_id, idempotency_key=str(uuid.uuid4()))) for _ in range(6)
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        codes = Counter(type(outcome).__name__ for outcome in outcomes)
        assert codes == {"AcceptQuoteResponse": 1, "AioRpcError": 5}
        stored = (await service.pricing.GetQuote(pb.GetQuoteRequest(quote_id=quote.quote_id))).quote
        assert stored.status == quote_pb2.QUOTE_STATUS_ACCEPTED
        assert stored.HasField("accepted_at")
        events = await service.quote_events(
            lambda found: any(event.change == "quote.accepted" and event.quote.quote_id == quote.quote_id for event in found)
        )
        assert [event.change for event in events if event.quote.quote_id == quote.quote_id] == ["quote.made", "quote.accepted"]

    async def test_a_repeat_returns_the_first_answer(self, service: Service) -> None:
        quote = (await service.pricing.Quote(quote_request())).quote
        request = pb.AcceptQuoteRequest(quote_id=quote.quote_id, idempotency_key=str(uuid.uuid4()))
        assert await service.pricing.AcceptQuote(request) == await service.pricing.AcceptQuote(request)

    async def test_an_expired_offer(self, service: Service) -> None:
        quote = (await service.pricing.Quote(quote_request())).quote
        service.clock.shift = timedelta(hours=73)
        request = pb.AcceptQuoteRequest(quote_id=quote.quote_id, idempotency_key=str(uuid.uuid4()))
        assert (await refused(service.pricing.AcceptQuote(request)))[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "QUOTE_EXPIRED")
        stored = (await service.pricing.GetQuote(pb.GetQuoteRequest(quote_id=quote.quote_id))).quote
        assert stored.status == quote_pb2.QUOTE_STATUS_EXPIRED

    async def test_an_unknown_quote(self, service: Service) -> None:
        request = pb.AcceptQuoteRequest(quote_id="none", idempotency_key=str(uuid.uuid4()))
        assert (await refused(service.pricing.AcceptQuote(request)))[:2] == (grpc.StatusCode.NOT_FOUND, "QUOTE_NOT_FOUND")
        assert (await refused(service.pricing.GetQuote(pb.GetQuoteRequest(quote_id="none"))))[0] is grpc.StatusCode.NOT_FOUND


class TestRules:
    async def test_rate_caps(self, service: Service) -> None:
        on = Date(year=2021, month=1, day=4)
        golden = {"annual_rate_irr": 0.23698, "annual_rate_simple": 0.21457, "date": on}
        licensed = await service.pricing.CheckRateCap(pb.CheckRateCapRequest(lender_type=quote_pb2.LENDER_TYPE_LICENSED, **golden))
        assert licensed.allowed
        private = await service.pricing.CheckRateCap(pb.CheckRateCapRequest(lender_type=quote_pb2.LENDER_TYPE_PRIVATE, **golden))
        assert not private.allowed
        (cap,) = private.caps
        assert (cap.rule, cap.limit) == ("PRIVATE_4X_LPR", 0.154)
        assert cap.headroom == pytest.approx(0.154 - 0.23698)
        assert cap.in_force_on == on
        assert "15.4 %" in private.explanations[0]

    async def test_the_caps_alone(self, service: Service) -> None:
        answer = await service.pricing.CheckRateCap(pb.CheckRateCapRequest(lender_type=quote_pb2.LENDER_TYPE_MICRO_LOAN))
        assert answer.allowed
        assert not answer.caps[0].HasField("headroom")

    async def test_matrix(self, service: Service) -> None:
        answer = await service.pricing.GetRiskMatrix(pb.GetRiskMatrixRequest())
        assert (answer.version, len(answer.cells)) == ("matrix-2026.2", 175)


async def _quote(service: Service, **changes: Any) -> quote_pb2.Quote:
    return (await service.pricing.Quote(quote_request(**changes))).quote


class TestReplay:
    async def test_bit_for_bit(self, service: Service, postgres_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
        offered = await _quote(service, with_counteroffers=True)
        declined = await _quote(service, amount=money(95_000))
        assert await _replay(postgres_dsn, offered.quote_id, declined.quote_id) == 0
        connection = await asyncpg.connect(postgres_dsn)
        try:
            await connection.execute(
                "UPDATE quotes SET result = replace(result, '\"hurdle\":0.15', '\"hurdle\":0.16') WHERE quote_id = $1", offered.quote_id
            )
            await connection.execute(
                "UPDATE quotes SET inputs = replace(inputs, '95000.00', '94000.00') WHERE quote_id = $1", declined.quote_id
            )
        finally:
            await connection.close()
        assert await _replay(postgres_dsn, offered.quote_id, declined.quote_id) == 1
        said = capsys.readouterr().err
        assert f"{offered.quote_id}: result differs" in said
        assert f"{declined.quote_id}: inputs differ" in said
        assert await _replay(postgres_dsn, "none") == 2


async def _replay(dsn: str, *quote_ids: str) -> int:
    environment = {**os.environ, "CARLIEN_POSTGRES_DSN": dsn}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "carlien_pricing.cli", "replay", *quote_ids, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    sys.stderr.write(errors.decode())
    return process.returncode or 0
