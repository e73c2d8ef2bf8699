"""What the API says and takes about feeds."""

from datetime import datetime

from pydantic import Field

from thurn.web.schemas import In, Out, Text


class FeedIn(In):
    """Where else bounces come from: a mailbox, or a sending service that calls."""

    name: Text = Field(max_length=100)
    kind: Text = Field(
        max_length=20,
        description="imap, pop3, ses, sendgrid, mailgun, postmark, sparkpost or brevo.",
        examples=["imap"],
    )
    secret: Text = Field(
        "", max_length=2000,
        description="A mailbox: its password. SendGrid: the verification key. Mailgun: the webhook signing key. SES: "
        "the ARN of the SNS topic. Others: nothing, Thurn makes a password.",
    )  # fmt: skip
    host: Text = Field("", max_length=300, description="A mailbox: its server.")
    port: int = Field(0, ge=0, le=65535, description="993 or 143 (IMAP), 995 or 110 (POP3); 0: the one with TLS.")
    login: Text = Field("", max_length=500)
    fingerprint: Text = Field(
        "", max_length=200, description="SHA-256 of the one certificate to accept; empty: any valid."
    )
    folder: Text = Field("INBOX", max_length=200, description="IMAP: the folder that is read.")
    afterwards: Text = Field(
        "keep", max_length=10, description="What happens to read mail there: keep, seen, move, delete."
    )
    target: Text = Field("", max_length=200, description="The folder that read mail is moved to.")


class FeedOut(Out):
    """A feed and how it is getting on."""

    id: int
    name: str
    kind: str
    enabled: bool
    host: str
    port: int | None
    login: str
    folder: str
    afterwards: str
    target: str
    state: str = Field(description="waiting, ok, retrying or broken.")
    reason: str = Field(description="Why it is tried again, or broken.")
    read_at: datetime | None = Field(description="The last look, or the last call, that went well.")
    taken: int = Field(description="Mails or events that were read.")
    matched: int = Field(description="Of them: belong to a mail of this workspace.")
    refused: int = Field(description="Calls that did not prove to be the service's.")
    created_at: datetime


class FeedAddress(Out):
    """What to enter at the service."""

    url: str = Field(description="Where it calls, with user name and password if it signs nothing.")


class Feeds(Out):
    """A page of feeds."""

    items: list[FeedOut]
    next: str | None
