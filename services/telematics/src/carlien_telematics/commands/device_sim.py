"""`carlien-device-sim`: thousands of cars on believable days, over real sockets."""

import argparse
import asyncio
import json
import os
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from grpc.aio import AioRpcError

from carlien.telematics.v1 import data_consent_service_pb2 as consent_pb2
from carlien.telematics.v1 import data_consent_service_pb2_grpc, device_pb2, device_service_pb2, device_service_pb2_grpc
from carlien_common.domain.errors import DomainError, invalid
from carlien_common.grpc.client import to_domain_error
from carlien_common.wire import instant_to_proto
from carlien_telematics.commands import calling
from carlien_telematics.simulator.faults import Scenario, read_scenario
from carlien_telematics.simulator.fleet import Fleet, iccid_of, simulated_origin, vin_of

_EXAMPLE = """example (after `source .local/env`):
  carlien-device-sim --protocol gb32960 --devices 100 --rate 0.1 --duration 60 --seed 7 --register \\
      --scenario scenario.json --truth truth.jsonl --report report.json

--rate is per device: 100 devices at 0.1 send 10 records a second. A scenario file is JSON:
  {"lives": {"PRIVATE": 0.8, "RIDE_HAILING": 0.2}, "faults": [{"kind": "gap", "share": 0.1, "start_s": 600, "duration_s": 300}]}
Kinds of fault: gap, clock_skew, noise, jamming, removal, rollback, tow (value: seconds, metres or kilometres).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 where every record was acknowledged, 1 where one was not, 2 wrong usage, 3 a dependency is unavailable."""
    parser = argparse.ArgumentParser(
        prog="carlien-device-sim", description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--protocol", choices=("gb32960",), default="gb32960")
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.1, help="records per second and device (default 0.1)")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of real time (default 60)")
    parser.add_argument("--speedup", type=float, default=1.0, help="simulated seconds per real second (default 1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", type=Path, help="lives and faults, JSON")
    parser.add_argument("--truth", type=Path, help="what really happened, one JSON line a car")
    parser.add_argument("--report", type=Path, help="sent, acknowledged, refused by reason, acknowledgement p50 and p99, JSON")
    parser.add_argument("--gateway", default=os.environ.get("GB32960_ADDRESS"), help="host:port of the gateway (default $GB32960_ADDRESS)")
    parser.add_argument("--register", action="store_true", help="register the devices and give consents first, by gRPC")
    calling.add_arguments(parser)
    arguments = parser.parse_args(argv)
    if min(arguments.devices, arguments.rate, arguments.duration, arguments.speedup) <= 0:
        parser.error("--devices, --rate, --duration and --speedup must be positive")
    return uvloop.run(calling.exit_code(lambda: _run(arguments)))


async def _run(arguments: argparse.Namespace) -> int:
    if not arguments.gateway:
        raise invalid("--gateway", "ADDRESS_MISSING", "Say where the gateway listens.")
    scenario = read_scenario(arguments.scenario) if arguments.scenario else Scenario()
    if arguments.register:
        await _register(arguments)
    fleet = Fleet(devices=arguments.devices, seed=arguments.seed, scenario=scenario)
    report = await fleet.drive(arguments.gateway, rate=arguments.rate, duration_s=arguments.duration, speedup=arguments.speedup)
    summary = {"protocol": arguments.protocol, "rate_per_device": arguments.rate, "seed": arguments.seed, **report.summary()}
    text = json.dumps(summary, indent=2)
    if arguments.report:
        arguments.report.write_text(text + "\n")
    if arguments.truth:
        now = datetime.now(UTC)
        elapsed = (now - simulated_origin(now - timedelta(seconds=arguments.duration * arguments.speedup))).total_seconds()
        arguments.truth.write_text("".join(json.dumps(car) + "\n" for car in fleet.truth(elapsed)))
    sys.stdout.write(text + "\n")
    if report.sent and not report.acknowledged and not report.refused:
        return calling.UNAVAILABLE
    return calling.OK if report.acknowledged == report.sent else calling.NEGATIVE


async def _register(arguments: argparse.Namespace) -> None:
    """Registers every device and gives a consent; one that is there already is left as it is."""
    expires_at = instant_to_proto(datetime.now(UTC) + timedelta(days=30))
    room = asyncio.Semaphore(50)
    async with calling.channel(arguments, "device-ingest") as ingest, calling.channel(arguments, "originator") as originator:
        devices: Any = device_service_pb2_grpc.DeviceServiceStub(ingest)
        consents: Any = data_consent_service_pb2_grpc.DataConsentServiceStub(originator)

        async def one(number: int) -> None:
            vin = vin_of(arguments.seed, number)
            async with room:
                try:
                    await devices.RegisterDevice(
                        device_service_pb2.RegisterDeviceRequest(
                            device_id=f"SIM-{vin}",
                            vin=vin,
                            protocol=device_pb2.DEVICE_PROTOCOL_GB32960,
                            credential=iccid_of(arguments.seed, number),
                            idempotency_key=f"device-sim/{vin}",
                        ),
                        timeout=30,
                    )
                except AioRpcError as error:
                    failure: DomainError = to_domain_error(error)
                    if failure.reason != "DEVICE_EXISTS":
                        raise failure from error
                await consents.GrantConsent(
                    consent_pb2.GrantConsentRequest(
                        vin=vin,
                        purpose=consent_pb2.DATA_PURPOSE_COLLATERAL_MONITORING,
                        expires_at=expires_at,
                        idempotency_key=uuid.uuid4().hex,
                    ),
                    timeout=30,
                )

        async with asyncio.TaskGroup() as group:
            for number in range(arguments.devices):
                group.create_task(one(number))
