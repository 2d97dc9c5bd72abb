"""When the read model counts as level with the ledger."""

from carlien_lien_registry.service.following import Progress


async def test_blocks_alone_do_not_show_that_nothing_is_missing() -> None:
    progress = Progress()
    await progress.applied(3)
    assert not await progress.level(0.01)
    progress.saw_height(5)
    assert not await progress.level(0.01)
    await progress.applied(5)
    assert await progress.level(0.01)
    # Once and for all: what comes later is told by behind_seconds().
    progress.saw_height(6)
    assert await progress.level(0.01)
