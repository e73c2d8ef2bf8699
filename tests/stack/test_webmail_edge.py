"""Real Caddy with the routes we render for webmail, before a socket that keeps what PHP would be told."""

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from acme import free_ports

from thurn.settings import SERVICES
from thurn.stack import caddy, webmail

_END = bytes((1, 5, 0, 1, 0, 0, 0, 0))  # an empty record of the body: the request is complete


@dataclass
class Php:
    """A FastCGI server that remembers the parameters of each request, and gives no answer."""

    port: int
    heard: list[bytes] = field(default_factory=list)

    def told(self, path: str, **headers: str) -> bytes:
        """What PHP would know about a request."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        link.request("GET", path, headers=headers)
        assert link.getresponse().status == 502, "nobody answers"
        return self.heard[-1]


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def php(request: pytest.FixtureRequest) -> Iterator[Php]:
    """Caddy before such a server; the parameter says whether people come by https."""
    state = Path(tempfile.mkdtemp(prefix="twe-", dir="/tmp"))
    (state / "edge" / "run").mkdir(parents=True)
    (state / webmail.SOCKET).parent.mkdir(parents=True)
    port, other = free_ports(2)
    ports = dict.fromkeys(SERVICES, 1) | {"http": other, "webmail": port}
    text = caddy.render(state, ports, listen="127.0.0.1", secret="S", webmail_https=request.param)[0].text
    (state / "Caddyfile").write_text(text)
    found = Php(port)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(state / webmail.SOCKET))
    listening.listen()

    def serve() -> None:
        while True:
            try:
                link, _ = listening.accept()
            except OSError:
                return
            with link:
                said = b""
                while not said.endswith(_END) and (part := link.recv(65536)):
                    said += part
                found.heard.append(said)

    threading.Thread(target=serve, daemon=True).start()
    process = subprocess.Popen(
        ["caddy", "run", "--config", str(state / "Caddyfile"), "--adapter", "caddyfile"],
        stdout=subprocess.DEVNULL, stderr=(state / "log").open("wb"),
        env=os.environ | {"HOME": str(state), "XDG_DATA_HOME": str(state), "XDG_CONFIG_HOME": str(state)},
    )  # fmt: skip
    end = time.monotonic() + 60
    while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
        assert process.poll() is None, (state / "log").read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    yield found
    process.terminate()
    process.wait(60)
    listening.close()
    log = (state / "log").read_text()
    shutil.rmtree(state)
    assert "_thurn=(not shown)" in log, "a request that failed is in the log"
    assert "s3cret" not in log


def test_php_gets_its_own_cookies_and_none_of_ours(php: Php) -> None:
    cookies = "thurn-mailbox=ours; webmail-session=theirs; __Host-thurn-session=ours; a=1; thurn-visitor=ours"
    told = php.told("/?_task=mail&_thurn=s3cret", Cookie=cookies)
    assert b"webmail-session=theirs" in told
    assert b"a=1" in told
    assert b"ours" not in told
    assert b"thurn-mailbox" not in told


def test_a_cookie_of_ours_alone_leaves_none(php: Php) -> None:
    told = php.told("/?_thurn=s3cret", Cookie="__Host-thurn-mailbox=ours")
    assert b"ours" not in told
    assert b"$9" not in told


def test_php_runs_the_one_file_and_knows_whether_people_come_by_https(php: Php, request: pytest.FixtureRequest) -> None:
    told = php.told("/index.php?_task=login&_thurn=s3cret")
    assert b"/webmail/root/index.php" in told
    assert (b"HTTPSon" in told) is ("[https]" in request.node.name)
