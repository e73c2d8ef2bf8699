"""Following the mail log across rotations, against a real database."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from thurn.db.connect import connect
from thurn.feedback.log_reader import LogReader
from thurn.feedback.tail import Tail, behind, logs
from thurn.mail.tokens import VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings


@pytest.fixture
def log(clean: Settings) -> Iterator[Path]:
    path = clean.state / "log" / "out.mail.log"
    path.parent.mkdir(exist_ok=True)
    _remove(path)  # other tests write one that nobody reads
    yield path
    _remove(path)


def _remove(log: Path) -> None:
    for each in log.parent.glob("out.mail.log*"):
        each.unlink()


def _from(settings: Settings, queue_id: str, delivery: int) -> bytes:
    local = VerpTokens(Secrets(settings.state).derive("verp")).local_part("e1", "other", 1, delivery)
    line = (
        f"Nov 23 20:30:01 mail postfix/qmgr[12]: {queue_id}: from=<{local}@bounce.x.example>, size=7, nrcpt=1 (queue)"
    )
    return line.encode() + b"\n"


def _rotate(log: Path) -> None:
    """As the keeper does, a while ago: what was written a moment ago may not be the end."""
    os.utime(log, (1_000_000_000, 1_000_000_000))
    log.rename(log.with_name(f"out.mail.log.20261124-00000{len(logs(log))}"))


async def _read(settings: Settings, reader: LogReader) -> list[int]:
    """Deliveries whose hand-over has been read, after as many steps as it takes."""
    async with await connect(settings, "system") as db:
        for _ in range(10):
            await reader.step(db)
        rows = await db.execute("SELECT delivery_id FROM outcome ORDER BY id")
        return [row["delivery_id"] async for row in rows]


async def test_a_rotated_log_is_read_to_its_end_and_the_new_one_after_it(clean: Settings, log: Path) -> None:
    reader = LogReader(clean)
    log.write_bytes(_from(clean, "4Nl1Wk2bQHz1", 1))
    assert await _read(clean, reader) == [1]
    with log.open("ab") as file:
        file.write(_from(clean, "4Nl1Wk2bQHz2", 2))
    _rotate(log)
    log.write_bytes(_from(clean, "4Nl1Wk2bQHz3", 3))
    assert await _read(clean, reader) == [1, 2, 3]


async def test_a_reader_that_slept_through_two_rotations_reads_each_file_once(clean: Settings, log: Path) -> None:
    reader = LogReader(clean)
    log.write_bytes(_from(clean, "4Nl1Wk2bQHz1", 1))
    assert await _read(clean, reader) == [1]
    first = log.stat().st_ino
    for number in (2, 3):
        _rotate(log)
        log.write_bytes(_from(clean, f"4Nl1Wk2bQHz{number}", number))
    assert not behind(log, first, log.stat().st_ino)
    assert await _read(clean, reader) == [1, 2, 3]
    assert behind(log, log.stat().st_ino, first)


def test_a_log_that_was_rotated_a_moment_ago_is_not_left_while_its_writer_may_hold_it(tmp_path: Path) -> None:
    log = tmp_path / "mx.mail.log"
    log.write_bytes(b"one\n")
    tail = Tail(log)
    tail.position += len(tail.read() or b"")
    old = log.rename(log.with_name("mx.mail.log.20261124-000001"))
    log.write_bytes(b"three\n")
    soon = time.time() + 600  # however long this machine takes for the next line, it was a moment ago
    os.utime(old, (soon, soon))
    assert tail.read() is None
    with old.open("ab") as file:
        file.write(b"two\n")
    tail.position += len(tail.read() or b"")
    assert tail.position == len(b"one\ntwo\n")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert tail.read() == b"three\n"


async def test_a_line_cut_off_before_a_rotation_does_not_stop_the_reader(clean: Settings, log: Path) -> None:
    reader = LogReader(clean)
    log.write_bytes(_from(clean, "4Nl1Wk2bQHz1", 1) + _from(clean, "4Nl1Wk2bQHz2", 2)[:60])
    assert await _read(clean, reader) == [1]
    _rotate(log)
    log.write_bytes(_from(clean, "4Nl1Wk2bQHz3", 3))
    assert await _read(clean, reader) == [1, 3]


async def test_a_mail_that_left_the_queue_without_a_word_is_lost_and_one_that_was_answered_is_not(
    clean: Settings, log: Path
) -> None:
    said = b"Nov 23 20:30:02 mail postfix/smtp[13]: 4Nl1Wk2bQHz1: to=<a@b.example>, dsn=2.0.0, status=sent (250 Ok)\n"
    removed = b"Nov 23 20:30:03 mail postfix/qmgr[12]: %b: removed\n"
    log.write_bytes(
        _from(clean, "4Nl1Wk2bQHz1", 1) + _from(clean, "4Nl1Wk2bQHz2", 2) + said
        + removed % b"4Nl1Wk2bQHz1" + removed % b"4Nl1Wk2bQHz2"
    )  # fmt: skip
    await _read(clean, LogReader(clean))
    async with await connect(clean, "system") as db:
        rows = await db.execute("SELECT delivery_id, kind FROM outcome WHERE kind <> 'handed_over' ORDER BY id")
        assert [(r["delivery_id"], r["kind"]) async for r in rows] == [(1, "delivered"), (2, "lost")]


async def test_a_copied_disk_has_other_inodes_and_no_line_counts_twice(clean: Settings, log: Path) -> None:
    log.write_bytes(_from(clean, "4Nl1Wk2bQHz1", 1))
    assert await _read(clean, LogReader(clean)) == [1]
    with log.open("ab") as file:
        file.write(_from(clean, "4Nl1Wk2bQHz2", 2))
    _rotate(log)
    log.write_bytes(_from(clean, "4Nl1Wk2bQHz3", 3))
    kept = {}
    for path in logs(log):
        copy = path.with_name(f"copy-{path.name}")
        copy.write_bytes(path.read_bytes())
        os.utime(copy, (1_000_000_000, 1_000_000_000))
        kept[path] = copy  # beside the old one, so that no inode is given again
    for path, copy in kept.items():
        copy.replace(path)
    reader = LogReader(clean)
    async with await connect(clean, "system") as db:
        await reader._load(db)
    assert await _read(clean, reader) == [1, 2, 3], "nothing again, and nothing left out"


def test_another_log_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out.mail.log"
    path.write_bytes(b"one\ntwo\n")
    tail = Tail(path)
    tail.inode, tail.position = path.stat().st_ino, 4
    head = tail.head()
    others = [b"eins\nzwei\n", b"one", b"", b"one\ntwo\nthree\n"]
    for number, text in enumerate(others):  # all at once, so that no inode is given again
        (tmp_path / str(number)).write_bytes(text)
    for number in range(3):
        (tmp_path / str(number)).replace(path)
        tail.recognise(head)
        assert tail.inode != path.stat().st_ino, others[number]
    (tmp_path / "3").replace(path)
    tail.recognise(head)
    assert (tail.inode, tail.read()) == (path.stat().st_ino, b"two\nthree\n")
