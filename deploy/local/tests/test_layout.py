from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from carlien_local.errors import StackError
from carlien_local.layout import DEFAULT_PORT_BASE, LARGEST_OFFSET, METRICS_OFFSET, PORT_OFFSETS, find_layout
from carlien_local.services import SERVICES


def test_the_port_base_comes_from_the_variable_then_the_state_then_the_default(tmp_path: Path) -> None:
    assert find_layout(tmp_path, {}).port_base == DEFAULT_PORT_BASE
    find_layout(tmp_path, {"CARLIEN_PORT_BASE": "22000"}).create()
    assert find_layout(tmp_path, {}).port_base == 22000
    assert find_layout(tmp_path, {"CARLIEN_PORT_BASE": "22000"}).port_base == 22000


def test_a_state_directory_keeps_its_ports(tmp_path: Path) -> None:
    find_layout(tmp_path, {"CARLIEN_PORT_BASE": "22000"}).create()
    with pytest.raises(StackError, match="created with CARLIEN_PORT_BASE=22000, not 23000"):
        find_layout(tmp_path, {"CARLIEN_PORT_BASE": "23000"})


@pytest.mark.parametrize("text", ["x", "80", "65400", "-5", "21000.0"])
def test_an_unusable_port_base_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(StackError, match=f"CARLIEN_PORT_BASE={text}"):
        find_layout(tmp_path, {"CARLIEN_PORT_BASE": text})


def test_a_nearly_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = find_layout(tmp_path, {})
    layout.require_space()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=300 * 2**20))
    with pytest.raises(StackError, match=f"Only 300 MB are free under {tmp_path}"):
        layout.require_space()


def test_no_two_parts_share_a_port() -> None:
    offsets = [*PORT_OFFSETS.values(), *(PORT_OFFSETS[service.name] + METRICS_OFFSET for service in SERVICES)]
    assert not [pair for pair in itertools.combinations(offsets, 2) if pair[0] == pair[1]]
    assert max(offsets) <= LARGEST_OFFSET


def test_the_promised_offsets_stand() -> None:
    promised = {"valuation": 1, "lien-registry": 2, "telematics": 3, "pricing": 4, "lien-registry-org2": 12}
    promised |= {"gb32960": 60, "jt808": 61, "postgres": 32, "kafka": 92, "prometheus": 90}
    assert promised.items() <= PORT_OFFSETS.items()
    assert METRICS_OFFSET == 100
