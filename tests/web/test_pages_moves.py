"""Pages and API of moves as a browser and a program get them; what is asked for, and what is never shown."""

from typing import Any

import httpx
import pytest
from page_check import check

from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection
from thurn.mailhost import service as mailhost
from thurn.moves.batch import NotCsv, start_many
from thurn.settings import Settings

SignedInBrowser = tuple[httpx.AsyncClient, SignedInAs]
W = "/w/main/mailboxes/moves"
SECRET = "pa55 w0rd <ü>"
GOOD = {"address": "anna@brotzeit.example", "host": "imap.example.net", "port": "993", "login": "anna",
        "password": SECRET, "fingerprint": ""}  # fmt: skip


@pytest.fixture
async def house(system: Connection, clean: Settings) -> Settings:
    await mailhost.add_domain(system, 1, name="brotzeit.example", settings=clean)
    for local in ("anna", "sepp"):
        await mailhost.add_mailbox(system, 1, address=f"{local}@brotzeit.example")
    return clean


async def post(signed_in: SignedInBrowser, path: str, **fields: str) -> httpx.Response:
    browser, session = signed_in
    return await browser.post(W + path, data={"csrf": session.csrf, **fields})


async def test_empty_pages_say_what_to_do_first(signed_in: SignedInBrowser, house: Settings) -> None:
    for path in ("", "/new", "/new?to=anna@brotzeit.example", "/many"):
        answer = await signed_in[0].get(W + path)
        assert answer.status_code == 200
        check(answer.text)


async def test_a_move_is_started_watched_and_stopped_and_its_password_is_nowhere(
    signed_in: SignedInBrowser, system: Connection, house: Settings
) -> None:
    answer = await post(signed_in, "/new", **GOOD)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{W}/1")
    row = await (await system.execute("SELECT password, login FROM mailbox_move")).fetchone()
    assert row is not None
    assert SECRET.encode() not in bytes(row["password"])
    shown = (await signed_in[0].get(f"{W}/1")).text
    check(shown)
    assert "Waiting for its turn" in shown
    assert (await post(signed_in, "/new", **GOOD)).status_code == 409
    await system.execute(
        """UPDATE mailbox_move SET state = 'running', folder = '<b>Kunden</b>', messages_total = 10, messages_done = 4,
             started_at = now(), reason = 'x' WHERE id = 1"""
    )
    shown = (await signed_in[0].get(f"{W}/1", headers={"HX-Request": "true"})).text
    assert "&lt;b&gt;Kunden" in shown
    assert "<html" not in shown
    assert (await post(signed_in, "/1/cancel")).status_code == 303
    row = await (await system.execute("SELECT state, password FROM mailbox_move")).fetchone()
    assert row == {"state": "cancelled", "password": None}
    assert (await post(signed_in, "/1/cancel")).status_code == 409
    assert (await post(signed_in, "/1/resume")).status_code == 409
    again = (await signed_in[0].get(f"{W}/new?again=1")).text
    assert 'value="imap.example.net"' in again
    assert SECRET not in again + shown
    assert (await post(signed_in, "/new", **GOOD)).headers["location"] == f"{W}/1", "it goes on where it was"


@pytest.mark.parametrize("state", ["waiting", "running", "paused", "done", "cancelled", "failed"])
async def test_every_state_has_its_page(
    signed_in: SignedInBrowser, system: Connection, house: Settings, state: str
) -> None:  # fmt: skip
    await post(signed_in, "/new", **GOOD)
    await system.execute(
        """UPDATE mailbox_move SET state = %s, reason = '<i>said</i>', messages_left = 2, next_try_at = now(),
             finished_at = now(), started_at = now()""",
        [state],
    )
    await system.execute(
        """INSERT INTO mailbox_move_problem (move_id, workspace_id, folder, uid, size, dated, reason)
           VALUES (1, 1, '<u>', NULL, NULL, NULL, '<s>'), (1, 1, '<u>', 7, 99, now(), '<s>')"""
    )
    for path in ("", "/1"):
        answer = await signed_in[0].get(W + path)
        assert answer.status_code == 200
        assert "<i>said" not in answer.text + "<u>"
        check(answer.text)


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("address", "nobody@brotzeit.example", 422), ("address", "%@brotzeit.example", 422), ("host", "http://x", 422),
        ("host", "", 422), ("port", "25", 422), ("port", "9" * 30, 422), ("port", "x", 422), ("login", "", 422),
        ("password", "", 422), ("login", "a\r\nb", 422), ("fingerprint", "zz", 422), ("password", "x" * 501, 422),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_said_beside_its_field(
    signed_in: SignedInBrowser, house: Settings, monkeypatch: pytest.MonkeyPatch, field: str, value: str, status: int
) -> None:
    house.simulate = field != "port"
    try:
        answer = await post(signed_in, "/new", **(GOOD | {field: value}))
    finally:
        house.simulate = True
    assert answer.status_code == status
    assert f'id="{field}-error"' in answer.text
    assert SECRET not in answer.text
    check(answer.text)


CSV = (
    "Address;Server;User;Password;Port\n"
    "anna@brotzeit.example;imap.example.net;anna; leads and trails ;\n"
    "sepp@brotzeit.example;imap.example.net;sepp;x;143\n"
    "sepp@brotzeit.example;imap.example.net;sepp;x;143\n"
    "nobody@brotzeit.example;imap.example.net;n;x;\n"
    "anna@brotzeit.example;;anna;x;\n"
)


async def test_many_begin_from_a_file_each_line_for_itself(
    signed_in: SignedInBrowser, system: Connection, house: Settings
) -> None:
    browser, session = signed_in
    answer = await browser.post(f"{W}/many", data={"csrf": session.csrf}, files={"file": ("m.csv", CSV.encode())})
    assert answer.status_code == 200
    check(answer.text)
    for words in ("2 moves have begun", "3 lines were not taken", "already", "There is no mailbox", "missing"):
        assert words in answer.text, words
    row = await (await system.execute("SELECT count(*) AS n FROM mailbox_move")).fetchone()
    assert row == {"n": 2}


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04zip", b"a,b\n1,2\n", b"\xff\xfe", b"address\n" * 3, b"x" * 2_000_000,
                                  b"address,host,user,password\n" + b"a,b,c,d\n" * 2_001])  # fmt: skip
async def test_what_is_no_such_file_is_refused_whole(
    signed_in: SignedInBrowser, system: Connection, house: Settings, data: bytes
) -> None:
    with pytest.raises(NotCsv):
        await start_many(system, 1, data=data, settings=house)
    browser, session = signed_in
    answer = await browser.post(f"{W}/many", data={"csrf": session.csrf}, files={"file": ("m.csv", data)})
    assert answer.status_code == 422
    check(answer.text)


async def test_the_api_does_what_the_pages_do(api: httpx.AsyncClient, system: Connection, house: Settings) -> None:
    new: dict[str, Any] = GOOD | {"port": 993}
    answer = await api.post("/api/v1/moves", json=new)
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    assert SECRET not in answer.text
    assert (await api.post("/api/v1/moves", json=new)).status_code == 409
    assert (await api.post("/api/v1/moves", json=new | {"host": "a b"})).status_code == 422
    assert (await api.get("/api/v1/moves")).json()["items"][0]["id"] == 1
    assert (await api.get("/api/v1/moves/1/problems")).json() == {"items": [], "next": None}
    assert (await api.post("/api/v1/moves/1/resume")).status_code == 200
    assert (await api.post("/api/v1/moves/1/cancel")).json()["state"] == "cancelled"
    many = await api.post("/api/v1/moves/many", files={"file": ("m.csv", CSV.encode())})
    assert [line["move_id"] for line in many.json()["items"]] == [1, 3, None, None, None]  # a conflict uses up a number
    assert (await api.post("/api/v1/moves/many", files={"file": ("m.csv", b"x")})).status_code == 422
