"""`thurn feedback explain`: mails and replies in, one object each out, without database or daemon."""

import gzip
import json
import resource
import time
import zipfile
from io import BytesIO
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
    started = time.thread_time()
    result = run.invoke(build(), ["feedback", "explain", str(tmp_path), "--json"])
    assert time.thread_time() - started < 10
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [f"{n:03}.eml" for n in range(300)]


def test_reports_that_are_no_mails_are_named_and_never_unpacked_beyond_a_little(tmp_path: Path) -> None:
    feedback = b'<?xml version="1.0"?><feedback><report_metadata/></feedback>'
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a!b!1!2.xml", feedback + b" " * 200_000_000)
    files = {
        "a.xml": (feedback, "dmarc"),
        "b.zip": (packed.getvalue(), "dmarc"),
        "c.gz": (gzip.compress(feedback), "dmarc"),
        "d.json": (b'{"organization-name": "x", "policies": []}', "tlsrpt"),
        "e.json.gz": (gzip.compress(b'{"organization-name": "x", "policies": []}' + b" " * 200_000_000), "tlsrpt"),
        "f.bin": (b"\0\1\2", "other"),
        "g.zip": (b"PK\x03\x04 broken", "other"),
        "h.gz": (gzip.compress(gzip.compress(feedback)), "other"),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    started, before = time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = run.invoke(build(), ["feedback", "explain", str(tmp_path), "--json"])
    assert {each["file"]: each["kind"] for each in map(json.loads, result.stdout.splitlines())} == {
        name: kind for name, (_, kind) in files.items()
    }
    assert time.thread_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_people_get_words(tmp_path: Path) -> None:
    path = tmp_path / "bounce.eml"
    path.write_bytes(QMAIL)
    result = run.invoke(build(), ["feedback", "explain", str(path)])
    assert "ann@example.org: unknown-address, hard: this address gets no more mail." in result.stdout


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = run.invoke(build(), ["feedback", "explain", str(tmp_path / "gone.eml")])
    assert result.exit_code == 1
    assert "gone.eml cannot be read: No such file or directory." in result.stderr


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(QMAIL)
    (tmp_path / "b.eml").symlink_to("/proc/self/mem")
    (tmp_path / "c.eml").write_bytes(QMAIL)
    result = run.invoke(build(), ["feedback", "explain", str(tmp_path), "--json"])
    assert result.exit_code == 1
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == ["a.eml", "c.eml"]
    assert "b.eml cannot be read: Input/output error." in result.stderr
