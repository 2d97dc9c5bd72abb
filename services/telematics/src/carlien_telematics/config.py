"""Configuration of telematics, from the environment."""

from pydantic import Field

from carlien_common.config import ServiceSettings


class TelematicsSettings(ServiceSettings):
    """What only telematics reads."""

    components: str = Field("api,gateway,consumer", pattern=r"^(api|gateway|consumer)(,(api|gateway|consumer))*$")
    """What this process does. All of it on a small installation; split where gateway and consumer each need a core."""
    gb32960_host: str = "0.0.0.0"  # noqa: S104 - devices come from outside; the network policy says who reaches it
    gb32960_port: int = Field(ge=0, le=65535)
    """Devices that speak GB/T 32960; 0 picks a free one."""
    jt808_port: int | None = Field(None, ge=0, le=65535)
    """Devices that speak JT/T 808, on the same host; not served where unset."""
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
    deletion_grace_s: float = Field(60.0, ge=0)
    """Between a revocation and the deletion: what was on its way has arrived by then, and been refused."""
