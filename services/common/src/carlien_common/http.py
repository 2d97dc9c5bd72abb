"""The metrics port: /metrics for Prometheus, /livez and /readyz for Kubernetes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from carlien_common.health import Health


@asynccontextmanager
async def metrics_server(health: Health, port: int, host: str = "0.0.0.0") -> AsyncIterator[int]:  # noqa: S104 - scraped from outside
    """Serves inside the block; yields the bound port (0 picks a free one).

    /livez answers 200 as long as the event loop turns. /readyz answers 200 when the service accepts work and every check passes,
    else 503; both ways with every check's result as JSON.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        checks = await health.refresh()
        return web.json_response({"ready": health.ready, "checks": checks}, status=200 if health.ready else 503)

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/livez", livez), web.get("/readyz", readyz)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
