"""The audience of a campaign, frozen: one delivery per recipient, made in chunks, resumable after any interruption."""

from thurn.audience.barring import condition
from thurn.db.connect import Connection
from thurn.delivery.providers import provider_of
from thurn.mail.dns import make_resolver, mx_of_all
from thurn.settings import Settings

CHUNK = 20_000  # contacts a transaction
_WHOLE = 2**63 - 1  # the cursor of a snapshot that has been finished

# Of each list its next members, in the order of the index: so a chunk of a million costs what one of a thousand does.
# Without that limit inside, every chunk would read all that is left.
_MEMBERS = """
SELECT DISTINCT n.contact_id FROM campaign_list cl CROSS JOIN LATERAL (
  SELECT m.contact_id FROM list_member m WHERE m.list_id = cl.list_id AND m.contact_id > %(cursor)s
  ORDER BY m.contact_id LIMIT %(chunk)s) n
WHERE cl.campaign_id = %(campaign)s ORDER BY n.contact_id LIMIT %(chunk)s
"""

# After an import the statistics are old: the planner then takes a list for short, reads the whole of it and sorts.
_IN_ORDER = "SET LOCAL enable_bitmapscan = off"

_NEW_DOMAINS = f"""
SELECT DISTINCT lower(split_part(c.email, '@', 2)) AS domain FROM ({_MEMBERS}) m JOIN contact c ON c.id = m.contact_id
WHERE NOT EXISTS (SELECT 1 FROM provider_domain p
                  WHERE p.domain = lower(split_part(c.email, '@', 2)) AND p.expires_at > now())
"""  # noqa: S608 - no values are put in here

# Due since ever, not since now: a clock that is set back must not make a whole campaign wait until it is now again. Who
# read or clicked lately comes first, for a sending address that warms up: claims go by `send_at`, so it is mirrored at
# the epoch. By days, so that neighbours in the audience stay neighbours in the index.
_INSERT = f"""
WITH member AS MATERIALIZED ({_MEMBERS}), inserted AS (
  INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, send_at, provider)
  SELECT %(campaign)s, c.workspace_id, c.id, c.email,
         'epoch'::timestamptz - make_interval(days => coalesce(c.engaged_on - date '1970-01-01', 0)),
         CASE WHEN EXISTS (SELECT 1 FROM domain d WHERE d.name = lower(split_part(c.email, '@', 2))
                           AND d.proven_at IS NOT NULL) THEN 'local'
              ELSE coalesce(p.provider, 'other') END
  -- Looked up one by one, whatever the planner thinks of a table that was filled a minute ago.
  FROM member m CROSS JOIN LATERAL (SELECT * FROM contact WHERE id = m.contact_id OFFSET 0) c
  LEFT JOIN provider_domain p ON p.domain = lower(split_part(c.email, '@', 2))
  WHERE c.workspace_id = %(workspace)s AND c.unsubscribed_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM suppression s WHERE {condition("c.email", "c.workspace_id")} OFFSET 0)
  ON CONFLICT (campaign_id, contact_id) DO NOTHING
  RETURNING provider
), tallied AS (
  INSERT INTO campaign_tally (workspace_id, campaign_id, provider, measure, n)
  SELECT %(workspace)s, %(campaign)s, provider, 'recipients', count(*) FROM inserted GROUP BY provider
  ON CONFLICT (campaign_id, provider, measure) DO UPDATE SET n = campaign_tally.n + excluded.n
)
UPDATE campaign SET recipients = recipients + (SELECT count(*) FROM inserted),
       -- Taken whole, the audience stays as it is: who joins a list later is not reached by pausing and resuming.
       launch_cursor = CASE WHEN (SELECT count(*) FROM member) < %(chunk)s THEN {_WHOLE}
                            ELSE (SELECT max(contact_id) FROM member) END,
       state = CASE WHEN (SELECT count(*) FROM member) < %(chunk)s THEN 'sending' ELSE state END
WHERE id = %(campaign)s RETURNING state
"""  # noqa: S608


async def snapshot(db: Connection, campaign: int, settings: Settings, *, chunk: int = CHUNK) -> None:
    """Insert the deliveries of a launching campaign and set it to `sending`; commits every chunk.

    Stops without a word when the campaign was paused or cancelled meanwhile. Run again after a kill, it goes on where
    the last committed chunk ended; a recipient exists once (`UNIQUE (campaign_id, contact_id)`).
    """
    resolver = make_resolver(settings.nameservers)
    while True:
        async with db.transaction():
            row = await (await db.execute("SELECT * FROM campaign WHERE id = %s", [campaign])).fetchone()
            if row is None or row["state"] != "launching":
                return
            values = {
                "campaign": campaign,
                "cursor": row["launch_cursor"],
                "chunk": chunk,
                "workspace": row["workspace_id"],
            }
            await db.execute(_IN_ORDER)
            domains = [r["domain"] for r in await (await db.execute(_NEW_DOMAINS, values)).fetchall()]
        # Outside any transaction: DNS takes its time.
        hosts = await mx_of_all(resolver, domains) if domains else {}
        async with db.transaction():
            await _remember(db, hosts)
            # The lock makes pause and cancel wait for this chunk, or this chunk see them.
            row = await (await db.execute("SELECT state FROM campaign WHERE id = %s FOR UPDATE", [campaign])).fetchone()
            if row is None or row["state"] != "launching":
                return
            await db.execute(_IN_ORDER)
            row = await (await db.execute(_INSERT, values)).fetchone()
        if row is None or row["state"] != "launching":
            return


# A domain without an answer (or without MX) is asked again soon, and stays with the provider it had.
_REMEMBER = """
INSERT INTO provider_domain AS p (domain, provider, expires_at)
VALUES (%s, %s, now() + CASE WHEN %s THEN interval '7 days' ELSE interval '1 hour' END)
ON CONFLICT (domain) DO UPDATE SET looked_up_at = now(), expires_at = excluded.expires_at,
  provider = CASE WHEN excluded.expires_at > now() + interval '1 day' THEN excluded.provider ELSE p.provider END
"""


async def _remember(db: Connection, hosts: dict[str, list[str]]) -> None:
    if hosts:
        async with db.cursor() as cursor:
            await cursor.executemany(
                _REMEMBER, [(domain, provider_of(found), bool(found)) for domain, found in sorted(hosts.items())]
            )


async def cancel_rest(db: Connection, campaign: int, *, chunk: int = CHUNK) -> int:
    """Mark everybody of a cancelled campaign who has not been claimed; returns how many. Commits every chunk."""
    total = 0
    while True:
        async with db.transaction():
            done = await (
                await db.execute(
                    """WITH victim AS (
                         SELECT campaign_id, id FROM delivery WHERE campaign_id = %(campaign)s AND state = 'queued'
                         ORDER BY id LIMIT %(chunk)s FOR UPDATE SKIP LOCKED
                       ), gone AS (
                         UPDATE delivery d SET state = 'cancelled', settled_at = now() FROM victim v
                         WHERE d.campaign_id = v.campaign_id AND d.id = v.id RETURNING d.workspace_id, d.provider
                       ), tallied AS (
                         INSERT INTO campaign_tally (workspace_id, campaign_id, provider, measure, n)
                         SELECT workspace_id, %(campaign)s, provider, 'cancelled', count(*) FROM gone GROUP BY 1, 3
                         ORDER BY 3
                         ON CONFLICT (campaign_id, provider, measure) DO UPDATE SET n = campaign_tally.n + excluded.n
                       ) SELECT count(*) AS n FROM gone""",
                    {"campaign": campaign, "chunk": chunk},
                )
            ).fetchone()
        if not done or not done["n"]:
            return total
        total += done["n"]


async def sweep_cancelled(db: Connection) -> list[int]:
    """Mark who came back into the queue of a cancelled campaign; ends those that nobody sends from any more.

    What was claimed when the campaign was cancelled may be returned later, by a sender that stops or finds that a mail
    was never taken. Returns the ids of the campaigns that ended. `db` must be in autocommit.
    """
    rows = await db.execute("SELECT id FROM campaign WHERE state = 'cancelled' AND finished_at IS NULL")
    campaigns = [row["id"] for row in await rows.fetchall()]
    for campaign in campaigns:
        await cancel_rest(db, campaign)
    ended = await db.execute(
        """UPDATE campaign c SET finished_at = now()
           WHERE c.id = ANY(%s) AND c.state = 'cancelled'
             AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.campaign_id = c.id AND d.state = 'queued')
             AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.campaign_id = c.id AND d.state = 'leased')
           RETURNING c.id""",
        [campaigns],
    )
    return [row["id"] for row in await ended.fetchall()]


async def finish(db: Connection) -> list[int]:
    """Set campaigns to `sent` whose every recipient has a final outcome; returns their ids."""
    rows = await db.execute(
        """UPDATE campaign c SET state = 'sent', finished_at = now()
           WHERE c.state = 'sending' AND c.recipients <= (
             SELECT coalesce(sum(t.n), 0) FROM campaign_tally t
             WHERE t.campaign_id = c.id AND t.measure = ANY(%s)) RETURNING c.id""",
        [["delivered", "bounced_hard", "bounced_soft", "suppressed", "cancelled", "failed", "unknown"]],
    )
    return [row["id"] for row in await rows.fetchall()]
