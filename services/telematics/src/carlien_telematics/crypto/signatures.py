"""The vehicle signature of GB/T 32960.3-2025: over all bytes of the data unit before its 0xFF mark.

Table 8 names the algorithms only. Taken here: SM2 with SM3 and the default user id; ECC as ECDSA with P-256 and SHA-256; RSA as
PKCS#1 v1.5 with SHA-256, its signature in R and nothing in S.
"""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from carlien_telematics.crypto import sm2
from carlien_telematics.domain.devices import SigningAlgorithm

MIN_RSA_BITS = 2048
_RSA_DIGEST = SHA256()


def check_key(algorithm: SigningAlgorithm, key: bytes) -> None:
    """Raises ValueError for bytes that are no public key of the algorithm.

    SM2 and ECC: the uncompressed point, 64 or 65 bytes; RSA: SubjectPublicKeyInfo in DER, at least 2048 bits.
    """
    match algorithm:
        case SigningAlgorithm.SM2:
            sm2.public_key(key)
        case SigningAlgorithm.ECC:
            _p256(key)
        case SigningAlgorithm.RSA:
            _rsa(key)


def verify(algorithm: SigningAlgorithm, key: bytes, message: bytes, r: bytes, s: bytes) -> bool:
    """Whether `r` and `s` sign `message`. Raises ValueError for a key `check_key` would refuse."""
    try:
        match algorithm:
            case SigningAlgorithm.SM2:
                return sm2.verify(_sm2(key), message, int.from_bytes(r, "big"), int.from_bytes(s, "big"))
            case SigningAlgorithm.ECC:
                signature = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
                _p256(key).verify(signature, message, ec.ECDSA(SHA256()))
            case SigningAlgorithm.RSA:
                _rsa(key).verify(r + s, message, padding.PKCS1v15(), _RSA_DIGEST)
    except InvalidSignature:
        return False
    return True


# A fleet has one key a car, and its records come again and again.
@lru_cache(maxsize=65_536)
def _sm2(raw: bytes) -> sm2.Point:
    return sm2.public_key(raw)


@lru_cache(maxsize=65_536)
def _p256(raw: bytes) -> ec.EllipticCurvePublicKey:
    point = raw if len(raw) == 65 else b"\x04" + raw
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


@lru_cache(maxsize=65_536)
def _rsa(raw: bytes) -> rsa.RSAPublicKey:
    key = load_der_public_key(raw)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise ValueError(f"an RSA key of at least {MIN_RSA_BITS} bits is wanted")
    return key
