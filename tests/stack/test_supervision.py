"""Roles that die come back; what is stopped is gone; installations side by side do not meet."""

import os
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stackworld import RESI, ROLES, STRANGER, fetch, send, wait_for

from thurn.settings import Settings, load_settings
from thurn.stack.control import StackError, down, start_stack, status, up
from thurn.stack.processes import of_state
from thurn.stack.supervision import Supervisor
from thurn.stack.supervisor import PIDFILE

pytestmark = pytest.mark.stack


@pytest.fixture
def state() -> Iterator[Path]:
    """A place for an installation of the test's own."""
    path = Path(tempfile.mkdtemp(prefix="tsv-", dir="/tmp"))
    yield path
    down(path)
    shutil.rmtree(path)


@pytest.mark.parametrize("role", ROLES)
def test_a_daemon_that_is_killed_comes_back(stack: Settings, role: str) -> None:
    pid = status(stack)[role].process.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: status(stack)[role].process.pid not in {pid, None} and status(stack)[role].ok)


def test_mail_flows_after_everything_was_killed_at_once(stack: Settings) -> None:
    for role in status(stack).values():
        if role.process.pid:
            os.kill(role.process.pid, signal.SIGKILL)
    wait_for(lambda: all(status(stack)[role].ok for role in ROLES))
    marks: list[str] = []

    def taken() -> bool:
        """The sender's server tries again while guard has not yet found its way back to the database."""
        try:
            marks.append(send(stack, STRANGER, RESI))
        except smtplib.SMTPDataError as later:
            if not 400 <= later.smtp_code < 500:
                raise
        except smtplib.SMTPRecipientsRefused as later:
            if not 400 <= later.recipients[RESI][0] < 500:
                raise
        return bool(marks)

    wait_for(taken)
    assert fetch(stack, RESI, marks[0])


def test_a_second_up_changes_nothing(stack: Settings) -> None:
    before = {name: role.process.pid for name, role in status(stack).items()}
    up(stack, ROLES)
    assert {name: role.process.pid for name, role in status(stack).items()} == before


def test_down_leaves_nothing_behind_and_up_finds_the_data_again(state: Path) -> None:
    start_stack(state, ["db", "redis", "out"])
    wait_for(lambda: len(of_state(state)) > 10)  # Postfix is there before the last of its helpers
    assert down(state) == 0, "an orderly stop left processes"
    assert of_state(state) == []
    assert not list(state.glob("run/ctl/*.pid"))
    settings = start_stack(state, ["db"])
    assert status(settings)["db"].ok


def test_what_serves_an_installation_is_found_also_without_the_right_to_trace(stack: Settings) -> None:
    """As in most containers, where even root may not read other users' environment."""
    code = (
        f"from pathlib import Path; from thurn.stack.processes import of_state; print(*of_state(Path('{stack.state}')))"
    )
    found = subprocess.run(
        ["setpriv", "--bounding-set", "-sys_ptrace", sys.executable, "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    masters = {role.process.pid for role in status(stack).values() if role.process.pid}
    assert masters < {int(pid) for pid in found.stdout.split()}


def test_after_a_killed_supervisor_up_clears_away_and_starts_anew(state: Path) -> None:
    settings = start_stack(state, ["db", "redis", "imap", "out"])
    os.kill(int((state / PIDFILE).read_text()), signal.SIGKILL)
    (state / PIDFILE).write_text("1")  # stale, and somebody else's by now
    up(settings, ["db", "redis", "imap", "out"])
    assert all(status(settings)[role].ok for role in ("db", "redis", "imap", "out"))


def test_two_installations_live_side_by_side(stack: Settings, state: Path) -> None:
    other = start_stack(state, ["db", "redis", "out"])
    assert not set(other.port.values()) & set(stack.port.values())
    assert status(stack)["db"].process.pid != status(other)["db"].process.pid
    down(state)
    assert all(status(stack)[role].ok for role in ROLES)


def test_a_changed_setting_restarts_the_roles_it_concerns(state: Path) -> None:
    settings = start_stack(state, ["db", "out", "sender"])
    before = status(settings)
    (state / "thurn.toml").write_text("retry_first = 7\n")
    up(load_settings(state), ["db", "out"])
    after = status(settings)
    assert after["db"].process.pid == before["db"].process.pid
    assert after["out"].process.pid != before["out"].process.pid
    assert after["sender"].process.pid == before["sender"].process.pid, "it was not asked for"
    up(load_settings(state), ["db", "out", "sender"])
    last = status(settings)
    assert last["out"].process.pid == after["out"].process.pid
    assert last["sender"].process.pid != before["sender"].process.pid, "our own roles read settings once"
    assert "minimal_backoff_time = 7s" in (state / "out" / "etc" / "main.cf").read_text()


def test_a_role_that_cannot_start_is_reported_with_the_end_of_its_log(state: Path) -> None:
    start_stack(state, ["redis"])
    Supervisor(state).stop("redis")
    wait_for(lambda: Supervisor(state).processes()["redis"].state == "stopped")
    (state / "redis" / "dump.rdb").write_bytes(b"this is no dump")
    with pytest.raises(StackError) as problem:
        start_stack(state, ["redis"])
    assert "“redis” does not come up" in str(problem.value)
    assert "Wrong signature" in str(problem.value)
    assert f"{state}/log/redis.log" in str(problem.value)


def test_an_unknown_role_is_named(state: Path) -> None:
    with pytest.raises(StackError, match="no role “teapot”"):
        start_stack(state, ["teapot"])


def test_only_masters_and_those_who_become_somebody_else_keep_root(stack: Settings) -> None:
    allowed = {"master", "dovecot", "log", "config", "imap", "pop3", "managesieve", "lmtp", "auth", "auth-worker"}
    supervisor = int((stack.state / PIDFILE).read_text())

    def others() -> dict[int, str]:
        found = {}
        for pid in of_state(stack.state):
            process = Path(f"/proc/{pid}")
            try:
                if process.stat().st_uid == 0 and pid != supervisor:
                    found[pid] = (process / "comm").read_text().strip()
            except OSError:  # it has just ended
                continue
        return {pid: name for pid, name in found.items() if name not in allowed}

    kept = others()

    def none_keeps_it() -> bool:
        """Whoever is starting becomes somebody else in a moment."""
        left = others()
        for pid in set(kept) - set(left):
            del kept[pid]
        return not kept

    wait_for(none_keeps_it)
