"""What of a registration may be amended; never to the detriment of others: a higher amount is a new registration."""

import datetime as dt
from dataclasses import dataclass

from carlien_common.domain.money import Money
from carlien_lien_registry.domain.registration import External, PrivateDetails


@dataclass(frozen=True, slots=True)
class PartialDischarge:
    """A lower secured amount."""

    secured_amount: Money


@dataclass(frozen=True, slots=True)
class DebtorChange:
    """Another debtor or contract."""

    debtor_hash: str
    details: PrivateDetails


@dataclass(frozen=True, slots=True)
class TransferRestriction:
    """Whether the agreement not to transfer is registered, and so binds third parties (担保解释 43)."""

    registered: bool


ExternalRegistration = External


@dataclass(frozen=True, slots=True)
class PossessionEnded:
    """The creditor's possession ended (Civil Code 457)."""

    ended_on: dt.date


@dataclass(frozen=True, slots=True)
class AddCollateral:
    """A further car for the same claim."""

    vin: str
    require_first_rank: bool = False
    reservation_id: str = ""


@dataclass(frozen=True, slots=True)
class SubstituteCollateral:
    """Another car instead of this one."""

    vin: str
    require_first_rank: bool = False
    reservation_id: str = ""


Amendment = PartialDischarge | DebtorChange | TransferRestriction | External | PossessionEnded | AddCollateral | SubstituteCollateral
