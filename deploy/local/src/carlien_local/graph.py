"""Runs steps in the order of their dependencies, side by side where nothing forbids it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from carlien_local.errors import StackError

TELL_EVERY_S = 10.0


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
    steps: Iterable[Step],
    *,
    done: Callable[[Outcome], None],
    cancel: Callable[[], None],
    waiting: Callable[[list[str], float], None],
) -> list[Outcome]:
    """The outcomes, in order of completion.

    A failed step takes those behind it along (they are not run, and have no outcome); unrelated ones go on. On
    KeyboardInterrupt, or an exception that isn't a StackError, `cancel` is called, the running steps are awaited, and
    it is raised. `waiting` is told the running steps, and the seconds since the start, after TELL_EVERY_S without news.
    """
    begin = time.monotonic()
    pending = {step.name: step for step in steps}
    outcomes: dict[str, Outcome] = {}
    running: dict[Future[Outcome], str] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(pending))) as pool:
        try:
            while pending or running:
                succeeded = {name for name, outcome in outcomes.items() if outcome.error is None}
                possible = succeeded | set(running.values()) | set(pending)
                for step in list(pending.values()):
                    if not possible.issuperset(step.after):
                        del pending[step.name]  # what it waits for failed, or was dropped itself
                        possible.discard(step.name)
                    elif succeeded.issuperset(step.after):
                        running[pool.submit(_run, pending.pop(step.name))] = step.name
                if not running:
                    if pending and pending.keys() == possible - succeeded:
                        raise ValueError(f"these steps wait for each other: {sorted(pending)}")
                    continue
                finished, _ = wait(running, timeout=TELL_EVERY_S, return_when=FIRST_COMPLETED)
                if not finished:
                    waiting(sorted(running.values()), time.monotonic() - begin)
                for future in finished:
                    outcome = future.result()
                    outcomes[running.pop(future)] = outcome
                    done(outcome)
        except BaseException:
            cancel()
            raise
    return list(outcomes.values())


def _run(step: Step) -> Outcome:
    begin = time.monotonic()
    try:
        changed = step.action()
    except StackError as error:
        return Outcome(step.name, changed=False, seconds=time.monotonic() - begin, error=error)
    except OSError as error:  # a full disk, a folder of another user: the user's to mend, too
        problem = StackError(f"{step.name}: {error}")
        return Outcome(step.name, changed=False, seconds=time.monotonic() - begin, error=problem)
    return Outcome(step.name, changed=changed, seconds=time.monotonic() - begin, error=None)
