"""The queue as operators see it: figures over all workspaces, holds, retries; page and API."""

import httpx
import pytest
from page_check import check

from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection, Pool, in_workspace
from thurn.problems import Conflict, Invalid, NotFound
from thurn.queue import service

Signed = tuple[httpx.AsyncClient, SignedInAs]
HERE = "/house/delivery/queue"
HOSTILE = '"><script>alert(1)</script>{{ 7*7 }}'


async def fill(system: Connection) -> int:
    """Two workspaces, each with a campaign; of the second, mail is being retried. Returns the second's id."""
    row = await (
        await system.execute("INSERT INTO workspace (slug, name) VALUES ('inn', 'The Inn') RETURNING id")
    ).fetchone()
    inn = int((row or {})["id"])
    for number, workspace, name, n in ((1, 1, "Bread", 1_000_000), (2, inn, HOSTILE, 10)):
        await system.execute(
            """INSERT INTO campaign (id, workspace_id, name, from_address, state, started_at)
               OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, 'a@x.example', 'sending', now() - interval '1 hour')""",
            [number, workspace, name],
        )
        await system.execute(
            "INSERT INTO campaign_tally VALUES (%s, %s, 'gmx', 'recipients', %s)", [workspace, number, n]
        )
    await system.execute("INSERT INTO campaign_tally VALUES (%s, 2, 'gmx', 'handed_over', 4)", [inn])
    await system.execute("INSERT INTO lane_tally VALUES (2, 1, 'gmx', 'handed_over', 4), (2, 1, 'gmx', 'deferred', 3)")
    await system.execute(
        """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state, egress, category,
                                 reply, handed_over_at)
           SELECT 2, %s, i, 'r@gmx.example', 'gmx', 'deferred', 1, 'greylisted', %s, now() - interval '5 minutes'
           FROM generate_series(1, 3) i""",
        [inn, f"451 4.7.1 {HOSTILE} later (in reply to RCPT TO command)"],
    )
    return inn


async def test_everything_that_waits_is_seen_over_all_workspaces(system: Connection, app_pool: Pool) -> None:
    inn = await fill(system)
    await service.hold(system, workspace=inn, reason="  their \n list  ")
    async with in_workspace(app_pool, 1) as db:  # as the page asks, behind the wall between tenants
        found = await service.look(db)
    assert [(each.workspace, each.waiting, each.held) for each in found.waiting] == [
        ("Main", 1_000_000, False), ("The Inn", 6, True)
    ]  # fmt: skip
    assert found.by_provider() == {"gmx": 1_000_006}
    (lane,) = found.lanes
    assert (lane.egress, lane.provider, lane.on_the_way, lane.retrying) == ("e1", "gmx", 1, 3)
    assert lane.oldest is not None
    assert [(r.category, r.mails, r.reply) for r in lane.reasons] == [("greylisted", 3, f"451 4.7.1 {HOSTILE} later")]
    assert [(each.workspace, each.provider, each.reason) for each in found.holds] == [("The Inn", None, "their list")]


async def test_a_hold_is_there_once_and_only_for_what_exists(system: Connection) -> None:
    number = await service.hold(system, provider="gmx")
    with pytest.raises(Conflict):
        await service.hold(system, provider="gmx")
    await service.hold(system)
    for wrong in ({"provider": "nobody"}, {"provider": HOSTILE}, {"workspace": 4711}):
        with pytest.raises(Invalid):
            await service.hold(system, **wrong)  # type: ignore[arg-type]
    await service.release(system, number)
    with pytest.raises(NotFound):
        await service.release(system, number)


async def test_a_retry_is_asked_of_every_node_once(system: Connection) -> None:
    await system.execute("INSERT INTO egress (name, node) VALUES ('e2', 'second')")
    await service.retry(system)
    await service.retry(system)
    await service.retry(system, provider="gmx")
    rows = await (await system.execute("SELECT node, provider FROM queue_retry ORDER BY id")).fetchall()
    assert sorted((row["node"], row["provider"] or "") for row in rows) == [
        ("main", ""), ("main", "gmx"), ("second", ""), ("second", "gmx")
    ]  # fmt: skip


async def test_the_page_is_right_empty_and_full_and_its_buttons_work(signed_in: Signed, system: Connection) -> None:
    client, session = signed_in
    words = check((await client.get(HERE)).text).words()
    assert "No campaign waits" in words
    await fill(system)
    page = check((await client.get(HERE)).text)
    assert "1,000,006" in page.words()
    assert HOSTILE in page.words()
    check((await client.get(HERE, params={"ask": "hold-all"})).text)
    answer = await client.post(f"{HERE}/hold", data={"csrf": session.csrf, "provider": "gmx", "reason": HOSTILE})
    assert answer.status_code == 303
    page = check((await client.get(HERE)).text)
    assert "Gmx" in page.words() or "GMX" in page.words()
    again = await client.post(f"{HERE}/hold", data={"csrf": session.csrf, "provider": "gmx"})
    assert again.status_code == 422
    assert "held already" in check(again.text).words()
    for wrong in ({"workspace": "x"}, {"workspace": "9" * 9}, {"provider": HOSTILE}, {"workspace": "-1"}):
        assert (await client.post(f"{HERE}/hold", data={"csrf": session.csrf, **wrong})).status_code == 422
    (held,) = await service.holds_of(system)
    for number in ("x", "9" * 9, str(held.id), str(held.id)):
        assert (await client.post(f"{HERE}/release", data={"csrf": session.csrf, "hold": number})).status_code == 303
    assert await service.holds_of(system) == []
    for provider in ("", "gmx", HOSTILE):
        answer = await client.post(f"{HERE}/retry", data={"csrf": session.csrf, "provider": provider})
        assert answer.status_code == 303
    rows = await (await system.execute("SELECT provider FROM queue_retry ORDER BY id")).fetchall()
    assert [row["provider"] for row in rows] == [None, "gmx"]


async def test_who_does_not_run_the_house_sees_no_queue(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    await system.execute("UPDATE membership SET role = 'viewer'")
    assert (await client.get(HERE)).status_code in (403, 404)
