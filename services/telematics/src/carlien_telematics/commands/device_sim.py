"""`carlien-device-sim`: thousands of cars on believable days, over real sockets."""

import argparse
import asyncio
import json
import os
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvloop
from grpc.aio import AioRpcError

from carlien.telematics.v1 import data_consent_service_pb2 as consent_pb2
from carlien.telematics.v1 import data_consent_service_pb2_grpc, device_pb2, device_service_pb2, device_service_pb2_grpc
from carlien_common import command_line
from carlien_common.domain.errors import DomainError, invalid
from carlien_common.grpc import calling
from carlien_common.grpc.client import to_domain_error
from carlien_common.wire import instant_to_proto
from carlien_telematics.simulator.fleet import Fleet, iccid_of, terminal_of, vin_of
from carlien_telematics.simulator.scenario import Scenario, read_scenario

_EXAMPLE = """example (after `source .local/env`):
  carlien-device-sim --protocol gb32960 --devices 100 --rate 0.1 --duration 60 --seed 7 --register \\
      --scenario scenario.yaml --truth truth.jsonl --report report.json

--rate is per device: 100 devices at 0.1 send 10 records a second. With --speedup S the cars live S seconds in one; keep
speedup / rate (the seconds between two records of a car) at 60 or less where alerts are to be found.
A scenario is YAML or JSON (docs/scenario.md of the service; schema: carlien-device-sim --print-schema):
  lives: {PRIVATE: 0.8, RIDE_HAILING: 0.2}
  faults:
    - {kind: gap, share: 0.1, start: 10min, duration: 5min}
    - {kind: tow, cars: [3], km: 12}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 where every record was acknowledged, 1 where one was not, 2 wrong usage, 3 a dependency is unavailable."""
    parser = argparse.ArgumentParser(
        prog="carlien-device-sim", description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--protocol", choices=("gb32960", "jt808"), default="gb32960")
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.1, help="records per second and device (default 0.1)")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of real time (default 60)")
    parser.add_argument("--speedup", type=float, default=1.0, help="simulated seconds per real second (default 1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", type=Path, help="lives and faults, YAML or JSON")
    parser.add_argument("--print-schema", action="store_true", help="print the JSON schema of a scenario and exit")
    parser.add_argument("--truth", type=Path, help="what really happened, one JSON line a car")
    parser.add_argument("--report", type=Path, help="sent, acknowledged, refused by reason, acknowledgement p50 and p99, JSON")
    parser.add_argument("--gateway", help="host:port of the gateway (default $GB32960_ADDRESS or $JT808_ADDRESS, by protocol)")
    parser.add_argument("--register", action="store_true", help="register the devices and give consents first, by gRPC")
    calling.add_arguments(parser, "telematics", "device-ingest")
    arguments = parser.parse_args(argv)
    if arguments.print_schema:
        sys.stdout.write(files("carlien_telematics").joinpath("schemas/scenario.schema.json").read_text())
        return command_line.OK
    if min(arguments.devices, arguments.rate, arguments.duration, arguments.speedup) <= 0:
        parser.error("--devices, --rate, --duration and --speedup must be positive")
    return uvloop.run(command_line.calling_exit_code("carlien-device-sim", lambda: _run(arguments)))


async def _run(arguments: argparse.Namespace) -> int:
    gateway = arguments.gateway or os.environ.get(f"{arguments.protocol.upper()}_ADDRESS")
    if not gateway:
        raise invalid("--gateway", "ADDRESS_MISSING", "Say where the gateway listens.")
    scenario = read_scenario(arguments.scenario) if arguments.scenario else Scenario()
    if arguments.register:
        await _register(arguments)
    fleet = Fleet(
        devices=arguments.devices,
        seed=arguments.seed,
        scenario=scenario,
        rate=arguments.rate,
        duration_s=arguments.duration,
        speedup=arguments.speedup,
        protocol=arguments.protocol,
    )
    report = await fleet.drive(gateway)
    summary = {"protocol": arguments.protocol, "rate_per_device": arguments.rate, "seed": arguments.seed, **report.summary()}
    text = json.dumps(summary, indent=2)
    if arguments.report:
        arguments.report.write_text(text + "\n")
    if arguments.truth:
        arguments.truth.write_text("".join(json.dumps(car) + "\n" for car in fleet.truth()))
    sys.stdout.write(text + "\n")
    if report.sent and not report.acknowledged and not report.refused:
        return command_line.UNAVAILABLE
    return command_line.OK if report.acknowledged == report.sent else command_line.NEGATIVE


async def _register(arguments: argparse.Namespace) -> None:
    """Registers every device and gives a consent; one that is there already is left as it is."""
    expires_at = instant_to_proto(datetime.now(UTC) + timedelta(days=30))
    protocol = device_pb2.DeviceProtocol.Value(f"DEVICE_PROTOCOL_{arguments.protocol.upper()}")
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
                            device_id=f"SIM-{vin}"
                            if protocol == device_pb2.DEVICE_PROTOCOL_GB32960
                            else terminal_of(arguments.seed, number),
                            vin=vin,
                            protocol=protocol,
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
