"""The role `guard`: answers the daemons when they ask. May this one sign in, may this mail be taken.

Three doors on loopback: HTTP for Dovecot, Rspamd, Roundcube and Caddy, who show the installation's secret
(`daemons.py`); and Postfix's policy delegation protocol (`policy.py`) and socketmap protocol (`socketmap.py`).
"""

import asyncio
import signal

import structlog
import uvloop
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from thurn.guard import own, policy, socketmap
from thurn.guard.daemons import create_app
from thurn.heartbeat import beat
from thurn.log import configure_logging
from thurn.settings import LOOPBACK, Settings


def main(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    configure_logging("guard")
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    app = create_app(settings)
    server = Server(
        app, address=LOOPBACK, port=settings.port["guard"], interface=Interfaces.ASGI, websockets=False,
        log_access=False, log_level=LogLevels.error,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    asked = [await policy.serve(settings), await socketmap.serve(settings)]
    beating = asyncio.create_task(beat(settings, "guard"))
    listing = asyncio.create_task(own.keep_listed(settings))
    structlog.get_logger().info("serving", http=settings.port["guard"], policy=settings.port["guard_policy"])
    try:
        await server.serve()
    finally:
        beating.cancel()
        listing.cancel()
        for server_of_postfix in asked:
            server_of_postfix.close()
