"""Real Roundcube behind real Caddy: who gets in, what the session's password opens, and what is left afterwards."""

import asyncio
import base64
import imaplib
import re
import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import psycopg
import pytest
from stackworld import DOMAIN, PASSWORD, RESI, STRANGER, XAVER, Outside, message, read_until_ok, trusting, wait_for

from thurn.db.connect import connect, conninfo
from thurn.portal import sessions
from thurn.settings import Settings
from thurn.webmail import schema, service

pytestmark = pytest.mark.stack


def mailbox_id(stack: Settings, address: str) -> int:
    with psycopg.connect(conninfo(stack, "system")) as db:
        row = db.execute("SELECT id FROM mailbox WHERE address = %s", [address]).fetchone()
    assert row is not None
    return int(row[0])


def link(stack: Settings, address: str) -> str:
    """As `thurn webmail link` makes it."""

    async def make() -> str:
        async with await connect(stack, "system", autocommit=True) as db:
            return await service.link(db, 1, mailbox_id(stack, address), lasts=timedelta(minutes=1))

    return f"/?_task=login&_thurn={asyncio.run(make())}"


def portal(stack: Settings) -> str:
    """Where webmail sends who is not signed in."""
    return f"{stack.url}/mailbox"


def secret(stack: Settings, address: str) -> str:
    """A password as Roundcube gets it."""

    async def make() -> str:
        async with await connect(stack, "system", autocommit=True) as db:
            token = await service.link(db, 1, mailbox_id(stack, address), lasts=timedelta(minutes=1))
            ticket = await service.exchange(db, token)
            assert ticket is not None
            return ticket.secret

    return asyncio.run(make())


@contextmanager
def browser(stack: Settings) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.webmail_url, timeout=60, follow_redirects=False) as client:
        yield client


def opened(client: httpx.Client, stack: Settings, address: str) -> str:
    """The inbox of an address, opened by a link; returns the page."""
    answer = client.get(link(stack, address))
    assert answer.status_code == 302, answer.text
    page = client.get(answer.headers["location"])
    assert page.status_code == 200
    assert "Inbox" in page.text
    assert address in page.text
    return page.text


def request_token(page: str) -> str:
    found = re.search(r'"request_token":"(\w+)"', page)
    assert found is not None
    return found[1]


# ---------------------------------------------------------------- the password and its doors


def test_a_sessions_password_opens_webmails_doors_and_no_other(stack: Settings) -> None:
    password = secret(stack, RESI)
    with imaplib.IMAP4("127.0.0.1", stack.port["webmail_imap"]) as client:
        assert client.login(RESI, password)[0] == "OK"
    with smtplib.SMTP("127.0.0.1", stack.port["webmail_smtp"]) as post:
        assert post.login(RESI, password)[0] == 235
    with (
        pytest.raises(imaplib.IMAP4.error),
        imaplib.IMAP4_SSL("localhost", stack.port["imaps"], ssl_context=trusting(stack)) as client,
    ):
        client.login(RESI, password)
    with (
        smtplib.SMTP_SSL("127.0.0.1", stack.port["submissions"], context=trusting(stack)) as post,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        post.login(RESI, password)


def test_one_mailboxs_password_opens_no_other(stack: Settings) -> None:
    password = secret(stack, RESI)
    with pytest.raises(imaplib.IMAP4.error), imaplib.IMAP4("127.0.0.1", stack.port["webmail_imap"]) as client:
        client.login(XAVER, password)


def test_webmail_sends_as_the_mailbox_only_and_not_without_signing_in(stack: Settings, outside: Outside) -> None:
    with smtplib.SMTP("127.0.0.1", stack.port["webmail_smtp"], "webmail") as post:
        post.ehlo()
        post.mail(RESI)
        assert post.rcpt(RESI)[0] == 554
    with smtplib.SMTP("127.0.0.1", stack.port["webmail_smtp"], "webmail") as post:
        post.login(RESI, secret(stack, RESI))
        for sender in (XAVER, STRANGER):
            post.mail(sender)
            assert post.rcpt("gast@far.example")[0] == 553
            post.rset()
        post.sendmail(RESI, ["gast@far.example"], message("from webmail"))
    wait_for(lambda: len(outside.received) == 1)
    assert outside.received[0][:2] == (RESI, ["gast@far.example"])


# ---------------------------------------------------------------- signing in and out


def test_a_link_opens_the_inbox_once(stack: Settings) -> None:
    address = link(stack, RESI)
    with browser(stack) as client:
        answer = client.get(address)
        assert answer.status_code == 302
        assert address.partition("_thurn=")[2] not in answer.headers["location"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "no-store" in answer.headers["cache-control"]
        assert "Inbox" in client.get(answer.headers["location"]).text
        again = client.get(address)
        assert (again.status_code, again.headers["location"]) == (302, "./?_task=mail"), "who is inside stays inside"
    with browser(stack) as stranger:
        refused = stranger.get(address)
        assert refused.status_code == 403
        assert "used already" in refused.text
        assert "Roundcube" not in refused.text
    for log in (stack.state / "log").iterdir():
        assert address.partition("_thurn=")[2] not in log.read_text(errors="replace"), log


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "é" * 43, "../" * 14 + "x", "%00" * 43, "[]"])
def test_a_forged_token_opens_nothing(stack: Settings, token: str) -> None:
    with browser(stack) as client:
        answer = client.get(f"/?_task=login&_thurn={token}")
        assert answer.status_code in (302, 403)
        assert answer.headers.get("location", portal(stack)) == portal(stack)
        assert client.get("/?_task=mail").headers["location"] == portal(stack)


def test_webmail_binds_the_way_in_to_this_browser(stack: Settings) -> None:
    async def token(bound: str) -> str:
        async with await connect(stack, "system", autocommit=True) as db:
            started = await sessions.start(db, 1, number)
            session = sessions.hash_token(started.token)
            return await service.invite(db, 1, number, portal_session=session, bound=bytes.fromhex(bound))

    number = mailbox_id(stack, RESI)
    with browser(stack) as client, browser(stack) as other:
        asked = client.get("/?_thurn=open")
        where, _, bound = asked.headers["location"].partition("?bind=")
        assert (asked.status_code, where) == (302, f"{portal(stack)}/webmail")
        assert "no-store" in asked.headers["cache-control"]
        (cookie,) = [c for c in asked.headers.get_list("set-cookie") if c.startswith("webmail-number=")]
        assert cookie.partition(";")[0].removeprefix("webmail-number=") not in asked.headers["location"]
        assert "path=/; HttpOnly; SameSite=Lax" in cookie
        assert client.get("/?_thurn=open").headers["location"].partition("?bind=")[2] != bound, "a new one each time"

        other.get("/?_thurn=open")
        stolen = asyncio.run(token(bound))
        assert other.get(f"/?_task=login&_thurn={stolen}").status_code == 403, "another browser"
        bound = client.get("/?_thurn=open").headers["location"].partition("?bind=")[2]
        let_in = client.get(f"/?_task=login&_thurn={asyncio.run(token(bound))}")
        assert let_in.status_code == 302
        assert RESI in client.get(let_in.headers["location"]).text


def test_roundcubes_own_form_is_not_there_and_takes_no_password(stack: Settings) -> None:
    with browser(stack) as client:
        front = client.get("/")
        assert (front.status_code, front.headers["location"]) == (302, portal(stack))
        assert client.get("/webmail/?_task=mail").status_code == 404, "where it was before"
        for query in ("_task=login", "_task=login&_action=login", "_task=login&_action=oauth"):
            answer = client.post(
                f"/?{query}", data={"_task": "login", "_action": "login", "_user": RESI, "_pass": PASSWORD}
            )
            assert (answer.status_code, answer.headers["location"]) == (302, portal(stack))
        assert client.get("/?_task=mail").headers["location"] == portal(stack)


def test_a_session_that_was_planted_before_is_worth_nothing_afterwards(stack: Settings) -> None:
    with browser(stack) as thief, browser(stack) as client:
        thief.get("/")
        planted = thief.cookies["webmail-session"]
        client.cookies.set("webmail-session", planted, domain="localhost.local", path="/")
        opened(client, stack, RESI)
        thief.cookies.update({"webmail-auth": client.cookies.get("webmail-auth", path="/") or ""})
        assert thief.get("/?_task=mail").headers.get("location") == portal(stack)


def test_cookies_are_for_webmail_and_for_no_script(stack: Settings) -> None:
    with browser(stack) as client:
        given = client.get(link(stack, RESI)).headers.get_list("set-cookie")
        assert len(given) >= 2
        assert not [cookie for cookie in given if "path=/; HttpOnly; SameSite=Lax" not in cookie]


def test_signing_out_takes_the_password_away(stack: Settings) -> None:
    mailbox = mailbox_id(stack, XAVER)
    with psycopg.connect(conninfo(stack, "system"), autocommit=True) as db, browser(stack) as client:
        db.execute("DELETE FROM app_password WHERE mailbox_id = %s", [mailbox])
        page = opened(client, stack, XAVER)
        count = "SELECT count(*) FROM app_password WHERE mailbox_id = %s"
        assert db.execute(count, [mailbox]).fetchone() == (1,)
        forged = client.get("/?_task=logout&_token=forged")
        assert forged.status_code != 302, "another site cannot sign anybody out"
        assert db.execute(count, [mailbox]).fetchone() == (1,)
        left = client.get(f"/?_task=logout&_token={request_token(page)}")
        assert (left.status_code, left.headers["location"]) == (302, f"{portal(stack)}/sign-in")
        assert db.execute(count, [mailbox]).fetchone() == (0,)
        assert client.get("/?_task=mail").headers["location"] == portal(stack)


def test_webmail_is_closed_at_once_when_its_password_is_revoked(stack: Settings) -> None:
    with psycopg.connect(conninfo(stack, "system"), autocommit=True) as db, browser(stack) as client:
        page = opened(client, stack, RESI)
        db.execute("DELETE FROM app_password WHERE scope = 'webmail'")
        polled = client.post(
            "/?_task=mail&_action=refresh",
            data={"_remote": "1"},
            headers={"X-Roundcube-Request": request_token(page)},
        )
        assert "session_error" in polled.text
        assert client.get("/?_task=mail").headers["location"] == portal(stack)


def test_another_mailbox_in_the_same_browser_ends_the_first(stack: Settings) -> None:
    with psycopg.connect(conninfo(stack, "system"), autocommit=True) as db, browser(stack) as client:
        db.execute("DELETE FROM app_password WHERE scope = 'webmail'")
        opened(client, stack, RESI)
        opened(client, stack, XAVER)
        kept = db.execute("SELECT mailbox_id FROM app_password WHERE scope = 'webmail'").fetchall()
        assert kept == [(mailbox_id(stack, XAVER),)]


# ---------------------------------------------------------------- what Roundcube keeps, sees and shows


def test_roundcubes_role_sees_its_own_tables_and_none_of_ours(stack: Settings) -> None:
    with psycopg.connect(conninfo(stack, "webmail"), autocommit=True) as db:
        assert db.execute("SELECT count(*) FROM users").fetchone() is not None
        ours = db.execute(
            """SELECT relname FROM pg_class WHERE relnamespace IN (
                 SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'mta')) AND relkind IN ('r', 'p', 'v')
               AND has_table_privilege(oid, 'SELECT, INSERT, UPDATE, DELETE')"""
        ).fetchall()
        assert ours == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT * FROM public.mailbox")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT * FROM mta.dovecot_user")


def test_the_portals_script_is_not_offered_among_webmails_filters(stack: Settings) -> None:
    """What the portal writes anew at each change of its own would be lost here."""
    script = b'require "fileinto"; if false { fileinto "x"; }'
    with socket.create_connection(("127.0.0.1", stack.port["webmail_sieve"])) as client:
        read_until_ok(client)
        proof = base64.b64encode(f"\0{RESI}\0{secret(stack, RESI)}".encode()).decode()
        client.sendall(f'AUTHENTICATE "PLAIN" "{proof}"\r\n'.encode())
        read_until_ok(client)
        client.sendall(b'PUTSCRIPT "thurn" {%d+}\r\n%s\r\n' % (len(script), script))
        read_until_ok(client)
        with browser(stack) as client_:
            opened(client_, stack, RESI)
            page = client_.get("/?_task=settings&_action=plugin.managesieve").text
        client.sendall(b'DELETESCRIPT "thurn"\r\n')  # as other tests expect to find the mailbox
        read_until_ok(client)
    assert "filtersetslist" in page
    assert "thurn" not in page.partition('id="filtersetslist"')[2].partition("</table>")[0]


def test_bringing_the_tables_up_to_date_twice_changes_nothing(stack: Settings) -> None:
    version = schema.bring_up_to_date(stack)
    assert version >= "2022081200"
    assert schema.bring_up_to_date(stack) == version


def test_what_roundcube_kept_of_an_earlier_owner_is_not_shown_to_the_next(stack: Settings) -> None:
    with psycopg.connect(conninfo(stack, "webmail"), autocommit=True) as db, browser(stack) as client:
        opened(client, stack, RESI)
        db.execute("UPDATE users SET created = now() - interval '9 years' WHERE username = %s", [RESI])
        db.execute(
            "INSERT INTO contacts (user_id, name) SELECT user_id, 'Secret' FROM users WHERE username = %s", [RESI]
        )
        opened(client, stack, RESI)
        left = db.execute(
            "SELECT count(*) FROM contacts c JOIN users u USING (user_id) WHERE username = %s", [RESI]
        ).fetchone()
        assert left == (0,)


def test_what_roundcube_keeps_of_mailboxes_that_are_gone_is_swept(stack: Settings) -> None:
    async def sweep() -> int:
        async with await connect(stack, "system", autocommit=True) as db:
            return await schema.forget_the_gone(stack, db)

    with psycopg.connect(conninfo(stack, "webmail"), autocommit=True) as db:
        db.execute(
            """INSERT INTO users (username, mail_host, created) VALUES
                 ('gone@brotzeit.example', 'h', now() - interval '1 day'),
                 ('fresh@brotzeit.example', 'h', now()), (%s, 'other', now() - interval '1 day')""",
            [XAVER],
        )
        asyncio.run(sweep())
        left = {row[0] for row in db.execute("SELECT username FROM users").fetchall()}
        assert "gone@brotzeit.example" not in left
        assert {"fresh@brotzeit.example", XAVER} <= left


def test_one_may_write_as_what_the_mailbox_may_send_as(stack: Settings) -> None:
    with psycopg.connect(conninfo(stack, "webmail"), autocommit=True) as db, browser(stack) as client:
        page = opened(client, stack, RESI)
        identities = """SELECT email FROM identities i JOIN users u USING (user_id)
                        WHERE username = %s AND i.del = 0 ORDER BY email"""
        wirt = f"wirt@{DOMAIN}"  # an alias of hers
        assert db.execute(identities, [RESI]).fetchall() == [(RESI,), (wirt,)]
        token = request_token(page)
        made = client.post(
            "/?_task=settings&_action=save-identity",
            data={"_token": token, "_name": "Boss", "_email": "boss@brotzeit.example", "_iid": ""},
        )
        assert made.status_code == 200
        assert {row[0] for row in db.execute(identities, [RESI]).fetchall()} == {RESI, wirt}
        db.execute(
            """INSERT INTO identities (user_id, name, email) SELECT user_id, 'Boss', 'boss@brotzeit.example'
               FROM users WHERE username = %s""",
            [RESI],
        )
        opened(client, stack, RESI)
        assert {row[0] for row in db.execute(identities, [RESI]).fetchall()} == {RESI, wirt}


@pytest.mark.parametrize(
    "path",
    [
        "config/config.inc.php", "SQL/postgres.initial.sql", "bin/update.sh", "logs/errors", "temp/", "installer/",
        "plugins/thurn/thurn.php", "plugins/managesieve/config.inc.php", "program/include/iniset.php",
        "index.php/x", "index.php.bak", ".htaccess", "program/js/../include/iniset.php", "vendor/autoload.php",
        "program/js/..%2finclude%2finiset.php",
        "plugins/enigma/enigma.js", "run/fpm.sock", "program/js/app.js/x.php",
    ],
)  # fmt: skip
def test_what_is_not_public_is_not_served(stack: Settings, path: str) -> None:
    with socket.create_connection(("127.0.0.1", stack.port["webmail"])) as link_:
        link_.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link_.recv(65536), b""))
    assert answer.split(b" ", 2)[1] in (b"404", b"400", b"308"), answer[:200]
    assert b"<?php" not in answer


@pytest.mark.parametrize(
    "path",
    [
        "skins/elastic/styles/styles.min.css", "program/js/app.min.js", "program/js/jquery.min.js",
        "plugins/thurn/thurn.css", "plugins/thurn/posthorn.svg", "plugins/managesieve/managesieve.min.js",
    ],
)  # fmt: skip
def test_what_is_public_is_served(stack: Settings, path: str) -> None:
    with browser(stack) as client:
        answer = client.get(f"/{path}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=86400"


def test_webmails_pages_carry_their_headers_and_name_no_version(stack: Settings) -> None:
    with browser(stack) as client:
        client.get(link(stack, RESI))
        answer = client.get("/?_task=mail")
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'self'", "base-uri 'self'", "form-action 'self'", "frame-ancestors 'self'"):
        assert part in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "x-powered-by" not in answer.headers
    assert "roundcube_sessid" not in str(answer.headers)
