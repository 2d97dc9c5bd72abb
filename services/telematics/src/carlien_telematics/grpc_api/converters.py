"""Protobuf messages from domain values and back."""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from carlien.telematics.v1 import data_consent_service_pb2 as consent_pb2
from carlien.telematics.v1 import device_pb2, profile_pb2, telematics_service_pb2
from carlien_common.domain.errors import invalid
from carlien_common.wire import instant_to_proto
from carlien_telematics.domain.behaviour import UsageNature
from carlien_telematics.domain.consents import Consent, Purpose
from carlien_telematics.domain.devices import Device, DeviceProtocol, SigningAlgorithm, SigningKey
from carlien_telematics.domain.tracks import GENERALISED_DECIMALS, TrackPoint, VehicleState
from carlien_telematics.domain.trips import Trip
from carlien_telematics.service.reading import Cursor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = struct.Struct(">qB")


def protocol_from_proto(value: int) -> DeviceProtocol:
    """Raises INVALID PROTOCOL."""
    try:
        return DeviceProtocol(device_pb2.DeviceProtocol.Name(value).removeprefix("DEVICE_PROTOCOL_"))  # type: ignore[arg-type]
    except ValueError:
        raise invalid("protocol", "PROTOCOL", "State what the device speaks.") from None


def usage_from_proto(value: int) -> UsageNature | None:
    """None where unset. Raises INVALID DECLARED_USAGE."""
    if value == profile_pb2.USAGE_NATURE_UNSPECIFIED:
        return None
    try:
        usage = UsageNature(profile_pb2.UsageNature.Name(value).removeprefix("USAGE_NATURE_"))  # type: ignore[arg-type]
    except ValueError:
        usage = UsageNature.UNKNOWN
    if usage is UsageNature.UNKNOWN:
        raise invalid("declared_usage", "DECLARED_USAGE", "Say what the car is used for, or leave it unset.")
    return usage


def purpose_from_proto(value: int, *, optional: bool = False) -> Purpose | None:
    """Raises INVALID PURPOSE."""
    if optional and value == consent_pb2.DATA_PURPOSE_UNSPECIFIED:
        return None
    try:
        return Purpose(consent_pb2.DataPurpose.Name(value).removeprefix("DATA_PURPOSE_"))  # type: ignore[arg-type]
    except ValueError:
        raise invalid("purpose", "PURPOSE", "State what the data may be used for.") from None


def _instant(at: datetime | None) -> Timestamp | None:
    return None if at is None else instant_to_proto(at)


def device_to_proto(device: Device) -> device_pb2.Device:
    """A device."""
    return device_pb2.Device(
        device_id=device.device_id,
        vin=device.vin,
        protocol=device_pb2.DeviceProtocol.Value(f"DEVICE_PROTOCOL_{device.protocol}"),
        status=device_pb2.DeviceStatus.Value(f"DEVICE_STATUS_{device.status}"),
        registered_at=instant_to_proto(device.registered_at),
        last_seen_at=_instant(device.last_seen_at),
        online=device.online,
        online_reason=device.online_reason.value,
        signing_key=_signing_key_to_proto(device.signing_key),
        replaces_device_id=device.replaces or "",
        replaced_by_device_id=device.replaced_by or "",
    )


def _signing_key_to_proto(key: SigningKey | None) -> device_pb2.SigningKey | None:
    if key is None:
        return None
    algorithm = device_pb2.SigningAlgorithm.Value(f"SIGNING_ALGORITHM_{key.algorithm}")
    return device_pb2.SigningKey(algorithm=algorithm, public_key=key.key)


def signing_key_from_proto(message: device_pb2.SigningKey) -> SigningKey | None:
    """None where it isn't set. Raises INVALID SIGNING_ALGORITHM; whether the key is one, the registration looks at."""
    if not message.ByteSize():
        return None
    try:
        algorithm = SigningAlgorithm(device_pb2.SigningAlgorithm.Name(message.algorithm).removeprefix("SIGNING_ALGORITHM_"))
    except ValueError:
        raise invalid("signing_key.algorithm", "SIGNING_ALGORITHM", "State what the device signs with.") from None
    key = message.public_key
    return SigningKey(algorithm, key[1:] if len(key) == 65 and key[0] == 4 else key)


def consent_to_proto(consent: Consent, now: datetime) -> consent_pb2.DataConsent:
    """A consent, with whether it is in force now."""
    return consent_pb2.DataConsent(
        vin=consent.vin,
        purpose=consent_pb2.DataPurpose.Value(f"DATA_PURPOSE_{consent.purpose}"),
        granted_at=instant_to_proto(consent.granted_at),
        expires_at=instant_to_proto(consent.expires_at),
        revoked_at=_instant(consent.revoked_at),
        live=consent.live(now),
    )


def state_to_proto(state: VehicleState) -> telematics_service_pb2.VehicleState:
    """A state; what is not known is unset."""
    return telematics_service_pb2.VehicleState(
        vin=state.vin,
        device_time=_instant(state.device_time),
        latitude=state.latitude,
        longitude=state.longitude,
        speed_kmh=state.speed_kmh,
        odometer_km=state.odometer_km,
        soc_percent=state.soc_percent,
        ignition=state.ignition,
        online=state.online,
        last_alarm=state.last_alarm or "",
        received_at=_instant(state.received_at),
        device_id=state.device_id,
    )


def position_to_proto(point: TrackPoint) -> telematics_service_pb2.Position:
    """A position."""
    return telematics_service_pb2.Position(
        device_time=instant_to_proto(point.device_time),
        latitude=point.latitude,
        longitude=point.longitude,
        speed_kmh=point.speed_kmh,
        odometer_km=point.odometer_km,
        reissued=point.reissued,
    )


def trip_to_proto(trip: Trip, *, coarse: bool) -> telematics_service_pb2.Trip:
    """A trip; with coarse places for those who see no better."""
    message = telematics_service_pb2.Trip(
        start_time=instant_to_proto(trip.start),
        end_time=instant_to_proto(trip.end),
        distance_km=round(trip.distance_km, 3),
        max_speed_kmh=trip.max_speed_kmh,
    )
    for name, spot in (("start", trip.origin), ("end", trip.destination)):
        if spot is not None:
            latitude, longitude = (round(degrees, GENERALISED_DECIMALS) if coarse else degrees for degrees in spot)
            setattr(message, f"{name}_latitude", latitude)
            setattr(message, f"{name}_longitude", longitude)
    return message


def cursor_to_token(cursor: Cursor) -> str:
    """An opaque page token."""
    device = cursor.device_id.encode()
    micros = (cursor.device_time - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_PLACE.pack(micros, len(device)) + device + cursor.digest).decode()


def cursor_from_token(token: str) -> Cursor | None:
    """None for the first page. Raises INVALID PAGE_TOKEN."""
    if not token:
        return None
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        micros, size = _PLACE.unpack_from(raw)
        device = raw[_PLACE.size : _PLACE.size + size].decode()
        return Cursor(_EPOCH + timedelta(microseconds=micros), device, raw[_PLACE.size + size :])
    except (ValueError, OverflowError, struct.error, binascii.Error):
        raise invalid("page_token", "PAGE_TOKEN", "Not a page token of this service.") from None
