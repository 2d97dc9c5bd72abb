"""Platforms, encrypted data units, activation and TLS at the gateway, over real sockets."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from carlien_common.testing.pki import Pki
from carlien_telematics.adapters.platforms_file import read_platforms
from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Activation, Command, Encryption, Frame, PlatformLogin, Response, Version
from carlien_telematics.crypto.ciphers import Keyring, encrypt
from carlien_telematics.domain.access import Access
from carlien_telematics.domain.devices import Credential, OnlineReason, SigningAlgorithm, SigningKey
from carlien_telematics.service.platforms import Platform, Platforms
from carlien_telematics.testing.gateway import AT, VIN, Bench, Device, connect, login, message, record
from carlien_telematics.testing.signing import Sm2Signer

SECOND, FOREIGN = "LSVNV2189E2100002", "LJ12EKR10D4000002"
AES, SM4 = bytes(range(16)), bytes(range(16, 32))
PLATFORMS = Platforms(
    {"MAKER": Platform("MAKER", Credential.of("secret-1"), ("LSV",), Keyring({Encryption.SM4: (SM4,)}))},
    Keyring({Encryption.AES128: (AES,)}),
)


def platform_login(user: str = "MAKER", password: str = "secret-1", encryption: Encryption = Encryption.NONE) -> bytes:
    data = gb32960.encode_platform_login(PlatformLogin(AT, 1, user, password, encryption))
    return message(Command.PLATFORM_LOGIN, data, vin="\0" * 17, version=Version.V2025)


def sealed(raw: bytes, encryption: Encryption, key: bytes) -> bytes:
    frame = gb32960.trusted(raw)
    return gb32960.build(frame._replace(encryption=encryption, data=encrypt(encryption, key, frame.data)))


@asynccontextmanager
async def platform_of(bench: Bench) -> AsyncIterator[Device]:
    for vin in (VIN, SECOND, FOREIGN):
        bench.access.allow(vin)
    device = await bench.device()
    assert await device.ask(platform_login()) == Response.SUCCESS
    yield device
    await device.close()


async def test_a_platform_speaks_for_its_cars_and_no_others() -> None:
    async with Bench(platforms=PLATFORMS) as bench, platform_of(bench) as device:
        assert await device.ask(login(VIN)) == Response.SUCCESS
        assert await device.ask(record(vin=VIN)) == Response.SUCCESS
        # its cars stay logged in at the platform when that reconnects
        assert await device.ask(record(vin=SECOND)) == Response.SUCCESS
        assert await device.ask(record(vin=FOREIGN)) == Response.ERROR
        assert await device.ask(login(SECOND, iccid="89860000000000000002")) == Response.ERROR
        assert await device.ask(message(Command.HEARTBEAT, vin="\0" * 17)) == Response.SUCCESS
        assert {frame.vin: frame.device_id for frame in bench.publisher.frames} == {VIN: "T-0001", SECOND: "T-0002"}
        assert bench.metrics.counts["PLATFORM"] == bench.metrics.counts["CREDENTIAL"] == 1
        assert await device.ask(message(Command.LOGOUT, gb32960.encode_logout(gb32960.Logout(AT, 1)), VIN)) == Response.SUCCESS
        assert await device.ask(message(Command.PLATFORM_LOGOUT, gb32960.encode_logout(gb32960.Logout(AT, 1)))) == Response.SUCCESS
        seen = {(p.device_id, p.online, p.reason) for p in bench.presence.seen}
        assert ("T-0001", False, OnlineReason.LOGOUT) in seen
        assert ("T-0002", False, OnlineReason.LOGOUT) in seen
        assert await device.ask(record(vin=SECOND)) == Response.ERROR


async def test_cars_of_a_platform_are_offline_when_its_connection_ends() -> None:
    async with Bench(platforms=PLATFORMS) as bench, platform_of(bench) as device:
        assert await device.ask(record(vin=SECOND)) == Response.SUCCESS
    assert [(p.device_id, p.online) for p in bench.presence.seen] == [("T-0002", True), ("T-0002", False)]


async def test_a_car_without_consent_is_refused_from_a_platform_too() -> None:
    async with Bench(platforms=PLATFORMS) as bench, platform_of(bench) as device:
        bench.access.allow(SECOND, until=1.0)
        assert await device.ask(record(vin=SECOND)) == Response.ERROR
        assert bench.metrics.counts["CONSENT_MISSING"] == 1
        assert await device.ask(record(vin=VIN)) == Response.SUCCESS


@pytest.mark.parametrize(("user", "password"), [("MAKER", "secret-2"), ("OTHER", "secret-1"), ("", "")])
async def test_who_guesses_a_platform_is_refused_and_cut_off(user: str, password: str) -> None:
    async with Bench(platforms=PLATFORMS) as bench:
        device = await bench.device()
        for _ in range(5):
            assert await device.ask(platform_login(user, password)) == Response.ERROR
        assert await device.closed()
        assert bench.metrics.counts == {"CREDENTIAL": 5}


async def test_who_tries_keys_without_a_login_is_cut_off() -> None:
    async with Bench(platforms=PLATFORMS) as bench:
        bench.access.allow()
        device = await bench.device()
        for _ in range(5):
            assert await device.ask(sealed(login(), Encryption.AES128, SM4)) == Response.ERROR
        assert await device.closed()
        assert bench.metrics.counts == {"ENCRYPTED": 5}


async def test_encrypted_records_are_opened_with_the_keys_of_who_sends_them() -> None:
    async with Bench(platforms=PLATFORMS) as bench:
        bench.access.allow()
        device = await bench.device()
        assert await device.ask(sealed(login(), Encryption.AES128, AES)) == Response.SUCCESS
        assert await device.ask(sealed(record(), Encryption.AES128, AES)) == Response.SUCCESS
        assert await device.ask(sealed(record(), Encryption.SM4, SM4)) == Response.ERROR
        assert await device.ask(sealed(record(version=Version.V2025), Encryption.AES128, SM4)) == Response.DECRYPTION_FAILED
        # no data unit, nothing to open
        assert await device.ask(message(Command.HEARTBEAT, encryption=Encryption.SM4)) == Response.SUCCESS
        async with platform_of(bench) as platform:
            assert await platform.ask(sealed(record(vin=SECOND), Encryption.SM4, SM4)) == Response.SUCCESS
            assert await platform.ask(sealed(record(vin=SECOND), Encryption.AES128, AES)) == Response.ERROR
        # on the topic a record looks the same however it came
        assert [frame.raw for frame in bench.publisher.frames] == [record(), record(vin=SECOND)]
        await device.close()


async def test_a_car_is_activated_with_the_key_its_device_was_registered_with() -> None:
    signer, thief = Sm2Signer(4711), Sm2Signer(4712)

    def activation(who: Sm2Signer, key: bytes, vin: str = VIN) -> bytes:
        said = Activation(AT, "CHIP-1", key, vin, "SM2", b"", b"")
        r, s = who.sign(gb32960.decode_activation(gb32960.encode_activation(said)).signed)
        return message(Command.ACTIVATION, gb32960.encode_activation(replace(said, r=r, s=s)), version=Version.V2025)

    async def answer(device: Device, raw: bytes) -> tuple[int, int, bytes]:
        await device.send(raw)
        frame: Frame = await device.answer()
        return frame.command, frame.response, frame.data

    async with Bench() as bench:
        bench.access.allow()
        device = await bench.device()
        failed = Command.ACTIVATION_RESPONSE, Response.VIN_UNKNOWN, b"\x02\0"
        assert await answer(device, activation(signer, signer.public)) == failed
        known = bench.access.cars[VIN].devices[0]
        bench.access.cars[VIN] = Access(VIN, (replace(known, signing_key=SigningKey(SigningAlgorithm.SM2, signer.public)),), 4e9)
        bench.book.forget(VIN)
        for stolen in (activation(thief, thief.public), activation(thief, signer.public)):
            assert await answer(device, stolen) == (Command.ACTIVATION_RESPONSE, Response.SIGNATURE_INVALID, b"\x02\0")
        assert await answer(device, activation(signer, signer.public, SECOND)) == failed
        activated = Command.ACTIVATION_RESPONSE, Response.SUCCESS, b"\x01\0"
        assert await answer(device, activation(signer, b"\x04" + signer.public)) == activated
        assert (await answer(device, activation(signer, signer.public)))[1] == Response.ERROR
        assert await device.closed()
        assert bench.metrics.counts == {"NOT_REGISTERED": 2, "SIGNATURE": 2, "ACTIVATION": 1, "UNSUPPORTED": 1}


async def _logs_in(port: int, tls: ssl.SSLContext) -> None:
    device = await connect(port, tls)
    try:
        await device.ask(login())
    finally:
        await device.close()


async def test_devices_over_tls_with_and_without_a_certificate_of_their_own(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    mine = pki.certificate("org1", "service")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=mine.authorities)
    server.load_cert_chain(mine.certificate, mine.key)
    client = ssl.create_default_context(cafile=mine.authorities)
    async with Bench(tls=server) as bench:
        bench.access.allow()
        device = await connect(bench.tls_port, client)
        assert await device.ask(login()) == Response.SUCCESS
        assert await device.ask(record()) == Response.SUCCESS
        await device.close()
        # plain bytes at the TLS port end that connection alone
        plain = await connect(bench.tls_port)
        await plain.send(login())
        assert await plain.closed()
        server.verify_mode = ssl.CERT_REQUIRED
        strange = pki.unknown_ca()
        client.load_cert_chain(strange.certificate, strange.key)
        with pytest.raises(OSError, match=r"(?i)unknown ca|reset|closed"):
            await _logs_in(bench.tls_port, client)
        assert len(bench.publisher.frames) == 1


def test_the_platforms_file(tmp_path: Path) -> None:
    path = tmp_path / "platforms.yaml"
    path.write_text(
        "terminals: {keys: [{algorithm: AES128, key: 000102030405060708090a0b0c0d0e0f}]}\n"
        "platforms: [{user: MAKER, password: secret-1, vin_prefixes: [LSV],\n"
        "  keys: [{algorithm: SM4, key: 101112131415161718191a1b1c1d1e1f}]}]\n"
    )
    read = read_platforms(path)
    maker = read.identify("MAKER", "secret-1")
    assert maker is not None
    assert maker.may_speak_for(VIN)
    assert not maker.may_speak_for(FOREIGN)
    assert maker.keys.symmetric == {Encryption.SM4: (SM4,)}
    assert read.terminals.symmetric == {Encryption.AES128: (AES,)}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("terminals: {keys: [{algorithm: AES128, key: 00ff}]}", "32 hexadecimal digits"),
        ("platforms: [{user: A, password: secret-1, vin_prefixes: []}]", "vin_prefixes"),
        ("platforms: [{user: A, password: short, vin_prefixes: [L]}]", "password"),
        ("platforms: [{user: A, password: secret-1, vin_prefixes: [L]}, {user: A, password: secret-2, vin_prefixes: [L]}]", "same user"),
        ("terminals: {keys: [{algorithm: DES, key: 00}]}", "algorithm"),
        ("surprise: 1", "surprise"),
    ],
)
def test_a_platforms_file_that_can_not_be_used_says_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "platforms.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=fault) as caught:
        read_platforms(path)
    assert "secret-1" not in str(caught.value)
