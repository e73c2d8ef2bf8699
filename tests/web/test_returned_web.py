"""What came back, on pages, in the API and by command."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from tests.web.conftest import Site
from tests.web.page_check import check
from thurn.accounts.service import create_api_key
from thurn.accounts.sessions import SignedInAs, start_session
from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.feedback.returned import forget, source
from thurn.settings import Settings

Signed = tuple[httpx.AsyncClient, SignedInAs]
F = "/w/main/feedback"
HOSTILE = "<script>alert(1)</script>\"'{{7*7}}\u202e"


async def came(db: Connection, workspace: int | None = 1, **values: Any) -> int:
    """A line about a mail that came back."""
    given = {"kind": "bounce", "address": "b.x@bounce.b.example", "sender": "MAILER-DAEMON@x.example",
             "subject": "Undelivered", "recipient": "ann@x.example", "category": "unknown-address",
             "effect": "The address is dead.", "raw": b"Subject: Undelivered\r\n\r\nno such user"} | values  # fmt: skip
    raw = given.pop("raw")
    row = await one(
        db,
        """INSERT INTO incoming_report (matched, workspace_id, raw, kind, address, sender, subject, recipient, category,
                                        effect)
           SELECT %s, %s, %s, v.* FROM jsonb_to_record(%s)
             AS v (kind text, address text, sender text, subject text, recipient text, category text, effect text)
           RETURNING id""",
        [workspace is not None, workspace, raw, Jsonb(given)],
    )
    return int(row["id"])


async def looked(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    check(answer.text)
    return answer.text


async def test_it_is_listed_searched_and_shown_as_text(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    assert "Nothing came back yet" in await looked(client, F)
    number = await came(system, sender=HOSTILE, subject=HOSTILE, effect=HOSTILE, raw=HOSTILE.encode() + b"\0\x1b[2J")
    await came(system, kind="complaint", recipient="bob@x.example", raw=None)
    table = await looked(client, F)
    page = await looked(client, f"{F}/{number}")
    for html in (table, page):
        assert "<script>alert" not in html
    assert "\u202e" not in page.partition('id="raw"')[2]
    assert "\x1b" not in page
    assert "bob@x.example" not in await looked(client, f"{F}?q=ANN%40x")
    assert "ann@x.example" not in await looked(client, f"{F}?kind=complaint")
    assert "has “100%” in it" in await looked(client, f"{F}?q=100%25")
    await looked(client, f"{F}/999", 404)


async def test_what_belongs_to_nobody_is_for_who_runs_the_installation(
    signed_in: Signed, site: Site, system: Connection, make_account: Any, other_workspace: int
) -> None:
    number = await came(system, None, recipient="nobody.knows@x.example")
    assert "nobody.knows@x.example" in await looked(signed_in[0], f"{F}?kind=unmatched")
    await looked(signed_in[0], f"{F}/{number}")
    session = await start_session(system, account=await make_account("ed@x.example", "editor"))
    async with site.client(cookies={"thurn-session": session.token}) as editor:
        assert "nobody.knows" not in await looked(editor, f"{F}?kind=unmatched")
        await looked(editor, f"{F}/{number}", 404)
    _, key = await create_api_key(system, other_workspace, "theirs")
    async with site.client(headers={"Authorization": f"Bearer {key}"}) as other:
        assert (await other.get("/api/v1/feedback")).json()["items"] == []
        assert (await other.get(f"/api/v1/feedback/{number}")).status_code == 404


async def test_pages_lead_to_older_and_newer_ones(
    api: httpx.AsyncClient, signed_in: Signed, system: Connection
) -> None:
    numbers = [await came(system) for _ in range(30)]
    first = (await api.get("/api/v1/feedback?limit=25")).json()
    assert [i["id"] for i in first["items"]] == numbers[:4:-1]
    rest = (await api.get(f"/api/v1/feedback?limit=25&cursor={first['next']}")).json()
    assert ([i["id"] for i in rest["items"]], rest["next"]) == (numbers[4::-1], None)
    full = (await api.get(f"/api/v1/feedback/{numbers[0]}")).json()
    assert full["source"].startswith("Subject: Undelivered\n")
    assert len((await api.get("/api/v1/feedback?matched=false")).json()["items"]) == 0
    assert f'href="{F}/{numbers[5]}"' in await looked(signed_in[0], F)
    assert f'href="{F}/{numbers[4]}"' in await looked(signed_in[0], f"{F}?before={numbers[5]}")
    assert f'href="{F}/{numbers[29]}"' in await looked(signed_in[0], f"{F}?after={numbers[4]}")


async def test_mails_are_forgotten_after_90_days_and_lines_after_400(system: Connection) -> None:
    ages = {await came(system): days for days in (1, 89, 91, 401)}
    for number, days in ages.items():
        await system.execute(
            "UPDATE incoming_report SET received_at = now() - make_interval(days => %s) WHERE id = %s", [days, number]
        )
    assert await forget(system) > 0
    assert await forget(system) == 0
    rows = await (await system.execute("SELECT raw IS NOT NULL AS kept FROM incoming_report ORDER BY id")).fetchall()
    assert [row["kept"] for row in rows] == [True, True, False]


@pytest.mark.parametrize("raw", [None, b"", b"\xff\xfe\0" * 9, "\u202eevil".encode(), b"x" * 100_000])
def test_a_source_is_bounded_text_whatever_came(raw: bytes | None) -> None:
    text = source(raw)
    assert len(text) <= 20_000
    assert "\0" not in text
    assert "\u202e" not in text


async def test_commands_list_and_show(clean: Settings, system: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THURN_STATE", str(clean.state))

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(lambda: CliRunner().invoke(build("feedback"), ["feedback", *arguments]))

    assert "Nothing came back." in (await run("list")).stdout
    number = await came(system)
    await came(system, None, recipient="else@x.example")
    assert len(json.loads((await run("list", "--json")).stdout)) == 2
    assert [r["recipient"] for r in json.loads((await run("list", "--unmatched", "--json")).stdout)] == [
        "else@x.example"
    ]
    assert "about ann@x.example" in (await run("list", "--search", "ann")).stdout
    assert "no such user" in (await run("show", str(number))).stdout
    refused = await run("show", "999")
    assert (refused.exit_code, "no such mail" in refused.stderr) == (1, True)
