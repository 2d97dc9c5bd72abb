"""Secret and hash scan of what git tracks: `make check` runs it; exit 1 names every finding.

Finds keys and tokens (detect-secrets' structured detectors; the entropy ones drown in hashes and device frames),
requirement lines without a hash, and addresses of package registries.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

_DETECTORS = [
    {"name": name}
    for name in (
        "AWSKeyDetector",
        "AzureStorageKeyDetector",
        "BasicAuthDetector",
        "GitHubTokenDetector",
        "JwtTokenDetector",
        "PrivateKeyDetector",
        "PypiTokenDetector",
        "SlackDetector",
        "StripeDetector",
    )
]
# A lock file that names a registry ties every user to it; Go's and Maven's own files name none.
_REGISTRY = re.compile(r"https?://[^\s\"']*(?:pypi|pythonhosted|npmjs|proxy\.golang|repo1?\.maven|deb\.debian)[^\s\"']*")


def _tracked_files() -> list[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout.decode()
    return [name for name in listing.split("\0") if name and Path(name).is_file()]


def _secrets(files: list[str]) -> Iterator[str]:
    collection = SecretsCollection()
    with transient_settings(
        {"plugins_used": _DETECTORS, "filters_used": [{"path": "detect_secrets.filters.allowlist.is_line_allowlisted"}]}
    ):
        for name in files:
            collection.scan_file(name)
    for name, secret in collection:
        # Tests of configuration and logs need an address with a password in it: that is what they show never to be printed.
        if not (secret.type == "Basic Auth Credentials" and "/tests/" in name):
            yield f"{name}:{secret.line_number}: {secret.type}"


def _unhashed_requirements() -> Iterator[str]:
    for path in sorted(Path("requirements").glob("*.txt")):
        for requirement in path.read_text().replace("\\\n", " ").splitlines():
            if requirement and not requirement.startswith("#") and "--hash=sha256:" not in requirement:
                yield f"{path}: {requirement.split()[0]} has no hash"


def _registry_addresses(files: list[str]) -> Iterator[str]:
    for name in files:
        for number, line in enumerate(Path(name).read_text(errors="replace").splitlines(), start=1):
            if _REGISTRY.search(line):
                yield f"{name}:{number}: names a package registry"


def main() -> int:
    """Print every finding; 1 where there is one."""
    files = _tracked_files()
    findings = [*_secrets(files), *_unhashed_requirements(), *_registry_addresses(files)]
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"secret and hash scan: {len(files)} files, {len(findings)} findings\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
