"""What commands share."""

import json
import sys
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid


def say(text: str) -> None:
    """Progress and summaries go to standard error, so that --json leaves standard output clean."""
    sys.stderr.write(f"{text}\n")


def write_json(path: Path | None, report: dict[str, Any]) -> None:
    """To the file, or to standard output without one."""
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if path is None:
        sys.stdout.write(text)
        return
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """INVALID where the file can't be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise invalid("report", "FILE_UNWRITABLE", f"{path}: {error.strerror}") from error
