"""The rpcs of alerts and geofences."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from uuid import UUID

from carlien.telematics.v1 import (
    alert_pb2,
    geofence_pb2,
    geofence_service_pb2,
    geofence_service_pb2_grpc,
    telematics_service_pb2,
)
from carlien_common.domain.clock import Clock, utc_now
from carlien_common.domain.errors import invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.grpc.context import current_caller
from carlien_common.idempotency import claim, store
from carlien_common.postgres import Connection, Pool
from carlien_telematics.domain.alerts.signals import AlertKind
from carlien_telematics.domain.geofences import Circle, Geofence, GeofenceKind, Polygon
from carlien_telematics.grpc_api.calling import Context, reader
from carlien_telematics.messages import alert_to_proto, geofence_to_proto
from carlien_telematics.metrics import ALERT_STREAMS, TRACK_READS
from carlien_telematics.service import alerting
from carlien_telematics.service.alerting import AlertStore, GeofenceStore, StoredCase

Alerts = Callable[[Connection], AlertStore]
Geofences = Callable[[Connection], GeofenceStore]
STREAM_BATCH = 500
STREAM_POLL_S = 0.5
_STATES = {alert_pb2.ALERT_STATE_UNSPECIFIED: None, alert_pb2.ALERT_STATE_OPEN: True, alert_pb2.ALERT_STATE_CLOSED: False}


class AlertRpcs:
    """`TelematicsService/ListAlerts` and `StreamAlerts`."""

    def __init__(self, pool: Pool, stores: Alerts) -> None:
        self._pool = pool
        self._stores = stores

    async def list_alerts(self, request: telematics_service_pb2.ListAlertsRequest) -> telematics_service_pb2.ListAlertsResponse:
        """Lists cases; the read and its note are one transaction."""
        size = request.page_size or 100
        if request.state not in _STATES:
            raise invalid("state", "ALERT_STATE", "There is no such state of a case.")
        query = alerting.query_of(request.vin, _kinds(request.kinds), is_open=_STATES[request.state])
        before = _place_from_token(request.page_token)
        who = reader()
        async with self._pool.acquire() as connection, connection.transaction():
            found = await alerting.alerts(self._stores(connection), query, before, size, who)
        TRACK_READS.labels("ListAlerts").inc()
        token = _place_to_token(found[size - 1]) if len(found) > size else ""
        messages = [alert_to_proto(entry.vin, entry.case, entry.revision) for entry in found[:size]]
        if who.sees_coarse:
            messages = list(map(generalised, messages))
        return telematics_service_pb2.ListAlertsResponse(alerts=messages, next_page_token=token)

    async def stream_alerts(
        self, request: telematics_service_pb2.StreamAlertsRequest
    ) -> AsyncIterator[telematics_service_pb2.StreamAlertsResponse]:
        """Streams changes. Nothing is held between them: a reader that is slow is only behind."""
        query = alerting.query_of(request.vin, _kinds(request.kinds))
        who = reader()
        async with self._pool.acquire() as connection, connection.transaction():
            after = await alerting.stream_from(self._stores(connection), query, request.cursor, who)
        TRACK_READS.labels("StreamAlerts").inc()
        with ALERT_STREAMS.track_inprogress():
            while True:
                async with self._pool.acquire() as connection:
                    changes, seen = await self._stores(connection).changes(query, after, STREAM_BATCH)
                for change in changes:
                    alert = alert_pb2.Alert.FromString(change.alert)
                    alert = generalised(alert) if who.sees_coarse else alert
                    yield telematics_service_pb2.StreamAlertsResponse(alert=alert, cursor=str(change.number))
                if seen == after:
                    await asyncio.sleep(STREAM_POLL_S)
                after = seen


class GeofenceServicer(geofence_service_pb2_grpc.GeofenceServiceServicer):
    """`GeofenceService`."""

    def __init__(self, pool: Pool, stores: Geofences, audit: Alerts, clock: Clock = utc_now) -> None:
        self._pool = pool
        self._stores = stores
        self._audit = audit
        self._clock = clock

    async def PutGeofence(
        self, request: geofence_service_pb2.PutGeofenceRequest, _context: Context
    ) -> geofence_service_pb2.PutGeofenceResponse:
        """Puts a place."""
        fence = _fence(request.geofence, self._clock())
        rpc, org = "GeofenceService/PutGeofence", current_caller().org
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await claim(connection, org, rpc, request.idempotency_key, request)
            if stored is not None:
                return geofence_service_pb2.PutGeofenceResponse.FromString(stored)
            await alerting.put_geofence(self._stores(connection), fence)
            answer = geofence_service_pb2.PutGeofenceResponse(geofence=geofence_to_proto(fence))
            await store(connection, org, rpc, request.idempotency_key, answer)
        return answer

    async def DeleteGeofence(
        self, request: geofence_service_pb2.DeleteGeofenceRequest, _context: Context
    ) -> geofence_service_pb2.DeleteGeofenceResponse:
        """Deletes a place."""
        answer = geofence_service_pb2.DeleteGeofenceResponse()
        rpc, org = "GeofenceService/DeleteGeofence", current_caller().org
        async with self._pool.acquire() as connection, connection.transaction():
            if await claim(connection, org, rpc, request.idempotency_key, request) is None:
                await alerting.delete_geofence(self._stores(connection), request.geofence_id)
                await store(connection, org, rpc, request.idempotency_key, answer)
        return answer

    async def ListGeofences(
        self, request: geofence_service_pb2.ListGeofencesRequest, _context: Context
    ) -> geofence_service_pb2.ListGeofencesResponse:
        """Lists places; the page token is the last identifier."""
        size = request.page_size or 100
        async with self._pool.acquire() as connection, connection.transaction():
            found = await alerting.geofences(
                self._stores(connection), self._audit(connection), request.vin, request.page_token, size, reader()
            )
        TRACK_READS.labels("ListGeofences").inc()
        token = found[size - 1].geofence_id if len(found) > size else ""
        return geofence_service_pb2.ListGeofencesResponse(geofences=map(geofence_to_proto, found[:size]), next_page_token=token)


def generalised(alert: alert_pb2.Alert) -> alert_pb2.Alert:
    """What an analyst sees of a case: there is no place in it, and its times are told to the hour, so that none can be guessed."""
    for stamp in (alert.started_at, alert.last_signal_at, alert.closed_at, *(item.observed_at for item in alert.evidence)):
        if stamp.ByteSize():
            stamp.seconds -= stamp.seconds % 3600
            stamp.nanos = 0
    return alert


def _kinds(kinds: object) -> list[AlertKind]:
    found = []
    for number in kinds:  # type: ignore[attr-defined]
        try:
            found.append(AlertKind(alert_pb2.AlertKind.Name(number).removeprefix("ALERT_KIND_")))
        except ValueError:
            raise invalid("kinds", "ALERT_KIND", "There is no such kind of alert.") from None
    return found


def _fence(message: geofence_pb2.Geofence, now: datetime) -> Geofence:
    try:
        kind = GeofenceKind(geofence_pb2.GeofenceKind.Name(message.kind).removeprefix("GEOFENCE_KIND_"))
    except ValueError:
        raise invalid("geofence.kind", "GEOFENCE_KIND", "State what the place is.") from None
    vin = parse_vin(message.vin, "geofence.vin").value if message.vin else ""
    if message.dwell_minutes < 0:
        raise invalid("geofence.dwell_minutes", "DWELL_MINUTES", "dwell_minutes must lie between 0 and a year.")
    dwell = timedelta(minutes=message.dwell_minutes) if message.dwell_minutes else None
    return Geofence(message.geofence_id, vin, kind, message.name, _shape(message), dwell, now)


def _shape(message: geofence_pb2.Geofence) -> Circle | Polygon:
    match message.WhichOneof("shape"):
        case "circle":
            centre = message.circle.centre
            return Circle(centre.latitude, centre.longitude, message.circle.radius_m)
        case "polygon":
            return Polygon(tuple((corner.latitude, corner.longitude) for corner in message.polygon.corners))
        case _:
            raise invalid("geofence.shape", "SHAPE_MISSING", "State a circle or a polygon.")


def _place_to_token(entry: StoredCase) -> str:
    started_at, alert_id = entry.place
    return base64.urlsafe_b64encode(f"{started_at.isoformat()}/{alert_id}".encode()).decode()


def _place_from_token(token: str) -> tuple[datetime, str] | None:
    """None for the first page. Raises INVALID PAGE_TOKEN."""
    if not token:
        return None
    try:
        at, alert_id = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode().split("/")
        started_at = datetime.fromisoformat(at)
        if started_at.tzinfo is None:
            raise ValueError(at)
        return started_at, str(UUID(alert_id))
    except (ValueError, binascii.Error):
        raise invalid("page_token", "PAGE_TOKEN", "Not a page token of this service.") from None
