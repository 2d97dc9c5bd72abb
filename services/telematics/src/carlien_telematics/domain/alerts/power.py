"""What a device says about itself: power, antenna; and its silence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from carlien_telematics.domain.alerts.signals import AlertKind, Evidence, Signal
from carlien_telematics.domain.trips import Sample

ANTENNA_FLAGS = frozenset({"GPS_ANTENNA_CUT", "GPS_ANTENNA_SHORT"})
POWER_FLAG = "POWER_CUT"
CONFIRMATIONS = 2
"""A flag in a single record may be a loose contact."""
LAST_GASP = timedelta(hours=1)
"""Silence for so long after the car's power was lost is a device taken out. A terminal lives at least ten minutes on its own
battery (GB/T 32960.2-2016) and a workshop that disconnects the car's is done sooner than an hour, mostly."""
OFFLINE = timedelta(hours=24)
UNDER_GROUND = timedelta(hours=96)
"""The same for a car that drove out of the network: a weekend in an underground garage is nothing to report."""
SILENT = timedelta(hours=72)
"""For a car that stood and reported, and then didn't any more: nobody takes a device out of a car that drives."""
ASLEEP = timedelta(days=7)
"""A device that took its leave may sleep as long as the car stands: its silence is told later, and never means a removal."""
STOOD = 2
"""Records of the standing car before its silence; a car that drove out of the network, under ground mostly, may stand there for
long, and a removal can't be told from that."""
MAX_DEVICES = 6


class Presence(StrEnum):
    """What is known of the connection of a device in service."""

    CONNECTED = "CONNECTED"
    ASLEEP = "ASLEEP"
    """It took its leave."""
    AWAY = "AWAY"


@dataclass(slots=True)
class DeviceWatch:
    """One device of the car."""

    heard_at: datetime
    without_power: int = 0
    power_lost_at: datetime | None = None
    power_raised: bool = False
    antenna: int = 0
    antenna_lost_at: datetime | None = None
    antenna_raised: bool = False
    usual_s: float = 0.0
    """The longest usual silence: rises at once, decays slowly."""
    stood: int = 0
    """Records in a row of a standing car."""
    offline: bool = False
    removed: bool = False

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """Takes one of its records."""
        at = sample.at
        if self.power_lost_at is not None and at - self.heard_at >= LAST_GASP:
            # judged now as a look at the time would have been: so a replay finds what was found live
            self.silent(self.heard_at + LAST_GASP, asleep=True, out=out)
        if at > self.heard_at:
            self.usual_s = max((at - self.heard_at).total_seconds(), self.usual_s * 0.99)
            self.heard_at = at
        if sample.car_data:
            self.stood = 0 if sample.ignition or sample.moving else self.stood + 1
        if self.offline or self.removed:
            self._back(at, out)
        self._power(sample, out)
        self._antenna(sample, out)

    def _power(self, sample: Sample, out: list[Signal]) -> None:
        at = sample.at
        if not sample.car_data or POWER_FLAG in sample.alarms:
            self.power_lost_at = self.power_lost_at or at
            self.without_power += 1
            if not self.power_raised and self.without_power >= CONFIRMATIONS:
                self.power_raised = True
                name = "POWER_CUT_REPORTS" if POWER_FLAG in sample.alarms else "RECORDS_WITHOUT_CAR_DATA"
                out.append(Signal(AlertKind.POWER_CUT, at, self.power_lost_at, (Evidence(name, float(self.without_power), "count", at),)))
        elif self.power_lost_at is not None:
            if self.power_raised:
                minutes = Evidence("WITHOUT_POWER", round((at - self.power_lost_at).total_seconds() / 60, 1), "min", at)
                out.append(Signal(AlertKind.POWER_CUT, at, self.power_lost_at, (minutes,), ended=True))
            self.power_lost_at, self.power_raised, self.without_power = None, False, 0

    def _antenna(self, sample: Sample, out: list[Signal]) -> None:
        at = sample.at
        if not ANTENNA_FLAGS.isdisjoint(sample.alarms):
            self.antenna_lost_at = self.antenna_lost_at or at
            self.antenna = CONFIRMATIONS if self.antenna_raised else self.antenna + 1
            if not self.antenna_raised and self.antenna >= CONFIRMATIONS:
                self.antenna_raised = True
                evidence = Evidence("ANTENNA_REPORTS", float(self.antenna), "count", at)
                out.append(Signal(AlertKind.ANTENNA_CUT, at, self.antenna_lost_at, (evidence,)))
        elif self.antenna_lost_at is not None:
            self.antenna -= 1
            if self.antenna <= 0:
                if self.antenna_raised:
                    out.append(Signal(AlertKind.ANTENNA_CUT, at, self.antenna_lost_at, (), ended=True))
                self.antenna_lost_at, self.antenna_raised, self.antenna = None, False, 0

    def _back(self, at: datetime, out: list[Signal]) -> None:
        out += [
            Signal(kind, at, at, (), ended=True)
            for kind, raised in ((AlertKind.OFFLINE, self.offline), (AlertKind.DEVICE_REMOVED, self.removed))
            if raised
        ]
        self.offline = self.removed = False

    def silent(self, now: datetime, *, asleep: bool, out: list[Signal]) -> None:
        """Judges the silence since the last record."""
        quiet = now - self.heard_at
        minutes = quiet.total_seconds() / 60
        if self.power_lost_at is not None and quiet >= LAST_GASP:
            self._remove(now, Evidence("SILENCE_AFTER_POWER_LOSS", round(minutes), "min", now), out)
        elif (limit := self.removed_after(asleep=asleep)) is not None and quiet >= limit:
            self._remove(now, Evidence("SILENCE", round(minutes / 60, 1), "h", now), out)
        if not self.offline and quiet >= self.offline_after(asleep=asleep):
            self.offline = True
            evidence = Evidence("SILENCE", round(minutes / 60, 1), "h", now)
            out.append(Signal(AlertKind.OFFLINE, now, self.heard_at, (evidence,)))

    def offline_after(self, *, asleep: bool) -> timedelta:
        """Silence that is reported."""
        least = OFFLINE if self.stood >= STOOD else UNDER_GROUND
        return ASLEEP if asleep else max(least, timedelta(seconds=1.5 * self.usual_s))

    def removed_after(self, *, asleep: bool) -> timedelta | None:
        """Silence without any sign before it that means a removal; None where none does."""
        return None if asleep or self.stood < STOOD else max(SILENT, timedelta(seconds=2 * self.usual_s))

    def next_look(self, *, asleep: bool) -> datetime | None:
        """When silence has to be judged next if nothing more is heard; None where all is said."""
        removed = LAST_GASP if self.power_lost_at is not None else self.removed_after(asleep=asleep)
        steps = [] if self.removed or removed is None else [removed]
        if not self.offline:
            steps.append(self.offline_after(asleep=asleep))
        return self.heard_at + min(steps) if steps else None

    def _remove(self, now: datetime, evidence: Evidence, out: list[Signal]) -> None:
        if not self.removed:
            self.removed = True
            since = self.power_lost_at or self.heard_at
            out.append(Signal(AlertKind.DEVICE_REMOVED, now, since, (evidence,)))


@dataclass(slots=True)
class Devices:
    """The devices of the car, as their records show them."""

    by_id: dict[str, DeviceWatch] = field(default_factory=dict)

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """See `DeviceWatch`."""
        device = self.by_id.get(sample.device_id)
        if device is None:
            device = self.by_id[sample.device_id] = DeviceWatch(sample.at)
            while len(self.by_id) > MAX_DEVICES:
                self.by_id.pop(next(iter(self.by_id)))
        device.observe(sample, out)

    def silent(self, now: datetime, presence: Mapping[str, Presence], out: list[Signal]) -> None:
        """Judges the silence of the devices that are in service and not connected; a retired one is forgotten."""
        for device_id in [known for known in self.by_id if known not in presence]:
            del self.by_id[device_id]
        for device_id, device in self.by_id.items():
            if presence[device_id] is not Presence.CONNECTED:
                device.silent(now, asleep=presence[device_id] is Presence.ASLEEP, out=out)

    def next_look(self, presence: Mapping[str, Presence]) -> datetime | None:
        """When silence has to be judged next; None where nothing more can be found."""
        looks = (device.next_look(asleep=presence.get(name) is Presence.ASLEEP) for name, device in self.by_id.items())
        return min((look for look in looks if look is not None), default=None)
