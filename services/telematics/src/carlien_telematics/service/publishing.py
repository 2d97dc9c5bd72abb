"""The way of an accepted record out of the gateway."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class OutgoingFrame:
    """A checked frame and who to tell about its fate."""

    vin: str
    device_id: str
    source_protocol: str
    raw: bytes
    received_at_ns: int
    done: Callable[[bool], None]
    """Called once, in the event loop: True when the frame is durable, False when it is not known to be."""


class FramePublisher(Protocol):
    """Makes frames durable, in order per car."""

    @property
    def in_flight(self) -> int:
        """Frames handed over and not yet reported on."""

    def publish(self, frame: OutgoingFrame) -> None:
        """Takes a frame without waiting; the caller stops reading where `in_flight` grows too large."""
