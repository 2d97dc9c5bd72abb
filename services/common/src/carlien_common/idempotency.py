"""A repeated request gets the first answer: one row per (org, rpc, key), written in the transaction of the change itself.

async with pool.acquire() as conn, conn.transaction():
    stored = await claim(conn, caller.org, "LienService/RegisterLien", request.idempotency_key, request)
    if stored is not None:
        return RegisterLienResponse.FromString(stored)
    …
    await store(conn, caller.org, "LienService/RegisterLien", request.idempotency_key, response)
"""

from __future__ import annotations

import hashlib
from typing import Final

from google.protobuf.message import Message

from carlien_common.domain.errors import conflict, duplicate, invalid
from carlien_common.postgres.pool import Connection

MAX_KEY_LENGTH: Final = 200
RETENTION_DAYS: Final = 30


def _bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString(deterministic=True)


def check_key(key: str) -> None:
    """Raises INVALID IDEMPOTENCY_KEY_MISSING, _TOO_LONG or _INVALID: for who keeps keys in a table of its own."""
    if not key:
        raise invalid("idempotency_key", "IDEMPOTENCY_KEY_MISSING", "Every change needs an idempotency key.")
    if len(key) > MAX_KEY_LENGTH:
        raise invalid("idempotency_key", "IDEMPOTENCY_KEY_TOO_LONG", f"An idempotency key has at most {MAX_KEY_LENGTH} characters.")
    if "\0" in key:
        raise invalid("idempotency_key", "IDEMPOTENCY_KEY_INVALID", "An idempotency key can't contain a zero character.")


async def claim(
    conn: Connection, org: str, rpc: str, key: str, request: Message | bytes, answer: Message | bytes | None = None
) -> bytes | None:
    """None: this is the first request with the key, go on. Bytes: the answer the first one got.

    An `answer` that is known already is stored with the claim, in the same statement; else store() follows.

    Waits while another transaction holds the same key. Raises what `check_key` does, DUPLICATE
    IDEMPOTENCY_KEY_REUSED for another request under the key, CONFLICT IDEMPOTENCY_KEY_IN_USE when the first request was
    claimed in an earlier transaction and has no answer yet.
    """
    check_key(key)
    request_hash = hashlib.sha256(_bytes(request)).digest()
    first = await conn.fetchval(
        "INSERT INTO idempotency_key (org, rpc, key, request_hash, answer) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT DO NOTHING RETURNING true",
        org,
        rpc,
        key,
        request_hash,
        None if answer is None else _bytes(answer),
    )
    if first:
        return None
    row = await conn.fetchrow("SELECT request_hash, answer FROM idempotency_key WHERE org = $1 AND rpc = $2 AND key = $3", org, rpc, key)
    if row is None:
        # Deleted in between, by retention or by a first request that was rolled back.
        raise conflict("IDEMPOTENCY_KEY_IN_USE", "The first request with this key has just gone; repeat this one.")
    if row["request_hash"] != request_hash:
        raise duplicate("IDEMPOTENCY_KEY_REUSED", "This idempotency key was used for another request.")
    first_answer: bytes | None = row["answer"]
    if first_answer is None:
        raise conflict("IDEMPOTENCY_KEY_IN_USE", "The first request with this key has no answer yet.")
    return first_answer


async def store(conn: Connection, org: str, rpc: str, key: str, answer: Message | bytes) -> None:
    """Keeps the first request's answer for its repeats."""
    await conn.execute("UPDATE idempotency_key SET answer = $4 WHERE org = $1 AND rpc = $2 AND key = $3", org, rpc, key, _bytes(answer))
