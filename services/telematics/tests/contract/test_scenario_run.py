"""A day of a scenario through the real gateway, broker and database, against its truth file; by `make test-faults`."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from carlien.telematics.v1 import alert_pb2, telematics_service_pb2
from carlien_telematics.commands import device_sim
from carlien_telematics.testing.service import Service

pytestmark = pytest.mark.faults

SCENARIO = {
    "lives": {"PRIVATE": 1},
    "faults": [
        {"kind": "tow", "cars": [0], "start": "2h", "km": 7},
        {"kind": "removal", "cars": [1], "start": "3h"},
        {"kind": "rollback", "cars": [2], "start": "5h", "km": 400},
        {"kind": "power_cut", "cars": [3], "start": "4h", "duration": "2h"},
        {"kind": "gap", "cars": [4], "start": "2h", "duration": "5h"},
        {"kind": "noise", "cars": [4], "start": 0, "metres": 30},
        {"kind": "odometer_glitch", "cars": [5], "start": 0},
        {"kind": "tunnel", "cars": [5], "start": 0},
    ],
}
DECOYS = (4, 5)


def arguments(service: Service, folder: Path, protocol: str, seed: int) -> list[str]:
    port = service.running.gb32960_port if protocol == "gb32960" else service.running.jt808_port
    pki = Path(service.pki.certificate("org1", "originator").certificate).parent.parent
    return [
        *("--protocol", protocol, "--gateway", f"127.0.0.1:{port}", "--address", f"127.0.0.1:{service.running.grpc_port}"),
        *("--pki", str(pki), "--register", "--devices", "6", "--seed", str(seed)),
        *("--rate", "36", "--duration", "40", "--speedup", "2160"),
        *("--scenario", str(folder / "scenario.yaml"), "--truth", str(folder / "truth.jsonl"), "--report", str(folder / "report.json")),
    ]


@pytest.mark.parametrize(("protocol", "seed"), [("gb32960", 311), ("jt808", 312)])
async def test_a_day_of_a_scenario(service: Service, tmp_path: Path, protocol: str, seed: int) -> None:
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(SCENARIO))
    service.pki.certificate("org1", "device-ingest")
    # a process of its own would be the same code; a thread leaves the loop to the service
    code = await asyncio.to_thread(device_sim.main, arguments(service, tmp_path, protocol, seed))
    report = json.loads((tmp_path / "report.json").read_text())
    assert code == 0, report
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    expected = {car["vin"]: {f["expected_alert"] for f in car["faults"] if f["observable"] and f["expected_alert"]} for car in truth}
    assert sum(map(bool, expected.values())) == 4, truth

    async def found() -> dict[str, set[str]]:
        answer = await service.telematics.ListAlerts(telematics_service_pb2.ListAlertsRequest(page_size=1000))
        kinds: dict[str, set[str]] = defaultdict(set)
        for alert in answer.alerts:
            kinds[alert.vin].update(alert_pb2.AlertKind.Name(kind).removeprefix("ALERT_KIND_") for kind in alert.signals)
        return kinds

    def complete(kinds: dict[str, set[str]]) -> bool:
        return all(wanted <= kinds[vin] for vin, wanted in expected.items())

    seen: Any = {}
    async with asyncio.timeout(60):
        while not complete(seen := await found()):  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.2)
    assert not any(seen[car["vin"]] for car in truth if car["car"] in DECOYS), seen
