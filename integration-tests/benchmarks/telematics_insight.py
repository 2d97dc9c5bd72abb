"""What is known of cars: how fast a state is answered among 100,000 cars, and how well incidents are found on unseen seeds.

The cars are put into the running stack's own database beside what is there, and taken out again. Detection is a run of the same
domain code in processes of its own, with a small fleet; `carlien-insight detection` does it at length.
"""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.measure import Figure, Session, closed_loop, empty_rpc
from carlien.telematics.v1 import telematics_service_pb2, telematics_service_pb2_grpc
from carlien_telematics.commands.insight import TARGET_NATURE, TARGET_RECALL, TARGETED, measured
from carlien_telematics.domain.alerts.signals import FALSE_ALARM_BUDGET
from carlien_telematics.simulator.fleet import vin_of
from carlien_telematics.simulator.scenario import read_scenario
from carlien_telematics.simulator.validation import Outcome

_CARS = 100_000
_SEED = 987
_AT_ONCE = 4
_CALLS = 4000
_SEEDS, _CARS_OF_SEED, _DAYS = (201, 202), 30, 30.0


async def _put(connection: "asyncpg.Connection[Any]", vins: list[str]) -> None:
    now = datetime.now(UTC)
    async with connection.transaction():
        await connection.copy_records_to_table(
            "device",
            records=[(f"B-{vin}", vin, "GB32960", b"salt", b"hash", "ACTIVE", now) for vin in vins],
            columns=["device_id", "vin", "protocol", "credential_salt", "credential_hash", "status", "registered_at"],
        )
        await connection.copy_records_to_table(
            "data_consent",
            records=[(vin, "COLLATERAL_MONITORING", now, now + timedelta(days=1)) for vin in vins],
            columns=["vin", "purpose", "granted_at", "expires_at"],
        )
        await connection.copy_records_to_table(
            "vehicle_state",
            records=[(vin, f"B-{vin}", now, now, 31.2, 121.4, 50.0, 12_345.6, 80.0, True) for vin in vins],
            columns=[
                *("vin", "device_id", "device_time", "received_at", "latitude", "longitude"),
                *("speed_kmh", "odometer_km", "soc_percent", "ignition"),
            ],
        )
    for table in ("device", "data_consent", "vehicle_state"):
        await connection.execute(f"ANALYZE {table}")


async def _take_out(connection: "asyncpg.Connection[Any]") -> None:
    async with connection.transaction():
        mine = "(SELECT vin FROM device WHERE device_id LIKE 'B-%')"
        await connection.execute(f"DELETE FROM vehicle_state WHERE vin IN {mine}")
        await connection.execute(f"DELETE FROM data_consent WHERE vin IN {mine}")
        await connection.execute("DELETE FROM device WHERE device_id LIKE 'B-%'")


async def states(session: Session) -> list[Figure]:
    """GetVehicleState of cars by chance among 100,000."""
    vins = [vin_of(_SEED, number) for number in range(_CARS)]
    stub = session.clients.stub(telematics_service_pb2_grpc.TelematicsServiceStub, session.stack.telematics, "collections")
    connection = await asyncpg.connect(os.environ["TELEMATICS_POSTGRES_DSN"])
    try:
        await _take_out(connection)
        await _put(connection, vins)
        asked = session.rng.choices(vins, k=_CALLS)

        async def ask(number: int) -> object:
            return await stub.GetVehicleState(telematics_service_pb2.GetVehicleStateRequest(vin=asked[number % _CALLS]), timeout=30)

        await closed_loop(ask, 200, _AT_ONCE)
        empty = await empty_rpc(session, session.stack.telematics, _AT_ONCE)
        load = await closed_loop(ask, _CALLS, _AT_ONCE)
    finally:
        await _take_out(connection)
        await connection.close()
    p99 = load.quantile(0.99)
    return [
        Figure(
            f"GetVehicleState among {_CARS} cars, {_AT_ONCE} at once, p99; reference: an empty rpc",
            p99,
            "s",
            empty.quantile(0.99),
            p99 / empty.quantile(0.99),
            "< 10 ms",
            p99 < 0.01,
        ),
        Figure(f"GetVehicleState among {_CARS} cars, {_AT_ONCE} at once", load.rate, "1/s", empty.rate, load.rate / empty.rate),
    ]


async def detection() -> list[Figure]:
    """Recall and false cases on seeds that no threshold was chosen on."""
    path = Path(str(files("carlien_telematics").joinpath("simulator/scenarios/detection.yaml")))
    outcome: Outcome = await asyncio.to_thread(measured, read_scenario(path), _SEEDS, _CARS_OF_SEED, _DAYS, 2)
    figures = []
    for kind in TARGETED:
        recall, false = outcome.recall(kind), outcome.false_per_100(kind)
        if recall is not None:
            figures.append(Figure(f"recall of {kind}", recall, "share", target=f">= {TARGET_RECALL}", met=recall >= TARGET_RECALL))
        budget = FALSE_ALARM_BUDGET[kind]
        figures.append(Figure(f"false {kind} in 100 car-months", false, "cases", target=f"<= {budget:g}", met=false <= budget))
    nature = outcome.balanced_accuracy()
    figures.append(Figure("usage nature, balanced accuracy", nature, "share", target=f">= {TARGET_NATURE}", met=nature >= TARGET_NATURE))
    return figures


async def run(session: Session) -> list[Figure]:
    """Both."""
    return [*await states(session), *await detection()]
