"""The JSON API of templates, campaigns, domains and mailboxes."""

import httpx
import pytest

from thurn.db.connect import Connection
from thurn.db.fetch import one, rows

MAIL = {"name": "Hello", "kind": "markdown", "subject": "Hello {{ contact.name }}",
        "source": "Hi {{ contact.name }}. [Leave]({{ unsubscribe_url }})"}  # fmt: skip


async def made(api: httpx.AsyncClient, what: str, **body: object) -> dict[str, object]:
    answer = await api.post(f"/api/v1/{what}", json=body)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, object] = answer.json()
    return found


async def ready(api: httpx.AsyncClient, system: Connection) -> str:
    """A campaign that may be sent, as its address."""
    await made(api, "domains", name="brotzeit.example")
    await system.execute("UPDATE domain SET verified_at = now(), checked_at = now()")
    news = await made(api, "lists", name="News")
    await made(api, "contacts", email="a@x.example", fields={"name": "A"}, lists=[news["id"]])
    template = await made(api, "templates", **MAIL)
    campaign = await made(api, "campaigns", name="C", from_address="hi@brotzeit.example", template_id=template["id"],
                          list_ids=[news["id"]])  # fmt: skip
    return f"/api/v1/campaigns/{campaign['id']}"


async def test_a_template_is_saved_shown_and_previewed(api: httpx.AsyncClient) -> None:
    template = await made(api, "templates", **MAIL)
    where = f"/api/v1/templates/{template['id']}"
    assert template["source"] == MAIL["source"]
    seen = (await api.post(f"{where}/preview", json={"contact": {"name": "<b>Zoë"}})).json()
    assert seen["subject"] == "Hello <b>Zoë"
    assert "&lt;b&gt;Zoë" in seen["html"]
    assert (await api.post("/api/v1/templates", json=MAIL)).status_code == 409
    assert (await api.put(where, json=MAIL | {"name": "Other"})).json()["name"] == "Other"
    listed = (await api.get("/api/v1/templates", params={"limit": 1})).json()
    assert listed["items"][0]["name"] == "Other"
    assert (await api.get("/api/v1/templates", params={"limit": 1, "cursor": listed["next"]})).json()["items"] == []
    assert (await api.delete(where)).status_code == 204
    assert (await api.get(where)).status_code == 404


@pytest.mark.parametrize("source", ["{{ contact.name", "{% if %}", "{% for x in y %}", "   "])
async def test_a_template_that_does_not_compile_is_refused_with_the_reason(
    api: httpx.AsyncClient, system: Connection, source: str
) -> None:
    answer = await api.post("/api/v1/templates", json=MAIL | {"source": source})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "source"
    assert await rows(system, "SELECT 1 FROM template") == []


async def test_a_campaign_that_is_not_ready_is_refused_with_what_to_mend(
    api: httpx.AsyncClient, system: Connection
) -> None:
    campaign = await made(api, "campaigns", name="C", from_address="hi@brotzeit.example")
    where = f"/api/v1/campaigns/{campaign['id']}"
    look = (await api.get(f"{where}/preflight")).json()
    assert look["ready"] is False
    refused = await api.post(f"{where}/send")
    assert refused.status_code == 422
    bad = [finding for finding in refused.json()["findings"] if finding["level"] == "bad"]
    assert len(bad) == 3
    assert all(finding["what"] and finding["fix"] for finding in bad)
    assert (await api.get(where)).json()["state"] == "draft"
    assert await rows(system, "SELECT 1 FROM procrastinate_jobs") == []


async def test_a_campaign_is_sent_paused_resumed_and_cancelled_and_each_may_be_repeated(
    api: httpx.AsyncClient, system: Connection
) -> None:
    where = await ready(api, system)
    assert (await api.get(f"{where}/preflight")).json()["ready"] is True
    for _ in range(2):
        sent = await api.post(f"{where}/send")
        assert (sent.status_code, sent.json()["state"]) == (202, "launching")
    assert (await one(system, "SELECT count(*) AS n FROM procrastinate_jobs"))["n"] == 1
    for verb, state in (("pause", "paused"), ("resume", "launching"), ("cancel", "cancelled")):
        for _ in range(2):
            answer = await api.post(f"{where}/{verb}")
            assert (answer.status_code, answer.json()["state"]) == (200, state)
    for verb in ("send", "pause", "resume"):
        assert (await api.post(f"{where}/{verb}")).status_code == 409
    assert (await api.put(where, json={"name": "New", "from_address": "x@y.example"})).status_code == 409
    progress = (await api.get(f"{where}/progress")).json()
    assert (progress["state"], progress["recipients"], progress["seconds_left"]) == ("cancelled", 0, None)
    report = (await api.get(f"{where}/report")).json()
    assert report["campaign"]["lists"][0]["name"] == "News"
    assert (await api.get("/api/v1/campaigns")).json()["items"][0]["tallies"] == {}


async def test_a_draft_refers_only_to_what_is_there(api: httpx.AsyncClient) -> None:
    draft = {"name": "C", "from_address": "a@x.example", "list_ids": [7], "template_id": 9}
    answer = await api.post("/api/v1/campaigns", json=draft)
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["errors"]] == ["list_ids", "template_id"]
    assert (await api.get("/api/v1/campaigns")).json()["items"] == []


async def test_a_domain_comes_with_its_records_and_is_removed_with_its_mailboxes(
    api: httpx.AsyncClient, system: Connection
) -> None:
    domain = await made(api, "domains", name="Brotzeit.Example")
    assert (domain["name"], domain["verified_at"]) == ("brotzeit.example", None)
    assert (await api.post("/api/v1/domains", json={"name": "brotzeit.example"})).status_code == 409
    assert (await api.post("/api/v1/domains", json={"name": "no domain"})).status_code == 422
    records = (await api.get("/api/v1/domains/brotzeit.example/records")).json()["items"]
    assert {"SPF", "DMARC", "MX"} <= {record["purpose"] for record in records}
    assert "private" not in str(records).lower()
    await made(api, "mailboxes", address="anna@brotzeit.example")
    assert (await api.delete("/api/v1/domains/brotzeit.example")).status_code == 204
    assert await rows(system, "SELECT 1 FROM mailbox") == []
    assert (await api.get("/api/v1/domains")).json() == {"items": [], "next": None}


async def test_a_mailbox_gets_a_password_that_is_shown_once(api: httpx.AsyncClient) -> None:
    await made(api, "domains", name="brotzeit.example")
    mailbox = await made(api, "mailboxes", address="Anna@brotzeit.example", name="Anna")
    assert mailbox["password"]
    where = f"/api/v1/mailboxes/{mailbox['address']}"
    assert "password" not in (await api.get(where)).text
    assert (await api.patch(where, json={"enabled": False})).json()["enabled"] is False
    assert (await api.patch(where, json={"name": "A"})).json()["name"] == "A"
    assert (await api.patch(where, json={"quota_bytes": 1})).status_code == 422
    given = await api.post(f"{where}/password", json={"password": "correct horse battery"})
    assert given.json() == {"password": None}
    alias = await api.post(f"{where}/aliases", json={"address": "info@brotzeit.example"})
    assert alias.json()["aliases"] == ["info@brotzeit.example"]
    assert (await api.delete(f"{where}/aliases/info@brotzeit.example")).status_code == 204
    assert (await api.get("/api/v1/mailboxes")).json()["items"][0]["address"] == "anna@brotzeit.example"
    assert (await api.delete(where)).status_code == 204
    assert (await api.get(where)).status_code == 404
    elsewhere = await api.post("/api/v1/mailboxes", json={"address": "a@elsewhere.example"})
    assert elsewhere.json()["errors"][0]["field"] == "address"
