"""App passwords: shown once, kept as a hash, taken away one by one."""

import hashlib
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from thurn.db.connect import Connection, conninfo, make_pool
from thurn.guard import own_mail
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


NOTE = "SELECT mta.note_session(%s, %s, %s, %s)"


@pytest.mark.parametrize(
    "pid", ["", "0", "-1", "1.5", "9999999999", "1\n2", "1); DROP TABLE mta.open_session; --", "%{session_pid}"]
)
@pytest.mark.parametrize("by", ["dovecot", "postfix"])
def test_a_session_of_no_process_is_not_noted(clean: Settings, pid: str, by: str) -> None:
    with psycopg.connect(conninfo(clean, "dovecot"), autocommit=True) as dovecot:
        assert dovecot.execute(NOTE, [pid, ANNA, "app 1", by]).fetchone() == ("app 1",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            dovecot.execute("SELECT * FROM mta.open_session")
    with psycopg.connect(conninfo(clean, "system")) as db:
        assert db.execute("SELECT count(*) FROM mta.open_session").fetchone() == (0,)


@pytest.mark.parametrize(
    ("instance", "number"),
    [
        ("77b2.6745f3a1.c8ef7.0", 0x77B2),
        ("3fffff.1.2.3", 0x3FFFFF),
        *(
            (hostile, 0)
            for hostile in ("", ".", "77b2", "-1.2", "+1.2", " 1.2", "1_0.2", "0x1.2", "g.1", "²٣.1", "f" * 99 + ".1")
        ),
    ],
)
def test_the_process_that_asks_is_found_in_the_name_that_postfix_gives_a_mail(instance: str, number: int) -> None:
    assert own_mail.process(instance) == number


async def test_a_mail_is_taken_only_in_the_session_that_a_good_password_opened(db: Connection, clean: Settings) -> None:
    app, _ = await app_passwords.create(db, 1, await number(db), name="Phone")
    question = {"sasl_username": ANNA.upper(), "protocol_state": "END-OF-MESSAGE", "instance": "a1.1.1.0"}

    async def answer(**more: str) -> str:
        return (await own_mail.check(pool, clean, question | more)).split()[0]

    def note(pid: int, address: str, opened_by: str, by: str = "postfix") -> None:
        with psycopg.connect(conninfo(clean, "dovecot"), autocommit=True) as dovecot:
            dovecot.execute(NOTE, [str(pid), address, opened_by, by])

    async with make_pool(clean, "system", size=1) as pool:
        assert await answer() == "421", "nothing is known of it"
        for pid, address, opened_by, by in (
            (0xA2, ANNA, f"app {app}", "postfix"),  # another session
            (0xA1, XAVER, f"app {app}", "postfix"),
            (0xA1, ANNA, f"app {app}", "dovecot"),
            (0xA1, ANNA, f"app {app + 1}", "postfix"),
            (0xA1, ANNA, "own ", "postfix"),
        ):
            note(pid, address, opened_by, by)
            assert await answer() == "421"
        note(0xA1, ANNA, f"app {app}")
        assert await answer() == "DUNNO"
        assert await answer(protocol_state="RCPT", policy_context="own-recipient") == "DUNNO"
        assert await answer(sasl_username="' OR 1=1 --") == "421"
        await app_passwords.revoke(db, await number(db), app)
        assert await answer() == "421"
        assert await answer(protocol_state="RCPT", policy_context="own-recipient") == "421"
        for other in ({"sasl_username": ""}, {"protocol_state": "CONNECT", "policy_context": "door"}):
            assert await answer(**other) == "DUNNO", "no question about a mail of somebody who signed in"
