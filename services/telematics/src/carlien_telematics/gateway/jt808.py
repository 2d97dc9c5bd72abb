"""One connection of a JT/T 808 terminal: registration, authentication, then positions, acknowledged once they are durable.

A terminal is registered with its terminal number as device id and its terminal id (a field of 0x0100) as credential. The
authentication code it is given at registration is derived from what is stored, so nothing has to be kept for it; a terminal
that comes with a code from its maker may have that as credential instead.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from carlien_telematics.codecs import jt808
from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.jt808 import Message, Reassembly, StreamParser
from carlien_telematics.domain.access import Access, KnownDevice, Refusal
from carlien_telematics.domain.devices import DeviceProtocol, OnlineReason
from carlien_telematics.gateway.connection import DeviceConnection

if TYPE_CHECKING:
    from carlien_telematics.gateway.server import Gateway

_REGISTER, _AUTHENTICATE, _HEARTBEAT, _LOGOUT = 0x0100, 0x0102, 0x0002, 0x0003
_TERMINAL_ACK, _POSITION, _BATCH, _CAN = 0x0001, 0x0200, 0x0704, 0x0705
_DATA = (_POSITION, _BATCH, _CAN)
_DONE, _FAILED, _WRONG, _UNSUPPORTED = 0, 1, 2, 3
_NO_SUCH_TERMINAL = 4
_RESULTS = {Refusal.BODY: _WRONG, Refusal.DEVICE_TIME: _WRONG, Refusal.UNSUPPORTED: _UNSUPPORTED, Refusal.ENCRYPTED: _UNSUPPORTED}


class Jt808Connection(DeviceConnection[Message]):
    """Messages are parsed, check byte and length right."""

    __slots__ = ("_edition", "_parts", "_serial", "_setting")
    protocol = "jt808"

    def __init__(self, gateway: "Gateway") -> None:
        super().__init__(gateway, StreamParser())
        self._parts = Reassembly(limit=4)
        self._serial = 0
        self._edition = "2013"
        """2011 and 2013 have one header; only a registration tells them apart."""
        self._setting: int | None = None
        """Serial of the 0x8103 the terminal has not answered yet."""

    def _take(self, message: Message, access: Access | None = None) -> bool:
        kind = message.message_id
        if kind == _TERMINAL_ACK:
            self._acknowledged(message)
        elif kind in (_REGISTER, _AUTHENTICATE):
            return False
        elif self.vin is None or self.device_id is None:
            self._refuse(message, Refusal.NOT_LOGGED_IN)
        elif number(message.terminal) != number(self.device_id):
            self._refuse(message, Refusal.VIN_MISMATCH)
        elif kind in _DATA:
            access = access or self.gateway.access.known(self.vin)
            if access is None:
                return False
            self._take_record(message, access, self.device_id)
        elif kind == jt808.PARAMETERS:
            self._compare_parameters(message)
        elif kind in (_HEARTBEAT, _LOGOUT):
            self._acknowledge(message, _DONE)
            if kind == _LOGOUT:
                self._logged_out(OnlineReason.LOGOUT)
        else:
            self._refuse(message, Refusal.UNSUPPORTED)
        return True

    async def _settle(self, message: Message) -> None:
        if message.message_id == _REGISTER:
            await self._register(message)
        elif message.message_id == _AUTHENTICATE:
            await self._authenticate(message)
        elif self.vin is not None:
            self._take(message, await self.gateway.access.load(self.vin))

    def _take_record(self, message: Message, access: Access, device_id: str) -> None:
        whole = self._parts.add(message)
        if whole is None:  # the parts before the last are acknowledged with it
            missing = self._parts.missing(message)
            if missing:
                self._send(jt808.request_parts(message, self._next_serial(), missing))
            return
        objection = self._objection(access, device_id)
        if objection is None and whole.encryption:
            objection = Refusal.ENCRYPTED
        if objection is None:
            objection = _fault(whole)
        if objection is not None:
            self._refuse(message, objection)
            if objection is Refusal.NOT_REGISTERED:
                self.close(OnlineReason.RETIRED)
            return
        source = "JT808_2019" if message.version_2019 is not None else f"JT808_{self._edition}"

        def durable() -> None:
            self._acknowledge(message, _DONE)

        self._publish(access.vin, device_id, whole.raw, source, durable)

    async def _find(self, message: Message) -> tuple[Access, KnownDevice] | None:
        """The car and device of a terminal number."""
        vin = await self.gateway.access.vin_of(DeviceProtocol.JT808, number(message.terminal))
        if vin is None:
            return None
        access = self.gateway.access.known(vin) or await self.gateway.access.load(vin)
        wanted = number(message.terminal)
        device = next((d for d in access.devices if d.protocol is DeviceProtocol.JT808 and number(d.device_id) == wanted), None)
        return None if device is None else (access, device)

    async def _register(self, message: Message) -> None:
        try:
            body = jt808.decode_body(message)
        except FrameError:
            self._refuse(message, Refusal.BODY)
            return
        self._edition = body["edition"]
        found = await self._find(message)
        if found is None:
            reason: Refusal | None = Refusal.NOT_REGISTERED
        else:
            access, device = found
            reason = None if device.credential.matches(str(body.get("terminal_id", ""))) else Refusal.CREDENTIAL
            reason = reason or self._objection(access, device.device_id)
        if found is None or reason is not None:
            self.gateway.refused(reason or Refusal.NOT_REGISTERED)
            self._send(jt808.register_ack(message, self._next_serial(), _NO_SUCH_TERMINAL))
            self._login_refused()
            return
        self._send(jt808.register_ack(message, self._next_serial(), _DONE, found[1].credential.derived("jt808")))

    async def _authenticate(self, message: Message) -> None:
        try:
            code = str(jt808.decode_body(message).get("code", ""))
        except FrameError:
            self._refuse(message, Refusal.BODY)
            return
        found = await self._find(message)
        if found is None:
            self._refuse(message, Refusal.NOT_REGISTERED)
            self._login_refused()
            return
        access, device = found
        if not (device.credential.derives("jt808", code) or device.credential.matches(code)):
            self._refuse(message, Refusal.CREDENTIAL)
        elif (objection := self._objection(access, device.device_id)) is not None:
            self._refuse(message, objection)
        else:
            self._logged_in(access.vin, device.device_id)
            self._acknowledge(message, _DONE)
            if self.gateway.jt808_parameters:
                self._send(jt808.query_parameters(message, self._next_serial()))
            return
        self._login_refused()

    # -- parameters

    def _compare_parameters(self, message: Message) -> None:
        """0x0104, the answer to our question: what isn't as wanted is set, once a connection."""
        try:
            found = jt808.decode_parameters(message.body)["parameters"]
        except FrameError:
            self._refuse(message, Refusal.BODY)
            return
        wanted = self.gateway.jt808_parameters
        different = {key: value for key, value in wanted.items() if found.get(f"{key:04x}") != value.hex()}
        if different and self._setting is None:
            self._setting = self._next_serial()
            self._send(jt808.set_parameters(message, self._setting, different))

    def _acknowledged(self, message: Message) -> None:
        """0x0001: how the terminal took our 0x8103; another one answers nothing we asked."""
        try:
            said = jt808.decode_body(message)
        except FrameError:
            said = {}
        if self._setting is None or said.get("answers_serial") != self._setting:
            self.gateway.refused(Refusal.ACKNOWLEDGEMENT)
        else:
            self.gateway.metrics.jt808_parameters_set(taken=said["result"] == _DONE)

    def _refuse(self, message: Message, reason: Refusal) -> None:
        self.gateway.refused(reason)
        self._send(jt808.platform_ack(message, self._next_serial(), _RESULTS.get(reason, _FAILED)))

    def _acknowledge(self, message: Message, result: int) -> None:
        self.gateway.metrics.jt808_message(message.message_id)
        self._send(jt808.platform_ack(message, self._next_serial(), result))

    def _send(self, message: Message) -> None:
        self._answer(jt808.build(message))

    def _next_serial(self) -> int:
        self._serial = self._serial + 1 & 0xFFFF
        return self._serial


def number(terminal: str) -> str:
    """A terminal number without the zeros that fill it up to the header's width."""
    return terminal.lstrip("0") or "0"


def _fault(message: Message) -> Refusal | None:
    """Why a data message can't be stored, or None."""
    try:
        body = jt808.decode_body(message)
        if message.message_id == _CAN:
            jt808.can_batch_time(message.body, datetime.now(UTC))
            return None
    except FrameError as error:
        return Refusal.DEVICE_TIME if error.reason is Reason.DEVICE_TIME else Refusal.BODY
    positions = body["positions"] if message.message_id == _BATCH else [body]
    return None if positions and all(position["device_time"] is not None for position in positions) else Refusal.DEVICE_TIME
