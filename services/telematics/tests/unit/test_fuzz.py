"""Random and mutated bytes through every codec and stream parser: refused with a reason or decoded, never anything else.

FUZZ_INPUTS sets how many (default 10,000; `FUZZ_INPUTS=2000000` for the long run), FUZZ_SEED repeats one.
"""

import os
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from carlien_telematics.codecs import gb32960, jt808, obd, vss
from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.gb32960 import Command, Encryption, Frame, Response, Version
from carlien_telematics.crypto.ciphers import DecryptionError, Keyring, encrypt
from carlien_telematics.simulator.terminals import synthetic_drive

INPUTS = int(os.environ.get("FUZZ_INPUTS", "10000"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
AT = datetime(2026, 1, 1, tzinfo=UTC)
GB = synthetic_drive("LSVNV2187E2100001", AT, minutes=1)
LOGIN = gb32960.encode_login(Version.V2016, gb32960.Login(AT, 1, "89860000000000000001", ("ABC",)))
GB.append(gb32960.build(Frame(Version.V2016, Command.LOGIN, Response.COMMAND, b"LSVNV2187E2100001", 1, LOGIN)))
ACTIVATION = gb32960.encode_activation(gb32960.Activation(AT, "C", bytes(64), "LSVNV2187E2100001", "SM2", bytes(32), bytes(32)))
GB.append(gb32960.build(Frame(Version.V2025, Command.ACTIVATION, Response.COMMAND, b"LSVNV2187E2100001", 1, ACTIVATION)))
RING = Keyring({Encryption.SM4: (bytes(16),)})
SEALED = [gb32960.build(gb32960.trusted(raw)._replace(data=encrypt(Encryption.SM4, bytes(16), raw[24:-1]))) for raw in GB]
VSS = [vss.encode(vss.VssFrame(AT, "6.0", {vss.SPEED: 50.5, vss.POWER_STATE: "ON", "Vehicle.IsMoving": True}))]
BODY = bytes.fromhex("0000000200000007 01d9f2d4073ca28d002b01c20059240506150809 010400003039 31010b")
JT = [
    jt808.build(jt808.Message(0x0200, "013912345678", 1, BODY)),
    jt808.build(jt808.Message(0x0704, "013912345678", 2, jt808.encode_position_batch([BODY, BODY], reissued=True))),
    jt808.build(jt808.Message(0x0104, "013912345678", 4, jt808.encode_parameters(1, {1: bytes(4), 0x29: bytes(4)}))),
    jt808.build(jt808.Message(0x0705, "013912345678", 5, b"\0\1\x12\x34\x56\0\0" + bytes(12))),
    jt808.build(jt808.Message(0x0200, "0" * 8 + "013912345678", 3, BODY, version_2019=1)),
]


def mutated(chance: random.Random, good: list[bytes]) -> bytes:
    """A good message with some bytes changed, cut, doubled or swapped for noise; now and then noise alone."""
    if chance.random() < 0.15:
        return chance.randbytes(chance.randrange(200))
    raw = bytearray(chance.choice(good))
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(4):
            case 0 if at < len(raw):
                raw[at] = chance.choice((0, 0xFF, 0xFE, 0x7E, 0x7D, 0x23, 0x24, chance.randrange(256)))
            case 1:
                del raw[at : at + chance.randrange(1, 9)]
            case 2:
                raw[at:at] = raw[at : at + chance.randrange(1, 30)]
            case _:
                raw[at:at] = chance.randbytes(chance.randrange(1, 9))
        if not raw:
            break
    return bytes(raw)


def decode_gb32960(raw: bytes) -> None:
    for version in Version:
        gb32960.decode_record(version, gb32960.encode_time(AT) + raw[30:])
    frame = gb32960.parse(raw)
    match frame.command:
        case Command.LOGIN:
            gb32960.decode_login(frame.version, frame.data)
        case Command.REALTIME | Command.REISSUE:
            gb32960.decode_record(frame.version, frame.data)
        case Command.ACTIVATION:
            gb32960.decode_activation(frame.data)
        case Command.KEY_EXCHANGE:
            gb32960.decode_key_exchange(frame.data)
        case _:
            gb32960.decode_platform_login(frame.data)


def decode_jt808(raw: bytes) -> None:
    jt808.decode_position(raw[13:-2])
    message = jt808.parse(raw)
    jt808.decode_body(message)
    jt808.can_batch_time(message.body, AT)


def decode_vss(raw: bytes) -> None:
    vss.units(vss.decode(raw))


def open_sealed(raw: bytes) -> None:
    """What a platform's encrypted message holds, with the right key."""
    try:
        gb32960.decode_record(Version.V2025, RING.decrypt(Encryption.SM4, raw[24:-1]))
    except DecryptionError:
        raise FrameError(Reason.ENCRYPTED) from None


def decode_obd(raw: bytes) -> None:
    obd.decode(raw[:24].hex())


@pytest.mark.parametrize(
    ("decode", "good"),
    [
        (decode_gb32960, GB),
        (decode_jt808, JT),
        (decode_obd, [b"\x41\x0c\x1a\xf8", b"\x49\x02\x01" + b"A" * 17]),
        (decode_vss, VSS),
        (open_sealed, SEALED),
    ],
)
def test_a_codec_decodes_or_refuses_with_a_reason(decode: Callable[[bytes], None], good: list[bytes]) -> None:
    sys.stdout.write(f"FUZZ_SEED={SEED} FUZZ_INPUTS={INPUTS}\n")
    chance = random.Random(SEED)
    refused = 0
    for _ in range(INPUTS):
        try:
            decode(mutated(chance, good))
        except FrameError:
            refused += 1
    assert refused


@pytest.mark.parametrize(("parser", "good"), [(gb32960.StreamParser, GB), (jt808.StreamParser, JT)])
def test_a_stream_stays_bounded_and_finds_the_good_messages(
    parser: Callable[[], gb32960.StreamParser | jt808.StreamParser], good: list[bytes]
) -> None:
    sys.stdout.write(f"FUZZ_SEED={SEED} FUZZ_INPUTS={INPUTS}\n")
    chance = random.Random(SEED)
    stream, bound = parser(), max(gb32960.MAX_FRAME, jt808.MAX_FRAME) + 70_000
    for _ in range(INPUTS // 50 + 1):
        for _ in range(50):
            stream.feed(mutated(chance, good))
            assert stream.pending <= bound
        stream.finish()
        whole = chance.choice(good)
        found = stream.feed(whole) + stream.finish()
        assert len(found) == 1
