"""Encrypted data units of GB/T 32960.3 (table 2): RSA, AES128 and, new in 2025, SM4.

The standard names the algorithms, not their mode. Taken here, as most platforms do: block ciphers in ECB with PKCS#7 padding,
RSA in PKCS#1 v1.5 block by block. ECB shows equal blocks as equal; who needs more than the standard gives uses the TLS port.
SM2 encryption (0x04) is not decrypted.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES128, SM4
from cryptography.hazmat.primitives.padding import PKCS7

from carlien_telematics.codecs.errors import FrameError
from carlien_telematics.codecs.gb32960 import Encryption, decode_time

BLOCK_BITS = 128
KEY_BYTES = 16
_PKCS1_OVERHEAD = 11
MAX_RSA_BLOCKS = 16
"""Most of one message: a private operation takes most of a millisecond, and everybody waits for it."""
SYMMETRIC = {Encryption.AES128: AES128, Encryption.SM4: SM4}


class DecryptionError(ValueError):
    """A data unit that none of the keys opens."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys of one platform. Several of a kind are tried in order, so that one can be replaced while both are in use."""

    symmetric: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict)
    """Keys of 16 bytes by `Encryption`."""
    rsa: tuple[RSAPrivateKey, ...] = ()

    def decrypt(self, encryption: int, data: bytes) -> bytes:
        """The plain data unit. Raises DecryptionError."""
        if encryption == Encryption.RSA:
            return _first(_rsa_plain(key, data) for key in self.rsa)
        return _first(_block_plain(encryption, key, data) for key in self.symmetric.get(encryption, ()))


def _first(tries: Iterable[bytes | None]) -> bytes:
    """The first that can be right: a wrong key's padding looks good once in 256 times, but every data unit begins with a time."""
    for plain in tries:
        if plain is not None:
            with contextlib.suppress(FrameError):
                decode_time(plain)
                return plain
    raise DecryptionError("no key opens the data unit")


def _block_plain(encryption: int, key: bytes, data: bytes) -> bytes | None:
    if not data or len(data) % (BLOCK_BITS // 8):
        return None
    opener = _cipher(encryption, key).decryptor()
    unpadder = PKCS7(BLOCK_BITS).unpadder()
    try:
        return unpadder.update(opener.update(data) + opener.finalize()) + unpadder.finalize()
    except ValueError:  # wrong padding: another key's, or not encrypted at all
        return None


def _rsa_plain(key: RSAPrivateKey, data: bytes) -> bytes | None:
    size = key.key_size // 8
    if not data or len(data) % size or len(data) > MAX_RSA_BLOCKS * size:
        return None
    try:
        return b"".join(key.decrypt(data[at : at + size], PKCS1v15()) for at in range(0, len(data), size))
    except ValueError:
        return None


def _cipher(encryption: int, key: bytes) -> Cipher[modes.ECB]:
    return Cipher(SYMMETRIC[Encryption(encryption)](key), modes.ECB())  # noqa: S305 - what the devices speak, see above


def encrypt(encryption: Encryption, key: bytes | RSAPublicKey, data: bytes) -> bytes:
    """Inverse of `Keyring.decrypt`, as a terminal does it."""
    if isinstance(key, RSAPublicKey):
        room = key.key_size // 8 - _PKCS1_OVERHEAD
        return b"".join(key.encrypt(data[at : at + room], PKCS1v15()) for at in range(0, len(data), room))
    padder, closer = PKCS7(BLOCK_BITS).padder(), _cipher(encryption, key).encryptor()
    return closer.update(padder.update(data) + padder.finalize()) + closer.finalize()
