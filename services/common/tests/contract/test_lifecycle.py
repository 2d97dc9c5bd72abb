"""A whole service process: how it starts, is probed, stops and dies."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

SERVICE = """
import asyncio, os, sys
from contextlib import asynccontextmanager, suppress
from carlien_common.config import ServiceSettings, load
from carlien_common.lifecycle import Application, run

where = sys.argv[1]

@asynccontextmanager
async def part(name, delay=0.0):
    print("open", name, flush=True)
    yield name
    await asyncio.sleep(delay)
    print("close", name, flush=True)

async def work(name):
    try:
        await asyncio.Event().wait()
    finally:
        print("end", name, flush=True)

async def dies():
    await asyncio.sleep(0.3)
    raise RuntimeError("on purpose")

async def ends():
    await asyncio.sleep(0.3)

async def away():
    if where == "away":
        raise ConnectionError("postgresql://u:hunter2@h/d")

async def heeds_nothing():
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

async def main():
    async with Application(load(ServiceSettings), "test") as app:
        print("port", app.metrics_port, flush=True)
        await app.enter(part("pool"))
        app.readiness("postgres", away)
        app.spawn("outbox", work("outbox"))
        if where in ("dies", "ends"):
            app.spawn("victim", dies() if where == "dies" else ends())
        if where == "heeds nothing":
            app.spawn("stubborn", heeds_nothing())
        if where == "starting":
            await asyncio.Event().wait()
        await app.enter(part("server", 60 if where == "hangs" else 0))
        await app.serve()

sys.exit(run(main, use_uvloop=os.environ["LOOP"] == "uvloop"))
"""


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    async def until(self, text: str) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            while line := (await self._process.stdout.readline()).decode():
                self.lines.append(line.strip())
                if text in line:
                    return line.strip()
        raise AssertionError(f"ended without {text!r}: {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait(self) -> int:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            self.lines += (await self._process.stdout.read()).decode().splitlines()
            return await self._process.wait()

    @property
    def told(self) -> list[str]:
        return [line for line in self.lines if line.partition(" ")[0] in ("open", "close", "end")]

    def event(self, name: str) -> dict[str, Any]:
        return next(found for line in self.lines if line.startswith("{") and (found := json.loads(line))["event"] == name)


@contextlib.asynccontextmanager
async def service(where: str, loop: str = "uvloop", **settings: str) -> AsyncIterator[Process]:
    environment = {
        "PATH": os.environ["PATH"],
        "LOOP": loop,
        "CARLIEN_ORG": "org1",
        "CARLIEN_MSP_ID": "Org1MSP",
        "CARLIEN_GRPC_PORT": "0",
        "CARLIEN_METRICS_PORT": "0",
        "CARLIEN_GRPC_INSECURE": "true",
        "CARLIEN_POSTGRES_DSN": "postgresql://x",
        "CARLIEN_KAFKA_BOOTSTRAP": "x",
        "CARLIEN_STOP_DRAIN_S": "0",
        "CARLIEN_STOP_GRACE_S": "0.2",
    } | {f"CARLIEN_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE, where, stdout=subprocess.PIPE, env=environment)
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_stops_in_reverse_order_and_with_zero(number: signal.Signals, loop: str) -> None:
    async with service("fine", loop) as process:
        await process.until('"serving"')
        process.signal(number)
        assert await process.wait() == 0
    assert process.told == ["open pool", "open server", "close server", "end outbox", "close pool"]


async def test_probes_and_metrics() -> None:
    async with service("fine") as process, aiohttp.ClientSession() as http:
        port = int((await process.until("port ")).split()[1])
        await process.until('"serving"')
        base = f"http://127.0.0.1:{port}"
        async with http.get(f"{base}/livez") as answer:
            assert answer.status == 200
        async with http.get(f"{base}/readyz") as answer:
            assert (answer.status, await answer.json()) == (200, {"ready": True, "checks": {"postgres": "ok"}})
        async with http.get(f"{base}/metrics") as answer:
            assert "process_start_time_seconds" in await answer.text()


async def test_is_not_ready_while_a_dependency_is_away_or_it_starts() -> None:
    for where, checks in (("away", {"postgres": "ConnectionError"}), ("starting", {"postgres": "ok"})):
        async with service(where) as process, aiohttp.ClientSession() as http:
            port = int((await process.until("port ")).split()[1])
            await process.until("open server" if where == "away" else "open pool")
            async with http.get(f"http://127.0.0.1:{port}/livez") as answer:
                assert answer.status == 200
            async with asyncio.timeout(20):
                while True:
                    async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        found = await answer.json()
                        assert answer.status == 503
                    if found["checks"] == checks:
                        break
            assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize(("where", "event"), [("dies", "task_died"), ("ends", "task_ended")])
async def test_a_task_that_is_gone_takes_the_process_with_it(where: str, event: str) -> None:
    async with service(where) as process:
        assert await process.wait() == 1
    assert process.event(event)["task"] == "victim"
    assert process.told[-3:] == ["close server", "end outbox", "close pool"] or sorted(process.told) == sorted(
        ["open pool", "open server", "close server", "end outbox", "close pool"]
    )


async def test_a_signal_during_the_start_ends_it_cleanly() -> None:
    async with service("starting") as process:
        await process.until("open pool")
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert process.told == ["open pool", "end outbox", "close pool"]


async def test_a_part_that_hangs_does_not_stop_the_stop() -> None:
    async with service("hangs") as process:
        await process.until('"serving"')
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert process.told[-2:] == ["end outbox", "close pool"]
    assert "stop_timed_out" in "".join(process.lines)


async def test_a_part_that_heeds_nothing_does_not_stop_the_stop_either() -> None:
    async with service("heeds nothing") as process:
        await process.until('"serving"')
        process.signal(signal.SIGTERM)
        assert await process.wait() == 1
    # All the others were closed in good order before.
    assert process.told[-3:] == ["close server", "end outbox", "close pool"]
    assert "stop_gave_up" in "".join(process.lines)


async def test_a_second_signal_ends_it_at_once() -> None:
    async with service("hangs", STOP_GRACE_S="60") as process:
        await process.until('"serving"')
        process.signal(signal.SIGTERM)
        await process.until('"stopping"')
        process.signal(signal.SIGTERM)
        assert await process.wait() == 128 + signal.SIGTERM
    assert "close pool" not in process.told


async def test_a_wrong_configuration_is_exit_code_2() -> None:
    async with service("fine", GRPC_PORT="many") as process:
        assert await process.wait() == 2


async def test_a_taken_metrics_port_is_a_death() -> None:
    async with service("fine") as first:
        port = (await first.until("port ")).split()[1]
        async with service("fine", METRICS_PORT=port) as second:
            assert await second.wait() == 1
        assert "address already in use" in "".join(second.lines)
