"""The read model on a real PostgreSQL, fed with blocks of ours."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_builders import VIN, at, block, block_hash, discharged, issued, registered
from registry_tree import FakeTreeStore

from carlien.lien.v1 import events_pb2
from carlien_common.domain.errors import precondition
from carlien_common.postgres import Pool, migrate
from carlien_lien_registry.adapters.postgres.alerts import PostgresReminders
from carlien_lien_registry.adapters.postgres.certificates import PostgresCertificates
from carlien_lien_registry.adapters.postgres.details import PostgresDetails
from carlien_lien_registry.adapters.postgres.projection import PostgresProjection
from carlien_lien_registry.adapters.postgres.reading import PostgresReader
from carlien_lien_registry.adapters.postgres.tree import PostgresTree, entries_as_of
from carlien_lien_registry.adapters.postgres.writes import PostgresWrites
from carlien_lien_registry.domain.liens import Position
from carlien_lien_registry.service.ports import (
    CheckpointMoved,
    Endorsed,
    FollowedBlock,
    LedgerCall,
    LedgerForked,
    Outcome,
    SearchSubject,
    WriteRequest,
    WriteState,
)
from carlien_lien_registry.wire import event_to_proto


@pytest.fixture(scope="module")
async def pool(make_database: Callable[[], str]) -> AsyncIterator[Pool]:
    dsn = make_database()
    await migrate(dsn, "carlien_lien_registry")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4, server_settings={"timezone": "UTC"}) as made:
        yield made


@pytest.fixture
async def projection(pool: Pool) -> PostgresProjection:
    await pool.execute(
        "TRUNCATE lien_versions, title_versions, record_versions, tree_entries, tree_changes, anchors, outbox, ledger_writes, "
        "private_details, certificates"
    )
    await pool.execute("UPDATE ledger_checkpoint SET block_number = -1, block_hash = '', events_block = -1")
    return PostgresProjection(pool, event_to_proto, "/org1/lien-registry", "Org1MSP")


async def test_a_block_s_changes_are_there_with_their_events_and_checkpoint(pool: Pool, projection: PostgresProjection) -> None:
    first = registered("L1", 1)
    await projection.apply([block(0, issued(VIN, 0)), block(1, first)])
    reader = PostgresReader(pool)
    assert await reader.lien("L1") == first.lien
    assert await reader.title(VIN) == issued(VIN, 0).title
    assert await reader.changes_of(first.tx_id) == (first,)
    assert (await projection.checkpoint()).block_number == 1
    rows = await pool.fetch("SELECT ce_id, key, value, ce_type FROM outbox ORDER BY id")
    assert [row["ce_id"] for row in rows] == [f"{issued(VIN, 0).tx_id}/0", f"{first.tx_id}/0"]
    assert {row["key"] for row in rows} == {VIN}
    event = events_pb2.LienEvent.FromString(rows[1]["value"])
    assert (event.change, event.lien.registration_number, event.block_number) == ("lien.registered", "L1", 1)


async def test_applying_a_block_twice_changes_nothing(pool: Pool, projection: PostgresProjection) -> None:
    blocks = [block(0, registered("L1", 0)), block(1)]
    await projection.apply(blocks)
    await projection.apply(blocks)
    await asyncio.gather(*(projection.apply([block(2, registered("L2", 2))]) for _ in range(4)))
    assert await pool.fetchval("SELECT count(*) FROM lien_versions") == 2
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 2


async def test_a_block_of_another_chain_is_refused(projection: PostgresProjection) -> None:
    await projection.apply([block(0)])
    with pytest.raises(LedgerForked, match="follows"):
        await projection.apply([block(1), block(3)])
    with pytest.raises(CheckpointMoved):
        await projection.apply([block(2)])
    stranger = block(1)
    with pytest.raises(LedgerForked, match="doesn't name"):
        await projection.apply([type(stranger)(1, b"another block", stranger.header_hash, ())])


async def test_invalid_transactions_change_nothing(pool: Pool, projection: PostgresProjection) -> None:
    await projection.apply([block(0, invalid=("f" * 64,))])
    assert await pool.fetchval("SELECT count(*) FROM lien_versions") == 0


async def test_what_was_registered_and_known_at_a_time(pool: Pool, projection: PostgresProjection) -> None:
    first, second = registered("L1", 1), registered("L2", 3)
    await projection.apply([block(0), block(1, first), block(2, discharged(first, 2)), block(3, second)])
    reader = PostgresReader(pool)
    subject = SearchSubject("vin", VIN)

    async def found(as_of: dt.datetime | None) -> list[tuple[str, bool]]:
        return [(lien.registration_number, lien.discharged) for lien in (await reader.search(subject, as_of)).liens]

    assert await found(at(0)) == []
    assert await found(at(1)) == [("L1", False)]
    assert await found(at(2)) == [("L1", True)]
    assert await found(None) == [("L1", True), ("L2", False)]
    assert [change.kind for change in await reader.history("L1")] == ["lien.registered", "lien.discharged"]


async def test_searches_by_similar_serial_debtor_and_number(pool: Pool, projection: PostgresProjection) -> None:
    other_vin, debtor = "LSVAA4182E2184B47", "k1:" + "c" * 64
    await projection.apply([block(0, registered("L1", 0), registered("L2", 0, 1, vin=other_vin, debtor_hash=debtor))])
    reader = PostgresReader(pool)

    async def numbers(subject: SearchSubject) -> list[str]:
        return [lien.registration_number for lien in (await reader.search(subject, None)).liens]

    assert await numbers(SearchSubject("search_key", "184847")) == ["L1", "L2"]
    assert await numbers(SearchSubject("debtor", ["k2:" + "0" * 64, debtor])) == ["L2"]
    assert await numbers(SearchSubject("registration_number", "L1")) == ["L1"]
    assert await numbers(SearchSubject("vin", "LSVAA4182E2184999")) == []


async def test_nothing_found_still_says_as_of_which_block(pool: Pool, projection: PostgresProjection) -> None:
    await projection.apply([block(0), block(1)])
    found = await PostgresReader(pool).search(SearchSubject("vin", VIN), None)
    assert (found.liens, found.as_of_block) == ((), 1)


async def test_a_rebuild_gives_the_same_read_model_and_emits_nothing_again(pool: Pool, projection: PostgresProjection) -> None:
    first = registered("L1", 1)
    blocks = [block(0, issued(VIN, 0)), block(1, first, registered("L2", 1, 1)), block(2, discharged(first, 2))]
    for one in blocks:
        await projection.apply([one])
    before = await pool.fetch("SELECT * FROM lien_versions ORDER BY registration_number, block_number")
    await projection.reset()
    await projection.apply(blocks)
    assert await pool.fetch("SELECT * FROM lien_versions ORDER BY registration_number, block_number") == before
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12), st.lists(st.integers(1, 4), max_size=12))
async def test_how_blocks_are_batched_does_not_matter(
    pool: Pool, projection: PostgresProjection, steps: list[tuple[int, bool]], cuts: list[int]
) -> None:
    await projection.reset()
    latest, blocks = {}, []
    for number, (lien, discharge) in enumerate(steps):
        name, change = f"L{lien}", None
        if name not in latest:
            change = registered(name, number)
        elif discharge:
            change = discharged(latest[name], number)
        if change is not None:
            latest[name] = change
        blocks.append(block(number, *([change] if change else [])))
    rest = list(blocks)
    for cut in [*cuts, len(blocks)]:
        batch, rest = rest[:cut], rest[cut:]
        if batch:
            await projection.apply(batch)
    reader = PostgresReader(pool)
    current = "SELECT count(*) FROM lien_versions WHERE registration_number = $1 AND superseded_block IS NULL"
    for name, change in latest.items():
        assert await reader.lien(name) == change.lien
        assert await pool.fetchval(current, name) == 1


# -- writes --------------------------------------------------------------------------------------------------------


def _request(key: str, details: tuple[bytes, ...] = ()) -> WriteRequest:
    return WriteRequest("org1", "LienService/RegisterLien", key, b"f" * 32, LedgerCall("RegisterLien", ("{}",)), details)


async def test_of_two_processes_with_one_key_one_envelope_wins(pool: Pool, projection: PostgresProjection) -> None:
    store = PostgresWrites(pool)
    writes = await asyncio.gather(*(store.begin(_request("k"), Endorsed(f"tx{number}", b"e")) for number in range(4)))
    assert len({write.endorsed.tx_id for write in writes}) == 1
    assert len(await store.pending(dt.timedelta(0), 10)) == 1
    assert await store.pending(dt.timedelta(hours=1), 10) == []


async def test_a_write_s_life(pool: Pool, projection: PostgresProjection) -> None:
    store = PostgresWrites(pool)
    write = await store.begin(_request("k"), Endorsed("tx1", b"one"))
    again = await store.replace(write, Endorsed("tx2", b"two"))
    assert (again.attempt, again.endorsed.tx_id) == (2, "tx2")
    # Another process still holds the old envelope: it can't put its own in, it learns of the newer one.
    assert (await store.replace(write, Endorsed("tx3", b"three"))).endorsed.tx_id == "tx2"
    await store.fail(again, precondition("FIRST_RANK_TAKEN", "taken", registration_number="L1"))
    failed = await store.reload(again)
    assert failed.state is WriteState.FAILED
    assert failed.error is not None
    assert failed.error.metadata == {"registration_number": "L1"}
    anew = await store.begin(_request("k"), Endorsed("tx4", b"four"))
    assert (anew.state, anew.attempt, anew.error) == (WriteState.PENDING, 1, None)


async def test_the_projection_marks_a_write_committed_and_its_details_due(pool: Pool, projection: PostgresProjection) -> None:
    change = registered("L1", 0, details_hash=hashlib.sha256(b"private").hexdigest())
    store, details = PostgresWrites(pool), PostgresDetails(pool)
    write = await store.begin(_request("k", (b"private",)), Endorsed(change.tx_id, b"e"))
    assert await details.due(5, again=False) == []
    await projection.apply([block(0, change)])
    committed = await store.reload(write)
    assert (committed.state, committed.block_number) == (WriteState.COMMITTED, 0)
    due = await details.due(5, again=False)
    assert [(one.registration_number, one.details) for one in due] == [("L1", b"private")]
    assert await details.due(5, again=False) == [], "another replica would send them a second time"
    await details.later(due, dt.timedelta(0))
    assert await details.due(5, again=False) == [], "what failed is no longer sent with others"
    assert [one.tries for one in await details.due(5, again=True)] == [1]
    await details.done(due)
    assert await details.count() == 0


async def test_details_of_what_was_refused_in_a_batch_go_once_its_block_is_read(pool: Pool, projection: PostgresProjection) -> None:
    change = registered("L1", 0, details_hash=hashlib.sha256(b"private").hexdigest())
    store, details = PostgresWrites(pool), PostgresDetails(pool)
    await store.begin(_request("k", (b"private", b"refused")), Endorsed(change.tx_id, b"e"))
    await projection.apply([block(0, change)])
    await projection.reset()
    assert await details.due(5, again=False) == []
    assert await details.count() == 2, "while the read model is rebuilt nothing is known"
    await projection.apply([block(0, change)])
    assert [one.details for one in await details.due(5, again=False)] == [b"private"]
    assert await details.count() == 1


async def test_no_more_details_are_due_at_once_than_asked_for(pool: Pool, projection: PostgresProjection) -> None:
    secrets = [f"private {number}".encode() for number in range(30)]
    changes = [registered(f"L{number}", 0, details_hash=hashlib.sha256(one).hexdigest()) for number, one in enumerate(secrets)]
    together = [replace(change, tx_id="tx", position=Position(0, 0, place)) for place, change in enumerate(changes)]
    store, details = PostgresWrites(pool), PostgresDetails(pool)
    # What the planner sees after a quiet night: then it ran a subquery with a limit once per row.
    await store.begin(_request("before", (b"other",)), Endorsed("tx0", b"e"))
    await pool.execute("ANALYZE private_details")
    await store.begin(_request("k", tuple(secrets)), Endorsed("tx", b"e"))
    await projection.apply([FollowedBlock(0, b"", block_hash(0), (Outcome("tx", "VALID", 0, 0, tuple(together)),))])
    assert [len(await details.due(4, again=False)) for _ in range(9)] == [4] * 7 + [2, 0]


async def test_certificate_numbers_are_never_given_twice(pool: Pool, projection: PostgresProjection) -> None:
    stores = [PostgresCertificates(pool, "org1") for _ in range(3)]
    numbers = await asyncio.gather(*(store.next_number() for store in stores for _ in range(150)))
    assert len(set(numbers)) == 450
    await stores[0].put(numbers[0], at(0), b"signed")
    assert await stores[1].get(numbers[0]) == b"signed"
    assert await stores[1].get("ORG1-999999999999") is None


# -- alerts --------------------------------------------------------------------------------------------------------


async def _alerts(pool: Pool) -> list[events_pb2.LienAlert]:
    rows = await pool.fetch("SELECT value FROM outbox WHERE topic = 'carlien.lien.alert.v1' ORDER BY id")
    return [events_pb2.LienAlert.FromString(row["value"]) for row in rows]


async def test_what_others_change_on_a_car_of_ours_alerts_once(pool: Pool, projection: PostgresProjection) -> None:
    ours, theirs = registered("L1", 1), registered("L2", 2, secured_party_msp_id="Org2MSP")
    elsewhere = registered("L3", 2, 1, vin="LSVAA4182E2184841", secured_party_msp_id="Org2MSP")
    blocks = [block(0), block(1, ours), block(2, theirs, elsewhere), block(3, discharged(ours, 3)), block(4, discharged(theirs, 4))]
    for one in blocks:
        await projection.apply([one])
    (alert,) = await _alerts(pool)
    assert (alert.kind, alert.change, alert.registration_number) == (events_pb2.ALERT_KIND_CHANGE, "lien.registered", "L1")
    assert (alert.other_registration_number, alert.vin, alert.block_number, alert.tx_id) == ("L2", VIN, 2, theirs.tx_id)
    await projection.reset()
    await projection.apply(blocks)
    assert len(await _alerts(pool)) == 1, "a rebuild alerts of nothing again"


async def test_reminders_come_nearer_and_each_comes_once(pool: Pool, projection: PostgresProjection) -> None:
    await pool.execute("TRUNCATE reminders")
    ends = at(0) + dt.timedelta(days=100)
    other = registered("L2", 1, 1, vin="LSVAA4182E2184841", expires_at=ends, secured_party_msp_id="Org2MSP")
    ended = registered("L3", 1, 2, expires_at=ends)
    await projection.apply([block(0), block(1, registered("L1", 1, expires_at=ends), other, ended), block(2, discharged(ended, 2))])
    reminders = PostgresReminders(pool, "Org1MSP", "/org1/lien-registry")
    told = []
    for days_left in (31, 30, 29, 7, 0.5, 0, -29, -31):
        written = await reminders.remind(ends - dt.timedelta(days=days_left), (30, 7, 1))
        assert await reminders.remind(ends - dt.timedelta(days=days_left), (30, 7, 1)) == 0
        told.append((days_left, written))
    assert [days for days, written in told if written] == [30, 7, 0.5, 0]
    alerts = await _alerts(pool)
    assert [(alert.kind, alert.days_ahead, alert.registration_number) for alert in alerts] == [
        (events_pb2.ALERT_KIND_EXPIRY_REMINDER, 30, "L1"),
        (events_pb2.ALERT_KIND_EXPIRY_REMINDER, 7, "L1"),
        (events_pb2.ALERT_KIND_EXPIRY_REMINDER, 1, "L1"),
        (events_pb2.ALERT_KIND_EXPIRED, 0, "L1"),
    ]


# -- the tree ------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12), st.integers(1, 5))
async def test_the_stored_tree_is_that_of_the_definition_as_of_every_block(
    pool: Pool, projection: PostgresProjection, steps: list[tuple[int, bool]], cut: int
) -> None:
    await projection.reset()
    changes, latest, blocks = [], {}, []
    for number, (lien, discharge) in enumerate(steps):
        name, change = f"L{lien}", None
        if name not in latest:
            change = registered(name, number, vin=f"LSVAA4182E218484{lien}")
        elif discharge:
            change = discharged(latest[name], number)
        if change is not None:
            latest[name] = change
            changes.append(change)
        blocks.append(block(number, *([change] if change else [])))
    for place in range(0, len(blocks), cut):
        await projection.apply(blocks[place : place + cut])
    stored, expected = PostgresTree(pool, ["Org1MSP"], "Org1MSP"), FakeTreeStore(changes, [], ["Org1MSP"], "Org1MSP")
    for after in range(-1, len(blocks)):
        for until in range(max(after, 0), len(blocks)):
            wanted = {bucket: node for bucket, node in (await expected.changed_buckets(after, until)).items() if after < 0 or node}
            found = await stored.changed_buckets(after, until)
            assert {bucket: found.get(bucket) for bucket in wanted} == wanted
            unchanged = await expected.changed_buckets(-1, until)
            assert all(node == unchanged.get(bucket, bytes(32)) for bucket, node in found.items())
    newest = len(blocks) - 1
    buckets = expected.buckets(newest)
    async with pool.acquire() as conn:
        assert await entries_as_of(conn, sorted(buckets), newest) == buckets
