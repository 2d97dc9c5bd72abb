"""The registry's use cases: titles and liens, written to the ledger, read from the read model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from carlien_common.domain.errors import not_found
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.debtors import Debtor, DebtorHasher
from carlien_lien_registry.domain.liens import Lien, Title
from carlien_lien_registry.domain.registration import NewLien
from carlien_lien_registry.service.ports import LedgerCall, WriteRequest
from carlien_lien_registry.service.writing import LedgerWriter, fingerprint


class Contract(Protocol):
    """The chaincode's calls."""

    def issue_title(self, vin: str, holder_hash: str, registration_certificate_number: str) -> LedgerCall:
        """Issue the one title of a car."""
        ...

    def register_lien(self, lien: NewLien) -> LedgerCall:
        """Register a lien, public part only."""
        ...

    def discharge_lien(self, registration_number: str, reason: str) -> LedgerCall:
        """Discharge a lien of the own organisation."""
        ...


class RegistryReader(Protocol):
    """Reading the read model."""

    async def lien(self, registration_number: str) -> Lien | None:
        """Return a registration as it is now."""
        ...

    async def history(self, registration_number: str) -> Sequence[Change]:
        """Return a registration's life in ledger order."""
        ...

    async def title(self, vin: str) -> Title | None:
        """Return a title as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for a change, and how a repeat is known."""

    org: str
    rpc: str
    key: str
    payload: bytes


class Registry:
    """Use cases; every write returns after its block is committed and readable here."""

    def __init__(self, writer: LedgerWriter, reader: RegistryReader, contract: Contract, hasher: DebtorHasher) -> None:
        """Take the parts."""
        self._writer = writer
        self._reader = reader
        self._contract = contract
        self._hasher = hasher

    def debtor_hash(self, debtor: Debtor) -> str:
        """How a debtor is named on the public ledger."""
        return self._hasher.newest(debtor)

    async def issue_title(self, asked: Asked, vin: str, holder: Debtor, registration_certificate_number: str) -> Title:
        """Put a car's one title record on the ledger."""
        call = self._contract.issue_title(vin, self._hasher.newest(holder), registration_certificate_number)
        title = (await self._write(asked, call)).title
        if title is None:
            raise TypeError("the ledger answered another change")
        return title

    async def register_lien(self, asked: Asked, lien: NewLien) -> Lien:
        """Register a lien; its private details follow in a second transaction."""
        call = self._contract.register_lien(lien)
        return lien_of_change(await self._write(asked, call, (lien.details.serialised(),)))

    async def discharge_lien(self, asked: Asked, registration_number: str, reason: str) -> Lien:
        """End a lien of the own organisation."""
        return lien_of_change(await self._write(asked, self._contract.discharge_lien(registration_number, reason)))

    async def lien(self, registration_number: str) -> Lien:
        """Return a registration, NOT_FOUND LIEN_UNKNOWN."""
        lien = await self._reader.lien(registration_number)
        if lien is None:
            raise not_found("LIEN_UNKNOWN", "There is no registration with this number.")
        return lien

    async def history(self, registration_number: str) -> Sequence[Change]:
        """Return a registration's life in ledger order, NOT_FOUND LIEN_UNKNOWN."""
        history = await self._reader.history(registration_number)
        if not history:
            raise not_found("LIEN_UNKNOWN", "There is no registration with this number.")
        return history

    async def title(self, vin: str) -> Title:
        """Return a car's title, NOT_FOUND TITLE_UNKNOWN."""
        title = await self._reader.title(vin)
        if title is None:
            raise not_found("TITLE_UNKNOWN", "There is no title for this VIN.")
        return title

    async def _write(self, asked: Asked, call: LedgerCall, details: tuple[bytes, ...] = ()) -> Change:
        request = WriteRequest(asked.org, asked.rpc, asked.key, fingerprint(asked.payload), call, details)
        return (await self._writer.write(request)).changes[0]


def lien_of_change(change: Change) -> Lien:
    """The registration a change is of; TypeError where it is of something else."""
    if change.lien is None:
        raise TypeError("the ledger answered another change")
    return change.lien
