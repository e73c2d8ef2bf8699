"""Publishing: what is planned, and what Knot and a provider's API then hold. Nothing of others is ever lost."""

from dataclasses import replace
from typing import Any

import pytest
from dnsproviders import APIS, TOKEN, Zone, provider
from dnsworld import Knot

from thurn.db.connect import Connection, Pool, in_workspace
from thurn.db.fetch import one, rows
from thurn.dns import publishing
from thurn.dns.changes import changes
from thurn.dns.findings import Answers
from thurn.dns.records import Record
from thurn.mailhost import rotate, service
from thurn.mailhost.jobs import check_all
from thurn.problems import Conflict, Invalid
from thurn.settings import Settings

SPF = Record("spf", "a.example", "TXT", ("v=spf1 a:mail.x.example ~all",), "SPF", "", True)
DKIM = Record("dkim", "s._domainkey.a.example", "TXT", ("v=DKIM1; k=rsa; p=abc",), "DKIM key s", "", True)
MX = Record("mx", "a.example", "MX", ("10 mail.x.example",), "MX", "")
BOUNCE = Record("bounce-mx", "bounce.a.example", "MX", ("10 mail.x.example",), "Bounce host", "", True)
HOST = Record("autoconfig", "autoconfig.a.example", "CNAME", ("mail.x.example",), "Autoconfig", "")
CAA = Record("caa", "a.example", "CAA", ('0 issue "letsencrypt.org"',), "CAA", "")
TLSA = Record("tlsa", "_25._tcp.mail.a.example", "TLSA", ("3 1 1 ab",), "TLSA", "")
NEXT_TLSA = replace(TLSA, values=(*TLSA.values, "3 1 1 ef"))
ELSEWHERE = Record("ptr", "5.113.0.203.in-addr.arpa", "PTR", ("mail.x.example",), "Reverse DNS", "")
NONE, NOTHING = Answers("no-name"), Answers("nothing")


def found(*values: str) -> Answers:
    return Answers("found", values)


@pytest.mark.parametrize(
    ("record", "now", "action", "add", "remove"),
    [
        (SPF, NOTHING, "create", SPF.values, ()),
        (SPF, found("x-verify=1"), "create", SPF.values, ()),
        (SPF, found("x-verify=1", "v=spf1 include:b.example -all"), "replace",
         ("v=spf1 a:mail.x.example include:b.example -all",), ("v=spf1 include:b.example -all",)),
        (SPF, found("v=spf1 a -all", "v=spf1 ip4:192.0.2.1 ~all"), "replace",
         ("v=spf1 a:mail.x.example a ip4:192.0.2.1 -all",), ("v=spf1 a -all", "v=spf1 ip4:192.0.2.1 ~all")),
        (SPF, found(*SPF.values), "keep", (), ()),
        (SPF, Answers("timeout"), "by hand", (), ()),
        (DKIM, found("v=DKIM1; k=rsa; p=old"), "replace", DKIM.values, ("v=DKIM1; k=rsa; p=old",)),
        (MX, NOTHING, "create", MX.values, ()),
        (MX, found("1 aspmx.l.google.com"), "by hand", (), ()),
        (BOUNCE, found("10 old.example"), "replace", BOUNCE.values, ("10 old.example",)),
        (HOST, NONE, "create", HOST.values, ()),
        (HOST, found("pages.elsewhere.example"), "by hand", (), ()),
        (CAA, NOTHING, "by hand", (), ()),
        (CAA, found('0 issue "pki.goog"'), "create", CAA.values, ()),
        (TLSA, NOTHING, "by hand", (), ()),
        (TLSA, found("3 1 1 ab"), "keep", (), ()),
        (TLSA, found("3 1 1 cd"), "create", TLSA.values, ()),
        (NEXT_TLSA, NOTHING, "by hand", (), ()),
        (NEXT_TLSA, found("3 1 1 ab"), "create", ("3 1 1 ef",), ()),
        (ELSEWHERE, NOTHING, "by hand", (), ()),
    ],
)  # fmt: skip
def test_what_is_missing_comes_what_is_ours_is_replaced_and_the_rest_stays(
    record: Record, now: Answers, action: str, add: tuple[str, ...], remove: tuple[str, ...]
) -> None:
    types = ("TXT", "MX", "CNAME", "CAA", "TLSA", "PTR")
    (change,) = changes([record], {(record.name, record.type): now}, zone="a.example", types=types)
    assert (change.action, change.add, change.remove) == (action, add, remove)
    assert bool(change.why) == (action == "by hand")


def test_an_alias_is_not_put_beside_other_records() -> None:
    now = {(HOST.name, "CNAME"): NOTHING, (HOST.name, "TXT"): found("x")}
    assert changes([HOST], now, zone="a.example", types=("CNAME",))[0].action == "by hand"


# ---------------------------------------------------------------- RFC 2136, against Knot


async def furnished(db: Connection, settings: Settings, **access: str) -> dict[str, Any]:
    """brotzeit.example, with a way into its zone."""
    await service.add_domain(db, 1, name="brotzeit.example", settings=settings)
    domain = await service.get_domain(db, "brotzeit.example")
    await publishing.put(db, domain, settings, provider="rfc2136", access=access)
    return domain


async def test_dynamic_updates_reach_a_real_name_server_and_leave_what_others_have(
    app_pool: Pool, clean: Settings, knot: Knot
) -> None:
    access = {"server": "127.0.0.1", "port": str(knot.port), "key_name": "thurn-key", "key_secret": knot.secret}
    async with in_workspace(app_pool, 1) as db:
        domain = await furnished(db, clean, **access)
        planned = await publishing.preview(db, domain, clean)
        assert knot.holds("_dmarc.brotzeit.example", "TXT") == set()  # a preview changes nothing
        await publishing.publish(db, domain, clean)
        assert knot.holds("brotzeit.example", "TXT") == {
            "site-verification=1", "v=spf1 a:mail.thurn.example include:news.example -all",
        }  # fmt: skip
        assert knot.holds("brotzeit.example", "MX") == {"1 old.example"}
        assert knot.holds("autoconfig.brotzeit.example", "CNAME") == {"elsewhere.example"}
        assert knot.holds("bounce.brotzeit.example", "MX") == {"10 mail.thurn.example"}
        assert knot.holds("_imap._tcp.brotzeit.example", "SRV") == {"0 0 0 "}
        (rsa,) = [key for key in domain["keys"] if key["algorithm"] == "rsa-sha256"]
        assert knot.holds(f"{rsa['selector']}._domainkey.brotzeit.example", "TXT") == {
            f"v=DKIM1; k=rsa; p={rsa['public_key']}"
        }
        again = await publishing.preview(db, domain, clean)
    assert {change.action for change in planned} == {"create", "replace", "by hand"}
    assert {change.action for change in again} == {"keep", "by hand"}
    assert [c.record.kind for c in planned if c.action == "by hand"] == [
        c.record.kind for c in again if c.action == "by hand"
    ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"key_secret": "YW5vdGhlciBzZWNyZXQ="}, "secret"),
        ({"key_name": "other-key"}, "key"),
        ({"port": "1"}, "did not answer"),
    ],
)
async def test_a_wrong_key_is_told_in_words(
    app_pool: Pool, clean: Settings, knot: Knot, wrong: dict[str, str], says: str
) -> None:
    access = {"server": "127.0.0.1", "port": str(knot.port), "key_name": "thurn-key", "key_secret": knot.secret}
    async with in_workspace(app_pool, 1) as db:
        domain = await furnished(db, clean, **{**access, **wrong})
        with pytest.raises(Conflict, match=says):
            await publishing.publish(db, domain, clean)


async def test_a_tenant_cannot_have_the_server_knock_on_doors_inside(
    app_pool: Pool, system: Connection, clean: Settings, knot: Knot
) -> None:
    row = await one(system, "INSERT INTO workspace (slug, name) VALUES ('b', 'B') RETURNING id")
    access = {"server": "127.0.0.1", "port": str(knot.port), "key_name": "thurn-key", "key_secret": knot.secret}
    async with in_workspace(app_pool, row["id"]) as db:
        await service.add_domain(db, row["id"], name="brotzeit.example", settings=clean)
        domain = await service.get_domain(db, "brotzeit.example")
        await publishing.put(db, domain, clean, provider="rfc2136", access=access)
        with pytest.raises(Conflict, match="not a public address"):
            await publishing.preview(db, domain, clean)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"zone": "other.example"}, "zone"),
        ({"access": {}}, "server"),
        ({"access": {"server": "x y", "key_name": "k", "key_secret": "YQ=="}}, "server"),
        ({"access": {"server": "x", "key_name": "k", "key_secret": "no base64!"}}, "key_secret"),
        ({"access": {"server": "x", "key_name": "a" * 80, "key_secret": "YQ=="}}, "key_name"),
        ({"access": {"server": "x", "key_name": "k", "key_secret": "YQ==", "port": "99999"}}, "port"),
        ({"access": {"server": "x", "key_name": "k", "key_secret": "YQ==", "algorithm": "md5"}}, "algorithm"),
        ({"access": {"server": "x", "key_name": "k", "key_secret": "YQ==", "more": "1"}}, "more"),
        ({"provider": "cloudflare", "access": {}}, "token"),
        ({"provider": "cloudflare", "access": {"token": "a\nb"}}, "token"),
    ],
)
async def test_nonsense_is_refused_beside_its_field(
    app_pool: Pool, clean: Settings, given: dict[str, Any], field: str
) -> None:
    async with in_workspace(app_pool, 1) as db:
        await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
        domain = await service.get_domain(db, "brotzeit.example")
        with pytest.raises(Invalid) as refused:
            await publishing.put(db, domain, clean, **{"provider": "rfc2136", "access": {}, **given})
    assert refused.value.field == field


# ---------------------------------------------------------------- a provider's API, at its HTTP boundary


LONG = "x" * 600  # of somebody else, in several strings


def zone() -> Zone:
    """What is there before: somebody's own, and ours from another time."""
    return {
        ("@", "TXT"): ['"v=spf1 a -all"', '"site-verification=1"'],
        ("@", "MX"): ["1 old.example."],
        ("bounce", "MX"): ["10 before.example."],
        ("autoconfig", "CNAME"): ["elsewhere.example."],
        ("@", "CAA"): ['0 issue "pki.goog"'],
        ("www", "A"): ["192.0.2.1"],
        ("www", "TXT"): [f'"{LONG[:255]}" "{LONG[:255]}"'],
    }


@pytest.mark.parametrize("name", list(APIS))
async def test_a_provider_gets_what_its_api_takes_and_keeps_what_is_others(
    app_pool: Pool, clean: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clean = clean.model_copy(update={"simulate": False})
    with provider(name, zone(), monkeypatch) as held:
        async with in_workspace(app_pool, 1) as db:
            await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
            domain = await service.get_domain(db, "brotzeit.example")
            await publishing.put(db, domain, clean, provider=name, access={"token": TOKEN})
            planned = await publishing.preview(db, domain, clean)
            assert held == zone(), "a preview changes nothing"
            done = await publishing.publish(db, domain, clean)
            again = await publishing.preview(db, domain, clean)
            row = await one(db, "SELECT access FROM domain_publisher")
    assert TOKEN.encode() not in bytes(row["access"])
    assert planned == done
    texts = {"".join(v.split('" "')).strip('"') for v in held["@", "TXT"]}
    assert texts == {"v=spf1 a:mail.thurn.example a -all", "site-verification=1"}
    assert held["autodiscover", "CNAME"] == ["mail.thurn.example."]
    (rsa,) = [key for key in domain["keys"] if key["algorithm"] == "rsa-sha256"]
    (key,) = held[f"{rsa['selector']}._domainkey", "TXT"]
    assert "".join(key.split('" "')).strip('"') == f"v=DKIM1; k=rsa; p={rsa['public_key']}"
    left = {where: values for where, values in zone().items() if where not in (("@", "TXT"), ("bounce", "MX"))}
    assert {where: held[where] for where in left} == left | (
        {("@", "CAA"): ['0 issue "pki.goog"', '0 issue "letsencrypt.org"']} if name != "digitalocean" else {}
    ), "what is others stays"
    by_hand = {change.record.type for change in done if change.action == "by hand"}
    if name == "digitalocean":
        assert by_hand == {"MX", "SRV", "CAA", "CNAME"}
        whys = [change.why for change in done if change.record.type == "SRV"]
        assert whys[0].startswith("Thurn can neither read nor write SRV records at DigitalOcean. Add it yourself")
    else:
        assert by_hand == {"MX", "CNAME"}, "those of somebody else"
        assert held["bounce", "MX"] == ["10 mail.thurn.example."]
        port = clean.port["imaps"]
        assert held["_imaps._tcp", "SRV"] == [f"0 1 {port} mail.thurn.example."]
        assert held["_imap._tcp", "SRV"] == ["0 0 0 ."]
    assert {change.action for change in again} == {"keep", "by hand"}, [c for c in again if c.add]


async def test_long_text_of_somebody_else_is_not_rewritten_where_it_would_suffer(
    app_pool: Pool, clean: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = clean.model_copy(update={"simulate": False})
    before = zone() | {("@", "TXT"): [*zone()["@", "TXT"], f'"{LONG[:255]}" "{LONG[:255]}"']}
    with provider("gandi", dict(before), monkeypatch) as held:
        async with in_workspace(app_pool, 1) as db:
            await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
            domain = await service.get_domain(db, "brotzeit.example")
            await publishing.put(db, domain, clean, provider="gandi", access={"token": TOKEN})
            with pytest.raises(Conflict, match="a long text of somebody else"):
                await publishing.publish(db, domain, clean)
    assert held["@", "TXT"] == before["@", "TXT"]


@pytest.mark.parametrize("name", list(APIS))
async def test_a_wrong_token_is_told_without_repeating_it(
    app_pool: Pool, clean: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clean = clean.model_copy(update={"simulate": False})
    with provider(name, zone(), monkeypatch) as held:
        async with in_workspace(app_pool, 1) as db:
            await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
            domain = await service.get_domain(db, "brotzeit.example")
            await publishing.put(db, domain, clean, provider=name, access={"token": "wrong-token"})
            with pytest.raises(Conflict, match=f"{publishing.PROVIDERS[name]} did not take it") as refused:
                await publishing.publish(db, domain, clean)
        assert "wrong-token" not in str(refused.value)
        assert held == zone()


@pytest.mark.parametrize(
    ("provider", "access"),
    [("cloudflare", {"token": "t"}), ("rfc2136", {"server": "192.0.2.1", "key_name": "k", "key_secret": "YQ=="})],
)
async def test_a_simulation_asks_nobody_outside(
    app_pool: Pool, clean: Settings, provider: str, access: dict[str, str]
) -> None:
    async with in_workspace(app_pool, 1) as db:
        await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
        domain = await service.get_domain(db, "brotzeit.example")
        await publishing.put(db, domain, clean, provider=provider, access=access)
        with pytest.raises(Conflict, match="simulation"):
            await publishing.publish(db, domain, clean)


async def test_new_keys_are_published_by_themselves_where_thurn_may(
    app_pool: Pool, clean: Settings, knot: Knot, system: Connection
) -> None:
    access = {"server": "127.0.0.1", "port": str(knot.port), "key_name": "thurn-key", "key_secret": knot.secret}
    settings = clean.model_copy(update={"dns": [f"127.0.0.1:{knot.port}"]})
    async with in_workspace(app_pool, 1) as db:
        domain = await furnished(db, settings, **access)
        await publishing.publish(db, domain, settings)
        await rotate.start(db, domain, settings)
    for state in ("pending", "published"):
        await check_all(settings)  # sees that they are missing and publishes them; then sees them
        found = await rows(system, "SELECT selector FROM dkim_key WHERE state = %s", [state])
        assert len(found) == 2
    for row in found:
        assert knot.holds(f"{row['selector']}._domainkey.brotzeit.example", "TXT")
