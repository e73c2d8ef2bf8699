"""The commands `thurn trace` and `thurn move`, as a person and a program use them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from thurn.cli import build
from thurn.db.connect import Connection
from thurn.mailhost import service as mailhost
from thurn.settings import Settings

Run = Callable[..., Result]


@pytest.fixture
def run(clean: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("THURN_STATE", str(clean.state))
    monkeypatch.setenv("THURN_HOSTNAME", "mail.thurn.example")

    def command(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(build(), list(arguments), input=stdin)

    return command


async def invoke(run: Run, *arguments: str, stdin: str = "") -> Result:
    return await asyncio.to_thread(run, *arguments, stdin=stdin)


async def test_a_mail_is_traced_on_the_terminal(run: Run, system: Connection) -> None:
    assert (await invoke(run, "trace", "anna@brotzeit.example")).exit_code == 1
    await system.execute(
        """INSERT INTO trace_message (id, workspace_id, node, queue_id, at, ours, sender, client_ip, client_name)
           VALUES (1, 1, 'main', '4Nl1Wk2bQHz1', now(), false, 'z@far.example', '192.0.2.7', 'mx.far.example')"""
    )
    await system.execute(
        """INSERT INTO trace_recipient (id, workspace_id, trace_id, at, recipient, state, reply, changed_at)
           VALUES (1, 1, 1, now(), 'anna@brotzeit.example', 'deferred', '452 4.2.2 mailbox full', now())"""
    )
    await system.execute("INSERT INTO trace_key VALUES (1, 'anna@brotzeit.example', now(), 1)")
    await system.execute(
        """INSERT INTO trace_step (workspace_id, trace_id, recipient_id, at, what, reply)
           VALUES (1, 1, 1, now(), 'deferred', '452 4.2.2 mailbox full')"""
    )
    said = await invoke(run, "trace", "Anna@brotzeit.example")
    assert said.exit_code == 0, said.output
    for words in ("4Nl1Wk2bQHz1", "Retrying   anna@brotzeit.example", "mx.far.example [192.0.2.7]", "452 4.2.2"):
        assert words in said.stdout, words
    (mail,) = json.loads((await invoke(run, "trace", "anna@brotzeit.example", "--json")).stdout)["mails"]
    assert mail["recipients"][0]["state"] == "deferred"


async def test_a_move_is_started_watched_and_stopped_on_the_terminal(
    run: Run, system: Connection, clean: Settings, tmp_path: Path
) -> None:
    await mailhost.add_domain(system, 1, name="brotzeit.example", settings=clean)
    await mailhost.add_mailbox(system, 1, address="anna@brotzeit.example")
    start = ("move", "start", "anna@brotzeit.example", "--from", "imap.example.net", "--user", "anna", "--json")
    begun = await invoke(run, *start, stdin="secret7\n")
    assert begun.exit_code == 0, begun.output
    assert json.loads(begun.stdout)["state"] == "waiting"
    assert "secret7" not in begun.output
    assert (await invoke(run, *start, stdin="secret7\n")).exit_code == 1
    assert (await invoke(run, *start[:4], "10.0.0.1/x", *start[5:], stdin="x\n")).exit_code == 1
    assert "anna@brotzeit.example from anna at imap.example.net" in (await invoke(run, "move", "status")).stdout
    assert json.loads((await invoke(run, "move", "status", "1", "--json")).stdout)["problems"] == []
    assert (await invoke(run, "move", "resume", "1")).exit_code == 0
    assert "cancelled" in (await invoke(run, "move", "cancel", "1")).stdout
    assert (await invoke(run, "move", "cancel", "1")).exit_code == 1
    file = tmp_path / "m.csv"
    file.write_text("address,host,user,password\nanna@brotzeit.example,imap.example.net,anna,x\nb@x.example,h,u,p\n")
    many = await invoke(run, "move", "many", str(file), "--json")
    assert many.exit_code == 1
    assert [row["move"] for row in json.loads(many.stdout)] == [1, None]
    assert (await invoke(run, "move", "many", "/nowhere")).exit_code == 1
