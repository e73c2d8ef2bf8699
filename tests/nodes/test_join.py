"""`thurn join` and `thurn node` as they are typed: what goes wrong leaves nothing behind."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from thurn.cli import build
from thurn.nodes import join
from thurn.nodes.token import Token
from thurn.settings import Settings


@contextmanager
def somebody(status: int, body: bytes) -> Iterator[str]:
    """A web server that gives everybody the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def refused(state: Path, url: str, token: str) -> str:
    with pytest.raises(join.Refused) as said:
        join.join(state, url, token, "two.example")
    assert not (state / "thurn.toml").exists()
    assert not (state / "secrets").exists()
    return str(said.value)


FORGED = Token.fresh().seal({"node": "evil", "settings": {}}, "n").encode()


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>", "an answer that is not Thurn's"),
        (404, b"Not found", "an answer that is not Thurn's (status 404)"),
        (302, b"", "an answer that is not Thurn's"),
        (200, b"[]", "an answer that is not Thurn's"),
        (200, b'{"sealed": 1}', "an answer that is not Thurn's"),
        (200, b'{"sealed": "' + FORGED + b'"}', "an answer that is not Thurn's"),
        (403, b'{"error": "This token is not known here."}', "says no: This token is not known here."),
    ],
    ids=["html", "missing", "elsewhere", "list", "number", "forged", "refused"],
)
def test_whoever_answers_wrongly_leaves_nothing_behind(tmp_path: Path, status: int, body: bytes, why: str) -> None:
    with somebody(status, body) as url:
        assert why in refused(tmp_path / "state", url, str(Token.fresh()))


def test_what_is_typed_wrongly_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    token = str(Token.fresh())
    assert "not a token" in refused(tmp_path / "state", "http://127.0.0.1:1", "what?")
    for url in ("", "127.0.0.1", "ftp://x", "https://"):
        assert "is not an address" in refused(tmp_path / "state", url, token)
    assert "cannot be reached" in refused(tmp_path / "state", "http://127.0.0.1:1", token)
    used = tmp_path / "used"
    used.mkdir()
    (used / "anything").touch()
    assert "There is something in" in refused(used, "http://127.0.0.1:1", token)


def test_what_joins_can_be_read_again_by_nobody_else(tmp_path: Path) -> None:
    answer = {
        "node": "two", "password": "p", "derived": {"verp": "00" * 32}, "certificate": "", "ports": {"http": 80},
        "settings": {"node": "two", "database_url": "host=192.0.2.1", "base_url": 'https://x/"', "dns": []},
    }  # fmt: skip
    state = tmp_path / "two"
    join._write(state, answer, "https://main.example", "two.example")
    settings = Settings(state=state)
    assert (settings.node, settings.joined, settings.hostname) == ("two", "https://main.example", "two.example")
    assert settings.base_url == 'https://x/"'
    for name in ("secrets/db-node", "secrets/derived", "thurn.toml"):
        assert (state / name).stat().st_mode & 0o7 == 0, name
    assert (state / "secrets").stat().st_mode & 0o7 == 0
    assert not (state / "secrets" / "database-ca.pem").exists()


def test_the_commands_list_add_show_and_remove(clean: Settings) -> None:
    runner = CliRunner()
    (clean.state / "thurn.toml").write_text('simulate = true\nhostname = "mail.thurn.example"\n')

    def thurn(*arguments: str) -> Result:
        return runner.invoke(build("node"), ["node", *arguments, "--state", str(clean.state)])

    try:
        assert "Set database_listen" in thurn("add", "two").stderr
        with (clean.state / "thurn.toml").open("a") as file:
            file.write('database_listen = "127.0.0.1"\n')
        made = json.loads(thurn("add", "two", "--json").stdout)
        assert made["command"] == f"thurn join {clean.url} {made['token']}"
        assert "Type this on the other machine" in thurn("add", "two").stdout
        assert "two              invited" in thurn("list").stdout
        assert json.loads(thurn("show", "two", "--json").stdout)["people"] == []
        assert thurn("show", "two", "--csv").stdout.startswith("recipient,workspace")
        assert "not here yet" in thurn("lost", "two", "--confirm", "two").stderr
        assert thurn("remove", "two").stdout == "two never came.\n"
        gone = thurn("remove", "two")
        assert (gone.exit_code, gone.stderr) == (1, "There is no sending machine “two”.\n")
    finally:
        (clean.state / "thurn.toml").unlink()
