"""Real Caddy with the file we render, before something that tells what arrives: who is believed about addresses."""

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from acme import free_ports

from thurn.settings import SERVICES, Settings
from thurn.stack import caddy
from thurn.web.edge import forwarded_for

SECRET = "only-caddy-knows"
Ask = Callable[..., dict[str, str]]


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the name http.server asks for
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:  # takes everything and says how much that was
        left = seen = int(self.headers["Content-Length"])
        while left and (part := self.rfile.read(min(left, 1024 * 1024))):
            left -= len(part)
        self.send_response(200)
        self.send_header("X-Seen", str(seen - left))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the base class
        pass


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[tuple[str, ...]], Ask]]:
    """Opens Caddy with these proxies trusted; the result asks it and returns the headers that arrived behind it."""
    behind = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    running: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], int]] = {}

    def start(trusted: tuple[str, ...]) -> int:
        state = tmp_path_factory.mktemp("edge")
        (state / "edge" / "run").mkdir(parents=True)
        (port,) = free_ports(1)
        ports = dict.fromkeys(SERVICES, 1) | {"http": port, "web": behind.server_address[1]}
        text = caddy.render(state, ports, listen="127.0.0.1", secret=SECRET, trusted_proxies=trusted)[0].text
        (state / "Caddyfile").write_text(text)
        process = subprocess.Popen(
            ["caddy", "run", "--config", str(state / "Caddyfile"), "--adapter", "caddyfile"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"HOME": str(state), "XDG_DATA_HOME": str(state), "XDG_CONFIG_HOME": str(state)},
        )  # fmt: skip
        running[trusted] = (process, port)
        end = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            assert process.poll() is None, "Caddy does not take the file"
            assert time.monotonic() < end
            time.sleep(0.05)

    def open_door(trusted: tuple[str, ...]) -> Ask:
        port = running[trusted][1] if trusted in running else start(trusted)

        def ask(*headers: tuple[str, str]) -> dict[str, str]:
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            link.putrequest("GET", "/anything")
            for name, value in headers:
                link.putheader(name, value)
            link.endheaders()
            answer = link.getresponse()
            assert answer.status == 200, answer.status
            found: dict[str, str] = json.loads(answer.read())
            return found

        ask.port = port  # type: ignore[attr-defined]
        return ask

    yield open_door
    for process, _ in running.values():
        process.terminate()
        process.wait(60)
    behind.shutdown()
    behind.server_close()


@pytest.mark.parametrize(("megabytes", "taken"), [(256, True), (300, False)])
def test_a_file_of_256_mb_gets_through_and_what_is_larger_does_not(
    doors: Callable[[tuple[str, ...]], Ask], megabytes: int, taken: bool
) -> None:
    doors(())(("X", "y"))  # Caddy runs
    whole, part = megabytes * 1024 * 1024, bytes(1024 * 1024)
    link = http.client.HTTPConnection("127.0.0.1", doors(()).port, timeout=180)  # type: ignore[attr-defined]
    link.putrequest("POST", "/w/main/contacts/import")
    link.putheader("Content-Length", str(whole))
    link.endheaders()
    try:
        for _ in range(megabytes):
            link.send(part)
        answer = link.getresponse()
    except OSError:  # it hangs up while more comes
        assert not taken
        return
    assert (answer.status == 200) is taken, answer.status
    if taken:
        assert answer.headers["X-Seen"] == str(whole)


LOOPBACK, INSIDE = "127.0.0.0/8", ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("trusted", "sent", "client"),
    [
        # Nobody is trusted: what a client says about itself does not even arrive.
        ((), [], "127.0.0.1"),
        ((), ["6.6.6.6"], "127.0.0.1"),
        ((), ["6.6.6.6, 127.0.0.1"], "127.0.0.1"),
        (("10.0.0.0/8",), ["6.6.6.6"], "127.0.0.1"),
        # One proxy in front: it appended whom it saw; what the client claimed stands left of that.
        ((LOOPBACK,), ["192.0.2.7"], "192.0.2.7"),
        ((LOOPBACK,), ["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
        ((LOOPBACK,), ["6.6.6.6", "192.0.2.7"], "192.0.2.7"),
        ((LOOPBACK,), ["127.0.0.1, 192.0.2.7"], "192.0.2.7"),
        ((LOOPBACK,), ["2001:db8::7"], "2001:db8::7"),
        ((LOOPBACK,), ["6.6.6.6, 2001:DB8:0::7"], "2001:db8::7"),
        # Several in a row.
        (INSIDE, ["6.6.6.6, 192.0.2.7, 10.0.0.1"], "192.0.2.7"),
        (INSIDE, ["10.9.9.9, 192.0.2.7, 10.0.0.1, fd00::1"], "192.0.2.7"),
        (INSIDE, ["10.0.0.9"], "10.0.0.9"),
        # Nonsense ends the way back; the last address that made sense counts.
        ((LOOPBACK,), ["six.six.six"], "127.0.0.1"),
        (INSIDE, ["6.6.6.6, <script>, 10.0.0.1"], "10.0.0.1"),
        ((LOOPBACK,), ["6.6.6.6, " * 200 + "192.0.2.7"], "192.0.2.7"),
    ],
)
def test_the_client_is_who_trusted_proxies_say_and_nobody_else(
    doors: Callable[[tuple[str, ...]], Ask], trusted: tuple[str, ...], sent: list[str], client: str
) -> None:
    forged = [("X-Thurn-Edge", "guessed"), ("X-Real-IP", "6.6.6.6"), ("Forwarded", "for=6.6.6.6")]
    seen = doors(trusted)(*forged, *(("X-Forwarded-For", value) for value in sent))
    assert seen["x-thurn-edge"] == SECRET, "what Caddy shows cannot be brought along"
    assert forwarded_for(seen["x-forwarded-for"], trusted) == client


@pytest.mark.parametrize(
    ("header", "client"),
    [("", ""), (",", ""), ("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7:4711", ""), (" 192.0.2.7 ", "192.0.2.7"),
     ("\x00", ""), ("10.0.0.1," * 5000, "")],
)  # fmt: skip
def test_any_header_is_read_or_refused(header: str, client: str) -> None:
    assert forwarded_for(header, ()) == client


@pytest.mark.parametrize("given", ["10.0.0.0/33", "proxy.example", "10.0.0.1 }", ""])
def test_a_proxy_that_is_no_address_is_refused_with_the_settings(given: str) -> None:
    with pytest.raises(ValueError, match="trusted_proxies"):
        Settings(state=Path("/nowhere"), trusted_proxies=[given])


@pytest.mark.parametrize("given", ["http://acme.example/dir", "https://a b", "https://x{env.HOME}", "https://x`"])
def test_an_authority_that_would_end_the_word_in_caddy_s_file_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="acme_directory"):
        Settings(state=Path("/nowhere"), acme_directory=given)
