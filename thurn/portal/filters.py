"""Absence and sorting rules of a mailbox. The rows are what counts; each change writes the script anew (`publish`)."""

from datetime import date
from typing import get_args

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.mailhost import forwards
from thurn.portal import managesieve, sieve
from thurn.portal.inner import door_key
from thurn.portal.sieve import Absence, Action, Field, Rule
from thurn.problems import Conflict, Invalid, NotFound
from thurn.settings import Settings

MOST_RULES = 100
LONGEST_BODY, LONGEST_SUBJECT, LONGEST_TEXT = 10_000, 200, 200
_FIELDS, _ACTIONS = get_args(Field), get_args(Action)


# ---------------------------------------------------------------- absence


async def absence(db: Connection, mailbox_id: int) -> Absence:
    """The absence reply, off if there never was one."""
    row = await maybe(
        db,
        """SELECT active, first_day, last_day, subject, body, every_days FROM mailbox_absence WHERE mailbox_id = %s""",
        [mailbox_id],
    )
    return Absence(**row) if row else Absence()


async def put_absence(db: Connection, workspace: int, mailbox_id: int, new: Absence) -> None:
    """Keep it. `Invalid` (body, subject, last_day, every_days). `publish` afterwards."""
    subject, body = new.subject.strip(), new.body.replace("\r\n", "\n").replace("\r", "\n").strip()
    if new.active and not body:
        raise Invalid("body", "Say something to those who write while you are away.")
    if len(body) > LONGEST_BODY or not _clean(body):
        raise Invalid("body", f"This text is too long ({LONGEST_BODY} characters fit) or holds control characters.")
    if len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        raise Invalid("subject", f"A subject is one line of at most {LONGEST_SUBJECT} characters.")
    if new.first_day and new.last_day and new.last_day < new.first_day:
        raise Invalid("last_day", "The last day is before the first.")
    if not 1 <= new.every_days <= 30:
        raise Invalid("every_days", "Between 1 and 30 days.")
    await db.execute(
        """INSERT INTO mailbox_absence
             (mailbox_id, workspace_id, active, first_day, last_day, subject, body, every_days)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (mailbox_id) DO UPDATE SET active = excluded.active, first_day = excluded.first_day,
             last_day = excluded.last_day, subject = excluded.subject, body = excluded.body,
             every_days = excluded.every_days""",
        [mailbox_id, workspace, new.active, new.first_day, new.last_day, subject, body, new.every_days],
    )


def in_words(now: Absence, today: date) -> str:
    """How it stands: “Off”, “On until 3 December”, “From 1 December”, “Over since 3 December”."""
    if not now.active:
        return "Off"
    if now.last_day and now.last_day < today:
        return f"Over since {_day(now.last_day, today)}"
    until = f" until {_day(now.last_day, today)}" if now.last_day else ""
    if now.first_day and now.first_day > today:
        return f"From {_day(now.first_day, today)}{until}"
    return f"On{until}"


def _day(day: date, today: date) -> str:
    return f"{day.day} {day:%B}" if day.year == today.year else f"{day.day} {day:%B %Y}"


# ---------------------------------------------------------------- rules


async def rules(db: Connection, mailbox_id: int) -> list[Row]:
    """The rules in order: id, field, contains, action, argument, active."""
    return await rows(
        db,
        """SELECT id, field, contains, action, argument, active FROM mailbox_rule
           WHERE mailbox_id = %s ORDER BY position""",
        [mailbox_id],
    )


def checked(field: str, contains: str, action: str, argument: str, *, active: bool = True) -> Rule:
    """A rule made of what somebody typed; `Invalid` (field, contains, action, argument)."""
    contains, argument = contains.strip(), argument.strip()
    if field not in _FIELDS:
        raise Invalid("field", "Choose what to look at: sender, recipient or subject.")
    if action not in _ACTIONS:
        raise Invalid("action", "Choose what to do with the mail.")
    if not contains or len(contains) > LONGEST_TEXT or not contains.isprintable():
        raise Invalid("contains", f"Say what to look for: one line of at most {LONGEST_TEXT} characters.")
    if action == "folder":
        argument = _folder(argument)
    elif action == "forward":
        try:
            argument = forwards.outward(argument)
        except Invalid as refused:
            raise Invalid("argument", refused.message) from refused
    else:
        argument = ""
    return Rule(field, contains, action, argument, active)  # type: ignore[arg-type] # both were looked up


def _folder(name: str) -> str:
    """A folder as Dovecot takes it: levels are parted by dots in Maildir, so none may be empty."""
    name = name.replace("/", ".")
    levels = name.split(".")
    if (
        not name
        or len(name) > 100
        or not name.isprintable()
        or not all(level.strip() == level != "" for level in levels)
    ):
        raise Invalid("argument", "Name the folder, for example Invoices, or Clubs/Choir for one below another.")
    if set(name) & set('\\"*%~') or len(levels) > 5:
        raise Invalid("argument", "A folder's name has no \\, \", *, % or ~, and at most five levels.")
    return name


async def add_rule(db: Connection, workspace: int, mailbox_id: int, rule: Rule) -> int:
    """Put a rule behind the others; returns its id. `publish` afterwards."""
    await _one_at_a_time(db, mailbox_id)
    have = await one(
        db,
        "SELECT count(*) AS n, coalesce(max(position), 0) AS last FROM mailbox_rule WHERE mailbox_id = %s",
        [mailbox_id],
    )
    if have["n"] >= MOST_RULES:
        raise Conflict(f"There are {MOST_RULES} rules already. Remove those you no longer need.")
    row = await one(
        db,
        """INSERT INTO mailbox_rule (workspace_id, mailbox_id, position, active, field, contains, action, argument)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id""",
        [workspace, mailbox_id, have["last"] + 1, rule.active, rule.field, rule.contains, rule.action, rule.argument],
    )
    return int(row["id"])


async def change_rule(db: Connection, mailbox_id: int, number: int, rule: Rule) -> None:
    """Make another one of a rule, in its place; on or off as `rule` says. `NotFound`. `publish` afterwards."""
    changed = await db.execute(
        """UPDATE mailbox_rule SET active = %s, field = %s, contains = %s, action = %s, argument = %s
           WHERE id = %s AND mailbox_id = %s""",
        [rule.active, rule.field, rule.contains, rule.action, rule.argument, number, mailbox_id],
    )
    if not changed.rowcount:
        raise NotFound("There is no such rule.")


async def get_rule(db: Connection, mailbox_id: int, number: int) -> Row:
    """One rule; `NotFound`."""
    found = [row for row in await rules(db, mailbox_id) if row["id"] == number]
    if not found:
        raise NotFound("There is no such rule.")
    return found[0]


async def set_active(db: Connection, mailbox_id: int, number: int, *, active: bool) -> None:
    """Switch a rule on or off; `NotFound`."""
    changed = await db.execute(
        "UPDATE mailbox_rule SET active = %s WHERE id = %s AND mailbox_id = %s", [active, number, mailbox_id]
    )
    if not changed.rowcount:
        raise NotFound("There is no such rule.")


async def remove_rule(db: Connection, mailbox_id: int, number: int) -> None:
    """Remove a rule; `NotFound`."""
    gone = await db.execute("DELETE FROM mailbox_rule WHERE id = %s AND mailbox_id = %s", [number, mailbox_id])
    if not gone.rowcount:
        raise NotFound("There is no such rule.")


async def move_up(db: Connection, mailbox_id: int, number: int) -> None:
    """Let a rule change places with the one before it; the first stays. `NotFound`."""
    await _one_at_a_time(db, mailbox_id)
    order = [row["id"] for row in await rules(db, mailbox_id)]
    if number not in order:
        raise NotFound("There is no such rule.")
    at = order.index(number)
    if at:
        order[at - 1], order[at] = order[at], order[at - 1]
    await db.execute(
        """UPDATE mailbox_rule r SET position = n.position
           FROM unnest(%s::int[]) WITH ORDINALITY AS n (id, position) WHERE r.id = n.id AND r.mailbox_id = %s""",
        [order, mailbox_id],
    )


# ---------------------------------------------------------------- to the mail server


async def publish(db: Connection, settings: Settings, mailbox_id: int) -> bool:
    """Give the mail server the script, as this transaction sees absence and rules.

    False: it did not take it (it is away, or the mailbox is disabled). It is tried again every minute (jobs.py).
    """
    await _one_at_a_time(db, mailbox_id)
    row = await one(
        db,
        """SELECT address, workspace_id,
                  ARRAY(SELECT a.address FROM alias a WHERE a.target = m.address ORDER BY 1) AS aliases
           FROM mailbox m WHERE id = %s""",
        [mailbox_id],
    )
    kept = [
        Rule(rule["field"], rule["contains"], rule["action"], rule["argument"], rule["active"])
        for rule in await rules(db, mailbox_id)
    ]
    script = sieve.render(await absence(db, mailbox_id), kept, [row["address"], *row["aliases"]])
    try:
        async with (
            door_key(settings, row["workspace_id"], mailbox_id) as secret,
            managesieve.connected(settings.port["webmail_sieve"], row["address"], secret) as server,
        ):
            if script is None:
                await server.delete(sieve.SCRIPT)
            else:
                await server.put(sieve.SCRIPT, script)
    except (managesieve.Unreachable, managesieve.Refused) as error:
        await db.execute(
            """INSERT INTO mailbox_filter_pending (mailbox_id, workspace_id, reason) VALUES (%s, %s, %s)
               ON CONFLICT (mailbox_id) DO UPDATE SET reason = excluded.reason""",
            [mailbox_id, row["workspace_id"], str(error)[:500]],
        )
        return False
    await db.execute("DELETE FROM mailbox_filter_pending WHERE mailbox_id = %s", [mailbox_id])
    return True


async def pending(db: Connection, mailbox_id: int) -> bool:
    """Whether the mail server has yet to take what was changed."""
    return await maybe(db, "SELECT 1 FROM mailbox_filter_pending WHERE mailbox_id = %s", [mailbox_id]) is not None


async def _one_at_a_time(db: Connection, mailbox_id: int) -> None:
    """The script that is written last is that of the rows that are committed last. Not FOR UPDATE: `door_key`'s own
    transaction refers to the mailbox and would wait."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('mailbox filters'), %s)", [mailbox_id])


def _clean(text: str) -> bool:
    return all(letter.isprintable() or letter in "\n\t" for letter in text)
