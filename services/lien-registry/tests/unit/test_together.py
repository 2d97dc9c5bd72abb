"""Group commit: many callers, few statements, and each caller's own result or error."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from carlien_lien_registry.adapters.postgres.together import Together


@dataclass
class _Database:
    """Doubles numbers; refuses negative ones, whatever stands beside them."""

    statements: list[list[int]] = field(default_factory=list)
    away: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, numbers: Sequence[int]) -> Sequence[int]:
        self.statements.append(list(numbers))
        self.asked.set()
        await asyncio.sleep(0)
        if self.away:
            raise ConnectionRefusedError
        if min(numbers) < 0:
            raise ValueError(min(numbers))
        return [2 * number for number in numbers]


async def test_everybody_gets_their_own_result_from_few_statements() -> None:
    database = _Database()
    together = Together(database.write)
    assert await asyncio.gather(*(together.add(number) for number in range(250))) == [2 * number for number in range(250)]
    assert [len(statement) for statement in database.statements] == [100, 100, 50]
    assert await together.add(7) == 14, "it goes on after a pause"


async def test_what_comes_while_a_statement_runs_goes_into_the_next() -> None:
    database = _Database()
    together = Together(database.write)
    first = asyncio.create_task(together.add(1))
    await database.asked.wait()
    assert await asyncio.gather(together.add(2), together.add(3)) == [4, 6]
    assert await first == 2
    assert database.statements == [[1], [2, 3]]


async def test_one_that_can_t_be_written_fails_alone() -> None:
    database = _Database()
    together = Together(database.write)
    results = await asyncio.gather(*(together.add(number) for number in (1, -2, 3)), return_exceptions=True)
    assert results[0::2] == [2, 6]
    assert isinstance(results[1], ValueError)


async def test_a_database_that_is_away_is_asked_once() -> None:
    database = _Database(away=True)
    together = Together(database.write)
    results = await asyncio.gather(*(together.add(number) for number in range(3)), return_exceptions=True)
    assert all(isinstance(result, ConnectionRefusedError) for result in results)
    assert len(database.statements) == 1


async def test_a_caller_that_leaves_takes_nobody_with_it() -> None:
    database = _Database()
    together = Together(database.write)
    leaving, staying = asyncio.create_task(together.add(1)), asyncio.create_task(together.add(2))
    await database.asked.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await staying == 4
