"""Runs steps in the order of their dependencies, side by side where nothing forbids it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from carlien_local.errors import StackError


@dataclass(frozen=True)
class Step:
    """`action` returns True when it did something, False when there was nothing to do."""

    name: str
    action: Callable[[], bool]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a step: `error` is None when it succeeded."""

    name: str
    changed: bool
    seconds: float
    error: StackError | None


def run(
    steps: Iterable[Step], *, done: Callable[[Outcome], None], cancel: Callable[[], None], waiting: Callable[[list[str]], None]
) -> list[Outcome]:
    """The outcomes, in order of completion.

    A failed step takes those behind it along (they are not run, and have no outcome); unrelated ones go on. On
    KeyboardInterrupt, or an exception that isn't a StackError, `cancel` is called, the running steps are awaited, and
    it is raised. `waiting` is told the running steps every 5 s.
    """
    pending = {step.name: step for step in steps}
    outcomes: dict[str, Outcome] = {}
    running: dict[Future[Outcome], str] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(pending))) as pool:
        try:
            while pending or running:
                for step in list(pending.values()):
                    before = [outcomes.get(name) for name in step.after]
                    if any(outcome and outcome.error for outcome in before) or not _reachable(step, pending, running, outcomes):
                        del pending[step.name]
                    elif all(before):
                        running[pool.submit(_run, pending.pop(step.name))] = step.name
                finished, _ = wait(running, timeout=5.0, return_when=FIRST_COMPLETED)
                if running and not finished:
                    waiting(sorted(running.values()))
                for future in finished:
                    outcome = future.result()
                    outcomes[running.pop(future)] = outcome
                    done(outcome)
        except BaseException:
            cancel()
            raise
    return list(outcomes.values())


def _reachable(
    step: Step, pending: dict[str, Step], running: dict[Future[Outcome], str], outcomes: dict[str, Outcome]
) -> bool:
    """False when a step waits for one that was dropped, or that was never there."""
    return all(name in pending or name in outcomes or name in running.values() for name in step.after)


def _run(step: Step) -> Outcome:
    begin = time.monotonic()
    try:
        changed = step.action()
    except StackError as error:
        return Outcome(step.name, changed=False, seconds=time.monotonic() - begin, error=error)
    return Outcome(step.name, changed=changed, seconds=time.monotonic() - begin, error=None)
