"""`thurn spam` and `thurn quarantine`."""

import asyncio
import json

import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner, Result

from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.mailhost.mailboxes import add_mailbox
from thurn.settings import Settings


@pytest.fixture(autouse=True)
async def house(clean: Settings, system: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THURN_STATE", str(clean.state))
    monkeypatch.setenv("THURN_HOSTNAME", "mail.thurn.example")
    await system.execute(
        "INSERT INTO domain (workspace_id, name, bounce_host) VALUES (1, 'brotzeit.example', 'b.brotzeit.example')"
    )
    await add_mailbox(system, 1, address="a_b@brotzeit.example", password="long enough 1")


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(build(), list(arguments)))


async def test_wishes_of_a_domain_are_those_of_its_mailboxes_until_they_have_their_own() -> None:
    said = await run("spam", "set", "brotzeit.example", "--junk-at", "9", "--no-digest")
    assert "9 points or more goes to Junk" in said.stdout, said.output
    shown = json.loads((await run("spam", "show", "a_b@brotzeit.example", "--json")).stdout)
    assert (shown["own"]["junk_at"], shown["effective"]["junk_at"], shown["effective"]["digest"]) == (None, 9, False)
    await run("spam", "set", "a_b@brotzeit.example", "--junk-at", "1000")
    assert "No mail is sorted into Junk" in (await run("spam", "show", "a_b@brotzeit.example")).stdout
    await run("spam", "set", "a_b@brotzeit.example", "--reset")
    assert "9 points or more" in (await run("spam", "show", "a_b@brotzeit.example")).stdout


async def test_senders_are_listed_and_forgotten() -> None:
    assert (await run("spam", "block", "a_b@brotzeit.example", "*.Shop.example")).exit_code == 0
    assert "is always let in, if" in (await run("spam", "allow", "brotzeit.example", "shop.example")).stdout
    assert "block *.shop.example" in (await run("spam", "show", "a_b@brotzeit.example")).stdout
    assert (await run("spam", "forget", "a_b@brotzeit.example", "*.shop.example")).exit_code == 0
    again = await run("spam", "forget", "a_b@brotzeit.example", "*.shop.example")
    assert (again.exit_code, "is not on this list" in again.output) == (1, True)


async def test_held_mail_is_listed_and_deleted(system: Connection) -> None:
    row = await one(
        system,
        """INSERT INTO held_mail (workspace_id, mailbox_id, queue_id, mail_from, header_from, subject, score, required,
             symbols, size, message)
           SELECT 1, id, 'Q', 'x@y.example', '', 'Win', 20, 15, %s, 1, 'x' FROM mailbox RETURNING id""",
        [Jsonb([])],
    )
    assert "Win, from x@y.example" in (await run("quarantine", "list", "--mailbox", "a_b@brotzeit.example")).stdout
    assert (await run("quarantine", "list", "--mailbox", "acb@brotzeit.example")).exit_code == 1
    [item] = json.loads((await run("quarantine", "list", "--search", "win", "--json")).stdout)
    assert item["id"] == row["id"]
    assert (await run("quarantine", "release", str(row["id"]))).exit_code == 1  # no Dovecot here
    assert (await run("quarantine", "delete", str(row["id"]))).exit_code == 0
    assert (await run("quarantine", "list")).stdout == "Nothing is held.\n"
