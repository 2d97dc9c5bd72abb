"""RankPriorities: its request and its answer."""

import datetime as dt

from carlien.lien.v1 import lien_service_pb2 as pb
from carlien_common.domain.errors import collect_violations, invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.wire import date_from_proto, date_to_proto, money_from_proto, money_to_proto
from carlien_lien_registry.domain.priority import Ranked, Sale
from carlien_lien_registry.domain.registration import check_amount
from carlien_lien_registry.grpc_api.converting import registration_number_of
from carlien_lien_registry.service.ranking import Ranking, Rankings, WhatIf
from carlien_lien_registry.wire import CLASS_FROM_PROTO


async def rank_priorities(request: pb.RankPrioritiesRequest, rankings: Rankings) -> pb.RankPrioritiesResponse:
    """Convert in, rank, convert out; INVALID names every bad field."""
    fields = collect_violations()
    what_if: WhatIf | None = None
    with fields:
        vin = parse_vin(request.vin)
    if request.HasField("what_if"):
        with fields:
            what_if = _what_if(request.what_if)
    fields.check()
    sale = Sale(request.sale.ordinary_course, request.sale.fair_price_paid, request.sale.taken_over) if request.HasField("sale") else None
    vehicle = request.vehicle.SerializeToString() if request.HasField("vehicle") else b""
    return _response(await rankings.rank(vin.value, what_if, vehicle, sale))


def _what_if(message: pb.WhatIf) -> WhatIf:
    fields = collect_violations()
    delivered_on: dt.date | None = None
    lien_class = CLASS_FROM_PROTO.get(message.lien_class)
    with fields:
        if lien_class is None:
            raise invalid("what_if.lien_class", "LIEN_CLASS", "State the kind of security interest.")
    with fields:
        field = "what_if.secured_amount"
        secured = check_amount(money_from_proto(message.secured_amount, field), field)
    with fields:
        if message.HasField("delivery_date"):
            delivered_on = date_from_proto(message.delivery_date, "what_if.delivery_date")
    for number in message.subordinated_to:
        with fields:
            registration_number_of(number, "what_if.subordinated_to")
    fields.check()
    assert lien_class is not None  # noqa: S101 - fields.check() has seen to it
    return WhatIf(lien_class, secured, delivered_on, tuple(message.subordinated_to), message.unregistered)


def _response(ranking: Ranking) -> pb.RankPrioritiesResponse:
    appraised = ranking.appraised
    values = appraised.values
    return pb.RankPrioritiesResponse(
        ranks=[_rank(one, ranking) for one in ranking.ranked],
        as_of_block=ranking.as_of_block,
        value_p10=money_to_proto(values["p10"]) if values else None,
        value_p50=money_to_proto(values["p50"]) if values else None,
        model_version=appraised.model_version,
        data_cutoff=date_to_proto(appraised.data_cutoff) if appraised.data_cutoff else None,
        abstain_reason=appraised.abstain_reason,
    )


def _rank(one: Ranked, ranking: Ranking) -> pb.PriorityRank:
    lien = ranking.liens.get(one.interest.number)
    return pb.PriorityRank(
        registration_number=one.interest.number,
        rank=one.rank,
        rule=one.rule.value,
        recovery_p10=money_to_proto(one.recovery["p10"]) if one.recovery else None,
        recovery_p50=money_to_proto(one.recovery["p50"]) if one.recovery else None,
        secured_party_msp_id=lien.secured_party_msp_id if lien else "",
    )
