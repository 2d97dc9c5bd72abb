"""Verification of SM2 signatures (GB/T 32918.2-2016, curve of GB/T 32918.5-2017) in plain integers.

The `cryptography` package has no SM2, and the usual pure-Python packages strip digits from some keys. A verifier handles public
values only, so nothing here needs constant time. About 3 ms each; the two multiplications share their doublings (Shamir's trick).
"""

from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SM3, Hash

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
DEFAULT_ID = b"1234567812345678"
"""The user id of GM/T 0009-2012 where none is agreed."""

Point = tuple[int, int]
_Jacobian = tuple[int, int, int]
_NOWHERE: _Jacobian = (1, 1, 0)


def public_key(raw: bytes) -> Point:
    """A point of the curve from 64 bytes, or 65 with the mark of an uncompressed point. Raises ValueError."""
    if len(raw) == 65 and raw[0] == 4:
        raw = raw[1:]
    if len(raw) != 64:
        raise ValueError("an SM2 key is the 64 bytes of an uncompressed point")
    x, y = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    if x >= P or y >= P or (y * y - (x * x + A) * x - B) % P:
        raise ValueError("not a point of the SM2 curve")
    return x, y


def digest(message: bytes, key: Point, user_id: bytes = DEFAULT_ID) -> int:
    """SM3 over the signer's identity, curve and key, then over that and the message (GB/T 32918.2, 5.5 and 6.1)."""
    curve = b"".join(number.to_bytes(32, "big") for number in (A, B, *G, *key))
    identity = _sm3((len(user_id) * 8).to_bytes(2, "big") + user_id + curve)
    return int.from_bytes(_sm3(identity + message), "big")


def verify(key: Point, message: bytes, r: int, s: int, user_id: bytes = DEFAULT_ID) -> bool:
    """Whether (r, s) is the signature of `message` by the owner of `key` (GB/T 32918.2, 7.1)."""
    if not (0 < r < N and 0 < s < N):
        return False
    t = (r + s) % N
    if not t:
        return False
    x = _sum_of_products(s, G, t, key)
    return x is not None and (digest(message, key, user_id) + x) % N == r


def _sm3(data: bytes) -> bytes:
    made = Hash(SM3())
    made.update(data)
    return made.finalize()


def _sum_of_products(first: int, one: Point, second: int, two: Point) -> int | None:
    """x of `first * one + second * two`; None for the point at infinity."""
    both = _affine(_add((*one, 1), two))
    choices: Sequence[Point | None] = (None, one, two, both)
    at: _Jacobian = _NOWHERE
    for bit in range(max(first.bit_length(), second.bit_length()) - 1, -1, -1):
        at = _double(at)
        chosen = choices[(first >> bit & 1) | (second >> bit & 1) << 1]
        if chosen is not None:
            at = _add(at, chosen)
    point = _affine(at)
    return None if point is None else point[0]


def _affine(point: _Jacobian) -> Point | None:
    x, y, z = point
    if not z:
        return None
    inverse = pow(z, -1, P)
    square = inverse * inverse % P
    return x * square % P, y * square * inverse % P


def _double(point: _Jacobian) -> _Jacobian:
    """With a = -3: dbl-2001-b of the Explicit-Formulas Database."""
    x, y, z = point
    if not z or not y:
        return _NOWHERE
    delta = z * z % P
    gamma = y * y % P
    beta = x * gamma % P
    alpha = 3 * (x - delta) * (x + delta) % P
    x3 = (alpha * alpha - 8 * beta) % P
    return x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % P, 2 * y * z % P


def _add(point: _Jacobian, other: Point) -> _Jacobian:
    """A Jacobian and an affine point."""
    x1, y1, z1 = point
    x2, y2 = other
    if not z1:
        return x2, y2, 1
    square = z1 * z1 % P
    h = (x2 * square - x1) % P
    slope = (y2 * square * z1 - y1) % P
    if not h:
        return _double(point) if not slope else _NOWHERE
    h2 = h * h % P
    h3 = h * h2 % P
    v = x1 * h2 % P
    x3 = (slope * slope - h3 - 2 * v) % P
    return x3, (slope * (v - x3) - y1 * h3) % P, z1 * h % P
