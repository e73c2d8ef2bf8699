"""The wall between workspaces, tried on every route of the API and on every page with a workspace in its path.

The routes come from the OpenAPI document and from the application: a new one is walked without being named here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from thurn.accounts.service import create_account, create_api_key
from thurn.accounts.sessions import start_session
from thurn.db.connect import Connection
from thurn.settings import Settings
from thurn.web.app import Application, create_app

SECRET = "belongs-to-theirs"
UNSAFE = ("post", "put", "patch", "delete")


@dataclass(frozen=True)
class Theirs:
    """What another workspace has: every value that can stand in a path."""

    workspace: int
    values: dict[str, Any]


SEED = """
INSERT INTO contact (workspace_id, email) VALUES (%(w)s, '{SECRET}@x.example') RETURNING id AS contact_id;
INSERT INTO list (workspace_id, name) VALUES (%(w)s, '{SECRET}') RETURNING id AS list_id;
INSERT INTO contact_import (workspace_id, filename, path) VALUES (%(w)s, '{SECRET}', '/x') RETURNING id AS import_id;
INSERT INTO template (workspace_id, name, kind, subject, source)
  VALUES (%(w)s, '{SECRET}', 'html', 's', '<p>x</p>') RETURNING id AS template_id;
INSERT INTO domain (workspace_id, name, bounce_host)
  VALUES (%(w)s, '{SECRET}.example', 'bounce.{SECRET}.example') RETURNING id AS domain_id, name;
INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
  SELECT workspace_id, id, '{SECRET}@' || name, 'x' FROM domain WHERE workspace_id = %(w)s RETURNING address;
INSERT INTO alias (workspace_id, domain_id, address, target)
  SELECT workspace_id, id, 'alias-{SECRET}@' || name, 'x' FROM domain WHERE workspace_id = %(w)s
  RETURNING address AS alias;
INSERT INTO spam_sender (workspace_id, domain_id, mailbox_id, verdict, sender)
  SELECT workspace_id, domain_id, id, 'block', '{SECRET}.example' FROM mailbox WHERE workspace_id = %(w)s
  RETURNING sender;
INSERT INTO held_mail (workspace_id, mailbox_id, queue_id, mail_from, header_from, subject, score, required, symbols,
    size, message)
  SELECT workspace_id, id, 'Q', '{SECRET}@x.example', '', '{SECRET}', 20, 15, '[]', 1, '{SECRET}'::bytea
  FROM mailbox WHERE workspace_id = %(w)s RETURNING id AS held_id;
INSERT INTO app_password (workspace_id, mailbox_id, name, secret_hash)
  SELECT workspace_id, id, '{SECRET}', '\\x01' FROM mailbox WHERE workspace_id = %(w)s RETURNING id AS app_password_id;
INSERT INTO send_as (workspace_id, domain_id, mailbox_id, address)
  SELECT workspace_id, domain_id, id, 'alias-' || address FROM mailbox WHERE workspace_id = %(w)s
  RETURNING 1;
INSERT INTO bcc_rule (workspace_id, domain_id, direction, address, copy_to)
  SELECT workspace_id, domain_id, 'sent', address, '{SECRET}@x.example' FROM mailbox WHERE workspace_id = %(w)s
  RETURNING id AS copy_id;
INSERT INTO campaign (workspace_id, name, from_address)
  VALUES (%(w)s, '{SECRET}', 'a@{SECRET}.example') RETURNING id AS campaign_id;
INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider)
  SELECT c.id, %(w)s, p.id, p.email, 'other' FROM campaign c, contact p
  WHERE c.workspace_id = %(w)s AND p.workspace_id = %(w)s RETURNING id AS delivery_id;
INSERT INTO trace_message (id, workspace_id, node, queue_id, at, ours, sender)
  VALUES (1, %(w)s, 'main', '{SECRET}', now(), true, '{SECRET}@x.example') RETURNING id AS trace_id;
INSERT INTO trace_recipient (id, workspace_id, trace_id, at, recipient, state, changed_at)
  SELECT 1, workspace_id, id, at, sender, 'delivered', at FROM trace_message RETURNING 1;
INSERT INTO mailbox_move (workspace_id, mailbox_id, host, port, login)
  SELECT workspace_id, id, 'imap.{SECRET}.example', 993, '{SECRET}' FROM mailbox WHERE workspace_id = %(w)s
  RETURNING id AS move_id;
INSERT INTO mailbox_move_problem (move_id, workspace_id, folder, reason)
  SELECT id, workspace_id, '{SECRET}', 'x' FROM mailbox_move RETURNING 1;
INSERT INTO feed (workspace_id, name, kind, secret, hook)
  VALUES (%(w)s, '{SECRET}', 'brevo', '\\x01', '{SECRET}') RETURNING id AS feed_id;
INSERT INTO mailbox_import (workspace_id, filename, state) VALUES (%(w)s, '{SECRET}', 'waiting')
  RETURNING id AS box_import_id;
INSERT INTO mailbox_import_row (import_id, line, workspace_id, address, name, quota_bytes, given)
  SELECT id, 1, workspace_id, 'many@{SECRET}.example', '', 1, false FROM mailbox_import RETURNING 1;
INSERT INTO removed_mailbox (mailbox_id, workspace_id, address, home, kept)
  VALUES (77, %(w)s, 'gone@{SECRET}.example', '{SECRET}.example/gone.77', '{}') RETURNING mailbox_id AS removed_id;
INSERT INTO mailbox_rule (workspace_id, mailbox_id, position, field, contains, action)
  SELECT workspace_id, id, 1, 'from', '{SECRET}', 'trash' FROM mailbox WHERE workspace_id = %(w)s
  RETURNING id AS rule_id;
INSERT INTO suppression (workspace_id, address, reason, evidence)
  VALUES (%(w)s, '{SECRET}@x.example', 'manual', '{SECRET}') RETURNING id AS suppression_id;
INSERT INTO suppression_change (workspace_id, address, action, actor)
  VALUES (%(w)s, '{SECRET}@x.example', 'added', '{SECRET}') RETURNING 1;
INSERT INTO incoming_report (workspace_id, kind, matched, summary, sender, raw)
  VALUES (%(w)s, 'bounce', true, '{SECRET}', '{SECRET}', '{SECRET}'::bytea) RETURNING id AS report_id;
INSERT INTO list_member (list_id, contact_id, workspace_id)
  SELECT l.id, c.id, %(w)s FROM list l, contact c WHERE l.workspace_id = %(w)s AND c.workspace_id = %(w)s RETURNING 1;
WITH r AS (
  INSERT INTO auth_report (workspace_id, domain_id, kind, org, report_id, submitter, counted, digest, begins, ends,
    about)
  SELECT workspace_id, id, 'dmarc', '{SECRET}', 'r', 'upload', true, '', now(), now(), name FROM domain
  WHERE workspace_id = %(w)s RETURNING *)
  INSERT INTO dmarc_row (workspace_id, domain_id, report_id, day, counted, source, n, disposition, dkim_aligned,
    spf_aligned, overrides, header_from, envelope_from, dkim, spf, sender)
  SELECT workspace_id, domain_id, id, now(), true, '192.0.2.1', 1, 'none', false, false, '{}', '{SECRET}', '', '[]',
    '[]', '' FROM r RETURNING 1;
INSERT INTO contact_import_reject (import_id, row_number, workspace_id, reason, raw)
  SELECT id, 1, workspace_id, '{SECRET}', 'x' FROM contact_import WHERE workspace_id = %(w)s RETURNING 1
""".replace("{SECRET}", SECRET)
TABLES = ("contact", "list", "contact_import", "template", "domain", "dkim_key", "domain_publisher", "mailbox",
          "alias", "removed_mailbox", "mailbox_import", "mailbox_import_row", "app_password", "send_as", "bcc_rule",
          "spam_sender", "held_mail", "campaign", "list_member",
          "contact_import_reject", "delivery", "suppression", "suppression_change", "incoming_report",
          "auth_report", "dmarc_row", "dmarc_source",
          "trace_message", "trace_recipient", "mailbox_move", "feed", "api_key", "account", "membership")  # fmt: skip


@pytest.fixture
async def theirs(system: Connection, other_workspace: int) -> Theirs:
    """The other workspace's things."""
    values: dict[str, Any] = {}
    for statement in SEED.split(";"):
        row = await (await system.execute(statement, {"w": other_workspace})).fetchone()  # type: ignore[arg-type]
        assert row is not None
        values |= row
    values |= {"egress_name": "gone", "pool": "gone", "pool_rule": 32000, "provider": "nobody"}
    values["hold_id"] = 2**31 - 1
    values["relay"] = 32000  # belongs to the installation; there is none of this number
    values["key_id"], _ = await create_api_key(system, other_workspace, SECRET)
    values["workspace_slug"] = "nobody"
    values["node_name"] = "gone"  # machines that send, too
    values["rule_name"] = f"not-{SECRET}"  # rules of shaping belong to the installation
    await create_account(
        system, email=f"{SECRET}@y.example", name=SECRET, password="long enough 1", workspace=other_workspace
    )
    return Theirs(other_workspace, values)


async def snapshot(system: Connection, workspace: int) -> str:
    """Everything the other workspace has, as text."""
    found = []
    for table in TABLES:
        where = "" if table == "account" else " WHERE workspace_id = %s"
        query = f"SELECT * FROM {table}{where}"  # noqa: S608 - names from TABLES
        rows = await system.execute(query, [workspace] if where else [])  # type: ignore[arg-type]
        found.append(json.dumps(await rows.fetchall(), default=str, sort_keys=True))
    return "\n".join(found)


def operations(app: Application) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def filled(path: str, values: dict[str, Any]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: str(values[match[1]]), path)


def bodies(document: dict[str, Any], operation: dict[str, Any], theirs: Theirs) -> dict[str, Any]:
    """A body the schema takes, which names the other's things wherever it can."""
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        return {"files": {"file": b"email\nx@x.example\n"}, "data": {"list_id": str(theirs.values["list_id"])}}
    if "application/json" not in content:
        return {}
    schema = document["components"]["schemas"][content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    samples = {
        "email": "new@x.example", "fields": {"a": "b"}, "lists": [theirs.values["list_id"]], "name": "mine",
        "contacts": [theirs.values["contact_id"]], "kind": "html", "subject": "s", "source": "<p>x</p>",
        "contact": {"email": "x@x.example"}, "from_address": f"a@{SECRET}.example", "from_name": "x", "reply_to": "",
        "template_id": theirs.values["template_id"], "list_ids": [theirs.values["list_id"]],
        "password": "Long enough 123",
        "active": True, "first_day": None, "last_day": None, "body": "x", "every_days": 3,
        "field": "from", "contains": "x", "action": "trash", "argument": "",
        "mta_sts_mode": "none", "tls_reports": False, "dmarc_policy": "reject", "bimi_logo": "", "tracking_host": "",
        "rotate_months": 3, "provider": "rfc2136", "zone": "",
        "access": {"server": "127.0.0.1", "key_name": "k", "key_secret": "YQ=="},
        "address": f"fresh@{SECRET}.example", "quota_bytes": 10**9, "enabled": True,
        "junk_at": 5, "refuse_at": 9, "greylist": True, "digest": True, "digest_hour": 7,
        "sender": f"new.{SECRET}.example", "verdict": "allow",
        "security": "starttls", "username": "", "preset": "other", "connections": 5, "rate_per_minute": None,
        "node": "", "confirm": "gone", "again": False,
        "use": "none", "domain": "",
        "bind4": "192.0.2.4", "bind6": "", "helo": "", "pool": "gone", "weight": 1, "egress": "",
        "stream": "marketing", "workspace": "", "campaign": None,
        "per_connection": 1, "backoff": 60,
        "workspace_id": 2**31 - 1, "speed_limit": 5, "speed_unit": "hour", "priority": "low", "window": None,
        "client": "198.51.100.7", "network": "192.0.2.0/24", "minutes": 5, "note": "n", "detail": "d",
        "reason": "manual", "days": 30, "everywhere": False,
        "host": "x.example", "port": 993, "login": "x", "fingerprint": "", "secret": "x", "folder": "INBOX",
        "afterwards": "keep",
        "target": f"{SECRET}@{SECRET}.example", "targets": [f"{SECRET}@{SECRET}.example"], "keep_copy": False,
        "direction": "received", "copy_to": "x@x.example", "outside": True, "send_limit": 1, "may_send": False,
        "whose": "foreign",
        "bounce_warn": 0.1, "bounce_pause": 0.1, "complaint_warn": 0.1, "complaint_pause": 0.1, "least_mails": 1,
        "least_complaints": 1, "rule": None, "on": True, "any": [], "unless": [], "category": [], "outcome": "",
        "count": 3, "period": 60, "share": 0.1, "why": "", "todo": "", "link": "", "matches": "x", "differs": "x",
        "key": "x", "client_id": "", "client_secret": "", "refresh_token": "",
        "warm_up": False, "providers": None, "curve": [5], "step": None, "overflow": "pool",
        "mailboxes": [{"address": "fresh@nowhere.example"}],  # an answer names what was asked for
    }  # fmt: skip
    return {"json": {name: samples[name] for name in schema["properties"]}}


async def test_a_key_sees_and_changes_nothing_of_another_workspace(
    api: httpx.AsyncClient, site: Any, system: Connection, theirs: Theirs
) -> None:
    before = await snapshot(system, theirs.workspace)
    walked = 0
    for method, path, operation in operations(site.app):
        body = bodies(site.app.openapi(), operation, theirs)
        asked = {each["name"]: theirs.values["address"] for each in operation.get("parameters", ())
                 if each["in"] == "query" and each["required"]}  # fmt: skip
        answer = await api.request(method, filled(path, theirs.values), params=asked, **body)
        assert answer.status_code < 500, (method, path, answer.text)
        # An answer that says no may repeat what was sent; one that made something repeats its new address.
        told = answer.text.replace(f"fresh@{SECRET}.example", "")
        assert answer.status_code >= 400 or SECRET not in told, (method, path, answer.text)
        if "{" in path:
            assert answer.status_code == 404, (method, path, answer.status_code, answer.text)
        walked += 1
    assert walked >= 40
    assert await snapshot(system, theirs.workspace) == before


async def test_every_operation_needs_a_key_and_is_described(browser: httpx.AsyncClient, clean: Settings) -> None:
    app = create_app(clean)
    names = []
    values: dict[str, Any] = dict.fromkeys(
        (
            "contact_id",
            "list_id",
            "import_id",
            "template_id",
            "campaign_id",
            "key_id",
            "rule_id",
            "trace_id",
            "delivery_id",
            "held_id",
            "move_id",
            "feed_id",
            "app_password_id",
            "copy_id",
            "suppression_id",
            "report_id",
            "relay",
            "hold_id",
            "egress_name",
            "pool",
            "pool_rule",
            "provider",
            "removed_id",
            "box_import_id",
        ),
        1,
    )
    for method, path, operation in operations(app):
        names.append(operation["operationId"])
        assert operation["security"] == [{"API key": []}], path
        assert operation["description"], path
        named = {"name": "x.example", "address": "a@x.example", "alias": "b@x.example", "sender": "c@x.example"}
        named |= {"rule_name": "no-such-rule", "workspace_slug": "nobody", "node_name": "gone"}
        answer = await browser.request(method, filled(path, values | named))
        assert answer.status_code in (401, 422), (method, path)
        assert "401" in operation["responses"], path
    assert len(names) == len(set(names))


def _pages(app: Application) -> list[tuple[str, str]]:
    return [
        (method.lower(), str(route.path))
        for route in iter_route_contexts(app.routes)
        if str(route.path).startswith("/w/{workspace}")
        for method in set(route.methods or ()) - {"HEAD"}
    ]


async def test_somebody_of_another_workspace_gets_no_page_of_it(
    signed_in: tuple[httpx.AsyncClient, Any], site: Any, system: Connection, theirs: Theirs
) -> None:
    browser, session = signed_in
    before = await snapshot(system, theirs.workspace)
    pages = _pages(site.app)
    assert len(pages) > 20
    for method, path in pages:
        values = {name: theirs.values.get(name, theirs.values["list_id"]) for name in re.findall(r"\{(\w+)", path)}
        concrete = re.sub(r"\{(\w+)(?::\w+)?\}", lambda match, v=values: str(v[match[1]]), path)
        for workspace in ("other", "main"):
            url = concrete.replace(f"/w/{values['workspace']}", f"/w/{workspace}", 1)
            body = {"data": {"csrf": session.csrf}} if method in UNSAFE else {}
            answer = await browser.request(method, url, headers={"X-CSRF-Token": session.csrf}, **body)
            assert answer.status_code < 500, (method, url)
            if workspace == "other":
                assert answer.status_code == 404, (method, url, answer.status_code)
            text = answer.text.replace(f"{SECRET}.example", "")
            if answer.status_code == 404:  # may repeat the address it was asked for, and only that
                text = text.replace(str(values.get("address", "")).replace(f"{SECRET}.example", ""), "")
            assert SECRET not in text, (method, url)
    assert await snapshot(system, theirs.workspace) == before


async def test_every_page_that_changes_something_refuses_a_wrong_token(
    signed_in: tuple[httpx.AsyncClient, Any], site: Any, system: Connection
) -> None:
    before = await snapshot(system, 1)
    for method, path in _pages(site.app):
        if method in UNSAFE:
            url = re.sub(r"\{(\w+)(?::\w+)?\}", "1", path).replace("/w/1", "/w/main", 1)
            answer = await signed_in[0].request(method, url, data={"csrf": "wrong"})
            assert answer.status_code == 403, (method, url)
    assert await snapshot(system, 1) == before


async def test_a_session_of_somebody_who_lost_the_workspace_opens_it_no_more(
    site: Any, system: Connection, make_account: Any
) -> None:
    account = await make_account("gone@x.example")
    session = await start_session(system, account=account)
    async with site.client(cookies={"thurn-session": session.token}) as client:
        assert (await client.get("/w/main/contacts")).status_code == 200
        await system.execute("DELETE FROM membership WHERE account_id = %s", [account])
        assert (await client.get("/w/main/contacts")).status_code == 404
