"""Tokens and the passwords they are exchanged for: once, soon, in the right browser, and over when the session is."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
from webmailworld import NUMBER, Guest

from thurn.db.connect import Connection, connect
from thurn.db.fetch import maybe, one, rows
from thurn.portal import sessions
from thurn.settings import Settings
from thurn.webmail import service
from thurn.webmail.service import Ticket


async def opened(guest: Guest) -> Ticket:
    """Webmail, opened by the button."""
    ticket = await service.exchange(guest.db, await guest.token(), NUMBER)
    assert ticket is not None
    return ticket


async def passwords(db: Connection, guest: Guest) -> int:
    row = await one(db, "SELECT count(*)::int AS n FROM app_password WHERE mailbox_id = %s", [guest.mailbox])
    return int(row["n"])


async def test_a_token_becomes_a_password_of_webmail_and_only_hashes_are_kept(resi: Guest, system: Connection) -> None:
    token = await resi.token()
    ticket = await service.exchange(system, token, NUMBER)
    assert ticket is not None
    assert (ticket.address, ticket.name) == (resi.address, "Resi Huber")
    kept = await one(system, "SELECT *, expires_at - now() AS lasts FROM app_password")
    assert (kept["scope"], kept["mailbox_id"], kept["portal_session"]) == ("webmail", resi.mailbox, resi.session)
    assert kept["secret_hash"] == service.hashed(ticket.secret)
    assert kept["lasts"] <= service.LONGEST
    assert ticket.secret not in str(kept)
    seen = await one(system, "SELECT * FROM mailbox_sign_in")
    assert (seen["protocol"], seen["ip"], seen["succeeded"]) == ("webmail", "192.0.2.7", True)
    assert seen["app_password_id"] == kept["id"]


async def test_a_token_is_good_once_even_when_two_come_at_the_same_time(clean: Settings, resi: Guest) -> None:
    token = await resi.token()

    async def attempt() -> Ticket | None:
        async with await connect(clean, "system") as db, db.transaction():
            return await service.exchange(db, token, NUMBER)

    tickets = await asyncio.gather(*(attempt() for _ in range(8)))
    assert len([ticket for ticket in tickets if ticket]) == 1
    assert await passwords(resi.db, resi) == 1


async def test_a_new_token_of_the_same_session_voids_the_earlier_one(resi: Guest, system: Connection) -> None:
    first, second = await resi.token(), await resi.token()
    assert await service.exchange(system, first, NUMBER) is None
    assert await service.exchange(system, second, NUMBER) is not None


async def _late(guest: Guest) -> None:
    await guest.db.execute("UPDATE webmail_token SET expires_at = now() - interval '1 second'")


async def _disabled(guest: Guest) -> None:
    await guest.db.execute("UPDATE mailbox SET enabled = false WHERE id = %s", [guest.mailbox])


async def _removed(guest: Guest) -> None:
    await guest.db.execute("DELETE FROM mailbox WHERE id = %s", [guest.mailbox])


async def _signed_out(guest: Guest) -> None:
    await sessions.end(guest.db, guest.mailbox, guest.session)


async def _portal_over(guest: Guest) -> None:
    await guest.db.execute("UPDATE mailbox_session SET expires_at = now() - interval '1 second'")


async def _code_still_to_come(guest: Guest) -> None:
    await guest.db.execute("UPDATE mailbox_session SET second_step = true")


@pytest.mark.parametrize("happened", [_late, _disabled, _removed, _signed_out, _portal_over, _code_still_to_come])
async def test_a_token_is_void_once(resi: Guest, happened: Callable[[Guest], Awaitable[None]]) -> None:
    token = await resi.token()
    await happened(resi)
    assert await service.exchange(resi.db, token, NUMBER) is None
    assert await passwords(resi.db, resi) == 0


@pytest.mark.parametrize("number", ["", "m" * 43, NUMBER.upper(), NUMBER + "n", "\ud800"])
async def test_a_token_from_the_portal_is_good_in_its_browser_only(
    resi: Guest, system: Connection, number: str
) -> None:
    """Else somebody could have another browser open the mailbox of their own, and read what is written there."""
    token = await resi.token()
    assert await service.exchange(system, token, number) is None
    assert await service.exchange(system, token, NUMBER) is None, "and is spent"


async def test_an_operators_link_is_bound_to_no_browser_and_needs_no_portal(resi: Guest, system: Connection) -> None:
    token = await service.link(system, 1, resi.mailbox, lasts=timedelta(minutes=5))
    ticket = await service.exchange(system, token)
    assert ticket is not None
    assert await service.alive(system, ticket.secret)
    seen = await one(system, "SELECT client FROM mailbox_sign_in")
    assert seen["client"] == "a link made by the operator"


@pytest.mark.parametrize("happened", [_disabled, _removed, _signed_out, _portal_over])
async def test_webmail_is_over_once(resi: Guest, happened: Callable[[Guest], Awaitable[None]]) -> None:
    ticket = await opened(resi)
    assert await resi.alive(ticket.secret)
    await happened(resi)
    assert not await resi.alive(ticket.secret)


async def test_leaving_the_portal_takes_the_password_away_and_no_other(resi: Guest, xaver: Guest) -> None:
    mine, other = await opened(resi), await opened(xaver)
    again = await sessions.start(resi.db, 1, resi.mailbox)
    elsewhere = await service.exchange(
        resi.db,
        await service.invite(
            resi.db, 1, resi.mailbox, portal_session=sessions.hash_token(again.token), bound=service.hashed(NUMBER)
        ),
        NUMBER,
    )
    assert elsewhere is not None
    await _signed_out(resi)
    assert [await resi.alive(t.secret) for t in (mine, other, elsewhere)] == [False, True, True]
    assert await passwords(resi.db, resi) == 1


async def test_leaving_webmail_ends_the_portals_session_too(resi: Guest, system: Connection) -> None:
    ticket = await opened(resi)
    await service.end(system, ticket.secret, portal=True)
    assert not await resi.alive(ticket.secret)
    assert await maybe(system, "SELECT 1 FROM mailbox_session WHERE token_hash = %s", [resi.session]) is None


async def test_a_password_that_is_not_webmails_ends_nothing(resi: Guest, system: Connection) -> None:
    await system.execute(
        "INSERT INTO app_password (workspace_id, mailbox_id, name, secret_hash) VALUES (1, %s, 'Phone', %s)",
        [resi.mailbox, service.hashed("phone")],
    )
    await service.end(system, "phone", portal=True)
    assert not await service.alive(system, "phone")
    assert await passwords(system, resi) == 1


async def test_use_extends_a_session_up_to_a_day(resi: Guest, system: Connection) -> None:
    ticket = await opened(resi)
    left = "SELECT expires_at - now() AS left FROM app_password"
    await system.execute("UPDATE app_password SET expires_at = now() + interval '10 minutes'")
    assert await resi.alive(ticket.secret)
    assert (await one(system, left))["left"] > timedelta(minutes=60)
    await system.execute(
        """UPDATE app_password SET created_at = now() - interval '23 hours 50 minutes',
             expires_at = now() + interval '5 minutes'"""
    )
    assert await resi.alive(ticket.secret)
    assert timedelta(minutes=5) < (await one(system, left))["left"] <= timedelta(minutes=10)
    await system.execute("UPDATE app_password SET expires_at = now() - interval '1 second'")
    assert not await resi.alive(ticket.secret)


async def test_what_is_over_is_swept_and_nothing_else(resi: Guest, system: Connection) -> None:
    gone, kept = await opened(resi), await opened(resi)
    await system.execute(
        "UPDATE app_password SET expires_at = now() - interval '1 second' WHERE secret_hash = %s",
        [service.hashed(gone.secret)],
    )
    await system.execute(
        """INSERT INTO app_password (workspace_id, mailbox_id, name, secret_hash, expires_at)
           VALUES (1, %s, 'Phone', 'x', now() - interval '1 day')""",
        [resi.mailbox],
    )
    await resi.token()
    await _late(resi)
    assert await service.sweep(system) == 1
    assert await resi.alive(kept.secret)
    assert await rows(system, "SELECT * FROM webmail_token") == []
    assert await passwords(system, resi) == 2, "a program's password is its owner's business"


async def test_one_may_write_as_what_postfix_allows(resi: Guest, xaver: Guest) -> None:
    ticket = await opened(resi)
    assert ticket.senders == [{"address": resi.address, "name": "Resi Huber"}]


async def test_a_token_of_another_workspace_cannot_be_made(clean: Settings, resi: Guest, system: Connection) -> None:
    other = await one(system, "INSERT INTO workspace (slug, name) VALUES ('other', 'Other') RETURNING id")
    async with await connect(clean, "app") as db, db.transaction():
        await db.execute("SELECT set_config('thurn.workspace', %s, true)", [str(other["id"])])
        with pytest.raises(Exception, match="row-level security"):
            await service.link(db, 1, resi.mailbox, lasts=timedelta(minutes=1))


# ---------------------------------------------------------------- as Roundcube asks


async def test_the_guard_exchanges_keeps_and_ends(guard: httpx.AsyncClient, resi: Guest) -> None:
    answer = await guard.post("/webmail/exchange", json={"token": await resi.token(), "number": NUMBER})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    secret = answer.json()["secret"]
    assert (await guard.post("/webmail/alive", json={"secret": secret})).status_code == 204
    assert (await guard.post("/webmail/end", json={"secret": secret})).status_code == 204
    assert (await guard.post("/webmail/alive", json={"secret": secret})).status_code == 404
    assert (await guard.post("/webmail/sign-out", json={"secret": secret})).status_code == 204


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Bearer "])
async def test_nobody_without_the_secret_is_heard(guard: httpx.AsyncClient, resi: Guest, header: str) -> None:
    token = await resi.token()
    answer = await guard.post(
        "/webmail/exchange", json={"token": token, "number": NUMBER}, headers={"Authorization": header}
    )
    assert answer.status_code == 403
    assert await service.exchange(resi.db, token, NUMBER) is not None, "and the token is not spent"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"token": 1, "number": "x"}', 400),
        (b'{"token": "x", "number": 1}', 400),
        (b'{"number": "x"}', 400),
        (b'{"token": "x"}', 404),
        (b'{"token": "x", "number": "x"}', 404),
        (b'{"token": "\\ud800", "number": "\\ud800"}', 404),
        (b'{"token": "\\u0000", "number": "\\u0000"}', 404),
        (b"\xff\xfe", 400),
        (b'{"token": "' + b"x" * 10_000 + b'", "number": NUMBER}', 400),
        (b"[" * 4000, 400),
    ],
)
async def test_nonsense_is_no_token(guard: httpx.AsyncClient, resi: Guest, body: bytes, status: int) -> None:
    assert (await guard.post("/webmail/exchange", content=body)).status_code == status
    for path in ("alive", "end", "sign-out"):
        assert (await guard.post(f"/webmail/{path}", content=body)).status_code == (404 if path == "alive" else 204)
