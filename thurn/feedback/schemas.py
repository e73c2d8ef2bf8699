"""What came back, as the JSON API shows it."""

from datetime import datetime

from pydantic import Field

from thurn.web.schemas import Out


class ReturnedOut(Out):
    """A mail that came back, and what Thurn made of it."""

    id: int
    received_at: datetime
    kind: str = Field(description="bounce, delayed, complaint, auto-reply, reply, unsubscribe, dmarc, tlsrpt or other.")
    matched: bool = Field(description="Whether it belongs to a mail of ours for certain. Else it changed nothing.")
    matched_by: str = Field(description="What named our mail: address, sender, message-id, feedback-id … or empty.")
    campaign_id: int | None
    campaign: str | None
    delivery_id: int | None
    address: str = Field(description="The address it came to.")
    sender: str
    subject: str
    recipient: str = Field(description="Whom it is about.")
    category: str = Field(description="Of a bounce: unknown-address, mailbox-full, policy-block …")
    effect: str = Field(description="What Thurn did, and why, in words.")


class ReturnedFull(ReturnedOut):
    """The same with the mail."""

    source: str = Field(description="As it came, at most 20,000 characters; empty when it is kept no more.")


class ReturnedPage(Out):
    """A page of them, newest first."""

    items: list[ReturnedOut]
    next: str | None
