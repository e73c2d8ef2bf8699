"""`thurn feed`, as a person and a program use it."""

import asyncio
import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from thurn.cli import build
from thurn.db.connect import Connection
from thurn.settings import Settings

Run = Callable[..., Result]


@pytest.fixture
def run(clean: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("THURN_STATE", str(clean.state))

    def command(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(build(), ["feed", *arguments], input=stdin)

    return command


async def test_feeds_are_added_shown_switched_and_removed(run: Run, system: Connection) -> None:
    async def say(*arguments: str, stdin: str = "") -> Result:
        return await asyncio.to_thread(run, *arguments, stdin=stdin)

    assert "no feed yet" in (await say("list")).output
    box = await say(
        "add", "Old server", "--kind", "imap", "--host", "imap.example.net", "--user", "me", stdin="s3cret\n"
    )
    assert box.exit_code == 0, box.output
    assert "s3cret" not in box.output
    hook = json.loads((await say("add", "Brevo", "--kind", "brevo", "--json")).stdout)
    assert hook["url"].endswith(f"/hooks/{hook['hook']}")
    assert "secret" not in hook
    listed = await say("list")
    assert "me at imap.example.net" in listed.output
    assert hook["url"] in (await say("show", "2")).output
    assert json.loads((await say("disable", "2", "--json")).stdout)["enabled"] is False
    assert json.loads((await say("enable", "2", "--json")).stdout)["enabled"] is True
    assert (await say("remove", "1")).exit_code == 0
    for wrong in (("show", "1"), ("remove", "1"), ("add", "x", "--kind", "fax"), ("add", "x", "--kind", "mailgun")):
        refused = await say(*wrong)
        assert refused.exit_code == 1
        assert "Traceback" not in refused.output
