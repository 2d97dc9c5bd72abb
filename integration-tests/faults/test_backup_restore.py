"""A backup taken while the service works is restored into an empty database, on which the service goes on as if nothing had been."""

import asyncio
import contextlib
import random
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
from faults.lien_stack import eventually, local
from operations.load import Load, keep_up
from operations.replicas import environment_of, replica
from operations.stores import contents, postgres_binaries
from operations.work import Work

from loan_scenario.clients import Clients, Stack

pytestmark = pytest.mark.faults

_SCRIPTS = Path(__file__).parents[2] / "deploy" / "operate"
_SERVICES = ("telematics", "lien-registry", "pricing", "valuation")


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    stack = Stack.from_environment()
    clients = Clients(stack)
    addresses = {name: getattr(stack, name.replace("-", "_")) for name in _SERVICES}
    yield Work(lambda service, role: clients.stub(lambda channel: channel, addresses[service], role), random.Random())
    await clients.close()


def _script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(_SCRIPTS / name), *arguments], env=postgres_binaries(), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("service", _SERVICES)
async def test_backup_and_restore(service: str, work: Work, make_database: Callable[[], str], tmp_path: Path) -> None:
    dsn = environment_of(service)["CARLIEN_POSTGRES_DSN"]
    for _ in range(10):
        await _unit(work, service)
    file = tmp_path / "backup"
    done, load = asyncio.Event(), Load()
    # Taken in the midst of work.
    calling = asyncio.create_task(keep_up(lambda _: _unit(work, service), 5.0, done, load))
    backed_up = await asyncio.to_thread(_script, "backup.sh", dsn, str(file))
    done.set()
    await calling
    assert backed_up.returncode == 0, backed_up.stderr
    assert not load.failures
    fresh = make_database()
    restored = await asyncio.to_thread(_script, "restore.sh", str(file), fresh)
    assert restored.returncode == 0, restored.stderr
    again = await asyncio.to_thread(_script, "restore.sh", str(file), fresh)
    assert (again.returncode, "isn't empty" in again.stderr) == (1, True)

    # A second backup of what was restored holds the same, table by table.
    second = tmp_path / "second"
    assert (await asyncio.to_thread(_script, "backup.sh", fresh, str(second))).returncode == 0
    twice = make_database()
    assert (await asyncio.to_thread(_script, "restore.sh", str(second), twice)).returncode == 0
    held = await contents(fresh)
    assert held == await contents(twice)
    assert sum(rows for rows, _ in held.values()) > 10

    # The one whose place it takes must not work beside it: both would read the same topics as one group.
    async with stopped(service), replica(service, tmp_path, {"CARLIEN_POSTGRES_DSN": fresh}):
        if service == "lien-registry":
            # What was registered after the backup comes from the ledger.
            await eventually(lambda: _same_liens(dsn, fresh), "the read model catches up with the ledger")


@contextlib.asynccontextmanager
async def stopped(service: str) -> AsyncIterator[None]:
    await local("stop", service)
    try:
        yield
    finally:
        await local("start", service)


async def _unit(work: Work, service: str) -> None:
    await {"telematics": work.device, "lien-registry": work.register, "pricing": work.quote, "valuation": work.appraise}[service]()


async def _same_liens(one: str, other: str) -> bool:
    found = []
    for dsn in (one, other):
        connection = await asyncpg.connect(dsn)
        found.append({tuple(row) for row in await connection.fetch("SELECT registration_number, vin FROM lien_versions")})
        await connection.close()
    return found[0] == found[1]
