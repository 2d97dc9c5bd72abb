import datetime as dt
from decimal import Decimal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from carlien.lien.v1 import certificate_pb2
from carlien_common.domain.money import Money
from carlien_lien_registry import certificates
from carlien_lien_registry.adapters.certifier import FabricCertifier
from carlien_lien_registry.adapters.fabric import LocalSigner
from carlien_lien_registry.domain.certificate import MatchType, Query, Search, hits_of
from carlien_lien_registry.domain.liens import Lien, LienClass, LienStatus, Position

_NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
_VIN = "LSVAA4182E2184847"


def _authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _issue(subject, subject, key, key, ca=True), key


def _issue(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - dt.timedelta(days=1))
        .not_valid_after(_NOW + dt.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )


_ROOT, _ROOT_KEY = _authority("ca.org1")
_OTHER_ROOT, _ = _authority("ca.stranger")
_KEY = ec.generate_private_key(ec.SECP256R1())
_LEAF = _issue(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")]), _ROOT.subject, _KEY, _ROOT_KEY, ca=False)
_PEM = _KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
_CHAIN = [one.public_bytes(serialization.Encoding.PEM).decode() for one in (_LEAF, _ROOT)]
_ROOTS = {"Org1MSP": [_ROOT]}


def lien(number: str = "L1", *, block: int = 5, expires_at: dt.datetime | None = None, discharged_at: dt.datetime | None = None) -> Lien:
    return Lien(
        registration_number=number,
        vin=_VIN,
        lien_class=LienClass.MORTGAGE,
        discharged=discharged_at is not None,
        secured_amount=Money(Decimal("30000.00"), "CNY"),
        secured_party_msp_id="Org1MSP",
        registered_at=_NOW - dt.timedelta(days=90),
        tx_id="t" * 64,
        position=Position(block, 0),
        expires_at=expires_at,
        first_rank=True,
        delivery_date=None,
        details_hash="d" * 64,
        debtor_hash="k1:" + "e" * 64,
        discharge_reason="PAID_OFF" if discharged_at else "",
        discharged_at=discharged_at,
    )


async def _signed(*liens: Lien) -> certificate_pb2.SearchCertificate:
    query = Query(as_of=_NOW, vin=_VIN)
    search = Search("ORG1-000000000001", _NOW, query, hits_of(liens, query), 9, 9, 10)
    return certificate_pb2.SearchCertificate.FromString(await FabricCertifier(LocalSigner(_PEM), _CHAIN).sign(search))


async def test_a_certificate_holds_with_and_without_hits() -> None:
    assert certificates.verify(await _signed(), _ROOTS) == []
    assert certificates.verify(await _signed(lien()), _ROOTS) == []


@given(st.integers(min_value=0, max_value=10_000))
async def test_one_changed_bit_anywhere_is_noticed(place: int) -> None:
    certificate = await _signed(lien())
    raw = bytearray(certificates.signed_bytes(certificate))
    raw[place // 8 % len(raw)] ^= 1 << place % 8
    try:
        changed = certificate_pb2.SearchCertificate.FromString(bytes(raw))
    except DecodeError:
        return
    if certificates.signed_bytes(changed) == certificates.signed_bytes(certificate):
        # Another way to write the same, for example true as 3.
        return
    changed.signature = certificate.signature
    del changed.signer_chain[:]
    changed.signer_chain.extend(certificate.signer_chain)
    assert certificates.verify(changed, _ROOTS) != []


async def test_a_hit_taken_out_is_noticed() -> None:
    certificate = await _signed(lien())
    del certificate.hits[:]
    assert certificates.verify(certificate, _ROOTS) == [certificates.SIGNATURE_INVALID]


async def test_a_stranger_s_root_is_not_enough() -> None:
    assert certificates.verify(await _signed(), {"Org1MSP": [_OTHER_ROOT]}) == [certificates.SIGNER_UNKNOWN]


async def test_a_chain_that_names_a_member_s_root_but_was_not_issued_by_it_is_refused() -> None:
    certificate = await _signed()
    forged_root, forged_key = _authority("ca.org1")
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _issue(_LEAF.subject, forged_root.subject, key, forged_key, ca=False)
    del certificate.signer_chain[:]
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate.ClearField("signature")
    chain = [leaf.public_bytes(serialization.Encoding.PEM).decode(), _CHAIN[1]]
    await certificates.sign(certificate, LocalSigner(pem), chain)
    assert certificates.CHAIN_INVALID in certificates.verify(certificate, _ROOTS)


async def test_a_certificate_without_signature_is_no_certificate() -> None:
    certificate = await _signed()
    certificate.ClearField("signature")
    assert certificates.verify(certificate, _ROOTS) == [certificates.SIGNATURE_MISSING]


async def test_a_signer_whose_certificate_had_not_begun_is_refused() -> None:
    certificate = await _signed()
    certificate.searched_at.FromDatetime(_NOW - dt.timedelta(days=2))
    assert certificates.SIGNER_NOT_VALID_THEN in certificates.verify(certificate, _ROOTS)


@pytest.mark.parametrize(("days", "shown"), [(29, True), (30, True), (31, False)])
def test_an_ended_registration_is_shown_for_thirty_days(days: int, shown: bool) -> None:
    query = Query(as_of=_NOW, vin=_VIN)
    assert bool(hits_of([lien(discharged_at=_NOW - dt.timedelta(days=days))], query)) is shown
    assert bool(hits_of([lien(expires_at=_NOW - dt.timedelta(days=days))], query)) is shown


def test_expiry_is_judged_as_of_the_stated_time() -> None:
    one = lien(expires_at=_NOW)
    assert one.status(_NOW - dt.timedelta(microseconds=1)) is LienStatus.ACTIVE
    assert one.status(_NOW) is LienStatus.EXPIRED
    assert lien(expires_at=_NOW, discharged_at=_NOW).status(_NOW) is LienStatus.DISCHARGED


def test_hits_stand_in_order_of_registration_and_say_how_they_matched() -> None:
    query = Query(as_of=_NOW, vin="LSVAA4182E2184841", match=MatchType.SIMILAR)
    hits = hits_of([lien("L2", block=8), lien("L1", block=3)], query)
    assert [hit.lien.registration_number for hit in hits] == ["L1", "L2"]
    assert {hit.match_type for hit in hits} == {MatchType.SIMILAR}
