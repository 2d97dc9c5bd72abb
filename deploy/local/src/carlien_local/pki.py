"""The development CA and the certificates of the gRPC ports' mTLS. Not the ledger's: see fabric_identities.py.

A caller is who the SAN URI of its certificate says: `spiffe://carlien/<org>/<role>`. Everything is made once per state
directory and kept, so that a restart changes nobody's identity.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGS = ("org1", "org2")
ROLES = ("originator", "collections", "analyst", "model-risk", "device-ingest", "registrar", "admin", "service")
# Where a service is reached: on this machine, and by its name in deploy/compose.
HOSTS = ("localhost", "valuation", "lien-registry", "lien-registry-org2", "telematics", "pricing")
LIFETIME = dt.timedelta(days=825)
RENEW_BEFORE = dt.timedelta(days=30)
# Clocks of two machines (or a container) may differ a little.
BACKDATED = dt.timedelta(minutes=5)


def ensure(folder: Path) -> None:
    """Makes the CA and every org's certificates where they're missing or about to expire."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, ca = _authority(folder)
    for org in ORGS:
        for role in ROLES:
            certificate = folder / org / f"{role}.crt"
            if not _usable(certificate, ca):
                _issue(certificate, org, role, ca_key, ca)


def _authority(folder: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    if _usable(folder / "ca.crt"):
        return read_key(folder / "ca.key"), x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "carlien development CA")])
    certificate = (
        _builder(name, name, key, dt.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_key(folder / "ca.key", key)
    write_certificate(folder / "ca.crt", certificate)
    return key, certificate


def _issue(target: Path, org: str, role: str, ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, org), x509.NameAttribute(NameOID.COMMON_NAME, role)])
    names = [
        x509.UniformResourceIdentifier(f"spiffe://carlien/{org}/{role}"),
        *(x509.DNSName(host) for host in HOSTS),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(subject, ca.subject, key, LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_key(target.with_suffix(".key"), key)
    write_certificate(target, certificate)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: dt.timedelta) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _usable(file: Path, issuer: x509.Certificate | None = None) -> bool:
    """True when the certificate and its key are there, it isn't about to expire, and `issuer` signed it."""
    if not file.exists() or not file.with_suffix(".key").exists():
        return False
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    if certificate.not_valid_after_utc < dt.datetime.now(dt.UTC) + RENEW_BEFORE:
        return False
    if issuer is not None:
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            return False
    return True


def read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """A PEM file without passphrase."""
    key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{file} isn't an elliptic-curve key")
    return key


def write_key(target: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """PKCS#8 PEM, readable by the owner only from the first byte on."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    target.unlink(missing_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def write_certificate(target: Path, certificate: x509.Certificate) -> None:
    """PEM, in one step."""
    draft = target.with_suffix(".crt.new")
    draft.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    draft.replace(target)
