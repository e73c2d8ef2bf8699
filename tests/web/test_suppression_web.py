"""The suppression list on pages and in the API."""

import re

import httpx
import pytest

from tests.web.conftest import Site
from tests.web.page_check import check, csrf_of
from thurn.accounts.service import create_api_key
from thurn.accounts.sessions import SignedInAs
from thurn.audience import service, suppression
from thurn.audience.suppression import Found
from thurn.db.connect import Connection
from thurn.db.fetch import one

Signed = tuple[httpx.AsyncClient, SignedInAs]
S = "/w/main/suppression"
HOSTILE = "<script>alert(1)</script>\"'{{7*7}}"


async def looked(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    check(answer.text)
    return answer.text


async def sent(client: httpx.AsyncClient, path: str, status: int = 303, **fields: str) -> str:
    token = csrf_of((await client.get("/w/main/suppression/add")).text)
    answer = await client.post(path, data={"csrf": token, **fields})
    assert answer.status_code == status, answer.text
    if status != 303:
        check(answer.text)
    return answer.text if status != 303 else answer.headers["location"]


@pytest.mark.parametrize("home", [S, "/house/suppression"])
async def test_an_address_is_added_looked_at_and_taken_off(signed_in: Signed, system: Connection, home: str) -> None:
    client, _ = signed_in
    assert "Nobody is suppressed" in await looked(client, home)
    assert await sent(client, f"{home}/add", address="Ann@X.example", note=HOSTILE, days="90") == f"{home}?done=added"
    table = await looked(client, f"{home}?done=added")
    assert "ann@x.example" in table
    row = await one(system, "SELECT id, workspace_id, expires_at FROM suppression")
    assert (row["workspace_id"], row["expires_at"] is None) == (1 if home == S else None, False)
    entry = await looked(client, f"{home}/{row['id']}?ask=remove")
    assert "anna@brotzeit.example" in entry
    assert "<script>alert" not in entry
    assert "Nothing here" not in await looked(client, f"{home}?q=ann&reason=manual")
    assert "No suppressed address holds “zzz”" in await looked(client, f"{home}?q=zzz")
    exported = await client.get(f"{home}/export.csv")
    assert exported.text.startswith("\ufeffemail,reason")
    assert "ann@x.example,manual" in exported.text
    assert await sent(client, f"{home}/{row['id']}/remove", note="they asked") == f"{home}?done=removed"
    await looked(client, f"{home}/{row['id']}", 404)
    assert (await one(system, "SELECT count(*) AS n FROM suppression_change"))["n"] == 2


async def test_what_is_no_address_comes_back_with_the_reason(signed_in: Signed) -> None:
    page = await sent(signed_in[0], f"{S}/add", 422, address="nobody", note=HOSTILE)
    assert "aria-invalid" in page
    assert "<script>alert" not in page


async def test_a_file_is_imported_and_what_was_refused_is_told(signed_in: Signed, system: Connection) -> None:
    client, session = signed_in
    data = f"email,reason\na@x.example,complaint\nb@x.example,blocked\n{HOSTILE},bounce\n"
    for file, status in (({"file": ("x.csv", data.encode())}, 200), ({"file": ("x.csv", b"PK\x03\x04")}, 422),
                         (None, 422)):  # fmt: skip
        answer = await client.post(f"{S}/import", data={"csrf": session.csrf, "reason": "bounce"}, files=file)
        assert answer.status_code == status
        check(answer.text)
        assert "<script>alert" not in answer.text
        if status == 200:
            assert "aimed at the sender" in answer.text
    assert (await one(system, "SELECT string_agg(address, ' ') AS all FROM suppression"))["all"] == "a@x.example"


async def test_each_reason_says_what_undoing_means_and_the_contact_leads_there(
    signed_in: Signed, system: Connection
) -> None:
    client, _ = signed_in
    words = {"bounce": "bounces and the address comes back", "complaint": "next complaint counts",
             "soft-bounces": "only a new pattern", "unsubscribed": "asked for no more campaigns"}  # fmt: skip
    for reason, word in words.items():
        contact, _ = await service.save_contact(system, 1, email=f"{reason}@x.example", fields={})
        await suppression.suppress(
            system,
            Found(1, f"{reason}@x.example", reason, "550 <b>no</b>", source="log"),  # type: ignore[arg-type]
        )
        page = await looked(client, f"/w/main/contacts/{contact}")
        link = re.search(rf'href="({S}/\d+)"', page)
        assert link is not None
        entry = await looked(client, link[1])
        assert word in entry
        assert "<b>no</b>" not in entry


async def test_only_who_runs_the_installation_bars_everybody(
    site: Site, system: Connection, other_workspace: int
) -> None:
    _, key = await create_api_key(system, other_workspace, "theirs")
    async with site.client(headers={"Authorization": f"Bearer {key}"}) as client:
        asked = [
            await client.get("/api/v1/suppression?everywhere=true"),
            await client.post("/api/v1/suppression", json={"address": "a@x.example", "everywhere": True}),
            await client.post("/api/v1/suppression/import?everywhere=true", files={"file": b"a@x.example"}),
            await client.delete("/api/v1/suppression/1?everywhere=true"),
        ]
    assert [answer.status_code for answer in asked] == [403] * 4
    assert (await one(system, "SELECT count(*) AS n FROM suppression"))["n"] == 0


async def test_the_api_does_what_the_pages_do(api: httpx.AsyncClient, system: Connection) -> None:
    made = await api.post("/api/v1/suppression", json={"address": "Ann@x.example", "note": "asked", "days": 30})
    again = await api.post("/api/v1/suppression", json={"address": "ann@x.example", "days": 10})
    assert (made.status_code, again.status_code) == (201, 200)
    number = made.json()["id"]
    assert again.json()["id"] == number
    everywhere = await api.post("/api/v1/suppression", json={"address": "all@x.example", "everywhere": True})
    assert (everywhere.json()["everywhere"], everywhere.status_code) == (True, 201)
    loaded = await api.post("/api/v1/suppression/import", files={"file": b"b@x.example\nno"}, data={"reason": "bounce"})
    assert (loaded.json()["added"], loaded.json()["refused"][0]["line"]) == (1, 2)
    found = (await api.get("/api/v1/suppression?limit=1")).json()
    assert ([i["address"] for i in found["items"]], found["total"]) == (["b@x.example"], 2)
    found = (await api.get(f"/api/v1/suppression?limit=1&cursor={found['next']}")).json()
    assert ([i["address"] for i in found["items"]], found["next"]) == (["ann@x.example"], None)
    assert (await api.get("/api/v1/suppression?everywhere=true")).json()["total"] == 1
    assert "b@x.example" in (await api.get("/api/v1/suppression/export.csv")).text
    history = (await api.get(f"/api/v1/suppression/{number}/history")).json()["items"]
    assert [h["action"] for h in history] == ["added"]
    assert (await api.delete(f"/api/v1/suppression/{number}?note=x")).status_code == 204
    assert (await api.delete(f"/api/v1/suppression/{number}")).status_code == 404
    for wrong in ({"address": "x"}, {"address": "no address"}, {"address": "a@x.example", "reason": "because"},
                  {"address": "a@x.example", "days": 0}):  # fmt: skip
        assert (await api.post("/api/v1/suppression", json=wrong)).status_code == 422
