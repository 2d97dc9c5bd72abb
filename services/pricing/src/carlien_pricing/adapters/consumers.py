"""Kafka records to use cases, inside the consumer's transaction. A record that can't be read is poison."""

import re
from collections.abc import Sequence

from carlien.lien.v1 import events_pb2 as lien_events_pb2
from carlien.lien.v1 import lien_pb2
from carlien.telematics.v1 import alert_pb2
from carlien.telematics.v1 import events_pb2 as telematics_events_pb2
from carlien.valuation.v1 import collateral_index_pb2
from carlien.valuation.v1 import events_pb2 as valuation_events_pb2
from carlien_common.domain.errors import DomainError
from carlien_common.kafka import Poison, Record
from carlien_common.postgres import Connection
from carlien_common.wire import instant_from_proto
from carlien_pricing.adapters.appraisals import held_appraisal
from carlien_pricing.adapters.postgres import PostgresStore
from carlien_pricing.domain.watch_state import IndexLevels, OpenAlert, UsageMark
from carlien_pricing.service.ports import HeldAlert, HeldLien, HeldUsage
from carlien_pricing.service.watching import Watching

# A mortgage that is registered later ranks behind (Art. 414); these may rank before it all the same.
_AHEAD = {lien_pb2.LIEN_CLASS_POSSESSORY, lien_pb2.LIEN_CLASS_PURCHASE_MONEY}


class AppraisalConsumer:
    """Holds recorded appraisals and re-marks watched loans."""

    def __init__(self, store: PostgresStore, watching: Watching) -> None:
        self._store, self._watching = store, watching

    async def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        held = [held_appraisal(valuation_events_pb2.AppraisalRecorded.FromString(_value(record))) for record in records]
        await self._watching.appraised(self._store.on(connection), held)


class LienConsumer:
    """Keeps what the ledger says of liens and tells watched loans."""

    def __init__(self, store: PostgresStore, watching: Watching, msp_id: str) -> None:
        self._store, self._watching, self._msp_id = store, watching, msp_id

    async def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        changes = [lien_events_pb2.LienEvent.FromString(_value(record)) for record in records]
        held = [self._held(change) for change in changes if change.HasField("lien")]
        await self._watching.lien_changed(self._store.on(connection), held)

    def _held(self, change: lien_events_pb2.LienEvent) -> HeldLien:
        lien = change.lien
        if not lien.registration_number or not change.vin:
            raise Poison("FIELD_MISSING", "a lien event has a registration number and a VIN")
        return HeldLien(
            registration_number=lien.registration_number,
            vin=change.vin,
            own=lien.secured_party_msp_id == self._msp_id,
            ahead=lien.lien_class in _AHEAD,
            active=lien.status == lien_pb2.LIEN_STATUS_ACTIVE,
            block_number=change.block_number,
            tx_index=change.tx_index,
        )


class IndexConsumer:
    """Carries marks on by the lender's market index; other segments and regions are not its business."""

    def __init__(self, store: PostgresStore, watching: Watching, segment: str, region: str) -> None:
        self._store, self._watching, self._segment, self._region = store, watching, segment, region

    async def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        indices = [valuation_events_pb2.IndexPublished.FromString(_value(record)).index for record in records]
        levels = [
            _levels(index)
            for index in indices
            if index.segment == self._segment and self._region in ("", index.region) and index.method in _HEADLINE
        ]
        if levels:
            await self._watching.index_published(self._store.on(connection), levels)


_HEADLINE = {collateral_index_pb2.INDEX_METHOD_UNSPECIFIED, collateral_index_pb2.INDEX_METHOD_HEDONIC}


def _levels(index: collateral_index_pb2.CollateralIndex) -> IndexLevels:
    points = tuple((point.month, point.level) for point in index.points)
    months = [month for month, _ in points]
    if not all(_MONTH.fullmatch(month) for month in months):
        raise Poison("INDEX_INVALID", "an index has months as YYYY-MM")
    if not points or months != sorted(set(months)) or any(not 0 < level < _HIGHEST_LEVEL for _, level in points):
        raise Poison("INDEX_INVALID", "an index has months in order and positive levels")
    return IndexLevels(index.vintage, points)


_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
# Base 100; beyond this something else than prices was published.
_HIGHEST_LEVEL = 1e5


class AlertConsumer:
    """Tells watched loans of alert cases."""

    def __init__(self, store: PostgresStore, watching: Watching) -> None:
        self._store, self._watching = store, watching

    async def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        held = [_held_alert(telematics_events_pb2.AlertChanged.FromString(_value(record)).alert) for record in records]
        await self._watching.alerts_changed(self._store.on(connection), held)


def _held_alert(alert: alert_pb2.Alert) -> HeldAlert:
    if not alert.alert_id or not alert.vin:
        raise Poison("FIELD_MISSING", "an alert has an identifier and a VIN")
    known = {alert.kind, *alert.signals} - {alert_pb2.ALERT_KIND_UNSPECIFIED}
    if not known or alert.revision < 0:
        raise Poison("ALERT_INVALID", "an alert has a kind and a revision that isn't negative")
    kinds = tuple(sorted(_KINDS.get(kind, str(kind)) for kind in known))
    severity = _SEVERITIES.get(alert.severity, str(alert.severity))
    is_open = alert.state != alert_pb2.ALERT_STATE_CLOSED
    return HeldAlert(alert.vin, OpenAlert(alert.alert_id, kinds, severity), is_open, alert.revision)


# A kind or severity of a later version has no name here: it is kept by its number, and asks for nothing until rules name it.
_KINDS = {number: name.removeprefix("ALERT_KIND_") for name, number in alert_pb2.AlertKind.items()}
_SEVERITIES = {number: name.removeprefix("ALERT_SEVERITY_") for name, number in alert_pb2.AlertSeverity.items()}


class ProfileConsumer:
    """Tells watched loans how their cars are used."""

    def __init__(self, store: PostgresStore, watching: Watching) -> None:
        self._store, self._watching = store, watching

    async def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        held = [_held_usage(telematics_events_pb2.ProfileChanged.FromString(_value(record))) for record in records]
        await self._watching.usage_changed(self._store.on(connection), held)


def _held_usage(event: telematics_events_pb2.ProfileChanged) -> HeldUsage:
    profile = event.profile
    trust = profile.trust.score if profile.HasField("trust") else None
    if not profile.vin:
        raise Poison("FIELD_MISSING", "a profile has a VIN")
    if not 0 <= profile.risk_score <= _HIGHEST_RISK or (trust is not None and not 0 <= trust <= 1):
        raise Poison("PROFILE_INVALID", "a risk score is 0 to 100 and a trust 0 to 1")
    try:
        computed_at = instant_from_proto(event.computed_at, "computed_at")
    except DomainError as error:
        raise Poison("PROFILE_INVALID", error.message) from error
    return HeldUsage(profile.vin, UsageMark(computed_at, profile.risk_score, trust))


_HIGHEST_RISK = 100


def _value(record: Record) -> bytes:
    if record.value is None:
        raise Poison("VALUE_MISSING", "an event has a value")
    return record.value
