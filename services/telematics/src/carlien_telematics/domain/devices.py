"""A device is bound to one car for life; a replacement is a new device."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DeviceProtocol(StrEnum):
    """What a device speaks."""

    GB32960 = "GB32960"
    JT808 = "JT808"
    OBD2 = "OBD2"
    OEM_API = "OEM_API"


class SigningAlgorithm(StrEnum):
    """What a device signs its records with (GB/T 32960.3-2025, table 8)."""

    SM2 = "SM2"
    RSA = "RSA"
    ECC = "ECC"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public key of a device: a point for SM2 and ECC, SubjectPublicKeyInfo in DER for RSA."""

    algorithm: SigningAlgorithm
    key: bytes


class DeviceStatus(StrEnum):
    """Whether a device may log in."""

    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


class OnlineReason(StrEnum):
    """Why a device is or isn't connected."""

    NEVER_CONNECTED = "NEVER_CONNECTED"
    LOGIN = "LOGIN"
    LOGOUT = "LOGOUT"
    CONNECTION_LOST = "CONNECTION_LOST"
    IDLE_TIMEOUT = "IDLE_TIMEOUT"
    FRAME_TIMEOUT = "FRAME_TIMEOUT"
    ANSWERS_NOT_READ = "ANSWERS_NOT_READ"
    MALFORMED_FLOOD = "MALFORMED_FLOOD"
    LOGIN_REFUSED = "LOGIN_REFUSED"
    REPLACED = "REPLACED"
    RETIRED = "RETIRED"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    GATEWAY_STOPPED = "GATEWAY_STOPPED"
    UPLOADED = "UPLOADED"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a device proves itself with, kept as a keyed hash.

    A fast hash on purpose: a fleet that logs in again after an outage would make a slow one a way to stop the gateway.
    """

    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, secret: str) -> "Credential":
        """A new salted hash of `secret`."""
        salt = secrets.token_bytes(16)
        return cls(salt, _keyed(salt, secret))

    def matches(self, secret: str) -> bool:
        """Constant-time comparison."""
        return hmac.compare_digest(self.digest, _keyed(self.salt, secret))

    def derived(self, purpose: str) -> str:
        """A secret for one purpose that follows from what is stored, for protocols where the platform hands one out."""
        return hmac.digest(self.digest, purpose.encode(), hashlib.sha256)[:8].hex()

    def derives(self, purpose: str, secret: str) -> bool:
        """Whether `secret` is the one handed out; constant time."""
        return hmac.compare_digest(self.derived(purpose).encode(), secret.encode())


def _keyed(salt: bytes, secret: str) -> bytes:
    return hmac.digest(salt, secret.encode(), hashlib.sha256)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it is known now."""

    device_id: str
    vin: str
    protocol: DeviceProtocol
    status: DeviceStatus
    registered_at: datetime
    last_seen_at: datetime | None = None
    online: bool = False
    online_reason: OnlineReason = OnlineReason.NEVER_CONNECTED
    signing_key: SigningKey | None = None
    replaces: str | None = None
    """The device whose place it took."""
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """A change of what is known about a device's connection."""

    device_id: str
    seen_at: datetime
    online: bool
    reason: OnlineReason
