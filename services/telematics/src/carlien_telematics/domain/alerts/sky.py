"""A receiver that sees no satellites: jammed, or under a roof."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from carlien_telematics.domain.alerts.signals import AlertKind, Evidence, Signal
from carlien_telematics.domain.trips import Sample, distance_km, place

Spot = tuple[float, float]

LONGEST_TUNNEL_KM = 25.0
"""The longest road tunnels have 22 km (Tianshan Shengli) and 24.5 km (Lærdal)."""
LONGEST_TUNNEL = timedelta(minutes=30)
SUSPECT_KM = 4.0
"""Less distance without a fix is a short tunnel, an underpass or the ramps of a garage."""
STRAIGHT = 0.8
"""A tunnel leads on: its ends lie nearly as far apart as the way through it is long. Streets turn, by a right angle mostly (0.71)."""
JUNCTION_KMH = 15.0
"""There are no junctions in a tunnel; a car that slowed so far twice was in streets."""
FIXES_BEFORE = 3
PARKED_WITHOUT_SKY = timedelta(minutes=45)
"""A car that had fixes while it stood and loses them for so long without having moved was not driven under a roof."""
GAP = timedelta(minutes=10)
"""Over a longer silence nothing is said about the way."""


@dataclass(slots=True)
class JammingDetector:
    """Follows the time without a fix and tells jamming from tunnel and garage by what the car did meanwhile."""

    fix_at: datetime | None = None
    where: Spot | None = None
    fixes_standing: int = 0
    odometer_km: float | None = None
    """Reading at the last fix."""
    lost_at: datetime | None = None
    parked: bool = False
    moving_s: float = 0.0
    driven_km: float = 0.0
    slowed: int = 0
    slow: bool = False
    before_at: datetime | None = None
    before_kmh: float = 0.0
    raised: bool = False

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """Appends a signal where jamming is found and where it ends."""
        if sample.fix is None:
            return
        here = place(sample) if sample.fix else None
        if here is not None:
            self._found(sample, here, out)
        else:
            self._lost(sample, out)
        self.before_at, self.before_kmh = sample.at, sample.speed_kmh or 0.0

    def _found(self, sample: Sample, here: Spot, out: list[Signal]) -> None:
        if self.lost_at is not None:
            self._advance(sample)
            if self.raised:
                out.append(Signal(AlertKind.JAMMING, sample.at, self.lost_at, self._evidence(sample.at), ended=True))
            elif self.driven_km >= SUSPECT_KM and self.where is not None:
                apart_km = distance_km(self.where, here)
                if self.slowed >= 2 or apart_km < STRAIGHT * self.driven_km:
                    apart = Evidence("DISTANCE_FROM_LAST_FIX", round(apart_km, 2), "km", sample.at)
                    out.append(Signal(AlertKind.JAMMING, sample.at, self.lost_at, (*self._evidence(sample.at), apart)))
                    out.append(Signal(AlertKind.JAMMING, sample.at, self.lost_at, ended=True))
            self.lost_at, self.raised = None, False
        standing = not sample.moving and not sample.ignition
        self.fixes_standing = self.fixes_standing + 1 if standing else 0
        self.fix_at, self.where, self.odometer_km = sample.at, here, sample.odometer_km

    def _lost(self, sample: Sample, out: list[Signal]) -> None:
        if self.fix_at is None:
            return
        if self.lost_at is None:
            self.lost_at = sample.at
            self.parked = self.fixes_standing >= FIXES_BEFORE and not sample.moving and not sample.ignition
            self.moving_s, self.driven_km, self.slowed, self.slow = 0.0, 0.0, 0, False
        self._advance(sample)
        if self.raised:
            return
        lasted = timedelta(seconds=self.moving_s)
        no_tunnel = self.driven_km >= LONGEST_TUNNEL_KM or (lasted >= LONGEST_TUNNEL and self.driven_km >= SUSPECT_KM)
        still_parked = self.parked and self.driven_km < 0.2 and sample.at - self.lost_at >= PARKED_WITHOUT_SKY
        in_streets = self.slowed >= 4 and self.driven_km >= SUSPECT_KM
        if no_tunnel or still_parked or in_streets:
            self.raised = True
            out.append(Signal(AlertKind.JAMMING, sample.at, self.lost_at, self._evidence(sample.at)))

    def _advance(self, sample: Sample) -> None:
        if self.before_at is None or sample.at - self.before_at > GAP:
            return
        seconds = (sample.at - self.before_at).total_seconds()
        speed = sample.speed_kmh or 0.0
        if sample.ignition is False and speed < JUNCTION_KMH:
            return
        self.driven_km += (speed + self.before_kmh) / 2 * seconds / 3600
        if sample.moving:
            self.moving_s += seconds
        if speed < JUNCTION_KMH and not self.slow and self.driven_km > 0.3:
            self.slowed += 1
        self.slow = speed < JUNCTION_KMH if not self.slow else speed < 2 * JUNCTION_KMH

    def _evidence(self, at: datetime) -> tuple[Evidence, ...]:
        since = self.lost_at or at
        found = [Evidence("WITHOUT_FIX", round((at - since).total_seconds() / 60, 1), "min", at)]
        found.append(Evidence("DRIVEN_WITHOUT_FIX", round(self.driven_km, 2), "km", at))
        if self.slowed:
            found.append(Evidence("STOP_AND_GO", float(self.slowed), "count", at))
        return tuple(found)
