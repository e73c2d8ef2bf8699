"""When a session of a dead sender is over, by the server's own log."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from thurn.delivery.sessions import SessionBook, still_open


@pytest.fixture
def smtpd(tmp_path: Path) -> Iterator[int]:
    """A process of that name, as the kernel sees it."""
    program = tmp_path / "smtpd"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    process = subprocess.Popen([program, "60"])
    while Path(f"/proc/{process.pid}/comm").read_text() != "smtpd\n":  # between fork and exec
        time.sleep(0.01)
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("events", "open_"),
    [
        (["connect:40001"], True),
        ([], True),
        (["connect:40001", "disconnect:40001"], False),
        (["disconnect:39999", "connect:40001"], True),
        (["connect:40002"], False),
        (["connect:40001", "disconnect:40001", "connect:40002"], False),
    ],
)
def test_a_session_is_over_when_the_server_says_so(tmp_path: Path, smtpd: int, events: list[str], open_: bool) -> None:
    log = tmp_path / "log"
    lines = [
        f"Nov 23 20:30:01 out postfix/smtpd[{smtpd}]: {e.replace(':', ' from unknown[127.0.0.1]:')} x=1" for e in events
    ]
    log.write_text("\n".join([*lines, ""]))
    assert still_open(log, {(smtpd, 40_001)}, log.stat().st_size) == ({(smtpd, 40_001)} if open_ else set())


def test_a_session_whose_process_is_gone_is_over(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    assert still_open(log, {(2**22 + 1, 40_001)}, 0) == set()


def test_a_successor_knows_the_connections_of_all_lives_that_were_not_settled(tmp_path: Path) -> None:
    path = tmp_path / "sender.sessions"
    SessionBook(path).note((1, 2))
    second = SessionBook(path)
    second.note((3, 4))
    third = SessionBook(path)
    assert third.former == {(1, 2), (3, 4)}
    third.note((5, 6))
    third.forget_former()
    third.note((7, 8))
    assert SessionBook(path).former == {(5, 6), (7, 8)}


def test_the_book_forgets_connections_that_ended_in_order_and_stays_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thurn.delivery.sessions._LONG", 3)
    path = tmp_path / "sender.sessions"
    SessionBook(path).note((1, 1))
    book = SessionBook(path)
    book.note((2, 2))
    for port in range(10, 19):
        book.note((3, port))
        book.ended((3, port))
    assert len(path.read_text().splitlines()) <= 2 + 4
    assert {(1, 1), (2, 2)} <= SessionBook(path).former, "unsettled lives and what is open"
