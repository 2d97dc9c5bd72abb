"""Frames of makers' platforms and OBD uploads: judged one by one like a device's, counted as taken once they are durable."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from carlien_common.domain.errors import DomainError, invalid, not_found, precondition
from carlien_common.domain.vin import parse_vin
from carlien_telematics.codecs import vss
from carlien_telematics.domain.devices import DeviceProtocol
from carlien_telematics.service.access import AccessBook

MAX_REFUSED_NAMED = 1_000
_ON_THEIR_WAY = 500
"""Frames of one stream handed to the broker and not acknowledged; above it the stream isn't read."""
PROTOCOLS = (DeviceProtocol.OEM_API, DeviceProtocol.OBD2)


@dataclass(frozen=True, slots=True)
class UploadedFrame:
    """A frame as uploaded, its signals checked."""

    device_id: str
    vin: str
    said: vss.VssFrame


@dataclass(frozen=True, slots=True)
class Refused:
    """Which frame of the stream was not taken, and why."""

    index: int
    error: DomainError


@dataclass(slots=True)
class Ingested:
    """What became of a stream."""

    accepted: int = 0
    refused_count: int = 0
    refused: list[Refused] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    """Whose frames were taken."""


Send = Callable[[str, str, str, bytes], Coroutine[Any, Any, object]]
"""Makes a frame durable: VIN, device, source protocol, bytes. Raises UNAVAILABLE."""
OnRefused = Callable[[str], None]


async def ingest(frames: AsyncIterator[UploadedFrame | DomainError], book: AccessBook, send: Send, on_refused: OnRefused) -> Ingested:
    """Takes a stream. Returns when every frame taken is durable; raises UNAVAILABLE where that isn't known of one.

    A frame that may not be taken is named in the answer and doesn't keep the others out.
    """
    result = Ingested()
    on_their_way: deque[asyncio.Task[object]] = deque()
    index = 0
    try:
        async for frame in frames:
            try:
                if isinstance(frame, DomainError):
                    raise frame
                protocol = await _admit(frame, book)
            except DomainError as error:
                if error.reason == "DATABASE_UNAVAILABLE":
                    raise
                on_refused(error.reason)
                result.refused_count += 1
                if len(result.refused) < MAX_REFUSED_NAMED:
                    result.refused.append(Refused(index, error))
            else:
                sending = send(frame.vin, frame.device_id, protocol.value, vss.encode(frame.said))
                on_their_way.append(asyncio.create_task(sending))
                result.devices.add(frame.device_id)
                if len(on_their_way) >= _ON_THEIR_WAY:
                    await on_their_way[0]
                    on_their_way.popleft()
                    result.accepted += 1
            index += 1
        while on_their_way:
            await on_their_way[0]
            on_their_way.popleft()
            result.accepted += 1
    finally:
        # a failed or cancelled stream leaves no task with an outcome nobody looks at
        for task in on_their_way:
            task.cancel()
        await asyncio.gather(*on_their_way, return_exceptions=True)
    return result


async def _admit(frame: UploadedFrame, book: AccessBook) -> DeviceProtocol:
    """The protocol of the frame's device, if it may speak for the car now."""
    vin = parse_vin(frame.vin, "frame.vin").value
    if vin != frame.vin:
        raise invalid("frame.vin", "VIN_CHARACTER", "A VIN is written in capital letters here.")
    access = book.known(vin) or await book.load(vin)
    device = next((device for device in access.devices if device.device_id == frame.device_id), None)
    if device is None:
        raise not_found("DEVICE_UNKNOWN", "No active device of that identifier is bound to the car.")
    if device.protocol not in PROTOCOLS:
        raise precondition("DEVICE_PROTOCOL", "The device speaks to the gateway, not to this rpc.")
    if not access.consents(time.time()):
        raise precondition("CONSENT_MISSING", "No consent to the use of this car's data is in force.")
    return device.protocol
