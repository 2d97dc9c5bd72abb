"""A development CA for tests: certificates by org and role, and the ones that must be refused."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM files of one party: its certificate, its key, and the CA it trusts."""

    certificate: Path
    key: Path
    authorities: Path


class Authority:
    """One CA."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.crt"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, file_name: str, uris: list[str], dns_names: tuple[str, ...] = ("localhost",)) -> Credentials:
        """A certificate with these SAN URIs, for server and client alike."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file_name.replace("/", "-"))])
        names: list[x509.GeneralName] = [
            *(x509.DNSName(name) for name in dns_names),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
        ]
        certificate = (
            self._builder(subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        target = self._folder / file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        files = Credentials(target.with_name(f"{target.name}.crt"), target.with_name(f"{target.name}.key"), self.file)
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        files.key.chmod(0o600)
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=2))
        )


class Pki:
    """The CA that the services trust, and one they don't. Certificates are made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._ours = Authority(folder / "ours", "carlien test CA")
        self._theirs = Authority(folder / "theirs", "somebody else's CA")
        self._made: dict[str, Credentials] = {}
        self.ca_file = self._ours.file

    def certificate(self, org: str = "org1", role: str = "service") -> Credentials:
        """spiffe://carlien/<org>/<role>"""
        return self._keep(f"{org}/{role}", lambda name: self._ours.issue(name, [f"spiffe://carlien/{org}/{role}"]))

    def without_identity(self) -> Credentials:
        """Of our CA, but only with a host name."""
        return self._keep("nobody", lambda name: self._ours.issue(name, []))

    def with_uris(self, name: str, *uris: str, dns_names: tuple[str, ...] = ("localhost",)) -> Credentials:
        """Of our CA with any SAN URIs."""
        return self._keep(name, lambda file: self._ours.issue(file, list(uris), dns_names))

    def unknown_ca(self, org: str = "org1", role: str = "service") -> Credentials:
        """Says what ours would say, but signed by a CA the services don't know; trusts ours, so that only the server objects."""
        made = self._keep(f"unknown-{org}-{role}", lambda name: self._theirs.issue(name, [f"spiffe://carlien/{org}/{role}"]))
        return Credentials(made.certificate, made.key, self.ca_file)

    def _keep(self, name: str, make: Callable[[str], Credentials]) -> Credentials:
        if name not in self._made:
            self._made[name] = make(name)
        return self._made[name]
