"""Fixtures: a running simulated internet, and stand-ins for what of Thurn it talks to: its `mx` and its web server."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from thurn.settings import Settings, allocate_ports
from thurn.simulate import client

START = "import sys; from thurn.settings import Settings; from thurn.simulate.service import main;"
START += "main(Settings(state=sys.argv[1], simulate=True, hostname='mail.thurn.example'))"


def new_installation() -> Settings:
    state = Path(tempfile.mkdtemp(prefix="sim-", dir="/tmp"))
    state.chmod(0o755)
    settings = Settings(state=state, simulate=True, hostname="mail.thurn.example")
    allocate_ports(settings)
    return settings


def start(settings: Settings) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", START, str(settings.state)], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", settings.port["sim_smtp"])) == 0:
                return process
        assert process.poll() is None, "the simulated internet did not start"
        time.sleep(0.05)
    raise AssertionError("the simulated internet does not listen")


@pytest.fixture
def start_internet() -> Callable[[Settings], "subprocess.Popen[bytes]"]:
    """Starts one and returns when it listens; whoever calls it ends the process."""
    return start


@pytest.fixture
def mortal() -> Iterator[Settings]:
    """An installation of a test's own, of which nothing runs."""
    settings = new_installation()
    yield settings
    shutil.rmtree(settings.state)


@pytest.fixture(scope="session")
def running_internet() -> Iterator[Settings]:
    settings = new_installation()
    process = start(settings)
    yield settings
    process.terminate()
    assert process.wait(60) == 0
    shutil.rmtree(settings.state)


@pytest.fixture
def internet(running_internet: Settings) -> Settings:
    """A simulated internet that holds nothing and publishes nothing, and whose providers are calm."""
    client.reset(running_internet)
    client.withdraw(running_internet)
    client.calm(running_internet)
    return running_internet


@dataclass
class Exchanger:
    """Stands for our `mx`: keeps what it gets; refuses the next `refuse_next` mails for now."""

    got: list[tuple[str, str, bytes]] = field(default_factory=list)  # sender, recipient, mail
    refuse_next: int = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        if self.refuse_next:
            self.refuse_next -= 1
            return "451 4.3.0 Not now"
        self.got.extend((envelope.mail_from or "", to, envelope.original_content) for to in envelope.rcpt_tos)
        return "250 2.0.0 Ok"


@dataclass(frozen=True)
class Hit:
    method: str
    path: str
    agent: str
    body: str
    at: float


class Site(ThreadingHTTPServer):
    """Stands for our web server: a click is a redirect away, anything else is fine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _SiteHandler)
        self.hits: list[Hit] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _SiteHandler(BaseHTTPRequestHandler):
    server: Site

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        agent = self.headers["User-Agent"]
        self.server.hits.append(Hit(self.command, self.path, agent, body, time.time()))
        if self.path.startswith("/c/"):
            self.send_response(302)
            self.send_header("Location", f"{self.server.url}/elsewhere")
        else:
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = _serve  # noqa: N815  # names that http.server asks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base class
        pass


@dataclass
class Surroundings:
    """What the simulated internet talks to while a test runs."""

    exchanger: Exchanger
    site: Site


@contextmanager
def surrounded(settings: Settings) -> Iterator[Surroundings]:
    exchanger, site = Exchanger(), Site()
    controller = Controller(exchanger, hostname="127.0.0.1", port=settings.port["smtp"])
    controller.start()
    Thread(target=site.serve_forever, daemon=True).start()
    yield Surroundings(exchanger, site)
    controller.stop()
    site.shutdown()
    site.server_close()


@pytest.fixture
def surroundings(internet: Settings) -> Iterator[Surroundings]:
    """A web server and an `mx` beside the running simulated internet."""
    with surrounded(internet) as both:
        yield both


@pytest.fixture(scope="module")
def afternoon_surroundings(running_internet: Settings) -> Iterator[Surroundings]:
    """The same for all tests of a module."""
    client.reset(running_internet)
    client.withdraw(running_internet)
    with surrounded(running_internet) as both:
        yield both
