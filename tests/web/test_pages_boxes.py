"""Pages of aliases, forwards and many mailboxes at once."""

import re
from typing import Any

import httpx
import pytest
from page_check import check

from thurn.db.connect import Connection
from thurn.mailhost import mailboxes, service
from thurn.settings import Settings

ANNA = "anna@brotzeit.example"


@pytest.fixture
async def house(system: Connection, clean: Settings) -> None:
    for name in ("brotzeit.example", "brot.example"):
        await service.add_domain(system, 1, name=name, settings=clean)
    await service.add_mailbox(system, 1, address=ANNA, name="Anna")


async def _post(browser: httpx.AsyncClient, csrf: str, path: str, **form: str) -> httpx.Response:
    return await browser.post(f"/w/main/mailboxes{path}", data={"csrf": csrf, **form})


@pytest.mark.usefixtures("house")
async def test_aliases_forwards_and_copies_are_added_shown_and_removed(signed_in: Any) -> None:
    browser, csrf = signed_in[0], signed_in[1].csrf
    for path in ("/aliases", "/forwards", "/import", f"/{ANNA}"):
        check((await browser.get(f"/w/main/mailboxes{path}")).text)
    team = {"address": "team@brotzeit.example", "target": ANNA}
    assert (await _post(browser, csrf, "/aliases", **team)).status_code == 303
    assert (await _post(browser, csrf, "/aliases", **team)).status_code == 409
    assert (await _post(browser, csrf, "/aliases", address="@brotzeit.example", target="x")).status_code == 422
    domain = {"domain": "brot.example", "to": "brotzeit.example"}
    assert (await _post(browser, csrf, "/aliases/domain", **domain)).status_code == 303
    shown = check((await browser.get("/w/main/mailboxes/aliases")).text).words()
    assert "team@brotzeit.example" in shown
    assert "is brotzeit.example" in shown
    assert (await _post(browser, csrf, "/aliases/remove", **team)).status_code == 303
    assert (
        await _post(browser, csrf, f"/{ANNA}/forward", targets="x@far.example\nnonsense", keep="1")
    ).status_code == 422
    assert (await _post(browser, csrf, f"/{ANNA}/forward", targets="x@far.example", keep="1")).status_code == 303
    copy = {"direction": "sent", "address": ANNA, "copy_to": "archive@far.example"}
    assert (await _post(browser, csrf, "/forwards/copies", **copy)).status_code == 422
    assert (await _post(browser, csrf, "/forwards/copies", **copy, outside="1")).status_code == 303
    page = (await browser.get("/w/main/mailboxes/forwards")).text
    assert "x@far.example" in check(page).words()
    number = re.search(r'name="number" value="(\d+)"', page)
    assert number is not None
    assert (await _post(browser, csrf, "/forwards/copies/remove", number=number[1])).status_code == 303
    assert (await _post(browser, csrf, f"/{ANNA}/send-as", sender="news@brotzeit.example")).status_code == 303
    made = await _post(browser, csrf, f"/{ANNA}/app-passwords", device="<b>Phone")
    assert made.status_code == 201
    assert "<b>Phone" not in made.text
    check(made.text)
    check((await browser.get(f"/w/main/mailboxes/{ANNA}")).text)


@pytest.mark.usefixtures("house")
async def test_a_file_is_looked_through_made_once_and_gone(signed_in: Any, system: Connection, clean: Settings) -> None:
    browser, csrf = signed_in[0], signed_in[1].csrf
    (clean.state / "uploads").mkdir(exist_ok=True)
    content = f"address,name\nsepp@brotzeit.example,<b>Sepp\n{ANNA},Anna\n".encode()
    looked = await browser.post("/w/main/mailboxes/import", data={"csrf": csrf}, files={"file": ("a.csv", content)})
    assert looked.status_code == 200
    assert "<b>Sepp" not in looked.text
    assert "already" in check(looked.text).words()
    token = re.search(r'name="token" value="(\w+)"', looked.text)
    assert token is not None
    made = await _post(browser, csrf, "/import/make", token=token[1])
    assert made.headers["content-type"].startswith("text/csv")
    lines = made.text.splitlines()
    assert re.fullmatch(r"sepp@brotzeit\.example,\w{6}-\w{6}-\w{6},", lines[1])
    assert lines[2].startswith(f"{ANNA},,")
    assert (await mailboxes.get_mailbox(system, "sepp@brotzeit.example"))["name"] == "<b>Sepp"
    for gone in (token[1], "../../secrets/master", "", "a" * 32):
        assert (await _post(browser, csrf, "/import/make", token=gone)).status_code == 404
    assert list((clean.state / "uploads").glob("mailboxes-*")) == []
