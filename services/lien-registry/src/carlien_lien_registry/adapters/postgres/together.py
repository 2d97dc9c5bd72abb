"""Group commit: what callers store while a statement runs goes into the next one, all of it, so that each pays for a part of one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from carlien_common.failures import is_transient

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST: Final = 100


class Together(Generic[Item, Result]):
    """Hands items to `write`, many at once, and each caller its own result, once that is durable."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        """Take what writes; it returns a result per item, in their order."""
        self._write = write
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Result:
        """Have it written; raises what writing it raised."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._writing is None or self._writing.done():
            # A task of its own: a caller that leaves must not take the others' items with it.
            self._writing = asyncio.create_task(self._run())
        return await result

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            error = await self._failure(group)
            if error is not None and len(group) > 1 and not is_transient(error):
                # One that can't be written must fail alone.
                for one in group:
                    _tell([one], await self._failure([one]))
            else:
                _tell(group, error)

    async def _failure(self, group: Sequence[tuple[Item, asyncio.Future[Result]]]) -> Exception | None:
        """Write them; what went wrong, None where nothing did and everybody has a result."""
        try:
            results = await self._write([item for item, _ in group])
        except Exception as error:  # noqa: BLE001 - every caller is told
            return error
        for (_, result), told in zip(group, results, strict=True):
            if not result.done():
                result.set_result(told)
        return None


def _tell(group: Sequence[tuple[Item, asyncio.Future[Result]]], error: Exception | None) -> None:
    for _, result in group:
        if error is not None and not result.done():
            result.set_exception(error)
