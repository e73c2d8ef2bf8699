"""Domains and mailboxes as the JSON API shows and takes them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from thurn.web.schemas import In, Out, Text

Address = Annotated[Text, Field(min_length=3, max_length=320)]
Password = Annotated[Text, Field(min_length=1, max_length=1024)]


class DomainIn(In):
    """A domain to add. Its DKIM keys are made."""

    name: Annotated[Text, Field(min_length=1, max_length=255, examples=["brotzeit.example"])]


class DomainOut(Out):
    """A domain. `verified_at` is set while everything that campaigns need is found in DNS."""

    id: int
    name: str
    bounce_host: str
    checked_at: datetime | None
    verified_at: datetime | None
    created_at: datetime
    mailboxes: int


class Domains(Out):
    """A page of domains by name."""

    items: list[DomainOut]
    next: str | None


class RecordOut(Out):
    """A DNS record to publish. `value` is empty where only you know it."""

    name: str
    type: str
    value: str
    ttl: int
    purpose: str
    why: str
    required: bool = Field(description="Campaigns need it.")
    theme: str = Field(description="sending, receiving, encryption, programs, name, or server.")


class Records(Out):
    """Every record of a domain, what campaigns need first."""

    items: list[RecordOut]


class CheckOut(Out):
    """What DNS says about one record."""

    name: str
    type: str
    purpose: str
    required: bool
    level: str = Field(description="ok, warn, bad, or unknown when DNS did not answer.")
    what: str
    fix: str
    found: list[str]
    publish: list[str]


class Checked(Out):
    """A domain after a look at DNS."""

    domain: DomainOut
    checks: list[CheckOut]


class MailboxIn(In):
    """A mailbox to make. Without a password one is generated and shown once."""

    address: Address
    name: Annotated[Text, Field(max_length=200)] = ""
    password: Password | None = None
    quota_bytes: Annotated[int, Field(ge=1, le=2**62)] = 5 * 1024**3


class MailboxPatch(In):
    """What to change; left out: stays."""

    name: Annotated[Text, Field(max_length=200)] | None = None
    quota_bytes: Annotated[int, Field(ge=1, le=2**62)] | None = None
    enabled: bool | None = None


class MailboxOut(Out):
    """A mailbox."""

    id: int
    address: str
    domain: str
    name: str
    quota_bytes: int
    enabled: bool
    created_at: datetime


class MailboxFull(MailboxOut):
    """A mailbox with the aliases that lead to it."""

    aliases: list[str]


class MailboxMade(MailboxFull):
    """A new mailbox. `password` is here only when it was generated, and only this once."""

    password: str | None


class Mailboxes(Out):
    """A page of mailboxes by address."""

    items: list[MailboxOut]
    next: str | None


class PasswordIn(In):
    """A new password; left out: one is generated."""

    password: Password | None = None


class PasswordOut(Out):
    """The password that was generated; null when you gave one."""

    password: str | None


class AliasIn(In):
    """An address whose mail goes to the mailbox."""

    address: Address
