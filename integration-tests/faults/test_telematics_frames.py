"""Kill -9 of every part a frame passes: nothing acknowledged is lost, nothing is stored twice, all is caught up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from faults.lien_stack import eventually, gone, kill
from faults.telematics_fleet import Telematics, Terminal, telematics

from carlien_common.testing.pki import Pki

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("kafka_litter")]

VINS = [f"LSVNV218XE22{number:05d}" for number in range(30)]
RECORDS = 100


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
