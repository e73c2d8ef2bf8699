"""The portal's security pages: password, two-factor, app passwords, sign-ins, and hands that reach for another's."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pyotp
import pytest
from cryptography.exceptions import InvalidTag
from page_check import csrf_of

from tests.web.conftest import PASSWORD, Owner
from thurn.db.connect import Connection, connect
from thurn.db.fetch import maybe, one, rows
from thurn.mailhost import app_passwords
from thurn.portal import security, totp, two_factor
from thurn.problems import Conflict
from thurn.settings import Settings

Maker = Callable[..., Awaitable[Any]]
NEW = "Radi und Brezn am See"


def code_at(secret: str, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(int(time.time()) + 30 * steps)


async def turn_on(owner: Owner) -> tuple[str, list[str]]:
    """Through the pages; returns the secret and the recovery codes."""
    await owner.post("/security/two-factor/begin", current=PASSWORD)
    shown = re.search(r"<code>((?:[A-Z2-7]{4} ?)+)</code>", await owner.get("/security/two-factor/app"))
    assert shown is not None
    secret = shown[1].replace(" ", "")
    if (left := 30 - time.time() % 30) < 5:  # the code before the present one must hold until it is looked at
        await asyncio.sleep(left)
    answer = await owner.post("/security/two-factor/app", 200, code=code_at(secret, -1))
    listed = re.search(r"<code>([a-z2-9\-\n]+)</code>", answer.text)
    assert listed is not None
    return secret, listed[1].split()


async def begin_sign_in(browser: httpx.AsyncClient, **more: str) -> httpx.Response:
    csrf = csrf_of((await browser.get("/mailbox/sign-in")).text)
    fields = {"csrf": csrf, "address": "sepp@brotzeit.example", "password": PASSWORD, **more}
    return await browser.post("/mailbox/sign-in", data=fields)


async def give_code(browser: httpx.AsyncClient, code: str, **more: str) -> httpx.Response:
    csrf = csrf_of((await browser.get("/mailbox/sign-in/code")).text)
    return await browser.post("/mailbox/sign-in/code", data={"csrf": csrf, "code": code, **more})


# ---------------------------------------------------------------- the codes, by table


def test_a_code_counts_in_its_step_and_its_neighbours_and_once_only() -> None:
    secret, now = totp.new_secret(), 1_800_000_000.0
    code, step = pyotp.TOTP(secret).at(int(now)), int(now) // 30
    for offset, right in ((-60, False), (-30, True), (0, True), (30, True), (61, False)):
        assert (totp.matching_step(secret, code, now + offset, None) == step) is right, offset
    assert totp.matching_step(secret, f" {code[:3]} {code[3:]} ", now, None) == step
    for last, right in ((step - 1, True), (step, False), (step + 1, False)):
        assert (totp.matching_step(secret, code, now, last) is not None) is right


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "abcdef", "１２３４５６", "²²²²²²", "\0" * 6, "12 34", "-12345"]
)
def test_what_is_no_code_is_never_right(code: str) -> None:
    assert totp.matching_step(totp.new_secret(), code, time.time(), None) is None


def test_codes_of_rfc_6238_appendix_b() -> None:
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    for now, code in ((59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
        assert totp.matching_step(secret, code, now, None) is not None


def test_a_recovery_code_may_be_typed_in_any_way_and_is_kept_with_a_key() -> None:
    (code, *others) = totp.new_recovery_codes()
    assert len({code, *others}) == 10
    assert totp.hash_recovery_code(b"k", code) == totp.hash_recovery_code(b"k", f" {code.upper().replace('-', ' ')}")
    assert totp.hash_recovery_code(b"k", code) != totp.hash_recovery_code(b"other", code)


@pytest.mark.parametrize(
    ("agent", "is_called"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18 Safari/604", "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537 Chrome/140 Safari/537 Edg/140", "Edge on Windows"),
        ("", ""),
        ("<script>alert(1)</script>", ""),
    ],
)  # fmt: skip
def test_a_browser_has_a_name(agent: str, is_called: str) -> None:
    assert security.device(agent) == is_called


# ---------------------------------------------------------------- two-factor


async def test_the_page_says_before_what_stops_working(sepp: Owner, system: Connection) -> None:
    await system.execute(
        """INSERT INTO mailbox_sign_in (workspace_id, mailbox_id, login, protocol, ip, succeeded)
           VALUES (1, %s, 'x', 'imap', '192.0.2.77', true)""",
        [sepp.mailbox_id],
    )
    html = await sepp.get("/security/two-factor")
    assert "1 program uses your password now and will stop working" in html
    assert "192.0.2.77" in html


async def test_two_factor_is_asked_for_at_the_door_and_a_code_is_taken_once(
    sepp: Owner, browser: httpx.AsyncClient, system: Connection
) -> None:
    secret, _ = await turn_on(sepp)
    row = await one(system, "SELECT totp_secret FROM mailbox")
    assert secret.encode() not in bytes(row["totp_secret"])
    answer = await begin_sign_in(browser, next="/mailbox/security")
    assert answer.headers["location"] == "/mailbox/sign-in/code?next=/mailbox/security"
    assert (await browser.get("/mailbox")).status_code == 303  # the password alone opens nothing
    half = browser.cookies["thurn-mailbox"]
    assert (await give_code(browser, "000000")).status_code == 422
    code = code_at(secret)
    done = await give_code(browser, code, next="/mailbox/security")
    assert (done.status_code, done.headers["location"]) == (303, "/mailbox/security")
    assert browser.cookies["thurn-mailbox"] != half
    assert (await browser.get("/mailbox")).status_code == 200
    assert (await browser.get("/mailbox", headers={"Cookie": f"thurn-mailbox={half}"})).status_code == 303
    # Somebody who looked over the shoulder and knows the password: the same code again.
    browser.cookies.clear()
    await begin_sign_in(browser)
    assert (await give_code(browser, code)).status_code == 422


async def test_the_code_that_turned_it_on_does_not_sign_in(
    sepp: Owner, browser: httpx.AsyncClient, system: Connection
) -> None:
    secret, _ = await turn_on(sepp)
    used = (await one(system, "SELECT totp_last_step FROM mailbox"))["totp_last_step"]
    await begin_sign_in(browser)
    assert (await give_code(browser, pyotp.TOTP(secret).at(used * 30))).status_code == 422


async def test_a_recovery_code_opens_once(sepp: Owner, browser: httpx.AsyncClient, system: Connection) -> None:
    _, codes = await turn_on(sepp)
    for _, status in ((1, 303), (2, 422)):
        browser.cookies.clear()
        await begin_sign_in(browser)
        assert (await give_code(browser, codes[0].upper())).status_code == status
    assert "9 recovery codes left" in await sepp.get("/security")
    kept = await rows(system, "SELECT code_hash FROM mailbox_recovery_code")
    assert codes[1] not in str(kept)


async def test_after_five_wrong_codes_the_password_is_asked_for_again(
    sepp: Owner, browser: httpx.AsyncClient, system: Connection
) -> None:
    secret, _ = await turn_on(sepp)
    await begin_sign_in(browser)
    csrf = csrf_of((await browser.get("/mailbox/sign-in/code")).text)
    answers = [
        await browser.post("/mailbox/sign-in/code", data={"csrf": csrf, "code": f"00000{n}"}) for n in range(5)
    ]  # fmt: skip
    assert "Begin again with the password" in answers[-1].text
    late = await browser.post("/mailbox/sign-in/code", data={"csrf": csrf, "code": code_at(secret)})
    assert late.status_code == 422
    assert (await browser.get("/mailbox")).status_code == 303


async def test_turning_on_needs_the_password_and_a_right_code(sepp: Owner, system: Connection) -> None:
    await sepp.post("/security/two-factor/begin", 422, current="wrong")
    await sepp.get("/security/two-factor/app", 404)
    await sepp.post("/security/two-factor/app", 404, code="123456")
    await sepp.post("/security/two-factor/begin", current=PASSWORD)
    await sepp.post("/security/two-factor/app", 422, code="12345x")
    assert (await one(system, "SELECT totp_confirmed_at FROM mailbox"))["totp_confirmed_at"] is None


async def test_turning_off_needs_password_and_code(sepp: Owner, system: Connection) -> None:
    secret, _ = await turn_on(sepp)
    await sepp.post("/security/two-factor/off", 422, current=PASSWORD, code="000000")
    await sepp.post("/security/two-factor/off", 422, current="wrong", code=code_at(secret))
    await sepp.get("/security/two-factor/app", 404)  # the secret is shown to nobody any more
    await sepp.post("/security/two-factor/begin", 409, current=PASSWORD)
    await sepp.post("/security/two-factor/off", current=PASSWORD, code=code_at(secret))
    assert await rows(system, "SELECT 1 FROM mailbox_recovery_code") == []
    assert "Two-factor was turned off" in await sepp.get("/security")


async def test_new_recovery_codes_replace_the_old(sepp: Owner, browser: httpx.AsyncClient) -> None:
    secret, old = await turn_on(sepp)
    await sepp.post("/security/two-factor/codes", 422, code="000000")
    answer = await sepp.post("/security/two-factor/codes", 200, code=code_at(secret))
    assert old[0] not in answer.text
    await begin_sign_in(browser)
    assert (await give_code(browser, old[0])).status_code == 422


async def test_while_it_is_on_dovecot_knows_no_password_proper(sepp: Owner, clean: Settings) -> None:
    await turn_on(sepp)
    async with await connect(clean, "dovecot") as db:
        row = await one(db, "SELECT password FROM mta.dovecot_user")
    assert row["password"] == "{CRYPT}*"


async def test_the_secret_of_one_mailbox_is_of_no_use_in_another(
    sepp: Owner, make_owner: Maker, system: Connection, clean: Settings
) -> None:
    await turn_on(sepp)
    rosi = await make_owner("rosi@brotzeit.example")
    await system.execute(
        "UPDATE mailbox SET totp_secret = (SELECT totp_secret FROM mailbox WHERE id = %s) WHERE id = %s",
        [sepp.mailbox_id, rosi.mailbox_id],
    )
    with pytest.raises(InvalidTag):
        await two_factor.secret_to_show(system, clean, rosi.mailbox_id)


async def test_an_administrator_can_turn_it_off_and_the_owner_sees_that(sepp: Owner, system: Connection) -> None:
    await turn_on(sepp)
    await two_factor.turn_off(system, 1, sepp.mailbox_id, by_admin=True)
    assert "by an administrator" in await sepp.get("/security")
    with pytest.raises(Conflict):
        await two_factor.turn_off(system, 1, sepp.mailbox_id)


# ---------------------------------------------------------------- the password


async def test_another_password_signs_out_everybody_else_and_keeps_app_passwords(
    sepp: Owner, browser: httpx.AsyncClient, system: Connection
) -> None:
    await begin_sign_in(browser)
    await app_passwords.create(system, 1, sepp.mailbox_id, name="Phone")
    answer = await sepp.post("/security/password", current=PASSWORD, password=NEW, again=NEW)
    assert sepp.browser.cookies["thurn-mailbox"] != sepp.token
    assert answer.headers["location"] == "/mailbox/security?done=password"
    assert (await browser.get("/mailbox")).status_code == 303
    assert len(await app_passwords.of_mailbox(system, sepp.mailbox_id)) == 1
    assert "The password was changed" in await sepp.get("/security")
    assert (await begin_sign_in(browser)).status_code == 422
    assert (await begin_sign_in(browser, password=NEW)).status_code == 303


@pytest.mark.parametrize(
    ("current", "new", "again"),
    [
        ("wrong", NEW, NEW),
        (PASSWORD, "short", "short"),
        (PASSWORD, "sepp@brotzeit.example", "sepp@brotzeit.example"),
        (PASSWORD, NEW, "something else"),
        (PASSWORD, PASSWORD, PASSWORD),
        (PASSWORD, "x" * 200, "x" * 200),
        (PASSWORD, "tab\tin the middle", "tab\tin the middle"),
        ("", NEW, NEW),
    ],
)
async def test_a_password_is_not_changed_to_a_bad_one_or_without_the_old(
    sepp: Owner, system: Connection, current: str, new: str, again: str
) -> None:
    before = await one(system, "SELECT password_hash FROM mailbox")
    answer = await sepp.post("/security/password", 422, current=current, password=new, again=again)
    assert 'aria-invalid="true"' in answer.text
    assert NEW not in answer.text
    assert await one(system, "SELECT password_hash FROM mailbox") == before
    await sepp.get("/security")


# ---------------------------------------------------------------- app passwords, sessions, sign-ins


async def test_an_app_password_is_shown_once_and_revoked(sepp: Owner, system: Connection) -> None:
    answer = await sepp.post("/app-passwords", 201, name="<b>Phone</b>")
    found = re.search(r"<code>([a-z2-9]{5}(?:-[a-z2-9]{5}){3})</code>", answer.text)
    assert found is not None
    row = await one(system, "SELECT id, secret_hash, scope FROM app_password")
    assert bytes(row["secret_hash"]) == app_passwords.digest(found[1])
    assert row["scope"] == "programs"
    html = await sepp.get("/app-passwords")
    assert found[1] not in html
    assert "<b>Phone" not in html
    await sepp.get(f"/app-passwords?ask=revoke-{row['id']}")
    await sepp.post(f"/app-passwords/{row['id']}/revoke")
    await sepp.post(f"/app-passwords/{row['id']}/revoke", 404)
    for name in ("", " ", "x" * 101):
        await sepp.post("/app-passwords", 422, name=name)


async def test_nobody_reaches_for_what_belongs_to_another_mailbox(
    sepp: Owner, make_owner: Maker, system: Connection, other_workspace: int
) -> None:
    theirs = [await make_owner("rosi@brotzeit.example"), await make_owner("vroni@theirs.example", other_workspace)]
    for other, workspace in zip(theirs, (1, other_workspace), strict=True):
        number, _ = await app_passwords.create(system, workspace, other.mailbox_id, name="Rosi's phone")
        await sepp.post(f"/app-passwords/{number}/revoke", 404)
        assert len(await app_passwords.of_mailbox(system, other.mailbox_id)) == 1
        kept = await one(system, "SELECT token_hash FROM mailbox_session WHERE mailbox_id = %s", [other.mailbox_id])
        await sepp.post("/security/sessions/end", session=bytes(kept["token_hash"]).hex())
        await sepp.post("/security/sessions/end")
        await sepp.post("/security/not-me")
        await other.get("/security")
        assert len(await app_passwords.of_mailbox(system, other.mailbox_id)) == 1
        for path in ("", "/security", "/app-passwords", "/security/two-factor", "/forwarding", "/set-up"):
            html = await sepp.get(path)
            assert "rosi" not in html.lower()
            assert "vroni" not in html
    for bad in ("zz", "0" * 63, "'; DROP TABLE mailbox --", "\0"):
        await sepp.post("/security/sessions/end", 422, session=bad)
    for bad in ("0", "-1", "x", "99999999999999999999"):
        await sepp.post(f"/app-passwords/{bad}/revoke", 404)


async def test_a_session_is_ended_from_another(sepp: Owner, browser: httpx.AsyncClient) -> None:
    await begin_sign_in(browser)
    found = re.search(r'name="session" value="([0-9a-f]{64})"', await sepp.get("/security"))
    assert found is not None
    await sepp.post("/security/sessions/end", session=found[1])
    assert (await browser.get("/mailbox")).status_code == 303
    await sepp.get("/security")


async def test_one_of_these_was_not_me(sepp: Owner, browser: httpx.AsyncClient, system: Connection) -> None:
    await begin_sign_in(browser)
    await sepp.post("/app-passwords", 201, name="Phone")
    await sepp.get("/security?ask=not-me")
    answer = await sepp.post("/security/not-me")
    assert answer.headers["location"] == "/mailbox/security/password?why=not-me"
    assert (await browser.get("/mailbox")).status_code == 303
    assert await maybe(system, "SELECT 1 FROM app_password") is None
    assert "Everybody else is signed out" in await sepp.get("/security/password?why=not-me")


async def test_sign_ins_are_listed_by_way_and_hostile_names_are_text(sepp: Owner, system: Connection) -> None:
    for protocol, client, times in (("imap", "<img src=x onerror=alert(1)>", 30), ("portal", "x" * 300, 1)):
        await system.execute(
            """INSERT INTO mailbox_sign_in (workspace_id, mailbox_id, login, protocol, ip, succeeded, client)
               SELECT 1, %s, 'x', %s, '2001:db8::1', true, %s FROM generate_series(1, %s)""",
            [sepp.mailbox_id, protocol, client, times],
        )
    html = await sepp.get("/security")
    assert "30 times in 30 days" in html
    assert "<img" not in html


async def test_a_wrong_password_at_the_door_is_seen_by_the_owner(sepp: Owner, browser: httpx.AsyncClient) -> None:
    await begin_sign_in(browser, password="guessed")
    assert "Refused" in await sepp.get("/security")


# ---------------------------------------------------------------- forwarding, set-up


async def test_forwarding_is_saved_noted_and_refused_in_words(sepp: Owner) -> None:
    await sepp.post("/forwarding", targets="resi@elsewhere.example, toni@elsewhere.example", keep_copy="1")
    assert "resi@elsewhere.example and toni@elsewhere.example" in await sepp.get()
    assert "Forwarding goes to resi@elsewhere.example" in await sepp.get("/security")
    for bad in ("nobody", "sepp@brotzeit.example", "|/bin/sh@x.example", "a@b.example\n" * 11 + "x"):
        answer = await sepp.post("/forwarding", 422, targets=bad)
        assert 'aria-invalid="true"' in answer.text
    await sepp.post("/forwarding", targets="")
    assert "Forwarding was turned off" in await sepp.get("/security")


async def test_the_set_up_page_has_servers_and_a_profile_without_a_password(sepp: Owner, clean: Settings) -> None:
    html = await sepp.get("/set-up")
    assert str(clean.port["imaps"]) in html
    answer = await sepp.browser.get("/mailbox/set-up/mail.mobileconfig")
    assert answer.headers["content-type"] == "application/x-apple-aspen-config"
    assert "sepp@brotzeit.example" in answer.text
    assert PASSWORD not in answer.text
