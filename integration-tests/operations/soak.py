"""Work, with faults by chance, for as long as told; then everything is compared with everything: `make soak MINUTES=30`.

Invariants, all on what the callers and devices were told: chain = read model of both lenders = events on Kafka; every acknowledged
appraisal, quote and registration has its event; acknowledged frames = stored rows; memory is flat after the warm-up.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from faults.lien_stack import ledger
from faults.telematics_fleet import ICCID, Terminal

from carlien_lien_registry.adapters.mortgage_asset import MortgageAsset
from loan_scenario.cars import fresh_vin
from loan_scenario.clients import Clients, Stack
from operations.faults import Faults
from operations.load import Load, keep_up
from operations.memory import Memory
from operations.replicas import environment_of
from operations.stores import frames
from operations.topics import APPRAISALS, LIENS, QUOTES, Reader
from operations.work import Work

RATES = {"appraise": 2.0, "register": 1.0, "search": 4.0, "quote": 0.5, "rate_cap": 4.0, "device": 0.2}
"""Calls a second: a third of what two cores carry, so that what a fault held up is caught up with."""
DEVICES = 10
RECORDS_PER_SESSION = 60
PATIENCE_S = 240.0
SETTLE_S = 180.0
MAX_GROWTH = 0.05


class Soak:
    """One run."""

    def __init__(self, minutes: float, rng: random.Random) -> None:
        self._seconds = minutes * 60
        self._rng = rng
        self._stack = Stack.from_environment()
        self._clients = Clients(self._stack)
        self._done = asyncio.Event()
        self.loads = {name: Load() for name in RATES}
        self.faults = Faults(rng)
        # Half of a short run, the two minutes that model and pools take in a long one.
        self.memory = Memory(min(120.0, self._seconds / 4))
        self._terminals: list[Terminal] = []
        addresses = {name: getattr(self._stack, name.replace("-", "_")) for name in ("valuation", "lien-registry", "telematics", "pricing")}
        self.work = Work(lambda name, role: self._clients.stub(lambda channel: channel, addresses[name], role), rng, patience_s=PATIENCE_S)

    async def run(self) -> dict[str, Any]:
        """The figures and what doesn't hold."""
        reader = await asyncio.to_thread(Reader, self._stack.kafka, (APPRAISALS, LIENS, QUOTES))
        began = time.monotonic()
        sampling = asyncio.create_task(self.memory.run())
        units: dict[str, Callable[[], Awaitable[None]]] = {name: getattr(self.work, name) for name in RATES}
        calling = [
            asyncio.create_task(keep_up(lambda _, unit=unit: unit(), RATES[name], self._done, self.loads[name]))
            for name, unit in units.items()
        ]  # type: ignore[misc]
        calling += [asyncio.create_task(self._drive(number)) for number in range(DEVICES)]
        await self.faults.run(began + self._seconds, began + self._seconds / 3)
        self._done.set()
        failed = [error for error in await asyncio.gather(*calling, return_exceptions=True) if error is not None]
        sampling.cancel()
        await self._clients.close()
        problems = [f"a caller gave up: {type(error).__name__}" for error in failed]
        problems += [f"{name}: {load.codes}" for name, load in self.loads.items() if load.failures]
        problems += await _settled(lambda: self._compare(reader))
        return self._report(time.monotonic() - began, problems, await asyncio.to_thread(reader.read))

    async def _drive(self, number: int) -> None:
        """One car's device, session after session, a record every half second."""
        vin = fresh_vin(self._rng)
        await self.work.admit(vin, ICCID)
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
        port = int(self._stack.gb32960.rpartition(":")[2])
        while not self._done.is_set():
            terminal = Terminal(vin, port, start, RECORDS_PER_SESSION)
            self._terminals.append(terminal)
            await asyncio.wait_for(terminal.drive(0.5), PATIENCE_S)
            start += timedelta(seconds=RECORDS_PER_SESSION)

    async def _compare(self, reader: Reader) -> list[str]:
        """What differs now."""
        told = await asyncio.to_thread(reader.read)
        problems = [f"{topic}: {len(lost)} acknowledged and not told of" for topic, lost in self.work.account.missing(told).items() if lost]
        chain = await _chain()
        events = set(told[LIENS].values)
        if chain.keys() != events:
            problems.append(
                f"chain and topic: {len(chain.keys() - events)} only on the chain, {len(events - chain.keys())} only on the topic"
            )
        numbers = {number for number in chain.values() if number}
        for service in ("lien-registry", "lien-registry-org2"):
            read = await _read_model(environment_of(service)["CARLIEN_POSTGRES_DSN"])
            if read != numbers:
                problems.append(
                    f"{service}: {len(numbers - read)} of the chain's registrations are missing, {len(read - numbers)} are too many"
                )
        acknowledged = {(terminal.vin, at) for terminal in self._terminals for at in terminal.acknowledged}
        stored = await frames(environment_of("telematics")["CARLIEN_POSTGRES_DSN"], {vin for vin, _ in acknowledged})
        if stored != acknowledged:
            problems.append(f"frames: {len(acknowledged - stored)} acknowledged and not stored, {len(stored - acknowledged)} only stored")
        return problems

    def _report(self, seconds: float, problems: list[str], told: dict[str, Any]) -> dict[str, Any]:
        growths = self.memory.growths()
        if self._seconds >= 1800:
            problems += [f"{one.service} grew by {one.growth:.1%} in {one.lived_s:.0f} s" for one in growths if one.growth > MAX_GROWTH]
        repeats = sum(count - 1 for one in told.values() for count in one.times.values())
        return {
            "minutes": round(self._seconds / 60, 1),
            "seconds_with_settling": round(seconds),
            "calls": {name: load.sent for name, load in self.loads.items()},
            "slowest_s": {name: round(max(load.latencies_s, default=0.0), 1) for name, load in self.loads.items()},
            "median_s": {name: round(load.quantile(0.5), 3) for name, load in self.loads.items()},
            "faults": dict(sorted(self.faults.done.items())),
            "acknowledged": {
                "appraisals": len(self.work.account.appraisals),
                "quotes": len(self.work.account.quotes),
                "registrations": len(self.work.account.liens),
                "frames": sum(len(terminal.acknowledged) for terminal in self._terminals),
                "frames_sent_again": sum(terminal.reissued for terminal in self._terminals),
            },
            "events": {topic: len(one.values) for topic, one in told.items()},
            "events_repeated": repeats,
            "memory": [
                {"service": one.service, "lived_s": round(one.lived_s), "began_mb": round(one.began_mb), "growth": round(one.growth, 4)}
                for one in growths
            ],
            "problems": problems,
        }


async def _chain() -> dict[str, str]:
    """Every change on the chain: its event's id -> the registration number where it is a registration, else empty."""
    async with ledger() as gateway:
        newest = await gateway.newest_block_number()
        return {
            change.event_id: change.lien.registration_number if change.lien is not None and change.kind == "lien.registered" else ""
            async for block in gateway.blocks(0, newest)
            for transaction in block.transactions
            for change in MortgageAsset.changes(transaction, block.number)
            # A posted root is no event of a car.
            if change.anchor is None
        }


async def _read_model(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return {row[0] for row in await connection.fetch("SELECT DISTINCT registration_number FROM lien_versions")}
    finally:
        await connection.close()


async def _settled(compare: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """What still differs when everything has had time to catch up."""
    deadline = time.monotonic() + SETTLE_S
    problems = ["never compared"]
    while problems and time.monotonic() < deadline:
        await asyncio.sleep(2)
        with suppress(OSError, asyncpg.PostgresError, grpc.aio.AioRpcError):
            problems = await compare()
    return problems


def main() -> int:
    """Run it and print the figures; 1 where something doesn't hold."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: make soak MINUTES=30")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"), help="which faults come when")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.ERROR)

    async def run() -> dict[str, Any]:
        return await Soak(arguments.minutes, random.Random(arguments.seed)).run()

    report = {"seed": arguments.seed, **asyncio.run(run())}
    text = json.dumps(report, indent=1, ensure_ascii=False)
    sys.stdout.write(f"{text}\n")
    if arguments.report:
        arguments.report.write_text(f"{text}\n")
    sys.stdout.write(f"soak: {'nothing lost' if not report['problems'] else 'FAILED: ' + '; '.join(report['problems'])}\n")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
