"""Who sends as a domain: pages, API, command, and what owners are told of."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dnslib
import httpx
import pytest
from page_check import check
from typer.testing import CliRunner

from tests.feedback.reportworld import DAY, FAILURE, aggregate, packed, record, tls
from tests.mailhost.dnsworld import Zone, serving
from thurn.accounts.sessions import SignedInAs, start_session
from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.dmarc import countries
from thurn.dmarc.jobs import watch
from thurn.feedback.reports import put, upload
from thurn.feedback.reports_read import read
from thurn.settings import Settings

TODAY = (int(datetime.now(UTC).timestamp()) - DAY) // 86_400  # as aggregate() counts days
PAGE = "/w/main/domains/brotzeit.example"
HOSTILE = '"><script>alert(1)</script>{{ 7*7 }}'


@pytest.fixture
async def domain(system: Connection) -> int:
    """brotzeit.example of workspace `main`, which signs with the selector t2511r."""
    row = await one(
        system,
        """INSERT INTO domain (workspace_id, name, bounce_host, proven_at)
           VALUES (1, 'brotzeit.example', 'bounce.brotzeit.example', now()) RETURNING id""",
    )
    await system.execute(
        """INSERT INTO dkim_key (workspace_id, domain_id, selector, algorithm, private_key, public_key, state)
           VALUES (1, %s, 't2511r', 'rsa-sha256', '', 'k', 'active')""",
        [row["id"]],
    )
    return int(row["id"])


@pytest.fixture
def browser(signed_in: tuple[httpx.AsyncClient, SignedInAs]) -> tuple[httpx.AsyncClient, str]:
    """A browser whose owner signed in, and the token of its forms."""
    return signed_in[0], signed_in[1].csrf


OWN = record("198.51.100.1", 500, dkim="brotzeit.example", selector="t2511r", aligned="both")
SES = record("192.0.2.10", 20, dkim="amazonses.com", aligned="none")
FORGER = record("203.0.113.66", 40, disposition="none")


async def month(db: Connection, *records: str, days: int = 20, policy: str = "none") -> None:
    """A report for each of the last days."""
    for back in range(1, days + 1):
        async with db.transaction():
            await upload(db, aggregate(*records, report_id=f"d{back}", day=TODAY - back, policy=policy))


async def get(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await client.get(f"{PAGE}{path}")
    assert answer.status_code == status, answer.text
    return check(answer.text).words()


async def test_before_the_first_report_the_page_shows_the_record(browser: Any, domain: int):
    words = await get(browser[0], "/dmarc")
    assert "No reports yet" in words
    assert "v=DMARC1; p=none; rua=mailto:dmarc@bounce.brotzeit.example" in words
    assert "rua=mailto:tlsrpt@bounce.brotzeit.example" in await get(browser[0], "/tls")
    assert "No report has come yet" in await get(browser[0], "/dmarc/reports")
    await get(browser[0], "/dmarc/source?key=nobody", 404)


async def test_the_way_from_reports_to_a_stricter_policy(browser: Any, system: Connection, domain: int):
    client, csrf = browser
    await month(system, OWN, FORGER)
    words = await get(client, "/dmarc")
    for part in ("Your policy is p=none", "This server", "203.0.113.0/24", "Undecided", "10,800", "Not yet safe",
                 "It is not known whether 1 sender is yours"):  # fmt: skip
        assert part in words, part
    decided = await client.post(
        f"{PAGE}/dmarc/source", data={"csrf": csrf, "key": "203.0.113.0/24", "verdict": "foreign"}
    )
    assert decided.headers["location"] == f"{PAGE}/dmarc?done=decided"
    words = await get(client, "/dmarc?done=decided")
    for part in (
        "Safe to move to p=quarantine",
        "Set p=quarantine",
        "v=DMARC1; p=quarantine; rua=",
        "Forged",
        "Noted.",
    ):
        assert part in words, part
    refused = await client.post(f"{PAGE}/dmarc/policy", data={"csrf": csrf, "policy": "reject"})
    assert refused.status_code == 409
    assert "not advised any more" in check(refused.text).words()
    moved = await client.post(f"{PAGE}/dmarc/policy", data={"csrf": csrf, "policy": "quarantine"})
    assert moved.status_code == 303
    assert (await one(system, "SELECT dmarc_policy FROM domain"))["dmarc_policy"] == "quarantine"


async def test_a_senders_page_shows_its_servers_and_what_was_found(browser: Any, system: Connection, domain: int):
    await month(system, OWN, SES, record("203.0.113.66", 7, override="mailing_list"), days=2)
    words = await get(browser[0], "/dmarc/source?key=ses")
    for part in ("Amazon SES", "192.0.2.10", "amazonses.com (s1): pass", "Whose is it?", "Countries are not shown"):
        assert part in words, part
    assert "Receivers say that it was forwarded" in await get(browser[0], "/dmarc/source?key=203.0.113.0/24")
    own = await get(browser[0], "/dmarc/source?key=own")
    assert "All is well" in own


async def test_what_others_wrote_is_shown_as_text(browser: Any, system: Connection, domain: int):
    xml = HOSTILE.replace("<", "&lt;").replace(">", "&gt;")
    hostile = aggregate(record("203.0.113.66", 40, dkim=xml, selector=xml, header_from=xml), org=xml, day=TODAY - 1)
    async with system.transaction():
        await upload(system, hostile)
        await upload(system, FAILURE)
        await upload(system, tls(**{"organization-name": HOSTILE, "date-range": _yesterday()}))
    for path in ("/dmarc", "/dmarc/source?key=203.0.113.0/24", "/dmarc/reports", "/tls"):
        answer = await browser[0].get(f"{PAGE}{path}")
        check(answer.text)
        assert "<script>alert" not in answer.text
        assert answer.status_code == 200


def _yesterday() -> dict[str, str]:
    day = datetime.fromtimestamp(DAY + 86_400 * (TODAY - 1), UTC)
    return {"start-datetime": day.isoformat(), "end-datetime": day.replace(hour=23).isoformat()}


async def test_the_tls_page_says_what_failed_and_what_to_do(browser: Any, system: Connection, domain: int):
    async with system.transaction():
        await upload(system, tls(**{"date-range": _yesterday()}))
    words = await get(browser[0], "/tls")
    for part in ("98.0%", "2 connections failed", "The certificate had run out", "mail.thurn.example", "MTA-STS",
                 "Reported by Receiver"):  # fmt: skip
        assert part in words, part


async def test_reports_are_uploaded_and_each_says_what_became_of_it(browser: Any, system: Connection, domain: int):
    client, csrf = browser
    files = [
        ("files", ("a.xml.gz", packed(aggregate(day=TODAY - 1)))),
        ("files", ("b.json", tls())),
        ("files", (f"{HOSTILE}.txt", b"hello")),
    ]
    answer = await client.post(f"{PAGE}/dmarc/upload", data={"csrf": csrf}, files=files)
    words = check(answer.text).words()
    assert answer.status_code == 200
    for part in ("report r1 of receiver.example: 3 mails, 0 passed", "98 sessions were encrypted", "neither XML"):
        assert part in words, part
    assert "<script>alert" not in answer.text
    again = await client.post(f"{PAGE}/dmarc/upload", data={"csrf": csrf}, files=files[2:])
    assert again.status_code == 422
    nothing = await client.post(f"{PAGE}/dmarc/upload", data={"csrf": csrf})
    assert "Choose at least one file" in check(nothing.text).words()
    assert len(await rows(system, "SELECT 1 FROM auth_report")) == 2


async def test_reports_that_do_not_count_are_listed_with_the_reason(browser: Any, system: Connection, domain: int):
    async with system.transaction():
        for number, submitter in enumerate(("", "evil.example")):
            await put(system, read(aggregate(report_id=f"x{number}", day=TODAY - 1))[0], submitter=submitter)
    words = await get(browser[0], "/dmarc/reports")
    assert "nothing proves who sent it" in words
    assert "it came from evil.example" in words
    assert "No reports yet" in await get(browser[0], "/dmarc")


async def test_who_may_only_look_decides_nothing(site: Any, system: Connection, domain: int, make_account: Any):
    session = await start_session(system, account=await make_account("leni@brotzeit.example", role="viewer"))
    async with site.client(cookies={"thurn-session": session.token}) as client:
        for path in ("source", "policy", "upload"):
            answer = await client.post(f"{PAGE}/dmarc/{path}", data={"csrf": session.csrf})
            assert answer.status_code == 403, path


# ---------------------------------------------------------------- API and command


async def test_the_api_says_and_takes_the_same(api: httpx.AsyncClient, system: Connection, domain: int):
    taken = await api.post("/api/v1/reports", files={"file": ("a.xml", aggregate(OWN, FORGER, day=TODAY - 1))})
    assert taken.json()["items"][0]["counted"] is True
    await api.post("/api/v1/reports", files={"file": ("f.eml", FAILURE)})
    said = (await api.get("/api/v1/domains/brotzeit.example/dmarc")).json()
    assert (said["published"], said["mails"], said["passed"], said["advice"]["level"]) == ("none", 540, 500, "warn")
    assert [(each["key"], each["state"]) for each in said["sources"]] == [
        ("own", "Passes"), ("203.0.113.0/24", "Undecided"),
    ]  # fmt: skip
    body = {"source": "203.0.113.0/24", "whose": "foreign"}
    decided = await api.post("/api/v1/domains/brotzeit.example/dmarc/sources", json=body)
    assert decided.json()["sources"][1]["state"] == "Forged"
    unknown = await api.post("/api/v1/domains/brotzeit.example/dmarc/sources", json=body | {"source": "nobody"})
    assert unknown.status_code == 404
    listed = (await api.get("/api/v1/domains/brotzeit.example/reports", params={"kind": "dmarc"})).json()
    assert [each["report_id"] for each in listed["items"]] == ["r1"]
    assert (await api.get("/api/v1/domains/brotzeit.example/failures")).json()["items"][0]["failed"] == "dmarc"
    assert (await api.get("/api/v1/domains/brotzeit.example/tls")).json()["bad"] == 0


def test_the_command_shows_a_domain_and_decides(clean: Settings, domain: int):
    run, state = CliRunner(), ["--state", str(clean.state)]
    file = clean.state / "report.xml"
    file.write_bytes(aggregate(OWN, FORGER, day=TODAY - 1))
    assert run.invoke(build("reports"), ["reports", "read", "--store", str(file), *state]).exit_code == 0
    shown = run.invoke(build("reports"), ["reports", "show", "brotzeit.example", *state]).stdout
    for part in ("Not yet safe to move to p=quarantine", "This server", "203.0.113.0/24", "Undecided"):
        assert part in shown, part
    decide = ["reports", "decide", "brotzeit.example", "203.0.113.0/24", "foreign", *state]
    assert run.invoke(build("reports"), decide).exit_code == 0
    said = json.loads(run.invoke(build("reports"), ["reports", "show", "brotzeit.example", "--json", *state]).stdout)
    assert [each["state"] for each in said["sources"]] == ["Passes", "Forged"]
    wrong = run.invoke(build("reports"), ["reports", "decide", "brotzeit.example", "x", "maybe", *state])
    assert wrong.exit_code == 1


# ---------------------------------------------------------------- names, countries, alerts


@pytest.fixture
def dns() -> Iterator[tuple[Zone, int]]:
    with serving(Zone()) as served:
        yield served


def _points(zone: Zone, reverse: str, name: str, back: str) -> None:
    zone.held[reverse, "PTR"] = [dnslib.PTR(name)]
    kind, data = ("AAAA", dnslib.AAAA) if ":" in back else ("A", dnslib.A)
    zone.held[name, kind] = [data(back)]


async def test_senders_get_names_that_point_back_and_new_ones_are_told_once(
    clean: Settings, system: Connection, domain: int, dns: tuple[Zone, int]
):
    zone, port = dns
    asked = clean.model_copy(update={"dns": [f"127.0.0.1:{port}"]})
    v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
    _points(zone, "66.113.0.203.in-addr.arpa", "out7.printer.example", "203.0.113.66")
    _points(zone, "9.113.0.203.in-addr.arpa", "mail.google.com", "192.0.2.99")  # claims it, does not point back
    _points(zone, v6, "out.printer.example", "2001:db8::1")
    await month(system, OWN, FORGER, record("203.0.113.9", 5), record("2001:db8::1", 3), days=1)
    assert await watch(asked) == 2
    names = await rows(system, "SELECT host(ip) AS ip, name, org FROM source_name s ORDER BY s.ip")
    assert [tuple(row.values()) for row in names] == [
        ("198.51.100.1", "", ""), ("203.0.113.9", "", ""), ("203.0.113.66", "out7.printer.example", "printer.example"),
        ("2001:db8::1", "out.printer.example", "printer.example"),
    ]  # fmt: skip
    alert = await one(system, "SELECT subject, text, link, level FROM alert WHERE cleared_at IS NULL")
    assert (alert["subject"], alert["level"]) == ("2 new senders as brotzeit.example, of which nothing passes", "warn")
    assert "printer.example (43 mails), 203.0.113.0/24 (5 mails)" in alert["text"]
    before = zone.asked
    assert await watch(asked) == 0  # neither told nor looked up again
    assert zone.asked == before
    mails = "SELECT count(*) AS n FROM procrastinate_jobs WHERE task_name = 'thurn:mail_owners'"
    assert (await one(system, mails))["n"] == 1

    await month(system, record("192.0.2.44", 9), days=1)
    async with system.transaction():
        await upload(system, aggregate(record("192.0.2.44", 9), report_id="new", day=TODAY - 1))
    assert await watch(asked) == 1
    assert (await one(system, mails))["n"] == 2
    assert "3 new senders" in (await one(system, "SELECT subject FROM alert WHERE cleared_at IS NULL"))["subject"]

    await system.execute("UPDATE dmarc_source SET verdict = 'foreign'")
    assert await watch(asked) == 0
    assert await rows(system, "SELECT 1 FROM alert WHERE cleared_at IS NULL") == []


def mmdb(country: str) -> bytes:
    """The smallest database there can be (MaxMind DB 2.0): every IPv4 address lies in `country`."""

    def text(value: str) -> bytes:
        return bytes([0x40 | len(value)]) + value.encode()

    def number(value: int, kind: int = 5) -> bytes:
        return bytes([kind << 5 | 2]) + value.to_bytes(2, "big")

    tree = (1 + 16).to_bytes(3, "big") * 2  # one node whose both sides are the first record
    record_ = b"\xe1" + text("country") + b"\xe1" + text("iso_code") + text(country)
    about = {
        "node_count": number(1, 6), "record_size": number(24), "ip_version": number(4),
        "database_type": text("Country"),
        "languages": b"\x00\x04", "binary_format_major_version": number(2), "binary_format_minor_version": number(0),
        "build_epoch": b"\x02\x02\x01\x01", "description": b"\xe0",
    }  # fmt: skip
    meta = bytes([0xE0 | len(about)]) + b"".join(text(name) + value for name, value in about.items())
    return tree + bytes(16) + record_ + b"\xab\xcd\xefMaxMind.com" + meta


def test_countries_come_from_a_file_only(clean: Settings, tmp_path: Path):
    assert not countries.configured(clean)
    assert countries.country(clean, "192.0.2.1") == ""
    file = tmp_path / "countries.mmdb"
    with_file = clean.model_copy(update={"country_database": file})
    assert countries.country(with_file, "192.0.2.1") == ""
    for content, found in ((b"no database", ""), (mmdb("DE"), "DE"), (mmdb("AT"), "AT"), (mmdb("longer"), "")):
        file.write_bytes(content)
        assert countries.configured(with_file)
        assert countries.country(with_file, "192.0.2.1") == found
        assert countries.country(with_file, "2001:db8::1") == ""
