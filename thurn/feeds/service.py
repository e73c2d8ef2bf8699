"""Feeds as people ask for them: where else bounces come from, and how each is getting on."""

import re
import secrets as random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from psycopg.errors import UniqueViolation

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.feeds import proof
from thurn.feeds.events import SERVICES
from thurn.moves.hosts import checked_fingerprint, checked_host
from thurn.problems import Conflict, Invalid, NotFound
from thurn.secrets import Secrets
from thurn.settings import Settings

PORTS = {"imap": (993, 143), "pop3": (995, 110)}
AFTERWARDS = {"imap": ("keep", "seen", "move", "delete"), "pop3": ("keep", "delete")}
KINDS = (*PORTS, *SERVICES)
TITLES = {
    "imap": "Mailbox over IMAP", "pop3": "Mailbox over POP3", "ses": "Amazon SES", "sendgrid": "SendGrid",
    "mailgun": "Mailgun", "postmark": "Postmark", "sparkpost": "SparkPost", "brevo": "Brevo",
}  # fmt: skip
EVERY = 60  # seconds between looks at a mailbox

_ALL = """id, workspace_id, name, kind, enabled, host, port, login, fingerprint, folder, afterwards, target, hook,
  state, reason, failures, next_at, read_at, taken, matched, refused, refused_at, created_at"""
_TOPIC = re.compile(r"arn:aws(-cn|-us-gov)?:sns:[a-z0-9-]{3,30}:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")


@dataclass(frozen=True, slots=True)
class New:
    """What somebody types. Of a mailbox: where it is and how to open it; of a service: what proves its calls."""

    name: str
    kind: str
    secret: str = ""  # password; SendGrid's verification key; Mailgun's signing key; the ARN of an SNS topic
    host: str = ""
    port: int = 0
    login: str = ""
    fingerprint: str = ""
    folder: str = "INBOX"
    afterwards: str = "keep"
    target: str = ""


def label(feed: Mapping[str, Any]) -> str:
    """What a sealed secret is bound to."""
    return f"feed {feed['workspace_id']} {feed['kind']} {feed['host']} {feed['login']} {feed['hook'] or ''}"


def is_mailbox(kind: str) -> bool:
    """Whether it is read; the others call us."""
    return kind in PORTS


async def add(db: Connection, workspace: int, new: New, *, settings: Settings) -> int:
    """Begin to listen to a feed; its id. `Invalid` with the field that cannot be taken, `Conflict` for a taken name."""
    if new.kind not in KINDS:
        raise Invalid("kind", "Choose one of: " + ", ".join(KINDS) + ".")
    name = _line("name", new.name, "Give it a name.", 100)
    kept = _mailbox(new, settings) if is_mailbox(new.kind) else _service(new)
    kept |= {"workspace_id": workspace, "name": name, "kind": new.kind}
    kept["secret"] = Secrets(settings.state).seal(kept["secret"].encode(), label(kept))
    try:
        async with db.transaction():
            row = await one(
                db,
                """INSERT INTO feed (workspace_id, name, kind, secret, host, port, login, fingerprint, folder,
                     afterwards, target, hook)
                   VALUES (%(workspace_id)s, %(name)s, %(kind)s, %(secret)s, %(host)s, %(port)s, %(login)s,
                     %(fingerprint)s, %(folder)s, %(afterwards)s, %(target)s, %(hook)s) RETURNING id""",
                kept,
            )
    except UniqueViolation as error:
        raise Conflict(f"There is a feed called {name} already.") from error
    return int(row["id"])


def _mailbox(new: New, settings: Settings) -> dict[str, Any]:
    port = new.port or PORTS[new.kind][0]
    if port not in PORTS[new.kind] and not (settings.simulate and 0 < port < 2**16):
        with_tls, starttls = PORTS[new.kind]
        raise Invalid("port", f"{new.kind.upper()} is at port {with_tls} (TLS) or {starttls} (STARTTLS).")
    if new.afterwards not in AFTERWARDS[new.kind]:
        raise Invalid("afterwards", "Choose one of: " + ", ".join(AFTERWARDS[new.kind]) + ".")
    target = ""
    if new.afterwards == "move":
        target = _line("target", new.target, "Name the folder that read mail goes to.", 200)
    folder = _line("folder", new.folder or "INBOX", "", 200) if new.kind == "imap" else ""
    if target and target == folder:
        raise Invalid("target", "That is the folder Thurn reads. Choose another one.")
    return {
        "host": checked_host(new.host), "port": port, "login": _line("login", new.login, "Needed to sign in there."),
        "secret": _line("secret", new.secret, "Needed to sign in there."),
        "fingerprint": checked_fingerprint(new.fingerprint), "folder": folder, "afterwards": new.afterwards,
        "target": target, "hook": None,
    }  # fmt: skip


def _service(new: New) -> dict[str, Any]:
    secret = new.secret.strip()
    match new.kind:
        case "ses":
            if not _TOPIC.fullmatch(secret):
                raise Invalid(
                    "secret", "Paste the ARN of the SNS topic, for example arn:aws:sns:eu-west-1:123456789012:bounces."
                )
        case "sendgrid":
            try:
                proof.public_key(secret)
            except ValueError as error:
                raise Invalid(
                    "secret", "Paste the verification key that SendGrid shows beside “Signed event webhook”."
                ) from error
        case "mailgun":
            secret = _line(
                "secret", secret, "Paste the HTTP webhook signing key that Mailgun shows under API security.", 200
            )
        case _:  # these sign nothing: the password is ours to make
            secret = random.token_urlsafe(24)
    return {
        "host": "", "port": None, "login": "", "secret": secret, "fingerprint": "", "folder": "", "afterwards": "keep",
        "target": "", "hook": random.token_urlsafe(24),
    }  # fmt: skip


async def get(db: Connection, number: int) -> Row:
    """One feed. `NotFound`."""
    row = await maybe(db, f"SELECT {_ALL} FROM feed WHERE id = %s", [number])  # noqa: S608
    if row is None:
        raise NotFound("There is no such feed here.")
    return row


async def feed_page(db: Connection, *, after: int = 0, limit: int = 100) -> list[Row]:
    """Feeds in the order they were made."""
    return await rows(db, f"SELECT {_ALL} FROM feed WHERE id > %s ORDER BY id LIMIT %s", [after, limit])  # noqa: S608


async def secret_of(db: Connection, number: int, settings: Settings) -> str:
    """What was sealed. `NotFound`; `Conflict` when this installation cannot open it."""
    row = await maybe(db, "SELECT workspace_id, kind, host, login, hook, secret FROM feed WHERE id = %s", [number])
    if row is None:
        raise NotFound("There is no such feed here.")
    try:
        return Secrets(settings.state).unseal(bytes(row["secret"]), label(row)).decode()
    except (InvalidTag, ValueError) as error:
        raise Conflict("The secret of this feed was sealed by another installation. Add the feed again.") from error


def address(feed: Mapping[str, Any], base: str, secret: str) -> str:
    """What to enter at the service: for those that sign nothing with user name and password in it."""
    if feed["kind"] not in proof.SIGNED:
        scheme, _, rest = base.partition("://")
        base = f"{scheme}://{proof.USER}:{secret}@{rest}"
    return f"{base}/hooks/{feed['hook']}"


async def remove(db: Connection, number: int) -> None:
    """Forget a feed and what it has seen; what its reports did stays. `NotFound`."""
    gone = await db.execute("DELETE FROM feed WHERE id = %s", [number])
    if not gone.rowcount:
        raise NotFound("There is no such feed here.")


async def switch(db: Connection, number: int, *, enabled: bool) -> None:
    """Listen to it or not; switching on forgives what went wrong before. `NotFound`."""
    changed = await db.execute(
        """UPDATE feed SET enabled = %s, state = CASE WHEN %s AND state <> 'ok' THEN 'waiting' ELSE state END,
             reason = CASE WHEN %s THEN '' ELSE reason END, failures = 0, next_at = now() WHERE id = %s""",
        [enabled, enabled, enabled, number],
    )
    if not changed.rowcount:
        raise NotFound("There is no such feed here.")


def _line(field: str, text: str, needed: str, longest: int = 500) -> str:
    if not text.strip():
        raise Invalid(field, needed or "Needed.")
    if len(text) > longest or not text.isprintable():
        raise Invalid(field, f"One line of at most {longest} letters.")
    return text
