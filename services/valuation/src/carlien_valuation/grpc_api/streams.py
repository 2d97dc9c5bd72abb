"""Many messages of a stream at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TypeVar

Message = TypeVar("Message")

PATIENCE_S = 0.004
"""How long a batch stays open after its first message. The transport hands over one message at a time, and none while the event loop
works: without this a batch would hold two, however fast the stream.
"""


async def gathered(messages: AsyncIterator[Message], most: int, patience_s: float = PATIENCE_S) -> AsyncGenerator[list[Message]]:
    """Whatever arrives within `patience_s` of the first, at most `most`; while a batch is worked on, the next one gathers, no more.

    Close it (`contextlib.aclosing`) when leaving early. The transport's flow control does the rest: a stream that is read more slowly is
    sent more slowly.
    """
    queue: asyncio.Queue[Message | None] = asyncio.Queue(most)

    async def read() -> None:
        try:
            async for message in messages:
                await queue.put(message)
        except Exception:
            await queue.put(None)
            raise
        await queue.put(None)

    reader = asyncio.create_task(read())
    try:
        ended = False
        while not ended:
            first = await queue.get()
            if first is None:
                break
            batch = [first]
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    while len(batch) < most and not ended:
                        item = await queue.get()
                        if item is None:
                            ended = True
                        else:
                            batch.append(item)
            yield batch
        await reader  # raises what ended the stream, if anything did
    finally:
        reader.cancel()
