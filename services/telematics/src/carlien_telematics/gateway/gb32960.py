"""One connection of GB/T 32960: a terminal that logs its car in, or a platform that forwards the messages of many.

Records are acknowledged once they are durable. An encrypted data unit is opened here, so that topic and store hold every record in
one form and a reissue under another key is still the same record.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.gb32960 import Command, Encryption, Frame, Response, StreamParser, Version
from carlien_telematics.crypto import signatures
from carlien_telematics.crypto.ciphers import DecryptionError
from carlien_telematics.domain.access import Access, KnownDevice, Refusal
from carlien_telematics.domain.devices import DeviceProtocol, OnlineReason
from carlien_telematics.gateway.connection import DeviceConnection
from carlien_telematics.service.platforms import Platform

if TYPE_CHECKING:
    from carlien_telematics.gateway.server import Gateway

_NO_VIN = bytes(17)
_PROTOCOLS = {version.to_bytes(2, "big"): version.protocol for version in Version}
_DATA = (Command.REALTIME, Command.REISSUE)
_AFTER_LOGIN = (*_DATA, Command.HEARTBEAT, Command.TIME_CHECK, Command.LOGOUT)
_OF_PLATFORM = (Command.PLATFORM_LOGOUT, Command.HEARTBEAT, Command.TIME_CHECK)
_NEEDS_LOOKUP = (Command.LOGIN, Command.ACTIVATION)
_REPLY_2025 = {
    Refusal.NUL_VIN: Response.VIN_UNKNOWN,
    Refusal.NOT_REGISTERED: Response.VIN_UNKNOWN,
    Refusal.VIN_MISMATCH: Response.VIN_UNKNOWN,
    Refusal.PLATFORM: Response.VIN_UNKNOWN,
    Refusal.DEVICE_TIME: Response.STRUCTURE_INVALID,
    Refusal.BODY: Response.STRUCTURE_INVALID,
    Refusal.SIGNATURE: Response.SIGNATURE_INVALID,
    Refusal.ENCRYPTED: Response.DECRYPTION_FAILED,
}
_ACTIVATED, _NOT_ACTIVATED = b"\x01\x00", b"\x02\x00"


class Gb32960Connection(DeviceConnection[bytes]):
    """Messages are whole frames, envelope checked."""

    __slots__ = ("_activated", "_cars", "_platform", "_vin_bytes")
    protocol = "gb32960"

    def __init__(self, gateway: "Gateway") -> None:
        super().__init__(gateway, StreamParser())
        self._vin_bytes = b""
        self._activated = False
        self._platform: Platform | None = None
        self._cars: set[str] | None = None
        """Devices a platform has spoken for on this connection."""

    @property
    def admitted(self) -> bool:
        """See `DeviceConnection`."""
        return self.vin is not None or self._platform is not None

    @property
    def shared(self) -> bool:
        """See `DeviceConnection`."""
        return self._platform is not None

    def _take(self, message: bytes, access: Access | None = None) -> bool:
        if message[3] != Response.COMMAND:
            self.gateway.refused(Refusal.ACKNOWLEDGEMENT)
            return True
        if message[21] != Encryption.NONE:
            opened = self._opened(message)
            if opened is None:
                self._refuse(message, Refusal.ENCRYPTED)
                if not self.admitted:  # trying keys costs us more than it costs whoever sends
                    self._login_refused()
                return True
            message = opened
        return self._judge(message, access) if self._platform is None else self._take_of_platform(message, access, self._platform)

    def _judge(self, message: bytes, access: Access | None) -> bool:
        """A terminal's message."""
        command = message[2]
        if command == Command.PLATFORM_LOGIN:
            self._platform_login(message)
            return True
        objection = self._out_of_place(message)
        if objection is not None:
            self._refuse(message, objection)
            return True
        if command in _NEEDS_LOOKUP or self.vin is None or self.device_id is None:
            return False
        if command in _DATA:
            access = access or self.gateway.access.known(self.vin)
            if access is None:
                return False
            self._take_record(message, access, self.device_id)
            return True
        self._done(message)
        if command == Command.LOGOUT:
            self._logged_out(OnlineReason.LOGOUT)
        return True

    def _out_of_place(self, message: bytes) -> Refusal | None:
        """Why a message can't be taken whatever is in it, or None. Without a login only a login is in place."""
        if message[4:21] == _NO_VIN:
            return Refusal.NUL_VIN
        command = message[2]
        if command in _NEEDS_LOOKUP:
            return None
        if command not in _AFTER_LOGIN:
            return Refusal.UNSUPPORTED
        if self._platform is not None:
            return None
        if self.vin is None:
            return Refusal.NOT_LOGGED_IN
        return Refusal.VIN_MISMATCH if message[4:21] != self._vin_bytes else None

    async def _settle(self, message: bytes) -> None:
        message = self._opened(message) or message
        try:
            vin = message[4:21].decode("ascii")
        except UnicodeDecodeError:
            self._refuse(message, Refusal.BODY)
            return
        match message[2]:
            case Command.LOGIN:
                await self._login(message, vin)
            case Command.ACTIVATION:
                await self._activate(message, vin)
            case _:
                self._take(message, await self.gateway.access.load(vin))

    def _opened(self, raw: bytes) -> bytes | None:
        """The frame with a plain data unit; None where no key of this connection opens it."""
        if raw[21] == Encryption.NONE:
            return raw
        frame = gb32960.trusted(raw)
        keys = self._platform.keys if self._platform is not None else self.gateway.platforms.terminals
        try:
            data = keys.decrypt(frame.encryption, frame.data) if frame.data else b""
        except DecryptionError:
            return None
        return gb32960.build(frame._replace(encryption=Encryption.NONE, data=data))

    # -- records

    def _take_record(self, raw: bytes, access: Access, device_id: str) -> None:
        objection = self._objection(access, device_id)
        if objection is None:
            try:
                gb32960.decode_time(raw, 24)
            except FrameError:
                objection = Refusal.DEVICE_TIME
        if objection is not None:
            self._refuse(raw, objection)
            if objection is Refusal.NOT_REGISTERED and self._platform is None:
                self.close(OnlineReason.RETIRED)
            return
        answer, command = gb32960.acknowledge(raw, Response.SUCCESS), raw[2]

        def durable() -> None:
            self.gateway.metrics.message(command)
            self._answer(answer)

        self._publish(access.vin, device_id, raw, _PROTOCOLS[raw[:2]], durable)

    def _take_of_platform(self, message: bytes, access: Access | None, platform: Platform) -> bool:
        """A platform's own message, or one it forwards. Its cars stay logged in there when the platform itself reconnects."""
        command = message[2]
        if command == Command.PLATFORM_LOGIN:
            self._platform_login(message)
        elif command in _OF_PLATFORM:
            self._done(message)
            if command == Command.PLATFORM_LOGOUT:
                self._platform_gone(OnlineReason.LOGOUT)
        elif (objection := self._out_of_place(message)) is not None:
            self._refuse(message, objection)
        elif command in _NEEDS_LOOKUP:
            return False
        else:
            return self._take_forwarded(message, access, platform)
        return True

    def _take_forwarded(self, message: bytes, access: Access | None, platform: Platform) -> bool:
        vin = message[4:21].decode("ascii", errors="replace")
        if not platform.may_speak_for(vin):
            self._refuse(message, Refusal.PLATFORM)
            return True
        access = access or self.gateway.access.known(vin)
        if access is None:
            return False
        device = next((device for device in access.devices if device.protocol is DeviceProtocol.GB32960), None)
        if device is None:
            self._refuse(message, Refusal.NOT_REGISTERED)
        elif message[2] in _DATA:
            self._car_heard(device.device_id)
            self._take_record(message, access, device.device_id)
        else:
            self._done(message)
            if message[2] == Command.LOGOUT:
                self._car_gone(device.device_id, OnlineReason.LOGOUT)
        return True

    # -- logins

    async def _login(self, raw: bytes, vin: str) -> None:
        platform = self._platform
        if platform is not None and not platform.may_speak_for(vin):
            self._refuse(raw, Refusal.PLATFORM)
            return
        frame = gb32960.trusted(raw)
        try:
            login = gb32960.decode_login(frame.version, frame.data)
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
            if platform is not None:
                self._car_heard(device.device_id)
            else:
                self._vin_bytes = frame.vin
                self._logged_in(vin, device.device_id)
            self._done(raw)
            return
        if platform is None:
            self._login_refused()

    def _platform_login(self, raw: bytes) -> None:
        try:
            login = gb32960.decode_platform_login(gb32960.trusted(raw).data)
        except FrameError as error:
            self._refuse(raw, Refusal.DEVICE_TIME if error.reason is Reason.DEVICE_TIME else Refusal.BODY)
            return
        platform = self.gateway.platforms.identify(login.user, login.password)
        if platform is None or self.vin is not None:
            self._refuse(raw, Refusal.CREDENTIAL)
            self._login_refused()
            return
        self._platform = platform
        self._cars = self._cars or set()
        self._done(raw)

    async def _activate(self, raw: bytes, vin: str) -> None:
        """2025, annex B: the car shows its key. It must be the one its device was registered with: who only knows a VIN plants none."""
        try:
            activation = gb32960.decode_activation(gb32960.trusted(raw).data)
        except FrameError as error:
            self._activation_answer(raw, Refusal.DEVICE_TIME if error.reason is Reason.DEVICE_TIME else Refusal.BODY)
            return
        access = self.gateway.access.known(vin) or await self.gateway.access.load(vin)
        signing = [device for device in access.devices if device.signing_key is not None]
        if not signing or activation.vin != vin:
            self._activation_answer(raw, Refusal.NOT_REGISTERED)
        elif self._activated:  # once will do: a message recorded from the car would keep us busy for nothing
            self._activation_answer(raw, Refusal.UNSUPPORTED)
        elif not any(_signed_by(device, activation) for device in signing):
            self._activation_answer(raw, Refusal.SIGNATURE)
        else:
            self._activated = True
            self._activation_answer(raw, None)
            return
        self._login_refused()

    def _activation_answer(self, raw: bytes, objection: Refusal | None) -> None:
        """Command 0x0A: activated or not, and no further information."""
        if objection is None:
            self.gateway.metrics.message(Command.ACTIVATION)
        else:
            self.gateway.refused(objection)
        response = Response.SUCCESS if objection is None else _REPLY_2025.get(objection, Response.ERROR)
        body = _ACTIVATED if objection is None else _NOT_ACTIVATED
        frame = gb32960.trusted(raw)
        self._answer(gb32960.build(Frame(frame.version, Command.ACTIVATION_RESPONSE, response, frame.vin, Encryption.NONE, body)))

    # -- cars of a platform

    def _car_heard(self, device_id: str) -> None:
        if self._cars is not None and device_id not in self._cars:
            self._cars.add(device_id)
            self.gateway.forwarded(device_id, True, OnlineReason.LOGIN)

    def _car_gone(self, device_id: str, reason: OnlineReason) -> None:
        if self._cars is not None:
            self._cars.discard(device_id)
        self.gateway.forwarded(device_id, False, reason)

    def _platform_gone(self, reason: OnlineReason) -> None:
        """The platform has logged out, or its connection ends: nobody speaks for its cars."""
        for device_id in self._cars or ():
            self.gateway.forwarded(device_id, False, reason)
        self._cars = self._platform = None
        self.connected_at = self.gateway.now

    def close(self, reason: OnlineReason) -> None:
        """See `DeviceConnection.close`."""
        self._platform_gone(reason)
        super().close(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `DeviceConnection.connection_lost`."""
        self._platform_gone(OnlineReason.CONNECTION_LOST)
        super().connection_lost(exc)

    # -- answers

    def _done(self, raw: bytes) -> None:
        self.gateway.metrics.message(raw[2])
        self._answer(gb32960.acknowledge(raw, Response.SUCCESS, datetime.now(UTC)))

    def _refuse(self, raw: bytes, reason: Refusal) -> None:
        self.gateway.refused(reason)
        response = _REPLY_2025.get(reason, Response.ERROR) if raw[:2] == b"$$" else Response.ERROR
        self._answer(gb32960.acknowledge(raw, response, datetime.now(UTC)))


def _signed_by(device: KnownDevice, activation: gb32960.Activation) -> bool:
    """Whether the activation shows the device's registered key and is signed with it."""
    known = device.signing_key
    if known is None or activation.algorithm != known.algorithm or activation.public_key[-len(known.key) :] != known.key:
        return False
    return signatures.verify(known.algorithm, known.key, activation.signed, activation.r, activation.s)
