"""What the demo's local mailboxes hold, asked of Dovecot by IMAP over TLS as their owners would."""

import imaplib
import ssl
from collections import Counter
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from thurn.settings import Settings
from thurn.simulate.dkimcheck import why_not


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """Counted over the mailboxes of `passwords`, for one subject of mail."""

    received: int  # mailboxes that hold at least one copy
    duplicates: int  # copies beyond the first in a mailbox
    dkim_pass: int  # messages whose signatures an independent verifier accepts
    missing: list[str]


def look_into(settings: Settings, passwords: dict[str, str], list_id: str) -> Mailboxes:
    """Count mails with this List-ID in every mailbox, in whatever folder they were put."""
    context = ssl.create_default_context(cafile=str(_certificate(settings)))
    context.check_hostname = False  # the certificate names the server, the demo connects to loopback
    copies: Counter[str] = Counter()
    passed = 0
    for address, password in passwords.items():
        with imaplib.IMAP4_SSL("127.0.0.1", settings.port["imaps"], ssl_context=context, timeout=30) as imap:
            imap.login(address, password)
            for folder in ("INBOX", "Junk"):
                for message in _fetch(imap, folder):
                    if message_from_bytes(message)["List-ID"] != list_id:
                        continue
                    copies[address] += 1
                    passed += why_not(message, settings.port["sim_dns"]) is None
    return Mailboxes(
        received=len(copies),
        duplicates=sum(n - 1 for n in copies.values()),
        dkim_pass=passed,
        missing=sorted(set(passwords) - set(copies)),
    )


def _certificate(settings: Settings) -> Path:
    return settings.state / "tls" / "cert.pem"


def _fetch(imap: imaplib.IMAP4_SSL, folder: str) -> list[bytes]:
    status, _ = imap.select(folder, readonly=True)
    if status != "OK":
        return []
    _, found = imap.search(None, "ALL")
    numbers = found[0].split() if found and found[0] else []
    if not numbers:
        return []
    _, data = imap.fetch(b",".join(numbers).decode(), "(BODY.PEEK[])")
    return [part[1] for part in data if isinstance(part, tuple)]
