"""Telematics profiles: into the car's file, and where the car was appraised otherwise, a new appraisal with its event.

One transaction per batch holds all of it: what is on file, the mark of the profile taken in, the appraisal and its outbox row. An event
that comes again, or late, finds a mark that isn't older and changes nothing. At most one appraisal per car and batch; a batch has at most
MAX_RECORDS events.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from carlien.telematics.v1 import events_pb2, profile_pb2
from carlien.valuation.v1 import appraisal_pb2
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import DomainError
from carlien_common.domain.ids import new_id
from carlien_common.domain.vin import parse_vin
from carlien_common.kafka import Poison, Record
from carlien_common.postgres.pool import Connection
from carlien_common.wire import instant_from_proto
from carlien_valuation import metrics
from carlien_valuation.adapters.car_document import car_json
from carlien_valuation.adapters.postgres_appraisals import PostgresAppraisals
from carlien_valuation.adapters.postgres_records import insert_records
from carlien_valuation.domain.appraisal import Appraisal
from carlien_valuation.domain.car import Usage
from carlien_valuation.domain.usage_profile import VALID, UsageProfile
from carlien_valuation.domain.vehicle_file import Record as FileRecord
from carlien_valuation.domain.vehicle_file import RecordKind
from carlien_valuation.service.remark import Recorded, Remarked

SOURCE: Final = "telematics"
CONSENT: Final = "telematics:live"
"""Telematics publishes profiles only under a live consent; it ends here, at the latest, with VALID."""
MAX_RECORDS: Final = 100
MAX_ODOMETER_KM: Final = 3_000_000

_USAGES: Final = {
    profile_pb2.USAGE_NATURE_RIDE_HAILING: Usage.RIDE_HAILING,
    profile_pb2.USAGE_NATURE_GOODS: Usage.GOODS,
    profile_pb2.USAGE_NATURE_RENTAL: Usage.RENTAL_NON_COMMERCIAL,
}

Remark = Callable[[Sequence[tuple[Recorded, UsageProfile]], date], Awaitable[Sequence[Remarked | str]]]
"""service.remark.Remarking in its turn with other appraisals."""


class ProfileConsumer:
    """Handler of carlien.telematics.profile.v1."""

    def __init__(
        self, appraisals: PostgresAppraisals, remark: Remark, message: Callable[[Appraisal], appraisal_pb2.Appraisal], clock: Clock
    ):
        """`message` gives an appraisal its wire form."""
        self._appraisals, self._remark, self._message, self._clock = appraisals, remark, message, clock

    async def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        """Take a batch in."""
        latest: dict[str, UsageProfile] = {}
        for record in records:
            profile = _profile(record)
            if profile.vin not in latest or latest[profile.vin].computed_at < profile.computed_at:
                latest[profile.vin] = profile
        fresh = await self._mark(connection, sorted(latest.values(), key=lambda one: one.vin))
        if not fresh:
            return
        now = self._clock()
        await insert_records(connection, [_on_file(profile, now) for profile in fresh])
        held = await self._appraisals.latest(connection, [profile.vin for profile in fresh])
        pairs = [(held[profile.vin], profile) for profile in fresh if profile.vin in held]
        metrics.PROFILES.labels("not_appraised").inc(len(fresh) - len(pairs))
        for outcome in await self._remark(pairs, now.date()) if pairs else ():
            if isinstance(outcome, str):
                metrics.PROFILES.labels(outcome).inc()
                continue
            await self._appraisals.insert(
                connection,
                car_json(outcome.car, outcome.pack),
                self._message(outcome.appraisal),
                appraisal_pb2.AppraisalCause.Value(f"APPRAISAL_CAUSE_{outcome.cause}"),
                outcome.appraisal.valued_at,
                why=outcome,
            )
            metrics.PROFILES.labels("remarked").inc()

    async def _mark(self, connection: Connection, profiles: Sequence[UsageProfile]) -> list[UsageProfile]:
        """Those that are newer than what was taken in."""
        rows = await connection.fetch(
            """INSERT INTO profile_mark AS held (vin, computed_at) SELECT * FROM unnest($1::text[], $2::timestamptz[])
               ON CONFLICT (vin) DO UPDATE SET computed_at = excluded.computed_at WHERE held.computed_at < excluded.computed_at
               RETURNING vin""",
            [profile.vin for profile in profiles], [profile.computed_at for profile in profiles],
        )  # fmt: skip
        taken = {row["vin"] for row in rows}
        metrics.PROFILES.labels("older").inc(len(profiles) - len(taken))
        return [profile for profile in profiles if profile.vin in taken]


def _profile(record: Record) -> UsageProfile:
    if record.value is None:
        raise Poison("VALUE_MISSING", "an event has a value")
    event = events_pb2.ProfileChanged.FromString(record.value)
    profile = event.profile
    try:
        vin = parse_vin(profile.vin).value
        computed_at = instant_from_proto(event.computed_at, "computed_at")
    except DomainError as error:
        raise Poison(error.reason, error.message) from None
    odometer = profile.verified_odometer if profile.HasField("verified_odometer") else None
    health = profile.battery_health if profile.HasField("battery_health") else None
    return UsageProfile(
        vin=vin,
        computed_at=computed_at,
        trust=profile.trust.score if profile.HasField("trust") else 0.0,
        usage=_USAGES.get(profile.usage_nature),
        odometer_km=_whole(odometer.odometer_km) if odometer is not None and odometer.consistent else None,
        soh=Decimal(repr(round(health.soh_percent, 2))) / 100 if health is not None and 0 < health.soh_percent <= 110 else None,
    )


def _whole(km: float) -> int | None:
    """None for what no odometer reads, NaN included."""
    return int(km) if 0 <= km <= MAX_ODOMETER_KM else None


def _on_file(profile: UsageProfile, now: datetime) -> FileRecord:
    return FileRecord(
        record_id=new_id(),
        vin=profile.vin,
        kind=RecordKind.TELEMATICS_PROFILE,
        source=SOURCE,
        key=f"{profile.vin}@{profile.computed_at.isoformat()}",
        occurred_at=profile.computed_at,
        received_at=now,
        consent_id=CONSENT,
        consent_expires_at=profile.computed_at + VALID,
        odometer_km=profile.odometer_km,
        usage=profile.usage,
        soh=profile.soh,
    )
