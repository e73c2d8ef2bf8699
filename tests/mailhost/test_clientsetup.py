"""The files that set up mail programs: what they say, and that nothing in a name can change what they say."""

import plistlib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from thurn.mailhost.clientsetup import access, apple_profile, autoconfig, autodiscover
from thurn.settings import SERVICES, Settings

PORTS = {service: 2000 + i for i, service in enumerate(SERVICES)}
HOSTILE = ["anna@x.example", "a&b<c>\"d'@x.example", "]]>@x.example", "%EMAILADDRESS%@x.example"]


@pytest.fixture
def at() -> Settings:
    found = Settings(state=Path("/nowhere"), hostname="mail.brotzeit.example")
    found.__dict__["port"] = PORTS
    return found


def test_autoconfig_names_our_servers_tls_first() -> None:
    root = ET.fromstring(autoconfig("mail.brotzeit.example", PORTS, "brotzeit.example"))  # noqa: S314 - ours
    assert root.tag == "clientConfig"
    assert root.findtext("emailProvider/domain") == "brotzeit.example"
    ways = [
        (way.get("type"), way.findtext("hostname"), int(way.findtext("port") or 0), way.findtext("socketType"))
        for way in root.iterfind("emailProvider/*[@type]")
    ]
    host = "mail.brotzeit.example"
    assert ways == [
        ("imap", host, PORTS["imaps"], "SSL"),
        ("pop3", host, PORTS["pop3s"], "SSL"),
        ("smtp", host, PORTS["submissions"], "SSL"),
        ("smtp", host, PORTS["submission"], "STARTTLS"),
    ]
    assert {way.findtext("username") for way in root.iterfind("emailProvider/*[@type]")} == {"%EMAILADDRESS%"}


@pytest.mark.parametrize("address", HOSTILE)
def test_autodiscover_holds_any_address_as_text(address: str) -> None:
    root = ET.fromstring(autodiscover("mail.x.example", PORTS, address))  # noqa: S314 - ours
    space = {"a": "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"}
    protocols = root.findall("a:Response/a:Account/a:Protocol", space)
    assert [p.findtext("a:Type", namespaces=space) for p in protocols] == ["IMAP", "POP3", "SMTP"]
    assert {p.findtext("a:LoginName", namespaces=space) for p in protocols} == {address}
    assert {p.findtext("a:SSL", namespaces=space) for p in protocols} == {"on"}


@pytest.mark.parametrize("address", HOSTILE)
def test_an_apple_profile_sets_up_imap_and_smtp_over_tls_without_a_password(at: Settings, address: str) -> None:
    text = apple_profile(at, address, "Anna <Lindner> & co")
    profile = plistlib.loads(text)
    (account,) = profile["PayloadContent"]
    assert profile["PayloadType"] == "Configuration"
    assert account["PayloadType"] == "com.apple.mail.managed"
    assert (account["EmailAddress"], account["EmailAccountName"]) == (address, "Anna <Lindner> & co")
    for way, service in (("Incoming", "imaps"), ("Outgoing", "submissions")):
        assert account[f"{way}MailServerHostName"] == "mail.brotzeit.example"
        assert account[f"{way}MailServerPortNumber"] == PORTS[service]
        assert account[f"{way}MailServerUseSSL"] is True
    assert not {"IncomingPassword", "OutgoingPassword"} & set(account), "a file in a download folder is no place for it"
    assert apple_profile(at, address, "Anna <Lindner> & co") == text, "installed again, it replaces the account"
    assert plistlib.loads(apple_profile(at, "b@x.example"))["PayloadUUID"] != profile["PayloadUUID"]


def test_the_table_for_people_knows_encrypted_ways_only(at: Settings) -> None:
    assert {way.protection for way in access(at)} == {"TLS", "STARTTLS"}
    assert {way.host for way in access(at)} == {"mail.brotzeit.example"}
