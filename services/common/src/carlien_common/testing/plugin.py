"""Fixtures for every part's tests. Addresses come from the environment that the local stack writes (`source .local/env`).

Without an address PostgreSQL and Kafka come from containers where a Docker engine answers and has their images
(`make test-containers`); else a test that needs them is skipped, saying so, and with CARLIEN_TEST_STRICT=1 (as in `make test`) fails.
Heavy imports are inside: pytest loads this module in every run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit, urlunsplit

import pytest

if TYPE_CHECKING:
    from carlien_common.config import ServiceSettings
    from carlien_common.testing.pki import Pki

T = TypeVar("T")


def pytest_configure(config: pytest.Config) -> None:
    """Two habits of kafka-python 3.0.12 that aren't ours to mend; every other warning stays an error.

    It reads its schemas with deprecated functions when it's imported, and a closed client now and then leaves a socket to the
    garbage collector.
    """
    config.addinivalue_line("filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning")
    config.addinivalue_line("filterwarnings", "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
    # Those that the last collection of all finds are looked at by filters that pytest took in before the lines above.
    warnings.filterwarnings("ignore", "Exception ignored in. <socket.socket", pytest.PytestUnraisableExceptionWarning)


def unavailable(what: str) -> NoReturn:
    """Skips, or fails when the stack should be there."""
    if os.environ.get("CARLIEN_TEST_STRICT"):
        pytest.fail(f"{what} is needed and isn't there", pytrace=False)
    pytest.skip(f"{what} isn't there")


def from_environment(name: str) -> str:
    """An address of the local stack."""
    value = os.environ.get(name)
    if not value:
        unavailable(f"${name} (source .local/env)")
    return value


def in_thread(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine for a synchronous fixture, on a loop of its own that doesn't disturb pytest-asyncio's."""
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _dependency(name: str, image: str, start: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """An address from the environment, else of a container, else none."""
    from carlien_common.testing import containers

    if os.environ.get(name) or not containers.available(image):
        yield from_environment(name)
        return
    with start() as address:
        # Some tests start processes that look there.
        os.environ[name] = address
        yield address
        del os.environ[name]


@pytest.fixture(scope="session")
def postgres_admin_dsn() -> Iterator[str]:
    """A role that may create databases."""
    from carlien_common.testing import containers

    yield from _dependency("POSTGRES_ADMIN_DSN", containers.POSTGRES, containers.postgres)


@pytest.fixture(scope="session")
def make_database(postgres_admin_dsn: str) -> Iterator[Callable[[], str]]:
    """Makes fresh, empty databases and returns their DSNs; all are dropped at the end."""
    import asyncpg

    made: list[str] = []

    async def execute(*statements: str) -> None:
        connection = await asyncpg.connect(postgres_admin_dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def make() -> str:
        name = f"test_{secrets.token_hex(6)}"
        in_thread(lambda: execute(f'CREATE DATABASE "{name}"'))
        made.append(name)
        return urlunsplit(urlsplit(postgres_admin_dsn)._replace(path=f"/{name}"))

    async def drop() -> None:
        # Side by side: each waits for a checkpoint, and one checkpoint does for all.
        await asyncio.gather(*(execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)') for name in made))

    yield make
    in_thread(drop)


@pytest.fixture(scope="module")
def postgres_dsn(make_database: Callable[[], str]) -> str:
    """A fresh, empty database for the module; `migrate(postgres_dsn, "carlien_x")` fills it."""
    return make_database()


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The broker."""
    from carlien_common.testing import containers

    yield from _dependency("KAFKA_BOOTSTRAP", containers.KAFKA, containers.kafka)


@pytest.fixture(scope="session")
def make_topic(kafka_bootstrap: str) -> Iterator[Callable[..., str]]:
    """make_topic("frames", partitions=3): a fresh topic and its .dlq, with one replica; deleted at the end. Returns the name."""
    from kafka import KafkaAdminClient

    def admin() -> contextlib.closing[KafkaAdminClient]:
        # A new one each time: one that saw the broker killed by a test doesn't find its way back.
        return contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka_bootstrap, client_id="carlien-tests"))

    made: list[str] = []

    def make(name: str = "topic", partitions: int = 1) -> str:
        topic = f"test.{secrets.token_hex(4)}.{name}"
        options = {"num_partitions": partitions, "replication_factor": 1}
        with admin() as client:
            client.create_topics({topic: options, f"{topic}.dlq": {**options, "num_partitions": 1}}, wait_for_metadata=True)
        made.extend([topic, f"{topic}.dlq"])
        return topic

    yield make
    if made:
        with admin() as client:
            client.delete_topics(made, raise_errors=False)


@pytest.fixture
def kafka_litter() -> Iterator[None]:
    """For tests that take the broker away: kafka-python leaves the sockets of refused connections to the garbage collector.

    Collected here, where they are expected: pytest can't take what a later collection finds in the middle of something else.
    """
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
        gc.collect()


@pytest.fixture
def unique_group() -> str:
    """A consumer group nobody else is in."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A CA of this test run; see carlien_common.testing.pki.Pki."""
    from carlien_common.testing.pki import Pki

    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def make_settings(pki: Pki) -> Callable[..., ServiceSettings]:
    """make_settings(PricingSettings, postgres_dsn=…, valuation_address=…): settings of org1 with certificates and free ports.

    Broker and database have addresses that answer nothing unless given or in the environment.
    """
    from carlien_common.config import ServiceSettings

    def make(cls: type[ServiceSettings] = ServiceSettings, **values: Any) -> ServiceSettings:
        mine = pki.certificate("org1", "service")
        defaults: dict[str, Any] = {
            "org": "org1",
            "msp_id": "Org1MSP",
            "grpc_host": "127.0.0.1",
            "grpc_port": 0,
            "metrics_port": 0,
            "postgres_dsn": os.environ.get("POSTGRES_ADMIN_DSN", "postgresql://127.0.0.1:1/none"),
            "kafka_bootstrap": os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:1"),
            "tls_cert_file": mine.certificate,
            "tls_key_file": mine.key,
            "tls_ca_file": mine.authorities,
            "stop_drain_s": 0.0,
            "stop_grace_s": 5.0,
        }
        return cls(**{**defaults, **values})

    return make


@pytest.fixture(scope="session")
def carlien_data(pytestconfig: pytest.Config) -> Path:
    """The folder of real data: $CARLIEN_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("CARLIEN_DATA") or pytestconfig.rootpath.parent / "shared" / "data")
    if not folder.is_dir():
        # Data can't be had everywhere, so not even a strict run fails without.
        pytest.skip("real data aren't there ($CARLIEN_DATA)")
    return folder
