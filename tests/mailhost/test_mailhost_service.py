"""Domains and mailboxes as people add them, and what Postfix and Dovecot then see."""

from base64 import b64decode

import psycopg
import pytest
from argon2 import PasswordHasher, extract_parameters
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from thurn.db.connect import Connection, Pool, conninfo, in_workspace
from thurn.mailhost import aliases, mailboxes, service
from thurn.mailhost.names import domain_name, split_address
from thurn.problems import Conflict, Invalid, NotFound
from thurn.settings import Settings

LABEL = "a" * 63
GOOD = {
    "brotzeit.example": "brotzeit.example",
    "  Brotzeit.EXAMPLE. ": "brotzeit.example",
    "brötchen.example": "xn--brtchen-b1a.example",
    "BRÖTCHEN.example": "xn--brtchen-b1a.example",
    "xn--brtchen-b1a.example": "xn--brtchen-b1a.example",
    "ｂｒｏｔ.example": "brot.example",
    "a.b.c.d.example": "a.b.c.d.example",
    "1and1.example": "1and1.example",
    f"{LABEL}.example": f"{LABEL}.example",
    "例え.テスト": "xn--r8jz45g.xn--zckzah",
}
BAD = [
    "", " ", ".", "..", "localhost", "example..com", ".example.com", "exa mple.com", "192.0.2.1", "[192.0.2.1]",
    "2001:db8::1", "1.2.3", "-a.example", "a-.example", "a_b.example", "*.example.com", "%.example", "a'b.example",
    'a"b.example', "a;b.example", "a\nb.example", "a\0b.example", "\ud800.example", "🥨.example", "xn--\u00fc.example",
    "xn--zz--zzzzzzzzzzz.example", "anna@brotzeit.example", "https://brotzeit.example/", f"{LABEL}a.example",
    ".".join([LABEL] * 4), "a." * 127 + "example", "bounce.brotzeit.example", "a‮b.example", "a\u200bb..example",
]  # fmt: skip


@pytest.mark.parametrize(("typed", "stored"), GOOD.items())
def test_a_domain_is_stored_in_one_form(typed: str, stored: str) -> None:
    assert domain_name(typed) == stored


@pytest.mark.parametrize("typed", BAD)
def test_what_is_no_domain_is_refused_in_words(typed: str) -> None:
    with pytest.raises(Invalid) as refused:
        domain_name(typed)
    assert refused.value.field == "name"
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize(
    "typed",
    ["anna", "@brotzeit.example", "a b@brotzeit.example", ".a@brotzeit.example", "a.@brotzeit.example",
     "a..b@brotzeit.example", "a/b@brotzeit.example", "../../etc@brotzeit.example", "a%b@brotzeit.example",
     "a!b@brotzeit.example", "anna+x@brotzeit.example", "*@brotzeit.example", "%@brotzeit.example",
     '"anna"@brotzeit.example', "-anna@brotzeit.example", "a'b@brotzeit.example", "änna@brotzeit.example",
     "🥨@brotzeit.example", "a\0@brotzeit.example", "a\n@brotzeit.example", "a" * 65 + "@brotzeit.example",
     "a" * 60 + "@" + ".".join(["b" * 60] * 4), "anna@192.0.2.1", "anna@[192.0.2.1]", "anna@localhost", "", "@",
     "a@b@brotzeit.example", "ａnna@brotzeit.example", "İ@brotzeit.example"],
)  # fmt: skip
def test_what_is_no_address_of_a_mailbox_is_refused(typed: str) -> None:
    with pytest.raises(Invalid) as refused:
        split_address(typed)
    assert refused.value.field == "address"


def test_an_address_is_stored_in_lower_case_with_an_ascii_domain() -> None:
    assert split_address(" Anna.Lindner@Brötchen.example ") == ("anna.lindner", "xn--brtchen-b1a.example")


async def test_a_new_domain_gets_two_keys_that_fit_their_public_halves(app_pool: Pool, clean: Settings) -> None:
    async with in_workspace(app_pool, 1) as db:
        await service.add_domain(db, 1, name="Brotzeit.example", settings=clean)
        domain = await service.get_domain(db, "brotzeit.example")
        keys = await service.signing_keys(db, "brotzeit.example", clean)
        sealed = await (await db.execute("SELECT private_key FROM dkim_key ORDER BY algorithm DESC")).fetchall()
    assert [key.algorithm for key in keys] == ["rsa-sha256", "ed25519-sha256"]
    assert len({key.selector for key in keys}) == 2
    private, small = (load_der_private_key(key.private_key_der, None) for key in keys)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.key_size == 2048
    assert load_der_public_key(b64decode(domain["keys"][0]["public_key"])) == private.public_key()
    assert isinstance(small, ed25519.Ed25519PrivateKey)
    public = small.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert b64decode(domain["keys"][1]["public_key"]) == public
    for key, row in zip(keys, sealed, strict=True):
        assert key.private_key_der[-32:] not in row["private_key"]
    assert domain["bounce_host"] == "bounce.brotzeit.example"


async def test_a_domain_that_is_not_ours_has_no_keys(app_pool: Pool, clean: Settings) -> None:
    async with in_workspace(app_pool, 1) as db:
        assert await service.signing_keys(db, "nobody.example", clean) == []


async def test_a_domain_is_taken_once_and_the_reason_says_by_whom(
    app_pool: Pool, system: Connection, clean: Settings
) -> None:
    row = await (await system.execute("INSERT INTO workspace (slug, name) VALUES ('b', 'B') RETURNING id")).fetchone()
    assert row is not None
    async with in_workspace(app_pool, 1) as db:
        await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
        with pytest.raises(Conflict, match="one of your domains already"):
            await service.add_domain(db, 1, name="BROTZEIT.example.", settings=clean)
    async with in_workspace(app_pool, row["id"]) as db:
        with pytest.raises(Conflict, match="another workspace"):
            await service.add_domain(db, row["id"], name="brotzeit.example", settings=clean)
        # and the transaction is still good for something
        await service.add_domain(db, row["id"], name="other.example", settings=clean)


async def test_another_workspace_sees_and_touches_nothing(app_pool: Pool, system: Connection, clean: Settings) -> None:
    row = await (await system.execute("INSERT INTO workspace (slug, name) VALUES ('b', 'B') RETURNING id")).fetchone()
    assert row is not None
    await _brotzeit(app_pool, clean, "anna")
    async with in_workspace(app_pool, row["id"]) as db:
        assert await service.domain_page(db) == []
        assert await mailboxes.mailbox_page(db) == []
        assert await service.signing_keys(db, "brotzeit.example", clean) == []
        for attempt in (
            service.get_domain(db, "brotzeit.example"),
            service.remove_domain(db, "brotzeit.example"),
            mailboxes.set_password(db, "anna@brotzeit.example"),
            mailboxes.remove_mailbox(db, "anna@brotzeit.example"),
            mailboxes.set_enabled(db, "anna@brotzeit.example", enabled=False),
        ):
            with pytest.raises(NotFound):
                await attempt
        with pytest.raises(Invalid, match="not one of your domains"):
            await service.add_mailbox(db, row["id"], address="eve@brotzeit.example")


async def test_a_password_is_made_once_and_kept_only_as_argon2id(app_pool: Pool, clean: Settings) -> None:
    (password,) = await _brotzeit(app_pool, clean, "anna")
    row = _as("dovecot", clean, "SELECT * FROM mta.dovecot_user")[0]
    assert row[1].startswith("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$")
    encoded = row[1].removeprefix("{ARGON2ID}")
    assert PasswordHasher().verify(encoded, password)
    assert extract_parameters(encoded).parallelism == 1  # libsodium, which Dovecot uses, takes no other
    assert len(password) == 20
    async with in_workspace(app_pool, 1) as db:
        changed = await mailboxes.set_password(db, "ANNA@brotzeit.example", "Brezn und Radi")
        assert changed == "Brezn und Radi"
        assert "password_hash" not in await mailboxes.get_mailbox(db, "anna@brotzeit.example")
    row = _as("dovecot", clean, "SELECT * FROM mta.dovecot_user")[0]
    assert PasswordHasher().verify(row[1].removeprefix("{ARGON2ID}"), "Brezn und Radi")


async def test_an_address_made_anew_has_another_folder_than_the_one_that_was_removed(
    app_pool: Pool, clean: Settings
) -> None:
    await _brotzeit(app_pool, clean, "anna")
    before = _as("dovecot", clean, "SELECT home FROM mta.dovecot_user")
    async with in_workspace(app_pool, 1) as db:
        await mailboxes.remove_mailbox(db, "anna@brotzeit.example")
        await service.add_mailbox(db, 1, address="anna@brotzeit.example")
    after = _as("dovecot", clean, "SELECT home FROM mta.dovecot_user")
    assert before != after
    assert str(after[0][0]).startswith("brotzeit.example/anna.")


@pytest.mark.parametrize(
    "password",
    ["", "short", "anna@brotzeit.example", "ANNA@brotzeit.example", "aaaaaaaaaaaa", "a" * 129, "with\nline break",
     " space before", "nul\0in the middle"],
)  # fmt: skip
async def test_a_weak_password_is_refused(app_pool: Pool, clean: Settings, password: str) -> None:
    await _brotzeit(app_pool, clean)
    async with in_workspace(app_pool, 1) as db:
        with pytest.raises(Invalid) as refused:
            await service.add_mailbox(db, 1, address="anna@brotzeit.example", password=password)
    assert refused.value.field == "password"


async def test_postfix_and_dovecot_tell_an_underscore_from_any_character(app_pool: Pool, clean: Settings) -> None:
    await _brotzeit(app_pool, clean, "a_b", "acb")
    for role, view in (("postfix", "mailbox"), ("dovecot", "dovecot_user")):
        sql = f"SELECT address FROM mta.{view} WHERE address = %s"  # noqa: S608 - a table of names
        found = _as(role, clean, sql, "a_b@brotzeit.example")
        assert found == [("a_b@brotzeit.example",)]
    async with in_workspace(app_pool, 1) as db:
        await mailboxes.remove_mailbox(db, "a_b@brotzeit.example")
    left = _as("postfix", clean, "SELECT address FROM mta.mailbox")
    assert left == [("acb@brotzeit.example",)]


async def test_a_disabled_mailbox_is_gone_for_the_daemons_until_it_is_enabled(app_pool: Pool, clean: Settings) -> None:
    await _brotzeit(app_pool, clean, "anna")
    views = (
        ("postfix", "mailbox"),
        ("postfix", "logins('anna@brotzeit.example')"),
        ("dovecot", "dovecot_user"),
    )
    for enabled in (False, True):
        async with in_workspace(app_pool, 1) as db:
            await mailboxes.set_enabled(db, "anna@brotzeit.example", enabled=enabled)
        for role, view in views:
            assert len(_as(role, clean, f"SELECT 1 FROM mta.{view}")) == int(enabled)  # noqa: S608 - a table of names


async def test_a_domain_whose_dns_was_never_right_takes_no_mail_and_sends_none(app_pool: Pool, clean: Settings) -> None:
    """Else a tenant could add a stranger's domain and get what other tenants here send to it."""
    await _brotzeit(app_pool, clean, "anna")
    async with in_workspace(app_pool, 1) as db:
        await aliases.add(db, 1, address="boss@brotzeit.example", target="anna@brotzeit.example")
        await db.execute("UPDATE domain SET proven_at = NULL")
    addresses = (
        "logins('anna@brotzeit.example')",
        "logins('boss@brotzeit.example')",
        "aliases('boss@brotzeit.example')",
    )
    for view in ("mailbox_domain", "bounce_domain", "alias_domain", *addresses):
        assert _as("postfix", clean, f"SELECT 1 FROM mta.{view}") == []  # noqa: S608 - a table of names


async def test_the_daemons_know_the_domain_and_where_its_bounces_go(app_pool: Pool, clean: Settings) -> None:
    await _brotzeit(app_pool, clean)
    assert _as("postfix", clean, "SELECT name FROM mta.mailbox_domain") == [("brotzeit.example",)]
    assert _as("postfix", clean, "SELECT name FROM mta.bounce_domain") == [("bounce.brotzeit.example",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _as("postfix", clean, "SELECT private_key FROM dkim_key")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _as("postfix", clean, "SELECT password_hash FROM mailbox")


async def test_an_alias_leads_to_mailboxes_and_never_shadows_one(app_pool: Pool, clean: Settings) -> None:
    await _brotzeit(app_pool, clean, "anna", "sepp")
    async with in_workspace(app_pool, 1) as db:
        for target in ("anna", "sepp"):
            await aliases.add(db, 1, address="Hallo@brotzeit.example", target=f"{target}@brotzeit.example")
        for address, target, problem in (
            ("hallo@brotzeit.example", "anna@brotzeit.example", Conflict),  # there already
            ("sepp@brotzeit.example", "anna@brotzeit.example", Conflict),  # a mailbox
            ("x@brotzeit.example", "nobody@brotzeit.example", NotFound),
            ("x@brotzeit.example", "no address", Invalid),
            ("x@elsewhere.example", "anna@brotzeit.example", Invalid),
        ):
            with pytest.raises(problem):
                await aliases.add(db, 1, address=address, target=target)
        with pytest.raises(Conflict, match="alias"):
            await service.add_mailbox(db, 1, address="hallo@brotzeit.example")
    targets = "anna@brotzeit.example,sepp@brotzeit.example"
    assert _as("postfix", clean, "SELECT * FROM mta.aliases('hallo@brotzeit.example')") == [(targets,)]
    async with in_workspace(app_pool, 1) as db:
        await mailboxes.remove_mailbox(db, "anna@brotzeit.example")
        assert (await mailboxes.get_mailbox(db, "sepp@brotzeit.example"))["aliases"] == ["hallo@brotzeit.example"]
        await aliases.remove(db, address="hallo@brotzeit.example", target="sepp@brotzeit.example")
        with pytest.raises(NotFound):
            await aliases.remove(db, address="hallo@brotzeit.example", target="sepp@brotzeit.example")
    assert _as("postfix", clean, "SELECT * FROM mta.aliases('hallo@brotzeit.example')") == []


async def test_mailboxes_are_paged_both_ways_and_searched_literally(app_pool: Pool, clean: Settings) -> None:
    await _brotzeit(app_pool, clean, "a_b", "acb", "dora", "emil")
    async with in_workspace(app_pool, 1) as db:
        await mailboxes.update_mailbox(db, "dora@brotzeit.example", name="100% Döra\0\n", quota_bytes=mailboxes.GIB)

        async def found(**how: object) -> list[str]:
            return [row["address"].partition("@")[0] for row in await mailboxes.mailbox_page(db, **how)]  # type: ignore[arg-type] # keywords by table

        assert await found(limit=2) == ["a_b", "acb"]
        assert await found(limit=2, after="acb@brotzeit.example") == ["dora", "emil"]
        assert await found(limit=1, before="dora@brotzeit.example") == ["acb"]
        assert await found(query="a_b") == ["a_b"]
        assert await found(query="%") == ["dora"]
        assert await found(query="DÖRA") == ["dora"]
        assert await found(query="\0\ud800") == ["a_b", "acb", "dora", "emil"]
        assert await found(query="'; DROP TABLE mailbox; --") == []
        assert await mailboxes.count_mailboxes(db) == 4


@pytest.mark.parametrize("quota", [-1, 0, 1024, 10**18])
async def test_a_quota_nobody_means_is_refused(app_pool: Pool, clean: Settings, quota: int) -> None:
    await _brotzeit(app_pool, clean, "anna")
    async with in_workspace(app_pool, 1) as db:
        with pytest.raises(Invalid):
            await mailboxes.update_mailbox(db, "anna@brotzeit.example", name="", quota_bytes=quota)


async def test_a_domain_a_campaign_is_sent_from_cannot_be_removed(app_pool: Pool, clean: Settings) -> None:
    await _brotzeit(app_pool, clean, "anna")
    async with in_workspace(app_pool, 1) as db:
        await db.execute(
            """INSERT INTO campaign (workspace_id, name, from_address, state)
               VALUES (1, 'Stollen', 'Hallo@Brotzeit.example', 'sending')"""
        )
        with pytest.raises(Conflict, match="Stollen"):
            await service.remove_domain(db, "brotzeit.example")
        await db.execute("UPDATE campaign SET state = 'sent'")
        await service.remove_domain(db, "brotzeit.example")
    assert _as("postfix", clean, "SELECT * FROM mta.mailbox_domain") == []
    assert _as("dovecot", clean, "SELECT * FROM mta.dovecot_user") == []


async def _brotzeit(pool: Pool, settings: Settings, *people: str) -> list[str]:
    """brotzeit.example with mailboxes; returns their passwords."""
    async with in_workspace(pool, 1) as db:
        await service.add_domain(db, 1, name="brotzeit.example", settings=settings)
        await db.execute("UPDATE domain SET proven_at = now()")
        return [await service.add_mailbox(db, 1, address=f"{local}@brotzeit.example") for local in people]


def _as(role: str, settings: Settings, sql: str, *values: str) -> list[tuple[str, ...]]:
    with psycopg.connect(conninfo(settings, role)) as db:  # type: ignore[arg-type] # a role by name
        return db.execute(sql, values or None).fetchall()
