"""Publications of the index in PostgreSQL, their events in the outbox, and the feed that wakes streams."""

import asyncio
from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any, cast

import asyncpg

from carlien.valuation.v1 import events_pb2
from carlien_common import outbox
from carlien_common.config import DatabaseSettings
from carlien_common.domain.errors import conflict
from carlien_common.failures import is_transient
from carlien_common.logs import get_logger
from carlien_common.postgres import Connection, Pool
from carlien_common.postgres.pool import NOT_YET, connect
from carlien_valuation.domain.index_publication import IndexKey, IndexPoint, MarketNowcast, Method, Publication, SegmentVintages
from carlien_valuation.index_messages import index_message

log = get_logger(__name__)

CHANNEL = "carlien_index"
LOCK = int.from_bytes(b"index", "big")
"""Advisory lock of publishers: publication ids become visible in their order."""
TOPIC = "carlien.valuation.index.v1"
EVENT = "carlien.valuation.index.published.v1"
MAX_DELAY_S = 10.0


async def publish(conn: Connection, publications: Sequence[Publication], *, topic: str, source: str) -> list[Publication]:
    """Store publications with their events in one transaction; returns the new ones.

    A vintage that is already published from the same data is left alone; from other data it is CONFLICT VINTAGE_FROZEN.
    """
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        new = [publication for publication in publications if not await _is_published(conn, publication)]
        for publication in new:
            await _insert(conn, publication)
            await outbox.append(
                conn,
                topic=topic,
                key=publication.key.event_key,
                event=events_pb2.IndexPublished(index=index_message(publication)),
                ce_type=EVENT,
                ce_id=f"{publication.key.event_key}/{publication.key.method}/{publication.vintage:%Y-%m}",
                ce_source=source,
            )
        if new:
            await conn.execute(f"NOTIFY {CHANNEL}")
    return new


async def store_nowcast(conn: Connection, nowcast: MarketNowcast) -> bool:
    """Keep a nowcast; whether it is new (the same listings by the same model are not)."""
    row = await conn.fetchrow(
        """INSERT INTO index_nowcast
             (segment, region, month, level, standard_error, sample_size, weight, input_hash, model_version, made_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING sequence""",
        nowcast.segment, nowcast.region, nowcast.month, nowcast.level, nowcast.standard_error, nowcast.sample_size, nowcast.weight,
        nowcast.input_hash, nowcast.model_version, nowcast.made_at,
    )  # fmt: skip
    return row is not None


async def _is_published(conn: Connection, publication: Publication) -> bool:
    key = publication.key
    held = await conn.fetchval(
        "SELECT input_hash FROM index_publications WHERE segment = $1 AND region = $2 AND method = $3 AND vintage = $4",
        key.segment, key.region, key.method, publication.vintage,
    )  # fmt: skip
    if held is not None and held != publication.input_hash:
        name = f"{key.event_key} ({key.method}) {publication.vintage:%Y-%m}"
        raise conflict("VINTAGE_FROZEN", f"The index {name} is published from other data; a vintage never changes.")
    return held is not None


async def _insert(conn: Connection, publication: Publication) -> None:
    key = publication.key
    publication_id = await conn.fetchval(
        """INSERT INTO index_publications (segment, region, method, vintage, base_month, input_hash, methodology_version, published_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING publication_id""",
        key.segment, key.region, key.method, publication.vintage, publication.base_month, publication.input_hash,
        publication.methodology_version, publication.published_at,
    )  # fmt: skip
    await conn.executemany(
        "INSERT INTO index_points (publication_id, month, level, standard_error, sample_size) VALUES ($1, $2, $3, $4, $5)",
        [(publication_id, point.month, point.level, point.standard_error, point.sample_size) for point in publication.points],
    )


class PostgresIndexStore:
    """service.index.IndexStore."""

    def __init__(self, pool: Pool | Connection) -> None:
        self._pool = pool

    async def segments(self, region: str) -> Sequence[SegmentVintages]:
        rows = await self._pool.fetch(
            """SELECT segment, region, method, array_agg(vintage ORDER BY vintage) AS vintages FROM index_publications
               WHERE $1 = '' OR region = $1 GROUP BY segment, region, method ORDER BY segment, region, method""",
            region,
        )
        return [SegmentVintages(_key(row), tuple(row["vintages"])) for row in rows]

    async def find(self, key: IndexKey, vintage: date | None) -> Publication | None:
        row = await self._pool.fetchrow(
            """SELECT * FROM index_publications WHERE segment = $1 AND region = $2 AND method = $3 AND ($4::date IS NULL OR vintage = $4)
               ORDER BY vintage DESC LIMIT 1""",
            key.segment, key.region, key.method, vintage,
        )  # fmt: skip
        return None if row is None else (await self._complete([row]))[0]

    async def latest(self, segment: str, region: str) -> Sequence[Publication]:
        rows = await self._pool.fetch(
            """SELECT * FROM (
                 SELECT DISTINCT ON (segment, region, method) * FROM index_publications
                 WHERE ($1 = '' OR segment = $1) AND ($2 = '' OR region = $2) ORDER BY segment, region, method, vintage DESC
               ) latest ORDER BY publication_id""",
            segment, region,
        )  # fmt: skip
        return await self._complete(rows)

    async def nowcast(self, segment: str, region: str, beyond: date) -> MarketNowcast | None:
        row = await self._pool.fetchrow(
            "SELECT * FROM index_nowcast WHERE segment = $1 AND region = $2 AND month > $3 ORDER BY month DESC, sequence DESC LIMIT 1",
            segment, region, beyond,
        )  # fmt: skip
        if row is None:
            return None
        return MarketNowcast(**{field.name: row[field.name] for field in fields(MarketNowcast)})

    async def after(self, publication_id: int, segment: str, region: str, limit: int) -> Sequence[Publication]:
        rows = await self._pool.fetch(
            """SELECT * FROM index_publications WHERE publication_id > $1 AND ($2 = '' OR segment = $2) AND ($3 = '' OR region = $3)
               ORDER BY publication_id LIMIT $4""",
            publication_id, segment, region, limit,
        )  # fmt: skip
        return await self._complete(rows)

    async def _complete(self, rows: Sequence[asyncpg.Record]) -> list[Publication]:
        """With points; a month's first published level is that of the vintage that ended with it."""
        points: dict[int, list[IndexPoint]] = {row["publication_id"]: [] for row in rows}
        for point in await self._pool.fetch(
            """SELECT p.*, first.level AS first_level FROM index_points p JOIN index_publications own USING (publication_id)
               LEFT JOIN index_publications origin ON origin.segment = own.segment AND origin.region = own.region
                    AND origin.method = own.method AND origin.vintage = p.month
               LEFT JOIN index_points first ON first.publication_id = origin.publication_id AND first.month = p.month
               WHERE p.publication_id = ANY($1) ORDER BY p.publication_id, p.month""",
            list(points),
        ):
            points[point["publication_id"]].append(
                IndexPoint(point["month"], point["level"], point["standard_error"], point["sample_size"], point["first_level"])
            )
        return [_publication(row, tuple(points[row["publication_id"]])) for row in rows]


def _key(row: Any) -> IndexKey:
    return IndexKey(row["segment"], row["region"], cast("Method", row["method"]))


def _publication(row: Any, points: tuple[IndexPoint, ...]) -> Publication:
    return Publication(
        key=_key(row),
        vintage=row["vintage"],
        base_month=row["base_month"],
        points=points,
        input_hash=row["input_hash"],
        published_at=cast("datetime", row["published_at"]),
        methodology_version=row["methodology_version"],
        publication_id=row["publication_id"],
    )


class PostgresIndexFeed:
    """service.index.IndexFeed over LISTEN; run() is a task of the application. After a lost connection streams look again."""

    def __init__(self, settings: DatabaseSettings, channel: str = CHANNEL) -> None:
        self._settings, self._channel = settings, channel
        self._seen = 0
        self._changed = asyncio.Event()

    @property
    def seen(self) -> int:
        return self._seen

    async def beyond(self, seen: int) -> None:
        while self._seen == seen:
            await self._changed.wait()

    def _wake(self, *_: object) -> None:
        self._seen += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled; reconnects with a growing delay."""
        delay = 0.1
        while True:
            connection: asyncpg.Connection[asyncpg.Record] | None = None
            try:
                connection = await connect(self._settings, f"{self._channel}-feed".replace("_", "-"))
                lost = asyncio.Event()
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                await connection.add_listener(self._channel, self._wake)
                self._wake()  # something may have been published while nobody listened
                delay = 0.1
                await lost.wait()
                log.warning("index_feed_connection_lost")
            except (*NOT_YET, asyncpg.InterfaceError) as error:
                log.warning("index_feed_interrupted", error=type(error).__name__, delay_s=delay)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("index_feed_interrupted", error=type(error).__name__, delay_s=delay)
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(delay)
            delay = min(MAX_DELAY_S, delay * 2)
