"""Checking the proof in a search certificate, with nothing but the certificate and the roots that organisations posted.

Shown is that the required organisations agree on a root of the registry as of a block, and that the certificate's hits are
everything that stood under the subject then, but for the changes that the certificate itself says came later (those rest on its
signer's word).
"""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from carlien.lien.v1 import certificate_pb2
from carlien_lien_registry.adapters.commitments import lien_of_record
from carlien_lien_registry.domain import merkle
from carlien_lien_registry.domain.certificate import long_ended
from carlien_lien_registry.domain.liens import Lien
from carlien_lien_registry.domain.subjects import debtor_subject, number_subject, serial_subject, vin_subject
from carlien_lien_registry.wire import lien_to_proto

PROOF_MISSING: Final = "PROOF_MISSING"
NOT_ANCHORED: Final = "NOT_ANCHORED"
ROOT_DIFFERS: Final = "ROOT_DIFFERS"
PROOF_INVALID: Final = "PROOF_INVALID"
HITS_NOT_PROVEN: Final = "HITS_NOT_PROVEN"


@dataclass(frozen=True)
class PostedRoots:
    """By block and root, who posted it on the ledger; and whose agreement a certificate needs."""

    required: frozenset[str]
    posted: Mapping[int, Mapping[bytes, Collection[str]]] = field(default_factory=dict)


def verify_proof(certificate: certificate_pb2.SearchCertificate, roots: PostedRoots) -> list[str]:
    """Check the proof; returns a code per failed check, none where it holds."""
    if not certificate.HasField("proof"):
        return [PROOF_MISSING]
    proof = certificate.proof
    failures = []
    at_block = roots.posted.get(certificate.as_of_block, {})
    posted_by = set(at_block.get(proof.root, ()))
    if at_block and not posted_by:
        failures.append(ROOT_DIFFERS)
    elif not roots.required <= posted_by or not set(certificate.anchored_by) <= posted_by:
        failures.append(NOT_ANCHORED)
    try:
        committed = _committed(certificate)
        proven = _proven(certificate, committed)
    except ValueError:
        return [*failures, PROOF_INVALID]
    if not _hits_follow(certificate, proven):
        failures.append(HITS_NOT_PROVEN)
    return failures


def _committed(certificate: certificate_pb2.SearchCertificate) -> set[bytes]:
    """Digests of all registrations under the subjects searched for; ValueError where a way doesn't lead to the root."""
    if [one.subject for one in certificate.proof.subjects] != _subjects(certificate):
        raise ValueError("proof of another search")
    digests: set[bytes] = set()
    for one in certificate.proof.subjects:
        key = merkle.subject_key(one.subject)
        entries = merkle.split(one.entries)
        bucket = merkle.bucket_of(key)
        if any(merkle.bucket_of(entry) != bucket for entry in entries):
            raise ValueError("entries of another bucket")
        if merkle.root_of(bucket, merkle.bucket_hash(entries), one.siblings) != certificate.proof.root:
            raise ValueError("the way leads to another root")
        under = key + bytes((merkle.LIEN_KIND,))
        digests.update(entry[len(under) :] for entry in entries if entry.startswith(under))
    return digests


def _subjects(certificate: certificate_pb2.SearchCertificate) -> list[str]:
    query = certificate.query
    match query.WhichOneof("subject"):
        case "vin":
            similar = query.match == certificate_pb2.MATCH_TYPE_SIMILAR
            return [serial_subject(query.vin) if similar else vin_subject(query.vin)]
        case "registration_number":
            return [number_subject(query.registration_number)]
    # A debtor is looked up under every live key; the certificate names the newest, which comes first.
    named = [one.subject for one in certificate.proof.subjects]
    if not named or named[0] != debtor_subject(certificate.debtor_hash) or any(not one.startswith("debtor:") for one in named):
        raise ValueError("proof of another debtor")
    return named


def _proven(certificate: certificate_pb2.SearchCertificate, committed: set[bytes]) -> dict[str, Lien]:
    """Registrations as of the block, by number; ValueError unless the records are exactly those committed to."""
    records = {merkle.entry(b"", merkle.LIEN_KIND, record)[1:]: record for record in certificate.proof.records}
    if records.keys() != committed:
        raise ValueError("records and entries differ")
    liens = [lien_of_record(record) for record in records.values()]
    return {lien.registration_number: lien for lien in liens}


def _hits_follow(certificate: certificate_pb2.SearchCertificate, proven: Mapping[str, Lien]) -> bool:
    since = {one.registration_number for one in certificate.known_since}
    in_range = range(certificate.as_of_block + 1, certificate.known_to_block + 1)
    if any(one.block_number not in in_range for one in certificate.known_since):
        return False
    as_of = certificate.query.as_of.ToDatetime(dt.UTC)
    expected = {
        number: lien_to_proto(lien, as_of) for number, lien in proven.items() if number not in since and not long_ended(lien, as_of)
    }
    shown = {hit.lien.registration_number: hit.lien for hit in certificate.hits if hit.lien.registration_number not in since}
    return shown == expected
