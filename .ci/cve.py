"""Known vulnerabilities of everything that is locked: `make scan` asks OSV (PyPI, Go and Maven advisories in one database).

Exit 1 names every finding. Where the database can't be reached (CARLIEN_OSV_URL: a mirror of it) the scan says that it was skipped.
"""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATABASE = os.environ.get("CARLIEN_OSV_URL", "https://api.osv.dev")
# The API's own limit is 1,000.
BATCH = 500
GO_MODULES = ("services/lien-registry/chaincode", "deploy/fabric/tools")
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_JAR = re.compile(r"<groupId>(.+?)</groupId>\s*<artifactId>(.+?)</artifactId>\s*<version>(.+?)</version>")


def dependencies() -> list[tuple[str, str, str]]:
    """(ecosystem, name, version) of what is locked, each once."""
    return sorted({*_python(), *_go(), *_java()})


def _python() -> Iterator[tuple[str, str, str]]:
    for path in Path("requirements").glob("*.txt"):
        yield from (("PyPI", name, version) for name, version in _PINNED.findall(path.read_text()))


def _go() -> Iterator[tuple[str, str, str]]:
    for folder in GO_MODULES:
        command = ["go", "-C", folder, "list", "-mod=readonly", "-m", "-f", "{{if not .Main}}{{.Path}} {{.Version}}{{end}}", "all"]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for line in filter(None, listing.splitlines()):
            name, version = line.split()
            yield "Go", name, version.removeprefix("v")
    toolchain = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    yield "Go", "stdlib", toolchain.removeprefix("go")


def _java() -> Iterator[tuple[str, str, str]]:
    for group, artifact, version in _JAR.findall(Path("deploy/local/kafka/pom.xml").read_text()):
        yield "Maven", f"{group}:{artifact}", version


def vulnerabilities(locked: list[tuple[str, str, str]]) -> Iterator[str]:
    """A line per dependency with known vulnerabilities; URLError where the database can't be reached."""
    for first in range(0, len(locked), BATCH):
        part = locked[first : first + BATCH]
        queries = [{"package": {"ecosystem": ecosystem, "name": name}, "version": version} for ecosystem, name, version in part]
        for (ecosystem, name, version), result in zip(part, _ask({"queries": queries}), strict=True):
            if found := sorted(one["id"] for one in result.get("vulns", ())):
                yield f"{ecosystem} {name} {version}: {', '.join(found)}"


def _ask(body: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - https, or what the caller says
        f"{DATABASE}/v1/querybatch", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        results: list[dict[str, Any]] = json.load(answer)["results"]
        return results


def main() -> int:
    """See the module's docstring."""
    locked = dependencies()
    try:
        findings = list(vulnerabilities(locked))
    except (urllib.error.URLError, TimeoutError) as error:
        sys.stdout.write(f"CVE scan: SKIPPED, nothing was looked up: {DATABASE} can't be reached ({error})\n")
        return 0
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"CVE scan: {len(locked)} locked dependencies, {len(findings)} with known vulnerabilities\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
