import hashlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from carlien_lien_registry.adapters.fabric import LocalSigner
from carlien_lien_registry.adapters.fabric.envelopes import proposal, transaction_id
from carlien_lien_registry.adapters.fabric.identity import P256_ORDER, low_s

_KEY = ec.generate_private_key(ec.SECP256R1())
_PEM = _KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@given(st.binary(max_size=200))
def test_low_s_keeps_the_signature_valid(message: bytes) -> None:
    digest = hashlib.sha256(message).digest()
    r, s = decode_dss_signature(_KEY.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    high = encode_dss_signature(r, max(s, P256_ORDER - s))
    low = low_s(high)
    assert decode_dss_signature(low)[1] <= P256_ORDER // 2
    _KEY.public_key().verify(low, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    assert low_s(low) == low


async def test_a_local_signer_signs_the_digest() -> None:
    digest = hashlib.sha256(b"a transaction").digest()
    signature = await LocalSigner(_PEM).sign(digest)
    _KEY.public_key().verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))


def test_the_transaction_id_is_the_hash_of_nonce_and_creator() -> None:
    assert transaction_id(b"\x01\x02", b"creator") == hashlib.sha256(b"\x01\x02creator").hexdigest()


def test_two_proposals_of_the_same_call_are_two_transactions() -> None:
    first, second = (proposal("c", "cc", "F", [b"x"], b"creator") for _ in range(2))
    assert first.transaction_id != second.transaction_id
    assert len(first.transaction_id) == 64


def test_transient_data_stay_out_of_a_proposal_without_them() -> None:
    private = b"91310000MA1FL0000X"
    assert private in proposal("c", "cc", "F", [], b"creator", {"details": private}).proposal_bytes
    assert private not in proposal("c", "cc", "F", [], b"creator").proposal_bytes
