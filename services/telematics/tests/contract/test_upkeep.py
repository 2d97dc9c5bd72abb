"""Retention, redaction and deletion, as the service runs them on its own: on a real database and broker."""

import asyncio
import uuid
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from carlien.telematics.v1 import data_consent_service_pb2
from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Response, Version
from carlien_telematics.testing.gateway import login, message
from carlien_telematics.testing.service import ICCID, Service, eventually

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaConsumer, TopicPartition

    from carlien_telematics.adapters.kafka_erasure import TopicErasure
    from carlien_telematics.adapters.postgres_upkeep import Periods, Upkeep

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

GONE, STAYS, OLD = "LSVNV2181E2100026", "LSVNV2183E2100027", "LSVNV2185E2100028"
NOW = datetime.now(UTC).replace(microsecond=0)


def position(vin: str, at: datetime) -> bytes:
    units = {
        "engine": {"state": "STARTED", "crankshaft_rpm": 900, "consumption_l_per_100km": 5.0},
        "position": {"fix_valid": True, "latitude": 31.230416, "longitude": 121.473701},
        "user_defined": [{"type": 0x80, "data": "00ff"}],
    }
    return message(Command.REALTIME, gb32960.encode_record(Version.V2016, at, units), vin)


async def send(service: Service, vin: str, *times: datetime) -> None:
    await service.admit(vin)
    device = await service.connect()
    assert await device.ask(login(vin, ICCID)) == Response.SUCCESS
    for at in times:
        assert await device.ask(position(vin, at)) == Response.SUCCESS


def on_topic(bootstrap: str, topic: str) -> set[str]:
    """Cars of which a record can still be read."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        found = set()
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(timeout_ms=200).values():
                found |= {record.key.decode() for record in records}
        return found
    finally:
        consumer.close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_after_a_revocation_neither_row_nor_topic_holds_a_car(service: Service, database: "Connection", kafka_bootstrap: str) -> None:
    await send(service, GONE, *(NOW - timedelta(seconds=n) for n in range(20)))
    await send(service, STAYS, NOW)
    await eventually(lambda: database.fetchval("SELECT count(*) FROM frame WHERE vin = ANY($1)", [GONE, STAYS]), lambda n: n == 21)
    assert {GONE, STAYS} <= await asyncio.to_thread(on_topic, kafka_bootstrap, service.settings.frame_topic)
    revoked = data_consent_service_pb2.RevokeConsentRequest(vin=GONE, idempotency_key=uuid.uuid4().hex)
    await service.consents.RevokeConsent(revoked)
    query = "SELECT done_at IS NOT NULL FROM deletion WHERE vin = $1"
    await eventually(lambda: database.fetchval(query, GONE), bool)
    assert GONE not in await asyncio.to_thread(on_topic, kafka_bootstrap, service.settings.frame_topic)
    for table in ("frame", "position", "vehicle_state"):
        assert await database.fetchval(f"SELECT count(*) FROM {table} WHERE vin = $1", GONE) == 0
    # the other car lost nothing, and is still heard
    assert await database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", STAYS) == 1


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_what_is_not_consumed_yet_is_not_erased(service: Service, kafka_bootstrap: str) -> None:
    strangers = TopicErasure(service.settings, service.settings.frame_topic, "a-group-that-read-nothing")
    await send(service, "LSVNV2187E2100029", NOW)
    assert not await strangers.erase(datetime.now(UTC) + timedelta(minutes=1))
    assert "LSVNV2187E2100029" in await asyncio.to_thread(on_topic, kafka_bootstrap, service.settings.frame_topic)


async def test_old_days_lose_their_places_and_older_ones_are_dropped(service: Service, database: "Connection") -> None:
    coarse, dropped = NOW - timedelta(days=30), NOW - timedelta(days=60)
    await send(service, OLD, coarse, dropped, NOW)
    await eventually(lambda: database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", OLD), lambda n: n == 3)
    pool = await asyncpg.create_pool(service.dsn, min_size=1, max_size=2)
    upkeep = Upkeep(pool, Periods(retention=timedelta(days=50), precise=timedelta(days=20)), _nothing_to_erase)
    places = "SELECT latitude, longitude FROM position WHERE vin = $1 ORDER BY device_time"
    try:
        await eventually(
            _turn(upkeep, database, places), lambda rows: [tuple(row) for row in rows] == [(31.23, 121.47), (31.230416, 121.473701)]
        )
        units = "SELECT units -> 'position' ->> 'latitude', units ? 'user_defined' FROM frame WHERE vin = $1 ORDER BY device_time"
        assert [tuple(row) for row in await database.fetch(units, OLD)] == [("31.23", False), ("31.230416", True)]
        assert await database.fetchval("SELECT to_regclass($1) IS NULL", f"frame_{dropped:%Y%m%d}")
        # a record of that day comes late: it is made coarse too
        late = coarse.replace(hour=(coarse.hour + 1) % 24)
        device = await service.connect()
        assert await device.ask(login(OLD, ICCID)) == Response.SUCCESS
        assert await device.ask(position(OLD, late)) == Response.SUCCESS
        await eventually(_turn(upkeep, database, places), lambda rows: sorted(row["latitude"] for row in rows) == [31.23, 31.23, 31.230416])
    finally:
        await pool.close()


async def _nothing_to_erase(_until: datetime) -> bool:
    return True


def _turn(upkeep: Upkeep, database: "Connection", query: str) -> Callable[[], Awaitable[list[asyncpg.Record]]]:
    async def turn() -> list[asyncpg.Record]:
        await upkeep.once(datetime.now(UTC))
        rows: list[asyncpg.Record] = await database.fetch(query, OLD)
        return rows

    return turn
