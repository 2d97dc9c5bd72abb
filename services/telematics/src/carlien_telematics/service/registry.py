"""Devices and consents: the use cases, over one transaction each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from carlien_common.domain.errors import duplicate, invalid, not_found, precondition
from carlien_common.domain.vin import parse_vin
from carlien_telematics.crypto import signatures
from carlien_telematics.domain.behaviour import UsageNature
from carlien_telematics.domain.consents import Consent, Purpose
from carlien_telematics.domain.devices import Credential, Device, DeviceProtocol, DeviceStatus, SigningKey

_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}").fullmatch
MAX_CREDENTIAL = 256
MAX_REASON = 200
CAPACITY_AH = (1.0, 5000.0)
REPLACED = "REPLACED"
"""Why a device is retired whose successor is registered."""


class RegistryStore(Protocol):
    """Devices and consents within one transaction."""

    async def add_device(self, device: Device, credential: Credential) -> bool:
        """False where the identifier is taken."""

    async def declare(self, vin: str, usage: UsageNature | None, battery_capacity_ah: float | None) -> None:
        """Notes what is said of a car; None leaves what was said before."""

    async def device(self, device_id: str) -> Device | None:
        """One device."""

    async def devices(self, after: str, vin: str | None, limit: int) -> Sequence[Device]:
        """Devices by identifier, from behind `after`."""

    async def retire(self, device_id: str, at: datetime, reason: str) -> None:
        """Takes a device out of service."""

    async def add_consent(self, consent: Consent) -> None:
        """Records a consent."""

    async def revoke(self, vin: str, purpose: Purpose | None, at: datetime) -> Sequence[Consent]:
        """Ends every consent in force, or those of one purpose, and answers them, revoked."""

    async def consents(self, vin: str) -> Sequence[Consent]:
        """The newest consent per purpose, newest first."""

    async def schedule_deletion(self, vin: str, at: datetime) -> None:
        """Notes that what was received of a car until `at` must go."""


def check_device_id(device_id: str, field: str = "device_id") -> str:
    """Raises INVALID DEVICE_ID."""
    if not _DEVICE_ID(device_id):
        raise invalid(field, "DEVICE_ID", "A device id is 1 to 64 letters, digits, dots, colons, dashes or underscores.")
    return device_id


def check_credential(credential: str) -> str:
    """Raises INVALID CREDENTIAL: a device that proves itself with nothing could be anyone."""
    if not 4 <= len(credential) <= MAX_CREDENTIAL or not credential.isascii() or not credential.isprintable():
        raise invalid("credential", "CREDENTIAL", f"A credential is 4 to {MAX_CREDENTIAL} printable ASCII characters.")
    return credential


@dataclass(frozen=True, slots=True)
class NewDevice:
    """What a registration says."""

    device_id: str
    vin: str
    protocol: DeviceProtocol
    credential: str
    signing_key: SigningKey | None = None
    replaces: str | None = None
    declared_usage: UsageNature | None = None
    """What the holder says the car is used for."""
    battery_capacity_ah: float | None = None
    """Of the traction battery when new."""


async def register_device(store: RegistryStore, new: NewDevice, now: datetime) -> Device:
    """Binds a new device to a car. DUPLICATE DEVICE_EXISTS where the identifier is taken, also by a retired one.

    With `replaces` the older device of the same car is retired with the same stroke, where it isn't already. INVALID
    SIGNING_KEY, PRECONDITION REPLACES_OTHER_CAR, ALREADY_REPLACED.
    """
    device_id, credential = check_device_id(new.device_id), check_credential(new.credential)
    vin = parse_vin(new.vin).value
    capacity = new.battery_capacity_ah
    if capacity is not None and not CAPACITY_AH[0] <= capacity <= CAPACITY_AH[1]:
        raise invalid("battery_capacity_ah", "BATTERY_CAPACITY", f"A traction battery has {CAPACITY_AH[0]:g} to {CAPACITY_AH[1]:g} Ah.")
    if new.signing_key is not None:
        try:
            signatures.check_key(new.signing_key.algorithm, new.signing_key.key)
        except ValueError as error:
            raise invalid("signing_key", "SIGNING_KEY", f"Not a public key of {new.signing_key.algorithm}: {error}.") from None
    if new.replaces is not None:
        older = await get_device(store, new.replaces, "replaces_device_id")
        if older.vin != vin:
            raise precondition("REPLACES_OTHER_CAR", f"Device {older.device_id} is bound to another car.")
        if older.replaced_by is not None:
            raise precondition("ALREADY_REPLACED", f"Device {older.device_id} was replaced by {older.replaced_by}.")
        if older.status is DeviceStatus.ACTIVE:
            await store.retire(older.device_id, now, REPLACED)
    device = Device(device_id, vin, new.protocol, DeviceStatus.ACTIVE, now, signing_key=new.signing_key, replaces=new.replaces)
    if not await store.add_device(device, Credential.of(credential)):
        raise duplicate("DEVICE_EXISTS", f"Device {device_id} is registered; a replacement gets an identifier of its own.")
    if new.declared_usage is not None or new.battery_capacity_ah is not None:
        await store.declare(vin, new.declared_usage, new.battery_capacity_ah)
    return device


async def get_device(store: RegistryStore, device_id: str, field: str = "device_id") -> Device:
    """NOT_FOUND DEVICE_UNKNOWN."""
    device = await store.device(check_device_id(device_id, field))
    if device is None:
        raise not_found("DEVICE_UNKNOWN", f"There is no device {device_id}.")
    return device


async def retire_device(store: RegistryStore, device_id: str, reason: str, now: datetime) -> Device:
    """NOT_FOUND DEVICE_UNKNOWN, PRECONDITION DEVICE_RETIRED. Its connection is closed with its next message."""
    if len(reason) > MAX_REASON:
        raise invalid("reason", "REASON_TOO_LONG", f"A reason has at most {MAX_REASON} characters.")
    device = await get_device(store, device_id)
    if device.status is DeviceStatus.RETIRED:
        raise precondition("DEVICE_RETIRED", f"Device {device_id} is retired already.")
    await store.retire(device_id, now, reason)
    return await get_device(store, device_id)


async def grant_consent(store: RegistryStore, vin: str, purpose: Purpose, expires_at: datetime, now: datetime) -> Consent:
    """Records a consent. INVALID EXPIRES_AT_PAST where it would have ended already."""
    if expires_at <= now:
        raise invalid("expires_at", "EXPIRES_AT_PAST", "A consent must end in the future.")
    consent = Consent(parse_vin(vin).value, purpose, now, expires_at)
    await store.add_consent(consent)
    return consent


async def revoke_consent(store: RegistryStore, vin: str, purpose: Purpose | None, now: datetime) -> Sequence[Consent]:
    """Ends consents; with the last one gone the car's data are deleted. PRECONDITION CONSENT_MISSING where none is in force."""
    car = parse_vin(vin).value
    revoked = await store.revoke(car, purpose, now)
    if not revoked:
        raise precondition("CONSENT_MISSING", "There is no consent in force to revoke.")
    if not any(consent.live(now) for consent in await store.consents(car)):
        await store.schedule_deletion(car, now)
    return revoked
