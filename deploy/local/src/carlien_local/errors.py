"""What the stack says when something is wrong: one sentence, what to do about it, and the log's last lines."""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """A failure the user can act on; printed without a traceback."""


class Interrupted(StackError):
    """The user pressed Ctrl-C, or another step failed: this wait ends early."""


class PartFailed(StackError):
    """A part ended or didn't become ready; carries the tail of its log."""

    def __init__(self, name: str, problem: str, log: Path, lines: int = 15) -> None:
        super().__init__(f"{name}: {problem}\n{tail(log, lines)}")


def tail(log: Path, lines: int) -> str:
    """The last `lines` lines of a log, indented, under its path; says so when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode("utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    body = "\n".join(f"    | {line}" for line in text) or "    | (empty)"
    return f"  last lines of {log}:\n{body}"
