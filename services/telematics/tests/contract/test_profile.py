"""Trips and profile of a simulated car's ten days, sent by its device over a real socket."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import grpc
import pytest

from carlien.telematics.v1 import events_pb2, profile_pb2, telematics_service_pb2, telematics_service_pb2_grpc
from carlien_common.wire import instant_to_proto
from carlien_telematics.codecs.gb32960 import Response
from carlien_telematics.simulator.fleet import simulated_origin, vin_of
from carlien_telematics.simulator.lives import DAY_S, Life, habits
from carlien_telematics.simulator.motion import Car, odometer_at_start
from carlien_telematics.simulator.terminals import Gb32960Frames
from carlien_telematics.testing.gateway import login
from carlien_telematics.testing.service import ICCID, Service

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

DAYS = 10
VIN = vin_of(77, 1)
ORIGIN = simulated_origin(datetime.now(UTC) - timedelta(days=DAYS + 7))
CAR = Car(77, 1, habits(77, 1, Life.PRIVATE), odometer_at_start(77, 1, Life.PRIVATE))


def moments() -> list[float]:
    """Every minute of a drive and a little around it, every half hour else."""
    times = {float(at) for at in range(0, DAYS * DAY_S, 1800)}
    for trip in CAR.trips(DAYS * DAY_S):
        times.update(float(at) for at in range(int(trip.start_s) - 60, int(trip.end_s) + 120, 60))
    return sorted(times)


async def test_ten_days_make_trips_and_a_profile(service: Service, database: "Connection") -> None:
    await service.admit(VIN)
    frames = Gb32960Frames(VIN)
    device = await service.connect()
    assert await device.ask(login(VIN, ICCID)) == Response.SUCCESS
    times = moments()
    raws = [frames.record(CAR.read(at), ORIGIN + timedelta(seconds=at), fix=True) for at in times]
    sending = asyncio.create_task(device.send(*raws))
    for _ in raws:
        assert (await device.answer()).response == Response.SUCCESS
    await sending
    async with asyncio.timeout(60):
        while await database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", VIN) < len(raws):  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    start, end = ORIGIN, ORIGIN + timedelta(days=DAYS)
    true = CAR.trips(DAYS * DAY_S)
    request = telematics_service_pb2.ListTripsRequest(vin=VIN, start_time=instant_to_proto(start), end_time=instant_to_proto(end))
    found = (await service.telematics.ListTrips(request)).trips
    assert abs(len(found) - len(true)) <= 1
    assert sum(trip.distance_km for trip in found) == pytest.approx(sum(trip.distance_km for trip in true), rel=0.05)

    seen = (
        await service.telematics.GetBehaviourProfile(
            telematics_service_pb2.GetBehaviourProfileRequest(vin=VIN, end_time=instant_to_proto(end), days=DAYS)
        )
    ).profile
    assert seen.usage_nature == profile_pb2.USAGE_NATURE_PRIVATE
    assert seen.odometer_plausible
    assert seen.coverage > 0.9
    assert seen.main_overnight_share > 0.8
    assert "simulator" in seen.validation
    reads = await database.fetch("SELECT rpc, rows_read FROM track_read WHERE vin = $1 ORDER BY read_id", VIN)
    assert [(row["rpc"], row["rows_read"]) for row in reads] == [("ListTrips", len(raws)), ("GetBehaviourProfile", len(raws))]
    await device.close()


async def test_a_profile_that_is_news_is_an_event_and_the_same_again_is_not(service: Service, database: "Connection") -> None:
    async def events() -> list[events_pb2.ProfileChanged]:
        query = "SELECT value FROM outbox WHERE key = $1 AND topic = 'carlien.telematics.profile.v1' ORDER BY id"
        return [events_pb2.ProfileChanged.FromString(row["value"]) for row in await database.fetch(query, VIN)]

    # its device was last heard a week ago, in a parked car, and is connected no more: a removal, which costs trust
    async with asyncio.timeout(60):
        while not any("DEVICE_REMOVED" in event.profile.trust.reasons for event in await events()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    told = await events()
    assert 2 <= len(told) <= DAYS + 2
    assert {"trust", "risk_score", "odometer_km"} <= set(told[0].changed)
    assert told[0].profile.trust.score == pytest.approx(0.85, abs=0.01)
    assert list(told[0].profile.trust.reasons) == ["UNSIGNED"]
    last = told[-1].profile
    assert "trust" in told[-1].changed
    assert last.trust.score < 0.5
    assert last.usage_nature == profile_pb2.USAGE_NATURE_PRIVATE
    assert last.verified_odometer.consistent
    assert last.verified_odometer.odometer_km == pytest.approx(CAR.read(DAYS * DAY_S).odometer_km, abs=2)
    assert not last.HasField("battery_health")
    times = [event.computed_at.ToNanoseconds() for event in told]
    assert times == sorted(times)

    await database.execute("UPDATE car_watch SET profile_due = true WHERE vin = $1", VIN)
    async with asyncio.timeout(60):
        while await database.fetchval("SELECT profile_due FROM car_watch WHERE vin = $1", VIN):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await events() == told


async def test_an_analyst_gets_coarse_ends(service: Service) -> None:
    stub = service.stub(telematics_service_pb2_grpc.TelematicsServiceStub, "analyst")
    start, end = instant_to_proto(ORIGIN), instant_to_proto(ORIGIN + timedelta(days=5))
    answer = await stub.ListTrips(telematics_service_pb2.ListTripsRequest(vin=VIN, start_time=start, end_time=end))
    assert answer.trips
    assert all(round(trip.end_latitude, 2) == trip.end_latitude for trip in answer.trips)


@pytest.mark.parametrize("days", [0, 32])
async def test_a_period_is_1_to_31_days(service: Service, days: int) -> None:
    start, end = instant_to_proto(ORIGIN), instant_to_proto(ORIGIN + timedelta(days=days))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.telematics.ListTrips(telematics_service_pb2.ListTripsRequest(vin=VIN, start_time=start, end_time=end))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
