"""Plain numbered SQL files, applied once, each in a transaction, by one process at a time; services only verify.

A package's files are `migrations/NNNN_name.sql`, inside the package when installed, beside src/ in the source tree.
The tables of carlien_common itself are a set of their own that every database has.

Migrations run before the new code does, while the old code still serves, and a rollback puts the old code back on the new schema.
So they only add. One that can't (it empties or changes what the old code reads) says so in its first line, `-- Breaking: why`: then the
old code refuses to start on it, and the service has to be stopped for the upgrade.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import asyncpg

from carlien_common.logs import get_logger
from carlien_common.postgres.pool import Connection, Pool

log = get_logger(__name__)

COMMON: Final = "carlien_common"
_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql").fullmatch
# Any constant will do as long as nothing else in the database uses it: "carlien" in ASCII, cut to 63 bits.
LOCK: Final = int.from_bytes(b"carlien\0", "big") >> 1
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS schema_migration (
        package text NOT NULL,
        version integer NOT NULL,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (package, version)
    );
    ALTER TABLE schema_migration ADD COLUMN IF NOT EXISTS breaking boolean NOT NULL DEFAULT false;
"""
BREAKING: Final = "-- Breaking:"


class SchemaMismatchError(RuntimeError):
    """The database's schema isn't the one this code was written for. Nothing to retry: migrate, or deploy the right version."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. The checksum ignores the line ends' kind, so that a checkout on another system doesn't look like a change."""

    package: str
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def breaking(self) -> bool:
        """Whether older code can't work on it."""
        return self.sql.startswith(BREAKING)


@dataclass(frozen=True, slots=True)
class Applied:
    """What the database says of a migration it has."""

    checksum: str
    breaking: bool


def migrations(package: str) -> list[Migration]:
    """The package's files in order. Raises ValueError for a gap, a double number or another file name."""
    found = []
    for file in _folder(package).iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _NAME(file.name)
        if match is None:
            raise ValueError(f"{package}: {file.name} isn't named NNNN_name.sql")
        found.append(Migration(package, int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(versions) + 1)):
        raise ValueError(f"{package}: migrations must be numbered 1, 2, 3 …, not {versions}")
    return found


def _folder(package: str) -> Traversable:
    root = resources.files(package)
    inside = root / "migrations"
    if inside.is_dir():
        return inside
    beside = Path(str(root)).parent.parent / "migrations"
    if beside.is_dir():
        return beside
    raise ValueError(f"{package} has no migrations")


async def migrate(dsn: str, package: str, *, lock_timeout_s: float = 10.0, connect_timeout_s: float = 30.0) -> list[Migration]:
    """Brings the database up to date: carlien_common's tables, then the package's. Returns what was applied.

    Waits while another process migrates. A statement that can't get its table's lock within lock_timeout_s fails instead of
    holding everyone up behind it; the transaction is rolled back and the next run starts there again.
    """
    wanted = [migration for name in dict.fromkeys((COMMON, package)) for migration in migrations(name)]
    connection = await asyncpg.connect(dsn, timeout=connect_timeout_s, server_settings={"application_name": "carlien-migrate"})
    try:
        # Before lock_timeout is set: waiting for another migration is not a failure.
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(_TABLE)
        await connection.execute("SELECT set_config('lock_timeout', $1, false)", f"{int(lock_timeout_s * 1000)}ms")
        applied = await _applied(connection, wanted)
        newer = _newer(applied, wanted)
        if newer:
            raise SchemaMismatchError(f"{', '.join(newer)} was applied by a newer version of the code")
        _compare(applied, wanted, complete=False)
        todo = [migration for migration in wanted if (migration.package, migration.version) not in applied]
        for migration in todo:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migration (package, version, name, checksum, breaking) VALUES ($1, $2, $3, $4, $5)",
                    migration.package,
                    migration.version,
                    migration.name,
                    migration.checksum,
                    migration.breaking,
                )
            log.info("migration_applied", package=migration.package, version=migration.version, name=migration.name)
        return todo
    finally:
        # Gives the advisory lock back too.
        await connection.close()


async def verify_schema(pool: Pool, package: str) -> None:
    """Raises SchemaMismatchError unless all of this code's migrations have been applied, and of newer ones none that breaks it."""
    wanted = [migration for name in dict.fromkeys((COMMON, package)) for migration in migrations(name)]
    async with pool.acquire() as connection:
        if await connection.fetchval("SELECT to_regclass('schema_migration')") is None:
            raise SchemaMismatchError("The database has never been migrated.")
        applied = await _applied(connection, wanted)
        newer, breaking = _newer(applied, wanted), _newer({key: found for key, found in applied.items() if found.breaking}, wanted)
        if breaking:
            raise SchemaMismatchError(f"{', '.join(breaking)} was applied by a newer version of the code and breaks this one")
        if newer:
            log.warning("schema_newer_than_code", migrations=newer)
        _compare(applied, wanted, complete=True)


async def _applied(connection: Connection, wanted: Iterable[Migration]) -> dict[tuple[str, int], Applied]:
    packages = sorted({migration.package for migration in wanted})
    # A row as JSON: databases that an older version migrated have no column `breaking` yet.
    rows = await connection.fetch(
        "SELECT package, version, checksum, coalesce((to_jsonb(m) ->> 'breaking')::boolean, false) AS breaking "
        "FROM schema_migration m WHERE package = ANY($1)",
        packages,
    )
    return {(row["package"], row["version"]): Applied(row["checksum"], row["breaking"]) for row in rows}


def _newer(applied: dict[tuple[str, int], Applied], wanted: list[Migration]) -> list[str]:
    known = {(migration.package, migration.version) for migration in wanted}
    return [f"{package} {version}" for package, version in sorted(set(applied) - known)]


def _compare(applied: dict[tuple[str, int], Applied], wanted: list[Migration], *, complete: bool) -> None:
    known = {(migration.package, migration.version): migration for migration in wanted}
    problems = []
    for key, migration in known.items():
        if key in applied and applied[key].checksum != migration.checksum:
            problems.append(f"{migration.package} {migration.version} ({migration.name}) was changed after it was applied")
        elif complete and key not in applied:
            problems.append(f"{migration.package} {migration.version} ({migration.name}) is missing: migrate first")
    if problems:
        raise SchemaMismatchError("; ".join(problems))
