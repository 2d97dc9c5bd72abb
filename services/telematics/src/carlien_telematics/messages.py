"""Domain values to wire messages that both callers and events get."""

from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from carlien.telematics.v1 import alert_pb2, geofence_pb2, profile_pb2
from carlien_common.wire import instant_to_proto
from carlien_telematics.domain.alerts.cases import Case
from carlien_telematics.domain.behaviour import Profile
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


def profile_to_proto(vin: str, start: datetime, end: datetime, profile: Profile) -> profile_pb2.BehaviourProfile:
    """A profile; no place is in it."""
    seen, trust = profile.behaviour, profile.trust
    message = profile_pb2.BehaviourProfile(
        vin=vin,
        start_time=instant_to_proto(start),
        end_time=instant_to_proto(end),
        usage_nature=profile_pb2.UsageNature.Value(f"USAGE_NATURE_{profile.nature}"),
        risk_score=profile.risk_score,
        reasons=profile.reasons,
        validation=profile.validation,
        days=seen.days,
        active_days=seen.active_days,
        km_per_day=seen.km_per_day,
        trips_per_active_day=seen.trips_per_active_day,
        night_share=seen.night_share,
        max_speed_kmh=seen.max_speed_kmh,
        distinct_destinations_share=seen.distinct_destinations_share,
        overnight_places=seen.overnight_places,
        main_overnight_share=seen.main_overnight_share,
        coverage=seen.coverage,
        odometer_distance_km=profile.odometer.odometer_km,
        gps_distance_km=profile.odometer.gps_km,
        odometer_plausible=profile.odometer.plausible,
        speed_transitions=[share for row in seen.speed_transitions for share in row],
        engine_hours=seen.engine_hours,
        harsh_brakes_per_100_km=seen.harsh_brakes_per_100_km,
    )
    message.trust.CopyFrom(
        profile_pb2.TelemetryTrust(
            score=trust.score,
            signed_share=trust.signed_share,
            physics_share=trust.physics_share,
            coverage=trust.coverage,
            reasons=trust.reasons,
        )
    )
    if (odometer := profile.verified_odometer) is not None:
        message.verified_odometer.CopyFrom(
            profile_pb2.VerifiedOdometer(
                odometer_km=odometer.odometer_km, error_km=odometer.error_km, source=odometer.source, consistent=odometer.consistent
            )
        )
    if (battery := profile.battery) is not None:
        message.battery_health.CopyFrom(
            profile_pb2.BatteryHealth(
                soh_percent=battery.soh_percent,
                low_percent=battery.low_percent,
                high_percent=battery.high_percent,
                segments=battery.segments,
            )
        )
    return message
