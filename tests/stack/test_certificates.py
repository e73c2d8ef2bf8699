"""A whole installation with TLS, and an authority that checks it: issued, served by name, renewed, refused."""

import asyncio
import hashlib
import imaplib
import json
import re
import shutil
import smtplib
import socket
import ssl
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import tlsworld
from acme import pebble
from certworld import (
    AUTOCONFIG,
    DOMAIN,
    ELSEWHERE,
    MAIL,
    MAIL_OF_DOMAIN,
    RESI,
    STRANGER,
    STS,
    UNPROVEN,
    WEB,
    WEBMAIL,
    Installation,
    certificate,
    everywhere,
    files_of,
    furnish,
    get,
    new,
    restart_edge,
    rows,
    serial,
    shows,
    thurn,
    trusting,
    unchecked,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from stackworld import PASSWORD, wait_for

from thurn.certificates.watch import look
from thurn.db.connect import connect, conninfo
from thurn.dns.check import check_domain
from thurn.dns.facts import key_in_use, key_to_come
from thurn.mail.tokens import TrackingTokens
from thurn.secrets import Secrets
from thurn.settings import allocate_ports, load_settings
from thurn.simulate import client
from thurn.stack.control import down, start_stack, up
from thurn.tracking.host import link_base


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    state, folder = (Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp")) for name in ("tc", "ca"))
    state.chmod(0o755)
    base = f'simulate = true\nhostname = "{MAIL}"\n'
    (state / "thurn.toml").write_text(base)
    ports = allocate_ports(load_settings(state))
    try:
        with pebble(folder, http=ports["http"], https=ports["https"], dns=ports["sim_dns"]) as authority:
            (state / "thurn.toml").write_text(
                f'{base}base_url = "https://{WEB}:{ports["https"]}"\nacme_directory = "{authority.directory}"\n'
                f'acme_ca_root = "{authority.api_root}"\nacme_email = "ops@{DOMAIN}"\n'
            )
            settings = start_stack(state, ["db", "redis", "simulate", "guard", "keeper", "spam", "imap", "mx", "web"])
            furnish(settings)
            up(settings, ["edge"], wait=True)
            yield Installation(settings, trusting(authority, folder))
    finally:
        down(state)
        shutil.rmtree(state)
        shutil.rmtree(folder)


@pytest.mark.parametrize("host", [WEB, MAIL, WEBMAIL, MAIL_OF_DOMAIN, STS, AUTOCONFIG])
def test_each_of_our_hosts_gets_a_certificate_in_its_name(installation: Installation, host: str) -> None:
    wait_for(lambda: shows(installation, installation.port("https"), host))


@pytest.mark.parametrize("host", [STRANGER, UNPROVEN, ELSEWHERE, "127.0.0.1.example", f"a.{WEB}", f"www.{DOMAIN}"])
def test_no_certificate_is_asked_for_in_a_name_that_is_not_ours(installation: Installation, host: str) -> None:
    with pytest.raises((ssl.SSLError, OSError)):
        serial(installation, installation.port("https"), host)
    assert files_of(installation, host) == []
    assert not list((installation.settings.state / "edge/data").rglob(f"*{host}*"))


@pytest.mark.parametrize("host", [MAIL, MAIL_OF_DOMAIN])
def test_every_mail_service_shows_the_same_certificate_as_the_web(installation: Installation, host: str) -> None:
    wait_for(lambda: shows(installation, installation.port("https"), host))
    (path,) = [path for path in files_of(installation, host) if path.suffix == ".crt"]
    wait_for(
        lambda: everywhere(installation, host) == {x509.load_pem_x509_certificate(path.read_bytes()).serial_number}
    )


def test_a_name_nobody_knows_gets_the_mail_host_s_certificate(installation: Installation) -> None:
    wait_for(lambda: None not in everywhere(installation, MAIL))
    lax = ssl.create_default_context()
    lax.check_hostname, lax.verify_mode = False, ssl.CERT_NONE
    strangers = Installation(installation.settings, lax)
    assert everywhere(strangers, "mail.stranger.example") == everywhere(installation, MAIL)


def test_the_tlsa_record_names_the_key_that_port_25_shows(installation: Installation) -> None:
    def key() -> str:
        with smtplib.SMTP("127.0.0.1", installation.port("smtp"), "mx.far.example", timeout=120) as plain:
            plain._host = MAIL  # what a sender that checks DANE names in SNI (RFC 7672, 8.1)
            plain.starttls(context=installation.context)
            public = certificate(plain.sock).public_key()
        return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    wait_for(lambda: shows(installation, installation.port("smtp"), MAIL, "smtp"))
    wait_for(lambda: key_in_use(installation.settings) == key())


def test_keys_are_for_root_alone_and_the_secret_of_guard_is_in_no_log(installation: Installation) -> None:
    state = installation.settings.state
    private = [
        path for path in (state / "tls").rglob("*") if path.is_file() and path.name not in ("cert.pem", "next-key")
    ]
    assert len(private) >= 3
    assert [p for p in private if (p.stat().st_uid, stat.S_IMODE(p.stat().st_mode)) != (0, 0o600)] == []
    assert stat.S_IMODE((state / "edge/Caddyfile").stat().st_mode) == 0o640
    secret = Secrets(state).ensure("guard")
    assert [path.name for path in (state / "log").iterdir() if secret in path.read_text(errors="replace")] == []


@pytest.mark.parametrize("host", [WEB, MAIL, AUTOCONFIG, "nobody.example"])
def test_plain_http_leads_to_https(installation: Installation, host: str) -> None:
    with socket.create_connection(("127.0.0.1", installation.port("http")), 120) as link:
        link.sendall(f"GET /w/main?q=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = link.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 308")
    assert f"Location: https://{host}:{installation.port('https')}/w/main?q=1\r\n" in answer


def test_the_web_interface_is_on_its_own_host_only(installation: Installation) -> None:
    page = get(installation, WEB, "/sign-in")
    assert page.startswith("HTTP/1.1 200")
    assert re.search(r"(?im)^strict-transport-security: max-age=31536000", page)
    for host in (MAIL, MAIL_OF_DOMAIN, AUTOCONFIG):
        wait_for(lambda host=host: shows(installation, installation.port("https"), host))  # type: ignore[misc]
        elsewhere = get(installation, host, "/sign-in")
        assert elsewhere.startswith("HTTP/1.1 302"), elsewhere[:200]
        assert f"Location: https://{WEB}:{installation.port('https')}\r\n" in elsewhere


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_browsers_get_modern_tls_only(installation: Installation) -> None:
    port, v = installation.port("https"), ssl.TLSVersion
    wait_for(lambda: shows(installation, port, WEB))
    modern = tlsworld.names(tlsworld.MODERN)
    others = [name for name in tlsworld.names(tlsworld.EVERYTHING) if name not in modern]
    assert [tlsworld.agreed(port, "", tlsworld.offer(old), WEB) for old in (v.TLSv1, v.TLSv1_1)] == ["", ""]
    assert tlsworld.agreed(port, "", tlsworld.offer(v.TLSv1_2, ":".join(others) + ":@SECLEVEL=0"), WEB) == ""
    assert tlsworld.agreed(port, "", tlsworld.offer(v.TLSv1_2), WEB) in modern
    assert tlsworld.agreed(port, "", tlsworld.offer(v.TLSv1_3), WEB).startswith("TLS_")
    assert not tlsworld.renegotiates(port, "", WEB)


@pytest.mark.parametrize("path", ["/edge/known-host?domain=x", "/config/", "/admin", "/internal", "/%2e%2e/guard"])
def test_what_daemons_ask_is_not_to_be_reached_from_outside(installation: Installation, path: str) -> None:
    assert get(installation, WEB, path).startswith("HTTP/1.1 404")


def test_a_look_at_every_host_says_what_clients_get_and_where_it_is_used(installation: Installation) -> None:
    done = thurn(installation, "certificates", "--check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    seen = {each["host"]: each for each in json.loads(done.stdout)}
    states = {host: each["state"] for host, each in seen.items()}
    good = dict.fromkeys((WEB, WEBMAIL, MAIL, MAIL_OF_DOMAIN, STS, AUTOCONFIG), "good")
    assert states == good | {ELSEWHERE: "unused"}
    assert seen[MAIL_OF_DOMAIN]["used_by"] == ["https", "imap", "smtp"]
    assert seen[STS]["used_by"] == ["https"]
    assert int(seen[MAIL]["serial"], 16) == shows(installation, installation.port("imaps"), MAIL)
    assert seen[MAIL]["issuer"].startswith("Pebble")
    assert "Correct" in thurn(installation, "certificates").stdout


def test_a_campaign_s_links_work_under_the_sender_s_own_name(installation: Installation) -> None:
    """From the record to the reader: right in DNS, a certificate on demand, then links with that name, and answers."""
    at, host = installation, f"links.{DOMAIN}"

    async def base() -> str:
        async with await connect(at.settings, "system", autocommit=True) as db:
            row = await (await db.execute("SELECT id FROM domain WHERE name = %s", [DOMAIN])).fetchone()
            assert row is not None
            await check_domain(db, row["id"], at.settings)
            return await link_base(db, at.settings, 1, DOMAIN)

    with psycopg.connect(conninfo(at.settings, "system")) as db:
        db.execute("UPDATE domain SET tracking_host = %s WHERE name = %s", [host, DOMAIN])
    assert asyncio.run(base()) == at.settings.url, "not in DNS yet"
    client.publish(at.settings, [{"name": host, "type": "A", "value": "127.0.0.1"}])
    assert asyncio.run(base()) == at.settings.url, "no certificate yet: a link that was sent cannot be mended"
    asyncio.run(look(at.settings))
    assert asyncio.run(base()) == f"https://{host}:{at.port('https')}"

    tokens = TrackingTokens(Secrets(at.settings.state).derive("tracking"))
    pixel = get(at, host, f"/o/{tokens.make('o', 1, 1, 1)}")
    assert pixel.startswith("HTTP/1.1 200")
    assert "image/gif" in pixel
    leave = get(at, host, f"/u/{tokens.make('u', 1, 1, 1)}")
    assert leave.startswith("HTTP/1.1 200")
    assert 'method="post"' in leave
    assert get(at, host, "/sign-in").startswith("HTTP/1.1 302"), "nothing else is there"


def test_what_cannot_be_had_is_told_with_the_reason_and_taken_back(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = installation
    monkeypatch.setattr("thurn.certificates.watch._PATIENCE", 8.0)  # Caddy lets a refused handshake wait for long
    with psycopg.connect(conninfo(at.settings, "system")) as db:
        db.execute(
            """INSERT INTO domain (workspace_id, name, bounce_host, proven_at)
               VALUES (1, 'forbidden.example', 'bounce.forbidden.example', now())"""
        )
    host = "autoconfig.forbidden.example"  # which the authority is told to refuse
    client.publish(at.settings, [{"name": host, "type": "A", "value": "127.0.0.1"}])
    assert asyncio.run(look(at.settings)) == [host]
    done = thurn(at, "certificates", "--json")
    assert done.returncode == 3
    (bad,) = [each for each in json.loads(done.stdout) if each["state"] == "bad"]
    assert bad["host"] == host
    assert bad["problem"].startswith(f"Browsers get no valid certificate for {host}: there is none. ")
    assert "The authority gives no certificates for this name." in bad["problem"]
    alerts = "SELECT subject, cleared_at IS NULL FROM alert WHERE key LIKE 'certificate:%'"
    assert rows(at, alerts) == [(f"The certificate of {host} is not valid", True)]
    assert host in thurn(at, "status").stdout
    client.withdraw(at.settings, "forbidden.example")
    assert asyncio.run(look(at.settings)) == []
    assert [still_open for _, still_open in rows(at, alerts)] == [False]


def test_a_renewed_certificate_arrives_and_open_sessions_go_on(installation: Installation) -> None:
    at, state = installation, installation.settings.state
    wait_for(lambda: None not in everywhere(at, MAIL) | everywhere(at, MAIL_OF_DOMAIN))
    before = everywhere(at, MAIL), everywhere(at, MAIL_OF_DOMAIN)
    old_keys = [(state / "tls/mail.pem").read_text(), (state / f"tls/names/{MAIL_OF_DOMAIN}.pem").read_text()]
    imap = imaplib.IMAP4_SSL("localhost", at.port("imaps"), ssl_context=unchecked(at))
    imap.login(RESI, PASSWORD)
    smtp = smtplib.SMTP("127.0.0.1", at.port("smtp"), "elsewhere.example", timeout=120)
    smtp.ehlo()
    for host in (MAIL, MAIL_OF_DOMAIN):  # as if their time had come: Caddy gets new ones, each with a new key
        for path in files_of(at, host):
            path.unlink()
    restart_edge(at)
    wait_for(lambda: shows(at, at.port("https"), MAIL_OF_DOMAIN))
    wait_for(lambda: new(at, MAIL, before[0]) and new(at, MAIL_OF_DOMAIN, before[1]))
    end = time.monotonic() + 8  # Dovecot would give its old processes six seconds
    while time.monotonic() < end:
        assert imap.select("INBOX")[0] == "OK", "a session that was open goes on"
        assert smtp.noop()[0] == 250
        time.sleep(0.2)
    imap.logout()
    smtp.quit()
    left = "".join(path.read_text(errors="replace") for path in (state / "tls").rglob("*") if path.is_file())
    assert [key for key in old_keys if key.splitlines()[1] in left] == [], "the old keys are gone"


def test_a_renewed_certificate_waits_while_dane_names_only_the_old_key(installation: Installation) -> None:
    at = installation
    wait_for(lambda: None not in everywhere(at, MAIL))
    before, old_key = everywhere(at, MAIL), key_in_use(at.settings)
    with psycopg.connect(conninfo(at.settings, "system"), autocommit=True) as db:
        db.execute("INSERT INTO tlsa_seen (key) VALUES (%s)", [old_key])
        for path in files_of(at, MAIL):
            path.unlink()
        restart_edge(at)
        wait_for(lambda: key_to_come(at.settings) not in ("", old_key))
        assert everywhere(at, MAIL) == before, "mail servers that look into DNS accept only the old key"
        db.execute("INSERT INTO tlsa_seen VALUES (%s, now() - interval '3 hours')", [key_to_come(at.settings)])
        wait_for(lambda: new(at, MAIL, before))
        wait_for(lambda: key_to_come(at.settings) == "")
        assert key_in_use(at.settings) != old_key
        db.execute("DELETE FROM tlsa_seen")


def test_a_domain_that_leaves_takes_its_name_and_key_along(installation: Installation) -> None:
    at, state = installation, installation.settings.state
    wait_for(lambda: None not in everywhere(at, MAIL_OF_DOMAIN))
    with psycopg.connect(conninfo(at.settings, "system")) as db:
        db.execute("DELETE FROM domain WHERE name = %s", [DOMAIN])
    wait_for(lambda: everywhere(at, MAIL_OF_DOMAIN) == {None})
    assert not list((state / "tls/names").iterdir())
    wait_for(lambda: None not in everywhere(at, MAIL))
