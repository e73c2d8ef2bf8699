"""What mail servers and mail programs fetch: exact policies, no word about who has a mailbox, any input survived."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.db.connect import Connection
from thurn.mailhost.clientsetup import requested_address
from thurn.mailhost.wellknown import is_ours
from thurn.settings import Settings
from thurn.web.app import create_app

POX = "/autodiscover/autodiscover.xml"
POLICY = "/.well-known/mta-sts.txt"
CONFIG = "/mail/config-v1.1.xml"
REQUEST = """<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>
<EMailAddress>{}</EMailAddress>
<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
</Request></Autodiscover>"""


@pytest.fixture
async def world(browser: httpx.AsyncClient, system: Connection) -> httpx.AsyncClient:
    """A browser, and domains: one with a mailbox, one in ASCII for an international name, one nobody has proven."""
    await system.execute(
        """INSERT INTO domain (workspace_id, name, bounce_host, proven_at, mta_sts_mode) VALUES
             (1, 'brotzeit.example', 'bounce.brotzeit.example', now(), 'enforce'),
             (1, 'testing.example', 'bounce.testing.example', now(), 'testing'),
             (1, 'off.example', 'bounce.off.example', now(), 'none'),
             (1, 'xn--brtchen-b1a.example', 'bounce.xn--brtchen-b1a.example', now(), 'testing'),
             (1, 'hoped-for.example', 'bounce.hoped-for.example', NULL, 'enforce')"""
    )
    await system.execute(
        """INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
           SELECT 1, id, 'anna@brotzeit.example', 'x' FROM domain WHERE name = 'brotzeit.example'"""
    )
    return browser


async def at(browser: httpx.AsyncClient, host: str, path: str, **how: Any) -> httpx.Response:
    return await browser.request(how.pop("method", "GET"), path, headers={"Host": host}, **how)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("mta-sts.brotzeit.example", "mode: enforce\r\nmx: mail.thurn.example\r\nmax_age: 604800\r\n"),
        ("MTA-STS.Brotzeit.Example:443", "mode: enforce\r\nmx: mail.thurn.example\r\nmax_age: 604800\r\n"),
        ("mta-sts.testing.example", "mode: testing\r\nmx: mail.thurn.example\r\nmax_age: 86400\r\n"),
        ("mta-sts.off.example", "mode: none\r\nmax_age: 86400\r\n"),
    ],
)
async def test_a_policy_says_exactly_what_rfc_8461_wants(world: httpx.AsyncClient, host: str, text: str) -> None:
    answer = await at(world, host, POLICY)
    assert (answer.status_code, answer.text) == (200, f"version: STSv1\r\n{text}")
    assert answer.headers["content-type"].partition(";")[0] == "text/plain"


@pytest.mark.parametrize(
    "host",
    ["mta-sts.hoped-for.example", "mta-sts.stranger.example", "brotzeit.example", "autoconfig.brotzeit.example",
     "mta-sts.mta-sts.brotzeit.example", "mta-sts.", "mta-sts.brotzeit%example", "", "'; --", "a" * 300],
)  # fmt: skip
async def test_there_is_no_policy_for_anybody_else(world: httpx.AsyncClient, host: str) -> None:
    assert (await at(world, host, POLICY)).status_code == 404


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("autoconfig.brotzeit.example", CONFIG),
        ("autoconfig.brotzeit.example", f"{CONFIG}?emailaddress=anna@brotzeit.example"),
        ("autoconfig.brotzeit.example", f"{CONFIG}?emailaddress=anna@testing.example"),
        ("brotzeit.example", "/.well-known/autoconfig/mail/config-v1.1.xml"),
        ("thurn.test", f"{CONFIG}?emailaddress=ANNA%40Brotzeit.Example"),
    ],
)
async def test_thunderbird_finds_our_servers(world: httpx.AsyncClient, host: str, path: str) -> None:
    answer = await at(world, host, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    assert "<domain>brotzeit.example</domain>" in answer.text
    assert "<hostname>mail.thurn.example</hostname>" in answer.text


async def test_an_international_domain_is_found_as_people_write_it(world: httpx.AsyncClient) -> None:
    answer = await at(world, "thurn.test", CONFIG, params={"emailaddress": "anna@Brötchen.example"})
    assert "<domain>xn--brtchen-b1a.example</domain>" in answer.text


async def test_nobody_finds_out_here_who_has_a_mailbox(world: httpx.AsyncClient) -> None:
    def asked(name: str) -> list[Any]:
        address = f"{name}@brotzeit.example"
        return [
            at(world, "autoconfig.brotzeit.example", f"{CONFIG}?emailaddress={address}"),
            at(world, "autodiscover.brotzeit.example", POX, method="POST", content=REQUEST.format(address)),
            at(world, "x", f"/autodiscover/autodiscover.json?Email={address}&Protocol=AutodiscoverV1"),
        ]

    for real, made_up in zip(asked("anna"), asked("nobody"), strict=True):
        known, unknown = await real, await made_up
        assert known.status_code == unknown.status_code == 200
        assert known.text == unknown.text.replace("nobody@", "anna@")


@pytest.mark.parametrize("path", [POX, "/Autodiscover/Autodiscover.xml", "/AUTODISCOVER/AUTODISCOVER.XML"])
async def test_outlook_finds_our_servers(world: httpx.AsyncClient, path: str) -> None:
    answer = await at(world, "autodiscover.brotzeit.example", path, method="POST",
                      content=REQUEST.format("anna@brotzeit.example"))  # fmt: skip
    assert answer.status_code == 200
    assert "<Server>mail.thurn.example</Server>" in answer.text
    assert "<LoginName>anna@brotzeit.example</LoginName>" in answer.text


LAUGHS = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b"]><x><EMailAddress>&j;@brotzeit.example</EMailAddress></x>"
)
HOSTILE = [
    b"", b"<", b"\x00", b"<a>" * 3000, LAUGHS,
    b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x><EMailAddress>&f;@brotzeit.example</EMailAddress></x>',
    b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><x><EMailAddress>anna@brotzeit.example</EMailAddress></x>',
    b'<?xml version="1.0" encoding="nonsense"?><x><EMailAddress>a@brotzeit.example</EMailAddress></x>',
    REQUEST.format("anna@stranger.example").encode(), REQUEST.format("@").encode(), REQUEST.format("").encode(),
    REQUEST.format("a" * 300 + "@brotzeit.example").encode(), REQUEST.format("a&#10;b@brotzeit.example").encode(),
    REQUEST.format("anna@brotzeit.example").encode("utf-16-le"), REQUEST.format("a@hoped-for.example").encode(),
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE)
async def test_whatever_else_is_sent_gets_a_refusal_and_nothing_more(world: httpx.AsyncClient, body: bytes) -> None:
    answer = await at(world, "autodiscover.brotzeit.example", POX, method="POST", content=body)
    assert (answer.status_code, "<ErrorCode>600</ErrorCode>" in answer.text) == (200, True)
    assert "root:" not in answer.text


async def test_a_body_without_end_is_not_read_to_its_end(world: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b" " * 1000

    answer = await at(world, "x", POX, method="POST", content=endless())
    assert answer.status_code == 413


@given(
    st.binary(max_size=400) | st.text(max_size=100).map(lambda text: REQUEST.format(text).encode("utf-8", "replace"))
)
def test_reading_a_request_never_fails(body: bytes) -> None:
    assert isinstance(requested_address(body), str)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?Email=a@brotzeit.example&Protocol=AutodiscoverV1", 200),
        ("/v1.0/a%40brotzeit.example?Protocol=AutodiscoverV1", 200),
        ("?Email=a@brotzeit.example&Protocol=EWS", 400),
        ("?Email=a@stranger.example&Protocol=AutodiscoverV1", 404),
        ("?Protocol=AutodiscoverV1", 404),
        ("/v1.0/%00@brotzeit.example?Protocol=AutodiscoverV1", 404),
    ],
)
async def test_outlook_s_newer_way_leads_to_the_older(world: httpx.AsyncClient, query: str, status: int) -> None:
    answer = await at(world, "x", f"/autodiscover/autodiscover.json{query}")
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["Url"] == "https://autodiscover.brotzeit.example/autodiscover/autodiscover.xml"


@pytest.mark.parametrize(("method", "path"), [("GET", POX), ("POST", POLICY), ("DELETE", CONFIG), ("PUT", POX)])
async def test_other_methods_are_refused(world: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await at(world, "mta-sts.brotzeit.example", path, method=method)
    assert answer.status_code == 405
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/sign-in", "/mailbox", "/.well-known/other", "/autodiscover/x", "/mail"])
def test_no_other_page_is_taken_over(path: str) -> None:
    assert not is_ours(path)


async def test_while_the_database_is_away_servers_are_told_to_come_back(tmp_path: Path) -> None:
    app = create_app(Settings(state=tmp_path, database_url="host=/nowhere"))

    class Away:
        def connection(self) -> Any:
            raise psycopg.OperationalError("away")

    app.state.pool = Away()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        answer = await at(client, "mta-sts.brotzeit.example", POLICY)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
