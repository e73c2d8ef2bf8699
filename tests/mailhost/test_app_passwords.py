"""App passwords: shown once, kept as a hash, taken away one by one."""

import hashlib
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from thurn.db.connect import Connection, conninfo
from thurn.mailhost import app_passwords, mailboxes
from thurn.problems import Conflict, Invalid, NotFound
from thurn.settings import Settings

ANNA, XAVER = "anna@brotzeit.example", "xaver@brotzeit.example"

pytestmark = pytest.mark.usefixtures("people")


async def number(db: Connection, address: str = ANNA) -> int:
    return int((await mailboxes.get_mailbox(db, address))["id"])


def test_a_secret_has_100_bits_and_no_letter_that_is_read_as_another() -> None:
    made = {app_passwords.generate() for _ in range(200)}
    assert len(made) == 200
    letters = set("".join(made))
    assert len(letters - {"-"}) == 32
    assert not letters & set("lo01")
    assert {len(secret.replace("-", "")) for secret in made} == {20}  # 32 ** 20 == 2 ** 100


async def test_dovecot_finds_it_by_the_hash_of_what_is_typed(db: Connection, clean: Settings) -> None:
    _, secret = await app_passwords.create(db, 1, await number(db), name="Phone")
    with psycopg.connect(conninfo(clean, "dovecot")) as dovecot:
        found = dovecot.execute("SELECT address, secret, scope FROM mta.dovecot_app_password").fetchall()
    assert found == [(ANNA, hashlib.sha256(secret.encode()).hexdigest(), "programs")]


async def test_the_list_shows_what_programs_use_and_not_the_secret(db: Connection) -> None:
    mine = await number(db)
    first, secret = await app_passwords.create(db, 1, mine, name="  Phone\n of\0Anna ")
    await app_passwords.create(db, 1, mine, name="session", scope="webmail", expires_at=datetime.now(UTC))
    listed = await app_passwords.of_mailbox(db, mine)
    assert [(row["id"], row["name"]) for row in listed] == [(first, "Phone of Anna")]
    assert secret not in str(listed)


async def test_what_has_expired_opens_nothing(db: Connection, clean: Settings) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    await app_passwords.create(db, 1, await number(db), name="old", expires_at=past)
    with psycopg.connect(conninfo(clean, "dovecot")) as dovecot:
        assert dovecot.execute("SELECT * FROM mta.dovecot_app_password").fetchall() == []


async def test_one_is_revoked_by_its_own_mailbox_alone(db: Connection) -> None:
    mine, other = await number(db), await number(db, XAVER)
    first, _ = await app_passwords.create(db, 1, mine, name="Phone")
    kept, _ = await app_passwords.create(db, 1, mine, name="Office PC")
    with pytest.raises(NotFound):
        await app_passwords.revoke(db, other, first)
    await app_passwords.revoke(db, mine, first)
    assert [row["id"] for row in await app_passwords.of_mailbox(db, mine)] == [kept]
    with pytest.raises(NotFound):
        await app_passwords.revoke(db, mine, first)


@pytest.mark.parametrize("name", ["", "  ", "\0", "\n\t", "a" * 101])
async def test_a_name_must_say_something_and_fit(db: Connection, name: str) -> None:
    with pytest.raises(Invalid) as refused:
        await app_passwords.create(db, 1, await number(db), name=name)
    assert refused.value.field == "name"


async def test_there_is_an_end_to_them(db: Connection) -> None:
    mine = await number(db)
    for i in range(app_passwords.MOST):
        await app_passwords.create(db, 1, mine, name=f"device {i}")
    with pytest.raises(Conflict, match="Revoke"):
        await app_passwords.create(db, 1, mine, name="one more")
    await app_passwords.create(db, 1, mine, name="session", scope="webmail")


@pytest.mark.parametrize(
    "pid", ["", "0", "-1", "1.5", "9999999999", "1\n2", "1); DROP TABLE mta.open_session; --", "%{session_pid}"]
)
def test_a_session_of_no_process_is_not_noted(clean: Settings, pid: str) -> None:
    with psycopg.connect(conninfo(clean, "dovecot"), autocommit=True) as dovecot:
        assert dovecot.execute("SELECT mta.note_session(%s, %s, 'app 1')", [pid, ANNA]).fetchone() == ("app 1",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            dovecot.execute("SELECT * FROM mta.open_session")
    with psycopg.connect(conninfo(clean, "system")) as db:
        assert db.execute("SELECT count(*) FROM mta.open_session").fetchone() == (0,)
