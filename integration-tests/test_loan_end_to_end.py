"""The main job on real parts: one loan from the VIN search to the discharged lien."""

import os
import random
import subprocess
from collections.abc import AsyncIterator

import pytest

from carlien.lien.v1 import events_pb2 as lien_events
from carlien.pricing.v1 import events_pb2 as pricing_events
from carlien.valuation.v1 import events_pb2 as valuation_events
from loan_scenario.clients import Clients, Stack
from loan_scenario.drive import Drive
from loan_scenario.events import events_of
from loan_scenario.steps import STEPS, Loan


@pytest.fixture(scope="module")
async def loan() -> AsyncIterator[Loan]:
    stack = Stack.from_environment()
    clients = Clients(stack)
    yield Loan(stack, clients, random.Random(), Drive.find())
    await clients.close()


@pytest.mark.parametrize(("name", "step"), STEPS, ids=[name for name, _ in STEPS])
async def test_step(loan: Loan, name: str, step: object) -> None:
    await dict(STEPS)[name](loan)


def test_events_carry_cloudevents_headers_and_traces(loan: Loan) -> None:
    found = events_of(loan.stack.kafka, loan.vin)
    for topic, events in found.items():
        for event in events:
            assert event.headers["ce_specversion"] == "1.0", topic
            assert {"ce_id", "ce_type", "ce_source", "ce_time"} <= event.headers.keys(), topic


def test_events_say_what_happened_in_order(loan: Loan) -> None:
    found = events_of(loan.stack.kafka, loan.vin)
    liens = [lien_events.LienEvent.FromString(event.value).change for event in found["carlien.lien.event.v1"]]
    assert liens == ["title.issued", "lien.registered", "lien.registered", "lien.discharged", "lien.discharged"]
    quotes = [pricing_events.QuoteEvent.FromString(event.value).change for event in found["carlien.pricing.quote.v1"]]
    assert quotes == ["quote.made", "quote.accepted"]
    first, second = (valuation_events.AppraisalRecorded.FromString(event.value) for event in found["carlien.valuation.appraisal.v1"])
    assert second.supersedes == first.appraisal.appraisal_id


def test_kafkas_own_console_consumer_reads_them(loan: Loan) -> None:
    command = [
        *("java", "-cp", os.environ["KAFKA_CLASSPATH"], "org.apache.kafka.tools.consumer.ConsoleConsumer"),
        *("--bootstrap-server", loan.stack.kafka, "--topic", "carlien.lien.event.v1", "--from-beginning", "--timeout-ms", "8000"),
        *("--property", "print.key=true", "--property", "print.headers=true"),
    ]
    output = subprocess.run(command, capture_output=True, timeout=60, check=False).stdout.decode("utf-8", "replace")
    lines = [line for line in output.splitlines() if loan.vin in line and "ce_id" in line]
    assert len(lines) == 5
