"""Every rpc there is, read from the generated package: what is tested rpc by rpc can't forget a new one."""

from __future__ import annotations

import importlib
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor


def areas() -> list[str]:
    """The packages below `carlien`: lien, pricing, telematics, valuation."""
    return sorted({file.package.split(".")[1] for file in files() if len(file.services_by_name)})


def services(area: str) -> list[ServiceDescriptor]:
    """The services of an area, by name."""
    found = [service for file in files() if file.package.split(".")[1] == area for service in file.services_by_name.values()]
    return sorted(found, key=lambda service: service.full_name)


def files() -> list[FileDescriptor]:
    """Every file of the protos, by name."""
    import carlien

    found: list[FileDescriptor] = []
    # Not pkgutil: it doesn't look into folders without an __init__.py, which these are.
    for root in map(Path, carlien.__path__):
        modules = (".".join(file.relative_to(root.parent).with_suffix("").parts) for file in root.rglob("*_pb2.py"))
        found += [importlib.import_module(name).DESCRIPTOR for name in modules]
    return sorted(found, key=lambda file: file.name)
