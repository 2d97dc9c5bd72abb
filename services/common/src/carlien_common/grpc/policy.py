"""Which role may call which rpc: a YAML file, so that a lender can change it without code.

    carlien.lien.v1.LienService:
      RegisterLien: [originator, service]
      GetLien: [originator, collections, analyst, service]

What isn't listed is denied to everyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Final

import yaml
from google.protobuf.descriptor import ServiceDescriptor

ROLES: Final = frozenset({"originator", "collections", "analyst", "model-risk", "device-ingest", "registrar", "admin", "service"})
"""The roles of interfaces.md."""


class PolicyError(ValueError):
    """The policy file doesn't say what it should."""


class Policy:
    """Role sets by rpc, keyed by the path on the wire (/package.Service/Method)."""

    def __init__(self, roles_by_path: Mapping[str, frozenset[str]]) -> None:
        self._roles = dict(roles_by_path)

    @classmethod
    def parse(cls, text: str) -> Policy:
        """From YAML. PolicyError names every line that is wrong."""
        document = yaml.safe_load(text) or {}
        problems: list[str] = []
        roles_by_path: dict[str, frozenset[str]] = {}
        if not isinstance(document, dict):
            raise PolicyError("The policy is a mapping: service -> rpc -> roles.")
        for service, rpcs in document.items():
            if not isinstance(rpcs, dict):
                problems.append(f"{service}: expected a mapping rpc -> roles")
                continue
            for rpc, roles in rpcs.items():
                if not isinstance(roles, list) or not ROLES.issuperset(map(str, roles)):
                    problems.append(f"{service}/{rpc}: expected a list of roles out of {', '.join(sorted(ROLES))}")
                    continue
                roles_by_path[f"/{service}/{rpc}"] = frozenset(roles)
        if problems:
            raise PolicyError("; ".join(problems))
        return cls(roles_by_path)

    @classmethod
    def load(cls, package: str, override: Path | None = None) -> Policy:
        """The file at `override`, or the policy.yaml that the package ships."""
        source = override if override is not None else resources.files(package) / "policy.yaml"
        return cls.parse(source.read_text(encoding="utf-8"))

    def roles(self, path: str) -> frozenset[str]:
        """Who may call it; nobody when it isn't listed."""
        return self._roles.get(path, frozenset())

    def unlisted(self, services: Iterable[ServiceDescriptor]) -> list[str]:
        """Rpcs of these services that have no line: denied to everyone, surely by oversight."""
        return sorted(path for path in _paths(services) if path not in self._roles)

    def unknown(self, services: Iterable[ServiceDescriptor]) -> list[str]:
        """Lines for rpcs that these services don't have, surely a slip of the pen."""
        return sorted(set(self._roles) - set(_paths(services)))


def _paths(services: Iterable[ServiceDescriptor]) -> list[str]:
    return [f"/{service.full_name}/{method.name}" for service in services for method in service.methods]
