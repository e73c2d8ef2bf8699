"""The control: over HTTP, on loopback, with errors one can read."""

import smtplib
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from thurn.cli import build
from thurn.heartbeat import alive
from thurn.settings import Settings
from thurn.simulate import client
from thurn.simulate.behaviour import behaviour

LATE = max((f"open.{n}@gmx.example" for n in range(1000)), key=lambda who: behaviour(who, 1).steps[0].after)
MAIL = b"From: us@brotzeit.example\r\nTo: <plain.ada@gmx.example>\r\nSubject: Hi\r\n\r\nHello\r\n"


def url(settings: Settings, path: str) -> str:
    return f"http://127.0.0.1:{settings.port['sim_http']}{path}"


def test_it_shows_signs_of_life(internet: Settings) -> None:
    end = time.monotonic() + 60
    while not alive(internet, "simulate"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_reset_forgets_mail_and_keeps_what_is_published(internet: Settings) -> None:
    client.publish(internet, [{"name": "x.example", "type": "A", "value": "127.0.0.1"}])
    with smtplib.SMTP("127.0.0.1", internet.port["sim_smtp"], local_hostname="out.example") as smtp:
        smtp.sendmail("b@x.example", ["plain.ada@gmx.example", LATE], MAIL)
    assert client.status(internet)["accepted"] == 2
    assert client.status(internet)["pending"] == 1
    assert not client.wait_until_quiet(internet, 0.1)
    client.reset(internet)
    assert client.status(internet) == {"pending": 0, "accepted": 0, "refusals": {}, "actions": {}}
    assert len(client.published(internet)) == 1


def test_a_provider_in_a_mood_puts_mail_off_and_takes_it_when_calm(internet: Settings) -> None:
    client.mood(internet, "gmx", "rate", per_minute=1)
    with smtplib.SMTP("127.0.0.1", internet.port["sim_smtp"], local_hostname="out.example") as smtp:
        smtp.sendmail("b@x.example", ["plain.ada@gmx.example"], MAIL)
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            smtp.sendmail("b@x.example", ["plain.bob@gmx.example"], MAIL)
    assert refused.value.recipients["plain.bob@gmx.example"][0] == 421
    client.calm(internet)
    with smtplib.SMTP("127.0.0.1", internet.port["sim_smtp"], local_hostname="out.example") as smtp:
        smtp.sendmail("b@x.example", ["plain.bob@gmx.example"], MAIL)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/moods", b"[]", 400),
        ("POST", "/moods", b'{"provider": "gmx"}', 400),
        ("POST", "/moods", b'{"provider": "gmx", "kind": "explode"}', 400),
        ("POST", "/moods", b'{"provider": "gmx", "kind": "rate", "per_minute": "much"}', 400),
        ("POST", "/moods", b'{"provider": "gmx", "kind": "block", "share": 2}', 400),
        ("GET", "/nothing", b"", 404),
        ("DELETE", "/truth", b"", 404),
        ("POST", "/zones", b"{not json", 400),
        ("POST", "/zones", b'{"name": "x"}', 400),
        ("POST", "/zones", b"\xff\xfe", 400),
        ("GET", "/truth?sample=many", b"", 400),
        ("POST", "/truth", b"", 200),
        ("POST", "/truth", b"[1]", 400),
        ("POST", "/truth", b'{"expected": 5}', 400),
        ("POST", "/truth", b'{"expected": [5]}', 400),
        ("GET", "/messages", b"", 200),
        ("GET", "/messages?recipient=%27;DROP+TABLE+message", b"", 200),
        ("POST", "/messages", b"x" * 10, 400),
    ],
)
def test_a_request_that_makes_no_sense_is_answered(
    internet: Settings, method: str, path: str, body: bytes, status: int
) -> None:
    response = httpx.request(method, url(internet, path), content=body, trust_env=False, timeout=60)
    assert response.status_code == status
    if status != 200:
        assert response.json()["error"]


def test_a_client_says_that_nobody_is_there(mortal: Settings) -> None:
    with pytest.raises(client.ControlError, match="does not answer"):
        client.status(mortal)


def test_a_second_one_in_the_same_place_says_why_it_cannot_start(internet: Settings) -> None:
    result = CliRunner().invoke(build(), ["simulate", "--state", str(internet.state)])
    assert result.exit_code == 1
    assert "cannot start" in result.output
    assert Path(internet.state, "sim", "mail.sqlite3").exists()
