"""Recorded appraisals in PostgreSQL, emitted through the outbox in the same transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from carlien.valuation.v1 import appraisal_pb2, events_pb2, revaluation_pb2, valuation_service_pb2
from carlien_common.domain.ids import new_id
from carlien_common.idempotency import claim, store
from carlien_common.outbox import append
from carlien_common.postgres.pool import Connection, Pool
from carlien_common.wire import date_from_proto, money_from_proto, money_to_proto
from carlien_valuation.adapters.car_document import car_json, read_car
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.revaluation import Cause
from carlien_valuation.service.appraise import Request
from carlien_valuation.service.remark import Recorded, Remarked

RPC = "ValuationService/Appraise"
CE_TYPE = "carlien.valuation.appraisal.v1"
_PRICE_TYPES: Final = {appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}"): kind for kind in PriceType}


class PostgresAppraisals:
    """Keeps each recorded appraisal as answered; a car's newest one is what the next supersedes."""

    def __init__(self, pool: Pool, source: str, topic: str) -> None:
        self._pool = pool
        self._source = source
        self._topic = topic

    async def record(
        self,
        org: str,
        key: str,
        request: bytes,
        asked: Request,
        appraisal: appraisal_pb2.Appraisal,
        cause: appraisal_pb2.AppraisalCause.ValueType,
        valued_at: datetime,
    ) -> valuation_service_pb2.AppraiseResponse:
        """Store and emit, unless another call with this key was faster: then its answer. The id is set on the answer."""
        async with self._pool.acquire() as connection, connection.transaction():
            first = await claim(connection, org, RPC, key, request)
            if first is not None:
                return valuation_service_pb2.AppraiseResponse.FromString(first)
            await self.insert(connection, car_json(asked.car, asked.pack), appraisal, cause, valued_at)
            response = valuation_service_pb2.AppraiseResponse(appraisal=appraisal)
            await store(connection, org, RPC, key, response)
            return response

    async def insert(
        self,
        connection: Connection,
        car: str,
        appraisal: appraisal_pb2.Appraisal,
        cause: appraisal_pb2.AppraisalCause.ValueType,
        valued_at: datetime,
        why: Remarked | None = None,
    ) -> None:
        """Append to the car's history inside the caller's transaction and emit; sets appraisal_id. `car` as in car_document; `why` where
        the difference to the appraisal before is known.
        """
        # One writer per car at a time, so that `supersedes` forms a chain and events leave in its order.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", appraisal.vin)
        previous = await connection.fetchval(
            "SELECT appraisal_id FROM appraisal WHERE vin = $1 ORDER BY sequence DESC LIMIT 1", appraisal.vin
        )
        appraisal.appraisal_id = new_id()
        supersedes = str(previous) if previous else ""
        await connection.execute(
            "INSERT INTO appraisal (appraisal_id, vin, valued_at, cause, supersedes, model_version, body, car) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            appraisal.appraisal_id,
            appraisal.vin,
            valued_at,
            appraisal_pb2.AppraisalCause.Name(cause).removeprefix("APPRAISAL_CAUSE_"),
            previous,
            appraisal.model_version,
            appraisal.SerializeToString(),
            car,
        )
        event = events_pb2.AppraisalRecorded(appraisal=appraisal, cause=cause, supersedes=supersedes)
        if why is not None:
            _explain(event, why)
        await append(
            connection,
            topic=self._topic,
            key=appraisal.vin,
            event=event,
            ce_type=CE_TYPE,
            ce_source=self._source,
            ce_id=appraisal.appraisal_id,
        )

    async def latest(self, connection: Connection, vins: Sequence[str]) -> dict[str, Recorded]:
        """Each car's newest recorded appraisal, of which the car is known; the car stays locked for the caller's transaction."""
        for vin in sorted(vins):
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", vin)
        rows = await connection.fetch(
            "SELECT DISTINCT ON (vin) vin, appraisal_id, body, car FROM appraisal WHERE vin = ANY($1) ORDER BY vin, sequence DESC",
            list(vins),
        )
        return {row["vin"]: _recorded(row) for row in rows if row["car"] is not None}


def _recorded(row: Any) -> Recorded:
    car, pack = read_car(row["car"])
    appraisal = appraisal_pb2.Appraisal.FromString(row["body"])
    values = {_PRICE_TYPES[estimate.price_type]: money_from_proto(estimate.p50, "p50") for estimate in appraisal.estimates}
    day = date_from_proto(appraisal.valuation_date, "valuation_date")
    return Recorded(str(row["appraisal_id"]), car, pack, day, values, appraisal.index_level)


def _explain(event: events_pb2.AppraisalRecorded, why: Remarked) -> None:
    event.changed_price_type = appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{why.price_type}")
    for cause, amount in why.changes.amounts.items():
        if amount.amount or cause is Cause.MARKET:
            event.changes.add(cause=revaluation_pb2.ChangeCause.Value(f"CHANGE_CAUSE_{cause}"), amount=money_to_proto(amount))
    event.market_loss.CopyFrom(money_to_proto(why.changes.market_loss))
    event.driver_loss.CopyFrom(money_to_proto(why.changes.driver_loss))
