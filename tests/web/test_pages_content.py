"""The pages for templates, in a real application with a real database."""

import html
import re

import httpx
import pytest
from page_check import csrf_of

from tests.web.conftest import Site
from thurn.accounts.sessions import SignedInAs
from thurn.content import service
from thurn.db.connect import Connection

Signed = tuple[httpx.AsyncClient, SignedInAs]
T = "/w/main/templates"
HOSTILE = "\"><script>alert(1)</script>' ‮אבג" + "W" * 60


def clean_page(answer: httpx.Response) -> str:
    """The body of a page that keeps the policy: nothing inline."""
    body = answer.text
    assert not re.search(r"<script(?![^>]*\ssrc=)", body), "an inline script"
    assert not re.search(r'<[^>]*\sstyle="', body), "an inline style"
    assert not re.search(r'<[^>]*\son[a-z]+="', body), "an inline handler"
    assert "<style" not in body
    return body


def form(client_page: str, **values: str) -> dict[str, str]:
    return {"csrf": csrf_of(client_page), "name": "N", "kind": "markdown", "subject": "S", "source": "Hello", **values}


async def test_the_empty_page_offers_a_start(signed_in: Signed) -> None:
    client, _ = signed_in
    page = clean_page(await client.get(T))
    assert f'href="{T}/new?start=markdown"' in page
    for start in ("markdown", "html"):
        editor = clean_page(await client.get(f"{T}/new", params={"start": start}))
        assert "Good morning {{ contact.first_name" in html.unescape(editor)
        token = re.search(rf'src="({T}/preview/[^"]+)"', editor)
        assert token is not None
        framed = await client.get(token[1])
        assert "Good morning Theresa" in framed.text


async def test_a_template_is_written_changed_and_deleted(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    page = (await client.get(f"{T}/new")).text
    made = await client.post(
        f"{T}/new", data=form(page, name="  Autumn  letter ", source="# Hi\r\n\r\n{{ contact.email }}")
    )
    assert made.status_code == 303
    editor = clean_page(await client.get(made.headers["location"]))
    assert "Autumn letter" in editor
    where = made.headers["location"].partition("?")[0]
    changed = await client.post(where, data=form(editor, name="Winter", kind="html", source="<p>x</p>"))
    assert changed.status_code == 303
    row = await service.get_template(system, 1)
    assert (row["name"], row["kind"], row["source"]) == ("Winter", "html", "<p>x</p>")
    assert "Winter" in clean_page(await client.get(T))
    assert "?ask=delete" in editor
    assert (await client.post(f"{where}/delete", data={"csrf": csrf_of(editor)})).status_code == 303
    assert (await client.get(where)).status_code == 404


async def test_a_template_that_does_not_compile_is_not_saved_and_names_the_line(signed_in: Signed) -> None:
    client, _ = signed_in
    page = (await client.get(f"{T}/new")).text
    refused = await client.post(f"{T}/new", data=form(page, source="one\ntwo {{ contact.a | shout }}\nthree"))
    assert refused.status_code == 422
    body = html.unescape(clean_page(refused))
    assert "Line 2: There is no filter “shout”" in body
    assert "two {{ contact.a | shout }}" in body
    assert await _count(client) == 0


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({"name": " "}, 422, "Give the template a name"),
        ({"name": "x" * 121}, 422, "120 characters"),
        ({"subject": ""}, 422, "Write a subject"),
        ({"subject": "{{ nope }}"}, 422, "In the subject"),
        ({"source": " \n"}, 422, "The mail is empty"),
        ({"name": "Taken"}, 409, "called “Taken” already"),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(
    signed_in: Signed, system: Connection, values: dict[str, str], status: int, words: str
) -> None:
    client, _ = signed_in
    await service.create_template(system, 1, name="Taken", kind="html", subject="S", source="x")
    page = (await client.get(f"{T}/new")).text
    refused = await client.post(f"{T}/new", data=form(page, **values))
    assert refused.status_code == status
    body = html.unescape(clean_page(refused))
    assert words in body
    assert 'aria-invalid="true"' in body


async def test_a_preview_is_a_document_that_can_do_nothing(signed_in: Signed) -> None:
    client, _ = signed_in
    page = (await client.get(f"{T}/new")).text
    source = '<p style="color:red">{{ contact.email }}</p><script>alert(1)</script><a href="https://a.example/">x</a>'
    answer = await client.post(
        f"{T}/preview", data=form(page, kind="html", source=source), headers={"HX-Request": "true"}
    )
    body = clean_page(answer)
    assert "<html" not in body
    token = re.search(rf'src="({T}/preview/[^"]+)" sandbox', body)
    assert token is not None
    framed = await client.get(token[1])
    policy = framed.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script" not in policy
    assert framed.headers["x-frame-options"] == "SAMEORIGIN"
    assert 'style="color: red;?' in framed.text or 'style="color:red"' in framed.text
    assert 'href="https://a.example/"' in framed.text
    assert (await client.get(f"{T}/preview/..%2f..%2fthurn.toml")).status_code == 404
    assert (await client.get(f"{T}/preview/AAAA")).status_code == 404


async def test_only_the_newest_previews_are_kept(signed_in: Signed, site: Site) -> None:
    client, _ = signed_in
    page = (await client.get(f"{T}/new")).text
    for n in range(8):
        await client.post(f"{T}/preview", data=form(page, source=f"{n}"), headers={"HX-Request": "true"})
    assert len(list((site.app.state.settings.state / "uploads" / "previews").glob("1-*.html"))) <= 4


async def test_hostile_names_show_as_they_are(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    name = HOSTILE[:120]
    template = await service.create_template(system, 1, name=name, kind="html", subject=HOSTILE, source=HOSTILE)
    for path in (T, f"{T}/{template}", f"{T}?q={HOSTILE[:30]}", f"{T}/{template}?ask=delete"):
        page = clean_page(await client.get(path))
        assert "<script>alert" not in page
        assert name in html.unescape(page)


async def test_pages_are_turned_by_key_in_both_directions(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    for n in range(60):
        await service.create_template(system, 1, name=f"T{n:02}", kind="html", subject="S", source="x")

    async def names(path: str) -> tuple[list[str], str]:
        page = clean_page(await client.get(path))
        return re.findall(r">(T\d\d)</a>", page), page

    def link(page: str, word: str) -> str:
        found = re.search(rf'<a class="btn btn-sm" href="([^"]+)">(?:<svg.*?</svg>)?{word}', page)
        assert found is not None
        return html.unescape(found[1])

    first, page = await names(T)
    assert first == [f"T{n:02}" for n in range(59, 34, -1)]
    second, page = await names(link(page, "Older"))
    assert second == [f"T{n:02}" for n in range(34, 9, -1)]
    third, page = await names(link(page, "Older"))
    assert third == [f"T{n:02}" for n in range(9, -1, -1)]
    assert (await names(link(page, "Newer")))[0] == second
    again, page = await names(link((await names(link(page, "Newer")))[1], "Newer"))
    assert again == first
    assert "disabled>" in page
    found, _ = await names(f"{T}?q=T5")
    assert found == [f"T{n}" for n in range(59, 49, -1)]
    rows = await client.get(f"{T}?q=T59", headers={"HX-Request": "true"})
    assert "<html" not in rows.text
    assert "T59" in rows.text


async def test_another_workspace_is_not_there(signed_in: Signed, system: Connection, other_workspace: int) -> None:
    client, _ = signed_in
    theirs = await service.create_template(system, other_workspace, name="Theirs", kind="html", subject="S", source="x")
    page = (await client.get(f"{T}/new")).text
    for path in (f"{T}/{theirs}", f"{T}/{theirs}/mail", f"{T}/999", f"{T}/abc", "/w/other/templates"):
        assert (await client.get(path)).status_code == 404, path
    for path in (f"{T}/{theirs}", f"{T}/{theirs}/delete"):
        assert (await client.post(path, data=form(page))).status_code == 404, path
    assert "Theirs" not in (await client.get(T)).text
    assert (await service.get_template(system, theirs))["name"] == "Theirs"


async def test_nothing_changes_without_the_token_or_by_a_viewer(
    site: Site, signed_in: Signed, system: Connection
) -> None:
    client, _ = signed_in
    assert (await client.post(f"{T}/new", data={"name": "x", "subject": "s", "source": "x"})).status_code == 403
    async with site.client() as stranger:
        answer = await stranger.get(T)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={T}")


async def _count(client: httpx.AsyncClient) -> int:
    return len(re.findall(r'<a class="main"', (await client.get(T)).text))
