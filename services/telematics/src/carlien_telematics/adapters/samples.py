"""Records as the moments that detectors and profiles look at."""

import asyncpg
import orjson

from carlien_telematics.domain.trips import Sample

SELECTED = """
f.device_time, f.device_id, f.signature_status, f.source_protocol,
(f.units -> 'position' ->> 'fix_valid')::boolean AND f.units -> 'position' ->> 'latitude' IS NOT NULL
    AND COALESCE(f.units -> 'position' ->> 'coordinate_system', 'WGS84') = 'WGS84' AS fix,
(f.units -> 'position' ->> 'latitude')::float8 AS latitude, (f.units -> 'position' ->> 'longitude')::float8 AS longitude,
f.units ? 'vehicle' AS has_vehicle,
f.units -> 'vehicle' ->> 'vehicle_state' AS vehicle_state, f.units -> 'vehicle' ->> 'charge_state' AS charge_state,
(f.units -> 'vehicle' ->> 'speed_kmh')::float8 AS speed_kmh, (f.units -> 'vehicle' ->> 'odometer_km')::float8 AS odometer_km,
(f.units -> 'vehicle' ->> 'soc_percent')::float8 AS soc_percent, (f.units -> 'vehicle' ->> 'current_a')::float8 AS current_a,
(f.units -> 'vehicle' ->> 'voltage_v')::float8 AS voltage_v,
NULLIF(f.units -> 'alarms' ->> 'flags', '[]') AS flags
"""
"""Columns of `frame f`. A valid fix in another coordinate system is no fix of ours, as for the position table."""
WITH_SOMETHING = "f.units ?| ARRAY['vehicle', 'position'] AND f.device_time <= f.received_at + interval '10 minutes'"
"""Records that say something of the car, and whose clock does not run ahead (see domain.records.CLOCK_TOLERANCE)."""
_IGNITION = {"STARTED": True, "OFF": False}


def to_sample(row: asyncpg.Record) -> Sample:
    """The moment of a row of `SELECTED`."""
    fix: bool | None = row["fix"]
    lost = row["has_vehicle"] and row["vehicle_state"] is None and row["speed_kmh"] is None and row["odometer_km"] is None
    charge = row["charge_state"]
    return Sample(
        row["device_time"],
        row["latitude"] if fix else None,
        row["longitude"] if fix else None,
        row["speed_kmh"],
        row["odometer_km"],
        _IGNITION.get(row["vehicle_state"]),
        row["device_id"],
        fix,
        not lost,
        tuple(orjson.loads(row["flags"])) if row["flags"] else (),
        row["soc_percent"],
        row["current_a"],
        row["voltage_v"],
        None if charge is None else charge == "CHARGING_PARKED",
        row["signature_status"],
        row["source_protocol"],
    )
