"""Many messages of a stream at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

Message = TypeVar("Message")


async def gathered(messages: AsyncIterator[Message], most: int) -> AsyncGenerator[list[Message]]:
    """Whatever has arrived, at least one and at most `most`; while a batch is worked on, the next one gathers, and no more than that.

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
            batch: list[Message] = []
            first = await queue.get()
            ended = first is None
            if first is not None:
                batch.append(first)
            while not ended and len(batch) < most and not queue.empty():
                item = queue.get_nowait()
                ended = item is None
                if item is not None:
                    batch.append(item)
            if batch:
                yield batch
        await reader  # raises what ended the stream, if anything did
    finally:
        reader.cancel()
