"""TLS credentials from files, which may be replaced while the process runs.

A server looks at them on every handshake, a client channel at its calls (at most once a second).
"""

from __future__ import annotations

from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from carlien_common.config import ServiceSettings
from carlien_common.logs import get_logger

log = get_logger(__name__)


class CertificateFiles:
    """Certificate chain, private key and CA bundle as PEM files."""

    def __init__(self, certificate: Path, key: Path, authorities: Path) -> None:
        self._files = (certificate, key, authorities)
        self._seen = self._stamps()

    @classmethod
    def of(cls, settings: ServiceSettings) -> CertificateFiles:
        """Those of the service. They are there: the configuration has been checked."""
        if settings.tls_cert_file is None or settings.tls_key_file is None or settings.tls_ca_file is None:
            raise ValueError("There is no TLS configuration; is GRPC_INSECURE meant?")
        return cls(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Certificate chain, key, CA bundle. ValueError when certificate and key don't belong together."""
        certificate, key, authorities = (file.read_bytes() for file in self._files)
        # Read between two writes of a rotation they may be of different pairs, with which no handshake would work.
        if x509.load_pem_x509_certificate(certificate).public_key() != load_pem_private_key(key, None).public_key():
            raise ValueError("The certificate isn't the key's.")
        return certificate, key, authorities

    def changed(self) -> tuple[bytes, bytes, bytes] | None:
        """What read() returns after the files changed, else None."""
        try:
            stamps = self._stamps()
            if stamps == self._seen:
                return None
            fresh = self.read()
        except (OSError, ValueError) as error:
            # Half-way through a rotation: keep what works and look again next time.
            log.warning("certificate_files_unusable", error=str(error))
            return None
        self._seen = stamps
        log.info("certificates_rotated")
        return fresh

    def server_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """changed() for gRPC core, which asks on every handshake, from its own thread."""
        fresh = self.changed()
        return None if fresh is None else _server_configuration(*fresh)

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in (file.stat() for file in self._files))


def _server_configuration(certificate: bytes, key: bytes, authorities: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authorities)


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """mTLS: a client without a certificate of our CA doesn't get past the handshake."""
    return grpc.dynamic_ssl_server_credentials(
        _server_configuration(*files.read()),
        files.server_changed,  # type: ignore[arg-type]  # None means unchanged; the stubs don't know
        require_client_authentication=True,
    )


def channel_credentials(files: CertificateFiles) -> grpc.ChannelCredentials:
    """mTLS from the other side, with what the files say now."""
    return credentials_of(*files.read())


def credentials_of(certificate: bytes, key: bytes, authorities: bytes) -> grpc.ChannelCredentials:
    """The same from PEM texts."""
    return grpc.ssl_channel_credentials(authorities, key, certificate)
