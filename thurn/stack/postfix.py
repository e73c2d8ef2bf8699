"""What the two Postfix instances share: where the parts are, logging, and how main.cf and master.cf are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from thurn.stack.files import Directory, File

DAEMONS = "/usr/lib/postfix/sbin"
SMTP = 25
# Values of `listen` that mean every address.
EVERYWHERE = ("", "*", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


@dataclass(frozen=True)
class Service:
    """One line of master.cf (master(5)) with its `-o` overrides."""

    name: str
    type: str
    command: str
    private: str = "-"
    unprivileged: str = "-"
    wakeup: str = "-"
    limit: str = "-"
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The line; chroot is off everywhere, for it would hide the sockets in the state directory."""
        columns = (self.name, self.type, self.private, self.unprivileged, "n", self.wakeup, self.limit, self.command)
        overrides = "".join(f"\n  -o {{{name} = {value}}}" for name, value in self.options.items())
        return " ".join(columns) + overrides


def inner_door(listen: str, port: int) -> str:
    """Address at which `out` hands mail to `mx` on the same machine.

    On port 25 Postfix takes 127.0.0.1 for itself and calls it a loop; another address of the loopback network will do.
    """
    if port == SMTP:
        return "127.0.0.2" if listen in {*EVERYWHERE, "127.0.0.1"} else listen
    return "127.0.0.1" if listen in EVERYWHERE else listen


def directories(instance: str) -> list[Directory]:
    """Folders of an instance; `postfix check` makes those inside the queue."""
    return [
        Directory(instance),
        Directory(f"{instance}/etc"),
        Directory(f"{instance}/queue"),
        Directory(f"{instance}/data", 0o700, "postfix:postfix"),
    ]


def base(state: Path, instance: str, *, hostname: str) -> dict[str, str]:
    """Parameters of both instances."""
    return {
        "compatibility_level": "3.6",
        "queue_directory": f"{state}/{instance}/queue",
        "data_directory": f"{state}/{instance}/data",
        "command_directory": "/usr/sbin",
        "daemon_directory": DAEMONS,
        "mail_owner": "postfix",
        "setgid_group": "postdrop",
        "maillog_file": f"{state}/log/{instance}.mail.log",
        "maillog_file_prefixes": f"{state}/log",
        "syslog_name": "postfix",
        "myhostname": hostname,
        "myorigin": hostname,
        "mydestination": "",
        "local_recipient_maps": "inline:{ { nobody@invalid = none } }",  # an empty value would accept everybody
        "local_transport": "error:5.1.1 There are no mailboxes at this name",
        "alias_maps": "",
        "alias_database": "",
        "biff": "no",
        "append_dot_mydomain": "no",
        "allow_percent_hack": "no",
        "swap_bangpath": "no",
        "recipient_delimiter": "+",
        "parent_domain_matches_subdomains": "",
        "disable_vrfy_command": "yes",
        "notify_classes": "",
        "smtp_tls_security_level": "may",
        "smtp_tls_loglevel": "0",
        "enable_long_queue_ids": "yes",  # an id is never used twice, so a log line names one message for ever
    }


def main_cf(parameters: Mapping[str, str]) -> str:
    """The text of main.cf."""
    return "# Rendered by Thurn.\n" + "".join(f"{name} = {value}".rstrip() + "\n" for name, value in parameters.items())


def master_cf(services: list[Service]) -> str:
    """The text of master.cf."""
    return "# Rendered by Thurn.\n" + "".join(f"{service}\n" for service in services)


def plumbing() -> list[Service]:
    """Services every instance needs, with Postfix's own limits."""
    return [
        Service("cleanup", "unix", "cleanup", private="n", limit="0"),
        Service("qmgr", "unix", "qmgr", private="n", wakeup="30", limit="1"),
        Service("tlsmgr", "unix", "tlsmgr", wakeup="1000?", limit="1"),
        Service("rewrite", "unix", "trivial-rewrite"),
        Service("bounce", "unix", "bounce", limit="0"),
        Service("defer", "unix", "bounce", limit="0"),
        Service("trace", "unix", "bounce", limit="0"),
        Service("proxymap", "unix", "proxymap"),
        Service("showq", "unix", "showq", private="n"),
        Service("error", "unix", "error"),
        Service("retry", "unix", "error"),
        Service("discard", "unix", "discard"),
        Service("anvil", "unix", "anvil", limit="1"),
        Service("scache", "unix", "scache", limit="1"),
        Service("postlog", "unix-dgram", "postlogd", private="n", limit="1"),
    ]


def files(instance: str, parameters: Mapping[str, str], services: list[Service]) -> list[File]:
    """main.cf and master.cf of an instance."""
    return [
        File(f"{instance}/etc/main.cf", main_cf(parameters)),
        File(f"{instance}/etc/master.cf", master_cf(services)),
    ]
