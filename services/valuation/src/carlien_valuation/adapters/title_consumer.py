"""Transfers of title on the ledger: into the car's file, where they count as transfers of ownership."""

from collections.abc import Sequence
from typing import Final

from carlien.lien.v1 import events_pb2
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import DomainError
from carlien_common.domain.ids import new_id
from carlien_common.domain.vin import parse_vin
from carlien_common.kafka import Poison, Record
from carlien_common.postgres.pool import Connection
from carlien_common.wire import instant_from_proto
from carlien_valuation.adapters.postgres_records import insert_records
from carlien_valuation.domain.vehicle_file import Record as FileRecord
from carlien_valuation.domain.vehicle_file import RecordKind

SOURCE: Final = "ledger"
TRANSFERRED: Final = "title.transferred"
"""The one change of the ledger that moves a value: liens and orders weigh on the collateral, not on the car."""


class TitleConsumer:
    """Handler of carlien.lien.event.v1."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        """Take a batch in; idempotent by transaction and place in it."""
        transfers = [transfer for transfer in map(self._transfer, records) if transfer is not None]
        if transfers:
            await insert_records(connection, transfers)

    def _transfer(self, record: Record) -> FileRecord | None:
        if record.value is None:
            raise Poison("VALUE_MISSING", "an event has a value")
        event = events_pb2.LienEvent.FromString(record.value)
        if event.change != TRANSFERRED:
            return None
        try:
            vin, at = parse_vin(event.vin).value, instant_from_proto(event.occurred_at, "occurred_at")
        except DomainError as error:
            raise Poison(error.reason, error.message) from None
        key = f"{event.tx_id}/{event.change_index}"
        return FileRecord(new_id(), vin, RecordKind.TITLE_TRANSFER, SOURCE, key, at, self._clock())
