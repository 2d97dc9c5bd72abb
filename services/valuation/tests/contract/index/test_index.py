"""The index on a real database: frozen vintages, restated months, events, streams."""

import asyncio
import dataclasses
from datetime import UTC, date, datetime

import asyncpg
import pytest
from pydantic import SecretStr

from carlien.valuation.v1 import events_pb2
from carlien_common.config import DatabaseSettings
from carlien_common.domain.errors import DomainError
from carlien_common.postgres import Pool
from carlien_valuation.adapters.index_store import TOPIC, PostgresIndexFeed, PostgresIndexStore, publish, store_nowcast
from carlien_valuation.domain.index_publication import IndexKey, IndexPoint, MarketNowcast, Publication
from carlien_valuation.service.index import Indices


def months(last: int) -> tuple[date, ...]:
    return tuple(date(2024, month, 1) for month in range(1, last + 1))


def publication(last: int, scale: float = 1.0, segment: str = "all", data: str = "") -> Publication:
    points = tuple(IndexPoint(month, 100 + scale * i, 0.01 * i, 50 + i) for i, month in enumerate(months(last)))
    return Publication(
        IndexKey(segment, "BR"), points[-1].month, points[0].month, points, f"hash of {last} {data}", datetime(2024, 12, 1, tzinfo=UTC)
    )


async def publish_all(dsn: str, *publications: Publication) -> list[Publication]:
    connection = await asyncpg.connect(dsn)
    try:
        return await publish(connection, publications, topic=TOPIC, source="/org1/valuation")
    finally:
        await connection.close()


async def test_a_later_vintage_restates_a_month_and_tells_what_was_said_first(dsn: str, database: Pool) -> None:
    store = PostgresIndexStore(database)
    await publish_all(dsn, publication(3))
    await publish_all(dsn, publication(4, scale=2.0))
    latest = await store.find(IndexKey("all", "BR"), None)
    assert latest is not None
    assert [(p.level, p.first_published_level) for p in latest.points] == [(100.0, None), (102.0, None), (104.0, 102.0), (106.0, 106.0)]
    frozen = await store.find(IndexKey("all", "BR"), date(2024, 3, 1))
    assert frozen is not None
    assert [p.level for p in frozen.points] == [100.0, 101.0, 102.0]


async def test_publishing_again_changes_nothing_and_other_data_are_refused(dsn: str, database: Pool) -> None:
    assert len(await publish_all(dsn, publication(3))) == 1
    assert await publish_all(dsn, publication(3)) == []
    with pytest.raises(DomainError) as raised:
        await publish_all(dsn, publication(2), publication(3, data="others"))
    assert raised.value.reason == "VINTAGE_FROZEN"
    assert await database.fetchval("SELECT count(*) FROM index_publications") == 1
    assert await database.fetchval("SELECT count(*) FROM outbox") == 1


@pytest.mark.parametrize("statement", ["UPDATE index_points SET level = 1", "DELETE FROM index_points", "DELETE FROM index_publications"])
async def test_the_database_itself_refuses_to_change_a_vintage(dsn: str, database: Pool, statement: str) -> None:
    await publish_all(dsn, publication(3))
    with pytest.raises(asyncpg.PostgresError, match="never changed"):
        await database.execute(statement)


async def test_each_publication_has_its_event(dsn: str, database: Pool) -> None:
    await publish_all(dsn, publication(3), publication(3, segment="make:fiat"))
    rows = await database.fetch("SELECT topic, key, value, ce_id FROM outbox ORDER BY id")
    assert [(row["topic"], row["key"]) for row in rows] == [(TOPIC, "all/BR"), (TOPIC, "make:fiat/BR")]
    event = events_pb2.IndexPublished.FromString(rows[0]["value"])
    assert event.index.vintage == "2024-03"
    assert [point.level for point in event.index.points] == [100.0, 101.0, 102.0]
    assert len({row["ce_id"] for row in rows}) == 2


async def test_segments_are_listed_with_their_vintages(dsn: str, database: Pool) -> None:
    await publish_all(dsn, publication(3), publication(4), publication(3, segment="make:fiat"))
    segments = await PostgresIndexStore(database).segments("BR")
    assert [(s.key.segment, len(s.vintages)) for s in segments] == [("all", 2), ("make:fiat", 1)]
    assert await PostgresIndexStore(database).segments("CN") == []


async def test_what_was_never_published_is_not_found(dsn: str, database: Pool) -> None:
    await publish_all(dsn, publication(3))
    indices = Indices(PostgresIndexStore(database), PostgresIndexFeed(DatabaseSettings(postgres_dsn=SecretStr(dsn))))
    for key, vintage, reason in (
        (IndexKey("none", "BR"), None, "INDEX_UNKNOWN"),
        (IndexKey("all", "BR", "repeat_price"), None, "INDEX_UNKNOWN"),
        (IndexKey("all", "BR"), date(2024, 5, 1), "VINTAGE_UNKNOWN"),
    ):
        with pytest.raises(DomainError) as raised:
            await indices.get(key, vintage)
        assert raised.value.reason == reason


async def test_a_stream_gets_the_latest_first_and_then_each_new_one_once(dsn: str, database: Pool) -> None:
    await publish_all(dsn, publication(3), publication(4))
    feed = PostgresIndexFeed(DatabaseSettings(postgres_dsn=SecretStr(dsn)))
    running = asyncio.create_task(feed.run())
    stream = Indices(PostgresIndexStore(database), feed).stream("all", "")
    try:
        async with asyncio.timeout(20):
            assert (await anext(stream)).vintage == date(2024, 4, 1)
            await publish_all(dsn, publication(5), publication(5, segment="other"))
            await publish_all(dsn, publication(6))
            assert [(await anext(stream)).vintage.month for _ in range(2)] == [5, 6]
            waiting: asyncio.Future[Publication] = asyncio.ensure_future(anext(stream))
            await database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'carlien-index-feed'")
            await publish_all(dsn, publication(7))
            assert (await waiting).vintage.month == 7
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_many_points_survive_the_way_through_the_database(dsn: str, database: Pool) -> None:
    made = publication(6)
    await publish_all(dsn, made)
    held = await PostgresIndexStore(database).find(made.key, made.vintage)
    assert held is not None
    plain = tuple(dataclasses.replace(point, first_published_level=None) for point in held.points)
    assert dataclasses.replace(held, points=plain, publication_id=0) == made
    assert held.level_at(date(2024, 3, 20)) == 102.0
    assert held.level_at(date(2023, 1, 1)) is None


async def test_a_nowcast_stands_beside_the_latest_vintage_only_and_the_same_is_stored_once(dsn: str, database: Pool) -> None:
    await publish_all(dsn, publication(3), publication(4))
    indices = Indices(PostgresIndexStore(database), PostgresIndexFeed(DatabaseSettings(postgres_dsn=SecretStr(dsn))))
    key, made_at = IndexKey("all", "BR"), datetime(2024, 12, 2, tzinfo=UTC)
    first = MarketNowcast("all", "BR", date(2024, 5, 1), 97.5, 0.01, 40, 0.8, "h1", "m1", made_at)
    stale = dataclasses.replace(first, month=date(2024, 4, 1), input_hash="h0")
    better = dataclasses.replace(first, level=96.0, sample_size=90, input_hash="h2")
    async with database.acquire() as connection:
        assert [await store_nowcast(connection, one) for one in (stale, first, first, better)] == [True, True, False, True]
    latest, older = await indices.get(key, None), await indices.get(key, date(2024, 3, 1))
    assert await indices.nowcast(latest) == better
    assert await indices.nowcast(older) is None
    await publish_all(dsn, publication(5))
    assert await indices.nowcast(await indices.get(key, None)) is None
