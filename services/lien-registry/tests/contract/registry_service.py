"""The service as a process of its own, and callers of it. Shared by contract tests, faults and benchmarks."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.type import money_pb2

from carlien.lien.v1 import (
    lien_pb2,
    lien_service_pb2,
    lien_service_pb2_grpc,
    search_service_pb2_grpc,
    title_service_pb2_grpc,
)
from carlien_common.domain.vin import check_digit
from carlien_common.grpc import errors
from carlien_common.testing.pki import Pki

T = TypeVar("T")

CONSORTIUM_KEY = bytes(range(32))
_START_SECONDS = 60.0
_DEADLINE_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fresh_vin() -> str:
    """A well-formed Chinese VIN that no test has used."""
    digits = str(uuid.uuid4().int)
    vin = f"LSVAA418_{digits[7]}2{digits[:6]}"
    for letter in "0123456789X":
        candidate = vin.replace("_", letter)
        if check_digit(candidate) == letter:
            return candidate
    raise AssertionError("every VIN has a check digit")


def key() -> str:
    return str(uuid.uuid4())


def debtor() -> lien_pb2.Debtor:
    return lien_pb2.Debtor(id_type="USCC", id_number="91310000MA1FL0000X", name="示例商贸有限公司")


def registration(vin: str, **fields: Any) -> lien_service_pb2.RegisterLienRequest:
    values: dict[str, Any] = {
        "vin": vin,
        "lien_class": lien_pb2.LIEN_CLASS_MORTGAGE,
        "secured_amount": money_pb2.Money(currency_code="CNY", units=30_000),
        "debtor": debtor(),
        "contract_hash": hashlib.sha256(vin.encode()).hexdigest(),
        "idempotency_key": key(),
    }
    return lien_service_pb2.RegisterLienRequest(**{**values, **fields})


def ledger_environment(org: str) -> dict[str, str]:
    """The service's CARLIEN_FABRIC_* variables for an organisation of the stack in the environment."""
    env, prefix = os.environ, f"FABRIC_{org.upper()}"
    return {
        "CARLIEN_FABRIC_PEER_ADDRESSES": env[f"{prefix}_PEER_ADDRESS"],
        "CARLIEN_FABRIC_TLS_CA_FILE": env[f"{prefix}_TLS_CA_FILE"],
        "CARLIEN_FABRIC_CERT_FILE": env[f"{prefix}_CERT_FILE"],
        "CARLIEN_FABRIC_KEY_FILE": env[f"{prefix}_KEY_FILE"],
        "CARLIEN_FABRIC_REGISTRAR_CERT_FILE": env[f"{prefix}_REGISTRAR_CERT_FILE"],
        "CARLIEN_FABRIC_REGISTRAR_KEY_FILE": env[f"{prefix}_REGISTRAR_KEY_FILE"],
        "CARLIEN_FABRIC_CHANNEL": env["FABRIC_CHANNEL"],
        "CARLIEN_FABRIC_CHAINCODE": env["FABRIC_CHAINCODE"],
        "CARLIEN_MSP_ID": env[f"{prefix}_MSP_ID"],
    }


@dataclass
class RegistryProcess:
    """One `python -m carlien_lien_registry`: killed and started again at will, always on the same ports and database."""

    org: str
    dsn: str
    pki: Pki
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def migrate(self) -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "carlien_lien_registry", "migrate", env=self._environment())
        assert await process.wait() == 0

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        log = (self.folder / f"{self.org}-{self.port}.log").open("ab")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "carlien_lien_registry", env=self._environment(), stdout=log, stderr=log
            )
        async with asyncio.timeout(_START_SECONDS):
            while not await self._ready():
                assert self.process.returncode is None, f"the service ended, see {log.name}"
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """End it the hard way."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        self.process = None

    async def stop(self) -> None:
        """End it in good order, and the channels to it."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            await self.process.wait()
            self.process = None

    def liens(self, role: str = "originator") -> "lien_service_pb2_grpc.LienServiceAsyncStub":
        return lien_service_pb2_grpc.LienServiceStub(self.channel(role))

    def titles(self, role: str = "registrar") -> "title_service_pb2_grpc.TitleServiceAsyncStub":
        return title_service_pb2_grpc.TitleServiceStub(self.channel(role))

    def searches(self, role: str = "originator") -> "search_service_pb2_grpc.SearchServiceAsyncStub":
        return search_service_pb2_grpc.SearchServiceStub(self.channel(role))

    def channel(self, role: str) -> grpc.aio.Channel:
        if role not in self._channels:
            mine = self.pki.certificate(self.org, role)
            credentials = grpc.ssl_channel_credentials(mine.authorities.read_bytes(), mine.key.read_bytes(), mine.certificate.read_bytes())
            options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
            self._channels[role] = grpc.aio.secure_channel(self.address, credentials, options)
        return self._channels[role]

    async def register(self, request: lien_service_pb2.RegisterLienRequest) -> lien_pb2.Lien:
        return (await self.liens().RegisterLien(request, timeout=_DEADLINE_SECONDS)).lien

    async def discharge(self, number: str, idempotency_key: str = "") -> lien_pb2.Lien:
        request = lien_service_pb2.DischargeLienRequest(
            registration_number=number, reason="PAID_OFF", idempotency_key=idempotency_key or key()
        )
        return (await self.liens().DischargeLien(request, timeout=_DEADLINE_SECONDS)).lien

    def _environment(self) -> dict[str, str]:
        mine = self.pki.certificate(self.org, "service")
        keys = self.folder / "consortium.key"
        if not keys.exists():
            keys.write_text(f"1:{CONSORTIUM_KEY.hex()}\n")
        return {
            "PATH": os.environ["PATH"],
            "CARLIEN_ORG": self.org,
            "CARLIEN_GRPC_HOST": "127.0.0.1",
            "CARLIEN_GRPC_PORT": str(self.port),
            "CARLIEN_METRICS_PORT": str(self.metrics_port),
            "CARLIEN_POSTGRES_DSN": self.dsn,
            "CARLIEN_KAFKA_BOOTSTRAP": os.environ["KAFKA_BOOTSTRAP"],
            "CARLIEN_TLS_CERT_FILE": str(mine.certificate),
            "CARLIEN_TLS_KEY_FILE": str(mine.key),
            "CARLIEN_TLS_CA_FILE": str(mine.authorities),
            "CARLIEN_CONSORTIUM_KEY_FILE": str(keys),
            "CARLIEN_REFLECTION": "true",
            "CARLIEN_STOP_DRAIN_S": "0",
            **ledger_environment(self.org),
            **self.environment,
        }

    async def _ready(self) -> bool:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.metrics_port)
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return b" 200 " in line
        return False


@contextlib.asynccontextmanager
async def running(
    org: str, make_database: Callable[[], str], pki: Pki, folder: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[RegistryProcess]:
    """The service of an organisation on a fresh database, up to date with the ledger."""
    service = RegistryProcess(org, make_database(), pki, folder, environment or {})
    await service.migrate()
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def refusal(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Status, reason and metadata of a refused call."""
    known = errors.unpack(error.code(), error.details() or "", error.trailing_metadata())
    return (error.code(), known.reason, known.metadata) if known else (error.code(), "", {})


def lien_argument(vin: str = "", **fields: Any) -> bytes:
    """What the chaincode's RegisterLien takes, with a fresh car unless one is named."""
    values = {
        "vin": vin or fresh_vin(),
        "lien_class": "MORTGAGE",
        "secured_amount": "1000.00",
        "currency": "CNY",
        "details_hash": "a" * 64,
        "debtor_hash": "k1:" + "b" * 64,
    }
    return json.dumps({**values, **fields}, ensure_ascii=False).encode()
