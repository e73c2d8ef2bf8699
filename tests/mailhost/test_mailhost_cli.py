"""The commands `thurn domain` and `thurn mailbox`, as a person and a program use them."""

import asyncio
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from dnsworld import Knot
from typer.testing import CliRunner, Result

from thurn.cli import build
from thurn.db.connect import Connection
from thurn.dns import check
from thurn.settings import Settings

Run = Callable[..., Result]
ANNA = "anna@brotzeit.example"


@pytest.fixture
def run(clean: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in the test's installation; in a thread, as each command brings an event loop of its own."""
    monkeypatch.setenv("THURN_STATE", str(clean.state))
    monkeypatch.setenv("THURN_HOSTNAME", "mail.thurn.example")
    monkeypatch.setenv("THURN_SIMULATE", "true")

    def command(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(build(), list(arguments), input=stdin)

    return command


async def invoke(run: Run, *arguments: str, stdin: str = "") -> Result:
    return await asyncio.to_thread(run, *arguments, stdin=stdin)


async def test_adding_a_domain_prints_what_to_publish(run: Run) -> None:
    result = await invoke(run, "domain", "add", "Brötchen.example")
    assert result.exit_code == 0, result.output
    for part in ("v=spf1 a:mail.thurn.example", "_domainkey.xn--brtchen-b1a.example", "_dmarc.", "domain check"):
        assert part in result.stdout


async def test_a_program_gets_records_it_can_publish(run: Run) -> None:
    added = json.loads((await invoke(run, "domain", "add", "brotzeit.example", "--json")).stdout)
    shown = json.loads((await invoke(run, "domain", "show", "brotzeit.example", "--json")).stdout)
    assert added == shown
    assert all(set(record) >= {"name", "type", "value", "ttl", "purpose"} for record in shown)
    assert all(record["value"] for record in shown)
    kinds = sorted((record["type"], record["name"].split(".")[0]) for record in shown)
    assert ("MX", "bounce") in kinds
    assert ("PTR", "1") in kinds
    zone = (await invoke(run, "domain", "zone", "brotzeit.example")).stdout
    assert "brotzeit.example. 3600 IN MX 10 mail.thurn.example.\n" in zone
    listed = json.loads((await invoke(run, "domain", "list", "--json")).stdout)
    assert [(row["name"], row["verified_at"]) for row in listed] == [("brotzeit.example", None)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("domain", "add", "localhost"), "has a dot"),
     (("domain", "show", "nobody.example"), "not one of your domains"),
     (("domain", "check", "nobody.example"), "not one of your domains"),
     (("domain", "show", "brotzeit.example", "--workspace", "nowhere"), "no workspace"),
     (("mailbox", "add", "anna@nobody.example"), "not one of your domains"),
     (("mailbox", "add", "a/b@brotzeit.example"), "Before the @"),
     (("mailbox", "remove", "nobody@brotzeit.example", "--yes"), "There is no mailbox")],
)  # fmt: skip
async def test_what_cannot_be_done_is_said_in_a_sentence(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = await invoke(run, *arguments)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.output


async def test_a_check_that_cannot_reach_dns_fails_without_calling_anything_broken(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "PATIENCE", 0.3)
    await invoke(run, "domain", "add", "brotzeit.example")
    # Nothing listens on the simulated name server's port.
    result = await invoke(run, "domain", "check", "brotzeit.example", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["verified"] is False
    assert {verdict["level"] for verdict in answer["checks"]} == {"unknown"}


async def test_a_mailbox_is_made_listed_given_a_password_and_removed(run: Run, system: Connection) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    made = json.loads((await invoke(run, "mailbox", "add", "Anna@Brotzeit.example", "--name", "Anna", "--json")).stdout)
    assert made["address"] == "anna@brotzeit.example"
    assert PasswordHasher().verify(await _hash(system), made["password"])
    result = await invoke(
        run, "mailbox", "password", "anna@brotzeit.example", "--password-stdin", stdin="Brezn und Radi\n"
    )
    assert result.exit_code == 0, result.output
    assert "Brezn" not in result.output
    assert PasswordHasher().verify(await _hash(system), "Brezn und Radi")
    listed = json.loads((await invoke(run, "mailbox", "list", "--json")).stdout)
    assert [row["address"] for row in listed] == ["anna@brotzeit.example"]
    assert (await invoke(run, "mailbox", "remove", "anna@brotzeit.example", stdin="n\n")).exit_code == 1
    removed = await invoke(run, "mailbox", "remove", "anna@brotzeit.example", "--yes")
    assert "(0 mails, 0 bytes) is kept for 30 days" in removed.stdout
    assert "No mailboxes yet" in (await invoke(run, "mailbox", "list")).stdout
    (gone,) = json.loads((await invoke(run, "mailbox", "removed", "--json")).stdout)
    assert "is back" in (await invoke(run, "mailbox", "restore", gone["address"])).stdout
    assert (await invoke(run, "mailbox", "restore", gone["address"])).exit_code == 1
    await invoke(run, "mailbox", "remove", gone["address"], "--yes")
    asked = await invoke(run, "mailbox", "destroy", gone["address"], "--number", str(gone["id"]), stdin="y\n")
    assert "Destroy 0 mails, 0 bytes" in asked.stdout
    assert "is being destroyed" in asked.stdout
    assert (await invoke(run, "domain", "remove", "brotzeit.example", "--yes")).exit_code == 0
    assert "No domains yet" in (await invoke(run, "domain", "list")).stdout


async def test_a_given_password_is_not_printed(run: Run) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    result = await invoke(
        run, "mailbox", "add", "anna@brotzeit.example", "--password-stdin", "--json", stdin="Brezn und Radi\n"
    )
    assert json.loads(result.stdout) == {"address": "anna@brotzeit.example"}
    result = await invoke(run, "mailbox", "add", "sepp@brotzeit.example", "--password-stdin", stdin="short\n")
    assert result.exit_code == 1
    assert "too short" in result.stderr


async def test_settings_of_a_mailbox_are_changed_and_what_is_left_out_stays(run: Run) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    await invoke(run, "mailbox", "add", ANNA, "--name", "Anna")
    before = await listed(run)
    assert (await invoke(run, "mailbox", "set", ANNA, "--quota", "0.5", "--limit", "30")).exit_code == 0
    assert await listed(run) == before | {"quota_bytes": 512 * 1024**2, "send_limit": 30}
    assert (await invoke(run, "mailbox", "set", ANNA, "--name", "Anna Lindner", "--receives-only")).exit_code == 0
    assert (await listed(run))["state"] == "Receives only"
    await invoke(run, "mailbox", "set", ANNA, "--may-send", "--disable")
    found = await listed(run)
    assert (found["name"], found["may_send"], found["state"]) == ("Anna Lindner", True, "Disabled")
    await invoke(run, "mailbox", "set", ANNA, "--enable")
    assert (await listed(run))["state"] == "Active"


async def test_mail_is_sent_on_until_no_address_is_named(run: Run) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    await invoke(run, "mailbox", "add", ANNA)
    done = await invoke(run, "mailbox", "forward", ANNA, "x@far.example", "y@far.example", "--no-keep", "--json")
    assert json.loads(done.stdout) == {"targets": ["x@far.example", "y@far.example"], "keep_copy": False}
    assert (await listed(run))["forward_to"] == ["x@far.example", "y@far.example"]
    assert "stays there" in (await invoke(run, "mailbox", "forward", ANNA)).stdout
    found = await listed(run)
    assert (found["forward_to"], found["forward_keep"]) == ([], True)


async def test_many_mailboxes_are_looked_through_then_made_and_their_passwords_printed_once(
    run: Run, tmp_path: Path, system: Connection
) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    file = tmp_path / "people.csv"
    file.write_text(f"address,name,password,quota\n{ANNA},Anna,Brezn und Radi,2\nsepp@brotzeit.example,Sepp,,\n")
    looked = await invoke(run, "mailbox", "import", str(file), "--check")
    assert looked.exit_code == 0, looked.output
    assert json.loads((await invoke(run, "mailbox", "list", "--json")).stdout) == [], "a check makes nothing"
    made = json.loads((await invoke(run, "mailbox", "import", str(file), "--json")).stdout)
    assert [(row["address"], row["problem"]) for row in made] == [(ANNA, ""), ("sepp@brotzeit.example", "")]
    assert made[0]["password"] == "", "a password that was given is not printed"
    row = await (
        await system.execute("SELECT password_hash FROM mailbox WHERE address = 'sepp@brotzeit.example'")
    ).fetchone()
    assert row is not None
    assert PasswordHasher().verify(row["password_hash"], made[1]["password"])
    file.write_text(f"{ANNA}\nfranz@brotzeit.example\nx@nobody.example\n")
    again = await invoke(run, "mailbox", "import", str(file))
    assert again.exit_code == 1
    lines = list(csv.reader(again.stdout.splitlines()))
    assert [(row[0], bool(row[1]), bool(row[2])) for row in lines[1:]] == [
        (ANNA, False, True), ("franz@brotzeit.example", True, False), ("x@nobody.example", False, True)
    ]  # fmt: skip


async def test_app_passwords_are_made_listed_without_their_secret_and_revoked(run: Run) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    await invoke(run, "mailbox", "add", ANNA)
    made = json.loads((await invoke(run, "app-password", "add", ANNA, "--name", "Phone", "--json")).stdout)
    assert len(made["password"]) == 23
    known = await invoke(run, "app-password", "list", ANNA, "--json")
    assert [(row["id"], row["name"]) for row in json.loads(known.stdout)] == [(made["id"], "Phone")]
    assert made["password"] not in known.output
    assert (await invoke(run, "app-password", "revoke", ANNA, str(made["id"]))).exit_code == 0
    assert (await invoke(run, "app-password", "list", ANNA)).stdout == "None.\n"
    assert (await invoke(run, "app-password", "revoke", ANNA, str(made["id"]))).exit_code == 1


async def test_rights_to_send_and_copies_are_given_listed_and_taken_back(run: Run) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    await invoke(run, "mailbox", "add", ANNA)
    assert (await invoke(run, "send-as", "list", ANNA)).stdout == "Only its own address and its aliases.\n"
    assert (await invoke(run, "send-as", "allow", ANNA, "hallo@brotzeit.example")).exit_code == 0
    assert json.loads((await invoke(run, "send-as", "list", ANNA, "--json")).stdout) == ["hallo@brotzeit.example"]
    assert (await invoke(run, "send-as", "forbid", ANNA, "hallo@brotzeit.example")).exit_code == 0
    refused = await invoke(run, "send-as", "forbid", ANNA, "hallo@brotzeit.example")
    assert (refused.exit_code, "no such right" in refused.stderr) == (1, True)
    added = await invoke(run, "copies", "add", "received", "@brotzeit.example", ANNA)
    assert added.exit_code == 0, added.output
    (rule,) = json.loads((await invoke(run, "copies", "list", "--json")).stdout)
    assert (rule["direction"], rule["address"], rule["copy_to"]) == ("received", "@brotzeit.example", ANNA)
    assert (await invoke(run, "copies", "add", "seen", ANNA, ANNA)).exit_code == 2
    outside = await invoke(run, "copies", "add", "sent", ANNA, "x@far.example")
    assert (outside.exit_code, "Traceback" in outside.output) == (1, False)
    assert (await invoke(run, "copies", "remove", str(rule["id"]))).exit_code == 0
    assert (await invoke(run, "copies", "remove", str(rule["id"]))).exit_code == 1
    assert (await invoke(run, "copies", "list")).stdout == "No copies are made.\n"


async def test_aliases_and_alias_domains_are_made_listed_and_undone(run: Run) -> None:
    for name in ("brotzeit.example", "brot.example"):
        await invoke(run, "domain", "add", name)
    await invoke(run, "mailbox", "add", ANNA)
    assert "No aliases yet" in (await invoke(run, "alias", "list")).stdout
    assert (await invoke(run, "alias", "add", "team@brotzeit.example", ANNA)).exit_code == 0
    assert (await invoke(run, "alias", "add", "@brotzeit.example", "all@far.example")).exit_code == 0
    assert (await invoke(run, "alias", "domain", "brot.example", "brotzeit.example")).exit_code == 0
    known = json.loads((await invoke(run, "alias", "list", "--json")).stdout)
    assert [(row["address"], row["targets"]) for row in known["aliases"]] == [
        ("@brotzeit.example", ["all@far.example"]), ("team@brotzeit.example", [ANNA])
    ]  # fmt: skip
    assert known["domains"] == [{"name": "brot.example", "target": "brotzeit.example"}]
    await invoke(run, "alias", "domain", "brot.example")
    await invoke(run, "alias", "remove", "@brotzeit.example", "all@far.example")
    assert (await invoke(run, "alias", "list")).stdout == f"team@brotzeit.example -> {ANNA}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("mailbox", "set", "nobody@brotzeit.example", "--limit", "5"), "There is no mailbox"),
     (("mailbox", "set", ANNA, "--limit", "-1"), "from 0 to"),
     (("mailbox", "set", ANNA, "--quota", "nan"), "Give the size in GB"),
     (("mailbox", "set", ANNA, "--quota", "inf"), "Give the size in GB"),
     (("mailbox", "set", ANNA, "--quota", "0.001"), "at least 10 MB"),
     (("mailbox", "forward", ANNA, "|/bin/sh@far.example"), "not sent on"),
     (("mailbox", "forward", ANNA, ANNA), "cannot forward to itself"),
     (("mailbox", "import", "/nowhere.csv"), "nowhere.csv"),
     (("app-password", "add", ANNA, "--name", " "), "Say what it is for"),
     (("app-password", "revoke", ANNA, "99"), "no such app password"),
     (("alias", "add", ANNA, "x@far.example"), "is a mailbox"),
     (("alias", "add", "team@brotzeit.example", "nobody@brotzeit.example"), "There is no mailbox"),
     (("alias", "remove", "team@brotzeit.example", ANNA), "does not lead"),
     (("alias", "domain", "brotzeit.example", "brotzeit.example"), "another name for itself")],
)  # fmt: skip
async def test_what_cannot_be_done_to_a_mailbox_is_said_in_a_sentence(
    run: Run, arguments: tuple[str, ...], says: str
) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    await invoke(run, "mailbox", "add", ANNA)
    result = await invoke(run, *arguments)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.output


async def listed(run: Run) -> dict[str, Any]:
    """The one mailbox, as a program sees it."""
    (row,) = json.loads((await invoke(run, "mailbox", "list", "--json")).stdout)
    found: dict[str, Any] = row
    return found


async def _hash(system: Connection) -> str:
    row = await (await system.execute("SELECT password_hash FROM mailbox")).fetchone()
    assert row is not None
    encoded: str = row["password_hash"]
    return encoded


async def test_settings_of_a_domain_are_shown_and_changed(run: Run) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    before = json.loads((await invoke(run, "domain", "settings", "brotzeit.example", "--json")).stdout)
    assert before["dmarc_policy"] == "none"
    result = await invoke(
        run, "domain", "settings", "brotzeit.example", "--json", "--dmarc", "quarantine", "--mta-sts", "enforce",
        "--no-tls-reports", "--tracking-host", "links", "--bimi-logo", "https://brotzeit.example/logo.svg",
        "--rotate-months", "6",
    )  # fmt: skip
    changed = json.loads(result.stdout)
    assert changed == {
        "mta_sts_mode": "enforce", "tls_reports": False, "dmarc_policy": "quarantine", "rotate_months": 6,
        "tracking_host": "links.brotzeit.example", "bimi_logo": "https://brotzeit.example/logo.svg",
    }  # fmt: skip
    result = await invoke(run, "domain", "settings", "brotzeit.example", "--tracking-host", "")
    assert result.exit_code == 0, result.output
    again = json.loads((await invoke(run, "domain", "settings", "brotzeit.example", "--json")).stdout)
    assert again == {**changed, "tracking_host": ""}
    for option, value in (("--dmarc", "p=reject"), ("--mta-sts", "x"), ("--rotate-months", "99"), ("--bimi-logo", "x")):
        refused = await invoke(run, "domain", "settings", "brotzeit.example", option, value)
        assert (refused.exit_code, refused.stdout) == (1, ""), (option, refused.output)
    assert json.loads((await invoke(run, "domain", "settings", "brotzeit.example", "--json")).stdout) == again


async def test_new_keys_are_made_once_and_dropped_again(run: Run) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    result = await invoke(run, "domain", "rotate", "brotzeit.example")
    assert result.exit_code == 0, result.output
    assert "thurn domain publish brotzeit.example" in result.stdout
    twice = await invoke(run, "domain", "rotate", "brotzeit.example")
    assert (twice.exit_code, twice.stdout) == (1, "")
    shown = (await invoke(run, "domain", "show", "brotzeit.example")).stdout
    assert shown.count("_domainkey.brotzeit.example") == 4
    keys = json.loads((await invoke(run, "domain", "rotate", "brotzeit.example", "--cancel", "--json")).stdout)
    assert [key["state"] for key in keys] == ["active", "active"]
    assert not [key for key in keys if "private" in " ".join(key)]
    assert (await invoke(run, "domain", "rotate", "brotzeit.example", "--cancel")).exit_code == 1


async def test_where_dns_is_kept_is_told_and_how_to_get_in_never(run: Run) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    unknown = await invoke(run, "domain", "publish", "brotzeit.example", "--dry-run")
    assert unknown.exit_code == 1
    assert "Set it up first" in unknown.stderr
    at = ("domain", "publisher", "brotzeit.example")
    secret = "c2VjcmV0LXNlY3JldA=="
    given = json.dumps({"server": "127.0.0.1", "port": 1, "key_name": "k", "key_secret": secret})
    result = await invoke(run, *at, "--provider", "rfc2136", "--json", stdin=given)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["provider"], found["zone"], set(found)) == (
        "rfc2136", "brotzeit.example", {"provider", "zone", "updated_at"},
    )  # fmt: skip
    assert "zone brotzeit.example" in (await invoke(run, *at)).stdout
    for stdin in ("", "no json", '["a"]', '{"token": "x"}'):
        refused = await invoke(run, *at, "--provider", "rfc2136", stdin=stdin)
        assert refused.exit_code == 1
        assert "Traceback" not in refused.output
    silent = await invoke(run, "domain", "publish", "brotzeit.example")
    assert silent.exit_code == 1
    assert "did not answer" in silent.stderr
    assert secret not in silent.output
    assert "does not know" in (await invoke(run, *at, "--forget")).stdout


async def test_a_dry_run_says_what_would_change_and_changes_nothing(run: Run, knot: Knot) -> None:
    await invoke(run, "domain", "add", "brotzeit.example")
    access = {"server": "127.0.0.1", "port": knot.port, "key_name": "thurn-key", "key_secret": knot.secret}
    await invoke(run, "domain", "publisher", "brotzeit.example", "--provider", "rfc2136", stdin=json.dumps(access))
    at = ("domain", "publish", "brotzeit.example")
    text = await invoke(run, *at, "--dry-run")
    assert text.exit_code == 0, text.output
    assert "       - v=spf1 include:news.example -all\n" in text.stdout
    assert "       + v=spf1 a:mail.thurn.example include:news.example -all\n" in text.stdout
    planned = json.loads((await invoke(run, *at, "--dry-run", "--json")).stdout)
    assert planned["published"] is False
    assert knot.holds("_dmarc.brotzeit.example", "TXT") == set()
    assert "v=spf1 include:news.example -all" in knot.holds("brotzeit.example", "TXT")
    done = json.loads((await invoke(run, *at, "--json")).stdout)
    assert done == {"published": True, "changes": planned["changes"]}
    assert len(knot.holds("_dmarc.brotzeit.example", "TXT")) == 1
