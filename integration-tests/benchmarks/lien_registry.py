"""Lien registration: one by one, and fifty at once, from call to committed block."""

import hashlib
from uuid import uuid4

from google.type import money_pb2

from benchmarks.measure import Figure, Session, closed_loop
from carlien.lien.v1 import lien_pb2, lien_service_pb2, lien_service_pb2_grpc, search_service_pb2, search_service_pb2_grpc
from loan_scenario.cars import fresh_vin


async def run(session: Session) -> list[Figure]:
    """Measure registrations and searches."""
    liens = session.clients.stub(lien_service_pb2_grpc.LienServiceStub, session.stack.lien_registry, "originator")
    searches = session.clients.stub(search_service_pb2_grpc.SearchServiceStub, session.stack.lien_registry, "originator")
    vins = [fresh_vin(session.rng) for _ in range(1000)]

    async def register(number: int) -> object:
        return await liens.RegisterLien(
            lien_service_pb2.RegisterLienRequest(
                vin=vins[number % len(vins)],
                lien_class=lien_pb2.LIEN_CLASS_MORTGAGE,
                secured_amount=money_pb2.Money(currency_code="CNY", units=30_000),
                debtor=lien_pb2.Debtor(id_type="USCC", id_number="91310000MA1FL0000X", name="Bench Ltd"),
                contract_hash=hashlib.sha256(str(number).encode()).hexdigest(),
                idempotency_key=str(uuid4()),
            ),
            timeout=60,
        )

    async def search(number: int) -> object:
        return await searches.SearchLiens(search_service_pb2.SearchLiensRequest(vin=vins[number % len(vins)]), timeout=30)

    await closed_loop(register, 5, 1)
    alone = await closed_loop(register, 40, 1)
    crowd = await closed_loop(register, 600, 50)
    found = await closed_loop(search, 1000, 16)
    return [
        Figure("lien registration, one by one, median", alone.median, "s"),
        Figure("lien registration, one by one, p95", alone.quantile(0.95), "s", target="< 1 s", met=alone.quantile(0.95) < 1),
        Figure("lien registration, 50 at once, median", crowd.median, "s"),
        Figure("lien registration, 50 at once, p95", crowd.quantile(0.95), "s", target="< 0.5 s", met=crowd.quantile(0.95) < 0.5),
        Figure("lien registrations, 50 at once", crowd.rate, "1/s"),
        Figure("searches with certificate, 16 at once", found.rate, "1/s", target=">= 500/s", met=found.rate >= 500),
    ]
