"""Every metric of telematics. Labels are bounded sets; none carries a VIN, a device or a place."""

from prometheus_client import Counter, Gauge

from carlien_telematics.codecs.errors import Reason
from carlien_telematics.codecs.gb32960 import Command
from carlien_telematics.domain.access import Refusal
from carlien_telematics.domain.devices import OnlineReason

CONNECTIONS = Gauge("carlien_telematics_gateway_connections", "Open device connections.")
REJECTED_CONNECTIONS = Counter("carlien_telematics_gateway_rejected_connections_total", "Connections refused above the limit.")
ENDED_CONNECTIONS = Counter(
    "carlien_telematics_gateway_ended_connections_total", "Logged-in devices that went offline, by reason.", ["reason"]
)
MESSAGES = Counter("carlien_telematics_gateway_messages_total", "Messages acknowledged with success, by command.", ["command"])
REFUSED = Counter("carlien_telematics_gateway_refused_total", "Well-formed messages not taken, by reason.", ["reason"])
MALFORMED = Counter("carlien_telematics_gateway_malformed_total", "Broken messages, by protocol and reason.", ["protocol", "reason"])
THROTTLED = Counter("carlien_telematics_gateway_throttled_total", "Reads that put a connection above its rate.")
INGEST_REFUSED = Counter("carlien_telematics_ingest_refused_total", "Frames of IngestFrames that were not taken, by reason.", ["reason"])
IN_FLIGHT = Gauge("carlien_telematics_gateway_in_flight_frames", "Frames handed to the broker and not yet durable.")
TIMED_OUT = Counter("carlien_telematics_gateway_timeouts_total", "Connections ended by the gateway, by reason.", ["reason"])
STORED = Counter("carlien_telematics_consumer_stored_total", "Records stored for the first time.")
DUPLICATES = Counter("carlien_telematics_consumer_duplicates_total", "Records that were stored before.")
DROPPED = Counter("carlien_telematics_consumer_dropped_total", "Records not stored, by reason.", ["reason"])
UNDECODED = Counter("carlien_telematics_consumer_undecoded_total", "Records with bytes kept as they came, by reason.", ["reason"])
SIGNATURES = Counter("carlien_telematics_consumer_signatures_total", "Signed records, by what became of the signature.", ["status"])
CLOCK_AHEAD = Counter(
    "carlien_telematics_consumer_clock_ahead_total", "Records whose device time lies in the future; stored, but not as state."
)
PARAMETERS_SET = Counter(
    "carlien_telematics_gateway_parameters_set_total", "Terminals that were told other parameters, by result.", ["result"]
)
DELETED_CARS = Counter("carlien_telematics_deleted_cars_total", "Cars whose data were deleted after a revocation, rows and topic.")
DELETIONS_OPEN = Gauge("carlien_telematics_deletions_open", "Deletions after a revocation that are not complete yet.")
REDACTED_DAYS = Counter("carlien_telematics_redacted_days_total", "Days of records whose places were made coarse.")
DROPPED_PARTITIONS = Counter("carlien_telematics_dropped_days_total", "Days of records dropped at the end of their retention.")
TRACK_READS = Counter("carlien_telematics_track_reads_total", "Audited reads of a track, by rpc.", ["rpc"])
DEVICES = Gauge("carlien_telematics_devices", "Registered devices, by state.", ["state"])
ALERTS_OPEN = Gauge("carlien_telematics_alerts_open", "Alert cases that go on, by kind.", ["kind"])
ALERT_CHANGES = Counter("carlien_telematics_alert_changes_total", "Changes of alert cases, by kind and state after it.", ["kind", "state"])
ALERT_STREAMS = Gauge("carlien_telematics_alert_streams", "Streams of alerts that are open.")
INSIGHT_RECORDS = Counter("carlien_telematics_insight_records_total", "Records that detectors looked at, replays included.")
INSIGHT_REPLAYS = Counter("carlien_telematics_insight_replays_total", "Cars whose detectors began again because records came late.")
INSIGHT_TOO_LATE = Counter(
    "carlien_telematics_insight_too_late_total", "Times that records came from before all that detectors remember of their car."
)
INSIGHT_LAG = Gauge("carlien_telematics_insight_lag_seconds", "Age of the oldest stored record that detectors have not looked at.")
PROFILES = Counter("carlien_telematics_profiles_total", "Profiles made, by whether they were published.", ["published"])

_JT808 = {
    0x0002: "JT808_HEARTBEAT",
    0x0003: "JT808_LOGOUT",
    0x0102: "JT808_LOGIN",
    0x0200: "JT808_POSITION",
    0x0704: "JT808_BATCH",
    0x0705: "JT808_CAN",
}


class GatewayMetrics:
    """Metrics of the gateway with their label children looked up once: this runs for every frame."""

    connections = CONNECTIONS
    rejected_connections = REJECTED_CONNECTIONS
    throttled = THROTTLED
    in_flight = IN_FLIGHT

    def __init__(self) -> None:
        self._messages = {int(command): MESSAGES.labels(command.name) for command in Command}
        self._refused = {reason: REFUSED.labels(reason.value) for reason in Refusal}

    def message(self, command: int) -> None:
        """A message was acknowledged with success."""
        self._messages[command].inc()

    def jt808_message(self, message_id: int) -> None:
        """A JT/T 808 message was acknowledged."""
        MESSAGES.labels(_JT808.get(message_id, "OTHER")).inc()

    def jt808_parameters_set(self, *, taken: bool) -> None:
        """A terminal answered a 0x8103."""
        PARAMETERS_SET.labels("taken" if taken else "refused").inc()

    def refused(self, reason: Refusal) -> None:
        """A well-formed message was not taken."""
        self._refused[reason].inc()

    def malformed(self, protocol: str, reason: Reason, count: int) -> None:
        """Broken messages were seen."""
        MALFORMED.labels(protocol, reason.value).inc(count)

    def closed(self, reason: OnlineReason) -> None:
        """A device went offline."""
        ENDED_CONNECTIONS.labels(reason.value).inc()

    def ended(self, reason: OnlineReason) -> None:
        """The gateway ended a connection."""
        TIMED_OUT.labels(reason.value).inc()
