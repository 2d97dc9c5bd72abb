"""What a car's file knows better than who describes the car: the worse grade, distance and use hold."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from carlien_valuation.domain.appraisal import Remark
from carlien_valuation.domain.car import ACCIDENT_GRADE, Car, Usage
from carlien_valuation.domain.vehicle_file import HARD_USE, Facts


@dataclass(frozen=True, slots=True)
class Correction:
    """Fields to replace, what to say of it, and whether it casts doubt on the description."""

    changes: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    doubtful: bool = False


def corrected(car: Car, known: Facts) -> tuple[Car, tuple[Remark, ...], bool]:
    """The car as it is to be valued, what to say of that, and whether its description is doubtful."""
    parts = (_condition(car, known), _odometer(car, known), _use(car, known), _unstated(car, known), _disposal(known))
    changes = {name: value for part in parts for name, value in part.changes.items()}
    remarks = tuple(remark for part in parts for remark in part.remarks)
    return dataclasses.replace(car, **changes) if changes else car, remarks, any(part.doubtful for part in parts)


def _condition(car: Car, known: Facts) -> Correction:
    if known.accident:
        return _accident(car)
    if known.grade is None or known.grade == car.grade:
        return Correction()
    if car.grade is None:
        return Correction({"grade": known.grade}, (Remark("CONDITION_FROM_FILE", f"Condition as last inspected: grade {known.grade}."),))
    if known.grade > car.grade:
        text = f"Stated is grade {car.grade}, last inspected was grade {known.grade}."
        return Correction({}, (Remark("CONDITION_DISPUTED", text),), doubtful=True)
    return Correction()


def _accident(car: Car) -> Correction:
    if car.grade == ACCIDENT_GRADE:
        return Correction()
    text = "A source on file tells of structural damage: valued as an accident car."
    code = "CONDITION_FROM_FILE" if car.grade is None else "ACCIDENT_UNDECLARED"
    return Correction({"grade": ACCIDENT_GRADE}, (Remark(code, text),), doubtful=car.grade is not None)


def _odometer(car: Car, known: Facts) -> Correction:
    if known.odometer_km is None or (car.odometer_km is not None and car.odometer_km >= known.odometer_km):
        return Correction()
    changes = {"odometer_km": known.odometer_km}
    if car.odometer_km is None:
        return Correction(changes, (Remark("ODOMETER_FROM_FILE", f"Distance as last read: {known.odometer_km} km."),))
    text = f"{known.odometer_km} km were read before, {car.odometer_km} km are stated: valued at the former."
    return Correction(changes, (Remark("ODOMETER_BELOW_FILE", text),), doubtful=True)


def _use(car: Car, known: Facts) -> Correction:
    if car.usage is not Usage.PRIVATE or known.usage not in HARD_USE:
        return Correction()
    return Correction({"usage": known.usage}, (Remark("USAGE_FROM_FILE", f"Sources on file tell of its use as {known.usage}."),))


def _unstated(car: Car, known: Facts) -> Correction:
    stated = {"transfer_count": known.transfer_count, "first_registration": known.first_registration}
    return Correction({name: value for name, value in stated.items() if value is not None and getattr(car, name) is None})


def _disposal(known: Facts) -> Correction:
    if known.disposed_at is None:
        return Correction()
    return Correction({}, (Remark("DISPOSED", f"The car was deregistered on {known.disposed_at:%Y-%m-%d}."),), doubtful=True)
