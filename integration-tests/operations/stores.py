"""What the databases hold."""

import os
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import asyncpg


async def frames(dsn: str, vins: Iterable[str]) -> set[tuple[str, datetime]]:
    """The stored records of these cars by car and device time; fails where a record is there twice."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT vin, device_time FROM frame WHERE vin = ANY($1)", list(vins))
    finally:
        await connection.close()
    found = {(row["vin"], row["device_time"]) for row in rows}
    assert len(found) == len(rows), "a record is stored twice"
    return found


async def contents(dsn: str) -> dict[str, tuple[int, str]]:
    """Every table's number of rows and a digest of them, whatever their order."""
    connection = await asyncpg.connect(dsn)
    try:
        names = [
            row["name"]
            for row in await connection.fetch(
                "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
            )
        ]
        found = {}
        for name in names:
            row = await connection.fetchrow(
                f"SELECT count(*) AS rows, md5(coalesce(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) AS digest FROM {name} t"
            )
            assert row is not None
            found[name] = (row["rows"], row["digest"])
        return found
    finally:
        await connection.close()


def postgres_binaries() -> dict[str, str]:
    """PATH for scripts that call pg_dump, psql and pg_restore."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    return {"PATH": ":".join([*(str(path) for path in newest[-1:]), str(Path(sys.executable).parent), os.environ["PATH"]])}
