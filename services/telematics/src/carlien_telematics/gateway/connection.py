"""What every device connection does, whatever it speaks: bounds, time-outs, order, and knowing who is there."""

import asyncio
import socket
import time
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

from carlien_common.domain.errors import DomainError
from carlien_telematics.codecs.errors import Reason
from carlien_telematics.domain.access import Access, Refusal
from carlien_telematics.domain.devices import OnlineReason
from carlien_telematics.service.publishing import OutgoingFrame

if TYPE_CHECKING:
    from carlien_telematics.gateway.server import Gateway

M = TypeVar("M")
_SEEN_EVERY_S = 60.0


class Stream(Protocol[M]):
    """A push parser of one protocol."""

    refused: Counter[Reason]

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete yet."""

    def feed(self, data: bytes) -> list[M]:
        """Whole messages."""

    def finish(self) -> list[M]:
        """Messages found at the end of the stream."""


class DeviceConnection(asyncio.Protocol, Generic[M]):
    """Parses, judges and hands over. Everything it keeps is bounded by `Limits`.

    A message that needs the database (`_take` answers False) holds back all later ones, so that order is kept.
    """

    __slots__ = (
        "_held",
        "_in_flight",
        "_logins_refused",
        "_partial_since",
        "_pauses",
        "_refused_messages",
        "_seen_noted",
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
    protocol: str

    def __init__(self, gateway: "Gateway", stream: Stream[M]) -> None:
        self.gateway = gateway
        self.transport: asyncio.Transport | None = None
        self.vin: str | None = None
        self.device_id: str | None = None
        self.connected_at = self.last_heard = self._seen_noted = 0.0
        self._stream = stream
        self._held: deque[M] | None = None
        self._in_flight = 0
        self._pauses: set[str] | None = None
        self._partial_since = 0.0
        self._write_blocked_since = 0.0
        self._refused_messages = 0
        self._logins_refused = 0
        self._tokens = gateway.limits.frames_per_second

    @property
    def admitted(self) -> bool:
        """Whether someone has logged in."""
        return self.vin is not None

    @property
    def shared(self) -> bool:
        """Whether many cars are spoken for, which widens the connection's bounds."""
        return False

    @abstractmethod
    def _take(self, message: M, access: Access | None = None) -> bool:
        """Deals with a message; False where the database must be asked first. With `access` it was asked."""

    @abstractmethod
    async def _settle(self, message: M) -> None:
        """Deals with a message that needs the database. Raises UNAVAILABLE where that doesn't answer."""

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
        rate = limits.platform_frames_per_second if self.shared else limits.frames_per_second
        self._tokens = min(rate, self._tokens + rate)
        if self._tokens > 0:
            self.resume("rate")
        if self._write_blocked_since and now - self._write_blocked_since > limits.write_timeout_s:
            return OnlineReason.ANSWERS_NOT_READ
        if self._partial_since and now - self._partial_since > limits.frame_timeout_s:
            return OnlineReason.FRAME_TIMEOUT
        if self._pauses:  # it can't be heard while it isn't read
            self.last_heard = now
        if self.device_id is not None and now - self._seen_noted > _SEEN_EVERY_S and self.last_heard > self._seen_noted:
            self._seen_noted = now
            self.gateway.heard(self.device_id)
        quiet_since, allowed = (
            (self.connected_at, limits.login_timeout_s) if not self.admitted else (self.last_heard, limits.idle_timeout_s)
        )
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

    # -- messages that need the database

    def _hold(self, message: M) -> None:
        """Keeps this and all later messages, in order, until the database has answered."""
        self._held = deque((message,))
        self.pause("lookup")
        self.gateway.spawn(self._work_off(self._held))

    async def _work_off(self, held: deque[M]) -> None:
        try:
            while held and self.transport is not None:
                if not self._take(held[0]):
                    await self._settle(held[0])
                held.popleft()
        except DomainError:  # the database can't be asked: not answered, so the device sends again
            self.gateway.refused(Refusal.DATABASE_UNAVAILABLE)
            self.close(OnlineReason.DATABASE_UNAVAILABLE)
        self._held = None
        self.resume("lookup")

    # -- what protocols share

    def _login_refused(self) -> None:
        """Called after the refusal was answered."""
        self._logins_refused += 1
        if self._logins_refused >= self.gateway.limits.refused_logins:
            self.gateway.metrics.ended(OnlineReason.LOGIN_REFUSED)
            self.close(OnlineReason.LOGIN_REFUSED)

    def _logged_in(self, vin: str, device_id: str) -> None:
        if self.device_id is not None and self.device_id != device_id:
            self._logged_out(OnlineReason.LOGOUT)
        self.vin, self.device_id = vin, device_id
        self._logins_refused = 0
        self._seen_noted = self.gateway.now
        self.gateway.logged_in(self, device_id)

    def _logged_out(self, reason: OnlineReason) -> None:
        self.gateway.logged_out(self, reason)
        self.vin = self.device_id = None
        self.connected_at = self.gateway.now

    def _objection(self, access: Access, device_id: str) -> Refusal | None:
        """Why a record of this device may not be taken now, or None."""
        if not access.has(device_id):
            return Refusal.NOT_REGISTERED
        return None if access.consents(time.time()) else Refusal.CONSENT_MISSING

    def _publish(self, vin: str, device_id: str, frame: bytes, source_protocol: str, durable: Callable[[], None]) -> None:
        """Hands a record over; `durable` is called when it is, and the device may be told."""
        limits = self.gateway.limits
        room = limits.frames_in_flight_per_platform if self.shared else limits.frames_in_flight_per_connection

        def done(is_durable: bool) -> None:
            self._in_flight -= 1
            if self._in_flight * 2 < room:
                self.resume("in flight")
            if is_durable:
                durable()
            else:  # no answer: the device sends it again
                self.gateway.refused(Refusal.BROKER_UNAVAILABLE)

        self._in_flight += 1
        if self._in_flight >= room:
            self.pause("in flight")
        outgoing = OutgoingFrame(vin, device_id, source_protocol, frame, time.time_ns(), done)
        self.gateway.publish(outgoing, self)

    def _answer(self, answer: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)

    def _count_malformed(self) -> None:
        refused = self._stream.refused
        for reason, count in refused.items():
            self.gateway.metrics.malformed(self.protocol, reason, count)
        self._refused_messages += refused.total()
        refused.clear()
        if self._refused_messages > self.gateway.limits.refused_messages:
            self.close(OnlineReason.MALFORMED_FLOOD)
