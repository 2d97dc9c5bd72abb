"""A crash: the device felt it, or the speed was gone within a second; and then the car stood."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from carlien_telematics.domain.alerts.signals import AlertKind, Evidence, Signal
from carlien_telematics.domain.trips import Sample

IMPACT_FLAGS = frozenset({"COLLISION", "ROLLOVER"})
INSTANT = timedelta(seconds=2)
LOST_KMH = 45.0
"""Gone within two seconds that is 0.64 g on average, more than brakes do on a dry road over that time and to a stand."""
FAST_KMH = 15.0
STANDS = timedelta(minutes=3)
STANDS_WITHIN = timedelta(minutes=2)


@dataclass(slots=True)
class CrashDetector:
    """An impact counts when the car stands soon after it and stays so: a pothole and a parking bump do not."""

    before_at: datetime | None = None
    before_kmh: float = 0.0
    fast_at: datetime | None = None
    """When the car last drove faster than a car park allows."""
    fast_kmh: float = 0.0
    impact_at: datetime | None = None
    impact_kmh: float = 0.0
    felt: bool = False
    stood_since: datetime | None = None
    raised: bool = False

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """Appends a signal once the car has stood after an impact; it ends when the car drives again."""
        speed = sample.speed_kmh
        felt = not IMPACT_FLAGS.isdisjoint(sample.alarms)
        if speed is None and not felt:
            return
        lost = self.before_kmh - (speed or 0.0)
        sudden = speed is not None and self.before_at is not None and sample.at - self.before_at <= INSTANT and lost >= LOST_KMH
        if speed is not None and speed > FAST_KMH:
            self.fast_at, self.fast_kmh = sample.at, speed
        was_fast = self.fast_at is not None and sample.at - self.fast_at <= STANDS_WITHIN
        if (felt or sudden) and self.impact_at is None and was_fast:
            self.impact_at, self.impact_kmh, self.felt, self.stood_since = sample.at, self.fast_kmh, felt, None
        if speed is not None:
            self._follow(sample.at, moving=sample.moving, out=out)
            self.before_at, self.before_kmh = sample.at, speed

    def _follow(self, at: datetime, *, moving: bool, out: list[Signal]) -> None:
        if self.impact_at is None:
            return
        if self.raised:
            if moving:
                out.append(Signal(AlertKind.CRASH, at, self.impact_at, (), ended=True))
                self.impact_at, self.raised = None, False
            return
        if moving:
            self.stood_since = None
            if at - self.impact_at > STANDS_WITHIN:
                self.impact_at = None
            return
        self.stood_since = self.stood_since or at
        if at - self.stood_since >= STANDS:
            self.raised = True
            evidence = [Evidence("SPEED_BEFORE", round(self.impact_kmh, 1), "km/h", self.impact_at)]
            evidence.append(Evidence("IMPACT_REPORTED", float(self.felt), "1", self.impact_at))
            out.append(Signal(AlertKind.CRASH, at, self.impact_at, tuple(evidence)))
