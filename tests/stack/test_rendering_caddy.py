"""Caddy's configuration: which hosts get certificates, and who may be asked for them."""

import re
from pathlib import Path
from typing import Any

import pytest
from renderworld import PORTS, STATE

from thurn.stack import caddy


def caddyfile(tls: caddy.Tls | None = None, **how: Any) -> str:
    return caddy.render(STATE, PORTS, listen="127.0.0.1", secret="S", guard_secret="G", tls=tls, **how)[0].text


def test_caddy_without_tls_gets_no_certificates_and_hands_everything_to_the_web() -> None:
    text = caddyfile()
    assert "auto_https off" in text
    assert "acme" not in text
    assert re.findall(r"(?m)^(http\S+) \{$", text) == [f"http://:{PORTS['http']}", f"http://:{PORTS['webmail']}"]
    web, roundcube = text.split(f"\nhttp://:{PORTS['webmail']} ")
    assert set(re.findall(r"reverse_proxy (\S+)", web)) == {f"127.0.0.1:{PORTS['web']}"}
    assert set(re.findall(r"reverse_proxy (\S+)", roundcube)) == {f"unix/{STATE}/webmail/run/fpm.sock"}


def test_webmail_behind_a_proxy_is_told_by_its_name() -> None:
    text = caddyfile(webmail_host="webmail.example", webmail_https=True)
    assert f"\nhttp://webmail.example:{PORTS['http']} {{\n" in text
    assert "env HTTPS on" in text
    assert "Strict-Transport-Security" in text
    assert f":{PORTS['webmail']}" not in text


@pytest.mark.parametrize(
    ("account", "mail_host", "sites"),
    [
        (False, "mail.example", ["https://thurn.example", "http://"]),
        (
            True,
            "mail.example",
            ["https://thurn.example", "http://", "https://mail.example", "https://", "https://w.example"],
        ),
        (True, "thurn.example", ["https://thurn.example", "http://", "https://", "https://w.example"]),
        (True, "laptop", ["https://thurn.example", "http://", "https://", "https://w.example"]),
    ],
)
def test_caddy_asks_for_one_certificate_until_it_has_an_account(
    account: bool, mail_host: str, sites: list[str]
) -> None:
    tls = caddy.Tls("thurn.example", mail_host, "https://acme.example/dir", account=account)
    text = caddyfile(tls, webmail_host="w.example")
    assert re.findall(r"(?m)^(https?://\S*) \{$", text) == sites
    assert text.count("on_demand\n") == 2 * sites.count("https://"), "for webmail and the hosts of domains only"


def test_caddy_asks_guard_about_every_other_host_and_its_file_is_closed_to_others() -> None:
    tls = caddy.Tls("thurn.example", "mail.example", "https://acme.example/dir", "ops@x.example", own_root=True)
    (file,) = caddy.render(STATE, PORTS, listen="", secret="S", guard_secret="G", tls=tls, webmail_host="w.example")
    assert f"ask http://127.0.0.1:{PORTS['guard']}/edge/known-host?key=G\n" in file.text
    assert "acme_ca https://acme.example/dir\n" in file.text
    assert f"acme_ca_root {STATE}/edge/acme-root.pem\n" in file.text
    assert file.mode == 0o640
    assert "bind" not in file.text


@pytest.mark.parametrize(
    ("directory", "folder"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", "acme-v02.api.letsencrypt.org-directory"),
        ("https://127.0.0.1:14000/dir", "127.0.0.1-14000-dir"),
    ],
)
def test_caddy_s_account_is_found_where_it_keeps_it(tmp_path: Path, directory: str, folder: str) -> None:
    assert not caddy.has_account(tmp_path, directory)
    users = tmp_path / "edge/data/acme" / folder / "users/default"
    users.mkdir(parents=True)
    assert not caddy.has_account(tmp_path, directory)
    (users / "default.json").write_text("{}")
    assert caddy.has_account(tmp_path, directory)
