"""The device of the story: real GB/T 32960 frames re-addressed to this car, or our encoder's where there is no data."""

import asyncio
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from carlien_telematics.codecs.gb32960.frame import OVERHEAD, Command, Encryption, Frame, Response, Version, build, readdress
from carlien_telematics.codecs.gb32960.messages import Login, encode_login
from carlien_telematics.codecs.gb32960.record import encode_record

_REPOSITORY = Path(__file__).parents[2]
_ANSWER_SECONDS = 10.0


def carlien_data() -> Path | None:
    """Return the folder of real data, or None where there is none."""
    folder = Path(os.environ.get("CARLIEN_DATA") or _REPOSITORY.parent / "shared" / "data")
    return folder if folder.is_dir() else None


@dataclass(frozen=True)
class Drive:
    """Data frames to send, in order, still addressed to the cars they came from."""

    frames: tuple[bytes, ...]
    source: str

    @classmethod
    def find(cls) -> "Drive":
        """Return the real frames where there are any, else a drive made by our own encoder."""
        folder = carlien_data()
        recorded = folder / "protocols" / "gb32960_36node" / "frames.jsonl" if folder else None
        if recorded is None or not recorded.is_file():
            return cls(_synthetic(), "frames of our own encoder: no real data was found")
        rows = [json.loads(line) for line in recorded.read_text().splitlines()]
        uplinks = [row for row in rows if row["len_ok"] and row["bcc_ok"] and row["ack"] == Response.COMMAND]
        frames = tuple(bytes.fromhex(row["hex"]) for row in uplinks if row["cmd"] in (Command.REALTIME, Command.REISSUE))
        return cls(frames, "real frames, re-addressed to this car")

    def device_id(self, vin: str) -> str:
        """Return the identifier of the device in this car."""
        return f"TBOX-{vin[-8:]}"

    def credential(self, vin: str) -> str:
        """Return the ICCID that the device logs in with."""
        return f"898600{vin[-8:]}".ljust(20, "0")


def _synthetic() -> tuple[bytes, ...]:
    """Half an hour through Shanghai at 36 km/h, a record a minute, by our own encoder."""
    began = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)
    frames = []
    for minute in range(30):
        vehicle = {
            "vehicle_state": "STARTED",
            "charge_state": "NOT_CHARGING",
            "drive_mode": "ELECTRIC",
            "speed_kmh": 36.0,
            "odometer_km": 42_000.0 + 0.6 * minute,
            "voltage_v": 360.0,
            "current_a": 40.0,
            "soc_percent": 80 - minute // 3,
            "dcdc_state": "WORKING",
            "gear": "D",
            "braking_force": False,
            "driving_force": True,
            "insulation_kohm": 5_000,
            "accelerator_percent": 20,
            "brake_pedal_percent": 0,
        }
        position = {"fix_valid": True, "longitude": 121.4 + 0.006 * minute, "latitude": 31.2}
        units = {"vehicle": vehicle, "position": position}
        data = encode_record(Version.V2016, began + timedelta(minutes=minute), units)
        frames.append(build(Frame(Version.V2016, Command.REALTIME, Response.COMMAND, bytes(17), Encryption.NONE, data)))
    return tuple(frames)


async def replay(address: str, drive: Drive, vin: str) -> int:
    """Log in as the car's device, send every frame and return how many data frames were acknowledged with success."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        login = Login(device_time=datetime.now(UTC), serial=1, iccid=drive.credential(vin))
        frame = Frame(Version.V2016, Command.LOGIN, Response.COMMAND, vin.encode(), Encryption.NONE, encode_login(Version.V2016, login))
        if await _ask(reader, writer, build(frame)) != Response.SUCCESS:
            raise ConnectionError("the gateway refused the login")
        answers = [await _ask(reader, writer, readdress(raw, vin)) for raw in drive.frames]
        return answers.count(Response.SUCCESS)
    finally:
        writer.close()
        await writer.wait_closed()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes) -> int:
    """Send one frame and return the response flag of its answer."""
    writer.write(raw)
    async with asyncio.timeout(_ANSWER_SECONDS):
        header = await reader.readexactly(OVERHEAD - 1)
        await reader.readexactly(int.from_bytes(header[22:24], "big") + 1)
    return header[3]
