"""Removed mailboxes: kept for 30 days, restored as they were, destroyed afterwards and never anything else."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from thurn.db.connect import Connection, conninfo
from thurn.db.fetch import one
from thurn.mailhost import aliases, app_passwords, forwards, mailboxes, removed, rights, service
from thurn.portal import filters
from thurn.portal.sieve import Absence
from thurn.problems import Conflict, NotFound
from thurn.settings import Settings
from thurn.stack.removed import destroy_due

ANNA, XAVER = "anna@brotzeit.example", "xaver@brotzeit.example"

pytestmark = pytest.mark.usefixtures("people")


@pytest.fixture
def store(clean: Settings) -> Iterator[Path]:
    """Where all mail is."""
    mail = clean.state / "mail"
    mail.mkdir(exist_ok=True)  # others deliver into it, too
    yield mail
    remove_all(mail)


def remove_all(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
    folder.rmdir()


def home(settings: Settings, store: Path, address: str) -> Path:
    """The folder of a mailbox, with a mail in it."""
    with psycopg.connect(conninfo(settings, "owner")) as db:
        row = db.execute("SELECT home FROM mta.dovecot_user WHERE address = %s", [address]).fetchone()
    assert row is not None
    folder = store / row[0] / "Maildir" / "cur"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1.mail").write_text("Servus")
    return Path(store / row[0])


async def furnish(db: Connection) -> int:
    """Everything that Anna's mailbox can have."""
    number = int((await mailboxes.get_mailbox(db, ANNA))["id"])
    for alias in ("hallo@brotzeit.example", "@brotzeit.example"):
        await aliases.add(db, 1, address=alias, target=ANNA)
    await forwards.put(db, 1, number, targets=["far@elsewhere.example"], keep_copy=True)
    await rights.allow_sending(db, 1, number, "news@brotzeit.example")
    await rights.add_copy(db, 1, direction="sent", address=ANNA, copy_to=XAVER, outside=False, by="x")
    await app_passwords.create(db, 1, number, name="Phone")
    await filters.add_rule(db, 1, number, filters.checked("subject", "x", "trash", ""))
    await filters.put_absence(db, 1, number, Absence(True, None, None, "", "Away", 3))
    await db.execute(
        """INSERT INTO spam_sender (workspace_id, domain_id, mailbox_id, verdict, sender)
           SELECT 1, domain_id, id, 'block', 'evil.example' FROM mailbox WHERE id = %s""",
        [number],
    )
    await db.execute(
        """UPDATE mailbox SET totp_secret = '\\x0102', totp_confirmed_at = now(), may_send = false, bytes_used = 2048,
             messages_used = 214 WHERE id = %s""",
        [number],
    )
    return number


TABLES = ("mailbox", "alias", "send_as", "bcc_rule", "app_password", "mailbox_rule", "mailbox_absence", "spam_sender")


async def everything(db: Connection) -> dict[str, list[object]]:
    """Every row of what comes back, but for what is counted anew."""
    found = {}
    for table in TABLES:
        rows = await db.execute(
            f"SELECT to_jsonb(t) - '{{bytes_used,messages_used,used_at}}'::text[] AS row FROM {table} t ORDER BY 1"  # noqa: S608
        )
        found[table] = [row["row"] async for row in rows]
    return found


async def test_a_removed_mailbox_comes_back_as_it_was(db: Connection) -> None:
    number = await furnish(db)
    before = await everything(db)
    await mailboxes.remove_mailbox(db, ANNA)
    assert await everything(db) != before
    (row,) = await removed.page(db)
    assert (row["id"], row["address"], row["messages"], row["bytes"]) == (number, ANNA, 214, 2048)
    assert (row["destroy_at"] - row["removed_at"]).days == removed.DAYS
    assert (row["restorable"], row["taken"]) == (True, False)
    assert await removed.restore(db, number) == ANNA
    assert await everything(db) == before
    assert await removed.count(db) == 0
    with pytest.raises(NotFound):
        await removed.restore(db, number)
    await mailboxes.remove_mailbox(db, ANNA)  # and again
    assert await removed.count(db) == 1


async def test_an_address_made_anew_sees_nothing_of_the_former_ones_mail(
    db: Connection, clean: Settings, store: Path
) -> None:
    former = home(clean, store, ANNA)
    await mailboxes.remove_mailbox(db, ANNA)
    await mailboxes.add_mailbox(db, 1, address=ANNA, password="Another one 123")
    fresh = home(clean, store, ANNA)
    assert fresh != former
    (row,) = await removed.page(db)
    assert row["taken"]
    with pytest.raises(Conflict, match="a mailbox again"):
        await removed.restore(db, row["id"])
    await mailboxes.remove_mailbox(db, ANNA)
    assert await removed.restore(db, row["id"]) == ANNA
    assert home(clean, store, ANNA) == former
    assert (await removed.newest(db, ANNA))["id"] != row["id"]


async def test_mail_is_destroyed_when_its_time_is_over_and_no_sooner(
    db: Connection, system: Connection, clean: Settings, store: Path
) -> None:
    anna, xaver = home(clean, store, ANNA), home(clean, store, XAVER)
    await mailboxes.remove_mailbox(db, ANNA)
    assert destroy_due(clean) == 0
    assert anna.exists()
    await system.execute("UPDATE removed_mailbox SET destroy_at = now() - interval '1 second'")
    (row,) = await removed.page(db)
    with pytest.raises(Conflict):
        await removed.restore(db, row["id"])
    assert destroy_due(clean) == 1
    assert not anna.exists()
    assert xaver.exists()
    assert await removed.count(db) == 0
    assert destroy_due(clean) == 0


async def test_destroying_now_keeps_nothing_that_could_be_restored(
    db: Connection, system: Connection, clean: Settings, store: Path
) -> None:
    anna, xaver = home(clean, store, ANNA), home(clean, store, XAVER)
    await mailboxes.remove_mailbox(db, ANNA, destroy=True)
    await mailboxes.remove_mailbox(db, XAVER)
    await removed.destroy(db, (await removed.newest(db, XAVER))["id"])
    row = await one(system, "SELECT count(*) AS n FROM removed_mailbox WHERE kept IS NOT NULL")
    assert row["n"] == 0
    assert destroy_due(clean) == 2
    assert not anna.exists()
    assert not xaver.exists()


async def test_a_domain_takes_its_mailboxes_along_and_they_come_back_when_it_does(
    db: Connection, system: Connection, clean: Settings, store: Path
) -> None:
    number = await furnish(db)
    anna = home(clean, store, ANNA)
    assert (await service.get_domain(db, "brotzeit.example"))["messages"] == 214
    await service.remove_domain(db, "brotzeit.example")
    assert [row["address"] for row in await removed.page(db)] == [ANNA, XAVER]
    with pytest.raises(Conflict, match="not one of your domains"):
        await removed.restore(db, number)
    await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
    assert await removed.restore(db, number) == ANNA
    found = await mailboxes.get_mailbox(db, ANNA)
    assert found["aliases"] == ["@brotzeit.example", "hallo@brotzeit.example"]
    assert anna.exists()


async def test_what_became_somebody_elses_meanwhile_stays_theirs(db: Connection, clean: Settings) -> None:
    number = await furnish(db)
    await mailboxes.remove_mailbox(db, ANNA)
    await mailboxes.add_mailbox(db, 1, address="hallo@brotzeit.example", password="Another one 123")
    await removed.restore(db, number)
    assert (await mailboxes.get_mailbox(db, ANNA))["aliases"] == ["@brotzeit.example"]
    await mailboxes.remove_mailbox(db, ANNA)
    await aliases.add(db, 1, address=ANNA, target=XAVER)
    with pytest.raises(Conflict, match="an alias again"):
        await removed.restore(db, number)


async def test_mail_of_a_mailbox_that_went_another_way_is_not_forgotten(
    db: Connection, system: Connection, clean: Settings, store: Path
) -> None:
    anna = home(clean, store, ANNA)
    await system.execute("DELETE FROM domain WHERE name = 'brotzeit.example'")
    rows = await removed.page(db)
    assert [(row["address"], row["restorable"]) for row in rows] == [(ANNA, False), (XAVER, False)]
    await system.execute("UPDATE removed_mailbox SET destroy_at = now()")
    assert destroy_due(clean) == 2
    assert not anna.exists()


async def test_another_workspace_neither_sees_nor_touches_them(db: Connection, system: Connection) -> None:
    await mailboxes.remove_mailbox(db, ANNA)
    number = (await removed.page(db))[0]["id"]
    await db.execute("SELECT set_config('thurn.workspace', '2', false)")
    assert await removed.page(db) == []
    for act in (removed.restore, removed.destroy):
        with pytest.raises(NotFound):
            await act(db, number)


async def test_pages_of_removed_mailboxes_have_an_end_and_a_beginning(db: Connection) -> None:
    for _ in range(3):  # the same address three times
        await mailboxes.remove_mailbox(db, XAVER)
        await mailboxes.add_mailbox(db, 1, address=XAVER, password="Another one 123")
    whole = await removed.page(db)
    assert len(whole) == 3
    first = await removed.page(db, limit=2)
    assert first == whole[:2]
    assert await removed.page(db, after=removed.place_of(first[-1]), limit=2) == whole[2:]
    assert await removed.page(db, before=removed.place_of(whole[2]), limit=1) == whole[1:2]
    for odd in ("", "x", "x y", "' 1", f"{XAVER} 99999999999", "\0 1"):
        await removed.page(db, after=odd)
