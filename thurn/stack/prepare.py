"""Makes a state directory ready: folders, secrets, certificate, configuration of every role, an empty cluster."""

import subprocess
from pathlib import Path
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

from thurn.db.connect import conninfo
from thurn.db.migrate import ROLES
from thurn.secrets import Secrets
from thurn.settings import Settings, allocate_ports
from thurn.stack import (
    caddy,
    dovecot,
    dovecot_spam,
    postfix,
    postfix_mx,
    postfix_out,
    postgres,
    redis,
    rspamd,
    supervisor,
    tls,
    webmail,
)
from thurn.stack.certificates import make_sni_map
from thurn.stack.files import Directory, File, Link, own, place
from thurn.stack.out_plan import Plan, load_plan
from thurn.stack.roles import programs

_OURS = [
    Directory("secrets", 0o750, "root:thurn"),
    Directory("log", 0o755),
    Directory("spool", 0o750, "thurn:thurn"),
    Directory("uploads", 0o750, "thurn:thurn"),
    Directory("sim", 0o750, "thurn:thurn"),
]

# Role -> folders whose files it reads when it starts. The certificate concerns both who speak TLS.
_READERS = {
    "db": ("db/",),
    "redis": ("redis/",),
    "spam": ("rspamd/",),
    "imap": ("dovecot/", "tls/"),
    "mx": ("mx/", "tls/"),
    "out": ("out/",),
    "webmail": ("webmail/",),
    "edge": ("edge/",),
}


def prepare(settings: Settings) -> set[str]:
    """Bring everything below the state directory to what the settings say. Idempotent and quick when nothing changed.

    Returns the roles whose configuration changed and that have to be restarted if they run.
    """
    state = settings.state
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    state.chmod(state.stat().st_mode | 0o011)
    if (state / "thurn.toml").exists():
        own(state / "thurn.toml", 0o640, "root:thurn")
    place(state, directories_of_node() if settings.joined else directories())
    allocate_ports(settings)
    if settings.joined:
        return _prepare_node(settings)
    wanted = render(settings)
    if settings.database_listen and not settings.database_url and not (state / postgres.KEY).exists():
        wanted += postgres.certificate(fqdn(settings.hostname).lower())
    if tls.outdated(state, fqdn(settings.hostname).lower()):
        wanted += tls.self_signed(fqdn(settings.hostname).lower())
    if not (state / tls.SNI).exists():
        wanted += tls.sni_files(state, {})
    wanted += _first_files(settings)
    changed = place(state, wanted)
    if tls.SNI in changed:
        make_sni_map(state)
    _prepare_mail_logs(state, "mx", "out")
    if not settings.database_url:
        _prepare_cluster(state)
    for name in (*dovecot_spam.SCRIPTS, "onward"):
        if f"dovecot/sieve/{name}.sieve" in changed:
            _run("sievec", "-c", f"{state}/dovecot/etc/dovecot.conf", f"{state}/dovecot/sieve/{name}.sieve")
            own(state / f"dovecot/sieve/{name}.svbin", 0o640, "root:thurn-mail")
    for instance in ("mx", "out"):
        if not (state / instance / "queue" / "public").exists():
            _run("postfix", "-c", f"{state}/{instance}/etc", "check")
    return {role for role, folders in _READERS.items() if any(path.startswith(folders) for path in changed)}


def _first_files(settings: Settings) -> list[File]:
    state = settings.state
    files = postfix_out.first_files(
        settings.port, load_plan(state), listen=settings.listen, simulate=settings.simulate,
        receivers=settings.receivers, people=not settings.joined,
    )  # fmt: skip
    return [file for file in files if not (state / file.path).exists()]


def _prepare_node(settings: Settings) -> set[str]:
    """The same for a further sending machine: `out`, and our own roles that serve it."""
    state = settings.state
    wanted = [*mail_servers(settings, load_plan(state)), supervisor.render(state, programs(settings))]
    changed = place(state, [*wanted, *_first_files(settings)])
    _prepare_mail_logs(state, "out")
    if not (state / "out" / "queue" / "public").exists():
        _run("postfix", "-c", f"{state}/out/etc", "check")
    return {"out"} if any(path.startswith("out/") for path in changed) else set()


def directories_of_node() -> list[Directory]:
    """Every folder of a further sending machine's state directory."""
    return [*_OURS, *supervisor.directories(), *postfix_out.directories()]


def directories() -> list[Directory]:
    """Every folder of a state directory."""
    modules = (postgres, redis, rspamd, dovecot, caddy, supervisor, tls, webmail)
    of_daemons = [folder for module in modules for folder in module.directories()]
    return [*_OURS, *of_daemons, *postfix.directories("mx"), *postfix_out.directories()]


def render(settings: Settings) -> list[File | Link]:
    """Every configuration file, from settings, ports and secrets."""
    state, ports, hostname = settings.state, settings.port, fqdn(settings.hostname)
    secrets = Secrets(state)
    for name in (
        "master",
        "guard",
        "webmail",
        *(f"db-{role}" for role in ROLES),
    ):  # our own roles may read secrets but not make them
        secrets.ensure(name)
    redis_password = secrets.ensure("redis")
    return [
        *postgres.render(state, settings.database_listen, settings.database_port),
        *redis.render(state, ports["redis"], redis_password),
        *rspamd.render(
            state,
            ports,
            redis_password=redis_password,
            controller_password=secrets.ensure("rspamd"),
            nameservers=settings.nameservers,
            simulate=settings.simulate,
            guard_secret=secrets.ensure("guard"),
        ),
        *dovecot.render(
            state,
            ports,
            hostname=hostname,
            listen=settings.listen,
            database=conninfo(settings, "dovecot"),
            controller_password=secrets.ensure("rspamd"),
            released=secrets.derive("released").hex(),
            guard_secret=secrets.ensure("guard"),
            nonce=secrets.derive("sign-in-marks").hex(),
        ),
        *mail_servers(settings, load_plan(state)),
        *caddy.wanted(settings),
        *webmail.render(
            state,
            ports,
            database=conninfo(settings, "webmail"),
            secrets={"key": secrets.ensure("webmail"), "guard": secrets.ensure("guard")},
            portal=settings.url,
            https=settings.base_url.startswith("https://"),
        ),
        supervisor.render(state, programs(settings)),
    ]


def mail_servers(settings: Settings, plan: Plan) -> list[File]:
    """Configuration of both Postfix instances; a further sending machine has one."""
    state, ports, hostname = settings.state, settings.port, fqdn(settings.hostname)
    out = postfix_out.render(
        state,
        ports,
        hostname=hostname,
        retry_first=settings.retry_first,
        retry_hours=max(settings.retry_hours, settings.retry_hours_other),
        simulate=settings.simulate,
        plan=plan,
        receivers=settings.receivers,
        people=not settings.joined,
    )
    if settings.joined:
        return out
    return [
        *postfix_mx.render(
            state,
            ports,
            hostname=hostname,
            listen=settings.listen,
            database=database_url(conninfo(settings, "postfix")),
            retry_first=settings.retry_first,
            simulate=settings.simulate,
            people=plan.people,
        ),
        *out,
    ]


def fqdn(hostname: str) -> str:
    """A name with a dot: Postfix and receivers want one in HELO."""
    return hostname if "." in hostname else f"{hostname}.localdomain"


def database_url(conninfo: str) -> str:
    """The same connection as a URL, the only form that lets Postfix's pgsql maps choose socket directory and port."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    user, password = quote(parts.pop("user"), safe=""), quote(parts.pop("password"), safe="")
    database = quote(parts.pop("dbname"), safe="")
    return f"postgresql://{user}:{password}@/{database}?{urlencode(parts, safe='/')}"


def _prepare_cluster(state: Path) -> None:
    if (state / "db" / "cluster" / "PG_VERSION").exists():
        return
    binaries = postgres.binaries(state)
    _run(
        *("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", f"{binaries}/initdb"),
        *("--pgdata", f"{state}/db/cluster", "--username", "postgres", "--auth", "peer", "--data-checksums"),
        *("--encoding", "UTF8", "--locale", "C.UTF-8"),
    )


def _prepare_mail_logs(state: Path, *instances: str) -> None:
    """Postfix's own log files: made here, so that the feedback role may read them from the first line."""
    for instance in instances:
        path = state / "log" / f"{instance}.mail.log"
        path.touch()
        own(path, 0o640, "postfix:thurn")


def _run(*command: str) -> None:
    """Run a tool of a daemon; its words are shown when it fails."""
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}".rstrip())
