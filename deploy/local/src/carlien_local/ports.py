"""Who holds a TCP port: asked before a part starts, so that the message names the port and the process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from carlien_local.errors import StackError

LISTEN = "0A"


def require_free(name: str, ports: tuple[int, ...]) -> None:
    """Raises StackError naming the first port another process listens on, and that process where it can be seen."""
    for port in ports:
        if is_taken(port):
            raise StackError(
                f"{name} can't start: port {port} is taken by {holder(port)}.\n"
                f"End that process, or run this stack elsewhere: CARLIEN_PORT_BASE=<first port> and another --state."
            )


def is_taken(port: int, host: str = "127.0.0.1") -> bool:
    """True when a listener on `host` can't be opened now."""
    with socket.socket() as probe:
        # As servers do: a connection in TIME_WAIT from the last run is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def holder(port: int) -> str:
    """`pid N (command line)` of the process that listens on the port, or a phrase that it can't be seen."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{entry}/fd"):
                if os.readlink(f"/proc/{entry}/fd/{descriptor}") in inodes:
                    command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    return f"pid {entry} ({command.strip()[:120]})"
        except OSError:  # ended meanwhile, or another user's
            continue
    return "a process this user can't see"


def _listening_inodes(port: int) -> list[str]:
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(fields[9])
    return found
