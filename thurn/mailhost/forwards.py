"""Forwarding: where the mail of a mailbox goes on to. Dovecot does it at delivery (thurn/stack/dovecot.py).

What is spam is not sent on. The envelope sender of what leaves the house is rewritten (thurn/mail/srs.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from thurn.audience import addresses
from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.mailhost.names import LONGEST_LOCAL_PART, one_line
from thurn.problems import Invalid, NotFound

MOST = 10  # targets of one mailbox; the filter and the table's constraint know the same number


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Addresses that get the mail; with `keep_copy` the mailbox keeps it too."""

    targets: tuple[str, ...]
    keep_copy: bool


async def get(db: Connection, mailbox_id: int) -> Forwarding:
    """How a mailbox forwards; no targets: not at all."""
    row = await maybe(db, "SELECT forward_to, forward_keep FROM mailbox WHERE id = %s", [mailbox_id])
    if row is None:
        raise NotFound("There is no such mailbox.")
    return Forwarding(tuple(row["forward_to"]), row["forward_keep"])


async def put(
    db: Connection, workspace: int, mailbox_id: int, *, targets: Sequence[str], keep_copy: bool = True
) -> Forwarding:
    """Forward to `targets` from now on, none: stop. Returns what is kept. `Invalid` (field `targets`)."""
    row = await maybe(
        db, "SELECT address FROM mailbox WHERE id = %s AND workspace_id = %s FOR UPDATE", [mailbox_id, workspace]
    )
    if row is None:
        raise NotFound("There is no such mailbox.")
    kept = tuple(dict.fromkeys(outward(target) for target in targets if target.strip()))
    if row["address"] in {target.lower() for target in kept}:
        raise Invalid("targets", f"{row['address']} cannot forward to itself. To keep the mail here, keep a copy.")
    if len(kept) > MOST:
        raise Invalid("targets", f"A mailbox forwards to {MOST} addresses at most; these are {len(kept)}.")
    keep_copy = keep_copy or not kept
    await db.execute(
        "UPDATE mailbox SET forward_to = %s, forward_keep = %s WHERE id = %s", [list(kept), keep_copy, mailbox_id]
    )
    return Forwarding(kept, keep_copy)


def outward(text: str) -> str:
    """An address anywhere that mail may be sent on to, as it is kept. `Invalid` (field `targets`)."""
    try:
        address = addresses.clean(text)
    except Invalid as error:
        raise Invalid("targets", f"{_shown(text)}: {error.message}") from error
    # An option, a file, a command or a route of old, to one program or another on the way.
    if address[0] in "-/" or set(address) & set("%!|"):
        raise Invalid(
            "targets", f"{_shown(text)}: Mail is not sent on to an address with %, ! or |, or - or / in front."
        )
    if len(address.rpartition("@")[0]) > LONGEST_LOCAL_PART:
        raise Invalid("targets", f"{_shown(text)}: The part before the @ is too long: {LONGEST_LOCAL_PART} characters.")
    return address


def _shown(text: str) -> str:
    """What was typed, short and on one line."""
    tidy = one_line(text)
    return tidy if len(tidy) <= 60 else f"{tidy[:59]}…"
