"""Data units of the other messages: login, logout, platform login and logout, activation, key exchange."""

from dataclasses import dataclass, field
from datetime import datetime

from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.gb32960.frame import Version, decode_time, encode_time
from carlien_telematics.codecs.gb32960.tables import SIGNATURE_ALGORITHMS


@dataclass(frozen=True, slots=True)
class Login:
    """Vehicle login, table 6: `packs` are the codes of the rechargeable storage subsystems (2025: of each pack)."""

    device_time: datetime
    serial: int
    iccid: str
    packs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Logout:
    """Vehicle or platform logout; `serial` is that of the login it ends."""

    device_time: datetime
    serial: int


@dataclass(frozen=True, slots=True)
class PlatformLogin:
    """Table 21 (2016), 29 (2025)."""

    device_time: datetime
    serial: int
    user: str
    password: str
    encryption: int


@dataclass(frozen=True, slots=True)
class KeyExchange:
    """2025, table 31: a new key and when it is in force."""

    encryption: int
    key: bytes
    valid_from: datetime
    valid_to: datetime


@dataclass(frozen=True, slots=True)
class Activation:
    """2025, table B.3: a car's chip and public key, signed with that key. `signed` is what the signature covers."""

    device_time: datetime
    chip_id: str
    public_key: bytes
    vin: str
    algorithm: str | int
    r: bytes
    s: bytes
    signed: bytes = field(default=b"", compare=False, repr=False)


def _text(data: bytes) -> str:
    """Padded ASCII; what is not ASCII is refused rather than guessed."""
    try:
        return data.decode("ascii").strip("\0 ")
    except UnicodeDecodeError:
        raise FrameError(Reason.BODY, "text is not ASCII") from None


def _exactly(data: bytes, size: int, what: str) -> None:
    if len(data) != size:
        raise FrameError(Reason.BODY, f"{what} has {len(data)} bytes, not {size}")


def decode_login(version: Version, data: bytes) -> Login:
    """Raises FrameError(BODY) where lengths disagree, DEVICE_TIME for a time that is none."""
    if len(data) < 29:
        raise FrameError(Reason.BODY, "login cut short")
    if version is Version.V2016:
        count, size = data[28], data[29] if len(data) > 29 else 0
        _exactly(data, 30 + count * size, "login")
        codes = [data[30 + n * size : 30 + (n + 1) * size] for n in range(count)]
    else:
        systems = data[28]
        count, start = sum(data[29 : 29 + systems]), 29 + systems
        _exactly(data, start + 24 * count, "login")
        codes = [data[start + 24 * n : start + 24 * (n + 1)] for n in range(count)]
    return Login(decode_time(data), int.from_bytes(data[6:8], "big"), _text(data[8:28]), tuple(map(_text, codes)))


def encode_login(version: Version, login: Login) -> bytes:
    """Inverse of `decode_login`; 2025 packs are said to belong to one subsystem."""
    head = encode_time(login.device_time) + login.serial.to_bytes(2, "big") + login.iccid.encode("ascii").ljust(20, b"\0")
    codes = [code.encode("ascii") for code in login.packs]
    if version is Version.V2016:
        size = max(map(len, codes), default=0)
        return head + bytes((len(codes), size)) + b"".join(code.ljust(size, b"\0") for code in codes)
    systems = bytes((1, len(codes))) if codes else b"\0"
    return head + systems + b"".join(code.ljust(24, b"\0") for code in codes)


def decode_logout(data: bytes) -> Logout:
    """Raises FrameError(BODY, DEVICE_TIME)."""
    _exactly(data, 8, "logout")
    return Logout(decode_time(data), int.from_bytes(data[6:8], "big"))


def encode_logout(logout: Logout) -> bytes:
    """Inverse of `decode_logout`."""
    return encode_time(logout.device_time) + logout.serial.to_bytes(2, "big")


def decode_platform_login(data: bytes) -> PlatformLogin:
    """Raises FrameError(BODY, DEVICE_TIME)."""
    _exactly(data, 41, "platform login")
    return PlatformLogin(decode_time(data), int.from_bytes(data[6:8], "big"), _text(data[8:20]), _text(data[20:40]), data[40])


def encode_platform_login(login: PlatformLogin) -> bytes:
    """Inverse of `decode_platform_login`."""
    user, password = login.user.encode("ascii").ljust(12, b"\0"), login.password.encode("ascii").ljust(20, b"\0")
    return encode_time(login.device_time) + login.serial.to_bytes(2, "big") + user + password + bytes((login.encryption,))


def decode_key_exchange(data: bytes) -> KeyExchange:
    """Raises FrameError(BODY, DEVICE_TIME)."""
    if len(data) < 3:
        raise FrameError(Reason.BODY, "key exchange cut short")
    end = 3 + int.from_bytes(data[1:3], "big")
    _exactly(data, end + 12, "key exchange")
    return KeyExchange(data[0], data[3:end], decode_time(data, end), decode_time(data, end + 6))


def encode_key_exchange(exchange: KeyExchange) -> bytes:
    """Inverse of `decode_key_exchange`."""
    times = encode_time(exchange.valid_from) + encode_time(exchange.valid_to)
    return bytes((exchange.encryption,)) + len(exchange.key).to_bytes(2, "big") + exchange.key + times


def decode_activation(data: bytes) -> Activation:
    """Raises FrameError(BODY, DEVICE_TIME)."""
    if len(data) < 24:
        raise FrameError(Reason.BODY, "activation cut short")
    key_end = 24 + int.from_bytes(data[22:24], "big")
    signed_end = key_end + 17
    r_end = signed_end + 3 + int.from_bytes(data[signed_end + 1 : signed_end + 3], "big")
    s_end = r_end + 2 + int.from_bytes(data[r_end : r_end + 2], "big")
    _exactly(data, s_end, "activation")
    return Activation(
        device_time=decode_time(data),
        chip_id=_text(data[6:22]),
        public_key=data[24:key_end],
        vin=_text(data[key_end:signed_end]),
        algorithm=SIGNATURE_ALGORITHMS.get(data[signed_end], data[signed_end]),
        r=data[signed_end + 3 : r_end],
        s=data[r_end + 2 :],
        signed=data[:signed_end],
    )


def encode_activation(activation: Activation) -> bytes:
    """Inverse of `decode_activation`; with `r` and `s` empty its first part is what has to be signed."""
    codes = {name: code for code, name in SIGNATURE_ALGORITHMS.items()}
    algorithm = codes[activation.algorithm] if isinstance(activation.algorithm, str) else activation.algorithm
    key, vin = activation.public_key, activation.vin.encode("ascii").ljust(17, b" ")
    head = encode_time(activation.device_time) + activation.chip_id.encode("ascii").ljust(16, b" ")
    signed = head + len(key).to_bytes(2, "big") + key + vin
    numbers = b"".join(len(number).to_bytes(2, "big") + number for number in (activation.r, activation.s))
    return signed + bytes((algorithm,)) + numbers
