"""Puts valuation together: the only module that picks adapters."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported below
# Before numpy is: the matrices of a batch are small, and a second thread would spin for its share of them longer than it works.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gc
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from functools import partial
from pathlib import Path

from carlien.valuation.v1 import (
    collateral_index_service_pb2,
    collateral_index_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    valuation_service_pb2,
    valuation_service_pb2_grpc,
    vehicle_record_service_pb2,
    vehicle_record_service_pb2_grpc,
)
from carlien_common import kafka, postgres
from carlien_common.domain.clock import Clock, utc_now
from carlien_common.domain.errors import DomainError
from carlien_common.grpc.policy import Policy
from carlien_common.grpc.server import Registration, grpc_server
from carlien_common.lifecycle import Application
from carlien_common.logs import get_logger
from carlien_common.outbox import OutboxRelay
from carlien_common.postgres.pool import ping
from carlien_common.repeating import repeat
from carlien_common.retention import keep_deleting
from carlien_valuation import metrics
from carlien_valuation.adapters.battery_policy_file import load_battery_policies
from carlien_valuation.adapters.index_store import PostgresIndexFeed, PostgresIndexStore
from carlien_valuation.adapters.known_files import KnownVehicleFiles
from carlien_valuation.adapters.liquidation_policy_file import load_liquidation_policies
from carlien_valuation.adapters.policy_file import load_policies
from carlien_valuation.adapters.postgres_appraisals import PostgresAppraisals
from carlien_valuation.adapters.postgres_outcomes import PostgresOutcomes
from carlien_valuation.adapters.postgres_records import FILE_CHANNEL, PostgresRecords
from carlien_valuation.adapters.postgres_reports import PostgresReports
from carlien_valuation.adapters.profile_consumer import MAX_RECORDS, ProfileConsumer
from carlien_valuation.adapters.published_index import PublishedIndex
from carlien_valuation.adapters.residual_policy_file import load_residual_policies
from carlien_valuation.adapters.stack_appraiser import StackAppraiser, load_appraiser
from carlien_valuation.adapters.title_consumer import TitleConsumer
from carlien_valuation.calibration.shifts import read_shifts
from carlien_valuation.config import ValuationSettings
from carlien_valuation.domain.appraisal import Appraisal, PriceType
from carlien_valuation.domain.calibration import Shift
from carlien_valuation.domain.usage_profile import UsageProfile
from carlien_valuation.grpc_api.answers import appraisal_message
from carlien_valuation.grpc_api.index_servicer import IndexServicer
from carlien_valuation.grpc_api.models import ModelServicer
from carlien_valuation.grpc_api.records import VehicleRecordServicer
from carlien_valuation.grpc_api.valuation import ValuationServicer
from carlien_valuation.service.appraise import Appraising, Request
from carlien_valuation.service.batching import Batcher
from carlien_valuation.service.finish import Finishing
from carlien_valuation.service.index import Indices
from carlien_valuation.service.remark import Recorded, Remarked, Remarking
from carlien_valuation.service.residual import Residuals
from carlien_valuation.service.revalue import Revaluing
from carlien_valuation.service.vehicle_files import VehicleFiles

NAME = "valuation"
_FORGET_EVERY_S = 3_600.0
PACKAGE = "carlien_valuation"
log = get_logger(__name__)


async def serve(settings: ValuationSettings, clock: Clock = utc_now, started: Callable[[int], None] | None = None) -> None:
    """Runs until a signal or the death of a part; refuses to start on a model directory that isn't whole.

    `started` is told the gRPC port once the service accepts calls.
    """
    began = time.monotonic()
    # A link is resolved once: files of one model are never mixed with those of the next.
    directory = settings.model_dir.resolve()
    beside = settings.model_dir.parent.resolve() if settings.model_dir.is_symlink() else None
    appraiser, shifts = _appraiser(directory)
    index = PublishedIndex(settings.index_region)
    policies = load_policies(settings.appraisal_policy_file)
    battery_policies = load_battery_policies(settings.battery_policy_file)
    finishing = Finishing(battery_policies, load_liquidation_policies(settings.liquidation_policy_file), appraiser.typical_odometer)
    appraising = Appraising(appraiser, policies, index, clock, shifts, finishing)
    residual_policies = load_residual_policies(settings.residual_policy_file)
    gc.freeze()  # the model's tables live for good; the collector needn't walk them
    async with Application(settings, NAME) as app:
        pool = await app.enter(postgres.pool(settings))
        await postgres.verify_schema(pool, PACKAGE)
        app.readiness("postgres", lambda: ping(pool))
        sender = await app.enter(kafka.producer(settings, f"carlien-{NAME}"))
        app.spawn("outbox", OutboxRelay(settings, sender).run())
        batcher = Batcher[Request, Appraisal](_measured(appraising), max_batch=settings.max_batch, max_waiting=settings.max_waiting)
        app.spawn("appraiser", batcher.run())
        store = PostgresAppraisals(pool, f"/{settings.org}/{NAME}", settings.appraisal_topic)
        reports = PostgresReports(pool)
        app.spawn("calibration_report", reports.watch(appraiser.version, metrics.show_calibration))
        feed = PostgresIndexFeed(settings)
        app.spawn("index_feed", feed.run())
        indices = PostgresIndexStore(pool)
        index.update(await indices.latest("", settings.index_region))  # the first answer already stands on it
        app.spawn("index_in_memory", index.follow(indices, feed))
        records, known = PostgresRecords(pool), KnownVehicleFiles(pool)
        files = VehicleFiles(records, known, policies, appraiser.currency, clock)
        file_feed = PostgresIndexFeed(settings, FILE_CHANNEL)
        app.spawn("vehicle_file_feed", file_feed.run())
        app.spawn("vehicle_records_forgotten", repeat("vehicle records forgotten", _FORGET_EVERY_S, records.forget))
        app.spawn("retention", keep_deleting(pool))
        await known.refresh()
        app.spawn("known_vehicle_files", known.follow(file_feed))
        residuals = Residuals(batcher.call, residual_policies, index, finishing)
        revaluing = Revaluing(appraising, index, battery_policies)
        remarking = Remarking(appraising, revaluing)

        async def remark(held: Sequence[tuple[Recorded, UsageProfile]], today: date) -> Sequence[Remarked | str]:
            return await batcher.turns(partial(remarking.remark, today=today), held)

        consumers = (
            ("profiles", settings.profile_topic, ProfileConsumer(store, remark, appraisal_message, clock)),
            ("titles", settings.lien_topic, TitleConsumer(clock)),
        )
        for name, topic, handler in consumers:
            group = f"{settings.consumer_group}-{name}"
            loop = kafka.KafkaConsumerLoop(settings, [topic], group, handler, pool=pool, producer=sender, max_records=MAX_RECORDS)
            app.spawn(name, loop.run())
            app.readiness(name, loop.check)
        services: list[Registration] = [
            (
                valuation_service_pb2_grpc.add_ValuationServiceServicer_to_server,
                ValuationServicer(appraising, batcher, store, residuals, revaluing, files, clock),
                valuation_service_pb2.DESCRIPTOR.services_by_name["ValuationService"].full_name,
            ),
            (
                collateral_index_service_pb2_grpc.add_CollateralIndexServiceServicer_to_server,
                IndexServicer(Indices(indices, feed)),
                collateral_index_service_pb2.DESCRIPTOR.services_by_name["CollateralIndexService"].full_name,
            ),
            (
                model_service_pb2_grpc.add_ModelServiceServicer_to_server,
                ModelServicer(appraiser.model.card, directory, beside, reports),
                model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
            ),
            (
                vehicle_record_service_pb2_grpc.add_VehicleRecordServiceServicer_to_server,
                VehicleRecordServicer(PostgresOutcomes(pool), records, files, clock),
                vehicle_record_service_pb2.DESCRIPTOR.services_by_name["VehicleRecordService"].full_name,
            ),
        ]
        server = await app.enter(grpc_server(settings, services, policy=Policy.load(PACKAGE, settings.policy_file), health=app.health))
        log.info("valuation_ready", model_version=appraiser.version, seconds=round(time.monotonic() - began, 2))
        if started is not None:
            started(server.port)
        await app.serve()


def _appraiser(directory: Path) -> tuple[StackAppraiser, dict[PriceType, Shift]]:
    try:
        appraiser, shifts = load_appraiser(directory), read_shifts(directory)
    except DomainError as error:
        log.error("model_refused", reason=error.reason, message=error.message)
        raise SystemExit(2) from None
    metrics.MODEL_INFO.labels(appraiser.version, str(appraiser.synthetic).lower()).set(1)
    metrics.MODEL_CUTOFF.set(datetime.combine(appraiser.data_cutoff, time_of_day(), UTC).timestamp())
    metrics.MODEL_MAPE.set(appraiser.model.card["out_of_fold"]["mape"] / 100)
    return appraiser, shifts


def _measured(appraising: Appraising) -> Callable[[Sequence[Request]], list[Appraisal]]:
    def compute(requests: Sequence[Request]) -> list[Appraisal]:
        metrics.BATCH_CARS.observe(len(requests))
        with metrics.BATCH_SECONDS.time():
            return appraising.appraise(requests)

    return compute
