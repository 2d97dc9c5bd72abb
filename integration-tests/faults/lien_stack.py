"""Ends and freezes parts of the stack in the environment, and looks at chain, read model and topic from outside."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg

# The service as a process comes from the service's own contract tests.
sys.path.insert(0, str(Path(__file__).parents[2] / "services/lien-registry/tests/contract"))

from carlien_lien_registry.adapters.fabric import Gateway, Identity, LocalSigner, Peer, PeerPool, TlsOptions

_AWAIT_SECONDS = 90.0


def state() -> Path:
    """The state directory of the stack in the environment."""
    return Path(os.environ["CARLIEN_PKI"]).parent


def pid_of(part: str) -> int:
    return int((state() / "run" / f"{part}.pid").read_text())


@contextlib.contextmanager
def frozen(part: str) -> Iterator[None]:
    """Stop a part's process in its tracks and let it go on afterwards."""
    pid = pid_of(part)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def kill(part: str) -> None:
    """Kill -9; the stack's supervisor starts it again."""
    os.kill(pid_of(part), signal.SIGKILL)


@contextlib.asynccontextmanager
async def gone(part: str) -> AsyncIterator[None]:
    """Kill -9 a part and keep it away inside the block."""
    await local("stop", "--kill", part)
    try:
        yield
    finally:
        await local("start", part)


async def local(*arguments: str) -> None:
    command = Path(sys.executable).parent / "carlien-local"
    process = await asyncio.create_subprocess_exec(str(command), "--state", str(state()), *arguments)
    assert await process.wait() == 0, arguments


async def eventually(holds: Callable[[], object], what: str) -> None:
    """Await a condition; `holds` may be a coroutine function."""
    async with asyncio.timeout(_AWAIT_SECONDS):
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                found = holds()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
            await asyncio.sleep(0.05)
    raise AssertionError(what)


def _bytes(file: str) -> bytes:
    return Path(file).read_bytes()


@contextlib.asynccontextmanager
async def ledger(org: str = "org1") -> AsyncIterator[Gateway]:
    """A client of the chain that isn't the service's."""
    env, prefix = os.environ, f"FABRIC_{org.upper()}"
    peer = Peer(env[f"{prefix}_PEER_ADDRESS"], TlsOptions(_bytes(env[f"{prefix}_TLS_CA_FILE"])))
    identity = Identity.from_file(env[f"{prefix}_MSP_ID"], Path(env[f"{prefix}_CERT_FILE"]))
    signer = LocalSigner.from_file(Path(env[f"{prefix}_KEY_FILE"]))
    gateway = Gateway(PeerPool([peer]), identity, signer, env["FABRIC_CHANNEL"], env["FABRIC_CHAINCODE"])
    try:
        yield gateway
    finally:
        await gateway.close()
