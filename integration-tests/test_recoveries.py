"""What each holder recovers, with a running valuation: the registry ranks, valuation says what the car fetches."""

import random
from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import uuid4

import pytest
from google.type import money_pb2

from carlien.lien.v1 import lien_pb2, lien_service_pb2, lien_service_pb2_grpc
from carlien_common.wire import money_from_proto
from loan_scenario.cars import car, fresh_vin
from loan_scenario.clients import Clients, Stack


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    made = Clients(Stack.from_environment())
    yield made
    await made.close()


async def test_holders_recover_in_rank_up_to_what_the_car_fetches(clients: Clients) -> None:
    stack, vin = clients.stack, fresh_vin(random.Random())
    numbers = []
    for org, address in (("org1", stack.lien_registry), ("org2", stack.lien_registry_org2)):
        stub = clients.stub(lien_service_pb2_grpc.LienServiceStub, address, "originator", org)
        request = lien_service_pb2.RegisterLienRequest(
            vin=vin,
            lien_class=lien_pb2.LIEN_CLASS_MORTGAGE,
            secured_amount=money_pb2.Money(currency_code="CNY", units=30_000),
            debtor=lien_pb2.Debtor(id_type="USCC", id_number="91310000MA1FL0000X", name="Recovery Ltd"),
            contract_hash="a" * 64,
            idempotency_key=str(uuid4()),
        )
        numbers.append((await stub.RegisterLien(request, timeout=60)).lien.registration_number)
    stub = clients.stub(lien_service_pb2_grpc.LienServiceStub, stack.lien_registry, "originator")
    ask = lien_service_pb2.RankPrioritiesRequest(vin=vin, vehicle=car(vin, 60_000, 2020))
    while len((answer := await stub.RankPriorities(ask, timeout=60)).ranks) < 2:
        # The other lender's registration is a block away.
        continue
    assert [rank.registration_number for rank in answer.ranks] == numbers
    assert not answer.abstain_reason
    assert answer.model_version
    for quantile in ("p10", "p50"):
        value = money_from_proto(getattr(answer, f"value_{quantile}"), "value").amount
        recovered = [money_from_proto(getattr(rank, f"recovery_{quantile}"), "recovery").amount for rank in answer.ranks]
        assert value > 0
        assert recovered[0] == min(value, Decimal(30_000)), "first rank is paid first"
        assert recovered[1] == min(value - recovered[0], Decimal(30_000)), "second rank gets what is left"
