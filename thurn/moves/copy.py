"""Brings one mailbox over: folder by folder, by rising UID, reading there without changing anything, storing here.

There: EXAMINE and BODY.PEEK, so nothing is marked as read. Here: APPEND at the inner door. A message that was being
stored when everything stopped is looked for by size and digest before it is stored again.
"""

import hashlib
import imaplib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from imapclient.exceptions import IMAPClientError

from thurn.moves.folders import Folder, plan
from thurn.moves.ledger import Ledger, Noted
from thurn.moves.wire import Client, Trouble

LARGEST = 50 * 1024 * 1024  # bytes of one message; as much as mx takes
_LIST = 8 * 1024 * 1024  # bytes of a list of folders, or of the UIDs of a million messages
_BATCH, _BATCH_BYTES = 50, 4 * 1024 * 1024  # of messages fetched at once
_SLACK = 2 * 1024 * 1024
_PATIENCE = 600.0  # seconds for one answer
_KEYWORD = re.compile(rb"[A-Za-z$][A-Za-z0-9_$.-]{0,60}\Z")
_MOST_KEYWORDS = 20
_SYSTEM = frozenset({b"\\seen", b"\\answered", b"\\flagged", b"\\deleted", b"\\draft"})
_ANY_LINE_END = re.compile(rb"\r\n|\r|\n")  # as imaplib sends them
_APPENDUID = re.compile(rb"APPENDUID \d+ (\d+)")


class Full(Exception):
    """The mailbox here holds no more."""


class Copy:
    """One run over two open sessions."""

    def __init__(self, source: Client, target: Client, ledger: Ledger, *, largest: int = LARGEST) -> None:
        self._source = source
        self._target = target
        self._ledger = ledger
        self._largest = largest

    def run(self, noted: Noted | None) -> None:
        """Bring everything that is not here yet. Raises `Trouble`, `Full`, `Stopped`."""
        if noted:
            self._settle(noted)
        folders, left = self._plan()
        for each in left:
            if not self._ledger.said(each.source):
                self._ledger.skip(each.source, None, each.reason)
        self._ledger.sizes(len(folders), self._count(folders))
        have = {name for _, _, name in self._ask(self._target, _LIST, "list_folders")}
        for number, folder in enumerate(folders):
            self._ledger.at(folder.source, number)
            self._folder(folder, have)
        self._ledger.at("", len(folders))

    def _plan(self) -> tuple[list[Folder], Any]:
        prefix, foreign = "", list[str]()
        if self._source.has_capability("NAMESPACE"):
            spaces = self._ask(self._source, _SLACK, "namespace")
            prefix = spaces.personal[0][0] if spaces.personal else ""
            foreign = [each[0] for group in (spaces.other, spaces.shared) for each in group or ()]
        return plan(self._ask(self._source, _LIST, "list_folders"), prefix=prefix, foreign=foreign)

    def _count(self, folders: Sequence[Folder]) -> int:
        total = 0
        for folder in folders:
            try:
                total += int(self._ask(self._source, _SLACK, "folder_status", folder.source, ["MESSAGES"])[b"MESSAGES"])
            except (IMAPClientError, KeyError, ValueError):  # it cannot be opened: said when its turn comes
                continue
        return total

    def _folder(self, folder: Folder, have: set[str]) -> None:
        row = self._ledger.folder(folder.source, folder.target)
        target = row["target"]
        try:
            opened = self._ask(self._source, _SLACK, "select_folder", folder.source, readonly=True)
            uidvalidity = int(opened[b"UIDVALIDITY"])
        except (IMAPClientError, KeyError, ValueError) as refused:
            if not self._ledger.said(folder.source):
                self._ledger.skip(folder.source, None, f"The other server does not open it: {words(refused)}")
            return
        if row["uidvalidity"] not in (None, uidvalidity):
            if not self._ledger.said(folder.source):
                self._ledger.skip(
                    folder.source, None,
                    "The other server has numbered its messages anew since. What came later is not brought, for nobody "
                    "could tell which of them are here already.",
                )  # fmt: skip
            return
        if row["uidvalidity"] is None:
            self._ledger.known(folder.source, uidvalidity)
        if target not in have:
            self._ask(self._target, _SLACK, "create_folder", target)
            have.add(target)
        self._ask(self._target, _SLACK, "subscribe_folder", target)
        next_uid = int(self._ask(self._target, _SLACK, "folder_status", target, ["UIDNEXT"])[b"UIDNEXT"])
        found = self._ask(self._source, _LIST, "search", ["UID", f"{row['done_uid'] + 1}:*"])
        # `n:*` names the last message even when its UID is below n.
        uids = sorted(uid for uid in set(found) if uid > row["done_uid"])
        for start in range(0, len(uids), _BATCH):
            for message in self._messages(folder.source, uids[start : start + _BATCH]):
                next_uid = self._store(folder.source, uidvalidity, target, message, next_uid)

    def _messages(self, source: str, uids: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Messages with `uid`, `body`, flags and date, in order; several at once as long as they are small."""
        about = self._ask(self._source, _SLACK, "fetch", uids, ["RFC822.SIZE", "INTERNALDATE", "FLAGS"])
        batch: list[int] = []
        held = 0
        for uid in uids:
            size = int(about.get(uid, {}).get(b"RFC822.SIZE", 0))
            if size > self._largest:
                yield from self._bodies(source, batch, about)
                batch, held = [], 0
                dated = about[uid].get(b"INTERNALDATE")
                reason = f"It is larger than {self._largest // 1024**2} MB."
                self._ledger.skip(source, uid, reason, size=size, dated=dated if isinstance(dated, datetime) else None)
                continue
            if held + size > _BATCH_BYTES:
                yield from self._bodies(source, batch, about)
                batch, held = [], 0
            batch.append(uid)
            held += size
        yield from self._bodies(source, batch, about)

    def _bodies(
        self, source: str, uids: Sequence[int], about: dict[int, dict[bytes, Any]]
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        if not uids:
            return
        # A server's word on sizes is taken for planning only: more than the largest message never comes in.
        found = self._ask(self._source, self._largest + _SLACK + _BATCH_BYTES, "fetch", uids, ["BODY.PEEK[]"])
        for uid in uids:
            body = found.get(uid, {}).get(b"BODY[]")
            if isinstance(body, bytes):
                known = {name.decode("ascii", "replace"): value for name, value in about.get(uid, {}).items()}
                yield known | {"uid": uid, "body": body}
            else:
                self._ledger.skip(source, uid, "The other server did not hand it out. Perhaps it was deleted there.")

    def _store(self, source: str, uidvalidity: int, target: str, message: dict[str, Any], next_uid: int) -> int:
        body = _ANY_LINE_END.sub(b"\r\n", message["body"])
        uid = message["uid"]
        self._ledger.note(Noted(source, uidvalidity, uid, target, next_uid, len(body), digest(body)))
        dated = message.get("INTERNALDATE")
        dated = dated if isinstance(dated, datetime) and dated.tzinfo else None
        try:
            said = self._ask(self._target, _SLACK, "append", target, body, flags_of(message.get("FLAGS", ())), dated)
        except IMAPClientError as refused:
            text = words(refused)
            if "OVERQUOTA" in text.upper() or "quota" in text.lower():
                self._ledger.never()
                raise Full from refused
            self._ledger.skip(source, uid, f"It could not be stored here: {text}", size=len(body), dated=dated)
            return next_uid
        self._ledger.tick(source, uid, len(body))
        given = _APPENDUID.search(said if isinstance(said, bytes) else b"")
        return int(given[1]) + 1 if given else next_uid

    def _settle(self, noted: Noted) -> None:
        """Whether the message that was being stored when the last run stopped is here."""
        try:
            self._ask(self._target, _SLACK, "select_folder", noted.target, readonly=True)
        except IMAPClientError:  # not even the folder is
            self._ledger.never()
            return
        found = self._ask(self._target, _LIST, "search", ["UID", f"{noted.from_uid}:*"])
        for uid in sorted(uid for uid in set(found) if uid >= noted.from_uid):
            about = self._ask(self._target, _SLACK, "fetch", [uid], ["RFC822.SIZE"])
            if about.get(uid, {}).get(b"RFC822.SIZE") != noted.size:
                continue
            body = self._ask(self._target, noted.size + _SLACK, "fetch", [uid], ["BODY.PEEK[]"])
            if digest(body.get(uid, {}).get(b"BODY[]") or b"") == noted.digest:
                self._ledger.tick(noted.source, noted.uid, noted.size)
                return
        self._ledger.never()

    @staticmethod
    def _ask(client: Client, octets: int, command: str, *arguments: Any, **keywords: Any) -> Any:
        """One command; what the answer may cost is said before. IMAPClientError when the server says NO."""
        client.wire.allow(octets, _PATIENCE)
        try:
            return getattr(client, command)(*arguments, **keywords)
        except imaplib.IMAP4.abort as error:
            raise Trouble(f"{client.wire.host} broke off the conversation.") from error
        except (ValueError, IndexError, TypeError, AssertionError, RecursionError) as error:
            raise Trouble(f"{client.wire.host} said what cannot be understood.") from error


def flags_of(flags: Sequence[object]) -> list[bytes]:
    """Flags as they may be stored: the system's, and keywords within reason."""
    given = [flag for flag in flags if isinstance(flag, bytes)]
    system = [flag for flag in given if flag.lower() in _SYSTEM]
    return system + [flag for flag in given if _KEYWORD.match(flag)][:_MOST_KEYWORDS]


def digest(body: bytes) -> str:
    """Of what a message says, however its lines end; Dovecot stores NUL as 0x80."""
    return hashlib.sha256(body.replace(b"\r", b"").replace(b"\0", b"\x80")).hexdigest()


def words(error: Exception) -> str:
    """What a server said, for a person: one bearable line."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(error)).strip()
    text = re.sub(r"^[a-z]+ failed: (?:b?['\"])?", "", text).rstrip("'\"")
    return text if len(text) <= 300 else text[:299] + "…"
