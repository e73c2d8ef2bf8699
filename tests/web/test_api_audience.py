"""The JSON API of contacts, lists, imports and keys."""

import httpx
import pytest

from thurn.accounts.service import create_api_key, revoke_api_key
from thurn.audience.importer import run_import
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.settings import Settings


async def test_without_a_key_or_with_a_wrong_one_nothing_opens(browser: httpx.AsyncClient, system: Connection) -> None:
    number, key = await create_api_key(system, 1, "gone")
    await revoke_api_key(system, number)
    for header in ({}, {"Authorization": "Bearer thurn_x"}, {"Authorization": f"Bearer {key}"}, {"Authorization": key}):
        answer = await browser.get("/api/v1/contacts", headers=header)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_session_cookie_does_not_open_the_api(signed_in: tuple[httpx.AsyncClient, object]) -> None:
    assert (await signed_in[0].get("/api/v1/contacts")).status_code == 401


async def test_a_key_tells_its_workspace_and_notes_its_use(api: httpx.AsyncClient, system: Connection) -> None:
    answer = (await api.get("/api/v1/workspace")).json()
    assert (answer["slug"], answer["members"]) == ("main", [])
    assert (await one(system, "SELECT last_used_at FROM api_key"))["last_used_at"] is not None


async def test_a_key_is_shown_once_and_stored_as_a_hash(api: httpx.AsyncClient, system: Connection) -> None:
    made = await api.post("/api/v1/api-keys", json={"name": "shop"})
    key = made.json()["key"]
    assert made.status_code == 201
    assert key.startswith("thurn_")
    assert key not in (await api.get("/api/v1/api-keys")).text
    found = await system.execute("SELECT * FROM api_key")
    assert key not in str(await found.fetchall())
    assert (await api.get("/api/v1/contacts", headers={"Authorization": f"Bearer {key}"})).status_code == 200
    for _ in range(2):
        assert (await api.delete(f"/api/v1/api-keys/{made.json()['id']}")).status_code == 204
    assert (await api.get("/api/v1/contacts", headers={"Authorization": f"Bearer {key}"})).status_code == 401


async def test_a_contact_is_made_once_and_then_added_to(api: httpx.AsyncClient) -> None:
    news = (await api.post("/api/v1/lists", json={"name": " News  letter "})).json()
    assert news["name"] == "News letter"
    first = await api.post("/api/v1/contacts", json={"email": "A@x.example", "fields": {"name": "A"}})
    second = await api.post(
        "/api/v1/contacts", json={"email": "a@X.example", "fields": {"town": "B"}, "lists": [news["id"]]}
    )
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["fields"] == {"name": "A", "town": "B"}
    assert second.json()["lists"] == [{"id": news["id"], "name": "News letter"}]
    assert second.json()["email"] == "A@x.example"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({}, "email"),
        ({"email": "a@x.example", "fields": {"a b": "c"}}, "fields.a b.[key]"),
        ({"email": "a@x.example", "fields": {"a": "\x00"}}, "fields.a"),
        ({"email": "a@x.example", "fields": {"a": 1}}, "fields.a"),
        ({"email": "a@x.example", "colour": "red"}, "colour"),
        ({"email": "a@x.example", "lists": [0]}, "lists.0"),
    ],
)
async def test_a_value_that_cannot_be_taken_is_named(
    api: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    answer = await api.post("/api/v1/contacts", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in [problem["field"] for problem in answer.json()["errors"]]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"email": "\\ud800@x.example"}', b"null", b"[" * 100_000]
)
async def test_a_body_that_is_no_json_object_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await api.post("/api/v1/contacts", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_contacts_come_in_pages_newest_first(api: httpx.AsyncClient) -> None:
    for n in range(7):
        await api.post("/api/v1/contacts", json={"email": f"p{n}@x.example"})
    seen: list[str] = []
    cursor = None
    for _ in range(4):
        answer = (
            await api.get("/api/v1/contacts", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [contact["email"] for contact in answer["items"]]
        assert answer["total"] == 7
        cursor = answer["next"]
        if cursor is None:
            break
    assert seen == [f"p{n}@x.example" for n in reversed(range(7))]


async def test_search_takes_wildcards_literally(api: httpx.AsyncClient) -> None:
    for address in ("a_b@x.example", "aXb@x.example", "a%b@x.example"):
        await api.post("/api/v1/contacts", json={"email": address})
    for query, expected in (("a_b", 1), ("a%", 1), ("B@X", 3), ("\\", 0), ("'", 0)):
        found = (await api.get("/api/v1/contacts", params={"query": query})).json()
        assert len(found["items"]) == expected, query


@pytest.mark.parametrize("cursor", ["x", "-1", "1" * 30, "١", ""])
async def test_a_cursor_we_did_not_give_is_refused(api: httpx.AsyncClient, cursor: str) -> None:
    assert (await api.get("/api/v1/contacts", params={"cursor": cursor})).status_code == 422


@pytest.mark.parametrize("number", ["0", "-1", "x", "99999999999999999999", "1.5", "9223372036854775807", "%00"])
async def test_a_contact_that_is_not_there_is_not_found(api: httpx.AsyncClient, number: str) -> None:
    answer = await api.get(f"/api/v1/contacts/{number}")
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


async def test_leaving_coming_back_and_deleting(api: httpx.AsyncClient) -> None:
    contact = f"/api/v1/contacts/{(await api.post('/api/v1/contacts', json={'email': 'a@x.example'})).json()['id']}"
    left = (await api.post(f"{contact}/unsubscribe")).json()
    again = (await api.post(f"{contact}/unsubscribe")).json()
    assert left["state"] == "unsubscribed"
    assert left["unsubscribed_at"] == again["unsubscribed_at"]
    assert (await api.post("/api/v1/contacts", json={"email": "a@x.example"})).json()["state"] == "unsubscribed"
    assert (await api.post(f"{contact}/resubscribe")).json()["state"] == "subscribed"
    assert (await api.patch(contact, json={"fields": {"b": "c"}})).json()["fields"] == {"b": "c"}
    assert (await api.get(f"{contact}/events")).json() == {"items": []}
    assert (await api.delete(contact)).status_code == 204
    assert (await api.delete(contact)).status_code == 404


async def test_lists_hold_contacts_and_names_are_unique(api: httpx.AsyncClient) -> None:
    one_id = (await api.post("/api/v1/contacts", json={"email": "a@x.example"})).json()["id"]
    news = (await api.post("/api/v1/lists", json={"name": "News"})).json()
    assert (await api.post("/api/v1/lists", json={"name": "News"})).status_code == 409
    other = (await api.post("/api/v1/lists", json={"name": "Other"})).json()
    assert (await api.patch(f"/api/v1/lists/{other['id']}", json={"name": "News"})).status_code == 409
    members = f"/api/v1/lists/{news['id']}/contacts"
    assert (await api.post(members, json={"contacts": [one_id, 999]})).json() == {"added": 1}
    assert (await api.post(members, json={"contacts": [one_id]})).json() == {"added": 0}
    assert (await api.get(f"/api/v1/lists/{news['id']}")).json()["contacts"] == 1
    assert len((await api.get("/api/v1/contacts", params={"list": news["id"]})).json()["items"]) == 1
    assert (await api.get("/api/v1/contacts", params={"list": 999})).status_code == 404
    for _ in range(2):
        assert (await api.delete(f"{members}/{one_id}")).status_code == 204
    assert (await api.delete(f"/api/v1/lists/{news['id']}")).status_code == 204
    assert [item["name"] for item in (await api.get("/api/v1/lists")).json()["items"]] == ["Other"]


async def test_an_uploaded_file_is_imported_and_its_refused_rows_can_be_fetched(
    api: httpx.AsyncClient, clean: Settings, system: Connection
) -> None:
    news = (await api.post("/api/v1/lists", json={"name": "News"})).json()["id"]
    file = b"email,name\na@x.example,A\nbroken,B\nb@x.example\n"
    started = await api.post(
        "/api/v1/imports", files={"file": ("../../etc/passwd", file, "text/csv")}, data={"list_id": str(news)}
    )
    assert started.status_code == 202
    where = f"/api/v1/imports/{started.json()['id']}"
    assert (await one(system, "SELECT task_name FROM procrastinate_jobs"))["task_name"] == "thurn:import_contacts"
    path = (await one(system, "SELECT path FROM contact_import"))["path"]
    assert path.startswith(str(clean.state / "uploads"))
    await run_import(clean, import_id=started.json()["id"], workspace=1)
    done = (await api.get(where)).json()
    assert (done["state"], done["rows_added"], done["rows_refused"], done["list"]) == ("done", 1, 2, "News")
    rejects = (await api.get(f"{where}/rejects", params={"limit": 1})).json()
    assert rejects["items"][0]["row_number"] == 3
    assert (await api.get(f"{where}/rejects", params={"cursor": rejects["next"]})).json()["items"][0][
        "raw"
    ] == "b@x.example"
    download = await api.get(f"{where}/rejects.csv")
    assert download.headers["content-type"].startswith("text/csv")
    assert download.text.count("\r\n") == 3
    assert (await api.post(f"{where}/cancel")).status_code == 409
    assert [item["id"] for item in (await api.get("/api/v1/imports")).json()["items"]] == [done["id"]]


async def test_an_import_onto_a_list_that_is_not_there_leaves_no_file(api: httpx.AsyncClient, clean: Settings) -> None:
    uploads = clean.state / "uploads"
    before = set(uploads.glob("*.csv")) if uploads.exists() else set()
    answer = await api.post("/api/v1/imports", files={"file": b"email\n"}, data={"list_id": "77"})
    assert answer.status_code == 404
    assert set(uploads.glob("*.csv")) == before


async def test_a_waiting_import_can_be_cancelled_twice(api: httpx.AsyncClient, clean: Settings) -> None:
    number = (await api.post("/api/v1/imports", files={"file": b"email\na@x.example\n"})).json()["id"]
    for _ in range(2):
        assert (await api.post(f"/api/v1/imports/{number}/cancel")).json()["state"] == "cancelled"
    await run_import(clean, import_id=number, workspace=1)
    assert (await api.get("/api/v1/contacts")).json()["items"] == []
