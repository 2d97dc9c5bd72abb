from hypothesis import given
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError
from carlien_common.grpc import limits
from carlien_common.grpc.limits import RateLimit


def _let_through(limit: RateLimit, caller: str) -> bool:
    try:
        limit.take(caller)
    except DomainError:
        return False
    return True


@given(st.floats(0.5, 500), st.lists(st.floats(0, 5), min_size=1, max_size=300))
def test_never_more_than_the_burst_and_the_rate_allow(rate: float, pauses: list[float]) -> None:
    now = 0.0
    limit = RateLimit(rate, lambda: now)
    passed = 0
    for pause in pauses:
        now += pause
        passed += _let_through(limit, "a")
        assert passed <= max(1.0, rate) + rate * now + 1e-6


def test_who_waits_as_told_is_served() -> None:
    now = 0.0
    limit = RateLimit(10, lambda: now)
    while _let_through(limit, "a"):
        continue
    try:
        limit.take("a")
    except DomainError as error:
        now += int(error.metadata["retry_after_ms"]) / 1000
    assert _let_through(limit, "a")
    assert _let_through(limit, "b")


def test_it_remembers_a_bounded_number_of_callers() -> None:
    now = 0.0
    limit = RateLimit(1, lambda: now)
    for number in range(limits.MAX_CALLERS + 50):
        now += 1e-9
        limit.take(str(number))
    assert len(limit._buckets) == limits.MAX_CALLERS
    assert not _let_through(limit, str(limits.MAX_CALLERS + 49))
