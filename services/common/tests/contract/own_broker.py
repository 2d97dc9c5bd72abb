"""A Kafka broker of the test's own, to be stopped and killed at will; by its process id alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
"""Any UUID in base64 that doesn't begin with a dash, which the tool would take for an option."""
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
"""


def libraries() -> Path | None:
    """Where the stack's set-up keeps Kafka's jars."""
    cache = Path(os.environ.get("CARLIEN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carlien")
    return next(iter(sorted(cache.glob("kafka-*/libs"))), None)


class OwnBroker:
    """One broker in KRaft mode, its data in a folder."""

    def __init__(self, folder: Path, libs: Path) -> None:
        self._folder = folder
        self._java = ["java", "-Xmx384m", "-cp", f"{libs}/*"]
        self.port, controller = _free_port(), _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._file = folder / "server.properties"
        self._file.write_text(PROPERTIES.format(broker=self.port, controller=controller, data=folder / "data"))
        format_storage = [*self._java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._file)]
        subprocess.run(format_storage, check=True, capture_output=True)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it and waits until it answers."""
        log = (self._folder / "broker.log").open("ab")
        self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [*self._java, "kafka.Kafka", str(self._file)], stdout=log, stderr=log
        )
        log.close()
        async with asyncio.timeout(90):
            while not await self._answers():  # noqa: ASYNC110 - a port has no event
                await asyncio.sleep(0.2)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    def signal(self, number: signal.Signals) -> None:
        """To this broker and nothing else."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
