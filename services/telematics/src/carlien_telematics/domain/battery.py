"""State of health of a traction battery from what it took in while it was charged.

Capacity is charge over the rise of the state of charge, summed over charge segments. What is wrong with it is mostly the display:
state of charge is not linear in charge, it is shown in whole percent, and currents are measured with an offset. The display is
right at both ends by definition, so its error is taken for a Brownian bridge between them: over a share L of the range the
relative error of capacity has the variance TAU^2 (1 - L) / L. TAU and the floor SIGMA were fitted on the ten in-service packs of
the BatICM set and widened so that four fifths of its errors lie within (`carlien-insight battery` does it again, leaving out the
pack that is judged).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt

from carlien_telematics.domain.trips import Sample

TAU = 0.09
SIGMA = 0.025
Z80 = 1.2816
MIN_RISE = 20.0
"""Percent in all that must have been charged for anything to be said."""
SEGMENT_RISE = 5.0
GAP = timedelta(minutes=5)
"""Over a longer silence what was charged isn't known."""


@dataclass(frozen=True, slots=True)
class ChargeSegment:
    """A stretch of charging without a gap: state of charge in percent, charge in Ah."""

    start: datetime
    end: datetime
    from_percent: float
    to_percent: float
    charge_ah: float

    @property
    def rise(self) -> float:
        """Percent gained."""
        return self.to_percent - self.from_percent


@dataclass(frozen=True, slots=True)
class BatteryHealth:
    """Capacity now against capacity when new, with its 80 % interval, all in percent."""

    soh_percent: float
    low_percent: float
    high_percent: float
    segments: int


def charge_segments(samples: Iterable[Sample]) -> list[ChargeSegment]:
    """Stretches in which a standing car was charged. Only whole steps of the display count: from the first change to the last."""
    found: list[ChargeSegment] = []
    run: list[Sample] = []
    for sample in samples:
        charges = sample.charging is True and sample.soc_percent is not None and sample.current_a is not None
        if run and (not charges or sample.at - run[-1].at > GAP):
            _close(found, run)
            run = []
        if charges:
            run.append(sample)
    _close(found, run)
    return found


def _close(found: list[ChargeSegment], run: Sequence[Sample]) -> None:
    steps = [n for n in range(1, len(run)) if run[n].soc_percent != run[n - 1].soc_percent]
    if len(steps) < 2:
        return
    first, last = steps[0], steps[-1]
    rise = (run[last].soc_percent or 0.0) - (run[first].soc_percent or 0.0)
    if rise < SEGMENT_RISE:
        return
    charge = sum(
        abs((run[n].current_a or 0.0) + (run[n - 1].current_a or 0.0)) / 2 * (run[n].at - run[n - 1].at).total_seconds() / 3600
        for n in range(first + 1, last + 1)
    )
    found.append(ChargeSegment(run[first].at, run[last].at, run[first].soc_percent or 0.0, run[last].soc_percent or 0.0, charge))


def battery_health(segments: Sequence[ChargeSegment], rated_ah: float, *, tau: float = TAU, sigma: float = SIGMA) -> BatteryHealth | None:
    """The estimate; None where less than `MIN_RISE` percent were charged in all."""
    rise = sum(segment.rise for segment in segments)
    if not segments or rise < MIN_RISE or rated_ah <= 0:
        return None
    soh = 100 * sum(segment.charge_ah for segment in segments) / (rise / 100) / rated_ah
    error = Z80 * relative_error(segments, tau, sigma) * soh
    return BatteryHealth(round(soh, 1), round(max(0.0, soh - error), 1), round(soh + error, 1), len(segments))


def relative_error(segments: Sequence[ChargeSegment], tau: float, sigma: float) -> float:
    """Standard deviation of the relative error of capacity."""
    share = min(1.0, max(0.01, covered(segments) / 100))
    # each end of a segment lies somewhere within a percent of the display
    rounding = sqrt(2 * len(segments) / 12) / sum(segment.rise for segment in segments)
    return sqrt(sigma**2 + tau**2 * (1 - share) / share + rounding**2)


def covered(segments: Sequence[ChargeSegment]) -> float:
    """Percent of the range that were charged at least once."""
    total, reached = 0.0, 0.0
    for segment in sorted(segments, key=lambda one: one.from_percent):
        begin = max(reached, segment.from_percent)
        total += max(0.0, segment.to_percent - begin)
        reached = max(reached, segment.to_percent)
    return total
