"""Rows of watched loans and of what is held about their cars, on one connection; changes are told in the same transaction."""

from collections.abc import Sequence
from datetime import datetime

from carlien.pricing.v1 import events_pb2
from carlien_common import outbox
from carlien_common.domain.ids import new_id
from carlien_common.postgres import Connection, Pool
from carlien_pricing.adapters.codec import from_json, to_state
from carlien_pricing.adapters.outlet import Outlet
from carlien_pricing.domain.watch_state import Cause, Change, IndexLevels, OpenAlert, Stage, UsageMark, Watch
from carlien_pricing.messages import watch_message
from carlien_pricing.metrics import WATCH_CHANGES
from carlien_pricing.service.ports import HeldAlert, HeldAppraisal, HeldLien, HeldUsage


class WatchRows:
    """The part of service.ports.Transaction that the watch needs."""

    _connection: Connection
    _outlet: Outlet

    async def appraisal(self, appraisal_id: str) -> HeldAppraisal | None:
        return await read_appraisal(self._connection, appraisal_id)

    async def newest_appraisal(self, vin: str) -> HeldAppraisal | None:
        text = await self._connection.fetchval(
            "SELECT held FROM appraisals WHERE vin = $1 AND usable ORDER BY valued_at DESC, appraisal_id DESC LIMIT 1", vin
        )
        return None if text is None else from_json(HeldAppraisal, text)

    async def lock_cars(self, vins: Sequence[str]) -> None:
        # In order of the locks, so that two batches with the same cars don't wait for each other.
        await self._connection.execute(
            """SELECT pg_advisory_xact_lock(lock) FROM
               (SELECT DISTINCT hashtextextended('car/' || vin, 0) AS lock FROM unnest($1::text[]) AS vin ORDER BY lock) AS ordered""",
            list(vins),
        )

    async def add_appraisals(self, appraisals: Sequence[HeldAppraisal]) -> None:
        await self._connection.execute(
            """INSERT INTO appraisals (appraisal_id, vin, valued_at, usable, held)
               SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::boolean[], $5::text[]) ON CONFLICT DO NOTHING""",
            [held.appraisal_id for held in appraisals],
            [held.vin for held in appraisals],
            [held.mark.valued_at for held in appraisals],
            [not held.facts.abstained for held in appraisals],
            [to_state(held) for held in appraisals],
        )

    async def put_lien(self, lien: HeldLien) -> bool:
        kept = await self._connection.fetchval(
            """INSERT INTO liens (registration_number, vin, own, ahead, active, block_number, tx_index)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (registration_number) DO UPDATE
               SET active = excluded.active, ahead = excluded.ahead, own = excluded.own,
                   block_number = excluded.block_number, tx_index = excluded.tx_index
               WHERE (liens.block_number, liens.tx_index) <= (excluded.block_number, excluded.tx_index)
               RETURNING true""",
            lien.registration_number,
            lien.vin,
            lien.own,
            lien.ahead,
            lien.active,
            lien.block_number,
            lien.tx_index,
        )
        return bool(kept)

    async def liens(self, vin: str) -> Sequence[HeldLien]:
        rows = await self._connection.fetch("SELECT * FROM liens WHERE vin = $1 ORDER BY block_number, tx_index", vin)
        return [HeldLien(**dict(row)) for row in rows]

    async def put_alert(self, held: HeldAlert) -> bool:
        kept = await self._connection.fetchval(
            """INSERT INTO alerts (alert_id, vin, revision, open, severity, kinds) VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (alert_id) DO UPDATE
               SET revision = excluded.revision, open = excluded.open, severity = excluded.severity, kinds = excluded.kinds,
                   changed_at = now()
               WHERE alerts.revision < excluded.revision RETURNING true""",
            held.alert.alert_id,
            held.vin,
            held.revision,
            held.is_open,
            held.alert.severity,
            list(held.alert.kinds),
        )
        return bool(kept)

    async def open_alerts(self, vin: str) -> Sequence[OpenAlert]:
        rows = await self._connection.fetch("SELECT alert_id, kinds, severity FROM alerts WHERE vin = $1 AND open ORDER BY alert_id", vin)
        return [OpenAlert(row["alert_id"], tuple(row["kinds"]), row["severity"]) for row in rows]

    async def put_usage(self, held: HeldUsage) -> bool:
        kept = await self._connection.fetchval(
            """INSERT INTO profiles (vin, computed_at, risk_score, trust) VALUES ($1, $2, $3, $4)
               ON CONFLICT (vin) DO UPDATE
               SET computed_at = excluded.computed_at, risk_score = excluded.risk_score, trust = excluded.trust
               WHERE profiles.computed_at < excluded.computed_at RETURNING true""",
            held.vin,
            held.mark.computed_at,
            held.mark.risk_score,
            held.mark.trust,
        )
        return bool(kept)

    async def usage_mark(self, vin: str) -> UsageMark | None:
        row = await self._connection.fetchrow("SELECT computed_at, risk_score, trust FROM profiles WHERE vin = $1", vin)
        return None if row is None else UsageMark(*row.values())

    async def watch_for_update(self, loan_id: str) -> Watch | None:
        return read_watch(await self._connection.fetchval("SELECT state FROM watches WHERE loan_id = $1 FOR UPDATE", loan_id))

    async def watches_of(self, vins: Sequence[str]) -> Sequence[Watch]:
        return await self._watches(
            "SELECT state FROM watches WHERE vin = ANY($1) AND stage <> 'CLOSED' ORDER BY loan_id FOR UPDATE", list(vins)
        )

    async def overdue_margin_calls(self, now: datetime, limit: int) -> Sequence[Watch]:
        return await self._watches(
            """SELECT state FROM watches WHERE cure_until <= $1 AND NOT judged ORDER BY cure_until LIMIT $2
               FOR UPDATE SKIP LOCKED""",
            now,
            limit,
        )

    async def behind_vintage(self, vintage: str, limit: int) -> Sequence[Watch]:
        return await self._watches(
            """SELECT state FROM watches WHERE vintage < $1 AND stage <> 'CLOSED' ORDER BY vintage, loan_id LIMIT $2
               FOR UPDATE SKIP LOCKED""",
            vintage,
            limit,
        )

    async def _watches(self, query: str, *arguments: object) -> Sequence[Watch]:
        return [from_json(Watch, row["state"]) for row in await self._connection.fetch(query, *arguments)]

    async def put_watch(self, watch: Watch, change: Change | None, cause: Cause) -> None:
        await self.put_watches([watch], [] if change is None else [(change, watch)], cause)

    async def put_watches(self, watches: Sequence[Watch], told: Sequence[tuple[Change, Watch]], cause: Cause) -> None:
        if watches:
            await self._connection.execute(
                """INSERT INTO watches (loan_id, vin, stage, tier, ltv, cure_until, judged, updated_at, vintage, check_at, state)
                   SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::float8[], $6::timestamptz[], $7::boolean[],
                                        $8::timestamptz[], $9::text[], $10::timestamptz[], $11::text[])
                   ON CONFLICT (loan_id) DO UPDATE
                   SET stage = excluded.stage, tier = excluded.tier, ltv = excluded.ltv, cure_until = excluded.cure_until,
                       judged = excluded.judged, updated_at = excluded.updated_at, vintage = excluded.vintage,
                       check_at = excluded.check_at, state = excluded.state""",
                [watch.loan_id for watch in watches],
                [watch.vin for watch in watches],
                [watch.stage for watch in watches],
                [watch.monitoring_tier for watch in watches],
                [float(watch.ltv_p50) for watch in watches],
                [watch.cure_until if watch.stage is Stage.MARGIN_CALL else None for watch in watches],
                ["NOT_CURED_NO_ACCELERATION" in watch.reasons for watch in watches],
                [watch.updated_at for watch in watches],
                [watch.index_vintage for watch in watches],
                [watch.check_at for watch in watches],
                [to_state(watch) for watch in watches],
            )
        if not told:
            return
        events = [events_pb2.WatchEvent(change=change, watch=watch_message(watch), cause=cause) for change, watch in told]
        await self._connection.execute(
            # In the order given: `sequence` orders what is told.
            """INSERT INTO watch_events (loan_id, event)
               SELECT loan_id, event FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS new (loan_id, event, place) ORDER BY place""",
            [event.watch.loan_id for event in events],
            [event.SerializeToString() for event in events],
        )
        await outbox.append_all(
            self._connection,
            topic=self._outlet.watch_topic,
            ce_source=self._outlet.source,
            entries=[outbox.Entry(event.watch.vin, event, f"carlien.pricing.{event.change}.v1", new_id()) for event in events],
        )
        for change, _ in told:
            WATCH_CHANGES.labels(change, cause).inc()

    async def index(self) -> IndexLevels | None:
        return await read_index(self._connection)

    async def put_index(self, levels: IndexLevels) -> bool:
        kept = await self._connection.fetchval(
            """INSERT INTO market_index (singleton, vintage, levels) VALUES (true, $1, $2)
               ON CONFLICT (singleton) DO UPDATE SET vintage = excluded.vintage, levels = excluded.levels
               WHERE market_index.vintage < excluded.vintage RETURNING true""",
            levels.vintage,
            to_state(levels),
        )
        return bool(kept)


async def read_appraisal(connection: Connection | Pool, appraisal_id: str) -> HeldAppraisal | None:
    """A recorded appraisal that its event told of."""
    text = await connection.fetchval("SELECT held FROM appraisals WHERE appraisal_id = $1", appraisal_id)
    return None if text is None else from_json(HeldAppraisal, text)


async def read_index(connection: Connection | Pool) -> IndexLevels | None:
    """The newest vintage held."""
    text = await connection.fetchval("SELECT levels FROM market_index")
    return None if text is None else from_json(IndexLevels, text)


def read_watch(text: str | None) -> Watch | None:
    """A watch's state as stored."""
    return None if text is None else from_json(Watch, text)
