"""Checks against a real name server on loopback, which holds what is right, wrong, missing, or does not answer."""

import socket
from collections.abc import Iterator

import dnslib
import pytest
from dnsworld import Zone, serving

from thurn.db.connect import Connection, Pool, in_workspace
from thurn.dns.check import check_domain, look_up
from thurn.dns.facts import facts
from thurn.dns.records import Record, records
from thurn.dns.verdicts import Answers, Check
from thurn.mail.dns import make_resolver
from thurn.mailhost import service
from thurn.mailhost.jobs import check_all
from thurn.problems import NotFound
from thurn.reports.home import needs
from thurn.settings import Settings


@pytest.fixture
def zone() -> Iterator[tuple[Zone, int]]:
    """A name server by UDP and TCP on one free port."""
    with serving(Zone()) as found:
        yield found


@pytest.fixture
async def brotzeit(
    app_pool: Pool, clean: Settings, zone: tuple[Zone, int]
) -> tuple[Settings, Zone, int, dict[str, Record]]:
    """brotzeit.example with every record in DNS; settings that ask our name server."""
    held, port = zone
    settings = clean.model_copy(update={"dns": [f"127.0.0.1:{port}"]})
    async with in_workspace(app_pool, 1) as db:
        domain_id = await service.add_domain(db, 1, name="brotzeit.example", settings=settings)
        wanted = records(facts(await service.get_domain_by_id(db, domain_id), settings))
    for record in wanted:
        held.publish(record)
    return settings, held, domain_id, {record.kind: record for record in wanted}


Brotzeit = tuple[Settings, Zone, int, dict[str, Record]]


async def check(pool: Pool, brotzeit: Brotzeit) -> dict[str, Check]:
    """Verdicts by kind of record; for the two DKIM keys the last."""
    async with in_workspace(pool, 1) as db:
        checks = await check_domain(db, brotzeit[2], brotzeit[0])
    return {check.record.kind: check for check in checks}


async def verified(db: Connection) -> bool:
    row = await (await db.execute("SELECT verified_at, checked_at, checks FROM domain")).fetchone()
    assert row is not None
    assert row["checked_at"] is not None
    assert len(row["checks"]) > 20
    return row["verified_at"] is not None


async def test_a_domain_with_every_record_is_verified(app_pool: Pool, brotzeit: Brotzeit, system: Connection) -> None:
    checks = await check(app_pool, brotzeit)
    assert {kind: check.level for kind, check in checks.items()} == dict.fromkeys(brotzeit[3], "ok")
    assert await verified(system)
    row = await (await system.execute("SELECT verified_at FROM domain")).fetchone()
    await check(app_pool, brotzeit)
    assert row == await (await system.execute("SELECT verified_at FROM domain")).fetchone()  # the first time counts


async def test_an_empty_dns_verifies_nothing_and_says_what_to_add(
    app_pool: Pool, brotzeit: Brotzeit, system: Connection
) -> None:
    brotzeit[1].held.clear()
    checks = await check(app_pool, brotzeit)
    assert {check.level for check in checks.values() if check.record.required} == {"bad"}
    assert checks["dmarc"].publish == brotzeit[3]["dmarc"].values
    assert "not in DNS at all" in checks["spf"].what
    assert not await verified(system)


@pytest.mark.parametrize("kind", ["spf", "dkim", "dmarc", "bounce-mx", "bounce-spf"])
async def test_one_needed_record_that_breaks_takes_the_verification_away_and_mending_gives_it_back(
    app_pool: Pool, brotzeit: Brotzeit, system: Connection, kind: str
) -> None:
    _, zone, _, wanted = brotzeit
    await check(app_pool, brotzeit)
    zone.publish(wanted[kind], "10 elsewhere.example" if "mx" in kind else "nonsense")
    assert (await check(app_pool, brotzeit))[kind].level == "bad"
    assert not await verified(system)
    zone.publish(wanted[kind])
    await check(app_pool, brotzeit)
    assert await verified(system)


@pytest.mark.parametrize("kind", ["mx", "address", "ptr"])
async def test_advice_takes_no_verification_away(
    app_pool: Pool, brotzeit: Brotzeit, system: Connection, kind: str
) -> None:
    del brotzeit[1].held[brotzeit[3][kind].name, brotzeit[3][kind].type]
    assert (await check(app_pool, brotzeit))[kind].level == "warn"
    assert await verified(system)


@pytest.mark.parametrize("code", [dnslib.RCODE.SERVFAIL, dnslib.RCODE.REFUSED])
async def test_a_failing_name_server_changes_nothing(
    app_pool: Pool, brotzeit: Brotzeit, system: Connection, code: int
) -> None:
    _, zone, _, wanted = brotzeit
    zone.failing[wanted["spf"].name] = code
    assert (await check(app_pool, brotzeit))["spf"].level == "unknown"
    assert not await verified(system)  # never was
    zone.failing.clear()
    await check(app_pool, brotzeit)
    zone.failing[wanted["spf"].name] = code
    assert (await check(app_pool, brotzeit))["spf"].level == "unknown"
    assert await verified(system)


async def test_a_name_server_that_is_not_there_says_nothing(free_port: int) -> None:
    resolver = make_resolver([("127.0.0.1", free_port)])
    resolver.timeout = resolver.lifetime = 0.3
    assert (await look_up(resolver, "brotzeit.example", "TXT")).status in ("timeout", "failed")


@pytest.fixture
def free_port() -> Iterator[int]:
    """A UDP port that takes queries and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


async def test_an_answer_too_long_for_udp_is_fetched_by_tcp(zone: tuple[Zone, int]) -> None:
    held, port = zone
    values = [f"v=spf1 {n} " + "x" * 200 for n in range(20)]
    held.publish(Record("spf", "long.example", "TXT", (), "", ""), *values)
    found = await look_up(make_resolver([("127.0.0.1", port)]), "long.example", "TXT")
    assert found == Answers("found", tuple(sorted(values)))


async def test_bytes_that_are_no_text_are_shown_and_not_stumbled_over(zone: tuple[Zone, int]) -> None:
    held, port = zone
    held.held["odd.example", "TXT"] = [dnslib.TXT([b"v=spf1 \xff\x00"])]
    found = await look_up(make_resolver([("127.0.0.1", port)]), "odd.example", "TXT")
    assert found.values == ("v=spf1 \\xff\\x00",)


async def test_nul_in_dns_does_not_keep_the_verdict_from_being_stored(
    app_pool: Pool, brotzeit: Brotzeit, system: Connection
) -> None:
    _, zone, _, wanted = brotzeit
    zone.held[wanted["spf"].name, "TXT"] = [dnslib.TXT([b"v=spf1 \x00\xff ~all"])]
    assert (await check(app_pool, brotzeit))["spf"].level == "bad"
    assert not await verified(system)


async def test_the_job_checks_every_workspace(app_pool: Pool, brotzeit: Brotzeit, system: Connection) -> None:
    settings = brotzeit[0]
    row = await (await system.execute("INSERT INTO workspace (slug, name) VALUES ('b', 'B') RETURNING id")).fetchone()
    assert row is not None
    async with in_workspace(app_pool, row["id"]) as db:
        await service.add_domain(db, row["id"], name="other.example", settings=settings)
    assert await check_all(settings) == 2
    found = await (await system.execute("SELECT name, verified_at IS NULL AS open, checked_at FROM domain")).fetchall()
    assert {row["name"]: row["open"] for row in found} == {"brotzeit.example": False, "other.example": True}
    assert all(row["checked_at"] for row in found)


async def test_a_domain_of_others_is_not_checked(app_pool: Pool, brotzeit: Brotzeit, system: Connection) -> None:
    row = await (await system.execute("INSERT INTO workspace (slug, name) VALUES ('b', 'B') RETURNING id")).fetchone()
    assert row is not None
    async with in_workspace(app_pool, row["id"]) as db:
        with pytest.raises(NotFound):
            await check_domain(db, brotzeit[2], brotzeit[0])


async def _mails(system: Connection) -> list[str]:
    found = await system.execute("SELECT args->>'subject' AS s FROM procrastinate_jobs WHERE task_name LIKE '%mail_o%'")
    return [row["s"] for row in await found.fetchall()]


async def test_owners_are_told_once_of_what_broke_and_once_when_it_is_mended(
    app_pool: Pool, brotzeit: Brotzeit, system: Connection
) -> None:
    _, zone, _, wanted = brotzeit
    del zone.held[wanted["tls-rpt"].name, "TXT"]
    await check(app_pool, brotzeit)
    assert await _mails(system) == []  # never was right: nothing broke
    zone.publish(wanted["spf"], "v=spf1 -all")
    zone.publish(wanted["mx"], "10 elsewhere.example")
    for _ in range(3):
        await check(app_pool, brotzeit)
    assert await _mails(system) == ["2 DNS records of brotzeit.example broke"]
    async with in_workspace(app_pool, 1) as db:
        assert [(n.level, n.what) for n in await needs(db)] == [
            ("bad", "SPF of brotzeit.example broke"), ("warn", "MX of brotzeit.example broke"),
        ]  # fmt: skip
    zone.failing[wanted["spf"].name] = dnslib.RCODE.SERVFAIL  # says nothing
    await check(app_pool, brotzeit)
    zone.failing.clear()
    zone.publish(wanted["spf"])
    for _ in range(2):
        await check(app_pool, brotzeit)
    assert (await _mails(system))[1:] == ["SPF of brotzeit.example is right again"]


async def test_a_tracking_host_counts_from_when_it_leads_here(
    app_pool: Pool, brotzeit: Brotzeit, system: Connection
) -> None:
    _, zone, _, _ = brotzeit
    await system.execute("UPDATE domain SET tracking_host = 'links.brotzeit.example'")

    async def right() -> bool:
        await check(app_pool, brotzeit)
        row = await (await system.execute("SELECT tracking_right_at FROM domain")).fetchone()
        return bool(row and row["tracking_right_at"])

    assert not await right()
    record = Record("tracking", "links.brotzeit.example", "CNAME", ("mail.thurn.example",), "", "")
    zone.publish(record)
    assert await right()
    zone.publish(record, "elsewhere.example")
    assert not await right()


async def test_addresses_of_further_machines_are_asked_for_and_campaigns_go_on_without(
    app_pool: Pool, brotzeit: Brotzeit, system: Connection
) -> None:
    settings, held, domain, _ = brotzeit
    await check(app_pool, brotzeit)
    await system.execute(
        """WITH e AS (INSERT INTO egress (name, node, bind4, bind6) VALUES
                        ('n2', 'two', '127.0.0.2', 'fd00::2'), ('n3', 'two', '127.0.0.3', NULL),
                        ('n4', 'two', '127.0.0.4', NULL), ('n5', 'two', '127.0.0.5', NULL),
                        ('n6', 'two', '127.0.0.6', NULL) RETURNING id, name),
                p AS (INSERT INTO pool (name) VALUES ('mine'), ('theirs'), ('spare') RETURNING id, name),
                w AS (INSERT INTO workspace (slug, name) VALUES ('inn', 'The Inn') RETURNING id),
                r AS (INSERT INTO pool_rule (workspace_id, stream, pool_id)
                      SELECT 1, 'marketing', id FROM p WHERE name = 'mine'
                      UNION ALL SELECT w.id, 'marketing', p.id FROM p, w WHERE p.name = 'theirs')
           INSERT INTO pool_egress (pool_id, egress_id)
           SELECT p.id, e.id FROM (SELECT * FROM p UNION ALL SELECT id, name FROM pool WHERE name = 'default') p
           JOIN e ON (e.name, p.name) IN (('n2', 'default'), ('n3', 'mine'), ('n4', 'theirs'), ('n5', 'spare'))"""
    )
    checks = await check(app_pool, brotzeit)
    for kind in ("spf", "bounce-spf"):
        assert checks[kind].level == "warn"
        assert "does not name 127.0.0.2, fd00::2, 127.0.0.3," in checks[kind].what, "and not those of strangers' pools"
        assert " ip4:127.0.0.2 ip6:fd00::2 ip4:127.0.0.3 " in checks[kind].publish[0]
    assert await verified(system), "DKIM holds for what leaves from there"
    assert await _mails(system) == ["2 DNS records of brotzeit.example broke"]
    [text] = await (await system.execute("SELECT args->>'text' AS t FROM procrastinate_jobs")).fetchall()
    assert "Campaigns go on." in text["t"]
    for kind in ("spf", "bounce-spf"):
        held.publish(checks[kind].record, checks[kind].publish[0])
    checks = await check(app_pool, brotzeit)
    assert {checks["spf"].level, checks["bounce-spf"].level} == {"ok"}
    async with in_workspace(app_pool, 1) as db:
        public = settings.model_copy(update={"simulate": False})
        of = facts(await service.get_domain_by_id(db, domain), public)
    assert of.sent_from == (), "a private address is not the one that receivers see"
