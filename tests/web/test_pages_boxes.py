"""Pages of aliases, forwards and many mailboxes at once."""

import asyncio
import re
import time
from typing import Any

import httpx
import pytest
from page_check import check

from thurn.db.connect import Connection
from thurn.mailhost import box_import, mailboxes, service
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
async def test_a_file_is_looked_through_then_made_by_a_job_and_its_passwords_fetched(
    signed_in: Any, system: Connection, clean: Settings
) -> None:
    browser, csrf = signed_in[0], signed_in[1].csrf
    content = f"address,name\nsepp@brotzeit.example,<b>Sepp\n{ANNA},Anna\n".encode()
    sent = await browser.post("/w/main/mailboxes/import", data={"csrf": csrf}, files={"file": ("a.csv", content)})
    assert sent.status_code == 303
    at = sent.headers["location"]
    looked = (await browser.get(at)).text
    assert "<b>Sepp" not in looked
    assert "1 mailbox can be made, 1 row cannot" in (words := check(looked).words())
    assert "There is a mailbox or an alias of this name already." in words
    here = at.removeprefix("/w/main/mailboxes")
    for _ in range(2):
        assert (await _post(browser, csrf, f"{here}/make")).headers["location"] == at
    jobs = await (await system.execute("SELECT task_name, args FROM procrastinate_jobs")).fetchall()
    (job,) = [each["args"] for each in jobs if each["task_name"] == "thurn:make_mailboxes"]
    assert "Waiting for its turn" in check((await browser.get(at)).text).words()
    await box_import.run(clean, **job)
    assert "1 mailbox is made" in (words := check((await browser.get(at)).text).words())
    assert "1 password was made here" in words
    fetched = await _post(browser, csrf, f"{here}/mailboxes.csv")
    assert fetched.headers["content-type"].startswith("text/csv")
    assert fetched.headers["cache-control"] == "no-store"
    lines = fetched.text.splitlines()
    assert re.fullmatch(r"2,sepp@brotzeit\.example,\w{6}-\w{6}-\w{6},made", lines[1])
    assert lines[2].startswith(f"3,{ANNA},,There is")
    assert (await mailboxes.get_mailbox(system, "sepp@brotzeit.example"))["name"] == "<b>Sepp"
    assert (await _post(browser, csrf, f"{here}/forget")).status_code == 303
    assert "are forgotten" in check((await browser.get(at)).text).words()
    assert "sepp@brotzeit.example,,made" in (await _post(browser, csrf, f"{here}/mailboxes.csv")).text
    assert (await _post(browser, csrf, f"{here}/cancel")).headers["location"] == at  # it has ended: it is shown
    check((await browser.get("/w/main/mailboxes/import")).text)
    for gone in (99, 0, 2**63 - 1):
        assert (await browser.get(f"/w/main/mailboxes/import/{gone}")).status_code in (404, 422)
    assert list((clean.state / "uploads").glob("mailboxes-*")) == []
    nothing = await browser.post("/w/main/mailboxes/import", data={"csrf": csrf}, files={"file": ("a.csv", b"")})
    assert nothing.status_code == 422
    check(nothing.text)


@pytest.mark.usefixtures("house")
async def test_deleting_says_what_it_destroys_and_can_be_undone(signed_in: Any, system: Connection) -> None:
    browser, csrf = signed_in[0], signed_in[1].csrf
    await system.execute("UPDATE mailbox SET messages_used = 214, bytes_used = 1288490189")
    asked = check((await browser.get(f"/w/main/mailboxes/{ANNA}?ask=delete")).text).words()
    assert "214 mails, 1.2 GB, are kept for 30 days" in asked
    wrong = await _post(browser, csrf, f"/{ANNA}/delete", destroy="anna")
    assert wrong.status_code == 422
    assert "was typed, not anna@brotzeit.example" in check(wrong.text).words()
    assert (await _post(browser, csrf, f"/{ANNA}/delete")).headers["location"].endswith("/removed?done=remove")
    shown = (await browser.get("/w/main/mailboxes/removed")).text
    assert "214 mails" in check(shown).words()
    number = re.search(r'name="number" value="(\d+)"', shown)
    assert number is not None
    assert (await _post(browser, csrf, "/removed/destroy", number=number[1], address="x")).status_code == 422
    again = await _post(browser, csrf, "/removed/restore", number=number[1])
    assert again.headers["location"] == f"/w/main/mailboxes/{ANNA}?saved=1"
    assert (await _post(browser, csrf, "/removed/restore", number=number[1])).status_code == 404
    gone = await _post(browser, csrf, f"/{ANNA}/delete", destroy=f" {ANNA.upper()} ")
    assert gone.headers["location"].endswith("done=destroy")
    check((await browser.get("/w/main/mailboxes/removed?done=destroy")).text)
    assert (await _post(browser, csrf, "/removed/restore", number=number[1])).status_code == 409


@pytest.mark.usefixtures("house")
async def test_removing_a_domain_says_how_much_mail_goes_with_it(signed_in: Any, system: Connection) -> None:
    browser, csrf = signed_in[0], signed_in[1].csrf
    await system.execute("UPDATE mailbox SET messages_used = 1, bytes_used = 1024")
    at = "/w/main/domains/brotzeit.example"
    assert "1 mail, 1.0 KB, is kept" in check((await browser.get(f"{at}?ask=remove-domain")).text).words()
    wrong = await browser.post(f"{at}/delete", data={"csrf": csrf, "destroy": "brot.example"})
    assert wrong.status_code == 409
    assert (await browser.post(f"{at}/delete", data={"csrf": csrf, "destroy": ""})).status_code == 303
    page = check((await browser.get("/w/main/mailboxes/removed")).text).words()
    assert ANNA in page


@pytest.mark.usefixtures("house")
async def test_many_mailboxes_by_the_api_do_not_keep_others_waiting(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    wanted = [{"address": f"guest{number}@brotzeit.example"} for number in range(30)]
    wanted += [{"address": ANNA}, {"address": "guest0@brotzeit.example", "password": "Brezn und Radi"}]
    everywhere, here, meanwhile = time.process_time(), time.thread_time(), 0
    batch = asyncio.create_task(api.post("/api/v1/mailboxes/batch", json={"mailboxes": wanted}))
    while not batch.done():
        assert (await browser.get("/healthz")).status_code == 200
        meanwhile += not batch.done()
    everywhere, here = time.process_time() - everywhere, time.thread_time() - here
    made = (await batch).json()["items"]
    assert [bool(each["password"]) for each in made] == [True] * 30 + [False] * 2
    assert [each["problem"] is None for each in made] == [True] * 30 + [False] * 2
    assert meanwhile, "another request was answered before this one"
    # The time of the processor, for that does not depend on who else uses it: hashing is most of it.
    assert everywhere - here > 30 * 0.01, "the hashes are made beside the event loop"
