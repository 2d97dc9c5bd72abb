"""The scenario file: which lives cars lead and what happens to which of them.

YAML (and so JSON, too); `schemas/scenario.schema.json` is its published JSON schema. It is forgiving in how a thing is written
(capitals, dashes, names of alerts for kinds, "2h 30min" or seconds) and strict in what it means: what is not understood is an
error that names the place.
"""

import difflib
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from carlien_common.domain.errors import DomainError, invalid
from carlien_telematics.simulator.faults import FOREVER_S, RULES, CarFault, Fault, FaultKind, Faults
from carlien_telematics.simulator.lives import Life, habits
from carlien_telematics.simulator.motion import Break, Car, Incident, odometer_at_start

ALIASES = {
    "device_removed": "removal",
    "removed": "removal",
    "odometer_rollback": "rollback",
    "towing": "tow",
    "towed": "tow",
    "jam": "jamming",
    "jammer": "jamming",
    "power_loss": "power_cut",
    "antenna": "antenna_cut",
    "outage": "gap",
    "network_gap": "gap",
    "clock": "clock_skew",
    "skew": "clock_skew",
    "long_stop": "standstill",
    "mileage_blocker": "blocker",
    "glitch": "odometer_glitch",
    "underground_garage": "garage",
}
LIFE_ALIASES = {"HAILING": "RIDE_HAILING", "TAXI": "RIDE_HAILING", "DELIVERY": "GOODS", "CARGO": "GOODS", "RENT": "RENTAL"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNITS |= {"sec": 1, "second": 1, "min": 60, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)")
_TOP = ("version", "description", "lives", "faults")
_FAULT = ("kind", "share", "cars", "start", "start_s", "duration", "duration_s", "end", "end_s", "value", "tell")
DRAWN_FROM, DRAWN_TO = 0.1, 0.6
"""A start that isn't stated falls into this part of the run, evenly."""
LOOK_AHEAD_S = 30 * 86_400.0
REMOVED_AFTER_S = 1800.0
"""So long has a car stood when its device is taken out."""
_BREAKS = {FaultKind.TOW: Break.TOW, FaultKind.CRASH: Break.CRASH, FaultKind.STANDSTILL: Break.STANDSTILL}


@dataclass(frozen=True, slots=True)
class Scenario:
    """Shares of lives, and faults."""

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

    def of(self, seed: int, car: int, run_s: float = FOREVER_S, origin_s: float = 0.0) -> list[CarFault]:
        """The faults of a car in a run that begins at simulated second `origin_s` and lasts `run_s`."""
        return [
            _placed(fault, seed, car, number, run_s, origin_s) for number, fault in enumerate(self.faults) if fault.hits(seed, car, number)
        ]

    def car(self, seed: int, number: int, run_s: float = FOREVER_S, origin_s: float = 0.0) -> tuple[Car, Faults]:
        """A car and what is wrong with it."""
        life = self.life(seed, number)
        faults = self.of(seed, number, run_s, origin_s)
        incidents = [fault.incident for fault in faults if fault.incident is not None]
        car = Car(seed, number, habits(seed, number, life), odometer_at_start(seed, number, life), incidents)
        # a hand that turns an odometer back turns what it shows
        faults.sort(key=lambda fault: fault.kind is FaultKind.ROLLBACK)
        for fault in faults:
            if fault.kind is FaultKind.REMOVAL:
                fault.from_s = _removed_at(car, fault.from_s, faults)
        return car, Faults(faults, random.Random(f"{seed}/{number}/scatter"))


def _removed_at(car: Car, from_s: float, faults: Sequence[CarFault]) -> float:
    """Nobody takes a device out of a car that drives; and one taken out under ground can't be told from one that stands there."""
    garages = [fault for fault in faults if fault.kind is FaultKind.GARAGE]
    at_s = car.standing_from(from_s, REMOVED_AFTER_S)
    while car.place_at(at_s) == car.who.home and any(one.active(at_s) for one in garages) and at_s < from_s + LOOK_AHEAD_S:
        at_s = car.standing_from(at_s + REMOVED_AFTER_S, REMOVED_AFTER_S)
    return at_s


def _placed(fault: Fault, seed: int, car: int, number: int, run_s: float, origin_s: float) -> CarFault:
    start = fault.start_s
    if start is None:
        start = random.Random(f"{seed}/{car}/{number}/start").uniform(DRAWN_FROM, DRAWN_TO) * min(run_s, FOREVER_S)
    begin = origin_s + start
    kind = _BREAKS.get(fault.kind)
    incident = None if kind is None else Incident(kind, begin, begin + fault.duration_s, fault.value)
    return CarFault(fault, begin, begin + fault.duration_s, incident)


def read_scenario(path: Path) -> Scenario:
    """Raises INVALID SCENARIO naming the place and what is wrong with it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(str(path), error.strerror or "can't be read") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _wrong(str(path), f"is neither YAML nor JSON: {error}") from error
    return parse_scenario(document)


def parse_scenario(document: Any) -> Scenario:
    """The scenario of a parsed file; raises INVALID SCENARIO."""
    if document is None:
        return Scenario()
    _keys(document, "scenario", _TOP)
    if document.get("version", 1) != 1:
        raise _wrong("version", "must be 1")
    lives = document.get("lives")
    faults = [] if document.get("faults") is None else document["faults"]
    if not isinstance(faults, list):
        raise _wrong("faults", "must be a list")
    return Scenario(
        {Life.PRIVATE: 1.0} if lives is None else _lives(lives), [_fault(entry, f"faults[{number}]") for number, entry in enumerate(faults)]
    )


def _lives(lives: Any) -> dict[Life, float]:
    if not isinstance(lives, dict) or not lives:
        raise _wrong("lives", f"must map {', '.join(Life)} to shares")
    shares = {}
    for name, share in lives.items():
        plain = re.sub(r"[\s-]+", "_", str(name).strip().upper())
        life = LIFE_ALIASES.get(plain, plain)
        if life not in Life.__members__:
            raise _wrong(f"lives.{name}", _unknown(life, list(Life)))
        shares[Life(life)] = _number(share, f"lives.{name}", 0, 1e9)
    if sum(shares.values()) <= 0:
        raise _wrong("lives", "at least one share must be above 0")
    return shares


def _fault(entry: Any, where: str) -> Fault:
    if not isinstance(entry, dict) or "kind" not in entry:
        raise _wrong(where, "must be a mapping with a kind")
    plain = re.sub(r"[\s-]+", "_", str(entry["kind"]).strip().lower())
    name = ALIASES.get(plain, plain)
    if name not in list(FaultKind):
        raise _wrong(f"{where}.kind", _unknown(plain, [*FaultKind, *ALIASES]))
    kind = FaultKind(name)
    rule = RULES[kind]
    _keys(entry, where, (*_FAULT, rule.value_name) if rule.value_name else _FAULT)
    start = _time(entry, where, "start")
    duration, end = _time(entry, where, "duration"), _time(entry, where, "end")
    if duration is not None and end is not None:
        raise _wrong(where, "state a duration or an end, not both")
    if end is not None:
        if start is None or end <= start:
            raise _wrong(f"{where}.end", "must lie after a stated start")
        duration = end - start
    if duration is not None and duration <= 0:
        raise _wrong(f"{where}.duration", "must be above 0")
    value = _value(entry, where, kind)
    tell = entry.get("tell", True)
    if not isinstance(tell, bool) or ("tell" in entry and kind is not FaultKind.REMOVAL):
        raise _wrong(f"{where}.tell", "is true or false, and of removal only")
    return Fault(
        kind,
        _number(entry.get("share", 1.0), f"{where}.share", 0, 1),
        start,
        rule.duration_s if duration is None else duration,
        value,
        _cars(entry.get("cars"), f"{where}.cars"),
        tell,
    )


def _value(entry: Mapping[str, Any], where: str, kind: FaultKind) -> float:
    rule = RULES[kind]
    given = [name for name in ("value", rule.value_name) if name and name in entry]
    if len(given) > 1:
        raise _wrong(where, f"state {given[1]} or value, not both")
    if not given:
        return rule.value
    if not rule.value_name:
        raise _wrong(f"{where}.value", f"{kind} has no value")
    return _number(entry[given[0]], f"{where}.{given[0]}", rule.low, rule.high)


def _cars(cars: Any, where: str) -> frozenset[int] | None:
    if cars is None:
        return None
    if not isinstance(cars, list) or not all(isinstance(car, int) and not isinstance(car, bool) and car >= 0 for car in cars):
        raise _wrong(where, "must be a list of car numbers, from 0")
    return frozenset(cars)


def _time(entry: Mapping[str, Any], where: str, name: str) -> float | None:
    given = [key for key in (name, f"{name}_s") if entry.get(key) is not None]
    if len(given) > 1:
        raise _wrong(where, f"state {given[0]} or {given[1]}, not both")
    return seconds(entry[given[0]], f"{where}.{given[0]}") if given else None


def seconds(value: Any, where: str) -> float:
    """A length of time: a number of seconds, or text like "90s", "15min", "2h", "1d 6h". Raises INVALID SCENARIO."""
    if isinstance(value, str) and not re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        text, total, at = value.strip().lower(), 0.0, 0
        while at < len(text):
            part = _PART.match(text, at)
            unit = part and next((u for u in (part[2], part[2].rstrip("s")) if u in _UNITS), None)
            if part is None or unit is None:
                raise _wrong(where, f"{value!r} is no time: write seconds, or 90s, 15min, 2h, 1d 6h")
            total += float(part[1]) * _UNITS[unit]
            at = part.end()
        return total
    return _number(value, where, 0, 1e12)


def _number(value: Any, where: str, low: float, high: float) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise _wrong(where, f"{value!r} must be a number from {low:g} to {high:g}")
    return number


def _keys(document: Any, where: str, allowed: Sequence[str]) -> None:
    if not isinstance(document, dict):
        raise _wrong(where, "must be a mapping")
    for key in document:
        if key not in allowed:
            raise _wrong(f"{where}.{key}", _unknown(str(key), allowed))


def _unknown(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, 1)
    return f"is not known{f'; did you mean {near[0]}?' if near else ''} Known are {', '.join(dict.fromkeys(allowed))}"


def _wrong(where: str, what: str) -> DomainError:
    return invalid("scenario", "SCENARIO", f"{where} {what}.")
