from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from carlien_local import pki


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pki")
    pki.ensure(made)
    return made


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


@pytest.mark.parametrize("org", pki.ORGS)
@pytest.mark.parametrize("role", pki.ROLES)
def test_every_role_of_every_org_has_its_identity(folder: Path, org: str, role: str) -> None:
    names = certificate(folder / org / f"{role}.crt").extensions.get_extension_for_class(x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"spiffe://carlien/{org}/{role}"]


def test_a_handshake_with_client_certificate_succeeds_on_localhost_and_loopback(folder: Path) -> None:
    for name in ("localhost", "127.0.0.1"):
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.crt")
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_cert_chain(folder / "org1/service.crt", folder / "org1/service.key")
        client = ssl.create_default_context(cafile=folder / "ca.crt")
        client.load_cert_chain(folder / "org1/originator.crt", folder / "org1/originator.key")
        peer = handshake(client, server, name)
        assert peer == ["spiffe://carlien/org1/originator"]


def test_a_certificate_of_another_ca_is_refused(folder: Path, tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.crt")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(folder / "org1/service.crt", folder / "org1/service.key")
    client = ssl.create_default_context(cafile=folder / "ca.crt")
    client.load_cert_chain(tmp_path / "org1/originator.crt", tmp_path / "org1/originator.key")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server, "localhost")


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    keys = [*folder.rglob("*.key")]
    assert len(keys) == 1 + len(pki.ORGS) * len(pki.ROLES)
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}


def test_a_second_start_keeps_everything_and_replaces_only_what_is_missing(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    (tmp_path / "org2/admin.key").unlink()
    pki.ensure(tmp_path)
    changed = {file.name for file, content in before.items() if file.read_bytes() != content}
    assert changed == {"admin.crt", "admin.key"}


def test_a_new_ca_or_an_expiring_certificate_makes_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "LIFETIME", pki.RENEW_BEFORE - dt.timedelta(days=1))
    pki.ensure(tmp_path)
    monkeypatch.undo()
    old, authority = certificate(tmp_path / "org1/admin.crt"), certificate(tmp_path / "ca.crt")
    pki.ensure(tmp_path)
    assert certificate(tmp_path / "ca.crt") == authority
    assert certificate(tmp_path / "org1/admin.crt") != old
    (tmp_path / "ca.crt").unlink()
    pki.ensure(tmp_path)
    certificate(tmp_path / "org1/admin.crt").verify_directly_issued_by(certificate(tmp_path / "ca.crt"))


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> list[str]:
    """Both ends in memory; the URIs in the client's certificate, as the server saw it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    der = ends[1].getpeercert(binary_form=True)
    assert der is not None
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)
