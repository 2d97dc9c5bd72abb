"""Reports of model risk in PostgreSQL, named by the hash of their text."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from carlien_common.logs import get_logger
from carlien_common.postgres.pool import Connection, Pool
from carlien_common.repeating import repeat
from carlien_valuation.calibration.canonical import canonical, sha256
from carlien_valuation.domain.model_report import Kind, StoredReport

log = get_logger(__name__)

REFRESH_S = 30.0


async def store_report(connection: Connection, kind: Kind, model_version: str, report: dict[str, Any], created_at: datetime) -> str:
    """Keep a report; returns its hash. The same report again changes nothing."""
    text = canonical(report)
    digest = sha256(text)
    await connection.execute(
        "INSERT INTO model_report (sha256, kind, model_version, created_at, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        digest, kind, model_version, created_at, text,
    )  # fmt: skip
    return digest


class PostgresReports:
    """Reads stored reports."""

    def __init__(self, pool: Pool | Connection) -> None:
        self._pool = pool

    async def find(self, kind: Kind, digest: str = "", model_version: str = "") -> StoredReport | None:
        """By hash and model where given, else the latest."""
        row = await self._pool.fetchrow(
            """SELECT sha256, model_version, created_at, body FROM model_report
               WHERE kind = $1 AND ($2 = '' OR sha256 = $2) AND ($3 = '' OR model_version = $3) ORDER BY sequence DESC LIMIT 1""",
            kind, digest, model_version,
        )  # fmt: skip
        return None if row is None else StoredReport(row["sha256"], row["model_version"], row["created_at"], row["body"])

    async def watch(self, model_version: str, show: Callable[[StoredReport], None]) -> None:
        """Until cancelled: show the model's latest calibration report whenever there is another one."""
        shown = ""

        async def look() -> None:
            nonlocal shown
            report = await self.find("calibration", model_version=model_version)
            if report is not None and report.sha256 != shown:
                show(report)
                shown = report.sha256

        await repeat("calibration report", REFRESH_S, look)
