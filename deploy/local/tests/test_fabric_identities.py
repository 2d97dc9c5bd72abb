from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from carlien_local import fabric_identities, pki

ORDER = 2 * fabric_identities.HALF_ORDER + 1


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """A CA folder as cryptogen leaves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca.org1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path / "ca"
    folder.mkdir()
    pki.write_key(folder / "priv_sk", key)
    pki.write_certificate(folder / "ca.org1-cert.pem", certificate)
    return folder


def test_attributes_lie_where_the_chaincode_reads_them(ca: Path, tmp_path: Path) -> None:
    fabric_identities.ensure(tmp_path / "org1", ca)
    issuer = x509.load_pem_x509_certificate((ca / "ca.org1-cert.pem").read_bytes())
    for name, expected in (("registrar", {"attrs": {"carlien.role": "registrar"}}), ("client", None)):
        certificate = x509.load_pem_x509_certificate((tmp_path / "org1" / f"{name}.crt").read_bytes())
        certificate.verify_directly_issued_by(issuer)
        assert certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value == "client"
        found = [e.value for e in certificate.extensions if e.oid.dotted_string == "1.2.3.4.5.6.7.8.1"]
        assert [json.loads(value.value) for value in found if isinstance(value, x509.UnrecognizedExtension)] == (
            [expected] if expected else []
        )


def test_signatures_have_a_low_s(ca: Path, tmp_path: Path) -> None:
    # Half of all signatures have a high S by chance, so one certificate would prove little.
    for number in range(12):
        fabric_identities.ensure(tmp_path / str(number), ca)
        certificate = x509.load_pem_x509_certificate((tmp_path / str(number) / "client.crt").read_bytes())
        assert decode_dss_signature(certificate.signature)[1] <= ORDER // 2


def test_a_second_start_keeps_the_identities(ca: Path, tmp_path: Path) -> None:
    fabric_identities.ensure(tmp_path / "org1", ca)
    before = (tmp_path / "org1/client.crt").read_bytes()
    fabric_identities.ensure(tmp_path / "org1", ca)
    assert (tmp_path / "org1/client.crt").read_bytes() == before
