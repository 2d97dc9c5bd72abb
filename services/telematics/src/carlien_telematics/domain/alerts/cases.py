"""Signals of one incident become one case."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carlien_telematics.domain.alerts.signals import GRAVITY, AlertKind, Evidence, Severity, Signal, severity

FUSE = timedelta(hours=6)
"""A signal so soon after the last one of its incident belongs to it, even where that had ended."""
MAX_EVIDENCE = 24
_NAMESPACE = uuid.UUID("5f0b3c1e-7c5a-4f5e-9d0b-6c61726c6965")


@dataclass(slots=True)
class Case:
    """One incident. `active` are the kinds that go on; it is open while there is one."""

    case_id: str
    incident: str
    kind: AlertKind
    started_at: datetime
    last_signal_at: datetime
    signals: list[AlertKind]
    active: list[AlertKind]
    evidence: list[Evidence]
    geofence_id: str = ""
    closed_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it goes on or nobody has seen it end."""
        return self.closed_at is None

    @property
    def severity(self) -> Severity:
        """By its kind."""
        return severity(self.kind)


@dataclass(slots=True)
class CaseBook:
    """The cases of a car that may still change, by incident."""

    current: dict[str, Case] = field(default_factory=dict)

    def take(self, vin: str, signals: Iterable[Signal]) -> list[Case]:
        """Fuses signals, in order, and answers the cases that changed."""
        changed: dict[str, Case] = {}
        for signal in signals:
            case = self._end(signal) if signal.ended else self._begin(vin, signal)
            if case is not None:
                changed[case.case_id] = case
        return list(changed.values())

    def forget(self, now: datetime) -> None:
        """Drops cases that are closed for longer than a signal could still belong to."""
        for incident in [name for name, case in self.current.items() if case.closed_at is not None and now - case.closed_at > FUSE]:
            del self.current[incident]

    def close(self, incident: str, at: datetime) -> Case | None:
        """Ends an incident from outside, for example because its geofence was deleted."""
        case = self.current.get(incident)
        if case is None or not case.open:
            return None
        case.active.clear()
        case.closed_at = max(at, case.last_signal_at)
        return case

    def _begin(self, vin: str, signal: Signal) -> Case:
        case = self.current.get(signal.incident)
        if case is not None and not _belongs(case, signal):
            case = None
        if case is None:
            case = Case(
                case_id=str(uuid.uuid5(_NAMESPACE, f"{vin}/{signal.incident}/{signal.since.isoformat()}")),
                incident=signal.incident,
                kind=signal.kind,
                started_at=signal.since,
                last_signal_at=signal.at,
                signals=[],
                active=[],
                evidence=[],
                geofence_id=signal.geofence_id,
            )
            self.current[signal.incident] = case
        case.closed_at = None
        if signal.kind not in case.active:
            case.active.append(signal.kind)
        _add(case, signal)
        return case

    def _end(self, signal: Signal) -> Case | None:
        case = self.current.get(signal.incident)
        if case is None or signal.kind not in case.active:
            return None
        case.active.remove(signal.kind)
        _add(case, signal)
        if not case.active:
            case.closed_at = signal.at
        return case


def _belongs(case: Case, signal: Signal) -> bool:
    """What goes on takes in every later signal of another kind; the same kind again after a while is another incident."""
    if case.closed_at is not None:
        return signal.at - case.closed_at <= FUSE
    return signal.kind not in case.active or signal.at - case.last_signal_at <= FUSE


def _add(case: Case, signal: Signal) -> None:
    if signal.kind not in case.signals:
        case.signals.append(signal.kind)
    case.kind = min(case.signals, key=GRAVITY.index)
    case.last_signal_at = max(case.last_signal_at, signal.at)
    case.started_at = min(case.started_at, signal.since)
    newer = {evidence.name for evidence in signal.evidence}
    case.evidence = [evidence for evidence in case.evidence if evidence.name not in newer][-MAX_EVIDENCE + len(newer) :]
    case.evidence += signal.evidence
