"""Series that exist before their first event."""

from prometheus_client import CollectorRegistry, Counter

from carlien_common.metrics import at_zero


def test_every_combination_is_there_at_zero() -> None:
    registry = CollectorRegistry()
    counter = Counter("things_total", "Things.", ("kind", "outcome"), registry=registry)
    at_zero(counter, ["a", "b"], ["ok", "bad"])
    assert [
        registry.get_sample_value("things_total", {"kind": kind, "outcome": outcome}) for kind in "ab" for outcome in ("ok", "bad")
    ] == [0.0] * 4
    counter.labels("a", "ok").inc()
    at_zero(counter, ["a"], ["ok"])
    assert registry.get_sample_value("things_total", {"kind": "a", "outcome": "ok"}) == 1.0
