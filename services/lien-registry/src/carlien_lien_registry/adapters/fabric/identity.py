"""Who signs: an MSP identity, and a signer that turns a digest into an ECDSA signature (in memory, or an HSM's)."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from fabric_protos.msp.identities_pb2 import SerializedIdentity

# Order of the group of NIST P-256 (FIPS 186-4, D.1.2.3).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HALF_ORDER = P256_ORDER // 2


class Signer(Protocol):
    """The hook for offline signing: an HSM or a signing service implements it; the private key need not be here."""

    async def sign(self, digest: bytes) -> bytes:
        """Return the DER-encoded ECDSA P-256 signature over a SHA-256 digest (32 bytes); S may be high or low."""
        ...


@dataclass(frozen=True)
class Identity:
    """A member's certificate, as Fabric wants the creator of a transaction named."""

    msp_id: str
    certificate_pem: bytes

    @property
    def creator(self) -> bytes:
        """The serialised identity that goes into every header."""
        return bytes(SerializedIdentity(mspid=self.msp_id, id_bytes=self.certificate_pem).SerializeToString())

    @classmethod
    def from_file(cls, msp_id: str, certificate_file: Path) -> "Identity":
        """Read the PEM certificate; OSError where it can't be read."""
        return cls(msp_id, certificate_file.read_bytes())


class LocalSigner:
    """Signs with a P-256 key held in memory."""

    def __init__(self, key_pem: bytes) -> None:
        """Take an unencrypted PEM private key; ValueError where it isn't on P-256."""
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the Fabric key must be an ECDSA key on curve P-256")
        self._key = key
        self._algorithm = ec.ECDSA(Prehashed(hashes.SHA256()))

    @classmethod
    def from_file(cls, key_file: Path) -> "LocalSigner":
        """Read the PEM key."""
        return cls(key_file.read_bytes())

    async def sign(self, digest: bytes) -> bytes:
        """Sign; takes some 30 µs, so it stays on the event loop."""
        return self._key.sign(digest, self._algorithm)


class ThreadedSigner:
    """Runs a blocking signer (PKCS #11 and the like) in a thread, so that a slow HSM doesn't hold the loop."""

    def __init__(self, blocking: "BlockingSigner") -> None:
        """Wrap `blocking`."""
        self._blocking = blocking

    async def sign(self, digest: bytes) -> bytes:
        """Sign in the loop's thread pool."""
        return await asyncio.to_thread(self._blocking.sign, digest)


class BlockingSigner(Protocol):
    """A signer with a blocking call."""

    def sign(self, digest: bytes) -> bytes:
        """Return the DER signature over the digest."""
        ...


def low_s(signature: bytes) -> bytes:
    """Return the DER signature with S in the lower half of the order: Fabric refuses the other, equally valid one."""
    r, s = decode_dss_signature(signature)
    return signature if s <= _HALF_ORDER else encode_dss_signature(r, P256_ORDER - s)
