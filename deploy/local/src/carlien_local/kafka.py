"""One Kafka broker in KRaft mode (broker and controller in one JVM), with the topics of the design."""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from carlien_local.errors import StackError
from carlien_local.layout import Layout
from carlien_local.processes import ProcessSpec
from carlien_local.starting import Starter, answers

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Topic:
    """A topic and its dead-letter topic. Keys are VINs, so the partition count is fixed: changing it reorders cars."""

    name: str
    partitions: int
    retention_ms: int
    configs: Mapping[str, str] = field(default_factory=dict)


TOPICS = (
    # The one topic that carries tracks: 72 h and no longer. Segments roll hourly, since only a closed one is deleted.
    Topic("carlien.telematics.frame.v1", 6, 72 * HOUR_MS, {"segment.ms": str(HOUR_MS)}),
    Topic("carlien.telematics.alert.v1", 3, 30 * DAY_MS),
    Topic("carlien.telematics.profile.v1", 3, 30 * DAY_MS),
    Topic("carlien.valuation.appraisal.v1", 3, 30 * DAY_MS),
    Topic("carlien.valuation.index.v1", 3, 30 * DAY_MS),
    Topic("carlien.lien.event.v1", 3, 30 * DAY_MS),
    Topic("carlien.lien.alert.v1", 3, 30 * DAY_MS),
    Topic("carlien.pricing.quote.v1", 3, 30 * DAY_MS),
    Topic("carlien.pricing.watch.v1", 3, 30 * DAY_MS),
    # The second lender's lien-registry writes topics of its own, kept apart by a prefix because the broker is shared here.
    Topic("org2.carlien.lien.event.v1", 3, 30 * DAY_MS),
    Topic("org2.carlien.lien.alert.v1", 3, 30 * DAY_MS),
)

PROPERTIES = """\
# Written by carlien-local at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
# One broker: nothing can be replicated.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# A single consumer per group is the rule here: don't wait for more to join.
group.initial.rebalance.delay.ms=0
# A killed broker may register again only when its last session has expired (default 9 s).
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
# A mistyped topic name must fail, not become a topic.
auto.create.topics.enable=false
message.max.bytes=1048576
# A group that is not running keeps its place as long as its topics keep events.
offsets.retention.minutes=43200
"""

LOGGING = """\
org.slf4j.simpleLogger.defaultLogLevel=warn
org.slf4j.simpleLogger.log.kafka.server=info
org.slf4j.simpleLogger.log.org.apache.kafka.server=info
org.slf4j.simpleLogger.showDateTime=true
org.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX
org.slf4j.simpleLogger.showThreadName=false
"""


def up(starter: Starter) -> bool:
    """Formats the log directory once, starts the broker, and creates what topics are missing."""
    layout = starter.layout
    if not layout.kafka_libs.is_dir():
        raise StackError(f"The Kafka jars aren't in {layout.kafka_libs}: run `make setup`.")
    folder = layout.state / "kafka"
    data = folder / "data"
    (folder / "logging").mkdir(parents=True, exist_ok=True)
    (folder / "logging" / "simplelogger.properties").write_text(LOGGING)
    properties = PROPERTIES.format(broker=layout.port("kafka"), controller=layout.port("kafka-controller"), data=data)
    config = folder / "server.properties"
    config.write_text(properties)
    if not (data / "meta.properties").exists():
        shutil.rmtree(data, ignore_errors=True)
        storage = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(config)]
        starter.run("kafka", [*_java(layout, "-XX:TieredStopAtLevel=1"), *storage])
    spec = ProcessSpec(
        name="kafka",
        argv=(*_java(layout, "-Xms256m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError"), "kafka.Kafka", str(config)),
        ports=(layout.port("kafka"), layout.port("kafka-controller")),
        probe=str(layout.port("kafka")),
        version=properties,
    )
    started = starter.ensure(spec, lambda: answers(spec))
    create_topics(starter)
    return started


def _java(layout: Layout, *options: str) -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise StackError("Java isn't installed: run `make setup`.")
    return [java, *options, "-cp", classpath(layout)]


def classpath(layout: Layout) -> str:
    """The jars, and the folder with the logging configuration."""
    return f"{layout.kafka_libs}/*:{layout.state / 'kafka' / 'logging'}"


def _cluster_id() -> str:
    """What `StorageTool random-uuid` prints, without starting a JVM for it."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):  # it would read as an option
            return text


def wanted_topics() -> dict[str, dict[str, object]]:
    """name -> options, the dead-letter topics included, in the form of KafkaAdminClient.create_topics."""
    wanted: dict[str, dict[str, object]] = {}
    for topic in TOPICS:
        configs = {"retention.ms": str(topic.retention_ms), **topic.configs}
        common = {"replication_factor": 1, "configs": configs}
        wanted[topic.name] = {"num_partitions": topic.partitions, **common}
        # The dead-letter copy of a track is a track: same retention, same rules.
        wanted[f"{topic.name}.dlq"] = {"num_partitions": 1, **common}
    return wanted


def create_topics(starter: Starter) -> None:
    """The port accepts a moment before the broker is active, hence the retries."""
    # Imported here because it takes as long as everything else `status` or `stop` does.
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    last: Exception | None = None
    for _ in range(100):
        try:
            client = KafkaAdminClient(bootstrap_servers=starter.layout.address("kafka"), request_timeout_ms=10_000)
            try:
                present = set(client.list_topics())
                missing = {name: options for name, options in wanted_topics().items() if name not in present}
                if missing:
                    client.create_topics(missing, timeout_ms=20_000, wait_for_metadata=True)
            finally:
                client.close()
            return
        except KafkaError as error:
            last = error
            starter.pause(0.2)
    raise StackError(f"kafka: the topics can't be created: {last}")
