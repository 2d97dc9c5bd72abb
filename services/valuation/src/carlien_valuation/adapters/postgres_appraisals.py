"""Recorded appraisals in PostgreSQL, emitted through the outbox in the same transaction."""

from datetime import datetime

from carlien.valuation.v1 import appraisal_pb2, events_pb2, valuation_service_pb2
from carlien_common.domain.ids import new_id
from carlien_common.idempotency import claim, store
from carlien_common.outbox import append
from carlien_common.postgres.pool import Connection, Pool
from carlien_valuation.adapters.car_document import car_json
from carlien_valuation.service.appraise import Request

RPC = "ValuationService/Appraise"
CE_TYPE = "carlien.valuation.appraisal.v1"


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
    ) -> None:
        """Append to the car's history inside the caller's transaction and emit; sets appraisal_id. `car` as in car_document."""
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
        await append(
            connection,
            topic=self._topic,
            key=appraisal.vin,
            event=event,
            ce_type=CE_TYPE,
            ce_source=self._source,
            ce_id=appraisal.appraisal_id,
        )
