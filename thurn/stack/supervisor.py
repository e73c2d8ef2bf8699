"""The configuration of supervisord, which starts every role, restarts what dies and keeps the logs."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from thurn.stack.files import Directory, File
from thurn.stack.processes import GROUPS

CONFIG = "run/ctl/supervisord.conf"
SOCKET = "run/ctl/sock"
PIDFILE = "run/ctl/supervisord.pid"


@dataclass(frozen=True)
class Program:
    """A role as the supervisor runs it.

    `user` None: the daemon starts as root and drops its privileges by itself. `groups`: the supplementary groups, in
    place of the user's own. `stop`: the signal that ends it, sent by the kernel if the supervisor itself is killed.
    `whole_group`: the signal goes to every process of the role, as its first one leaves some alone.
    `capabilities`: rights of root (capabilities(7)) that the user keeps, such as binding a port below 1024.
    `sweeper`: a command put before it that ends what a killed predecessor left, then becomes it.
    """

    name: str
    command: tuple[str, ...]
    directory: str
    user: str | None = None
    groups: tuple[str, ...] = ()
    stop: str = "TERM"
    stop_seconds: int = 15
    sweeper: tuple[str, ...] = ()
    whole_group: bool = False
    capabilities: tuple[str, ...] = ()

    def argv(self) -> list[str]:
        """The command, wrapped so that it gives up root at once and dies with the supervisor."""
        drop = []
        if self.user:
            drop = [f"--reuid={self.user}", f"--regid={self.user}", "--no-new-privs"]
            drop.append("--groups=" + ",".join(self.groups) if self.groups else "--init-groups")
        if self.capabilities:
            kept = ",".join(f"+{name}" for name in self.capabilities)
            drop += [f"--inh-caps={kept}", f"--ambient-caps={kept}"]
        return [*self.sweeper, "/usr/bin/setpriv", *drop, f"--pdeathsig={self.stop}", "--", *self.command]

    def recorded(self, state: Path) -> list[str]:
        """The command, after its process group has been written down: by it what a kill left behind is found again."""
        note = f'echo "{self.name} $$ $(cut -d " " -f 22 /proc/$$/stat)" >> {shlex.quote(str(state / GROUPS))}'
        return ["/bin/sh", "-c", f'{note}; exec "$@"', "sh", *self.argv()]


def directories() -> list[Directory]:
    """`run` is sticky: our own roles put their signs of life there, but only root controls the supervisor."""
    return [Directory("run", 0o1775, "root:thurn"), Directory("run/ctl", 0o700)]


def render(state: Path, programs: list[Program]) -> File:
    """supervisord's configuration. Nothing starts by itself: `thurn up` starts roles in their order."""
    head = f"""; Rendered by Thurn.
[unix_http_server]
file = {state}/{SOCKET}
chmod = 0700

[supervisord]
user = root
pidfile = {state}/{PIDFILE}
logfile = {state}/log/supervisor.log
logfile_maxbytes = 5MB
logfile_backups = 2
childlogdir = {state}/log
directory = {state}
umask = 022

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    return File(CONFIG, head + "".join(_section(state, i, program) for i, program in enumerate(programs)), 0o600)


def _section(state: Path, position: int, program: Program) -> str:
    command = shlex.join(program.recorded(state)).replace("%", "%%")
    return f"""
[program:{program.name}]
command = {command}
directory = {state}/{program.directory}
environment = SUPERVISED_STATE="{state}",SUPERVISED_ROLE="{program.name}"
priority = {position + 1}
autostart = false
autorestart = true
startsecs = 1
startretries = 1000
stopsignal = {program.stop}
stopwaitsecs = {program.stop_seconds}
stopasgroup = {str(program.whole_group).lower()}
killasgroup = true
redirect_stderr = true
stdout_logfile = {state}/log/{program.name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""
