"""A PostgreSQL cluster of our own: one database and one role per service, fsync on.

PostgreSQL refuses to run as root, so root runs it as the Debian package's user `postgres`; anyone else as themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from urllib.parse import quote

from carlien_local.errors import StackError
from carlien_local.layout import Layout
from carlien_local.processes import ProcessSpec
from carlien_local.starting import Starter

DATABASES = ("valuation", "lien_registry", "lien_registry_org2", "telematics", "pricing")
SUPERUSER = "postgres"
DEBIAN_BINARIES = Path("/usr/lib/postgresql")

SETTINGS = """
# Written by carlien-local at every start. Durable on purpose (fsync, synchronous_commit): the fault tests rely on it.
listen_addresses = '127.0.0.1'
max_connections = 300
shared_buffers = 256MB
max_wal_size = 2GB
fsync = on
synchronous_commit = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_min_duration_statement = 1000
"""


def account() -> str | None:
    """The user the server runs as, None for the present one."""
    return SUPERUSER if os.geteuid() == 0 else None


def binaries() -> Path:
    """The folder of the newest installed server; raises StackError when there is none."""
    versions = sorted(DEBIAN_BINARIES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3].split(".")[0]))
    if versions:
        return versions[-1].parent
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    raise StackError("PostgreSQL isn't installed: run `make setup`.")


def passwords(layout: Layout) -> dict[str, str]:
    """The roles' passwords, made once per state directory and readable by its owner only."""
    file = layout.state / "postgres-passwords.json"
    with contextlib.suppress(FileNotFoundError):
        stored: dict[str, str] = json.loads(file.read_text())
        return stored
    made = {role: secrets.token_urlsafe(18) for role in (SUPERUSER, *DATABASES)}
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        json.dump(made, output)
    return made


def dsn(layout: Layout, role: str) -> str:
    """The connection string of a role to the database of its name."""
    return f"postgresql://{role}:{quote(passwords(layout)[role])}@{layout.address('postgres')}/{role}"


def socket_folder(layout: Layout) -> Path:
    """Short, because the path of a Unix socket has at most 107 characters."""
    return Path(tempfile.gettempdir()) / f"carlien-{layout.port_base}"


def data_folder(layout: Layout) -> Path:
    """STATE/postgres, or a folder of user postgres behind that name where STATE lies in a home it can't enter."""
    folder = layout.state / "postgres"
    user = account()
    if folder.exists() or user is None:
        return folder.resolve()
    if all(parent.stat().st_mode & 0o001 for parent in folder.parents):
        folder.mkdir(mode=0o700)
        shutil.chown(folder, user, user)
        return folder
    home = Path(pwd.getpwnam(user).pw_dir)
    actual = Path(tempfile.mkdtemp(prefix="carlien-", dir=home))
    shutil.chown(actual, user, user)
    folder.symlink_to(actual)
    return actual


def up(starter: Starter) -> bool:
    """Initialises the cluster once, starts it, and makes what roles and databases are missing."""
    layout = starter.layout
    data, sockets, user = data_folder(layout), socket_folder(layout), account()
    if not (data / "PG_VERSION").exists():
        # A first attempt that was cut off leaves files initdb would refuse.
        for left in data.glob("*") if data.is_dir() else ():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        initdb: list[str | Path] = [binaries() / "initdb", "-D", data, "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        starter.run("postgres", [*initdb, "--auth-local=trust", "--auth-host=scram-sha-256"], user=user, cwd=Path("/"))
    sockets.mkdir(exist_ok=True)
    (data / "carlien.conf").write_text(SETTINGS)
    main = data / "postgresql.conf"
    if "carlien.conf" not in main.read_text():
        with main.open("a") as file:
            file.write("\ninclude 'carlien.conf'\n")
    if user:
        shutil.chown(sockets, user, user)
        shutil.chown(data / "carlien.conf", user, user)
    spec = ProcessSpec(
        name="postgres",
        argv=(
            str(binaries() / "postgres"),
            *("-D", str(data), "-p", str(layout.port("postgres")), "-k", str(sockets)),
        ),
        user=user,
        ports=(layout.port("postgres"),),
        probe=str(layout.port("postgres")),
        stop_signal=signal.SIGINT,  # "fast": roll back and close sessions instead of waiting for them
        version=SETTINGS,
    )
    # A killed server stays a zombie until init reaps it, and PostgreSQL takes a zombie for a running server.
    started = starter.ensure(spec, lambda: _answers(starter), attempts=5)
    _create_databases(starter)
    return started


def _answers(starter: Starter) -> bool:
    try:
        _psql(starter, "SELECT 1")
    except StackError:
        return False
    return True


def _psql(starter: Starter, sql: str, database: str = SUPERUSER) -> str:
    layout = starter.layout
    command: list[str | Path] = [binaries() / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-d", database]
    where: list[str | Path] = ["-h", socket_folder(layout), "-p", str(layout.port("postgres"))]
    return starter.run("postgres", [*command, *where], user=account(), cwd=Path("/"), stdin=sql, timeout_s=20.0)


def _create_databases(starter: Starter) -> None:
    present = set(_psql(starter, "SELECT datname FROM pg_database").split())
    secret = passwords(starter.layout)
    statements = [f"ALTER ROLE {SUPERUSER} PASSWORD '{secret[SUPERUSER]}';"]
    for name in DATABASES:
        if name not in present:
            statements += [
                # The role may stand already when an earlier attempt was cut off between these statements.
                f"DO $$ BEGIN CREATE ROLE {name}; EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
                f"ALTER ROLE {name} LOGIN PASSWORD '{secret[name]}';",
                f"CREATE DATABASE {name} OWNER {name};",
                f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC;",
            ]
    _psql(starter, "\n".join(statements))
