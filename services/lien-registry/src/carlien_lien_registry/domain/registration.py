"""A lien to be registered: its public part, and the private details that the ledger holds only as a salted hash."""

import datetime as dt
import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Final

from carlien_common.domain.errors import ViolationCollector, invalid
from carlien_common.domain.money import Money
from carlien_lien_registry.domain.debtors import Debtor
from carlien_lien_registry.domain.liens import LienClass

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
_CERTIFICATE_NUMBER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
# A maximum no loan on a car comes near; it keeps amounts within what every reader's number type can hold.
MAX_AMOUNT: Final = 1_000_000_000_000
_DELIVERY_AHEAD: Final = dt.timedelta(days=366)


@dataclass(frozen=True, slots=True, repr=False)
class PrivateDetails:
    """Debtor and contract; they go to the own organisation's private collection. The repr shows nothing."""

    debtor: Debtor
    contract_hash: str
    salt: str

    def __repr__(self) -> str:
        """Hide everything."""
        return "PrivateDetails(…)"

    def serialised(self) -> bytes:
        """Return canonical JSON: sorted keys, no spaces, UTF-8."""
        document = {
            "contract_hash": self.contract_hash,
            "debtor": {"id_number": self.debtor.id_number, "id_type": self.debtor.id_type, "name": self.debtor.name},
            "salt": self.salt,
        }
        return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    def hash(self) -> str:
        """Return the SHA-256 of the serialised details, hexadecimal: what the public registration carries."""
        return hashlib.sha256(self.serialised()).hexdigest()


@dataclass(frozen=True, slots=True)
class External:
    """Its registration in an official registry (PSB_VEHICLE, ZHONGDENG, OTHER), where it has one."""

    external_registry: str = ""
    external_certificate_number: str = ""
    external_status: str = ""


@dataclass(frozen=True, slots=True)
class NewLien:
    """A validated registration."""

    vin: str
    lien_class: LienClass
    secured_amount: Money
    details: PrivateDetails
    debtor_hash: str
    require_first_rank: bool
    delivery_date: dt.date | None
    expires_at: dt.datetime | None
    reservation_id: str = ""
    evidence_hash: str = ""
    claim_id: str = ""
    transfer_restriction_registered: bool = False
    external: External = External()


def new_salt() -> str:
    """Return 256 random bits: without them a debtor could be found by trying identifiers against the public hash."""
    return secrets.token_hex(32)


def check_hash(value: str, field: str, fields: ViolationCollector) -> None:
    """INVALID <FIELD> unless 64 lower-case hexadecimal digits."""
    if not _HASH.fullmatch(value):
        fields.add(field, field.rsplit(".", 1)[-1].upper(), "This must be a SHA-256 in 64 lower-case hexadecimal digits.")


def check_amount(amount: Money, field: str) -> Money:
    """INVALID AMOUNT_NOT_POSITIVE or AMOUNT_TOO_LARGE."""
    if amount.require_positive(field).amount > MAX_AMOUNT:
        raise invalid(field, "AMOUNT_TOO_LARGE", f"At most {MAX_AMOUNT:,} can be secured.")
    return amount


def check_delivery(lien_class: LienClass, delivery_date: dt.date | None, today: dt.date, fields: ViolationCollector) -> None:
    """INVALID DELIVERY_DATE_REQUIRED for purchase money (Civil Code 416 counts 10 days from it), DELIVERY_DATE when far ahead."""
    if delivery_date is None:
        if lien_class is LienClass.PURCHASE_MONEY:
            fields.add("delivery_date", "DELIVERY_DATE_REQUIRED", "Purchase-money priority counts from the delivery (Art. 416).")
    elif delivery_date > today + _DELIVERY_AHEAD:
        fields.add("delivery_date", "DELIVERY_DATE", "The delivery lies more than a year ahead.")


def check_expiry(expires_at: dt.datetime | None, now: dt.datetime, fields: ViolationCollector) -> None:
    """INVALID EXPIRES_AT_PAST unless in the future."""
    if expires_at is not None and expires_at <= now:
        fields.add("expires_at", "EXPIRES_AT_PAST", "A registration can't end before it begins.")


def check_reason(reason: str, fields: ViolationCollector) -> None:
    """INVALID DISCHARGE_REASON unless a code such as PAID_OFF."""
    if not _REASON.fullmatch(reason):
        fields.add("reason", "DISCHARGE_REASON", "A reason is a code in upper case, for example PAID_OFF.")


def check_certificate_number(number: str, fields: ViolationCollector) -> None:
    """INVALID REGISTRATION_CERTIFICATE_NUMBER unless 1 to 64 letters, digits or hyphens."""
    if not _CERTIFICATE_NUMBER.fullmatch(number):
        text = "The number of a registration certificate has 1 to 64 letters, digits or hyphens."
        fields.add("registration_certificate_number", "REGISTRATION_CERTIFICATE_NUMBER", text)
