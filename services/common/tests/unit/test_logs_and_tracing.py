import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_common import logs, tracing

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def line(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_a_line_is_json_with_what_one_searches_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json", "pricing")
    tracing.enter(TRACE)
    logs.get_logger("carlien.test").info("quote_made", vin="1M8GDM9AXKP042788")
    found = line(capsys)
    assert (found["event"], found["vin"], found["service"], found["level"]) == ("quote_made", "1M8GDM9AXKP042788", "pricing", "info")
    assert found["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert found["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "field",
    ["password", "postgres_dsn", "token", "credential", "id_number", "debtor_name", "latitude", "longitude", "private_key", "phone"],
)
def test_secrets_and_personal_data_are_blanked(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger("carlien.test").info("x", **{field: "hunter2"})
    assert line(capsys)[field] == "***"


def test_secrets_in_texts_and_tracebacks_are_blanked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    try:
        raise ValueError("postgresql://user:hunter2@host/db\nDETAIL:  Key (id_number)=(4711) already exists.")
    except ValueError:
        logs.get_logger("carlien.test").exception("failed")
    text = capsys.readouterr().out
    assert "hunter2" not in text
    assert "4711" not in text
    assert "ValueError" in text


def test_libraries_log_through_the_same_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logging.getLogger("some.library").warning("at %s", "amqp://u:hunter2@h")
    assert line(capsys)["event"] == "at amqp://u:***@h"


def test_a_good_header_keeps_its_trace_and_gets_a_span_of_ours() -> None:
    mine = tracing.accept(TRACE)
    assert mine[:36] == TRACE[:36]
    assert mine[36:52] != TRACE[36:52]
    assert mine[52:] == TRACE[52:]


@given(st.one_of(st.none(), st.text(max_size=60), st.sampled_from([TRACE.upper(), TRACE[:-1], TRACE + "0", "01" + TRACE[2:]])))
def test_anything_else_starts_a_new_trace(header: str | None) -> None:
    fresh = tracing.accept(header)
    assert tracing._FORMAT(fresh)
    assert tracing.trace_id(fresh) not in (header or "")
