"""What the registry can be searched by, as the Merkle tree names it."""

from carlien_lien_registry.domain.liens import Lien
from carlien_lien_registry.domain.search_key import search_key


def vin_subject(vin: str) -> str:
    """A car."""
    return f"vin:{vin}"


def serial_subject(vin: str) -> str:
    """Every car with this one's serial search key."""
    return f"serial:{search_key(vin)}"


def debtor_subject(debtor_hash: str) -> str:
    """A debtor under one of the consortium's keys."""
    return f"debtor:{debtor_hash}"


def number_subject(registration_number: str) -> str:
    """One registration."""
    return f"number:{registration_number}"


def subjects_of(lien: Lien) -> tuple[str, ...]:
    """Every subject under which a registration is found."""
    return (vin_subject(lien.vin), serial_subject(lien.vin), debtor_subject(lien.debtor_hash), number_subject(lien.registration_number))
