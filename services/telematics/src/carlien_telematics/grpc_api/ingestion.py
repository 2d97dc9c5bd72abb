"""IngestFrames: converts a stream of frames, one bad one at a time."""

from collections.abc import AsyncIterator, Callable

from carlien.telematics.v1 import telematics_service_pb2, telemetry_frame_pb2
from carlien_common.domain.clock import Clock, utc_now
from carlien_common.domain.errors import DomainError, collect_violations, invalid
from carlien_common.wire import instant_from_proto
from carlien_telematics.codecs import vss
from carlien_telematics.domain.devices import OnlineReason, Presence
from carlien_telematics.metrics import INGEST_REFUSED
from carlien_telematics.service import ingesting
from carlien_telematics.service.access import AccessBook
from carlien_telematics.service.ingesting import UploadedFrame

Requests = AsyncIterator[telematics_service_pb2.IngestFramesRequest]


class FrameIngestion:
    """The rpc's work; the servicer hands its stream over."""

    def __init__(self, book: AccessBook, send: ingesting.Send, note: Callable[[Presence], None], clock: Clock = utc_now) -> None:
        self._book = book
        self._send = send
        self._note = note
        self._clock = clock

    async def take(self, requests: Requests) -> telematics_service_pb2.IngestFramesResponse:
        """See `service.ingesting.ingest`."""
        result = await ingesting.ingest(_frames(requests), self._book, self._send, _count)
        for device_id in result.devices:
            self._note(Presence(device_id, self._clock(), online=False, reason=OnlineReason.UPLOADED))
        return telematics_service_pb2.IngestFramesResponse(
            accepted_count=result.accepted, refused_count=result.refused_count, refused=map(_refused_to_proto, result.refused)
        )


def _count(reason: str) -> None:
    INGEST_REFUSED.labels(reason).inc()


async def _frames(requests: Requests) -> AsyncIterator[UploadedFrame | DomainError]:
    async for request in requests:
        try:
            frame: UploadedFrame | DomainError = frame_from_proto(request.frame)
        except DomainError as error:
            frame = error
        yield frame


def frame_from_proto(message: telemetry_frame_pb2.TelemetryFrame) -> UploadedFrame:
    """Raises INVALID with every field at fault."""
    fields = collect_violations()
    with fields:
        at = instant_from_proto(message.device_time, "frame.device_time")
    with fields:
        if message.vss_version not in vss.VERSIONS:
            raise invalid("frame.vss_version", "VSS_VERSION", f"The paths must be of version {' or '.join(vss.VERSIONS)}.")
    with fields:
        if not 1 <= len(message.datapoints) <= vss.MAX_SIGNALS:
            raise invalid("frame.datapoints", "VSS_COUNT", f"A frame has 1 to {vss.MAX_SIGNALS} signals.")
    signals: dict[str, vss.Value] = {}
    for place, point in enumerate(message.datapoints[: vss.MAX_SIGNALS]):
        with fields:
            signals[point.path] = _signal(point, f"frame.datapoints[{place}]", signals)
    fields.check()
    return UploadedFrame(message.device_id, message.vin, vss.VssFrame(at, message.vss_version, signals, message.reissued))


def _signal(point: telemetry_frame_pb2.Datapoint, place: str, before: dict[str, vss.Value]) -> vss.Value:
    which = point.WhichOneof("value")
    if which is None:
        raise invalid(place, "VSS_TYPE", "A signal has a value.")
    value: vss.Value = getattr(point, which)
    try:
        vss.check_signal(point.path, value)
    except vss.SignalError as error:
        raise invalid(place, error.reason, f"{error.path}: {error}.") from None
    if point.path in before:
        raise invalid(place, "VSS_PATH", f"{point.path} stands there twice.")
    return value


def _refused_to_proto(refused: ingesting.Refused) -> telematics_service_pb2.RefusedFrame:
    error = refused.error
    at_fault = error.violations[0] if error.violations else None
    return telematics_service_pb2.RefusedFrame(
        index=refused.index,
        reason=at_fault.reason if at_fault else error.reason,
        field=at_fault.field if at_fault else "",
        description=at_fault.description if at_fault else error.message,
    )
