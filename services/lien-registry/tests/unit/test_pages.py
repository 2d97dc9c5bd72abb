import datetime as dt
import re

import pytest
from registry_builders import VIN, registered

from carlien_lien_registry import pages
from carlien_lien_registry.certificates import sha256, signed_bytes
from carlien_lien_registry.domain.certificate import Query, Search, hits_of
from carlien_lien_registry.wire import certificate_to_proto

_NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


def _certificate(number: int = 1):  # type: ignore[no-untyped-def]
    liens = [change.lien for change in (registered(f"L{place}", place) for place in range(number)) if change.lien]
    query = Query(as_of=_NOW, vin=VIN)
    return certificate_to_proto(Search("ORG1-000000000001", _NOW, query, hits_of(liens, query), 9, 9, 10))


def test_the_page_shows_every_hit_and_names_what_was_signed() -> None:
    certificate = _certificate(3)
    text = pages.as_html(certificate)
    assert all(f"<td>L{number}</td>" in text for number in range(3))
    assert sha256(signed_bytes(certificate)).hex() in text
    assert "<script" not in text


def test_an_unsigned_page_says_so() -> None:
    certificate = _certificate()
    assert "nobody: this is no certificate" in pages.as_html(certificate)
    certificate.signature = b"s"
    certificate.signer_chain.append("nonsense")
    assert "can&#x27;t be read" in pages.as_html(certificate)


def test_no_hit_is_said_in_words() -> None:
    assert "Nothing is registered." in pages.as_html(_certificate(0))


def test_what_came_from_outside_is_escaped() -> None:
    certificate = _certificate(1)
    certificate.hits[0].lien.registration_number = "<img src=x>"
    assert "<img" not in pages.as_html(certificate)
    pages.as_pdf(certificate)


@pytest.mark.parametrize("hits", [0, 1, 120])
def test_the_pdf_is_one_however_many_hits_there_are(hits: int) -> None:
    pdf = pages.as_pdf(_certificate(hits))
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", pdf)) >= (1 if hits < 2 else 3)
