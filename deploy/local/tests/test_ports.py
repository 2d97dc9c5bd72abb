from __future__ import annotations

import os
import socket

import pytest

from carlien_local import ports
from carlien_local.errors import StackError


def test_a_taken_port_is_named_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError, match=rf"kafka can't start: port {port} is taken by pid {os.getpid()} \(.*py"):
            ports.require_free("kafka", (port,))
    ports.require_free("kafka", (port,))


def test_a_listener_on_all_addresses_counts() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert ports.is_taken(server.getsockname()[1])


def test_a_connection_left_in_time_wait_does_not_count() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    accepted.close()  # the side that closes first is left in TIME_WAIT
    client.close()
    server.close()
    assert not ports.is_taken(port)
