"""The real service on a real database and broker, with mTLS and the small model."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from carlien.valuation.v1 import model_service_pb2_grpc, valuation_service_pb2_grpc
from carlien_common.domain.clock import fixed
from carlien_common.grpc.credentials import CertificateFiles, channel_credentials
from carlien_common.postgres import migrate
from carlien_common.testing.hostile import assert_serving
from carlien_common.testing.pki import Pki
from carlien_valuation.bootstrap import serve
from carlien_valuation.calibration.model_store import ModelStore
from carlien_valuation.calibration.recalibrate import write_recalibrated
from carlien_valuation.config import ValuationSettings
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.calibration import Shift

NOW = datetime(2026, 7, 1, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Service:
    address: str
    topic: str
    profile_topic: str
    lien_topic: str
    dsn: str
    valuation: valuation_service_pb2_grpc.ValuationServiceStub
    models: model_service_pb2_grpc.ModelServiceStub


@pytest.fixture(scope="package")
async def service(
    make_database: Callable[[], str],
    kafka_bootstrap: str,
    make_topic: Callable[..., str],
    make_settings: Callable[..., ValuationSettings],
    model_directory: Path,
    pki: Pki,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Service]:
    """A running service on a model store with one challenger, called as an originator of its own org."""
    postgres_dsn = make_database()
    await migrate(postgres_dsn, "carlien_valuation")
    store = tmp_path_factory.mktemp("models")
    ModelStore(store).promote(model_directory, None, now=NOW)
    write_recalibrated(model_directory, store / "candidate", {PriceType.WHOLESALE: Shift(-0.1, 0.0, 0.1)}, "c" * 64)
    topic = make_topic("appraisal")
    profile_topic, lien_topic = make_topic("profile"), make_topic("lien")
    settings = make_settings(
        ValuationSettings,
        postgres_dsn=postgres_dsn,
        kafka_bootstrap=kafka_bootstrap,
        model_dir=store / "current",
        appraisal_topic=topic,
        profile_topic=profile_topic,
        lien_topic=lien_topic,
        consumer_group=topic,
    )
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, fixed(NOW), port.set_result))
    either: list[asyncio.Future[Any]] = [task, port]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    address = f"127.0.0.1:{await port}"
    mine = pki.certificate("org1", "originator")
    credentials = channel_credentials(CertificateFiles(mine.certificate, mine.key, mine.authorities))
    async with grpc.aio.secure_channel(address, credentials) as channel:
        for _ in range(600):  # the health service follows the application's readiness
            try:
                await assert_serving(address, pki)
                break
            except AssertionError:
                await asyncio.sleep(0.1)
        yield Service(
            address,
            topic,
            profile_topic,
            lien_topic,
            postgres_dsn,
            valuation_service_pb2_grpc.ValuationServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
