"""One connection of a GB/T 32960 terminal: login first, then records, each acknowledged once it is durable."""

import asyncio
import socket
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from carlien_common.domain.errors import DomainError
from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.gb32960 import Command, Encryption, Response, StreamParser, Version
from carlien_telematics.domain.access import Access, Refusal
from carlien_telematics.domain.devices import DeviceProtocol, OnlineReason
from carlien_telematics.service.publishing import OutgoingFrame

if TYPE_CHECKING:
    from carlien_telematics.gateway.server import Gateway

_NO_VIN = bytes(17)
_PROTOCOLS = {version.to_bytes(2, "big"): version.protocol for version in Version}
_DATA = (Command.REALTIME, Command.REISSUE)
_AFTER_LOGIN = (*_DATA, Command.HEARTBEAT, Command.TIME_CHECK, Command.LOGOUT)
_REPLY_2025 = {
    Refusal.NUL_VIN: Response.VIN_UNKNOWN,
    Refusal.NOT_REGISTERED: Response.VIN_UNKNOWN,
    Refusal.VIN_MISMATCH: Response.VIN_UNKNOWN,
    Refusal.DEVICE_TIME: Response.STRUCTURE_INVALID,
    Refusal.BODY: Response.STRUCTURE_INVALID,
    Refusal.ENCRYPTED: Response.DECRYPTION_FAILED,
}


class Gb32960Connection(asyncio.Protocol):
    """Parses, judges and hands over. Everything it keeps is bounded by `Limits`."""

    __slots__ = (
        "_held",
        "_in_flight",
        "_partial_since",
        "_pauses",
        "_refused_messages",
        "_stream",
        "_tokens",
        "_write_blocked_since",
        "connected_at",
        "device_id",
        "gateway",
        "last_heard",
        "transport",
        "vin",
    )

    def __init__(self, gateway: "Gateway") -> None:
        self.gateway = gateway
        self.transport: asyncio.Transport | None = None
        self.vin: bytes | None = None
        self.device_id: str | None = None
        self.connected_at = self.last_heard = 0.0
        self._stream = StreamParser()
        self._held: deque[bytes] | None = None
        self._in_flight = 0
        self._pauses: set[str] | None = None
        self._partial_since = 0.0
        self._write_blocked_since = 0.0
        self._refused_messages = 0
        self._tokens = gateway.limits.frames_per_second

    # -- asyncio callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admitted or, above the limit of connections, closed at once."""
        self.transport = cast("asyncio.Transport", transport)
        self.connected_at = self.last_heard = self.gateway.now
        if not self.gateway.opened(self):
            self.transport.abort()
            return
        self.transport.set_write_buffer_limits(high=16_384)
        # answers are small: what the kernel would keep for a device that doesn't read them is bounded too
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever is in flight still becomes durable; nobody is left to tell."""
        del exc
        self._held = None
        self.gateway.closed(self)
        self.transport = None

    def pause_writing(self) -> None:
        """The device doesn't read its answers: it isn't read either."""
        self._write_blocked_since = self.gateway.now
        self.pause("answers")

    def resume_writing(self) -> None:
        """It reads again."""
        self._write_blocked_since = 0.0
        self.resume("answers")

    def data_received(self, data: bytes) -> None:
        """Bytes from the device."""
        self.last_heard = self.gateway.now
        stream = self._stream
        frames = stream.feed(data)
        if stream.refused:
            self._count_malformed()
        if not stream.pending:
            self._partial_since = 0.0
        elif not self._partial_since or frames:
            self._partial_since = self.last_heard
        self._tokens -= len(frames)
        if self._tokens < 0:
            self.gateway.metrics.throttled.inc()
            self.pause("rate")
        for raw in frames:
            if self._held is not None:
                self._held.append(raw)
            elif not self._take(raw):
                self._hold(raw)

    def eof_received(self) -> bool | None:
        """Good frames behind a message that will never be complete are still taken."""
        for raw in self._stream.finish():
            if self._held is not None:
                self._held.append(raw)
            elif not self._take(raw):
                self._hold(raw)
        if self._stream.refused:
            self._count_malformed()
        return None

    # -- flow control

    def pause(self, why: str) -> None:
        """Stops reading until every reason is gone."""
        if self._pauses is None:
            self._pauses = set()
        if not self._pauses and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._pauses.add(why)

    def resume(self, why: str) -> None:
        """One reason less."""
        if not self._pauses:
            return
        self._pauses.discard(why)
        if not self._pauses and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def tick(self, now: float) -> OnlineReason | None:
        """Called about once a second: refills the rate, answers why the connection must end, if it must."""
        if self.transport is None or self.transport.is_closing():
            # closed a second ago and its last answers are still not read
            self.abort()
            return None
        limits = self.gateway.limits
        self._tokens = min(limits.frames_per_second, self._tokens + limits.frames_per_second)
        if self._tokens > 0:
            self.resume("rate")
        if self._write_blocked_since and now - self._write_blocked_since > limits.write_timeout_s:
            return OnlineReason.ANSWERS_NOT_READ
        if self._partial_since and now - self._partial_since > limits.frame_timeout_s:
            return OnlineReason.FRAME_TIMEOUT
        if self._pauses:  # it can't be heard while it isn't read
            self.last_heard = now
        quiet_since, allowed = (self.connected_at, limits.login_timeout_s) if self.vin is None else (self.last_heard, limits.idle_timeout_s)
        return OnlineReason.IDLE_TIMEOUT if now - quiet_since > allowed else None

    def close(self, reason: OnlineReason) -> None:
        """Ends the connection and says why."""
        self.gateway.logged_out(self, reason)
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Ends the connection without waiting for what the device has not read."""
        if self.transport is not None:
            self.transport.abort()

    # -- messages

    def _take(self, raw: bytes, access: Access | None = None) -> bool:
        """Deals with a message; False where the database must be asked first."""
        command = raw[2]
        if raw[3] != Response.COMMAND:
            self.gateway.refused(Refusal.ACKNOWLEDGEMENT)
        elif raw[4:21] == _NO_VIN:
            self._refuse(raw, Refusal.NUL_VIN)
        elif command == Command.LOGIN:
            return False
        elif command not in _AFTER_LOGIN:
            self._refuse(raw, Refusal.UNSUPPORTED)
        elif self.vin is None or self.device_id is None:
            self._refuse(raw, Refusal.NOT_LOGGED_IN)
        elif raw[4:21] != self.vin:
            self._refuse(raw, Refusal.VIN_MISMATCH)
        elif command in _DATA:
            access = access or self.gateway.access.known(self.vin.decode())
            if access is None:
                return False
            self._take_record(raw, access, self.device_id)
        else:
            self._answer(gb32960.acknowledge(raw, Response.SUCCESS, datetime.now(UTC)))
            self.gateway.metrics.message(command)
            if command == Command.LOGOUT:
                self._forget_login(OnlineReason.LOGOUT)
        return True

    def _take_record(self, raw: bytes, access: Access, device_id: str) -> None:
        if not access.has(device_id):
            self._refuse(raw, Refusal.NOT_REGISTERED)
            self.close(OnlineReason.RETIRED)
        elif not access.consents(time.time()):
            self._refuse(raw, Refusal.CONSENT_MISSING)
        elif raw[21] != Encryption.NONE:
            self._refuse(raw, Refusal.ENCRYPTED)
        else:
            try:
                gb32960.decode_time(raw, 24)
            except FrameError:
                self._refuse(raw, Refusal.DEVICE_TIME)
            else:
                self._publish(raw, access.vin, device_id)

    def _forget_login(self, reason: OnlineReason) -> None:
        self.gateway.logged_out(self, reason)
        self.vin = self.device_id = None
        self.connected_at = self.gateway.now

    def _publish(self, raw: bytes, vin: str, device_id: str) -> None:
        answer = gb32960.acknowledge(raw, Response.SUCCESS)
        command = raw[2]

        def done(durable: bool) -> None:
            self._in_flight -= 1
            if self._in_flight * 2 < self.gateway.limits.frames_in_flight_per_connection:
                self.resume("in flight")
            if durable:
                self.gateway.metrics.message(command)
                self._answer(answer)
            else:  # no answer: the device sends it again
                self.gateway.refused(Refusal.BROKER_UNAVAILABLE)

        self._in_flight += 1
        if self._in_flight >= self.gateway.limits.frames_in_flight_per_connection:
            self.pause("in flight")
        self.gateway.publish(OutgoingFrame(vin, device_id, _PROTOCOLS[raw[:2]], raw, time.time_ns(), done), self)

    # -- messages that need the database

    def _hold(self, raw: bytes) -> None:
        """Keeps this and all later messages, in order, until the car's access is known."""
        self._held = deque((raw,))
        self.pause("lookup")
        self.gateway.spawn(self._work_off(self._held))

    async def _work_off(self, held: deque[bytes]) -> None:
        try:
            while held and self.transport is not None:
                raw = held[0]
                if raw[2] == Command.LOGIN and raw[3] == Response.COMMAND and raw[4:21] != _NO_VIN:
                    await self._login(raw)
                elif not self._take(raw):
                    self._take(raw, await self.gateway.access.load(raw[4:21].decode()))
                held.popleft()
        except DomainError:  # the database can't be asked: not answered, so the device sends again
            self.gateway.refused(Refusal.DATABASE_UNAVAILABLE)
            self.close(OnlineReason.DATABASE_UNAVAILABLE)
        self._held = None
        self.resume("lookup")

    async def _login(self, raw: bytes) -> None:
        frame = gb32960.trusted(raw)
        try:
            vin, login = frame.vin.decode("ascii"), gb32960.decode_login(frame.version, frame.data)
        except UnicodeDecodeError:
            self._refuse(raw, Refusal.BODY)
            return
        except FrameError as error:
            self._refuse(raw, Refusal.DEVICE_TIME if error.reason is Reason.DEVICE_TIME else Refusal.BODY)
            return
        access = self.gateway.access.known(vin) or await self.gateway.access.load(vin)
        device = access.identify(DeviceProtocol.GB32960, login.iccid)
        if not access.devices:
            self._refuse(raw, Refusal.NOT_REGISTERED)
        elif device is None:
            self._refuse(raw, Refusal.CREDENTIAL)
        elif not access.consents(time.time()):
            self._refuse(raw, Refusal.CONSENT_MISSING)
        else:
            if self.device_id is not None and self.device_id != device.device_id:
                self._forget_login(OnlineReason.LOGOUT)
            self.vin, self.device_id = frame.vin, device.device_id
            self.gateway.logged_in(self, device.device_id)
            self.gateway.metrics.message(Command.LOGIN)
            self._answer(gb32960.acknowledge(raw, Response.SUCCESS))

    # -- answers

    def _answer(self, answer: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)

    def _refuse(self, raw: bytes, reason: Refusal) -> None:
        self.gateway.refused(reason)
        response = _REPLY_2025.get(reason, Response.ERROR) if raw[:2] == b"$$" else Response.ERROR
        self._answer(gb32960.acknowledge(raw, response, datetime.now(UTC)))

    def _count_malformed(self) -> None:
        refused = self._stream.refused
        for reason, count in refused.items():
            self.gateway.metrics.malformed("gb32960", reason, count)
        self._refused_messages += refused.total()
        refused.clear()
        if self._refused_messages > self.gateway.limits.refused_messages:
            self.close(OnlineReason.MALFORMED_FLOOD)
