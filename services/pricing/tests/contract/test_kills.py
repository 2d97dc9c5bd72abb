"""Kill -9 of the service where it hurts most: nothing answered is lost, nothing is told twice, and all is caught up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from conftest import Surroundings, called
from pricing_harness import MovableClock, Service, eventually, quote_request, vehicle
from test_watches import alert, lien, own_vin, state, watched

from carlien.lien.v1 import lien_pb2
from carlien.pricing.v1 import pricing_service_pb2 as pb
from carlien.valuation.v1 import appraisal_pb2
from carlien_common import outbox
from carlien_common.testing.pki import Pki
from carlien_pricing.config import PricingSettings

pytestmark = pytest.mark.faults


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(settings: PricingSettings) -> dict[str, str]:
    """The settings as a process of its own reads them."""
    found = {}
    for name, value in settings.model_dump().items():
        if hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        if value is not None:
            found[f"CARLIEN_{name.upper()}"] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


class Process:
    """The service as a process that can be killed and started again."""

    def __init__(self, surroundings: Surroundings, pki: Pki, log: Path) -> None:
        self.surroundings, self._pki, self._log = surroundings, pki, log
        self.port = free_port()
        settings = surroundings[1].model_copy(update={"grpc_port": self.port, "metrics_port": free_port()})
        self._environment = {**os.environ, **environment(settings)}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "carlien_pricing", "serve", env=self._environment, stdout=log, stderr=log
            )

    def children(self) -> list[int]:
        assert self._process is not None
        text = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Service]:
        async with called(self.surroundings, MovableClock(), self.port, self._pki) as made:
            yield made


@pytest.fixture
async def process(surroundings: Surroundings, pki: Pki, tmp_path: Path) -> AsyncIterator[Process]:
    made = Process(surroundings, pki, tmp_path / "pricing.log")
    yield made
    with contextlib.suppress(ProcessLookupError):
        await made.kill()


@pytest.fixture
async def database(surroundings: Surroundings) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(surroundings[1].postgres_dsn.get_secret_value())
    yield connection
    await connection.close()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_killed_between_the_quote_and_its_event(process: Process, database: asyncpg.Connection[asyncpg.Record]) -> None:
    # Whoever holds this lock publishes; as long as it is ours, nobody does.
    await database.execute("SELECT pg_advisory_lock($1)", outbox.LOCK)
    request = quote_request(vehicle=vehicle(vin=own_vin()))
    await process.start()
    async with process.serving() as service:
        quote = (await service.pricing.Quote(request)).quote
        accept = pb.AcceptQuoteRequest(quote_id=quote.quote_id, idempotency_key=str(uuid.uuid4()))
        accepted = (await service.pricing.AcceptQuote(accept)).quote
        workers = process.children()
        await process.kill()
    assert await database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL AND key = $1", quote.vin) == 2

    async def ended() -> bool:
        return all(gone(pid) for pid in workers)

    await eventually(ended)  # what computed prices doesn't outlive its parent

    await database.execute("SELECT pg_advisory_unlock($1)", outbox.LOCK)
    await process.start()
    async with process.serving() as service:
        events = await service.quote_events(lambda found: sum(event.quote.quote_id == quote.quote_id for event in found) >= 2)
        told = [(event.change, event.quote) for event in events if event.quote.quote_id == quote.quote_id]
        assert told == [("quote.made", quote), ("quote.accepted", accepted)]
        assert (await service.pricing.Quote(request)).quote == quote, "the first answer, from before the kill"
        assert (await service.pricing.AcceptQuote(accept)).quote == accepted


async def test_killed_in_the_middle_of_a_batch_and_caught_up(
    process: Process, surroundings: Surroundings, database: asyncpg.Connection[asyncpg.Record]
) -> None:
    await process.start()
    async with process.serving() as service:
        watches = {(vin := own_vin()): await watched(service, vin) for _ in range(6)}
        begun = datetime.now(UTC)
        made = {
            vin: [service.neighbours.appraisal(vin, p50=95_000 - 1_000 * step, at=begun + timedelta(seconds=step)) for step in range(1, 21)]
            for vin in watches
        }
        # One of the watches can't be written: the batch stands still in its transaction, and then it is killed.
        blocker = await asyncpg.connect(surroundings[1].postgres_dsn.get_secret_value())
        await blocker.execute("BEGIN")
        await blocker.execute("SELECT 1 FROM watches WHERE vin = ANY($1) FOR UPDATE", list(watches))
        for step in range(20):
            for vin in watches:
                await service.publish_appraisal(made[vin][step], ce_id=f"{vin}-{step}")

        async def waits() -> bool:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return bool(await database.fetchval(waiting))

        await eventually(waits)
        await process.kill()
        await blocker.close()
        # While nobody is there.
        gone_vin, towed_vin, *_ = watches
        await service.publish_lien(lien(gone_vin, "R-K1"), "lien.registered", 9001)
        await service.publish_lien(lien(gone_vin, "R-K1", status=lien_pb2.LIEN_STATUS_DISCHARGED), "lien.discharged", 9002)
        await service.publish_alert(alert(towed_vin, 1))
        again = made[towed_vin][-1]
        await service.publish_appraisal(again, ce_id=f"{towed_vin}-again")
        await service.publish_appraisal(made[towed_vin][0], appraisal_pb2.APPRAISAL_CAUSE_USAGE, ce_id=f"{towed_vin}-old")
    await process.start()
    async with process.serving() as service:

        async def caught_up() -> Any:
            found = {vin: await state(service, watch.loan_id) for vin, watch in watches.items()}
            marked = all(found[vin].appraisal_id == made[vin][-1].appraisal_id for vin in watches if vin != gone_vin)
            return found if marked and found[gone_vin].stage == 5 and found[towed_vin].open_alerts else None

        found = await eventually(caught_up)
        assert list(found[towed_vin].stage_reasons) == ["ALERT_DEVICE_REMOVED"]
        events = await service.watch_events(
            lambda seen: (
                {event.watch.vin for event in seen if event.change == "watch.closed"} >= {gone_vin}
                and sum(event.cause == "appraisal" for event in seen if event.watch.vin != gone_vin) >= 20 * 5
            )
        )
        for vin in watches:
            marks = [event.watch.appraisal_id for event in events if event.watch.vin == vin and event.cause == "appraisal"]
            order = {appraisal.appraisal_id: step for step, appraisal in enumerate(made[vin])}
            assert max(Counter(marks).values(), default=0) <= 1, "no appraisal is told twice"
            assert [order[mark] for mark in marks] == sorted(order[mark] for mark in marks)


async def test_a_pricing_process_that_is_killed_is_replaced(process: Process) -> None:
    await process.start()
    async with process.serving() as service:
        await service.pricing.Quote(quote_request(vehicle=vehicle(vin=own_vin())))
        for _ in range(2):
            for pid in process.children():
                os.kill(pid, signal.SIGKILL)
            answer = (await service.pricing.Quote(quote_request(vehicle=vehicle(vin=own_vin())))).quote
            assert answer.schedule
