"""What the gateway asks of PostgreSQL: a car's access, notices of change, and where connection states are written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from carlien_common.domain.errors import unavailable
from carlien_common.failures import is_transient
from carlien_common.postgres import Pool
from carlien_telematics.domain.access import Access, KnownDevice
from carlien_telematics.domain.devices import Credential, DeviceProtocol, OnlineReason, Presence, SigningAlgorithm, SigningKey
from carlien_telematics.service.access import AccessBook

CHANNEL = "telematics_access"

_DEVICES = """
SELECT device_id, protocol, credential_salt, credential_hash, signing_algorithm, signing_key FROM device
WHERE vin = $1 AND status = 'ACTIVE' ORDER BY device_id
"""
_CONSENT = """
SELECT extract(epoch FROM max(expires_at))::float8 FROM data_consent
WHERE vin = $1 AND revoked_at IS NULL AND granted_at <= now() AND expires_at > now()
"""

_TERMINAL = "SELECT vin FROM device WHERE protocol = 'JT808' AND status = 'ACTIVE' AND ltrim(device_id, '0') = $1 LIMIT 1"


@contextmanager
def _told() -> Iterator[None]:
    """Raises UNAVAILABLE where the database is away."""
    try:
        yield
    except Exception as error:
        if not is_transient(error):
            raise
        raise unavailable("DATABASE_UNAVAILABLE", "devices and consents can't be read") from error


def signing_key(algorithm: str | None, key: bytes | None) -> SigningKey | None:
    """The key in a row of `device`."""
    return None if algorithm is None or key is None else SigningKey(SigningAlgorithm(algorithm), key)


class PostgresAccessStore:
    """`AccessStore` on a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def load(self, vin: str) -> Access:
        """Raises UNAVAILABLE where the database doesn't answer."""
        with _told():
            async with self._pool.acquire(timeout=5) as connection:
                rows = await connection.fetch(_DEVICES, vin, timeout=5)
                until = await connection.fetchval(_CONSENT, vin, timeout=5)
        devices = (
            KnownDevice(
                row["device_id"],
                DeviceProtocol(row["protocol"]),
                Credential(row["credential_salt"], row["credential_hash"]),
                signing_key(row["signing_algorithm"], row["signing_key"]),
            )
            for row in rows
        )
        return Access(vin, tuple(devices), until or 0.0)

    async def vin_of(self, protocol: DeviceProtocol, number: str) -> str | None:
        """Raises UNAVAILABLE where the database doesn't answer."""
        if protocol is not DeviceProtocol.JT808:
            return None
        with _told():
            vin: str | None = await self._pool.fetchval(_TERMINAL, number, timeout=5)
        return vin


async def follow_changes(dsn: str, book: AccessBook) -> None:
    """Keeps `book` in step with the database, for ever. While the connection is lost the book trusts nothing for long."""
    delay = 0.1
    while True:
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        lost = asyncio.Event()

        def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            book.forget(str(payload))

        try:
            connection = await asyncpg.connect(dsn, timeout=5)
            connection.add_termination_listener(lambda _, lost=lost: lost.set())
            await connection.add_listener(CHANNEL, heard)
            book.trust(True)
            delay = 0.1
            while not lost.is_set():
                # a half-open connection tells nothing by itself
                try:
                    await asyncio.wait_for(lost.wait(), 0.4)
                except TimeoutError:
                    await connection.execute("SELECT 1", timeout=0.5)
        except Exception as error:
            if not is_transient(error):
                raise
        finally:
            book.trust(False)
            if connection is not None and not connection.is_closed():
                connection.terminate()
        await asyncio.sleep(delay)
        delay = min(delay * 2, 2.0)


_WRITE_PRESENCE = """
UPDATE device d SET last_seen_at = greatest(d.last_seen_at, n.seen_at), online = n.online, online_reason = n.reason, gateway_id = $1
FROM unnest($2::text[], $3::timestamptz[], $4::boolean[], $5::text[]) AS n(device_id, seen_at, online, reason)
WHERE d.device_id = n.device_id
"""
_RESET_PRESENCE = """
UPDATE device SET online = false, online_reason = $2 WHERE online AND gateway_id = $1
"""


class PostgresPresence:
    """`PresenceSink` that writes the newest per device once a second; bounded by the number of devices."""

    def __init__(self, pool: Pool, gateway_id: str) -> None:
        self._pool = pool
        self._gateway_id = gateway_id
        self._pending: dict[str, Presence] = {}

    def note(self, presence: Presence) -> None:
        """See `PresenceSink.note`."""
        self._pending[presence.device_id] = presence

    async def reset(self) -> None:
        """This gateway has just started: no device is connected to it, whatever an earlier life of it wrote."""
        await self._pool.execute(_RESET_PRESENCE, self._gateway_id, OnlineReason.CONNECTION_LOST.value)

    async def run(self, sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep) -> None:
        """Writes for ever; what could not be written is tried again with what came since."""
        while True:
            await sleep(1.0)
            await self.flush()

    async def flush(self) -> None:
        """Writes what is pending."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        rows = sorted(pending.values(), key=lambda presence: presence.device_id)
        columns = [list(column) for column in zip(*((r.device_id, r.seen_at, r.online, r.reason.value) for r in rows), strict=True)]
        try:
            await self._pool.execute(_WRITE_PRESENCE, self._gateway_id, *columns, timeout=10)
        except Exception as error:
            if not is_transient(error):
                raise
            self._pending = pending | self._pending
