"""Aliases, alias domains, rights, and many mailboxes at once, as they are kept and as the commands say them."""

from pathlib import Path

import psycopg
import pytest

from thurn.audience.csvfile import NotCsv
from thurn.db.connect import Connection, conninfo
from thurn.mailhost import aliases, bulk, mailboxes, rights, service
from thurn.problems import Conflict, Invalid, NotFound
from thurn.settings import Settings

ANNA, XAVER = "anna@brotzeit.example", "xaver@brotzeit.example"

pytestmark = pytest.mark.usefixtures("people")


def as_postfix(settings: Settings, function: str, address: str) -> str | None:
    with psycopg.connect(conninfo(settings, "postfix")) as db:
        row = db.execute(f"SELECT * FROM mta.{function}(%s)", [address]).fetchone()  # type: ignore[arg-type] # noqa: S608
    return row[0] if row else None


async def test_an_alias_leads_anywhere_and_the_way_out_is_marked(db: Connection, clean: Settings) -> None:
    for target in (ANNA, "Franz@Elsewhere.example"):
        await aliases.add(db, 1, address="Team@brotzeit.example", target=target)
    assert as_postfix(clean, "aliases", "team@brotzeit.example") == f"{ANNA},Franz=elsewhere.example@forward.invalid"
    await aliases.remove(db, address="team@brotzeit.example", target="franz@elsewhere.example")
    assert as_postfix(clean, "aliases", "team@brotzeit.example") == ANNA
    for wanted in ("team", "@", "a@b@brotzeit.example", '"x@y"@brotzeit.example', "' OR 1=1 --@brotzeit.example"):
        assert as_postfix(clean, "aliases", wanted) is None


@pytest.mark.parametrize(
    ("address", "target", "problem"),
    [
        (ANNA, XAVER, Conflict),
        ("x@elsewhere.example", ANNA, Invalid),
        ("x@brotzeit.example", "nobody@brotzeit.example", NotFound),
        ("x@brotzeit.example", "a,b@x.example", Invalid),
        ("x@brotzeit.example", "|/bin/sh@x.example", Invalid),
        ("%@brotzeit.example", ANNA, Invalid),
        ("@elsewhere.example", ANNA, Invalid),
        ("@", ANNA, Invalid),
        ("x@brotzeit.example\0", ANNA, Invalid),
    ],
)
async def test_what_is_no_alias_is_refused(db: Connection, address: str, target: str, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        await aliases.add(db, 1, address=address, target=target)
    assert await aliases.count(db) == 0


async def test_a_domain_leads_to_another_and_has_nothing_of_its_own(
    db: Connection, clean: Settings, system: Connection
) -> None:
    await service.add_domain(db, 1, name="brot.example", settings=clean)
    await system.execute("UPDATE domain SET proven_at = now()")
    with pytest.raises(Conflict, match="mailboxes"):
        await aliases.lead_domain(db, "brotzeit.example", "brot.example")
    with pytest.raises(Invalid):
        await aliases.lead_domain(db, "brot.example", "brot.example")
    await aliases.lead_domain(db, "brot.example", "brotzeit.example")
    assert as_postfix(clean, "aliases", "anna@brot.example") == ANNA
    assert as_postfix(clean, "logins", "anna@brot.example") == ANNA
    assert as_postfix(clean, "aliases", "nobody@brot.example") is None
    for adding in (
        service.add_mailbox(db, 1, address="new@brot.example"),
        aliases.add(db, 1, address="new@brot.example", target=ANNA),
    ):
        with pytest.raises(Invalid, match="another name"):
            await adding
    await system.execute("UPDATE domain SET proven_at = NULL WHERE name = 'brotzeit.example'")
    assert as_postfix(clean, "aliases", "anna@brot.example") is None, "else its mail would go to a stranger's server"
    await aliases.lead_domain(db, "brot.example", None)
    assert await aliases.alias_domains(db) == []


async def test_rights_to_send_are_given_and_taken(db: Connection, clean: Settings) -> None:
    anna = (await mailboxes.get_mailbox(db, ANNA))["id"]
    await rights.allow_sending(db, 1, anna, "news@brotzeit.example")
    assert as_postfix(clean, "logins", "news@brotzeit.example") == ANNA
    await rights.allow_sending(db, 1, anna, "@brotzeit.example")
    assert as_postfix(clean, "logins", XAVER) == f"{ANNA},{XAVER}"
    for wrong in (ANNA, "news@brotzeit.example"):
        with pytest.raises(Conflict):
            await rights.allow_sending(db, 1, anna, wrong)
    with pytest.raises(Invalid):
        await rights.allow_sending(db, 1, anna, "boss@elsewhere.example")
    for right in ("@brotzeit.example", "news@brotzeit.example"):
        await rights.forbid_sending(db, anna, right)
    assert as_postfix(clean, "logins", XAVER) == XAVER


async def test_copies_leave_the_house_only_when_that_is_said(db: Connection) -> None:
    with pytest.raises(Invalid, match="may leave"):
        await rights.add_copy(db, 1, direction="sent", address=ANNA, copy_to="x@far.example")
    number = await rights.add_copy(
        db, 1, direction="sent", address=ANNA, copy_to="x@far.example", outside=True, by="me"
    )
    for address, to in (
        (ANNA, XAVER),
        ("nobody@brotzeit.example", XAVER),
        (XAVER, XAVER),
        (XAVER, "no@brotzeit.example"),
    ):
        with pytest.raises((Invalid, Conflict)):
            await rights.add_copy(db, 1, direction="sent", address=address, copy_to=to)
    assert [(rule["address"], rule["created_by"]) for rule in await rights.copies(db)] == [(ANNA, "me")]
    await rights.remove_copy(db, number)
    assert await rights.copies(db) == []


async def test_states_say_how_full_a_mailbox_is(db: Connection, clean: Settings) -> None:
    with psycopg.connect(conninfo(clean, "dovecot"), autocommit=True) as dovecot:
        for used, state in ((0, "Active"), (93, "Nearly full"), (100, "Full"), (-5, "Active")):
            dovecot.execute(
                """INSERT INTO mta.quota_usage (bytes, username) VALUES (%s, %s)
                   ON CONFLICT (username) DO UPDATE SET bytes = excluded.bytes""",
                [used * 5 * mailboxes.GIB // 100, ANNA],
            )
            assert (await mailboxes.get_mailbox(db, ANNA))["state"] == state
        assert dovecot.execute("SELECT count(*) FROM mta.quota_usage").fetchone() == (0,)
    await mailboxes.update_mailbox(db, ANNA, may_send=False, send_limit=7)
    assert [row["address"] for row in await mailboxes.mailbox_page(db, state="Receives only")] == [ANNA]
    with pytest.raises(Invalid):
        await mailboxes.update_mailbox(db, ANNA, send_limit=-1)


async def test_many_are_made_and_the_others_say_why_not(db: Connection, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    lines = (
        "\ufeffName;E-Mail;Quota", "Änne;aenne@brotzeit.example;2,5", "=cmd;sepp@Brotzeit.example;",
        ";aenne@brotzeit.example;", "Anna;anna@brotzeit.example;", "X;x@elsewhere.example;",
        "Y;y@brotzeit.example;much", ";;", "Z;z z@brotzeit.example;1",
    )  # fmt: skip
    file.write_bytes("\r\n".join(lines).encode())
    wanted = await bulk.look_through(db, bulk.read(file))
    assert [(row.line, row.address) for row in wanted if not row.problem] == [
        (2, "aenne@brotzeit.example"),
        (3, "sepp@brotzeit.example"),
    ]
    assert [row.line for row in wanted if row.problem] == [4, 5, 6, 7, 9]
    async with db.transaction():
        made = [each async for each in bulk.make(db, 1, wanted)]
    assert [bool(each.password) for each in made[:2]] == [True, True]
    assert made[0].password != made[1].password
    row = await mailboxes.get_mailbox(db, "aenne@brotzeit.example")
    assert (row["name"], row["quota_bytes"]) == ("Änne", int(2.5 * mailboxes.GIB))
    assert bulk.line("=1+1", "@x", "a,b") == "'=1+1,'@x,\"a,b\"\r\n"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"name,size\nx,1\n", b"PK\x03\x04x", b"\0" * 100, b'"never closed'])
def test_a_file_without_mailboxes_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    try:
        assert all(row.problem for row in bulk.read(tmp_path / "x.csv"))
    except NotCsv as refused:
        assert str(refused)[-1] == "."  # noqa: PT017 - either is an answer
