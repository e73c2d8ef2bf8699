"""Reading a mailbox somewhere else: what is new in it, and what becomes of it over there once it is read. Blocking.

A mail is fetched, then (by whoever calls) read and committed, and only then marked, moved or deleted over there. Cut
off at any point, the next look finds the mail again and knows it by its hash.
"""

import hashlib
import imaplib
import poplib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imapclient.exceptions import IMAPClientError

from thurn.feedback.mime import LONGEST
from thurn.feeds import pop3
from thurn.moves import hosts, wire
from thurn.moves.copy import words
from thurn.moves.runner import Wrong, sign_in
from thurn.moves.wire import Trouble
from thurn.settings import Settings

AT_ONCE = 25  # mails of one look, before they are committed
_LISTED = 20_000  # mails of a mailbox that are looked through
_SPARE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail over there."""

    number: int  # IMAP: its UID. POP3: its number in this session
    raw: bytes  # as much of it as is read
    key: bytes


class Mailbox(ABC):
    """An opened mailbox."""

    uidvalidity = 0

    @abstractmethod
    def new(self, seen: frozenset[bytes]) -> Sequence[Mail]:
        """The next mails, oldest first; none when all is read. `seen`: keys that need not be fetched (POP3)."""

    @abstractmethod
    def done(self, mails: Sequence[Mail]) -> None:
        """What was asked for afterwards, for mails that are committed."""

    @abstractmethod
    def close(self) -> None:
        """Say goodbye."""


def open_mailbox(feed: Mapping[str, Any], password: str, settings: Settings) -> Mailbox:
    """Connect and sign in. `Wrong` and `Untrusted` need a person; `Trouble` passes."""
    address = hosts.address_of(settings, feed["host"], feed["port"])
    return (_Imap if feed["kind"] == "imap" else _Pop3)(feed, address, password)


class _Imap(Mailbox):
    def __init__(self, feed: Mapping[str, Any], address: str, password: str) -> None:
        self._feed, self._done = feed, int(feed["done_uid"])
        self._client = wire.connect(feed["host"], address, feed["port"], fingerprint=feed["fingerprint"])
        try:
            self._sign_in(password)
            self._select()
        except (imaplib.IMAP4.error, IMAPClientError) as error:
            self.close()
            raise Trouble(f"{feed['host']} broke off the conversation.") from error
        except BaseException:
            self.close()
            raise

    def _sign_in(self, password: str) -> None:
        try:
            sign_in(self._client, self._feed["login"], password)
        except IMAPClientError as refused:
            raise Wrong(
                f"{self._feed['host']} does not take this user name and password. It says: {words(refused)}"
            ) from refused

    def _select(self) -> None:
        self._client.wire.allow(1024 * 1024, 60)
        readonly = self._feed["afterwards"] == "keep"
        try:
            selected = self._client.select_folder(self._feed["folder"], readonly=readonly)
        except IMAPClientError as refused:
            raise Wrong(f"There is no folder {self._feed['folder']} there. It says: {words(refused)}") from refused
        self.uidvalidity = int(selected[b"UIDVALIDITY"])
        if self.uidvalidity != self._feed["uidvalidity"]:  # numbered anew: what is known by its hash counts no more
            self._done = 0

    def new(self, seen: frozenset[bytes]) -> Sequence[Mail]:
        try:
            self._client.wire.allow(1024 * 1024, 60)
            # `n:*` gives the last mail even if its UID is smaller.
            found = sorted(uid for uid in self._client.search(["UID", f"{self._done + 1}:*"]) if uid > self._done)
            mails = [self._fetch(uid) for uid in found[:AT_ONCE]]
        except (imaplib.IMAP4.error, IMAPClientError) as error:
            raise Trouble(f"{self._feed['host']} broke off the conversation.") from error
        return [mail for mail in mails if mail is not None]

    def _fetch(self, uid: int) -> Mail | None:
        self._client.wire.allow(LONGEST + _SPARE, 120)
        got = self._client.fetch([uid], [f"BODY.PEEK[]<0.{LONGEST}>"]).get(uid, {})
        raw = next((value for name, value in got.items() if name.startswith(b"BODY[]")), None)
        if not isinstance(raw, bytes):  # deleted meanwhile
            return Mail(uid, b"", b"")
        return Mail(uid, raw, hashlib.sha256(raw).digest())

    def done(self, mails: Sequence[Mail]) -> None:
        numbers = [mail.number for mail in mails]
        try:
            self._client.wire.allow(1024 * 1024, 120)
            match self._feed["afterwards"]:
                case "seen":
                    self._client.add_flags(numbers, [b"\\Seen"], silent=True)
                case "delete":
                    self._delete(numbers)
                case "move":
                    self._move(numbers)
        except (imaplib.IMAP4.error, IMAPClientError) as error:
            raise Trouble(f"{self._feed['host']} broke off the conversation.") from error
        self._done = max([self._done, *numbers])

    def _delete(self, numbers: list[int]) -> None:
        self._client.add_flags(numbers, [b"\\Deleted"], silent=True)
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge(numbers)
        else:
            self._client.expunge()

    def _move(self, numbers: list[int]) -> None:
        target = self._feed["target"]
        try:
            if self._client.has_capability("MOVE"):
                self._client.move(numbers, target)
            else:
                self._client.copy(numbers, target)
                self._delete(numbers)
        except IMAPClientError as refused:
            raise Wrong(f"The mail cannot be moved to {target} there. It says: {words(refused)}") from refused

    def close(self) -> None:
        try:
            self._client.wire.allow(64 * 1024, 5)
            self._client.logout()
        except (imaplib.IMAP4.error, IMAPClientError, Trouble, OSError):
            pass
        finally:
            self._client.wire.close()


class _Pop3(Mailbox):
    """Without numbers that last: a mail is known by its UIDL."""

    def __init__(self, feed: Mapping[str, Any], address: str, password: str) -> None:
        self._feed = feed
        self._client = pop3.connect(feed["host"], address, feed["port"], fingerprint=feed["fingerprint"])
        self._given: set[int] = set()
        try:
            self._client.wire.allow(64 * 1024, 60)
            self._client.user(feed["login"])
            self._client.pass_(password)
            self._client.wire.allow(4 * 1024 * 1024, 60)
            self._uids = self._listed(self._client.uidl()[1])
            self._sizes = self._listed(self._client.list()[1])
        except UnicodeEncodeError as error:
            self.close()
            raise Wrong(f"{feed['host']} takes only ASCII letters in user name and password.") from error
        except poplib.error_proto as refused:
            self.close()
            said = str(refused)[:300]
            raise Wrong(f"{feed['host']} does not take this user name and password. It says: {said}") from refused
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _listed(lines: list[bytes]) -> dict[int, bytes]:
        pairs = (line.split(None, 1) for line in lines[:_LISTED])
        return {int(pair[0]): pair[1] for pair in pairs if len(pair) == 2 and pair[0].isdigit() and len(pair[0]) < 10}

    def new(self, seen: frozenset[bytes]) -> Sequence[Mail]:
        mails: list[Mail] = []
        for number, uid in sorted(self._uids.items()):
            key = hashlib.sha256(b"uidl " + self._feed["host"].encode() + b" " + uid).digest()
            if number in self._given or (key in seen and self._feed["afterwards"] == "keep"):
                continue
            self._given.add(number)
            mails.append(Mail(number, b"" if key in seen else self._fetch(number), key))
            if len(mails) == AT_ONCE:
                break
        return mails

    def _fetch(self, number: int) -> bytes:
        size = self._sizes.get(number, b"")
        large = not size.isdigit() or len(size) > 9 or int(size) > LONGEST
        self._client.wire.allow(16 * LONGEST, 120)
        try:
            # Of a large mail its beginning: a report stands there.
            lines = (self._client.top(number, 2000) if large else self._client.retr(number))[1]
        except poplib.error_proto as error:
            raise Trouble(f"{self._feed['host']} broke off the conversation: {str(error)[:200]}") from error
        return b"\r\n".join(lines)[:LONGEST]

    def done(self, mails: Sequence[Mail]) -> None:
        if self._feed["afterwards"] != "delete":
            return
        try:
            for mail in mails:
                self._client.wire.allow(64 * 1024, 60)
                self._client.dele(mail.number)
        except poplib.error_proto as error:
            raise Trouble(f"{self._feed['host']} broke off the conversation: {str(error)[:200]}") from error

    def close(self) -> None:
        try:
            self._client.wire.allow(64 * 1024, 5)
            self._client.quit()  # only now are mails deleted (RFC 1939, 6)
        except (poplib.error_proto, Trouble, OSError):
            pass
        finally:
            self._client.wire.close()
