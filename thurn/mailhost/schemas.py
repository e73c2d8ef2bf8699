"""Domains and mailboxes as the JSON API shows and takes them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from thurn.mailhost.domain_settings import MOST_MONTHS, Policy, StsMode
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
    mta_sts_mode: str
    tls_reports: bool
    dmarc_policy: str
    bimi_logo: str
    tracking_host: str
    rotate_months: int


class DomainPatch(In):
    """What to change; left out: stays. The records follow: look at them again."""

    mta_sts_mode: StsMode | None = Field(default=None, description="Ask others to encrypt: none, testing, enforce.")
    tls_reports: bool | None = Field(default=None, description="Ask others to report when they could not encrypt.")
    dmarc_policy: Policy | None = Field(default=None, description="What receivers do with forgeries.")
    bimi_logo: Annotated[Text, Field(max_length=1000)] | None = Field(default=None, description="https://….svg")
    tracking_host: Annotated[Text, Field(max_length=255)] | None = Field(
        default=None, description="Name below the domain that links in campaigns carry; empty: the server's."
    )
    rotate_months: Annotated[int, Field(ge=0, le=MOST_MONTHS)] | None = Field(
        default=None, description="New DKIM keys every so many months; 0: only when asked."
    )


class KeyOut(Out):
    """A DKIM key."""

    selector: str
    algorithm: str
    state: str = Field(description="pending, published, active, retiring or retired.")
    public_key: str


class Keys(Out):
    """The DKIM keys of a domain, in the order they were made."""

    items: list[KeyOut]


class Domains(Out):
    """A page of domains by name."""

    items: list[DomainOut]
    next: str | None


class PublisherIn(In):
    """Where a domain's DNS is kept, and how to get in. Kept sealed and never shown again."""

    provider: Annotated[Text, Field(max_length=40, examples=["rfc2136"])] = Field(
        description="rfc2136, cloudflare, desec, digitalocean, gandi or hetzner."
    )
    zone: Annotated[Text, Field(max_length=255)] = Field(default="", description="The zone; empty: the domain itself.")
    access: dict[Annotated[Text, Field(max_length=40)], Annotated[Text, Field(max_length=1000)]] = Field(
        description="rfc2136: server, port, key_name, key_secret, algorithm; the others: token.", max_length=10
    )


class PublisherOut(Out):
    """Where a domain's DNS is kept."""

    provider: str
    zone: str
    updated_at: datetime


class ChangeOut(Out):
    """What publishing does, or did, about one record."""

    action: str = Field(description="create, replace, keep, or by hand.")
    name: str
    type: str
    purpose: str
    add: list[str]
    remove: list[str]
    why: str


class Changes(Out):
    """Every record of the domain that lies in the zone."""

    published: bool
    items: list[ChangeOut]


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
    send_limit: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    may_send: bool | None = None
    enabled: bool | None = None


class MailboxOut(Out):
    """A mailbox."""

    id: int
    address: str
    domain: str
    name: str
    quota_bytes: int
    bytes_used: int | None = Field(description="As Dovecot counts; null until it has.")
    messages_used: int | None
    used_at: datetime | None
    state: str = Field(description="Active, Nearly full, Full, Receives only or Disabled.")
    may_send: bool = Field(description="False: it receives only.")
    send_limit: int = Field(description="Recipients it may write to in 24 hours.")
    forward_to: list[str]
    forward_keep: bool
    enabled: bool
    created_at: datetime


class MailboxFull(MailboxOut):
    """A mailbox with the aliases that lead to it."""

    aliases: list[str]


class RemovedOut(Out):
    """A removed mailbox whose mail is still here."""

    id: int
    address: str
    name: str
    messages: int
    bytes: int
    removed_at: datetime
    destroy_at: datetime = Field(description="When its mail is destroyed.")
    restorable: bool
    taken: bool = Field(description="Its address has been made anew: it can be restored once that is gone.")


class RemovedMailboxes(Out):
    """A page of removed mailboxes by address."""

    items: list[RemovedOut]
    next: str | None


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


class AliasOut(Out):
    """An address and where its mail goes. `@brotzeit.example`: everything else at the domain."""

    address: str
    domain: str
    targets: list[str]


class Aliases(Out):
    """A page of aliases by address."""

    items: list[AliasOut]
    next: str | None


class AliasTo(In):
    """An alias to make: from an address (or `@domain`, its catch-all) to a mailbox here or an address anywhere."""

    address: Address
    target: Address


class AliasOf(In):
    """The domain that another one is a name for; null: it is a domain of its own."""

    target: Annotated[Text, Field(min_length=1, max_length=255)] | None


class ForwardingIO(In):
    """Where a mailbox's mail goes on to; no targets: nowhere. With `keep_copy` it stays as well."""

    targets: Annotated[list[Annotated[Text, Field(max_length=320)]], Field(max_length=50)]
    keep_copy: bool = True


class AppPasswordIn(In):
    """An app password to make, named after the program or device it is for."""

    name: Annotated[Text, Field(min_length=1, max_length=100)]


class AppPasswordOut(Out):
    """An app password of a mailbox."""

    id: int
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str


class AppPasswords(Out):
    """Those of a mailbox, oldest first."""

    items: list[AppPasswordOut]


class AppPasswordMade(Out):
    """A new one; `password` is shown this once."""

    id: int
    password: str


class Senders(Out):
    """Addresses a mailbox may send as besides its own and its aliases."""

    items: list[str]


class SenderIn(In):
    """An address of your domains, or `@domain` for every one of it."""

    sender: Address


class CopyIn(In):
    """Copy what a mailbox, or everybody `@domain`, receives or sends. `outside`: the copies may leave your domains."""

    direction: Literal["received", "sent"]
    address: Address
    copy_to: Address
    outside: bool = False


class CopyOut(Out):
    """A rule that copies mail for the record."""

    id: int
    direction: str
    address: str
    copy_to: str
    created_by: str
    created_at: datetime


class Copies(Out):
    """Every such rule."""

    items: list[CopyOut]


class MailboxBatch(In):
    """Mailboxes to make."""

    mailboxes: Annotated[list[MailboxIn], Field(min_length=1, max_length=100)]


class BatchOut(Out):
    """What became of one: `problem` says why it was not made."""

    address: str
    password: str | None
    problem: str | None


class MailboxesMade(Out):
    """In the order they were asked for."""

    items: list[BatchOut]


class MailboxImportIn(In):
    """Mailboxes to make in the background. A row with a problem is left out; the others are made."""

    mailboxes: Annotated[list[MailboxIn], Field(min_length=1, max_length=5000)]


class MailboxImportOut(Out):
    """How far a list of mailboxes is."""

    id: int
    state: str = Field(description="checked (nobody said yes yet), waiting, running, done or cancelled.")
    total: int
    made: int
    refused: int = Field(description="Rows with a problem.")
    left_over: int = Field(description="Rows still to be made.")
    created_at: datetime
    finished_at: datetime | None


class MailboxImportRow(Out):
    """What became of a row: `problem` says why it was not made."""

    line: int
    address: str
    name: str
    quota_bytes: int
    made: bool
    problem: str
    password: str | None


class MailboxImportRows(Out):
    """A page of rows, in order."""

    items: list[MailboxImportRow]
    next: str | None
