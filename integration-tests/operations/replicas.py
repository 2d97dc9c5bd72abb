"""Further processes of the running stack's services: the same configuration on other ports, or another database."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_READY_SECONDS = 180.0
# A call of a caller, not of a probe, that it has answered.
_ANSWERED = re.compile(rb'grpc_server_handled_total\{grpc_code="OK"[^}]*grpc_service="carlien\.[^}]*\} [1-9]').search


def state() -> Path:
    """The state directory of the stack in the environment."""
    return Path(os.environ["CARLIEN_PKI"]).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_of(service: str) -> dict[str, str]:
    """How the stack runs a service."""
    saved: dict[str, dict[str, str]] = json.loads((state() / "run" / f"{service}.json").read_text())
    return saved["env"]


def _on_free_ports(service: str) -> dict[str, str]:
    return {name: str(free_port()) for name in environment_of(service) if name.endswith("_PORT")}


@dataclass
class Replica:
    """One more process of a service. Stopped and started again it keeps its ports."""

    service: str
    folder: Path
    changes: Mapping[str, str] = field(default_factory=dict)
    python_path: str = ""
    process: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        self.environment = {**environment_of(self.service), **_on_free_ports(self.service), **self.changes, "PATH": os.environ["PATH"]}
        if self.python_path:
            self.environment["PYTHONPATH"] = self.python_path
        self.module = f"carlien_{self.service.removesuffix('-org2').replace('-', '_')}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.environment['CARLIEN_GRPC_PORT']}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.service}-{self.environment['CARLIEN_GRPC_PORT']}.log"

    async def migrate(self) -> None:
        """Bring its database up to date."""
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, "migrate", env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )
        assert await process.wait() == 0, self.log.read_text()[-2000:]

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, "serve", env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )
        async with asyncio.timeout(_READY_SECONDS):
            while not await ready(int(self.environment["CARLIEN_METRICS_PORT"])):
                assert self.process.returncode is None, self.log.read_text()[-2000:]
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Ask it to end, as Kubernetes does, and wait until it has."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            assert await self.process.wait() == 0, self.log.read_text()[-2000:]

    async def found(self) -> None:
        """Wait until callers have found it: in a cluster `minReadySeconds` gives them that time."""
        async with asyncio.timeout(_READY_SECONDS):
            while not _ANSWERED(await self._get("/metrics")):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)

    async def _get(self, path: str) -> bytes:
        return await get(int(self.environment["CARLIEN_METRICS_PORT"]), path)


async def get(metrics_port: int, path: str) -> bytes:
    """The answer of a metrics port, empty where there is none."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", metrics_port)
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer
    return b""


async def ready(metrics_port: int) -> bool:
    """What /readyz says."""
    return b" 200 " in (await get(metrics_port, "/readyz")).partition(b"\r\n")[0]


@contextlib.asynccontextmanager
async def replica(service: str, folder: Path, changes: Mapping[str, str] | None = None, python_path: str = "") -> AsyncIterator[Replica]:
    """A ready replica for the block."""
    made = Replica(service, folder, changes or {}, python_path)
    try:
        await made.start()
        yield made
    finally:
        if made.process is not None and made.process.returncode is None:
            made.process.kill()
            await made.process.wait()
