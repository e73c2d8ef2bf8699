"""Campaigns as a person handles them: create, check, launch, pause, resume, cancel."""

from dataclasses import dataclass
from typing import Literal

from thurn.audience.addresses import clean
from thurn.audience.barring import condition
from thurn.campaigns import guard
from thurn.campaigns.progress import tallies
from thurn.content.program import TemplateError, compile_mail
from thurn.db.connect import Connection, Row
from thurn.jobs.app import defer
from thurn.problems import Invalid
from thurn.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at before sending: what, why it matters, how to mend it. `link` is below `/w/<workspace>`."""

    level: Literal["ok", "warn", "bad"]
    what: str
    why: str
    fix: str = ""
    link: str = ""


class Refused(Exception):
    """The campaign can't be sent as it is; `findings` say why and what to do."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(f"{f.what} {f.fix}".strip() for f in findings if f.level == "bad"))
        self.findings = findings


class WrongState(Exception):
    """The campaign is in a state that does not allow this; the text is for a person."""


async def create(
    db: Connection,
    workspace: int,
    *,
    name: str,
    from_name: str,
    from_address: str,
    template_id: int | None,
    list_ids: list[int],
    reply_to: str = "",
) -> int:
    """Make a draft and return its id. What is missing for sending is found by `preflight`, not here."""
    row = await (
        await db.execute(
            """INSERT INTO campaign (workspace_id, name, from_name, from_address, reply_to, template_id)
               VALUES (%s, %s, %s, %s, %s, %s) RETURNING id""",
            [
                workspace,
                name.strip(),
                _one_line(from_name),
                from_address.strip(),
                reply_to.strip(),
                template_id,
            ],
        )
    ).fetchone()
    campaign = int(row["id"]) if row else 0
    await _set_lists(db, workspace, campaign, list_ids)
    return campaign


async def update(
    db: Connection,
    workspace: int,
    campaign: int,
    *,
    name: str,
    from_name: str,
    from_address: str,
    template_id: int | None,
    list_ids: list[int],
    reply_to: str = "",
) -> None:
    """Change a draft; `WrongState` once it has been launched."""
    changed = await db.execute(
        """UPDATE campaign SET name = %s, from_name = %s, from_address = %s, reply_to = %s, template_id = %s
           WHERE id = %s AND state = 'draft'""",
        [name.strip(), _one_line(from_name), from_address.strip(), reply_to.strip(), template_id, campaign],
    )
    if not changed.rowcount:
        raise WrongState("This campaign has been launched; it can no longer be changed.")
    await _set_lists(db, workspace, campaign, list_ids)


def _one_line(text: str) -> str:
    """A display name for a header: no line breaks, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


async def _set_lists(db: Connection, workspace: int, campaign: int, list_ids: list[int]) -> None:
    await db.execute("DELETE FROM campaign_list WHERE campaign_id = %s", [campaign])
    # Through `list`, so that a list of another workspace is not seen and not taken.
    await db.execute(
        """INSERT INTO campaign_list (campaign_id, list_id, workspace_id)
           SELECT %s, id, workspace_id FROM list WHERE id = ANY(%s) AND workspace_id = %s""",
        [campaign, list_ids, workspace],
    )


async def get(db: Connection, campaign: int) -> Row | None:
    """One campaign with the names of its lists and its template, or None."""
    return await (
        await db.execute(
            """SELECT c.*, t.name AS template_name,
                 coalesce((SELECT jsonb_agg(jsonb_build_object('id', l.id, 'name', l.name) ORDER BY l.name)
                           FROM campaign_list cl JOIN list l ON l.id = cl.list_id
                           WHERE cl.campaign_id = c.id), '[]') AS lists,
                 EXISTS (SELECT FROM campaign_guard g
                         WHERE g.campaign_id = c.id AND g.paused_at IS NOT NULL AND c.state = 'paused') AS guarded
               FROM campaign c LEFT JOIN template t ON t.id = c.template_id WHERE c.id = %s""",
            [campaign],
        )
    ).fetchone()


async def page(db: Connection, *, before: int | None = None, limit: int = 25) -> list[Row]:
    """Campaigns, newest first, older than `before` (an id), each with its `tallies`."""
    rows = await (
        await db.execute(
            "SELECT * FROM campaign WHERE (%(before)s::bigint IS NULL OR id < %(before)s)"
            " ORDER BY id DESC LIMIT %(limit)s",
            {"before": before, "limit": limit},
        )
    ).fetchall()
    counts = await tallies(db, [row["id"] for row in rows])
    return [row | {"tallies": counts[row["id"]]} for row in rows]


async def audience_size(db: Connection, campaign: int) -> int:
    """How many people a launch would reach now: on the lists once, not unsubscribed, not suppressed."""
    row = await (
        await db.execute(
            f"""SELECT count(*) AS n FROM contact c
                WHERE EXISTS (SELECT 1 FROM list_member m JOIN campaign_list cl ON cl.list_id = m.list_id
                              WHERE cl.campaign_id = %s AND m.contact_id = c.id)
                  AND c.unsubscribed_at IS NULL
                  AND NOT EXISTS (SELECT 1 FROM suppression s
                                  WHERE {condition("c.email", "c.workspace_id")} OFFSET 0)""",  # noqa: S608
            [campaign],
        )
    ).fetchone()
    return int(row["n"]) if row else 0


async def preflight(db: Connection, workspace: int, campaign: int, settings: Settings) -> list[Finding]:
    """Everything that stands between this draft and sending, worst first; nothing `bad` means it may be launched."""
    row = await get(db, campaign)
    if row is None:
        raise LookupError(campaign)
    findings = [await _check_sender(db, row), *await _check_content(db, row), await _check_audience(db, row)]
    order = {"bad": 0, "warn": 1, "ok": 2}
    return sorted(findings, key=lambda f: order[f.level])


async def _check_sender(db: Connection, row: Row) -> Finding:
    local, _, domain = row["from_address"].rpartition("@")
    found = await (
        await db.execute("SELECT name, verified_at, checked_at FROM domain WHERE name = %s", [domain.lower()])
    ).fetchone()
    if not local or not domain:
        return Finding(
            "bad",
            "The campaign has no sender address.",
            "Mail needs somebody it comes from.",
            "Give one.",
            "edit",
        )
    for address in filter(None, (row["from_address"], row["reply_to"])):
        if not _mailable(address):
            return Finding(
                "bad",
                f"“{address}” is not an address that can stand in a mail.",
                "Providers refuse mail whose sender or address for answers they can't read.",
                "Give one such as news@brotzeit.example.",
                "edit",
            )
    if found is None:
        return Finding(
            "bad",
            f"{domain} is not one of your domains.",
            "Without its DKIM key nobody can tell your mail from a forgery, and most providers refuse it.",
            f"Add {domain} under Domains, or send from a domain that is there.",
            "domains",
        )
    if found["verified_at"] is None:
        return Finding(
            "bad",
            f"The DNS records of {domain} are not in place yet.",
            "Providers check SPF, DKIM and DMARC; without them mail goes to spam or is refused.",
            f"Open {domain} under Domains, publish the records shown there and check again.",
            f"domains/{domain.lower()}",
        )
    return Finding("ok", f"{domain} is set up for sending.", "SPF, DKIM and DMARC were found in DNS.")


def _mailable(address: str) -> bool:
    try:
        return clean(address).isascii() and address.isascii()
    except Invalid:
        return False


async def _check_content(db: Connection, row: Row) -> list[Finding]:
    template = await (await db.execute("SELECT * FROM template WHERE id = %s", [row["template_id"]])).fetchone()
    if template is None:
        return [
            Finding(
                "bad",
                "The campaign has no template.",
                "There is nothing to send yet.",
                "Choose a template.",
                "edit",
            )
        ]
    link = f"templates/{template['id']}"
    try:
        program = compile_mail(template["kind"], template["subject"], template["source"])
    except TemplateError as error:
        where = f" (line {error.line})" if error.line else ""
        return [
            Finding(
                "bad",
                f"The template “{template['name']}” has a mistake{where}.",
                str(error),
                "Mend it and try again.",
                link,
            )
        ]
    findings = []
    if not template["subject"].strip():
        findings.append(
            Finding(
                "bad",
                "The mail has no subject.",
                "Mail without a subject is taken for spam.",
                "Give it one.",
                link,
            )
        )
    if not program.has_unsubscribe:
        findings.append(
            Finding(
                "bad",
                "The mail has no unsubscribe link.",
                "Readers who can't find one press “spam” instead, and the law asks for it.",
                "Put a link to {{ unsubscribe_url }} into the template.",
                link,
            )
        )
    if not findings:
        findings.append(
            Finding(
                "ok",
                "The mail is complete.",
                _parts(len(program.links)),
            )
        )
    return findings


def _parts(links: int) -> str:
    return f"Subject, unsubscribe link, {links} tracked link{'' if links == 1 else 's'}."


async def _check_audience(db: Connection, row: Row) -> Finding:
    if not row["lists"]:
        return Finding("bad", "The campaign goes to nobody.", "No list is chosen.", "Choose a list.", "edit")
    size = await audience_size(db, row["id"])
    if not size:
        return Finding(
            "bad",
            "The campaign goes to nobody.",
            "Everybody on these lists has unsubscribed or is suppressed, or the lists are empty.",
            "Import contacts or choose another list.",
            "contacts/import",
        )
    return Finding("ok", f"{size:,} people will get this mail.", "Unsubscribed and suppressed addresses are left out.")


async def launch(db: Connection, workspace: int, campaign: int, settings: Settings) -> None:
    """Start sending. Raises `Refused` with what to mend, `WrongState` if it was launched before.

    The content is copied into the campaign, so that later edits of the template change nothing that is on its way;
    the snapshot of the audience is a job of its own and can be interrupted at any point.
    """
    findings = await preflight(db, workspace, campaign, settings)
    if any(f.level == "bad" for f in findings):
        raise Refused(findings)
    changed = await db.execute(
        """UPDATE campaign c SET state = 'launching', state_reason = '', started_at = now(), launch_cursor = 0,
                  kind = t.kind, subject = t.subject, source = t.source
           FROM template t WHERE c.id = %s AND c.state = 'draft' AND t.id = c.template_id
           RETURNING c.kind, c.subject, c.source""",
        [campaign],
    )
    content = await changed.fetchone()
    if content is None:
        raise WrongState("This campaign has been launched already.")
    links = compile_mail(content["kind"], content["subject"], content["source"]).links
    async with db.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO campaign_link (campaign_id, number, workspace_id, url) VALUES (%s, %s, %s, %s)",
            [(campaign, number, workspace, url) for number, url in enumerate(links, 1)],
        )
    await defer(db, "thurn:launch_campaign", lock=f"campaign-{campaign}", campaign=campaign)


async def pause(db: Connection, workspace: int, campaign: int, reason: str = "") -> None:
    """Stop claiming at once; what was handed over stays with Postfix."""
    await _move(db, campaign, ("launching", "sending"), "paused", reason)


async def resume(db: Connection, workspace: int, campaign: int, *, despite_guard: bool = False) -> None:
    """Go on where it stopped. What the guard has paused goes on only if somebody says that it is to: `WrongState`."""
    if why := await guard.workspace_paused(db, workspace):
        raise WrongState(f"The guard has paused all campaigns of this workspace. {why} Ask those who run it.")
    if await guard.paused(db, campaign):
        if not despite_guard:
            raise WrongState(
                "The guard has paused this campaign for its bounces or complaints. Going on can cost you the trust of "
                "providers, for all your mail: say so explicitly, or cancel it."
            )
        await guard.go_on(db, workspace, campaign)
    await _move(db, campaign, ("paused",), "launching", "")
    await defer(db, "thurn:launch_campaign", lock=f"campaign-{campaign}", campaign=campaign)


async def cancel(db: Connection, workspace: int, campaign: int) -> None:
    """End it for everybody who has not been handed over; the job marks their rows."""
    await _move(db, campaign, ("launching", "sending", "paused"), "cancelled", "")
    await defer(db, "thurn:cancel_campaign", lock=f"campaign-{campaign}", campaign=campaign)


async def _move(db: Connection, campaign: int, before: tuple[str, ...], after: str, reason: str) -> None:
    changed = await db.execute(
        "UPDATE campaign SET state = %s, state_reason = %s WHERE id = %s AND state = ANY(%s)",
        [after, reason, campaign, list(before)],
    )
    if not changed.rowcount:
        row = await (await db.execute("SELECT state FROM campaign WHERE id = %s", [campaign])).fetchone()
        if row is None:
            raise LookupError(campaign)
        raise WrongState(f"This campaign is {row['state']}; that is not possible any more.")
