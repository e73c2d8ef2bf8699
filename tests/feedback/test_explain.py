"""`thurn feedback explain`: mails and replies in, one object each out, without database or daemon."""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.feedback.test_bounce_mail import DELAYED, FAILED, QMAIL, RELAYED, dsn
from thurn.cli import build

run = CliRunner()


def test_a_mail_is_explained_as_json(tmp_path: Path) -> None:
    path = tmp_path / "bounce.eml"
    path.write_bytes(dsn(FAILED, DELAYED, RELAYED))
    result = run.invoke(build(), ["feedback", "explain", str(path), "--json"])
    explained = json.loads(result.stdout)
    assert (explained["file"], explained["kind"]) == ("bounce.eml", "bounce")
    first, second, third = explained["recipients"]
    assert first["address"] == "Ann@Example.org"
    assert [first[name] for name in ("status", "reply_code", "category", "hard", "fault", "action")] == [
        "5.1.1", "550", "unknown-address", True, "address", "suppress",
    ]  # fmt: skip
    assert (second["hard"], second["action"]) == (False, "retry")
    assert third["category"] == "delivered"


@pytest.mark.parametrize(
    "reply", ["550 5.1.1 user unknown", "550 5.1.1 user unknown\r\n", "<a@b.example>: user unknown"]
)
def test_a_line_of_text_is_read_as_a_reply(reply: str) -> None:
    result = run.invoke(build(), ["feedback", "explain", "-", "--json"], input=reply.encode())
    assert json.loads(result.stdout)["category"] == "unknown-address"


def test_a_folder_gives_one_object_for_each_file(tmp_path: Path) -> None:
    for n in range(300):
        (tmp_path / f"{n:03}.eml").write_bytes([dsn(FAILED), QMAIL, b"\xff\0", b""][n % 4])
    (tmp_path / "folder").mkdir()
    started = time.perf_counter()
    result = run.invoke(build(), ["feedback", "explain", str(tmp_path), "--json"])
    assert time.perf_counter() - started < 10
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [f"{n:03}.eml" for n in range(300)]


def test_people_get_words(tmp_path: Path) -> None:
    path = tmp_path / "bounce.eml"
    path.write_bytes(QMAIL)
    result = run.invoke(build(), ["feedback", "explain", str(path)])
    assert "ann@example.org: unknown-address, hard: this address gets no more mail." in result.stdout


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = run.invoke(build(), ["feedback", "explain", str(tmp_path / "gone.eml")])
    assert result.exit_code == 1
    assert "gone.eml cannot be read: No such file or directory." in result.stderr
