"""How full a mailbox is, and emptying what nobody needs, by IMAP at the inner door."""

import asyncio
import imaplib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from thurn.portal.inner import door_key
from thurn.settings import Settings

T = TypeVar("T")
EMPTIED = ("Junk", "Trash")
_PATIENCE = 15.0  # seconds for one answer
_SIZES = re.compile(rb"MESSAGES (\d+).*?SIZE (\d+)|SIZE (\d+).*?MESSAGES (\d+)")


class Unreachable(Exception):
    """The mail server did not answer, or not as it should."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds."""

    name: str
    messages: int
    octets: int


async def folders(settings: Settings, workspace: int, mailbox_id: int, address: str) -> list[Folder]:
    """What Junk and Trash hold. `Unreachable`."""
    return await _as_mailbox(settings, workspace, mailbox_id, address, lambda mail: [_look(mail, n) for n in EMPTIED])


async def empty(settings: Settings, workspace: int, mailbox_id: int, address: str) -> Folder:
    """Delete for good what is in Junk and Trash; returns what it was together. `Unreachable`."""

    def work(mail: imaplib.IMAP4) -> Folder:
        gone = [_empty(mail, name) for name in EMPTIED]
        return Folder("", sum(each.messages for each in gone), sum(each.octets for each in gone))

    return await _as_mailbox(settings, workspace, mailbox_id, address, work)


async def _as_mailbox(
    settings: Settings, workspace: int, mailbox_id: int, address: str, work: Callable[[imaplib.IMAP4], T]
) -> T:
    def run(secret: str) -> T:
        try:
            with imaplib.IMAP4("127.0.0.1", settings.port["webmail_imap"], timeout=_PATIENCE) as mail:
                mail.login(address, secret)
                return work(mail)
        except (imaplib.IMAP4.error, OSError) as error:
            raise Unreachable(str(error)) from error

    async with door_key(settings, workspace, mailbox_id) as secret:
        return await asyncio.to_thread(run, secret)


def _look(mail: imaplib.IMAP4, name: str) -> Folder:
    kind, answer = mail.status(name, "(MESSAGES SIZE)")
    found = _SIZES.search(answer[0] or b"") if kind == "OK" else None
    if found is None:
        return Folder(name, 0, 0)  # there is no such folder yet
    messages, octets = (found[1], found[2]) if found[1] else (found[4], found[3])
    return Folder(name, int(messages), int(octets))


def _empty(mail: imaplib.IMAP4, name: str) -> Folder:
    before = _look(mail, name)
    if before.messages and mail.select(name)[0] == "OK":
        mail.store("1:*", "+FLAGS.SILENT", "(\\Deleted)")
        mail.expunge()
        mail.unselect()
    return before
