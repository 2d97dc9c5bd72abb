"""What can go wrong with a car or its device, by scenario file. The truth file says what really happened and when.

A scenario is JSON: {"lives": {"PRIVATE": 0.7, …}, "faults": [{"kind": "gap", "share": 0.1, "start_s": 600, "duration_s": 300}, …]}
`share` of the cars, chosen by the seed, have the fault, from `start_s` of simulated time for `duration_s`.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid
from carlien_telematics.simulator.lives import Life
from carlien_telematics.simulator.motion import Reading


class FaultKind(StrEnum):
    """Kinds of fault."""

    GAP = "gap"
    """No network: records are kept and sent again as reissue."""
    CLOCK_SKEW = "clock_skew"
    """The device's clock is off by `value` seconds."""
    NOISE = "noise"
    """Positions scatter by `value` metres."""
    JAMMING = "jamming"
    """No fix, the car drives on."""
    REMOVAL = "removal"
    """The device is taken out: nothing more is heard."""
    ROLLBACK = "rollback"
    """The odometer shows `value` km less from then on."""
    TOW = "tow"
    """The car moves by `value` km with the ignition off."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of some cars."""

    kind: FaultKind
    share: float
    start_s: float = 0.0
    duration_s: float = 1e12
    value: float = 0.0

    def active(self, at_s: float) -> bool:
        """Whether it is on."""
        return self.start_s <= at_s < self.start_s + self.duration_s

    def hits(self, seed: int, car: int) -> bool:
        """Whether this car has it."""
        return random.Random(f"{seed}/{car}/{self.kind}/{self.start_s}").random() < self.share


@dataclass(frozen=True, slots=True)
class Scenario:
    """Shares of lives and faults."""

    lives: Mapping[Life, float] = field(default_factory=lambda: {Life.PRIVATE: 1.0})
    faults: Sequence[Fault] = ()

    def life(self, seed: int, car: int) -> Life:
        """What a car is for."""
        drawn = random.Random(f"{seed}/{car}/life").random() * sum(self.lives.values())
        for life, share in self.lives.items():
            drawn -= share
            if drawn < 0:
                return life
        return Life.PRIVATE

    def of(self, seed: int, car: int) -> list[Fault]:
        """The faults of a car."""
        return [fault for fault in self.faults if fault.hits(seed, car)]


def read_scenario(path: Path) -> Scenario:
    """Raises INVALID SCENARIO naming what is wrong."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        lives = {Life(name): float(share) for name, share in document.get("lives", {"PRIVATE": 1.0}).items()}
        faults = [Fault(FaultKind(entry.pop("kind")), **entry) for entry in document.get("faults", [])]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise invalid("scenario", "SCENARIO", f"{path}: {error}") from error
    return Scenario(lives, faults)


def as_shown(reading: Reading, faults: Sequence[Fault], scatter: random.Random) -> tuple[Reading, bool]:
    """What the device shows under its faults, and whether it has a fix."""
    fix = True
    for fault in faults:
        if not fault.active(reading.at_s):
            continue
        match fault.kind:
            case FaultKind.ROLLBACK:
                reading = replace(reading, odometer_km=max(0.0, reading.odometer_km - fault.value))
            case FaultKind.NOISE:
                metres = fault.value / 111_320
                reading = replace(
                    reading, latitude=reading.latitude + scatter.gauss(0, metres), longitude=reading.longitude + scatter.gauss(0, metres)
                )
            case FaultKind.JAMMING:
                fix = False
            case FaultKind.TOW if not reading.ignition:
                share = min(1.0, (reading.at_s - fault.start_s) / 900)
                reading = replace(reading, latitude=reading.latitude + share * fault.value / 111.32)
            case _:
                pass
    return reading, fix
