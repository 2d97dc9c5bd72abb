"""Domain values to wire messages that both callers and events get."""

from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from carlien.telematics.v1 import alert_pb2, geofence_pb2
from carlien_common.wire import instant_to_proto
from carlien_telematics.domain.alerts.cases import Case
from carlien_telematics.domain.geofences import Circle, Geofence


def instant(at: datetime | None) -> Timestamp | None:
    """An instant, or unset."""
    return None if at is None else instant_to_proto(at)


def alert_to_proto(vin: str, case: Case, revision: int) -> alert_pb2.Alert:
    """A case; no place is in it."""
    return alert_pb2.Alert(
        alert_id=case.case_id,
        vin=vin,
        kind=_kind(case.kind),
        severity=alert_pb2.AlertSeverity.Value(f"ALERT_SEVERITY_{case.severity}"),
        state=alert_pb2.ALERT_STATE_OPEN if case.open else alert_pb2.ALERT_STATE_CLOSED,
        signals=map(_kind, case.signals),
        evidence=[
            alert_pb2.AlertEvidence(name=item.name, value=item.value, unit=item.unit, observed_at=instant_to_proto(item.at))
            for item in case.evidence
        ],
        started_at=instant_to_proto(case.started_at),
        last_signal_at=instant_to_proto(case.last_signal_at),
        closed_at=instant(case.closed_at),
        geofence_id=case.geofence_id,
        revision=revision,
    )


def _kind(kind: str) -> alert_pb2.AlertKind.ValueType:
    return alert_pb2.AlertKind.Value(f"ALERT_KIND_{kind}")


def geofence_to_proto(fence: Geofence) -> geofence_pb2.Geofence:
    """A place."""
    message = geofence_pb2.Geofence(
        geofence_id=fence.geofence_id,
        vin=fence.vin,
        kind=geofence_pb2.GeofenceKind.Value(f"GEOFENCE_KIND_{fence.kind}"),
        name=fence.name,
        dwell_minutes=0 if fence.dwell is None else int(fence.dwell / timedelta(minutes=1)),
        updated_at=instant_to_proto(fence.updated_at),
    )
    if isinstance(fence.shape, Circle):
        centre = geofence_pb2.GeofencePoint(latitude=fence.shape.latitude, longitude=fence.shape.longitude)
        message.circle.CopyFrom(geofence_pb2.GeofenceCircle(centre=centre, radius_m=fence.shape.radius_m))
    else:
        corners = [geofence_pb2.GeofencePoint(latitude=latitude, longitude=longitude) for latitude, longitude in fence.shape.corners]
        message.polygon.CopyFrom(geofence_pb2.GeofencePolygon(corners=corners))
    return message
