"""`thurn webmail link`, as a person and a program use it."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result
from webmailworld import Guest

from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.settings import Settings
from thurn.webmail import service

Run = Callable[..., Result]


@pytest.fixture
def run(clean: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in the test's installation."""
    monkeypatch.setenv("THURN_STATE", str(clean.state))

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(build("webmail"), ["webmail", *arguments])

    return command


async def test_a_program_gets_a_link_that_is_good_once(
    run: Run, clean: Settings, resi: Guest, system: Connection
) -> None:
    result = await asyncio.to_thread(run, "link", "Resi@Brotzeit.Example", "--minutes", "20", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    address = urlsplit(said["url"])
    assert said["url"].startswith(f"{clean.webmail_url}/?")
    assert (address.path, said["minutes"]) == ("/", 20)
    lasts = await one(system, "SELECT expires_at - now() AS lasts FROM webmail_token")
    assert timedelta(minutes=19) < lasts["lasts"] <= timedelta(minutes=20)
    token = parse_qs(address.query)["_thurn"][0]
    assert (await service.exchange(system, token)) is not None
    assert (await service.exchange(system, token)) is None


async def test_a_person_reads_what_the_link_is_and_that_its_use_shows(run: Run, resi: Guest) -> None:
    result = await asyncio.to_thread(run, "link", resi.address)
    assert result.exit_code == 0, result.output
    assert "Good once, for 5 minutes." in result.stdout
    assert "recent sign-ins" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("link", "nobody@brotzeit.example"), "no mailbox nobody@brotzeit.example"),
        (("link", "res_@brotzeit.example"), "no mailbox"),
        (("link", "' OR 1=1 --"), "no mailbox"),
        (("link", "resi@brotzeit.example", "--workspace", "other"), "no workspace"),
        (("link", "resi@brotzeit.example", "--minutes", "0"), "greater than or equal to 1"),
        (("link", "resi@brotzeit.example", "--minutes", "1441"), "less than or equal to 1440"),
    ],
)
async def test_a_link_that_cannot_be_made_says_why(
    run: Run, resi: Guest, arguments: tuple[str, ...], says: str
) -> None:
    result = await asyncio.to_thread(run, *arguments)
    assert result.exit_code != 0
    assert says in result.output


async def test_a_disabled_mailbox_is_not_opened(run: Run, resi: Guest, system: Connection) -> None:
    await system.execute("UPDATE mailbox SET enabled = false")
    result = await asyncio.to_thread(run, "link", resi.address)
    assert result.exit_code == 1
    assert "disabled" in result.output
