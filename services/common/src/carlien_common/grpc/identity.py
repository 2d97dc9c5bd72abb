"""The caller's identity, from the certificate that TLS has verified."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from carlien_common.domain.errors import unauthenticated
from carlien_common.grpc.context import Caller

TRUST_DOMAIN: Final = "carlien"
_SPIFFE: Final = re.compile(rf"spiffe://{TRUST_DOMAIN}/([a-z0-9][a-z0-9-]*)/([a-z0-9][a-z0-9-]*)").fullmatch
# gRPC core's name for the URIs among the subject alternative names. Not x509_subject_alternative_name: that one mixes in
# DNS names, and a DNS name that reads like a URI must not become an identity.
_URIS: Final = "peer_uri"


@lru_cache(maxsize=1024)
def _parse(uris: tuple[bytes, ...]) -> Caller | None:
    matches = [match for uri in uris if (match := _SPIFFE(uri.decode("utf-8", "replace")))]
    if len(matches) != 1:
        # None, or several: the certificate doesn't say who this is.
        return None
    return Caller(org=matches[0][1], role=matches[0][2], spiffe_id=matches[0][0])


def caller_of(auth_context: Mapping[str, Iterable[bytes]]) -> Caller:
    """The caller, or UNAUTHENTICATED with IDENTITY_MISSING."""
    caller = _parse(tuple(auth_context.get(_URIS, ())))
    if caller is None:
        raise unauthenticated("IDENTITY_MISSING", f"The client certificate has no single SAN URI spiffe://{TRUST_DOMAIN}/<org>/<role>.")
    return caller
