"""Configuration of telematics, from the environment."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from carlien_common.config import ServiceSettings


class TelematicsSettings(ServiceSettings):
    """What only telematics reads."""

    components: str = Field("api,gateway,consumer,insight", pattern=r"^(api|gateway|consumer|insight)(,(api|gateway|consumer|insight))*$")
    """What this process does. All of it on a small installation; split where gateway and consumer each need a core."""
    gb32960_host: str = "0.0.0.0"  # noqa: S104 - devices come from outside; the network policy says who reaches it
    gb32960_port: int = Field(ge=0, le=65535)
    """Devices that speak GB/T 32960; 0 picks a free one."""
    jt808_port: int | None = Field(None, ge=0, le=65535)
    """Devices that speak JT/T 808, on the same host; not served where unset."""
    gb32960_tls_port: int | None = Field(None, ge=0, le=65535)
    """GB/T 32960 over TLS; not served where unset."""
    jt808_tls_port: int | None = Field(None, ge=0, le=65535)
    """JT/T 808 over TLS; not served where unset."""
    device_tls_cert_file: Path | None = None
    """Certificate chain of the TLS device ports; a certificate of its own, for devices don't know our internal authority."""
    device_tls_key_file: Path | None = None
    device_tls_ca_file: Path | None = None
    """Where set, a device must show a certificate of this authority, beside its protocol's own login."""
    jt808_heartbeat_interval_s: int | None = Field(None, ge=5, le=3600)
    """What terminals are set to by 0x8103 where their answer to 0x8104 says otherwise; left alone where unset."""
    jt808_report_interval_s: int | None = Field(None, ge=1, le=3600)
    """Seconds between positions, set likewise."""
    gb32960_platforms_file: Path | None = None
    """Platforms, their passwords and keys, and the keys of terminals: see `adapters/platforms_file.py`."""
    frame_topic: str = "carlien.telematics.frame.v1"
    consumer_group: str = "telematics"
    consumer_batch: int = Field(1000, ge=1, le=10_000)
    """Frames stored in one transaction."""
    gateway_id: str = "gateway"
    """Name of this gateway process, stable over restarts: it clears the connections an earlier life left open."""
    gateway_connections: int = Field(20_000, ge=1)
    login_timeout_s: float = Field(15.0, gt=0)
    idle_timeout_s: float = Field(300.0, gt=0)
    frame_timeout_s: float = Field(30.0, gt=0)
    frames_per_second: float = Field(500.0, gt=0)
    """Sustained rate of one connection."""
    retention_days: int = Field(400, ge=1)
    """Days a record is kept after it was received."""
    precise_days: int = Field(180, ge=7)
    """Days after which a record's places are rounded to about a kilometre."""
    insight_interval_s: float = Field(5.0, gt=0)
    """Between two looks at the cars that sent records: how late an alert may be, and how often a car costs work."""
    silence_grace_s: float = Field(120.0, ge=0)
    """A device heard so lately is not silent, whatever its clock says."""
    silence_interval_s: float = Field(300.0, gt=0)
    """Between two looks at the silence of one car."""
    upkeep_interval_s: float = Field(5.0, gt=0)
    """Between two turns of redaction, retention and deletion."""
    deletion_grace_s: float = Field(60.0, ge=0)
    """Between a revocation and the deletion: what was on its way has arrived by then, and been refused."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        wanted = self.gb32960_tls_port is not None or self.jt808_tls_port is not None
        if wanted and (self.device_tls_cert_file is None or self.device_tls_key_file is None):
            raise ValueError("a TLS device port needs CARLIEN_DEVICE_TLS_CERT_FILE and CARLIEN_DEVICE_TLS_KEY_FILE")
        return self
