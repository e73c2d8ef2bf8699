"""The page of certificates: empty, full, in trouble, and only one's own; the same by API."""

import datetime as dt
from collections.abc import Awaitable, Callable

import httpx
import pytest
from page_check import check

from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection

PATH = "/w/main/domains/certificates"


@pytest.fixture
def put(system: Connection) -> Callable[..., Awaitable[None]]:
    async def insert(host: str, state: str = "good", problem: str = "", workspace: int = 1) -> None:
        await system.execute(
            """INSERT INTO certificate (host, workspace_id, purpose, state, issuer, not_after, used_by, problem)
               VALUES (%s, %s, 'mail', %s, 'Let''s <b>Encrypt', %s, '{https,imap}', %s)""",
            [host, workspace, state, dt.datetime.now(dt.UTC) + dt.timedelta(days=60), problem],
        )

    return insert


async def test_an_empty_page_says_when_certificates_come(signed_in: tuple[httpx.AsyncClient, SignedInAs]) -> None:
    answer = await signed_in[0].get(PATH)
    assert answer.status_code == 200
    check(answer.text)
    assert "No certificates yet" in answer.text


async def test_hosts_with_their_certificates_and_what_is_wrong(
    signed_in: tuple[httpx.AsyncClient, SignedInAs], put: Callable[..., Awaitable[None]], other_workspace: int
) -> None:
    await put("mail.x.example")
    await put("mta-sts.x.example", "bad", "Browsers get <script>nothing</script>.")
    await put("mail.theirs.example", "bad", "Not yours.", workspace=other_workspace)
    text = (await signed_in[0].get(PATH)).text
    check(text)
    assert "<script>nothing" not in text
    assert "Browsers get" in text
    assert "mail.x.example" in text
    assert "theirs" not in text
    assert "mail.x.example" not in (await signed_in[0].get(f"{PATH}?after=mail.x.example%00%0a")).text


async def test_many_are_paged(
    signed_in: tuple[httpx.AsyncClient, SignedInAs], put: Callable[..., Awaitable[None]]
) -> None:
    for number in range(60):
        await put(f"mail.d{number:02}.example")
    first = (await signed_in[0].get(PATH)).text
    assert "mail.d49.example" in first
    assert "mail.d50.example" not in first
    assert f'href="{PATH}?after=mail.d49.example"' in first
    second = (await signed_in[0].get(f"{PATH}?after=mail.d49.example")).text
    check(second)
    assert "mail.d59.example" in second


async def test_a_program_sees_the_hosts_of_its_workspace(
    api: httpx.AsyncClient, put: Callable[..., Awaitable[None]], other_workspace: int
) -> None:
    for host in ("a.x.example", "b.x.example"):
        await put(host)
    await put("c.theirs.example", workspace=other_workspace)
    first = (await api.get("/api/v1/certificates?limit=1")).json()
    assert [item["host"] for item in first["items"]] == ["a.x.example"]
    second = (await api.get(f"/api/v1/certificates?cursor={first['next']}")).json()
    assert [(item["host"], item["state"]) for item in second["items"]] == [("b.x.example", "good")]
    assert second["next"] is None
