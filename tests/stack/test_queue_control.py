"""Hold, release and retry, done by root to the queue of a real `out`."""

import os
import signal
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from stackworld import Outside

from thurn.db.connect import conninfo
from thurn.mail.smtp import Session
from thurn.mail.tokens import VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.stack import clock
from thurn.stack.out_control import HELD, tend
from thurn.stack.processes import of_state, settle, thaw

pytestmark = pytest.mark.stack


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def put_off(stack: Settings) -> Iterator[dict[str, str]]:
    """Provider -> queue id of a mail that `out` could not deliver, for the receivers are away; due in an hour only."""
    tokens, found = VerpTokens(Secrets(stack.state).derive("verp")), {}
    with psycopg.connect(conninfo(stack, "system"), autocommit=True) as db:
        for number, provider in enumerate(("gmx", "google"), 1):
            db.execute(
                """INSERT INTO delivery (campaign_id, id, workspace_id, contact_id, recipient, provider, state)
                   VALUES (77, %s, 1, %s, %s, %s, 'deferred')""",
                [number, number, f"r{number}@{provider}.example", provider],
            )
            sender = f"{tokens.local_part('e1', provider, 77, number)}@bounce.house.example"
            with smtplib.SMTP("127.0.0.1", stack.port["out"]) as client:
                client.ehlo()
                client.mail(sender)
                client.rcpt(f"r{number}@{provider}.example")
                code, words = client.data(b"Subject: hello\r\n\r\nHello\r\n")
            assert code == 250
            found[provider] = words.decode().rpartition("queued as ")[2].strip()
            db.execute("INSERT INTO queue_entry VALUES ('main', %s, 77, %s)", [found[provider], number])
        until(lambda: all(later(stack, each) for each in found.values()))
        yield found
        for table in ("delivery", "queue_entry", "hold", "queue_retry"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608


def place(settings: Settings, queue_id: str) -> str:
    """The queue that a mail is in; empty if it has left."""
    file = path(settings, queue_id)
    return file.relative_to(settings.state / "out" / "queue").parts[0] if file else ""


def path(settings: Settings, queue_id: str) -> Path | None:
    # Several looks: one alone misses a mail that is moved from a queue still to come into one looked at already.
    queues = ("incoming", "active", "deferred", "hold") * 3
    files = (file for name in queues for file in (settings.state / "out" / "queue" / name).rglob(queue_id))
    return next(files, None)


def later(settings: Settings, queue_id: str) -> bool:
    """Make a mail that is put off due in an hour only; whether that has been so since the look before."""
    file = path(settings, queue_id)
    if file is None or file.relative_to(settings.state / "out" / "queue").parts[0] != "deferred":
        return False
    try:
        if file.stat().st_mtime > time.time() + 1800:
            return True
        os.utime(file, (time.time() + 3600,) * 2)
    except FileNotFoundError:  # just now it is tried again
        pass
    return False


def execute(settings: Settings, query: str) -> None:
    with psycopg.connect(conninfo(settings, "system"), autocommit=True) as db:
        db.execute(query)  # type: ignore[call-overload]


def test_what_is_held_waits_in_postfix_and_goes_on_when_it_is_released(
    stack: Settings, put_off: dict[str, str], outside: Outside
) -> None:
    execute(stack, "INSERT INTO hold (provider) VALUES ('gmx')")
    tend(stack)
    tend(stack)
    assert {provider: place(stack, each) for provider, each in put_off.items()} == {"gmx": "hold", "google": "deferred"}
    execute(stack, "INSERT INTO queue_retry (node) VALUES ('main')")
    tend(stack)
    until(lambda: not place(stack, put_off["google"]))
    assert place(stack, put_off["gmx"]) == "hold"
    execute(stack, "DELETE FROM hold")
    tend(stack)
    until(lambda: not place(stack, put_off["gmx"]))
    assert sorted(mail[1][0] for mail in outside.received) == ["r1@gmx.example", "r2@google.example"]
    assert not (stack.state / HELD).read_text().strip()


def test_a_retry_of_one_provider_leaves_the_others_their_time(
    stack: Settings, put_off: dict[str, str], outside: Outside
) -> None:
    execute(stack, "INSERT INTO queue_retry (node, provider) VALUES ('main', 'google'), ('elsewhere', 'gmx')")
    tend(stack)
    until(lambda: not place(stack, put_off["google"]))
    assert place(stack, put_off["gmx"]) == "deferred"
    assert [mail[1][0] for mail in outside.received] == ["r2@google.example"]
    with psycopg.connect(conninfo(stack, "system")) as db:
        rows = db.execute("SELECT node, mails, done_at IS NOT NULL FROM queue_retry ORDER BY node").fetchall()
    assert rows == [("elsewhere", None, False), ("main", 1, True)]


def test_what_an_administrator_holds_by_hand_is_left_alone(
    stack: Settings, put_off: dict[str, str], outside: Outside
) -> None:
    subprocess.run(["postsuper", "-c", stack.state / "out/etc", "-h", put_off["gmx"]], check=True, capture_output=True)
    execute(stack, "INSERT INTO hold (provider) VALUES ('google')")
    tend(stack)
    execute(stack, "DELETE FROM hold")
    tend(stack)
    until(lambda: not place(stack, put_off["google"]))
    assert place(stack, put_off["gmx"]) == "hold"
    subprocess.run(["postsuper", "-c", stack.state / "out/etc", "-d", put_off["gmx"]], check=True, capture_output=True)


def test_deferred_mail_is_put_off_by_chance_once_and_never_made_earlier(
    stack: Settings, put_off: dict[str, str]
) -> None:
    files = [path(stack, each) for each in put_off.values()]
    due = int(time.time()) + 4000  # as Postfix notes it: a whole second
    for file in files:
        assert file is not None
        os.utime(file, (due, due))
        os.utime(file.parent)
    tend(stack)
    found = [file.stat().st_mtime_ns for file in files if file]
    assert all(due * 10**9 < each <= due * 10**9 + 1000 * 10**9 for each in found)
    assert len(set(found)) == len(files)
    tend(stack)
    assert [file.stat().st_mtime_ns for file in files if file] == found


def test_a_mail_that_a_rule_gave_up_leaves_at_once_and_the_log_calls_it_expired(
    stack: Settings, put_off: dict[str, str]
):
    with psycopg.connect(conninfo(stack, "system"), autocommit=True) as db:
        for queue_id in (put_off["gmx"], "4Gone4Gone4"):
            db.execute("INSERT INTO give_up VALUES ('main', %s, 77, 1, 'never-on-retry')", [queue_id])
    tend(stack)
    until(lambda: place(stack, put_off["gmx"]) == "")
    log = stack.state / "log" / "out.mail.log"
    said = f"{put_off['gmx']}: from=<"
    until(lambda: any(said in line and "status=force-expired" in line for line in log.read_text().splitlines()))
    assert place(stack, put_off["google"]) == "deferred"
    with psycopg.connect(conninfo(stack, "system")) as db:
        assert db.execute("SELECT count(*) FROM give_up").fetchone() == (0,)


async def test_a_connection_ends_in_order_after_all_that_was_written(stack: Settings, outside: Outside) -> None:
    session = await Session.connect("127.0.0.1", stack.port["out"], "sender.house.example")
    answer = session.send(b"b.e1.other.system@house.example", b"last@elsewhere.example", b"Subject: last\r\n\r\nHi\r\n")
    assert await session.quit(), "the server said goodbye"
    assert answer.result().code == 250
    assert not session.open
    assert not await session.quit(), "that was over already"
    until(lambda: [mail[1] for mail in outside.received] == [["last@elsewhere.example"]])


def test_a_queue_manager_that_was_stopped_and_forgotten_goes_on(stack: Settings) -> None:
    """Whoever stops Postfix in order may be killed in the middle of it."""
    settle(stack.state, "out")
    until(lambda: queue_manager(stack)[1] == "T")  # a signal is on its way until its receiver's next turn
    pid, _ = queue_manager(stack)
    since: dict[int, float] = {}
    thaw(stack.state, "out", since)
    assert queue_manager(stack) == (pid, "T"), "it may be an orderly stop"
    since[pid] -= 16
    thaw(stack.state, "out", since)
    until(lambda: queue_manager(stack) == (pid, "S"))
    thaw(stack.state, "out", since)
    assert since == {}


def test_when_the_clock_was_set_back_what_waits_is_due_as_much_sooner(
    stack: Settings, put_off: dict[str, str], outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [7200.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: time.time() + ahead[0], monotonic=time.monotonic))
    watch = clock.Clock(stack.model_copy(update={"retry_first": 900}))
    watch.look()
    due = time.time() + ahead[0]
    set_due(stack, put_off["gmx"], due + 1)
    set_due(stack, put_off["google"], due + 200)
    watch.look()
    assert due_of(stack, put_off["gmx"]) == pytest.approx(due + 1, abs=1), "the clock goes on as before"
    ahead[0] = 0
    watch.look()
    until(lambda: len(outside.received) == 1)
    assert due_of(stack, put_off["google"]) == pytest.approx(due + 200 - 7200, abs=5)
    ahead[0] = 7200
    watch.look()
    assert due_of(stack, put_off["google"]) == pytest.approx(due + 200 - 7200, abs=5), "ahead again: nothing to mend"


def test_mail_that_seemed_old_by_a_clock_ahead_waits_no_longer_than_after_its_first_try(
    stack: Settings, put_off: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [7200.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: time.time() + ahead[0], monotonic=time.monotonic))
    watch = clock.Clock(stack)
    watch.look()
    for each in put_off.values():
        set_due(stack, each, time.time() + ahead[0] + 4000)
    ahead[0] = 0
    watch.look()
    now = time.time()
    for each in put_off.values():
        assert now + 0.9 * stack.retry_first < due_of(stack, each) < now + 1.3 * stack.retry_first


def test_mail_noted_by_a_clock_that_nobody_saw_set_back_is_due_now(
    stack: Settings, put_off: dict[str, str], outside: Outside
) -> None:
    set_due(stack, put_off["gmx"], time.time() + 30 * 86400)
    clock.Clock(stack).look()
    until(lambda: len(outside.received) == 1)
    assert due_of(stack, put_off["google"]) > time.time() + 1800, "that one is due when Postfix meant"


def test_mail_that_came_in_while_the_clock_was_ahead_is_taken_up(stack: Settings, outside: Outside) -> None:
    incoming = stack.state / "out" / "queue" / "incoming"
    qmgr, _ = queue_manager(stack)
    os.kill(qmgr, signal.SIGSTOP)  # it does not look before the mail seems to come from the future
    try:
        with smtplib.SMTP("127.0.0.1", stack.port["out"]) as client:
            client.sendmail("a@house.example", ["r@gmx.example"], b"Subject: hello\r\n\r\nHello\r\n")
        (mail,) = [path for path in incoming.rglob("*") if path.is_file()]
        os.utime(mail, (time.time() + 7200, time.time() + 7200))
    finally:
        os.kill(qmgr, signal.SIGCONT)
    time.sleep(1)
    assert mail.exists(), "Postfix lets it lie"
    clock.Clock(stack).look()
    until(lambda: len(outside.received) == 1)


def test_what_is_held_by_hand_does_not_keep_a_time_from_the_future(stack: Settings, put_off: dict[str, str]) -> None:
    subprocess.run(["postsuper", "-c", stack.state / "out" / "etc", "-h", put_off["gmx"]], check=True, cwd="/")
    set_due(stack, put_off["gmx"], time.time() + 30 * 86400)
    clock.Clock(stack).look()
    assert due_of(stack, put_off["gmx"]) <= time.time()
    subprocess.run(["postsuper", "-c", stack.state / "out" / "etc", "-d", put_off["gmx"]], check=True, cwd="/")


def queue_manager(settings: Settings) -> tuple[int, str]:
    """Process id and state of the one of `out`."""
    master = (settings.state / "out" / "queue" / "pid" / "master.pid").read_text().strip()
    for pid in of_state(settings.state):
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has just ended
            continue
        state, parent = rest.split()[:2]
        if name == "qmgr" and parent == master:
            return pid, state
    raise AssertionError("there is none")


def set_due(settings: Settings, queue_id: str, due: float) -> None:
    file = path(settings, queue_id)
    assert file is not None
    os.utime(file, (due, due))


def due_of(settings: Settings, queue_id: str) -> float:
    file = path(settings, queue_id)
    assert file is not None
    return file.stat().st_mtime
