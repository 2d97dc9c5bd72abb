from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from carlien_local import graph
from carlien_local.errors import StackError
from carlien_local.graph import Step


def run(*steps: Step, cancel: Callable[[], None] = lambda: None) -> dict[str, graph.Outcome]:
    outcomes = graph.run(steps, done=lambda outcome: None, cancel=cancel, waiting=lambda names, seconds: None)
    return {outcome.name: outcome for outcome in outcomes}


def failing() -> bool:
    raise StackError("no")


def test_a_step_runs_after_what_it_waits_for() -> None:
    order: list[str] = []

    def note(name: str) -> Callable[[], bool]:
        def action() -> bool:
            order.append(name)
            return True

        return action

    outcomes = run(Step("c", note("c"), ("b",)), Step("b", note("b"), ("a",)), Step("a", note("a")))
    assert order == ["a", "b", "c"]
    assert all(outcome.changed for outcome in outcomes.values())


def test_independent_steps_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=10)
    outcomes = run(*(Step(name, lambda: meeting.wait() >= 0) for name in ("a", "b")))
    assert set(outcomes) == {"a", "b"}


def test_a_failure_takes_along_only_what_depends_on_it() -> None:
    outcomes = run(
        Step("bad", failing),
        Step("child", lambda: True, ("bad",)),
        Step("grandchild", lambda: True, ("child",)),
        Step("other", lambda: False),
    )
    assert set(outcomes) == {"bad", "other"}
    assert isinstance(outcomes["bad"].error, StackError)
    assert outcomes["other"].error is None


def test_the_last_step_may_fail_with_others_behind_it() -> None:
    outcomes = run(Step("child", lambda: True, ("bad",)), Step("bad", failing), Step("grandchild", lambda: True, ("child",)))
    assert set(outcomes) == {"bad"}


def test_an_interrupt_cancels_the_running_steps_before_it_is_raised() -> None:
    cancelled = threading.Event()

    def interrupted() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Step("waits", lambda: cancelled.wait(30)), Step("stops", interrupted), cancel=cancelled.set)
    assert cancelled.is_set()


def test_steps_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="wait for each other"):
        run(Step("a", lambda: True, ("b",)), Step("b", lambda: True, ("a",)))
