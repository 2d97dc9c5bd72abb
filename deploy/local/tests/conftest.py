from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from carlien_local import supervisor
from carlien_local.layout import Layout, find_layout
from carlien_local.processes import Processes
from carlien_local.starting import Starter


@pytest.fixture(scope="module")
def port_base() -> int:
    """A port base whose PostgreSQL port is free; below the ephemeral range, where no client socket sits."""
    for base in range(23000, 30000, 300):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", base + 32))
            except OSError:
                continue
            return base
    raise RuntimeError("no free port base")


@pytest.fixture
def layout(tmp_path: Path, port_base: int) -> Layout:
    made = dataclasses.replace(find_layout(tmp_path / "state", {}), port_base=port_base)
    made.create()
    return made


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def starter(layout: Layout, messages: list[str]) -> Iterator[Starter]:
    made = Starter(layout, messages.append)
    yield made
    made.processes.stop(supervisor.NAME)
    for name in {name for _, name in made.processes.sweep()}:
        made.processes.stop(name, kill=True)


@pytest.fixture
def processes(starter: Starter) -> Processes:
    return starter.processes
