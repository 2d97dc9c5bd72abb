"""A million liens: fed as synthetic blocks through the real projector, then searched with certificates, beside ten thousand.

Takes some minutes. LIEN_SCALE=100000 makes it smaller, for trying it out.
"""

import asyncio
import datetime as dt
import hashlib
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import asyncpg
import grpc

from benchmarks.lien_scale_server import MSP_IDS
from benchmarks.measure import Figure, Load, Session, closed_loop
from carlien.lien.v1 import certificate_pb2, search_service_pb2, search_service_pb2_grpc
from carlien_common.domain.money import Money
from carlien_common.domain.vin import check_digit
from carlien_common.postgres import Pool, migrate
from carlien_lien_registry import proofs
from carlien_lien_registry.adapters.commitments import lien_record
from carlien_lien_registry.adapters.postgres.projection import PostgresProjection
from carlien_lien_registry.adapters.postgres.reading import PostgresReader
from carlien_lien_registry.adapters.postgres.tree import PostgresTree
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Anchor, Lien, LienClass, Position
from carlien_lien_registry.domain.merkle import bucket_hash
from carlien_lien_registry.domain.subjects import vin_subject
from carlien_lien_registry.service.anchoring import Anchoring
from carlien_lien_registry.service.following import Progress
from carlien_lien_registry.service.ports import FollowedBlock, Outcome, SearchSubject
from carlien_lien_registry.wire import event_to_proto

_FEW, _MANY = 10_000, int(os.environ.get("LIEN_SCALE", "1000000"))
_PER_BLOCK = 500
_BLOCKS_AT_ONCE = 4
_CALLS = 3_000
_EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_RUN = uuid4().hex[:8]


def _vin(number: int) -> str:
    """A VIN of its own for each number below a million; serial numbers repeat as those of real cars do."""
    vin = f"LSV{number % 97 + 100}18_2E{number * 7919 % 1_000_000:06d}"
    return vin.replace("_", check_digit(vin.replace("_", "0")))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _registered(number: int, place: Position) -> Change:
    tx_id, at = _digest("tx", number), _EPOCH + dt.timedelta(seconds=place.block_number)
    lien = Lien(
        registration_number=f"L{_digest('number', number)[:16].upper()}{number % 10}",
        vin=_vin(number),
        lien_class=LienClass.MORTGAGE,
        discharged=False,
        secured_amount=Money(Decimal(30_000 + number % 1000), "CNY").quantized(),
        secured_party_msp_id=MSP_IDS[number % 2],
        registered_at=at,
        tx_id=tx_id,
        position=place,
        expires_at=None,
        first_rank=True,
        delivery_date=None,
        details_hash=_digest("details", number),
        debtor_hash=f"k1:{_digest('debtor', number // 3)}",
    )
    return Change("lien.registered", lien.vin, place, tx_id, at, lien=lien)


class _Chain:
    """Blocks that hang together, as no ledger has them."""

    def __init__(self) -> None:
        self._hash = b""
        self.height = -1
        self._registered = 0

    def block(self, changes: list[Change]) -> FollowedBlock:
        self.height += 1
        previous, self._hash = self._hash, hashlib.sha256(f"{_RUN} {self.height}".encode()).digest()
        outcomes = (Outcome(change.tx_id, "VALID", self.height, change.position.tx_index, (change,)) for change in changes)
        return FollowedBlock(self.height, previous, self._hash, tuple(outcomes))

    def registrations(self, until: int) -> Iterator[FollowedBlock]:
        while self._registered < until:
            block, many = self.height + 1, min(_PER_BLOCK, until - self._registered)
            changes = [_registered(self._registered + index, Position(block, index)) for index in range(many)]
            self._registered += many
            yield self.block(changes)

    def anchors(self, block_number: int, root: bytes) -> FollowedBlock:
        number = self.height + 1
        posted = [Anchor(block_number, msp_id, root) for msp_id in MSP_IDS]
        changes = [
            Change("anchor.posted", "", Position(number, index), _digest("anchor", number, index), _EPOCH, anchor=anchor)
            for index, anchor in enumerate(posted)
        ]
        return self.block(changes)


class _Posted:
    """AnchorLedger that keeps what it is given; the chain carries it for both organisations."""

    def __init__(self) -> None:
        self.roots: dict[int, bytes] = {}

    async def post(self, block_number: int, root: bytes) -> None:
        self.roots[block_number] = root


async def run(session: Session) -> list[Figure]:
    """Feed, anchor, measure: at ten thousand and at a million."""
    async with _database() as dsn, asyncpg.create_pool(dsn, min_size=1, max_size=4, server_settings={"timezone": "UTC"}) as pool:
        projection = PostgresProjection(pool, event_to_proto, "/org1/lien-registry", MSP_IDS[0])
        # As in a rebuild: what happened long ago is no event any more.
        await pool.execute("UPDATE ledger_checkpoint SET events_block = 1000000000")
        chain, loads, seconds = _Chain(), {}, {}
        for liens in (_FEW, _MANY):
            began = time.perf_counter()
            anchoring = await _feed(pool, projection, chain, liens)
            seconds[liens] = time.perf_counter() - began
            loads[liens] = await _searched(session, dsn, liens)
        made, verified = await _proofs(pool, anchoring)
    few, many = loads[_FEW], loads[_MANY]
    cost = few.rate / many.rate
    p99, proof = many.quantile(0.99), statistics.median(made) + statistics.median(verified)
    name = f"{_MANY:,} liens"
    return [
        Figure(f"{name}: fed through the projector, tree and root included", (_MANY - _FEW) / seconds[_MANY], "1/s"),
        Figure(f"{name}: searches with certificate, 16 at once", many.rate, "1/s", target=">= 500/s", met=many.rate >= 500),
        Figure(f"{name}: searches with certificate, p99", p99, "s", target="< 0.05 s", met=p99 < 0.05),
        Figure(f"{name}: cost of a search, beside {_FEW:,}", 1 / many.rate, "s", 1 / few.rate, cost, "<= 1.5x", cost <= 1.5),
        Figure(f"{name}: non-inclusion proof made and verified, median", proof, "s", target="< 0.005 s", met=proof < 0.005),
    ]


async def _feed(pool: Pool, projection: PostgresProjection, chain: _Chain, liens: int) -> Anchoring:
    batch = []
    for block in chain.registrations(liens):
        batch.append(block)
        if len(batch) == _BLOCKS_AT_ONCE:
            await projection.apply(batch)
            batch = []
    if batch:
        await projection.apply(batch)
    await pool.execute("ANALYZE")
    posted, progress = _Posted(), Progress()
    anchoring = Anchoring(PostgresTree(pool, MSP_IDS, MSP_IDS[0]), posted, progress)
    while not posted.roots:
        # Taking over an earlier agreement may have taken longer than a follower may be silent.
        await progress.applied(chain.height)
        await anchoring.step()
    ((block_number, root),) = posted.roots.items()
    await projection.apply([chain.anchors(block_number, root)])
    await progress.applied(chain.height)
    await anchoring.step()
    return anchoring


async def _searched(session: Session, dsn: str, liens: int) -> Load:
    """Half of the searches find something, half find nothing; every hundredth certificate is verified."""
    rng = random.Random(liens)
    async with _server(session, dsn) as stub:

        async def search(number: int) -> object:
            hit = number % 2 == 0
            vin = _vin(rng.randrange(liens) if hit else _MANY + rng.randrange(liens))
            certificate = (await stub.SearchLiens(search_service_pb2.SearchLiensRequest(vin=vin), timeout=30)).certificate
            if number % 100 < 2:
                await _verified(stub, certificate, hit)
            return certificate

        await closed_loop(search, 300, 16)
        return await closed_loop(search, _CALLS, 16)


async def _verified(
    stub: "search_service_pb2_grpc.SearchServiceAsyncStub", certificate: certificate_pb2.SearchCertificate, hit: bool
) -> None:
    verdict = await stub.VerifyCertificate(search_service_pb2.VerifyCertificateRequest(certificate=certificate), timeout=30)
    if not verdict.valid or bool(certificate.hits) is not hit:
        raise RuntimeError(f"{certificate.certificate_number}: {list(verdict.failures)}, {len(certificate.hits)} hits")


async def _proofs(pool: Pool, anchoring: Anchoring) -> tuple[list[float], list[float]]:
    """Seconds to make the proof that nothing is registered on a car, and to check it."""
    reader, made, verified = PostgresReader(pool), [], []
    for number in range(200):
        vin = _vin(_MANY + number)
        began = time.perf_counter()
        anchored = anchoring.prove([vin_subject(vin)])
        if anchored is None:
            raise RuntimeError("nothing is anchored")
        agreement, (path,) = anchored.agreement, anchored.paths
        found = await reader.search(SearchSubject("vin", vin), None, agreement.block_number, [path.bucket])
        entries = found.entries[path.bucket]
        if bucket_hash(entries) != path.leaf:
            raise RuntimeError("the entries aren't those that were anchored")
        proof = certificate_pb2.SearchProof(
            root=agreement.root,
            subjects=[certificate_pb2.SubjectProof(subject=path.subject, entries=b"".join(entries), siblings=path.siblings)],
            records=[lien_record(lien) for lien in found.proven],
        )
        made.append(time.perf_counter() - began)
        block = agreement.block_number
        certificate = certificate_pb2.SearchCertificate(as_of_block=block, known_to_block=block, anchored_by=agreement.msp_ids, proof=proof)
        certificate.query.vin = vin
        posted = proofs.PostedRoots(frozenset(MSP_IDS), {block: {agreement.root: agreement.msp_ids}})
        began = time.perf_counter()
        failures = proofs.verify_proof(certificate, posted)
        verified.append(time.perf_counter() - began)
        if failures:
            raise RuntimeError(f"{vin}: {failures}")
    return made, verified


@asynccontextmanager
async def _database() -> AsyncIterator[str]:
    admin, name = os.environ["POSTGRES_ADMIN_DSN"], f"lien_scale_{_RUN}"
    connection = await asyncpg.connect(admin)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        dsn = f"{admin.rsplit('/', 1)[0]}/{name}"
        await migrate(dsn, "carlien_lien_registry")
        yield dsn
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()


@asynccontextmanager
async def _server(session: Session, dsn: str) -> AsyncIterator["search_service_pb2_grpc.SearchServiceAsyncStub"]:
    pki = session.stack.pki / "org1"
    port = 20_000 + random.SystemRandom().randrange(900)
    environment = {
        "CARLIEN_ORG": "org1",
        "CARLIEN_MSP_ID": MSP_IDS[0],
        "CARLIEN_GRPC_HOST": "127.0.0.1",
        "CARLIEN_GRPC_PORT": str(port),
        "CARLIEN_METRICS_PORT": "0",
        "CARLIEN_POSTGRES_DSN": dsn,
        "CARLIEN_KAFKA_BOOTSTRAP": session.stack.kafka,
        "CARLIEN_TLS_CERT_FILE": str(pki / "service.crt"),
        "CARLIEN_TLS_KEY_FILE": str(pki / "service.key"),
        "CARLIEN_TLS_CA_FILE": str(session.stack.pki / "ca.crt"),
        "CARLIEN_STOP_DRAIN_S": "0",
        "CARLIEN_LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "benchmarks.lien_scale_server"]
    folder = Path(__file__).parents[1]
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment, "PYTHONPATH": str(folder)})
    try:
        channel = session.clients.channel(f"127.0.0.1:{port}", "originator")
        async with asyncio.timeout(180):
            while channel.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY:
                if process.returncode is not None:
                    raise RuntimeError("the server ended")
                await asyncio.sleep(0.1)
        yield search_service_pb2_grpc.SearchServiceStub(channel)
    finally:
        process.terminate()
        await process.wait()
