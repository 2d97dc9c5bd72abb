"""From the previous release to this one while callers work: migrate, start the new beside the old, stop the old.

The previous release is a commit of this repository; its code runs from an archive of it, against the same broker, ledger and a
database that its own migrations made and its own work filled.
"""

import asyncio
import contextlib
import io
import json
import logging
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from faults.lien_stack import eventually, local
from operations.load import Load, keep_up
from operations.replicas import Replica, environment_of, free_port
from operations.topics import APPRAISALS, LIENS, QUOTES, Reader
from operations.work import SERVICE_NAMES, Work

from carlien_common.grpc.client import service_config

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

log = logging.getLogger(__name__)
REPOSITORY = Path(__file__).parents[2]
# The end of the first session: everything of issue 3 is on it.
PREVIOUS_RELEASE = "6ff685d"
RATE = 10.0
ROLES = ("originator", "collections", "device-ingest")


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH of the previous release."""
    folder = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(
        ["git", "archive", PREVIOUS_RELEASE, "services", "protos/gen"], cwd=REPOSITORY, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return ":".join(map(str, (*sorted(folder.glob("services/*/src")), folder / "protos/gen")))


def _model_of(python_path: str, folder: Path) -> Path:
    """A model of that release: CARLIEN_PREVIOUS_MODEL_DIR, or one it trains here on cars it makes up."""
    if given := os.environ.get("CARLIEN_PREVIOUS_MODEL_DIR"):
        return Path(given)
    run = [sys.executable, "-c", "from carlien_valuation.cli import main; raise SystemExit(main())"]
    environment = {**os.environ, "PYTHONPATH": python_path}
    sample, model = folder / "sample", folder / "model"
    subprocess.run([*run, "sample-data", "--out", str(sample), "--seed", "1"], env=environment, check=True, capture_output=True)
    train = ["train", "--listings", str(sample / "listings.csv"), "--mapping", str(sample / "mapping.yaml"), "--out", str(model), "--quick"]
    subprocess.run([*run, *train, "--seed", "1"], env=environment, check=True, capture_output=True)
    return model


@contextlib.asynccontextmanager
async def _channels(pki: Path, ports: tuple[str, str]) -> AsyncIterator[Callable[[str, str], grpc.aio.Channel]]:
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    options = [
        ("grpc.service_config", json.dumps(service_config(SERVICE_NAMES))),
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    made = {}
    for role in ROLES:
        mine = pki / "org1" / role
        credentials = grpc.ssl_channel_credentials(
            (pki / "ca.crt").read_bytes(), mine.with_suffix(".key").read_bytes(), mine.with_suffix(".crt").read_bytes()
        )
        made[role] = grpc.aio.secure_channel(target, credentials, options)
    yield lambda _, role: made[role]
    for channel in made.values():
        await channel.close()


def _unit(work: Work, service: str) -> Callable[[int], Awaitable[None]]:
    async def call(number: int) -> None:
        if service == "pricing":
            # A quote has three other services work for it.
            await (work.quote() if number % 5 == 0 else work.rate_cap())
        else:
            await {"telematics": work.device, "lien-registry": work.register, "valuation": work.appraise}[service]()

    return call


@pytest.mark.parametrize("service", ["telematics", "lien-registry", "pricing", "valuation"])
async def test_upgrade(service: str, previous: str, make_database: Callable[[], str], tmp_path: Path) -> None:
    stack = environment_of(service)
    database = make_database()
    ports = (str(free_port()), str(free_port()))
    common = {"CARLIEN_POSTGRES_DSN": database, "CARLIEN_STOP_DRAIN_S": "1"}
    # A model directory belongs to the release that trained it.
    model = {"CARLIEN_MODEL_DIR": str(await asyncio.to_thread(_model_of, previous, tmp_path))} if service == "valuation" else {}
    old = Replica(service, tmp_path, {**common, **model, "CARLIEN_GRPC_PORT": ports[0]}, previous)
    new = Replica(service, tmp_path, {**common, "CARLIEN_GRPC_PORT": ports[1]})
    reader = await asyncio.to_thread(Reader, stack["CARLIEN_KAFKA_BOOTSTRAP"], (APPRAISALS, LIENS, QUOTES))
    # The stack's own process would share the consumer groups.
    await local("stop", service)
    try:
        await old.migrate()
        await old.start()
        async with _channels(Path(stack["CARLIEN_TLS_CA_FILE"]).parent, ports) as connect:
            work, load, done = Work(connect, random.Random()), Load(), asyncio.Event()
            call = _unit(work, service)
            for number in range(20):
                await call(number)
            calling = asyncio.create_task(keep_up(call, RATE, done, load))
            await new.migrate()
            await new.start()
            await new.found()
            await old.stop()
            await load.goes_on(RATE)
            done.set()
            await calling
        log.info("%s: %d calls during the upgrade, failed: %s", service, load.sent, dict(load.codes))
        assert not load.failures, load.codes

        async def told() -> bool:
            return not any(work.account.missing(await asyncio.to_thread(reader.read)).values())

        await eventually(told, "every change has its event")
        await new.stop()
    finally:
        for process in (old.process, new.process):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        await local("start", service)
