"""Certificates signed with the organisation's identity on the ledger, and checked against the consortium's members."""

from collections.abc import Sequence

from carlien.lien.v1 import certificate_pb2
from carlien_lien_registry import certificates
from carlien_lien_registry.domain.certificate import Search
from carlien_lien_registry.wire import certificate_to_proto


class FabricCertifier:
    """Certifier on a signer of the Fabric identity; `chain` is PEM, the signer's certificate first."""

    def __init__(self, signer: certificates.DigestSigner, chain: Sequence[str]) -> None:
        """Take the signer and its chain."""
        self._signer = signer
        self._chain = tuple(chain)

    async def sign(self, search: Search) -> bytes:
        """Return the signed certificate, serialised."""
        certificate: certificate_pb2.SearchCertificate = certificate_to_proto(search)
        await certificates.sign(certificate, self._signer, self._chain)
        return certificate.SerializeToString(deterministic=True)
