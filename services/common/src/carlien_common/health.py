"""Whether the process takes work: what /readyz and grpc.health.v1 tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

Check = Callable[[], Awaitable[None]]
"""Returns when all is well, raises else; the exception's text is shown to operators."""

CHECK_TIMEOUT_S = 2.0


class Health:
    """Named readiness checks, and whether the service is between start and stop."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._listeners: list[Callable[[bool], Awaitable[None]]] = []
        self.accepting = False
        self.ready = False

    def add(self, name: str, check: Check) -> None:
        """A dependency without which the service can't work."""
        self._checks[name] = check

    def on_change(self, listener: Callable[[bool], Awaitable[None]]) -> None:
        """Is told whenever the service becomes ready or stops being so."""
        self._listeners.append(listener)

    async def report(self) -> dict[str, str]:
        """Every check's name -> "ok" or what is wrong."""
        names = list(self._checks)
        return dict(zip(names, await asyncio.gather(*(self._run(self._checks[name]) for name in names)), strict=True))

    async def refresh(self) -> dict[str, str]:
        """Runs the checks and tells the listeners of a change."""
        report = await self.report()
        ready = self.accepting and all(result == "ok" for result in report.values())
        if ready != self.ready:
            self.ready = ready
            for listener in self._listeners:
                await listener(ready)
        return report

    @staticmethod
    async def _run(check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await check()
        except TimeoutError:
            return "timed out"
        except Exception as error:  # noqa: BLE001 - whatever it is, the dependency isn't usable
            return type(error).__name__
        return "ok"
