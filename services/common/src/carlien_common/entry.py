"""The command line every service has: `python -m carlien_<name> [serve|migrate]`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from carlien_common import logs
from carlien_common.config import DatabaseSettings, ServiceSettings, load
from carlien_common.lifecycle import run
from carlien_common.postgres import migrate

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def main(package: str, settings: type[SettingsT], serve: Callable[[SettingsT], Coroutine[Any, Any, None]]) -> int:
    """Runs the service (the default) or brings its database up to date; returns the exit code.

    `migrate` needs CARLIEN_POSTGRES_DSN alone, so that a migration job gets no keys.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {package}", epilog=f"example: CARLIEN_POSTGRES_DSN=… python -m {package} migrate")
    parser.add_argument("command", nargs="?", choices=("serve", "migrate"), default="serve")
    if parser.parse_args().command == "migrate":
        return _migrate(package, load(DatabaseSettings))
    loaded = load(settings)
    return run(lambda: serve(loaded), use_uvloop=loaded.uvloop)


def _migrate(package: str, settings: DatabaseSettings) -> int:
    logs.configure(settings.log_level, settings.log_format, package)
    applied = asyncio.run(
        migrate(
            settings.postgres_dsn.get_secret_value(),
            package,
            lock_timeout_s=settings.postgres_lock_timeout_s,
            connect_timeout_s=settings.postgres_connect_timeout_s,
        )
    )
    logs.get_logger(__name__).info("migrated", package=package, applied=len(applied))
    return 0
