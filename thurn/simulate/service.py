"""The role `simulate`: receivers, DNS, control and what comes of mail, in one process on loopback."""

import asyncio
import signal
from pathlib import Path

import structlog
import uvloop

from thurn.heartbeat import beat
from thurn.log import configure_logging
from thurn.settings import Settings
from thurn.simulate.aftermath import Aftermath
from thurn.simulate.control import Controls, ControlServer
from thurn.simulate.dns import serve_dns
from thurn.simulate.receivers import Receivers, serve_smtp
from thurn.simulate.reports import dkim_key
from thurn.simulate.store import Store
from thurn.simulate.zones import Zones

log = structlog.get_logger()


def store_path(settings: Settings) -> Path:
    """Where the accepted mail is."""
    return settings.state / "sim" / "mail.sqlite3"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set."""
    path = store_path(settings)
    store = Store(path)
    seed = settings.simulate_seed
    zones = Zones(path.with_name("zones.json"), settings.hostname, dkim_key(seed)[1])
    aftermath = Aftermath(store, seed, settings.port["smtp"])
    receivers = Receivers(store, seed, aftermath.plan)
    loop = asyncio.get_running_loop()

    async def forget() -> None:
        aftermath.forget()
        store.reset()

    def reset() -> None:  # called from the control's threads
        asyncio.run_coroutine_threadsafe(forget(), loop).result(30)

    controls = Controls(path, zones, settings.port["sim_dns"], lambda: aftermath.pending, reset, receivers.moods)
    udp, tcp = await serve_dns(zones, settings.port["sim_dns"])
    control = ControlServer(controls, settings.port["sim_http"])
    control.start()
    smtp = await serve_smtp(receivers, settings.port["sim_smtp"], settings.simulate_at)
    (settings.state / "run").mkdir(exist_ok=True)
    tasks = [asyncio.create_task(aftermath.run()), asyncio.create_task(beat(settings, "simulate"))]
    log.info("ready", smtp=settings.port["sim_smtp"], dns=settings.port["sim_dns"], http=settings.port["sim_http"])
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    smtp.close()
    tcp.close()
    udp.close()
    await asyncio.to_thread(control.shutdown)
    control.server_close()
    for session in list(receivers.sessions):
        session.abort()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    store.close()
    for task in tasks:
        if task in done:
            task.result()  # one that should run for ever has died: so do we, and are started again


async def _serve_until_signal(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)


def main(settings: Settings) -> None:
    """Entry point of the role; returns after SIGTERM or SIGINT."""
    configure_logging("simulate")
    uvloop.run(_serve_until_signal(settings))
