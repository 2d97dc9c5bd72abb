"""The lien registry by gRPC: what is registered, and how a lien of ours would rank behind it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import grpc

from carlien.lien.v1 import (
    certificate_pb2,
    lien_pb2,
    lien_service_pb2,
    lien_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from carlien_common.domain.money import Money
from carlien_common.wire import money_from_proto, money_to_proto
from carlien_pricing.adapters.upstream import degraded, refusal, time_left, understood
from carlien_pricing.domain.quote import LienFacts

NAME = "lien-registry"


class GrpcLienRegistry:
    """The lien registry. Down or slow: UNAVAILABLE, for a lien that isn't seen may rank ahead.

    Where it finds something and then can't say how ours would rank, all of it counts as ahead. Both calls share one deadline.
    """

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._search = search_service_pb2_grpc.SearchServiceStub(channel)
        self._liens = lien_service_pb2_grpc.LienServiceStub(channel)
        self._timeout = timeout_s

    async def search(self, vin: str, amount: Money) -> LienFacts:
        give_up = time.monotonic() + time_left(self._timeout)
        request = search_service_pb2.SearchLiensRequest(vin=vin)
        try:
            response = await self._search.SearchLiens(request, timeout=give_up - time.monotonic())
        except grpc.aio.AioRpcError as error:
            raise refusal(error, "LIEN_REGISTRY_UNAVAILABLE", NAME) from error
        certificate = response.certificate
        live = [hit.lien for hit in certificate.hits if hit.lien.status == lien_pb2.LIEN_STATUS_ACTIVE]
        unranked = understood(NAME, lambda: _facts(certificate, live, live, amount.currency))
        if not live:
            return replace(unranked, rank=1)
        # As a mortgage registered today: whether it would be purchase money isn't known, and that would only rank better.
        what_if = lien_service_pb2.WhatIf(lien_class=lien_pb2.LIEN_CLASS_MORTGAGE, secured_amount=money_to_proto(amount))
        ask = lien_service_pb2.RankPrioritiesRequest(vin=vin, what_if=what_if)
        try:
            ranked = await self._liens.RankPriorities(ask, timeout=max(give_up - time.monotonic(), 0.0))
        except grpc.aio.AioRpcError as error:
            degraded(error, NAME)
            return replace(unranked, rank_assumed=True)
        return understood(NAME, lambda: _ranked(certificate, live, ranked.ranks, amount.currency)) or replace(unranked, rank_assumed=True)


def _ranked(
    certificate: certificate_pb2.SearchCertificate,
    live: Sequence[lien_pb2.Lien],
    ranks: Sequence[lien_service_pb2.PriorityRank],
    currency: str,
) -> LienFacts | None:
    """None where the answer doesn't rank ours. What shares our rank counts as ahead, and so does what the answer doesn't rank."""
    ours = next((rank for rank in ranks if not rank.registration_number), None)
    if ours is None or ours.rank < 1:
        return None
    behind = {rank.registration_number for rank in ranks if rank.rank == 0 or rank.rank > ours.rank}
    ahead = [lien for lien in live if lien.registration_number not in behind]
    # One that isn't ranked may stand anywhere: ours is then not first.
    rank = ours.rank if not ahead else max(ours.rank, 2)
    return replace(_facts(certificate, live, ahead, currency), rank=rank, rule=ours.rule)


def _facts(
    certificate: certificate_pb2.SearchCertificate, live: Sequence[lien_pb2.Lien], ahead: Sequence[lien_pb2.Lien], currency: str
) -> LienFacts:
    claims = {
        lien.registration_number: money_from_proto(lien.secured_amount, "secured_amount") if lien.HasField("secured_amount") else None
        for lien in ahead
    }
    return LienFacts(
        certificate.certificate_number,
        certificate.as_of_block,
        tuple(lien.registration_number for lien in live),
        sum((claim.amount for claim in claims.values() if claim is not None and claim.currency == currency), Decimal(0)),
        uncounted=tuple(number for number, claim in claims.items() if claim is None or claim.currency != currency),
    )
