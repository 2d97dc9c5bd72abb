"""What the use cases need from outside, and the records they keep."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from carlien_common.domain.money import Money
from carlien_pricing.domain.counteroffers import Counteroffer
from carlien_pricing.domain.matrix import UsageFacts
from carlien_pricing.domain.quote import (
    BorrowerFacts,
    CarFacts,
    ForecastPoint,
    LienFacts,
    LoanRequest,
    PricedQuote,
    QuoteInputs,
    ValueFacts,
)
from carlien_pricing.domain.step_downs import StepDown
from carlien_pricing.domain.watch_state import Cause, Change, IndexLevels, Mark, OpenAlert, Stage, UsageMark, Watch

if TYPE_CHECKING:
    from carlien_pricing.service.workshop import FinishedQuote


class QuoteStatus(StrEnum):
    """State of a quote; EXPIRED is a reader's judgement, never stored."""

    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    EXPIRED = "EXPIRED"
    DECLINED = "DECLINED"


@dataclass(frozen=True, slots=True)
class Collateral:
    """The car of a request: described (then appraised and recorded now), or by a recorded appraisal.

    `vehicle` is valuation's own message, passed through unread.
    """

    car: CarFacts | None = None
    vehicle: bytes = b""
    appraisal_id: str = ""


@dataclass(frozen=True, slots=True)
class BorrowerInput:
    """What the caller says of the borrower."""

    features: dict[str, float]
    score: float | None
    pd_12m: float | None


@dataclass(frozen=True, slots=True)
class QuoteCommand:
    """A validated request for a quote."""

    collateral: Collateral
    borrower: BorrowerInput
    loan: LoanRequest
    currency: str
    with_counteroffers: bool
    key: str
    payload: bytes
    """The request as sent, for telling a repeat from a reuse of the key."""


@dataclass(frozen=True, slots=True)
class QuoteRecord:
    """A stored quote: what it was made from, what it says, and what became of it."""

    quote_id: str
    currency: str
    inputs: QuoteInputs
    priced: PricedQuote
    counteroffers: tuple[Counteroffer, ...]
    step_downs: tuple[StepDown, ...]
    input_hash: str
    engine_version: str
    software_version: str
    quoted_at: datetime
    expires_at: datetime
    status: QuoteStatus
    accepted_at: datetime | None = None

    def as_of(self, now: datetime) -> "QuoteRecord":
        """With EXPIRED where an open quote's time has passed."""
        if self.status is QuoteStatus.OPEN and now >= self.expires_at:
            return replace(self, status=QuoteStatus.EXPIRED)
        return self


@dataclass(frozen=True, slots=True)
class HeldAppraisal:
    """A recorded appraisal as its event told it: enough for a quote and for a mark."""

    appraisal_id: str
    vin: str
    facts: ValueFacts
    mark: Mark


@dataclass(frozen=True, slots=True)
class HeldLien:
    """A registration as the ledger's events tell it."""

    registration_number: str
    vin: str
    own: bool
    ahead: bool
    """Whether it may rank before a mortgage registered earlier: possessory (Art. 456) or purchase money (Art. 416)."""
    active: bool
    block_number: int
    tx_index: int


@dataclass(frozen=True, slots=True)
class HeldAlert:
    """An alert case as telematics' newest event tells it; `revision` orders the changes of a case."""

    vin: str
    alert: OpenAlert
    is_open: bool
    revision: int


@dataclass(frozen=True, slots=True)
class HeldUsage:
    """A car's profile as far as a watch needs it."""

    vin: str
    mark: UsageMark


@dataclass(frozen=True, slots=True)
class UsageReport:
    """How a car is used: facts for grade and recovery, features for the usage model.

    `features` empty: they could not be asked; None: there are none (no device, or too few days to tell).
    """

    facts: UsageFacts
    features: Mapping[str, float] | None


class Valuation(Protocol):
    """Appraises cars."""

    async def appraise(self, vehicle: bytes, currency: str, on: date, key: str) -> ValueFacts:
        """Appraised and recorded under `key`. DomainError: UNAVAILABLE VALUATION_UNAVAILABLE, or INVALID as valuation says."""
        ...

    async def forecast(
        self, vehicle: bytes, currency: str, on: date, horizon_months: int, annual_mileage_km: int
    ) -> tuple[ForecastPoint, ...]:
        """Month 0 on; empty where valuation can't say. DomainError UNAVAILABLE VALUATION_UNAVAILABLE where it doesn't answer."""
        ...


class LienRegistry(Protocol):
    """Searches liens."""

    async def search(self, vin: str, amount: Money) -> LienFacts:
        """A certified search, and the rank of a lien of ours for this amount. DomainError UNAVAILABLE LIEN_REGISTRY_UNAVAILABLE: no
        loan is priced without a search. Where only the rank can't be had, everything registered counts as ahead.
        """
        ...


class Telematics(Protocol):
    """Says how a car is used."""

    async def state(self, vin: str, now: datetime) -> UsageFacts:
        """The device's last report. Never raises: where telematics does not answer in time, `known` is false."""
        ...

    async def usage(self, vin: str, now: datetime) -> UsageReport:
        """The same with the car's profile. Never raises: what can't be had in time is not known, and the worst is assumed."""
        ...


class BorrowerModel(Protocol):
    """A fitted scorecard."""

    def assess(self, features: dict[str, float]) -> BorrowerFacts:
        """PD and reason codes; INVALID FEATURE_UNKNOWN for a feature the model doesn't have."""
        ...


class Transaction(Protocol):
    """One database transaction; leaving it by an error undoes everything, events included."""

    async def first_answer(self, org: str, rpc: str, key: str, payload: bytes, answer: bytes | None = None) -> bytes | None:
        """Claims the key: None the first time, else the stored answer; ALREADY_EXISTS for another payload.

        An `answer` that is known already is remembered at once.
        """
        ...

    async def remember(self, org: str, rpc: str, key: str, answer: bytes) -> None: ...

    async def add_quote(self, made: "FinishedQuote", org: str) -> None:
        """Stores it and tells the world what the caller is answered."""
        ...

    async def quote_for_update(self, quote_id: str, org: str) -> QuoteRecord | None:
        """Locked until the transaction ends: two acceptances at once take turns."""
        ...

    async def accept(self, record: QuoteRecord, answer: bytes) -> None:
        """Marks it accepted and tells the world what the caller is answered."""
        ...

    async def appraisal(self, appraisal_id: str) -> HeldAppraisal | None: ...

    async def newest_appraisal(self, vin: str) -> HeldAppraisal | None: ...

    async def lock_cars(self, vins: Sequence[str]) -> None:
        """Until the end of the transaction nobody else who locks one of these cars goes on.

        Without it a watch that begins and an event of its car that arrives could each read before the other has written:
        the watch would never learn of the event.
        """
        ...

    async def add_appraisals(self, appraisals: Sequence[HeldAppraisal]) -> None:
        """Those that are held already stay as they are."""
        ...

    async def put_lien(self, lien: HeldLien) -> bool:
        """Keeps it unless what is held is later in ledger order; whether it did."""
        ...

    async def liens(self, vin: str) -> Sequence[HeldLien]: ...

    async def put_alert(self, held: HeldAlert) -> bool:
        """Keeps it unless what is held of the case is as new or newer; whether it did."""
        ...

    async def open_alerts(self, vin: str) -> Sequence[OpenAlert]: ...

    async def put_usage(self, held: HeldUsage) -> bool:
        """Keeps it unless what is held was computed as late or later; whether it did."""
        ...

    async def usage_mark(self, vin: str) -> UsageMark | None: ...

    async def watch_for_update(self, loan_id: str) -> Watch | None: ...

    async def watches_of(self, vins: Sequence[str]) -> Sequence[Watch]:
        """All open watches of these cars, locked, in order of loan identifier."""
        ...

    async def overdue_margin_calls(self, now: datetime, limit: int) -> Sequence[Watch]: ...

    async def behind_vintage(self, vintage: str, limit: int) -> Sequence[Watch]:
        """Open watches that are carried on by an older vintage or none, locked; those that others hold are left out."""
        ...

    async def put_watch(self, watch: Watch, change: Change | None, cause: Cause) -> None:
        """Stores it; tells the world where something changed."""
        ...

    async def put_watches(self, watches: Sequence[Watch], told: Sequence[tuple[Change, Watch]], cause: Cause) -> None:
        """Many at once: last states to store, and changes to tell in order."""
        ...

    async def index(self) -> IndexLevels | None:
        """The newest vintage held."""
        ...

    async def put_index(self, levels: IndexLevels) -> bool:
        """Keeps it where it is newer than what is held; whether it was."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """A change of a watch as it was told. `place` orders all of them."""

    place: "Place"
    event: bytes


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a reader of changes stands: a transaction, and a row in it."""

    tx: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.tx}.{self.sequence}"


class Store(Protocol):
    """The service's database."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    async def first_answer(self, org: str, rpc: str, key: str, payload: bytes) -> bytes | None:
        """The answer already given under this key, without claiming it; ALREADY_EXISTS for another payload."""
        ...

    async def quote(self, quote_id: str, org: str) -> QuoteRecord | None: ...

    async def watch(self, loan_id: str) -> Watch | None: ...

    async def list_watches(self, stage: Stage | None, after: str, limit: int) -> Sequence[Watch]: ...

    async def appraisal(self, appraisal_id: str) -> HeldAppraisal | None: ...

    async def index(self) -> IndexLevels | None:
        """The newest vintage held."""
        ...

    async def due_checks(self, now: datetime, limit: int) -> Sequence[Watch]:
        """Watches that somebody must look at by now, those due longest first."""
        ...

    async def forget_alerts(self, before: datetime) -> None:
        """Deletes cases that were closed before that time."""
        ...

    async def now_place(self) -> Place:
        """Behind everything that has been told."""
        ...

    async def told_after(self, place: Place, loan_id: str, limit: int) -> Sequence[Told]:
        """Changes behind a place, in order, without gaps: what a running transaction may still tell is not passed."""
        ...

    async def forget_told(self, before: datetime) -> None:
        """Deletes changes told before that time."""
        ...
