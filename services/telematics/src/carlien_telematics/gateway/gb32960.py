"""One connection of a GB/T 32960 terminal: login first, then records, each acknowledged once it is durable."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.gb32960 import Command, Encryption, Response, StreamParser, Version
from carlien_telematics.domain.access import Access, Refusal
from carlien_telematics.domain.devices import DeviceProtocol, OnlineReason
from carlien_telematics.gateway.connection import DeviceConnection

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


class Gb32960Connection(DeviceConnection[bytes]):
    """Messages are whole frames, envelope checked."""

    __slots__ = ("_vin_bytes",)
    protocol = "gb32960"

    def __init__(self, gateway: "Gateway") -> None:
        super().__init__(gateway, StreamParser())
        self._vin_bytes = b""

    def _take(self, message: bytes, access: Access | None = None) -> bool:
        command = message[2]
        if message[3] != Response.COMMAND:
            self.gateway.refused(Refusal.ACKNOWLEDGEMENT)
        elif message[4:21] == _NO_VIN:
            self._refuse(message, Refusal.NUL_VIN)
        elif command == Command.LOGIN:
            return False
        elif command not in _AFTER_LOGIN:
            self._refuse(message, Refusal.UNSUPPORTED)
        elif self.vin is None or self.device_id is None:
            self._refuse(message, Refusal.NOT_LOGGED_IN)
        elif message[4:21] != self._vin_bytes:
            self._refuse(message, Refusal.VIN_MISMATCH)
        elif command in _DATA:
            access = access or self.gateway.access.known(self.vin)
            if access is None:
                return False
            self._take_record(message, access, self.device_id)
        else:
            self._answer(gb32960.acknowledge(message, Response.SUCCESS, datetime.now(UTC)))
            self.gateway.metrics.message(command)
            if command == Command.LOGOUT:
                self._logged_out(OnlineReason.LOGOUT)
        return True

    async def _settle(self, message: bytes) -> None:
        if message[2] == Command.LOGIN:
            await self._login(message)
        else:
            self._take(message, await self.gateway.access.load(message[4:21].decode()))

    def _take_record(self, raw: bytes, access: Access, device_id: str) -> None:
        objection = self._objection(access, device_id)
        if objection is None and raw[21] != Encryption.NONE:
            objection = Refusal.ENCRYPTED
        if objection is None:
            try:
                gb32960.decode_time(raw, 24)
            except FrameError:
                objection = Refusal.DEVICE_TIME
        if objection is not None:
            self._refuse(raw, objection)
            if objection is Refusal.NOT_REGISTERED:
                self.close(OnlineReason.RETIRED)
            return
        answer, command = gb32960.acknowledge(raw, Response.SUCCESS), raw[2]

        def durable() -> None:
            self.gateway.metrics.message(command)
            self._answer(answer)

        self._publish(raw, _PROTOCOLS[raw[:2]], durable)

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
        elif (objection := self._objection(access, device.device_id)) is not None:
            self._refuse(raw, objection)
        else:
            self._vin_bytes = frame.vin
            self._logged_in(vin, device.device_id)
            self.gateway.metrics.message(Command.LOGIN)
            self._answer(gb32960.acknowledge(raw, Response.SUCCESS))
            return
        self._login_refused()

    def _refuse(self, raw: bytes, reason: Refusal) -> None:
        self.gateway.refused(reason)
        response = _REPLY_2025.get(reason, Response.ERROR) if raw[:2] == b"$$" else Response.ERROR
        self._answer(gb32960.acknowledge(raw, response, datetime.now(UTC)))
