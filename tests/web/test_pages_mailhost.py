"""Pages of domains and mailboxes as a browser gets them: empty, full, refused, and of somebody else."""

import re
from collections.abc import Callable

import httpx
import pytest
from psycopg.types.json import Jsonb

from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection
from thurn.dns import check
from thurn.dns.facts import facts
from thurn.dns.records import records
from thurn.dns.verdicts import Answers, judge
from thurn.mailhost import mailboxes, service
from thurn.settings import Settings

SignedInBrowser = tuple[httpx.AsyncClient, SignedInAs]
W = "/w/main"
# What Content-Security-Policy would not run: scripts, styles and handlers in the page itself.
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)


async def brotzeit(system: Connection, settings: Settings, *people: str, workspace: int = 1) -> None:
    await service.add_domain(system, workspace, name="brotzeit.example", settings=settings)
    for local in people:
        await service.add_mailbox(system, workspace, address=f"{local}@brotzeit.example", name=f"<b>{local}</b>")


async def shown(browser: httpx.AsyncClient, path: str, status: int = 200, **how: object) -> str:
    answer = await browser.get(W + path, **how)  # type: ignore[arg-type] # keywords of httpx
    assert answer.status_code == status, answer.text
    assert not INLINE.search(answer.text)
    return answer.text


async def post(signed_in: SignedInBrowser, path: str, **fields: str) -> httpx.Response:
    browser, session = signed_in
    answer = await browser.post(W + path, data={"csrf": session.csrf, **fields})
    assert not INLINE.search(answer.text)
    return answer


async def test_empty_pages_say_what_to_do_first(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    browser, _ = signed_in
    assert f'href="{W}/domains/new"' in await shown(browser, "/domains")
    assert f'href="{W}/domains/new"' in await shown(browser, "/mailboxes")  # no domain: that first
    assert "no domain yet" in await shown(browser, "/mailboxes/new")
    await brotzeit(system, clean)
    assert f'href="{W}/mailboxes/new"' in await shown(browser, "/mailboxes")


async def test_adding_a_domain_leads_to_its_records(signed_in: SignedInBrowser) -> None:
    browser, _ = signed_in
    await shown(browser, "/domains/new")
    answer = await post(signed_in, "/domains/new", name="Brötchen.example")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{W}/domains/xn--brtchen-b1a.example"
    html = await shown(browser, "/domains/xn--brtchen-b1a.example")
    assert "brötchen.example" in html
    assert "Not checked yet" in html
    for value in ("_dmarc.xn--brtchen-b1a.example", "v=DMARC1; p=none", "10 mail.thurn.example", "k=ed25519; p="):
        assert value in html
    assert "brötchen.example" in await shown(browser, "/domains")


@pytest.mark.parametrize(
    "name", ["", "localhost", '"><script>alert(1)</script>', "a" * 3000, "🥨.example", "a\0b.example"]
)
async def test_a_bad_domain_is_refused_with_what_was_typed(signed_in: SignedInBrowser, name: str) -> None:
    answer = await post(signed_in, "/domains/new", name=name)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert "<script>alert" not in answer.text


async def test_a_domain_that_is_taken_is_a_conflict(
    signed_in: SignedInBrowser, system: Connection, clean: Settings, other_workspace: int
) -> None:
    await brotzeit(system, clean, workspace=other_workspace)
    answer = await post(signed_in, "/domains/new", name="brotzeit.example")
    assert answer.status_code == 409
    assert "another workspace" in answer.text


async def test_checking_shows_verdicts_to_htmx_and_to_a_plain_form(
    signed_in: SignedInBrowser, system: Connection, clean: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "PATIENCE", 0.3)
    await brotzeit(system, clean)
    answer = await post(signed_in, "/domains/brotzeit.example/check")
    assert answer.status_code == 303
    browser, session = signed_in
    headers = {"HX-Request": "true", "X-CSRF-Token": session.csrf}
    fragment = (await browser.post(f"{W}/domains/brotzeit.example/check", headers=headers)).text
    assert "<html" not in fragment
    assert "Cannot be told" in fragment  # nothing answers on the simulated name server's port
    assert "Broken" not in fragment
    assert not INLINE.search(fragment)


async def test_every_kind_of_verdict_has_its_place(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean)
    wanted = records(facts(await service.get_domain(system, "brotzeit.example"), clean))
    told = {
        "spf": Answers("found", ("v=spf1 <script>alert(1)</script> ~all",)),
        "dmarc": Answers("nothing"),
        "bounce-mx": Answers("timeout"),
        "mx": Answers("found", ("1 aspmx.l.google.com",)),
    }
    checks = [judge(r, told.get(r.kind, Answers("found", r.values))).as_json() for r in wanted]
    await system.execute("UPDATE domain SET checks = %s, checked_at = now()", [Jsonb(checks)])
    browser, _ = signed_in
    html = await shown(browser, "/domains/brotzeit.example")
    for heading in (
        "Broken <small>1",
        "To do <small>1",
        "Cannot be told <small>1",
        "Advice <small>1",
        f"In order <small>{len(wanted) - 4}",
    ):
        assert heading in html
    assert "1 broken, 1 missing" in html
    assert "&lt;script&gt;" in html
    assert "1 broken, 1 missing" in await shown(browser, "/domains")


async def test_what_changed_since_the_last_look_at_dns_is_asked_for_at_once(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean)
    wanted = records(facts(await service.get_domain(system, "brotzeit.example"), clean))
    checks = [judge(r, Answers("found", r.values)).as_json() for r in wanted]
    await system.execute("UPDATE domain SET checks = %s, checked_at = now()", [Jsonb(checks)])
    at = "/domains/brotzeit.example"
    assert "To do" not in await shown(signed_in[0], at)
    assert (await post(signed_in, f"{at}/keys")).status_code == 303
    settings = {"dmarc_policy": "quarantine", "mta_sts_mode": "none", "tracking_host": "links"}
    assert (await post(signed_in, f"{at}/settings", **settings)).status_code == 303
    html = await shown(signed_in[0], at)
    assert "To do <small>2" in html
    assert html.count("was not looked up yet.") == 3  # both keys and the tracking host
    assert "DMARC says p=none, but p=quarantine is chosen in the settings." in html
    assert "_mta-sts" not in html
    assert "Everything campaigns need is in place" in html


async def test_the_zone_file_is_a_download(signed_in: SignedInBrowser, system: Connection, clean: Settings) -> None:
    await brotzeit(system, clean)
    answer = await signed_in[0].get(f"{W}/domains/brotzeit.example/zone")
    assert answer.headers["content-disposition"] == 'attachment; filename="brotzeit.example.zone"'
    assert "bounce.brotzeit.example. 3600 IN MX 10 mail.thurn.example." in answer.text


async def test_removing_a_domain_asks_first_and_is_refused_while_it_is_needed(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean, "anna", "sepp")
    html = await shown(signed_in[0], "/domains/brotzeit.example?ask=remove-domain")
    assert re.search(r'<dialog[^>]*id="remove-domain"[^>]* open', html)
    assert "Remove domain and 2 mailboxes" in html
    await system.execute(
        """INSERT INTO campaign (workspace_id, name, from_address, state)
           VALUES (1, 'Stollen', 'hallo@brotzeit.example', 'sending')"""
    )
    answer = await post(signed_in, "/domains/brotzeit.example/delete")
    assert answer.status_code == 409
    assert "Stollen" in answer.text
    await system.execute("DELETE FROM campaign")
    assert (await post(signed_in, "/domains/brotzeit.example/delete")).status_code == 303
    await shown(signed_in[0], "/domains/brotzeit.example", 404)


async def test_a_mailbox_is_made_and_its_password_shown_once(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean)
    answer = await post(signed_in, "/mailboxes/new", local="Anna.Lindner", domain="brotzeit.example", name="Anna")
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    found = re.search(r"<code>([a-z2-9]{6}-[a-z2-9]{6}-[a-z2-9]{6})</code>", answer.text)
    assert found is not None
    html = await shown(signed_in[0], "/mailboxes/anna.lindner@brotzeit.example")
    assert found[1] not in html
    for port in ("imaps", "submissions", "submission", "pop3s", "managesieve"):
        assert str(clean.port[port]) in html
    changed = await post(signed_in, "/mailboxes/anna.lindner@brotzeit.example/password")
    assert re.search(r"<code>[a-z2-9]{6}-[a-z2-9]{6}-[a-z2-9]{6}</code>", changed.text)
    assert found[1] not in changed.text


async def test_a_given_password_is_never_sent_back(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean)
    for password, status in (("short", 422), ("Brezn und Radi", 201)):
        answer = await post(signed_in, "/mailboxes/new", local="anna", domain="brotzeit.example", password=password)
        assert answer.status_code == status
        assert password not in answer.text.replace("too short", "")


@pytest.mark.parametrize("local", ["", "a b", "a/b", "a+b", '"><img src=x>', "anna@elsewhere.example", "\0", "x" * 300])
async def test_a_bad_address_is_refused_with_what_was_typed(
    signed_in: SignedInBrowser, system: Connection, clean: Settings, local: str
) -> None:
    await brotzeit(system, clean)
    answer = await post(signed_in, "/mailboxes/new", local=local, domain="brotzeit.example")
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert "<img" not in answer.text


async def test_a_mailbox_is_changed_disabled_enabled_and_deleted(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean, "anna")
    path = "/mailboxes/anna@brotzeit.example"
    assert (await post(signed_in, path, name="Anna L.", quota="2,5")).status_code == 303
    row = await mailboxes.get_mailbox(system, "anna@brotzeit.example")
    assert (row["name"], row["quota_bytes"]) == ("Anna L.", 2.5 * mailboxes.GIB)
    for quota in ("", "much", "-1", "nan", "inf", "1e30"):
        assert (await post(signed_in, path, name="x", quota=quota)).status_code == 422
    assert (await post(signed_in, f"{path}/disable")).status_code == 303
    assert "Disabled" in await shown(signed_in[0], path)
    assert (await post(signed_in, f"{path}/enable")).status_code == 303
    assert (await post(signed_in, f"{path}/aliases", alias="hallo")).status_code == 303
    assert (await post(signed_in, f"{path}/aliases", alias="hallo")).status_code == 409
    assert "hallo@brotzeit.example" in await shown(signed_in[0], path)
    assert (await post(signed_in, f"{path}/aliases/remove", alias="hallo@brotzeit.example")).status_code == 303
    assert (await post(signed_in, f"{path}/delete")).status_code == 303
    await shown(signed_in[0], path, 404)


async def test_the_table_pages_searches_and_escapes(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean)
    await system.execute(
        """INSERT INTO mailbox (workspace_id, domain_id, address, name, password_hash)
           SELECT 1, d.id, format('p%%s@brotzeit.example', to_char(n, 'FM00')), '<b>P' || n || '</b>', 'x'
           FROM domain d, generate_series(1, 60) n""".replace("%%", "%")
    )
    browser, _ = signed_in
    first = await shown(browser, "/mailboxes")
    assert "<b>P1" not in first
    assert "p25@" in first
    assert "p26@" not in first
    second = await _follow(browser, first, "Older")
    assert "p26@" in second
    assert "p50@" in second
    third = await _follow(browser, second, "Older")
    assert "p60@" in third
    assert "p25@" in await _follow(browser, await _follow(browser, third, "Newer"), "Newer")
    rows = (await browser.get(f"{W}/mailboxes?q=p40@", headers={"HX-Request": "true"})).text
    assert "<html" not in rows
    assert rows.count('class="main"') == 1
    for q in ("%", "_", "\0", "</script>", "zzz"):
        assert (await browser.get(f"{W}/mailboxes", params={"q": q, "after": "\0", "before": "x"})).status_code == 200


async def _follow(browser: httpx.AsyncClient, html: str, label: str) -> str:
    """The page behind the pager's link."""
    links = re.findall(r'<a class="btn btn-sm" href="([^"]+)">(.*?)</a>', html, re.DOTALL)
    (target,) = [href.replace("&amp;", "&") for href, text in links if label in text]
    answer = await browser.get(target)
    assert answer.status_code == 200
    return answer.text


PAGES = ["/domains/brotzeit.example", "/domains/brotzeit.example/zone", "/mailboxes/anna@brotzeit.example"]


@pytest.mark.parametrize("path", PAGES)
async def test_what_belongs_to_another_workspace_is_not_there(
    signed_in: SignedInBrowser, system: Connection, clean: Settings, other_workspace: int, path: str
) -> None:
    await brotzeit(system, clean, "anna", workspace=other_workspace)
    browser, _ = signed_in
    assert (await browser.get(W + path)).status_code == 404
    assert (await browser.get(f"/w/other{path}")).status_code == 404
    for action in ("", "/delete", "/check", "/password", "/disable", "/aliases"):
        answer = await post(signed_in, path.removesuffix("/zone") + action, alias="x", name="x", quota="1")
        assert answer.status_code in (404, 405)
    assert (await mailboxes.get_mailbox(system, "anna@brotzeit.example"))["enabled"]


@pytest.mark.parametrize("path", ["/domains", "/domains/new", "/mailboxes", "/mailboxes/new", *PAGES])
async def test_a_stranger_is_sent_to_sign_in(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(W + path)
    assert answer.status_code == 303
    assert "/sign-in" in answer.headers["location"]


async def test_nothing_is_changed_without_the_token_of_the_session(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean, "anna")
    browser, _ = signed_in
    for path in ("/domains/new", "/domains/brotzeit.example/delete", "/mailboxes/anna@brotzeit.example/password"):
        assert (await browser.post(W + path, data={"name": "x.example"})).status_code == 403


async def test_who_may_only_look_changes_nothing(
    site: object, make_account: Callable[..., object], signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean, "anna")
    await system.execute("UPDATE membership SET role = 'viewer'")
    await shown(signed_in[0], "/mailboxes/anna@brotzeit.example")
    for path in ("/domains/new", "/mailboxes/anna@brotzeit.example/delete"):
        assert (await post(signed_in, path, name="x.example")).status_code == 403


async def test_settings_are_saved_or_refused_beside_their_field(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean)
    at = "/domains/brotzeit.example/settings"
    html = await shown(signed_in[0], at)
    assert "DMARC" in html
    good = {"dmarc_policy": "quarantine", "mta_sts_mode": "enforce", "tracking_host": "Links",
            "bimi_logo": "https://brotzeit.example/logo.svg", "rotate_months": "6"}  # fmt: skip
    assert (await post(signed_in, at, **good)).status_code == 303
    row = await service.get_domain(system, "brotzeit.example")
    assert (row["dmarc_policy"], row["tracking_host"], row["tls_reports"]) == (
        "quarantine",
        "links.brotzeit.example",
        False,
    )
    for field, value in (
        ("dmarc_policy", "x"), ("mta_sts_mode", "x"), ("tracking_host", "links.other.example"),
        ("tracking_host", "mta-sts"), ("tracking_host", '"><script>alert(1)</script>'), ("tracking_host", "a\0b"),
        ("bimi_logo", "http://brotzeit.example/logo.svg"), ("bimi_logo", "data:image/svg+xml,x.svg"),
        ("bimi_logo", "https://a.example/x.svg; a=b"), ("rotate_months", "99"), ("rotate_months", "-1"),
    ):  # fmt: skip
        answer = await post(signed_in, at, **{**good, field: value})
        assert answer.status_code == 422, (field, value)
        assert 'aria-invalid="true"' in answer.text
        assert "<script>alert" not in answer.text
    assert (await service.get_domain(system, "brotzeit.example"))["bimi_logo"] == good["bimi_logo"]


async def test_keys_are_made_once_and_dropped_again(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean)
    at = "/domains/brotzeit.example/keys"
    assert (await post(signed_in, at)).status_code == 303
    html = await shown(signed_in[0], at)
    assert html.count("Waiting") == 2
    assert (await post(signed_in, at)).status_code == 409
    assert (await post(signed_in, f"{at}/cancel")).status_code == 303
    assert (await post(signed_in, f"{at}/cancel")).status_code == 409


async def test_the_way_into_dns_is_never_shown_again(
    signed_in: SignedInBrowser, system: Connection, clean: Settings
) -> None:
    await brotzeit(system, clean)
    at = "/domains/brotzeit.example/publish"
    await shown(signed_in[0], at)
    answer = await post(signed_in, at, provider="rfc2136", server="<b>x", key_name="k", key_secret="nonsense!")
    assert answer.status_code == 422
    assert "nonsense!" not in answer.text
    secret = "c2VjcmV0LXNlY3JldA=="
    good = {"provider": "rfc2136", "server": "127.0.0.1", "port": "1", "key_name": "k", "key_secret": secret}
    assert (await post(signed_in, at, **good)).status_code == 303
    assert secret not in await shown(signed_in[0], at)
    assert "did not answer" in await shown(signed_in[0], f"{at}?look=1", status=409)
    assert (await post(signed_in, f"{at}/now")).status_code == 409
    asked = await shown(signed_in[0], f"{at}?ask=forget")
    assert "Forget how to get into the zone brotzeit.example?" in asked
    assert "The records that are in DNS stay as they are." in asked
    assert (await post(signed_in, f"{at}/forget")).status_code == 303
