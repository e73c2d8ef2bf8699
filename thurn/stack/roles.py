"""The roles of an installation, in the order in which they start, and the command behind each."""

import sys

from thurn.settings import Settings
from thurn.stack import caddy, postgres, rspamd, webmail
from thurn.stack.postfix import DAEMONS
from thurn.stack.supervisor import Program

# Our own roles and the module whose `main(settings)` is the role.
PYTHON = {
    "feedback": "thurn.feedback.service",
    "guard": "thurn.guard.service",
    "keeper": "thurn.stack.keeper",
    "web": "thurn.web.serve",
    "worker": "thurn.jobs.worker",
    "sender": "thurn.delivery.sender",
    "simulate": "thurn.simulate.service",
}

# The simulated internet comes before those who ask it for names or hand it mail.
# Who answers the daemons comes before them.
ORDER = (
    *("db", "redis", "simulate", "guard", "keeper", "spam", "imap", "mx", "out", "feedback", "web", "worker"),
    *("sender", "webmail", "edge"),
)


# Of a further sending machine.
OF_NODE = ("keeper", "out", "feedback", "sender")


def roles(settings: Settings) -> tuple[str, ...]:
    """The roles this installation has."""
    if settings.joined:
        return OF_NODE
    absent = set() if settings.simulate else {"simulate"}
    if settings.database_url:
        absent.add("db")
    return tuple(role for role in ORDER if role not in absent)


def programs(settings: Settings) -> list[Program]:
    """Every role as the supervisor runs it."""
    return [_program(role, settings) for role in roles(settings)]


def _program(role: str, settings: Settings) -> Program:
    state = settings.state
    command: tuple[str, ...]
    match role:
        case "db":
            command = (f"{postgres.binaries(state)}/postgres", "-D", f"{state}/db/cluster",
                       "-c", f"config_file={state}/db/postgresql.conf")  # fmt: skip
            # INT: fast shutdown; TERM would wait for clients to leave.
            return Program(role, command, "db", "postgres", stop="INT", stop_seconds=60)
        case "redis":
            return Program(role, ("/usr/bin/redis-server", f"{state}/redis/redis.conf"), "redis", "redis")
        case "spam":
            command = ("/usr/bin/rspamd", "-f", "-c", f"{state}/rspamd/etc/rspamd.conf", *rspamd.variables(state))
            # Its workers outlive it when it is killed, and hold its ports.
            sweeper = (sys.executable, "-m", "thurn.stack.sweep")
            return Program(role, command, "rspamd", "_rspamd", sweeper=sweeper)
        case "imap":
            command = ("/usr/sbin/dovecot", "-F", "-c", f"{state}/dovecot/etc/dovecot.conf")
            # Open sessions outlive a reload (shutdown_clients = no), and would outlive the end, too.
            return Program(role, command, "dovecot", whole_group=True)
        case "mx" | "out":
            # -d: stay in the supervisor's process group, by which what is left of the instance is found.
            # KILL: at TERM the master ends its agents in the middle of what they do, and a mail whose receiver has just
            # answered would go once more (RFC 1047). Without a master they end by themselves (processes.finish).
            return Program(role, (f"{DAEMONS}/master", "-d", "-c", f"{state}/{role}/etc"), role, stop="KILL")
        case "webmail":
            # Nothing of /etc/php: no folder of further .ini files. Its workers outlive it, too, and hold its socket.
            command = ("/usr/bin/env", "-i", "PHP_INI_SCAN_DIR=", webmail.program(), "-F", "-O", "-c",
                       f"{state}/webmail/php.ini", "-y", f"{state}/webmail/fpm.conf")  # fmt: skip
            sweeper = (sys.executable, "-m", "thurn.stack.sweep")
            return Program(role, command, "webmail", webmail.USER, sweeper=sweeper)
        case "edge":
            places = [f"{name}={state}/edge/data" for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")]
            command = (
                "/usr/bin/env",
                *places,
                "/usr/bin/caddy",
                "run",
                "--config",
                f"{state}/{caddy.CONFIG}",
                "--adapter",
                "caddyfile",
            )
            low = min(settings.port[name] for name in ("http", "https")) < 1024
            return Program(role, command, "edge", "caddy", capabilities=("net_bind_service",) if low else ())
        case _:
            groups = ("thurn", "postdrop") if role == "sender" else ()
            command = (sys.executable, "-m", "thurn.stack.run", role, str(state))
            # `keeper` places files of several users and has their daemons read them.
            return Program(role, command, ".", None if role == "keeper" else "thurn", groups)
