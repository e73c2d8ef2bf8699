"""`https = "proxy"`: a proxy of the operator's ends TLS before the whole of ours, which gets no certificate."""

import asyncio
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from acme import certificate, free_ports
from stackworld import wait_for

from thurn.certificates.watch import look
from thurn.cli.stack import as_data
from thurn.db.connect import conninfo
from thurn.mail.tokens import TrackingTokens
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.stack.control import down, start_stack

pytestmark = pytest.mark.stack

WEB, MAIL, LINKS = "thurn.brotzeit.example", "mail.thurn.example", "links.brotzeit.example"
WEBMAIL = f"webmail.{MAIL}"
CLIENT = "203.0.113.9"


@dataclass(frozen=True)
class Behind:
    """An installation, and the proxy before it."""

    settings: Settings
    port: int
    context: ssl.SSLContext

    def ask(self, method: str, host: str, path: str, **how: object) -> httpx.Response:
        """As a browser out there, whom the proxy names."""
        with httpx.Client(verify=self.context, timeout=60) as browser:
            request = browser.build_request(method, f"https://127.0.0.1:{self.port}{path}", **how)  # type: ignore[arg-type]
            request.headers["Host"] = host
            request.headers["X-Forwarded-For"] = CLIENT
            request.extensions["sni_hostname"] = host
            return browser.send(request)


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    """Caddy as somebody's proxy: names and certificates are its business."""
    state, folder = (Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp")) for name in ("tp", "px"))
    state.chmod(0o755)
    (state / "thurn.toml").write_text(
        f'simulate = true\nhostname = "{MAIL}"\nbase_url = "https://{WEB}"\nhttps = "proxy"\n'
        'trusted_proxies = ["127.0.0.0/8"]\n'
    )
    process = None
    try:
        settings = start_stack(state, ["db", "guard", "web", "webmail", "edge"])
        (port,) = free_ports(1)
        chain, key = certificate([WEB, WEBMAIL, LINKS])
        (folder / "cert.pem").write_text(chain)
        (folder / "key.pem").write_text(key)
        (folder / "Caddyfile").write_text(
            "{\n  admin off\n  auto_https off\n}\n"
            f"https://:{port} {{\n  tls {folder}/cert.pem {folder}/key.pem\n"
            f"  reverse_proxy 127.0.0.1:{settings.port['http']} {{\n    trusted_proxies 127.0.0.0/8\n  }}\n}}\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
                stdout=log, stderr=log,
                env={"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            )  # fmt: skip
        found = Behind(settings, port, ssl.create_default_context(cafile=str(folder / "cert.pem")))
        wait_for(lambda: _answers(found))
        yield found
    finally:
        if process is not None:
            process.terminate()
            process.wait(60)
        down(state)
        shutil.rmtree(state)
        shutil.rmtree(folder)


def _answers(behind: Behind) -> bool:
    try:
        return behind.ask("GET", WEB, "/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_proxy_in_front_is_the_whole_of_tls(behind: Behind) -> None:
    settings = behind.settings
    assert as_data(settings, {})["urls"]["webmail"] == f"https://{WEBMAIL}"

    # The web interface: secure cookies, and no way out of https or back into it.
    page = behind.ask("GET", WEB, "/sign-in")
    assert page.status_code == 200
    assert page.headers["strict-transport-security"] == "max-age=31536000"
    visitor = page.headers["set-cookie"]
    assert visitor.startswith("__Host-thurn-visitor=")
    assert "Secure" in visitor

    # Who asks is whom the proxy names.
    form = {
        "csrf": page.text.partition('name="csrf" value="')[2].partition('"')[0],
        "email": "x@y.example",
        "password": "x",
    }
    refused = behind.ask("POST", WEB, "/sign-in", data=form, headers={"Cookie": visitor.partition(";")[0]})
    assert refused.status_code == 422
    with psycopg.connect(conninfo(settings, "system")) as db:
        assert db.execute("SELECT DISTINCT host(client) FROM guard_failure").fetchall() == [(CLIENT,)]

    # Webmail on its own name, and the old place leads to the way there.
    opened = behind.ask("GET", WEBMAIL, "/?_thurn=open")
    assert opened.headers["location"].startswith(f"https://{WEB}/mailbox/webmail?bind=")
    (number,) = [c for c in opened.headers.get_list("set-cookie") if c.startswith("__Host-webmail-number=")]
    assert "secure" in number.lower()
    assert behind.ask("GET", WEB, "/webmail/?_task=mail").headers["location"] == "/mailbox/webmail"
    assert behind.ask("GET", WEBMAIL, "/sign-in").status_code == 404
    start = behind.ask("GET", WEB, "/mailbox/webmail")
    assert start.headers["location"] == "/mailbox/sign-in"

    # Links under the sender's name.
    tokens = TrackingTokens(Secrets(settings.state).derive("tracking"))
    pixel = behind.ask("GET", LINKS, f"/o/{tokens.make('o', 1, 1, 1)}")
    assert (pixel.status_code, pixel.headers["content-type"]) == (200, "image/gif")

    # And nobody was asked for a certificate.
    assert not (settings.state / "edge/data/certificates").exists()
    assert not (settings.state / "edge/data/acme").exists()
    assert asyncio.run(look(settings)) == []
