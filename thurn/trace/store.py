"""Writes what the reader has found. Rows of a workspace that is gone meanwhile find nothing to hang on, and vanish."""

from psycopg.types.json import Jsonb

from thurn.db.connect import Connection
from thurn.trace.book import Batch, Mail

_MESSAGE = """
INSERT INTO trace_message
  (id, workspace_id, node, queue_id, at, ours, sender, message_id, size, client_ip, client_name, helo, login)
SELECT %(id)s, id, %(node)s, %(queue_id)s, %(at)s, %(ours)s, %(sender)s, %(message_id)s, %(size)s,
       %(client_ip)s, %(client_name)s, %(helo)s, %(login)s
FROM workspace WHERE id = %(workspace)s
ON CONFLICT (id) DO UPDATE
SET sender = excluded.sender, message_id = excluded.message_id, size = excluded.size, helo = excluded.helo
"""
_RECIPIENT = """
INSERT INTO trace_recipient (id, workspace_id, trace_id, at, recipient, original, state, reply, changed_at)
SELECT %(id)s, workspace_id, id, at, %(recipient)s, %(original)s, %(state)s, %(reply)s, %(changed_at)s
FROM trace_message WHERE id = %(trace_id)s
ON CONFLICT (trace_id, recipient, original) DO UPDATE
SET state = excluded.state, reply = excluded.reply, changed_at = excluded.changed_at,
    attempts = trace_recipient.attempts + 1
"""
_KEY = """
INSERT INTO trace_key (workspace_id, key, at, recipient_id)
SELECT workspace_id, unnest(%s::text[]), at, id FROM trace_recipient WHERE id = %s ON CONFLICT DO NOTHING
"""
_STEP = """
INSERT INTO trace_step (workspace_id, trace_id, recipient_id, at, what, relay, delay, reply)
SELECT workspace_id, id, %(recipient_id)s, %(at)s, %(what)s, %(relay)s, %(delay)s, %(reply)s
FROM trace_message WHERE id = %(trace_id)s
"""
_EXPIRED = """
UPDATE trace_recipient SET state = 'bounced', reply = %s, changed_at = %s WHERE trace_id = %s AND state = 'deferred'
"""
_OPEN = """
INSERT INTO trace_open (node, queue_id, at, known) VALUES (%s, %s, %s, %s)
ON CONFLICT (node, queue_id) DO UPDATE SET known = excluded.known
"""


async def workspaces(db: Connection, names: set[str]) -> dict[str, int]:
    """Proven domain -> workspace. A domain that is not proven may be somebody else's."""
    rows = await db.execute(
        """SELECT name, workspace_id FROM domain WHERE name = ANY(%(names)s) AND proven_at IS NOT NULL
           UNION ALL SELECT bounce_host, workspace_id FROM domain
           WHERE bounce_host = ANY(%(names)s) AND proven_at IS NOT NULL""",
        {"names": list(names)},
    )
    return {row["name"]: row["workspace_id"] async for row in rows}


async def numbers(db: Connection, how_many: int) -> list[int]:
    """Fresh ids."""
    rows = await db.execute("SELECT nextval('trace_id') AS id FROM generate_series(1, %s)", [how_many])
    return [row["id"] async for row in rows]


async def write(db: Connection, node: str, batch: Batch, mails: dict[str, Mail]) -> None:
    """Add a batch; `mails` are those in the queue now."""
    async with db.cursor() as cursor:
        if batch.messages:
            await cursor.executemany(_MESSAGE, [_message(node, *each) for each in batch.messages.items()])
        if batch.recipients:
            await cursor.executemany(
                _RECIPIENT,
                [
                    {
                        "id": each.number, "trace_id": each.trace_id, "recipient": each.recipient,
                        "original": each.original, "state": each.state, "reply": each.reply,
                        "changed_at": each.changed_at,
                    }
                    for each in batch.recipients
                ],
            )  # fmt: skip
        if batch.keys:
            await cursor.executemany(_KEY, [(sorted(found), number) for number, found in batch.keys.items()])
        if batch.steps:
            await cursor.executemany(
                _STEP,
                [
                    {
                        "trace_id": step.trace_id, "recipient_id": step.recipient_id, "at": step.at, "what": step.what,
                        "relay": step.relay, "delay": step.delay, "reply": step.reply,
                    }
                    for step in batch.steps
                ],
            )  # fmt: skip
        for trace_id, at, reply in batch.expired:
            await cursor.execute(_EXPIRED, [reply, at, trace_id])
        if still := [mails[queue_id] for queue_id in batch.changed if queue_id in mails]:
            await cursor.executemany(_OPEN, [(node, mail.queue_id, mail.at, Jsonb(mail.known())) for mail in still])
        if batch.gone:
            await cursor.execute(
                "DELETE FROM trace_open WHERE node = %s AND queue_id = ANY(%s)", [node, list(batch.gone)]
            )


def _message(node: str, trace_id: int, what: tuple[int, bool, Mail]) -> dict[str, object]:
    workspace, ours, mail = what
    hidden = bool(mail.login) and not ours  # where a tenant's people sit is no business of another's
    return {
        "id": trace_id, "workspace": workspace, "node": node, "queue_id": mail.queue_id, "at": mail.at, "ours": ours,
        "sender": mail.sender, "message_id": mail.message_id, "size": mail.size, "helo": mail.helo,
        "client_ip": "" if hidden else mail.client_ip, "client_name": "" if hidden else mail.client_name,
        "login": "" if hidden else mail.login,
    }  # fmt: skip
