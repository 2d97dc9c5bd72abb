"""The process that talks to Fabric through hfc: started when needed, again when it has died; calls and answers are JSON lines."""

import asyncio
import contextlib
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from carlien_lien_registry.adapters.fabric.errors import GatewayBusy, GatewayDetail, GatewayError

_LINE_BYTES: Final = 256 * 1024 * 1024
_START_SECONDS: Final = 30.0
_STREAM_BLOCKS: Final = 64
MAX_IN_FLIGHT: Final = 200
MAX_WAITING: Final = 2_000

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """A peer or orderer: host:port, the CA of its TLS certificate, and whose it is (peers)."""

    address: str
    tls_ca_file: str
    msp_id: str = ""
    name_override: str = ""


@dataclass(frozen=True, slots=True)
class HfcNetwork:
    """Who is asked: own peers to read, one endorser of every organisation named, orderers in order of preference."""

    peers: tuple[Node, ...]
    endorsers: tuple[Node, ...]
    orderers: tuple[Node, ...]

    @classmethod
    def from_file(cls, file: Path, peers: tuple[Node, ...]) -> "HfcNetwork":
        """Read endorsers and orderers from JSON; ValueError names what is missing."""
        told = json.loads(file.read_text(encoding="utf-8"))
        try:
            endorsers = tuple(Node(**node) for node in told["endorsers"])
            orderers = tuple(Node(**node) for node in told["orderers"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{file}: {error}") from error
        if not endorsers or not orderers or not all(node.msp_id for node in endorsers):
            raise ValueError(f"{file}: it names at least one orderer, and the msp_id of at least one endorser")
        return cls(peers, endorsers, orderers)


class HfcWorker:
    """One identity's worker process. A call while it is dead starts it again; calls under way when it dies fail as unavailable."""

    def __init__(self, python: Path, script: Path, identity: Mapping[str, str], network: HfcNetwork) -> None:
        """Take the interpreter of hfc's own environment, the worker's script, and channel, msp_id, cert_file, key_file."""
        self._command = (str(python), str(script))
        self._identity = dict(identity)
        self._network = network
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Queue[Message]] = {}
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._waiting = 0
        self._scratch = tempfile.TemporaryDirectory(prefix="carlien-hfc-")

    async def call(self, op: str, kind: type[GatewayError], transaction_id: str = "", **fields: Any) -> Message:
        """Make one call; an error of that kind where it fails, GatewayBusy where too many wait."""
        if self._waiting >= MAX_WAITING:
            raise GatewayBusy(self._waiting)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            async with self._asked(op, fields) as answers:
                return dict(_result(await answers.get(), kind, transaction_id)["result"])
        finally:
            self._slots.release()

    async def stream(self, op: str, kind: type[GatewayError], **fields: Any) -> AsyncIterator[Message]:
        """Make a call that answers many times."""
        async with self._asked(op, fields) as answers:
            while True:
                told = _result(await answers.get(), kind, "")
                if "end" in told:
                    return
                yield told

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
        self._scratch.cleanup()

    @contextlib.asynccontextmanager
    async def _asked(self, op: str, fields: Mapping[str, Any]) -> AsyncIterator["asyncio.Queue[Message]"]:
        await self._ensure_started()
        number = next(self._numbers)
        # Bounded: a reader of blocks that is slow slows the worker, through the pipe.
        answers: asyncio.Queue[Message] = asyncio.Queue(_STREAM_BLOCKS)
        self._answers[number] = answers
        try:
            await self._put({"id": number, "op": op, **fields})
            yield answers
        except BaseException:
            # The caller left, or the stream isn't wanted any more; of a call that has ended the worker knows nothing.
            with contextlib.suppress(OSError):
                await self._put({"id": number, "op": "cancel", "of": number})
            raise
        finally:
            del self._answers[number]

    async def _ensure_started(self) -> None:
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            if self._reading is not None:
                await asyncio.gather(self._reading, return_exceptions=True)
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES
            )
            self._process = process
            nodes = {name: [asdict(node) for node in getattr(self._network, name)] for name in ("peers", "endorsers", "orderers")}
            await self._put({**self._identity, **nodes, "scratch_folder": self._scratch.name})
            try:
                async with asyncio.timeout(_START_SECONDS):
                    ready = await process.stdout.readline() if process.stdout else b""
            except TimeoutError:
                process.kill()
                ready = b""
            if json.loads(ready or b"{}") != {"ready": True}:
                raise GatewayError("the hfc worker didn't start; its error is in the log", grpc.StatusCode.UNAVAILABLE)
            self._reading = asyncio.create_task(self._read(process))

    async def _put(self, message: Message) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise BrokenPipeError
        async with self._writing:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            await process.stdin.drain()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout and (line := await process.stdout.readline()):
            message: Message = json.loads(line)
            answers = self._answers.get(message["id"])
            if answers is not None:
                await answers.put(message)
        await process.wait()
        dead = {"error": {"code": "UNAVAILABLE", "message": "the hfc worker died", "details": []}}
        for answers in list(self._answers.values()):
            while answers.full():
                answers.get_nowait()
            answers.put_nowait(dead)


def _result(message: Message, kind: type[GatewayError], transaction_id: str) -> Message:
    error = message.get("error")
    if error is None:
        return message
    details = tuple(GatewayDetail(**detail) for detail in error["details"])
    raise kind(error["message"], grpc.StatusCode[error["code"]], transaction_id, details)
