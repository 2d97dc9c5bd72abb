"""A car re-marked because telematics shows it otherwise than it was appraised: valued anew, the difference told by cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from carlien_common.domain.errors import DomainError
from carlien_common.domain.money import Money
from carlien_valuation.domain.appraisal import Appraisal, PriceType
from carlien_valuation.domain.appraisal import Cause as RecordCause
from carlien_valuation.domain.battery import Pack
from carlien_valuation.domain.car import Car
from carlien_valuation.domain.revaluation import Cause, Changes
from carlien_valuation.domain.usage_profile import UsageProfile, applied
from carlien_valuation.service.appraise import Appraising, Request
from carlien_valuation.service.revalue import Position, Previous, Revaluation, Revaluing


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded appraisal and the car it was of."""

    appraisal_id: str
    car: Car
    pack: Pack | None
    valuation_date: date
    values: Mapping[PriceType, Money]
    """P50 per market, in the order they were asked for; none where it was abstained."""
    index_level: float


@dataclass(frozen=True, slots=True)
class Remarked:
    """A new appraisal, of which car, why it was made, and what changed in one market."""

    car: Car
    pack: Pack | None
    appraisal: Appraisal
    cause: RecordCause
    price_type: PriceType
    changes: Changes


class Remarking:
    """The use case; synchronous: callers run it in the appraiser's turn."""

    def __init__(self, appraising: Appraising, revaluing: Revaluing) -> None:
        self._appraising, self._revaluing = appraising, revaluing

    def remark(self, held: Sequence[tuple[Recorded, UsageProfile]], today: date) -> list[Remarked | str]:
        """Per car the new appraisal, or in a word why there is none: immaterial, abstained or refused."""
        return [self._remark(recorded, profile, today) for recorded, profile in held]

    def _remark(self, recorded: Recorded, profile: UsageProfile, today: date) -> Remarked | str:
        found = applied(recorded.car, recorded.pack, profile)
        if found is None or not recorded.values or recorded.valuation_date > today:
            return "immaterial"
        car, pack = found
        price_type = PriceType.WHOLESALE if PriceType.WHOLESALE in recorded.values else next(iter(recorded.values))
        value = recorded.values[price_type]
        request = Request(car, tuple(recorded.values), today, value.currency, pack=pack)
        try:
            self._appraising.check(request)
        except DomainError:
            return "refused"
        (appraisal,) = self._appraising.appraise([request])
        position = Position(recorded.appraisal_id, car, _previous(recorded, value), price_type, today, pack=pack)
        (explained,) = self._revaluing.revalue([position])
        if appraisal.abstained or not isinstance(explained, Revaluation) or explained.changes is None:
            return "abstained"
        changes = explained.changes
        return Remarked(car, pack, appraisal, _cause(recorded, car, pack, changes), price_type, changes)


def _cause(recorded: Recorded, car: Car, pack: Pack | None, changes: Changes) -> RecordCause:
    """Another use, where there is one; else the weightier of what differs."""
    if car.usage is not recorded.car.usage:
        return RecordCause.USAGE
    if pack == recorded.pack:
        return RecordCause.MILEAGE
    if car.odometer_km == recorded.car.odometer_km:
        return RecordCause.BATTERY
    mileage, battery = (abs(changes.amounts[cause].amount) for cause in (Cause.MILEAGE, Cause.BATTERY))
    return RecordCause.MILEAGE if mileage > battery else RecordCause.BATTERY


def _previous(recorded: Recorded, value: Money) -> Previous:
    car, pack = recorded.car, recorded.pack
    soh = None if pack is None else pack.soh
    return Previous(
        value=value,
        day=recorded.valuation_date,
        odometer_km=car.odometer_km,
        usage=car.usage,
        transfer_count=car.transfer_count,
        grade=car.grade,
        soh=soh,
        index_level=recorded.index_level,
        has_pack=True,
    )
