"""What a mail that came back changes: matched to its delivery, recorded, and handed to the ledger.

A bounce bounces, a complaint complains, a mail to an unsubscribe address unsubscribes, a reply is forwarded and
counted: each only when a token of ours names the delivery (matching.py). Everything else is recorded as unmatched and
changes nothing. Notices of delay and automatic replies never do. Nothing is ever sent in answer to whoever wrote.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one
from thurn.delivery.outcomes import Outcome, append
from thurn.feedback import replies, reports
from thurn.feedback.bounce_mail import Incoming, Recipient
from thurn.feedback.classify import classify
from thurn.feedback.matching import Tokens, find, matches
from thurn.feedback.mime import Fields, split, words
from thurn.mail.tokens import InvalidToken
from thurn.settings import Settings
from thurn.tracking import loader
from thurn.tracking.spool import Hit

__all__ = ["Tokens", "concerns_us", "record"]

RAW = 64 * 1024  # bytes of a mail that are kept
COMPLAINTS = ("fbl", "abuse")
REPORTS = ("dmarc", "tlsrpt")  # where our DNS records ask for reports (dns/records.py)
# RFC 5965, 7.3 and 6591: these say that somebody does not want the mail; `not-spam` and `auth-failure` do not.
UNWANTED = frozenset({"abuse", "fraud", "virus", "other", "miscategorized"})
# These ask to be taken off the list, and call nothing spam (RFC 5965, 7.3; services report unsubscribes so).
OPT_OUT = frozenset({"opt-out", "opt-out-list"})
_MACHINES = frozenset({"bounce", "delayed", "delivered", "auto-reply", "complaint", "dmarc", "tlsrpt"})


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of a mail, in words for people, and the outcome it has for its delivery."""

    summary: str
    words: str
    outcome: Outcome | None = None
    category: str = ""
    keep: bool = True  # the mail itself


def concerns_us(address: str) -> bool:
    """Whether an address is one that reports come to."""
    local = address.partition("@")[0].lower()
    return local.startswith(("b.", "u.")) or local in (*COMPLAINTS, *REPORTS, "postmaster")


async def record(
    db: Connection, settings: Settings, tokens: Tokens, address: str, incoming: Incoming, raw: bytes, sender: str = ""
) -> bool:
    """Record a mail from the envelope sender `sender` that came to `address`, in the transaction of `db`; True if it
    belongs to a delivery of ours.

    `OSError` when a reply cannot be forwarded right now: then the mail is to come again.
    """
    local = address.partition("@")[0].lower()
    fields, _ = split(raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw)
    if local in REPORTS:
        summary = await reports.store(db, raw, address=address)
        await _keep(db, address, incoming, fields, raw, None, "", Effect(summary, summary), kind=local)
        return False
    if local.startswith("u."):
        return await _leave(db, tokens, address, incoming, fields, raw)
    found = await find(db, matches(tokens, address, incoming, fields))
    if found is None:
        await _keep(db, address, incoming, fields, raw, None, "", _unmatched(address, incoming))
        return False
    delivery, by = found
    if incoming.kind == "complaint" and incoming.feedback_type in OPT_OUT:
        await _unsubscribe(db, delivery)
        effect = Effect(f"report of type {incoming.feedback_type}", _LEFT)
    else:
        effect = _effect(incoming, delivery, raw)
    if incoming.kind in ("reply", "other") and local.startswith("b."):
        effect = await _reply(db, settings, delivery, fields, raw, sender)
    report = await _keep(db, address, incoming, fields, raw, delivery, by, effect)
    if effect.outcome is not None:
        await append(db, [_with_report(effect.outcome, report)])
    return True


def _with_report(outcome: Outcome, report: int) -> Outcome:
    return Outcome(
        outcome.campaign_id, outcome.delivery_id, outcome.kind, outcome.at, category=outcome.category,
        hard=outcome.hard, reply=outcome.reply, source=outcome.source, report_id=report,
    )  # fmt: skip


# ------------------------------------------------------------------ what it means


def _effect(incoming: Incoming, delivery: Row, raw: bytes) -> Effect:
    """What becomes of a mail that is matched."""
    key, now = (delivery["campaign_id"], delivery["id"]), datetime.now(UTC)
    if incoming.kind == "complaint":
        if incoming.feedback_type not in UNWANTED:
            said = f"A report of type “{incoming.feedback_type}” is nobody's complaint: it changes nothing."
            return Effect(f"report of type {incoming.feedback_type}", said)
        reply = f"complaint: {incoming.feedback_type}"
        prover = reports.proven(raw)
        evidence = f"{reply}, reported by {prover}" if prover else reply
        said = "The reader called the mail spam. The address gets nothing any more."
        return Effect(reply, said, Outcome(*key, "complained", now, reply=evidence, source="mail"))
    if incoming.kind != "bounce":
        return Effect(f"{incoming.kind}, changes nothing", _HARMLESS.get(incoming.kind, "It changes nothing."))
    failed = _concerned(incoming.recipients, delivery["recipient"])
    verdict = classify(failed.reply)
    reply = failed.diagnostic or failed.status or "bounced without saying why"
    outcome = Outcome(*key, "bounced", now, category=verdict.category, hard=verdict.hard, reply=reply, source="mail")
    said = (
        "The address is dead. It gets nothing any more."
        if verdict.hard
        else f"A {verdict.category} refusal: the {_FAULTS[verdict.fault]}. The address stays."
    )
    return Effect(f"{verdict.category}: {reply}", said, outcome, verdict.category)


_HARMLESS = {
    "delayed": "A notice of delay: the other server keeps trying. It changes nothing.",
    "delivered": "A notice of success. It changes nothing.",
    "auto-reply": "An automatic answer. It is not counted as a reply and changes nothing.",
    "reply": "A person's answer, at an address that is no reply address. It changes nothing.",
}
_FAULTS = {
    "address": "address may take mail again",
    "receiver": "receiving server had trouble",
    "sender": "refusal is aimed at the sender",
    "content": "refusal is aimed at the content",
}


def _unmatched(address: str, incoming: Incoming) -> Effect:
    """Why a mail changes nothing: a person is to understand it, and may act by hand."""
    if address.lower().startswith("b.") and incoming.kind in ("bounce", "complaint"):
        said = (
            "The address it came to is none that this server signed, and nothing in it is: it may be forged. It "
            "suppresses nobody."
        )
    elif incoming.kind in ("bounce", "complaint"):
        said = (
            "Nothing in it names one of our mails for certain. An address that a report only names could be anybody's: "
            "it suppresses nobody. Add the address to the suppression list by hand if you trust whoever wrote."
        )
    else:
        said = "It belongs to none of our mails. It changes nothing."
    return Effect("matches no mail of ours", said)


def _concerned(recipients: tuple[Recipient, ...], address: str) -> Recipient:
    """The failure of `address` itself, else the first: it was forwarded to one that failed."""
    failed = [r for r in recipients if r.action == "failed"]
    own = [r for r in failed if r.address.lower() == address.lower()]
    return (own or failed)[0]


# ------------------------------------------------------------------ replies, unsubscribes


async def _reply(db: Connection, settings: Settings, delivery: Row, fields: Fields, raw: bytes, sender: str) -> Effect:
    """Forward a person's answer to whom the campaign's answers go to, and count it."""
    if not sender or replies.automatic(fields):
        return Effect("automatic, changes nothing", _HARMLESS["auto-reply"])
    campaign = await maybe(db, "SELECT reply_to, from_address FROM campaign WHERE id = %s", [delivery["campaign_id"]])
    if campaign is None:
        return Effect(
            "reply to a campaign that is gone", "The campaign is gone, so nobody can be told. It is kept here."
        )
    target = campaign["reply_to"] or campaign["from_address"]
    refused = await replies.forward(settings, sender, raw, target)
    now = datetime.now(UTC)
    outcome = Outcome(delivery["campaign_id"], delivery["id"], "replied", now, source="mail")
    if refused:
        return Effect(f"reply, not forwarded: {refused}", f"It could not be forwarded to {target}: {refused}", outcome)
    return Effect(f"reply, forwarded to {target}", f"A reply. It was forwarded to {target}.", outcome, keep=False)


async def _leave(db: Connection, tokens: Tokens, address: str, incoming: Incoming, fields: Fields, raw: bytes) -> bool:
    """A mail to an address of List-Unsubscribe: whatever it says, if a person's program wrote it."""
    row = None
    try:
        campaign, delivery = tokens.verp.read_leave(address)
        row = await maybe(
            db,
            """SELECT campaign_id, id, workspace_id, contact_id, recipient FROM delivery
               WHERE campaign_id = %s AND id = %s""",
            [campaign, delivery],
        )
    except InvalidToken:
        pass
    if row is None:
        effect = Effect("unsubscribe, not ours", "The address is none that this server signed. It unsubscribes nobody.")
    elif incoming.kind in _MACHINES:
        effect = Effect(f"{incoming.kind} to an unsubscribe address, changes nothing", "No person wrote it.")
    else:
        await _unsubscribe(db, row)
        effect = Effect("unsubscribed", _LEFT, keep=False)
    by = "unsubscribe" if row is not None else ""
    await _keep(db, address, incoming, fields, raw, row, by, effect, kind="unsubscribe")
    return row is not None


_LEFT = "The reader unsubscribed, and gets no campaign any more."


async def _unsubscribe(db: Connection, delivery: Row) -> None:
    """Counted as one by the button is; a second time changes nothing."""
    key = (delivery["workspace_id"], delivery["campaign_id"], delivery["id"])
    await loader.take(db, [Hit("u", *key, 0, time.time(), "MAIL", False, "mail")])


# ------------------------------------------------------------------ keeping


async def _keep(
    db: Connection,
    address: str,
    incoming: Incoming,
    fields: Fields,
    raw: bytes,
    delivery: Row | None,
    by: str,
    effect: Effect,
    *,
    kind: str = "",
) -> int:
    recipient = delivery["recipient"] if delivery else next((r.address for r in incoming.recipients if r.address), "")
    row = await one(
        db,
        """INSERT INTO incoming_report (kind, matched, campaign_id, delivery_id, workspace_id, address, sender, subject,
                                        recipient, matched_by, category, effect, summary, raw)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id""",
        [
            kind or ("other" if incoming.kind == "delivered" else incoming.kind),
            delivery is not None,
            delivery["campaign_id"] if delivery else None,
            delivery["id"] if delivery else None,
            delivery["workspace_id"] if delivery else None,
            _clean(address)[:320],
            _clean(words(fields.get("from")))[:320],
            _clean(incoming.subject)[:300],
            _clean(recipient)[:320],
            by,
            effect.category,
            _clean(effect.words)[:1000],
            _clean(f"{effect.summary} ({incoming.subject})")[:500],
            raw[:RAW] if effect.keep else None,
        ],
    )
    return int(row["id"])


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()
