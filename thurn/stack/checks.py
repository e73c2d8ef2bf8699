"""What has to be true before anything starts. Each function gives complaints for people: what, why, what to do."""

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import thurn

_SAFE = re.compile(r"[A-Za-z0-9/._+-]+")
_LONGEST = 60  # bytes; the name of a UNIX socket holds 107, and Dovecot appends up to 45

_PROGRAMS = {
    "/usr/sbin/postfix": "postfix",
    "/usr/lib/postfix/postfix-pgsql.so": "postfix-pgsql",
    "/usr/sbin/dovecot": "dovecot-core",
    "/usr/lib/dovecot/lmtp": "dovecot-lmtpd",
    "/usr/lib/dovecot/imap": "dovecot-imapd",
    "/usr/lib/dovecot/pop3": "dovecot-pop3d",
    "/usr/lib/dovecot/managesieve": "dovecot-managesieved",
    "/usr/lib/dovecot/modules/lib90_sieve_plugin.so": "dovecot-sieve",
    "/usr/lib/dovecot/modules/auth/libdriver_pgsql.so": "dovecot-pgsql",
    "/usr/bin/rspamd": "rspamd",
    "/usr/bin/redis-server": "redis-server",
    "/usr/bin/caddy": "caddy",
    "/usr/bin/curl": "curl",
    "/usr/share/roundcube/index.php": "roundcube-core",
    "/usr/share/roundcube/plugins/managesieve/managesieve.php": "roundcube-plugins",
}
_ROOT = (
    "Thurn must be started by root: its daemons listen on mail ports and each runs under a user of its own, which only "
    "root can arrange. Run the command again as root (or with sudo)."
)
_NAME = (
    "The state directory {state} has characters in its name that the daemons' configuration cannot hold. "
    "Choose one with letters, digits, dots, hyphens and underscores, by --state."
)
_DOVECOT = (
    "This machine has Dovecot {version}. Thurn writes configuration for 2.3, the one in Debian 12; version 2.4 reads "
    "another language. Run Thurn on Debian 12."
)
_LENGTH = (
    "The path of the state directory {state} is too long ({length} characters): UNIX sockets inside it would pass the "
    "system's limit. Choose one of at most {longest} characters, by --state."
)
_CLOSED = (
    "{what} lies inside {folder}, which other users may not enter. Thurn's daemons give up root and run as users of "
    "their own, so they could not read it. Move it, for instance below /opt or /srv, or allow entering with "
    "`chmod o+x {folder}`."
)

_USERS = ("thurn", "thurn-mail", "thurn-web", "postfix", "dovecot", "dovenull", "_rspamd", "redis", "postgres", "caddy")


_SENDING = {"/usr/sbin/postfix": "postfix"}  # of a further sending machine
_SENDERS = ("thurn", "postfix")


def complaints(state: Path, *, node: bool = False) -> list[str]:
    """Everything that keeps this installation from starting; empty when it can. `node`: a machine that only sends."""
    if os.geteuid() != 0:
        return [_ROOT]
    if node:
        return machine(_SENDING, _SENDERS) or [*place_of_state(state), *enterable(state)]
    return machine() or [*dovecot(), *place_of_state(state), *enterable(state)]


def machine(programs: Mapping[str, str] | None = None, users: Sequence[str] | None = None) -> list[str]:
    """Packages and system users that are missing."""
    needed = _PROGRAMS if programs is None else programs
    absent = {package for path, package in needed.items() if not Path(path).exists()}
    packages = sorted(absent | set(php() if programs is None else ()))
    unknown = [name for name in (_USERS if users is None else users) if not _known(name)]
    if not packages and not unknown:
        return []
    what = f"packages: {', '.join(packages)}" if packages else f"system users: {', '.join(unknown)}"
    return [
        f"This machine lacks {what}. Run `deploy/install-packages` as root; it installs them and changes nothing else."
    ]


def php(programs: Path = Path("/usr/sbin"), modules: Path = Path("/usr/lib/php")) -> list[str]:
    """Packages of PHP that are missing: their files carry the version in their names."""
    wanted = {
        "php-fpm": (programs, "php-fpm*"),
        "php-pgsql": (modules, "*/pdo_pgsql.so"),
        "php-intl": (modules, "*/intl.so"),
    }
    return [package for package, (folder, pattern) in wanted.items() if not any(folder.glob(pattern))]


def dovecot(version: str | None = None) -> list[str]:
    """A Dovecot whose configuration language is not the one we write; `version` as `dovecot --version` prints it."""
    if version is None:
        version = subprocess.run(["/usr/sbin/dovecot", "--version"], capture_output=True, text=True, check=True).stdout
    return [] if version.startswith("2.3.") else [_DOVECOT.format(version=version.split()[0])]


def place_of_state(state: Path) -> list[str]:
    """A path that the daemons' configuration files and sockets cannot bear."""
    if not _SAFE.fullmatch(str(state)):
        return [_NAME.format(state=state)]
    if len(str(state)) > _LONGEST:
        return [_LENGTH.format(state=state, length=len(str(state)), longest=_LONGEST)]
    return []


def enterable(state: Path) -> list[str]:
    """Folders on the way to state, program and interpreter that other users may not enter."""
    targets = {
        "Thurn itself": Path(thurn.__file__).resolve().parent,
        "its Python environment": Path(sys.executable).parent,
        "the Python interpreter": Path(sys.executable).resolve(),
        "the state directory": state.parent,
    }
    found: dict[Path, str] = {}
    for what, target in targets.items():
        for folder in (target, *target.parents):
            if folder.is_dir() and not folder.stat().st_mode & 0o001:
                found.setdefault(folder, what)
    return [_CLOSED.format(what=what[0].upper() + what[1:], folder=folder) for folder, what in found.items()]


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
