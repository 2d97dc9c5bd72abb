"""SearchService alone, as the service builds it, on a read model that was fed with blocks no ledger has: for `lien_scale`.

Usage: python -m benchmarks.lien_scale_server   (settings from CARLIEN_* as every service)
"""

import asyncio
import os
from pathlib import Path

from carlien.lien.v1 import certificate_pb2, search_service_pb2_grpc
from carlien_common import postgres
from carlien_common.config import ServiceSettings, load
from carlien_common.domain.clock import utc_now
from carlien_common.failures import is_transient
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import grpc_server
from carlien_common.lifecycle import Application, run
from carlien_lien_registry import proofs
from carlien_lien_registry.adapters.certifier import FabricCertifier
from carlien_lien_registry.adapters.commitments import lien_record
from carlien_lien_registry.adapters.fabric import Identity, LocalSigner
from carlien_lien_registry.adapters.postgres.certificates import PostgresCertificates
from carlien_lien_registry.adapters.postgres.reading import PostgresReader
from carlien_lien_registry.adapters.postgres.tree import PostgresTree
from carlien_lien_registry.bootstrap import PACKAGE
from carlien_lien_registry.domain.debtors import DebtorHasher
from carlien_lien_registry.grpc_api import searches
from carlien_lien_registry.service.anchoring import Anchoring
from carlien_lien_registry.service.following import Progress
from carlien_lien_registry.service.searching import Searches

MSP_IDS = ("Org1MSP", "Org2MSP")


class NoLedger:
    """AnchorLedger that is never needed: the newest change is anchored."""

    async def post(self, block_number: int, root: bytes) -> None:
        """Refuse."""
        raise AssertionError(f"block {block_number} isn't anchored")


async def _level(progress: Progress, newest: int) -> None:
    """Stand in for the follower: the read model has all there is."""
    while True:
        await progress.applied(newest)
        await asyncio.sleep(0.5)


async def serve(settings: ServiceSettings) -> None:
    """Serve until a signal."""
    async with Application(settings, "lien-registry") as app:
        pool = await app.enter(postgres.pool(settings))
        progress = Progress()
        newest = await pool.fetchval("SELECT block_number FROM ledger_checkpoint")
        app.spawn("level", _level(progress, newest))
        tree = PostgresTree(pool, MSP_IDS, MSP_IDS[0])
        anchoring = Anchoring(tree, NoLedger(), progress)
        await anchoring.step()
        app.spawn("anchoring", anchoring.run(is_transient))
        signer = LocalSigner.from_file(Path(os.environ["FABRIC_ORG1_KEY_FILE"]))
        chain = [Identity.from_file(MSP_IDS[0], Path(os.environ["FABRIC_ORG1_CERT_FILE"])).certificate_pem.decode()]
        hasher = DebtorHasher({1: bytes(32)})
        stored = PostgresCertificates(pool, settings.org)
        finder = Searches(PostgresReader(pool), stored, FabricCertifier(signer, chain), anchoring, lien_record, progress, hasher, utc_now)

        async def verify(certificate: certificate_pb2.SearchCertificate) -> list[str]:
            roots = proofs.PostedRoots(frozenset(MSP_IDS), await tree.posted(certificate.as_of_block))
            return proofs.verify_proof(certificate, roots)

        servicer = searches.SearchServicer(finder, verify, utc_now)
        services = [(search_service_pb2_grpc.add_SearchServiceServicer_to_server, servicer, searches.SERVICE.full_name)]
        policy = Policy.load(PACKAGE, settings.policy_file)
        await app.enter(grpc_server(settings, services, policy=policy, health=app.health))
        await app.serve()


if __name__ == "__main__":
    raise SystemExit(run(lambda: serve(load(ServiceSettings))))
