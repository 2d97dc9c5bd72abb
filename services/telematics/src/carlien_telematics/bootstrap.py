"""Puts telematics together: the only module that picks adapters."""

import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from carlien.telematics.v1 import (
    data_consent_service_pb2,
    data_consent_service_pb2_grpc,
    device_service_pb2,
    device_service_pb2_grpc,
    geofence_service_pb2,
    geofence_service_pb2_grpc,
    telematics_service_pb2,
    telematics_service_pb2_grpc,
)
from carlien_common import kafka, postgres
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import Registration, grpc_server
from carlien_common.lifecycle import Application
from carlien_common.logs import get_logger
from carlien_common.outbox import OutboxRelay
from carlien_common.postgres import Connection, Pool
from carlien_common.postgres.pool import ping
from carlien_common.repeating import repeat
from carlien_common.retention import keep_deleting
from carlien_telematics.adapters.frame_publisher import KafkaFramePublisher
from carlien_telematics.adapters.insight_worker import InsightWorker
from carlien_telematics.adapters.kafka_consumer import FrameRecorder
from carlien_telematics.adapters.kafka_erasure import TopicErasure
from carlien_telematics.adapters.kafka_frames import IngestPublisher
from carlien_telematics.adapters.platforms_file import read_platforms
from carlien_telematics.adapters.postgres_access import PostgresAccessStore, PostgresPresence, follow_changes
from carlien_telematics.adapters.postgres_alerts import PostgresAlerts
from carlien_telematics.adapters.postgres_geofences import PostgresGeofences
from carlien_telematics.adapters.postgres_profiles import PostgresProfiles
from carlien_telematics.adapters.postgres_registry import PostgresRegistry, PostgresTracks
from carlien_telematics.adapters.postgres_upkeep import Periods, Upkeep
from carlien_telematics.adapters.profile_worker import ProfileWorker
from carlien_telematics.codecs.jt808 import HEARTBEAT_INTERVAL, REPORT_INTERVAL
from carlien_telematics.config import TelematicsSettings
from carlien_telematics.gateway.limits import Limits
from carlien_telematics.gateway.server import Gateway
from carlien_telematics.grpc_api.alerts import AlertRpcs, GeofenceServicer
from carlien_telematics.grpc_api.ingestion import FrameIngestion
from carlien_telematics.grpc_api.servicers import DataConsentServicer, DeviceServicer, TelematicsServicer
from carlien_telematics.metrics import GatewayMetrics
from carlien_telematics.service.access import AccessBook
from carlien_telematics.service.insight import Patience
from carlien_telematics.service.platforms import Platforms

PACKAGE = "carlien_telematics"
log = get_logger(__name__)

_CONSUMER = {
    # how long the group waits for a consumer that was killed; the default of 45 s would be how long frames wait for a state
    "session_timeout_ms": 12_000,
    "heartbeat_interval_ms": 3_000,
    # a batch worth its transaction, or what came in a twentieth of a second: a fetch for every few frames is paid by the broker
    "fetch_min_bytes": 65_536,
    "fetch_max_wait_ms": 50,
}


def registrations(pool: Pool, ingestion: FrameIngestion, source: str) -> list[Registration]:
    """Every gRPC service of telematics."""

    def circumstances(connection: Connection) -> PostgresProfiles:
        return PostgresProfiles(connection, source)

    return [
        (
            telematics_service_pb2_grpc.add_TelematicsServiceServicer_to_server,
            TelematicsServicer(pool, PostgresTracks, ingestion, AlertRpcs(pool, PostgresAlerts), circumstances),
            telematics_service_pb2.DESCRIPTOR.services_by_name["TelematicsService"].full_name,
        ),
        (
            device_service_pb2_grpc.add_DeviceServiceServicer_to_server,
            DeviceServicer(pool, PostgresRegistry),
            device_service_pb2.DESCRIPTOR.services_by_name["DeviceService"].full_name,
        ),
        (
            data_consent_service_pb2_grpc.add_DataConsentServiceServicer_to_server,
            DataConsentServicer(pool, PostgresRegistry),
            data_consent_service_pb2.DESCRIPTOR.services_by_name["DataConsentService"].full_name,
        ),
        (
            geofence_service_pb2_grpc.add_GeofenceServiceServicer_to_server,
            GeofenceServicer(pool, PostgresGeofences, PostgresAlerts),
            geofence_service_pb2.DESCRIPTOR.services_by_name["GeofenceService"].full_name,
        ),
    ]


@dataclass(slots=True)
class Running:
    """A started service and where it listens; a component that isn't part of it has port 0."""

    app: Application
    grpc_port: int = 0
    gb32960_port: int = 0
    jt808_port: int = 0


@asynccontextmanager
async def running(settings: TelematicsSettings) -> AsyncIterator[Running]:
    """Starts the components of `settings` in order, and stops them in reverse."""
    components = set(settings.components.split(","))
    async with Application(settings, "telematics") as app:
        service = Running(app)
        pool = await app.enter(postgres.pool(settings, "telematics"))
        await postgres.verify_schema(pool, PACKAGE)
        app.readiness("postgres", lambda: ping(pool))
        upkeep = _upkeep(settings, pool)
        app.spawn("upkeep", repeat("upkeep", settings.upkeep_interval_s, lambda: upkeep.once(datetime.now(UTC))))
        app.spawn("retention", keep_deleting(pool))
        if "consumer" in components:
            await _start_consumer(app, settings, pool)
        if "insight" in components:
            await _start_insight(app, settings, pool)
        book = AccessBook(PostgresAccessStore(pool))
        if components & {"gateway", "api"}:
            app.spawn("access changes", follow_changes(settings.postgres_dsn.get_secret_value(), book))
        if "gateway" in components:
            ports = await _start_gateway(app, settings, pool, book)
            service.gb32960_port, service.jt808_port = ports["gb32960"], ports.get("jt808", 0)
        if "api" in components:
            policy = Policy.load(PACKAGE, settings.policy_file)
            producer = await app.enter(kafka.producer(settings, "telematics-ingest"))
            uploads = PostgresPresence(pool, "api")
            app.spawn("uploads", uploads.run())
            publisher = IngestPublisher(producer, f"/{settings.org}/telematics/api", settings.frame_topic)
            services = registrations(pool, FrameIngestion(book, publisher.send, uploads.note), f"/{settings.org}/telematics")
            server = await app.enter(grpc_server(settings, services, policy=policy, health=app.health))
            service.grpc_port = server.port
        yield service


async def serve(settings: TelematicsSettings) -> None:
    """Runs until a signal or the death of a part."""
    # A batch makes some hundred thousand short-lived objects without cycles: collecting them every 700 costs a third of its time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    async with running(settings) as service:
        await service.app.serve()


def _upkeep(settings: TelematicsSettings, pool: Pool) -> Upkeep:
    periods = Periods(
        retention=timedelta(days=settings.retention_days),
        precise=timedelta(days=settings.precise_days),
        deletion_grace=timedelta(seconds=settings.deletion_grace_s),
    )
    return Upkeep(pool, periods, TopicErasure(settings, settings.frame_topic, settings.consumer_group).erase)


async def _start_consumer(app: Application, settings: TelematicsSettings, pool: Pool) -> None:
    dead_letters = await app.enter(kafka.producer(settings))
    loop = kafka.KafkaConsumerLoop(
        settings,
        [settings.frame_topic],
        settings.consumer_group,
        FrameRecorder(),
        pool=pool,
        producer=dead_letters,
        dedupe=False,  # a record has a key of its own, and there are too many to note each
        max_records=settings.consumer_batch,
        consumer_options=_CONSUMER,
    )
    app.spawn("consumer", loop.run())
    app.readiness("consumer", loop.check)


async def _start_insight(app: Application, settings: TelematicsSettings, pool: Pool) -> None:
    producer = await app.enter(kafka.producer(settings, "telematics-events"))
    app.spawn("outbox", OutboxRelay(settings, producer).run())
    patience = Patience(timedelta(seconds=settings.silence_grace_s), timedelta(seconds=settings.silence_interval_s))
    source = f"/{settings.org}/telematics"
    app.spawn("insight", InsightWorker(pool, source, patience, settings.insight_interval_s).run())
    app.spawn("profiles", ProfileWorker(pool, source, settings.insight_interval_s).run())


async def _start_gateway(app: Application, settings: TelematicsSettings, pool: Pool, book: AccessBook) -> dict[str, int]:
    presence = PostgresPresence(pool, settings.gateway_id)
    await presence.reset()
    app.spawn("presence", presence.run())
    publisher = await app.enter(
        KafkaFramePublisher(
            settings, f"/{settings.org}/telematics/{settings.gateway_id}", settings.kafka_topic_prefix + settings.frame_topic
        )
    )
    app.spawn("frame publisher", publisher.run())
    limits = Limits(
        connections=settings.gateway_connections,
        login_timeout_s=settings.login_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        frame_timeout_s=settings.frame_timeout_s,
        frames_per_second=settings.frames_per_second,
    )
    platforms = read_platforms(settings.gb32960_platforms_file) if settings.gb32960_platforms_file else Platforms()
    intervals = {
        HEARTBEAT_INTERVAL: settings.jt808_heartbeat_interval_s,
        REPORT_INTERVAL: settings.jt808_report_interval_s,
    }
    parameters = {key: seconds.to_bytes(4, "big") for key, seconds in intervals.items() if seconds is not None}
    gateway = Gateway(book, publisher, presence, GatewayMetrics(), limits, platforms, parameters)
    publisher.on_drained(gateway.drained)
    offered = {
        "gb32960": settings.gb32960_port,
        "jt808": settings.jt808_port,
        "gb32960_tls": settings.gb32960_tls_port,
        "jt808_tls": settings.jt808_tls_port,
    }
    wanted = {name: port for name, port in offered.items() if port is not None}
    ports = await app.enter(gateway.listening(settings.gb32960_host, wanted, _device_tls(settings)))
    log.info("devices_welcome", **ports)
    return ports


def _device_tls(settings: TelematicsSettings) -> ssl.SSLContext | None:
    if settings.device_tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.device_tls_ca_file)
    context.load_cert_chain(settings.device_tls_cert_file, settings.device_tls_key_file)
    if settings.device_tls_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
