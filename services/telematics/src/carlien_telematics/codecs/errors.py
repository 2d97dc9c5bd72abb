"""Why bytes from a device could not be taken as a message."""

from enum import StrEnum


class Reason(StrEnum):
    """Reason of a refused message; used as is as a bounded metric label and in `carlien-decode`."""

    NOT_HEX = "NOT_HEX"
    EMPTY = "EMPTY"
    START_MARK = "START_MARK"
    TRUNCATED = "TRUNCATED"
    STICKY = "STICKY"
    HEADER = "HEADER"
    LENGTH = "LENGTH"
    CHECK_BYTE = "CHECK_BYTE"
    DEVICE_TIME = "DEVICE_TIME"
    BODY = "BODY"
    VIN_CHARACTERS = "VIN_CHARACTERS"
    ENCRYPTED = "ENCRYPTED"
    UNSUPPORTED = "UNSUPPORTED"


class FrameError(ValueError):
    """Bytes that are not a message of the protocol."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
