"""Each kind of answer and bounce that the simulated internet can give: in the ledger, the suppression list, the report
and what came back."""

from dataclasses import dataclass
from typing import Any

import e2e_house as furniture
from e2e_house import House
from playwright.async_api import Page, expect

from thurn.db.connect import connect
from thurn.db.fetch import rows
from thurn.settings import Settings

HOME = "gmx.example"


@dataclass(frozen=True)
class Fate:
    """What must be known of a recipient in the end."""

    state: str = "delivered"
    category: str | None = None
    suppressed: str | None = None  # the reason
    events: frozenset[str] = frozenset()  # besides those of sending
    report: tuple[str, bool] | None = None  # kind of the mail that came back, and whether it was matched


def bounced(category: str, suppressed: str | None = None, report: tuple[str, bool] | None = None) -> Fate:
    return Fate("bounced", category, suppressed, frozenset({"bounced"}), report)


def complained() -> Fate:
    return Fate(suppressed="complaint", events=frozenset({"complained"}), report=("complaint", True))


# address -> fate. The first label of an address says what the simulated internet does.
FATES: dict[str, Fate] = {
    f"plain.a@{HOME}": Fate(),
    f"grey.a@{HOME}": Fate(events=frozenset({"deferred"})),
    # answers in the session
    **{f"unknown.{n}@{d}": bounced("unknown-address", "bounce") for n, d in enumerate(
        (HOME, "gmail.example", "outlook.example", "yahoo.example", "icloud.example"))},
    f"moved.a@{HOME}": bounced("moved", "bounce"),
    **{f"full.{n}@{d}": bounced("mailbox-full") for n, d in enumerate((HOME, "gmail.example", "yahoo.example"))},
    f"inactive.a@{HOME}": bounced("inactive"),
    f"policy.a@{HOME}": bounced("policy-block"),
    "policy.a@yahoo.example": bounced("reputation-block"),
    f"spam.a@{HOME}": bounced("spam-refused"),
    f"large.a@{HOME}": bounced("too-large"),
    # mails that came later
    f"latefull.a@{HOME}": bounced("mailbox-full", None, ("bounce", True)),
    f"latespam.a@{HOME}": bounced("spam-refused", None, ("bounce", True)),
    f"delayed.a@{HOME}": Fate(report=("delayed", True)),
    f"away.a@{HOME}": Fate(report=("auto-reply", True)),
    f"forged.a@{HOME}": Fate(report=("bounce", False)),
    **{f"complain.{n}@{d}": complained() for n, d in enumerate((HOME, "gmail.example", "outlook.example"))},
    f"redacted.a@{HOME}": complained(),
    f"attached.a@{HOME}": complained(),
    # people
    f"reply.a@{HOME}": Fate(events=frozenset({"replied"})),  # to the mailbox: nothing of it is kept
    f"stray.a@{HOME}": Fate(events=frozenset({"replied"}), report=("reply", True)),
    f"unsub.a@{HOME}": Fate(events=frozenset({"opened", "unsubscribed"})),
    f"leavemail.a@{HOME}": Fate(events=frozenset({"unsubscribed"}), report=("unsubscribe", True)),
}  # fmt: skip
SENDING = {"handed_over", "delivered"}


async def known(settings: Settings, workspace: int, campaign: int) -> dict[str, Fate]:
    """What the database knows of each recipient. A forged report names its recipient and belongs to nobody."""
    async with await connect(settings, "system") as db:
        found = await rows(
            db,
            """SELECT d.recipient, d.state::text AS state, s.reason,
                      CASE WHEN d.state = 'bounced' THEN d.category END AS category,
                      coalesce(array_agg(DISTINCT e.kind) FILTER (WHERE e.kind IS NOT NULL), '{}') AS events,
                      (SELECT jsonb_build_array(r.kind, r.matched) FROM incoming_report r
                       WHERE r.campaign_id = d.campaign_id AND r.delivery_id = d.id
                          OR r.campaign_id IS NULL AND r.recipient = d.recipient LIMIT 1) AS report
               FROM delivery d LEFT JOIN suppression s ON s.workspace_id = %s AND s.address = d.recipient
               LEFT JOIN event e ON e.campaign_id = d.campaign_id AND e.delivery_id = d.id
               WHERE d.campaign_id = %s GROUP BY d.campaign_id, d.id, s.reason""",
            [workspace, campaign],
        )
    return {
        row["recipient"]: Fate(
            row["state"], row["category"], row["reason"], frozenset(row["events"]) - SENDING,
            tuple(row["report"]) if row["report"] else None,
        )
        for row in found
    }  # fmt: skip


async def test_each_answer_shows_in_ledger_suppression_report_and_what_came_back(installation: Settings, window: Any):
    house: House = await furniture.open_house(installation, "back")
    await furniture.verified_domain(house, "back.example")
    await furniture.mailbox(house, "hello@back.example", "Anna Lindner")
    everybody = await furniture.people(house, "Everybody", list(FATES))
    template = await furniture.letter(house)
    campaign = await furniture.draft(
        house, "All at once", sender="post@back.example", template=template, lists=[everybody]
    )
    await house.do(
        lambda db: db.execute("UPDATE campaign SET reply_to = 'hello@back.example' WHERE id = %s", [campaign])
    )
    await furniture.launch(house, campaign)

    wrong: dict[str, Any] = {}

    async def look() -> bool:
        found = await known(installation, house.id, campaign)
        wrong.clear()
        wrong.update({who: (found.get(who), fate) for who, fate in FATES.items() if found.get(who) != fate})
        return not wrong

    try:
        await furniture.eventually("everything came back", look)
    except AssertionError as late:
        raise AssertionError(wrong) from late

    expected = {"complained": 5, "replied": 2, "unsubscribed": 2, "bounced_hard": 6}
    counted: dict[str, int] = {}

    async def added_up() -> bool:
        counted.update(await furniture.tallies(house, campaign))
        return all(counted.get(name, 0) >= n for name, n in expected.items())

    await furniture.eventually("the figures have followed", added_up)
    assert {name: counted.get(name, 0) for name in expected} == expected
    refused = sum(fate.state == "bounced" for fate in FATES.values())
    assert counted["bounced_hard"] + counted["bounced_soft"] == refused

    page: Page = await window(house)
    await page.goto(f"{house.url}/campaigns/{campaign}/report")
    await expect(page.locator(".stat-x", has_text="Replied")).to_contain_text("2")
    await expect(page.locator(".stat-x", has_text="Complained")).to_contain_text("5")
    await page.goto(house.url)
    await expect(page.get_by_text("5 people called “All at once” spam")).to_be_visible()

    await page.goto(f"{house.url}/suppression?reason=complaint")
    await expect(page.locator("tbody tr")).to_have_count(5)
    await page.goto(f"{house.url}/suppression?q=unknown")
    await page.get_by_role("link", name=f"unknown.0@{HOME}").click()
    await expect(page.locator("samp.reply")).to_contain_text("550")
    await page.get_by_role("button", name="Take off the list…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Take off the list").click()
    await expect(page.get_by_text("Taken off the list.")).to_be_visible()

    await page.goto(f"{house.url}/feedback?kind=reply")
    await page.get_by_role("link", name="Reply").click()
    await expect(page.get_by_text("It was forwarded to hello@back.example.")).to_be_visible()
    await expect(page.get_by_text("what people write is theirs")).to_be_visible()
    await page.goto(f"{house.url}/feedback?q=forged")
    await expect(page.get_by_text("has “forged” in it")).to_be_visible()  # belongs to nobody: not this workspace's
