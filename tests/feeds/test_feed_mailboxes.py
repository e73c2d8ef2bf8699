"""Mailboxes on a second, real Dovecot, read over IMAP and POP3: once, whatever breaks; nothing but reports is kept."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.feedback.test_bounce_mail import FAILED, dsn
from tests.stack.otherserver import PASSWORD, OtherServer, other_server
from thurn.db.connect import Connection
from thurn.feedback.incoming import Tokens
from thurn.feeds import reading, runner, service
from thurn.feeds.mailbox import open_mailbox
from thurn.problems import Conflict, Invalid
from thurn.settings import Settings

OTHERS = dsn(FAILED).replace(b"b.e1.google.abc@bounce.example.com", b"somebody@else.example")
LETTER = b"From: ann@example.org\r\nTo: me@example.com\r\nSubject: private\r\n\r\nNothing for Thurn\r\n"


@pytest.fixture(scope="module")
def other() -> Iterator[OtherServer]:
    with other_server() as server:
        yield server


@pytest.fixture
def house(clean: Settings) -> Settings:
    assert clean.simulate, "only then a server on loopback is reached"
    return clean


@pytest.fixture
async def bounce(system: Connection, house: Settings) -> bytes:
    """A bounce of the one mail that was sent, as it comes to a mailbox after its envelope was rewritten."""
    return ours(house, await sent(system))


async def sent(db: Connection, recipient: str = "ann@example.org") -> int:
    await db.execute(
        "INSERT INTO campaign (workspace_id, name, from_address, state) VALUES (1, 'May', 'a@b.example', 'sent')"
    )
    await db.execute("INSERT INTO contact (workspace_id, email) VALUES (1, %s)", [recipient])
    row = await (
        await db.execute(
            """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state, handed_over_at,
                 settled_at)
               VALUES (1, 1, 1, %s, 'other', 'delivered', now(), now()) RETURNING id""",
            [recipient],
        )
    ).fetchone()
    assert row is not None
    return int(row["id"])


def ours(house: Settings, delivery: int, *, by: bytes = b"message-id") -> bytes:
    local = Tokens.of(house).verp.local_part("e1", "other", 1, delivery).encode()
    original = (
        b"Return-Path: <relay@example.net>\r\nMessage-ID: <" + local.rpartition(b".")[2] + b"@b.example>\r\n\r\nHi\r\n"
    )
    if by == b"return-path":
        original = b"Return-Path: <" + local + b"@bounce.b.example>\r\nMessage-ID: <theirs@relay.example>\r\n\r\nHi\r\n"
    return dsn(FAILED, original=original)


async def add(db: Connection, house: Settings, other: OtherServer, login: str, kind: str = "imap", **more: Any) -> int:
    new = service.New(
        name=more.pop("name", f"{kind} {login}"), kind=kind, secret=more.pop("secret", PASSWORD), host="127.0.0.1",
        port=other.port if kind == "imap" else other.pop3, login=login, fingerprint=other.fingerprint, **more,
    )  # fmt: skip
    await db.execute("SELECT set_config('thurn.workspace', '1', false)")
    return await service.add(db, 1, new, settings=house)


async def counted(db: Connection) -> dict[str, int]:
    row = await (
        await db.execute(
            "SELECT (SELECT count(*) FROM outcome) AS outcomes, (SELECT count(*) FROM incoming_report) AS reports"
        )
    ).fetchone()
    assert row is not None
    return dict(row)


def there(other: OtherServer, user: str, folder: str = "INBOX") -> list[bytes]:
    """The flags of each mail in a folder."""
    with other.client(user) as client:
        if client.select(folder, readonly=True)[1] == [b"0"]:
            return []
        return [line for line in client.fetch("1:*", "FLAGS")[1] if line]  # type: ignore[misc]


def empty(other: OtherServer, user: str, *folders: str) -> None:
    with other.client(user) as client:
        for folder in ("INBOX", *folders):
            client.create(folder)
            if client.select(folder)[1] != [b"0"]:
                client.store("1:*", "+FLAGS", r"\Deleted")
                client.expunge()


async def test_a_mailbox_is_read_once_and_left_as_it_was(
    system: Connection, house: Settings, other: OtherServer, bounce: bytes
) -> None:
    empty(other, "bounces")
    other.fill("bounces", {"INBOX": [(LETTER, ""), (bounce, ""), (OTHERS, ""), (b"\xff\0 garbage", ""), (bounce, "")]})
    number = await add(system, house, other, "bounces")
    before = other.contents("bounces")
    assert await runner.step(house, system) == 1
    assert await runner.step(house, system) == 0, "the next look is due in a minute"
    feed = await service.get(system, number)
    assert (feed["state"], feed["reason"], feed["taken"], feed["matched"]) == ("ok", "", 4, 1)
    assert await counted(system) == {"outcomes": 1, "reports": 2}, "nothing is kept of the letter and the garbage"
    row = await (await system.execute("SELECT kind, category, hard FROM outcome")).fetchone()
    assert row == {"kind": "bounced", "category": "unknown-address", "hard": True}
    assert other.contents("bounces") == before, "not even marked as read"

    other.fill("bounces", {"INBOX": [(OTHERS.replace(b"Ann@", b"Bob@"), "")]})
    await system.execute("UPDATE feed SET next_at = now()")
    await runner.step(house, system)
    assert (await service.get(system, number))["taken"] == 5
    # Numbered anew over there: everything is looked at again and known by its hash.
    await system.execute("UPDATE feed SET next_at = now(), uidvalidity = 1")
    await runner.step(house, system)
    assert (await service.get(system, number))["taken"] == 5
    assert (await counted(system))["outcomes"] == 1


@pytest.mark.parametrize("by", [b"message-id", b"return-path"])
async def test_a_bounce_is_matched_by_what_the_relay_left_of_ours(
    system: Connection, house: Settings, other: OtherServer, by: bytes
) -> None:
    empty(other, "bounces")
    other.fill("bounces", {"INBOX": [(ours(house, await sent(system), by=by), "")]})
    number = await add(system, house, other, "bounces")
    await runner.step(house, system)
    assert (await service.get(system, number))["matched"] == 1


@pytest.mark.parametrize(("afterwards", "inbox", "old"), [("seen", 2, 0), ("delete", 0, 0), ("move", 0, 2)])
async def test_read_mail_is_dealt_with_as_asked_for(
    system: Connection, house: Settings, other: OtherServer, bounce: bytes, afterwards: str, inbox: int, old: int
) -> None:
    empty(other, "bounces", "Old")
    other.fill("bounces", {"INBOX": [(bounce, ""), (LETTER, "")]})
    await add(system, house, other, "bounces", afterwards=afterwards, target="Old" if afterwards == "move" else "")
    await runner.step(house, system)
    left = there(other, "bounces")
    assert (len(left), len(there(other, "bounces", "Old"))) == (inbox, old)
    assert all(b"\\Seen" in flags for flags in left)
    assert (await counted(system))["outcomes"] == 1


async def test_a_worker_killed_between_commit_and_deletion_counts_nothing_twice(
    system: Connection, house: Settings, other: OtherServer, bounce: bytes
) -> None:
    empty(other, "bounces")
    other.fill("bounces", {"INBOX": [(bounce, "")]})
    number = await add(system, house, other, "bounces", afterwards="delete")
    row = await (await system.execute("SELECT *, true AS main FROM feed")).fetchone()
    assert row is not None
    mailbox = open_mailbox(row, PASSWORD, house)
    for mail in mailbox.new(frozenset()):
        await reading.take_mail(system, house, Tokens.of(house), row, mail.raw, mail.key)
    mailbox.close()  # killed: nothing was deleted
    assert len(there(other, "bounces")) == 1
    await runner.step(house, system)
    assert there(other, "bounces") == []
    assert (await service.get(system, number))["taken"] == 1
    assert (await counted(system))["outcomes"] == 1


@pytest.mark.parametrize(("afterwards", "left"), [("keep", 3), ("delete", 0)])
async def test_pop3_is_read_once_too(
    system: Connection, house: Settings, other: OtherServer, bounce: bytes, afterwards: str, left: int
) -> None:
    empty(other, "pop")
    large = bounce + b"x" * 78 + b"\r\n" + b"y" * 5000 + b"\r\n" + (b"z" * 78 + b"\r\n") * 10_000
    other.fill("pop", {"INBOX": [(LETTER, ""), (bounce, ""), (large, "")]})
    number = await add(system, house, other, "pop", "pop3", afterwards=afterwards)
    for _ in range(2):
        await system.execute("UPDATE feed SET next_at = now()")
        assert await runner.step(house, system) == 1
        feed = await service.get(system, number)
        assert (feed["state"], feed["reason"], feed["taken"]) == ("ok", "", 3)
    assert len(there(other, "pop")) == left
    assert (await counted(system))["outcomes"] == 2, "the fold knows that both say the same"


async def test_more_mail_than_one_look_takes_at_once(
    system: Connection, house: Settings, other: OtherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(other, "many")
    mails = [(OTHERS.replace(b"Ann@", b"a%d@" % n), "") for n in range(60)]
    other.fill("many", {"INBOX": mails})
    number = await add(system, house, other, "many", afterwards="delete")
    monkeypatch.setattr(runner, "_MAILS", 30)
    for taken in (50, 60):  # the second look is due at once
        assert await runner.step(house, system) == 1
        feed = await service.get(system, number)
        assert (feed["taken"], feed["state"]) == (taken, "ok")
    assert await runner.step(house, system) == 0
    assert there(other, "many") == []


async def test_what_needs_a_person_stops_and_tells(system: Connection, house: Settings, other: OtherServer) -> None:
    wrong = await add(system, house, other, "bounces", secret="wrong", name="one")
    folder = await add(system, house, other, "bounces", folder="Nowhere", name="two")
    forged = await add(system, house, other, "bounces", name="three")
    await system.execute("UPDATE feed SET fingerprint = repeat('a', 64) WHERE id = %s", [forged])
    pop = await add(system, house, other, "pop", "pop3", secret="wrong", name="four")
    inside = await add(system, house, other, "bounces", name="five")
    await system.execute("UPDATE feed SET host = '192.0.2.1' WHERE id = %s", [inside])
    for _ in range(5):
        assert await runner.step(house, system) == 1
    assert await runner.step(house, system) == 0, "broken feeds are left alone"
    said = {number: await service.get(system, number) for number in (wrong, folder, forged, pop, inside)}
    assert all(feed["state"] == "broken" for feed in said.values())
    assert "does not take this user name and password" in said[wrong]["reason"]
    assert "no folder Nowhere" in said[folder]["reason"]
    assert "another certificate" in said[forged]["reason"]
    assert "does not take this user name and password" in said[pop]["reason"]
    assert "sealed by another installation" in said[inside]["reason"], "the password is bound to its host"
    row = await (await system.execute("SELECT count(*) AS n FROM alert WHERE key LIKE 'feed-%'")).fetchone()
    assert row == {"n": 5}
    assert all("wrong" not in feed["reason"] for feed in said.values())

    await service.switch(system, folder, enabled=True)
    await system.execute("UPDATE feed SET folder = 'INBOX' WHERE id = %s", [folder])
    await runner.step(house, system)
    assert (await service.get(system, folder))["state"] == "ok"
    row = await (await system.execute("SELECT count(*) AS n FROM alert WHERE cleared_at IS NULL")).fetchone()
    assert row == {"n": 4}


async def test_a_server_that_is_away_is_tried_again_at_growing_intervals(
    system: Connection, house: Settings, other: OtherServer
) -> None:
    number = await add(system, house, other, "bounces")
    await system.execute("UPDATE feed SET port = 1")
    for wait in (120, 240):
        await system.execute("UPDATE feed SET next_at = now()")
        await runner.step(house, system)
        row = await (
            await system.execute("SELECT state, extract(epoch FROM next_at - now())::int AS wait FROM feed")
        ).fetchone()
        assert row is not None
        assert row["state"] == "retrying"
        assert wait - 20 < row["wait"] <= wait
    assert "does not answer" in (await service.get(system, number))["reason"]


async def test_the_own_network_is_not_reached(system: Connection, clean: Settings, other: OtherServer) -> None:
    number = await add(system, clean, other, "bounces")
    await runner.step(clean.model_copy(update={"simulate": False}), system)
    feed = await service.get(system, number)
    assert feed["state"] == "broken"
    assert "not on the public Internet" in feed["reason"]


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("kind", {"kind": "smtp"}), ("name", {"name": " "}), ("name", {"name": "a\nb"}), ("host", {"host": "a b"}),
    ("host", {"host": "https://x.example/"}), ("port", {"port": 25}), ("login", {"login": ""}),
    ("login", {"login": "a\r\nLOGOUT"}), ("secret", {"secret": ""}), ("secret", {"secret": "x" * 501}),
    ("folder", {"folder": "a\0"}), ("afterwards", {"afterwards": "burn"}),
    ("afterwards", {"kind": "pop3", "port": 995, "afterwards": "seen"}), ("target", {"afterwards": "move"}),
    ("target", {"afterwards": "move", "target": "INBOX"}), ("fingerprint", {"fingerprint": "zz"}),
    ("secret", {"kind": "ses", "secret": "arn:aws:sqs:eu-west-1:123456789012:x"}),
    ("secret", {"kind": "sendgrid", "secret": "MFkw"}), ("secret", {"kind": "sendgrid", "secret": "\xff"}),
    ("secret", {"kind": "mailgun", "secret": ""}),
]  # fmt: skip


async def test_what_cannot_be_is_refused_with_its_field(system: Connection, clean: Settings) -> None:
    good = {"name": "x", "kind": "imap", "secret": "s", "host": "imap.example.net", "port": 993, "login": "a"}
    earnest = clean.model_copy(update={"simulate": False})
    for field, change in WRONG:
        with pytest.raises(Invalid) as refused:
            await service.add(system, 1, service.New(**(good | change)), settings=earnest)
        assert refused.value.field == field, change


async def test_two_feeds_do_not_share_a_name(system: Connection, house: Settings, other: OtherServer) -> None:
    await add(system, house, other, "bounces", name="x")
    with pytest.raises(Conflict):
        await add(system, house, other, "pop", name="x")
