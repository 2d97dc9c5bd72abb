"""OBD-II answers by the formulas of SAE J1979."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_telematics.codecs import obd
from carlien_telematics.codecs.errors import FrameError, Reason


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("41 0C 1A F8", {"mode": 1, "engine_rpm": 1726.0}),
        ("410D32", {"mode": 1, "speed_kmh": 50}),
        ("41 A6 00 12 D6 87", {"mode": 1, "odometer_km": 123456.7}),
        ("41 21 01 02 31 FF FF", {"mode": 1, "distance_with_mil_km": 258, "distance_since_clear_km": 65535}),
        ("41 42 36 B0", {"mode": 1, "module_voltage_v": 14.0}),
        ("41 5B FF", {"mode": 1, "hybrid_battery_percent": 100.0}),
        ("41 01 82 07 65 04", {"mode": 1, "monitor_status": "82076504", "mil_on": True, "trouble_code_count": 2}),
        ("41 EE 01 02", {"mode": 1, "pid_ee": "0102"}),
        ("7E8 03 41 0D 32", {"ecu": "7e8", "mode": 1, "speed_kmh": 50}),
        ("43 01 03 01 00 00 00", {"mode": 3, "trouble_codes": ["P0103", "P0100"], "kind": "stored"}),
        ("43 01 03 01", {"mode": 3, "trouble_codes": ["P0301"], "kind": "stored"}),
        ("47 01 C1 00", {"mode": 7, "trouble_codes": ["U0100"], "kind": "pending"}),
        ("49 02 01 4C 53 56 4E 56 32 31 38 37 45 32 31 30 30 30 30 31", {"mode": 9, "vin": "LSVNV2187E2100001"}),
    ],
)
def test_golden_answers(text: str, decoded: dict[str, Any]) -> None:
    assert obd.decode(text) == decoded


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.EMPTY),
        ("zz", Reason.NOT_HEX),
        ("41", Reason.TRUNCATED),
        ("41 0C 1A", Reason.TRUNCATED),
        ("7F 01 12", Reason.UNSUPPORTED),
        ("55 01", Reason.UNSUPPORTED),
        ("49 02 01 41 42", Reason.BODY),
        ("7E8 10 14 49 02 01 4C 53 56", Reason.UNSUPPORTED),
    ],
)
def test_what_is_no_answer_is_refused_with_its_reason(text: str, reason: Reason) -> None:
    with pytest.raises(FrameError) as refused:
        obd.decode(text)
    assert refused.value.reason is reason


@given(st.text(max_size=40) | st.binary(max_size=20).map(bytes.hex))
def test_no_text_breaks_it(text: str) -> None:
    with contextlib.suppress(FrameError):
        assert obd.decode(text)
