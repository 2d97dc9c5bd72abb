"""Signing search certificates and checking them, with nothing but the certificate and the consortium's roots."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message

from carlien.lien.v1 import certificate_pb2

SIGNATURE_MISSING: Final = "SIGNATURE_MISSING"
SIGNATURE_INVALID: Final = "SIGNATURE_INVALID"
CHAIN_INVALID: Final = "CHAIN_INVALID"
SIGNER_UNKNOWN: Final = "SIGNER_UNKNOWN"
SIGNER_NOT_VALID_THEN: Final = "SIGNER_NOT_VALID_THEN"
BLOCKS_INCONSISTENT: Final = "BLOCKS_INCONSISTENT"

_MAX_CHAIN: Final = 8


class DigestSigner(Protocol):
    """Signs a SHA-256 digest with ECDSA P-256 (the Fabric identity's signer)."""

    async def sign(self, digest: bytes) -> bytes:
        """Return the DER signature."""
        ...


def signed_bytes(certificate: certificate_pb2.SearchCertificate) -> bytes:
    """What is signed: the deterministic serialisation with signature and signer_chain unset."""
    bare = certificate_pb2.SearchCertificate()
    bare.CopyFrom(certificate)
    bare.ClearField("signature")
    bare.ClearField("signer_chain")
    return _canonical(bare)


def sha256(data: bytes) -> bytes:
    """The digest that is signed."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


async def sign(certificate: certificate_pb2.SearchCertificate, signer: DigestSigner, chain: Sequence[str]) -> None:
    """Sign a certificate in place; `chain` is PEM, the signer's first."""
    certificate.signature = await signer.sign(sha256(signed_bytes(certificate)))
    certificate.signer_chain.extend(chain)


def verify(certificate: certificate_pb2.SearchCertificate, roots: Mapping[str, Sequence[x509.Certificate]]) -> list[str]:
    """Check a certificate's signature against the consortium's roots by MSP; returns a code per failed check, none where it holds.

    Shown is that a member's key signed exactly this, at a time when its certificate was valid. That the member told the truth
    shows its proof, see `proofs`.
    """
    failures = []
    if not certificate.as_of_block <= certificate.known_to_block <= certificate.ledger_height:
        failures.append(BLOCKS_INCONSISTENT)
    if not certificate.signature or not certificate.signer_chain:
        return [*failures, SIGNATURE_MISSING]
    try:
        chain = [x509.load_pem_x509_certificate(pem.encode()) for pem in certificate.signer_chain[:_MAX_CHAIN]]
    except ValueError:
        return [*failures, CHAIN_INVALID]
    if not _signature_holds(chain[0], certificate):
        failures.append(SIGNATURE_INVALID)
    if not _linked(chain):
        failures.append(CHAIN_INVALID)
    trusted = {_der(root) for of_msp in roots.values() for root in of_msp}
    if _der(chain[-1]) not in trusted:
        failures.append(SIGNER_UNKNOWN)
    searched_at = certificate.searched_at.ToDatetime(dt.UTC)
    if any(not one.not_valid_before_utc <= searched_at <= one.not_valid_after_utc for one in chain):
        failures.append(SIGNER_NOT_VALID_THEN)
    return failures


def _signature_holds(signer: x509.Certificate, certificate: certificate_pb2.SearchCertificate) -> bool:
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(certificate.signature, signed_bytes(certificate), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _linked(chain: Sequence[x509.Certificate]) -> bool:
    # The root signs itself; a chain of the root alone would let an organisation's CA key pass for a member's.
    if len(chain) < 2:
        return False
    for child, parent in zip(chain, (*chain[1:], chain[-1]), strict=True):
        try:
            child.verify_directly_issued_by(parent)
        except (InvalidSignature, ValueError, TypeError):
            return False
        if child is not chain[0] and not _may_issue(child):
            return False
    return True


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _canonical(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)
