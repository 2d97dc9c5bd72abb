"""All detectors of one car."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from carlien_telematics.domain.alerts.cases import Case, CaseBook
from carlien_telematics.domain.alerts.crash import CrashDetector
from carlien_telematics.domain.alerts.odometer import Odometers
from carlien_telematics.domain.alerts.places import PlaceDetector
from carlien_telematics.domain.alerts.power import ANTENNA_FLAGS, MAX_DEVICES, Devices, Presence
from carlien_telematics.domain.alerts.separation import SeparationDetector
from carlien_telematics.domain.alerts.signals import Signal
from carlien_telematics.domain.alerts.sky import JammingDetector
from carlien_telematics.domain.alerts.standing import LongStopDetector, TowDetector
from carlien_telematics.domain.geofences import GeofenceIndex
from carlien_telematics.domain.trips import Sample

Detector = TypeVar("Detector")

NOWHERE = GeofenceIndex()
VERSION = 1
"""Of what a watch remembers: one of another version is not read but made anew from the car's records."""


@dataclass(slots=True)
class Watch:
    """What is remembered of a car between records: plain data, so that it can be stored and replayed from.

    Tow, jamming and odometer are judged device by device: two devices apart would look like a movement to and fro.
    """

    vin: str
    version: int = VERSION
    tow: dict[str, TowDetector] = field(default_factory=dict)
    sky: dict[str, JammingDetector] = field(default_factory=dict)
    long_stop: LongStopDetector = field(default_factory=LongStopDetector)
    odometers: Odometers = field(default_factory=Odometers)
    devices: Devices = field(default_factory=Devices)
    separation: SeparationDetector = field(default_factory=SeparationDetector)
    crash: CrashDetector = field(default_factory=CrashDetector)
    places: PlaceDetector = field(default_factory=PlaceDetector)
    book: CaseBook = field(default_factory=CaseBook)

    def observe(self, sample: Sample, fences: GeofenceIndex = NOWHERE) -> list[Case]:
        """Takes the next record in device time and answers the cases it changed."""
        out: list[Signal] = []
        self.devices.observe(sample, out)
        if sample.car_data:
            _of(self.tow, TowDetector, sample.device_id).observe(sample, out)
            if ANTENNA_FLAGS.isdisjoint(sample.alarms):
                _of(self.sky, JammingDetector, sample.device_id).observe(sample, out)
            self.odometers.observe(sample, out)
            self.crash.observe(sample, out)
        self.long_stop.observe(sample, out)
        self.separation.observe(sample, out)
        if len(fences) or self.places.known:
            self.places.observe(sample, fences, out)
        return self.book.take(self.vin, out) if out else []

    def silent(self, now: datetime, presence: Mapping[str, Presence]) -> list[Case]:
        """Judges the silence since the last records. `presence` has the devices in service; one that isn't in it may be silent."""
        out: list[Signal] = []
        self.devices.silent(now, presence, out)
        return self.book.take(self.vin, out) if out else []

    def tell(self, signals: Sequence[Signal]) -> list[Case]:
        """Takes what was found elsewhere, such as a use that wasn't declared."""
        return self.book.take(self.vin, signals)


def _of(by_device: dict[str, Detector], kind: type[Detector], device_id: str) -> Detector:
    detector = by_device.get(device_id)
    if detector is None:
        detector = by_device[device_id] = kind()
        while len(by_device) > MAX_DEVICES:
            by_device.pop(next(iter(by_device)))
    return detector
