"""A simulated car's frames: a template made once by the encoder, then patched, for a thousand cars send at once."""

import struct
from datetime import UTC, datetime, timedelta

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.check import xor_of
from carlien_telematics.codecs.gb32960 import Command, Frame, Response, Version
from carlien_telematics.simulator.lives import Life, habits
from carlien_telematics.simulator.motion import Car, Reading, odometer_at_start

_VEHICLE = struct.Struct(">BBBHIHHB")
_POSITION = struct.Struct(">BII")
_STARTED, _OFF = 1, 2
_INVALID = (0xFF, 0xFF, 0xFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF, 0xFFFF, 0xFF)
_CELLS = 96
_PROBES = 16
_VEHICLE_AT = gb32960.OVERHEAD - 1 + 6 + 1


class Gb32960Frames:
    """Frames of one car: vehicle, motor, position, extremes, alarms, 96 cell voltages and 16 probes; 396 bytes."""

    def __init__(self, vin: str) -> None:
        self._realtime = bytearray(_template(vin))
        self._position_at = self._realtime.index(b"\x05", _VEHICLE_AT + 20 + 1 + 1 + 12) + 1
        self._vin = vin

    def login(self, iccid: str, at: datetime) -> bytes:
        """The login."""
        data = gb32960.encode_login(Version.V2016, gb32960.Login(at, 1, iccid))
        return gb32960.build(Frame(Version.V2016, Command.LOGIN, Response.COMMAND, self._vin.encode(), 1, data))

    def record(self, reading: Reading, at: datetime, *, fix: bool, car_data: bool = True) -> bytes:
        """One realtime record; device time `at`. Without `car_data` every value of the car's bus is invalid."""
        raw = self._realtime
        raw[24:30] = gb32960.encode_time(at)
        if car_data:
            state = _STARTED if reading.ignition else _OFF
            speed, odometer = round(reading.speed_kmh * 10), round(reading.odometer_km * 10)
            current = 10_000 + round(reading.speed_kmh * 6)
            _VEHICLE.pack_into(raw, _VEHICLE_AT, state, 3, 1, speed, odometer, 3_500, current, round(reading.soc_percent))
        else:
            _VEHICLE.pack_into(raw, _VEHICLE_AT, *_INVALID)
        longitude, latitude = round(reading.longitude * 1e6), round(reading.latitude * 1e6)
        _POSITION.pack_into(raw, self._position_at, 0 if fix else 1, longitude, latitude)
        raw[-1] = xor_of(raw[2:-1])
        return bytes(raw)


def reissue(raw: bytes) -> bytes:
    """The same record sent again after an outage."""
    return raw[:2] + bytes((Command.REISSUE,)) + raw[3:-1] + bytes((raw[-1] ^ Command.REALTIME ^ Command.REISSUE,))


def _template(vin: str) -> bytes:
    vehicle = {
        "vehicle_state": "STARTED",
        "charge_state": "NOT_CHARGING",
        "drive_mode": "ELECTRIC",
        "speed_kmh": 0.0,
        "odometer_km": 0.0,
        "voltage_v": 350.0,
        "current_a": 0.0,
        "soc_percent": 80,
        "dcdc_state": "WORKING",
        "gear": "D",
        "braking_force": False,
        "driving_force": True,
        "insulation_kohm": 5_000,
        "accelerator_percent": 10,
        "brake_pedal_percent": 0,
    }
    motor = {
        "number": 1,
        "state": "CONSUMING",
        "controller_temperature_c": 40,
        "speed_rpm": 3_000,
        "torque_nm": 50.0,
        "temperature_c": 60,
        "controller_voltage_v": 350.0,
        "controller_current_a": 10.0,
    }
    places = {"max_voltage_pack": 1, "max_voltage_cell": 7, "min_voltage_pack": 1, "min_voltage_cell": 60}
    probes = {"max_temperature_pack": 1, "max_temperature_probe": 2, "min_temperature_pack": 1, "min_temperature_probe": 9}
    units = {
        "vehicle": vehicle,
        "motors": [motor],
        "position": {"fix_valid": True, "latitude": 31.0, "longitude": 121.0},
        "extremes": places
        | probes
        | {"max_cell_voltage_v": 3.7, "min_cell_voltage_v": 3.6, "max_temperature_c": 30, "min_temperature_c": 24},
        "alarms": {"level": 0, "flags": [], "battery_faults": [], "motor_faults": [], "engine_faults": [], "other_faults": []},
        "cell_voltages": [
            {
                "pack": 1,
                "voltage_v": 350.0,
                "current_a": 10.0,
                "cells_in_pack": _CELLS,
                "first_cell": 1,
                "cell_millivolts": [3_600 + n % 40 for n in range(_CELLS)],
            }
        ],
        "probe_temperatures": [{"pack": 1, "probe_celsius": [24 + n % 6 for n in range(_PROBES)]}],
    }
    data = gb32960.encode_record(Version.V2016, datetime(2024, 1, 1, tzinfo=UTC), units)
    return gb32960.build(Frame(Version.V2016, Command.REALTIME, Response.COMMAND, vin.encode(), 1, data))


def synthetic_drive(vin: str, start: datetime, minutes: int = 10) -> list[bytes]:
    """A drive of one car as frames, one every ten seconds: what the demo sends where there are no real data."""
    who = habits(1, 1, Life.PRIVATE)
    car = Car(1, 1, who, odometer_at_start(1, 1, Life.PRIVATE))
    first = car.trips(86_400.0)[0]
    frames = Gb32960Frames(vin)
    seconds = [first.start_s + 10 * n for n in range(minutes * 6)]
    return [frames.record(car.read(at), start.replace(microsecond=0) + timedelta(seconds=at - seconds[0]), fix=True) for at in seconds]
