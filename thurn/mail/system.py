"""Mail that Thurn itself writes to people: alerts, digests. Signed by us, handed to `out` like everything we send."""

import asyncio
import smtplib
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.mail.dkim import Header, Signer, sign_message
from thurn.mailhost.keys import signing_keys
from thurn.settings import LOOPBACK, Settings

_PATIENCE = 30.0  # seconds


def compose(sender: str, recipient: str, subject: str, text: str, signers: Sequence[Signer]) -> bytes:
    """The mail as it goes out, its lines ended by CRLF."""
    mail = EmailMessage()
    mail["From"] = f"Thurn <{sender}>"
    mail["To"] = recipient
    mail["Subject"] = " ".join(subject.split())
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence notice answers this
    mail.set_content(text.rstrip() + "\n", cte="quoted-printable")
    head, _, body = mail.as_bytes(policy=SMTP).partition(b"\r\n\r\n")
    fields: list[Header] = []
    for field in head.replace(b"\r\n ", b"\n ").split(b"\r\n"):
        name, _, value = field.partition(b":")
        fields.append(Header.of(name.decode(), value.replace(b"\n ", b"\r\n ").decode().strip()))
    signatures = sign_message(signers, fields, body, int(time.time()))
    return b"".join([signatures, *(field.raw for field in fields), b"\r\n", body])


async def send(
    db: Connection, settings: Settings, workspace: int, recipients: Iterable[str], *, subject: str, text: str
) -> None:
    """Write to each of `recipients` in the name of a domain of the workspace; `OSError` when `out` is away."""
    home = await maybe(
        db,
        """SELECT name, bounce_host FROM domain WHERE workspace_id = %s AND proven_at IS NOT NULL
           ORDER BY verified_at IS NULL, id LIMIT 1""",
        [workspace],
    )
    signers: list[Signer] = []
    sender, bounces = f"thurn@{settings.hostname}", settings.hostname
    if home is not None:
        sender, bounces = f"thurn@{home['name']}", home["bounce_host"]
        keys = await signing_keys(db, home["name"], settings)
        signers = [Signer(home["name"], key.selector, key.private_key_der) for key in keys]
    for recipient in recipients:
        here = await maybe(
            db, "SELECT 1 FROM domain WHERE name = %s AND proven_at IS NOT NULL", [recipient.rpartition("@")[2].lower()]
        )
        # The way through `out` hangs on the envelope sender (thurn/stack/postfix_out.py).
        envelope = f"b.e1.{'local' if here else 'other'}.system@{bounces}"
        mail = compose(sender, recipient, subject, text, signers)
        await asyncio.to_thread(_hand_over, settings, envelope, recipient, mail)


def _hand_over(settings: Settings, envelope: str, recipient: str, mail: bytes) -> None:
    with smtplib.SMTP(LOOPBACK, settings.port["out"], settings.hostname, timeout=_PATIENCE) as client:
        client.sendmail(envelope, [recipient], mail)
