"""Records, positions and states in PostgreSQL: COPY into a temporary table, then one INSERT that skips what is there."""

# ruff: noqa: S608 - the queries are put together from constants of this module; every value is a parameter

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from carlien_common.domain.errors import unavailable
from carlien_common.failures import is_transient
from carlien_common.postgres import Connection
from carlien_telematics.adapters.binary_copy import (
    HEADER,
    NULL,
    TRAILER,
    binary,
    boolean,
    columns,
    float4,
    float8,
    integers,
    jsonb,
    optional_text,
    text,
    timestamp,
)
from carlien_telematics.codecs.gb32960.units import Numbers
from carlien_telematics.domain.devices import SigningAlgorithm, SigningKey
from carlien_telematics.domain.records import StateChange, StoredRecord

_COLUMNS = (
    "vin",
    "device_time",
    "device_id",
    "digest",
    "source_protocol",
    "reissued",
    "received_at",
    "units",
    "cell_millivolts",
    "probe_celsius",
    "missing",
    "undecoded",
    "undecoded_reason",
    "signature_status",
    "latitude",
    "longitude",
    "speed_kmh",
    "odometer_km",
)
_FRAME_COLUMNS = ", ".join(_COLUMNS[: _COLUMNS.index("latitude")])
_STAGING = f"""
CREATE TEMP TABLE IF NOT EXISTS staging ON COMMIT DELETE ROWS AS
SELECT {_FRAME_COLUMNS}, NULL::double precision AS latitude, NULL::double precision AS longitude, NULL::real AS speed_kmh,
       NULL::double precision AS odometer_km
FROM frame WHERE false
"""
# In force now, not when the record was received: after a revocation nothing more is stored.
_CONSENTED = "SELECT DISTINCT vin FROM data_consent WHERE vin = ANY($1) AND revoked_at IS NULL AND expires_at > now()"
_SIGNING_KEYS = "SELECT device_id, signing_algorithm, signing_key FROM device WHERE device_id = ANY($1) AND signing_key IS NOT NULL"
_INSERT_FRAMES = f"INSERT INTO frame ({_FRAME_COLUMNS}) SELECT {_FRAME_COLUMNS} FROM staging ON CONFLICT DO NOTHING"
_INSERT_POSITIONS = """
INSERT INTO position (vin, device_time, device_id, digest, latitude, longitude, speed_kmh, odometer_km, reissued, received_at)
SELECT vin, device_time, device_id, digest, latitude, longitude, speed_kmh, odometer_km, reissued, received_at
FROM staging WHERE latitude IS NOT NULL ON CONFLICT DO NOTHING
"""
_NEWEST = """
unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::float8[], $6::float8[], $7::float8[], $8::float8[],
       $9::float8[], $10::boolean[], $11::text[], $12::timestamptz[], $13::boolean[], $14::boolean[])
    AS n(vin, device_id, device_time, received_at, latitude, longitude, speed_kmh, odometer_km, soc_percent, ignition,
         last_alarm, last_alarm_at, has_vehicle, has_position)
"""
_STATE_COLUMNS = """
vin, device_id, device_time, received_at, latitude, longitude, speed_kmh, odometer_km, soc_percent, ignition, last_alarm, last_alarm_at
"""
# Two statements, not one upsert: what a record does not mention must stay, and an upsert can't see has_vehicle.
_INSERT_STATES = f"""
INSERT INTO vehicle_state ({_STATE_COLUMNS}) SELECT {_STATE_COLUMNS} FROM {_NEWEST} ON CONFLICT DO NOTHING
"""
_UPDATE_STATES = f"""
UPDATE vehicle_state old SET
    device_id = n.device_id, device_time = n.device_time, received_at = n.received_at,
    latitude = CASE WHEN n.has_position THEN n.latitude ELSE old.latitude END,
    longitude = CASE WHEN n.has_position THEN n.longitude ELSE old.longitude END,
    speed_kmh = CASE WHEN n.has_vehicle THEN n.speed_kmh ELSE old.speed_kmh END,
    odometer_km = CASE WHEN n.has_vehicle THEN n.odometer_km ELSE old.odometer_km END,
    soc_percent = CASE WHEN n.has_vehicle THEN n.soc_percent ELSE old.soc_percent END,
    ignition = CASE WHEN n.has_vehicle THEN n.ignition ELSE old.ignition END,
    last_alarm = COALESCE(n.last_alarm, old.last_alarm), last_alarm_at = COALESCE(n.last_alarm_at, old.last_alarm_at)
FROM {_NEWEST}
WHERE old.vin = n.vin AND n.device_time > old.device_time
"""

_RECENT = timedelta(days=3)
"""Records of such a day are no surprise, and no day so young was redacted."""
_KEPT_DAYS = 400
"""Days back and two ahead get a partition of their own; a device time outside goes to the history partition."""


class PostgresRecordStore:
    """`RecordStore` on one connection, inside the caller's transaction."""

    def __init__(self, connection: Connection, partitions: Partitions) -> None:
        self._connection = connection
        self._partitions = partitions

    async def consented(self, vins: Collection[str]) -> set[str]:
        """Those cars that have a live consent now."""
        return {row["vin"] for row in await self._connection.fetch(_CONSENTED, sorted(vins))}

    async def signing_keys(self, device_ids: Collection[str]) -> Mapping[str, SigningKey]:
        """The public keys of those devices that have one."""
        rows = await self._connection.fetch(_SIGNING_KEYS, sorted(device_ids))
        return {row["device_id"]: SigningKey(SigningAlgorithm(row["signing_algorithm"]), row["signing_key"]) for row in rows}

    async def store(self, records: Sequence[StoredRecord], changes: Sequence[StateChange]) -> int:
        """Stores what isn't there yet; how many records that were."""
        connection = self._connection
        await self._partitions.ensure(connection, {record.device_time.date() for record in records})
        await connection.execute(_STAGING)
        await self._copy(records)
        stored = int((await connection.execute(_INSERT_FRAMES)).rsplit(" ", 1)[1])
        await connection.execute(_INSERT_POSITIONS)
        # sorted: two consumers that meet in a rebalance lock rows in the same order
        columns = list(zip(*map(_state_row, sorted(changes, key=lambda change: change.vin)), strict=True))
        if columns:
            await connection.execute(_INSERT_STATES, *columns)
            await connection.execute(_UPDATE_STATES, *columns)
        return stored

    async def _copy(self, records: Sequence[StoredRecord]) -> None:
        try:
            await self._connection.copy_to_table("staging", source=stream(records), columns=_COLUMNS, format="binary")
        except Exception as error:
            if not is_transient(error):
                raise
            # A COPY cut off by the server leaves asyncpg in the middle of it: giving the connection back would then fail
            # with "another operation is in progress", which looks like a fault of ours and not of the database.
            self._connection.terminate()
            raise unavailable("DATABASE_UNAVAILABLE", "The database went away while records were being stored.") from error


async def stream(records: Sequence[StoredRecord]) -> AsyncIterator[bytes]:
    """Rows of the staging table for a binary COPY."""
    yield HEADER + b"".join(map(_row, records)) + TRAILER


class Partitions:
    """Remembers which daily partitions exist, so that a batch asks only for days it meets first."""

    def __init__(self) -> None:
        self._known: set[date] = set()

    async def ensure(self, connection: Connection, days: set[date]) -> None:
        """Makes the partitions of `days` that are near enough to now."""
        today = datetime.now(UTC).date()
        for day in sorted(days - self._known):
            if today - timedelta(days=_KEPT_DAYS) <= day <= today + timedelta(days=2):
                await connection.execute("SELECT ensure_day('frame', $1), ensure_day('position', $1)", day)
            self._known.add(day)
        late = [day for day in days if day < today - _RECENT]
        if late:  # of a day that lost its places already: its turn comes again
            await connection.execute("DELETE FROM redaction WHERE day = ANY($1)", late)


def _arrays_apart(units: Mapping[str, Any]) -> tuple[Mapping[str, Any], Numbers | None, Numbers | None]:
    """Units with counts in the place of the long arrays, and those arrays, all packs in a row."""
    if "cell_voltages" not in units and "probe_temperatures" not in units:
        return units, None, None
    apart = dict(units)
    cells: list[Numbers] = []
    probes: list[Numbers] = []
    if "cell_voltages" in units:
        apart["cell_voltages"] = packs = []
        for pack in units["cell_voltages"]:
            cells.append(pack["cell_millivolts"])
            # 2025 sends whole packs and so names no first cell
            packs.append({"first_cell": 1, **pack, "cells": len(cells[-1])})
            del packs[-1]["cell_millivolts"]
    if "probe_temperatures" in units:
        apart["probe_temperatures"] = packs = []
        for pack in units["probe_temperatures"]:
            probes.append(pack["probe_celsius"])
            packs.append({"pack": pack["pack"], "probes": len(probes[-1])})
    return apart, _joined(cells), _joined(probes)


def _joined(parts: Sequence[Numbers]) -> Numbers | None:
    if len(parts) < 2:
        return parts[0] if parts and parts[0] else None
    return [number for part in parts for number in part]


_ROW = columns(len(_COLUMNS))


def _row(record: StoredRecord) -> bytes:
    vehicle = record.units.get("vehicle") or {}
    position = record.position
    units, cells, probes = _arrays_apart(record.units)
    return b"".join(
        (
            _ROW,
            text(record.vin),
            timestamp(record.device_time),
            text(record.device_id),
            binary(record.digest),
            text(record.source_protocol),
            boolean(record.reissued),
            timestamp(record.received_at),
            jsonb(orjson.dumps(units, default=list)),
            integers(cells, 23),
            integers(probes, 21),
            jsonb(orjson.dumps(record.missing)) if record.missing else NULL,
            binary(record.undecoded) if record.undecoded else NULL,
            optional_text(record.undecoded_reason),
            optional_text(record.signature_status),
            float8(position.latitude if position else None),
            float8(position.longitude if position else None),
            float4(vehicle.get("speed_kmh")),
            float8(vehicle.get("odometer_km")),
        )
    )


def _state_row(change: StateChange) -> tuple[Any, ...]:
    return (
        change.vin,
        change.device_id,
        change.device_time,
        change.received_at,
        change.latitude,
        change.longitude,
        change.speed_kmh,
        change.odometer_km,
        change.soc_percent,
        change.ignition,
        change.last_alarm,
        change.last_alarm_at,
        change.has_vehicle,
        change.has_position,
    )
