"""One text per report, so that its hash names it."""

import hashlib
import json
from typing import Any


def canonical(report: dict[str, Any]) -> str:
    """JSON with sorted keys and no insignificant space; ValueError for NaN."""
    return json.dumps(report, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(text: str) -> str:
    """In hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
