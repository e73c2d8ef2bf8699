"""Talks to a running supervisord: XML-RPC over its UNIX socket."""

import datetime as dt
import os
import subprocess
import sys
import time
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport

from thurn.stack.processes import end_all, finish, settle, wait_for_agents
from thurn.stack.supervisor import CONFIG, PIDFILE, SOCKET

POSTFIX = ("mx", "out")
_UNREACHABLE = (OSError, xmlrpc.client.ProtocolError)


@dataclass(frozen=True)
class Process:
    """A role as the supervisor sees it: running, starting, stopping, stopped, or failing (ends again and again)."""

    state: str
    pid: int | None
    since: dt.datetime | None


class Supervisor:
    """The supervisor of one state directory, running or not."""

    def __init__(self, state: Path) -> None:
        self._state = state

    @property
    def _rpc(self) -> Any:  # every answer of XML-RPC is
        """A new connection: supervisor's transport does not recover from one that failed."""
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._state / SOCKET}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def running(self) -> bool:
        """Whether it answers."""
        try:
            self._rpc.getState()
        except _UNREACHABLE:
            return False
        return True

    def launch(self) -> None:
        """Start it, after clearing what a killed one has left. Raises RuntimeError if it does not come."""
        wait_for_agents(self._state)
        end_all(self._state)
        for leftover in (SOCKET, PIDFILE):
            (self._state / leftover).unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._state / CONFIG)]
        done = subprocess.run(
            command,
            env=os.environ | {"SUPERVISED_STATE": str(self._state)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        deadline = time.monotonic() + 15
        while not self.running():
            if done.returncode != 0 or time.monotonic() > deadline:
                raise RuntimeError(f"supervisord did not start: {done.stdout}{done.stderr}".strip())
            time.sleep(0.05)

    def reread(self) -> None:
        """Take over a changed configuration; a role whose command changed is stopped and has to be started again."""
        ((added, changed, removed),) = self._rpc.reloadConfig()
        for name in (*changed, *removed):
            if name in POSTFIX:
                settle(self._state, name)
            self._rpc.stopProcessGroup(name)
            self._rpc.removeProcessGroup(name)
        for name in (*added, *changed):
            self._rpc.addProcessGroup(name)

    def start(self, role: str) -> None:
        """Start a role; no harm if it runs."""
        if role in POSTFIX and (found := self.processes().get(role)) and found.state == "stopped":
            finish(self._state, role)
        self._call("startProcess", role, allowed=(Faults.ALREADY_STARTED, Faults.SPAWN_ERROR))

    def stop(self, role: str) -> None:
        """Ask a role to end, without waiting; no harm if it does not run. A Postfix ends what it has begun first."""
        if role in POSTFIX:
            settle(self._state, role)
        self._call("stopProcess", role, allowed=(Faults.NOT_RUNNING, Faults.BAD_NAME))

    def sweep(self, role: str) -> None:
        """End what a role that has stopped has left: see Program.stop of Postfix."""
        if role in POSTFIX:
            finish(self._state, role)

    def shut_down(self) -> None:
        """End the supervisor itself."""
        try:
            self._rpc.shutdown()
        except (*_UNREACHABLE, xmlrpc.client.Fault):
            pass

    def processes(self) -> dict[str, Process]:
        """Every role it knows; empty when it does not run."""
        try:
            found: list[dict[str, Any]] = self._rpc.getAllProcessInfo()
        except _UNREACHABLE:
            return {}
        return {info["name"]: _process(info) for info in found}

    def _call(self, method: str, role: str, *, allowed: tuple[int, ...]) -> None:
        try:
            getattr(self._rpc, method)(role, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in allowed:
                raise


_STATES = {
    "RUNNING": "running",
    "STARTING": "starting",
    "STOPPING": "stopping",
    "STOPPED": "stopped",
    "BACKOFF": "failing",
    "FATAL": "failing",
    "EXITED": "failing",
    "UNKNOWN": "failing",
}


def _process(info: dict[str, Any]) -> Process:
    start = dt.datetime.fromtimestamp(info["start"], dt.UTC) if info["start"] else None
    return Process(_STATES[info["statename"]], info["pid"] or None, start if info["pid"] else None)
