"""Who may speak for many cars at once: the platforms of makers and fleets (GB/T 32960.3, platform login), and their keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from carlien_telematics.crypto.ciphers import Keyring
from carlien_telematics.domain.devices import Credential


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that forwards its cars' messages."""

    user: str
    credential: Credential
    vin_prefixes: tuple[str, ...]
    """Cars it may speak for, by how their VIN begins."""
    keys: Keyring = field(default_factory=Keyring)

    def may_speak_for(self, vin: str) -> bool:
        """Whether the car is one of its own."""
        return vin.startswith(self.vin_prefixes)


@dataclass(frozen=True, slots=True)
class Platforms:
    """All platforms, and the keys of terminals that connect by themselves."""

    by_user: Mapping[str, Platform] = field(default_factory=dict)
    terminals: Keyring = field(default_factory=Keyring)

    def identify(self, user: str, password: str) -> Platform | None:
        """The platform that proves itself."""
        platform = self.by_user.get(user)
        return platform if platform is not None and platform.credential.matches(password) else None
