"""The one place that picks adapters and puts the service together."""

import json
from collections.abc import Callable
from importlib.metadata import version

from carlien.pricing.v1 import (
    collateral_watch_service_pb2,
    collateral_watch_service_pb2_grpc,
    pricing_service_pb2,
    pricing_service_pb2_grpc,
)
from carlien_common import postgres
from carlien_common.domain.clock import Clock, utc_now
from carlien_common.grpc.client import channel
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import grpc_server
from carlien_common.kafka import KafkaConsumerLoop, producer
from carlien_common.kafka.batches import Handler
from carlien_common.lifecycle import Application
from carlien_common.logs import get_logger
from carlien_common.outbox import OutboxRelay
from carlien_common.postgres.pool import ping
from carlien_common.repeating import repeat
from carlien_common.retention import keep_deleting
from carlien_pricing import metrics
from carlien_pricing.adapters.consumers import AlertConsumer, AppraisalConsumer, IndexConsumer, LienConsumer, ProfileConsumer
from carlien_pricing.adapters.lien_registry import GrpcLienRegistry
from carlien_pricing.adapters.models import load_scorecard, load_usage_model
from carlien_pricing.adapters.outlet import Outlet
from carlien_pricing.adapters.policies import parse_bundle, read_files
from carlien_pricing.adapters.postgres import PostgresStore
from carlien_pricing.adapters.telematics import GrpcTelematics
from carlien_pricing.adapters.upstream import GrpcValuation
from carlien_pricing.adapters.workers import process_workshops
from carlien_pricing.config import PricingSettings
from carlien_pricing.grpc_api.pricing_servicer import PricingServicer
from carlien_pricing.grpc_api.watch_servicer import WatchServicer
from carlien_pricing.messages import quote_response, watch_response
from carlien_pricing.service.auditing import Auditing
from carlien_pricing.service.quoting import Dependencies, Quoting
from carlien_pricing.service.watching import Watching

log = get_logger(__name__)

NAME = "pricing"
PACKAGE = "carlien_pricing"
_RETENTION_EVERY_S = 600.0


async def serve(settings: PricingSettings, clock: Clock = utc_now, started: Callable[[int], None] | None = None) -> None:
    """Runs until a signal. `started` is told the gRPC port once the service accepts calls."""
    texts = read_files(settings.policies_dir)
    policies = parse_bundle(texts)
    model = load_scorecard(settings.borrower_model_file) if settings.borrower_model_file else None
    usage_model = load_usage_model(settings.usage_model_file) if settings.usage_model_file else None
    async with Application(settings, NAME) as app:
        pool = await app.enter(postgres.pool(settings))
        await postgres.verify_schema(pool, PACKAGE)
        app.readiness("postgres", lambda: ping(pool))
        store = PostgresStore(pool, Outlet(f"/{settings.org}/{NAME}", settings.quote_topic, settings.watch_topic))
        await store.keep_bundle(policies.version, json.dumps(texts, sort_keys=True, ensure_ascii=False))

        valuation = await app.enter(channel(settings, settings.valuation_address))
        liens = await app.enter(channel(settings, settings.lien_registry_address))
        telematics = await app.enter(channel(settings, settings.telematics_address))
        ask_telematics = GrpcTelematics(telematics, settings.telematics_timeout_s)
        maker = await app.enter(process_workshops(settings.pricing_processes, texts, f"{PACKAGE} {version('carlien-pricing')}"))
        dependencies = Dependencies(
            store,
            GrpcValuation(valuation, settings.valuation_timeout_s),
            GrpcLienRegistry(liens, settings.lien_registry_timeout_s),
            ask_telematics,
            model,
            usage_model,
        )
        quoting = Quoting(dependencies, maker, policies, clock, quote_response)
        watching = Watching(store, policies, clock, watch_response)
        auditing = Auditing(store, ask_telematics, policies, clock)

        sender = await app.enter(producer(settings, f"carlien-{NAME}"))
        app.spawn("outbox", OutboxRelay(settings, sender).run())
        consumers: dict[str, tuple[str, Handler]] = {
            "appraisals": (settings.appraisal_topic, AppraisalConsumer(store, watching)),
            "index": (
                settings.index_topic,
                IndexConsumer(store, watching, settings.index_segment, settings.index_region),
            ),
            "liens": (settings.lien_topic, LienConsumer(store, watching, settings.msp_id)),
            "alerts": (settings.alert_topic, AlertConsumer(store, watching)),
            "profiles": (settings.profile_topic, ProfileConsumer(store, watching)),
        }
        for name, (topic, handler) in consumers.items():
            loop = KafkaConsumerLoop(settings, [topic], f"{settings.consumer_group}-{name}", handler, pool=pool, producer=sender)
            app.readiness(f"consumer-{name}", loop.check)
            app.spawn(f"consumer-{name}", loop.run())
        app.spawn("index", repeat("index", settings.index_check_s, watching.carry_on))
        app.spawn("stock-audits", repeat("stock-audits", settings.audit_check_s, auditing.audit))
        app.spawn("cure-periods", repeat("cure-periods", settings.cure_check_s, watching.end_cure_periods))
        app.spawn("watch-events-retention", repeat("watch-events-retention", _RETENTION_EVERY_S, watching.forget_changes))
        app.spawn("retention", keep_deleting(pool))
        app.spawn("book-metrics", repeat("book-metrics", settings.book_metrics_s, lambda: _count(store)))

        server = await app.enter(
            grpc_server(
                settings,
                [
                    (
                        pricing_service_pb2_grpc.add_PricingServiceServicer_to_server,
                        PricingServicer(quoting),
                        pricing_service_pb2.DESCRIPTOR.services_by_name["PricingService"].full_name,
                    ),
                    (
                        collateral_watch_service_pb2_grpc.add_CollateralWatchServiceServicer_to_server,
                        WatchServicer(watching),
                        collateral_watch_service_pb2.DESCRIPTOR.services_by_name["CollateralWatchService"].full_name,
                    ),
                ],
                policy=Policy.load(PACKAGE, settings.policy_file),
                health=app.health,
            )
        )
        if started is not None:
            started(server.port)
        await app.serve()


async def _count(store: PostgresStore) -> None:
    stages, heat = await store.count_watches()
    # Without a pause in between, so that no scrape sees half a book.
    metrics.WATCHES.clear()
    metrics.BOOK_HEAT.clear()
    for stage, count in stages.items():
        metrics.WATCHES.labels(stage).set(count)
    for (band, tier), count in heat.items():
        metrics.BOOK_HEAT.labels(band, str(tier)).set(count)
