"""A certificate as a page a person can read and print: HTML and PDF, with a QR code that leads back to the signed one."""

import html
import io
from dataclasses import dataclass
from typing import Final

import segno
from cryptography import x509
from reportlab.graphics import renderPDF
from reportlab.graphics.shapes import Drawing, Rect
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from carlien.lien.v1 import certificate_pb2, lien_pb2
from carlien_lien_registry.certificates import sha256, signed_bytes

_COLUMNS: Final = ("Registration", "VIN", "Kind", "Secured amount", "Secured party", "State", "Registered (block/index)", "Match")
# Numbers and VINs fit on a line: whoever copies them from paper must not guess where they break.
_WIDTHS_MM: Final = (34, 33, 18, 25, 17, 21, 19, 13)
_MARGIN_MM: Final = 15
_QR_MM: Final = 32
_NOTE: Final = (
    "This page is for reading. What holds is the signed certificate: fetch it by its number or read it from its file, and check it with "
    "`carlien-lien verify` against the roots that the organisations posted on the ledger. The code holds the number and the SHA-256 of "
    "the signed bytes."
)


@dataclass(frozen=True, slots=True)
class Page:
    """What both forms show."""

    title: str
    facts: tuple[tuple[str, str], ...]
    hits: tuple[tuple[str, ...], ...]
    code: str


def page_of(certificate: certificate_pb2.SearchCertificate) -> Page:
    """The content of a certificate's page."""
    digest = sha256(signed_bytes(certificate)).hex()
    found = f"{len(certificate.hits)} registration(s)" if certificate.hits else "nothing is registered"
    facts = (
        ("Certificate", certificate.certificate_number),
        ("Signed by", _signer(certificate)),
        ("Searched at", f"{certificate.searched_at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"),
        ("Searched for", _subject(certificate)),
        ("Judged as of", f"{certificate.query.as_of.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"),
        ("Result", f"{found}, as of block {certificate.known_to_block} of {certificate.ledger_height}"),
        ("Proof", _proven(certificate)),
        *(
            ("Since the proof's block", f"{one.change} {one.registration_number}, block {one.block_number}")
            for one in certificate.known_since
        ),
        ("SHA-256 of the signed bytes", digest),
    )
    hits = tuple(_hit(hit) for hit in certificate.hits)
    return Page("Lien search certificate", facts, hits, f"carlien:certificate:{certificate.certificate_number}:{digest}")


def as_html(certificate: certificate_pb2.SearchCertificate) -> str:
    """A page of its own, without scripts or anything to load."""
    page = page_of(certificate)
    code = segno.make(page.code, error="m").svg_inline(scale=3)
    facts = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in page.facts)
    header = "".join(f"<th>{html.escape(column)}</th>" for column in _COLUMNS)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in hit) + "</tr>" for hit in page.hits)
    hits = (
        f'<table class="hits"><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>'
        if page.hits
        else "<p>Nothing is registered.</p>"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(page.title)} {html.escape(certificate.certificate_number)}</title>
<style>
body {{ font: 11pt/1.4 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }}
table {{ border-collapse: collapse; margin: 1em 0; width: 100% }}
th, td {{ border: 1px solid #bbb; padding: .3em .5em; text-align: left; vertical-align: top; overflow-wrap: anywhere }}
.hits {{ font-size: 8.5pt }}
.hits th, .hits td {{ overflow-wrap: normal }}
svg {{ float: right; margin: 0 0 1em 1em }}
@media print {{ body {{ margin: 0; padding: 0 }} .hits {{ font-size: 7pt }} .hits th, .hits td {{ padding: .3em }} }}
</style></head>
<body><h1>{html.escape(page.title)}</h1>{code}<table>{facts}</table>{hits}<p>{html.escape(_NOTE)}</p></body></html>
"""


def as_pdf(certificate: certificate_pb2.SearchCertificate) -> bytes:
    """The same on A4."""
    page = page_of(certificate)
    styles = getSampleStyleSheet()
    small = styles["BodyText"].clone("small", fontSize=7, leading=9)
    story: list[Flowable] = [Paragraph(page.title, styles["Title"]), _Code(page.code), Spacer(1, 4 * mm)]
    facts = [
        [Paragraph(html.escape(name), styles["BodyText"]), Paragraph(html.escape(value), styles["BodyText"])] for name, value in page.facts
    ]
    grid = TableStyle([("GRID", (0, 0), (-1, -1), 0.3, colors.grey), ("VALIGN", (0, 0), (-1, -1), "TOP")])
    story += [Table(facts, colWidths=[45 * mm, 135 * mm], style=grid), Spacer(1, 6 * mm)]
    if page.hits:
        rows = [[Paragraph(html.escape(cell), small) for cell in row] for row in (_COLUMNS, *page.hits)]
        story.append(Table(rows, colWidths=[width * mm for width in _WIDTHS_MM], style=grid, repeatRows=1))
    else:
        story.append(Paragraph("Nothing is registered.", styles["BodyText"]))
    story += [Spacer(1, 6 * mm), Paragraph(html.escape(_NOTE), small)]
    buffer = io.BytesIO()
    title = f"{page.title} {certificate.certificate_number}"

    def footer(canvas: Canvas, document: SimpleDocTemplate) -> None:
        # A sheet that got separated from the others must tell where it belongs.
        canvas.setFont("Helvetica", 7)
        canvas.drawRightString(A4[0] - _MARGIN_MM * mm, 12 * mm, f"{certificate.certificate_number}, page {document.page}")

    document = SimpleDocTemplate(buffer, pagesize=A4, title=title, leftMargin=_MARGIN_MM * mm, rightMargin=_MARGIN_MM * mm)
    document.build(story, onFirstPage=footer, onLaterPages=footer)
    return buffer.getvalue()


class _Code(Flowable):  # type: ignore[misc]
    """The QR code, drawn as squares so that it prints sharp."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.width = self.height = _QR_MM * mm
        self._matrix = [list(row) for row in segno.make(text, error="m").matrix_iter(border=4)]

    def draw(self) -> None:
        size = len(self._matrix)
        cell = self.width / size
        drawing = Drawing(self.width, self.height)
        for y, row in enumerate(self._matrix):
            for x, dark in enumerate(row):
                if dark:
                    drawing.add(Rect(x * cell, self.height - (y + 1) * cell, cell, cell, strokeWidth=0, fillColor=colors.black))
        renderPDF.draw(drawing, self.canv, 0, 0)


def _signer(certificate: certificate_pb2.SearchCertificate) -> str:
    if not certificate.signature or not certificate.signer_chain:
        return "nobody: this is no certificate"
    try:
        signer = x509.load_pem_x509_certificate(certificate.signer_chain[0].encode())
        return f"{signer.subject.rfc4514_string()}, certified by {signer.issuer.rfc4514_string()}"
    except ValueError:
        return "somebody whose certificate can't be read"


def _proven(certificate: certificate_pb2.SearchCertificate) -> str:
    if not certificate.HasField("proof"):
        return "none: this page rests on its signer's word"
    kind = "what is listed is all there was" if certificate.proof.records else "there was nothing"
    return (
        f"{kind} as of block {certificate.as_of_block}; root {certificate.proof.root.hex()} posted by {', '.join(certificate.anchored_by)}"
    )


def _subject(certificate: certificate_pb2.SearchCertificate) -> str:
    query = certificate.query
    match query.WhichOneof("subject"):
        case "vin":
            similar = query.match == certificate_pb2.MATCH_TYPE_SIMILAR
            return f"car {query.vin}" + (" and similar serial numbers" if similar else "")
        case "registration_number":
            return f"registration {query.registration_number}"
    return f"debtor with keyed hash {certificate.debtor_hash}"


def _hit(hit: certificate_pb2.SearchHit) -> tuple[str, ...]:
    lien = hit.lien
    amount = f"{lien.secured_amount.units:,}.{lien.secured_amount.nanos // 10_000_000:02d} {lien.secured_amount.currency_code}"
    return (
        lien.registration_number,
        lien.vin,
        lien_pb2.LienClass.Name(lien.lien_class).removeprefix("LIEN_CLASS_").lower().replace("_", " "),
        amount,
        lien.secured_party_msp_id,
        lien_pb2.LienStatus.Name(lien.status).removeprefix("LIEN_STATUS_").lower()
        + (f", ends {lien.expires_at.ToDatetime():%Y-%m-%d}" if lien.HasField("expires_at") else ""),
        f"{lien.registered_at.ToDatetime():%Y-%m-%d} ({lien.block_number}/{lien.tx_index})",
        certificate_pb2.MatchType.Name(hit.match_type).removeprefix("MATCH_TYPE_").lower(),
    )
