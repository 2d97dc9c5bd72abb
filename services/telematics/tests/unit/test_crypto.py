"""Signatures and encrypted data units: the standard's own example, forged and broken ones."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_telematics.codecs.gb32960 import Encryption, encode_time
from carlien_telematics.crypto import sm2
from carlien_telematics.crypto.ciphers import DecryptionError, Keyring, encrypt
from carlien_telematics.crypto.signatures import check_key, verify
from carlien_telematics.domain.devices import SigningAlgorithm
from carlien_telematics.testing.signing import Sm2Signer

# GB/T 32918.5-2017, annex A.2: key, message and signature as printed
KEY = bytes.fromhex(
    "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
R = bytes.fromhex("F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3")
S = bytes.fromhex("B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA")
TIME = encode_time(datetime(2026, 1, 1, tzinfo=UTC))
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_the_example_of_the_sm2_standard() -> None:
    assert verify(SigningAlgorithm.SM2, KEY, b"message digest", R, S)
    assert verify(SigningAlgorithm.SM2, b"\x04" + KEY, b"message digest", R, S)
    assert not verify(SigningAlgorithm.SM2, KEY, b"message digesT", R, S)
    assert not verify(SigningAlgorithm.SM2, KEY, b"message digest", S, R)


@settings(max_examples=10, deadline=None)
@given(st.binary(max_size=300), st.integers(1, sm2.N - 2), st.integers(0, 63))
def test_what_a_signer_signed_is_valid_and_nothing_else(message: bytes, secret: int, place: int) -> None:
    signer = Sm2Signer(secret)
    r, s = signer.sign(message)
    assert verify(SigningAlgorithm.SM2, signer.public, message, r, s)
    assert not verify(SigningAlgorithm.SM2, signer.public, message + b"\0", r, s)
    forged = bytearray(r + s)
    forged[place] ^= 1
    assert not verify(SigningAlgorithm.SM2, signer.public, message, bytes(forged[:32]), bytes(forged[32:]))


@pytest.mark.parametrize("raw", [b"", b"\0" * 64, KEY[:63], b"\x05" + KEY, KEY[:-1] + b"\x14"])
def test_what_is_no_point_is_no_key(raw: bytes) -> None:
    for algorithm in (SigningAlgorithm.SM2, SigningAlgorithm.ECC):
        with pytest.raises(ValueError, match=r"(?i)key|point|curve"):
            check_key(algorithm, raw)


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (sm2.N, 1), (1, sm2.N), (1, sm2.N - 1)])
def test_numbers_out_of_range_sign_nothing(r: int, s: int) -> None:
    assert not sm2.verify(sm2.public_key(KEY), b"", r, s)


def test_ecc_and_rsa() -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    r, s = decode_dss_signature(curve.sign(b"said", ec.ECDSA(SHA256())))
    point = curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert verify(SigningAlgorithm.ECC, point, b"said", r.to_bytes(32, "big"), s.to_bytes(32, "big"))
    assert not verify(SigningAlgorithm.ECC, point, b"Said", r.to_bytes(32, "big"), s.to_bytes(32, "big"))
    der = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = RSA_KEY.sign(b"said", padding.PKCS1v15(), SHA256())
    assert verify(SigningAlgorithm.RSA, der, b"said", signature, b"")
    assert not verify(SigningAlgorithm.RSA, der, b"Said", signature, b"")
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    with pytest.raises(ValueError, match="2048"):
        check_key(SigningAlgorithm.RSA, weak.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@given(st.binary(max_size=500).map(TIME.__add__), st.sampled_from([Encryption.AES128, Encryption.SM4]), st.binary(min_size=16, max_size=16))
def test_block_ciphers_round_trip_with_the_second_key_of_a_ring(data: bytes, encryption: Encryption, key: bytes) -> None:
    sealed = encrypt(encryption, key, data)
    assert Keyring({encryption: (bytes(16), key)}).decrypt(encryption, sealed) == data
    with pytest.raises(DecryptionError):
        Keyring({encryption: (key,)}).decrypt(encryption, sealed[:-1])


def test_rsa_in_blocks() -> None:
    data = TIME + bytes(range(256)) * 3
    sealed = encrypt(Encryption.RSA, RSA_KEY.public_key(), data)
    assert Keyring(rsa=(RSA_KEY,)).decrypt(Encryption.RSA, sealed) == data
    with pytest.raises(DecryptionError):
        Keyring().decrypt(Encryption.RSA, sealed)
    with pytest.raises(DecryptionError):
        Keyring(rsa=(RSA_KEY,)).decrypt(Encryption.RSA, sealed * 9)


@pytest.mark.parametrize("encryption", [Encryption.SM2, Encryption.ABNORMAL, Encryption.INVALID])
def test_what_can_not_be_decrypted_says_so(encryption: Encryption) -> None:
    with pytest.raises(DecryptionError):
        Keyring().decrypt(encryption, bytes(32))


def test_the_sm4_example_of_the_standard() -> None:
    # GB/T 32907-2016, annex A.1
    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    assert encrypt(Encryption.SM4, key, key)[:16].hex() == "681edf34d206965e86b3e94f536e4246"
