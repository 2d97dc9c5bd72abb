"""Client identities of the ledger: certificates with attributes, signed by an org's own CA the way fabric-ca does.

cryptogen's certificates carry no attributes, and the chaincode asks for `carlien.role=registrar`.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from carlien_local.pki import BACKDATED, read_key, write_certificate, write_key

# Where fabric-ca puts attributes and the chaincode's `cid` library reads them: {"attrs": {name: value}} as JSON.
ATTRIBUTES = x509.ObjectIdentifier("1.2.3.4.5.6.7.8.1")
HALF_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2

# Name of an identity -> its attributes. Each org gets all of them.
IDENTITIES: Mapping[str, Mapping[str, str]] = {"client": {}, "registrar": {"carlien.role": "registrar"}}


def ensure(folder: Path, ca_folder: Path) -> None:
    """Issues what is missing of IDENTITIES into `folder`, signed by the CA that cryptogen left in `ca_folder`."""
    for name, attributes in IDENTITIES.items():
        target = folder / f"{name}.crt"
        if not target.exists() or not target.with_suffix(".key").exists():
            folder.mkdir(parents=True, exist_ok=True)
            _issue(target, name, attributes, ca_folder)


def ensure_consortium_key(file: Path) -> None:
    """Makes the key that the consortium's members share for their keyed hashes of debtors: one line `<n>:<hexadecimal>`."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(f"1:{secrets.token_hex(32)}\n")


def _issue(target: Path, name: str, attributes: Mapping[str, str], ca_folder: Path) -> None:
    ca = x509.load_pem_x509_certificate(next(ca_folder.glob("*-cert.pem")).read_bytes())
    ca_key = read_key(ca_folder / "priv_sk")
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    # With NodeOUs the MSP tells clients, peers and admins apart by this organisational unit.
    subject = [
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "client"),
        x509.NameAttribute(NameOID.COMMON_NAME, name),
    ]
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATED, ca.not_valid_before_utc))
        .not_valid_after(ca.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
    )
    if attributes:
        value = json.dumps({"attrs": dict(attributes)}).encode()
        builder = builder.add_extension(x509.UnrecognizedExtension(ATTRIBUTES, value), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    # The MSP rewrites a certificate whose signature has a high S, so the identity seen would not be the one sent.
    while decode_dss_signature(certificate.signature)[1] > HALF_ORDER:
        certificate = builder.sign(ca_key, hashes.SHA256())
    write_key(target.with_suffix(".key"), key)
    write_certificate(target, certificate)
