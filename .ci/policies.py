"""Every rpc of the protos has a line in its service's policy.yaml, and every line an rpc: `make check` runs it."""

import sys

from carlien_common.grpc.policy import Policy
from carlien_common.testing import rpcs

PACKAGES = {
    "lien": "carlien_lien_registry",
    "pricing": "carlien_pricing",
    "telematics": "carlien_telematics",
    "valuation": "carlien_valuation",
}


def main() -> int:
    """Print what is missing; 1 where something is."""
    problems = []
    for area in rpcs.areas():
        policy, services = Policy.load(PACKAGES[area]), rpcs.services(area)
        problems += [f"{PACKAGES[area]}/policy.yaml: {path} has no line, so nobody may call it" for path in policy.unlisted(services)]
        problems += [f"{PACKAGES[area]}/policy.yaml: {path} isn't an rpc" for path in policy.unknown(services)]
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
