"""Reports in the database: each once, with its domain, and counted only where who sent it is proven."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from tests.feedback.reportworld import FAILURE, aggregate, mail, packed, record, tls
from thurn.cli import build
from thurn.db.connect import Connection, Pool, conninfo, in_workspace
from thurn.feedback.reports import Stored, store, upload
from thurn.settings import Settings

TO = "dmarc@bounce.brotzeit.example"


@pytest.fixture
async def domain(system: Connection) -> int:
    """brotzeit.example of workspace `main`."""
    row = await (
        await system.execute(
            """INSERT INTO domain (workspace_id, name, bounce_host, proven_at)
               VALUES (1, 'brotzeit.example', 'bounce.brotzeit.example', now()) RETURNING id"""
        )
    ).fetchone()
    assert row is not None
    return int(row["id"])


async def send(db: Connection, raw: bytes, *, proof: str = "dmarc=pass header.from=receiver.example") -> str:
    async with db.transaction():
        return await store(db, mail(packed(raw), proof=proof), address=TO)


async def given(db: Connection, raw: bytes) -> Stored:
    async with db.transaction():
        (stored,) = await upload(db, raw)
    return stored


async def kept(db: Connection) -> list[dict[str, Any]]:
    query = "SELECT org, report_id, submitter, counted, good, bad FROM auth_report ORDER BY id"
    return await (await db.execute(query)).fetchall()


async def test_a_report_that_came_by_mail_is_stored_once(system: Connection, domain: int):
    report = aggregate(record(dkim="amazonses.com", aligned="dkim"), record("2001:db8::1", 2))
    assert await send(system, report) == "report r1 of receiver.example: 5 mails, 3 passed"
    assert "was here already" in await send(system, report)
    assert await kept(system) == [
        {
            "org": "receiver.example",
            "report_id": "r1",
            "submitter": "receiver.example",
            "counted": True,
            "good": 3,
            "bad": 2,
        }
    ]
    rows = await (await system.execute("SELECT * FROM dmarc_row ORDER BY id")).fetchall()
    assert [(str(r["source"]), r["n"], r["dkim_aligned"], r["spf_aligned"], r["sender"]) for r in rows] == [
        ("203.0.113.9", 3, True, False, "ses"), ("2001:db8::1", 2, False, False, ""),
    ]  # fmt: skip
    assert str(rows[0]["day"]) == "2025-11-24"


async def test_mail_from_any_sending_address_is_ours_whatever_machine_has_it_and_even_if_it_fails(
    system: Connection, domain: int
):
    await system.execute(
        "INSERT INTO egress (name, node, bind4, bind6) VALUES ('n2', 'two', '203.0.113.77', '2001:db8:0:0::77')"
    )
    await send(system, aggregate(record("203.0.113.77"), record("2001:DB8::0077"), record("203.0.113.78")))
    rows = await (await system.execute("SELECT source, sender FROM dmarc_row ORDER BY id")).fetchall()
    assert [(str(r["source"]), r["sender"]) for r in rows] == [
        ("203.0.113.77", "own"), ("2001:db8::77", "own"), ("203.0.113.78", ""),
    ]  # fmt: skip


async def test_a_report_on_a_name_below_belongs_to_the_domain(system: Connection, domain: int):
    await send(system, aggregate(domain="news.brotzeit.example"))
    row = await (await system.execute("SELECT domain_id, about FROM auth_report")).fetchone()
    assert row == {"domain_id": domain, "about": "news.brotzeit.example"}


@pytest.mark.parametrize("name", ["fremd.example", "notbrotzeit.example", "example"])
async def test_a_report_on_a_domain_of_nobody_here_is_not_taken(system: Connection, domain: int, name: str):
    assert "not one of the domains here" in await send(system, aggregate(domain=f"x.{name}"))
    assert await kept(system) == []


async def test_a_report_nobody_is_proven_to_have_sent_is_kept_and_not_counted(system: Connection, domain: int):
    assert "nothing proves who sent it" in await send(system, aggregate(), proof="")
    assert "nothing proves who sent it" in await send(
        system, aggregate(report_id="r2"), proof="dmarc=pass header.from=evil.example"
    )
    assert [row["counted"] for row in await kept(system)] == [False, False]
    counted = await (await system.execute("SELECT bool_or(counted) AS any FROM dmarc_row")).fetchone()
    assert counted == {"any": False}


async def test_a_service_that_mails_for_a_receiver_may_sign_beside_it(system: Connection, domain: int):
    proof = (
        "dkim=pass header.d=esp.example; dkim=pass header.d=mail.receiver.example; spf=pass smtp.mailfrom=x@esp.example"
    )
    await send(system, aggregate(), proof=proof)
    assert [(row["submitter"], row["counted"]) for row in await kept(system)] == [("mail.receiver.example", True)]


async def test_one_that_comes_again_and_is_proven_counts_from_then_on(system: Connection, domain: int):
    await send(system, aggregate(), proof="")
    assert "counts now" in await send(system, aggregate())
    assert [row["counted"] for row in await kept(system)] == [True]
    counted = await (await system.execute("SELECT bool_and(counted) AS every FROM dmarc_row")).fetchone()
    assert counted == {"every": True}


async def test_a_forger_cannot_take_another_partys_report_number(system: Connection, domain: int):
    forged = aggregate(record("192.0.2.66", 9999), org="receiver.example")
    await send(system, forged, proof="dmarc=pass header.from=evil.example")
    await send(system, aggregate())
    assert [(row["submitter"], row["counted"], row["bad"]) for row in await kept(system)] == [
        ("evil.example", False, 9999), ("receiver.example", True, 3),
    ]  # fmt: skip


async def test_two_receivers_may_use_the_same_number(system: Connection, domain: int):
    await send(system, aggregate())
    await send(system, aggregate(org="other.example"), proof="dmarc=pass header.from=other.example")
    assert [row["counted"] for row in await kept(system)] == [True, True]


async def test_a_number_used_twice_for_different_contents_counts_once(system: Connection, domain: int):
    await send(system, aggregate())
    assert "the first one stays" in await send(system, aggregate(record(count=50)))
    assert [row["bad"] for row in await kept(system)] == [3]


async def test_an_uploaded_report_counts_and_is_the_same_as_the_mailed_one(system: Connection, domain: int):
    assert (await given(system, aggregate())).counted
    assert "was here already" in await send(system, aggregate())
    assert [row["submitter"] for row in await kept(system)] == ["upload"]


async def test_a_workspace_uploads_for_its_own_domains_only(app_pool: Pool, system: Connection, domain: int):
    await system.execute("INSERT INTO workspace (slug, name) VALUES ('other', 'Other')")
    async with in_workspace(app_pool, 2) as db:
        (stored,) = await upload(db, aggregate())
    assert "not one of the domains here" in stored.summary
    async with in_workspace(app_pool, 1) as db:
        assert (await upload(db, aggregate()))[0].new
        assert (await upload(db, tls()))[0].counted


async def test_a_tls_report_keeps_sums_and_failures_apart(system: Connection, domain: int):
    assert await send(system, tls()) == "report t1 of Receiver: 98 sessions were encrypted, 2 failed"
    rows = await (await system.execute("SELECT policy, failed_with, good, bad, mx FROM tls_row ORDER BY id")).fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("sts", "", 98, 2, ""), ("sts", "certificate-expired", 0, 2, "mail.thurn.example"),
    ]  # fmt: skip


async def test_a_failure_report_is_kept_without_persons(system: Connection, domain: int):
    async with system.transaction():
        assert await store(system, FAILURE, address=TO) == "one mail from 203.0.113.66 failed"
    row = await (await system.execute("SELECT * FROM dmarc_failure")).fetchone()
    assert row is not None
    assert (str(row["source"]), row["failed"], row["done"], row["counted"]) == (
        "203.0.113.66",
        "dmarc",
        "reject",
        False,
    )
    assert "resi" not in str(row)


async def test_what_holds_no_report_says_so(system: Connection, domain: int):
    async with system.transaction():
        assert "no report in it" in await store(system, b"From: a@b.example\r\n\r\nHello\r\n", address=TO)
        assert "built to fill a disk" in await store(system, mail(packed(b"\0" * 40_000_000)), address=TO)


def test_the_command_reads_without_a_database_and_stores_with_one(clean: Settings, tmp_path: Path):
    (tmp_path / "a.xml.gz").write_bytes(packed(aggregate(record(dkim="brotzeit.example", aligned="dkim"))))
    (tmp_path / "t.json").write_bytes(tls())
    (tmp_path / "x.txt").write_bytes(b"hello")
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    run = CliRunner()
    shown = run.invoke(build("reports"), ["reports", "read", *files, "--json"])
    said = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [(each["kind"], each.get("mails")) for each in said] == [("dmarc", 3), ("tls", None), ("refused", None)]
    assert shown.exit_code == 0
    words = run.invoke(build("reports"), ["reports", "read", *files]).stdout
    for part in ("3 mails, 3 passed", "passed by DKIM", "certificate-expired", "neither XML"):
        assert part in words
    refused = run.invoke(build("reports"), ["reports", "read", files[2]])
    assert (refused.exit_code, run.invoke(build("reports"), ["reports", "read", "/nowhere"]).exit_code) == (1, 1)

    with psycopg.connect(conninfo(clean, "system"), autocommit=True) as db:
        db.execute("INSERT INTO domain (workspace_id, name, bounce_host) VALUES (1, 'brotzeit.example', 'b.x.example')")
        stored = run.invoke(
            build("reports"), ["reports", "read", "--store", *files, "--json", "--state", str(clean.state)]
        )
        said = [json.loads(line) for line in stored.stdout.splitlines()]
        assert [(each["new"], each["counted"]) for each in said] == [(True, True), (True, True), (False, False)]
        assert db.execute("SELECT count(*) FROM auth_report").fetchone() == (2,)
