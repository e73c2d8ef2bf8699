"""How a mail program reaches a mailbox: the table for people, and the files that programs ask for. Pure.

What is said depends on the domain alone, never on whether there is such a mailbox: nobody can find out addresses here.
"""

import plistlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from xml.parsers.expat import ExpatError, ParserCreate
from xml.sax.saxutils import escape

from thurn.settings import Settings

_POX = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_POX_ANSWER = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"


@dataclass(frozen=True, slots=True)
class Access:
    """One way for a mail program to reach a mailbox."""

    what: str
    host: str
    port: int
    protection: str


def access(settings: Settings) -> list[Access]:
    """What a person types into a mail program, best first."""
    host, port = settings.hostname, settings.port
    return [
        Access("Incoming (IMAP)", host, port["imaps"], "TLS"),
        Access("Outgoing (SMTP)", host, port["submissions"], "TLS"),
        Access("Outgoing, other way", host, port["submission"], "STARTTLS"),
        Access("Incoming (POP3)", host, port["pop3s"], "TLS"),
        Access("Filters (ManageSieve)", host, port["managesieve"], "STARTTLS"),
    ]


def autoconfig(hostname: str, ports: Mapping[str, int], domain: str) -> str:
    """Mozilla's config-v1.1.xml, which Thunderbird and many others read; best way first."""
    servers = (
        ("incoming", "imap", "imaps", "SSL"),
        ("incoming", "pop3", "pop3s", "SSL"),
        ("outgoing", "smtp", "submissions", "SSL"),
        ("outgoing", "smtp", "submission", "STARTTLS"),
    )
    each = "".join(
        f"""    <{way}Server type="{kind}">
      <hostname>{escape(hostname)}</hostname>
      <port>{ports[service]}</port>
      <socketType>{protection}</socketType>
      <authentication>password-cleartext</authentication>
      <username>%EMAILADDRESS%</username>
    </{way}Server>
"""
        for way, kind, service, protection in servers
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="{escape(domain)}">
    <domain>{escape(domain)}</domain>
    <displayName>{escape(domain)}</displayName>
    <displayShortName>{escape(domain)}</displayShortName>
{each}  </emailProvider>
</clientConfig>
"""


def autodiscover(hostname: str, ports: Mapping[str, int], address: str) -> str:
    """What Outlook gets from autodiscover.xml (MS-OXDSCLI, the “POX” form)."""
    kinds = (("IMAP", "imaps"), ("POP3", "pop3s"), ("SMTP", "submissions"))
    each = "".join(
        f"""      <Protocol>
        <Type>{kind}</Type>
        <Server>{escape(hostname)}</Server>
        <Port>{ports[service]}</Port>
        <DomainRequired>off</DomainRequired>
        <LoginName>{escape(address)}</LoginName>
        <SPA>off</SPA>
        <SSL>on</SSL>
        <Encryption>SSL</Encryption>
        <AuthRequired>on</AuthRequired>
      </Protocol>
"""
        for kind, service in kinds
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Autodiscover xmlns="{_POX}">
  <Response xmlns="{_POX_ANSWER}">
    <Account>
      <AccountType>email</AccountType>
      <Action>settings</Action>
{each}    </Account>
  </Response>
</Autodiscover>
"""


class _Refused(Exception):
    """The document declares a type or entities, which no mail program does."""


def requested_address(body: bytes) -> str:
    """The address in a request to autodiscover.xml; empty if there is none to be found.

    A document type, and with it every entity, ends the reading at once: nothing is expanded, nothing is fetched.
    """
    parser = ParserCreate(namespace_separator=" ")
    inside, found = False, ""

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        inside = name.rpartition(" ")[2] == "EMailAddress" and not found

    def text(data: str) -> None:
        nonlocal found
        found += data if inside else ""

    def end(name: str) -> None:
        nonlocal inside
        inside = False

    def refuse(*declared: object) -> None:
        raise _Refused

    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = start, text, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (ExpatError, _Refused, ValueError, LookupError):  # LookupError: an encoding there is not
        return ""
    return found.strip()


def autodiscover_refusal() -> str:
    """The answer to a request that names no address of a domain here (error 600: invalid request)."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Autodiscover xmlns="{_POX}">
  <Response>
    <Error Time="00:00:00.0000000" Id="0">
      <ErrorCode>600</ErrorCode>
      <Message>Invalid Request</Message>
      <DebugData />
    </Error>
  </Response>
</Autodiscover>
"""


def apple_profile(settings: Settings, address: str, name: str = "") -> bytes:
    """A `.mobileconfig` that sets up Mail on iOS, iPadOS and macOS (serve as `application/x-apple-aspen-config`).

    No password is inside: the device asks for it. It is not signed (docs/operate/certificates.md says why). The same
    address gets the same identifiers, so that installing it again replaces the account instead of doubling it.
    """
    host, port = settings.hostname, settings.port
    identity = f"{'.'.join(reversed(host.split('.')))}.mail"

    def number(what: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{address}?{what}@{host}")).upper()

    account = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{identity}.account.{number('account')}",
        "PayloadUUID": number("account"),
        "PayloadDisplayName": f"Mail for {address}",
        "EmailAccountType": "EmailTypeIMAP",
        "EmailAccountDescription": address,
        "EmailAccountName": name or address,
        "EmailAddress": address,
        "IncomingMailServerAuthentication": "EmailAuthPassword",
        "IncomingMailServerHostName": host,
        "IncomingMailServerPortNumber": port["imaps"],
        "IncomingMailServerUseSSL": True,
        "IncomingMailServerUsername": address,
        "OutgoingMailServerAuthentication": "EmailAuthPassword",
        "OutgoingMailServerHostName": host,
        "OutgoingMailServerPortNumber": port["submissions"],
        "OutgoingMailServerUseSSL": True,
        "OutgoingMailServerUsername": address,
        "OutgoingPasswordSameAsIncomingPassword": True,
        "SMIMEEnabled": False,
    }
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{identity}.{number('profile')}",
        "PayloadUUID": number("profile"),
        "PayloadDisplayName": f"Mail for {address}",
        "PayloadDescription": f"Sets up Mail for {address} on {host}. Your device asks for the password.",
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [account],
    }
    return plistlib.dumps(profile)
