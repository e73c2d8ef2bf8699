"""Start, stop and look at an installation."""

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psycopg

from thurn.db.connect import conninfo
from thurn.db.migrate import migrate, newest_revision, prepare_database
from thurn.nodes.fence import FENCED
from thurn.nodes.gate import refusal
from thurn.settings import Settings, load_settings
from thurn.stack.checks import complaints
from thurn.stack.health import probe
from thurn.stack.postgres import admin_conninfo
from thurn.stack.prepare import prepare
from thurn.stack.processes import end_all, wait_until_gone
from thurn.stack.roles import PYTHON, roles
from thurn.stack.supervision import Process, Supervisor
from thurn.webmail import schema as webmail_schema

_PATIENCE = 90.0  # seconds for a role to become healthy
_FAILING = 8.0  # seconds of ending again and again until we stop hoping
_LOG_LINES = 12
_SETTINGS = "run/ctl/settings.{}"  # with which a role of ours was started

# Those who use others end before them.
_WAVES = (
    ("edge", "webmail", "keeper"),
    ("sender", "worker", "web", "feedback", "simulate"),
    ("mx", "out", "imap", "spam"),
    ("guard",),
    ("redis", "db"),
)

Report = Callable[[str], None]


class StackError(Exception):
    """Something keeps the installation from running; the text is for people: what happened, why, what to do."""


@dataclass(frozen=True)
class RoleStatus:
    """A role: its process, and whether it does its work (`health` is `ok`, `-` when stopped, else the reason)."""

    process: Process
    health: str

    @property
    def ok(self) -> bool:
        """Whether it runs and answers."""
        return self.process.state == "running" and self.health == "ok"


def start_stack(state: Path, roles: list[str]) -> Settings:
    """Start `roles` of the installation in `state` and wait until all are well; what tests of other features call.

    The directory is made when it is new; settings come from its thurn.toml. Raises StackError.
    """
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    settings = load_settings(state)
    up(settings, roles, wait=True)
    return settings


def up(settings: Settings, wanted: Sequence[str] = (), *, wait: bool = True, report: Report | None = None) -> None:
    """Start `wanted` roles (none: all) in their order. Idempotent; a role whose configuration changed is restarted.

    So is one of our own that was started with other settings.

    With `wait`: until every one is healthy. `report` gets one line for each step. Raises StackError.
    """
    chosen = _chosen(settings, wanted)
    if found := complaints(settings.state, node=bool(settings.joined)):
        raise StackError("\n\n".join(found))
    if settings.joined and (why := refusal(settings)):
        raise StackError(why)
    say = report or _silent
    try:
        changed = prepare(settings)
        with _alone(settings.state):
            supervisor = Supervisor(settings.state)
            _ensure_supervisor(supervisor)
            before = supervisor.processes()
            for role in chosen:
                stale = role in changed or _has_other_settings(settings, role)
                if before[role].state == "failing" or (stale and before[role].state != "stopped"):
                    _stop_and_wait(supervisor, (role,))
                if role == "webmail":
                    webmail_schema.bring_up_to_date(settings)
                if supervisor.processes()[role].state == "stopped":
                    say(f"Starting {role}")
                    _forget_signs_of_life(settings.state, role)
                    _note_settings(settings, role)
                    supervisor.start(role)
                if role == "db":
                    wait_until_healthy(settings, supervisor, ["db"])
                    _bring_up_to_date(settings, say)
        if wait:
            wait_until_healthy(settings, supervisor, chosen)
    except (FileNotFoundError, RuntimeError) as problem:
        raise StackError(str(problem)) from problem


def down(state: Path) -> int:
    """Stop everything that serves `state`; return how many processes an orderly stop left to be ended one by one."""
    supervisor = Supervisor(state)
    if supervisor.running():
        with _alone(state):
            for wave in _WAVES:
                _stop_and_wait(supervisor, wave)
            supervisor.shut_down()
            wait_until_gone(state, 30.0)
    left = end_all(state)
    _forget_signs_of_life(state, "*")
    return left


def status(settings: Settings) -> dict[str, RoleStatus]:
    """Every role of the installation, asked now."""
    processes = Supervisor(settings.state).processes()
    return {role: role_status(role, settings, processes.get(role)) for role in roles(settings)}


def role_status(role: str, settings: Settings, process: Process | None) -> RoleStatus:
    """One role; probes it only if its process runs."""
    if process is None or process.state == "stopped":
        return RoleStatus(Process("stopped", None, None), "-")
    if process.state == "failing":
        return RoleStatus(process, "ends as soon as it is started")
    return RoleStatus(process, probe(role, settings) or "ok")


def wait_until_healthy(settings: Settings, supervisor: Supervisor, wanted: Sequence[str]) -> None:
    """Return when all of `wanted` are healthy; raise StackError for the first that has no prospect of it."""
    deadline = time.monotonic() + _PATIENCE
    failing_since: dict[str, float] = {}
    waiting = list(wanted)
    while waiting:
        fenced = _fenced(settings.state)
        processes = supervisor.processes()
        fenced = fenced or _fenced(settings.state)
        for role in list(waiting):
            found = role_status(role, settings, processes.get(role))
            now = time.monotonic()
            if found.ok:
                waiting.remove(role)
                continue
            if found.process.state == "failing":
                failing_since.setdefault(role, now)
            elif found.process.state == "running":  # `starting` may be the next try of one that fails
                failing_since.pop(role, None)
            hopeless = role in failing_since and now - failing_since[role] > _FAILING
            # Back after a while, a further machine keeps `out` stopped until it has reached the database.
            stopped = found.process.state == "stopped" and not (role == "out" and fenced)
            if hopeless or stopped or now > deadline:
                raise StackError(_why(settings.state, role, found))
        time.sleep(0.1)


def bring_up_to_date(settings: Settings) -> str:
    """Roles, database and schema as this version wants them; returns the schema's revision. Raises StackError."""
    try:
        if not settings.database_url:
            prepare_database(settings, admin_conninfo(settings.state, settings.database_port))
        return migrate(settings)
    except psycopg.OperationalError as problem:
        raise StackError(
            f"The database cannot be reached: {problem}\nStart it with `thurn up db`, or check database_url in "
            f"{settings.state}/thurn.toml."
        ) from problem


def _bring_up_to_date(settings: Settings, report: Report) -> None:
    """The same, unless the schema is the newest already: a second `up` is quick."""
    try:
        with psycopg.connect(conninfo(settings, "owner")) as db:
            found = db.execute("SELECT version_num FROM alembic_version").fetchone()
        if found is not None and found[0] == newest_revision():
            return
    except psycopg.Error:
        pass  # roles, database or schema are not there yet
    report("Preparing the database")
    bring_up_to_date(settings)


def _has_other_settings(settings: Settings, role: str) -> bool:
    """Whether a role of ours was started with other settings: it reads them once, and no file of it tells."""
    if role not in PYTHON:
        return False
    try:
        return (settings.state / _SETTINGS.format(role)).read_text() != _digest(settings)
    except FileNotFoundError:
        return True


def _note_settings(settings: Settings, role: str) -> None:
    if role in PYTHON:
        (settings.state / _SETTINGS.format(role)).write_text(_digest(settings))


def _digest(settings: Settings) -> str:
    """A hash: a database_url may hold a password. The directory is no setting: it may be moved."""
    return sha256(settings.model_dump_json(exclude={"state"}).encode()).hexdigest()


def _silent(line: str) -> None:
    """Report to nobody."""


def _chosen(settings: Settings, wanted: Sequence[str]) -> list[str]:
    known = roles(settings)
    for role in wanted:
        if role not in known:
            hint = " The simulated internet exists only with `--simulate`." if role == "simulate" else ""
            raise StackError(f"There is no role “{role}” here.{hint} Roles are: {', '.join(known)}.")
    return [role for role in known if not wanted or role in wanted]


def _ensure_supervisor(supervisor: Supervisor) -> None:
    if supervisor.running():
        supervisor.reread()
    else:
        supervisor.launch()


def _stop_and_wait(supervisor: Supervisor, chosen: Sequence[str]) -> None:
    """Stop these together; the supervisor kills what does not end in its time."""
    for role in chosen:
        supervisor.stop(role)
    while any(supervisor.processes().get(role, _GONE).state not in {"stopped", "failing"} for role in chosen):
        time.sleep(0.05)
    for role in chosen:
        supervisor.sweep(role)


_GONE = Process("stopped", None, None)


def _forget_signs_of_life(state: Path, role: str) -> None:
    """Those of an earlier life would pass for the new one's."""
    for sign in (state / "run").glob(f"{role}.alive"):
        sign.unlink(missing_ok=True)


def _fenced(state: Path) -> str:
    """Why `keeper` of a further machine has stopped `out`; empty if it has not."""
    try:
        return (state / FENCED).read_text()
    except FileNotFoundError:
        return ""


def _why(state: Path, role: str, found: RoleStatus) -> str:
    if role == "out" and (why := _fenced(state)):
        return (
            f"This machine sends nothing, so “out” is kept stopped: {why}.\n"
            f"It starts by itself when that is over; {state}/log/keeper.log says more."
        )
    log = state / "log" / f"{role}.log"
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
    end = "\n".join(f"    {line}" for line in lines) or "    (it is empty)"
    kind = "Our own role" if role in PYTHON else "The role"
    return (
        f"{kind} “{role}” does not come up: {found.health} (process {found.process.state}).\n"
        f"The end of its log {log}:\n{end}\n"
        f"Put right what the log names, then run `thurn up` again; `thurn status` shows every role."
    )


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """One `up` or `down` at a time."""
    with (state / "run" / "ctl" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
