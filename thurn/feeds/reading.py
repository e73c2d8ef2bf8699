"""What a report from elsewhere changes: the delivery of ours it belongs to is found, and the ledger hears of it.

Only a token of ours connects a report with a delivery: in the address it came to, in the envelope sender or the
Message-ID of the mail it is about, or in the metadata a service kept for us. A workspace's feed can touch its own mails
only; those of `main`, which runs the installation, touch all.
"""

import re
from collections.abc import Iterable, Iterator

import structlog

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe
from thurn.feedback.bounce_mail import read as read_mail
from thurn.feedback.incoming import Tokens, record
from thurn.feedback.mime import fields_of
from thurn.feeds import events
from thurn.mail.tokens import InvalidToken
from thurn.settings import Settings

log = structlog.get_logger()

_ADDRESSES = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-forwarded-to", "to", "cc")
_VERP = re.compile(r"b\.[a-z0-9-]{1,20}\.[a-z0-9-]{1,20}\.[a-z2-7]{10,40}@[a-z0-9.-]{1,253}", re.IGNORECASE)


async def new(db: Connection, feed: Row, key: bytes) -> bool:
    """Remember an item; False if it was here before."""
    done = await db.execute(
        """INSERT INTO feed_item (feed_id, workspace_id, key) VALUES (%s, %s, %s)
           ON CONFLICT (feed_id, key) DO NOTHING""",
        [feed["id"], feed["workspace_id"], key],
    )
    return bool(done.rowcount)


async def take_mail(db: Connection, settings: Settings, tokens: Tokens, feed: Row, raw: bytes, key: bytes) -> None:
    """Read a mail of a mailbox, in the transaction of `db`. The same mail a second time changes nothing."""
    if not raw or not await new(db, feed, key):
        return
    incoming = read_mail(raw)
    if incoming.kind in ("dmarc", "tlsrpt") and feed["main"]:
        await record(db, settings, tokens, f"{incoming.kind}@{feed['host']}", incoming, raw)
        await _count(db, feed, taken=1, matched=0)
        return
    if incoming.kind not in ("bounce", "complaint", "delayed"):  # of other mail nothing is kept: it may be a person's
        await _count(db, feed, taken=1, matched=0)
        return
    names = [*_named(raw), *incoming.senders, incoming.message_id]
    address = await _ours(db, tokens, feed, names)
    matched = False
    if address:
        matched = await record(db, settings, tokens, address, incoming, raw)
    elif feed["main"]:
        await record(db, settings, tokens, feed["login"], incoming, raw)
    await _count(db, feed, taken=1, matched=int(matched))


async def take_call(db: Connection, settings: Settings, tokens: Tokens, feed: Row, body: bytes) -> None:
    """Read what a service sent, in the transaction of `db`. Events about mails of others are counted only."""
    try:
        found = events.read(feed["kind"], body)
    except events.Unreadable as error:
        await db.execute("UPDATE feed SET reason = %s WHERE id = %s", [f"A call cannot be read. {error}", feed["id"]])
        return
    matched = 0
    for event in found:
        address = await _ours(db, tokens, feed, event.names)
        if address:
            raw = f"{feed['kind']}: {event!r}".encode("utf-8", "replace")
            matched += await record(db, settings, tokens, address, event.incoming(), raw)
    await _count(db, feed, taken=len(found), matched=matched)


async def _ours(db: Connection, tokens: Tokens, feed: Row, names: Iterable[str]) -> str:
    """A bounce address of ours that one of the names stands for, if its delivery is this feed's to touch."""
    for address in _addresses(names):
        try:
            campaign, delivery = tokens.verp.read(address)
        except InvalidToken:
            continue
        row = await maybe(
            db, "SELECT workspace_id FROM delivery WHERE campaign_id = %s AND id = %s", [campaign, delivery]
        )
        if row is not None and (feed["main"] or row["workspace_id"] == feed["workspace_id"]):
            return address
    return ""


def _addresses(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        local, _, domain = name.strip("<> ").partition("@")
        yield f"{local}@{domain or 'x'}"
        # Our Message-ID is the token of the envelope sender, and so is what a service keeps for us.
        yield f"b.x.x.{local.lower()}@{domain or 'x'}"


def _named(raw: bytes) -> list[str]:
    """Addresses of ours in the header, and in the report itself: relays rewrite the envelope and keep it in words."""
    fields = fields_of(raw[: 64 * 1024])
    there = [found for name in _ADDRESSES for value in fields.all(name) for found in _VERP.findall(value)]
    return [*there, *_VERP.findall(raw[: 256 * 1024].decode("latin-1"))][:20]


async def _count(db: Connection, feed: Row, *, taken: int, matched: int) -> None:
    await db.execute(
        "UPDATE feed SET taken = taken + %s, matched = matched + %s WHERE id = %s", [taken, matched, feed["id"]]
    )
