"""Certificates prove themselves: what holds, and everything a forger could try."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence

import pytest
from registry_builders import VIN, at, registered
from registry_tree import HandTree

from carlien.lien.v1 import certificate_pb2
from carlien_lien_registry.domain.certificate import KnownSince, MatchType, Query, Search, hits_of
from carlien_lien_registry.domain.liens import Lien, Position
from carlien_lien_registry.domain.subjects import debtor_subject, number_subject, serial_subject, vin_subject
from carlien_lien_registry.proofs import (
    HITS_NOT_PROVEN,
    NOT_ANCHORED,
    PROOF_INVALID,
    PROOF_MISSING,
    ROOT_DIFFERS,
    PostedRoots,
    verify_proof,
)
from carlien_lien_registry.wire import certificate_to_proto

_OTHER_VIN = "LSVAA4182E2184841"
_SIMILAR_VIN = "LSVAA4182E2184B47"
_BOTH = ("Org1MSP", "Org2MSP")
_AS_OF = at(100)
_BLOCK = 50


def lien(number: str, **fields: object) -> Lien:
    made = registered(number, int(number[1:]), **fields).lien  # type: ignore[arg-type]
    assert made is not None
    return made


_REGISTRY = [lien("L1"), lien("L2", vin=_OTHER_VIN), lien("L3", vin=_SIMILAR_VIN, debtor_hash="k1:" + "c" * 64)]


def certificate(
    query: Query,
    subjects: Sequence[str],
    matching: Sequence[Lien],
    hits: Sequence[Lien] | None = None,
    since: tuple[KnownSince, ...] = (),
) -> certificate_pb2.SearchCertificate:
    """A certificate against the tree over the whole registry."""
    proof = HandTree.of(_REGISTRY).proof(subjects, matching)
    shown = hits_of(matching if hits is None else hits, query)
    return certificate_to_proto(Search("ORG1-000000000001", _AS_OF, query, shown, _BLOCK, _BLOCK + 9, _BLOCK + 9, since, proof))


def of_car(vin: str, matching: Sequence[Lien], **more: object) -> certificate_pb2.SearchCertificate:
    return certificate(Query(_AS_OF, vin=vin), [vin_subject(vin)], matching, **more)  # type: ignore[arg-type]


def posted(root: bytes | None = None, by: Sequence[str] = _BOTH, block: int = _BLOCK) -> PostedRoots:
    return PostedRoots(frozenset(_BOTH), {block: {root or HandTree.of(_REGISTRY).root: by}})


@pytest.mark.parametrize(
    ("query", "subject", "numbers"),
    [
        (Query(_AS_OF, vin=VIN), vin_subject(VIN), ["L1"]),
        (Query(_AS_OF, vin="LSVAA4182E2184999"), vin_subject("LSVAA4182E2184999"), []),
        (Query(_AS_OF, vin=VIN, match=MatchType.SIMILAR), serial_subject(VIN), ["L1", "L3"]),
        (Query(_AS_OF, debtor_hash="k1:" + "a" * 64), debtor_subject("k1:" + "a" * 64), ["L1", "L2"]),
        (Query(_AS_OF, debtor_hash="k1:" + "f" * 64), debtor_subject("k1:" + "f" * 64), []),
        (Query(_AS_OF, registration_number="L2"), number_subject("L2"), ["L2"]),
        (Query(_AS_OF, registration_number="L9"), number_subject("L9"), []),
    ],
)
def test_hits_and_their_absence_are_proven_for_every_kind_of_search(query: Query, subject: str, numbers: list[str]) -> None:
    matching = [one for one in _REGISTRY if one.registration_number in numbers]
    assert verify_proof(certificate(query, [subject], matching), posted()) == []


def test_a_debtor_is_looked_up_under_every_live_key() -> None:
    newest, older = "k2:" + "b" * 64, "k1:" + "c" * 64
    query = Query(_AS_OF, debtor_hash=newest)
    assert verify_proof(certificate(query, [debtor_subject(newest), debtor_subject(older)], [_REGISTRY[2]]), posted()) == []
    assert verify_proof(certificate(query, [debtor_subject(older)], [_REGISTRY[2]]), posted()) == [PROOF_INVALID]


def test_what_came_since_is_told_apart_from_what_is_proven() -> None:
    new = lien("L55")
    since = (KnownSince("L55", "lien.registered", 55, 0),)
    assert verify_proof(of_car(VIN, [_REGISTRY[0]], hits=[_REGISTRY[0], new], since=since), posted()) == []
    assert verify_proof(of_car(VIN, [_REGISTRY[0]], hits=[_REGISTRY[0], new]), posted()) == [HITS_NOT_PROVEN]
    early = (KnownSince("L55", "lien.registered", _BLOCK, 0),)
    assert verify_proof(of_car(VIN, [_REGISTRY[0]], hits=[_REGISTRY[0], new], since=early), posted()) == [HITS_NOT_PROVEN]


def test_what_ended_long_ago_is_proven_but_not_shown() -> None:
    ended = dataclasses.replace(_REGISTRY[0], discharged=True, discharged_at=_AS_OF - dt.timedelta(days=31))
    tree = HandTree.of([ended])
    query = Query(_AS_OF, vin=VIN)
    search = Search("ORG1-1", _AS_OF, query, hits_of([ended], query), _BLOCK, 59, 59, (), tree.proof([vin_subject(VIN)], [ended]))
    made = certificate_to_proto(search)
    assert not made.hits
    assert verify_proof(made, posted(tree.root)) == []


def _leave_out_a_hit(made: certificate_pb2.SearchCertificate) -> None:
    del made.hits[:]


def _change_a_hit(made: certificate_pb2.SearchCertificate) -> None:
    made.hits[0].lien.secured_amount.units = 1


def _change_its_place(made: certificate_pb2.SearchCertificate) -> None:
    made.hits[0].lien.block_number = 0


def _change_a_record(made: certificate_pb2.SearchCertificate) -> None:
    made.proof.records[0] = made.proof.records[0].replace(b"30000.00", b"1.00")


def _leave_out_a_record(made: certificate_pb2.SearchCertificate) -> None:
    del made.proof.records[:]


def _leave_out_the_entries(made: certificate_pb2.SearchCertificate) -> None:
    made.proof.subjects[0].entries = b""


def _leave_out_everything(made: certificate_pb2.SearchCertificate) -> None:
    _leave_out_a_hit(made)
    _leave_out_a_record(made)
    _leave_out_the_entries(made)


def _show_another_car(made: certificate_pb2.SearchCertificate) -> None:
    _leave_out_a_hit(made)
    made.proof.CopyFrom(of_car(_SIMILAR_VIN + "", [_REGISTRY[2]]).proof)


def _ask_for_another_car(made: certificate_pb2.SearchCertificate) -> None:
    made.query.vin = _OTHER_VIN


def _cut_the_way_short(made: certificate_pb2.SearchCertificate) -> None:
    del made.proof.subjects[0].siblings[-1]


@pytest.mark.parametrize(
    ("forge", "failure"),
    [
        (_leave_out_a_hit, HITS_NOT_PROVEN),
        (_change_a_hit, HITS_NOT_PROVEN),
        (_change_its_place, HITS_NOT_PROVEN),
        (_change_a_record, PROOF_INVALID),
        (_leave_out_a_record, PROOF_INVALID),
        (_leave_out_the_entries, PROOF_INVALID),
        (_leave_out_everything, PROOF_INVALID),
        (_show_another_car, PROOF_INVALID),
        (_ask_for_another_car, PROOF_INVALID),
        (_cut_the_way_short, PROOF_INVALID),
    ],
)
def test_a_forger_who_can_sign_still_can_t_prove(forge: Callable[[certificate_pb2.SearchCertificate], None], failure: str) -> None:
    made = of_car(VIN, [_REGISTRY[0]])
    forge(made)
    assert verify_proof(made, posted()) == [failure]


def test_a_tree_of_one_s_own_leads_to_a_root_that_nobody_posted() -> None:
    made = of_car(VIN, [_REGISTRY[0]])
    without = HandTree.of(_REGISTRY[1:])
    query = Query(_AS_OF, vin=VIN)
    proof = without.proof([vin_subject(VIN)], [])
    forged = certificate_to_proto(Search("ORG1-1", _AS_OF, query, (), _BLOCK, 59, 59, (), proof))
    assert verify_proof(forged, posted()) == [ROOT_DIFFERS]
    assert verify_proof(made, PostedRoots(frozenset(_BOTH))) == [NOT_ANCHORED]
    assert verify_proof(made, posted(block=_BLOCK + 1)) == [NOT_ANCHORED]
    assert verify_proof(made, posted(by=["Org1MSP"])) == [NOT_ANCHORED], "one organisation alone may be lying"


def test_who_is_said_to_have_anchored_it_must_have() -> None:
    made = of_car(VIN, [_REGISTRY[0]])
    made.anchored_by.append("Org3MSP")
    assert verify_proof(made, posted()) == [NOT_ANCHORED]


def test_without_a_proof_there_is_nothing_to_believe() -> None:
    made = of_car(VIN, [_REGISTRY[0]])
    made.ClearField("proof")
    assert verify_proof(made, posted()) == [PROOF_MISSING]


def test_a_record_has_one_form() -> None:
    from carlien_lien_registry.adapters.commitments import lien_of_record, lien_record

    record = lien_record(_REGISTRY[0])
    assert lien_of_record(record) == _REGISTRY[0]
    assert lien_of_record(record).position == Position(1, 0)
    for other in (record + b" ", record.replace(b":", b": ", 1), b"{}", b"[]", b"null", b"\xff", record[:-1] + b',"more":1}'):
        with pytest.raises(ValueError):  # noqa: PT011 - whichever part of it notices
            lien_of_record(other)
