"""Batteries between wire and domain."""

import math
from decimal import Decimal
from typing import Final

from carlien.valuation.v1 import battery_pb2, vehicle_pb2
from carlien_common.domain.errors import invalid
from carlien_common.wire import money_to_proto
from carlien_valuation.domain.battery import Health, MonthValue, Pack, PackInCar, PackValue, Use

MAX_CHEMISTRY: Final = 40
_USES: Final = {use: battery_pb2.BatteryUse.Value(f"BATTERY_USE_{use}") for use in Use}


def pack_of(vehicle: vehicle_pb2.Vehicle) -> Pack | None:
    """A vehicle's pack; None where none is described. Raises INVALID for what is no number or no name."""
    if not vehicle.HasField("battery"):
        return None
    battery = vehicle.battery
    capacity = _number(battery.capacity_new_kwh, "vehicle.battery.capacity_new_kwh", "BATTERY_CAPACITY_RANGE")
    soh = (
        _number(battery.state_of_health_percent, "vehicle.battery.state_of_health_percent", "BATTERY_SOH_RANGE") / 100
        if battery.HasField("state_of_health_percent")
        else None
    )
    if len(battery.chemistry) > MAX_CHEMISTRY:
        raise invalid("vehicle.battery.chemistry", "TEXT_TOO_LONG", f"At most {MAX_CHEMISTRY} characters.")
    return Pack(capacity, battery.chemistry.strip(), soh, battery.leased)


def _number(value: float, field: str, reason: str) -> Decimal:
    if not math.isfinite(value) or abs(value) > 1e6:
        raise invalid(field, reason, f"{value} is beyond what a battery has.")
    return Decimal(repr(value))


def battery_value(split: PackInCar) -> battery_pb2.BatteryValue:
    """A value in car and pack."""
    return battery_pb2.BatteryValue(
        car=money_to_proto(split.car),
        pack=money_to_proto(split.pack),
        adjustment=money_to_proto(split.adjustment),
        leased=split.leased,
        state=_state(
            split.health,
            split.state,
            battery_pb2.HEALTH_SOURCE_STATED if split.health.measured else battery_pb2.HEALTH_SOURCE_TYPICAL,
        ),
    )


def month_state(month: MonthValue) -> battery_pb2.BatteryState:
    """A pack a number of months ahead."""
    health = Health(month.p10.soh, month.p50.soh, month.p90.soh, measured=False)
    return _state(health, month.p50, battery_pb2.HEALTH_SOURCE_FORECAST)


def _state(health: Health, value: PackValue, source: battery_pb2.HealthSource.ValueType) -> battery_pb2.BatteryState:
    return battery_pb2.BatteryState(
        state_of_health_percent=float(100 * health.median),
        state_of_health_low_percent=float(100 * health.low),
        state_of_health_high_percent=float(100 * health.high),
        source=source,
        first_life=None if value.first_life is None else money_to_proto(value.first_life),
        second_life=None if value.second_life is None else money_to_proto(value.second_life),
        recycling=money_to_proto(value.recycling),
        best=money_to_proto(value.best),
        use=_USES[value.use],
    )
