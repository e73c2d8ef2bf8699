"""What the tests of the stack share: their domain, stand-ins for the world, and how to speak to the daemons."""

import base64
import imaplib
import smtplib
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import psycopg
from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from dnslib import QTYPE, RCODE, RR, TXT, DNSRecord
from dnslib.server import BaseResolver

from thurn.db.connect import conninfo
from thurn.settings import Settings

DOMAIN = "brotzeit.example"
ROLES = ["db", "redis", "guard", "spam", "imap", "mx", "out", "webmail", "edge"]
PASSWORD = "geheim gehalten"
MAILBOXES = ("resi@brotzeit.example", "xaver@brotzeit.example", "a_b@brotzeit.example", "o'hara@brotzeit.example")
RESI, XAVER, UNDERSCORE, APOSTROPHE = MAILBOXES
# The test mail of every spam filter.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
STRANGER = "franz@elsewhere.example"
TEXT = "Good morning, and see you at the fair."


@dataclass
class Outside:
    """Remembers every message that reached it; the names in `refuse` are unknown to it."""

    received: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return "550 5.1.1 unknown user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.received.append((envelope.mail_from or "", list(envelope.rcpt_tos), envelope.content))
        return "250 OK"


# What a few of the world's domains say about mail in their name. Everybody in the tests sends from 127.0.0.1.
TEXTS = {
    "_dmarc.bank.example": "v=DMARC1; p=reject",
    "_dmarc.shop.example": "v=DMARC1; p=quarantine",
    "friend.example": "v=spf1 ip4:127.0.0.1 -all",
    "_dmarc.friend.example": "v=DMARC1; p=reject",
    "small.example": "v=spf1 ip4:127.0.0.1 -all",
}


class NoSuchName(BaseResolver):
    """A DNS in which nothing exists but `TEXTS`."""

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply: DNSRecord = request.reply()
        text = TEXTS.get(str(request.q.qname).rstrip(".").lower())
        if text is None:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.TXT:
            reply.add_answer(RR(request.q.qname, QTYPE.TXT, rdata=TXT(text), ttl=60))
        return reply


class LmtpController(Controller):
    """aiosmtpd's controller that speaks LMTP."""

    def factory(self) -> LMTP:
        return LMTP(self.handler, **self.SMTP_kwargs)


@contextmanager
def smtp(settings: Settings) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", settings.port["smtp"], "elsewhere.example", timeout=120) as client:
        client.ehlo()
        yield client


@contextmanager
def signed_in(settings: Settings, service: str, password: str = PASSWORD) -> Iterator[smtplib.SMTP]:
    port, context = settings.port[service], trusting(settings)
    if service == "submission":
        client = smtplib.SMTP("127.0.0.1", port, "pc.example", timeout=120)
        client.starttls(context=context)
    else:
        client = smtplib.SMTP_SSL("127.0.0.1", port, "pc.example", timeout=120, context=context)
    with client:
        client.login(RESI, password)
        yield client


@contextmanager
def imap(settings: Settings, address: str) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4_SSL("localhost", settings.port["imaps"], ssl_context=trusting(settings)) as client:
        client.login(address, PASSWORD)
        yield client


def send(settings: Settings, sender: str, recipient: str, *, subject: str = "", body: str = TEXT) -> str:
    """Hand a mail to `mx` as a stranger would; returns a text to find it by."""
    mark = uuid.uuid4().hex
    with smtp(settings) as client:
        client.sendmail(sender, [recipient], message(f"{subject} {mark}", body))
    return mark


def message(subject: str, body: str = TEXT) -> bytes:
    return (
        f"From: Franz <{STRANGER}>\r\nTo: you@brotzeit.example\r\nSubject: {subject}\r\n"
        f"Date: {formatdate()}\r\nMessage-ID: <{uuid.uuid4()}@elsewhere.example>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"
    ).encode()


def fetch(settings: Settings, address: str, mark: str, folder: str = "INBOX") -> bytes:
    """Wait for the mail whose subject has `mark` in a mailbox and return it."""
    found: list[bytes] = []

    def look() -> bool:
        with imap(settings, address) as client:
            if client.select(folder)[0] != "OK":
                return False
            numbers = client.search(None, "SUBJECT", f'"{mark}"')[1][0].split()
            found.extend(client.fetch(number.decode(), "(RFC822)")[1][0][1] for number in numbers)
        return bool(found)

    wait_for(look)
    assert len(found) == 1
    return found[0]


def trusting(settings: Settings) -> ssl.SSLContext:
    """A context that trusts this installation's certificate and no other."""
    return ssl.create_default_context(cafile=str(settings.state / "tls" / "cert.pem"))


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def lie_in(settings: Settings, role: str, *queues: str) -> bool:
    """Whether mails lie in queues of `mx` or `out`."""
    queue = settings.state / role / "queue"
    return any(path.is_file() for name in queues for path in (queue / name).rglob("*"))


def queue_is_empty(settings: Settings) -> bool:
    return not lie_in(settings, "out", "incoming", "active", "deferred")


def all_moved(settings: Settings) -> bool:
    """Whether no mail is on its way: each arrived somewhere or is put off."""
    # One hands mails to the other; what went from `out` to `mx` between two looks is found by the third.
    return not any(lie_in(settings, role, "maildrop", "incoming", "active") for role in ("mx", "out", "mx"))


def settle(settings: Settings) -> None:
    """Let what is on its way arrive and delete what is put off: no mail of an earlier test can arrive afterwards."""

    def settled() -> bool:
        if not all_moved(settings):
            return False
        left = [role for role in ("mx", "out") if lie_in(settings, role, "deferred", "hold")]
        for role in left:  # one that is being tried again right now is met by the next look
            config = settings.state / role / "etc"
            subprocess.run(
                ["postsuper", "-c", config, "-d", "ALL", "deferred", "hold"], check=True, capture_output=True
            )
        return not left

    wait_for(settled)


def from_now_on(log: Path) -> Callable[[], str]:
    """What is added to a log after this call: lines of earlier tests are not mistaken for one's own."""
    start = log.stat().st_size if log.exists() else 0

    def read() -> str:
        return log.read_bytes()[start:].decode(errors="replace")

    return read


def add_mailbox(settings: Settings, name: str) -> str:
    """A mailbox of the test's own, empty: nothing that other tests sent or left counts in it. Returns its address."""
    address = f"{name}-{uuid.uuid4().hex[:12]}@{DOMAIN}"
    with psycopg.connect(conninfo(settings, "system")) as db:
        db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
               SELECT workspace_id, domain_id, %s, password_hash FROM mailbox WHERE address = %s""",
            [address, RESI],
        )
    return address


def read_until_ok(link: socket.socket, times: int = 1) -> None:
    answer = b""
    while answer.count(b"\nOK") + answer.startswith(b"OK") < times:
        part = link.recv(4096)
        assert part, answer
        assert b"\nNO" not in part, part
        assert not part.startswith(b"NO"), part
        answer += part


def plain_token(address: str) -> str:
    return base64.b64encode(f"\0{address}\0{PASSWORD}".encode()).decode()
