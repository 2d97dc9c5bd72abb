"""From a frame on the topic to records that can be stored."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from carlien_telematics.codecs import gb32960, jt808, vss
from carlien_telematics.codecs.digest import data_digest
from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.gb32960 import Command
from carlien_telematics.crypto import signatures
from carlien_telematics.domain.devices import SigningKey
from carlien_telematics.domain.records import Position, SignatureStatus, StateChange, StoredRecord, is_clock_ahead, state_changes

_JT808_BATCH, _JT808_CAN = 0x0704, 0x0705
_UPLOADED = ("OEM_API", "OBD2")


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A frame as the gateway put it on the topic; its envelope was checked there."""

    vin: str
    device_id: str
    source_protocol: str
    raw: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of a batch."""

    stored: int
    duplicates: int
    without_consent: int
    clock_ahead: int
    """Stored, but too far in the future to be a state."""
    undecoded: Counter[str]
    """Stored with bytes that could not be read, by reason."""
    signatures: Counter[str]
    """Signed records by what became of the signature."""


class RecordStore(Protocol):
    """Where records are kept; one transaction around `record_batch`."""

    async def consented(self, vins: Collection[str]) -> set[str]:
        """Those cars that have a live consent now."""

    async def signing_keys(self, device_ids: Collection[str]) -> Mapping[str, SigningKey]:
        """The public keys of those devices that have one."""

    async def store(self, records: Sequence[StoredRecord], changes: Sequence[StateChange]) -> int:
        """Stores each record that isn't there yet, with its position, and the newest states; how many were new."""


async def verify_signatures(records: Sequence[StoredRecord], frames: Sequence[ReceivedFrame], store: RecordStore) -> None:
    """Notes on each signed record whether its device signed it. A bad signature is evidence: the record is kept."""
    signed = [(record, frame.raw) for record, frame in zip(records, frames, strict=True) if "signature" in record.units]
    if not signed:
        return
    keys = await store.signing_keys({record.device_id for record, _ in signed})
    for record, raw in signed:
        record.signature_status = _signature_status(keys.get(record.device_id), raw, record.units["signature"])


def _signature_status(key: SigningKey | None, raw: bytes, signature: Mapping[str, Any]) -> SignatureStatus:
    if key is None:
        return SignatureStatus.NO_KEY
    envelope = gb32960.trusted(raw)
    message = gb32960.signed_bytes(envelope.data, envelope.version)
    if message is None or signature["algorithm"] != key.algorithm:
        return SignatureStatus.INVALID
    valid = signatures.verify(key.algorithm, key.key, message, bytes.fromhex(signature["r"]), bytes.fromhex(signature["s"]))
    return SignatureStatus.VALID if valid else SignatureStatus.INVALID


def read_frame(frame: ReceivedFrame) -> list[StoredRecord]:
    """The records of a frame: one of GB/T 32960, one or, of a batch, several of JT/T 808.

    Raises FrameError for what the gateway had ruled out.
    """
    if frame.source_protocol.startswith("JT808"):
        return _read_jt808(frame)
    if frame.source_protocol in _UPLOADED:
        return [_uploaded_record(frame)]
    envelope = gb32960.trusted(frame.raw)
    record = gb32960.decode_record(envelope.version, envelope.data)
    return [
        StoredRecord(
            vin=frame.vin,
            device_id=frame.device_id,
            device_time=record.device_time,
            digest=data_digest(frame.raw),
            source_protocol=frame.source_protocol,
            reissued=envelope.command == Command.REISSUE,
            received_at=frame.received_at,
            units=record.units,
            missing=record.missing,
            undecoded=bytes.fromhex(record.undecoded),
            undecoded_reason=record.undecoded_reason,
            position=_fix(record.units.get("position")),
        )
    ]


def _read_jt808(frame: ReceivedFrame) -> list[StoredRecord]:
    stream, parts = jt808.StreamParser(), jt808.Reassembly()
    message = next((whole for part in stream.feed(frame.raw) if (whole := parts.add(part)) is not None), None)
    if message is None:
        raise FrameError(Reason.TRUNCATED)
    if message.message_id == _JT808_CAN:
        return [_can_record(frame, message)]
    batch = message.message_id == _JT808_BATCH
    bodies = list(jt808.split_position_batch(message.body)) if batch else [message.body]
    reissued = batch and message.body[2] == 1
    return [_jt808_record(frame, body, reissued=reissued) for body in bodies]


def _can_record(frame: ReceivedFrame, message: jt808.Message) -> StoredRecord:
    """Raw CAN frames: no unit of ours, but kept and queryable."""
    return StoredRecord(
        vin=frame.vin,
        device_id=frame.device_id,
        device_time=jt808.can_batch_time(message.body, frame.received_at),
        digest=hashlib.sha256(message.body).digest(),
        source_protocol=frame.source_protocol,
        reissued=False,
        received_at=frame.received_at,
        units={"can": jt808.decode_can_batch(message.body)["frames"]},
        missing={},
        undecoded=b"",
        undecoded_reason=None,
        position=None,
    )


def _uploaded_record(frame: ReceivedFrame) -> StoredRecord:
    said = vss.decode(frame.raw)
    units = vss.units(said)
    return StoredRecord(
        vin=frame.vin,
        device_id=frame.device_id,
        device_time=said.device_time,
        digest=hashlib.sha256(vss.said_bytes(frame.raw)).digest(),
        source_protocol=frame.source_protocol,
        reissued=said.reissued,
        received_at=frame.received_at,
        units=units,
        missing={},
        undecoded=b"",
        undecoded_reason=None,
        position=_fix(units.get("position")),
    )


def _jt808_record(frame: ReceivedFrame, body: bytes, *, reissued: bool) -> StoredRecord:
    said = jt808.decode_position(body)
    device_time = said.pop("device_time")
    if device_time is None:
        raise FrameError(Reason.DEVICE_TIME)
    position = {name: said.pop(name) for name in ("fix_valid", "latitude", "longitude", "altitude_m", "heading_deg")}
    vehicle = {
        "vehicle_state": "STARTED" if said.pop("ignition") else "OFF",
        "speed_kmh": said.pop("speed_kmh"),
        "odometer_km": said.pop("odometer_km", None),
        "soc_percent": None,
    }
    undecoded = bytes.fromhex(said.pop("undecoded", ""))
    alarms = {"level": None, "flags": said.pop("alarms")}
    return StoredRecord(
        vin=frame.vin,
        device_id=frame.device_id,
        device_time=device_time,
        # of the position itself: sent alone or again in a batch, it is the same record
        digest=hashlib.sha256(body).digest(),
        source_protocol=frame.source_protocol,
        reissued=reissued,
        received_at=frame.received_at,
        units={"vehicle": vehicle, "position": position, "alarms": alarms, "terminal": said},
        missing={},
        undecoded=undecoded,
        undecoded_reason=gb32960.Undecoded.CUT_SHORT if undecoded else None,
        position=_fix(position),
    )


def _fix(position: dict[str, Any] | None) -> Position | None:
    """The position where it is of now and on Earth; in another coordinate system than WGS-84 it isn't one of ours."""
    if position is None or not position["fix_valid"] or position.get("coordinate_system", "WGS84") != "WGS84":
        return None
    latitude, longitude = position["latitude"], position["longitude"]
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return Position(latitude, longitude)


async def record_batch(frames: Sequence[ReceivedFrame], store: RecordStore) -> StoreResult:
    """Stores a batch. A record that is there already, or twice in the batch, counts once.

    A car whose consent was revoked while its records were on their way is left out: after a revocation nothing is stored.
    """
    consented = await store.consented({frame.vin for frame in frames})
    read = 0
    records: dict[tuple[str, datetime, str, bytes], tuple[StoredRecord, ReceivedFrame]] = {}
    for frame in frames:
        if frame.vin in consented:
            for record in read_frame(frame):
                read += 1
                records.setdefault((record.vin, record.device_time, record.device_id, record.digest), (record, frame))
    unique = [record for record, _ in records.values()]
    await verify_signatures(unique, [frame for _, frame in records.values()], store)
    stored = await store.store(unique, state_changes(unique)) if unique else 0
    without_consent = sum(frame.vin not in consented for frame in frames)
    clock_ahead = sum(is_clock_ahead(record) for record in unique)
    undecoded = Counter(record.undecoded_reason for record in unique if record.undecoded_reason)
    signed = Counter(record.signature_status.value for record in unique if record.signature_status is not None)
    return StoreResult(stored, read - stored, without_consent, clock_ahead, undecoded, signed)
