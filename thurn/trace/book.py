"""What is known of the mails in the queue, and the rows that each line of the log adds: pure, no database.

A row belongs to a workspace that the mail concerns: the sender's, by its login (an envelope sender proves nothing),
or a recipient's, by the domain. A recipient's workspace sees its own recipients only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from thurn.stack.postfix_forward import DOMAIN
from thurn.trace.lines import Entry

LONGEST_KEY = 300
_CARRIED = f"@{DOMAIN}"  # as whom our own door gets what leaves the house
_FILTERS = "postfix/filters"  # the door that Dovecot's filters use
_QUEUED = re.compile(r"queued as ([0-9A-Za-z]{6,30})$")
_MOST_TAKEN = 1000  # Postfix takes no more either
_ABANDONED = timedelta(hours=1)  # a mail that never reached the queue: its client went away
_OLDEST = timedelta(days=10)  # twice as long as a mail stays in a queue

Domains = Mapping[str, int]  # proven domain -> workspace


@dataclass(slots=True)
class Mail:
    """A mail that has a queue id, or one that was refused before it had."""

    queue_id: str
    at: datetime
    service: str = ""
    sender: str = ""
    message_id: str = ""
    size: int | None = None
    client_ip: str = ""
    client_name: str = ""
    helo: str = ""
    login: str = ""
    queued: bool = False
    sent_on_by: list[int] = field(default_factory=list)  # workspaces whose alias, copy or filter this is
    carried: dict[str, str] = field(default_factory=dict)  # to whom our own door takes it on -> what it was written to
    rows: dict[str, tuple[int, bool]] = field(default_factory=dict)  # workspace -> trace_message, is it the sender's
    filtered: bool = False  # a mailbox's filter sent it
    taken: list[str] = field(default_factory=list)  # recipients that the door took; until it is queued
    recipients: dict[str, int] = field(default_factory=dict)  # lines: trace_message, recipient, original -> its row

    def known(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self) | {"at": self.at.isoformat()}

    @classmethod
    def of(cls, known: dict[str, Any]) -> "Mail":
        """Undo `known`."""
        rows = {workspace: (trace_id, ours) for workspace, (trace_id, ours) in known["rows"].items()}
        return cls(**(known | {"at": datetime.fromisoformat(known["at"]), "rows": rows}))


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient of a mail, as it stands after a line. `number` is its id."""

    number: int
    trace_id: int
    at: datetime
    recipient: str
    original: str
    state: str
    reply: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a mail, or to one recipient of it."""

    trace_id: int
    recipient_id: int | None
    at: datetime
    what: str
    relay: str
    delay: float | None
    reply: str


@dataclass(slots=True)
class Batch:
    """What some lines add to the database."""

    messages: dict[int, tuple[int, bool, Mail]] = field(default_factory=dict)  # id -> workspace, ours, mail
    recipients: list[Recipient] = field(default_factory=list)
    keys: dict[int, set[str]] = field(default_factory=dict)  # of recipients that are new, or known better
    steps: list[Step] = field(default_factory=list)
    expired: list[tuple[int, datetime, str]] = field(default_factory=list)  # trace_message, when, why
    changed: set[str] = field(default_factory=set)  # queue ids whose Mail is to be remembered anew
    gone: set[str] = field(default_factory=set)


class Book:
    """The mails of one node's queue."""

    def __init__(self, mails: Mapping[str, Mail], door: str = "") -> None:
        self.mails = dict(mails)
        self._door = door  # our own, by which mx sends on what leaves the house: relay, as the log names it

    def most(self, entries: list[tuple[datetime, Entry]]) -> int:
        """So many times may a recipient be named by these lines."""
        known = (self.mails.get(entry.queue_id) for _, entry in entries if entry.for_all)
        return len(entries) + sum(len(mail.taken) for mail in known if mail)

    def take(self, entries: list[tuple[datetime, Entry]], domains: Domains, ids: Iterator[int]) -> Batch:
        """The rows that these lines add. `ids` gives six numbers for each time that a recipient may be named."""
        batch = Batch()
        for at, entry in entries:
            self._one(at, entry, domains, ids, batch)
        return batch

    def forget(self, now: datetime) -> set[str]:
        """Mails of which nothing more will be heard."""
        old = {
            queue_id
            for queue_id, mail in self.mails.items()
            if now - mail.at > (_OLDEST if mail.queued else _ABANDONED)
        }
        for queue_id in old:
            del self.mails[queue_id]
        return old

    def _one(self, at: datetime, entry: Entry, domains: Domains, ids: Iterator[int], batch: Batch) -> None:
        if entry.what == "taken" and not entry.queue_id:  # the next line of this process gives it one
            self._at_the_door(at, entry, batch)
            return
        mail = self._mail(at, entry, batch)
        match entry.what:
            case "taken":
                if entry.recipient not in mail.taken and len(mail.taken) < _MOST_TAKEN:
                    mail.taken.append(entry.recipient)
                return
            case "client":
                first = f"smtpd {entry.process}"
                if waiting := self.mails.pop(first, None):
                    mail.taken = waiting.taken
                    batch.changed.discard(first)
                    batch.gone.add(first)
                mail.service, mail.login = entry.service, entry.login
                mail.client_ip, mail.client_name = entry.client_ip, entry.client_name
                return
            case "message-id":
                mail.message_id = entry.message_id
                return
            case "filtered":
                if mail.service == _FILTERS and not mail.filtered:  # the first is Dovecot's own word
                    workspace = _workspace(entry.login, domains)
                    mail.filtered, mail.sent_on_by = True, [workspace] if workspace else []
                    mail.client_ip, mail.client_name = "", f"the filters of {entry.login}"
                return
            case "from":
                if not mail.queued:  # it is said again at each try
                    mail.sender, mail.size, mail.queued, mail.taken = entry.sender, entry.size, True, []
                    _announce(mail, batch)
                return
            case "to" | "refused":
                if entry.what == "refused":
                    mail.sender = mail.sender or entry.sender
                    mail.helo = entry.helo
                if entry.for_all:
                    for recipient in dict.fromkeys((*mail.taken, entry.recipient)):
                        each = replace(entry, recipient=recipient)
                        for workspace, ours in _concerned(mail, each, domains) if recipient else ():
                            _reach(mail, workspace, ours, at, each, ids, batch)
                    return
                if entry.original.endswith(_CARRIED):
                    written = mail.carried.get(entry.original, "")
                    entry = replace(entry, recipient=_whom(entry.original), original=written)
                concerned, carried = _concerned(mail, entry, domains), entry.recipient
                if carried.endswith(_CARRIED):  # shown as whom it is for, also when our own door does not take it
                    entry = replace(entry, recipient=_whom(carried))
                queued = _QUEUED.search(entry.reply) if self._door and entry.relay == self._door else None
                for workspace, ours in concerned:
                    _reach(mail, workspace, ours, at, entry, ids, batch, handed_on=queued is not None)
                if queued:  # what becomes of it there is told of the same recipient
                    heir = self.mails.setdefault(queued[1], Mail(queued[1], at))
                    heir.sent_on_by = sorted({*heir.sent_on_by, *(workspace for workspace, _ in concerned)})
                    heir.carried[carried] = entry.original
                    heir.rows, heir.recipients = heir.rows | mail.rows, heir.recipients | mail.recipients
                    batch.changed.add(queued[1])
                return
        for trace_id, _ in mail.rows.values():
            if entry.reply:
                batch.steps.append(Step(trace_id, None, at, entry.what, "", None, entry.reply))
            if entry.what == "expired":
                batch.expired.append((trace_id, at, entry.reply))
        if entry.what == "removed":
            self.mails.pop(entry.queue_id, None)
            batch.changed.discard(entry.queue_id)
            batch.gone.add(entry.queue_id)

    def _at_the_door(self, at: datetime, entry: Entry, batch: Batch) -> None:
        first = f"smtpd {entry.process}"
        self.mails[first] = Mail(first, at, taken=[entry.recipient])
        batch.changed.add(first)
        batch.gone.discard(first)

    def _mail(self, at: datetime, entry: Entry, batch: Batch) -> Mail:
        if not entry.queue_id:
            return Mail("", at, entry.service, client_ip=entry.client_ip, client_name=entry.client_name)
        batch.changed.add(entry.queue_id)
        return self.mails.setdefault(entry.queue_id, Mail(entry.queue_id, at))


def _keys(mail: Mail, recipient: str, original: str, *, ours: bool) -> set[str]:
    """Everything a recipient's row is found by."""
    addresses = {mail.sender, recipient, original} | ({mail.login} if ours else set())
    found = {*addresses, *(f"@{address.rpartition('@')[2]}" for address in addresses if "@" in address)}
    return {key[:LONGEST_KEY] for key in (*found, mail.message_id, mail.queue_id) if key}


def domains_of(entries: list[tuple[datetime, Entry]], mails: Mapping[str, Mail]) -> set[str]:
    """The domains whose workspaces have to be known."""
    addresses = {text for _, entry in entries for text in (entry.recipient, entry.original, entry.login, entry.sender)}
    for _, entry in entries:
        if mail := mails.get(entry.queue_id):
            addresses |= {mail.login, mail.sender, *mail.taken}
    return {address.rpartition("@")[2] for address in addresses if "@" in address}


def _workspace(address: str, domains: Domains) -> int | None:
    return domains.get(address.rpartition("@")[2]) if "@" in address else None


def _concerned(mail: Mail, entry: Entry, domains: Domains) -> list[tuple[int, bool]]:
    """The workspaces that may see this recipient, and whether each is the sender's."""
    sender = None
    if mail.login:
        sender = _workspace(mail.login, domains)
    elif mail.service.removeprefix("postfix").startswith(("/forward", "/submission", "/webmail")):
        sender = _workspace(mail.sender, domains)  # doors that take our own senders only
    found = {workspace: False for a in (entry.recipient, entry.original) if (workspace := _workspace(a, domains))}
    for workspace in (*mail.sent_on_by, *([sender] if sender else [])):
        found[workspace] = True
    return list(found.items())


def _whom(carried: str) -> str:
    """`f@out.example` of `f=out.example@forward.invalid`, without what Postfix put behind it (postfix_forward.py)."""
    local, _, domain = carried.removesuffix(_CARRIED).rpartition("=")
    return f"{local}@{domain.partition('+')[0]}"


def _reach(
    mail: Mail, workspace: int, ours: bool, at: datetime, entry: Entry, ids: Iterator[int], batch: Batch,
    *, handed_on: bool = False,
) -> None:  # fmt: skip
    if str(workspace) not in mail.rows:
        mail.rows[str(workspace)] = (next(ids), ours)
        batch.messages[mail.rows[str(workspace)][0]] = (workspace, ours, mail)
    trace_id, ours = mail.rows[str(workspace)]
    who = f"{trace_id}\n{entry.recipient}\n{entry.original}"
    if who not in mail.recipients:
        mail.recipients[who] = next(ids)
        batch.keys[mail.recipients[who]] = _keys(mail, entry.recipient, entry.original, ours=ours)
    number, state = mail.recipients[who], entry.state or "deferred"
    if handed_on:  # it is still here
        batch.recipients.append(
            Recipient(number, trace_id, mail.at, entry.recipient, entry.original, "deferred", "", at)
        )  # fmt: skip
        return
    batch.recipients.append(
        Recipient(number, trace_id, mail.at, entry.recipient, entry.original, state, entry.reply, at)
    )
    batch.steps.append(Step(trace_id, number, at, state, entry.relay, entry.delay, entry.reply))


def _announce(mail: Mail, batch: Batch) -> None:
    """A mail that had rows already (a recipient was refused before its data came) is known better now."""
    if mail.carried:  # they are those of the mail that was sent on
        return
    for workspace, (trace_id, ours) in mail.rows.items():
        batch.messages[trace_id] = (int(workspace), ours, mail)
    ours_of = dict(mail.rows.values())
    for who, number in mail.recipients.items():
        trace, recipient, original = who.split("\n", 2)
        batch.keys[number] = _keys(mail, recipient, original, ours=ours_of[int(trace)])
