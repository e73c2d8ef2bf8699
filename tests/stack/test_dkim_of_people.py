"""Rspamd signs what people send, with keys from the database, and never for a name that is not theirs."""

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import dkim
import psycopg
import pytest
from stackworld import DOMAIN, RESI, Outside, fetch, message, signed_in, smtp, wait_for

from thurn.db.connect import connect, conninfo
from thurn.mailhost.keys import make_keys
from thurn.portal import managesieve
from thurn.portal.inner import door_key
from thurn.settings import Settings
from thurn.stack.files import place
from thurn.stack.rspamd_dkim import KEPT

pytestmark = pytest.mark.stack
OTHER = "andere.example"  # another tenant's


@pytest.fixture(scope="module")
def signing(stack: Settings) -> Settings:
    """The tests' domain and one of another tenant, with keys in Rspamd's hands."""

    async def furnish() -> None:
        async with await connect(stack, "system") as db:
            await db.execute("INSERT INTO workspace (slug, name) VALUES ('andere', 'A') ON CONFLICT DO NOTHING")
            await db.execute(
                """INSERT INTO domain (workspace_id, name, bounce_host, proven_at)
                   SELECT id, %s, %s, now() FROM workspace WHERE slug = 'andere' ON CONFLICT DO NOTHING""",
                [OTHER, f"bounce.{OTHER}"],
            )
            query = """SELECT id, workspace_id, name FROM domain d WHERE name = ANY(%s)
                       AND NOT EXISTS (SELECT FROM dkim_key WHERE domain_id = d.id)"""
            for row in await (await db.execute(query, [[DOMAIN, OTHER]])).fetchall():
                await make_keys(
                    db, row["workspace_id"], domain_id=row["id"], domain=row["name"], settings=stack, state="active"
                )

    asyncio.run(furnish())
    keep(stack)
    return stack


def keep(settings: Settings) -> set[str]:
    """One look of `keeper` at the keys."""
    (kept,) = KEPT.values()
    changed = place(settings.state, kept.wanted(settings))
    if changed:
        log = settings.state / "log" / "spam.log"
        ready = "workers spawning has been finished"
        before = log.read_text(errors="replace").count(ready)
        kept.changed(settings, changed)
        wait_for(lambda: log.read_text(errors="replace").count(ready) > before)
    return changed


def records(settings: Settings) -> dict[str, bytes]:
    """What DNS would say about the keys."""
    with psycopg.connect(conninfo(settings, "system")) as db:
        rows = db.execute(
            "SELECT d.name, selector, algorithm, public_key FROM dkim_key k JOIN domain d ON d.id = k.domain_id"
        ).fetchall()
    return {
        f"{selector}._domainkey.{name}.": f"v=DKIM1; k={algorithm.partition('-')[0]}; p={public}".encode()
        for name, selector, algorithm, public in rows
    }


def write(settings: Settings, outside: Outside, sender: str, header: str, mark: str) -> bytes:
    """Send as Resi with this From; the mail as the world gets it."""
    text = (
        f"From: {header}\r\nTo: gast@far.example\r\nSubject: {mark}\r\nDate: {formatdate()}\r\n"
        f"Message-ID: <{mark}@pc.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nServus!\r\n"
    )
    with signed_in(settings, "submissions") as client:
        client.sendmail(sender, ["gast@far.example"], text.encode())
    wait_for(lambda: any(mark.encode() in raw for *_, raw in outside.received))
    return next(raw for *_, raw in outside.received if mark.encode() in raw)


def test_a_mail_of_a_signed_in_person_verifies_by_both_keys(signing: Settings, outside: Outside) -> None:
    raw = write(signing, outside, RESI, f"Resi <{RESI}>", "signed-1")
    assert raw.count(b"DKIM-Signature:") == 2
    known = records(signing)
    for index in (0, 1):
        assert dkim.DKIM(raw).verify(idx=index, dnsfunc=lambda name, **_: known.get(name.decode()))
        with pytest.raises(dkim.ValidationError):
            dkim.DKIM(raw.replace(b"Servus", b"Bsuffa")).verify(
                idx=index, dnsfunc=lambda name, **_: known.get(name.decode())
            )
    assert raw.count(f"d={DOMAIN};".encode()) == 2  # the domain of From: DMARC aligns
    assert b"a=ed25519-sha256" in raw
    assert b"a=rsa-sha256" in raw


@pytest.mark.parametrize(
    ("sender", "header"),
    [
        (RESI, f"boss@{OTHER}"),
        (RESI, f"Resi <{RESI}>, boss@{OTHER}"),
        (RESI, f"boss@{OTHER}\r\nFrom: {RESI}"),
        (RESI, f"boss@sub.{DOMAIN}"),
        (RESI, f'"{RESI}" <boss@{OTHER}>'),
        ("", f"boss@{OTHER}"),
        ("", RESI),
    ],
)
def test_a_forged_from_is_never_signed(signing: Settings, outside: Outside, sender: str, header: str) -> None:
    mark = f"forged-{abs(hash((sender, header)))}"
    assert b"DKIM-Signature:" not in write(signing, outside, sender, header, mark)


def test_a_stranger_gets_no_signature(signing: Settings) -> None:
    """What comes in by port 25 with our name in From is not made genuine on its way in."""

    with smtp(signing) as client:
        client.sendmail(
            "franz@elsewhere.example", [RESI], message("stranger-4712").replace(b"Franz <franz@", b"<resi@")
        )
    assert b"DKIM-Signature:" not in fetch(signing, RESI, "stranger-4712")


def test_a_rotated_key_signs_and_the_old_file_is_gone(signing: Settings, outside: Outside) -> None:
    assert keep(signing) == set()
    with psycopg.connect(conninfo(signing, "system")) as db:
        db.execute("UPDATE dkim_key SET state = 'retiring' WHERE domain_id = (SELECT id FROM domain WHERE name = %s)",
                   [DOMAIN])  # fmt: skip
        (number,) = db.execute("SELECT id FROM domain WHERE name = %s", [DOMAIN]).fetchone() or (0,)

    async def renew() -> None:
        async with await connect(signing, "system") as db:
            await make_keys(db, 1, domain_id=number, domain=DOMAIN, settings=signing, state="active")

    before = set((signing.state / "rspamd" / "keys").glob(f"{DOMAIN}.*"))
    asyncio.run(renew())
    assert keep(signing)
    after = set((signing.state / "rspamd" / "keys").glob(f"{DOMAIN}.*"))
    assert len(before) == len(after) == 2
    assert not before & after
    assert {path.stat().st_mode & 0o777 for path in after} == {0o640}
    raw = write(signing, outside, RESI, RESI, "rotated-1")
    assert {f"s={path.name.removeprefix(DOMAIN + '.').removesuffix('.key')};".encode() in raw for path in after} == {
        True
    }


# ---------------------------------------------------------------- what filters write


def answered(settings: Settings, outside: Outside, script: str, mark: str, sender: str, raw: bytes = b"") -> bytes:
    """RESI's own script meets a stranger's mail; what then reaches the world, with its envelope sender in front."""

    async def run(work: Callable[[managesieve.Client], Awaitable[None]]) -> None:
        with psycopg.connect(conninfo(settings, "system")) as db:
            row = db.execute("SELECT id FROM mailbox WHERE address = %s", [RESI]).fetchone()
        assert row is not None
        async with (
            door_key(settings, 1, row[0]) as secret,
            managesieve.connected(settings.port["webmail_sieve"], RESI, secret) as server,
        ):
            await work(server)

    async def put(server: managesieve.Client) -> None:
        await server.put("own", script.replace("MARK", mark))
        await server.command(b'SETACTIVE "own"')

    async def tidy(server: managesieve.Client) -> None:
        await server.command(b'SETACTIVE ""')
        await server.delete("own")

    asyncio.run(run(put))
    try:
        with smtp(settings) as client:
            client.sendmail(sender, [RESI], raw or message("?").replace(b"you@brotzeit.example", RESI.encode()))
        wait_for(lambda: any(mark.encode() in raw for *_, raw in outside.received))
    finally:
        asyncio.run(run(tidy))
    return next(f"{mail_from}\r\n".encode() + raw for mail_from, _, raw in outside.received if mark.encode() in raw)


def test_an_absence_reply_is_signed_for_its_mailbox_and_has_no_sender(signing: Settings, outside: Outside) -> None:
    script = 'require "vacation"; vacation :subject "MARK" "Gone fishing";'
    raw = answered(signing, outside, script, "away-1", "away.1@far.example")
    sender, _, raw = raw.partition(b"\r\n")
    assert sender == b"<>"  # RFC 3834, 3.3
    assert f"From: <{RESI}>".encode() in raw
    known = records(signing)
    for index in (0, 1):
        assert dkim.DKIM(raw).verify(idx=index, dnsfunc=lambda name, **_: known.get(name.decode()))
    assert b"X-Spam" not in raw


@pytest.mark.parametrize(
    ("number", "script"),
    [
        (1, f'require "vacation"; vacation :from "boss@{OTHER}" :subject "MARK" "x";'),
        (2, f'require "vacation"; vacation :from "boss@sub.{DOMAIN}" :subject "MARK" "x";'),
        (3, f'require "vacation"; vacation :subject "MARK" :mime "From: boss@{OTHER}\r\nMIME-Version: 1.0\r\n\r\nx";'),
        (4, f'require "enotify"; notify :from "boss@{OTHER}" :message "MARK" "mailto:gast@far.example";'),
        (5, 'require "reject"; reject "MARK";'),
    ],
)  # fmt: skip
def test_a_script_cannot_have_somebody_else_signed_for(
    signing: Settings, outside: Outside, number: int, script: str
) -> None:
    raw = answered(signing, outside, script, f"not-me-{number}", f"not.me.{number}@far.example")
    assert b"DKIM-Signature:" not in raw
    assert raw.startswith(b"<>")


def test_what_is_sent_on_is_not_made_genuine_on_its_way(signing: Settings, outside: Outside) -> None:
    """A stranger's mail in RESI's own name, dressed as an absence reply, through RESI's own forwarding."""
    forged = message("sent-on-1").replace(b"Franz <franz@elsewhere.example>", RESI.encode())
    forged = b"Auto-Submitted: auto-replied (vacation)\r\n" + forged
    script = 'redirect "gast@far.example";'
    raw = answered(signing, outside, script, "sent-on-1", "franz@elsewhere.example", forged)
    assert b"DKIM-Signature:" not in raw
    assert b"SRS0" in raw.partition(b"\r\n")[0]
    assert raw.count(b"X-Spamd-Bar:") <= 1
