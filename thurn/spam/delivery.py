"""Hands mail of ours to Dovecot at a door that only we may use, and lessons to Rspamd.

What was let through carries a proof that the filter at delivery takes off again; it goes to the inbox, unjudged, past
the owner's own filters, so that nothing is sent on to others.
"""

import asyncio
import http.client
import smtplib
from typing import Literal

import structlog

from thurn.db.connect import Connection, Row
from thurn.problems import Conflict
from thurn.secrets import Secrets
from thurn.settings import LOOPBACK, Settings
from thurn.spam import quarantine
from thurn.stack.dovecot_spam import DOOR, RELEASED

log = structlog.get_logger()
_PATIENCE = 30.0  # seconds
_FULL = frozenset({422, 452, 552})


async def release(db: Connection, settings: Settings, held_id: int, mailbox_id: int | None = None) -> Row:
    """Put a held mail into the inbox it was for, and learn that it is none. `Conflict` when it can't be delivered now.

    Delivered within the transaction that removes it: when that fails it is still held, and nothing is lost.
    """
    row = await quarantine.take(db, held_id, mailbox_id)
    proof = f"{RELEASED}: {Secrets(settings.state).derive('released').hex()}\r\n".encode()
    await deliver(settings, row["address"], proof + row["message"], sender=row["mail_from"])
    await asyncio.to_thread(_teach, settings, "ham", row["address"], row["message"])
    return row


async def deliver(settings: Settings, address: str, mail: bytes, *, sender: str = "") -> None:
    """Put a mail into a mailbox. `Conflict`, in words, when Dovecot does not take it."""
    await asyncio.to_thread(_deliver, settings, address, mail, sender)


def _deliver(settings: Settings, address: str, mail: bytes, sender: str) -> None:
    try:
        with smtplib.LMTP(str(settings.state / DOOR), timeout=_PATIENCE) as door:
            door.ehlo("thurn")
            door.sendmail(sender if sender.isascii() else "", [address], mail)
    except smtplib.SMTPRecipientsRefused as refused:
        code, said = next(iter(refused.recipients.values()))
        raise _refusal(address, code, said) from refused
    except smtplib.SMTPResponseException as refused:
        raise _refusal(address, refused.smtp_code, refused.smtp_error) from refused
    except (OSError, smtplib.SMTPException) as away:
        log.warning("Dovecot does not take mail", error=str(away))
        raise Conflict("The mail store does not answer right now. Nothing is lost: try again in a minute.") from away


def _refusal(address: str, code: int, said: bytes | str) -> Conflict:
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    log.info("not delivered", address=address, code=code, said=words)
    if code in _FULL or "quota" in words.lower():
        return Conflict(f"The mailbox {address} is full, so the mail stays held. Make room in it, then try again.")
    return Conflict(f"The mailbox {address} does not take mail right now, so the mail stays held. Is it disabled?")


def _teach(settings: Settings, what: Literal["ham", "spam"], address: str, mail: bytes) -> None:
    """A lesson that fails is no reason to keep a mail from its owner."""
    link = http.client.HTTPConnection(LOOPBACK, settings.port["rspamd"], timeout=10)
    headers = {"Password": Secrets(settings.state).ensure("rspamd"), "Deliver-To": address}
    try:
        link.request("POST", f"/learn{what}", mail, headers)
        answer = link.getresponse()
        if answer.status >= 400:  # mostly: too short to learn from
            log.info("Rspamd does not learn", answer=answer.read(300).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as away:
        log.warning("Rspamd does not learn", error=str(away))
    finally:
        link.close()
