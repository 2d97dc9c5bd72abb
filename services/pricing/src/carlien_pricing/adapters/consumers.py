"""Kafka records to use cases, inside the consumer's transaction. A record that can't be read is poison."""

from collections.abc import Sequence

from carlien.lien.v1 import events_pb2 as lien_events_pb2
from carlien.lien.v1 import lien_pb2
from carlien.valuation.v1 import collateral_index_pb2
from carlien.valuation.v1 import events_pb2 as valuation_events_pb2
from carlien_common.kafka import Poison, Record
from carlien_common.postgres import Connection
from carlien_pricing.adapters.appraisals import held_appraisal
from carlien_pricing.adapters.postgres import PostgresStore
from carlien_pricing.domain.watch import IndexLevels
from carlien_pricing.service.ports import HeldLien
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
    if not points or months != sorted(set(months)) or any(not 0 < level < _HIGHEST_LEVEL for _, level in points):
        raise Poison("INDEX_INVALID", "an index has months in order and positive levels")
    return IndexLevels(index.vintage, points)


# Base 100; beyond this something else than prices was published.
_HIGHEST_LEVEL = 1e5


def _value(record: Record) -> bytes:
    if record.value is None:
        raise Poison("VALUE_MISSING", "an event has a value")
    return record.value
