"""`thurn user`, `thurn api-key` and `thurn import` as somebody types them."""

import json
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner, Result

from thurn.accounts.passwords import _matches
from thurn.accounts.service import hash_key
from thurn.cli import build
from thurn.db.connect import conninfo
from thurn.settings import Settings


def run(settings: Settings, *words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(build(), [*words, "--state", str(settings.state)], input=stdin)


def query(settings: Settings, text: str) -> list[dict[str, object]]:
    with psycopg.connect(conninfo(settings, "system"), row_factory=dict_row) as db:
        return db.execute(text).fetchall()  # type: ignore[arg-type]


def test_a_user_gets_a_generated_password_once_and_owns_the_workspace(clean: Settings) -> None:
    made = json.loads(run(clean, "user", "create", "anna@brotzeit.example", "--name", "Anna", "--json").stdout)
    account = query(clean, "SELECT a.*, m.role FROM account a JOIN membership m ON m.account_id = a.id")[0]
    assert account["role"] == "owner"
    assert _matches(str(account["password_hash"]), made["password"])
    assert made["url"].endswith("/sign-in")


def test_a_password_from_standard_input_is_not_repeated(clean: Settings) -> None:
    result = run(clean, "user", "create", "a@x.example", "--password-stdin", stdin="the given password\n")
    assert result.exit_code == 0
    assert "the given password" not in result.output
    assert _matches(str(query(clean, "SELECT * FROM account")[0]["password_hash"]), "the given password")


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        (["user", "create", "nobody"], "", "@"),
        (["user", "create", "a@x.example", "--password-stdin"], "short\n", "at least 10 characters"),
        (["user", "create", "a@x.example", "--workspace", "none"], "", "no workspace “none”"),
        (["api-key", "create", "--name", ""], "", "needs a name"),
        (["import", "/no/such/file.csv", "--list", "x"], "", "There is no file"),
    ],
)
def test_a_refusal_says_why_and_exits_with_1(clean: Settings, words: list[str], stdin: str, says: str) -> None:
    result = run(clean, *words, stdin=stdin)
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stdout == ""


def test_an_api_key_is_printed_once_and_its_hash_kept(clean: Settings) -> None:
    made = json.loads(run(clean, "api-key", "create", "--name", "shop", "--json").stdout)
    assert bytes(query(clean, "SELECT secret_hash FROM api_key")[0]["secret_hash"]) == hash_key(made["key"])  # type: ignore[call-overload]


def test_import_makes_the_list_and_writes_the_refused_rows_beside_the_file(clean: Settings, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(b"email,name\na@x.example,A\nbroken,B\n")
    result = run(clean, "import", str(file), "--list", "News", "--json")
    data = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (data["state"], data["added"], data["updated"], data["refused"]) == ("done", 1, 0, 1)
    assert data["rejects"] == str(file.resolve()) + ".rejected.csv"
    assert "broken" in Path(data["rejects"]).read_text()
    assert file.exists()
    assert query(clean, "SELECT name FROM list") == [{"name": "News"}]


def test_import_of_no_csv_says_why_and_exits_with_1(clean: Settings, tmp_path: Path) -> None:
    file = tmp_path / "people.xlsx"
    file.write_bytes(b"PK\x03\x04")
    result = run(clean, "import", str(file), "--list", "News", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"].startswith("This is a spreadsheet")


def test_import_without_waiting_leaves_a_copy_to_the_worker(clean: Settings, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(b"email\na@x.example\n")
    data = json.loads(run(clean, "import", str(file), "--list", "News", "--no-wait", "--json").stdout)
    assert data["state"] == "waiting"
    path = str(query(clean, "SELECT path FROM contact_import")[0]["path"])
    assert Path(path).read_bytes() == file.read_bytes()
    assert path.startswith(str(clean.state / "uploads"))
    Path(path).unlink()
