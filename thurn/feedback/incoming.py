"""What a mail to a bounce or complaint address changes: matched to its delivery, recorded, and handed to the ledger.

A bounce counts when the address it came to carries a token of ours; a complaint when a token of ours stands in what it
reports. Everything else is recorded as unmatched and changes nothing. Notices of delay and automatic replies never do.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from thurn.db.connect import Connection, Row
from thurn.delivery.outcomes import Outcome, append
from thurn.feedback import reports
from thurn.feedback.bounce_mail import Incoming, Recipient
from thurn.feedback.classify import classify
from thurn.mail.tokens import InvalidToken, TrackingTokens, VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings

RAW = 64 * 1024  # bytes of a mail that are kept
COMPLAINTS = ("fbl", "abuse")
REPORTS = ("dmarc", "tlsrpt")  # where our DNS records ask for reports (dns/records.py)
# RFC 5965, 7.3 and 6591: these say that somebody does not want the mail; `not-spam` and `auth-failure` do not.
UNWANTED = frozenset({"abuse", "fraud", "opt-out", "opt-out-list", "virus", "other", "miscategorized"})

_UNSUBSCRIBE = re.compile(r"/u/([A-Za-z0-9_-]{16,80})")

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


def concerns_us(address: str) -> bool:
    """Whether an address is one that reports come to."""
    local = address.partition("@")[0].lower()
    return local.startswith("b.") or local in COMPLAINTS + REPORTS


async def record(db: Connection, tokens: Tokens, address: str, incoming: Incoming, raw: bytes) -> bool:
    """Record a mail that came to `address`, in the transaction of `db`; True if it belongs to a delivery of ours."""
    local = address.partition("@")[0].lower()
    if local in REPORTS:
        summary = await reports.store(db, raw, address=address)
        await _keep(db, local, None, f"{summary} ({incoming.subject})", raw)
        return False
    delivery = await _find(db, _keys(tokens, address, incoming))
    outcome, summary = _outcome(incoming, delivery) if delivery else (None, "matches no mail of ours")
    if outcome is not None:
        await append(db, [outcome])
    kind = "other" if incoming.kind == "delivered" else incoming.kind
    await _keep(db, kind, delivery, f"{summary} ({incoming.subject})", raw)
    return delivery is not None


async def _keep(db: Connection, kind: str, delivery: Row | None, summary: str, raw: bytes) -> None:
    await db.execute(
        """INSERT INTO incoming_report (kind, matched, campaign_id, delivery_id, summary, raw)
           VALUES (%s, %s, %s, %s, %s, %s)""",
        [
            kind,
            delivery is not None,
            delivery["campaign_id"] if delivery else None,
            delivery["id"] if delivery else None,
            _clean(summary)[:500],
            raw[:RAW],
        ],
    )


def _keys(tokens: Tokens, address: str, incoming: Incoming) -> Iterator[Key]:
    """The deliveries a mail may be about, the surest first."""
    if address.lower().startswith("b."):
        yield from _verp(tokens, address)
    elif incoming.kind == "complaint":
        for sender in incoming.senders:
            yield from _verp(tokens, sender)
        # Our Message-ID is the token of the envelope sender.
        yield from _verp(tokens, f"b.x.x.{incoming.message_id}")
        for token in _UNSUBSCRIBE.findall(incoming.original.get("list-unsubscribe")):
            try:
                tracked = tokens.tracking.read(token, "u")
            except InvalidToken:
                continue
            yield tracked.campaign, tracked.delivery


def _verp(tokens: Tokens, address: str) -> Iterator[Key]:
    try:
        yield tokens.verp.read(address)
    except InvalidToken:
        return


async def _find(db: Connection, keys: Iterator[Key]) -> Row | None:
    for campaign, delivery in keys:
        found = await db.execute(
            "SELECT campaign_id, id, recipient FROM delivery WHERE campaign_id = %s AND id = %s", [campaign, delivery]
        )
        row = await found.fetchone()
        if row is not None:
            return row
    return None


def _outcome(incoming: Incoming, delivery: Row) -> tuple[Outcome | None, str]:
    """What becomes of a mail that is matched, and the words for it."""
    key, now = (delivery["campaign_id"], delivery["id"]), datetime.now(UTC)
    if incoming.kind == "complaint":
        if incoming.feedback_type not in UNWANTED:
            return None, f"report of type {incoming.feedback_type}"
        reply = f"complaint: {incoming.feedback_type}"
        return Outcome(*key, "complained", now, reply=reply, source="mail"), reply
    if incoming.kind != "bounce":
        return None, f"{incoming.kind}, changes nothing"
    failed = _concerned(incoming.recipients, delivery["recipient"])
    verdict = classify(failed.reply)
    reply = failed.diagnostic or failed.status or "bounced without saying why"
    outcome = Outcome(*key, "bounced", now, category=verdict.category, hard=verdict.hard, reply=reply, source="mail")
    return outcome, f"{verdict.category}: {reply}"


def _concerned(recipients: tuple[Recipient, ...], address: str) -> Recipient:
    """The failure of `address` itself, else the first: it was forwarded to one that failed."""
    failed = [r for r in recipients if r.action == "failed"]
    own = [r for r in failed if r.address.lower() == address.lower()]
    return (own or failed)[0]


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()
