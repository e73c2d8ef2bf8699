"""What is held, and for whom: against the database."""

import pytest

from thurn.db.connect import Connection, Pool, in_workspace
from thurn.db.fetch import one, rows
from thurn.mailhost import aliases
from thurn.mailhost.mailboxes import add_mailbox
from thurn.problems import NotFound
from thurn.spam import judged, quarantine
from thurn.spam.jobs import forget
from thurn.spam.judged import verdict
from thurn.spam.wishes import mailboxes_of

SEPP, ROSI, UNDERSCORE = "sepp@brotzeit.example", "rosi@theirs.example", "a_b@brotzeit.example"


@pytest.fixture(autouse=True)
async def houses(system: Connection) -> None:
    """Two tenants."""
    await system.execute("INSERT INTO workspace (id, slug, name) OVERRIDING SYSTEM VALUE VALUES (77, 'their', 'Their')")
    for workspace, name in ((1, "brotzeit.example"), (77, "theirs.example")):
        await system.execute(
            "INSERT INTO domain (workspace_id, name, bounce_host, proven_at) VALUES (%s, %s, %s, now())",
            [workspace, name, f"bounce.{name}"],
        )
    for workspace, address in ((1, SEPP), (77, ROSI), (1, UNDERSCORE)):
        await add_mailbox(system, workspace, address=address, password="long enough 1")
    await aliases.add(system, 1, address="office@brotzeit.example", target=SEPP)


def refused(*rcpts: str) -> judged.Verdict:
    return verdict({"queue_id": "Q1", "rcpts": list(rcpts), "score": 20, "required": 15, "subject": "Win"})


async def test_a_mail_is_held_for_each_recipient_and_seen_by_its_own_tenant_only(
    system: Connection, app_pool: Pool
) -> None:
    assert await quarantine.hold(system, refused(SEPP, ROSI, "office@brotzeit.example", "x@far.example"), b"m") == 2
    async with in_workspace(app_pool, 1) as db:
        [mine] = await quarantine.held(db)
        assert mine["address"] == SEPP
        hers = await one(system, "SELECT id FROM held_mail WHERE workspace_id = 77")
        with pytest.raises(NotFound):
            await quarantine.get(db, hers["id"])
        assert await quarantine.delete(db, [hers["id"], mine["id"]]) == 1


async def test_each_tenant_learns_of_its_own_recipients_only(system: Connection) -> None:
    await judged.store(system, refused(SEPP, ROSI, "bill@bounce.theirs.example"))
    kept = await rows(system, "SELECT workspace_id, rcpts FROM spam_verdict ORDER BY 1")
    assert [(row["workspace_id"], row["rcpts"]) for row in kept] == [
        (1, [SEPP]),
        (77, [ROSI, "bill@bounce.theirs.example"]),
    ]


async def test_who_sent_it_sees_to_whom_and_the_other_tenant_still_only_itself(system: Connection) -> None:
    said = verdict({"queue_id": "Q", "user": SEPP, "rcpts": [ROSI, "x@far.example"]})
    await judged.store(system, said)
    kept = await rows(system, "SELECT workspace_id, rcpts FROM spam_verdict ORDER BY 1")
    assert [row["rcpts"] for row in kept] == [[ROSI, "x@far.example"], [ROSI]]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (SEPP, 1),
        ("SEPP@Brotzeit.Example", 1),
        ("sepp+shop@brotzeit.example", 1),
        ("office@brotzeit.example", 1),
        ("office+x@brotzeit.example", 1),
        (UNDERSCORE, 1),
        ("acb@brotzeit.example", 0),
        ("%@brotzeit.example", 0),
        ("sepp@brotzeit.example'--", 0),
        ("", 0),
        ("@", 0),
        ("\0@brotzeit.example", 0),
        ("nobody@brotzeit.example", 0),
    ],
)
async def test_an_address_leads_to_its_mailbox_and_to_no_other(system: Connection, address: str, found: int) -> None:
    assert len(await mailboxes_of(system, [address])) == found


async def test_aliases_in_a_circle_end(system: Connection) -> None:
    for one_address, other in (
        ("a@brotzeit.example", "b@brotzeit.example"),
        ("b@brotzeit.example", "a@brotzeit.example"),
    ):
        await system.execute(
            """INSERT INTO alias (workspace_id, domain_id, address, target)
               SELECT 1, id, %s, %s FROM domain WHERE id = 1""",
            [one_address, other],
        )
    assert await mailboxes_of(system, ["a@brotzeit.example"]) == {}


async def test_each_size_has_room_for_so_much_and_its_oldest_goes(
    system: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "_MOST", 3)
    monkeypatch.setattr(quarantine, "_SIZES", ((10, 25), (100, 250), (900, 950)))

    async def after(*sizes: int) -> list[int]:
        for size in sizes:
            assert await quarantine.hold(system, refused(SEPP), b"x" * size) == 1
        return [row["size"] for row in await quarantine.held(system)]

    assert await quarantine.hold(system, refused(ROSI), b"y" * 900) == 1  # somebody else's room
    assert await after(1, 2, 3, 4, 5) == [5, 4, 3, 900]
    assert await after(10) == [10, 5, 4, 900], "so many"
    assert await after(11, 100, 100) == [100, 100, 11, 10, 5, 4, 900]
    assert await after(101, 900) == [900, 100, 100, 11, 10, 5, 4, 900], "large ones push out large ones alone"
    assert await after(99) == [99, 900, 100, 10, 5, 4, 900], "so much"
    assert await after(10, 10) == [10, 10, 99, 900, 100, 900]


async def test_the_largest_mail_fits_and_the_large_ones_leave_the_rest_alone(system: Connection) -> None:
    kinds = quarantine._SIZES
    assert all(up_to <= room for up_to, room in kinds), "each fits into its share"
    assert kinds[-1][0] == quarantine.LARGEST
    assert sum(room for _, room in kinds) == 100 * 1024 * 1024, "as docs/guide/spam.md says"
    assert await quarantine.hold(system, refused(SEPP), b"z" * (quarantine.LARGEST + 1)) == 0
    for size in (5_000, 2_000_000, 9_000_000, 50_000_000, 50_000_000):
        assert await quarantine.hold(system, refused(SEPP), b"z" * size) == 1
    sizes = [row["size"] for row in await quarantine.held(system)]
    assert sizes == [50_000_000, 9_000_000, 2_000_000, 5_000]


async def test_what_is_older_than_30_days_is_forgotten(system: Connection) -> None:
    await quarantine.hold(system, refused(SEPP), b"old")
    await judged.store(system, refused(SEPP))
    await system.execute("UPDATE held_mail SET at = now() - interval '31 days'")
    await system.execute("UPDATE spam_verdict SET at = now() - interval '31 days'")
    await quarantine.hold(system, refused(SEPP), b"new")
    await forget(system)
    [left] = await rows(system, "SELECT message FROM held_mail")
    assert left["message"] == b"new"
    assert await rows(system, "SELECT 1 FROM spam_verdict") == []


async def test_a_mail_is_taken_once(system: Connection) -> None:
    await quarantine.hold(system, refused(SEPP), b"m")
    [row] = await quarantine.held(system)
    with pytest.raises(NotFound):
        await quarantine.take(system, row["id"], row["mailbox_id"] + 1)
    assert (await quarantine.take(system, row["id"], row["mailbox_id"]))["message"] == b"m"
    with pytest.raises(NotFound):
        await quarantine.take(system, row["id"])
