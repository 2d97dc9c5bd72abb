"""Configuration of lien-registry."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from carlien_common.config import DatabaseSettings, ServiceSettings, Settings

# services/lien-registry/hfc beside this package's src/, in a checkout and in the image.
_HFC_WORKER: Final = Path(__file__).resolve().parents[2] / "hfc" / "worker.py"


class LedgerSettings(Settings):
    """How to reach the ledger, and as whom."""

    fabric_peer_addresses: Annotated[tuple[str, ...], NoDecode] = Field(min_length=1)
    """host:port of the own organisation's peers, comma-separated, in order of preference. Never another organisation's."""
    fabric_tls_ca_file: Path
    fabric_tls_name_override: str | None = None
    """The name in the peers' certificates, where that isn't their address."""
    fabric_cert_file: Path
    fabric_key_file: Path
    fabric_registrar_cert_file: Path | None = None
    """Identity with attribute carlien.role=registrar; without one titles and court orders are refused."""
    fabric_registrar_key_file: Path | None = None
    fabric_client: Literal["gateway", "hfc"] = "gateway"
    """How to reach the ledger: the peers' Gateway service (Fabric 2.4 and newer), or fabric-sdk-py for older peers."""
    hfc_python: Path | None = None
    """The interpreter of hfc's own environment (services/lien-registry/hfc/setup.sh prints it)."""
    hfc_worker: Path = _HFC_WORKER
    hfc_network_file: Path | None = None
    """Endorsers and orderers in JSON, which without the Gateway service each client must know itself."""
    anchor_msp_ids: Annotated[tuple[str, ...], NoDecode] = ()
    """MSP identifiers of the organisations whose roots must agree, comma-separated; all members of the channel where unset."""
    fabric_channel: str = "carlien"
    fabric_chaincode: str = "mortgage-asset"

    @field_validator("fabric_peer_addresses", "anchor_msp_ids", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("fabric_tls_ca_file", "fabric_cert_file", "fabric_key_file", "fabric_registrar_cert_file", "fabric_registrar_key_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        return _file(value)

    @model_validator(mode="after")
    def _hfc(self) -> Self:
        if self.fabric_client == "hfc":
            for name in ("hfc_python", "hfc_worker", "hfc_network_file"):
                file = getattr(self, name)
                if file is None or not file.is_file():
                    raise ValueError(f"CARLIEN_FABRIC_CLIENT=hfc needs CARLIEN_{name.upper()}, a file that is there")
        return self


class OperatorSettings(DatabaseSettings, LedgerSettings):
    """What commands need that look after the read model: no ports, no broker."""

    org: str = Field(min_length=1)
    msp_id: str = Field(min_length=1)


class LienRegistrySettings(ServiceSettings, LedgerSettings):
    """CARLIEN_* variables of lien-registry, besides those of every service."""

    consortium_key_file: Path
    """The consortium's keys for debtor hashes: a line `<n>:<hexadecimal key>` per live key."""
    reminder_days: Annotated[tuple[int, ...], NoDecode] = (30, 7, 1)
    """How many days before an own registration ends its holder is reminded, comma-separated."""
    valuation_address: str | None = None
    """host:port of valuation, for RankPriorities."""

    @field_validator("reminder_days", mode="before")
    @classmethod
    def _days(cls, value: object) -> object:
        return tuple(int(part) for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("reminder_days")
    @classmethod
    def _ahead(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(not 0 < days <= 366 for days in value):
            raise ValueError("each lies between 1 and 366 days")
        return value

    @field_validator("consortium_key_file")
    @classmethod
    def _key_file(cls, value: Path) -> Path | None:
        return _file(value)


def _file(value: Path | None) -> Path | None:
    if value is not None and not value.is_file():
        raise ValueError("no such file")
    return value


def read_consortium_keys(file: Path) -> dict[int, bytes]:
    """Key number -> key; ValueError without the offending text, since that is a secret."""
    keys: dict[int, bytes] = {}
    for number, line in enumerate(file.read_text(encoding="ascii").splitlines(), start=1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        name, _, key = text.partition(":")
        try:
            keys[int(name)] = bytes.fromhex(key)
        except ValueError:
            raise ValueError(f"{file}: line {number} isn't <n>:<hexadecimal key>") from None
    return keys
