"""Two replicas of each service, restarted one after the other at 100 calls a second: no call fails, no event is lost.

Callers do what docs/operate.md tells them: all addresses, round robin, and gRPC's own retry of UNAVAILABLE.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from faults.lien_stack import eventually, local
from faults.telematics_fleet import ICCID, Terminal
from operations.load import Load, keep_up
from operations.replicas import Replica, environment_of, replica
from operations.stores import frames
from operations.topics import APPRAISALS, LIENS, QUOTES, Reader
from operations.work import SERVICE_NAMES, Work

from carlien_common.grpc.client import service_config
from loan_scenario.cars import fresh_vin

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

log = logging.getLogger(__name__)
RATE = float(os.environ.get("CARLIEN_ROLLING_RATE", "100"))
CERTIFICATES = {"originator", "collections", "device-ingest"}


@contextlib.asynccontextmanager
async def replicas(service: str, folder: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two processes of a service in the place of the stack's own."""
    await local("stop", service)
    try:
        # As in a cluster: a second between NOT_SERVING and the stop, in which clients turn away.
        drain = {"CARLIEN_STOP_DRAIN_S": "1"}
        async with replica(service, folder, drain) as one, replica(service, folder, drain) as other:
            yield one, other
    finally:
        await local("start", service)


async def roll(pair: tuple[Replica, Replica]) -> None:
    """Restart one, wait until it is ready and found, then the other: what a Deployment with maxUnavailable 0 does."""
    for one in pair:
        await one.stop()
        await one.start()
        await one.found()


@contextlib.asynccontextmanager
async def callers(pki: Path, pair: tuple[Replica, Replica]) -> AsyncIterator[Callable[[str, str], grpc.aio.Channel]]:
    """Channels to both replicas by role."""
    target = f"ipv4:{pair[0].address},{pair[1].address}"
    options = [
        ("grpc.service_config", json.dumps(service_config(SERVICE_NAMES))),
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    made: dict[str, grpc.aio.Channel] = {}
    for role in CERTIFICATES:
        credentials = grpc.ssl_channel_credentials(
            (pki / "ca.crt").read_bytes(), (pki / "org1" / f"{role}.key").read_bytes(), (pki / "org1" / f"{role}.crt").read_bytes()
        )
        made[role] = grpc.aio.secure_channel(target, credentials, options)
    try:
        yield lambda _, role: made[role]
    finally:
        for channel in made.values():
            await channel.close()


def _mix(work: Work, service: str, vins: list[str]) -> Callable[[int], Awaitable[None]]:
    """Each service's calls: reads, and changes at the pace that one machine's ledger and models take."""

    async def call(number: int) -> None:
        if service == "valuation":
            await work.appraise()
        elif service == "lien-registry":
            await (work.register() if number % 10 == 0 else work.search())
        elif service == "telematics":
            await (work.device() if number % 5 == 0 else work.state(vins[number % len(vins)]))
        else:
            await (work.quote() if number % 20 == 0 else work.rate_cap())

    return call


@pytest.mark.parametrize("service", ["telematics", "lien-registry", "pricing", "valuation"])
async def test_nothing_fails_and_nothing_is_lost(service: str, tmp_path: Path) -> None:
    stack = environment_of(service)
    reader = await asyncio.to_thread(Reader, stack["CARLIEN_KAFKA_BOOTSTRAP"], (APPRAISALS, LIENS, QUOTES))
    async with replicas(service, tmp_path) as pair:
        async with callers(Path(stack["CARLIEN_TLS_CA_FILE"]).parent, pair) as connect:
            work = Work(connect, random.Random())
            terminals = await _fleet(work, pair) if service == "telematics" else []
            done, load = asyncio.Event(), Load()
            driving = [asyncio.create_task(terminal.drive(0.2)) for terminal in terminals]
            for terminal in terminals:
                # Calls ask for the states of cars that have been heard of.
                await eventually(lambda vin=terminal.vin: _answered(work.state(vin)), "the car is heard")  # type: ignore[misc]
            calling = asyncio.create_task(keep_up(_mix(work, service, [terminal.vin for terminal in terminals]), RATE, done, load))
            for one in pair:
                await one.found()
            # A second's calls by the old two, and again by the new two.
            await load.goes_on(RATE)
            await roll(pair)
            await load.goes_on(RATE)
            done.set()
            await calling
            await asyncio.gather(*driving)
        log.info("%s: %d calls, %d failed, 99 %% within %.3f s", service, load.sent, len(load.failures), load.quantile(0.99))
        assert load.sent > 10 * RATE
        assert not load.failures, load.codes

        async def told() -> bool:
            return not any(work.account.missing(await asyncio.to_thread(reader.read)).values())

        await eventually(told, f"events are missing: {work.account.missing(reader.read())}")
        acknowledged = {(terminal.vin, at) for terminal in terminals for at in terminal.acknowledged}
        assert len(acknowledged) == sum(terminal.count for terminal in terminals)
        if terminals:

            async def stored() -> bool:
                return await frames(stack["CARLIEN_POSTGRES_DSN"], [terminal.vin for terminal in terminals]) == acknowledged

            await eventually(stored, "exactly what was acknowledged is stored")


async def _answered(call: Awaitable[None]) -> bool:
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call
        return True
    return False


async def _fleet(work: Work, pair: tuple[Replica, Replica]) -> list[Terminal]:
    """Devices on both gateways, some sending again what was not acknowledged while theirs was away."""
    ports = [int(one.environment["CARLIEN_GB32960_PORT"]) for one in pair]
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    made = [Terminal(fresh_vin(work.rng), ports[number % 2], start, 100) for number in range(10)]
    for terminal in made:
        await work.admit(terminal.vin, ICCID)
    return made
