"""The device of the story: real GB/T 32960 frames re-addressed to this car, or our encoder's where there is no data."""

import asyncio
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from carlien_telematics.codecs.gb32960.frame import OVERHEAD, Command, Encryption, Frame, Response, Version, build, readdress
from carlien_telematics.codecs.gb32960.messages import Login, encode_login
from carlien_telematics.simulator.terminals import synthetic_drive

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
            drive = synthetic_drive("0" * 17, datetime.now(UTC) - timedelta(hours=1))
            return cls(tuple(drive), "frames of our own encoder: no real data was found")
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
