import datetime as dt
import pickle
import uuid

import pytest

from carlien_common.domain import clock
from carlien_common.domain.errors import DomainError, ErrorKind, collect_violations, conflict, invalid, precondition
from carlien_common.domain.ids import new_id
from carlien_common.domain.vin import parse_vin


def test_all_bad_fields_are_reported_at_once() -> None:
    fields = collect_violations()
    with fields:
        parse_vin("short", "vin")
    with fields:
        raise invalid("amount", "AMOUNT_NOT_POSITIVE", "no")
    fields.add("term_months", "TERM_TOO_LONG", "too long")
    with pytest.raises(DomainError) as caught:
        fields.check()
    assert caught.value.kind is ErrorKind.INVALID
    assert [(v.field, v.reason) for v in caught.value.violations] == [
        ("vin", "VIN_LENGTH"),
        ("amount", "AMOUNT_NOT_POSITIVE"),
        ("term_months", "TERM_TOO_LONG"),
    ]


def test_one_bad_field_keeps_its_own_message() -> None:
    fields = collect_violations()
    with fields:
        raise invalid("amount", "AMOUNT_NOT_POSITIVE", "must be positive")
    with pytest.raises(DomainError, match="must be positive"):
        fields.check()


def test_no_bad_field_no_error() -> None:
    fields = collect_violations()
    with fields:
        vin = parse_vin("1M8GDM9AXKP042788")
    fields.check()
    assert vin.value == "1M8GDM9AXKP042788"


def test_other_errors_are_not_held_back() -> None:
    fields = collect_violations()
    with pytest.raises(DomainError) as caught, fields:
        raise conflict("LOST", "lost")
    assert caught.value.kind is ErrorKind.CONFLICT
    with pytest.raises(KeyError), fields:
        raise KeyError


def test_an_error_crosses_processes_whole() -> None:
    error = precondition("FIRST_RANK_TAKEN", "taken", registration_number="R1")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.kind, copy.reason, copy.message, copy.metadata) == (error.kind, error.reason, error.message, error.metadata)


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert {uuid.UUID(each).variant for each in ids} == {uuid.RFC_4122}
    assert [each[:13] for each in ids] == sorted(each[:13] for each in ids)


def test_clocks_tell_utc() -> None:
    assert clock.utc_now().tzinfo is dt.UTC
    beijing = dt.datetime(2026, 1, 1, 8, tzinfo=dt.timezone(dt.timedelta(hours=8)))
    assert clock.fixed(beijing)() == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert clock.fixed(beijing)().tzinfo is dt.UTC
    with pytest.raises(ValueError, match="zone"):
        clock.fixed(dt.datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
