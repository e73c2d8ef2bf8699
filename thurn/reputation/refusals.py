"""Answers of providers that mean a block on the sender, over the last day, and whom to write to about it.

Counted from the mail log by shaping (thurn/shaping/answers.py). Pages of providers: as each names them for senders.
"""

from dataclasses import dataclass
from datetime import datetime

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.web.words import PROVIDERS

BLOCKS = ("reputation-block", "policy-block", "spam-refused", "auth-failure")


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a provider hears senders. `first`: what it wants to be true before."""

    first: str
    form: str
    about: str = ""


CONTACTS = {
    "google": Contact(
        "Gmail answers no single questions. Look at Postmaster Tools; for bulk mail that meets its rules and is still "
        "refused there is a form.",
        "https://support.google.com/mail/contact/gmail_bulk_sender_escalation",
        "https://support.google.com/a/answer/81126",
    ),
    "microsoft": Contact(
        "Outlook.com unblocks addresses by its form, usually within a day. Name address and reply word for word.",
        "https://olcsupport.office.com/",
        "https://sendersupport.olc.protection.outlook.com/pm/",
    ),
    "office": Contact(
        "Microsoft 365 takes addresses off its list by a form of its own: enter the address, confirm by mail.",
        "https://sender.office.com/",
    ),
    "yahoo": Contact(
        "Yahoo and AOL want the domain signed by DKIM and registered with their complaint feedback loop.",
        "https://senders.yahooinc.com/contact",
        "https://senders.yahooinc.com/best-practices/",
    ),
    "apple": Contact(
        "Apple takes mail about it at icloudadmin@apple.com: domain, addresses, the reply, and times in UTC.",
        "https://support.apple.com/en-us/102322",
    ),
    "gmx": Contact(
        "GMX and WEB.DE answer by their form; they want a working abuse address and few complaints.",
        "https://postmaster.gmx.net/en/contact",
        "https://postmaster.gmx.net/en/email-policy",
    ),
}  # fmt: skip
_OTHERS = Contact(
    "The reply usually names a page or an address. Write there with the sending address and the reply, word for word.",
    "",
)
_MEANINGS = {
    "reputation-block": (
        "They refuse the sending address or domain for what came from it before",
        "Send less and only to people who read; look at the block lists; then ask them.",
    ),
    "policy-block": (
        "They refuse by a rule of theirs",
        "Their reply says which. Often the reverse DNS name, a list, or a rule of one company.",
    ),
    "spam-refused": (
        "They take the mail for spam",
        "Look at what was sent and to whom: complaints, bought addresses, links to listed names.",
    ),
    "auth-failure": (
        "SPF, DKIM or DMARC did not pass there",
        "Look at the DNS records of the domain and at who sends as you.",
    ),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refusals of one kind by one provider. `of`: mails it answered at all; `reply`: one of them, as it came."""

    provider: str
    category: str
    n: int
    of: int
    put_off: int
    egresses: list[str]
    reply: str
    last: datetime

    @property
    def name(self) -> str:
        """The provider as people call it."""
        return PROVIDERS.get(self.provider, self.provider)

    @property
    def what(self) -> str:
        """In words."""
        return _MEANINGS[self.category][0]

    @property
    def do(self) -> str:
        """What to do."""
        return _MEANINGS[self.category][1]

    @property
    def contact(self) -> Contact:
        """Whom to write to."""
        return CONTACTS.get(self.provider, _OTHERS)


async def refusals(db: Connection) -> list[Refusal]:
    """Of the last 24 hours, most first."""
    found: list[Row] = await rows(
        db,
        """WITH day AS (SELECT * FROM provider_answer WHERE at > now() - interval '1 day'),
                answered AS (SELECT provider, sum(n)::bigint AS of FROM day GROUP BY provider)
           SELECT provider, category, sum(n)::bigint AS n, max(a.of) AS of,
                  coalesce(sum(n) FILTER (WHERE outcome = 'deferred'), 0)::bigint AS put_off,
                  array_agg(DISTINCT egress) AS egresses, (array_agg(reply ORDER BY n DESC))[1] AS reply,
                  max(at) AS last
           FROM day JOIN answered a USING (provider)
           WHERE outcome <> 'delivered' AND category = ANY(%s)
           GROUP BY provider, category ORDER BY n DESC LIMIT 50""",
        [list(BLOCKS)],
    )
    return [Refusal(**row) for row in found]
