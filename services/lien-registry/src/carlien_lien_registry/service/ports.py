"""What the use cases need from outside, as small Protocols, and the records they hand over."""

import datetime as dt
import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from carlien_common.domain.errors import DomainError
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Lien, LienStatus


@dataclass(frozen=True, slots=True)
class LedgerCall:
    """One chaincode call: the same arguments give the same change, whichever transaction carries it."""

    function: str
    arguments: tuple[str, ...]
    as_registrar: bool = False


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A signed transaction that may be sent, again and again, until its outcome is known."""

    tx_id: str
    envelope: bytes = field(repr=False)
    result: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transaction: in which block, valid or why not, and what it changed.

    Without `tx_index` a peer told it; with it the block itself did.
    """

    tx_id: str
    validation: str
    block_number: int
    tx_index: int | None = None
    changes: tuple[Change, ...] = ()
    result: bytes = field(default=b"", repr=False)
    context: str = "{}"

    @property
    def valid(self) -> bool:
        """True where it took effect."""
        return self.validation == "VALID"

    @property
    def is_conflict(self) -> bool:
        """True where another transaction changed what this one had read: endorsed anew it may succeed."""
        return self.validation in ("MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT")


class EndorsementsDiffer(Exception):
    """Endorsers answered differently (one was a block behind): endorse anew."""


class OutcomeUnknown(Exception):
    """The ledger couldn't tell, or couldn't be reached; the transaction may or may not take effect."""


class Ledger(Protocol):
    """Writing to the ledger."""

    async def endorse(self, call: LedgerCall) -> Endorsed:
        """Endorse and sign. DomainError where the chaincode refuses or no peer answers; EndorsementsDiffer."""
        ...

    async def submit(self, endorsed: Endorsed) -> None:
        """Send the envelope to be ordered; OutcomeUnknown where that failed. Success is no promise either."""
        ...

    async def status(self, tx_id: str) -> Outcome:
        """Ask a peer for the outcome (without changes), waiting a few seconds; OutcomeUnknown."""
        ...


class WriteState(enum.Enum):
    """State of a write."""

    PENDING = "PENDING"
    COMMITTED = "COMMITTED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """A change somebody asked for. (org, rpc, key) names it; `fingerprint` is the SHA-256 of what was asked.

    `details` are private and follow after the commit; `context` (JSON) is kept for the answer to a repeat.
    """

    org: str
    rpc: str
    key: str
    fingerprint: bytes
    call: LedgerCall
    details: tuple[bytes, ...] = field(default=(), repr=False)
    context: str = "{}"


@dataclass(frozen=True, slots=True)
class Write:
    """A stored write: what was asked, the envelope that carries it now, and how it went."""

    write_id: int
    org: str
    rpc: str
    key: str
    fingerprint: bytes
    call: LedgerCall
    state: WriteState
    attempt: int
    endorsed: Endorsed
    block_number: int | None = None
    error: DomainError | None = None
    context: str = "{}"


class WriteStore(Protocol):
    """Where writes are kept."""

    async def find(self, org: str, rpc: str, key: str) -> Write | None:
        """Return the write of that name, if any."""
        ...

    async def begin(self, request: WriteRequest, endorsed: Endorsed) -> Write:
        """Store it PENDING with its envelope; where another process was faster, return that one's write instead."""
        ...

    async def replace(self, write: Write, endorsed: Endorsed) -> Write:
        """Give a PENDING write its next envelope; where another process was faster, return the write as it is now."""
        ...

    async def fail(self, write: Write, error: DomainError) -> None:
        """Store that it has no effect and never will."""
        ...

    async def reload(self, write: Write) -> Write:
        """Return it as it is now."""
        ...

    async def pending(self, older_than: dt.timedelta, limit: int) -> Sequence[Write]:
        """Return writes whose outcome isn't known, untouched for that long, oldest first."""
        ...


class ChangeReader(Protocol):
    """Reading what transactions changed."""

    async def changes_of(self, tx_id: str) -> tuple[Change, ...]:
        """Return what a projected transaction changed, in order; empty where it isn't projected."""
        ...


@dataclass(frozen=True, slots=True)
class FollowedBlock:
    """A block as the read model takes it: how it hangs on the one before, and every transaction's outcome in order."""

    number: int
    previous_hash: bytes
    header_hash: bytes
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class LedgerCheckpoint:
    """How far the read model has come: the last block applied (-1: none) and the hash of its header."""

    block_number: int
    block_hash: bytes


class LedgerFeed(Protocol):
    """Reading the ledger."""

    def blocks(self, start: int) -> AsyncIterator[FollowedBlock]:
        """Stream blocks from that number on, for good; OutcomeUnknown where the stream breaks."""
        ...

    async def height(self) -> int:
        """Return the number of the last block the peer has; OutcomeUnknown."""
        ...


class Projection(Protocol):
    """The read model's writing side."""

    async def checkpoint(self) -> LedgerCheckpoint:
        """Return how far it has come."""
        ...

    async def apply(self, blocks: Sequence[FollowedBlock]) -> Mapping[str, tuple[Change, ...]]:
        """Take blocks in, in one transaction with their events and the checkpoint; those it has already are skipped.

        Returns what it stored, by transaction: of skipped blocks nothing. LedgerForked where a block doesn't hang on the one
        before; CheckpointMoved where it isn't the next one.
        """
        ...


class CheckpointMoved(Exception):
    """The read model was set back meanwhile, to be rebuilt: go on from where it is now."""


class LedgerForked(Exception):
    """The peer's chain isn't the one the read model was built from: another network, or tampering. Never go on."""


@dataclass(frozen=True, slots=True)
class SearchSubject:
    """What to search by: a VIN, its search key, any of a debtor's keyed hashes, or a registration number."""

    by: Literal["vin", "search_key", "debtor", "registration_number"]
    value: str | list[str]


@dataclass(frozen=True, slots=True)
class Found:
    """Registrations found, in order of registration, and the last block they take into account.

    `proven` are those that stood as of an earlier block, where one was asked for, `since` are the changes after it, `entries`
    what stood then in the tree's buckets asked for, in ascending order. `cut`: there are more than are handed over.
    """

    liens: tuple[Lien, ...]
    as_of_block: int
    proven: tuple[Lien, ...] = ()
    since: tuple[Change, ...] = ()
    entries: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """A block on whose root the required organisations agree, and everybody who posted that root."""

    block_number: int
    root: bytes
    msp_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnchorState:
    """Block numbers, -1 for none: read model, last change of the registry, newest root of ours, and of others (known blocks only).

    `silent` are the required organisations that haven't posted a root since that change.
    """

    read_model: int
    changed: int
    own: int
    others: int
    silent: tuple[str, ...]
    agreed: Agreement | None


class TreeStore(Protocol):
    """The Merkle tree's entries and the posted roots."""

    async def changed_buckets(self, after: int, until: int) -> Mapping[int, bytes]:
        """Return the nodes as of block `until` of all buckets that changed after block `after` (-1: of all)."""
        ...

    async def state(self) -> AnchorState:
        """Return where the registry and its anchors stand."""
        ...


class AnchorLedger(Protocol):
    """Posting roots."""

    async def post(self, block_number: int, root: bytes) -> None:
        """Post the own organisation's root as of a block; returns once sent. OutcomeUnknown or DomainError where that failed."""
        ...


@dataclass(frozen=True, slots=True)
class LienList:
    """Which registrations to list: those of one secured party after a number, filtered, judged as of a time."""

    secured_party_msp_id: str
    as_of: dt.datetime
    limit: int
    after: str = ""
    vin: str = ""
    status: LienStatus | None = None
    expires_before: dt.datetime | None = None
