"""A car that signs with SM2, for tests and the simulator. The service itself never signs."""

import hashlib

from carlien_telematics.crypto import sm2


class Sm2Signer:
    """A key pair from a secret number from 1 to n - 2. The nonce follows from secret and message: a test signs the same twice."""

    def __init__(self, secret: int) -> None:
        self._secret = secret
        self._point = _times(secret)
        self.public = self._point[0].to_bytes(32, "big") + self._point[1].to_bytes(32, "big")

    def sign(self, message: bytes) -> tuple[bytes, bytes]:
        """r and s (GB/T 32918.2-2016, 6.1)."""
        said = sm2.digest(message, self._point)
        for attempt in range(1, 256):
            seed = self._secret.to_bytes(32, "big") + said.to_bytes(32, "big") + bytes((attempt,))
            nonce = int.from_bytes(hashlib.sha512(seed).digest(), "big") % (sm2.N - 1) + 1
            r = (said + _times(nonce)[0]) % sm2.N
            s = pow(1 + self._secret, -1, sm2.N) * (nonce - r * self._secret) % sm2.N
            if r and s and r + nonce != sm2.N:
                return r.to_bytes(32, "big"), s.to_bytes(32, "big")
        raise ValueError("no usable nonce in 255 tries")


def _times(scalar: int) -> sm2.Point:
    """`scalar * G`, plainly."""
    sum_: sm2.Point | None = None
    doubled: sm2.Point | None = sm2.G
    while scalar:
        if scalar & 1:
            sum_ = _plus(sum_, doubled)
        doubled = _plus(doubled, doubled)
        scalar >>= 1
    if sum_ is None:
        raise ValueError("zero times a point is no point")
    return sum_


def _plus(one: sm2.Point | None, two: sm2.Point | None) -> sm2.Point | None:
    """The textbook's addition of affine points, so that it checks the verifier's."""
    if one is None or two is None:
        return one or two
    if one[0] == two[0] and (one[1] + two[1]) % sm2.P == 0:
        return None
    if one == two:
        slope = (3 * one[0] * one[0] + sm2.A) * pow(2 * one[1], -1, sm2.P)
    else:
        slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, sm2.P)
    x = (slope * slope - one[0] - two[0]) % sm2.P
    return x, (slope * (one[0] - x) - one[1]) % sm2.P
