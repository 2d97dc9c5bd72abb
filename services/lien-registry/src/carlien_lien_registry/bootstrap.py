"""The one place that picks adapters and puts the service together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from carlien.lien.v1 import (
    certificate_pb2,
    consent_service_pb2_grpc,
    dispute_service_pb2_grpc,
    lien_service_pb2_grpc,
    reconciliation_service_pb2_grpc,
    search_service_pb2_grpc,
    title_service_pb2_grpc,
)
from carlien_common import postgres
from carlien_common.domain.clock import Clock, utc_now
from carlien_common.failures import is_transient
from carlien_common.grpc.client import channel
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import Registration, grpc_server
from carlien_common.kafka import producer
from carlien_common.lifecycle import Application
from carlien_common.logs import get_logger
from carlien_common.outbox import OutboxRelay
from carlien_common.postgres.pool import ping
from carlien_common.repeating import repeat
from carlien_common.retention import keep_deleting
from carlien_lien_registry import certificates, metrics, proofs
from carlien_lien_registry.adapters import consortium
from carlien_lien_registry.adapters.certifier import FabricCertifier
from carlien_lien_registry.adapters.commitments import lien_record
from carlien_lien_registry.adapters.fabric import Gateway, GatewayError, Identity, LedgerClient, LocalSigner, Peer, PeerPool, TlsOptions
from carlien_lien_registry.adapters.fabric_ledger import FabricLedger
from carlien_lien_registry.adapters.hfc import HfcClient, HfcNetwork, HfcWorker, Node
from carlien_lien_registry.adapters.mortgage_asset import MortgageAsset, MortgageAssetAnchors, MortgageAssetDetails, MortgageAssetQueries
from carlien_lien_registry.adapters.mortgage_calls import MortgageCalls
from carlien_lien_registry.adapters.postgres.alerts import PostgresReminders
from carlien_lien_registry.adapters.postgres.certificates import PostgresCertificates
from carlien_lien_registry.adapters.postgres.details import PostgresDetails
from carlien_lien_registry.adapters.postgres.projection import PostgresProjection
from carlien_lien_registry.adapters.postgres.reading import PostgresReader
from carlien_lien_registry.adapters.postgres.reconciliation import PostgresReconciliation
from carlien_lien_registry.adapters.postgres.tree import PostgresTree
from carlien_lien_registry.adapters.postgres.writes import PostgresWrites
from carlien_lien_registry.adapters.valuation import GrpcAppraiser
from carlien_lien_registry.config import LienRegistrySettings, OperatorSettings, read_consortium_keys
from carlien_lien_registry.domain.debtors import DebtorHasher
from carlien_lien_registry.grpc_api import consents, disputes, liens, reconciliation, searches, titles
from carlien_lien_registry.service.anchoring import Anchoring
from carlien_lien_registry.service.details import DetailsKeeper
from carlien_lien_registry.service.following import LedgerFollower, Progress
from carlien_lien_registry.service.operating import Operations
from carlien_lien_registry.service.outcomes import Outcomes
from carlien_lien_registry.service.ports import FollowedBlock
from carlien_lien_registry.service.ranking import Rankings
from carlien_lien_registry.service.reconciling import Reconciliation
from carlien_lien_registry.service.registry import Registry
from carlien_lien_registry.service.searching import MAX_BEHIND_SECONDS, Searches
from carlien_lien_registry.service.writing import LedgerWriter
from carlien_lien_registry.wire import event_to_proto

log = get_logger(__name__)

NAME: Final = "lien-registry"
PACKAGE: Final = "carlien_lien_registry"
# With more writes under way than that (a batch is one), private details are sent one at a time: a hundred follow a batch.
_QUIET_WRITES: Final = 2
# A restart's few blocks take less; with a peer that is away or a million blocks to read we serve what doesn't need the newest.
_LEVEL_AT_START_SECONDS: Final = 10.0
_GAUGE_SECONDS: Final = 2.0
_RECOVERY_SECONDS: Final = 5.0
_REMINDING_SECONDS: Final = 30.0
_RECONCILING_SECONDS: Final = 60.0
_PEER_RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True)
class LedgerAccess:
    """The organisation's way to the ledger, and who else is on it."""

    ledger: FabricLedger
    signer: LocalSigner
    chain: tuple[str, ...]
    roots: dict[str, list[x509.Certificate]]
    anchoring_msp_ids: tuple[str, ...]


@asynccontextmanager
async def ledger_access(settings: LienRegistrySettings | OperatorSettings) -> AsyncIterator[LedgerAccess]:
    """Open the way to the own peers and read the consortium's members; waits for a peer to answer."""
    async with AsyncExitStack() as stack:
        connect = await _connector(settings, stack)
        signer = LocalSigner.from_file(settings.fabric_key_file)
        client = connect(settings.fabric_cert_file, settings.fabric_key_file)
        certificate, key = settings.fabric_registrar_cert_file, settings.fabric_registrar_key_file
        registrar = connect(certificate, key) if certificate and key else None
        ledger = FabricLedger(client, registrar, MortgageAsset.error, MortgageAsset.changes)
        roots = await _roots(client)
        own = x509.load_pem_x509_certificate(settings.fabric_cert_file.read_bytes())
        chain = consortium.chain_of(own, roots.get(settings.msp_id, []))
        pems = tuple(one.public_bytes(serialization.Encoding.PEM).decode() for one in chain)
        yield LedgerAccess(ledger, signer, pems, roots, _anchoring(settings.anchor_msp_ids, roots))


async def _connector(settings: LienRegistrySettings | OperatorSettings, stack: AsyncExitStack) -> Callable[[Path, Path], LedgerClient]:
    """What makes a client of a certificate and its key; the stack closes what it opens."""
    msp_id, channel_name, chaincode = settings.msp_id, settings.fabric_channel, settings.fabric_chaincode
    if settings.fabric_client == "hfc":
        override = settings.fabric_tls_name_override or ""
        own = tuple(Node(address, str(settings.fabric_tls_ca_file), msp_id, override) for address in settings.fabric_peer_addresses)
        python, network_file = settings.hfc_python, settings.hfc_network_file
        if python is None or network_file is None:
            raise ValueError("hfc isn't configured")
        network = HfcNetwork.from_file(network_file, own)

        def through_hfc(certificate: Path, key: Path) -> LedgerClient:
            identity = {"msp_id": msp_id, "channel": channel_name, "cert_file": str(certificate), "key_file": str(key)}
            client = HfcClient(HfcWorker(python, settings.hfc_worker, identity, network), msp_id, channel_name, chaincode)
            stack.push_async_callback(client.close)
            return client

        return through_hfc
    tls = TlsOptions(settings.fabric_tls_ca_file.read_bytes(), settings.fabric_tls_name_override)
    peers = PeerPool([Peer(address, tls) for address in settings.fabric_peer_addresses])
    stack.push_async_callback(peers.close)

    def through_gateway(certificate: Path, key: Path) -> LedgerClient:
        return Gateway(peers, Identity.from_file(msp_id, certificate), LocalSigner.from_file(key), channel_name, chaincode)

    return through_gateway


def _anchoring(required: tuple[str, ...], roots: Mapping[str, object]) -> tuple[str, ...]:
    unknown = sorted(set(required) - roots.keys())
    if unknown:
        raise ValueError(f"CARLIEN_ANCHOR_MSP_IDS names {', '.join(unknown)}, which isn't a member of the channel")
    return tuple(sorted(set(required) or roots))


async def _roots(client: LedgerClient) -> dict[str, list[x509.Certificate]]:
    while True:
        try:
            return consortium.member_roots(await client.channel_config())
        except GatewayError as error:
            log.warning("peer_not_ready", error=error.message)
            await asyncio.sleep(_PEER_RETRY_SECONDS)


def consortium_hasher(file: Path) -> DebtorHasher:
    """The keyed hashes under the keys in that file."""
    return DebtorHasher(read_consortium_keys(file))


async def serve(settings: LienRegistrySettings, clock: Clock = utc_now, started: Callable[[int], None] | None = None) -> None:
    """Run until a signal. `started` is told the gRPC port once the service accepts calls."""
    hasher = consortium_hasher(settings.consortium_key_file)
    async with Application(settings, NAME) as app:
        pool = await app.enter(postgres.pool(settings))
        await postgres.verify_schema(pool, PACKAGE)
        app.readiness("postgres", lambda: ping(pool))
        access = await app.enter(ledger_access(settings))
        ledger = access.ledger

        outcomes, progress = Outcomes(), Progress()
        source = f"/{settings.org}/{NAME}"
        projection = PostgresProjection(pool, event_to_proto, source, settings.msp_id)
        follower = LedgerFollower(ledger, projection, outcomes, progress, is_transient, _count_batch)
        reader, writes = PostgresReader(pool), PostgresWrites(pool)
        writer = LedgerWriter(ledger, writes, outcomes, reader)
        calls = MortgageCalls()
        registry = Registry(writer, reader, calls, hasher)
        operations = Operations(writer, reader, calls, MortgageAssetQueries(ledger))
        tree = PostgresTree(pool, access.anchoring_msp_ids, settings.msp_id)
        anchoring = Anchoring(tree, MortgageAssetAnchors(ledger), progress)
        certifier = FabricCertifier(access.signer, access.chain)
        stored = PostgresCertificates(pool, settings.org)
        finder = Searches(reader, stored, certifier, anchoring, lien_record, progress, hasher, clock)
        details = PostgresDetails(pool)

        sender = await app.enter(producer(settings, f"carlien-{NAME}"))
        app.spawn("outbox", OutboxRelay(settings, sender).run())
        app.spawn("follower", follower.run())
        app.spawn("height", follower.watch_height())
        app.spawn("anchoring", anchoring.run(is_transient))
        await app.enter(_closing(writer))
        app.spawn("recovery", repeat("recovery", _RECOVERY_SECONDS, writer.recover))
        app.spawn(
            "details", DetailsKeeper(details, MortgageAssetDetails(ledger), is_transient, lambda: writer.running > _QUIET_WRITES).run()
        )
        reminders = PostgresReminders(pool, settings.msp_id, source)

        async def remind() -> bool:
            return await reminders.remind(clock(), settings.reminder_days) > 0

        app.spawn("reminders", repeat("reminders", _REMINDING_SECONDS, remind))
        reconciling = Reconciliation(PostgresReconciliation(pool), settings.msp_id, clock)
        app.spawn("reconciliation", repeat("reconciliation", _RECONCILING_SECONDS, reconciling.compare_again))
        app.spawn("gauges", repeat("gauges", _GAUGE_SECONDS, partial(_gauges, progress, writes, details)))
        app.spawn("retention", keep_deleting(pool))

        async def failures_of(certificate: certificate_pb2.SearchCertificate) -> list[str]:
            posted = proofs.PostedRoots(frozenset(access.anchoring_msp_ids), await tree.posted(certificate.as_of_block))
            return certificates.verify(certificate, access.roots) + proofs.verify_proof(certificate, posted)

        async def verify(certificate: certificate_pb2.SearchCertificate) -> list[str]:
            failures = await failures_of(certificate)
            # Its signer, a member, had seen the roots by then; we may be a moment behind.
            if failures == [proofs.NOT_ANCHORED] and await progress.reached(certificate.known_to_block, MAX_BEHIND_SECONDS):
                failures = await failures_of(certificate)
            return failures

        appraiser = GrpcAppraiser(await app.enter(channel(settings, settings.valuation_address))) if settings.valuation_address else None
        rankings = Rankings(reader, appraiser, clock)
        lien_servicer = liens.LienServicer(registry, operations, rankings, hasher, settings.msp_id, clock)
        services: list[Registration] = [
            (lien_service_pb2_grpc.add_LienServiceServicer_to_server, lien_servicer, liens.SERVICE.full_name),
            (
                title_service_pb2_grpc.add_TitleServiceServicer_to_server,
                titles.TitleServicer(registry, operations),
                titles.SERVICE.full_name,
            ),
            (
                consent_service_pb2_grpc.add_ConsentServiceServicer_to_server,
                consents.ConsentServicer(operations),
                consents.SERVICE.full_name,
            ),
            (
                dispute_service_pb2_grpc.add_DisputeServiceServicer_to_server,
                disputes.DisputeServicer(operations),
                disputes.SERVICE.full_name,
            ),
            (
                reconciliation_service_pb2_grpc.add_ReconciliationServiceServicer_to_server,
                reconciliation.ReconciliationServicer(reconciling),
                reconciliation.SERVICE.full_name,
            ),
            (
                search_service_pb2_grpc.add_SearchServiceServicer_to_server,
                searches.SearchServicer(finder, verify, clock),
                searches.SERVICE.full_name,
            ),
        ]
        policy = Policy.load(PACKAGE, settings.policy_file)
        # Or the first callers would be told that the read model is behind, when all that is missing is a look at the ledger.
        if not await progress.level(_LEVEL_AT_START_SECONDS):
            log.warning("serving_behind_the_ledger", hint="searches are refused until the read model is level", block=progress.block_number)
        server = await app.enter(grpc_server(settings, services, policy=policy, health=app.health))
        if started is not None:
            started(server.port)
        await app.serve()


@asynccontextmanager
async def _closing(writer: LedgerWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await writer.close()


def _count_batch(blocks: list[FollowedBlock]) -> None:
    metrics.BLOCKS.inc(len(blocks))
    for block in blocks:
        for outcome in block.outcomes:
            metrics.TRANSACTIONS.labels(outcome.validation).inc()


async def _gauges(progress: Progress, writes: PostgresWrites, details: PostgresDetails) -> None:
    metrics.LEDGER_HEIGHT.set(progress.height)
    metrics.READ_MODEL_HEIGHT.set(progress.block_number)
    metrics.READ_MODEL_BEHIND_SECONDS.set(progress.behind_seconds())
    metrics.PENDING_ENVELOPES.set(await writes.count_pending())
    metrics.PENDING_DETAILS.set(await details.count())
