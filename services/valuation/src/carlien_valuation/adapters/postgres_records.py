"""Vehicle records in PostgreSQL, and which cars have a file in memory."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from carlien_common.domain.errors import DomainError, duplicate
from carlien_common.domain.money import Money
from carlien_common.logs import get_logger
from carlien_common.postgres.pool import Connection, Pool
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.car import Usage
from carlien_valuation.domain.vehicle_file import Accident, Record, RecordKind
from carlien_valuation.service.vehicle_files import Held, QuotedSale

log = get_logger(__name__)

FILE_CHANNEL = "carlien_vehicle_file"
LOCK = int.from_bytes(b"vehicle", "big")
"""Advisory lock of importers: sequences of vehicle_file become visible in their order."""
MOST_RECORDS = 1_000
FORGET_BATCH = 5_000
MOST_QUOTES = 5_000
MOST_KNOWN = 2_000_000
"""Cars whose having a file is kept in memory (about 100 bytes each); with more, every car is looked up."""
SALE_WITHIN_DAYS = 90


async def insert_records(connection: Connection, records: Sequence[Record]) -> list[bool | DomainError]:
    """Append in the caller's transaction: whether each is new, or DUPLICATE RECORD_DIFFERS."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    results = [await _insert(connection, one) for one in records]
    new = sorted({one.vin for one, result in zip(records, results, strict=True) if result is True})
    if new:
        await connection.executemany("INSERT INTO vehicle_file (vin) VALUES ($1) ON CONFLICT DO NOTHING", [(vin,) for vin in new])
        await connection.execute(f"NOTIFY {FILE_CHANNEL}")
    return results


async def _insert(connection: Connection, record: Record) -> bool | DomainError:
    stated, amount = _stated(record), record.price.amount if record.price else None
    row = await connection.fetchrow(
        """WITH new AS (
             INSERT INTO vehicle_record (record_id, vin, kind, source, key, occurred_at, received_at, consent_id, consent_expires_at, price,
                                         currency, price_type, stated)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (source, key) DO NOTHING RETURNING 1
           )
           SELECT exists(SELECT 1 FROM new) AS inserted, old.vin, old.kind, old.occurred_at, old.price, old.stated
           FROM (SELECT 1) one LEFT JOIN vehicle_record old ON old.source = $4 AND old.key = $5""",
        record.record_id, record.vin, record.kind.value, record.source, record.key, record.occurred_at, record.received_at,
        record.consent_id, record.consent_expires_at, amount, record.price.currency if record.price else None,
        record.price_type.value if record.price_type else None, stated,
    )  # fmt: skip
    if row is None or row["inserted"]:
        return True
    old = (row["vin"], row["kind"], row["occurred_at"], row["price"], json.loads(row["stated"]))
    if old != (record.vin, record.kind.value, record.occurred_at, amount, json.loads(stated)):
        return duplicate("RECORD_DIFFERS", f"{record.source} sent another record under the name {record.key} before.")
    return False


class PostgresRecords:
    """service.vehicle_files.RecordStore."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, records: Sequence[Record]) -> list[bool | DomainError]:
        """Append in one transaction; see insert_records."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await insert_records(connection, records)

    async def forget(self) -> bool:
        """Delete records whose consent has ended, some at a time; True when there may be more. To be repeated."""
        deleted: int = await self._pool.fetchval(
            """WITH gone AS (
                 DELETE FROM vehicle_record WHERE record_id IN (
                   SELECT record_id FROM vehicle_record WHERE consent_expires_at <= now() LIMIT $1
                 ) RETURNING 1
               ) SELECT count(*) FROM gone""",
            FORGET_BATCH,
        )
        return deleted == FORGET_BATCH

    async def held(self, vins: Sequence[str], as_of: datetime, now: datetime) -> Mapping[str, Held]:
        rows = await self._pool.fetch(
            """SELECT * FROM (
                 SELECT *, row_number() OVER (PARTITION BY vin ORDER BY occurred_at DESC, record_id) AS place,
                        count(*) OVER (PARTITION BY vin) AS total
                 FROM vehicle_record
                 WHERE vin = ANY($1) AND occurred_at <= $2 AND (consent_expires_at IS NULL OR consent_expires_at > $3)
               ) of_one WHERE place <= $4 ORDER BY vin, occurred_at, place DESC""",
            list(vins), as_of, now, MOST_RECORDS,
        )  # fmt: skip
        records: dict[str, list[Record]] = {}
        totals: dict[str, int] = {}
        for row in rows:
            records.setdefault(row["vin"], []).append(_record(row))
            totals[row["vin"]] = row["total"]
        return {vin: Held(tuple(of_one), totals[vin]) for vin, of_one in records.items()}

    async def quoted_sales(self, sources: Sequence[str], currency: str) -> Sequence[QuotedSale]:
        rows = await self._pool.fetch(
            """SELECT r.source, r.price AS quoted, r.price_type AS quoted_in, o.price AS paid, o.price_type AS sold_in
               FROM vehicle_record r JOIN outcome o ON o.vin = r.vin AND o.currency = r.currency
                    AND o.sold_on BETWEEN r.occurred_at::date AND r.occurred_at::date + $4::int
               WHERE r.kind = 'QUOTE' AND r.source = ANY($1) AND r.currency = $2 ORDER BY r.occurred_at DESC LIMIT $3""",
            list(sources), currency, MOST_QUOTES, SALE_WITHIN_DAYS,
        )  # fmt: skip
        return [
            QuotedSale(
                row["source"],
                float(row["quoted"]),
                PriceType(row["quoted_in"] or PriceType.DEALER_RETAIL),
                float(row["paid"]),
                PriceType(row["sold_in"]),
            )
            for row in rows
        ]


def _stated(record: Record) -> str:
    document = {
        "odometer_km": record.odometer_km,
        "usage": record.usage,
        "grade": record.grade,
        "accident": record.accident,
        "first_registration": record.first_registration.isoformat() if record.first_registration else None,
        "transfer_count": record.transfer_count,
        "soh": None if record.soh is None else str(record.soh),
    }
    return json.dumps({name: value for name, value in document.items() if value is not None}, sort_keys=True)


def _record(row: Any) -> Record:
    stated = json.loads(row["stated"])
    return Record(
        record_id=str(row["record_id"]),
        vin=row["vin"],
        kind=RecordKind(row["kind"]),
        source=row["source"],
        key=row["key"],
        occurred_at=row["occurred_at"],
        received_at=row["received_at"],
        consent_id=row["consent_id"],
        consent_expires_at=row["consent_expires_at"],
        odometer_km=stated.get("odometer_km"),
        price=Money(row["price"], row["currency"]).quantized() if row["price"] is not None else None,
        price_type=PriceType(row["price_type"]) if row["price_type"] else None,
        usage=Usage(stated["usage"]) if "usage" in stated else None,
        grade=stated.get("grade"),
        accident=Accident(stated["accident"]) if "accident" in stated else None,
        first_registration=date.fromisoformat(stated["first_registration"]) if "first_registration" in stated else None,
        transfer_count=stated.get("transfer_count"),
        soh=Decimal(stated["soh"]) if "soh" in stated else None,
    )
