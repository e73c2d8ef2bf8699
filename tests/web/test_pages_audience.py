"""The pages for contacts, lists and imports, in a real application with a real database."""

import html
import re
from datetime import UTC, datetime

import httpx
import pytest
from page_check import csrf_of
from psycopg.types.json import Jsonb

from tests.web.conftest import Site
from tests.web.test_pages_content import HOSTILE, clean_page
from thurn.accounts.sessions import SignedInAs
from thurn.audience import service
from thurn.audience.importer import run_import
from thurn.audience.people import by_day, label, name_of
from thurn.db.connect import Connection

Signed = tuple[httpx.AsyncClient, SignedInAs]
C = "/w/main/contacts"


async def add(db: Connection, n: int, workspace: int = 1, **fields: str) -> int:
    return (await service.save_contact(db, workspace, email=f"p{n:03}@post.example", fields=fields))[0]


async def token(client: httpx.AsyncClient) -> str:
    return csrf_of((await client.get(f"{C}/new")).text)


async def test_empty_pages_say_what_to_do(signed_in: Signed) -> None:
    client, _ = signed_in
    assert f'href="{C}/import"' in clean_page(await client.get(C))
    assert "No list yet" in clean_page(await client.get(f"{C}/lists"))
    assert "Nothing was imported yet" in clean_page(await client.get(f"{C}/imports"))
    assert 'type="file"' in clean_page(await client.get(f"{C}/import"))


async def test_contacts_are_paged_searched_and_filtered(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    ids = [await add(system, n) for n in range(60)]
    some = await service.ensure_list(system, 1, "Some")
    await service.add_to_list(system, 1, some, ids[:3])

    async def people(path: str) -> tuple[list[int], str]:
        page = clean_page(await client.get(path))
        return [int(n) for n in re.findall(r">p(\d+)@post\.example</a>", page)], page

    def link(page: str, word: str) -> str:
        found = re.search(rf'<a class="btn btn-sm" href="([^"]+)">(?:<svg.*?</svg>)?{word}', page)
        assert found is not None
        return html.unescape(found[1])

    first, page = await people(C)
    assert first == list(range(59, 34, -1))
    second, page = await people(link(page, "Older"))
    assert second == list(range(34, 9, -1))
    assert (await people(link(page, "Newer")))[0] == first
    assert (await people(f"{C}?q=P05"))[0] == list(range(59, 49, -1))
    assert (await people(f"{C}?list={some}"))[0] == [2, 1, 0]
    nobody = (await people(f"{C}?q=nobody&list={some}"))[1]
    assert "Nobody on “Some” has “nobody” in the address" in nobody
    assert "Search every list" in nobody
    fragment = await client.get(f"{C}?q=p059", headers={"HX-Request": "true"})
    assert "<html" not in fragment.text
    assert "p059@post.example" in fragment.text


async def test_a_contact_shows_its_state_with_the_reason(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    plain, left, dead = [await add(system, n, first_name="Eva", last_name="Öz") for n in range(3)]
    await service.unsubscribe(system, left)
    await system.execute(
        "INSERT INTO suppression (workspace_id, address, reason) VALUES (1, 'p002@post.example', 'bounce')"
    )
    table = clean_page(await client.get(C))
    assert [table.count(f"</svg>{word}<") for word in ("Subscribed", "Left", "Suppressed")] == [1, 1, 1]
    assert "The address is dead" in table
    for contact, words in (
        (plain, "Nothing yet"),
        (left, "Subscribe again"),
        (dead, "Nothing is sent to this address"),
    ):
        page = clean_page(await client.get(f"{C}/{contact}"))
        assert words in page
        assert "Eva Öz" in page


async def test_the_timeline_tells_people_and_machines_apart(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    contact = await add(system, 1)
    await system.execute(
        "INSERT INTO campaign (workspace_id, name, from_address) VALUES (1, 'Autumn <b>', 'news@brotzeit.example')"
    )
    for kind, actor, detail in (
        ("handed_over", "", {}),
        ("deferred", "", {"reply": "450 4.7.1 <greylisted>"}),
        ("delivered", "", {}),
        ("opened", "machine", {}),
        ("opened", "human", {}),
        ("clicked", "human", {"link": 1}),
        ("bounced", "", {"hard": False, "reply": "552 5.2.2 full"}),
        ("unsubscribed", "human", {}),
        ("something_new", "", {}),
    ):
        await system.execute(
            """INSERT INTO event (at, workspace_id, campaign_id, delivery_id, contact_id, kind, actor, detail)
               VALUES (now(), 1, 1, 1, %s, %s, %s, %s)""",
            [contact, kind, actor, Jsonb(detail)],
        )
    page = clean_page(await client.get(f"{C}/{contact}"))
    assert page.count('<li class="stop ') == 9
    assert page.count("stop machine") == 1
    assert "450 4.7.1 &lt;greylisted&gt;" in page
    assert "The address is not to blame" in page
    assert "Autumn &lt;b&gt;" in page


async def test_a_contact_is_added_unsubscribed_subscribed_and_deleted(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    some = await service.ensure_list(system, 1, "Some")
    csrf = await token(client)
    form = {"csrf": csrf, "email": "Eva@Post.Example", "first_name": "Eva", "last_name": "", "list_ids": str(some)}
    made = await client.post(f"{C}/new", data=form)
    assert made.status_code == 303
    where = made.headers["location"]
    row = await service.get_contact(system, int(where.rpartition("/")[2]))
    assert (row["email"], row["fields"], [one["name"] for one in row["lists"]]) == (
        "Eva@post.example",
        {"first_name": "Eva"},
        ["Some"],
    )
    assert (await client.post(f"{where}/unsubscribe", data={"csrf": csrf})).status_code == 303
    assert (await service.get_contact(system, row["id"]))["state"] == "unsubscribed"
    assert (await client.post(f"{where}/subscribe", data={"csrf": csrf})).status_code == 303
    assert (await service.get_contact(system, row["id"]))["state"] == "subscribed"
    assert (await client.post(f"{where}/delete", data={"csrf": csrf})).status_code == 303
    assert (await client.get(where)).status_code == 404
    refused = await client.post(f"{C}/new", data={**form, "email": "eva@"})
    assert refused.status_code == 422
    assert 'aria-invalid="true"' in clean_page(refused)


async def test_lists_are_made_renamed_and_deleted(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    csrf = await token(client)
    assert (await client.post(f"{C}/lists", data={"csrf": csrf, "name": "A"})).status_code == 303
    assert (await client.post(f"{C}/lists", data={"csrf": csrf, "name": HOSTILE})).status_code == 303
    taken = await client.post(f"{C}/lists", data={"csrf": csrf, "name": "A"})
    assert taken.status_code == 409
    assert "There is a list “A” already" in clean_page(taken)
    assert (await client.post(f"{C}/lists", data={"csrf": csrf, "name": " "})).status_code == 422
    page = clean_page(await client.get(f"{C}/lists"))
    assert html.escape(HOSTILE) in page.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
    rows = {row["name"]: row["id"] for row in await service.lists(system)}
    one = f"{C}/lists/{rows['A']}"
    assert "Nobody is on it" in clean_page(await client.get(one))
    assert (await client.post(one, data={"csrf": csrf, "name": HOSTILE})).status_code == 409
    assert (await client.post(one, data={"csrf": csrf, "name": "B"})).status_code == 303
    assert (await client.post(f"{one}/delete", data={"csrf": csrf})).status_code == 303
    assert (await client.get(one)).status_code == 404


async def test_a_file_is_imported_and_what_was_refused_comes_back(
    signed_in: Signed, site: Site, system: Connection
) -> None:
    client, _ = signed_in
    csrf = await token(client)
    content = "email,First Name\neva@post.example,Eva\nnot an address,X\neva@post.example,again\n=1+1,formula\n"
    answer = await client.post(
        f"{C}/import",
        data={"csrf": csrf, "new_list": "Newcomers"},
        files={"file": (HOSTILE, content.encode(), "text/csv")},
    )
    assert answer.status_code == 303, answer.text
    where = answer.headers["location"]
    waiting = clean_page(await client.get(where))
    assert "Waiting for its turn" in waiting
    assert 'hx-trigger="every 1s"' in waiting
    number = int(where.rpartition("/")[2])
    await run_import(site.app.state.settings, import_id=number, workspace=1)
    done = clean_page(await client.get(where))
    assert "hx-trigger" not in done
    assert "Imported to “Newcomers”" in done
    assert "not an address" in done
    fragment = await client.get(where, headers={"HX-Request": "true"})
    assert "<html" not in fragment.text
    file = await client.get(f"{where}/refused.csv")
    assert file.headers["content-type"].startswith("text/csv")
    assert file.text.count("\n") == 4
    assert "'=1+1" in file.text
    assert [row["email"] for row in (await service.contact_page(system)).items] == ["eva@post.example"]
    listed = clean_page(await client.get(f"{C}/imports"))
    assert "Imported" in listed
    assert "<script>alert" not in listed


@pytest.mark.parametrize(
    ("values", "file", "words"),
    [
        ({"new_list": "A"}, None, "Choose a file first"),
        ({"new_list": "A"}, b"", "is empty"),
        ({}, b"email\nx@y.example\n", "Choose a list, or give a new one a name"),
        ({"list_id": "999"}, b"email\nx@y.example\n", "There is no such list"),
        ({"list_id": "x"}, b"email\nx@y.example\n", "That list is gone"),
        ({"new_list": "x" * 201}, b"email\nx@y.example\n", "1 to 200 characters"),
    ],
)
async def test_an_import_that_cannot_start_says_why(
    signed_in: Signed, site: Site, values: dict[str, str], file: bytes | None, words: str
) -> None:
    client, _ = signed_in
    uploads = site.app.state.settings.state / "uploads"
    before = set(uploads.glob("*.csv"))
    data = {"csrf": await token(client), **values}
    files = {"file": ("a.csv", file, "text/csv")} if file is not None else {"file": ("", b"", "text/csv")}
    refused = await client.post(f"{C}/import", data=data, files=files)
    assert refused.status_code == 422
    assert words in clean_page(refused)
    assert set(uploads.glob("*.csv")) == before


async def test_an_import_can_be_stopped(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    csrf = await token(client)
    files = {"file": ("a.csv", b"email\nx@y.example\n", "text/csv")}
    where = (await client.post(f"{C}/import", data={"csrf": csrf, "new_list": "A"}, files=files)).headers["location"]
    for _ in range(2):
        assert (await client.post(f"{where}/cancel", data={"csrf": csrf})).status_code == 303
    assert "Stopped by you" in clean_page(await client.get(where))


async def test_a_file_that_is_no_list_of_contacts_fails_with_the_reason(signed_in: Signed, site: Site) -> None:
    client, _ = signed_in
    files = {"file": ("photo.csv", bytes(range(256)) * 40, "text/csv")}
    data = {"csrf": await token(client), "new_list": "A"}
    where = (await client.post(f"{C}/import", data=data, files=files)).headers["location"]
    await run_import(site.app.state.settings, import_id=int(where.rpartition("/")[2]), workspace=1)
    page = clean_page(await client.get(where))
    assert "Put it right and import it again" in page


async def test_hostile_values_show_as_they_are(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    contact = await add(system, 1, first_name=HOSTILE, other=HOSTILE)
    for path in (C, f"{C}/{contact}", f"{C}?q={HOSTILE[:40]}", f"{C}/{contact}?ask=delete"):
        page = clean_page(await client.get(path))
        assert "<script>alert" not in page
        assert "alert(1)" in page


async def test_another_workspace_is_not_there(signed_in: Signed, system: Connection, other_workspace: int) -> None:
    client, _ = signed_in
    csrf = await token(client)
    theirs = await add(system, 7, other_workspace)
    list_id = await service.ensure_list(system, other_workspace, "Theirs")
    await system.execute(
        "INSERT INTO contact_import (workspace_id, list_id, filename, path) VALUES (%s, %s, 'theirs.csv', '/x')",
        [other_workspace, list_id],
    )
    for path in (f"{theirs}", f"lists/{list_id}", "import/1", "import/1/refused.csv", "abc", "99999999999999999999"):
        assert (await client.get(f"{C}/{path}")).status_code in (404, 422), path
    for path in (
        f"{theirs}/delete",
        f"{theirs}/unsubscribe",
        f"lists/{list_id}",
        f"lists/{list_id}/delete",
        "import/1/cancel",
    ):
        assert (await client.post(f"{C}/{path}", data={"csrf": csrf, "name": "x"})).status_code == 404, path
    for path in (C, f"{C}/lists", f"{C}/imports", f"{C}?list={list_id}", f"{C}?q=p007"):
        page = (await client.get(path)).text
        assert "p007@post" not in page.replace('value="p007', "")
        assert "heirs" not in page
    form = {"csrf": csrf, "email": "x@y.example", "list_ids": str(list_id)}
    assert (await client.post(f"{C}/new", data=form)).status_code == 404
    assert (await service.get_contact(system, theirs))["state"] == "subscribed"


async def test_nothing_changes_without_the_token(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    contact = await add(system, 1)
    for path in ("new", "lists", "import", f"{contact}/delete", f"{contact}/unsubscribe"):
        assert (await client.post(f"{C}/{path}", data={"email": "x@y.example", "name": "x"})).status_code == 403, path


def test_a_name_is_put_together_from_what_is_there() -> None:
    assert name_of({"first_name": "Eva", "last_name": "Öz"}) == "Eva Öz"
    assert name_of({"vorname": " Eva "}) == "Eva"
    assert name_of({"name": "Eva Öz"}) == "Eva Öz"
    assert name_of({"city": "Regensburg"}) == ""
    assert label("favourite_shop") == "Favourite shop"


def test_events_are_grouped_by_day() -> None:
    event = {"kind": "delivered", "actor": "", "detail": {}, "campaign": None, "campaign_id": 5}
    days = by_day([{**event, "at": datetime(2026, 11, day, 12, tzinfo=UTC)} for day in (23, 23, 10)])
    assert [len(stops) for _, stops in days] == [2, 1]
    assert days[0][1][0].campaign == "a deleted campaign"
