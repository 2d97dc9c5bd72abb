"""`carlien-device`: registers, lists and retires devices, and uploads OBD logs."""

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from carlien.telematics.v1 import device_pb2, device_service_pb2, device_service_pb2_grpc
from carlien_common import command_line
from carlien_common.grpc import calling
from carlien_telematics.commands import import_obd

_ROLE = "device-ingest"
_EXAMPLE = """examples:
  carlien-device register --device TBOX-1 --vin LSVNV2187E2100001 --protocol gb32960 --credential 89860012345678901234
  carlien-device list --vin LSVNV2187E2100001 --json
  carlien-device register --device TBOX-2 --vin LSVNV2187E2100001 --credential 89860012345678901235 --replaces TBOX-1
  carlien-device retire --device TBOX-2 --reason LOST
  carlien-device import-obd --mapping mapping.yaml --device OBD-1 --vin LSVNV2187E2100001 log.csv
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 ok, 1 refused, 2 wrong usage, 3 telematics is unavailable."""
    return asyncio.run(run(argv))


async def run(argv: Sequence[str] | None = None) -> int:
    """`main` within a running loop."""
    parser = argparse.ArgumentParser(
        prog="carlien-device", description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    register = commands.add_parser("register", help="bind a new device to a car")
    register.add_argument("--device", required=True, help="identifier, unique")
    register.add_argument("--vin", required=True)
    register.add_argument("--protocol", choices=("gb32960", "jt808", "obd2", "oem_api"), default="gb32960")
    register.add_argument("--credential", required=True, help="GB/T 32960: the ICCID; JT/T 808: the authentication code")
    register.add_argument("--replaces", default="", help="the car's device whose place it takes, which is retired")
    register.add_argument("--signing-key", type=Path, help="file with the public key: a point for SM2 and ECC, DER for RSA")
    register.add_argument("--signing-algorithm", choices=("SM2", "RSA", "ECC"), default="SM2")
    register.add_argument("--idempotency-key", default=None, help="repeat with the same key to be sure (default: a new one)")
    listing = commands.add_parser("list", help="devices by identifier")
    listing.add_argument("--vin", default="")
    retire = commands.add_parser("retire", help="take a device out of service")
    retire.add_argument("--device", required=True)
    retire.add_argument("--reason", required=True)
    retire.add_argument("--idempotency-key", default=None)
    uploading = commands.add_parser("import-obd", help="upload an OBD log")
    import_obd.add_arguments(uploading)
    for command in (register, listing, retire, uploading):
        calling.add_arguments(command, "telematics", "device-ingest")
    arguments = parser.parse_args(argv)
    return await command_line.calling_exit_code("carlien-device", lambda: _run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "import-obd":
        return await import_obd.run(arguments)
    async with calling.channel(arguments, _ROLE) as channel:
        devices: Any = device_service_pb2_grpc.DeviceServiceStub(channel)
        key = getattr(arguments, "idempotency_key", None) or uuid.uuid4().hex
        match arguments.command:
            case "register":
                protocol = device_pb2.DeviceProtocol.Value(f"DEVICE_PROTOCOL_{arguments.protocol.upper()}")
                answer = await devices.RegisterDevice(
                    device_service_pb2.RegisterDeviceRequest(
                        device_id=arguments.device,
                        vin=arguments.vin,
                        protocol=protocol,
                        credential=arguments.credential,
                        signing_key=_signing_key(arguments),
                        replaces_device_id=arguments.replaces,
                        idempotency_key=key,
                    ),
                    timeout=calling.TIMEOUT_S,
                )
                _print([answer.device], as_json=arguments.json)
            case "retire":
                request = device_service_pb2.RetireDeviceRequest(device_id=arguments.device, reason=arguments.reason, idempotency_key=key)
                _print([(await devices.RetireDevice(request, timeout=calling.TIMEOUT_S)).device], as_json=arguments.json)
            case _:
                token = ""
                while True:
                    request_ = device_service_pb2.ListDevicesRequest(page_size=500, page_token=token, vin=arguments.vin)
                    page = await devices.ListDevices(request_, timeout=calling.TIMEOUT_S)
                    _print(page.devices, as_json=arguments.json)
                    token = page.next_page_token
                    if not token:
                        break
    return command_line.OK


def _signing_key(arguments: argparse.Namespace) -> device_pb2.SigningKey | None:
    if arguments.signing_key is None:
        return None
    algorithm = device_pb2.SigningAlgorithm.Value(f"SIGNING_ALGORITHM_{arguments.signing_algorithm}")
    return device_pb2.SigningKey(algorithm=algorithm, public_key=arguments.signing_key.read_bytes())


def _print(devices: Sequence[device_pb2.Device], *, as_json: bool) -> None:
    """One line a device."""
    for device in devices:
        if as_json:
            line = json.dumps(MessageToDict(device, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
        else:
            status = device_pb2.DeviceStatus.Name(device.status).removeprefix("DEVICE_STATUS_")
            online = "online" if device.online else f"offline ({device.online_reason})"
            seen = f"  seen {device.last_seen_at.ToJsonString()}" if device.HasField("last_seen_at") else ""
            heir = f"  replaced by {device.replaced_by_device_id}" if device.replaced_by_device_id else ""
            line = f"{device.device_id}  {device.vin}  {status}  {online}{seen}{heir}"
        sys.stdout.write(line + "\n")
