"""TLS credentials from files. The server's can rotate without a restart; the files are looked at on every handshake."""

from __future__ import annotations

from pathlib import Path

import grpc

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
        """Certificate chain, key, CA bundle."""
        certificate, key, authorities = (file.read_bytes() for file in self._files)
        return certificate, key, authorities

    def server_configuration(self) -> grpc.ServerCertificateConfiguration:
        """For gRPC core."""
        certificate, key, authorities = self.read()
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authorities)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration after the files changed, else None. Called by gRPC on every handshake, from its own thread."""
        try:
            stamps = self._stamps()
            if stamps == self._seen:
                return None
            configuration = self.server_configuration()
        except OSError:
            # Half-way through a rotation: keep what works and look again at the next handshake.
            log.warning("certificate_files_unreadable", exc_info=True)
            return None
        self._seen = stamps
        log.info("certificates_rotated")
        return configuration

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in (file.stat() for file in self._files))


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """mTLS: a client without a certificate of our CA doesn't get past the handshake."""
    return grpc.dynamic_ssl_server_credentials(
        files.server_configuration(),
        files.changed,  # type: ignore[arg-type]  # None means unchanged; the stubs don't know
        require_client_authentication=True,
    )


def channel_credentials(files: CertificateFiles) -> grpc.ChannelCredentials:
    """mTLS from the other side."""
    certificate, key, authorities = files.read()
    return grpc.ssl_channel_credentials(authorities, key, certificate)
