"""Realised sales in PostgreSQL: stored once per source and reference, linked with the appraisal in force on the day of the sale."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from carlien.valuation.v1 import appraisal_pb2, vehicle_record_service_pb2
from carlien_common.domain.errors import duplicate
from carlien_common.domain.ids import new_id
from carlien_common.domain.money import Money
from carlien_common.idempotency import claim, store
from carlien_common.postgres.pool import Connection, Pool
from carlien_common.wire import money_from_proto
from carlien_valuation.adapters.car_document import car_json, read_car
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.outcome import Answered, Outcome
from carlien_valuation.outcome_messages import outcome_message

RPC = "VehicleRecordService/ReportOutcome"


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file of sales."""

    stored: int
    known: int
    conflicting: tuple[str, ...]
    """References stored before with another content; left as they were."""


class PostgresOutcomes:
    """Keeps what is reported, once per idempotency key."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def report(
        self, org: str, key: str, request: bytes, outcome: Outcome, reported_at: datetime
    ) -> vehicle_record_service_pb2.ReportOutcomeResponse:
        """Store; the answer, or the one that the first call with this key got."""
        async with self._pool.acquire() as connection, connection.transaction():
            first = await claim(connection, org, RPC, key, request)
            if first is not None:
                return vehicle_record_service_pb2.ReportOutcomeResponse.FromString(first)
            stored, _ = await insert(connection, outcome, reported_at)
            answer = vehicle_record_service_pb2.ReportOutcomeResponse(outcome=outcome_message(stored))
            await store(connection, org, RPC, key, answer)
            return answer


async def insert(connection: Connection, outcome: Outcome, reported_at: datetime) -> tuple[Outcome, bool]:
    """The sale as stored, and whether it is new. DUPLICATE OUTCOME_DIFFERS where its reference names another sale."""
    linked = await _linked(connection, outcome)
    new = await connection.fetchval(
        """INSERT INTO outcome (outcome_id, vin, sold_on, price, currency, price_type, odometer_km, source, reference, car, appraisal_id,
                                reported_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (source, reference) DO NOTHING RETURNING outcome_id""",
        linked.outcome_id, linked.vin, linked.sold_on, linked.price.amount, linked.price.currency, linked.price_type.value,
        linked.odometer_km, linked.source, linked.reference, car_json(linked.car, linked.pack) if linked.car else None,
        linked.appraisal_id or None, reported_at,
    )  # fmt: skip
    if new is not None:
        return linked, True
    row = await connection.fetchrow(f"{_SELECT} WHERE o.source = $1 AND o.reference = $2", outcome.source, outcome.reference)
    held = _outcome(row)
    if (held.vin, held.price, held.price_type, held.sold_on) != (outcome.vin, outcome.price, outcome.price_type, outcome.sold_on):
        raise duplicate("OUTCOME_DIFFERS", f"{outcome.source} reported its sale {outcome.reference} before, with another content.")
    return held, False


async def import_all(connection: Connection, outcomes: Sequence[Outcome], reported_at: datetime) -> Imported:
    """Store a file of sales in one transaction; what is known already is left alone."""
    stored, known, conflicting = 0, 0, []
    async with connection.transaction():
        for outcome in outcomes:
            row = await connection.fetchrow(f"{_SELECT} WHERE o.source = $1 AND o.reference = $2", outcome.source, outcome.reference)
            if row is None:
                await insert(connection, outcome, reported_at)
                stored += 1
            elif (row["price"], row["sold_on"], row["vin"]) == (outcome.price.amount, outcome.sold_on, outcome.vin):
                known += 1
            else:
                conflicting.append(outcome.reference)
    return Imported(stored, known, tuple(conflicting))


async def outcomes_between(connection: Connection, first: date, last: date) -> list[Outcome]:
    """Sales of a period, both days included, in order."""
    rows = await connection.fetch(f"{_SELECT} WHERE o.sold_on BETWEEN $1 AND $2 ORDER BY o.sold_on, o.source, o.reference", first, last)
    return [_outcome(row) for row in rows]


_SELECT = """SELECT o.*, a.body AS answered, a.car AS appraised_car FROM outcome o LEFT JOIN appraisal a USING (appraisal_id)"""


async def _linked(connection: Connection, outcome: Outcome) -> Outcome:
    """With the newest appraisal recorded up to the day of the sale, and the car it describes where the sale doesn't."""
    row = await connection.fetchrow(
        """SELECT appraisal_id, body, car FROM appraisal WHERE vin = $1 AND valued_at < $2::date + 1
           ORDER BY sequence DESC LIMIT 1""",
        outcome.vin, outcome.sold_on,
    ) if outcome.vin else None  # fmt: skip
    outcome = replace(outcome, outcome_id=new_id())
    if row is None:
        return outcome
    answered = _answered(row["body"], outcome.price_type, outcome.price.currency)
    car, pack = outcome.car, outcome.pack
    if car is None and row["car"] is not None:
        car, pack = read_car(row["car"])
        if outcome.odometer_km is not None:
            car = replace(car, odometer_km=outcome.odometer_km)
    return replace(outcome, appraisal_id=str(row["appraisal_id"]), answered=answered, car=car, pack=pack)


def _outcome(row: Any) -> Outcome:
    price_type = PriceType(row["price_type"])
    car, pack = read_car(row["car"]) if row["car"] else (None, None)
    return Outcome(
        outcome_id=str(row["outcome_id"]),
        vin=row["vin"],
        price=Money(row["price"], row["currency"]).quantized(),
        price_type=price_type,
        sold_on=row["sold_on"],
        odometer_km=row["odometer_km"],
        source=row["source"],
        reference=row["reference"],
        car=car,
        pack=pack,
        appraisal_id=str(row["appraisal_id"] or ""),
        answered=_answered(row["answered"], price_type, row["currency"]) if row["answered"] else None,
    )


def _answered(body: bytes, price_type: PriceType, currency: str) -> Answered | None:
    wanted = appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{price_type}")
    for estimate in appraisal_pb2.Appraisal.FromString(body).estimates:
        if estimate.price_type == wanted and estimate.p50.currency_code == currency:
            p10, p50, p90 = (money_from_proto(value, "estimate") for value in (estimate.p10, estimate.p50, estimate.p90))
            return Answered(p10, p50, p90)
    return None
