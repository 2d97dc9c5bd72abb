"""Certificates are replaced while servers serve and clients call, on either side, without a restart."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import echo_service
import grpc
import pytest
import yaml
from echo_service import Echo, ask, start

from carlien_common.config import ServiceSettings
from carlien_common.grpc import client
from carlien_common.grpc.client import channel
from carlien_common.grpc.credentials import CertificateFiles
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import GrpcServer, grpc_server
from carlien_common.testing import hostile
from carlien_common.testing.pki import Credentials, Pki

POLICY = Policy.parse(yaml.dump({echo_service.NAME: {rpc: ["originator", "analyst"] for rpc in echo_service.RPCS}}))
MakeSettings = Callable[..., ServiceSettings]


class Mounted:
    """Three files as a secret's volume has them, replaced in place."""

    def __init__(self, folder: Path, first: Credentials) -> None:
        self.certificate, self.key, self.authorities = (folder / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self.put(first)

    def put(self, credentials: Credentials) -> None:
        self.certificate.write_bytes(credentials.certificate.read_bytes())
        self.key.write_bytes(credentials.key.read_bytes())
        self.authorities.write_bytes(credentials.authorities.read_bytes())

    def settings(self, make: MakeSettings) -> ServiceSettings:
        return make(tls_cert_file=self.certificate, tls_key_file=self.key, tls_ca_file=self.authorities, stop_grace_s=0.2)


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(make_settings: MakeSettings, echo: Echo) -> AsyncIterator[GrpcServer]:
    services = [(echo_service.add_to_server, echo, echo_service.NAME)]
    async with grpc_server(make_settings(stop_grace_s=0.2), services, policy=POLICY) as running:
        yield running


@pytest.fixture(autouse=True)
def look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOOK_EVERY_S", 0.0)


async def test_a_servers(make_settings: MakeSettings, tmp_path: Path) -> None:
    old, new = Pki(tmp_path / "old"), Pki(tmp_path / "new")
    live = Mounted(tmp_path, old.certificate())
    services = [(echo_service.add_to_server, Echo(), echo_service.NAME)]
    async with grpc_server(live.settings(make_settings), services, policy=POLICY) as running:
        address = f"127.0.0.1:{running.port}"
        await hostile.assert_serving(address, old)
        live.put(new.certificate())
        await hostile.assert_serving(address, new)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hostile.assert_serving(address, old)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_clients(make_settings: MakeSettings, server: GrpcServer, pki: Pki, tmp_path: Path, echo: Echo) -> None:
    live = Mounted(tmp_path, pki.certificate("org1", "originator"))
    async with channel(live.settings(make_settings), f"127.0.0.1:{server.port}") as made:
        assert await ask(made, "Unary", "caller") == ["org1/originator"]
        open_call = start(made, "BidiStream", "still here")
        await echo.started.wait()
        live.put(pki.certificate("org1", "analyst"))
        assert await ask(made, "Unary", "caller") == ["org1/analyst"]
        # What was under way ends as it began.
        assert [answer.value async for answer in open_call] == ["still here"]


async def test_half_of_a_rotation_changes_nothing(make_settings: MakeSettings, server: GrpcServer, pki: Pki, tmp_path: Path) -> None:
    old, new = pki.certificate("org1", "originator"), pki.certificate("org1", "analyst")
    live = Mounted(tmp_path, old)
    async with channel(live.settings(make_settings), f"127.0.0.1:{server.port}") as made:
        live.certificate.write_bytes(new.certificate.read_bytes())
        assert await ask(made, "Unary", "caller") == ["org1/originator"]
        live.key.unlink()
        assert await ask(made, "Unary", "caller") == ["org1/originator"]
        live.key.write_bytes(new.key.read_bytes())
        assert await ask(made, "Unary", "caller") == ["org1/analyst"]


def test_a_pair_that_does_not_fit_is_refused_at_start(pki: Pki) -> None:
    one, other = pki.certificate("org1", "originator"), pki.certificate("org1", "analyst")
    with pytest.raises(ValueError, match="isn't the key's"):
        CertificateFiles(one.certificate, other.key, one.authorities).read()
