"""Importing contacts from files as people have them."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from thurn.audience.importer import run_import
from thurn.audience.imports import cancel_import, create_import, rejects_csv
from thurn.audience.service import ensure_list
from thurn.db.connect import Connection, Pool, Row, in_workspace
from thurn.db.fetch import one
from thurn.settings import Settings

Import = Callable[..., Awaitable[Row]]
Refused = Callable[[], Awaitable[list[tuple[int, str]]]]
People = Callable[[], Awaitable[dict[str, dict[str, str]]]]
CORPORA = Path(__file__).parents[3] / "shared" / "corpora"


async def test_good_rows_become_contacts_on_the_list(import_bytes: Import, people: People, system: Connection) -> None:
    done = await import_bytes(b"E-Mail,First Name,Stra\xc3\x9fe,,2nd\na@x.example,Anna,Hof,x,y\nB@X.example,,,,\n")
    assert (done["state"], done["rows_added"], done["rows_updated"], done["rows_refused"]) == ("done", 2, 0, 0)
    assert await people() == {
        "a@x.example": {"first_name": "Anna", "strasse": "Hof", "column_4": "x", "_2nd": "y"},
        "B@x.example": {},
    }
    assert (await one(system, "SELECT count(*) AS n FROM list_member"))["n"] == 2
    assert done["bytes_read"] == done["bytes_total"]
    assert done["finished_at"] is not None


async def test_a_second_import_updates_and_an_empty_cell_erases_nothing(import_bytes: Import, people: People) -> None:
    await import_bytes(b"email,name,town\na@x.example,Anna,Bonn\n")
    done = await import_bytes(b"email,name,town\nA@X.EXAMPLE,Anne,\nc@x.example,C,\n")
    assert (done["rows_added"], done["rows_updated"]) == (1, 1)
    assert (await people())["a@x.example"] == {"name": "Anne", "town": "Bonn"}


async def test_who_left_stays_away_when_imported_again(import_bytes: Import, system: Connection) -> None:
    await import_bytes(b"email\na@x.example\n")
    await system.execute("UPDATE contact SET unsubscribed_at = now()")
    await import_bytes(b"email\na@x.example\n")
    assert (await one(system, "SELECT unsubscribed_at FROM contact"))["unsubscribed_at"] is not None


async def test_each_bad_row_is_refused_with_its_line_and_reason(
    import_bytes: Import, refused: Refused, people: People
) -> None:
    file = b"\n".join(
        [
            b"email,name",
            b"good@x.example,Fine",
            b"no-at-sign,Nobody",
            b"short@x.example",
            b"long@x.example,a,b",
            b"good@X.example,Again",
            b"latin@x.example,M\xfcller",
            b"nul@x.example,a\0b",
            b'quote@x.example,"a"b',
            b'"two\nlines@x.example",x',
            b",Without",
            b"spare@x.example,Fine,,",
            b"",
            b"'--@x.example,<script>alert(1)</script>",
            b"last@x.example,Fine",
        ]
    )
    done = await import_bytes(file)
    found = await refused()
    assert [line for line, _ in found] == [3, 4, 5, 6, 7, 8, 9, 10, 12]
    reasons = dict(found)
    assert "@" in reasons[3]
    assert reasons[4] == "The row has 1 cell, the header has 2."
    assert reasons[5] == "The row has 3 cells, the header has 2."
    assert reasons[6] == "good@x.example is in the file already; the first row with it was taken."
    assert reasons[7] == "The row is not UTF-8: it holds the byte 0xFC."
    assert reasons[8] == "The row holds a NUL byte."
    assert reasons[9] == "The quotation marks are not in order."
    assert reasons[12] == "There is no address."
    assert done["rows_added"] == 4
    assert done["rows_refused"] == 9
    assert set(await people()) == {"good@x.example", "spare@x.example", "'--@x.example", "last@x.example"}


async def test_a_quotation_mark_that_is_never_closed_costs_one_row(import_bytes: Import, refused: Refused) -> None:
    rows = b"".join(b"p%d@x.example,Name\n" % n for n in range(1000))
    done = await import_bytes(b'email,name\nopen@x.example,"never closed\n' + rows)
    assert done["rows_added"] == 1000
    assert await refused() == [(2, "A quotation mark is opened and never closed.")]


async def test_duplicates_are_found_across_chunks(import_bytes: Import, refused: Refused, people: People) -> None:
    rows = b"".join(b"p%d@x.example,first\n" % n for n in range(6000))
    done = await import_bytes(b"email,name\n" + rows + b"P3@x.example,second\n")
    assert (done["rows_added"], done["rows_refused"]) == (6000, 1)
    assert (await refused())[0][0] == 6002
    assert (await people())["p3@x.example"] == {"name": "first"}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "The file is empty."),
        (b"\n\r\n  \n", "The file is empty."),
        (b"\xef\xbb\xbf", "The file is empty."),
        (b"email,name\n", "The file has a header and no rows."),
        (b"name,town\nAnna,Bonn\n", "No column is called “email”. The first line names: name, town."),
        (b"a@x.example\nb@x.example\n", "The first line must name the columns."),
        (b"PK\x03\x04\x14\x00\x06\x00", "This is a spreadsheet or a ZIP file."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "This is an Excel file."),
        (bytes(range(256)) * 40, "This is not a text file."),
        ("email\na@x.example\n".encode("utf-16-le"), "This is not a text file."),
        (b"email," + b",".join(b"c%d" % n for n in range(10_000)) + b"\n", "The file has 10,001 columns; at most 200"),
        (b"email,Stra\xdfe\na@x.example,b\n", "The first line, which names the columns, cannot be read."),
        (
            b"email," + b"x" * 2_000_000 + b"\na@x.example,b\n",
            "The first line, which names the columns, cannot be read.",
        ),
        (b'"email\na@x.example\n', "The first line, which names the columns, cannot be read."),
    ],
)
async def test_a_file_that_is_no_contact_file_fails_with_the_reason(
    import_bytes: Import, people: People, file: bytes, message: str
) -> None:
    done = await import_bytes(file)
    assert done["state"] == "failed"
    assert done["error"].startswith(message)
    assert await people() == {}


async def test_a_cell_of_a_megabyte_is_refused_and_the_rest_goes_in(import_bytes: Import, refused: Refused) -> None:
    big = b"x" * 1_000_000
    done = await import_bytes(
        b"email,bio\nbig@x.example," + big + b'\nquoted@x.example,"' + big + b'"\nmid@x.example,' + b"y" * 20_000
        + b"\nok@x.example,fine\n"
    )  # fmt: skip
    assert done["rows_added"] == 1
    assert await refused() == [
        (2, "The row is longer than 128 KB."),
        (3, "The row is longer than 128 KB."),
        (4, "“bio” has 20,000 characters; at most 10,000 are kept."),
    ]


@pytest.mark.parametrize(
    "file",
    [
        "email;name;town\na@x.example;Zoë;Bonn\n".encode(),
        "email\tname\ttown\na@x.example\tZoë\tBonn\n".encode(),
        "email|name|town\na@x.example|Zoë|Bonn\n".encode(),
        "sep=;\nemail;name;town\na@x.example;Zoë;Bonn\n".encode(),
        "\ufeffemail,name,town\r\na@x.example,Zoë,Bonn\r\n".encode(),
        "\ufeffemail,name,town\r\na@x.example,Zoë,Bonn\r\n".encode("utf-16-le"),
        "\ufeffemail\tname\ttown\r\na@x.example\tZoë\tBonn".encode("utf-16-be"),
        "email,name,town\ra@x.example,Zoë,Bonn\r".encode(),
        'email, "name", "town"\na@x.example, "Zoë", "Bonn"\n'.encode(),
        "\n\nemail,name,town,,\n\na@x.example,Zoë,Bonn,,\n".encode(),
    ],
    ids=[
        "semicolon",
        "tab",
        "pipe",
        "excel-hint",
        "bom-crlf",
        "utf16le",
        "utf16be",
        "old-mac",
        "spaced",
        "blank-lines",
    ],
)
async def test_the_usual_dialects_are_read(import_bytes: Import, people: People, file: bytes) -> None:
    assert (await import_bytes(file))["error"] is None
    assert await people() == {"a@x.example": {"name": "Zoë", "town": "Bonn"}}


async def test_a_utf16_file_that_is_cut_off_gives_its_whole_rows(import_bytes: Import, people: People) -> None:
    file = "\ufeffemail,name\na@x.example,Zoë\nb@x.example,Y".encode("utf-16-le")
    await import_bytes(file[:-1])
    assert "a@x.example" in await people()


async def test_an_import_runs_again_from_the_start_after_a_kill(
    clean: Settings, system: Connection, tmp_path: Path, refused: Refused
) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"email\n" + b"".join(b"p%d@x.example\n" % n for n in range(12_000)) + b"bad\n")
    number = await create_import(system, 1, list_id=None, filename="people.csv", path=path)
    reached = asyncio.Event()
    running = asyncio.create_task(run_import(clean, import_id=number, workspace=1, progress=lambda _: reached.set()))
    await asyncio.wait_for(reached.wait(), 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await one(system, "SELECT state FROM contact_import"))["state"] == "running"
    done = await run_import(clean, import_id=number, workspace=1)
    assert (done["state"], done["rows_added"], done["rows_refused"]) == ("done", 12_000, 1)
    assert len(await refused()) == 1
    assert (await one(system, "SELECT count(*) AS n FROM contact"))["n"] == 12_000


async def test_a_cancelled_import_stops_and_keeps_what_is_in(
    clean: Settings, system: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"email\n" + b"".join(b"p%d@x.example\n" % n for n in range(50_000)))
    number = await create_import(system, 1, list_id=None, filename="people.csv", path=path)
    first = asyncio.Event()
    running = asyncio.create_task(run_import(clean, import_id=number, workspace=1, progress=lambda _: first.set()))
    await asyncio.wait_for(first.wait(), 60)
    await cancel_import(system, number)
    done = await running
    assert done["state"] == "cancelled"
    assert 0 < (await one(system, "SELECT count(*) AS n FROM contact"))["n"] < 50_000


async def test_an_import_does_not_run_twice_at_once(clean: Settings, system: Connection, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"email\n" + b"".join(b"p%d@x.example\n" % n for n in range(9_000)))
    number = await create_import(system, 1, list_id=None, filename="people.csv", path=path)
    await asyncio.gather(*[run_import(clean, import_id=number, workspace=1) for _ in range(3)])
    row = await one(system, "SELECT * FROM contact_import")
    assert (row["state"], row["rows_added"], row["rows_updated"]) == ("done", 9_000, 0)


async def test_two_imports_of_the_same_people_do_not_deadlock(
    clean: Settings, system: Connection, tmp_path: Path
) -> None:
    numbers = []
    for name, order in (("up", 1), ("down", -1)):
        path = tmp_path / name
        path.write_bytes(b"email\n" + b"".join(b"p%d@x.example\n" % n for n in range(9_000)[::order]))
        numbers.append(await create_import(system, 1, list_id=None, filename=name, path=path))
    done = await asyncio.gather(*[run_import(clean, import_id=number, workspace=1) for number in numbers])
    assert [row["state"] for row in done] == ["done", "done"]
    assert (await one(system, "SELECT count(*) AS n FROM contact"))["n"] == 9_000


async def test_the_uploaded_file_is_deleted_and_a_file_of_the_operator_is_not(
    clean: Settings, system: Connection, tmp_path: Path
) -> None:
    (clean.state / "uploads").mkdir(exist_ok=True)
    for path in (clean.state / "uploads" / "x.csv", tmp_path / "mine.csv"):
        path.write_bytes(b"email\na@x.example\n")
        number = await create_import(system, 1, list_id=None, filename="x", path=path)
        await run_import(clean, import_id=number, workspace=1)
        assert path.exists() == (path.parent == tmp_path)


async def test_a_file_that_is_gone_fails_in_words(clean: Settings, system: Connection, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"email\n")
    number = await create_import(system, 1, list_id=None, filename="x", path=path)
    path.unlink()
    done = await run_import(clean, import_id=number, workspace=1)
    assert done["error"] == "The file could not be read: No such file or directory."


async def test_the_refused_rows_come_as_a_file_a_spreadsheet_can_be_trusted_with(
    import_bytes: Import, app_pool: Pool
) -> None:
    done = await import_bytes(b"email,name\n=cmd|'/c calc'!A0,x\nb\xff@x.example,\"a\nb\"\n")
    async with in_workspace(app_pool, 1) as db:
        text = b"".join([piece async for piece in rejects_csv(db, done["id"])]).decode()
    assert text.startswith("\ufeffrow,reason,original\r\n2,")
    assert ",\"'=cmd|" in text or ",'=cmd|" in text
    assert "b\ufffd@x.example" in text


async def test_a_hundred_thousand_rows_take_seconds(import_bytes: Import) -> None:
    rows = b"".join(
        b'person.%d@provider%d.example,First%d,"Last, %d",Town\n' % (n, n % 50, n, n) for n in range(100_000)
    )
    start = time.monotonic()
    done = await import_bytes(b"email,first_name,last_name,town\n" + rows)
    seconds = time.monotonic() - start
    assert done["rows_added"] == 100_000
    assert seconds < 20
    print(f"{100_000 / seconds:,.0f} rows/s")


def _naughty() -> list[str]:
    path = CORPORA / "strings" / "blns.json"
    known = [
        "",
        "undefined",
        "𝕋𝕙𝕖",
        "‪‪test‪",
        "田中さん",
        "<script>",
        "' OR 1=1 -- 1",
        "\ufeff",
        "́",
        "\u2028",
        '"',
        "{{x}}",
    ]
    return json.loads(path.read_text()) if path.exists() else known


async def test_naughty_strings_survive_as_they_are(import_bytes: Import, people: People) -> None:
    strings = [text for text in _naughty() if "\0" not in text]
    lines = [f'n{n}@x.example,"{text.replace(chr(34), chr(34) * 2)}"' for n, text in enumerate(strings)]
    done = await import_bytes("\n".join(["email,text", *lines]).encode("utf-8", "surrogatepass"))
    assert done["rows_added"] + done["rows_refused"] == len(strings)
    found = await people()
    for n, text in enumerate(strings):
        if f"n{n}@x.example" in found:
            assert found[f"n{n}@x.example"].get("text", "") == text.strip()
    assert done["rows_refused"] == 0


@pytest.mark.parametrize(
    "path", sorted((CORPORA / "csv").glob("*.csv")) or [None], ids=lambda path: getattr(path, "name", "-")
)
async def test_awkward_files_fail_for_the_lack_of_an_address_only(import_bytes: Import, path: Path | None) -> None:
    data = path.read_bytes() if path else b'a,b\n1,"x\n\ny"\n'
    done = await import_bytes(data)
    assert done["error"].startswith("No column is called “email”.")


async def test_an_import_for_another_workspace_finds_nothing(
    clean: Settings, system: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"email\na@x.example\n")
    list_id = await ensure_list(system, 1, "news")
    number = await create_import(system, 1, list_id=list_id, filename="x", path=path)
    with pytest.raises(Exception, match="no such import"):
        await run_import(clean, import_id=number, workspace=999)
    assert (await one(system, "SELECT count(*) AS n FROM contact"))["n"] == 0
