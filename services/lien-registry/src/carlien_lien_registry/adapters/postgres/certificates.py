"""Stored certificates and their numbers."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final

from carlien_common.postgres import Pool
from carlien_lien_registry.adapters.postgres.together import Together

# INCREMENT of the sequence: one round trip gives a process that many numbers; a restart leaves a gap.
_BLOCK: Final = 100


class PostgresCertificates:
    """CertificateStore on PostgreSQL."""

    def __init__(self, pool: Pool, org: str) -> None:
        """Take the pool; numbers begin with the org, since each lender's registry counts for itself."""
        self._pool = pool
        self._prefix = org.upper()
        self._next = 0
        self._end = 0
        self._lock = asyncio.Lock()
        self._puts = Together(self._put)

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
        """Keep a certificate; returns once it is durable."""
        await self._puts.add((number, searched_at, certificate))

    async def _put(self, certificates: Sequence[tuple[str, dt.datetime, bytes]]) -> Sequence[None]:
        await self._pool.execute(
            "INSERT INTO certificates SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bytea[])",
            *(list(column) for column in zip(*certificates, strict=True)),
        )
        return [None] * len(certificates)

    async def get(self, number: str) -> bytes | None:
        """Return the certificate exactly as it was signed."""
        certificate: bytes | None = await self._pool.fetchval("SELECT certificate FROM certificates WHERE certificate_number = $1", number)
        return certificate
