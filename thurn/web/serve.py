"""The role `web`: Granian with one worker, in this very process, on uvloop."""

import asyncio
import signal

import structlog
import uvloop
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from thurn.heartbeat import beat
from thurn.log import configure_logging
from thurn.settings import LOOPBACK, Settings
from thurn.web.app import create_app


def main(settings: Settings) -> None:
    """Serve pages, API and tracking on loopback, for Caddy in front, until SIGTERM or SIGINT."""
    configure_logging("web")
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    app = create_app(settings)
    server = Server(
        app,
        address=LOOPBACK,
        port=settings.port["web"],
        interface=Interfaces.ASGI,
        websockets=False,
        log_access=False,
        log_level=LogLevels.error,
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        app.state.stopping = True  # streams of events end by themselves; the server waits for open answers
        server.stop()  # type: ignore[no-untyped-call]  # Granian gives it no types

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop)
    beating = asyncio.create_task(beat(settings, "web"))
    structlog.get_logger().info("serving", address=LOOPBACK, port=settings.port["web"])
    try:
        await server.serve()
    finally:
        beating.cancel()
