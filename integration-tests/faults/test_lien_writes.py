"""Kill -9 at every stage of a write: nothing acknowledged is lost, nothing is registered twice, all agree afterwards."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import grpc
import pytest
from faults.lien_stack import eventually, frozen, gone, kill, ledger, pid_of
from kafka import KafkaConsumer
from registry_service import RegistryProcess, fresh_vin, registration, running

from carlien.lien.v1 import events_pb2, lien_pb2, lien_service_pb2
from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment
from carlien_lien_registry.adapters.mortgage_asset import MortgageAsset

pytestmark = pytest.mark.faults

_TOPIC = "carlien.lien.event.v1"


@pytest.fixture
async def service(make_database: Callable[[], str], pki: Pki, tmp_path: Path, kafka_bootstrap: str) -> AsyncIterator[RegistryProcess]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    async with running("org1", make_database, pki, tmp_path) as process:
        yield process


@pytest.fixture
async def database(service: RegistryProcess) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(service.dsn)
    yield connection
    await connection.close()


async def answer_after_restart(service: RegistryProcess, request: lien_service_pb2.RegisterLienRequest) -> lien_pb2.Lien:
    """What a caller does who never got an answer: ask again with the same key until there is one."""
    async with asyncio.timeout(90):
        while True:
            try:
                return await service.register(request)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                await asyncio.sleep(0.1)


async def on_chain(vin: str) -> list[str]:
    """Registration numbers of a car by the chain itself, read block by block, one entry per registration."""
    async with ledger() as gateway:
        newest = await gateway.newest_block_number()
        return [
            change.lien.registration_number
            async for block in gateway.blocks(0, newest)
            for transaction in block.transactions
            for change in MortgageAsset.changes(transaction, block.number)
            if change.lien is not None and change.vin == vin and change.kind == "lien.registered"
        ]


def on_topic(vin: str) -> list[str]:
    """Identifiers of all events of a car on the topic, repeats included."""
    consumer = KafkaConsumer(
        _TOPIC, bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"], auto_offset_reset="earliest", consumer_timeout_ms=3000, group_id=None
    )
    try:
        mine = [record for record in consumer if record.key == vin.encode()]
        assert all(events_pb2.LienEvent.FromString(record.value).vin == vin for record in mine)
        return [dict(record.headers)["ce_id"].decode() for record in mine]
    finally:
        consumer.close()


async def assert_registered_once(
    service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]", vin: str, lien: lien_pb2.Lien
) -> None:
    """Chain, read model and topic tell of exactly this registration."""
    assert await on_chain(vin) == [lien.registration_number]
    numbers = await database.fetch("SELECT registration_number FROM lien_versions WHERE vin = $1", vin)
    assert [row[0] for row in numbers] == [lien.registration_number]
    await eventually(lambda: nothing_pending(database), "no envelope waits")

    async def published() -> bool:
        return set(await asyncio.to_thread(on_topic, vin)) == {f"{lien.tx_id}/0"}

    await eventually(published, "the event is on the topic")
    await eventually(lambda: no_details_left(database), "the private details are on the ledger")


async def nothing_pending(database: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return await database.fetchval("SELECT count(*) FROM ledger_writes WHERE state = 'PENDING'") == 0


async def no_details_left(database: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return await database.fetchval("SELECT count(*) FROM private_details") == 0


def send(service: RegistryProcess, vin: str) -> tuple["asyncio.Task[lien_pb2.Lien]", lien_service_pb2.RegisterLienRequest]:
    request = registration(vin, require_first_rank=True)
    return asyncio.create_task(service.register(request)), request


async def test_killed_between_endorsement_and_the_stored_envelope(
    service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    vin = fresh_vin()
    async with database.transaction():
        # Whoever stores an envelope waits here: the transaction is endorsed and not stored, let alone sent.
        await database.execute("LOCK TABLE ledger_writes IN SHARE MODE")
        call, request = send(service, vin)
        await eventually(lambda: waits_for_lock(service.dsn), "the service wants to store the envelope")
        await service.kill()
    assert (await asyncio.gather(call, return_exceptions=True))[0].__class__ is grpc.aio.AioRpcError
    await service.start()
    assert await on_chain(vin) == []
    await assert_registered_once(service, database, vin, await answer_after_restart(service, request))


async def waits_for_lock(dsn: str) -> bool:
    watcher = await asyncpg.connect(dsn)
    try:
        return bool(await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    finally:
        await watcher.close()


async def test_killed_with_the_envelope_stored_and_nothing_ordered(
    service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    vin = fresh_vin()
    with frozen("orderer"):
        call, request = send(service, vin)
        await eventually(lambda: database.fetchval("SELECT count(*) FROM ledger_writes"), "the envelope is stored")
        await service.kill()
    await asyncio.gather(call, return_exceptions=True)
    tx_id = await database.fetchval("SELECT tx_id FROM ledger_writes")
    await service.start()

    # Nobody asks again: the service finishes what it had begun, with the envelope it had stored.
    async def committed() -> bool:
        return await database.fetchval("SELECT state FROM ledger_writes") == "COMMITTED"

    await eventually(committed, "the stored envelope is committed")
    lien = await service.register(request)
    assert lien.tx_id == tx_id
    await assert_registered_once(service, database, vin, lien)


async def test_killed_after_the_commit_before_the_read_model_has_it(
    service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    vin = fresh_vin()
    async with database.transaction():
        await database.execute("LOCK TABLE ledger_checkpoint IN SHARE MODE")
        call, request = send(service, vin)

        async def committed() -> bool:
            return len(await on_chain(vin)) == 1

        await eventually(committed, "the registration is on the chain")
        await service.kill()
    await asyncio.gather(call, return_exceptions=True)
    await service.start()
    await assert_registered_once(service, database, vin, await answer_after_restart(service, request))


async def test_orderer_killed_right_after_it_acknowledged(service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]") -> None:
    vins = [fresh_vin() for _ in range(8)]
    calls = [send(service, vin) for vin in vins]
    await eventually(lambda: database.fetchval("SELECT count(*) FROM ledger_writes"), "an envelope is stored")
    kill("orderer")
    for vin, (call, request) in zip(vins, calls, strict=True):
        result = (await asyncio.gather(call, return_exceptions=True))[0]
        lien = result if isinstance(result, lien_pb2.Lien) else await answer_after_restart(service, request)
        await assert_registered_once(service, database, vin, lien)


@pytest.mark.parametrize("part", ["chaincode-org1", "chaincode-org2"])
async def test_chaincode_killed(service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]", part: str) -> None:
    vins = [fresh_vin() for _ in range(8)]
    calls = [send(service, vin) for vin in vins]
    kill(part)
    # The first ones may have been endorsed in time; these can't have been.
    vins += [fresh_vin() for _ in range(4)]
    calls += [send(service, vin) for vin in vins[len(calls) :]]
    for vin, (call, request) in zip(vins, calls, strict=True):
        result = (await asyncio.gather(call, return_exceptions=True))[0]
        lien = result if isinstance(result, lien_pb2.Lien) else await answer_after_restart(service, request)
        await assert_registered_once(service, database, vin, lien)


async def test_own_peer_gone_for_20_seconds(service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]") -> None:
    vins = [fresh_vin() for _ in range(4)]
    calls = [send(service, vin) for vin in vins]
    async with gone("peer-org1"):
        await asyncio.sleep(20)
    for vin, (call, request) in zip(vins, calls, strict=True):
        result = (await asyncio.gather(call, return_exceptions=True))[0]
        lien = result if isinstance(result, lien_pb2.Lien) else await answer_after_restart(service, request)
        await assert_registered_once(service, database, vin, lien)
    assert service.process is not None
    assert service.process.returncode is None, "the service outlives its peer's absence"


async def test_outbox_relay_killed_with_events_unpublished(
    service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    vins = [fresh_vin() for _ in range(5)]
    with frozen("kafka"):
        liens = [await service.register(registration(vin)) for vin in vins]
        assert await database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") > 0
        await service.kill()
    await service.start()
    for vin, lien in zip(vins, liens, strict=True):
        await assert_registered_once(service, database, vin, lien)


async def test_broker_gone_does_not_stop_registrations(service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]") -> None:
    vins = [fresh_vin() for _ in range(3)]
    async with gone("kafka"):
        liens = [await service.register(registration(vin)) for vin in vins]
    for vin, lien in zip(vins, liens, strict=True):
        await assert_registered_once(service, database, vin, lien)


async def test_database_killed_under_load(service: RegistryProcess, database: "asyncpg.Connection[asyncpg.Record]") -> None:
    vins = [fresh_vin() for _ in range(10)]
    calls = [send(service, vin) for vin in vins]
    await eventually(lambda: database.fetchval("SELECT count(*) FROM ledger_writes"), "an envelope is stored")
    before = pid_of("postgres")
    kill("postgres")
    results = await asyncio.gather(*(call for call, _ in calls), return_exceptions=True)
    await eventually(lambda: pid_of("postgres") != before, "the database is started again")
    for vin, (_, request), result in zip(vins, calls, results, strict=True):
        lien = result if isinstance(result, lien_pb2.Lien) else await answer_after_restart(service, request)
        fresh = await asyncpg.connect(service.dsn)
        try:
            await assert_registered_once(service, fresh, vin, lien)
        finally:
            await fresh.close()
