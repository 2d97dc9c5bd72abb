"""Who may send what for a car: its devices and how long its data consent lasts."""

from dataclasses import dataclass
from enum import StrEnum

from carlien_telematics.domain.devices import Credential, DeviceProtocol, SigningKey


class Refusal(StrEnum):
    """Why a whole and well-formed message was not taken; a bounded metric label."""

    ACKNOWLEDGEMENT = "ACKNOWLEDGEMENT"
    NUL_VIN = "NUL_VIN"
    NOT_LOGGED_IN = "NOT_LOGGED_IN"
    NOT_REGISTERED = "NOT_REGISTERED"
    CREDENTIAL = "CREDENTIAL"
    CONSENT_MISSING = "CONSENT_MISSING"
    VIN_MISMATCH = "VIN_MISMATCH"
    DEVICE_TIME = "DEVICE_TIME"
    ENCRYPTED = "ENCRYPTED"
    BODY = "BODY"
    UNSUPPORTED = "UNSUPPORTED"
    SIGNATURE = "SIGNATURE"
    PLATFORM = "PLATFORM"
    BROKER_UNAVAILABLE = "BROKER_UNAVAILABLE"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """An active device of a car."""

    device_id: str
    protocol: DeviceProtocol
    credential: Credential
    signing_key: SigningKey | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """What the gateway must know of a car. A car nobody registered has no devices."""

    vin: str
    devices: tuple[KnownDevice, ...] = ()
    consent_until: float = 0.0
    """Unix time at which the last live consent ends; 0 where there is none."""

    def identify(self, protocol: DeviceProtocol, secret: str) -> KnownDevice | None:
        """The active device that proves itself with `secret`."""
        return next((d for d in self.devices if d.protocol is protocol and d.credential.matches(secret)), None)

    def has(self, device_id: str) -> bool:
        """Whether the device is still active on this car."""
        return any(device.device_id == device_id for device in self.devices)

    def consents(self, now: float) -> bool:
        """Whether a live consent covers Unix time `now`."""
        return now < self.consent_until
