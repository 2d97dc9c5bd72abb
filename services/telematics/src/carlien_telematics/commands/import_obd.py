"""`carlien-device import-obd`: uploads an OBD log by IngestFrames."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from carlien.telematics.v1 import telematics_service_pb2, telematics_service_pb2_grpc, telemetry_frame_pb2
from carlien_common import command_line
from carlien_common.domain.errors import invalid
from carlien_common.grpc import calling
from carlien_common.wire import instant_to_proto
from carlien_telematics.codecs import vss
from carlien_telematics.commands import obd_log

ROLE = "device-ingest"
_TIMEOUT_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("file", type=Path, help="CSV, or JSON: an array of objects or one object a line")
    parser.add_argument("--mapping", type=Path, required=True, help="YAML; its schema is schemas/obd-mapping.schema.json")
    parser.add_argument("--device", required=True, help="the registered device, of protocol obd2 or oem_api")
    parser.add_argument("--vin", required=True)
    parser.add_argument("--dry-run", action="store_true", help="read the file and send nothing")


async def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 where every row was taken, 1 where one was not."""
    mapping = obd_log.load_mapping(arguments.mapping)
    try:
        text = arguments.file.read_text(encoding=mapping.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise invalid("file", "FILE_UNREADABLE", f"{arguments.file.name}: {error}.") from None
    refused: Counter[str] = Counter()
    frames = list(_frames(text, mapping, refused))
    report: dict[str, Any] = {"rows": len(frames) + refused.total(), "unreadable": dict(refused), "accepted": 0, "refused": {}}
    if frames and not arguments.dry_run:
        async with calling.channel(arguments, ROLE) as channel:
            stub: Any = telematics_service_pb2_grpc.TelematicsServiceStub(channel)
            requests = (_request(arguments.device, arguments.vin, frame) for frame in frames)
            answer: telematics_service_pb2.IngestFramesResponse = await stub.IngestFrames(requests, timeout=_TIMEOUT_S)
        report["accepted"] = answer.accepted_count
        report["refused"] = dict(Counter(one.reason for one in answer.refused))
    sys.stdout.write(json.dumps(report, indent=None if arguments.json else 2) + "\n")
    taken = len(frames) if arguments.dry_run else report["accepted"]
    return command_line.OK if taken == report["rows"] else command_line.NEGATIVE


def _frames(text: str, mapping: obd_log.LogMapping, refused: Counter[str]) -> Iterator[vss.VssFrame]:
    """Frames of the rows that give one; the others are counted and the first of each kind is told."""
    for number, row in enumerate(obd_log.rows(text, mapping)):
        try:
            yield obd_log.frame(row, number, mapping)
        except obd_log.RowError as error:
            if not refused[error.reason]:
                sys.stderr.write(f"row {number + 1}: {error.reason}: {error}\n")
            refused[error.reason] += 1


def _request(device_id: str, vin: str, frame: vss.VssFrame) -> telematics_service_pb2.IngestFramesRequest:
    points = [telemetry_frame_pb2.Datapoint(path=path, **_typed(value)) for path, value in frame.signals.items()]
    return telematics_service_pb2.IngestFramesRequest(
        frame=telemetry_frame_pb2.TelemetryFrame(
            device_id=device_id,
            vin=vin,
            device_time=instant_to_proto(frame.device_time),
            vss_version=frame.version,
            datapoints=points,
            reissued=frame.reissued,
        )
    )


def _typed(value: vss.Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"flag": value}
    return {"text": value} if isinstance(value, str) else {"number": value}
