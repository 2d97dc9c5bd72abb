"""Migrations, the pool, idempotency and retention against a real PostgreSQL."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from carlien_common import idempotency
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.failures import as_domain_error
from carlien_common.idempotency import claim, store
from carlien_common.postgres import Pool, SchemaMismatchError, migrate, pool, verify_schema
from carlien_common.postgres.migrations import COMMON, migrations
from carlien_common.retention import delete_old

MakeSettings = Callable[..., ServiceSettings]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], str]:
    """A package with these migrations, importable."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, files: dict[str, str]) -> str:
        folder = tmp_path / name
        (folder / "migrations").mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
        for file, sql in files.items():
            (folder / "migrations" / file).write_text(sql)
        return name

    return make


@pytest.fixture
async def migrated(postgres_dsn: str, make_settings: MakeSettings) -> AsyncIterator[Pool]:
    await migrate(postgres_dsn, COMMON)
    async with pool(make_settings(postgres_dsn=postgres_dsn)) as made:
        yield made


async def test_migrations_apply_once_and_verify(
    make_database: Callable[[], str], make_settings: MakeSettings, package: Callable[[str, dict[str, str]], str]
) -> None:
    dsn = make_database()
    name = package("migrated_once", {"0001_cars.sql": "CREATE TABLE car (vin text PRIMARY KEY);"})
    async with pool(make_settings(postgres_dsn=dsn)) as made:
        with pytest.raises(SchemaMismatchError, match="never"):
            await verify_schema(made, name)
        assert [(m.package, m.version) for m in await migrate(dsn, name)] == [(COMMON, m.version) for m in migrations(COMMON)] + [(name, 1)]
        assert await migrate(dsn, name) == []
        await verify_schema(made, name)
        package(name, {"0002_colour.sql": "ALTER TABLE car ADD colour text;"})
        with pytest.raises(SchemaMismatchError, match=r"2 .*missing"):
            await verify_schema(made, name)
        assert len(await migrate(dsn, name)) == 1
        await verify_schema(made, name)


async def test_a_changed_migration_is_refused_and_the_code_never_goes_back_by_itself(
    make_database: Callable[[], str], make_settings: MakeSettings, package: Callable[[str, dict[str, str]], str], tmp_path: Path
) -> None:
    dsn = make_database()
    files = {"0001_a.sql": "CREATE TABLE a ();", "0002_b.sql": "CREATE TABLE b ();"}
    name = package("migrated_changed", files)
    await migrate(dsn, name)
    file = tmp_path / name / "migrations" / "0002_b.sql"
    async with pool(make_settings(postgres_dsn=dsn)) as made:
        file.write_text("CREATE TABLE b (x int);")
        with pytest.raises(SchemaMismatchError, match="changed"):
            await verify_schema(made, name)
        with pytest.raises(SchemaMismatchError, match="changed"):
            await migrate(dsn, name)
        file.unlink()
        # After a rollback the old code serves on, but changes nothing.
        await verify_schema(made, name)
        with pytest.raises(SchemaMismatchError, match="newer"):
            await migrate(dsn, name)


async def test_old_code_refuses_a_newer_migration_that_says_it_breaks(
    make_database: Callable[[], str], make_settings: MakeSettings, package: Callable[[str, dict[str, str]], str], tmp_path: Path
) -> None:
    dsn = make_database()
    files = {"0001_a.sql": "CREATE TABLE a ();", "0002_b.sql": "-- Breaking: the old code reads a.\nDROP TABLE a;"}
    name = package("migrated_breaking", files)
    await migrate(dsn, name)
    async with pool(make_settings(postgres_dsn=dsn)) as made:
        await verify_schema(made, name)
        (tmp_path / name / "migrations" / "0002_b.sql").unlink()
        with pytest.raises(SchemaMismatchError, match="migrated_breaking 2 was applied by a newer version of the code and breaks this one"):
            await verify_schema(made, name)


async def test_a_database_of_before_the_mark_is_taken_over(
    make_database: Callable[[], str], make_settings: MakeSettings, package: Callable[[str, dict[str, str]], str]
) -> None:
    dsn = make_database()
    name = package("migrated_before", {"0001_a.sql": "CREATE TABLE a ();"})
    await migrate(dsn, name)
    connection = await asyncpg.connect(dsn)
    await connection.execute("ALTER TABLE schema_migration DROP COLUMN breaking")
    async with pool(make_settings(postgres_dsn=dsn)) as made:
        await verify_schema(made, name)
        package(name, {"0002_b.sql": "CREATE TABLE b ();"})
        assert [migration.version for migration in await migrate(dsn, name)] == [2]
        await verify_schema(made, name)
    await connection.close()


async def test_a_failing_migration_leaves_nothing(make_database: Callable[[], str], package: Callable[[str, dict[str, str]], str]) -> None:
    dsn = make_database()
    name = package("migrated_failing", {"0001_half.sql": "CREATE TABLE half (); SELECT 1 / 0;"})
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(dsn, name)
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    package(name, {"0001_half.sql": "CREATE TABLE half ();"})
    assert [m.package for m in await migrate(dsn, name)] == [name]
    await connection.close()


async def test_a_migration_gives_up_on_a_locked_table(
    make_database: Callable[[], str], package: Callable[[str, dict[str, str]], str]
) -> None:
    dsn = make_database()
    name = package("migrated_locked", {"0001_a.sql": "CREATE TABLE a ();"})
    await migrate(dsn, name)
    package(name, {"0002_b.sql": "ALTER TABLE a ADD x int;"})
    holder = await asyncpg.connect(dsn)
    async with holder.transaction():
        await holder.execute("SELECT * FROM a")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await migrate(dsn, name, lock_timeout_s=0.1)
    await migrate(dsn, name, lock_timeout_s=0.1)
    await holder.close()


@pytest.mark.parametrize("files", [["0002_a.sql"], ["0001_a.sql", "0001_b.sql"], ["0001_a.sql", "0003_c.sql"], ["1_a.sql"], ["0001_A.sql"]])
def test_wrongly_numbered_files_are_refused(files: list[str], package: Callable[[str, dict[str, str]], str]) -> None:
    name = package("numbered_" + "_".join(files).replace(".sql", "").lower(), dict.fromkeys(files, "SELECT 1;"))
    with pytest.raises(ValueError, match=r"numbered|NNNN"):
        migrations(name)


def test_two_processes_migrate_at_once(
    make_database: Callable[[], str], package: Callable[[str, dict[str, str]], str], tmp_path: Path
) -> None:
    dsn = make_database()
    # Slow enough that both are under way, and fails when applied twice.
    name = package("migrated_race", {f"{n:04d}_t{n}.sql": f"CREATE TABLE t{n} (); SELECT pg_sleep(0.1);" for n in range(1, 6)})
    script = textwrap.dedent(
        f"""
        import asyncio, sys
        sys.path.insert(0, {str(tmp_path)!r})
        from carlien_common.postgres import migrate
        print(len(asyncio.run(migrate({dsn!r}, {name!r}))))
        """
    )
    racers = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    applied = sorted(int(racer.communicate(timeout=60)[0].split()[-1]) for racer in racers)
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert applied == [0, 0, 5 + len(migrations(COMMON))]


async def test_the_pool_waits_for_no_database_for_ever(make_settings: MakeSettings) -> None:
    settings = make_settings(postgres_dsn="postgresql://nobody@127.0.0.1:1/none", postgres_connect_timeout_s=0.2)
    with pytest.raises(OSError, match=r"refused|Connect call failed") as caught:
        async with pool(settings):
            pass
    known = as_domain_error(caught.value)
    assert known is not None
    assert known.kind is ErrorKind.UNAVAILABLE


async def test_a_slow_statement_is_unavailable(postgres_dsn: str, make_settings: MakeSettings) -> None:
    async with pool(make_settings(postgres_dsn=postgres_dsn, postgres_command_timeout_s=0.1)) as made:
        with pytest.raises(TimeoutError) as caught:
            await made.execute("SELECT pg_sleep(10)")
        known = as_domain_error(caught.value)
        assert known is not None
        assert known.kind is ErrorKind.UNAVAILABLE


async def test_a_killed_connection_is_unavailable_and_replaced(migrated: Pool) -> None:
    async with migrated.acquire() as victim:
        async with migrated.acquire() as killer:
            await killer.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)) as caught:
            # The farewell may still be on its way at the first try.
            await victim.execute("SELECT 1; SELECT pg_sleep(1)")
        known = as_domain_error(caught.value)
        assert known is not None
        assert known.kind is ErrorKind.UNAVAILABLE
    assert await migrated.fetchval("SELECT 1") == 1


# -- idempotency ------------------------------------------------------------------------------------------------------


async def first(pool: Pool, key: str, request: bytes, answer: bytes, org: str = "org1") -> bytes:
    async with pool.acquire() as conn, conn.transaction():
        stored = await claim(conn, org, "Service/Rpc", key, request)
        if stored is not None:
            return stored
        await store(conn, org, "Service/Rpc", key, answer)
    return answer


async def test_a_repeat_gets_the_first_answer(migrated: Pool) -> None:
    assert await first(migrated, "k1", b"request", b"answer 1") == b"answer 1"
    assert await first(migrated, "k1", b"request", b"answer 2") == b"answer 1"
    assert await first(migrated, "k1", b"request", b"answer 3", org="org2") == b"answer 3"


async def test_another_request_under_the_key_is_refused(migrated: Pool) -> None:
    await first(migrated, "k2", b"request", b"answer")
    with pytest.raises(DomainError) as caught:
        await first(migrated, "k2", b"another", b"answer")
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.DUPLICATE, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("key", ["", "x" * (idempotency.MAX_KEY_LENGTH + 1), "a\0b"])
async def test_a_key_that_is_none_is_bad_input(migrated: Pool, key: str) -> None:
    with pytest.raises(DomainError) as caught:
        await first(migrated, key, b"request", b"answer")
    assert caught.value.kind is ErrorKind.INVALID
    assert caught.value.violations[0].field == "idempotency_key"


async def test_concurrent_repeats_have_one_effect(migrated: Pool) -> None:
    answers = await asyncio.gather(*(first(migrated, "k3", b"request", f"answer {n}".encode()) for n in range(20)))
    assert len(set(answers)) == 1


async def test_a_rolled_back_first_request_leaves_the_key_free(migrated: Pool) -> None:
    async with migrated.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await claim(conn, "org1", "Service/Rpc", "k4", b"request")
        await transaction.rollback()
    assert await first(migrated, "k4", b"other", b"answer") == b"answer"


async def test_a_first_request_without_an_answer_yet_is_a_conflict(migrated: Pool) -> None:
    async with migrated.acquire() as conn, conn.transaction():
        await claim(conn, "org1", "Service/Rpc", "k5", b"request")
    with pytest.raises(DomainError) as caught:
        await first(migrated, "k5", b"request", b"answer")
    assert caught.value.kind is ErrorKind.CONFLICT


async def test_retention_deletes_what_is_old(migrated: Pool) -> None:
    await first(migrated, "old", b"request", b"answer")
    await first(migrated, "new", b"request", b"answer")
    await migrated.execute("UPDATE idempotency_key SET created_at = now() - interval '31 days' WHERE key = 'old'")
    await migrated.execute(
        "INSERT INTO consumed_event (consumer_group, ce_source, ce_id, consumed_at) "
        "SELECT 'g', 's', n::text, now() - make_interval(days => n) FROM generate_series(1, 20) n"
    )
    deleted = await delete_old(migrated)
    assert deleted == {"idempotency_key": 1, "consumed_event": 7}
    assert await migrated.fetchval("SELECT count(*) FROM idempotency_key WHERE key = 'new'") == 1
