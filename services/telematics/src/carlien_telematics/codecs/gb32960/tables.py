"""Fields of the fixed-length parts of the data units. Numbers in comments: table of GB/T 32960.3.

`current_a` of the cell-voltage unit has offset 1000 A in 2016 (annex B, table B.6) and 3000 A in 2025 (table 12).
`brake_pedal_percent` 101 means pressed, degree unknown. Layouts of the 2025 edition were checked against two open
implementations, not against the printed standard: see the README.
"""

from carlien_telematics.codecs.gb32960.layout import Bits, Code, Layout, Number

VEHICLE_STATES = {1: "STARTED", 2: "OFF", 3: "OTHER"}
CHARGE_STATES = {1: "CHARGING_PARKED", 2: "CHARGING_DRIVING", 3: "NOT_CHARGING", 4: "CHARGED"}
DRIVE_MODES = {1: "ELECTRIC", 2: "HYBRID", 3: "FUEL"}
DCDC_STATES = {1: "WORKING", 2: "OFF"}
MOTOR_STATES = {1: "CONSUMING", 2: "GENERATING", 3: "OFF", 4: "READY"}
COORDINATE_SYSTEMS = {1: "WGS84", 2: "GCJ02", 3: "OTHER"}
SIGNATURE_ALGORITHMS = {1: "SM2", 2: "RSA", 3: "ECC"}

_GEARS = ("N", *(str(n) for n in range(1, 13)), "R", "D", "P")
_GEAR = (("gear", 0, 15, _GEARS), ("braking_force", 4, 1, (False, True)), ("driving_force", 5, 1, (False, True)))
_SIGN_AND_FIX = (("fix_valid", 0, 1, (True, False)), ("south", 1, 1, (False, True)), ("west", 2, 1, (False, True)))

_VEHICLE_HEAD = (
    Code("vehicle_state", VEHICLE_STATES),
    Code("charge_state", CHARGE_STATES),
    Code("drive_mode", DRIVE_MODES),
    Number("speed_kmh", "H", 10),
    Number("odometer_km", "I", 10),
    Number("voltage_v", "H", 10),
)
VEHICLE_2016 = Layout(  # 9
    *_VEHICLE_HEAD,
    Number("current_a", "H", 10, 10_000),
    Number("soc_percent", "B"),
    Code("dcdc_state", DCDC_STATES),
    Bits(_GEAR),
    Number("insulation_kohm", "H"),
    Number("accelerator_percent", "B"),
    Number("brake_pedal_percent", "B"),
)
VEHICLE_2025 = Layout(  # 10
    *_VEHICLE_HEAD,
    Number("current_a", "H", 10, 30_000),
    Number("soc_percent", "B"),
    Code("dcdc_state", DCDC_STATES),
    Bits((*_GEAR, ("gear_valid", 7, 1, (True, False)))),
    Number("insulation_kohm", "H"),
)
MOTOR_2016 = Layout(  # 11
    Number("number", "B"),
    Code("state", MOTOR_STATES),
    Number("controller_temperature_c", "B", 1, 40),
    Number("speed_rpm", "H", 1, 20_000),
    Number("torque_nm", "H", 10, 20_000),
    Number("temperature_c", "B", 1, 40),
    Number("controller_voltage_v", "H", 10),
    Number("controller_current_a", "H", 10, 10_000),
)
MOTOR_2025 = Layout(  # 16
    Number("number", "B"),
    Code("state", MOTOR_STATES),
    Number("controller_temperature_c", "B", 1, 40),
    Number("speed_rpm", "H", 1, 32_000),
    Number("torque_nm", "I", 10, 200_000),
    Number("temperature_c", "B", 1, 40),
)
FUEL_CELL_HEAD_2016 = Layout(  # 12, before the probe temperatures
    Number("voltage_v", "H", 10),
    Number("current_a", "H", 10),
    Number("consumption_kg_per_100km", "H", 100),
)
_HYDROGEN_SENSORS = (
    Number("max_temperature_probe", "B"),
    Number("max_concentration_ppm", "H"),
    Number("max_concentration_sensor", "B"),
    Number("max_pressure_mpa", "H", 10),
    Number("max_pressure_sensor", "B"),
    Code("dcdc_state", DCDC_STATES),
)
FUEL_CELL_TAIL_2016 = Layout(Number("max_temperature_c", "H", 10, 400), *_HYDROGEN_SENSORS)
FUEL_CELL_2025 = Layout(  # 17
    Number("max_temperature_c", "H", 1, 40),
    Number("max_temperature_probe", "B"),
    Number("max_concentration_percent", "H", 10_000),
    Number("max_concentration_sensor", "B"),
    Number("max_pressure_mpa", "H", 10),
    Number("max_pressure_sensor", "B"),
    Code("dcdc_state", DCDC_STATES),
    Number("fuel_percent", "B"),
    Number("dcdc_controller_temperature_c", "B", 1, 40),
)
STACK_HEAD_2025 = Layout(  # 19, before the coolant temperatures
    Number("number", "B"),
    Number("voltage_v", "H", 10),
    Number("current_a", "H", 10),
    Number("hydrogen_pressure_kpa", "H", 10, 1_000),
    Number("air_pressure_kpa", "H", 10, 1_000),
    Number("air_temperature_c", "B", 1, 40),
)
ENGINE_2016 = Layout(
    Code("state", {1: "STARTED", 2: "OFF"}), Number("crankshaft_rpm", "H"), Number("consumption_l_per_100km", "H", 100)
)  # 13
ENGINE_2025 = Layout(Number("crankshaft_rpm", "H"))  # 20
POSITION_2016 = Layout(Bits(_SIGN_AND_FIX), Number("longitude", "I", 1_000_000), Number("latitude", "I", 1_000_000))  # 14
POSITION_2025 = Layout(  # 21
    Bits(_SIGN_AND_FIX),
    Code("coordinate_system", COORDINATE_SYSTEMS),
    Number("longitude", "I", 1_000_000),
    Number("latitude", "I", 1_000_000),
)
EXTREMES_2016 = Layout(  # 16
    Number("max_voltage_pack", "B"),
    Number("max_voltage_cell", "B"),
    Number("max_cell_voltage_v", "H", 1_000),
    Number("min_voltage_pack", "B"),
    Number("min_voltage_cell", "B"),
    Number("min_cell_voltage_v", "H", 1_000),
    Number("max_temperature_pack", "B"),
    Number("max_temperature_probe", "B"),
    Number("max_temperature_c", "B", 1, 40),
    Number("min_temperature_pack", "B"),
    Number("min_temperature_probe", "B"),
    Number("min_temperature_c", "B", 1, 40),
)
CELLS_HEAD_2016 = Layout(  # B.6, before the cell voltages
    Number("pack", "B"),
    Number("voltage_v", "H", 10),
    Number("current_a", "H", 10, 10_000),
    Number("cells_in_pack", "H"),
    Number("first_cell", "H"),
)
CELLS_HEAD_2025 = Layout(Number("pack", "B"), Number("voltage_v", "H", 10), Number("current_a", "H", 10, 30_000))  # 12
SUPERCAPACITOR_HEAD = Layout(Number("number", "B"), Number("voltage_v", "H", 10), Number("current_a", "H", 10, 30_000))  # 25
SUPERCAPACITOR_EXTREMES = Layout(  # 26
    Number("max_voltage_system", "B"),
    Number("max_voltage_cell", "H"),
    Number("max_cell_voltage_v", "H", 1_000),
    Number("min_voltage_system", "B"),
    Number("min_voltage_cell", "H"),
    Number("min_cell_voltage_v", "H", 1_000),
    Number("max_temperature_system", "B"),
    Number("max_temperature_probe", "H"),
    Number("max_temperature_c", "B", 1, 40),
    Number("min_temperature_system", "B"),
    Number("min_temperature_probe", "H"),
    Number("min_temperature_c", "B", 1, 40),
)

ALARMS_2016 = (  # 18, by bit
    "TEMPERATURE_DIFFERENCE",
    "BATTERY_HIGH_TEMPERATURE",
    "PACK_OVER_VOLTAGE",
    "PACK_UNDER_VOLTAGE",
    "SOC_LOW",
    "CELL_OVER_VOLTAGE",
    "CELL_UNDER_VOLTAGE",
    "SOC_HIGH",
    "SOC_JUMP",
    "PACK_MISMATCH",
    "CELL_CONSISTENCY",
    "INSULATION",
    "DCDC_TEMPERATURE",
    "BRAKE_SYSTEM",
    "DCDC_STATE",
    "MOTOR_CONTROLLER_TEMPERATURE",
    "HIGH_VOLTAGE_INTERLOCK",
    "MOTOR_TEMPERATURE",
    "PACK_OVERCHARGE",
)
ALARMS_2025 = (  # 24, by bit
    *ALARMS_2016,
    "MOTOR_OVERSPEED",
    "MOTOR_OVERCURRENT",
    "SUPERCAPACITOR_TEMPERATURE",
    "SUPERCAPACITOR_PRESSURE",
    "PACK_THERMAL_EVENT",
    "HYDROGEN_LEAK",
    "HYDROGEN_PRESSURE",
    "HYDROGEN_TEMPERATURE",
    "STACK_OVER_TEMPERATURE",
)
