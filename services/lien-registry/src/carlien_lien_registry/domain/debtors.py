"""How a debtor is named on the public ledger: a keyed hash, never the identifier."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from carlien_common.domain.errors import collect_violations

_ID_TYPE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,31}")
_ID_NUMBER_LENGTH: Final = range(1, 65)
_NAME_LENGTH: Final = range(1, 201)


@dataclass(frozen=True, slots=True, repr=False)
class Debtor:
    """A person or business that owes. Its repr shows nothing, so that it can't reach a log by accident."""

    id_type: str
    id_number: str
    name: str

    def __repr__(self) -> str:
        """Hide everything."""
        return "Debtor(…)"


def parse_debtor(id_type: str, id_number: str, name: str, field: str, *, name_required: bool = True) -> Debtor:
    """Check form and length. INVALID with DEBTOR_ID_TYPE, DEBTOR_ID_NUMBER, DEBTOR_NAME; messages repeat no value."""
    fields = collect_violations()
    kind, number, full_name = id_type.strip(), "".join(id_number.split()).upper(), name.strip()
    if not _ID_TYPE.fullmatch(kind):
        fields.add(f"{field}.id_type", "DEBTOR_ID_TYPE", "An identifier type is upper case, for example USCC, CN_ID or PASSPORT.")
    if len(number) not in _ID_NUMBER_LENGTH or not number.isprintable():
        fields.add(f"{field}.id_number", "DEBTOR_ID_NUMBER", "An identifier has 1 to 64 printable characters.")
    if name_required and (len(full_name) not in _NAME_LENGTH or not full_name.isprintable()):
        fields.add(f"{field}.name", "DEBTOR_NAME", "A name has 1 to 200 printable characters.")
    fields.check()
    return Debtor(kind, number, full_name)


class DebtorHasher:
    """Keyed hashes under the consortium's keys: new records use the newest key, searches try all live ones."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        """Take key number -> key, at least one, each 16 bytes or more: ValueError."""
        if not keys or any(number < 1 or len(key) < 16 for number, key in keys.items()):
            raise ValueError("the consortium keys are numbered from 1 and have at least 16 bytes each")
        self._keys = dict(sorted(keys.items(), reverse=True))

    def newest(self, debtor: Debtor) -> str:
        """`k<n>:<hex of HMAC-SHA256>` under the newest key."""
        return self.all_live(debtor)[0]

    def all_live(self, debtor: Debtor) -> list[str]:
        """The hash under every live key, newest first."""
        # The kind is part of it: the same digits as passport and as identity card are two persons.
        message = f"{debtor.id_type}\x00{debtor.id_number}".encode()
        return [f"k{number}:{hmac.new(key, message, hashlib.sha256).hexdigest()}" for number, key in self._keys.items()]
