import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from pricing_harness import Service, eventually, money, quote_request, vehicle
from test_quotes import refused

from carlien.lien.v1 import lien_pb2
from carlien.pricing.v1 import collateral_watch_service_pb2 as watch_pb
from carlien.pricing.v1 import pricing_service_pb2 as pb
from carlien.pricing.v1 import quote_pb2, watch_pb2
from carlien.telematics.v1 import alert_pb2, profile_pb2
from carlien.valuation.v1 import appraisal_pb2, collateral_index_pb2
from carlien.valuation.v1 import events_pb2 as valuation_events_pb2

VINS = iter(f"WDBEA30D3HA{number:06d}" for number in range(391172, 399999))


def own_vin() -> str:
    """A car of its own for each test (a German maker's check digit is only a warning)."""
    return next(VINS)


async def accepted(service: Service, vin: str) -> str:
    quote = (await service.pricing.Quote(quote_request(vehicle=vehicle(vin=vin)))).quote
    await service.pricing.AcceptQuote(pb.AcceptQuoteRequest(quote_id=quote.quote_id, idempotency_key=str(uuid.uuid4())))
    return quote.quote_id


async def accepted_all(service: Service, vins: list[str]) -> dict[str, str]:
    """A few at a time: the neighbours' deadlines are short here."""
    few = asyncio.Semaphore(4)

    async def one(vin: str) -> str:
        async with few:
            return await accepted(service, vin)

    return dict(zip(vins, await asyncio.gather(*(one(vin) for vin in vins)), strict=True))


async def watched(service: Service, vin: str, **changes: Any) -> watch_pb2.Watch:
    base = {
        "loan_id": f"L-{uuid.uuid4()}",
        "vin": vin,
        "quote_id": await accepted(service, vin),
        "outstanding": money(60_000),
        "idempotency_key": str(uuid.uuid4()),
    }
    return (await service.watching.WatchLoan(watch_pb.WatchLoanRequest(**{**base, **changes}))).watch


async def state(service: Service, loan_id: str) -> watch_pb2.Watch:
    return (await service.watching.GetWatch(watch_pb.GetWatchRequest(loan_id=loan_id))).watch


def lien(vin: str, number: str, **changes: Any) -> lien_pb2.Lien:
    base: dict[str, Any] = {
        "registration_number": number,
        "vin": vin,
        "lien_class": lien_pb2.LIEN_CLASS_MORTGAGE,
        "status": lien_pb2.LIEN_STATUS_ACTIVE,
        "secured_party_msp_id": "Org1MSP",
        "secured_amount": money(60_000),
    }
    return lien_pb2.Lien(**{**base, **changes})


async def test_one_loan_from_first_mark_to_discharge(service: Service) -> None:
    vin = own_vin()
    first = await watched(service, vin)
    assert first.stage == watch_pb2.WATCH_STAGE_NORMAL
    assert first.ltv_p50 == 0.6
    assert await state(service, first.loan_id) == first

    await service.publish_lien(lien(vin, "R-1"), "lien.registered", 10)

    async def registered() -> bool:
        return (await state(service, first.loan_id)).registration_number == "R-1"

    await eventually(registered)

    newer = service.neighbours.appraisal(vin, p50=55_000)
    await service.publish_appraisal(newer, appraisal_pb2.APPRAISAL_CAUSE_USAGE)

    async def marked() -> Any:
        found = await state(service, first.loan_id)
        return found if found.appraisal_id == newer.appraisal_id else None

    called = await eventually(marked)
    assert called.stage == watch_pb2.WATCH_STAGE_MARGIN_CALL
    assert called.ltv_p50 == pytest.approx(60_000 / 55_000)
    assert called.driver_loss == money(45_000)
    assert called.market_loss == money(0)
    assert called.HasField("cure_until")

    service.clock.shift = timedelta(days=11)

    async def accelerated() -> bool:
        return (await state(service, first.loan_id)).stage == watch_pb2.WATCH_STAGE_ACCELERATION

    await eventually(accelerated)

    await service.publish_lien(lien(vin, "R-1", status=lien_pb2.LIEN_STATUS_DISCHARGED), "lien.discharged", 11)

    async def closed() -> bool:
        return (await state(service, first.loan_id)).stage == watch_pb2.WATCH_STAGE_CLOSED

    await eventually(closed)
    events = await service.watch_events(lambda found: any(event.watch.vin == vin and event.change == "watch.closed" for event in found))
    assert [(event.change, event.cause) for event in events if event.watch.vin == vin] == [
        ("watch.started", "request"),
        ("watch.marked", "lien"),
        ("watch.stage_changed", "appraisal"),
        ("watch.stage_changed", "cure_period"),
        ("watch.closed", "lien"),
    ]


async def test_appraisals_twice_and_out_of_order(service: Service) -> None:
    vin = own_vin()
    watch = await watched(service, vin)
    now = datetime.now(UTC)
    newer = service.neighbours.appraisal(vin, p50=90_000, at=now + timedelta(seconds=20))
    older = service.neighbours.appraisal(vin, p50=70_000, at=now + timedelta(seconds=10))
    last = service.neighbours.appraisal(vin, p50=80_000, at=now + timedelta(seconds=30))
    for appraisal, ce_id in ((newer, "n"), (older, "o"), (newer, "n"), (newer, "n2"), (last, "l")):
        await service.publish_appraisal(appraisal, ce_id=f"{vin}-{ce_id}")

    async def settled() -> bool:
        return (await state(service, watch.loan_id)).appraisal_id == last.appraisal_id

    await eventually(settled)
    events = await service.watch_events(lambda found: sum(event.watch.vin == vin for event in found) >= 3)
    marks = [event.watch.appraisal_id for event in events if event.watch.vin == vin and event.change == "watch.marked"]
    assert marks == [newer.appraisal_id, last.appraisal_id]


async def test_what_happened_before_the_watch_is_known(service: Service) -> None:
    vin = own_vin()
    quote_id = await accepted(service, vin)
    newer = service.neighbours.appraisal(vin, p50=80_000)
    await service.publish_appraisal(newer)
    await service.publish_lien(lien(vin, "R-2"), "lien.registered", 20)

    async def held() -> bool:
        watch = await watched(service, vin, quote_id=quote_id)
        return (watch.appraisal_id, watch.registration_number) == (newer.appraisal_id, "R-2")

    await eventually(held)


async def test_a_lien_and_a_watch_that_arrive_together_find_each_other(service: Service) -> None:
    vins = [own_vin() for _ in range(40)]
    quotes = await accepted_all(service, vins)

    async def together(number: int, vin: str) -> str:
        told = asyncio.create_task(service.publish_lien(lien(vin, f"R-T{number}"), "lien.registered", 1000 + number))
        # From before the event is on the broker to after it was consumed: somewhere in between the two meet in the database.
        await asyncio.sleep(number * 0.0005)
        watch = await watched(service, vin, quote_id=quotes[vin])
        await told
        return watch.loan_id

    loans = [await together(number, vin) for number, vin in enumerate(quotes)]

    async def all_registered() -> bool:
        return [(await state(service, loan)).registration_number for loan in loans] == [f"R-T{number}" for number in range(len(loans))]

    await eventually(all_registered)


async def test_a_lien_event_from_before_what_is_held_changes_nothing(service: Service) -> None:
    vin = own_vin()
    watch = await watched(service, vin)
    theirs = {"lien_class": lien_pb2.LIEN_CLASS_POSSESSORY, "secured_party_msp_id": "Org2MSP"}
    await service.publish_lien(lien(vin, "R-5", status=lien_pb2.LIEN_STATUS_DISCHARGED, **theirs), "lien.discharged", 51)
    await service.publish_lien(lien(vin, "R-5", **theirs), "lien.registered", 50)
    await service.publish_lien(lien(vin, "R-6"), "lien.registered", 52)

    async def registered() -> Any:
        found = await state(service, watch.loan_id)
        return found if found.registration_number == "R-6" else None

    assert (await eventually(registered)).stage == watch_pb2.WATCH_STAGE_NORMAL


async def test_a_possessory_lien_of_another_ranks_ahead(service: Service) -> None:
    vin = own_vin()
    watch = await watched(service, vin)
    possessory = lien(vin, "R-3", lien_class=lien_pb2.LIEN_CLASS_POSSESSORY, secured_party_msp_id="Org2MSP")
    mortgage = lien(vin, "R-4", secured_party_msp_id="Org2MSP")
    await service.publish_lien(mortgage, "lien.registered", 30)
    await service.publish_lien(possessory, "lien.registered", 31)

    async def noticed() -> Any:
        found = await state(service, watch.loan_id)
        return found if found.stage == watch_pb2.WATCH_STAGE_NOTICE else None

    assert list((await eventually(noticed)).stage_reasons) == ["LIEN_AHEAD"]


async def test_outstanding_changes_and_repeats(service: Service) -> None:
    vin = own_vin()
    watch = await watched(service, vin)
    request = watch_pb.WatchLoanRequest(
        loan_id=watch.loan_id, vin=vin, quote_id=watch.quote_id, outstanding=money(95_000), idempotency_key=str(uuid.uuid4())
    )
    changed = (await service.watching.WatchLoan(request)).watch
    assert (changed.outstanding, changed.stage) == (money(95_000), watch_pb2.WATCH_STAGE_NOTICE)
    assert (await service.watching.WatchLoan(request)).watch == changed
    other = watch_pb.WatchLoanRequest()
    other.CopyFrom(request)
    other.idempotency_key = str(uuid.uuid4())
    other.quote_id = "another"
    assert (await refused(service.watching.WatchLoan(other)))[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "LOAN_ID_TAKEN")


async def test_what_is_refused(service: Service) -> None:
    vin = own_vin()
    quote = (await service.pricing.Quote(quote_request(vehicle=vehicle(vin=vin)))).quote

    async def attempt(**changes: Any) -> tuple[grpc.StatusCode, str, set[str]]:
        base = {"loan_id": "L-x", "vin": vin, "quote_id": quote.quote_id, "outstanding": money(1), "idempotency_key": str(uuid.uuid4())}
        return await refused(service.watching.WatchLoan(watch_pb.WatchLoanRequest(**{**base, **changes})))

    assert (await attempt())[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "QUOTE_NOT_ACCEPTED")
    assert (await attempt(quote_id="none"))[:2] == (grpc.StatusCode.NOT_FOUND, "QUOTE_NOT_FOUND")
    assert await attempt(outstanding=money(-1)) == (grpc.StatusCode.INVALID_ARGUMENT, "AMOUNT_NEGATIVE", {"outstanding"})
    assert await attempt(outstanding=money(1e15)) == (grpc.StatusCode.INVALID_ARGUMENT, "AMOUNT_TOO_LARGE", {"outstanding"})
    assert await attempt(loan_id="", vin="x") == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_MISSING", {"loan_id", "vin"})
    await service.pricing.AcceptQuote(pb.AcceptQuoteRequest(quote_id=quote.quote_id, idempotency_key=str(uuid.uuid4())))
    assert (await attempt(vin=own_vin()))[1] == "VIN_MISMATCH"
    assert (await attempt(outstanding=money(1, "USD")))[1] == "CURRENCY_MISMATCH"
    assert (await refused(service.watching.GetWatch(watch_pb.GetWatchRequest(loan_id="none"))))[1] == "WATCH_NOT_FOUND"
    assert (await refused(service.watching.ListWatches(watch_pb.ListWatchesRequest(page_size=-1))))[1] == "PAGE_SIZE_OUT_OF_RANGE"


async def test_pages(service: Service) -> None:
    made = {(await watched(service, own_vin())).loan_id for _ in range(5)}
    found: list[str] = []
    token = ""
    while True:
        answer = await service.watching.ListWatches(watch_pb.ListWatchesRequest(page_size=2, page_token=token))
        assert len(answer.watches) <= 2
        found += [watch.loan_id for watch in answer.watches]
        token = answer.next_page_token
        if not token:
            break
    assert found == sorted(set(found))
    assert made <= set(found)
    closed = await service.watching.ListWatches(watch_pb.ListWatchesRequest(stage=watch_pb2.WATCH_STAGE_CLOSED, page_size=1000))
    assert all(watch.stage == watch_pb2.WATCH_STAGE_CLOSED for watch in closed.watches)


async def test_the_stream_goes_on_where_another_ended(service: Service) -> None:
    vin = own_vin()
    quote_id = await accepted(service, vin)
    stream = service.watching.StreamWatchEvents(watch_pb.StreamWatchEventsRequest())
    reading = asyncio.create_task(stream.read())
    # The stream begins with what happens after the server took the call up, which nothing tells: so make changes until one arrives.
    first = None
    while first is None:
        watch = await watched(service, vin, quote_id=quote_id)
        done, _ = await asyncio.wait([reading], timeout=1)
        first = reading.result() if done else None
    assert first.event.change == "watch.started"
    stream.cancel()

    await watched(service, vin, quote_id=quote_id, loan_id=watch.loan_id, outstanding=money(50_000))
    await watched(service, vin, quote_id=quote_id, loan_id=watch.loan_id, outstanding=money(99_000))
    request = watch_pb.StreamWatchEventsRequest(loan_id=watch.loan_id, resume_token=first.resume_token)
    resumed = service.watching.StreamWatchEvents(request)
    found = []
    while len(found) < 2 or found[-1].event.watch.outstanding != money(99_000):
        found.append(await resumed.read())
    resumed.cancel()
    places = [tuple(map(int, answer.resume_token.split("."))) for answer in found]
    assert places == sorted(places)
    assert {answer.event.watch.loan_id for answer in found} == {watch.loan_id}
    assert [answer.event.change for answer in found][-2:] == ["watch.marked", "watch.stage_changed"]

    bad = service.watching.StreamWatchEvents(watch_pb.StreamWatchEventsRequest(resume_token="x.y"))
    assert await refused(bad.read()) == (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID", {"resume_token"})


async def test_a_record_that_cannot_be_read_does_not_stop_the_others(service: Service) -> None:
    vin = own_vin()
    watch = await watched(service, vin)
    bad = service.neighbours.appraisal(vin)
    bad.estimates[0].p10.CopyFrom(money(10**9))
    bad.valued_at.FromDatetime(datetime(2030, 1, 1, tzinfo=UTC))
    await service.publish_appraisal(bad)
    good = service.neighbours.appraisal(vin, p50=90_000)
    await service.publish_appraisal(good)

    async def marked() -> bool:
        return (await state(service, watch.loan_id)).appraisal_id == good.appraisal_id

    await eventually(marked)


def alert(vin: str, revision: int, *, closed: bool = False, **changes: Any) -> alert_pb2.Alert:
    base: dict[str, Any] = {
        "alert_id": f"C-{vin}",
        "vin": vin,
        "kind": alert_pb2.ALERT_KIND_DEVICE_REMOVED,
        "severity": alert_pb2.ALERT_SEVERITY_CRITICAL,
        "state": alert_pb2.ALERT_STATE_CLOSED if closed else alert_pb2.ALERT_STATE_OPEN,
        "revision": revision,
    }
    return alert_pb2.Alert(**{**base, **changes})


async def told_of(service: Service, vin: str, count: int) -> list[tuple[str, str, int]]:
    """The first `count` changes of this car's watch, once they were told, as (change, cause, tier)."""
    found = await service.watch_events(lambda made: sum(event.watch.vin == vin for event in made) >= count)
    return [(event.change, event.cause, event.watch.monitoring_tier) for event in found if event.watch.vin == vin]


async def test_an_alert_twice_and_out_of_order(service: Service) -> None:
    vin = own_vin()
    service.neighbours.device_time = datetime.now(UTC)  # so that the cell's own tier is 1
    watch = await watched(service, vin)
    for revision, closed in ((2, False), (1, False), (2, False), (4, True), (3, False)):
        await service.publish_alert(alert(vin, revision, closed=closed))
    # Behind them in the same partition: when this one is seen, they were.
    await service.publish_alert(alert(vin, 1, alert_id=f"D-{vin}", kind=alert_pb2.ALERT_KIND_LONG_STOP, severity=2))

    async def settled() -> Any:
        found = await state(service, watch.loan_id)
        return found if found.monitoring_tier == 2 else None

    found = await eventually(settled)
    assert [(held.alert_id, list(held.kinds), held.severity) for held in found.open_alerts] == [(f"D-{vin}", ["LONG_STOP"], "WARNING")]
    assert found.stage == watch_pb2.WATCH_STAGE_NORMAL
    assert await told_of(service, vin, 4) == [
        ("watch.started", "request", 1),
        ("watch.stage_changed", "alert", 3),
        ("watch.stage_changed", "alert", 1),
        ("watch.marked", "alert", 2),
    ]


async def test_what_telematics_told_before_the_watch_is_known(service: Service) -> None:
    vin = own_vin()
    await service.publish_alert(alert(vin, 1))
    now = datetime.now(UTC)
    trust = profile_pb2.TelemetryTrust(score=0.5)
    await service.publish_profile(profile_pb2.BehaviourProfile(vin=vin, risk_score=60, trust=trust), now)
    await service.publish_profile(profile_pb2.BehaviourProfile(vin=vin, risk_score=90), now - timedelta(days=1))
    quote_id = await accepted(service, vin)

    async def begun() -> Any:
        watch = await watched(service, vin, quote_id=quote_id)
        return watch if watch.open_alerts and watch.HasField("usage_risk_score") else None

    watch = await eventually(begun)
    assert (watch.stage, list(watch.stage_reasons)) == (watch_pb2.WATCH_STAGE_NOTICE, ["ALERT_DEVICE_REMOVED"])
    assert (watch.usage_risk_score, watch.telemetry_trust, watch.monitoring_tier) == (60, 0.5, 3)


async def test_a_profile_moves_the_tier_once(service: Service) -> None:
    vin = own_vin()
    service.neighbours.device_time = datetime.now(UTC)  # so that the cell's own tier is 1
    watch = await watched(service, vin)
    now = datetime.now(UTC)
    for risk, minutes in ((60, 2), (90, 1), (60, 2), (58, 3), (20, 4)):
        profile = profile_pb2.BehaviourProfile(vin=vin, risk_score=risk, trust=profile_pb2.TelemetryTrust(score=0.9))
        await service.publish_profile(profile, now + timedelta(minutes=minutes))

    async def settled() -> bool:
        return (await state(service, watch.loan_id)).usage_risk_score == 20

    await eventually(settled)
    assert await told_of(service, vin, 3) == [
        ("watch.started", "request", 1),
        ("watch.marked", "profile", 2),
        ("watch.marked", "profile", 1),
    ]


async def test_a_dealers_stock_is_audited_by_telematics(service: Service) -> None:
    vin = own_vin()
    service.neighbours.device_time = datetime.now(UTC)
    request = quote_request(
        vehicle=vehicle(vin=vin),
        product_type=quote_pb2.PRODUCT_TYPE_DEALER_STOCK,
        repayment_method=quote_pb2.REPAYMENT_METHOD_INTEREST_ONLY,
        term_months=12,
    )
    quote = (await service.pricing.Quote(request)).quote
    await service.pricing.AcceptQuote(pb.AcceptQuoteRequest(quote_id=quote.quote_id, idempotency_key=str(uuid.uuid4())))
    watch = await watched(service, vin, quote_id=quote.quote_id)
    assert watch.HasField("next_stock_audit_at")
    service.clock.shift = timedelta(days=7, minutes=1)

    async def failed() -> Any:
        found = await state(service, watch.loan_id)
        return found if found.stage == watch_pb2.WATCH_STAGE_NOTICE else None

    assert list((await eventually(failed)).stage_reasons) == ["STOCK_AUDIT_DEVICE_SILENT"]
    service.neighbours.device_time = datetime.now(UTC) + timedelta(days=14)
    service.clock.shift = timedelta(days=14, minutes=2)

    async def passed() -> bool:
        return (await state(service, watch.loan_id)).stage == watch_pb2.WATCH_STAGE_NORMAL

    await eventually(passed)


# The index stays: tests behind these find the market where they left it.


async def test_the_market_moves_marks_between_appraisals(service: Service) -> None:
    vin = own_vin()
    watch = await watched(service, vin)
    month = datetime.now(UTC)
    later = (month.replace(day=1) + timedelta(days=40)).strftime("%Y-%m")

    def index(segment: str, level: float) -> valuation_events_pb2.IndexPublished:
        points = [
            collateral_index_pb2.IndexPoint(month=month.strftime("%Y-%m"), level=100),
            collateral_index_pb2.IndexPoint(month=later, level=level),
        ]
        made = collateral_index_pb2.CollateralIndex(segment=segment, region="CN", vintage=later, points=points)
        return valuation_events_pb2.IndexPublished(index=made)

    await service.publish(service.settings.index_topic, "make:x/CN", index("make:x", 10.0))
    await service.publish(service.settings.index_topic, "all/CN", index("all", 58.0))

    async def called() -> Any:
        found = await state(service, watch.loan_id)
        return found if found.stage == watch_pb2.WATCH_STAGE_MARGIN_CALL else None

    found = await eventually(called)
    assert found.value_p50 == money(58_000)
    assert "NOT_DRIVER_CAUSED" in found.stage_reasons
    events = await service.watch_events(lambda made: sum(event.watch.vin == vin for event in made) >= 2)
    assert [event.cause for event in events if event.watch.vin == vin] == ["request", "index"]


async def test_watches_that_begin_while_an_index_is_published_are_carried_on_too(service: Service) -> None:
    vins = [own_vin() for _ in range(20)]
    quotes = await accepted_all(service, vins)
    month = datetime.now(UTC)
    points = [
        collateral_index_pb2.IndexPoint(month=month.strftime("%Y-%m"), level=100),
        collateral_index_pb2.IndexPoint(month=(month + timedelta(days=400)).strftime("%Y-%m"), level=90),
    ]
    index = collateral_index_pb2.CollateralIndex(segment="all", region="CN", vintage="2999-12", points=points)
    published = asyncio.create_task(
        service.publish(service.settings.index_topic, "all/CN", valuation_events_pb2.IndexPublished(index=index))
    )
    # From before the index is on the broker to after it was consumed.
    loans = [(await watched(service, vin, quote_id=quote)).loan_id for vin, quote in quotes.items()]
    await published

    async def all_carried_on() -> bool:
        found = [await state(service, loan) for loan in loans]
        return all((watch.index_vintage, watch.value_p50) == ("2999-12", money(90_000)) for watch in found)

    await eventually(all_carried_on)
