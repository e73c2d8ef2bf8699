"""A second sending machine: a network of its own where the kernel lets us, and a state directory that really joined.

Where namespaces are not permitted (a plain container) it has a loopback address of its own, and all else is the same.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import psycopg.sql
from installation import ROLES, installation, main_processes

from thurn.db.connect import conninfo, login_of
from thurn.settings import Settings, load_settings
from thurn.simulate.store import read
from thurn.stack.control import down
from thurn.stack.out_plan import load_plan
from thurn.stack.postgres import admin_conninfo
from thurn.stack.processes import end_all, of_state, wait_for_agents
from thurn.stack.supervision import Supervisor
from thurn.stack.supervisor import PIDFILE

THURN = str(Path(sys.executable).with_name("thurn"))
PATIENCE = 10  # seconds without the database until the second machine's Postfix stops


@dataclass(frozen=True)
class Net:
    """Where the machines are: the first one and the receivers as the second one reaches them, and what it sends from.

    Two cables: one to the first machine, one to the receivers. `command` runs something on the second machine.
    """

    first: str
    receivers: str
    second: str
    command: tuple[str, ...] = ()
    name: str = ""


@contextmanager
def network() -> Iterator[Net]:
    """A network namespace joined to ours by two pairs of interfaces."""
    name, number = f"thn{os.getpid()}", os.getpid() % 8000
    subnet = f"10.213.{number // 32}."
    inside = ("ip", "netns", "exec", name)
    steps = [("ip", "netns", "add", name), (*inside, "ip", "link", "set", "lo", "up")]
    for cable, at in (("a", 8 * (number % 32)), ("r", 8 * (number % 32) + 4)):
        near, far = f"{cable}{name}", f"{cable}x{name}"
        steps += [
            ("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name),
            ("ip", "address", "add", f"{subnet}{at + 1}/30", "dev", near),
            ("ip", "link", "set", near, "up"),
            (*inside, "ip", "address", "add", f"{subnet}{at + 2}/30", "dev", far),
            (*inside, "ip", "link", "set", far, "up"),
        ]
    at = 8 * (number % 32)
    there = Net(f"{subnet}{at + 1}", f"{subnet}{at + 5}", f"{subnet}{at + 6}", inside, name)
    try:
        permitted = all(subprocess.run(step, capture_output=True, check=False).returncode == 0 for step in steps)
        yield there if permitted else Net("127.0.0.1", "127.0.0.1", "127.0.0.2")
    finally:
        for cable in ("a", "r"):
            subprocess.run(["ip", "link", "delete", f"{cable}{name}"], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@dataclass
class Machine:
    """The second machine, under the name it joined by."""

    main: Settings
    net: Net
    name: str
    state: Path = field(default_factory=lambda: _fresh_state())

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A `thurn` command over there."""
        done = subprocess.run(
            [*self.net.command, THURN, *arguments, "--state", str(self.state)],
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def join(self) -> None:
        """By the command that `thurn node add` prints."""
        made = here(self.main, "node", "add", self.name)
        self.run(*made["command"].split()[1:], "--hostname", f"{self.name}.house.example")

    def up(self) -> None:
        """Start it and wait until all is well."""
        self.run("up", "--wait")

    def kill(self) -> int:
        """kill -9 of everything there but Postfix's agents, which end by themselves (RFC 1047); returns how many."""
        supervisor = int((self.state / PIDFILE).read_text())
        os.kill(supervisor, signal.SIGSTOP)  # else it restarts one while we kill the next
        running = [*main_processes(self.state), supervisor]
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        wait_for_agents(self.state)
        end_all(self.state, patience=0.1)  # nothing that would matter: what the kill has orphaned
        assert of_state(self.state) == []
        return len(running)

    def cut(self) -> None:
        """Cut the cable to the first machine; the receivers can still be reached.

        Without a network of its own: the database takes no connection of it any more, and ends those it has.
        """
        if self.net.name:
            subprocess.run(["ip", "link", "set", f"a{self.net.name}", "down"], check=True)
            return
        self._connections(0)

    def mend(self) -> None:
        """Put it in again."""
        if self.net.name:
            subprocess.run(["ip", "link", "set", f"a{self.net.name}", "up"], check=True)
            return
        self._connections(-1)

    def _connections(self, most: int) -> None:
        sql = psycopg.sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(
            psycopg.sql.Identifier(login_of(self.name)), most
        )
        with psycopg.connect(admin_conninfo(self.main.state, self.main.database_port), autocommit=True) as db:
            db.execute(sql)
            if most == 0:
                db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [login_of(self.name)]
                )

    def move_disk(self) -> None:
        """Its disk, copied into another machine: other inodes, another folder."""
        fresh = _fresh_state()
        fresh.rmdir()
        subprocess.run(["cp", "-a", self.state, fresh], check=True)
        shutil.rmtree(self.state)
        self.state = fresh

    def process(self, role: str) -> str:
        """What its supervisor says of a role."""
        return Supervisor(self.state).processes()[role].state

    def waiting(self) -> int:
        """Mails in its Postfix."""
        queue = self.state / "out" / "queue"
        return sum(path.is_file() for name in ("incoming", "active", "deferred") for path in (queue / name).rglob("*"))

    def able(self) -> bool:
        """Whether the first one lets it take mail, by what it said last."""
        return bool(
            question(self.main, "SELECT able AND seen_at > now() - interval '5 s' FROM node WHERE name = %s", self.name)
        )

    def settings(self) -> Settings:
        """As it reads them itself."""
        return load_settings(self.state)


MACHINES: dict[Path, Machine] = {}  # the second one of each installation that has two, by its state


def _fresh_state() -> Path:
    state = Path(tempfile.mkdtemp(prefix="tn-", dir="/tmp"))
    state.chmod(0o755)
    return state


@contextmanager
def two_machines(name: str = "two") -> Iterator[Settings]:
    """An installation, and a machine in MACHINES that has joined it, with a sending address in the default pool."""
    with ExitStack() as after:
        net = after.enter_context(network())
        port = _free_port(net.first)
        toml = (
            f'listen = "{net.first}"\ndatabase_listen = "{net.first}"\ndatabase_port = {port}\n'
            f'simulate_at = "{net.receivers}"\nnode_patience = {PATIENCE}\n'
        )
        main = after.enter_context(installation(toml=toml, roles=[*ROLES, "edge"]))
        machine = after.enter_context(second_machine(main, net, name))
        address(main, machine, "n2")
        MACHINES[main.state] = machine
        yield main


def _free_port(host: str) -> int:
    """Beside those that installations choose (`allocate_ports`), and below those of outgoing connections."""
    for port in random.sample(range(31_500, 32_700), 1200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError("no free port")


def address(main: Settings, machine: Machine, egress: str) -> None:
    """Give it a sending address in the default pool, and wait until its Postfix has it and it takes mail."""
    here(main, "egress", "add", egress, "--bind4", machine.net.second, "--node", machine.name, "--pool", "default")
    until(
        "the address is loaded", lambda: egress in {each.name for each in load_plan(machine.state).egresses}
    )  # fmt: skip
    until("it takes mail", machine.able)


@contextmanager
def second_machine(main: Settings, net: Net, name: str) -> Iterator[Machine]:
    """One that has joined and runs."""
    machine = Machine(main, net, name)
    try:
        machine.join()
        machine.up()
        yield machine
    finally:
        down(machine.state)
        shutil.rmtree(machine.state, ignore_errors=True)


def here(main: Settings, *arguments: str) -> Any:
    """A `thurn` command on the first machine; what it printed."""
    done = subprocess.run(
        [THURN, *arguments, "--json", "--state", str(main.state)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def show(main: Settings, name: str) -> str:
    """Whom a machine's loss is about, as the table an operator gets."""
    done = subprocess.run(
        [THURN, "node", "show", name, "--csv", "--state", str(main.state)], capture_output=True, text=True, check=True
    )
    return done.stdout


def came(main: Settings, campaign: int) -> dict[str, int]:
    """HELO name -> mails of a campaign that the receivers have taken from there."""
    with read(main.state / "sim" / "mail.sqlite3") as sim:
        rows = sim.execute("SELECT helo, count(*) AS n FROM message WHERE campaign = ? GROUP BY 1", [str(campaign)])
        return {row["helo"]: row["n"] for row in rows}


def arrivals(main: Settings, campaign: int) -> dict[str, list[float]]:
    """HELO name -> when each mail of a campaign arrived from there, in order."""
    found: dict[str, list[float]] = {}
    with read(main.state / "sim" / "mail.sqlite3") as sim:
        for row in sim.execute("SELECT helo, at FROM message WHERE campaign = ? ORDER BY at", [str(campaign)]):
            found.setdefault(row["helo"], []).append(row["at"])
    return found


def heard(main: Settings, campaign: int) -> set[str]:
    """Who holds a campaign's mail, or refused it for good, by the receivers."""
    with read(main.state / "sim" / "mail.sqlite3") as sim:
        rows = sim.execute(
            """SELECT recipient FROM message WHERE campaign = :c UNION
               SELECT recipient FROM refusal WHERE campaign = :c AND kind NOT IN ('greylist', 'rate', 'tempfail')""",
            {"c": str(campaign)},
        )
        return {row["recipient"] for row in rows}


def tried(main: Settings, egress: str) -> list[float]:
    """When the receivers heard of a mail by this sending address, taken or refused."""
    with read(main.state / "sim" / "mail.sqlite3") as sim:
        rows = sim.execute(
            "SELECT at FROM message WHERE sender LIKE :s UNION ALL SELECT at FROM refusal WHERE sender LIKE :s",
            {"s": f"b.{egress}.%"},
        )
        return [row["at"] for row in rows]


def refused(main: Settings, egress: str) -> int:
    """Mails by this sending address that were refused, for good or for now."""
    with read(main.state / "sim" / "mail.sqlite3") as sim:
        rows = sim.execute("SELECT count(*) AS n FROM refusal WHERE sender LIKE ?", [f"b.{egress}.%"])
        return int(rows.fetchone()["n"])


def question(main: Settings, sql: str, *values: object) -> Any:
    """One figure of the first machine's database."""
    with psycopg.connect(conninfo(main, "system")) as db:
        row = db.execute(sql, values).fetchone()
        return row[0] if row else None


def until(what: str, look: Any, patience: float = 120.0) -> None:
    """Wait for something."""
    end = time.monotonic() + patience
    while not look():
        assert time.monotonic() < end, f"{what}: not after {patience} s"
        time.sleep(0.1)
