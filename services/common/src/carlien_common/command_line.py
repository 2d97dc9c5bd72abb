"""Command-line tools: subcommands that are modules, exit codes, errors in words.

Imports nothing heavy, so that `--help` stays quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Final

from carlien_common.domain.errors import DomainError, ErrorKind

OK, NEGATIVE, USAGE, UNAVAILABLE = 0, 1, 2, 3
"""Done; a negative verdict; wrong usage or input; a dependency is unavailable."""
_INTERRUPTED: Final = 130
_AWAY: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.EXHAUSTED, ErrorKind.CONFLICT})


def parser(prog: str, description: str, package: str, commands: Sequence[str]) -> argparse.ArgumentParser:
    """A command line of subcommands, in the order given.

    Each is a module of `package` with `add_parser(subparsers)`, which sets `run`: parsed arguments in, exit code (or an awaitable of
    it) out. Heavy libraries are imported inside `run`.
    """
    root = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="Exit codes: 0 ok, 1 a negative verdict, 2 wrong usage or input, 3 a dependency is unavailable.",
    )
    subparsers = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in commands:
        import_module(f"{package}.{name}").add_parser(subparsers)
    return root


def exit_code(prog: str, work: Callable[[], int]) -> int:
    """Runs a command. What is wrong is told on standard error, a line per finding."""
    try:
        return work()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - raised again where it is a mistake of ours
        return _told(prog, error, refused=USAGE)


async def calling_exit_code(prog: str, work: Callable[[], Awaitable[int]]) -> int:
    """The same for a command that calls a service: what is well-formed and refused there is a negative verdict."""
    try:
        return await work()
    except Exception as error:  # noqa: BLE001 - raised again where it is a mistake of ours
        return _told(prog, error, refused=NEGATIVE)


def _told(prog: str, error: Exception, *, refused: int) -> int:
    if isinstance(error, BrokenPipeError):  # the reader has had enough
        return OK
    if isinstance(error, OSError) and error.filename is not None:  # a file of the caller's; without a name it's a connection
        sys.stderr.write(f"{prog}: {error.filename}: {error.strerror}\n")
        return USAGE
    known = error if isinstance(error, DomainError) else _domain_error(error)
    if known is None:
        raise error
    sys.stderr.write(f"{prog}: {known.message} [{known.reason}]\n")
    for violation in known.violations:
        sys.stderr.write(f"  {violation.field}: {violation.description} [{violation.reason}]\n")
    if known.kind in _AWAY:
        return UNAVAILABLE
    return USAGE if known.kind is ErrorKind.INVALID else refused


def _domain_error(error: Exception) -> DomainError | None:
    from carlien_common.failures import as_domain_error

    return as_domain_error(error)
