"""The guard: pauses a campaign, and then its workspace, before bounces or complaints ruin what providers think of us.

A share is believed only where the sample carries it: the threshold must lie below the one-sided 95% confidence interval
(Wilson) of what was counted, and a least number of mails or complaints must be there. Ten bounces of a hundred pause at
5%, six do not yet.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from typing import Literal

from thurn.alerts import notify
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.problems import Invalid

_Z = 1.645  # one-sided 95 %
_LOCK = 0x7468_6772  # "thgr": one judge at a time


@dataclass(frozen=True, slots=True)
class Limits:
    """From which shares on a workspace is warned and stopped."""

    enabled: bool = True
    bounce_warn: float = 0.02
    bounce_pause: float = 0.05
    complaint_warn: float = 0.001
    complaint_pause: float = 0.003
    least_mails: int = 100
    least_complaints: int = 3


@dataclass(frozen=True, slots=True)
class Counts:
    """People. `answered`: every mail a provider has answered, put off ones included."""

    answered: int = 0
    hard: int = 0
    delivered: int = 0
    complained: int = 0

    def less(self, base: "Counts") -> "Counts":
        """What came after `base`."""
        return Counts(
            max(0, self.answered - base.answered), max(0, self.hard - base.hard),
            max(0, self.delivered - base.delivered), max(0, self.complained - base.complained),
        )  # fmt: skip

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            self.answered + other.answered, self.hard + other.hard, self.delivered + other.delivered,
            self.complained + other.complained,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judgement:
    """`pause` or `warn`, and why, in words."""

    level: Literal["warn", "pause"]
    why: str


def at_least(n: int, of: int) -> float:
    """The lower end of the one-sided 95% Wilson interval of n of `of`: the share is at least this."""
    if of <= 0 or n <= 0:
        return 0.0
    p, z2 = min(1.0, n / of), _Z * _Z
    middle = p + z2 / (2 * of)
    return max(0.0, (middle - _Z * sqrt((p * (1 - p) + z2 / (4 * of)) / of)) / (1 + z2 / of))


def judge(counts: Counts, limits: Limits) -> Judgement | None:
    """What these counts mean; None: nothing to say, or too few to say it."""
    if not limits.enabled:
        return None
    found = []
    if counts.answered >= limits.least_mails:
        sure = at_least(counts.hard, counts.answered)
        said = f"{counts.hard:,} of {counts.answered:,} mails bounced hard"
        share = counts.hard / counts.answered
        found.append(_level(sure, said, share, limits.bounce_warn, limits.bounce_pause, _BOUNCES))
    if counts.complained >= limits.least_complaints and counts.delivered:
        sure = at_least(counts.complained, counts.delivered)
        said = f"{counts.complained:,} of {counts.delivered:,} readers called it spam"
        share = counts.complained / counts.delivered
        found.append(_level(sure, said, share, limits.complaint_warn, limits.complaint_pause, _COMPLAINTS))
    judged = [each for each in found if each is not None]
    return next((each for each in judged if each.level == "pause"), judged[0] if judged else None)


_BOUNCES = (
    "Such addresses do not exist: the list is old, or was bought. Providers stop trusting a sender who goes on. "
    "Find out where these addresses came from and take them out."
)
_COMPLAINTS = (
    "These readers did not expect it. From 0.3% on Gmail and Yahoo refuse mail, for all your campaigns. "
    "Find out where their addresses came from, and mail only people who asked for it."
)


def _level(sure: float, said: str, share: float, warn: float, pause: float, advice: str) -> Judgement | None:
    if sure >= pause:
        return Judgement("pause", f"{said} ({share:.2%}; paused from {pause:.2%} on). {advice}")
    if sure >= warn:
        return Judgement("warn", f"{said} ({share:.2%}; paused from {pause:.2%} on). {advice}")
    return None


# ---------------------------------------------------------------- over the database

_MEASURED = """
SELECT c.id, c.workspace_id, c.name, c.state,
       coalesce(sum(t.n) FILTER (WHERE t.measure IN ('delivered', 'bounced_hard', 'bounced_soft', 'deferred')),
                0)::bigint AS answered,
       coalesce(sum(t.n) FILTER (WHERE t.measure = 'bounced_hard'), 0)::bigint AS hard,
       coalesce(sum(t.n) FILTER (WHERE t.measure = 'delivered'), 0)::bigint AS delivered,
       coalesce(sum(t.n) FILTER (WHERE t.measure = 'complained'), 0)::bigint AS complained,
       g.base_answered, g.base_hard, g.base_delivered, g.base_complained, g.paused_at
FROM campaign c LEFT JOIN campaign_tally t ON t.campaign_id = c.id LEFT JOIN campaign_guard g ON g.campaign_id = c.id
"""
_RUNNING = f"{_MEASURED} WHERE c.state IN ('launching', 'sending') GROUP BY c.id, g.campaign_id ORDER BY c.id"
_OF_WORKSPACE = f"""{_MEASURED} WHERE c.workspace_id = %s AND c.started_at > %s
GROUP BY c.id, g.campaign_id ORDER BY c.id DESC LIMIT 500"""


async def step(db: Connection) -> int:
    """Judge whatever is being sent; returns how many campaigns were paused."""
    async with db.transaction():
        locked = await maybe(db, "SELECT pg_try_advisory_xact_lock(%s) AS ok", [_LOCK])
        if not locked or not locked["ok"]:
            return 0
        running = await rows(db, _RUNNING)
        paused = 0
        for workspace in sorted({row["workspace_id"] for row in running}):
            theirs = [row for row in running if row["workspace_id"] == workspace]
            paused += await _workspace(db, workspace, theirs)
        await _tidy(db)
        return paused


async def _workspace(db: Connection, workspace: int, running: list[Row]) -> int:
    limits, brake = await limits_of(db, workspace)
    if brake["paused_at"] is not None:
        for row in running:
            await _stop(db, row, brake["paused_why"])
        return len(running)
    paused = 0
    for row in running:
        found = judge(_counts(row), limits)
        if found is not None and found.level == "warn":
            await _warn(db, row, found.why)
        elif found is not None:
            await _pause(db, row, found.why)
            paused += 1
    why = await _of_all(db, workspace, limits, brake)
    if why:
        await _brake(db, workspace, why)
        for row in running:
            await _stop(db, row, why)
        return len(running)
    return paused


async def _of_all(db: Connection, workspace: int, limits: Limits, brake: Row) -> str:
    """Why the whole workspace is to stop, or "": a second campaign within a week, or many small ones together."""
    if not limits.enabled:
        return ""
    recent = await maybe(
        db,
        """SELECT count(*) AS n FROM campaign_guard
           WHERE workspace_id = %s AND last_at > greatest(%s, now() - interval '7 days')""",
        [workspace, brake["counted_from"]],
    )
    if recent and recent["n"] >= 2:
        return "Two campaigns within seven days had to be paused for bounces or complaints."
    since = await maybe(db, "SELECT greatest(%s, now() - interval '7 days') AS at", [brake["counted_from"]])
    found = await rows(db, _OF_WORKSPACE, [workspace, since["at"] if since else None])
    small = [_counts(row) for row in found if row["answered"] < limits.least_mails and row["paused_at"] is None]
    together = Counts()
    for each in small:
        together = together.plus(each)
    judged = judge(together, limits) if len(small) > 1 else None
    if judged is None or judged.level != "pause":
        return ""
    return f"Of {len(small)} small campaigns within seven days together: {judged.why}"


def _counts(row: Row) -> Counts:
    counted = Counts(row["answered"], row["hard"], row["delivered"], row["complained"])
    if row["base_answered"] is None:
        return counted
    return counted.less(Counts(row["base_answered"], row["base_hard"], row["base_delivered"], row["base_complained"]))


async def _stop(db: Connection, row: Row, why: str) -> None:
    await db.execute(
        "UPDATE campaign SET state = 'paused', state_reason = %s WHERE id = %s AND state IN ('launching', 'sending')",
        [why, row["id"]],
    )


async def _pause(db: Connection, row: Row, why: str) -> None:
    await _stop(db, row, why)
    await db.execute(
        """INSERT INTO campaign_guard (campaign_id, workspace_id, paused_at) VALUES (%s, %s, now())
           ON CONFLICT (campaign_id) DO UPDATE
           SET paused_at = now(), last_at = now(), times = campaign_guard.times + 1""",
        [row["id"], row["workspace_id"]],
    )
    await _clear(db, row["workspace_id"], f"guard-warn:{row['id']}")
    await notify(
        db, row["workspace_id"], f"“{row['name']}” was paused by the guard",
        f"{why}\n\nNothing more is handed over; who has not got it yet waits and is not lost. When you know what is "
        "wrong, cancel the campaign or go on with it.",
        f"guard:{row['id']}", link=f"campaigns/{row['id']}/progress", act="See why",
    )  # fmt: skip


async def _warn(db: Connection, row: Row, why: str) -> None:
    await notify(
        db, row["workspace_id"], f"“{row['name']}” is close to being paused", why, f"guard-warn:{row['id']}",
        level="warn", link=f"campaigns/{row['id']}/report", act="Open the report", mail=False,
    )  # fmt: skip


async def _brake(db: Connection, workspace: int, why: str) -> None:
    await db.execute(
        """INSERT INTO sending_guard (workspace_id, paused_at, paused_why) VALUES (%s, now(), %s)
           ON CONFLICT (workspace_id) DO UPDATE SET paused_at = now(), paused_why = excluded.paused_why""",
        [workspace, why],
    )
    await notify(
        db, workspace, "All campaigns of this workspace were paused by the guard",
        f"{why}\n\nNo campaign goes on until those who run this server lift it. Mail of people and mailboxes goes as "
        "before.",
        "guard-workspace", link="campaigns?state=paused", act="See the campaigns",
    )  # fmt: skip


async def _clear(db: Connection, workspace: int, key: str) -> None:
    await db.execute(
        "UPDATE alert SET cleared_at = now() WHERE workspace_id = %s AND key = %s AND cleared_at IS NULL",
        [workspace, key],
    )


async def _tidy(db: Connection) -> None:
    """Alerts about campaigns that are over say nothing any more."""
    await db.execute(
        """UPDATE alert a SET cleared_at = now()
           WHERE cleared_at IS NULL AND key ~ '^guard(-warn)?:[0-9]{1,18}$'
             AND NOT EXISTS (SELECT FROM campaign c WHERE c.id = split_part(a.key, ':', 2)::bigint
                             AND c.state IN ('launching', 'sending', 'paused'))""",
    )
    await db.execute(
        """UPDATE alert a SET cleared_at = now() WHERE cleared_at IS NULL AND key = 'guard-workspace'
             AND NOT EXISTS (SELECT FROM sending_guard g
                             WHERE g.workspace_id = a.workspace_id AND g.paused_at IS NOT NULL)"""
    )


# ---------------------------------------------------------------- people


async def limits_of(db: Connection, workspace: int) -> tuple[Limits, Row]:
    """A workspace's limits, and whether all of it stands still: paused_at, paused_why, counted_from."""
    row = await maybe(db, "SELECT * FROM sending_guard WHERE workspace_id = %s", [workspace])
    if row is None:
        return Limits(), {"paused_at": None, "paused_why": "", "counted_from": datetime(2000, 1, 1, tzinfo=UTC)}
    return Limits(*(row[name] for name in Limits.__slots__)), row


async def paused(db: Connection, campaign: int) -> bool:
    """Whether the guard has paused it, or all of its workspace, and nobody has gone on since."""
    row = await maybe(
        db,
        """SELECT EXISTS (SELECT FROM campaign_guard WHERE campaign_id = c.id AND paused_at IS NOT NULL) AS it
           FROM campaign c WHERE c.id = %s AND c.state = 'paused'""",
        [campaign],
    )
    return bool(row and row["it"])


async def workspace_paused(db: Connection, workspace: int) -> str:
    """Why the whole workspace stands still, or ""."""
    row = await maybe(
        db, "SELECT paused_why FROM sending_guard WHERE workspace_id = %s AND paused_at IS NOT NULL", [workspace]
    )
    return row["paused_why"] if row else ""


async def go_on(db: Connection, workspace: int, campaign: int) -> None:
    """Somebody goes on all the same: what was counted until now is forgiven, what comes is judged anew."""
    row = await maybe(db, f"{_MEASURED} WHERE c.id = %s GROUP BY c.id, g.campaign_id", [campaign])
    if row is None:
        return
    await db.execute(
        """UPDATE campaign_guard SET paused_at = NULL, base_answered = %s, base_hard = %s, base_delivered = %s,
             base_complained = %s WHERE campaign_id = %s""",
        [row["answered"], row["hard"], row["delivered"], row["complained"], campaign],
    )
    await _clear(db, workspace, f"guard:{campaign}")


async def listed(db: Connection) -> list[tuple[Row, Limits, Row]]:
    """Every workspace (id, slug, name) with its limits and its state; for operators."""
    found = await rows(db, "SELECT id, slug, name FROM workspace ORDER BY id LIMIT 1000")
    return [(row, *await limits_of(db, row["id"])) for row in found]


async def set_limits(db: Connection, workspace: int, wanted: Limits) -> None:
    """Change a workspace's limits; `Invalid` names what cannot be."""
    for warn, pause in (("bounce_warn", "bounce_pause"), ("complaint_warn", "complaint_pause")):
        low, high = getattr(wanted, warn), getattr(wanted, pause)
        if not 0.0001 <= low <= 1 or not 0.0001 <= high <= 1:
            raise Invalid(warn, "A share lies between 0.01% and 100%.")
        if low > high:
            raise Invalid(warn, "The guard warns before it pauses: the first share must not be above the second.")
    if not 1 <= wanted.least_mails <= 1_000_000:
        raise Invalid("least_mails", "Give how many answers it takes before anything is judged: 1 to 1,000,000.")
    if not 1 <= wanted.least_complaints <= 1000:
        raise Invalid("least_complaints", "Give how many complaints it takes: 1 to 1,000.")
    values = [getattr(wanted, name) for name in Limits.__slots__]
    await db.execute(
        """INSERT INTO sending_guard (workspace_id, enabled, bounce_warn, bounce_pause, complaint_warn, complaint_pause,
                                      least_mails, least_complaints) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (workspace_id) DO UPDATE SET enabled = excluded.enabled, bounce_warn = excluded.bounce_warn,
             bounce_pause = excluded.bounce_pause, complaint_warn = excluded.complaint_warn,
             complaint_pause = excluded.complaint_pause, least_mails = excluded.least_mails,
             least_complaints = excluded.least_complaints""",
        [workspace, *values],
    )


async def lift(db: Connection, workspace: int) -> None:
    """Let the workspace send again; what was until now is no longer held against it. Campaigns stay paused."""
    await db.execute(
        "UPDATE sending_guard SET paused_at = NULL, paused_why = '', counted_from = now() WHERE workspace_id = %s",
        [workspace],
    )
