"""Kill -9 of every part a frame passes: nothing acknowledged is lost, nothing is stored twice, all is caught up."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from faults.lien_stack import eventually, gone, kill
from faults.telematics_fleet import Telematics, Terminal, telematics
from faults.telematics_reporters import Reporter, Reporting

from carlien_common.testing.pki import Pki
from carlien_telematics.codecs import gb32960
from carlien_telematics.simulator.fleet import vin_of

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("kafka_litter")]

VINS = [f"LSVNV218XE22{number:05d}" for number in range(30)]
RECORDS = 100
OUTAGE_S = float(os.environ.get("FAULTS_OUTAGE_SECONDS", "120"))
OUTAGE_RATE = float(os.environ.get("FAULTS_OUTAGE_RATE", "2000"))
FLEET = 200
GRACE_S = 30.0
"""What a broker needs to be itself again, beside the time that catching up may take."""


@pytest.fixture
async def service(make_database: Callable[[], str], make_topic: Callable[..., str], pki: Pki, tmp_path: Path) -> AsyncIterator[Telematics]:
    async with telematics(make_database, make_topic("frames", partitions=3), pki, tmp_path) as running:
        await running.admit(VINS)
        yield running


def fleet(service: Telematics) -> list[Terminal]:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    return [Terminal(vin, service.port, start, RECORDS) for vin in VINS]


async def progress(terminals: list[Terminal], share: float) -> None:
    """Until the fleet is in the middle of it."""
    async with asyncio.timeout(60):
        while sum(len(terminal.acknowledged) for terminal in terminals) < share * len(terminals) * RECORDS:  # noqa: ASYNC110 - other tasks' state
            await asyncio.sleep(0.01)


async def check(service: Telematics, terminals: list[Terminal]) -> None:
    """Every record was acknowledged in the end, and exactly those are stored."""
    acknowledged = {(terminal.vin, at) for terminal in terminals for at in terminal.acknowledged}
    assert len(acknowledged) == len(VINS) * RECORDS

    async def complete() -> bool:
        return await service.stored() == acknowledged

    await eventually(complete, "all acknowledged records are stored")


async def test_the_consumer_is_killed_in_the_middle_of_its_batches(service: Telematics) -> None:
    terminals = fleet(service)
    driving = asyncio.gather(*(terminal.drive(0.01) for terminal in terminals))
    for share in (0.2, 0.5, 0.8):
        await progress(terminals, share)
        await service.consumer.kill()
        await service.consumer.start()
    await driving
    await check(service, terminals)


async def test_the_gateway_is_killed_under_load(service: Telematics) -> None:
    terminals = fleet(service)
    driving = asyncio.gather(*(terminal.drive(0.02) for terminal in terminals))
    for share in (0.2, 0.6):
        await progress(terminals, share)
        await service.gateway.kill()
        await service.gateway.start()
    await driving
    await check(service, terminals)


async def test_the_database_is_killed_under_load(service: Telematics) -> None:
    terminals = fleet(service)
    driving = asyncio.gather(*(terminal.drive(0.02) for terminal in terminals))
    await progress(terminals, 0.3)
    kill("postgres")
    await driving
    await check(service, terminals)


async def test_the_broker_is_away_for_20_seconds(service: Telematics) -> None:
    terminals = fleet(service)
    driving = asyncio.gather(*(terminal.drive(0.05) for terminal in terminals))
    await progress(terminals, 0.2)
    async with gone("kafka"):
        await asyncio.sleep(20)
    await driving
    await check(service, terminals)


async def test_after_minutes_without_a_broker_everything_owed_is_there_within_as_long(service: Telematics) -> None:
    """Two minutes at 2,000 frames/s by default; FAULTS_OUTAGE_SECONDS and FAULTS_OUTAGE_RATE make it a smaller one."""
    vins = [vin_of(77, number) for number in range(FLEET)]
    await service.admit(vins)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    fleet = Reporting([Reporter(vin) for vin in vins], service.port, OUTAGE_RATE, start)
    running = asyncio.create_task(fleet.run())
    await at_least(fleet, 5 * OUTAGE_RATE)
    async with gone("kafka"):
        await asyncio.sleep(OUTAGE_S)
    back = time.perf_counter()
    fleet.stop()
    async with asyncio.timeout(OUTAGE_S + GRACE_S):
        await running
        wanted = {(one.vin, gb32960.decode_time(stamp)) for one in fleet.reporters for stamp in one.acknowledged}
        while await service.count() < len(wanted):  # noqa: ASYNC110 - the consumer's work
            await asyncio.sleep(0.5)
    sys.stdout.write(
        f"{fleet.made} records, {sum(one.reissued for one in fleet.reporters)} sent again, "
        f"all stored {time.perf_counter() - back:.0f} s after the broker was back\n"
    )
    assert len(wanted) == fleet.made
    assert await service.stored() == wanted


async def at_least(fleet: Reporting, records: float) -> None:
    """Until the fleet has had so many records acknowledged."""
    async with asyncio.timeout(120):
        while sum(len(one.acknowledged) for one in fleet.reporters) < records:  # noqa: ASYNC110 - the terminals' own state
            await asyncio.sleep(0.1)
