"""PostgreSQL and Kafka in containers of the tests' own: what is used where no address is given and a Docker engine answers.

The images are those of deploy/compose (`deploy/compose/build.sh postgres kafka`), so nothing is pulled.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

POSTGRES: Final = "carlien-postgres:latest"
KAFKA: Final = "carlien-kafka:latest"
START_S: Final = 90.0


@cache
def available(image: str) -> bool:
    """Whether an engine answers and has the image."""
    import docker  # type: ignore[import-untyped]
    from docker.errors import DockerException  # type: ignore[import-untyped]

    try:
        client = docker.from_env()
    except DockerException:
        return False
    try:
        return bool(client.images.list(name=image))
    except DockerException:
        return False
    finally:
        client.close()


@contextmanager
def postgres() -> Iterator[str]:
    """A server with nothing in it; yields a superuser's DSN."""
    password = secrets.token_hex(12)
    with tempfile.TemporaryDirectory() as folder:
        # Read by the container's own user.
        Path(folder).chmod(0o755)
        (Path(folder) / "postgres").write_text(password)
        (Path(folder) / "roles.sql").write_text("")
        with _running(POSTGRES, 5432, {}, {folder: "/secrets"}) as port:
            yield f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"  # pragma: allowlist secret


@contextmanager
def kafka() -> Iterator[str]:
    """A broker; yields its address. It tells clients the port outside, so that one is chosen first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {"ADVERTISED_PORT": str(port), "CLUSTER_ID": "Y2FybGllbi10ZXN0cy0wMQ"}
    with _running(KAFKA, port, environment, {}, outside=port):
        yield f"127.0.0.1:{port}"


@contextmanager
def _running(image: str, port: int, environment: dict[str, str], volumes: dict[str, str], outside: int | None = None) -> Iterator[int]:
    # Its watchdog is an image that would have to be pulled; the block ends the container as well.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(image).with_bind_ports(port, outside)
    for name, value in environment.items():
        container.with_env(name, value)
    for source, target in volumes.items():
        container.with_volume_mapping(source, target, "ro")
    with container as running:
        _wait_healthy(running)
        yield int(running.get_exposed_port(port))


def _wait_healthy(container: object) -> None:
    """By the image's own health check."""
    inner = container.get_wrapped_container()  # type: ignore[attr-defined]
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        inner.reload()
        if inner.attrs["State"].get("Health", {}).get("Status") == "healthy":
            return
        time.sleep(0.2)
    raise TimeoutError(f"not healthy after {START_S:.0f} s: {inner.logs(tail=20).decode(errors='replace')}")
