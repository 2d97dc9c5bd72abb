"""Two devices of one car that are no longer in the same place (子母分离): one was taken out and thrown away."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carlien_telematics.domain.alerts.signals import AlertKind, Evidence, Signal
from carlien_telematics.domain.trips import Sample, distance_km, place

APART_KM = 1.0
CONFIRMATIONS = 3
SAME_TIME = timedelta(minutes=2)
SAME_STOP = timedelta(minutes=65)
"""A device that stood when it was last heard is taken to be there still, for so long."""
MAX_DEVICES = 6


@dataclass(slots=True)
class Seen:
    """A device's last fix."""

    at: datetime
    latitude: float
    longitude: float
    standing: bool


@dataclass(slots=True)
class SeparationDetector:
    """Compares the newest fixes of the car's devices."""

    seen: dict[str, Seen] = field(default_factory=dict)
    apart: int = 0
    together: int = 0
    apart_since: datetime | None = None
    raised: bool = False

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """Appends a signal where the devices go apart or come together again."""
        here = place(sample)
        if here is None:
            return
        if len(self.seen) > 1 or (self.seen and sample.device_id not in self.seen):
            self._compare(sample, here, out)
        self.seen.pop(sample.device_id, None)
        self.seen[sample.device_id] = Seen(sample.at, *here, not sample.moving)
        while len(self.seen) > MAX_DEVICES:
            self.seen.pop(next(iter(self.seen)))

    def _compare(self, sample: Sample, here: tuple[float, float], out: list[Signal]) -> None:
        ways = [
            distance_km(here, (other.latitude, other.longitude))
            for name, other in self.seen.items()
            if name != sample.device_id and sample.at - other.at <= (SAME_STOP if other.standing and not sample.moving else SAME_TIME)
        ]
        if not ways:
            return
        way = max(ways)
        if way > APART_KM:
            self.apart, self.together = self.apart + 1, 0
            self.apart_since = self.apart_since or sample.at
            if self.apart >= CONFIRMATIONS and not self.raised:
                self.raised = True
                evidence = Evidence("DEVICES_APART", round(way, 2), "km", sample.at)
                out.append(Signal(AlertKind.WIRED_WIRELESS_SEPARATION, sample.at, self.apart_since, (evidence,)))
            return
        self.together += 1
        if self.together >= CONFIRMATIONS:
            if self.raised and self.apart_since is not None:
                out.append(Signal(AlertKind.WIRED_WIRELESS_SEPARATION, sample.at, self.apart_since, (), ended=True))
            self.apart, self.apart_since, self.raised = 0, None, False
