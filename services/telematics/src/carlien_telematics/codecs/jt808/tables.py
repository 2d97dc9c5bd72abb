"""Bits and items of the position report 0x0200 (JT/T 808-2013 tables 23 to 27, 2019 tables 23 to 27)."""

ALARMS = {
    0: "SOS",
    1: "OVERSPEED",
    2: "FATIGUE_DRIVING",
    3: "DANGER_WARNING",
    4: "GNSS_FAULT",
    5: "GPS_ANTENNA_CUT",
    6: "GPS_ANTENNA_SHORT",
    7: "LOW_POWER",
    8: "POWER_CUT",
    9: "DISPLAY_FAULT",
    10: "TTS_FAULT",
    11: "CAMERA_FAULT",
    12: "LICENCE_CARD_FAULT",
    13: "OVERSPEED_WARNING",
    14: "FATIGUE_WARNING",
    15: "VIBRATION",
    16: "TYRE_PRESSURE",
    17: "BLIND_SPOT",
    18: "DAY_DRIVING_OVERTIME",
    19: "PARKING",
    20: "GEOFENCE",
    21: "ROUTE",
    22: "ROUTE_TIME",
    23: "ROUTE_DEVIATION",
    24: "VSS_FAULT",
    25: "FUEL_ABNORMAL",
    26: "STOLEN",
    27: "ILLEGAL_IGNITION",
    28: "MOVEMENT",
    29: "COLLISION",
    30: "ROLLOVER",
    31: "DOOR",
}

STATUS_FLAGS = {
    4: "out_of_service",
    5: "coordinates_encrypted",
    10: "fuel_cut",
    11: "circuit_cut",
    12: "doors_locked",
}
"""Bits 0 to 3 (ignition, fix, south, west) have fields of their own."""

ITEMS: dict[int, tuple[str, int, int]] = {
    0x01: ("odometer_km", 4, 10),
    0x02: ("fuel_l", 2, 10),
    0x03: ("recorder_speed_kmh", 2, 10),
    0x04: ("alarm_event", 2, 1),
    0x25: ("vehicle_signals", 4, 1),
    0x2A: ("io_status", 2, 1),
    0x2B: ("analog", 4, 1),
    0x30: ("rssi", 1, 1),
    0x31: ("satellites", 1, 1),
}
"""Item id to name, length in bytes, divisor. An id with another length than this is a maker's own and kept as hex."""
