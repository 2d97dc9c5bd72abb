"""Stored certificates and their numbers."""

import asyncio
import datetime as dt
from typing import Final

from carlien_common.postgres import Pool

# INCREMENT of the sequence: one round trip gives a process that many numbers; a restart leaves a gap.
_BLOCK: Final = 100
_TOGETHER: Final = 100


class PostgresCertificates:
    """CertificateStore on PostgreSQL."""

    def __init__(self, pool: Pool, org: str) -> None:
        """Take the pool; numbers begin with the org, since each lender's registry counts for itself."""
        self._pool = pool
        self._prefix = org.upper()
        self._next = 0
        self._end = 0
        self._lock = asyncio.Lock()
        self._waiting: list[tuple[str, dt.datetime, bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def next_number(self) -> str:
        """Return a number never given before."""
        async with self._lock:
            if self._next == self._end:
                self._next = int(await self._pool.fetchval("SELECT nextval('certificate_numbers')"))
                self._end = self._next + _BLOCK
            number = self._next
            self._next += 1
        return f"{self._prefix}-{number:012d}"

    async def put(self, number: str, searched_at: dt.datetime, certificate: bytes) -> None:
        """Keep a certificate; returns once it is durable. Those that come while others are written go together."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, searched_at, certificate, kept))
        if self._writing is None or self._writing.done():
            # A task of its own: a caller that leaves must not take the others' certificates with it.
            self._writing = asyncio.create_task(self._write())
        await kept

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            try:
                await self._pool.execute(
                    "INSERT INTO certificates SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bytea[])",
                    *(list(column) for column in list(zip(*batch, strict=True))[:3]),
                )
            except Exception as error:  # noqa: BLE001 - every caller is told
                for *_, kept in batch:
                    if not kept.done():
                        kept.set_exception(error)
            else:
                for *_, kept in batch:
                    if not kept.done():
                        kept.set_result(None)

    async def get(self, number: str) -> bytes | None:
        """Return the certificate exactly as it was signed."""
        certificate: bytes | None = await self._pool.fetchval("SELECT certificate FROM certificates WHERE certificate_number = $1", number)
        return certificate
