"""Absence and sorting rules: the script by table and by property, and the pages. Dovecot's part: tests/stack."""

import re
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.conftest import Owner
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.portal import filters
from thurn.portal.sieve import Absence, Rule, render
from thurn.problems import Invalid

Maker = Callable[..., Awaitable[Any]]
OWN = ["sepp@brotzeit.example"]
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def test_nothing_to_do_is_no_script() -> None:
    assert render(Absence(), [], OWN) is None
    assert render(Absence(body="x"), [Rule("from", "x", "trash", active=False)], OWN) is None


def test_what_a_script_looks_like() -> None:
    away = Absence(True, date(2026, 12, 1), date(2026, 12, 3), 'I am "out"', "Back\n\\o/", 3)
    rules = [Rule("to", "club", "folder", "Clubs.Choir"), Rule("from", "boss", "read"),
             Rule("subject", "bill", "forward", "tax@office.example"), Rule("subject", "casino", "trash")]  # fmt: skip
    assert render(away, rules, OWN) == (
        'require ["copy", "date", "fileinto", "imap4flags", "mailbox", "relational", "vacation"];\n'
        "# Written by the portal.\n"
        'if allof(currentdate :value "ge" "date" "2026-12-01", currentdate :value "le" "date" "2026-12-03") {\n'
        '  vacation :days 3 :subject "I am \\"out\\"" :addresses ["sepp@brotzeit.example"] "Back\n\\\\o/";\n}\n'
        'if header :contains ["to", "cc"] "club" {\n  fileinto :create "Clubs.Choir";\n  stop;\n}\n'
        'if header :contains ["from"] "boss" {\n  addflag "\\\\Seen";\n}\n'
        'if header :contains ["subject"] "bill" {\n  redirect :copy "tax@office.example";\n}\n'
        'if header :contains ["subject"] "casino" {\n  fileinto :create "Trash";\n  stop;\n}\n'
    )


@given(subject=st.text(), body=st.text(), contains=st.text(), folder=st.text(), address=st.text())
def test_whatever_people_type_stays_inside_its_quotes(
    subject: str, body: str, contains: str, folder: str, address: str
) -> None:
    """Between the strings stands what stands there for harmless texts, and the strings are what was typed."""

    def script(*texts: str) -> str:
        away = Absence(True, None, None, texts[0], texts[1])
        rules = [Rule("from", texts[2], "folder", texts[3]), Rule("to", texts[2], "forward", texts[4])]
        return render(away, rules, OWN) or ""

    given_texts = (subject or "s", body, contains, folder, address)
    made, harmless = script(*given_texts), script(*"abcde")
    assert STRING.sub("S", made) == STRING.sub("S", harmless)
    strings = [re.sub(r"\\(.)", r"\1", found, flags=re.DOTALL) for found in STRING.findall(made)]
    assert set(given_texts) <= set(strings)


@pytest.mark.parametrize(
    ("absence", "words"),
    [
        (Absence(), "Off"),
        (Absence(True), "On"),
        (Absence(True, last_day=date(2026, 12, 3)), "On until 3 December"),
        (Absence(True, last_day=date(2027, 1, 3)), "On until 3 January 2027"),
        (Absence(True, date(2026, 12, 1)), "From 1 December"),
        (Absence(True, date(2026, 12, 1), date(2026, 12, 3)), "From 1 December until 3 December"),
        (Absence(True, last_day=date(2026, 11, 23)), "Over since 23 November"),
        (Absence(True, date(2026, 11, 24), date(2026, 11, 24)), "On until 24 November"),
    ],
)
def test_how_it_stands_in_words(absence: Absence, words: str) -> None:
    assert filters.in_words(absence, date(2026, 11, 24)) == words


@pytest.mark.parametrize(
    ("folder", "kept"),
    [("Invoices", "Invoices"), (" Clubs/Choir ", "Clubs.Choir"), ("Bürokram", "Bürokram"), ("a.b.c.d.e", "a.b.c.d.e")],
)
def test_a_folder_as_people_write_it(folder: str, kept: str) -> None:
    assert filters.checked("from", "x", "folder", folder).argument == kept


@pytest.mark.parametrize(
    "folder",
    ["", " ", "/", "..", "../x", "a//b", ".hidden", "x.", "a/ /b", "x" * 101, "a\nb", "a\0b", 'a"b', "a\\b", "*", "%",
     "~root", "a.b.c.d.e.f"],
)  # fmt: skip
def test_a_folder_that_cannot_be(folder: str) -> None:
    with pytest.raises(Invalid):
        filters.checked("from", "x", "folder", folder)


@pytest.mark.parametrize(
    ("field", "contains", "action", "argument"),
    [
        ("body", "x", "trash", ""),
        ("from", "x", "keep", ""),
        ("from", "", "trash", ""),
        ("from", "x" * 201, "trash", ""),
        ("from", "a\r\nb", "trash", ""),
        ("from", "x", "forward", "nobody"),
        ("from", "x", "forward", "|/bin/sh@x.example"),
        ("", "", "", ""),
    ],
)
async def test_a_bad_rule_is_refused_with_what_was_typed(
    sepp: Owner, field: str, contains: str, action: str, argument: str
) -> None:
    answer = await sepp.post("/rules", 422, field=field, contains=contains, action=action, argument=argument)
    assert 'aria-invalid="true"' in answer.text
    assert "The first rule" in await sepp.get("/rules")


@pytest.mark.parametrize(
    "change",
    [{"body": ""}, {"body": "x" * 10_001}, {"body": "a\0b"}, {"subject": "x" * 201}, {"first_day": "soon"},
     {"first_day": "2026-12-02", "last_day": "2026-12-01"}, {"every_days": "0"}, {"every_days": "31"},
     {"every_days": "²"}, {"last_day": "0000-00-00"}, {"last_day": "99999-01-01"}],
)  # fmt: skip
async def test_a_bad_absence_is_refused_with_what_was_typed(sepp: Owner, change: dict[str, str]) -> None:
    given = {"active": "1", "body": "Back soon", "every_days": "7", "subject": "Away"} | change
    answer = await sepp.post("/absence", 422, **given)
    assert 'aria-invalid="true"' in answer.text
    assert "Off. People" in await sepp.get("/absence")


async def test_an_absence_is_kept_although_the_mail_server_is_away(sepp: Owner) -> None:
    await sepp.post("/absence", active="1", body="<b>Back soon</b>\r\nSepp", last_day="2099-12-01", every_days="3")
    html = await sepp.get("/absence?saved=1")
    assert "Saved, but not in force yet" in html  # there is no Dovecot here
    assert "&lt;b&gt;Back soon" in html
    assert "On until 1 December 2099" in await sepp.get()


async def test_rules_are_added_switched_moved_and_removed(sepp: Owner, system: Connection) -> None:
    for contains, action, argument in (
        ("<i>bill", "folder", "Bills"), ("casino", "trash", "ignored"), ("boss", "forward", "me@home.example")
    ):  # fmt: skip
        await sepp.post("/rules", field="subject", contains=contains, action=action, argument=argument)
    first, second, third = [row["id"] for row in await filters.rules(system, sepp.mailbox_id)]
    await sepp.post(f"/rules/{third}/up")
    await sepp.post(f"/rules/{third}/up")
    await sepp.post(f"/rules/{third}/up")
    assert [row["id"] for row in await filters.rules(system, sepp.mailbox_id)] == [third, first, second]
    await sepp.post(f"/rules/{first}/off")
    html = await sepp.get("/rules")
    assert "<i>bill" not in html
    assert "Switch on" in html
    await sepp.post(f"/rules/{first}/on")
    await sepp.post(f"/rules/{second}/remove")
    await sepp.post(f"/rules/{second}/remove", 404)
    assert "2 rules" in await sepp.get()
    assert "on to me@home.example" in await sepp.get("/security")  # who sends mail on is told to the owner


async def test_a_rule_is_changed_in_its_place(sepp: Owner, system: Connection) -> None:
    for contains in ("one", "two"):
        await sepp.post("/rules", field="subject", contains=contains, action="folder", argument="Bills/Old")
    first = (await filters.rules(system, sepp.mailbox_id))[0]["id"]
    await sepp.post(f"/rules/{first}/off")
    assert 'value="Bills/Old"' in await sepp.get(f"/rules/{first}")
    refused = await sepp.post(f"/rules/{first}", 422, field="from", contains="", action="trash")
    assert 'aria-invalid="true"' in refused.text
    await sepp.post(f"/rules/{first}", field="from", contains="<i>boss", action="forward", argument="me@home.example")
    row = (await filters.rules(system, sepp.mailbox_id))[0]
    assert (row["id"], row["field"], row["contains"], row["action"], row["active"]) == (
        first, "from", "<i>boss", "forward", False,
    )  # fmt: skip
    assert "<i>boss" not in await sepp.get(f"/rules/{first}")
    assert "on to me@home.example" in await sepp.get("/security")
    await sepp.get("/rules/999999", 404)


async def test_nobody_changes_another_mailboxs_rules(
    sepp: Owner, make_owner: Maker, system: Connection, other_workspace: int
) -> None:
    for address, workspace in (("rosi@brotzeit.example", 1), ("vroni@theirs.example", other_workspace)):
        other = await make_owner(address, workspace)
        await other.post("/rules", field="from", contains="secret plan", action="trash")
        number = (await one(system, "SELECT id FROM mailbox_rule WHERE mailbox_id = %s", [other.mailbox_id]))["id"]
        for action in ("on", "off", "up", "remove"):
            await sepp.post(f"/rules/{number}/{action}", 404)
        await sepp.get(f"/rules/{number}", 404)
        await sepp.post(f"/rules/{number}", 404, field="from", contains="x", action="trash")
        assert "secret plan" not in await sepp.get("/rules")
        row = await one(system, "SELECT active, position FROM mailbox_rule WHERE id = %s", [number])
        assert (row["active"], row["position"]) == (True, 1)
    for bad in ("0", "x", "99999999999"):
        await sepp.post(f"/rules/{bad}/up", 404)


async def test_storage_is_shown_and_what_cannot_be_told_is_said(sepp: Owner, system: Connection) -> None:
    html = await sepp.get("/storage?ask=empty")
    assert "The mail server does not answer right now" in html  # there is no Dovecot here
    await sepp.post("/storage/empty", 409)
    for used, words in (
        (None, "Up to 5.0 GB"),
        (2**30, "1.0 GB of 5.0 GB"),
        (49 * 10**8, "Nearly full"),
        (2**43, "Full."),
    ):
        await system.execute("UPDATE mailbox SET bytes_used = %s", [used])
        assert words in await sepp.get()
    await system.execute(
        """INSERT INTO mailbox_size (workspace_id, mailbox_id, day, bytes)
           SELECT 1, %s, current_date - n, 4900000000 - n * 20000000::bigint FROM generate_series(0, 20) n""",
        [sepp.mailbox_id],
    )
    await system.execute("UPDATE mailbox SET bytes_used = 4900000000")
    assert "Full in about 3 weeks</b> at this rate" in await sepp.get()
    assert "Full in about 3 weeks</b> at this rate" in await sepp.get("/storage")
