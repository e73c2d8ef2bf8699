"""Which delivery a mail that came back is about. Pure but for the last look into the ledger.

Only tokens that we signed count: in the address the mail came to, in the Message-ID, the envelope sender, the
CFBL-Feedback-ID or the List-Unsubscribe of the mail it brings back, in what a reply refers to. Each names one delivery,
and is known to nobody who has not seen that mail. An address that a report merely names proves nothing: anybody could
write one about anybody. It is shown to people and changes nothing.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe
from thurn.feedback.bounce_mail import Incoming
from thurn.feedback.mime import Fields
from thurn.mail.tokens import InvalidToken, TrackingTokens, VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings

_UNSUBSCRIBE = re.compile(r"/u/([A-Za-z0-9_-]{16,80})")
_LEAVE = re.compile(r"mailto:(u\.[A-Za-z2-7]{16,40})@")
_REFERENCE = re.compile(r"<([A-Za-z2-7]{16,40})@")
_REFERENCES = 50  # of a reply that are looked at, the last ones

Key = tuple[int, int]  # campaign, delivery


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an installation signs with."""

    verp: VerpTokens
    tracking: TrackingTokens

    @classmethod
    def of(cls, settings: Settings) -> "Tokens":
        """The installation's own."""
        secrets = Secrets(settings.state)
        return cls(VerpTokens(secrets.derive("verp")), TrackingTokens(secrets.derive("tracking")))


@dataclass(frozen=True, slots=True)
class Match:
    """A token that was found: where, and the delivery it names."""

    by: str  # address | sender | message-id | feedback-id | unsubscribe | reference
    key: Key


def matches(tokens: Tokens, address: str, incoming: Incoming, fields: Fields) -> Iterator[Match]:
    """The deliveries a mail to `address` may be about, the surest first. `fields`: its own header."""
    verp, original = tokens.verp, incoming.original

    def tracked(token: str) -> Key:
        named = tokens.tracking.read(token, "u")
        return named.campaign, named.delivery

    if address.lower().startswith("b."):
        yield from _read("address", verp.read, address)
    if incoming.kind in ("bounce", "delayed", "delivered", "complaint"):
        for sender in incoming.senders:
            yield from _read("sender", verp.read, sender)
        # Our Message-ID is the token of the envelope sender.
        yield from _read("message-id", verp.read_token, incoming.message_id.partition("@")[0])
        yield from _read("feedback-id", verp.read_token, original.get("cfbl-feedback-id"))
        unsubscribe = original.get("list-unsubscribe")
        for found in _UNSUBSCRIBE.findall(unsubscribe):
            yield from _read("unsubscribe", tracked, found)
        for found in _LEAVE.findall(unsubscribe):
            yield from _read("unsubscribe", verp.read_leave, found)
    else:
        for token in references(f"{fields.get('references')} {fields.get('in-reply-to')}"):
            yield from _read("reference", verp.read_token, token)


def references(text: str) -> list[str]:
    """What may be tokens of ours in References and In-Reply-To, the last first."""
    return list(dict.fromkeys(reversed(_REFERENCE.findall(text)[-_REFERENCES:])))


def _read(by: str, read: Callable[[str], Key], text: str) -> Iterator[Match]:
    try:
        yield Match(by, read(text))
    except InvalidToken:
        return


async def find(db: Connection, found: Iterator[Match]) -> tuple[Row, str] | None:
    """The first delivery that exists (campaign_id, id, workspace_id, contact_id, recipient), and what named it."""
    for match in found:
        row = await maybe(
            db,
            """SELECT campaign_id, id, workspace_id, contact_id, recipient FROM delivery
               WHERE campaign_id = %s AND id = %s""",
            match.key,
        )
        if row is not None:
            return row, match.by
    return None
