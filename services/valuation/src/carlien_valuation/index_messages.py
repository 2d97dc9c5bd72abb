"""An index between domain and wire; shared by the rpc and the event."""

from datetime import date

from carlien.valuation.v1 import collateral_index_pb2 as pb
from carlien_common.wire import instant_to_proto
from carlien_valuation.domain.index_publication import METHODS, MarketNowcast, Method, Publication

METHOD_NUMBERS: dict[Method, pb.IndexMethod.ValueType] = {
    "hedonic": pb.INDEX_METHOD_HEDONIC,
    "repeat_price": pb.INDEX_METHOD_REPEAT_PRICE,
}
if set(METHOD_NUMBERS) != set(METHODS):
    raise AssertionError("a method has no number")


def month_text(month: date) -> str:
    """YYYY-MM."""
    return f"{month:%Y-%m}"


def nowcast_message(nowcast: MarketNowcast) -> pb.IndexNowcast:
    """The wire form."""
    return pb.IndexNowcast(
        month=month_text(nowcast.month),
        level=nowcast.level,
        standard_error=nowcast.standard_error,
        sample_size=nowcast.sample_size,
        weight=nowcast.weight,
        made_at=instant_to_proto(nowcast.made_at),
    )


def index_message(publication: Publication, nowcast: MarketNowcast | None = None) -> pb.CollateralIndex:
    """The wire form; a point's first published level only where it has one."""
    return pb.CollateralIndex(
        segment=publication.key.segment,
        region=publication.key.region,
        method=METHOD_NUMBERS[publication.key.method],
        vintage=month_text(publication.vintage),
        base_month=month_text(publication.base_month),
        points=[
            pb.IndexPoint(
                month=month_text(point.month),
                level=point.level,
                standard_error=point.standard_error,
                sample_size=point.sample_size,
                first_published_level=point.first_published_level,
            )
            for point in publication.points
        ],
        input_hash=publication.input_hash,
        methodology_version=publication.methodology_version,
        published_at=instant_to_proto(publication.published_at),
        nowcast=nowcast_message(nowcast) if nowcast else None,
    )
