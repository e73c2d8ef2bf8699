"""A program with an API key, over real HTTP: what it finds, sends and is refused."""

from collections.abc import AsyncIterator

import e2e_house as furniture
import httpx
import pytest
from e2e_house import House

from thurn.simulate import client


@pytest.fixture
async def api(ready: House) -> AsyncIterator[httpx.AsyncClient]:
    """A key of the command line, and a client that has it."""
    made = furniture.thurn(ready.settings, "api-key", "create", "--name", "shop", "--workspace", ready.slug)
    headers = {"Authorization": f"Bearer {made['key']}"}
    async with httpx.AsyncClient(
        base_url=made["url"], headers=headers, timeout=furniture.PATIENCE, trust_env=False
    ) as program:
        yield program


async def test_a_program_adds_contacts_and_sends_them_a_campaign(ready: House, api: httpx.AsyncClient):
    made = (await api.post("/lists", json={"name": "Shop"})).raise_for_status().json()
    readers = [f"plain.{n}.shop@gmail.example" for n in range(3)]
    for reader in readers:
        new = {"email": reader, "fields": {"first_name": "Mia"}, "lists": [made["id"]]}
        assert (await api.post("/contacts", json=new)).status_code == 201
    contacts = (await api.get("/contacts", params={"list": made["id"], "limit": 2})).raise_for_status().json()
    assert [contact["email"] for contact in contacts["items"]] == readers[:0:-1]
    rest = await api.get("/contacts", params={"list": made["id"], "cursor": contacts["next"]})
    assert [contact["email"] for contact in rest.json()["items"]] == readers[:1]

    written = {"name": "Shop", "kind": "markdown", "subject": "Hello", "source": "Hello {{ contact.first_name }}"}
    template = (await api.post("/templates", json=written)).raise_for_status().json()
    draft = {"name": "Shop", "from_address": "shop@elsewhere.example", "template_id": template["id"]}
    campaign = (await api.post("/campaigns", json=draft)).raise_for_status().json()
    refused = await api.post(f"/campaigns/{campaign['id']}/send")
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert (
        sum(finding["level"] == "bad" for finding in refused.json()["findings"]) == 2
    )  # the sender, and nobody to get it

    draft |= {"from_address": "shop@ready.example", "list_ids": [made["id"]]}
    (await api.put(f"/campaigns/{campaign['id']}", json=draft)).raise_for_status()
    assert (await api.post(f"/campaigns/{campaign['id']}/send")).status_code == 202

    async def done() -> dict[str, int] | None:
        progress = (await api.get(f"/campaigns/{campaign['id']}/progress")).raise_for_status().json()
        return progress["tallies"] if progress["state"] == "sent" else None

    tallies = await furniture.eventually("the campaign is sent", done)
    assert (tallies["recipients"], tallies["delivered"]) == (3, 3)
    truth = client.truth(ready.settings, campaign=campaign["id"], expected=readers)
    assert (truth.recipients, truth.missing, truth.duplicates, truth.dkim_pass) == (3, 0, 0, 3), truth.samples


async def test_a_wrong_key_is_refused_with_a_problem_document(ready: House, api: httpx.AsyncClient):
    for wrong in ({"Authorization": "Bearer thurn_wrong"}, {"Authorization": ""}):
        answer = await api.get("/contacts", headers=wrong)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == 401
        assert "WWW-Authenticate" in answer.headers


async def test_the_description_names_every_address_it_serves(api: httpx.AsyncClient):
    described = (await api.get("/openapi.json")).raise_for_status().json()
    assert {"/api/v1/contacts", "/api/v1/campaigns/{campaign_id}/send"} <= set(described["paths"])
