"""What makes a record the same record: its device, its time and its data units, not the command it came with."""

import hashlib

from carlien_telematics.codecs.gb32960.frame import HEADER


def data_digest(raw: bytes) -> bytes:
    """SHA-256 of the data unit of a GB/T 32960 frame: equal for a realtime record and its reissue."""
    return hashlib.sha256(raw[HEADER:-1]).digest()


def record_id(device_id: str, raw: bytes) -> str:
    """Stable id of a device's record: the same however often the device sends it."""
    said = raw[HEADER:-1] if raw[:1] in b"#$" else raw
    return hashlib.sha256(device_id.encode() + b"\0" + said).hexdigest()
